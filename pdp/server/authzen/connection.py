"""One connection: uvicorn's HTTP/1.1 on h11, and what it lacks.

No ASGI server hands over the certificate that a peer has shown, so this does,
from TLS itself into the scope; nothing reads it from a header. Besides, a
connection has an end: of age, of idleness, of headers that never come to one.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from pdp.identity.svid import AuthContext
from pdp.telemetry import Telemetry

# The key of a `Peer` in the scope's `state`.
STATE: Final = "peer"
# The most bytes of a request before its body.
HEADER_BYTES_MAX: Final = 16_384
# How long a connection may be open without a whole request's head.
IDLE_S: Final = 60.0
# How much longer than its age a connection may be for the answer that is under way.
_OVERTIME_S: Final = 10.0
_DER: Final = 2  # `ssl._ssl.ENCODING_DER`


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        auth_context: what the handshake showed, in the words of gRPC.
        address: on the network, for the record; it proves nothing.
    """

    auth_context: AuthContext
    address: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of connections."""

    connections_max: int
    age_s: float


class PeerProtocol(H11Protocol):
    """An HTTP connection whose requests know who sent them.

    Args:
        config: of uvicorn.
        server_state: shared by all connections.
        bounds: how many there may be, and how old.
        telemetry: counters.
    """

    def __init__(
        self, config: Config, server_state: ServerState, bounds: Bounds, telemetry: Telemetry
    ) -> None:
        super().__init__(config, server_state, {})
        self._bounds = bounds
        self._telemetry = telemetry
        self._ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """After the handshake."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections_max:
            self._telemetry.count("refused", "connections")
            transport.abort()
            return
        # Each request's scope has a copy of this.
        self.app_state = {STATE: Peer(_shown(transport), _address(self.client))}
        self._wait_for_request()
        # Varied by a tenth, so that not all callers come back at once.
        age_s = self._bounds.age_s * random.uniform(0.9, 1.1)  # noqa: S311 no secret
        self._ends = self.loop.call_later(age_s, self._too_old)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn does, and no timer is left."""
        for timer in (self._ends, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Unlike uvicorn, whose clock each byte stops: here only a whole head does."""
        self.conn.receive_data(data)
        self.handle_events()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets uvicorn's answer, if one can still be sent, and is counted."""
        self._telemetry.count("refused", "invalid")
        try:
            super().send_400_response(msg)
        except Exception:  # noqa: BLE001 h11's state: an answer was under way
            self.transport.abort()

    def _wait_for_request(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _too_old(self) -> None:
        """The answer that is under way is sent; then the peer proves anew who it is."""
        self._ends = self.loop.call_later(_OVERTIME_S, self.transport.abort)
        self.end()

    def end(self) -> None:
        """Close now, or with the answer that is under way."""
        try:
            self.shutdown()
        except Exception:  # noqa: BLE001 h11's state: nothing can be said any more
            self.transport.abort()


def _shown(transport: asyncio.BaseTransport) -> AuthContext:
    """The peer's certificates, in PEM, and its URI names as OpenSSL reads them.

    What cannot be read is left out, and then `SvidVerifier` knows nobody.
    """
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    try:
        leaf = tls.getpeercert(binary_form=True) if tls is not None else None
        if tls is None or not leaf:
            return {}
        names: Any = (tls.getpeercert() or {}).get("subjectAltName", ())
        return {
            "peer_spiffe_id": [name.encode() for kind, name in names if kind == "URI"],
            "x509_pem_cert": [_pem(leaf)],
            "x509_pem_cert_chain": [b"".join(map(_pem, _chain(tls)))],
        }
    except Exception:  # noqa: BLE001 hostile bytes
        return {}


def _chain(tls: Any) -> list[bytes]:
    """All certificates that the peer sent, in DER.

    Python has had this since 3.10, and a public name for it since 3.13.
    """
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    return [found.public_bytes(_DER) for found in tls._sslobj.get_unverified_chain() or ()]  # noqa: SLF001


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


def _address(client: tuple[str, int] | None) -> str:
    """As gRPC writes it."""
    if client is None:
        return ""
    host, port = client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
