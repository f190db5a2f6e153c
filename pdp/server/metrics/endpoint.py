"""The port that is scraped: `GET /metrics`, and nothing else.

On a loopback address without TLS: whoever is on the machine may see it. On any
other with mutual TLS, by the PDP's own certificate and the authorities it
believes; whoever has a certificate of the trust domain may see it, as it may see
health. There is no setting that leaves it out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from pdp.bundle.anchor import is_loopback
from pdp.config.settings import Address
from pdp.decision_point import Clock
from pdp.errors import ConfigurationError, IdentityError
from pdp.identity.server_svid import ServerSvid
from pdp.identity.svid import SvidVerifier
from pdp.server.authzen.connection import HEADER_BYTES_MAX, STATE, Bounds, Peer, PeerProtocol
from pdp.server.authzen.listener import CurrentContext, tls_context
from pdp.server.metrics.exposition import CONTENT_TYPE
from pdp.telemetry import Telemetry

PATH: Final = "/metrics"
_CONNECTIONS_MAX: Final = 16
_AGE_S: Final = 300.0
_HANDSHAKE_S: Final = 5.0

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class MetricsEndpoint:
    """One listening endpoint, on one event loop.

    Args:
        render: the text of a scrape; called in a thread, one call at a time.
        identity: what is shown, and whom it believes, where there is TLS.
        listen: where.
        clock: time.
        telemetry: counters and logs.
        shared: whether other workers of this PDP listen there too.
    """

    def __init__(
        self,
        render: Callable[[], bytes],
        identity: ServerSvid,
        listen: Address,
        clock: Clock,
        telemetry: Telemetry,
        *,
        shared: bool = False,
    ) -> None:
        self.address = listen
        self._render = render
        self._clock = clock
        self._telemetry = telemetry
        self._shared = shared
        self._one = asyncio.Lock()
        self._verifier: SvidVerifier | None = None
        self._context: CurrentContext | None = None
        if not is_loopback(listen.host):
            self._verifier = SvidVerifier(identity.trust)
            self._context = CurrentContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.current = tls_context(identity)
        self._state = ServerState()
        self._config = Config(
            self._answer,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Take the port and serve.

        Raises:
            ConfigurationError: somebody else has it, or there is no such address.
        """
        host, port = self.address.host, self.address.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((host, port))
        except OSError as error:
            bound.close()
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"`metrics.listen`: cannot listen on `{self.address}`: {why}"
            ) from None
        self.address = Address(host, bound.getsockname()[1])
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=bound,
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else _HANDSHAKE_S,
        )
        self._telemetry.log(
            "info", "metrics_listening", address=str(self.address), port=self.address.port
        )

    def use(self, identity: ServerSvid) -> None:
        """Show this, and believe these authorities, from now on."""
        if self._verifier is not None and self._context is not None:
            self._verifier.use(identity.trust)
            self._context.current = tls_context(identity)

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._state.connections):
            if isinstance(connection, PeerProtocol):
                connection.transport.abort()

    def _protocol(self) -> asyncio.Protocol:
        bounds = Bounds(_CONNECTIONS_MAX, _AGE_S)
        return PeerProtocol(self._config, self._state, bounds, self._telemetry)

    async def _answer(self, scope: MutableMapping[str, Any], _: _Receive, send: _Send) -> None:
        """One request."""
        if not self._known(scope):
            await _respond(send, 403, b"who asks needs an X.509-SVID of the trust domain\n")
        elif scope["path"] != PATH:
            await _respond(send, 404, b"there is nothing here but /metrics\n")
        elif scope["method"] not in {"GET", "HEAD"}:
            await _respond(send, 405, b"")
        else:
            async with self._one:
                body = await asyncio.to_thread(self._render)
            await _respond(send, 200, body)

    def _known(self, scope: MutableMapping[str, Any]) -> bool:
        if self._verifier is None:
            return True
        peer: Peer = scope["state"][STATE]
        try:
            self._verifier.caller(peer.auth_context, peer.address, self._clock.wall_ns())
        except IdentityError:
            self._telemetry.count("refused", "unauthenticated")
            return False
        return True


async def _respond(send: _Send, status: int, body: bytes) -> None:
    kind = CONTENT_TYPE.encode() if status == 200 else b"text/plain; charset=utf-8"  # noqa: PLR2004
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
