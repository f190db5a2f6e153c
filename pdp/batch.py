"""Many questions, decided together: one moment, one version of the policies, one record.

Each question goes through the same steps as a question that comes alone
(`pdp.decision_point`), with these differences:

- the clock is read and the snapshot taken once, for all of them;
- what callers do not send is fetched once for all of them, before the first is decided;
- a question that would be refused as invalid is DENY(INVALID), and the others
  are answered;
- the semantic may end the batch before its last question: those that are left
  were not decided, and get no answer;
- the permits of a batch wait for all of its record: if one part of it is not
  durable in time, all of them are DENY(AUDIT).

Other requests get their turn between two rows of questions; what they bring
into use does not change the batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pdp.audit.batch_attributes import BatchAttributes
from pdp.audit.batch_entry import build_batch
from pdp.audit.decision_id import new_decision_id
from pdp.audit.entry import BatchEvidence, Received
from pdp.boundary import Admitted
from pdp.call import Answer, Call, Moment, Refused, named, with_record
from pdp.callers import BATCH
from pdp.decision_point import DecisionPoint
from pdp.fetching import supply
from pdp.model import Caller, Cause, Decision, Effect, RecordRef, Request, Semantic, deny
from pdp.proof import has_ended
from pdp.provided import UNASKED

__all__ = ["Batch", "BatchDecisionPoint", "Semantic"]

# Decided in a row, so that the event loop is not held for long (`pdp.server.pace` has the same).
_ROW: Final = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that are asked together.

    INVARIANT: whoever makes one has seen to it that no two have one id, and that there is one.

    Attributes:
        request_id: of the batch.
        semantic: which of them are decided.
        questions: in order.
        received: the message that each came in, if they came in one.
        digest: SHA-256 of the whole message; empty if there was none.
    """

    request_id: str
    semantic: Semantic
    questions: Sequence[Request | Admitted | Refused]
    received: Sequence[Received | None] = ()
    digest: bytes = b""


class BatchDecisionPoint(DecisionPoint):
    """A decision point that also takes many questions at a time."""

    async def answer_batch(self, batch: Batch, caller: Caller, deadline: float) -> list[Answer]:
        """Decide, record, answer.

        Args:
            batch: the questions.
            caller: the workload that asks; whoever calls this has verified it.
            deadline: when the answer must be there, on the clock's `monotonic`.

        Returns:
            Answers to the first questions, in order; to all of them unless the
            semantic ended the batch. Each permit has a durable record.
        """
        try:
            answers = await self._answer_batch(batch, caller, deadline)
        except Exception as error:  # noqa: BLE001 whatever broke, the answers are DENY
            self._failed(error)
            answers = [Answer(deny(Cause.INTERNAL)) for _ in batch.questions]
        answers = _until_the_end(batch.semantic, answers)
        for answer in answers:
            self._count(answer.decision)
        return answers

    async def _answer_batch(self, batch: Batch, caller: Caller, deadline: float) -> list[Answer]:
        moment = Moment(self._clock.wall_ns(), self._snapshots.current(), BATCH)
        received = batch.received or [None] * len(batch.questions)
        calls: list[Call] = []
        decisions: list[Decision] = []
        asked = [
            Call(question, caller, deadline, message)
            for question, message in zip(batch.questions, received, strict=True)
        ]
        if moment.snapshot is not None and moment.snapshot.has_providers:
            await self._fetch(asked, moment, deadline)
        for call in asked:
            if calls and not len(calls) % _ROW:
                await asyncio.sleep(0)
            decision = self._decided(call, moment)
            calls.append(call)
            decisions.append(decision)
            if batch.semantic.ends(decision):
                break
        if self._clock.monotonic() >= deadline:
            # As with a question alone: a permit that nobody waits for is not recorded.
            decisions = _without_permits(decisions, Cause.DEADLINE)
        try:
            decisions = await self._recorded(batch, moment, calls, decisions)
        except Exception as error:  # noqa: BLE001 whatever broke, the answers are DENY, recorded
            self._failed(error)
            for call in calls:
                # What broke may be in any of these.
                call.rules, call.admitted = (), None
            failed = [deny(Cause.INTERNAL) for _ in calls]
            decisions = await self._recorded(batch, moment, calls, failed)
        answers = []
        for call, decision in zip(calls, decisions, strict=True):
            explained = decision
            if call.request.explain:
                explained = self._explained(call, decision)
                await asyncio.sleep(0)
            answers.append(Answer(explained, call.invalid))
        return answers

    async def _fetch(self, calls: Sequence[Call], moment: Moment, deadline: float) -> None:
        """Look at all questions, and ask providers for what their rules may read."""
        unasked = []
        for number, call in enumerate(calls):
            if number and not number % _ROW:
                await asyncio.sleep(0)
            if self._decided(call, moment) is UNASKED:
                unasked.append(call)
        if unasked:
            await supply(self._attributes, unasked, deadline)

    def _decided(self, call: Call, moment: Moment) -> Decision:
        """Steps 1 to 5 of one question; one that breaks leaves the others as they are."""
        try:
            return self._decide(call, moment)
        except Exception as error:  # noqa: BLE001 whatever broke, the answer is DENY, recorded
            self._failed(error)
            call.rules, call.admitted = (), None
            return deny(Cause.INTERNAL)

    async def _recorded(
        self,
        batch: Batch,
        moment: Moment,
        calls: Sequence[Call],
        decisions: Sequence[Decision],
    ) -> list[Decision]:
        """Steps 6 to 8."""
        decided = [named(*pair) for pair in zip(decisions, calls, strict=True)]
        records = await self._written(batch, moment, calls, decided)
        found = [with_record(*pair) for pair in zip(decided, records, strict=True)]
        if not any(decision.effect is Effect.PERMIT for decision in decided):
            return found
        # (7) INVARIANT: below this line the record of every permit is durable.
        if None in records or self._clock.monotonic() >= calls[0].deadline:
            return _without_permits(found, Cause.AUDIT)
        # (8) Making the record durable takes time, and a proof may expire meanwhile.
        later = Moment(self._clock.wall_ns(), moment.snapshot, BATCH)
        if later.snapshot is None or all(call.is_stale(later.clock_ns) for call in calls):
            denials = _without_permits(decided, Cause.STALE)
            return await self._recorded(batch, later, calls, denials)
        now_ns = later.snapshot.now_ns(later.clock_ns)
        ended = [
            _ended(call, decision, later.clock_ns, now_ns)
            for call, decision in zip(calls, decided, strict=True)
        ]
        if any(ended):
            # Only what those tokens proved, or of that tenant; the others are recorded anew beside.
            left = [
                deny(over) if over else decision
                for over, decision in zip(ended, decided, strict=True)
            ]
            return await self._recorded(batch, later, calls, left)
        return found

    async def _written(
        self,
        batch: Batch,
        moment: Moment,
        calls: Sequence[Call],
        decided: Sequence[Decision],
    ) -> list[RecordRef | None]:
        """For each decision its durable record, or None: there is none in time."""
        first, clock_ns = calls[0], moment.clock_ns
        bundles = (call.bundle for call in calls if call.snapshot is not None)
        shared = BatchEvidence(
            new_decision_id(clock_ns),
            batch.request_id,
            batch.semantic.value,
            len(batch.questions),
            first.caller,
            next(bundles, None if moment.snapshot is None else moment.snapshot.ref),
            batch.digest,
        )
        attributes = BatchAttributes(self._encoded)
        items = [
            (decision, self._evidence(call, attributes))
            for decision, call in zip(decided, calls, strict=True)
        ]
        parts, places = build_batch(shared, items, self._encoded)
        if len(parts) == 1:
            records = [await self._record(parts[0], clock_ns, first.deadline)]
        else:
            # Handed over in one turn of the event loop: one after the other in the record.
            records = await asyncio.gather(
                *(self._record(part, clock_ns, first.deadline) for part in parts)
            )
        return [records[place] for place in places]


def _ended(call: Call, decision: Decision, clock_ns: int, now_ns: int) -> Cause | None:
    """Why a permit does not hold any more, if it does not."""
    if decision.effect is not Effect.PERMIT:
        return None
    if call.is_stale(clock_ns):
        return Cause.STALE
    return Cause.IDENTITY if has_ended(call.admitted, now_ns) else None


def _without_permits(decisions: Sequence[Decision], cause: Cause) -> list[Decision]:
    """The denials as they are; each permit a denial for this cause, under its own name."""
    return [
        Decision(Effect.DENY, cause, decision_id=decision.decision_id, bundle=decision.bundle)
        if decision.effect is Effect.PERMIT
        else decision
        for decision in decisions
    ]


def _until_the_end(semantic: Semantic, answers: Sequence[Answer]) -> list[Answer]:
    """What was a permit when the batch ended may be none any more, and then it ends earlier."""
    for index, answer in enumerate(answers):
        if semantic.ends(answer.decision):
            return list(answers[: index + 1])
    return list(answers)
