"""The client's breaker: when it stops asking, when it tries again, and that it never permits.

First by itself, with times as numbers; then in both clients against a PDP
that fails on request.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pdp.model import Cause, Decision, Effect, Resource, Subject, deny
from pdp.v1 import authorization_pb2 as pb
from pdp_client import AsyncClient, Client, _core
from pdp_client._breaker import Breaker, Evidence
from pdp_client._core import CAUSE_OF_STATUS, Call, Conclusion, Outcome, Status
from tests.simulators.faults import SPOILED, FiringRange, Proxy, refusing
from tests.test_client_core import asked, concluded, ended, honest, question

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
GENEROUS_S = 5.0
ANSWERED, FAILED, NEITHER = Evidence.ANSWERED, Evidence.FAILED, Evidence.NEITHER


def told(breaker: Breaker, now: float, evidence: Evidence) -> bool:
    """One call that takes no time; whether it was let through."""
    admitted = breaker.admit(now)
    if admitted is None:
        return False
    breaker.learn(admitted, now, evidence)
    return True


def opened() -> Breaker:
    """A breaker that opened at time 0."""
    breaker = Breaker()
    for _ in range(20):
        told(breaker, 0.0, FAILED)
    assert breaker.is_open
    return breaker


# -- by itself --------------------------------------------------------------------------

evidence = st.sampled_from([ANSWERED, FAILED, FAILED])
steps = st.tuples(
    st.sampled_from([0.0] * 6 + [0.001, 0.3, 0.999, 1.0, 1.001, 5.0, 10.0, 11.0]),
    st.sampled_from([ANSWERED, FAILED, FAILED, NEITHER]),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=120))
def test_the_breaker_is_the_rule_as_written(script: list[tuple[float, Evidence]]) -> None:
    """Against the rule, written down as a list of calls: the same calls are let through.

    Open at 20 calls with half of them failed among those of this second and
    the nine before it; open lets through one call a second; an answer closes.
    """
    breaker, now = Breaker(), 1_000.0
    window: list[tuple[int, bool]] = []
    tried_at: float | None = None  # when it opened, or when it was last tried; None: closed
    for pause, says in script:
        now += pause
        expected = tried_at is None or now >= tried_at + 1
        assert told(breaker, now, says) == expected
        if tried_at is not None and expected:
            tried_at = None if says is ANSWERED else now
            window = []
        elif tried_at is None and says is not NEITHER:
            window.append((math.floor(now), says is FAILED))
            recent = [failed for second, failed in window if second > math.floor(now) - 10]
            if len(recent) >= 20 and sum(recent) / len(recent) >= 0.5:
                tried_at = now
                event("opened")
        assert breaker.is_open == (tried_at is not None)


@given(st.data())
def test_calls_that_overlap_are_let_through_once_a_second(data: st.DataObject) -> None:
    """Calls in any order, with answers in any order: open means one a second, whatever comes in."""
    breaker, now = Breaker(), 0.0
    flying: list[int] = []
    let_through: list[float] = []  # since it opened
    for _ in range(data.draw(st.integers(0, 80))):
        now += data.draw(st.sampled_from([0.0, 0.0, 0.05, 0.5, 1.0]))
        ends: bool = data.draw(st.booleans())
        if flying and ends:
            admitted = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            was_open = breaker.is_open
            breaker.learn(admitted, now, data.draw(evidence))
            if breaker.is_open != was_open:
                let_through = [now]
        else:
            admitted_now = breaker.admit(now)
            if admitted_now is not None:
                flying.append(admitted_now)
                if breaker.is_open:
                    let_through.append(now)
        if breaker.is_open:
            pairs = itertools.pairwise(let_through)
            assert all(later - earlier >= 1 for earlier, later in pairs)


def test_it_takes_twenty_calls() -> None:
    """Nineteen failures open nothing: a few calls say little."""
    breaker = Breaker()
    assert all(told(breaker, 0.0, FAILED) for _ in range(19))
    assert not breaker.is_open
    assert told(breaker, 0.0, FAILED)
    assert not told(breaker, 0.0, FAILED)


def test_it_takes_half_of_the_calls() -> None:
    """Eleven answers among twenty-one keep it closed, ten of twenty do not."""
    breaker = Breaker()
    assert all(told(breaker, 0.0, ANSWERED) for _ in range(11))
    assert all(told(breaker, 0.0, FAILED) for _ in range(10))
    assert not breaker.is_open
    assert told(breaker, 0.0, FAILED)
    assert breaker.is_open


def test_old_failures_are_forgotten() -> None:
    """What failed more than ten seconds ago is not held against the PDP."""
    breaker = Breaker()
    assert all(told(breaker, 0.0, FAILED) for _ in range(19))
    assert all(told(breaker, 10.0, FAILED) for _ in range(19))
    assert not breaker.is_open


def test_one_call_a_second_is_tried() -> None:
    """Open for a second, then one; a failure, or no word at all, means another second."""
    breaker = opened()
    assert breaker.admit(0.999) is None
    assert breaker.admit(1.0) is not None  # and is never heard of again
    assert breaker.admit(1.999) is None
    assert told(breaker, 2.0, FAILED)
    assert not told(breaker, 2.999, ANSWERED)
    assert told(breaker, 3.0, NEITHER)
    assert not told(breaker, 3.999, ANSWERED)
    assert told(breaker, 4.0, ANSWERED)
    assert all(told(breaker, 4.0, FAILED) for _ in range(20))
    assert not told(breaker, 4.0, FAILED)


def test_one_call_a_second_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pause, an open breaker would hold nobody back."""
    breaker = opened()
    monkeypatch.setattr("pdp_client._breaker.PROBE_INTERVAL_S", 0.0)
    assert breaker.admit(1.0) is not None
    assert all(breaker.admit(1.0) is not None for _ in range(10))


def test_late_news_is_no_news() -> None:
    """A call from before the breaker opened neither closes it, nor opens it once it has closed."""
    breaker = Breaker()
    early = breaker.admit(0.0)
    assert early is not None
    for _ in range(20):
        told(breaker, 0.0, FAILED)
    breaker.learn(early, 0.5, ANSWERED)
    assert breaker.is_open
    assert told(breaker, 1.0, ANSWERED)
    for _ in range(30):
        breaker.learn(early, 1.0, FAILED)
    assert not breaker.is_open


def test_times_that_come_out_of_order_do_no_harm() -> None:
    """Threads read the clock before they take the lock: an earlier time counts as the latest."""
    breaker = opened()
    assert breaker.admit(1.5) is not None
    assert breaker.admit(1.0) is None
    assert breaker.admit(2.4) is None
    assert breaker.admit(2.5) is not None


# -- what counts ------------------------------------------------------------------------


def evidence_of(call: Call, outcome: Outcome, can_meet: frozenset[tuple[str, str]]) -> Evidence:
    """What a driver would learn from an outcome."""
    conclusion: Conclusion = concluded(call, outcome, can_meet)
    return conclusion.evidence


@pytest.mark.parametrize("status", range(1, 17))
def test_statuses_that_count_are_those_without_a_decision(status: int) -> None:
    """A status whose cause is a client's own counts against the PDP; one that it gives does not."""
    cause = CAUSE_OF_STATUS.get(status, Cause.UNREACHABLE)
    expected = FAILED if cause in {Cause.UNREACHABLE, Cause.UNUSABLE} else ANSWERED
    assert evidence_of(asked(), ended(None, status), frozenset()) is expected


@pytest.mark.parametrize("fault", sorted(SPOILED))
def test_spoilt_permits_count_but_unmet_obligations_do_not(fault: str) -> None:
    """Who asks for what obliges to something must not be able to open the breaker for others."""
    call = asked()
    answer = honest(call)
    SPOILED[fault](answer)
    unmet = fault in {"obligation_unknown", "obligation_of_another_type"}
    outcome = ended(answer.SerializeToString())
    assert evidence_of(call, outcome, frozenset()) is (ANSWERED if unmet else FAILED)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.value < 100])
def test_a_denial_of_the_pdp_is_an_answer(cause: Cause) -> None:
    """Also OVERLOADED, STALE and AUDIT: a PDP that denies does what it should."""
    call = asked()
    answer = honest(call)
    answer.effect = pb.EFFECT_DENY
    answer.MergeFrom(pb.AuthorizeResponse(cause=pb.Cause.Name(cause.value)))
    outcome = ended(answer.SerializeToString())
    assert concluded(call, outcome).decision.cause is cause
    assert evidence_of(call, outcome, frozenset()) is ANSWERED


def test_running_out_of_little_time_says_nothing() -> None:
    """Short remainders are the caller's: only a call with a fair budget counts when it runs out."""
    late = Outcome(Status.DEADLINE_EXCEEDED, None, "", 0.5)
    for budget_s, expected in ((0.099, NEITHER), (0.1, FAILED), (1.0, FAILED)):
        call = _core.begin(question(), 0.0, budget_s)
        assert evidence_of(call, late, frozenset()) is expected
        permit = ended(honest(call).SerializeToString(), at=2.0)
        assert evidence_of(call, permit, frozenset()) is expected
        refused = Outcome(Status.UNAVAILABLE, None, "", 0.01)
        assert evidence_of(call, refused, frozenset()) is FAILED


@pytest.mark.parametrize("error", [ValueError("a bug"), _core.Refusal(Cause.UNREACHABLE, "closed")])
def test_what_was_never_asked_says_nothing(error: Exception) -> None:
    """A question that cannot be encoded, and a closed client, say nothing about the PDP."""
    assert _core.denial(error, asked=False).evidence is NEITHER


# -- in the clients ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


class Both:
    """A client of either kind behind one blocking method."""

    def __init__(self, kind: type[Client | AsyncClient], target: str, **arguments: Any) -> None:
        self._runner = asyncio.Runner()
        self.client = kind(target, **arguments)

    def ask(self, action: str = "permit", timeout: float | None = None) -> Decision:
        """One question."""
        asking = self.client.authorize(ALICE, action, REPORT, timeout=timeout)
        return asking if isinstance(asking, Decision) else self._runner.run(asking)

    def close(self) -> None:
        """End it."""
        closing = self.client.close()
        if closing is not None:
            self._runner.run(closing)
        self._runner.close()


@pytest.fixture(params=[Client, AsyncClient], ids=["threads", "asyncio"])
def both(request: pytest.FixtureRequest, firing_range: FiringRange) -> Iterator[Both]:
    """Each kind of client of the scripted PDP."""
    made = Both(request.param, firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S)
    yield made
    made.close()


def open_it(both: Both) -> None:
    """Let twenty calls fail."""
    for _ in range(20):
        assert both.ask("status:13").cause is Cause.UNREACHABLE


def test_a_failing_pdp_is_left_alone_and_comes_back(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    """After twenty failures calls are denied unasked; soon after its return they are permitted."""
    open_it(both)
    started = time.monotonic()
    for _ in range(50):
        decision = both.ask("permit")
        assert (decision.effect, decision.cause) == (Effect.DENY, Cause.UNREACHABLE)
    assert time.monotonic() - started < 0.9, "the machine is too slow for this test"
    assert both.client.unasked == 50
    assert "fails too often" in caplog.text
    while not both.ask("permit"):
        assert time.monotonic() - started < 3
        time.sleep(0.02)
    assert "answers again" in caplog.text
    unasked = both.client.unasked
    assert both.ask("permit")
    assert both.client.unasked == unasked


def test_an_open_breaker_uses_no_network(firing_range: FiringRange) -> None:
    """Thousands of calls to a failing PDP send not as many bytes as one of them would."""
    with Proxy(firing_range.pdp.ports["good"]) as proxy:
        target = f"localhost:{proxy.port}"
        with Client(target, **firing_range.files(), budget_s=GENEROUS_S) as client:
            for _ in range(19):
                client.authorize(ALICE, "status:13", REPORT)
            time.sleep(0.02)
            before = proxy.passed["server"]
            client.authorize(ALICE, "status:13", REPORT)
            opened_at = time.monotonic()
            time.sleep(0.02)
            one_call = proxy.passed["server"] - before
            while time.monotonic() - opened_at < 0.9:
                assert not client.authorize(ALICE, "permit", REPORT)
            assert proxy.passed["server"] - before - one_call < one_call
            assert client.unasked > 100


def test_failing_pdp_twin_without_guard(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the breaker, every call to the failing PDP would be made."""
    monkeypatch.setattr(Breaker, "admit", lambda *_: 0)
    open_it(both)
    assert both.ask("permit")
    assert both.client.unasked == 0


def test_an_open_breaker_permits_nothing_even_when_told_nonsense(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A breaker that breaks is a denial: no error of its own becomes a permit."""

    def broken(*_: object) -> int:
        raise ZeroDivisionError

    assert both.ask("permit")
    monkeypatch.setattr(Breaker, "admit", broken)
    assert both.ask("permit") == deny(Cause.UNUSABLE)


def test_denials_and_unmet_obligations_open_nothing(both: Both) -> None:
    """Forty denials of each kind that a PDP makes, and the next question is still asked."""
    for action in ["deny", "obliged", "status:3", "status:16"] * 10:
        assert not both.ask(action)
    assert both.ask("permit")
    assert both.client.unasked == 0


def test_short_timeouts_open_nothing(both: Both) -> None:
    """Thirty callers with no time left do not stop the next one, who has."""
    assert both.ask("permit")
    for _ in range(30):
        assert not both.ask("slow:300", timeout=0.01)
    assert both.ask("permit")
    assert both.client.unasked == 0


def test_a_pause_that_the_server_asks_for_is_kept(both: Both) -> None:
    """`grpc-retry-pushback-ms` arrives through gRPC: the retry comes after it, or not at all."""
    started = time.monotonic()
    assert both.ask("pushback:300")
    assert time.monotonic() - started >= 0.3
    assert both.ask("pushback:-1").cause is Cause.UNREACHABLE
    assert both.ask("pushback:900", timeout=0.5).cause is Cause.UNREACHABLE


def test_overloaded_takes_tokens_from_retries(both: Both) -> None:
    """A PDP that says it has too much to do is not asked twice, and the breaker stays closed."""
    assert both.ask("once:14")
    for _ in range(8):
        assert both.ask("overloaded").cause is Cause.OVERLOADED
    assert both.ask("once:14").cause is Cause.UNREACHABLE
    for _ in range(30):
        assert both.ask("overloaded").cause is Cause.OVERLOADED
    assert both.client.unasked == 0


def test_many_threads_do_not_lose_count(firing_range: FiringRange) -> None:
    """Sixteen threads with a failing PDP: a denial is either asked for or not, and all count."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with refusing() as port, Client(f"localhost:{port}", **firing_range.files()) as client:
            attempts: Counter[int] = Counter()
            attempt = client._attempt

            def counted(method: str, call: Call) -> Outcome:
                attempts[threading.get_ident()] += 1
                return attempt(method, call)

            client._attempt = counted  # type: ignore[method-assign]
            with ThreadPoolExecutor(16) as pool:
                calls = [pool.submit(client.authorize, ALICE, "p", REPORT) for _ in range(800)]
                assert not any(call.result() for call in calls)
            asked_for = 800 - client.unasked
            assert client.counts == {Cause.UNREACHABLE: 800}
            assert 20 <= asked_for <= 800 // 2
            # Ten tokens: at most five calls were made twice.
            assert asked_for <= sum(attempts.values()) <= asked_for + 5
    finally:
        sys.setswitchinterval(before)
