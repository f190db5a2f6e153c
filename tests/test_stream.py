"""Conversations: many questions in flight, each its own; and what ends them."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import wire_batch
from pdp.admission import Denials
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.config.settings import Limits
from pdp.errors import InvalidRequestError
from pdp.identity.trust import load_trust_bundle
from pdp.model import RecordRef
from pdp.server.authorization import AuthorizationDoor
from pdp.server.stream import StreamDoor
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from pdp.wire import request_to_pb
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    MemoryRecorder,
    RunningServer,
    ask,
    now_snapshot,
    running_server,
)
from tests.test_server import AbortedError, BenchContext, bench_door

STREAM = "/pdp.v1.AuthorizationService/AuthorizeStream"
EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it
Stream = grpc.aio.StreamStreamCall[bytes, pb.AuthorizeStreamResponse]


def question(request_id: str, action: str = "read", timeout_s: float | None = None) -> bytes:
    """The bytes of one question of a stream."""
    asked = dataclasses.replace(ask(action), request_id=request_id)
    return wrapped(request_to_pb(asked), timeout_s)


def wrapped(asked: pb.AuthorizeRequest, timeout_s: float | None = None) -> bytes:
    """Any question."""
    out = pb.AuthorizeStreamRequest(request=asked)
    if timeout_s is not None:
        out.timeout.CopyFrom(duration_pb2.Duration(nanos=int(timeout_s * NANOS)))
    return out.SerializeToString()


@asynccontextmanager
async def conversation(running: RunningServer, timeout_s: float = 20) -> AsyncIterator[Stream]:
    """A stream over a connection of its own."""
    async with running.channel() as channel:
        method = channel.stream_stream(STREAM, bytes, pb.AuthorizeStreamResponse.FromString)
        yield method(None, timeout=timeout_s)


async def next_answer(call: Stream) -> pb.AuthorizeResponse:
    """The next answer, whichever it is."""
    found = await asyncio.wait_for(call.read(), 10)
    assert isinstance(found, pb.AuthorizeStreamResponse), await call.code()
    return found.answer


async def asked_all(call: Stream, data: Iterable[bytes]) -> dict[str, pb.AuthorizeResponse]:
    """Send all, then read as many answers; by id."""
    sent = list(data)
    for message in sent:
        await call.write(message)
    answers = [await next_answer(call) for _ in sent]
    return {answer.request_id: answer for answer in answers}


async def status(call: Stream) -> tuple[str, str]:
    """How it ended; answers that are still to come are read away."""
    while True:
        try:
            if await asyncio.wait_for(call.read(), 10) is EOF:
                break
        except grpc.aio.AioRpcError:
            break
    return (await call.code()).name, (await call.details()) or ""


async def until(holds: Callable[[], bool]) -> None:
    """Wait for at most three seconds."""
    for _ in range(300):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come about")


class SlowRecorder(MemoryRecorder):
    """Never makes the record of a question durable whose id begins with `slow`."""

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """As `MemoryRecorder`."""
        self.mode = "never" if entry.request_id.startswith("slow") else "at_once"
        return super().append(entry, time_ns)


# -- answers --------------------------------------------------------------------------------------


def test_many_questions_on_one_stream(tmp_path: Path) -> None:
    """Each gets its own answer, with its id, the digest of its bytes, and a record of its own."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            actions = {f"q{index}": ("read", "destroy")[index % 2] for index in range(150)}
            found = await asked_all(call, [question(*item) for item in actions.items()])
            assert set(found) == set(actions)
            for request_id, action in actions.items():
                answer = found[request_id]
                alone = dataclasses.replace(ask(action), request_id=request_id)
                data = request_to_pb(alone).SerializeToString()
                assert answer.request_digest == hashlib.sha256(data).digest()
                expected = pb.EFFECT_PERMIT if action == "read" else pb.EFFECT_DENY
                assert answer.effect == expected
            assert len({answer.record.seq for answer in found.values()}) == 150
            await call.done_writing()
            assert (await status(call))[0] == "OK"
            assert len(running.recorder.entries) == 150

    asyncio.run(scenario())


def test_one_slow_question_blocks_no_other(tmp_path: Path) -> None:
    """Answers overtake one whose record hangs; that one is denied at its own deadline."""

    async def scenario() -> None:
        async with (
            running_server(tmp_path, recorder=SlowRecorder()) as running,
            conversation(running) as call,
        ):
            await call.write(question("slow", timeout_s=0.6))
            await call.write(question("slower", timeout_s=0.9))
            for number in range(5):
                await call.write(question(f"q{number}"))
                assert (await next_answer(call)).request_id == f"q{number}"
            ends = [await next_answer(call), await next_answer(call)]
            assert [answer.request_id for answer in ends] == ["slow", "slower"]
            assert {answer.cause for answer in ends} == {pb.CAUSE_AUDIT}

    asyncio.run(scenario())


def test_each_question_has_its_own_deadline(tmp_path: Path) -> None:
    """None left is DEADLINE; none said is the default; the stream's own bounds them all."""
    limits = Limits(deadline_default_s=0.2)

    async def scenario() -> None:
        async with (
            running_server(tmp_path, recorder=SlowRecorder(), limits=limits) as running,
            conversation(running) as call,
        ):
            await call.write(question("now", timeout_s=0.0))
            assert (await next_answer(call)).cause == pb.CAUSE_DEADLINE
            await call.write(question("slow"))
            answer = await asyncio.wait_for(next_answer(call), 2)
            assert (answer.request_id, answer.cause) == ("slow", pb.CAUSE_AUDIT)

    asyncio.run(scenario())


def test_malformed_questions_end_no_conversation(tmp_path: Path) -> None:
    """Each is DENY(INVALID) and says why; what has no usable id is told by its digest."""
    nobody = request_to_pb(dataclasses.replace(ask(), request_id="q"))
    nobody.ClearField("subject")
    nameless = request_to_pb(ask())
    nameless.ClearField("request_id")
    long = request_to_pb(dataclasses.replace(ask(), request_id="x" * 2_000))
    late = pb.AuthorizeStreamRequest(request=request_to_pb(ask()))
    late.timeout.seconds = -1
    other = request_to_pb(dataclasses.replace(ask(), request_id="q", tenant="else"))
    large = request_to_pb(dataclasses.replace(ask(), context={"x": "y" * 11_000}))
    cases = [
        (b"\xff\xff", "", "not a `pdp.v1.AuthorizeStreamRequest`"),
        (b"", "", "`request_id` is required"),
        (wrapped(nameless), "", "`request_id` is required"),
        (wrapped(long), "", "`request_id` is longer"),
        (b"\x0a\x02\xff\xff", "", "not a protobuf message"),
        (wrapped(nobody), "q", "`subject.type` is required"),
        (wrapped(other), "q", "`tenant`"),
        (late.SerializeToString(), "", "`timeout` is no time"),
        (question("q") + b"\xf8\x06\x01", "", "does not know, or twice"),
        (question("q") + question("r"), "", "does not know, or twice"),
        (question("q", timeout_s=0.5) + b"\x12\x00", "", "does not know, or twice"),
        (wrapped(large), "", "longer than 10000 bytes"),
    ]

    async def scenario() -> None:
        limits = Limits(message_bytes_max=10_000)
        async with (
            running_server(tmp_path, limits=limits) as running,
            conversation(running) as call,
        ):
            for data, request_id, says in cases:
                await call.write(data)
                answer = await next_answer(call)
                assert (says, answer.effect, answer.cause) == (says, 1, pb.CAUSE_INVALID)
                assert answer.request_id == request_id
                assert says in answer.invalid
                assert len(answer.request_digest) == 32
            await call.write(question("good"))
            assert (await next_answer(call)).effect == pb.EFFECT_PERMIT
            assert running.telemetry.counters["refused", "invalid"] == len(cases)

    asyncio.run(scenario())


def test_an_id_in_flight_is_not_taken_twice(tmp_path: Path) -> None:
    """The second is refused and the first answered; afterwards the id is free."""

    async def scenario() -> None:
        async with (
            running_server(tmp_path, recorder=SlowRecorder()) as running,
            conversation(running) as call,
        ):
            await call.write(question("slow", timeout_s=0.4))
            await call.write(question("slow", "destroy"))
            second, first = await next_answer(call), await next_answer(call)
            assert (second.cause, "in flight" in second.invalid) == (pb.CAUSE_INVALID, True)
            assert first.cause == pb.CAUSE_AUDIT
            await call.write(question("slow", "destroy", timeout_s=0.2))
            assert (await next_answer(call)).cause == pb.CAUSE_RULE

    asyncio.run(scenario())


# -- bounds ---------------------------------------------------------------------------------------


def _taken_of_ten(tmp_path: Path, limit: int) -> int:
    async def scenario() -> int:
        limits = Limits(stream_in_flight_max=limit)
        recorder = SlowRecorder()
        async with (
            running_server(tmp_path, recorder=recorder, limits=limits) as running,
            conversation(running) as call,
        ):
            for number in range(10):
                await call.write(question(f"slow{number}", timeout_s=0.8))
            await asyncio.sleep(0.4)
            taken = len(recorder.entries)
            for _ in range(10):
                await next_answer(call)
            return taken

    return asyncio.run(scenario())


def test_no_more_are_in_flight_than_allowed(tmp_path: Path) -> None:
    """The next question is read when one of those before it is answered; none is lost."""
    assert _taken_of_ten(tmp_path, 3) == 3


def test_no_more_are_in_flight_twin_without_guard(tmp_path: Path) -> None:
    """With a wide limit all ten are taken."""
    assert _taken_of_ten(tmp_path, 64) == 10


def test_overload_denies_single_questions_of_a_stream(tmp_path: Path) -> None:
    """The gate is that of all doors; the conversation goes on."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            gate = running.server._streams._door.gate
            gate.hold(Limits().bytes_in_flight_max)
            await call.write(question("q"))
            assert (await next_answer(call)).cause == pb.CAUSE_OVERLOADED
            gate.release(Limits().bytes_in_flight_max)
            await call.write(question("q"))
            assert (await next_answer(call)).cause == pb.CAUSE_RULE

    asyncio.run(scenario())


@dataclasses.dataclass
class Talk(BenchContext):
    """A conversation without a socket: what comes in, what went out."""

    incoming: list[bytes] = dataclasses.field(default_factory=list)
    outgoing: list[pb.AuthorizeResponse] = dataclasses.field(default_factory=list)
    messages: list[bytes] = dataclasses.field(default_factory=list)
    deaf: bool = False

    async def read(self) -> object:
        """The next message."""
        return self.incoming.pop(0) if self.incoming else EOF

    async def write(self, message: bytes) -> None:
        """Take an answer, or never."""
        if self.deaf:
            await asyncio.Event().wait()
        self.messages.append(message)
        told = pb.AuthorizeStreamResponse.FromString(message)
        self.outgoing += [told.answer] if told.HasField("answer") else told.together


async def held(door: AuthorizationDoor, talk: Talk) -> str:
    """The status with which it ends."""
    streams = StreamDoor(door, Telemetry(None, lambda: 0))
    try:
        await streams.authorize_stream(None, talk)
    except AbortedError:
        return talk.status[0]
    return "OK"


def test_who_does_not_read_is_not_kept() -> None:
    """Answers that nobody takes end the conversation, and hold nothing afterwards."""
    door = bench_door(limits=Limits(deadline_max_s=0.1))
    talk = Talk(incoming=[question(f"q{number}") for number in range(8)], deaf=True)
    assert asyncio.run(held(door, talk)) == "RESOURCE_EXHAUSTED"
    assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)


def test_a_door_that_breaks_denies_the_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """DENY(INTERNAL) for it; the others are answered."""
    door = bench_door()
    whole = door.asked

    async def breaking(message: bytes, context: Any, patience_s: float, **options: bool) -> bytes:
        if b"bad" in message:
            raise ZeroDivisionError
        return await whole(message, context, patience_s, **options)

    monkeypatch.setattr(door, "asked", breaking)
    talk = Talk(incoming=[question("q1"), question("bad"), question("q2")])
    assert asyncio.run(held(door, talk)) == "OK"
    causes = {answer.request_id: answer.cause for answer in talk.outgoing}
    assert causes == {"q1": pb.CAUSE_RULE, "bad": pb.CAUSE_INTERNAL, "q2": pb.CAUSE_RULE}


@given(st.data())
@settings(max_examples=120)
def test_hostile_conversations_are_answered(data: st.DataObject) -> None:
    """Any bytes, any number of them: a denial for each, and the conversation goes on."""
    incoming = []
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            incoming.append(data.draw(st.binary(max_size=200)))
            continue
        raw = bytearray(question("q", "destroy"))
        for _ in range(data.draw(st.integers(0, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        incoming.append(bytes(raw))
    door = bench_door()
    talk = Talk(incoming=list(incoming))
    assert asyncio.run(held(door, talk)) == "OK"
    assert len(talk.outgoing) == len(incoming)
    assert {answer.effect for answer in talk.outgoing} == {pb.EFFECT_DENY}
    assert door._telemetry.counters["failures", "decision_point"] == 0
    assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)


@given(st.binary(max_size=100))
def test_split_question_raises_one_error_only(raw: bytes) -> None:
    """Any bytes: a question and its time, or `InvalidRequestError`."""
    try:
        found, timeout_s = wire_batch.split_question(raw)
    except InvalidRequestError:
        return
    assert len(found) <= len(raw)
    assert timeout_s is None or timeout_s >= 0


def test_the_mirrors_are_the_published_messages() -> None:
    """What is read and written as bytes has the numbers of the published messages."""
    published = {field.name: field.number for field in pb.AuthorizeStreamRequest.DESCRIPTOR.fields}
    assert published == {
        field.name: field.number for field in wire_batch._Question.DESCRIPTOR.fields
    }
    answers = {field.name: field.number for field in pb.AuthorizeStreamResponse.DESCRIPTOR.fields}
    assert answers == {field.name: field.number for field in wire_batch._Answers.DESCRIPTOR.fields}
    answer = pb.AuthorizeStreamResponse(answer=pb.AuthorizeResponse(request_id="q"))
    assert answer.SerializeToString()[:2] == b"\x0a\x03"


# -- questions that come together -----------------------------------------------------------------


def together(*messages: bytes) -> bytes:
    """Several questions in one message."""
    return wire_batch.join_together(messages)


def fates(talk: Talk) -> list[tuple[Any, ...]]:
    """What each answer says but for names that are new each time, in no order."""
    return sorted(
        (one.request_id, one.request_digest, one.effect, one.cause, one.invalid)
        for one in talk.outgoing
    )


def talked(*incoming: bytes, limits: Limits | None = None) -> Talk:
    """A conversation on the bench, to its end; nothing is held afterwards."""
    door = bench_door(limits=limits)
    talk = Talk(incoming=list(incoming))
    assert asyncio.run(held(door, talk)) == "OK"
    assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)
    return talk


@given(st.data())
@settings(max_examples=60)
def test_questions_that_come_together_are_answered_as_if_apart(data: st.DataObject) -> None:
    """Whatever each of them is: the same answers, question by question."""
    sent = []
    for number in range(data.draw(st.integers(1, 6))):
        raw = bytearray(question(f"q{number}", data.draw(st.sampled_from(["read", "destroy"]))))
        for _ in range(data.draw(st.sampled_from([0, 0, 1, 3]))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        sent.append(bytes(raw))
    # Ids that became the same count as twice in flight only where they are in flight together.
    apart = [one for message in sent for one in talked(message).outgoing]
    if len({one.request_id for one in apart}) == len(sent):
        found = fates(talked(together(*sent)))
        expected = sorted(
            (one.request_id, one.request_digest, one.effect, one.cause, one.invalid)
            for one in apart
        )
        assert found == expected


def test_answers_share_messages_only_where_questions_did() -> None:
    """Who sends questions one by one gets one answer in each message, as ever."""
    apart = talked(*(question(f"q{number}") for number in range(8)))
    assert len(apart.messages) == len(apart.outgoing) == 8
    shared = talked(together(*(question(f"q{number}") for number in range(8))))
    assert len(shared.messages) < len(shared.outgoing) == 8


def test_together_and_more_in_one_message_is_refused_and_the_next_is_answered() -> None:
    """A question beside them, one that has others with it, too many of them: DENY(INVALID)."""
    one = question("q1")
    beside = pb.AuthorizeStreamRequest.FromString(one)
    beside.together.add().CopyFrom(pb.AuthorizeStreamRequest.FromString(question("q2")))
    for bad, answers in (
        (beside.SerializeToString(), 1),
        (together(together(one), question("q3")), 2),
        (together(*[one] * 1_001), 1),
        (together(one) + b"\x22\x00", 1),
    ):
        talk = talked(bad, question("after"))
        assert len(talk.outgoing) == answers + 1
        causes = {answer.request_id: answer.cause for answer in talk.outgoing}
        assert causes["after"] == pb.CAUSE_RULE
        assert causes[""] == pb.CAUSE_INVALID


def test_questions_together_wait_for_their_places() -> None:
    """More of them than may be in flight: all are answered, and never more are in flight."""
    most = 0
    door = bench_door(limits=Limits(stream_in_flight_max=3))
    whole = door.asked

    async def watched(*arguments: Any, **options: Any) -> bytes:
        nonlocal most
        most = max(most, door.gate.in_flight + 1)
        return await whole(*arguments, **options)

    door.asked = watched  # type: ignore[method-assign]
    talk = Talk(incoming=[together(*(question(f"q{number}") for number in range(50)))])
    assert asyncio.run(held(door, talk)) == "OK"
    assert len({one.request_id for one in talk.outgoing}) == 50
    assert 1 <= most <= 3


def test_a_slow_question_holds_up_none_that_came_with_it(tmp_path: Path) -> None:
    """Its record hangs; theirs do not."""

    async def scenario() -> None:
        async with (
            running_server(tmp_path, recorder=SlowRecorder()) as running,
            conversation(running) as call,
        ):
            asked = ("slow", "q0", "q1")
            await call.write(together(*(question(name, timeout_s=0.8) for name in asked)))
            order: list[pb.AuthorizeResponse] = []
            while len(order) < len(asked):
                told = await asyncio.wait_for(call.read(), 10)
                assert isinstance(told, pb.AuthorizeStreamResponse)
                order += [told.answer] if told.HasField("answer") else told.together
            assert order[-1].request_id == "slow"
            found = {one.request_id: one.cause for one in order}
            assert found["slow"] == pb.CAUSE_AUDIT
            assert found["q0"] == found["q1"] == pb.CAUSE_RULE

    asyncio.run(scenario())


# -- what ends a conversation ---------------------------------------------------------------------


def test_an_expired_certificate_ends_the_conversation(tmp_path: Path) -> None:
    """The next question after the end gets no answer: UNAUTHENTICATED."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            await call.write(question("q1"))
            assert (await next_answer(call)).effect == pb.EFFECT_PERMIT
            running.clock.shift_ns = 2 * 3_600 * NANOS
            await call.write(question("q2"))
            assert (await status(call))[0] == "UNAUTHENTICATED"

    asyncio.run(scenario())


def test_a_removed_authority_ends_the_conversation(tmp_path: Path) -> None:
    """Whoever is not believed any longer is not, on streams that are open, too."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            await call.write(question("q1"))
            assert (await next_answer(call)).effect == pb.EFFECT_PERMIT
            other = ThrowawayAuthority(TRUST_DOMAIN).bundle_pem
            running.server._verifier.use(load_trust_bundle(TRUST_DOMAIN, other))
            await call.write(question("q2"))
            assert (await status(call))[0] == "UNAUTHENTICATED"

    asyncio.run(scenario())


def test_a_conversation_twin_that_looks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door that knows its caller from the first question on answers the expired one."""
    known: list[Any] = []
    whole = AuthorizationDoor.caller

    def once(self: AuthorizationDoor, context: Any) -> Any:
        known[:] = known or [whole(self, context)]
        return known[0]

    monkeypatch.setattr(AuthorizationDoor, "caller", once)

    async def scenario() -> None:
        snapshot = now_snapshot()
        late = dataclasses.replace(snapshot, fresh_until_ns=snapshot.fresh_until_ns * 2)
        async with (
            running_server(tmp_path, snapshot=late) as running,
            conversation(running) as call,
        ):
            await call.write(question("q1"))
            await next_answer(call)
            running.clock.shift_ns = 2 * 3_600 * NANOS
            await call.write(question("q2"))
            assert (await next_answer(call)).effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


def test_emergency_denials_hold_in_an_open_conversation(tmp_path: Path) -> None:
    """The next question after the denial is DENY(CALLER), on record."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            await call.write(question("q1"))
            assert (await next_answer(call)).effect == pb.EFFECT_PERMIT
            serial = f"{running.pep.leaf.serial_number:x}"
            denials = Denials(serials=frozenset({(TRUST_DOMAIN, serial)}))
            running.snapshots.snapshot = now_snapshot(denials=denials)
            await call.write(question("q2"))
            assert (await next_answer(call)).cause == pb.CAUSE_CALLER

    asyncio.run(scenario())


def test_a_cancelled_conversation_frees_everything(tmp_path: Path) -> None:
    """Questions in flight give their places back, and the next stream is answered."""

    async def scenario() -> None:
        async with running_server(tmp_path, recorder=SlowRecorder()) as running:
            gate = running.server._streams._door.gate
            async with conversation(running) as call:
                for number in range(5):
                    await call.write(question(f"slow{number}", timeout_s=0.9))
                await until(lambda: gate.in_flight == 5)
                call.cancel()
                await until(lambda: gate.in_flight == 0)
            assert (gate.in_flight, gate.bytes_in_flight) == (0, 0)
            async with conversation(running) as call:
                await call.write(question("q"))
                assert (await next_answer(call)).effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


def test_a_stopping_server_answers_what_it_took(tmp_path: Path) -> None:
    """What is in flight is answered; then UNAVAILABLE sends the client elsewhere, at once."""

    async def scenario() -> None:
        async with (
            running_server(tmp_path, recorder=SlowRecorder()) as running,
            conversation(running) as call,
        ):
            await call.write(question("slow", timeout_s=0.5))
            await call.write(question("q"))
            assert (await next_answer(call)).request_id == "q"
            stopping = asyncio.create_task(running.server.stop(8))
            assert (await next_answer(call)).request_id == "slow"
            code, details = await status(call)
            assert (code, "stopping" in details) == ("UNAVAILABLE", True)
            await asyncio.wait_for(stopping, 3)

    asyncio.run(scenario())


def test_an_idle_conversation_does_not_hold_the_end_up(tmp_path: Path) -> None:
    """A stream that nobody uses ends when the server stops, not when its grace is over."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, conversation(running) as call:
            await call.write(question("q"))
            await next_answer(call)
            await asyncio.wait_for(running.server.stop(30), 5)
            assert (await status(call))[0] == "UNAVAILABLE"

    asyncio.run(scenario())


def test_strangers_have_no_conversation() -> None:
    """UNAUTHENTICATED before anything is read."""
    talk = Talk(shown=b"not a certificate", incoming=[question("q")])
    assert asyncio.run(held(bench_door(), talk)) == "UNAUTHENTICATED"
    assert len(talk.incoming) == 1


def test_one_question_is_enough(tmp_path: Path) -> None:
    """A stream of none and a stream of one both end well."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            for count in (0, 1):
                async with conversation(running) as call:
                    for _ in range(count):
                        await call.write(question("q"))
                    await call.done_writing()
                    for _ in range(count):
                        assert (await next_answer(call)).effect == pb.EFFECT_PERMIT
                    assert (await status(call))[0] == "OK"

    asyncio.run(scenario())
