"""The port of the AuthZEN door: TLS with client certificates, connections, the end.

uvicorn's protocol without uvicorn's server: that one catches signals, and
here they are the process's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from uvicorn.config import Config
from uvicorn.server import ServerState

from pdp.config.settings import Address
from pdp.errors import ConfigurationError
from pdp.identity.server_svid import ServerSvid
from pdp.server.authzen.application import AuthzenDoor
from pdp.server.authzen.connection import HEADER_BYTES_MAX, IDLE_S, Bounds, PeerProtocol
from pdp.telemetry import Telemetry

_HANDSHAKE_S: Final = 5.0
_SHUTDOWN_S: Final = 1.0
_LOOK_S: Final = 0.02


class CurrentContext(ssl.SSLContext):
    """Has each handshake made by the context that is in force then."""

    current: ssl.SSLContext

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """What asyncio and uvloop ask for, once per connection."""
        return self.current.wrap_bio(*args, **options)


class AuthzenListener:
    """One listening AuthZEN door, on one event loop.

    Args:
        door: what answers.
        identity: what is shown, and whom it believes.
        listen: where. Port 0 takes a free one.
        bounds: of connections.
        telemetry: counters.
        shared: whether other workers of this PDP listen there too.

    Attributes:
        address: where it listens.
        door: what answers.
    """

    def __init__(
        self,
        door: AuthzenDoor,
        identity: ServerSvid,
        listen: Address,
        bounds: Bounds,
        telemetry: Telemetry,
        *,
        shared: bool = False,
    ) -> None:
        self.door = door
        self.address = listen
        self._bounds = bounds
        self._telemetry = telemetry
        self._context = CurrentContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.current = tls_context(identity)
        self._state = ServerState()
        self._config = Config(
            door,
            interface="asgi3",
            lifespan="off",
            ws="none",
            # No line per call, and none that a peer can cause.
            log_config=None,
            log_level="critical",
            access_log=False,
            # Nobody is believed for what a header says.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(IDLE_S),
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
        # Not bound yet.
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._shared = shared
        self._server: asyncio.Server | None = None

    async def bind(self) -> Address:
        """Take the port, without serving yet.

        Raises:
            ConfigurationError: somebody else has it, or there is no such address.
        """
        host, port = self.address.host, self.address.port
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._shared:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind((host, port))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"`authzen.listen`: cannot listen on `{self.address}`: {why}"
            ) from None
        self.address = Address(host, self._socket.getsockname()[1])
        return self.address

    async def start(self) -> None:
        """Serve."""
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=self._socket,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
        self._telemetry.log(
            "info", "authzen_listening", address=str(self.address), port=self.address.port
        )

    def _protocol(self) -> asyncio.Protocol:
        return PeerProtocol(self._config, self._state, self._bounds, self._telemetry)

    def use(self, identity: ServerSvid) -> None:
        """Show this, and believe these authorities, from the next handshake on."""
        self._context.current = tls_context(identity)

    async def stop(self, grace_s: float) -> None:
        """Take no new connection, give calls in flight `grace_s` seconds, end the rest.

        May be called again while it waits, to give them less.
        """
        if self._server is not None:
            self._server.close()
        else:
            self._socket.close()
        loop = asyncio.get_running_loop()
        ends = loop.time() + grace_s
        for connection in self._connections():
            connection.end()
        while self._state.connections and loop.time() < ends:  # noqa: ASYNC110 uvicorn's set
            await asyncio.sleep(_LOOK_S)
        for connection in self._connections():
            connection.transport.abort()
        for task in tuple(self._state.tasks):
            task.cancel()

    def _connections(self) -> list[PeerProtocol]:
        return [found for found in self._state.connections if isinstance(found, PeerProtocol)]


def tls_context(identity: ServerSvid) -> ssl.SSLContext:
    """TLS 1.3 with a client certificate, each time anew.

    Sessions are never resumed: a resumed one shows no chain of certificates, and
    would outlive what made it. Authorities count wherever they stand in a path,
    as to gRPC. Our rules for SVIDs come on top, with every request.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    authorities = [found.public_bytes(Encoding.DER) for found in identity.trust.authorities]
    context.load_verify_locations(cadata=b"".join(authorities))
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL's wrapper reads files only, and the key is written to no disk.
    descriptor = os.memfd_create("svid")
    try:
        os.write(descriptor, identity.key_pem + b"\n" + identity.certificate_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
