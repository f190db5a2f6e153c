"""A client certificate for a load generator that has none to show: `python -m loadtests.tls_relay`.

Takes connections in the clear on localhost, and carries each over a TLS connection of its own with
the caller's certificate, speaking HTTP/2. A process of its own, so that what it costs is nobody
else's; the same one stands before every server that is compared. Prints its port.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import threading
from pathlib import Path

_PIECE = 65_536


def carry(source: socket.socket, sink: socket.socket) -> None:
    """Until one end hangs up; then both do."""
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def serve(port: int, context: ssl.SSLContext) -> None:
    """Carry connections to `localhost:port` for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            near, _ = listener.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain = socket.create_connection(("127.0.0.1", port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = context.wrap_socket(plain, server_hostname="localhost")
            for ends in ((near, far), (far, near)):
                threading.Thread(target=carry, args=ends, daemon=True).start()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True, help="of the server, on localhost")
    for name in ("trust-bundle", "certificate", "key"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    context = ssl.create_default_context(cafile=str(options.trust_bundle))
    context.load_cert_chain(options.certificate, options.key)
    context.set_alpn_protocols(["h2"])
    serve(options.port, context)


if __name__ == "__main__":
    main()
