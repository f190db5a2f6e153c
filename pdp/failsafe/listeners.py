"""Sockets that misbehave by themselves: silent, garbled, cut, stalled, dripping.

Threads of the process that uses them, one for each connection.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


class Listener:
    """A TCP port of the test's own, one thread per connection. What it does is a subclass."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.accepted = 0
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = {self._socket}

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        # `close` alone does not wake a thread that waits for a socket.
        for held in list(self._open):
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._guarded, connection)

    def _guarded(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self.keeping(connection):
            self.handle(connection)

    @contextlib.contextmanager
    def keeping(self, connection: socket.socket) -> Iterator[socket.socket]:
        """Close a connection at the end, and wake whoever waits for it when the test ends."""
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)
            connection.close()

    def handle(self, connection: socket.socket) -> None:
        """Do what this peer does."""
        raise NotImplementedError

    def readable(self, *connections: socket.socket) -> list[socket.socket]:
        """Wait until at least one can be read; none at the end of the test."""
        poll = select.poll()
        by_number = {connection.fileno(): connection for connection in connections}
        for number in by_number:
            poll.register(number, select.POLLIN)
        ready = [by_number[number] for number, _ in poll.poll()]
        return [] if self._ended.is_set() else ready

    def hold(self, *connections: socket.socket) -> None:
        """Read and throw away until one side, or the test, ends."""
        while ready := self.readable(*connections):
            for connection in ready:
                if not connection.recv(65536):
                    return


class Silent(Listener):
    """Accepts and says nothing."""

    def handle(self, connection: socket.socket) -> None:
        """Read on, answer nothing."""
        self.hold(connection)


class Garbage(Listener):
    """Accepts and talks at once, but not TLS."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self._chance = random.Random(seed)  # noqa: S311 the same garbage every time

    def handle(self, connection: socket.socket) -> None:
        """Talk first."""
        connection.sendall(self._chance.randbytes(4096))
        self.hold(connection)


class SilentAfterTls(Listener):
    """Completes the TLS handshake as the PDP would, and says nothing more."""

    def __init__(self, certificate: Path, key: Path, trust_bundle: Path) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.load_verify_locations(trust_bundle)
        # Clients of other protocols show none; ours always do.
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._context.set_alpn_protocols(["h2"])

    def handle(self, connection: socket.socket) -> None:
        """Shake hands, then read on."""
        with contextlib.closing(self._context.wrap_socket(connection, server_side=True)) as wrapped:
            self._open.add(wrapped)
            try:
                self.talk(wrapped)
            finally:
                self._open.discard(wrapped)

    def talk(self, connection: ssl.SSLSocket) -> None:
        """Say nothing."""
        self.hold(connection)


@dataclass(frozen=True)
class Plan:
    """What a proxy does, from the moment the plan is set, over all its connections.

    Attributes:
        after: how many bytes pass unharmed.
        then: `reset` (RST), `close` (FIN), `stall` (nothing more, but the
            connection stays), `flip` (the next byte is changed) or `drip` (one
            byte every `drip_s`).
        towards: which direction is counted and harmed, `client` or `server`.
    """

    after: int = 1 << 60
    then: str = "reset"
    towards: str = "client"
    drip_s: float = 0.005


class Proxy(Listener):
    """Passes bytes on, as planned. For one client at a time."""

    def __init__(self, upstream: int, plan: Plan | None = None) -> None:
        super().__init__()
        self._upstream = upstream
        self.passed = {"client": 0, "server": 0}
        self.set(plan or Plan())

    def set(self, plan: Plan) -> None:
        """Follow this plan from now on. To be called between calls."""
        self._plan = plan
        self._left = plan.after

    def handle(self, connection: socket.socket) -> None:
        """Pass bytes on, both ways, until there is harm to do."""
        upstream = socket.create_connection(("127.0.0.1", self._upstream))
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One thread for both directions: a socket that another thread is
        # reading is not really closed by `close`, and would not be reset.
        sinks = {upstream: (connection, "client"), connection: (upstream, "server")}
        with self.keeping(upstream):
            while ready := self.readable(*sinks):
                for source in ready:
                    sink, towards = sinks[source]
                    data = source.recv(65536)
                    if not data:
                        return
                    plan, harmed = self._plan, b""
                    if towards == plan.towards:
                        data, harmed = data[: self._left], data[self._left :]
                        self._left -= len(data)
                    sink.sendall(data)
                    self.passed[towards] += len(data)
                    if harmed:
                        self._harm(source, sink, harmed, plan)
                        return

    def _harm(self, source: socket.socket, sink: socket.socket, harmed: bytes, plan: Plan) -> None:
        if plan.then == "reset":
            for end in (source, sink):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return  # and so both are closed
        if plan.then == "close":
            sink.shutdown(socket.SHUT_WR)
        elif plan.then == "flip":
            sink.sendall(bytes([harmed[0] ^ 1]) + harmed[1:])
        elif plan.then == "drip":
            for byte in harmed:
                if self._ended.wait(plan.drip_s):
                    return
                sink.sendall(bytes([byte]))
        self.hold(source, sink)


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port at which nobody listens, kept so that nobody will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
