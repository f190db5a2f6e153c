"""The native gRPC door for batches: it only translates.

The steps are those of a question that comes alone (`pdp.server.authorization`), but
for the third: a batch is a row of its own. Overload denies each of its questions.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pdp import wire, wire_batch
from pdp.audit.entry import Received
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.boundary import Admitted
from pdp.call import Answer, Refused
from pdp.errors import InvalidRequestError
from pdp.explanation import Explanation
from pdp.explanation_codec import BYTES_MAX as EXPLANATION_BYTES_MAX
from pdp.explanation_codec import explanation_to_pb
from pdp.model import Action, Caller, Cause, Request, Resource, Subject, deny
from pdp.server.authorization import AuthorizationDoor, RpcContext, invalid
from pdp.v1 import authorization_pb2 as pb
from pdp.wire_answers import BatchAnswers
from pdp.wire_batch import BatchMessage

METHOD: Final = "AuthorizeBatch"
# A question takes memory however short it is. So a batch counts among the bytes in flight for
# more than its length: for as many questions as it may have, before anybody has counted them.
QUESTION_WEIGHT: Final = 1_024


class BatchDoor:
    """Serves `AuthorizeBatch`.

    Args:
        door: for single questions; what it takes on, this takes on with it.
        decision_point: what decides.
    """

    def __init__(self, door: AuthorizationDoor, decision_point: BatchDecisionPoint) -> None:
        self._door = door
        self._decision_point = decision_point
        self._limits = door.limits

    async def authorize_batch(self, message: bytes, context: RpcContext) -> bytes:
        """One call. Cancellation passes through: then no answer is sent."""
        call = self._authorize_batch(message, context)
        traced = self._door.traced("authorize_batch", context, call)
        return await self._door.guarded(traced, context)

    async def _authorize_batch(self, message: bytes, context: RpcContext) -> bytes:
        door, gate = self._door, self._door.gate
        # (1) Before the work, so that the work counts against it.
        patience_s = door.patience_s(context.time_remaining())
        size = len(message)
        weight = size + QUESTION_WEIGHT * min(self._limits.batch_items_max, size)
        if size > self._limits.message_bytes_max:
            door.caller(context)
            door.too_long()
        # (2) Before any work is done.
        if reason := gate.refusal(patience_s, weight):
            door.caller(context)
            return self._overloaded(message, reason)
        entered = gate.enter(weight)
        try:
            # (4) Before a byte of the message is looked at.
            caller = door.caller(context)
            return await self._decided(message, caller, entered + patience_s)
        finally:
            gate.leave(entered, weight, in_time=True, single=False)

    async def _decided(self, message: bytes, caller: Caller, deadline: float) -> bytes:
        # (5) The batch, then each question as if it came alone.
        asked = self._split(message)
        received = [Received(item) for _, item in asked.items]
        digest = hashlib.sha256(message).digest()
        questions = [self._admit(request_id, item, caller) for request_id, item in asked.items]
        semantic = Semantic(asked.semantic)
        batch = Batch(asked.request_id, semantic, questions, received, digest)
        # (6) The rest never raises.
        answers = await self._decision_point.answer_batch(batch, caller, deadline)
        # (7) With the digests of what was asked.
        out = BatchAnswers(asked.request_id, digest)
        room = EXPLANATION_BYTES_MAX
        for answer, (request_id, _), one in zip(answers, asked.items, received, strict=False):
            if answer.decision.explanation is None:
                out.add(answer.decision, request_id, one.digest, _wrong(answer))
            else:
                told = _told(answer, request_id, one.digest)
                room = _within(told, room)
                out.add_message(told)
        return out.to_bytes()

    def _split(self, message: bytes) -> BatchMessage:
        try:
            return wire_batch.split_batch(
                message, self._limits.batch_items_max, self._limits.input.name_bytes_max
            )
        except InvalidRequestError as error:
            raise invalid(error) from None

    def _admit(self, request_id: str, item: bytes, caller: Caller) -> Admitted | Refused:
        try:
            return self._door.interner.admit(item, caller)
        except InvalidRequestError as error:
            # Of what could not be admitted the record keeps the id, and the digest of its bytes.
            nobody, nothing = Subject("", ""), Resource("", "")
            return Refused(Request(nobody, Action(""), nothing, request_id=request_id), error)

    def _overloaded(self, message: bytes, reason: str) -> bytes:
        """Deny each question that the semantic does not leave out, without looking at any."""
        asked = self._split(message)
        answer = Answer(deny(Cause.OVERLOADED))
        out = BatchAnswers(asked.request_id, hashlib.sha256(message).digest())
        for request_id, item in asked.items:
            out.add(answer.decision, request_id, hashlib.sha256(item).digest(), "")
            self._door.count_overloaded(reason)
            if Semantic(asked.semantic).ends(answer.decision):
                break
        return out.to_bytes()


def _told(answer: Answer, request_id: str, digest: bytes) -> pb.AuthorizeResponse:
    return wire.decision_to_pb(answer.decision, request_id, digest, _wrong(answer))


def _wrong(answer: Answer) -> str:
    return "" if answer.invalid is None else str(answer.invalid)


def _within(told: pb.AuthorizeResponse, room: int) -> int:
    """Keep the explanations of a batch, together, to what one answer may have; the room left."""
    if not told.HasField("explanation"):
        return room
    left = room - told.explanation.ByteSize()
    if left >= 0:
        return left
    told.ClearField("explanation")
    explanation_to_pb(Explanation(truncated=True), told.explanation)
    return room
