"""The answers to a batch, put together from bytes: what protobuf makes of the same decisions.

Of 200 answers most differ in three fields: whose they are, what they are called, and what they
were asked. The rest is made by protobuf once for each thing that there is to say.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from pdp import wire
from pdp.model import Decision
from pdp.v1 import authorization_pb2 as pb
from pdp.wire_fields import length, said, tag, text

_ANSWER: Final = pb.AuthorizeResponse.DESCRIPTOR.fields_by_name
_REQUEST_ID: Final = tag(_ANSWER["request_id"].number)
_DIGEST: Final = tag(_ANSWER["request_digest"].number)
_DECISION_ID: Final = tag(_ANSWER["decision_id"].number)
_ITEM: Final = tag(pb.AuthorizeBatchResponse.DESCRIPTOR.fields_by_name["items"].number)


class BatchAnswers:
    """Those of one batch, in order.

    Args:
        request_id: of the batch.
        digest: of its message.
    """

    def __init__(self, request_id: str, digest: bytes) -> None:
        head = pb.AuthorizeBatchResponse(request_id=request_id, request_digest=digest)
        self._parts = [head.SerializeToString()]
        # INVARIANT: with the decision, so that no other one gets an identity of its parts.
        self._kept: dict[Hashable, tuple[Decision, bytes, bytes]] = {}

    def add(self, decision: Decision, request_id: str, digest: bytes, invalid: str) -> None:
        """The next one. Arguments and errors as `wire.decision_to_pb`; it is not explained."""
        key = (said(decision), invalid)
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = (decision, *_around_the_name(decision, invalid))
        _, before, after = found
        self._append(
            b"".join(
                (
                    text(_REQUEST_ID, request_id),
                    _DIGEST + length(len(digest)) + digest if digest else b"",
                    before,
                    text(_DECISION_ID, decision.decision_id),
                    after,
                )
            )
        )

    def add_message(self, answer: pb.AuthorizeResponse) -> None:
        """The next one, made elsewhere."""
        self._append(answer.SerializeToString())

    def _append(self, answer: bytes) -> None:
        self._parts += (_ITEM, length(len(answer)), answer)

    def to_bytes(self) -> bytes:
        """The `AuthorizeBatchResponse`."""
        return b"".join(self._parts)


def _around_the_name(decision: Decision, invalid: str) -> tuple[bytes, bytes]:
    """The fields of an answer before its `decision_id`, digest and id aside, and those after."""
    # INVARIANT: protobuf writes fields in the order of their numbers (a test compares the bytes).
    whole = wire.decision_to_pb(decision, "", b"", invalid)
    whole.ClearField("decision_id")
    before = pb.AuthorizeResponse(effect=whole.effect, cause=whole.cause).SerializeToString()
    return before, whole.SerializeToString().removeprefix(before)
