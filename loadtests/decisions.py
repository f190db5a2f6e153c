"""Whole decisions: wire message in, decision out, without network and without the record.

Beside cedarpy on an equivalent policy set, and beside itself with many rules.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from docs.demo.questions import QUESTIONS
from docs.demo.scene import CALLER, POLICIES, TRUST_DOMAIN
from loadtests import cedar, population
from loadtests.rounds import Target, Timing, measure
from pdp.audit.entry import Received
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.authoring.compilation import compile_directory
from pdp.boundary import InputLimits
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.decision_point import DecisionPoint
from pdp.interning import Interner
from pdp.model import (
    Action,
    BundleRef,
    Caller,
    Decision,
    Effect,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.policy import PolicyDocument, PolicySet, RuleDocument
from pdp.snapshot import Denials, Snapshot, TenantState
from pdp.tenancy import Tenancy
from pdp.values import NANOS
from pdp.wire import request_to_pb

# Not at the end of a month, when payments are frozen.
NOW = datetime(2026, 9, 15, 10, tzinfo=UTC)
_NOW_NS = int(NOW.timestamp()) * NANOS
_CEDAR_MIN, _SCALE_MAX = 8.0, 1.3
_SIZES = (10, 1_000, 100_000)
_RULES_PER_TYPE = 10
_LIMITS = InputLimits()
# Questions that are asked in a row, from one coroutine, as a service in process would.
_ROW = 10

T = TypeVar("T")
_RECORD = RecordRef("bench/0/1", 1, b"\0" * 32)


class _Clock:
    """A wall clock that stands; deadlines are real."""

    # As `SystemClock`.
    monotonic = staticmethod(time.monotonic)

    def wall_ns(self) -> int:
        return _NOW_NS


class _Source:
    """One snapshot."""

    def __init__(self, policies: PolicySet, callers: CallerPolicy) -> None:
        ref = BundleRef(7, b"\0" * 32)
        # As `BundleKeeper` makes it.
        self._snapshot = Snapshot(
            {"default": policies},
            callers,
            Denials(),
            ref,
            1 << 62,
            tenants={"default": TenantState(ref, 1 << 62)},
            tenancy=Tenancy(frozenset({"default"})),
        )

    def current(self) -> Snapshot:
        return self._snapshot


class UnsafeUnrecorded(DecisionPoint):
    """Answers without a record. For measuring what the record costs, and nothing else."""

    async def _filed(self, *_: object) -> RecordRef:
        return _RECORD


class Subjected:
    """A decision point in hand, and its caller.

    Args:
        policies: compiled.
        callers: who may ask.
        caller: who asks.
    """

    def __init__(self, policies: PolicySet, callers: CallerPolicy, caller: Caller) -> None:
        # No recorder: what would use it is overridden.
        self._point = UnsafeUnrecorded(_Source(policies, callers), None, clock=_Clock())  # type: ignore[arg-type]
        self._caller = caller
        self._interner = Interner(_LIMITS)

    async def authorize(self, message: bytes) -> Decision:
        """Wire message in, decision out."""
        question = self._interner.admit(message, self._caller)
        deadline = time.monotonic() + 1.0
        return await self._point.authorize(question, self._caller, deadline, Received(message))

    def ask(self, message: bytes) -> Decision:
        """The same without an event loop, which nothing in it waits for."""
        return by_hand(self.authorize(message))


def by_hand(asking: Coroutine[Any, Any, T]) -> T:
    """What comes of it."""
    try:
        asking.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise SystemExit("bench: a decision without a record waited for something")


def _in_turn(ask: Callable[[int], object], count: int) -> Callable[[], None]:
    """One call asks every question once."""

    def step() -> None:
        for number in range(count):
            ask(number)

    return step


def _endlessly(count: int) -> Iterator[Sequence[int]]:
    """The numbers of the questions, some in a row, over and over."""
    turn = itertools.cycle(range(count))
    while True:
        yield tuple(itertools.islice(turn, _ROW))


def _same_questions() -> Iterator[Request]:
    """Those of the demo, as long as they are about expense reports."""
    for number, asked in enumerate(QUESTIONS):
        if asked.resource.type == "expense_report":
            yield Request(
                asked.subject,
                Action(asked.action),
                asked.resource,
                asked.context,
                request_id=f"{number:032x}",
            )


def beside_cedar() -> list[Target]:
    """The same questions, to both: those of a company's day, and beside them two extremes."""
    compilation = compile_directory(POLICIES)
    compilation.raise_if_failed()
    if compilation.callers is None:
        raise SystemExit("bench: the sample policies have no caller policy")
    caller = Caller(f"spiffe://{TRUST_DOMAIN}/{CALLER}")
    policies, callers = compilation.policy_set(EvaluationLimits()), compilation.callers
    theirs = cedar.policy_set()

    def measured(questions: Iterable[Request]) -> tuple[dict[str, Timing], int]:
        point = Subjected(policies, callers, caller)
        asked = [(request_to_pb(each).SerializeToString(), each) for each in questions]
        # Left out where the answers differ: what the emergency list is about, and an attribute
        # that is missing, for which Cedar skips the forbid and allows. With this each question was
        # asked once before it is measured.
        pairs = [
            (message, request)
            for message, request in asked
            if cedar.ask(theirs, request, NOW, caller.path)
            is (point.ask(message).effect is Effect.PERMIT)
        ]
        count = len(pairs)
        ours_next, theirs_next = _endlessly(count), _endlessly(count)

        async def some() -> None:
            for number in next(ours_next):
                await point.authorize(pairs[number][0])

        def as_many() -> None:
            for number in next(theirs_next):
                cedar.ask(theirs, pairs[number][1], NOW, caller.path)

        taken = measure({"ours": lambda: by_hand(some()), "cedarpy": as_many})
        return {name: timing.of_each(_ROW) for name, timing in taken.items()}, count

    taken, count = measured(population.regulars())
    extremes: list[str] = []
    for words, questions in (
        ("new people and reports in each", population.newcomers()),
        ("the same few again", _same_questions()),
    ):
        found, _ = measured(questions)
        extremes.append(
            f"{words}: {found['cedarpy'].times(found['ours']):.1f} ({found['ours'].median:.1f})"
        )
    detail = ", ".join(f"{name} {timing.median:.1f}" for name, timing in taken.items())
    words = f"authorize, {count:,} questions about {population.PEOPLE} people and "
    words += f"{population.REPORTS} reports: cedarpy / ours"
    times = taken["cedarpy"].times(taken["ours"])
    detail = f"µs: {detail}; {'; '.join(extremes)}"
    return [Target(words, times, at_least=_CEDAR_MIN, detail=detail)]


def _many_rules(count: int, when: RuleDocument) -> PolicySet:
    """As many rules, ten to a resource type, each with a condition of its own."""
    rules = tuple(
        RuleDocument(
            f"rule-{number}", when.effect, ("read",) if number == 0 else (f"action-{number}",),
            None, when.when, None, None, "bench", (),
        )
        for number in range(_RULES_PER_TYPE)
    )  # fmt: skip
    documents = [
        PolicyDocument(f"policy-{at}", f"type-{at}", "bench@example.org", (), (), (), rules)
        for at in range(count // _RULES_PER_TYPE)
    ]
    return PolicySet(documents, EvaluationLimits())


def _at_scale(count: int, rule: RuleDocument) -> Callable[[], object]:
    caller = Caller("spiffe://bench.example.org/pep")
    entry = CallerEntry(caller.spiffe_id, ("*",), ("*",), ("*",))
    point = Subjected(_many_rules(count, rule), CallerPolicy((entry,)), caller)
    types = count // _RULES_PER_TYPE
    messages: list[bytes] = []
    # The same number of questions, over types from one end to the other.
    for number in range(100):
        request = Request(
            Subject("user", "ana", {"department": "sales", "grade": 5}),
            Action("read"),
            Resource(f"type-{number * (types - 1) // 99}", "r-1", {"department": "sales"}),
            {},
            request_id="0" * 32,
        )
        messages.append(request_to_pb(request).SerializeToString())
        if point.ask(messages[-1]).effect is not Effect.PERMIT:
            raise SystemExit("bench: a rule among many does not permit")
    return _in_turn(lambda at: point.ask(messages[at]), len(messages))


def with_many_rules(sizes: Sequence[int] = _SIZES) -> list[Target]:
    """The same decision among ever more rules that it is not about."""
    text = (
        "subject.properties.department == resource.properties.department "
        "&& subject.properties.grade >= 4"
    )
    with Checker() as checker:
        when = decode(checker.check(text, CONDITION_VARIABLES).checked_expr, text)
    rule = RuleDocument("r", Effect.PERMIT, ("read",), None, when, None, None, "bench", ())
    taken = measure({f"{size:,}": _at_scale(size, rule) for size in sizes})
    detail = ", ".join(f"{name} rules {one.median / 100:.1f}" for name, one in taken.items())
    worst = max(one.times(other) for one in taken.values() for other in taken.values())
    words = "a decision among few and many rules: slowest / fastest"
    return [Target(words, worst, at_most=_SCALE_MAX, detail=f"µs: {detail}")]
