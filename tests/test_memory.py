"""A real `pdp serve` under everything that costs memory: it stays below what docs/serve.md says."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import grpc
import pytest

from pdp.config.document import Document, LimitsSection
from pdp.config.settings import MIB
from pdp.model import Resource
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import request_to_pb
from tests.simulators.decision_points import AUTHORIZE
from tests.test_process import QUESTION, House, Process, house, outcome, quick_tree

__all__ = ["house"]

# docs/serve.md, "Memory". MiB.
BASE = 185
PER_CONNECTION = 0.25
PER_BYTE_IN_FLIGHT = 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def bound_mib(limits: LimitsSection) -> float:
    """What the page promises for these limits."""
    return (
        BASE
        + limits.connections_max * PER_CONNECTION
        + limits.concurrent_calls_max * limits.message_bytes_max / MIB
        + PER_BYTE_IN_FLIGHT * limits.bytes_in_flight_max / MIB
    )


def rss_mib(pid: int) -> float:
    """Resident memory of a process: proc(5), statm."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


class Watch:
    """The highest resident memory while it is open, looked at fifty times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.highest = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.wait(0.02):
            self.highest = max(self.highest, rss_mib(self._pid))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2: RFC 9113 section 4.1."""
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes((kind, flags))
        + struct.pack(">I", stream)
        + payload
    )


def literal(name: bytes, value: bytes) -> bytes:
    """A field without indexing and without Huffman: RFC 7541 section 6.2.2."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


HEADERS = b"".join(
    literal(*field)
    for field in (
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", AUTHORIZE.encode()),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


@dataclasses.dataclass
class Attack:
    """Connections that are kept open until the end."""

    running: Process
    folder: Path
    open: list[socket.socket] = dataclasses.field(default_factory=list)

    def context(self) -> ssl.SSLContext:
        """As a caller that is believed."""
        certificate, key = self.running.pep.write(self.folder, "attacker")
        trust = self.folder / "attacker-trust.pem"
        trust.write_bytes(self.running.authority.bundle_pem)
        context = ssl.create_default_context(cafile=str(trust))
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2"])
        return context

    def half_open(self, count: int) -> None:
        """TCP, and then nothing."""
        for _ in range(count):
            with contextlib.suppress(OSError):
                self.open.append(socket.create_connection(("127.0.0.1", self.running.port), 5))

    def slow_senders(self, connections: int, streams: int, size: int) -> int:
        """Messages announced as long as allowed, of which some bytes come and never the rest.

        Returns:
            How many streams were begun.
        """
        context, begun = self.context(), 0
        prefix = b"\x00" + struct.pack(">I", size)
        for _ in range(connections):
            with contextlib.suppress(OSError):
                plain = socket.create_connection(("127.0.0.1", self.running.port), 5)
                tls = context.wrap_socket(plain, server_hostname="localhost")
                self.open.append(tls)
                tls.settimeout(1)
                tls.sendall(PREFACE + frame(4, 0, 0, b""))
                # 65,535 bytes may be sent on a connection before the peer says more.
                part = 60_000 // streams
                for number in range(streams):
                    stream = 2 * number + 1
                    tls.sendall(frame(1, 4, stream, HEADERS))
                    tls.sendall(frame(0, 0, stream, prefix + bytes(part - 5)))
                    begun += 1
        return begun

    def large_requests(self, size: int, callers: int, seconds: float) -> dict[str, int]:
        """Requests as long as allowed and full of values, from many callers, over and over."""
        outcomes: dict[str, int] = {}
        lock, ends = threading.Lock(), time.monotonic() + seconds
        entry = len(
            pb.AuthorizeRequest(context={"k00000": pb.Value(int64_value=1)}).SerializeToString()
        )
        request = dataclasses.replace(
            QUESTION,
            resource=Resource("document", "1", {}),
            context={f"k{number:05}": 1 for number in range(min(9_000, size // entry - 40))},
        )
        data = request_to_pb(request).SerializeToString()
        pad = size - len(data) - 300
        if pad > 0:
            context = {**request.context, "text": "x" * min(pad, 200_000)}
            data = request_to_pb(dataclasses.replace(request, context=context)).SerializeToString()

        def caller() -> None:
            with self.running.channel() as channel:
                method = channel.unary_unary(AUTHORIZE, bytes, pb.AuthorizeResponse.FromString)
                while time.monotonic() < ends:
                    calls = [method.future(data, timeout=5) for _ in range(8)]
                    for call in calls:
                        try:
                            found = pb.Cause.Name(call.result().cause)
                        except grpc.RpcError as error:
                            found = error.code().name
                        with lock:
                            outcomes[found] = outcomes.get(found, 0) + 1

        threads = [threading.Thread(target=caller) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def close(self) -> None:
        """Hang up."""
        for one in self.open:
            with contextlib.suppress(OSError):
                one.close()


@contextlib.contextmanager
def attacked(house: House, **limits: float) -> Iterator[tuple[Attack, LimitsSection]]:
    """A process with these limits, and an attacker with a good certificate."""
    tree = quick_tree()
    tree["limits"] |= limits
    house.configure(tree)
    running = house.start()
    running.until(bool)
    attack = Attack(running, house.folder / "attack")
    attack.folder.mkdir()
    try:
        yield attack, LimitsSection(**tree["limits"])
    finally:
        attack.close()


TIGHT: dict[str, float] = {
    "message_bytes_max": 262_144,
    "concurrent_calls_max": 64,
    "concurrent_streams_max": 32,
    "connections_max": 60,
    "requests_in_flight_max": 16,
    "bytes_in_flight_max": 2_097_152,
}


def test_memory_stays_below_what_the_page_says(house: House) -> None:
    """Half-open, slow and large, together; the bound holds, and honest callers come back."""
    with attacked(house, **TIGHT) as (attack, limits):
        pid = attack.running.process.pid
        with Watch(pid) as watch:
            first = attack.large_requests(limits.message_bytes_max - 20_000, 6, 3)
            attack.half_open(20)
            begun = attack.slow_senders(30, 32, limits.message_bytes_max)
            outcomes = attack.large_requests(limits.message_bytes_max - 20_000, 6, 2)
        assert first.get("CAUSE_RULE", 0) > 5, first
        assert begun >= 64
        assert sum(outcomes.values()) > 20, outcomes
        assert watch.highest < bound_mib(limits), (watch.highest, first, outcomes)
        attack.close()
        assert outcome(attack.running.until(bool)) == ("PERMIT", "RULE")
        assert attack.running.stop() == 0


def is_open(one: socket.socket) -> bool:
    """Whether the other end has not hung up."""
    one.settimeout(0.05)
    try:
        while one.recv(65_536):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def test_connections_beyond_the_limit_are_not_served(house: House) -> None:
    """So many are held, so many more are tried: those are closed, and nothing is kept of them."""
    with attacked(house, connections_max=20) as (attack, limits):
        attack.slow_senders(60, 8, 200_000)
        time.sleep(0.5)
        alive = sum(map(is_open, attack.open))
        assert 1 <= alive <= limits.connections_max


def test_memory_twin_without_guard(house: House) -> None:
    """The watch does see memory: what one large message costs is more than nothing."""
    with attacked(house, requests_in_flight_max=512) as (attack, _):
        pid = attack.running.process.pid
        before = rss_mib(pid)
        with Watch(pid) as watch:
            attack.slow_senders(120, 100, 500_000)
            attack.large_requests(500_000, 8, 3)
        assert watch.highest > before + 30, (before, watch.highest)


@pytest.mark.parametrize("name", ["connections_max", "concurrent_calls_max", "bytes_in_flight_max"])
def test_the_bound_that_is_stated_is_that_of_the_defaults(name: str) -> None:
    """docs/serve.md names the parts of the sum, and the sum for the defaults."""
    from tests.conftest import ROOT

    page = (ROOT / "docs" / "serve.md").read_text()
    section = page[page.index("## Memory") :]
    assert f"`limits.{name}`" in section
    limits = Document.model_fields["limits"].default
    assert f"{bound_mib(limits):.0f} MiB" in section
