"""One listening PDP: the gRPC server, its health, its port.

Health says SERVING only while a PERMIT is possible: a fresh snapshot, and a
recorder that records. Whoever asks for it must pass the same mutual TLS; what
it says is no secret, so no more than the handshake is asked of them.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pdp.audit.entry import Capture
from pdp.config.settings import Address, Limits
from pdp.decision_point import Clock, Recorder, SnapshotSource
from pdp.errors import ConfigurationError
from pdp.fetching import AttributeSource
from pdp.identity.server_svid import ServerSvid
from pdp.identity.svid import SvidVerifier
from pdp.identity.token import TokenVerifier
from pdp.search import SearchDecisionPoint, Searching
from pdp.server.authorization import METHOD, SERVICE, AuthorizationDoor
from pdp.server.authzen.application import AuthzenDoor
from pdp.server.authzen.connection import Bounds
from pdp.server.authzen.listener import AuthzenListener
from pdp.server.authzen.pages import Offer
from pdp.server.batch import METHOD as BATCH_METHOD
from pdp.server.batch import BatchDoor
from pdp.server.envoy.door import METHOD as CHECK_METHOD
from pdp.server.envoy.door import SERVICE as ENVOY_SERVICE
from pdp.server.envoy.door import EnvoyDoor, mapping_state
from pdp.server.handshake import Handshakes
from pdp.server.overload import Gate
from pdp.server.stream import METHOD as STREAM_METHOD
from pdp.server.stream import StreamDoor
from pdp.server.unix_socket import bind_socket
from pdp.telemetry import Telemetry
from pdp.values import NANOS

# How often health looks at the clock. A snapshot goes stale between polls.
TICK_S: Final = 0.5
# How much longer a message may be for the limit to be told by its name.
_ABOVE_LIMIT_BYTES: Final = 4_096
_SERVICES: Final = ("", SERVICE)
# What reflection tells of; itself it tells of anyway.
_REFLECTED: Final = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class DurableRecorder(Recorder, Protocol):
    """A recorder that can say how it is."""

    @property
    def healthy(self) -> bool:
        """Whether a record appended now can become durable, as far as it knows."""
        ...


class ShowsIdentity(Protocol):
    """Something else that listens with our certificate."""

    def use(self, identity: ServerSvid) -> None:
        """Show this certificate and believe these authorities from now on."""
        ...


class Server:
    """One listening PDP on one event loop.

    Args:
        identity: what it shows, and whom it believes.
        snapshots: verified bundles.
        recorder: durable records. Not closed here: whoever opened it closes it.
        listen: where. Port 0 takes a free one.
        limits: what callers may use at most.
        capture: how much of a request a record keeps.
        clock: time.
        telemetry: counters and logs.
        tokens: verifies subject tokens.
        attributes: what callers do not send.
        shared: whether other workers of this PDP listen there too; their parent holds the port.
        searching: what searches need; without it, there are none.

    Attributes:
        authzen: the door for HTTP, if there is one.
        identity: what it shows and whom it believes at present.
        metrics: what else shows a certificate, and is told of a new one.
    """

    def __init__(  # noqa: PLR0913 the parts of a server
        self,
        identity: ServerSvid,
        snapshots: SnapshotSource,
        recorder: DurableRecorder,
        *,
        listen: Address,
        limits: Limits,
        capture: Capture = Capture.ATTRIBUTES,
        clock: Clock,
        telemetry: Telemetry,
        tokens: TokenVerifier | None = None,
        attributes: AttributeSource | None = None,
        shared: bool = False,
        searching: Searching | None = None,
    ) -> None:
        self._shared = shared
        self._snapshots = snapshots
        self._recorder = recorder
        self._listen = listen
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._state = ""
        self._ticker: asyncio.Task[None] | None = None
        self.decision_point = SearchDecisionPoint(
            snapshots,
            recorder,
            limits=limits.input,
            capture=capture,
            clock=clock,
            telemetry=telemetry,
            tokens=tokens,
            attributes=attributes,
            searching=searching,
        )
        self._verifier = SvidVerifier(identity.trust, identity.ends_ns)
        self._handshakes = Handshakes(identity)
        self._beside: Handshakes | None = None
        door = AuthorizationDoor(self.decision_point, self._verifier, limits, clock, telemetry)
        batches = BatchDoor(door, self.decision_point)
        self._door = door
        self._age_s = connection_age_s(limits, identity)
        self.identity = identity
        self.authzen: AuthzenListener | None = None
        self.metrics: ShowsIdentity | None = None
        self._streams = StreamDoor(door, telemetry)
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._server = grpc.aio.server(
            options=server_options(limits, self._age_s, shared=shared),
            maximum_concurrent_rpcs=limits.concurrent_calls_max,
        )
        self._server.add_generic_rpc_handlers((handlers(door, batches, self._streams),))
        self._envoy_state: str | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.address = listen

    async def bind(
        self,
        authzen: Offer | None = None,
        *,
        at: Path | None = None,
        reflect: bool = False,
        envoy: bool = False,
    ) -> Address:
        """Take the port, and one for HTTP where there is something to offer; without serving yet.

        Args:
            authzen: what is offered over HTTP.
            at: a Unix socket to listen at as well.
            reflect: whether gRPC tells the API to whoever passes mutual TLS.
            envoy: whether Envoy may ask about HTTP requests.

        Raises:
            ConfigurationError: somebody else has it, or there is no such address.
        """
        if reflect:
            reflection.enable_server_reflection(_REFLECTED, self._server)
        if envoy:
            self._envoy_state = ""
            self._server.add_generic_rpc_handlers((self._envoy_handlers(),))
        if not self._shared:
            check_free(self._listen)
        try:
            port = self._server.add_secure_port(str(self._listen), self._handshakes.credentials)
        except RuntimeError:
            raise _not_free(self._listen, "the address cannot be bound") from None
        self.address = Address(self._listen.host, port)
        if at is not None:
            self._beside = bind_socket(self._server, at, self.identity)
        if authzen is not None:
            self.authzen = self._listener(authzen)
            await self.authzen.bind()
        return self.address

    def _envoy_handlers(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        door = EnvoyDoor(
            self._door,
            self.decision_point,
            self._verifier,
            limits=self._limits,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        methods = {CHECK_METHOD: grpc.unary_unary_rpc_method_handler(door.check)}
        return grpc.method_handlers_generic_handler(ENVOY_SERVICE, methods)

    def _listener(self, authzen: Offer) -> AuthzenListener:
        door = AuthzenDoor(
            self.decision_point,
            self._verifier,
            self._door.gate,
            self._door.pace,
            limits=self._limits,
            clock=self._clock,
            telemetry=self._telemetry,
            offer=authzen,
        )
        bounds = Bounds(self._limits.connections_max, self._age_s)
        return AuthzenListener(
            door, self.identity, authzen.listen, bounds, self._telemetry, shared=self._shared
        )

    @property
    def gate(self) -> Gate:
        """How much is taken on at once, by all doors."""
        return self._door.gate

    async def start(self) -> None:
        """Serve. Health is right from the first answer on."""
        services = _SERVICES if self._envoy_state is None else (*_SERVICES, ENVOY_SERVICE)
        for service in services:
            # The servicer's own first word is SERVING.
            await self._health.set(service, _NOT_SERVING)
        await self.look()
        await self._server.start()
        if self.authzen is not None:
            await self.authzen.start()
        self._ticker = asyncio.create_task(self._tick(), name="health")

    async def not_serving(self) -> None:
        """Say NOT_SERVING from now on, whatever is true, and go on answering."""
        if self.authzen is not None:
            self.authzen.door.draining = True
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new call, give those in flight `grace_s` seconds.

        May be called again while it waits, to give them less.
        """
        if self._ticker is not None:
            self._ticker.cancel()
        await self.not_serving()
        self._streams.drain()
        ending = [self._server.stop(grace_s)]
        if self.authzen is not None:
            ending.append(self.authzen.stop(grace_s))
        await asyncio.gather(*ending)

    def use(self, identity: ServerSvid) -> None:
        """Show this certificate and believe these authorities from now on. On the event loop.

        INVARIANT: a caller whose authority is gone is refused with its next
        call, on connections that are open, too. The authorities come before the
        certificate: a handshake may come in between.
        """
        self.identity = identity
        self._verifier.use(identity.trust, identity.ends_ns)
        self._handshakes.use(identity)
        for other in (self._beside, self.authzen, self.metrics):
            if other is not None:
                other.use(identity)

    async def look(self) -> None:
        """Set health to what is true now."""
        state = self.state()
        await self._look_at_mapping(state)
        if state == self._state:
            return
        self._state = state
        status = _SERVING if state == "serving" else _NOT_SERVING
        for service in _SERVICES:
            await self._health.set(service, status)
        self._telemetry.log("info" if state == "serving" else "warning", "health", state=state)

    async def _look_at_mapping(self, state: str) -> None:
        """For Envoy's service: without a mapping, nothing goes on, however well the PDP is."""
        if self._envoy_state is None:
            return
        found = mapping_state(self._snapshots) if state == "serving" else state
        if found == self._envoy_state:
            return
        self._envoy_state = found
        mapped = found == "mapped"
        await self._health.set(ENVOY_SERVICE, _SERVING if mapped else _NOT_SERVING)
        self._telemetry.log("info" if mapped else "warning", "envoy", state=found)

    def state(self) -> str:
        """One of `serving`, `no_bundle`, `stale`, `identity_ended`, `recorder_failing`."""
        snapshot = self._snapshots.current()
        if snapshot is None:
            return "no_bundle"
        if snapshot.is_stale(self._clock.wall_ns()):
            return "stale"
        if self._clock.wall_ns() > self.identity.ends_ns:
            return "identity_ended"
        return "serving" if self._recorder.healthy else "recorder_failing"

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 health goes on, decisions do not depend on it
                self._telemetry.log("error", "health_failed", error=type(error).__name__)


def handlers(
    door: AuthorizationDoor, batches: BatchDoor, streams: StreamDoor
) -> grpc.GenericRpcHandler[bytes, bytes]:
    """The methods of the service. Bytes in, bytes out: the doors read for themselves."""
    methods = {
        METHOD: grpc.unary_unary_rpc_method_handler(door.authorize),
        BATCH_METHOD: grpc.unary_unary_rpc_method_handler(batches.authorize_batch),
        STREAM_METHOD: grpc.stream_stream_rpc_method_handler(streams.authorize_stream),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def connection_age_s(limits: Limits, identity: ServerSvid) -> float:
    """How old a connection gets: the setting, and at most half the life of a certificate.

    Ours stands for our callers', which gRPC cannot ask. They are checked with
    each call all the same; this only makes them show their new ones in time,
    and hear of ours (references 3.2, rule 4).
    """
    life_s = (identity.ends_ns - identity.starts_ns) / NANOS
    # gRPC varies the age by a tenth, so that not all callers come back at once.
    return max(1.0, min(limits.connection_age_max_s, life_s / 2) / 1.1)


def server_options(
    limits: Limits, connection_age_s: float, *, shared: bool = False
) -> list[tuple[str, int]]:
    """Channel arguments; names and units are gRPC's."""
    return [
        # Two processes on one port share the callers between them: workers of one PDP, only.
        ("grpc.so_reuseport", int(shared)),
        # Ours is the limit that names itself; a little above it gRPC does not even read on.
        ("grpc.max_receive_message_length", limits.message_bytes_max + _ABOVE_LIMIT_BYTES),
        # Compression bombs: a question is small, nobody needs to compress it.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_metadata_size", 8_192),
        ("grpc.absolute_max_metadata_size", 16_384),
        ("grpc.max_concurrent_streams", limits.concurrent_streams_max),
        ("grpc.max_allowed_incoming_connections", limits.connections_max),
        ("grpc.max_connection_age_ms", int(connection_age_s * 1_000)),
        ("grpc.max_connection_age_grace_ms", int(limits.deadline_max_s * 1_000) + 1_000),
        # Whoever does not finish the handshake gives the connection back.
        ("grpc.server_handshake_timeout_ms", 5_000),
        # Peers that are gone are noticed; clients may ping every 10 s (references 4.1).
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 2),
    ]


def check_free(address: Address, name: str = "listen") -> None:
    """Say why a port cannot be taken; gRPC only says that it cannot.

    Args:
        address: which.
        name: of the setting.

    Raises:
        ConfigurationError: somebody else has it, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(
            f"`{name}`: `{address.host}` is no address of this machine: {error.strerror}"
        ) from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC does: an address that a dead process left in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(found[0][4])
        except OSError as error:
            raise _not_free(address, (error.strerror or str(error)).lower(), name) from None


def _not_free(address: Address, why: str, name: str = "listen") -> ConfigurationError:
    return ConfigurationError(
        f"`{name}`: cannot listen on `{address}`: {why}; stop what listens there, or choose "
        "another port"
    )
