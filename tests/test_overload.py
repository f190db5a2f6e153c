"""More questions than there is time for: denied at the door, cheaply, and never permitted."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import wire
from pdp.config.settings import Limits
from pdp.model import Effect
from pdp.server.authorization import AuthorizationDoor
from pdp.server.overload import Gate
from pdp.v1 import authorization_pb2 as pb
from pdp.wire_batch import _RequestId
from tests.simulators.decision_points import (
    AUTHORIZE,
    HandClock,
    MemoryRecorder,
    RunningServer,
    ask,
    message,
    running_server,
)
from tests.test_server import BenchContext, bench_door, hostile_bytes, outcome

FULL = Limits(requests_in_flight_max=1)


def in_a_loop(step: Callable[[], None]) -> None:
    """Run something that needs a running event loop."""

    async def scenario() -> None:
        step()

    asyncio.run(scenario())


# -- the gate -------------------------------------------------------------------------------------


@given(steps=st.lists(st.booleans(), max_size=60), most=st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_no_more_are_taken_on_than_allowed(steps: list[bool], most: int) -> None:
    """Whatever comes and goes: at most so many at once, and turned away only when it is full."""

    def scenario() -> None:
        gate = Gate(Limits(requests_in_flight_max=most), HandClock())
        entered: list[float] = []
        for comes in steps:
            if comes:
                refusal = gate.refusal(1.0, 9)
                assert refusal == ("in_flight" if len(entered) == most else "")
                if not refusal:
                    entered.append(gate.enter(9))
            elif entered:
                gate.leave(entered.pop(), 9, in_time=True)
            assert gate.in_flight == len(entered) <= most
            assert gate.bytes_in_flight == 9 * len(entered)

    in_a_loop(scenario)


def test_no_more_bytes_are_taken_on_than_allowed() -> None:
    """A few long questions count as many short ones do."""

    def scenario() -> None:
        gate = Gate(Limits(bytes_in_flight_max=1_000), HandClock())
        gate.enter(600)
        assert gate.refusal(1.0, 401) == "bytes"
        assert gate.refusal(1.0, 400) == ""
        gate.leave(0.0, 600, in_time=True)
        assert gate.refusal(1.0, 1_000) == ""

    in_a_loop(scenario)


def test_a_turn_that_goes_on_too_long_turns_the_rest_away() -> None:
    """What came in one turn of the event loop waits for all before it; the next turn is new."""
    clock = HandClock()

    async def scenario() -> list[str]:
        gate = Gate(Limits(queue_max_s=0.05), clock)
        found = []
        for _ in range(3):
            found.append(gate.refusal(1.0, 9))
            clock.seconds += 0.03
        await asyncio.sleep(0)
        found.append(gate.refusal(1.0, 9))
        return found

    assert asyncio.run(scenario()) == ["", "", "queue", ""]


def crowded(clock: HandClock, took_s: float) -> Gate:
    """A gate that many passed, each taking so long, and four are inside."""
    gate = Gate(Limits(), clock)
    for _ in range(50):
        entered = gate.enter(9)
        clock.seconds += took_s
        gate.leave(entered, 9, in_time=True)
    for _ in range(4):
        gate.enter(9)
    return gate


def test_a_question_without_time_enough_is_hopeless_in_a_crowd() -> None:
    """Twice what answers take at present, or it is not begun; after a second without a crowd, it
    is the caller's own affair.
    """  # noqa: D205
    clock = HandClock()

    def scenario() -> None:
        gate = crowded(clock, 0.02)
        assert gate.refusal(0.05, 9) == ""
        assert gate.refusal(0.03, 9) == "hopeless"
        assert gate.refusal(-1.0, 9) == "hopeless"
        for _ in range(4):
            gate.leave(clock.seconds, 9, in_time=True)
        assert gate.refusal(0.001, 9) == "hopeless"
        # Turned away, not taken on: a crowd that is never let in ends.
        clock.seconds += 1.1
        gate._turn_ended()
        assert gate.refusal(0.001, 9) == ""

    in_a_loop(scenario)


def test_answers_that_were_too_late_do_not_look_quick() -> None:
    """A deadline that cuts answers short must not make them seem to need less time."""
    clock = HandClock()

    def scenario() -> None:
        gate = crowded(clock, 0.02)
        before = gate._mean_s
        for _ in range(500):
            # They came with their time used up: nothing is learnt, neither way.
            gate.leave(gate.enter(9), 9, in_time=False)
        assert gate._mean_s == before
        for _ in range(100):
            entered = gate.enter(9)
            clock.seconds += 0.25
            gate.leave(entered, 9, in_time=False)
        assert 0.24 < gate._mean_s < 0.26
        for _ in range(100):
            entered = gate.enter(9)
            clock.seconds += 60.0
            gate.leave(entered, 9, in_time=False)
        assert gate._mean_s <= Limits().deadline_max_s

    in_a_loop(scenario)


# -- over the wire --------------------------------------------------------------------------------


async def told(running: RunningServer, count: int) -> list[pb.AuthorizeResponse]:
    """Ask so often at once, on one connection; the answers that come within a second."""
    async with running.channel() as channel:
        method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
        calls = [
            asyncio.ensure_future(
                method(message(dataclasses.replace(ask(), request_id=f"q-{number}")), timeout=9)
            )
            for number in range(count)
        ]
        done, waiting = await asyncio.wait(calls, timeout=1)
        for call in waiting:
            call.cancel()
        await asyncio.wait(calls)
        return [call.result() for call in done]


def check_overload(folder: Path) -> None:
    """Five hang; whoever comes besides is told OVERLOADED at once, without record."""

    async def scenario() -> None:
        recorder = MemoryRecorder("never")
        limits = Limits(requests_in_flight_max=5, deadline_max_s=60)
        async with running_server(folder, recorder=recorder, limits=limits) as running:
            answers = await told(running, 20)
            assert len(answers) == 15
            for answer in answers:
                assert (answer.effect, answer.cause) == (pb.EFFECT_DENY, pb.CAUSE_OVERLOADED)
                data = message(dataclasses.replace(ask(), request_id=answer.request_id))
                assert answer.request_digest == hashlib.sha256(data).digest()
                assert wire.decision_from_pb(answer).effect is Effect.DENY
            assert len({answer.request_id for answer in answers}) == 15
            assert len(recorder.entries) == 5
            counters = running.telemetry.counters
            assert counters["decisions", "DENY", "OVERLOADED"] == 15
            assert counters["overloaded", "in_flight"] == 15
            # Those five hung up: their places are free again.
            recorder.mode = "at_once"
            assert (await running.call(message())).effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


def test_overload_is_a_denial_before_work_is_done(tmp_path: Path) -> None:
    """With id and digest, counted, not recorded; and it ends when the crowd does."""
    check_overload(tmp_path)


def test_overload_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the gate all twenty hang."""
    monkeypatch.setattr(Gate, "refusal", lambda self, patience_s, size: "")
    with pytest.raises(AssertionError):
        check_overload(tmp_path)


def test_every_way_out_of_the_door_gives_the_place_back() -> None:
    """Permit, denial, malformed, stranger, too large, broken, cancelled: nobody stays inside."""
    recorder = MemoryRecorder()
    door = bench_door(recorder, limits=FULL)

    async def scenario() -> None:
        questions = [message(), message(ask("destroy")), b"\xff", bytes(600_000), b""]
        for data in questions * 2:
            await outcome(door, data)
            assert door.gate.in_flight == 0
        recorder.mode = "breaks"
        assert await outcome(door, message()) == ("OK", "DENY")
        assert door.gate.in_flight == 0
        recorder.mode = "never"
        call = asyncio.create_task(door.authorize(message(), BenchContext()))
        await asyncio.sleep(0)
        assert door.gate.in_flight == 1
        call.cancel()
        await asyncio.wait([call])
        assert door.gate.in_flight == 0

    asyncio.run(scenario())


def test_a_stranger_is_a_stranger_in_a_crowd_too() -> None:
    """Identity comes before the gate: whoever is not believed gets no decision at all."""
    door = bench_door(limits=FULL)
    door.gate.enter(9)
    context = BenchContext(shown=b"rubbish")
    with pytest.raises(Exception):  # noqa: B017, PT011 as gRPC's abort
        asyncio.run(door.authorize(message(), context))
    assert context.status[0] == "UNAUTHENTICATED"


# -- bytes ----------------------------------------------------------------------------------------


def check_hostile_in_a_crowd(batch: list[bytes]) -> dict[str, int]:
    """Each gets OVERLOADED or INVALID_ARGUMENT; nothing is recorded, nothing fails."""
    recorder = MemoryRecorder()
    door = bench_door(recorder, limits=FULL)
    door.gate.enter(9)
    counts: dict[str, int] = {}

    async def scenario() -> None:
        for data in batch:
            context = BenchContext()
            try:
                answer = pb.AuthorizeResponse.FromString(await door.authorize(data, context))
            except Exception:  # noqa: BLE001 as gRPC's abort
                assert context.status[0] == "INVALID_ARGUMENT", context.status
                assert context.status[1].isprintable()
                found = "INVALID_ARGUMENT"
            else:
                assert wire.decision_from_pb(answer).cause.name == "OVERLOADED"
                assert answer.request_digest == hashlib.sha256(data).digest()
                found = "OVERLOADED"
            counts[found] = counts.get(found, 0) + 1

    asyncio.run(scenario())
    assert recorder.entries == []
    return counts


@given(batch=st.lists(hostile_bytes(), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_hostile_bytes_in_a_crowd_are_denied(batch: list[bytes]) -> None:
    """Whatever arrives while there is no room: a denial or an error status."""
    check_hostile_in_a_crowd(batch)


def test_hostile_bytes_in_a_crowd_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test would see a question that got through."""
    monkeypatch.setattr(Gate, "refusal", lambda self, patience_s, size: "")
    with pytest.raises(AssertionError):
        check_hostile_in_a_crowd([message()])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "`request_id`"),
        (b"\x0a\x00", "`request_id`"),
        (b"\x0a\x02\xff\xfe", "protobuf"),
        (b"\x0a\x05x", "protobuf"),
        (b"\x0a\xd0\x0f" + b"x" * 2_000, "`request_id`"),
        (b"\x08\x01", "`request_id`"),
    ],
)
def test_a_question_without_a_usable_id_is_invalid_in_a_crowd(data: bytes, says: str) -> None:
    """An answer that names no question helps nobody, and a long name would be an amplifier."""
    door = bench_door(limits=FULL)
    door.gate.enter(9)
    status, details = asyncio.run(outcome(door, data))
    assert (status, says in details) == ("INVALID_ARGUMENT", True), details


@given(
    request_id=st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()),
    before=st.lists(st.text(max_size=5), max_size=2),
)
@settings(max_examples=100, deadline=None)
def test_the_id_that_is_read_alone_is_the_id_of_the_question(
    request_id: str, before: list[str]
) -> None:
    """The short way reads what the long way reads, also where the field is there twice."""
    data = b"".join(
        pb.AuthorizeRequest(request_id=text).SerializeToString() for text in before
    ) + message(dataclasses.replace(ask(), request_id=request_id))
    assert _RequestId.FromString(data).value == pb.AuthorizeRequest.FromString(data).request_id
    field = pb.AuthorizeRequest.DESCRIPTOR.fields_by_name["request_id"]
    (same,) = _RequestId.DESCRIPTOR.fields
    assert (field.number, field.type, field.is_repeated) == (same.number, same.type, False)


# -- cost -----------------------------------------------------------------------------------------


def cpu_us(door: AuthorizationDoor, data: bytes, calls: int = 200) -> float:
    """CPU of one call at the door, in microseconds."""

    async def scenario() -> float:
        started = time.process_time()
        for _ in range(calls):
            await door.authorize(data, BenchContext())
        return (time.process_time() - started) / calls * 1e6

    return asyncio.run(scenario())


def test_a_call_that_is_turned_away_costs_less_than_half_of_a_decision() -> None:
    """CPU time, in turns, without gRPC and without a disk, which a decision needs besides."""
    roomy, full = bench_door(), bench_door(limits=FULL)
    full.gate.enter(9)
    data = message(ask("read", roles=["manager"], department="sales", grade=3))
    ratios = [cpu_us(full, data) / cpu_us(roomy, data) for _ in range(7)]
    assert median(ratios) < 0.5, ratios


def test_a_crowd_is_answered_within_its_budget(tmp_path: Path) -> None:
    """Three times what fits: those that are taken on are permitted, nobody waits for nothing."""

    async def scenario() -> None:
        recorder = MemoryRecorder("later", delay_s=0.02)
        limits = Limits(requests_in_flight_max=20)
        async with (
            running_server(tmp_path, recorder=recorder, limits=limits) as running,
            running.channel() as channel,
        ):
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            chance = random.Random(3)
            effects: dict[str, int] = {}

            async def caller() -> None:
                for _ in range(10):
                    try:
                        answer = await method(message(), timeout=3)
                    except grpc.aio.AioRpcError as error:
                        found = error.code().name
                    else:
                        found = pb.Cause.Name(answer.cause)
                        assert (answer.effect == pb.EFFECT_PERMIT) == (found == "CAUSE_RULE")
                    effects[found] = effects.get(found, 0) + 1
                    await asyncio.sleep(0.05 * chance.random())

            await asyncio.gather(*(caller() for _ in range(60)))
            assert set(effects) == {"CAUSE_RULE", "CAUSE_OVERLOADED"}
            assert effects["CAUSE_RULE"] == len(recorder.entries) >= 100

    asyncio.run(scenario())
