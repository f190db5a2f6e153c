"""Several PDPs that are one to the program: turns, outliers left out, one second attempt."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp_client import (
    AccessDenied,
    AsyncBalancedClient,
    BalancedClient,
    Cause,
    ConfigurationError,
    Decision,
    Question,
    Resource,
    Subject,
    _balance,
    _fleet,
)
from pdp_client._balance import EJECTED_S, FAILURES_MAX, HEDGE_SHARE, SAMPLE_MIN, Balance
from tests.simulators.faults import FiringRange, ScriptedPdp, Silent, refusing

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
GENEROUS_S = 4.0
NAMES = ("a", "b", "c")


# -- who is chosen ----------------------------------------------------------------------


def test_pdps_take_turns() -> None:
    """Three PDPs that answer: each gets a third of the questions."""
    balance = Balance(NAMES)
    chosen = Counter(balance.choose(0.0) for _ in range(300))
    assert chosen == dict.fromkeys(NAMES, 100)


def test_one_that_fails_five_times_in_a_row_is_left_out_for_a_while() -> None:
    """Then it is asked again; if it fails again, it is left out for longer."""
    balance = Balance(NAMES)
    for _ in range(FAILURES_MAX):
        assert "b" not in balance.out(0.0)
        balance.failed("b", 0.0)
    assert balance.out(0.0) == ["b"]
    assert {balance.choose(1.0) for _ in range(30)} == {"a", "c"}
    assert {balance.choose(EJECTED_S) for _ in range(30)} == set(NAMES)
    for _ in range(FAILURES_MAX):
        balance.failed("b", EJECTED_S)
    assert balance.out(2.9 * EJECTED_S) == ["b"]
    assert balance.out(3.0 * EJECTED_S) == []


def test_an_answer_in_between_keeps_it_in() -> None:
    """Five failures in all are none in a row."""
    balance = Balance(NAMES)
    for _ in range(FAILURES_MAX * 3):
        balance.failed("b", 0.0)
        balance.answered("b", 0.001)
    assert balance.out(0.0) == []


def test_if_all_are_out_the_one_that_is_soonest_back_is_asked() -> None:
    """Leaving all of them out would make an outage of a moment last."""
    balance = Balance(NAMES)
    for at, name in enumerate(NAMES):
        for _ in range(FAILURES_MAX):
            balance.failed(name, float(at))
    assert len(balance.out(2.0)) == 3
    assert balance.choose(2.0) == "a"
    assert balance.choose(2.0, ("a",)) == "b"
    assert balance.choose(2.0, NAMES) is None


def test_failing_over_ends_while_most_calls_fail() -> None:
    """Every call twice would make an overload worse: gRFC A6's bucket bounds it."""
    balance = Balance(NAMES)
    allowed = 0
    for _ in range(100):
        balance.failed("a", 0.0)
        allowed += balance.fail_over()
    assert allowed < 10
    for _ in range(200):
        balance.answered("a", 0.001)
    assert balance.fail_over()


def test_hedges_are_a_twentieth_of_calls_at_most() -> None:
    """However slow answers get, no more than 5 % of calls are asked twice."""
    balance = Balance(NAMES, hedging=True)
    for _ in range(200):
        balance.answered("a", 0.01)
    hedged = 0
    for _ in range(2_000):
        if balance.hedge_after(1.0) is not None:
            hedged += balance.hedge()
    assert 0 < hedged <= 2_000 * HEDGE_SHARE
    assert balance.hedged == hedged


def test_hedges_twin_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were each call to earn one, each could be asked twice."""
    monkeypatch.setattr(_balance, "HEDGE_SHARE", 1.0)
    balance = Balance(NAMES, hedging=True)
    for _ in range(200):
        balance.answered("a", 0.01)
    hedged = 0
    for _ in range(2_000):
        if balance.hedge_after(1.0) is not None:
            hedged += balance.hedge()
    assert hedged > 2_000 * HEDGE_SHARE


def test_a_second_pdp_is_asked_after_the_time_that_most_answers_take() -> None:
    """The 95th percentile of the last answers; unknown at first; not without time for an answer."""
    balance = Balance(NAMES, hedging=True)
    for number in range(SAMPLE_MIN - 1):
        balance.answered("a", 0.01)
        assert balance.hedge_after(1.0) is None, number
    for number in range(170):
        balance.answered("a", 0.5 if number % 10 == 0 else 0.01)
    assert balance.hedge_after(10.0) == 0.5
    assert balance.hedge_after(0.9) is None


def test_hedging_is_off_unless_it_is_asked_for() -> None:
    """And never with one PDP."""
    for balance in (Balance(NAMES), Balance(("a",), hedging=True)):
        for _ in range(200):
            balance.answered("a", 0.01)
        assert balance.hedge_after(1.0) is None


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.floats(0, 100)), max_size=60),
    st.floats(0, 200),
)
def test_somebody_is_always_asked_and_nobody_twice_for_one_call(
    events: Sequence[tuple[str, bool, float]], now: float
) -> None:
    """Whatever happened before: a first choice, another second one, and no third of two."""
    balance = Balance(NAMES)
    for name, answered, at in sorted(events, key=lambda event: event[2]):
        if answered:
            balance.answered(name, 0.01)
        else:
            balance.failed(name, at)
    tried: list[str] = []
    for _ in NAMES:
        chosen = balance.choose(now, tried)
        assert chosen is not None
        assert chosen not in tried
        tried.append(chosen)
    assert balance.choose(now, tried) is None


# -- real PDPs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


@pytest.fixture(scope="module")
def pdps(firing_range: FiringRange) -> Iterator[list[ScriptedPdp]]:
    """Three of them, each a process."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(firing_range.another()) for _ in range(3)]


class Both:
    """A client of either kind behind one blocking method."""

    def __init__(
        self, kind: type[BalancedClient | AsyncBalancedClient], *arguments: Any, **named: Any
    ) -> None:
        self.runner = asyncio.Runner()
        self.client = kind(*arguments, **named)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        closing = self.client.close()
        if closing is not None:
            self.runner.run(closing)
        self.runner.close()

    def ask(self, action: str = "permit", timeout: float | None = None) -> Decision:
        """One question."""
        asked = self.client.authorize(ALICE, action, REPORT, timeout=timeout)
        return asked if isinstance(asked, Decision) else self.runner.run(asked)


Make = Callable[..., Both]


@pytest.fixture(params=[BalancedClient, AsyncBalancedClient], ids=["threads", "asyncio"])
def make(request: pytest.FixtureRequest, firing_range: FiringRange) -> Make:
    """`make(targets, **options)`."""

    def made(targets: Sequence[str] = (), **options: Any) -> Both:
        return Both(
            request.param, targets, **{"budget_s": GENEROUS_S, **options}, **firing_range.files()
        )

    return made


def target(pdp: ScriptedPdp) -> str:
    """Where it is."""
    return f"localhost:{pdp.ports['good']}"


def test_questions_go_to_all_of_them(make: Make, pdps: list[ScriptedPdp]) -> None:
    """Each of three PDPs decides some; a denial is an answer, and not asked again elsewhere."""
    with make([target(one) for one in pdps]) as both:
        assert all(both.ask() for _ in range(9))
        denials = [both.ask("deny") for _ in range(9)]
    assert {one.cause for one in denials} == {Cause.RULE}
    counts = both.client.counts
    assert [counts[target(one)][Cause.RULE] for one in pdps] == [3, 3, 3]
    assert both.client.failed_over == 0


def test_one_that_is_away_costs_no_call(make: Make, pdps: list[ScriptedPdp]) -> None:
    """Its turns go to another within the same budget, and after a few it is left out."""
    with refusing() as port:
        away = f"localhost:{port}"
        with make([target(pdps[0]), away]) as both:
            assert all(both.ask() for _ in range(30))
            assert both.client.failed_over >= FAILURES_MAX
            assert both.client.out == [away]


def test_one_that_is_away_twin_without_failing_over(
    make: Make, pdps: list[ScriptedPdp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second attempt, its turns are denials."""
    monkeypatch.setattr(Balance, "fail_over", lambda _: False)
    with refusing() as port, make([target(pdps[0]), f"localhost:{port}"]) as both:
        assert not all(both.ask() for _ in range(10))


def test_a_fault_is_no_permit_wherever_it_is_tried(make: Make, pdps: list[ScriptedPdp]) -> None:
    """An answer that cannot be used is not the answer, and a second one like it is neither."""
    with make([target(one) for one in pdps]) as both:
        for fault in ("wrong_digest", "effect_zero", "garbage", "status:13", "no_record"):
            assert not both.ask(fault)


def test_the_budget_is_of_all_attempts_together(make: Make) -> None:
    """Two PDPs that say nothing: one budget, not two."""
    with (
        Silent() as one,
        Silent() as other,
        make([f"localhost:{one.port}", f"localhost:{other.port}"]) as both,
    ):
        started = time.monotonic()
        assert not both.ask(timeout=0.3)
        assert time.monotonic() - started < 0.3 + 2.0


def test_a_slow_one_is_overtaken_by_a_second_attempt(
    make: Make, firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle: with hedging, its questions are answered by another, in time."""
    # A machine that is short of time uses hedges up; how many there are is another test.
    monkeypatch.setattr(_balance, "HEDGE_SHARE", 1.0)
    with (
        firing_range.another() as good,
        firing_range.another() as stopped,
        make([target(good), target(stopped)], hedge=True) as both,
    ):
        assert all(both.ask() for _ in range(2 * SAMPLE_MIN))
        stopped.kill(signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert both.ask()
            assert both.ask()
            took_s = time.monotonic() - started
        finally:
            stopped.kill(signal.SIGCONT)
        assert both.client.hedged >= 1
        assert took_s < GENEROUS_S / 2


def test_a_slow_one_twin_without_hedging(make: Make, firing_range: FiringRange) -> None:
    """Without, one of both is denied at the end of its budget."""
    with (
        firing_range.another() as good,
        firing_range.another() as stopped,
        make([target(good), target(stopped)], budget_s=1.0) as both,
    ):
        assert all(both.ask(timeout=GENEROUS_S) for _ in range(10))
        stopped.kill(signal.SIGSTOP)
        try:
            assert not (both.ask() and both.ask())
        finally:
            stopped.kill(signal.SIGCONT)


def test_one_that_hangs_is_left_out_with_hedging_too(make: Make, firing_range: FiringRange) -> None:
    """A call that ended with its budget has failed at everybody that it still waited for."""
    with (
        firing_range.another() as good,
        firing_range.another() as stopped,
        make([target(good), target(stopped)], hedge=True) as both,
    ):
        assert all(both.ask() for _ in range(2 * SAMPLE_MIN))
        stopped.kill(signal.SIGSTOP)
        try:
            for _ in range(60):
                both.ask(timeout=0.05)
                if both.client.out:
                    break
            assert both.client.out == [target(stopped)]
        finally:
            stopped.kill(signal.SIGCONT)


def test_hedged_calls_get_their_own_answers(make: Make, pdps: list[ScriptedPdp]) -> None:
    """Two attempts of one call ask the same; a denial of the first that answers counts."""
    with make([target(one) for one in pdps], hedge=True) as both:
        for _ in range(SAMPLE_MIN):
            assert both.ask()
        for _ in range(20):
            assert not both.ask("deny")
            assert both.ask("permit")


def test_many_threads_share_a_hedging_client(
    firing_range: FiringRange, pdps: list[ScriptedPdp]
) -> None:
    """More threads than the client has of its own: none waits for one of those."""
    with (
        BalancedClient(
            [target(one) for one in pdps], hedge=True, budget_s=GENEROUS_S, **firing_range.files()
        ) as client,
        ThreadPoolExecutor(48) as pool,
    ):
        actions = ["permit", "deny"] * 120
        answers = list(pool.map(lambda action: client.authorize(ALICE, action, REPORT), actions))
    assert [bool(one) for one in answers] == [action == "permit" for action in actions]


def test_a_batch_goes_to_one_of_them(make: Make, pdps: list[ScriptedPdp]) -> None:
    """Decided at one moment by one PDP; with none there, every question is denied."""
    questions = [Question(ALICE, "permit", REPORT), Question(ALICE, "deny", REPORT)]
    with make([target(one) for one in pdps]) as both:
        asked: Any = both.client.authorize_batch(questions)
        answers = both.runner.run(asked) if asyncio.iscoroutine(asked) else asked
        assert [answers.permitted(place) for place in range(2)] == [True, False]


def test_enforce_raises_the_denial_with_its_reason(
    firing_range: FiringRange, pdps: list[ScriptedPdp]
) -> None:
    """As one client does."""
    with BalancedClient([target(pdps[0])], budget_s=GENEROUS_S, **firing_range.files()) as client:
        assert client.enforce(ALICE, "permit", REPORT)
        with pytest.raises(AccessDenied) as denied:
            client.enforce(ALICE, "wrong_digest", REPORT)
    assert denied.value.decision.cause is Cause.UNUSABLE
    assert "other bytes" in denied.value.reason


def test_a_closed_client_denies(make: Make, pdps: list[ScriptedPdp]) -> None:
    """With hedging, whose threads are gone, too."""
    for hedge in (False, True):
        both = make([target(pdps[0])], hedge=hedge)
        with both:
            assert both.ask()
        both.runner = asyncio.Runner()
        assert both.ask().cause is Cause.UNREACHABLE
        both.runner.close()


# -- DNS --------------------------------------------------------------------------------


class Names:
    """What `getaddrinfo` says of the name of the PDPs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] | None = ["127.0.0.1"]
        self.port = 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.answer)

    def answer(self, host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        """For the one name: the addresses as they are now."""
        if host != "localhost" or port != self.port:
            return self._real(host, port, *arguments, **named)
        if self.addresses is None:
            raise socket.gaierror("no such host")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]


def test_every_address_of_a_name_is_a_pdp_under_that_name(
    make: Make, pdps: list[ScriptedPdp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up on a call; certificates are checked for the name, not for the address."""
    names = Names(monkeypatch)
    names.port = pdps[0].ports["good"]
    with make(dns=f"localhost:{names.port}") as both:
        assert both.ask()
        assert list(both.client.counts) == [f"ipv4:127.0.0.1:{names.port}"]


def test_addresses_come_and_go_and_a_look_that_fails_changes_nothing(
    make: Make, pdps: list[ScriptedPdp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second address appears and the first goes; then DNS is down, and calls go on."""
    monkeypatch.setattr(_fleet, "LOOK_S", 0.0)
    names = Names(monkeypatch)
    names.port = pdps[0].ports["good"]
    with make(dns=f"localhost:{names.port}") as both:
        assert both.ask()
        names.addresses = ["127.0.0.2"]
        until(both, ["ipv4:127.0.0.2"], names.port)
        names.addresses = None
        for _ in range(3):
            both.ask()
        assert list(both.client.counts) == [f"ipv4:127.0.0.2:{names.port}"]
        names.addresses = ["127.0.0.1"]
        until(both, ["ipv4:127.0.0.1"], names.port)
        assert both.ask()


def until(both: Both, expected: list[str], port: int) -> None:
    """Ask until these are the PDPs."""
    for _ in range(200):
        both.ask()
        if list(both.client.counts) == [f"{one}:{port}" for one in expected]:
            return
        time.sleep(0.02)
    raise AssertionError(f"still {list(both.client.counts)}")


def test_a_name_that_nobody_knows_is_a_denial_in_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may start before its DNS does: it denies until then."""
    names = Names(monkeypatch)
    names.port, names.addresses = 9, None
    with make(dns="localhost:9", budget_s=0.5) as both:
        started = time.monotonic()
        assert both.ask().cause is Cause.UNREACHABLE
        assert time.monotonic() - started < 0.5 + 2.0


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        ((), {}),
        (("localhost:1",), {"dns": "localhost:1"}),
        (("localhost:1", "localhost:1"), {}),
        ("localhost:1", {}),
        ((), {"dns": "localhost"}),
        ((), {"dns": "localhost:0"}),
        ((), {"dns": ":443"}),
    ],
)
def test_targets_that_make_no_sense_are_refused(
    make: Make, targets: Any, named: dict[str, Any]
) -> None:
    """None, both ways at once, one twice, one string in place of a list, a name without a port."""
    with pytest.raises(ConfigurationError):
        make(targets, **named)


def test_a_unix_socket_has_mutual_tls_too(
    firing_range: FiringRange, pdps: list[ScriptedPdp], tmp_path: Path
) -> None:
    """A sidecar is a target like any other: its certificate is checked for the name given."""
    del pdps
    path = tmp_path / "pdp.sock"
    with firing_range.another(str(path)):
        with BalancedClient(
            [f"unix:{path}"],
            server_name="localhost",
            budget_s=GENEROUS_S,
            **firing_range.files(),
        ) as client:
            assert client.authorize(ALICE, "permit", REPORT)
        with BalancedClient(
            [f"unix:{path}"],
            server_name="elsewhere.example.org",
            budget_s=1.0,
            **firing_range.files(),
        ) as client:
            assert client.authorize(ALICE, "permit", REPORT).cause is Cause.UNREACHABLE
