"""Many calls over one conversation: each is its own, whatever becomes of the others.

First the bookkeeping by itself, against a model; then the client against a scripted PDP over
real mutual TLS, and against a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests import micro_batching
from pdp import wire_batch
from pdp.model import Cause, Decision, Resource, Subject, deny
from pdp.v1 import authorization_pb2 as pb
from pdp_client import AsyncClient, _conversation, _core, _flights
from pdp_client._core import Call, Outcome, Refusal
from pdp_client._flights import Flight, Flights
from tests.conftest import Ledger
from tests.simulators.faults import SPOILED, FiringRange, Plan, Proxy, refusing
from tests.test_client_core import question
from tests.test_faults import CUTS, Asker, Make, cut_at, firing_range, warmed
from tests.test_process import House, house
from tests.test_stream import until

__all__ = ["firing_range", "house"]

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
GENEROUS_S = 5.0
LATE_S_MAX = 2.0


# -- the bookkeeping, by itself -----------------------------------------------------------


class Told:
    """A flight, and what it was told."""

    def __init__(self, number: int, deadline_s: float = 100.0) -> None:
        request = question(request_id=f"{number:032x}")
        self.call: Call = _core.begin(request, 0.0, deadline_s)
        self.outcomes: list[Outcome] = []
        self.flight = Flight(self.call, self.outcomes.append)


def asked_in(message: bytes) -> list[pb.AuthorizeStreamRequest]:
    """The questions of a message."""
    found = pb.AuthorizeStreamRequest.FromString(message)
    return list(found.together) or [found]


@settings(max_examples=150)
@given(st.data())
def test_every_call_gets_its_own_answer_or_none(data: st.DataObject) -> None:
    """Calls that come, are sent, forgotten and answered in any order, with answers to nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_flights, "IN_FLIGHT_MAX", 4)
        flights = Flights()
        told: dict[str, Told] = {}
        waiting: set[str] = set()
        sent: set[str] = set()
        ever: list[str] = []
        for step in range(data.draw(st.integers(1, 25))):
            match data.draw(st.sampled_from(["ask", "ask", "send", "answer", "forget", "noise"])):
                case "ask":
                    made = Told(step)
                    flights.add(made.flight)
                    told[made.call.request_id] = made
                    waiting.add(made.call.request_id)
                case "send":
                    message = flights.next_message(1.0)
                    for one in [] if message is None else asked_in(message):
                        ever.append(one.request.request_id)
                        waiting.remove(one.request.request_id)
                        sent.add(one.request.request_id)
                    assert len(sent) <= 4
                    assert not waiting or len(sent) == 4
                case "answer" if sent:
                    some = data.draw(st.lists(st.sampled_from(sorted(sent)), unique=True))
                    answers = [
                        pb.AuthorizeResponse(request_id=name).SerializeToString()
                        for name in data.draw(st.permutations(some))
                    ]
                    if answers:
                        found = flights.answered(wire_batch.join_answers(answers))
                        owners = [flight.call.request_id for flight, _ in found]
                        assert sorted(owners) == sorted(some)
                        for flight, answer in found:
                            assert wire_batch.read_id(answer) == flight.call.request_id
                        sent -= set(some)
                case "forget" if waiting or sent:
                    name = data.draw(st.sampled_from(sorted(waiting | sent)))
                    flights.forget(told[name].flight)
                    waiting.discard(name)
                    sent.discard(name)
                case "noise":
                    stranger = pb.AuthorizeResponse(request_id="f" * 32).SerializeToString()
                    assert flights.answered(wire_batch.join_answers([stranger, b"\xff"])) == []
            assert len(flights) == len(waiting) + len(sent)
        assert len(ever) == len(set(ever))
        left = {flight.call.request_id for flight in flights.end()}
        assert left == waiting | sent
        assert len(flights) == 0


@given(st.binary(max_size=200))
def test_any_message_has_owners_or_ends_the_conversation(message: bytes) -> None:
    """Bytes that nobody made: nobody's answers, or a refusal of the whole."""
    flights = Flights()
    made = Told(1)
    flights.add(made.flight)
    flights.next_message(0.0)
    with contextlib.suppress(Refusal):
        assert flights.answered(message) == []
    assert flights.in_flight == 1


def test_an_answer_without_an_id_is_its_whose_bytes_it_names() -> None:
    """So says the contract of a question whose id the PDP could not read."""
    flights = Flights()
    several = [Told(number) for number in range(3)]
    for made in several:
        flights.add(made.flight)
    flights.next_message(0.0)
    answer = pb.AuthorizeResponse(request_digest=several[1].call.digest).SerializeToString()
    ((owner, _),) = flights.answered(wire_batch.join_answers([answer]))
    assert owner is several[1].flight


def test_each_question_is_sent_with_what_is_left_of_its_own_budget() -> None:
    """Three budgets, three timeouts; one that has nothing left is not sent."""
    flights = Flights()
    for number, deadline_s in enumerate((2.0, 3.5, 1.0)):
        flights.add(Told(number, deadline_s).flight)
    message = flights.next_message(1.0)
    assert message is not None
    spans = [one.timeout.seconds + one.timeout.nanos / 1e9 for one in asked_in(message)]
    assert spans == [1.0, 2.5]


def test_what_is_large_goes_in_a_message_of_its_own() -> None:
    """Messages have a largest size; a question that is larger alone goes alone."""
    flights = Flights()
    large = Told(0)
    object.__setattr__(large.call, "message", large.call.message + bytes(300_000))
    for made in (Told(1), large, Told(2)):
        flights.add(made.flight)
    sizes = []
    while (message := flights.next_message(0.0)) is not None:
        sizes.append(len(message))
    assert len(sizes) >= 2
    assert flights.in_flight == 3


# -- over the wire ------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def client_of(
    firing_range: FiringRange, target: str = "", budget_s: float = GENEROUS_S
) -> AsyncIterator[AsyncClient]:
    """A client that batches."""
    async with AsyncClient(
        target or firing_range.target(),
        **firing_range.files(),
        budget_s=budget_s,
        micro_batching=True,
    ) as made:
        yield made


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """One scenario in a loop of its own."""
    asyncio.run(asyncio.wait_for(scenario(), 60))


async def all_of(client: AsyncClient, *actions: str) -> list[Decision]:
    """Ask all at the same time."""
    return list(
        await asyncio.gather(*(client.authorize(ALICE, action, REPORT) for action in actions))
    )


def told(decisions: list[Decision]) -> str:
    """`P` or `D` for each."""
    return "".join("DP"[bool(decision)] for decision in decisions)


def test_every_caller_gets_the_answer_to_its_own_question(firing_range: FiringRange) -> None:
    """A hundred at once, answered backwards: each gets what it asked for."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            for _ in range(3):
                assert told(await all_of(client, *["permit", "deny"] * 50)) == "PD" * 50
            assert (client.permits, client.counts) == (150, {Cause.RULE: 150})

    run(scenario)


def test_questions_share_messages(firing_range: FiringRange) -> None:
    """Of sixty calls at the same moment most share a message: that is what it is for."""

    async def scenario() -> None:
        sizes: list[int] = []
        whole = Flights.next_message

        def counted(flights: Flights, now: float) -> bytes | None:
            message = whole(flights, now)
            if message is not None:
                sizes.append(len(asked_in(message)))
            return message

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Flights, "next_message", counted)
            async with client_of(firing_range) as client:
                assert told(await all_of(client, *["permit"] * 60)) == "P" * 60
        assert sum(sizes) == 60
        assert len(sizes) <= 10

    run(scenario)


@pytest.mark.parametrize("poison", [*sorted(SPOILED), "no_owner", "by_digest", "twice"])
def test_one_bad_item_affects_no_other(firing_range: FiringRange, poison: str) -> None:
    """An answer that is spoilt, nobody's, or said twice: the others are what they are."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            await client.authorize(ALICE, "permit", REPORT)
            asking = [
                asyncio.create_task(client.authorize(ALICE, action, REPORT, timeout=timeout))
                for action, timeout in (
                    ("permit", GENEROUS_S),
                    (poison, 0.4),
                    ("permit", GENEROUS_S),
                    ("deny", GENEROUS_S),
                )
            ]
            found = told([await one for one in asking])
            assert found == ("PPPD" if poison == "twice" else "PDPD")
            assert told(await all_of(client, "permit")) == "P"

    run(scenario)


def test_one_slow_item_holds_up_no_other(firing_range: FiringRange) -> None:
    """It is denied at its own deadline; those beside it were answered long before."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            slow = asyncio.create_task(client.authorize(ALICE, "slow:5000", REPORT, timeout=1.0))
            started = time.monotonic()
            for _ in range(5):
                assert told(await all_of(client, "permit", "permit")) == "PP"
            assert not slow.done() or time.monotonic() - started > 1.0
            assert (await slow).cause is Cause.UNREACHABLE
            assert told(await all_of(client, "permit")) == "P"

    run(scenario)


def test_the_budget_of_each_call_is_its_own(firing_range: FiringRange) -> None:
    """Never answered, with three budgets: each ends at its own, in their order."""

    async def scenario() -> None:
        ends: list[float] = []
        async with client_of(firing_range) as client:
            await client.authorize(ALICE, "permit", REPORT)

            async def ask(budget_s: float) -> None:
                started = time.monotonic()
                decision = await client.authorize(ALICE, "never", REPORT, timeout=budget_s)
                assert decision.cause is Cause.UNREACHABLE
                assert budget_s * 0.9 <= time.monotonic() - started <= budget_s + LATE_S_MAX
                ends.append(budget_s)

            await asyncio.gather(*map(ask, (0.6, 0.2, 0.4)))
        assert ends == [0.2, 0.4, 0.6]

    run(scenario)


async def _place_after_cancelling(firing_range: FiringRange) -> Decision:
    """Fill all places with what is never answered, cancel it, and ask again."""
    async with client_of(firing_range) as client:
        await client.authorize(ALICE, "permit", REPORT)
        asking = [asyncio.create_task(client.authorize(ALICE, "never", REPORT)) for _ in range(4)]
        await until(lambda: client._talk is not None and client._talk._flights.in_flight == 4)
        for one in asking:
            one.cancel()
        for one in asking:
            with pytest.raises(asyncio.CancelledError):
                await one
        assert client.counts == {}
        return await client.authorize(ALICE, "permit", REPORT, timeout=1.0)


def test_a_cancelled_caller_frees_its_place(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four places, four cancelled callers: the next is asked and answered."""
    monkeypatch.setattr(_flights, "IN_FLIGHT_MAX", 4)
    assert asyncio.run(_place_after_cancelling(firing_range))


def test_a_cancelled_caller_frees_its_place_twin_without_guard(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is forgotten, the next caller finds no place and is denied at its deadline."""
    monkeypatch.setattr(_flights, "IN_FLIGHT_MAX", 4)
    monkeypatch.setattr(Flights, "forget", lambda *_: None)
    assert asyncio.run(_place_after_cancelling(firing_range)) == deny(Cause.UNREACHABLE)


@pytest.mark.parametrize(
    ("death", "cause"),
    [("end:14", Cause.UNREACHABLE), ("end:13", Cause.UNREACHABLE), ("end:16", Cause.CALLER),
     ("nonsense", Cause.UNUSABLE)],
)  # fmt: skip
def test_the_end_of_a_conversation_denies_what_is_in_flight_and_the_next_begins(
    firing_range: FiringRange, death: str, cause: Cause
) -> None:
    """All that wait are denied for what ended it, at once; then another conversation permits."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            for _ in range(2):
                assert told(await all_of(client, "permit")) == "P"
                started = time.monotonic()
                found = await all_of(client, *["never"] * 30, death)
                assert time.monotonic() - started < GENEROUS_S
                assert found == [deny(cause)] * 31
            assert told(await all_of(client, "permit")) == "P"
            # Thirty at a time, and yet the breaker is shut: one end is one failure.
            assert client.unasked == 0

    run(scenario)


def test_ends_of_conversations_twin_that_counts_each(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every call in flight counted, one end would open the breaker for everybody."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            await all_of(client, *["never"] * 30, "end:14")
            await all_of(client, "permit")
            assert client.unasked == 1

    monkeypatch.setattr(_conversation, "replace", lambda outcome, **_: outcome)
    run(scenario)


def test_a_pdp_that_is_not_there_is_left_alone(firing_range: FiringRange) -> None:
    """Conversations that cannot begin open the breaker as calls do; then nothing is asked."""

    async def scenario() -> None:
        with refusing() as port:
            async with client_of(firing_range, f"localhost:{port}", 1.0) as client:
                for _ in range(60):
                    assert told(await all_of(client, *["permit"] * 5)) == "DDDDD"
                    if client.unasked:
                        break
                assert client.unasked > 0

    run(scenario)


def test_a_broken_connection_is_followed_by_another(firing_range: FiringRange) -> None:
    """Reset while many wait: all denied; the same client permits again soon after."""

    async def scenario() -> None:
        with Proxy(firing_range.pdp.ports["good"]) as proxy:
            async with client_of(firing_range, f"localhost:{proxy.port}") as client:
                assert told(await all_of(client, "permit")) == "P"
                await asyncio.sleep(0.05)
                proxy.set(Plan(0, "reset"))
                assert told(await all_of(client, *["permit"] * 20)) == "D" * 20
                proxy.set(Plan())
                ends = time.monotonic() + 15
                while not (await all_of(client, "permit"))[0]:
                    assert time.monotonic() < ends
                    await asyncio.sleep(0.05)

    run(scenario)


def test_a_conversation_that_has_become_old_is_followed_by_another(
    firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in flight ends where it began; no call is lost between the two."""
    monkeypatch.setattr(_conversation, "AGE_S_MAX", 0.05)

    async def scenario() -> None:
        talks = set()
        async with client_of(firing_range) as client:
            slow = [
                asyncio.create_task(client.authorize(ALICE, "slow:300", REPORT)) for _ in range(5)
            ]
            ends = time.monotonic() + 0.5
            while time.monotonic() < ends:
                assert told(await all_of(client, "permit", "permit")) == "PP"
                talks.add(id(client._talk))
            assert all(await asyncio.gather(*slow))
            assert client.counts == {}
        assert len(talks) >= 3

    run(scenario)


def test_no_id_is_used_twice(firing_range: FiringRange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over conversations that end, too."""
    seen: list[str] = []
    add = Flights.add

    def noted(flights: Flights, flight: Flight) -> None:
        seen.append(flight.call.request_id)
        add(flights, flight)

    monkeypatch.setattr(Flights, "add", noted)

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            for _ in range(4):
                await all_of(client, *["permit"] * 50)
                await all_of(client, "end:14")

    run(scenario)
    assert len(seen) == len(set(seen)) == 204


def test_closing_denies_what_is_in_flight(firing_range: FiringRange) -> None:
    """And all later calls."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            await all_of(client, "permit")
            asking = [
                asyncio.create_task(client.authorize(ALICE, "never", REPORT)) for _ in range(5)
            ]
            await asyncio.sleep(0.05)
            await client.close()
            assert [await one for one in asking] == [deny(Cause.UNREACHABLE)] * 5
            assert await client.authorize(ALICE, "permit", REPORT) == deny(Cause.UNREACHABLE)

    run(scenario)


def test_closing_in_the_same_moment_denies_at_once(firing_range: FiringRange) -> None:
    """A conversation that is closed before its first step leaves nobody waiting."""

    async def scenario() -> None:
        async with client_of(firing_range) as client:
            asking = asyncio.create_task(client.authorize(ALICE, "never", REPORT))
            await asyncio.sleep(0)
            assert client._talk is not None
            started = time.monotonic()
            await client.close()
            assert await asking == deny(Cause.UNREACHABLE)
            assert time.monotonic() - started < GENEROUS_S / 2

    run(scenario)


@pytest.fixture
def make(firing_range: FiringRange) -> Make:
    """An asker whose client batches."""

    def made(target: str, who: str = "client", **arguments: Any) -> Asker:
        kind: Any = functools.partial(AsyncClient, micro_batching=True)
        return Asker(kind, target, **firing_range.files(who), **arguments)

    return made


@pytest.mark.parametrize("then", CUTS)
def test_an_answer_in_a_conversation_cut_anywhere_is_denied(
    make: Make, firing_range: FiringRange, then: str
) -> None:
    """A permit of which any part is missing, changed or late is denied."""
    with (
        Proxy(firing_range.pdp.ports["good"]) as proxy,
        make(f"localhost:{proxy.port}", budget_s=GENEROUS_S) as asker,
    ):
        warmed(asker, proxy, 3)
        sizes = []
        for _ in range(3):
            before = proxy.passed["client"]
            assert asker.permits()
            time.sleep(0.02)  # the proxy counts after it has sent
            sizes.append(proxy.passed["client"] - before)
    assert cut_at(make, firing_range, sorted(sizes)[1], then, step=59) >= 4


def test_micro_batching_is_a_yes_or_a_no(firing_range: FiringRange) -> None:
    """A word that is only true somehow is a bug in the calling program."""
    for wrong in (1, "yes", None):
        with pytest.raises(TypeError, match="micro_batching"):
            AsyncClient("localhost:1", **firing_range.files(), micro_batching=wrong)  # type: ignore[arg-type]


def test_a_real_pdp_answers_a_crowd(house: House) -> None:
    """Against `pdp serve`: 64 callers, one conversation, all permitted, each with its record."""
    running = house.start()
    running.until(bool)
    certificate, key = running.pep.write(house.folder, "crowd")
    trust = house.folder / "crowd-trust.pem"
    trust.write_bytes(running.authority.bundle_pem)

    async def scenario() -> None:
        async with AsyncClient(
            f"localhost:{running.port}",
            trust_bundle=trust,
            certificate=certificate,
            key=key,
            budget_s=GENEROUS_S,
            micro_batching=True,
        ) as client:
            report = Resource("document", "1")
            for _ in range(3):
                found = await asyncio.gather(
                    *(client.authorize(ALICE, "read", report) for _ in range(64))
                )
                assert all(found)
                records = {decision.record.seq for decision in found if decision.record}
                assert len(records) == 64

    run(scenario)
    assert running.stop() == 0


@pytest.mark.prove
def test_a_crowd_gets_more_together(tmp_path: Path, ledger: Ledger) -> None:
    """How many times the decisions per second 64 callers get by sharing messages."""
    target = micro_batching.compare(tmp_path, callers=64, rounds=3, seconds=2)
    ledger(seed="none", ratio=round(target.found, 2), at_least=target.at_least, said=target.detail)
    assert target.found > 1
