"""A service that says attributes over real HTTPS, honest and otherwise.

In this process for most tests; `python -m tests.simulators.attribute_services FOLDER` runs it
in its own, to be stopped and killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.providers.settings import HttpSource, ProviderSettings
from tests.conftest import ROOT
from tests.simulators.certificates import TRUST_DOMAIN

GOOD: Mapping[str, Any] = {
    "grade": "a", "suspended": False, "roles": ["clerk"], "shoe_size": 43,
}  # fmt: skip


@dataclass
class Behaviour:
    """What the service does with the next questions.

    Attributes:
        mode: `says`, `drips`, `hangs`, `redirects`, `cuts`, `huge`, `endless`, `compressed`,
            `text` (another content type), `raw` (bytes of `body`), or a status code.
        says: the JSON object.
        body: of `raw`.
        elsewhere: where `redirects` leads.
        seen: request targets, in order.
        headers: of the last request.
        gate: `hangs` ends when it is set.
    """

    mode: str = "says"
    says: Mapping[str, Any] = field(default_factory=lambda: dict(GOOD))
    body: bytes = b""
    elsewhere: str = ""
    seen: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    behaviour: ClassVar[Behaviour]

    def do_GET(self) -> None:
        """One question."""
        behaviour = self.behaviour
        behaviour.seen.append(self.path)
        behaviour.headers = dict(self.headers)
        with contextlib.suppress(OSError):
            self._answer(behaviour)

    def _answer(self, behaviour: Behaviour) -> None:
        mode, data = behaviour.mode, json.dumps(behaviour.says).encode()
        if mode.isdigit():
            self._send(int(mode), b"{}")
        elif mode == "redirects":
            self.send_response(302)
            self.send_header("Location", behaviour.elsewhere)
            self.end_headers()
        elif mode == "hangs":
            behaviour.gate.wait(10)
            self._send(200, data)
        elif mode == "drips":
            self._head(200, len(data))
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if behaviour.gate.wait(0.05):
                    return
        elif mode == "cuts":
            self._head(200, len(data) + 10)
            self.wfile.write(data)
        elif mode == "huge":
            self._send(200, b'{"grade": "' + b"a" * 70_000 + b'"}')
        elif mode == "endless":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            while not behaviour.gate.is_set():
                self.wfile.write(b'{"grade": "' + b"a" * 16_384)
        elif mode == "compressed":
            self._send(200, data, encoding="gzip")
        elif mode == "text":
            self._send(200, data, kind="text/html")
        elif mode == "raw":
            self._send(200, behaviour.body)
        else:
            self._send(200, data)

    def _head(self, status: int, length: int, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(
        self, status: int, data: bytes, kind: str = "application/json", encoding: str = ""
    ) -> None:
        more = {"Content-Encoding": encoding} if encoding else {}
        self._head(status, len(data), kind, **more)
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@dataclass
class AttributeService:
    """A running service and how to ask it."""

    behaviour: Behaviour
    port: int
    ca_bundle: Path

    def source(self, path: str = "/users/{id}", **changes: Any) -> HttpSource:
        """How a PDP would be configured for it."""
        url = f"https://localhost:{self.port}{path}"
        return HttpSource(**{"url": url, "ca_bundle": self.ca_bundle, **changes})

    def settings(self, path: str = "/users/{id}", **changes: Any) -> ProviderSettings:
        """The same with its name."""
        return ProviderSettings(
            **{"name": "hr", "source": self.source(path), "timeout_s": 2.0, **changes}
        )


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Certificate, key and the authority's, for localhost."""
    authority = ThrowawayAuthority(TRUST_DOMAIN)
    issued = authority.issue("attributes", dns_names=["localhost"], addresses=["127.0.0.1"])
    certificate, key = issued.write(folder, "attributes")
    trust = folder / "attributes-ca.pem"
    trust.write_bytes(authority.bundle_pem)
    return certificate, key, trust


def serve(behaviour: Behaviour, certificate: Path, key: Path) -> ThreadingHTTPServer:
    """A server on a free port, not yet answering."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake is the handler thread's: a client that says nothing stops nobody else.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    return server


@contextlib.contextmanager
def attribute_service(folder: Path, **behaviour: Any) -> Iterator[AttributeService]:
    """A service in this process."""
    certificate, key, trust = certificates(folder)
    how = Behaviour(**behaviour)
    server = serve(how, certificate, key)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield AttributeService(how, server.server_address[1], trust)
    finally:
        how.gate.set()
        server.shutdown()
        server.server_close()


@dataclass
class ServiceProcess:
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    service: AttributeService

    def stop(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def service_process(folder: Path) -> Iterator[ServiceProcess]:
    """An honest service that can be stopped and killed."""
    _, _, trust = certificates(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulators.attribute_services", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield ServiceProcess(process, AttributeService(Behaviour(), port, trust))
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def main(folder: Path) -> None:
    """Serve until somebody kills us."""
    server = serve(Behaviour(), folder / "attributes.pem", folder / "attributes.key")
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while os.getppid() != 1:
        time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
