"""Records for people and machines: filtered, as JSON, as lines that cannot drive a terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict, SerializeToJsonError

from pdp.audit.log import Opened
from pdp.audit.problems import Place
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, format_timestamp

_BYTES_FIELDS = frozenset({"request_digest", "attributes_digest", "digest"})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records to show. None: whichever.

    Attributes:
        since: from this time on; without a zone it is UTC.
        caller: SPIFFE ID.
        permit: permits only, or denials only.
        decision_id: this decision only.
    """

    since: datetime | None = None
    caller: str | None = None
    permit: bool | None = None
    decision_id: str | None = None

    def takes(self, record: Opened) -> bool:
        """Whether this record is wanted."""
        if self.since is not None and record.time_ns < _nanoseconds(self.since):
            return False
        if self.caller is None and self.permit is None and self.decision_id is None:
            return True
        if record.body != "decision":
            return False
        decision = record.message.decision
        return (
            (self.caller is None or decision.caller.spiffe_id == self.caller)
            and (self.permit is None or (decision.effect == pb.EFFECT_PERMIT) == self.permit)
            and (
                self.decision_id is None
                or self.decision_id == decision.decision_id
                or any(self.decision_id == item.decision_id for item in decision.batch.items)
            )
        )


def as_dict(place: Place, record: Opened) -> dict[str, Any]:
    """All of a record, for JSON. Hashes and digests are hexadecimal."""
    message = getattr(record.message, record.body)
    try:
        body = _hexadecimal(MessageToDict(message, preserving_proto_field_name=True))
    except (ValueError, SerializeToJsonError) as error:
        # A time that JSON cannot say, say. Whoever wrote that: the bytes are what there is.
        body = {"unreadable": str(error), "base64": _base64(message.SerializeToString())}
    return {
        "segment": place.segment,
        "offset": place.offset,
        "pdp_id": record.ref.pdp_id,
        "seq": record.ref.seq,
        "hash": record.ref.hash.hex(),
        "prev_hash": record.prev_hash.hex(),
        "time": format_timestamp(record.time_ns),
        record.body: body,
    }


def as_line(record: Opened) -> str:
    """One line for people."""
    start = f"{format_timestamp(record.time_ns)} {record.ref.pdp_id}:{record.ref.seq}"
    if record.body == "decision":
        decision = record.message.decision
        if decision.HasField("search"):
            told = search_line(decision)
        else:
            told = _batch(decision) if decision.HasField("batch") else _decision(decision)
        return printable(f"{start} {told}")
    if record.body == "suppressed_denials":
        counts = record.message.suppressed_denials.counts
        total = sum(row.count for row in counts)
        return printable(f"{start} {total} denials of {len(counts)} kinds were counted only")
    event = record.message.spool_event
    kind = _name(audit_pb2.SpoolEvent.Kind, event.kind, "KIND_").lower()
    where = f" {event.segment} offset {event.offset}" if event.segment else ""
    detail = f": {event.detail}" if event.detail else ""
    return printable(f"{start} spool {kind}{where}{detail}")


def printable(text: str) -> str:
    """Text that cannot move a cursor, change colours, or reverse what stands beside it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _decision(decision: audit_pb2.DecisionRecord) -> str:
    effect = _name(pb.Effect, decision.effect, "EFFECT_")
    cause = _name(pb.Cause, decision.cause, "CAUSE_")
    rules = f" [{', '.join(decision.rules)}]" if decision.rules else ""
    violation = f" [{decision.schema_violation}]" if decision.schema_violation else ""
    resource = f"{decision.resource_type}:{decision.resource_id}"
    http = decision.http
    asked = f" for {http.method} {http.host}{http.path}" if decision.HasField("http") else ""
    failed = [
        f"{each.provider} {_name(audit_pb2.ProviderAnswer.Outcome, each.outcome, 'OUTCOME_')}"
        for each in decision.providers
        if each.outcome != audit_pb2.ProviderAnswer.OUTCOME_FETCHED
    ]
    without = f" without {', '.join(failed)}" if failed else ""
    return (
        f"{effect}({cause}) {decision.subject.type}:{decision.subject.id} {decision.action} "
        f"{resource}{rules}{violation}{asked}{without} by {decision.caller.spiffe_id} "
        f"({decision.decision_id})"
    )


def _batch(decision: audit_pb2.DecisionRecord) -> str:
    """How many, and for whom; `--json` has each."""
    batch = decision.batch
    permits = sum(item.effect == pb.EFFECT_PERMIT for item in batch.items)
    denials = len(batch.items) - permits
    part = f", part {batch.part} of {batch.parts}" if batch.parts > 1 else ""
    return (
        f"batch of {batch.questions}{part}: {permits} permitted, {denials} denied "
        f"by {decision.caller.spiffe_id} ({decision.decision_id})"
    )


def search_line(decision: audit_pb2.DecisionRecord) -> str:
    """What was looked for, and how much of it was found; `--json` has each."""
    search = decision.search
    kind = _name(audit_pb2.SearchRecord.Kind, search.kind, "KIND_").lower()
    subject = f"{decision.subject.type}:{decision.subject.id}"
    resource = f"{decision.resource_type}:{decision.resource_id}"
    wanted, about = {
        "subject": (decision.subject.type, f"{decision.action} {resource}"),
        "resource": (decision.resource_type, f"{subject} {decision.action}"),
    }.get(kind, ("", f"{subject} {resource}"))
    found = f"{len(search.items)} permitted of {search.decided}" + (", more" * search.more)
    if not search.decided and decision.cause != pb.CAUSE_DEFAULT:
        cause = _name(pb.Cause, decision.cause, "CAUSE_")
        found = f"DENY({cause})" + (f" [{search.failure}]" if search.failure else "")
    return (
        f"search for {kind} {wanted}".rstrip()
        + f": {found}, {about} by {decision.caller.spiffe_id} ({decision.decision_id})"
    )


def _name(enum: Any, number: int, prefix: str) -> str:
    """An enum's word; a number that this version does not know stays a number."""
    try:
        return str(enum.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)


def _nanoseconds(when: datetime) -> int:
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    elapsed = aware - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = elapsed.days * 86_400 + elapsed.seconds
    return seconds * NANOS + elapsed.microseconds * 1_000


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _hexadecimal(value: object) -> object:
    """Digests as people compare them; other bytes stay base64."""
    if isinstance(value, Mapping):
        return {
            key: base64.b64decode(inner).hex()
            if key in _BYTES_FIELDS and isinstance(inner, str)
            else _hexadecimal(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_hexadecimal(inner) for inner in value]
    return value
