"""Many questions through two editions: what would be answered otherwise, most dangerous first.

Streams. Kept are counts, the first differences of each danger, and the kinds
of differences, all bounded; a million records take no more memory than a
thousand.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pdp.audit.log import Opened
from pdp.audit.reading import printable
from pdp.errors import InvalidRequestError
from pdp.explaining import RULE_CAUSES
from pdp.explanation import cut
from pdp.impact.edition import Edition
from pdp.impact.question import Question, QuestionError, parse_question
from pdp.impact.recorded import Recorded, Unplayable, fill, read_record, refusal
from pdp.model import BundleRef, Decision, Effect
from pdp.values import format_timestamp

# Distinct reasons and kinds of differences that are counted; the rest is one more.
_KINDS_MAX = 1_000
_OTHERS = "others"
# Of each reason, the first records or lines that could not be asked: enough to look at them.
_PLACES_MAX = 3
_BY_RULES = frozenset(cause.value for cause in RULE_CAUSES)


class Danger(enum.IntEnum):
    """What a difference means, the worst first."""

    OPENS = 0  # DENY to PERMIT
    SHEDS = 1  # a permit that lost an obligation
    CLOSES = 2  # PERMIT to DENY
    OTHERWISE = 3  # the same effect for another cause, by other rules, with more obligations


@dataclass(frozen=True, slots=True)
class Case:
    """One question that would be answered otherwise.

    Attributes:
        danger: what that means.
        place: the record's head or the line, for finding it.
        time: `now` of the question.
        said: who would do what.
        old, new: both answers.
    """

    danger: Danger
    place: str
    time: str
    said: str
    old: Decision
    new: Decision


@dataclass(slots=True)
class Outcome:
    """What came of all questions.

    Attributes:
        asked: questions that both editions answered.
        counts: differences by danger.
        cases: the first of each danger.
        kinds: differences by danger, resource type, action, and rules before and after.
        skipped: questions that could not be asked, by reason.
        skipped_at: where the first of each reason are.
        drifted: recorded answers that the old edition does not give.
    """

    asked: int = 0
    counts: Counter[Danger] = field(default_factory=Counter)
    cases: dict[Danger, list[Case]] = field(default_factory=dict)
    kinds: Counter[tuple[Danger, str]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    skipped_at: dict[str, list[str]] = field(default_factory=dict)
    drifted: int = 0

    @property
    def different(self) -> int:
        """How many differences."""
        return sum(self.counts.values())

    def worst(self, top: int) -> Iterator[Case]:
        """The worst cases, each danger in the order of the log."""
        found = [case for danger in Danger for case in self.cases.get(danger, ())]
        yield from found[:top]


class Replay:
    """Asks both editions, one question after the other.

    Args:
        old, new: the editions.
        top: cases kept of each danger.
        caller, now_ns: for questions that name none.
        recorded_by_old: take the user's word that the old edition decided what
            was recorded, where the editions themselves do not know.
    """

    def __init__(
        self,
        old: Edition,
        new: Edition,
        *,
        top: int,
        caller: str = "",
        now_ns: int = 0,
        recorded_by_old: bool = False,
    ) -> None:
        self.old = old
        self.new = new
        self.outcome = Outcome()
        self._top = top
        self._caller = caller
        self._now_ns = now_ns
        self._recorded_by_old = recorded_by_old

    def take_record(self, record: Opened) -> None:
        """One record of a log."""
        for found in read_record(record):
            self._take(found, f"{record.ref.pdp_id}:{record.ref.seq}")

    def _take(self, found: Recorded | Unplayable, place: str) -> None:
        if isinstance(found, Recorded):
            question = fill(found, (self.old, self.new), self._deciding(found.bundle))
            if isinstance(question, Question):
                self._ask(question, place, found)
                return
            found = question
        self._skip(found.reason, place)

    def take_line(self, line: bytes, place: str) -> None:
        """One question of a file."""
        try:
            question = parse_question(line.decode())
        except (QuestionError, UnicodeDecodeError) as error:
            reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            self._skip(reason, place)
            return
        question = question.otherwise(self._caller, self._now_ns)
        if not question.caller.spiffe_id:
            self._skip("no caller is named: write `caller` in the question, or `--caller`", place)
            return
        self._ask(question, place, None)

    def _deciding(self, bundle: BundleRef) -> Edition | None:
        """Which edition made a recorded decision, if one did."""
        for edition in (self.old, self.new):
            if edition.ref is not None and edition.ref == bundle:
                return edition
        return self.old if self._recorded_by_old else None

    def _ask(self, question: Question, place: str, recorded: Recorded | None) -> None:
        now_ns = question.now_ns or 0
        try:
            old, _ = self.old.answer(question, now_ns)
            new, _ = self.new.answer(question, now_ns)
        except InvalidRequestError as error:
            self._skip(refusal(error, question), place)
            return
        self.outcome.asked += 1
        if recorded is not None and recorded.answer[1] in _BY_RULES:
            self.outcome.drifted += recorded.answer != (old.effect, old.cause.value, old.rules)
        danger = danger_of(old, new)
        if danger is None:
            return
        outcome = self.outcome
        outcome.counts[danger] += 1
        request = question.request
        rules = f"{_by(old)} → {_by(new)}"
        self._count(
            outcome.kinds, danger, f"{request.resource.type} {request.action.name}: {rules}"
        )
        kept = outcome.cases.setdefault(danger, [])
        if len(kept) < self._top:
            subject, resource = request.subject, request.resource
            said = (
                f"{subject.type}:{subject.id} {request.action.name} {resource.type}:{resource.id}"
            )
            time = format_timestamp(now_ns)
            kept.append(Case(danger, place, time, printable(cut(said, 160)), old, new))

    def _skip(self, reason: str, place: str) -> None:
        known = self.outcome.skipped
        said = printable(cut(reason, 160))
        key = said if said in known or len(known) < _KINDS_MAX else _OTHERS
        known[key] += 1
        places = self.outcome.skipped_at.setdefault(key, [])
        if len(places) < _PLACES_MAX:
            places.append(printable(cut(place, 160)))

    @staticmethod
    def _count(kinds: Counter[tuple[Danger, str]], danger: Danger, said: str) -> None:
        key = (danger, printable(cut(said, 240)))
        kinds[key if key in kinds or len(kinds) < _KINDS_MAX else (danger, _OTHERS)] += 1


def danger_of(old: Decision, new: Decision) -> Danger | None:
    """What the difference between two answers means; None if there is none."""
    if old.effect is not new.effect:
        return Danger.OPENS if new.effect is Effect.PERMIT else Danger.CLOSES
    if {duty.key for duty in old.obligations} - {duty.key for duty in new.obligations}:
        return Danger.SHEDS
    sides = [(each.cause, each.rules, each.obligations, each.advice) for each in (old, new)]
    if sides[0] != sides[1]:
        return Danger.OTHERWISE
    return None


def _by(decision: Decision) -> str:
    rules = ", ".join(decision.rules)
    return f"{decision.effect.name}({decision.cause.name})" + (f" by {rules}" if rules else "")
