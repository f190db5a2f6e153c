"""Enforcement points: the protected code runs only after a permit whose duties were met."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from pdp.model import Cause, Decision, Effect, Obligation, Resource, Subject
from pdp_client import AccessDenied, Answers, AsyncClient, Client, ConfigurationError, Question
from pdp_client.enforcement import (
    AsyncEnforcer,
    Duties,
    Enforcer,
    NoSubjectError,
    Unguarded,
    _duties,
    _enforcer,
    _outcomes,
    _subjects,
)
from pdp_client.testing import AsyncDenyAll, AsyncUnsafePermitAll, DenyAll, UnsafePermitAll
from tests.simulators.faults import FiringRange

WATERMARK = Obligation("watermark", "document", {"text": "secret words"})
TEMPLATE = Question(Subject("user", "ana"), "read", Resource("report", "r-1"))


class Broken:
    """A client that breaks every promise of clients, in one way of several."""

    budget_s = 0.25

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def authorize(self, *_: object, **__: object) -> Any:
        """Whatever it was made with; raised, if that is an exception."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    authorize_batch = authorize


BROKEN: list[object] = [
    RuntimeError("down"),
    TypeError("no"),
    True,
    1,
    "PERMIT",
    None,
    Effect.PERMIT,
]


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


@pytest.fixture(scope="module")
def client(firing_range: FiringRange) -> Iterator[Client]:
    """The real client, which asks the scripted PDP."""
    with Client(firing_range.target(), **firing_range.files(), budget_s=5.0) as made:
        yield made


def asking(action: str) -> Callable[[str], Question]:
    """What a guarded function asks about its one argument."""
    return lambda name: Question(Subject("user", "ana"), action, Resource("report", name))


def ran_both(enforcer: Enforcer, question: Callable[[str], Question]) -> list[str]:
    """Call a guarded function and run a guarded block; what of it ran."""
    found: list[str] = []

    @enforcer.guard(question)
    def act(name: str) -> None:
        found.append(name)

    def block(name: str) -> None:
        with enforcer.permitting(question(name)):
            found.append(name)

    for run, name in ((act, "function"), (block, "block")):
        with contextlib.suppress(AccessDenied):
            run(name)
    return found


def test_a_permit_of_the_pdp_lets_it_run(client: Client) -> None:
    """Through the real client: a guarded function and a guarded block, each asked about."""
    assert ran_both(Enforcer(client), asking("permit")) == ["function", "block"]


@pytest.mark.parametrize(
    "action", ["deny", "wrong_digest", "wrong_request_id", "status:13", "garbage"]
)
def test_nothing_else_of_the_pdp_lets_it_run(client: Client, action: str) -> None:
    """A denial, an answer to another question, an error: neither function nor block runs."""
    assert ran_both(Enforcer(client), asking(action)) == []


@pytest.mark.parametrize("cause", list(Cause))
def test_no_cause_of_a_denial_lets_it_run(cause: Cause) -> None:
    """Whatever it is that denies."""
    assert ran_both(Enforcer(DenyAll(cause)), asking("read")) == []


@pytest.mark.parametrize("answer", BROKEN, ids=repr)
def test_a_client_that_breaks_its_promises_lets_nothing_run(answer: object) -> None:
    """One that raises, or answers with something that is true and no permit."""
    broken: Any = Broken(answer)
    assert ran_both(Enforcer(broken), asking("read")) == []
    assert Enforcer(broken).permitted(["a"], asking("read")) == []


def test_a_client_that_breaks_its_promises_twin_by_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a true value enough, as in `if decision:`, one of them would let it run."""
    monkeypatch.setattr(_enforcer, "permits", bool)
    broken: Any = Broken(answer="PERMIT")
    monkeypatch.setattr(Duties, "meet", lambda *_: None)
    assert ran_both(Enforcer(broken), asking("read")) == ["function", "block"]


def test_what_cannot_be_asked_does_not_run() -> None:
    """A function that says what to ask, and raises, or says nothing, is a denial."""

    def raising(name: str) -> Question:
        raise KeyError(name)

    def nothing(name: str) -> Any:
        del name

    enforcer = Enforcer(UnsafePermitAll())
    found: list[str] = []

    def act(name: str) -> None:
        found.append(name)

    for question in (raising, nothing):
        with pytest.raises(AccessDenied):
            enforcer.guard(question)(act)("x")
    assert found == []


def test_a_guard_of_the_wrong_kind_is_refused_where_it_is_written() -> None:
    """A blocking guard would hold up the event loop of a coroutine function; and the reverse."""

    async def later(name: str) -> None: ...

    def now(name: str) -> None: ...

    with pytest.raises(TypeError, match="`later` is asynchronous"):
        Enforcer(DenyAll()).guard(asking("read"))(later)
    wrong: Any = now
    with pytest.raises(TypeError, match="`now` is not a coroutine function"):
        AsyncEnforcer(AsyncDenyAll()).guard(asking("read"))(wrong)


# -- duties -----------------------------------------------------------------------------


def kept(*, fails: bool = False) -> tuple[Duties, list[str]]:
    """Duties that know the watermark, and what they did."""
    duties, done = Duties(), []

    @duties.meets("document", "watermark")
    def watermark(obligation: Obligation, question: Question) -> None:
        done.append(f"{obligation.properties['text']!s} on {question.resource.id}")
        if fails:
            raise OSError("secret words")

    return duties, done


def test_a_permit_runs_after_its_duties_were_met() -> None:
    """The handler has the obligation and the question, and comes first."""
    duties, done = kept()
    assert ran_both(Enforcer(UnsafePermitAll((WATERMARK,)), duties), asking("read")) == [
        "function",
        "block",
    ]
    assert done == ["secret words on function", "secret words on block"]


@pytest.mark.parametrize(
    "obligation",
    [Obligation("other", "document"), Obligation("watermark", "custom"), Obligation("x", "y")],
)
def test_an_obligation_that_nobody_handles_denies(obligation: Obligation) -> None:
    """A handler for one type and id is none for another; and none of the others is run."""
    duties, done = kept()
    enforcer = Enforcer(UnsafePermitAll((WATERMARK, obligation)), duties)
    assert ran_both(enforcer, asking("read")) == []
    assert done == []


def test_an_obligation_that_nobody_handles_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were what nobody handles passed over, the code would run."""

    def lenient(self: Duties, decision: Decision) -> list[Any]:
        known = self._handlers
        return [
            (one, known[one.type, one.id])
            for one in decision.obligations
            if (one.type, one.id) in known
        ]

    monkeypatch.setattr(Duties, "_handlers_of", lenient)
    enforcer = Enforcer(UnsafePermitAll((Obligation("x", "y"),)), Duties())
    assert ran_both(enforcer, asking("read")) == ["function", "block"]


def test_a_duty_that_fails_denies_and_its_words_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a handler raises may hold what the obligation is about."""
    duties, _ = kept(fails=True)
    with caplog.at_level(logging.WARNING, "pdp_client"):
        enforcer = Enforcer(UnsafePermitAll((WATERMARK,)), duties)
        assert ran_both(enforcer, asking("read")) == []
    assert "OSError" in caplog.text
    assert "secret words" not in caplog.text


def test_duties_of_a_denial_are_done_and_change_nothing() -> None:
    """A denial that obliges to tell somebody is a denial, whether that works or not."""
    for fails in (False, True):
        duties, done = kept(fails=fails)
        denial = Decision(Effect.DENY, Cause.RULE, ("p/r",), (WATERMARK, Obligation("x", "y")))
        stand_in: Any = Broken(denial)
        assert Enforcer(stand_in, duties).decide(TEMPLATE) == denial
        assert len(done) == 1


def test_two_handlers_of_one_obligation_are_refused() -> None:
    """Which of them counted would be a matter of the order of imports."""
    duties, _ = kept()
    with pytest.raises(ConfigurationError, match="has a handler already"):
        duties.meets("document", "watermark")
    assert duties.declared == {("document", "watermark")}


def test_a_coroutine_function_meets_duties_on_an_event_loop_only() -> None:
    """Not awaited, it would count as met, and nothing would have been done."""
    duties, done = Duties(), []

    @duties.meets("document", "watermark")
    async def watermark(obligation: Obligation, question: Question) -> None:
        await asyncio.sleep(0)
        done.append(obligation.id)

    with pytest.raises(ConfigurationError, match="use `AsyncEnforcer`"):
        Enforcer(UnsafePermitAll(), duties)

    async def ask() -> Decision:
        return await AsyncEnforcer(AsyncUnsafePermitAll((WATERMARK,)), duties).decide(TEMPLATE)

    assert asyncio.run(ask())
    assert done == ["watermark"]


def test_a_handler_that_returns_a_coroutine_has_met_nothing() -> None:
    """A lambda around a coroutine function cannot be told by its looks: it is found when run."""
    duties = Duties()

    async def later() -> None: ...

    duties.meets("document", "watermark")(lambda *_: later())
    enforcer = Enforcer(UnsafePermitAll((WATERMARK,)), duties)
    with pytest.warns(RuntimeWarning, match="never awaited"):
        assert denied_and_collected(enforcer)


def denied_and_collected(enforcer: Enforcer) -> bool:
    """Whether it denied; and the coroutine that nobody awaited is gone."""
    decision = enforcer.decide(TEMPLATE)
    gc.collect()
    return not decision


# -- asyncio ----------------------------------------------------------------------------


async def ran_async(enforcer: AsyncEnforcer, question: Callable[[str], Question]) -> list[str]:
    """`ran_both`, on an event loop."""
    found: list[str] = []

    @enforcer.guard(question)
    async def act(name: str) -> None:
        found.append(name)

    async def block(name: str) -> None:
        async with enforcer.permitting(question(name)):
            found.append(name)

    for run, name in ((act, "function"), (block, "block")):
        with contextlib.suppress(AccessDenied):
            await run(name)
    return found


def test_asyncio_is_enforced_alike() -> None:
    """Function, block and filter: all after a permit, none after a denial."""

    async def compare() -> None:
        permits, denies = AsyncEnforcer(AsyncUnsafePermitAll()), AsyncEnforcer(AsyncDenyAll())
        assert await ran_async(permits, asking("read")) == ["function", "block"]
        assert await ran_async(denies, asking("read")) == []
        assert await permits.permitted(["a", "b"], asking("read")) == ["a", "b"]
        assert await denies.permitted(["a", "b"], asking("read")) == []

    asyncio.run(compare())


def test_cancellation_passes_and_nothing_runs(firing_range: FiringRange) -> None:
    """A task that is cancelled while it asks is cancelled, and its code has not run."""
    found: list[str] = []

    async def cancelled() -> None:
        async with AsyncClient(
            firing_range.target(), **firing_range.files(), budget_s=5.0
        ) as client:
            guarded = AsyncEnforcer(client).guard(asking("slow:3000"))

            @guarded
            async def act(name: str) -> None:
                found.append(name)

            task = asyncio.create_task(act("x"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    assert found == []


# -- bulk -------------------------------------------------------------------------------


class Filtering:
    """A client that permits by the resource's id, and keeps the sizes of its batches."""

    budget_s = 0.25

    def __init__(self, permitted: Sequence[str], missing: int = 0) -> None:
        self.wanted = permitted
        self.missing = missing
        self.sizes: list[int] = []

    def authorize(self, *_: object, **__: object) -> Any:
        """Not asked here."""
        raise NotImplementedError

    def authorize_batch(self, questions: Sequence[Question], **_: object) -> Answers:
        """A permit for each that is wanted."""
        self.sizes.append(len(questions))
        decided = [
            Decision(Effect.PERMIT, Cause.RULE, ("p/r",))
            if one.resource.id in self.wanted
            else Decision(Effect.DENY, Cause.DEFAULT)
            for one in questions
        ]
        return Answers(decided[: len(decided) - self.missing])


def test_bulk_filtering_keeps_exactly_what_is_permitted_in_order() -> None:
    """Items are asked about in batches; those that are permitted come back as they were given."""
    names = [f"r-{number}" for number in range(450)]
    wanted = names[::3]
    client: Any = Filtering(wanted)
    assert Enforcer(client).permitted(iter(names), asking("read")) == wanted
    assert client.sizes == [200, 200, 50]


def test_items_without_an_answer_are_left_out() -> None:
    """An answer too few must not move the others, and is nobody's permit."""
    client: Any = Filtering(["a", "b", "c"], missing=1)
    assert Enforcer(client).permitted(["a", "b", "c"], asking("read")) == ["a", "b"]


def test_an_item_that_cannot_be_asked_about_is_left_out_alone() -> None:
    """Its neighbours keep their own answers: they are paired with questions, not with places."""

    def question(name: str) -> Question:
        if name == "bad":
            raise ValueError(name)
        return asking("read")(name)

    client: Any = Filtering(["b", "d"])
    assert Enforcer(client).permitted(["a", "bad", "b", "c", "d"], question) == ["b", "d"]


def test_an_item_that_cannot_be_asked_about_twin_by_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were answers paired with the places of the items, somebody else's permit would count."""

    def by_place(asked: Sequence[Any], answers: Answers) -> Iterator[Any]:
        shifted = [*asked[1:], asked[0]]
        for place, (item, one) in enumerate(shifted):
            yield item, one, answers[place]

    monkeypatch.setattr(_enforcer, "_paired", by_place)
    client: Any = Filtering(["b", "d"])
    assert Enforcer(client).permitted(["a", "b", "c", "d"], asking("read")) != ["b", "d"]


def test_a_batch_that_obliges_needs_its_duties_item_by_item() -> None:
    """A permit with a duty that nobody meets leaves its item out."""
    assert Enforcer(UnsafePermitAll((WATERMARK,))).permitted(["a"], asking("read")) == []
    duties, done = kept()
    assert Enforcer(UnsafePermitAll((WATERMARK,)), duties).permitted(["a"], asking("read")) == ["a"]
    assert done == ["secret words on a"]


# -- who acts, and what is told ---------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["Bearer a.b.c", "Bearer d.e.f"],
        ["Bearer a.b.c, Bearer d.e.f"],
        ["Basic YTpi"],
        ["Bearer"],
        ["Bearer  a.b.c"],
        ["bearer a b"],
        ["Bearer a.b.c\n"],
        ["Bearer " + "a" * 17_000],
    ],
)
def test_what_is_not_one_bearer_token_is_none(values: list[str]) -> None:
    """Two headers, two tokens in one, another scheme, something around it: nobody acts."""
    with pytest.raises(NoSubjectError):
        _subjects.bearer_of(values)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "a.!!.c",
        "a.W10.c",
        "a.e30.c",
        "a.eyJzdWIiOjF9.c",
        "a.eyJzdWIiOiIifQ.c",
    ],
)
def test_a_token_that_names_nobody_is_no_subject(token: str) -> None:
    """Not a JWT, no object, no `sub`, one that is no text, an empty one."""
    with pytest.raises(NoSubjectError):
        _subjects.subject_of_token(token, "user")


def test_a_subject_comes_with_the_token_that_is_to_prove_it() -> None:
    """What the token says of itself is only the question; the PDP verifies it."""
    proved = _subjects.subject_of_token("a.eyJzdWIiOiJhbmEifQ.c", "user")
    assert proved.subject == Subject("user", "ana")
    assert proved.token == "a.eyJzdWIiOiJhbmEifQ.c"
    assert "eyJ" not in repr(proved)


@pytest.mark.parametrize("cause", list(Cause))
def test_an_outage_is_not_told_as_a_policy_and_both_are_denials(cause: Cause) -> None:
    """403 where somebody decided, 503 where nobody could; never 2xx."""
    outcome = _outcomes.told(Decision(Effect.DENY, cause))
    assert _outcomes.HTTP_STATUS[outcome] in (403, 503)
    assert (outcome is _outcomes.Told.DENIED) == (
        cause.name
        in {"RULE", "INDETERMINATE", "DEFAULT", "BUDGET", "SCHEMA", "INVALID", "CALLER", "IDENTITY"}
    )
    with pytest.raises(TypeError):
        bool(outcome)


@pytest.mark.parametrize("reason", ["", "  ", None, 1])
def test_what_needs_no_decision_has_to_say_why(reason: Any) -> None:
    """An opening without a reason is what an audit cannot find."""
    with pytest.raises(TypeError):
        Unguarded(reason)


def test_handlers_are_looked_up_before_any_is_run() -> None:
    """The order in a decision is the rules'; that one is unknown is found before effects begin."""
    duties, done = kept()
    with pytest.raises(_duties.UnmetError):
        duties.meet(
            Decision(Effect.PERMIT, Cause.RULE, ("p/r",), (WATERMARK, Obligation("x", "y"))),
            TEMPLATE,
        )
    assert done == []
