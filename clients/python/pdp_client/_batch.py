"""The failure policy for many questions that are asked together: `_core`, once more for batches.

Pure, as the core is. A batch is one call: one budget, one breaker's word, one retry. It is
believed as a whole or not at all: an answer too few, too many, twice, or to other bytes than
were sent, and all of it is denied. What concerns one question alone concerns that one: data
that cannot be asked about, and a duty that the calling program has not declared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pdp.errors import InvalidRequestError
from pdp.model import Decision, Request, Semantic
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import decision_from_pb
from pdp.wire_batch import join_batch
from pdp_client import _core
from pdp_client._core import Call, Conclusion, Outcome, Refusal

# The PDP takes 200 unless it is told otherwise, and cannot be told to take more than this.
QUESTIONS_MAX: Final = 1_000
# As much as gRPC takes by itself: some hundred answers with their duties and texts.
RESPONSE_BYTES_MAX: Final = 4_194_304


@dataclass(frozen=True, slots=True)
class Sent:
    """One question that is sent.

    Attributes:
        place: in the batch of the calling program.
        request_id: to be found in its answer.
        digest: SHA-256 of its message.
    """

    place: int
    request_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A batch on its way.

    Attributes:
        call: what is sent; None where no question can be asked.
        sent: its questions, in order.
        refused: what is denied without being sent, by place.
        semantic: which questions are decided.
        count: questions of the calling program.
    """

    call: Call | None
    sent: Sequence[Sent]
    refused: Mapping[int, Conclusion]
    semantic: Semantic
    count: int


def begin(
    questions: Sequence[Request],
    semantic: Semantic,
    request_id: str,
    started: float,
    budget_s: float,
) -> BatchCall:
    """Encode a batch. A question that cannot be asked is denied, and the others are asked.

    Raises:
        Refusal, InvalidRequestError: none of it can be asked.
    """
    _core.check_budget(budget_s)
    if len(questions) > QUESTIONS_MAX:
        raise InvalidRequestError("questions", f"are more than {QUESTIONS_MAX}")
    sent: list[Sent] = []
    messages: list[bytes] = []
    refused: dict[int, Conclusion] = {}
    room = _core.REQUEST_BYTES_MAX
    for place, request in enumerate(questions):
        try:
            message = _core.encoded(request)
        except Exception as error:  # noqa: BLE001 as for a question alone: what cannot be asked is denied
            refused[place] = _core.denial(error, asked=False)
            if semantic.ends(refused[place].decision):
                break
            continue
        room -= len(message)
        # Before the next is encoded: work is bounded by what is sent.
        if room < 0:
            raise InvalidRequestError(
                "questions", f"are larger than {_core.REQUEST_BYTES_MAX} bytes together"
            )
        sent.append(Sent(place, request.request_id, hashlib.sha256(message).digest()))
        messages.append(message)
    call = None
    if messages:
        joined = join_batch(request_id, semantic.value, messages)
        if len(joined) > _core.REQUEST_BYTES_MAX:
            raise InvalidRequestError(
                "questions", f"are larger than {_core.REQUEST_BYTES_MAX} bytes together"
            )
        call = _core.call_of(joined, request_id, started, budget_s)
    return BatchCall(call, sent, refused, semantic, len(questions))


def conclude(
    batch: BatchCall, outcome: Outcome | None, can_meet: Collection[tuple[str, str]]
) -> list[Conclusion | None]:
    """What this outcome says of each question, in order; None: it was not decided.

    The steps, each able to refuse all of it and none to repair:

    (1) to (5) as for a question alone, for the message as a whole;
    (6) each answer is to a question of this batch, to its very bytes, and to one that has none;
    (7) each is one that could be believed alone (`pdp.wire`);
    (8) the answers are to the first questions, and end where the semantic ends them.

    Then, for each question alone, the duties of a permit. That may turn a permit into a denial, and
    the semantic may end the batch there.

    Raises:
        Refusal, AnswerError: a step said no.
    """
    decided: dict[int, Conclusion] = dict(batch.refused)
    if batch.call is not None:
        if outcome is None:
            raise _core.unusable("a batch was sent, and nothing came of it")
        answer = _core.matched(
            batch.call, outcome, pb.AuthorizeBatchResponse, RESPONSE_BYTES_MAX
        )  # (1) to (5)
        found = _each_answered_once(batch, answer)
        _check_complete(batch, found)  # (8)
        for sent, decision in zip(batch.sent, found, strict=False):
            decided[sent.place] = _with_duties(decision, can_meet)
    return _until_the_end(batch, decided)


def _each_answered_once(batch: BatchCall, answer: pb.AuthorizeBatchResponse) -> list[Decision]:
    """Decisions of the first questions, in the order of these, whatever order they came in."""
    waiting = {sent.request_id: sent for sent in batch.sent}
    found: dict[str, Decision] = {}
    for item in answer.items:
        sent = _check_answers_one(waiting, item)  # (6)
        found[sent.request_id] = decision_from_pb(item)  # (7)
    first = batch.sent[: len(found)]
    missing = [sent for sent in first if sent.request_id not in found]
    if missing:
        raise _core.unusable("an answer is missing before one that is there")  # (8)
    return [found[sent.request_id] for sent in first]


def _check_answers_one(waiting: dict[str, Sent], item: pb.AuthorizeResponse) -> Sent:
    sent = waiting.pop(item.request_id, None)
    if sent is None:
        raise _core.unusable("an answer is to no question of the batch, or the second to one")
    if item.request_digest != sent.digest:
        raise _core.unusable("an answer is to other bytes than were sent")
    return sent


def _check_complete(batch: BatchCall, found: Sequence[Decision]) -> None:
    ends = [batch.semantic.ends(decision) for decision in found]
    if any(ends[:-1]):
        raise _core.unusable("a question was decided after the batch had ended")
    if len(found) < len(batch.sent) and not any(ends):
        raise _core.unusable("answers are missing at the end of the batch")


def _with_duties(decision: Decision, can_meet: Collection[tuple[str, str]]) -> Conclusion:
    try:
        _core.check_obligations(decision, can_meet)
    except Refusal as refusal:
        return _core.denial(refusal, asked=True)
    return Conclusion(decision)


def _until_the_end(batch: BatchCall, decided: Mapping[int, Conclusion]) -> list[Conclusion | None]:
    """By place; nothing after the one that ends the batch."""
    found: list[Conclusion | None] = [None] * batch.count
    for place in range(batch.count):
        conclusion = decided.get(place)
        if conclusion is None:
            break
        found[place] = conclusion
        if batch.semantic.ends(conclusion.decision):
            break
    return found


def denied(error: Exception, count: int, *, asked: bool) -> list[Conclusion | None]:
    """Every question denied, for what went wrong with all of them."""
    return [_core.denial(error, asked=asked)] * count
