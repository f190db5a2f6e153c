"""The items of a batch's record as bytes: what `pdp.audit.entry.build_entry` makes of the same.

Items of one batch have most of their fields from each other: the subject, one resource for several
actions, one answer for several questions. What they have alone are names and digests. An item that
is unusual, or does not fit, is made by `build_entry` as a question's that came alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from pdp.audit.encoded import EncodedAttributes
from pdp.audit.entry import BatchEvidence, Evidence, build_entry
from pdp.model import Action, Decision, Request, Resource, Subject
from pdp.v1 import audit_pb2
from pdp.wire_fields import length, said, tag, text

_RECORD: Final = audit_pb2.DecisionRecord.DESCRIPTOR.fields_by_name
_DECISION_ID: Final = tag(_RECORD["decision_id"].number)
_REQUEST_ID: Final = tag(_RECORD["request_id"].number)
_ACTION: Final = tag(_RECORD["action"].number)
_TENANT: Final = tag(_RECORD["tenant"].number)
_DIGEST: Final = tag(_RECORD["request_digest"].number)
# For an entry that says what was decided, and nothing else.
_NO_REQUEST: Final = Request(Subject("", ""), Action(""), Resource("", ""))


class ItemWriter:
    """For one batch.

    Args:
        batch: what its items share.
        bytes_max: of one item.
        encoded: attributes that were written before.
    """

    def __init__(self, batch: BatchEvidence, bytes_max: int, encoded: EncodedAttributes) -> None:
        self._batch = batch
        self._bytes_max = bytes_max
        self._encoded = encoded
        # INVARIANT: what has an identity in the key is in the value, and so held with it.
        self._subjects: dict[int, tuple[Subject, bytes]] = {}
        self._resources: dict[int, tuple[Resource, bytes]] = {}
        self._answers: dict[Hashable, tuple[Decision, bytes]] = {}

    def item(self, decision: Decision, evidence: Evidence) -> bytes:
        """One item. Errors as `build_entry`."""
        if evidence.is_plain:
            item = self._plain(decision, evidence)
            if len(item) <= self._bytes_max:
                return item
        entry = build_entry(decision, evidence, self._bytes_max, self._encoded, self._batch)
        return entry.SerializeToString()

    def _plain(self, decision: Decision, evidence: Evidence) -> bytes:
        request, digest = evidence.request, evidence.digest
        subject, resource = request.subject, request.resource
        who = self._subjects.get(id(subject))
        if who is None:
            who = self._subjects[id(subject)] = subject, _subject(subject)
        what = self._resources.get(id(resource))
        if what is None:
            what = self._resources[id(resource)] = resource, _resource(resource)
        key = said(decision)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = decision, self._answer(decision)
        attributes = evidence.written
        if attributes is None:
            attributes = self._encoded.encode(evidence.attributes)
        return b"".join(
            (
                text(_DECISION_ID, decision.decision_id),
                text(_REQUEST_ID, request.request_id),
                text(_TENANT, request.tenant),
                who[1],
                text(_ACTION, request.action.name),
                what[1],
                attributes,
                _DIGEST + length(len(digest)) + digest if digest else b"",
                answer[1],
            )
        )

    def _answer(self, decision: Decision) -> bytes:
        """The fields that say what was decided."""
        nothing = Evidence(_NO_REQUEST, self._batch.caller, {}, b"", admitted=True)
        entry = build_entry(decision, nothing, 1 << 62, None, self._batch)
        entry.ClearField("decision_id")
        entry.ClearField("subject")
        return entry.SerializeToString()


def _subject(subject: Subject) -> bytes:
    return audit_pb2.DecisionRecord(
        subject={"type": subject.type, "id": subject.id}
    ).SerializeToString()


def _resource(resource: Resource) -> bytes:
    return audit_pb2.DecisionRecord(
        resource_type=resource.type, resource_id=resource.id
    ).SerializeToString()
