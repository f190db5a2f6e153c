"""Peers that go wrong: a PDP that misbehaves on request, and sockets that misbehave by themselves.

Real sockets and, where it matters, real mutual TLS. Two kinds:

*The scripted PDP* is a process of its own (`python -m tests.simulators.faults`)
with one listener per certificate. How it answers is the name of the action
that it is asked about, so it needs no other channel: `wrong_digest`,
`slow:400`, `status:14`. `permit` is answered honestly.

*The listeners* are threads of the test: one that refuses, one that is silent,
one that talks garbage, one that is silent after TLS, and a proxy that cuts,
stalls or drips what the scripted PDP says, after any number of bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypedDict

import grpc

from pdp.authoring.throwaway import IssuedSvid, ThrowawayAuthority
from pdp.v1 import authorization_pb2 as pb
from tests.conftest import ROOT

SERVICE = "pdp.v1.AuthorizationService"
OVERSIZE_BYTES = 300_000
BOMB_BYTES = 4_000_000


def honest_permit(request: pb.AuthorizeRequest, received: bytes) -> pb.AuthorizeResponse:
    """The answer of a PDP that permits."""
    return pb.AuthorizeResponse(
        request_id=request.request_id,
        request_digest=hashlib.sha256(received).digest(),
        effect=pb.EFFECT_PERMIT,
        cause=pb.CAUSE_RULE,
        decision_id="0192f0c1-0000-7000-8000-000000000001",
        rules=["simulated/permits"],
        bundle=pb.BundleRef(revision=1, digest=bytes(32)),
        record=pb.RecordRef(pdp_id="simulator/0/1", seq=1, hash=bytes(32)),
    )


def _cleared(name: str) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.ClearField(name)


def _changed(**fields: Any) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.MergeFrom(pb.AuthorizeResponse(**fields))


def _obliged(name: str, kind: str) -> Callable[[pb.AuthorizeResponse], None]:
    return lambda answer: answer.obligations.append(pb.Obligation(id=name, type=kind))


def _meaningless_obligation(answer: pb.AuthorizeResponse) -> None:
    answer.obligations.add(id="watermark", type="custom").properties["text"].SetInParent()


def _denied(answer: pb.AuthorizeResponse) -> None:
    answer.effect = pb.EFFECT_DENY
    answer.ClearField("record")


def _lengthened(answer: pb.AuthorizeResponse) -> None:
    answer.rules.extend(f"simulated/rule-{index:05d}" for index in range(5_000))


def _overloaded(answer: pb.AuthorizeResponse) -> None:
    _denied(answer)
    answer.cause = pb.CAUSE_OVERLOADED


# Honest answers, other than the permit.
VARIED: dict[str, Callable[[pb.AuthorizeResponse], None]] = {
    "deny": _denied,
    "overloaded": _overloaded,
    "obliged": _obliged("watermark", "custom"),
    "long": _lengthened,  # several TLS records, several frames
}

# What each fault does to an honest permit. None of these is a permit.
SPOILED: dict[str, Callable[[pb.AuthorizeResponse], None]] = {
    "wrong_request_id": _changed(request_id="f" * 32),
    "no_request_id": _cleared("request_id"),
    "wrong_digest": _changed(request_digest=hashlib.sha256(b"another").digest()),
    "no_digest": _cleared("request_digest"),
    "short_digest": _changed(request_digest=b"\0"),
    "effect_zero": _cleared("effect"),
    "effect_unknown": _changed(effect=3),
    "effect_negative": _changed(effect=-1),
    "cause_zero": _cleared("cause"),
    "cause_unknown": _changed(cause=99),
    "cause_of_a_client": _changed(cause=100),
    "permit_by_default": _changed(cause=pb.CAUSE_DEFAULT),
    "permit_by_audit": _changed(cause=pb.CAUSE_AUDIT),
    "no_decision_id": _cleared("decision_id"),
    "no_rules": _cleared("rules"),
    "no_bundle": _cleared("bundle"),
    "short_bundle_digest": _changed(bundle=pb.BundleRef(revision=1, digest=b"\1")),
    "no_record": _cleared("record"),
    "record_without_number": lambda answer: answer.record.ClearField("seq"),
    "short_record_hash": _changed(record=pb.RecordRef(hash=b"\1")),
    "obligation_unknown": _obliged("burn-after-reading", "custom"),
    "obligation_of_another_type": _obliged("watermark", "step-up"),
    "obligation_without_id": _obliged("", "custom"),
    "obligation_without_type": _obliged("watermark", ""),
    "obligation_meaningless": _meaningless_obligation,
}

# Whole messages that are no answer. Each is made from the honest permit.
MANGLED: dict[str, Callable[[bytes], list[bytes]]] = {
    "no_message": lambda _: [],
    "empty_message": lambda _: [b""],
    "garbage": lambda _: [bytes(range(256))],
    "cut_in_half": lambda honest: [honest[: len(honest) // 2]],
    "bad_unicode": lambda honest: [honest + b"\x0a\x02\xff\xfe"],
    "oversize": lambda honest: [honest + b"\x32" + _varint(OVERSIZE_BYTES) + b"r" * OVERSIZE_BYTES],
    "another_message": lambda _: [pb.BundleRef(revision=1).SerializeToString()],
}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _without(place: int) -> Callable[[pb.AuthorizeBatchResponse], None]:
    def without(answer: pb.AuthorizeBatchResponse) -> None:
        del answer.items[place]

    return without


def _items_changed(place: int, **fields: Any) -> Callable[[pb.AuthorizeBatchResponse], None]:
    return lambda answer: answer.items[place].MergeFrom(pb.AuthorizeResponse(**fields))


def _exchanged(*fields: str) -> Callable[[pb.AuthorizeBatchResponse], None]:
    """The first two answers have each other's."""

    def exchange(answer: pb.AuthorizeBatchResponse) -> None:
        first, second = answer.items[0], answer.items[1]
        for field in fields:
            kept = getattr(first, field)
            setattr(first, field, getattr(second, field))
            setattr(second, field, kept)

    return exchange


def _again(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items.append(answer.items[0])


def _again_in_place_of_another(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items[1].CopyFrom(answer.items[0])


def _another_beside_them(answer: pb.AuthorizeBatchResponse) -> None:
    answer.items.add().CopyFrom(answer.items[0])
    answer.items[-1].request_id = "f" * 32


def _no_answers(answer: pb.AuthorizeBatchResponse) -> None:
    answer.ClearField("items")


def _no_id(answer: pb.AuthorizeBatchResponse) -> None:
    answer.ClearField("request_id")


def _last_spoilt(spoil: Callable[[pb.AuthorizeResponse], None]) -> Any:
    def spoilt(answer: pb.AuthorizeBatchResponse) -> None:
        spoil(answer.items[-1])

    return spoilt


# What concerns one question alone: a duty that its program has not declared.
ONE_ALONE = ("obligation_unknown", "obligation_of_another_type")

# What each fault does to the honest answer to a batch. None of it is a permit then.
BATCH_SPOILED: dict[str, Callable[[pb.AuthorizeBatchResponse], None]] = {
    "batch_id": lambda answer: answer.MergeFrom(pb.AuthorizeBatchResponse(request_id="f" * 32)),
    "batch_no_id": _no_id,
    "batch_id_of_a_question": lambda answer: answer.MergeFrom(
        pb.AuthorizeBatchResponse(request_id=answer.items[0].request_id)
    ),
    "batch_digest": lambda answer: answer.MergeFrom(
        pb.AuthorizeBatchResponse(request_digest=bytes(32))
    ),
    "missing_first": _without(0),
    "missing_middle": _without(1),
    "missing_last": _without(-1),
    "missing_all": _no_answers,
    "twice": _again,
    "twice_in_place_of_another": _again_in_place_of_another,
    "unknown_beside_them": _another_beside_them,
    "exchanged_ids": _exchanged("request_id"),
    "exchanged_digests": _exchanged("request_digest"),
    "digest_of_the_batch": lambda answer: _items_changed(0, request_digest=answer.request_digest)(
        answer
    ),
    **{
        f"last_{name}": _last_spoilt(spoil)
        for name, spoil in SPOILED.items()
        if name not in ONE_ALONE
    },
}


def honest_batch(request: pb.AuthorizeBatchRequest, received: bytes) -> pb.AuthorizeBatchResponse:
    """The answer of a PDP that permits each question, but those whose action it knows."""
    answer = pb.AuthorizeBatchResponse(
        request_id=request.request_id, request_digest=hashlib.sha256(received).digest()
    )
    for item in request.items:
        one = honest_permit(item, item.SerializeToString())
        if item.action.name in VARIED:
            VARIED[item.action.name](one)
        elif item.action.name in ONE_ALONE:
            SPOILED[item.action.name](one)
        answer.items.append(one)
        permits = one.effect == pb.EFFECT_PERMIT
        if request.semantic != pb.BATCH_SEMANTIC_EXECUTE_ALL and permits is (
            request.semantic == pb.BATCH_SEMANTIC_PERMIT_ON_FIRST_PERMIT
        ):
            break
    return answer


class Script:
    """How the scripted PDP answers: by the name of the action, in a batch of the last one."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def answer(
        self, received: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """One call."""
        request = pb.AuthorizeRequest.FromString(received)
        answer = honest_permit(request, received)
        name = request.action.name
        if name in SPOILED or name in VARIED:
            (SPOILED | VARIED)[name](answer)
        async for message in self._said(
            name, request.request_id, answer.SerializeToString(), context
        ):
            yield message

    async def answer_batch(
        self, received: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """One batch."""
        request = pb.AuthorizeBatchRequest.FromString(received)
        answer = honest_batch(request, received)
        name = request.items[-1].action.name
        if name in BATCH_SPOILED:
            BATCH_SPOILED[name](answer)
        async for message in self._said(
            name, request.request_id, answer.SerializeToString(), context
        ):
            yield message

    async def _said(
        self,
        action: str,
        request_id: str,
        honest: bytes,
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> AsyncIterator[bytes]:
        """What goes over the wire in place of an honest answer."""
        name, _, argument = action.partition(":")
        if name in MANGLED:
            for message in MANGLED[name](honest):
                yield message
            return
        if name == "slow":
            await asyncio.sleep(int(argument) / 1000)
        elif name == "status" or (name == "once" and request_id not in self.seen):
            # `once` is this status for the first attempt, an honest permit for the next.
            self.seen.add(request_id)
            await context.abort(_status(int(argument)), "as the script says")
        elif name == "pushback" and request_id not in self.seen:
            # As `once:14`, with a word on when to come again.
            self.seen.add(request_id)
            pause = (("grpc-retry-pushback-ms", argument),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now", pause)
        elif name == "bomb":
            context.set_compression(grpc.Compression.Gzip)
            honest += b"\x32" + _varint(BOMB_BYTES) + bytes(BOMB_BYTES)
        yield honest
        if name == "status_after_permit":
            await context.abort(_status(int(argument)), "after a permit")
        elif name == "silence_after_permit":
            await asyncio.sleep(60)
        elif name == "permit_twice":
            yield honest


def _status(number: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == number)


async def _serve(listeners: dict[str, dict[str, str]]) -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    # A stream of zero or one answers looks on the wire like a unary call, and can be wrong.
    script = Script()
    handlers = {
        "Authorize": grpc.unary_stream_rpc_method_handler(script.answer),
        "AuthorizeBatch": grpc.unary_stream_rpc_method_handler(script.answer_batch),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    ports = {}
    for name, pem in listeners.items():
        credentials = grpc.ssl_server_credentials(
            [(pem["key"].encode(), pem["certificate"].encode())],
            root_certificates=pem["trust_bundle"].encode(),
            require_client_auth=True,
        )
        ports[name] = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    # Whoever started this holds the other end: when it is gone, so is this.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


class ScriptedPdp:
    """The process.

    Args:
        listeners: for each name, the certificate, the key and the trust bundle.
    """

    def __init__(self, listeners: dict[str, tuple[IssuedSvid, bytes]]) -> None:
        self._listeners = {
            name: {
                "certificate": svid.certificate_pem.decode(),
                "key": svid.key_pem.decode(),
                "trust_bundle": trust_bundle.decode(),
            }
            for name, (svid, trust_bundle) in listeners.items()
        }
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulators.faults"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        assert self._stdin is not None
        assert self._stdout is not None
        self._stdin.write(json.dumps(self._listeners) + "\n")
        self._stdin.flush()
        self.ports = json.loads(self._stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        assert self._stdin is not None
        assert self._stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._process.wait(timeout=10)
        self._stdout.close()

    def kill(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)


class ClientFiles(TypedDict):
    """The files among a client's arguments."""

    trust_bundle: Path
    certificate: Path
    key: Path


class FiringRange:
    """A trust domain with a client, the scripted PDP behind good and bad certificates.

    Args:
        folder: for the PEM files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = ThrowawayAuthority("range.example.org")
        self.foreign = ThrowawayAuthority("range.example.org")
        past = timedelta(minutes=-1)
        self._issue("client", self.authority.issue("client"))
        self._issue("expired", self.authority.issue("client", lifetime=past))
        self._issue("foreign", self.foreign.issue("client"))
        self._issue("pdp", good := self.authority.issue("pdp", dns_names=["localhost"]))
        (folder / "trust.pem").write_bytes(self.authority.bundle_pem)
        served = {
            "good": good,
            "expired": self.authority.issue("pdp", dns_names=["localhost"], lifetime=past),
            "foreign": self.foreign.issue("pdp", dns_names=["localhost"]),
            "elsewhere": self.authority.issue("pdp", dns_names=["elsewhere.example.org"]),
            "nameless": self.authority.issue("pdp"),
        }
        self.pdp = ScriptedPdp(
            {name: (svid, self.authority.bundle_pem) for name, svid in served.items()}
        )

    def _issue(self, name: str, svid: IssuedSvid) -> None:
        svid.write(self.folder, name)

    def files(
        self,
        name: str = "client",
        *,
        trust_bundle: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> ClientFiles:
        """What a client is made with; any of it may be replaced."""
        return {
            "trust_bundle": trust_bundle or self.folder / "trust.pem",
            "certificate": certificate or self.folder / f"{name}.pem",
            "key": key or self.folder / f"{name}.key",
        }

    def target(self, name: str = "good") -> str:
        """Where the scripted PDP listens with this certificate."""
        return f"localhost:{self.pdp.ports[name]}"

    def __enter__(self) -> Self:
        self.pdp.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pdp.__exit__(*error)


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
        self._chance = random.Random(seed)

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
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols(["h2"])

    def handle(self, connection: socket.socket) -> None:
        """Shake hands, then read on."""
        with self.keeping(self._context.wrap_socket(connection, server_side=True)) as talking:
            self.hold(talking)


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


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.stdin.readline())))
