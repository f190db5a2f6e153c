"""The gRPC door: real sockets, real mutual TLS, hostile bytes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import wire
from pdp.admission import Denials
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.config.settings import Address, Limits, TlsSettings
from pdp.decision_point import DecisionPoint
from pdp.errors import ConfigurationError
from pdp.identity.server_svid import load_server_svid
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.model import Cause, Effect
from pdp.server import listener
from pdp.server.authorization import SERVICE, AuthorizationDoor, Trailer
from pdp.server.listener import Server, check_free
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from tests.conftest import Ledger
from tests.simulators.certificates import PEP as PEP_ID
from tests.simulators.certificates import TRUST_DOMAIN, forge
from tests.simulators.decision_points import (
    AUTHORIZE,
    WATERMARK,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    RunningServer,
    ShiftedClock,
    ask,
    make_snapshot,
    message,
    now_snapshot,
    running_server,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HOUR_NS = 3_600 * NANOS


async def status_of(running: RunningServer, data: bytes, **options: Any) -> tuple[str, str]:
    """Status and details of a call that gets no answer."""
    try:
        answer = await running.call(data, **options)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", pb.Effect.Name(answer.effect)


async def health_of(running: RunningServer, service: str = "") -> int:
    """What the health service says."""
    async with running.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        status: int = answer.status
        return status


# -- answers --------------------------------------------------------------------------------------


def test_a_permit_over_mutual_tls_is_well_formed(tmp_path: Path) -> None:
    """Id, digest of the bytes as received, rules, obligations, bundle and durable record."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            data = message()
            answer = await running.call(data)
            decision = wire.decision_from_pb(answer)
            assert decision.effect is Effect.PERMIT
            assert decision.obligations == (WATERMARK,)
            assert decision.rules == ("documents/anyone-reads",)
            assert answer.request_id == "q-1"
            assert answer.request_digest == hashlib.sha256(data).digest()
            assert decision.record is not None
            assert decision.record.seq in running.recorder.durable
            (entry,) = running.recorder.entries
            assert entry.request_digest == answer.request_digest
            assert entry.decision_id == answer.decision_id

    asyncio.run(scenario())


def test_the_digest_is_that_of_the_bytes_as_received(tmp_path: Path) -> None:
    """Another writing of the same question has another digest: nothing is re-serialised."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            # The same field twice; the last one counts.
            data = b"\x0a\x01x" + message()
            answer = await running.call(data)
            assert answer.request_id == "q-1"
            assert answer.request_digest == hashlib.sha256(data).digest()
            assert answer.request_digest != hashlib.sha256(message()).digest()

    asyncio.run(scenario())


def test_never_stale_and_no_bundle_over_the_wire(tmp_path: Path) -> None:
    """The same open connection: permit, then stale, then no bundle, each as an answer."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)

            async def cause() -> str:
                return pb.Cause.Name((await method(message(), timeout=5)).cause)

            assert await cause() == "CAUSE_RULE"
            running.snapshots.snapshot = now_snapshot(fresh_until_ns=time.time_ns())
            assert await cause() == "CAUSE_STALE"
            running.snapshots.snapshot = None
            assert await cause() == "CAUSE_NO_BUNDLE"
            running.snapshots.snapshot = now_snapshot()
            assert await cause() == "CAUSE_RULE"

    asyncio.run(scenario())


def test_emergency_denials_and_expiry_hold_on_an_open_connection(tmp_path: Path) -> None:
    """A connection outlives many things; none of them is looked at only once."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running, running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            assert (await method(message(), timeout=5)).effect == pb.EFFECT_PERMIT
            serial = f"{running.pep.leaf.serial_number:x}"
            denials = Denials(serials=frozenset({(TRUST_DOMAIN, serial)}))
            running.snapshots.snapshot = now_snapshot(denials=denials)
            assert (await method(message(), timeout=5)).cause == pb.CAUSE_CALLER
            running.snapshots.snapshot = now_snapshot(fresh_until_ns=time.time_ns() + 9 * HOUR_NS)
            running.clock.shift_ns = 2 * HOUR_NS
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(message(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            running.clock.shift_ns = 0
            assert (await method(message(), timeout=5)).effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


# -- refusals -------------------------------------------------------------------------------------


def spoilt(field: str) -> bytes:
    """A question without one required field."""
    whole = wire.request_to_pb(ask())
    *parents, last = field.split(".")
    inner: Any = getattr(whole, parents[0]) if parents else whole
    inner.ClearField(last)
    return whole.SerializeToString()


def test_malformed_requests_are_invalid_argument_with_the_field(tmp_path: Path) -> None:
    """No decision and no record: a message that names the field, and a counter."""
    kindless = wire.request_to_pb(ask())
    kindless.context["x"].SetInParent()
    deep = wire.request_to_pb(ask())
    inner = deep.context["x"]
    for _ in range(31):
        inner = inner.map_value.entries["k"]
    inner.bool_value = True
    cases = [
        (b"\xff\xff", "request"),
        (b"", "required"),
        (message() + b"\xf8\x06\x01", "does not know"),
        (spoilt("request_id"), "`request_id` is required"),
        (spoilt("subject.id"), "`subject.id` is required"),
        (spoilt("resource.type"), "`resource.type` is required"),
        (kindless.SerializeToString(), "`context.x` has no value"),
        (deep.SerializeToString(), "nested deeper"),
        (message(dataclasses.replace(ask(), context={"x": "\n" * 70})), "OK"),
        (message(dataclasses.replace(ask(), request_id="x" * 2_000)), "`request_id` is longer"),
    ]

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            for data, says in cases:
                status, details = await status_of(running, data)
                if says == "OK":
                    assert status == "OK"
                    continue
                assert (status, says) == ("INVALID_ARGUMENT", says)
                assert says in details
            assert running.telemetry.counters["refused", "invalid"] == len(cases) - 1
            assert len(running.recorder.entries) == 1

    asyncio.run(scenario())


def test_a_tenant_that_the_caller_may_not_name_is_recorded(tmp_path: Path) -> None:
    """Malformed is counted; reaching for another tenant is on the record."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            data = message(dataclasses.replace(ask(), tenant="other"))
            status, details = await status_of(running, data)
            assert status == "INVALID_ARGUMENT"
            assert "tenant" in details
            (entry,) = running.recorder.entries
            assert entry.cause == pb.CAUSE_INVALID
            assert entry.tenant == "other"

    asyncio.run(scenario())


def test_oversized_messages_are_refused(tmp_path: Path) -> None:
    """Just over the limit it is said which; far over it, gRPC does not read on."""
    limits = Limits(message_bytes_max=10_000)

    def of_size(size: int) -> bytes:
        empty = len(message(dataclasses.replace(ask(), context={"x": "y" * 1_000})))
        return message(dataclasses.replace(ask(), context={"x": "y" * (size - empty + 1_000)}))

    async def scenario() -> None:
        async with running_server(tmp_path, limits=limits) as running:
            sizes = {size: len(of_size(size)) for size in (9_900, 10_100, 25_000)}
            assert (await status_of(running, of_size(9_900)))[0] == "OK"
            status, details = await status_of(running, of_size(10_100))
            assert (status, sizes[10_100] > 10_000) == ("INVALID_ARGUMENT", True)
            assert "longer than 10000 bytes" in details
            assert (await status_of(running, of_size(25_000)))[0] == "RESOURCE_EXHAUSTED"
            assert (await status_of(running, message()))[0] == "OK"

    asyncio.run(scenario())


def test_oversized_twin_without_guard(tmp_path: Path) -> None:
    """The same message passes where the limit is wide."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            data = message(dataclasses.replace(ask(), context={"x": "y" * 25_000}))
            assert (await status_of(running, data))[0] == "OK"

    asyncio.run(scenario())


def test_compressed_requests_are_refused(tmp_path: Path) -> None:
    """A few bytes that unpack into megabytes do not get unpacked."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            bomb = message(dataclasses.replace(ask(), context={"x": "y" * 200_000}))
            async with running.channel() as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, bytes)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await method(bomb, timeout=5, compression=grpc.Compression.Gzip)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert (await status_of(running, message()))[0] == "OK"

    asyncio.run(scenario())


def test_there_is_no_door_without_tls_and_no_other_method(tmp_path: Path) -> None:
    """Plaintext is UNAVAILABLE; other methods and odd paths are UNIMPLEMENTED."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            async with grpc.aio.insecure_channel(f"localhost:{running.address.port}") as plain:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await plain.unary_unary(AUTHORIZE, bytes, bytes)(message(), timeout=2)
                assert caught.value.code() in {
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                }
            async with running.channel() as channel:
                for path in (
                    f"/{SERVICE}/Permit",
                    f"/{SERVICE}/authorize",
                    f"//{SERVICE}/Authorize",
                    "/pdp.v1.AdminService/Authorize",
                    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                ):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await channel.unary_unary(path, bytes, bytes)(message(), timeout=5)
                    assert (path, caught.value.code()) == (path, grpc.StatusCode.UNIMPLEMENTED)

    asyncio.run(scenario())


# -- deadlines ------------------------------------------------------------------------------------


@given(remaining_s=st.one_of(st.none(), st.floats(-10, 1e9)), cap_s=st.floats(0.1, 60))
@settings(max_examples=200, deadline=None)
def test_deadline_arithmetic(remaining_s: float | None, cap_s: float) -> None:
    """The caller's patience, or the default, bounded, minus the reserve; never infinity."""
    limits = Limits(deadline_default_s=0.1, deadline_max_s=cap_s, answer_reserve_s=0.02)
    door = bench_door(limits=limits)
    found = door.patience_s(remaining_s)
    asked = 0.1 if remaining_s is None else remaining_s
    assert found == min(asked, cap_s) - 0.02
    assert found < cap_s


def test_an_answer_is_there_before_the_callers_deadline(tmp_path: Path) -> None:
    """The disk hangs: the caller hears DENY(AUDIT) inside its deadline, not a timeout."""
    limits = Limits(answer_reserve_s=0.15)

    async def scenario() -> None:
        recorder = MemoryRecorder("never")
        async with running_server(tmp_path, recorder=recorder, limits=limits) as running:
            answer = await running.call(message(), timeout_s=0.6)
            assert (answer.effect, answer.cause) == (pb.EFFECT_DENY, pb.CAUSE_AUDIT)

    asyncio.run(scenario())


def test_an_answer_before_the_deadline_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the reserve, and with the default in place of the deadline, it is a timeout."""
    monkeypatch.setattr(AuthorizationDoor, "patience_s", lambda self, remaining_s: 2.0)

    async def scenario() -> None:
        recorder = MemoryRecorder("never")
        async with running_server(tmp_path, recorder=recorder) as running:
            status, _ = await status_of(running, message(), timeout_s=0.3)
            assert status == "DEADLINE_EXCEEDED"

    asyncio.run(scenario())


def test_a_missing_deadline_gets_the_default(tmp_path: Path) -> None:
    """A caller that would wait for ever does not."""
    limits = Limits(deadline_default_s=0.2)

    async def scenario() -> None:
        recorder = MemoryRecorder("never")
        async with running_server(tmp_path, recorder=recorder, limits=limits) as running:
            started = time.monotonic()
            answer = await running.call(message(), timeout_s=None)
            assert answer.cause == pb.CAUSE_AUDIT
            assert time.monotonic() - started < 2

    asyncio.run(scenario())


def test_a_deadline_below_the_reserve_is_denied_before_evaluation(tmp_path: Path) -> None:
    """Too late for an answer: DENY(DEADLINE), recorded, and the bundle is not looked at."""
    limits = Limits(answer_reserve_s=0.9)

    async def scenario() -> None:
        async with running_server(tmp_path, limits=limits) as running:
            looks = running.snapshots.looks
            answer = await running.call(message(), timeout_s=0.8)
            assert (answer.effect, answer.cause) == (pb.EFFECT_DENY, pb.CAUSE_DEADLINE)
            assert running.recorder.entries[0].cause == pb.CAUSE_DEADLINE
            assert running.snapshots.looks - looks <= 2  # health's ticks

    asyncio.run(scenario())


def test_a_cancelled_call_gets_no_answer_and_harms_nobody(tmp_path: Path) -> None:
    """The caller hangs up while the record is written; the record stays, others are served."""

    async def scenario() -> None:
        appended = asyncio.Event()
        recorder = MemoryRecorder("never", on_append=appended.set)
        async with running_server(tmp_path, recorder=recorder) as running:
            async with running.channel() as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, bytes)
                call = method(message(), timeout=5)
                await asyncio.wait_for(appended.wait(), 5)
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await call
            recorder.mode = "at_once"
            assert (await running.call(message())).effect == pb.EFFECT_PERMIT
            assert running.telemetry.counters["failures", "decision_point"] == 0

    asyncio.run(scenario())


# -- hostile bytes --------------------------------------------------------------------------------

AUTHORITY = ThrowawayAuthority(TRUST_DOMAIN)
GOOD = forge(AUTHORITY)


class AbortedError(Exception):
    """What `abort` raises, as gRPC's does."""


@dataclasses.dataclass
class BenchContext:
    """A call without a socket: the door sees what gRPC would show it."""

    shown: bytes = GOOD.certificate_pem
    status: tuple[str, str] = ("OK", "")
    trailer: Trailer = ()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """The handshake's properties."""
        return {"peer_spiffe_id": [PEP_ID.encode()], "x509_pem_cert": [self.shown]}

    def peer(self) -> str:
        """The address."""
        return "ipv4:127.0.0.1:1"

    def time_remaining(self) -> float | None:
        """The deadline."""
        return 1.0

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Trailer = ()
    ) -> Any:
        """End the call."""
        self.trailer = trailing_metadata
        self.status = (code.name, details)
        raise AbortedError


def bench_door(
    recorder: MemoryRecorder | None = None,
    snapshots: HeldSnapshot | None = None,
    limits: Limits | None = None,
) -> AuthorizationDoor:
    """A door without a socket."""
    clock = HandClock(wall=time.time_ns())
    telemetry = Telemetry(None, clock.wall_ns)
    limits = limits or Limits()
    snapshot = make_snapshot(
        fresh_until_ns=clock.wall + HOUR_NS, clock_mark_ns=clock.wall - HOUR_NS
    )
    point = DecisionPoint(
        snapshots or HeldSnapshot(snapshot),
        recorder or MemoryRecorder(),
        clock=clock,
        telemetry=telemetry,
    )
    verifier = SvidVerifier(load_trust_bundle(TRUST_DOMAIN, AUTHORITY.bundle_pem))
    return AuthorizationDoor(point, verifier, limits, clock, telemetry)


async def outcome(door: AuthorizationDoor, data: bytes) -> tuple[str, str]:
    """`("OK", effect)`, or an error status and its details."""
    context = BenchContext()
    try:
        answer = pb.AuthorizeResponse.FromString(await door.authorize(data, context))
    except AbortedError:
        return context.status
    return "OK", wire.decision_from_pb(answer).effect.name


@st.composite
def hostile_bytes(draw: st.DrawFn) -> bytes:
    """Any bytes, or a question that would be denied with some bytes changed, cut or repeated."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=400))
    data = bytearray(message(ask("destroy", roles=["manager"], n=5, f=1.5, m={"a": [None, True]})))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(data)))
        data += data[start : start + draw(st.integers(0, 60))]
    return bytes(data[: len(data) - draw(st.integers(0, 8))])


def check_hostile(batch: list[bytes]) -> dict[str, int]:
    """Every message gets INVALID_ARGUMENT or a denial; nothing fails, nothing permits."""
    recorder = MemoryRecorder()
    door = bench_door(recorder)
    counts: dict[str, int] = {}

    async def scenario() -> None:
        for data in batch:
            status, details = await outcome(door, data)
            counts[status] = counts.get(status, 0) + 1
            assert (status, details) == ("OK", "DENY") or status == "INVALID_ARGUMENT", data.hex()
            assert details.isprintable()

    asyncio.run(scenario())
    assert all(entry.effect == pb.EFFECT_DENY for entry in recorder.entries)
    assert door._telemetry.counters["failures", "decision_point"] == 0
    return counts


@given(batch=st.lists(hostile_bytes(), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_hostile_bytes_never_permit_and_never_crash(batch: list[bytes]) -> None:
    """Whatever arrives, the door answers with an error status or a denial, and goes on."""
    check_hostile(batch)


@pytest.mark.prove
def test_hostile_bytes_never_permit_proof(ledger: Ledger) -> None:
    """The same on 20,000 damaged questions, with a fixed seed."""
    import random

    seed, cases = 20_261_123, 20_000
    chance = random.Random(seed)
    base = message(ask("destroy", roles=["manager"], n=5, f=1.5, m={"a": [None, True]}))
    batch = []
    for _ in range(cases):
        data = bytearray(base)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.2:
            start = chance.randrange(len(data))
            data += data[start : start + chance.randrange(60)]
        cut = chance.randrange(6) if chance.random() < 0.2 else 0
        batch.append(bytes(data[: len(data) - cut]))
    counts = check_hostile(batch)
    ledger(seed=seed, cases=cases, **counts)


def test_hostile_bytes_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test sees a permit when there is one, and a crash when there is one."""
    with pytest.raises(AssertionError):
        check_hostile([message(ask("read"))])
    monkeypatch.setattr(wire, "parse_request", pb.AuthorizeRequest.FromString)
    with pytest.raises(AssertionError):
        check_hostile([b"\xff"])


def test_hostile_bytes_over_a_real_connection(tmp_path: Path) -> None:
    """A hundred of them over one connection; the next good question is answered."""
    import random

    chance = random.Random(7)
    base = message(ask("destroy"))

    async def scenario() -> None:
        async with running_server(tmp_path) as running, running.channel() as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            for _ in range(100):
                data = bytearray(base)
                for _ in range(3):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                try:
                    answer = await method(bytes(data), timeout=5)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017
                else:
                    assert answer.effect == pb.EFFECT_DENY
            assert (await method(message(), timeout=5)).effect == pb.EFFECT_PERMIT

    asyncio.run(scenario())


@pytest.mark.parametrize("part", ["_verifier", "_decision_point", "_clock", "limits"])
def test_a_broken_door_is_an_error_status(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in the door itself: INTERNAL, no detail of ours, never an answer."""
    door = bench_door()
    monkeypatch.setattr(door, part, object())
    assert asyncio.run(outcome(door, message())) == ("INTERNAL", "the server failed")


def test_an_unreadable_identity_gets_no_decision() -> None:
    """Identity comes first: the bytes of a stranger are not even parsed."""
    door = bench_door()
    context = BenchContext(shown=b"rubbish")
    with pytest.raises(AbortedError):
        asyncio.run(door.authorize(b"\xff", context))
    assert context.status[0] == "UNAUTHENTICATED"


# -- health ---------------------------------------------------------------------------------------


def test_health_is_serving_only_while_a_permit_is_possible(tmp_path: Path) -> None:
    """Fresh bundle, working recorder: SERVING. Stale, none, failing: NOT_SERVING in a second."""

    async def turns(running: RunningServer, expected: int) -> None:
        started = time.monotonic()
        while await health_of(running) != expected:
            assert time.monotonic() - started < 2
            await asyncio.sleep(0.05)
        assert await health_of(running, SERVICE) == expected

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            assert await health_of(running) == SERVING
            running.snapshots.snapshot = now_snapshot(fresh_until_ns=time.time_ns())
            await turns(running, NOT_SERVING)
            assert running.server.state() == "stale"
            running.snapshots.snapshot = now_snapshot()
            await turns(running, SERVING)
            running.snapshots.snapshot = None
            await turns(running, NOT_SERVING)
            assert running.server.state() == "no_bundle"
            running.snapshots.snapshot = now_snapshot()
            running.recorder.healthy = False
            await turns(running, NOT_SERVING)
            assert running.server.state() == "recorder_failing"

    asyncio.run(scenario())


def test_health_is_not_serving_from_the_first_moment_without_a_bundle(tmp_path: Path) -> None:
    """The health library begins with SERVING; ours does not."""

    async def scenario() -> None:
        async with running_server(tmp_path, without_bundle=True) as running:
            assert await health_of(running) == NOT_SERVING

    asyncio.run(scenario())


def test_health_watch_hears_of_staleness(tmp_path: Path) -> None:
    """A load balancer that watches is told without asking again."""

    async def scenario() -> None:
        snapshot = now_snapshot(fresh_until_ns=time.time_ns() + NANOS)
        async with (
            running_server(tmp_path, snapshot=snapshot) as running,
            running.channel() as channel,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=SERVICE), timeout=5
            )
            heard = [(await watch.read()).status, (await watch.read()).status]
            assert heard == [SERVING, NOT_SERVING]
            watch.cancel()

    asyncio.run(scenario())


def test_health_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at freshness a stale PDP would go on drawing traffic."""
    monkeypatch.setattr(Server, "state", lambda self: "serving")

    async def scenario() -> None:
        async with running_server(tmp_path, without_bundle=True) as running:
            assert await health_of(running) == SERVING

    asyncio.run(scenario())


# -- port, start, stop ----------------------------------------------------------------------------


def make_server(folder: Path, port: int) -> Server:
    """A server that is not bound yet."""
    certificate, key = AUTHORITY.issue("pdp", dns_names=["localhost"]).write(folder, "server")
    (folder / "trust.pem").write_bytes(AUTHORITY.bundle_pem)
    tls = TlsSettings(TRUST_DOMAIN, certificate, key, folder / "trust.pem")
    clock = ShiftedClock()
    return Server(
        load_server_svid(tls, clock.wall_ns()),
        HeldSnapshot(now_snapshot()),
        MemoryRecorder(),
        listen=Address("127.0.0.1", port),
        limits=Limits(),
        clock=clock,
        telemetry=Telemetry(io.StringIO(), clock.wall_ns),
    )


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    """Two PDPs never share a port: the second one says so, and what to do."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            other = make_server(tmp_path, running.address.port)
            with pytest.raises(ConfigurationError, match="choose another port"):
                await other.bind()
            await other.stop(0)
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(ConfigurationError, match="address already in use"),
        ):
            check_free(Address("127.0.0.1", taken.getsockname()[1]))

    asyncio.run(scenario())


@pytest.mark.parametrize("guard", ["probe", "option"])
def test_a_port_in_use_has_two_guards(
    guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe says why; `grpc.so_reuseport=0` holds when somebody comes in between."""
    if guard == "option":
        monkeypatch.setattr(listener, "check_free", lambda address: None)

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            other = make_server(tmp_path, running.address.port)
            with pytest.raises(ConfigurationError):
                await other.bind()
            await other.stop(0)

    asyncio.run(scenario())


def test_a_port_in_use_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of gRPC shares the port between both, and callers get either."""
    monkeypatch.setattr(listener, "check_free", lambda address: None)
    options = [
        (name, 1 if name == "grpc.so_reuseport" else value)
        for name, value in listener.server_options(Limits(), 900.0)
    ]
    monkeypatch.setattr(listener, "server_options", lambda *_, **__: options)

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            other = make_server(tmp_path, running.address.port)
            assert (await other.bind()).port == running.address.port
            await other.stop(0)

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "::2", "1.2.3"])
def test_an_address_that_is_not_ours_is_an_error(host: str) -> None:
    """A typing error in the address is told as such."""
    with pytest.raises(ConfigurationError, match="listen"):
        check_free(Address(host, 1))


def test_stop_says_so_first_and_lets_calls_finish(tmp_path: Path) -> None:
    """A call in flight gets its answer; health is NOT_SERVING meanwhile; new calls get nothing."""

    async def scenario() -> None:
        appended = asyncio.Event()
        recorder = MemoryRecorder("later", delay_s=0.6, on_append=appended.set)
        async with (
            running_server(tmp_path, recorder=recorder) as running,
            running.channel() as channel,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), timeout=5
            )
            assert (await watch.read()).status == SERVING
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            call = asyncio.ensure_future(method(message(), timeout=5))
            await asyncio.wait_for(appended.wait(), 5)
            stopping = asyncio.create_task(running.server.stop(3))
            assert (await watch.read()).status == NOT_SERVING
            watch.cancel()
            assert (await call).effect == pb.EFFECT_PERMIT
            await stopping
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(message(), timeout=1)
            assert caught.value.code() in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }

    asyncio.run(scenario())


def test_many_calls_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    """Two hundred calls in flight on one connection: ids, digests and effects do not mix."""

    async def scenario() -> None:
        recorder = MemoryRecorder("later")
        async with (
            running_server(tmp_path, recorder=recorder) as running,
            running.channel() as channel,
        ):
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)

            async def one(number: int) -> None:
                action = ("read", "destroy")[number % 2]
                data = message(dataclasses.replace(ask(action), request_id=f"q-{number}"))
                answer = await method(data, timeout=10)
                assert answer.request_id == f"q-{number}"
                assert answer.request_digest == hashlib.sha256(data).digest()
                assert answer.effect == (pb.EFFECT_PERMIT, pb.EFFECT_DENY)[number % 2]

            await asyncio.gather(*(one(number) for number in range(200)))

    asyncio.run(scenario())


def test_causes_and_refusals_are_counted(tmp_path: Path) -> None:
    """What an operator needs to see an attack, without a line per call."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            await running.call(message())
            await running.call(message(ask("destroy")))
            await status_of(running, b"\xff")
            counters = running.telemetry.counters
            assert counters["decisions", "PERMIT", Cause.RULE.name] == 1
            assert counters["decisions", "DENY", Cause.RULE.name] == 1
            assert counters["refused", "invalid"] == 1

    asyncio.run(scenario())
