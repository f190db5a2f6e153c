"""A decision point, and a server around one, with every part in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from pdp.audit.entry import Capture
from pdp.audit.log import leaf_hash
from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.config.settings import Address, Limits, TlsSettings
from pdp.errors import SpoolError, SpoolSuppressedError
from pdp.fetching import AttributeSource
from pdp.identity.server_svid import load_server_svid
from pdp.identity.token import TokenVerifier
from pdp.model import (
    Action,
    BundleRef,
    Caller,
    Effect,
    Obligation,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.policy import PolicyDocument, PolicySet, RuleDocument
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument
from pdp.search import Searching
from pdp.server.authzen.pages import Offer
from pdp.server.listener import Server
from pdp.snapshot import Denials, Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from pdp.wire import request_to_pb
from tests.simulators.certificates import TRUST_DOMAIN

NOW_NS = 1_790_000_000 * NANOS
PEP = Caller(f"spiffe://{TRUST_DOMAIN}/pep", "1f", "ipv4:127.0.0.1:9")
AUTHORIZE = "/pdp.v1.AuthorizationService/Authorize"


@dataclass(slots=True)
class HandClock:
    """Time that moves only when told to, or with each look at it."""

    wall: int = NOW_NS
    seconds: float = 1_000.0
    step_s: float = 0.0

    def wall_ns(self) -> int:
        """The wall clock."""
        return self.wall

    def monotonic(self) -> float:
        """The clock of deadlines."""
        self.seconds += self.step_s
        return self.seconds


@dataclass(slots=True)
class ShiftedClock:
    """The machine's clocks, the wall clock moved by hand."""

    shift_ns: int = 0

    def wall_ns(self) -> int:
        """The wall clock."""
        return time.time_ns() + self.shift_ns

    def monotonic(self) -> float:
        """The clock of deadlines."""
        return time.monotonic()


@dataclass(slots=True)
class MemoryRecorder:
    """Keeps records in memory and makes them durable when the mode says so.

    Modes: `at_once`, `later` (after `delay_s`), `never`, `fails`, `fails_later`,
    `suppressed` (as the spool does: denials only), `breaks` (an error that no
    contract allows), `refuses` (raises at once), `cancels`.
    """

    mode: str = "at_once"
    delay_s: float = 0.01
    healthy: bool = True
    entries: list[audit_pb2.DecisionRecord] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    durable: set[int] = field(default_factory=set)
    on_append: Callable[[], None] = lambda: None

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """As `pdp.decision_point.Recorder`."""
        if self.mode == "breaks":
            raise ZeroDivisionError
        if self.mode == "refuses":
            raise SpoolError("the spool is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordRef] = loop.create_future()
        self.entries.append(entry)
        self.times.append(time_ns)
        self.on_append()
        seq = len(self.entries)
        ref = RecordRef("test/0/1", seq, leaf_hash(entry.SerializeToString()))
        if self.mode == "at_once":
            self._done(future, ref)
        elif self.mode == "later":
            loop.call_later(self.delay_s, self._done, future, ref)
        elif self.mode == "fails":
            future.set_exception(SpoolError("the disk is full"))
        elif self.mode == "fails_later":
            loop.call_later(self.delay_s, self._fail, future)
        elif self.mode == "cancels":
            future.cancel()
        elif self.mode == "suppressed":
            if entry.effect == pb.EFFECT_PERMIT:
                self._done(future, ref)
            else:
                future.set_exception(SpoolSuppressedError("counted"))
        return future

    def _done(self, future: asyncio.Future[RecordRef], ref: RecordRef) -> None:
        self.durable.add(ref.seq)
        if not future.done():
            future.set_result(ref)

    def _fail(self, future: asyncio.Future[RecordRef]) -> None:
        if not future.done():
            future.set_exception(SpoolError("the disk is full"))


@dataclass(slots=True)
class HeldSnapshot:
    """A source of one snapshot, or none."""

    snapshot: Snapshot | None
    looks: int = 0

    def current(self) -> Snapshot | None:
        """As `pdp.decision_point.SnapshotSource`."""
        self.looks += 1
        return self.snapshot


def rule(
    name: str,
    effect: Effect,
    actions: tuple[str, ...],
    roles: tuple[str, ...] | None = None,
    obligations: tuple[Obligation, ...] = (),
) -> RuleDocument:
    """A rule without a condition."""
    return RuleDocument(name, effect, actions, roles, None, None, None, "test", obligations)


WATERMARK = Obligation("mark", "watermark", {"text": "confidential", "size": 12})


def policies(
    schemas: Sequence[SchemaDocument] = (), providers: Sequence[ProviderDocument] = ()
) -> PolicySet:
    """Anyone reads documents, with a watermark; managers write; nobody destroys."""
    document = PolicyDocument(
        name="documents",
        resource_type="document",
        owner="tests@example.org",
        static_roles=("manager",),
        variables=(),
        roles=(),
        rules=(
            rule("anyone-reads", Effect.PERMIT, ("read",), None, (WATERMARK,)),
            rule("managers-write", Effect.PERMIT, ("write",), ("manager",)),
            rule("nobody-destroys", Effect.DENY, ("destroy",)),
        ),
    )
    return PolicySet([document], EvaluationLimits(), schemas, providers)


_POLICIES = policies()


def make_snapshot(
    *,
    fresh_until_ns: int = NOW_NS + 3_600 * NANOS,
    clock_mark_ns: int = NOW_NS - 60 * NANOS,
    denials: Denials | None = None,
    callers: tuple[CallerEntry, ...] | None = None,
    tenants: Mapping[str, PolicySet] | None = None,
) -> Snapshot:
    """A snapshot as a verified bundle would give it, made by hand."""
    entry = CallerEntry(
        id=f"spiffe://{TRUST_DOMAIN}/*", resources=("document",), actions=("*",), asserts=("user",)
    )
    return Snapshot(
        policies=tenants or {"default": _POLICIES},
        callers=CallerPolicy(callers or (entry,)),
        denials=denials or Denials(),
        ref=BundleRef(7, bytes(range(32))),
        fresh_until_ns=fresh_until_ns,
        clock_mark_ns=clock_mark_ns,
    )


def now_snapshot(**changes: object) -> Snapshot:
    """A snapshot that is fresh by the machine's own clock."""
    now = time.time_ns()
    fresh = make_snapshot(fresh_until_ns=now + 3_600 * NANOS, clock_mark_ns=now)
    return dataclasses.replace(fresh, **changes)  # type: ignore[arg-type]


def ask(action: str = "read", **subject: object) -> Request:
    """May alice do this to document 1?"""
    return Request(
        Subject("user", "alice", dict(subject)),  # type: ignore[arg-type]
        Action(action),
        Resource("document", "1", {"size": 3}),
        {"ip": "10.0.0.1"},
        request_id="q-1",
    )


def message(request: Request | None = None) -> bytes:
    """The bytes of a question."""
    return request_to_pb(request or ask()).SerializeToString()


@dataclass(slots=True)
class RunningServer:
    """A server that listens, its parts, and how to call it."""

    server: Server
    address: Address
    authority: ThrowawayAuthority
    recorder: MemoryRecorder
    snapshots: HeldSnapshot
    telemetry: Telemetry
    pep: IssuedSvid
    clock: ShiftedClock

    def channel(
        self, svid: IssuedSvid | None = None, *options: tuple[str, int]
    ) -> grpc.aio.Channel:
        """A channel with mutual TLS, as `svid`, else as a good caller."""
        shown = svid or self.pep
        credentials = grpc.ssl_channel_credentials(
            self.authority.bundle_pem, shown.key_pem, shown.certificate_pem
        )
        # Subchannels are shared between channels that look alike: each attack needs its own.
        local = ("grpc.use_local_subchannel_pool", 1)
        return grpc.aio.secure_channel(
            f"localhost:{self.address.port}", credentials, options=(local, *options)
        )

    async def call(
        self, data: bytes, svid: IssuedSvid | None = None, timeout_s: float | None = 5.0
    ) -> pb.AuthorizeResponse:
        """Ask once, with raw bytes.

        Raises:
            grpc.aio.AioRpcError: there is no answer.
        """
        async with self.channel(svid) as channel:
            method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
            answer: pb.AuthorizeResponse = await method(data, timeout=timeout_s)
            return answer


@contextlib.asynccontextmanager
async def running_server(
    folder: Path,
    *,
    authority: ThrowawayAuthority | None = None,
    snapshot: Snapshot | None = None,
    recorder: MemoryRecorder | None = None,
    limits: Limits | None = None,
    capture: Capture = Capture.ATTRIBUTES,
    without_bundle: bool = False,
    authzen: Offer | None = None,
    reflection: bool = False,
    envoy: bool = False,
    tokens: TokenVerifier | None = None,
    attributes: AttributeSource | None = None,
    searching: Callable[[Telemetry], Searching] | None = None,
) -> AsyncIterator[RunningServer]:
    """A server on a free port of 127.0.0.1, over real mutual TLS."""
    authority = authority or ThrowawayAuthority(TRUST_DOMAIN)
    certificate, key = authority.issue(
        "pdp", dns_names=["localhost"], addresses=["127.0.0.1"]
    ).write(folder, "server")
    trust = folder / "trust.pem"
    trust.write_bytes(authority.bundle_pem)
    clock = ShiftedClock()
    identity = load_server_svid(TlsSettings(TRUST_DOMAIN, certificate, key, trust), clock.wall_ns())
    held = HeldSnapshot(None if without_bundle else snapshot or now_snapshot())
    telemetry = Telemetry(io.StringIO(), clock.wall_ns, "debug")
    recorder = recorder or MemoryRecorder()
    server = Server(
        identity,
        held,
        recorder,
        listen=Address("127.0.0.1", 0),
        limits=limits or Limits(),
        capture=capture,
        clock=clock,
        telemetry=telemetry,
        tokens=tokens,
        attributes=attributes,
        searching=None if searching is None else searching(telemetry),
    )
    address = await server.bind(authzen, reflect=reflection, envoy=envoy)
    await server.start()
    try:
        yield RunningServer(
            server, address, authority, recorder, held, telemetry, authority.issue("pep"), clock
        )
    finally:
        await server.stop(0)
        telemetry.close()
