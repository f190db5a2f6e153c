"""A real Envoy between a client and a small service, with a PDP that decides.

Everything runs on this machine, with certificates that are thrown away.
"""

from __future__ import annotations

import http.client
import json
import string
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from docs.demo.scene import TRUST_DOMAIN, Scene, StageError
from pdp.authoring.throwaway import ThrowawayAuthority

HERE = Path(__file__).resolve().parent
ENVOY = Path(sys.executable).with_name("envoy")
START_S_MAX = 30.0
# How long a client waits for Envoy; Envoy itself waits for the PDP half a second.
CLIENT_S = 10.0


class NotesScene(Scene):
    """The folder with keys, repository and certificates, and a PDP that Envoy may ask."""

    authority: ThrowawayAuthority

    def issue_certificates(self) -> None:
        """An authority, and certificates for the PDP, for Envoy and for a workload."""
        self.authority = ThrowawayAuthority(TRUST_DOMAIN)
        self.certificates.mkdir()
        (self.certificates / "ca.pem").write_bytes(self.authority.bundle_pem)
        pdp = self.authority.issue("pdp", dns_names=["localhost"], addresses=["127.0.0.1"])
        pdp.write(self.certificates, "pdp")
        self.authority.issue("envoy").write(self.certificates, "envoy")
        self.authority.issue("backup").write(self.certificates, "backup")

    def configure(self, name: str, repository: Path) -> Path:
        """As any PDP, and `envoy = true`."""
        path = super().configure(name, repository)
        path.write_text("envoy = true\n" + path.read_text())
        return path


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client got.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        body: as text.
        seconds: it took.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    seconds: float


@dataclass(slots=True)
class Upstream:
    """A service that answers everything with 200 and remembers what reached it."""

    port: int = 0
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def upstream() -> Iterator[Upstream]:
    """The service, listening."""
    found = Upstream()

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.seen.append((self.command, self.path, headers))
            body = f"note for {headers.get('x-user', 'nobody')}\n".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_DELETE = do_POST = _serve  # noqa: N815 the library's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configuration(folder: Path, pdp_port: int, upstream_port: int) -> str:
    """`envoy.yaml`, filled in."""
    return string.Template((HERE / "envoy.yaml").read_text()).substitute(
        folder=folder, pdp_port=pdp_port, upstream_port=upstream_port
    )


@dataclass(slots=True)
class Envoy:
    """A running Envoy: the port of each listener by its name."""

    process: subprocess.Popen[bytes]
    ports: Mapping[str, int]

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        listener: str = "front",
        connect: Callable[[int], http.client.HTTPConnection] | None = None,
    ) -> Reply:
        """One request over a connection of its own. The path is sent as it is."""
        port = self.ports[listener]
        started = time.perf_counter()
        if connect is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CLIENT_S)
        else:
            connection = connect(port)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, text, time.perf_counter() - started)


@contextmanager
def envoy(folder: Path, config: str) -> Iterator[Envoy]:
    """Envoy with this configuration, listening.

    Raises:
        StageError: it did not start.
    """
    path, address, log = folder / "envoy.yaml", folder / "envoy.admin", folder / "envoy.log"
    path.write_text(config)
    address.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [ENVOY, "-c", path, "--admin-address-path", address, "--disable-hot-restart",
             "--concurrency", "1", "--log-level", "warning"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield Envoy(process, _ports(process, address, log))
    finally:
        process.kill()
        process.wait()


def _ports(process: subprocess.Popen[bytes], address: Path, log: Path) -> dict[str, int]:
    """Wait until it is ready, and ask it where it listens."""
    ends = time.monotonic() + START_S_MAX
    while time.monotonic() < ends and process.poll() is None:
        if address.exists() and (found := _listeners(address.read_text())):
            return found
        time.sleep(0.02)
    message = f"envoy did not start:\n{log.read_text()}"
    raise StageError(message)


def _listeners(admin: str) -> dict[str, int]:
    """Ports by name; empty: it is not ready."""
    try:
        with urllib.request.urlopen(f"http://{admin}/ready", timeout=5) as ready:
            ready.read()
        url = f"http://{admin}/listeners?format=json"
        with urllib.request.urlopen(url, timeout=5) as answer:
            told = json.load(answer)
    except (OSError, ValueError):
        return {}
    return {
        each["name"]: each["local_address"]["socket_address"]["port_value"]
        for each in told.get("listener_statuses", ())
    }
