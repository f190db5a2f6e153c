"""A PDP that answers as it is told: a process of its own, one listener for each certificate.

How it answers is the name of the action that it is asked about, so it needs no other channel:
`wrong_digest`, `slow:400`, `status:14`. `permit` is answered honestly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import IO, Self

import grpc

from pdp.authoring.throwaway import IssuedSvid
from pdp.failsafe.answers import (
    BATCH_OVERSIZE_BYTES,
    BATCH_SPOILED,
    BOMB_BYTES,
    MANGLED,
    SERVICE,
    SPOILED,
    VARIED,
    honest_batch,
    honest_permit,
    told_by,
    varint,
)
from pdp.v1 import authorization_pb2 as pb


class Script:
    """How the scripted PDP answers: by the name of the action, in a batch of the last one."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        # The honest answer to the question before: what an attacker would have kept.
        self._kept = b""

    async def answer(
        self, received: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """One call."""
        request = pb.AuthorizeRequest.FromString(received)
        answer = honest_permit(request, received)
        name = told_by(request)
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
        name = told_by(request.items[-1])
        # What spoils an answer alone spoils the last one of a batch.
        spoil = BATCH_SPOILED.get(name) or BATCH_SPOILED.get(f"last_{name}")
        if spoil is not None:
            spoil(answer)
        if name == "oversize":
            answer.items[-1].rules.append("r" * BATCH_OVERSIZE_BYTES)
        async for message in self._said(
            name, request.request_id, answer.SerializeToString(), context
        ):
            yield message

    async def converse(
        self, received: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        """One conversation: each question is answered by its action, those of a message backwards.

        `end:N` ends it with this status; `nonsense` is a whole message of garbage, `no_owner` an
        answer that is garbage; `twice` is said twice; `by_digest` has no id, as of a PDP that could
        not read it; `never` is not answered.
        """
        ready: asyncio.Queue[list[bytes]] = asyncio.Queue()
        listening = asyncio.create_task(_listen(received, ready))
        try:
            while b"" not in (answers := await ready.get()):
                for answer in answers:
                    if answer.startswith(b"end:"):
                        await context.abort(_status(int(answer[4:])), "as the script says")
                if b"nonsense" in answers:
                    yield bytes(range(256))
                else:
                    yield b"".join(b"\x12" + varint(len(one)) + one for one in answers)
        finally:
            listening.cancel()

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
            honest += b"\x32" + varint(BOMB_BYTES) + bytes(BOMB_BYTES)
        elif name == "replayed":
            honest, self._kept = self._kept, honest
        else:
            self._kept = honest
        yield honest
        if name == "status_after_permit":
            await context.abort(_status(int(argument)), "after a permit")
        elif name == "silence_after_permit":
            await asyncio.sleep(60)
        elif name == "permit_twice":
            yield honest


async def _listen(received: AsyncIterator[bytes], ready: asyncio.Queue[list[bytes]]) -> None:
    """Put the answers to each message, backwards; those that are slow by themselves; then b''."""
    async with asyncio.TaskGroup() as slow:
        async for message in received:
            asked = pb.AuthorizeStreamRequest.FromString(message)
            answers: list[bytes] = []
            for one in list(asked.together) or [asked]:
                told = _told(one.request)
                name, _, argument = one.request.action.name.partition(":")
                if name == "slow":
                    slow.create_task(_later(int(argument) / 1000, told, ready))
                else:
                    answers += told
            if answers:
                await ready.put(answers[::-1])
    await ready.put([b""])


def _told(request: pb.AuthorizeRequest) -> list[bytes]:
    """What a question of a conversation is answered with."""
    name, _, argument = request.action.name.partition(":")
    answer = honest_permit(request, request.SerializeToString())
    if name in SPOILED or name in VARIED:
        (SPOILED | VARIED)[name](answer)
    elif name == "by_digest":
        answer = pb.AuthorizeResponse(
            request_digest=answer.request_digest, effect=pb.EFFECT_DENY, cause=pb.CAUSE_INVALID
        )
    honest = answer.SerializeToString()
    told = {
        "end": [f"end:{argument}".encode()],
        "nonsense": [b"nonsense"],
        "no_owner": [b"\xff\xff"],
        "twice": [honest, honest],
        "never": [],
    }
    return told.get(name, [honest])


async def _later(after_s: float, told: list[bytes], ready: asyncio.Queue[list[bytes]]) -> None:
    await asyncio.sleep(after_s)
    await ready.put(told)


def _status(number: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == number)


async def _serve(listeners: dict[str, dict[str, str]], socket: str) -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    # A stream of zero or one answers looks on the wire like a unary call, and can be wrong.
    script = Script()
    handlers = {
        "Authorize": grpc.unary_stream_rpc_method_handler(script.answer),
        "AuthorizeBatch": grpc.unary_stream_rpc_method_handler(script.answer_batch),
        "AuthorizeStream": grpc.stream_stream_rpc_method_handler(script.converse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    ports = {}
    for name, pem in listeners.items():
        credentials = grpc.ssl_server_credentials(
            [(pem["key"].encode(), pem["certificate"].encode())],
            root_certificates=pem["trust_bundle"].encode(),
            require_client_auth=True,
        )
        address = socket or f"127.0.0.1:{pem.get('port', '0')}"
        ports[name] = server.add_secure_port(address, credentials)
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
        ports: where to listen by those names, for one that comes back; otherwise anywhere.
        socket: path of a Unix socket to listen at instead; empty: none.
    """

    def __init__(
        self,
        listeners: dict[str, tuple[IssuedSvid, bytes]],
        ports: Mapping[str, int] | None = None,
        socket: str = "",
    ) -> None:
        self._socket = f"unix:{socket}" if socket else ""
        self._listeners = {
            name: {
                "certificate": svid.certificate_pem.decode(),
                "key": svid.key_pem.decode(),
                "trust_bundle": trust_bundle.decode(),
            }
            for name, (svid, trust_bundle) in listeners.items()
        }
        for name, port in (ports or {}).items():
            self._listeners[name]["port"] = str(port)
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 ourselves
            [sys.executable, "-m", "pdp.failsafe.scripted_pdp", self._socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Broken handshakes are what it is for; gRPC would tell of each.
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        )
        stdin, stdout = self._pipes()
        stdin.write(json.dumps(self._listeners) + "\n")
        stdin.flush()
        self.ports = json.loads(stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        stdin, stdout = self._pipes()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        self._process.wait(timeout=10)
        stdout.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the scripted PDP was started without its pipes")
        return self._process.stdin, self._process.stdout

    def kill(self, number: signal.Signals) -> None:
        """Send the process a signal; if it stops or ends it, wait until that has happened."""
        self._process.send_signal(number)
        if number is signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        elif number is signal.SIGKILL:
            self._process.wait(timeout=10)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.stdin.readline()), sys.argv[1]))
