"""A scripted PDP whose certificates change while it serves, and that often ends connections.

A process of its own (`python -m tests.simulators.rotation`). Each line it
reads is a certificate, its key and a trust bundle for the handshakes from then
on; it answers each with a line. Connections end after a third of a second, so
that a client which goes on using old files is found out soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import grpc

from pdp.authoring.throwaway import IssuedSvid
from tests.conftest import ROOT
from tests.simulators.faults import SERVICE, ClientFiles, Script

CONNECTION_AGE_MS = 300


class RotatingPdp:
    """The process.

    Args:
        svid: what it shows.
        trust_bundle: whom it believes.
    """

    def __init__(self, svid: IssuedSvid, trust_bundle: bytes) -> None:
        self._first = (svid, trust_bundle)
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulators.rotation"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self.serve(*self._first)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"localhost:{self.port}"

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped, as a machine that hangs: its sockets stay, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def serve(self, svid: IssuedSvid, trust_bundle: bytes) -> int:
        """Handshakes from now on are made with these; the port."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pem = {
            "certificate": svid.certificate_pem.decode(),
            "key": svid.key_pem.decode(),
            "trust_bundle": trust_bundle.decode(),
        }
        self._process.stdin.write(json.dumps(pem) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Files:
    """A client's files in a folder, to be replaced as rotators do.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.paths: ClientFiles = {
            "trust_bundle": folder / "trust.pem",
            "certificate": folder / "me.pem",
            "key": folder / "me.key",
        }

    def trust(self, *bundles: bytes, in_place: bool = False) -> None:
        """Replace the trust bundle."""
        _write(self.paths["trust_bundle"], b"".join(bundles), in_place=in_place)

    def show(self, svid: IssuedSvid, *, in_place: bool = False) -> None:
        """Replace certificate and key, one after the other."""
        _write(self.paths["certificate"], svid.certificate_pem, in_place=in_place)
        _write(self.paths["key"], svid.key_pem, in_place=in_place)


def _write(path: Path, content: bytes, *, in_place: bool) -> None:
    if in_place:
        path.write_bytes(content)
        return
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def _configuration(line: str) -> grpc.ServerCertificateConfiguration:
    pem = {name: text.encode() for name, text in json.loads(line).items()}
    return grpc.ssl_server_certificate_configuration(
        [(pem["key"], pem["certificate"])], root_certificates=pem["trust_bundle"]
    )


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    first = _configuration(await loop.run_in_executor(None, sys.stdin.readline))
    # All of them are kept: the library goes on reading what it was handed, and holds nothing.
    shown = [first]

    def fetch() -> grpc.ServerCertificateConfiguration:
        return shown[-1]

    credentials = grpc.dynamic_ssl_server_credentials(
        first, fetch, require_client_authentication=True
    )
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", 6_000),
    ]
    server = grpc.aio.server(options=options)
    handler = grpc.unary_stream_rpc_method_handler(Script().answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Authorize": handler}),)
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    while True:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            break
        shown.append(_configuration(line))
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve())
