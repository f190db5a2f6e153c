"""What new connections are shown: certificate and key, and which authorities TLS believes.

gRPC asks for it at every handshake, on a thread of its own, and the caller
waits meanwhile (references 3.2). So the question is answered from memory: one
comparison, no lock, nothing of the event loop. Connections that are open keep
what they were shown; who they are is checked again with every call.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import grpc

from pdp.identity.server_svid import ServerSvid

# New files count after two looks, 0.1 s apart at least: what goes is older than a handshake lasts.
_KEPT_MAX: Final = 32


class Handshakes:
    """The server's credentials, exchangeable while it serves.

    Args:
        identity: what is shown first.
    """

    def __init__(self, identity: ServerSvid) -> None:
        self._current = self._handed = _configuration(identity)
        # INVARIANT: gRPC reads a configuration after `_fetch` has returned it and holds no
        # reference: one that is given up while a handshake reads it would be freed memory.
        self._kept = deque([self._current], maxlen=_KEPT_MAX)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._current,
            self._fetch,  # type: ignore[arg-type]  # the stubs do not know None
            require_client_authentication=True,
        )

    def use(self, identity: ServerSvid) -> None:
        """Show this from the next handshake on."""
        current = _configuration(identity)
        self._kept.append(current)
        self._current = current

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What is new since the last handshake; None: nothing. On a thread of gRPC's.

        Two handshakes at once may both take the new one, which is harmless. One
        that is overtaken by `use` leaves `_handed` behind `_current`, and then
        the next one takes it.
        """
        current = self._current
        if current is self._handed:
            return None
        self._handed = current
        return current


def _configuration(identity: ServerSvid) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key_pem, identity.certificate_pem)], identity.roots_pem
    )
