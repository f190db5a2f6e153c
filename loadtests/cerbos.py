"""`python -m loadtests.cerbos`: a batch of 200 questions, here and at Cerbos.

Fifty expense reports with four actions each, asked by one manager: a page of a list with its
buttons. Ours is a real `pdp serve` with policies/expense-reports; Cerbos has the same rules
(cerbos_policies/), schemas included. Both get their own message for the same questions over gRPC,
replayed by h2load, in turn; before anything is measured, both must give the same 200 answers.

What is not the same: h2load shows no client certificate, so a relay does (tls_relay.py), before
both. Ours takes mutual TLS and nothing less; Cerbos takes TLS and looks at no client certificate.
Ours answers when its record is on disk; Cerbos writes its decision log to a file beside answering.
Ours carries the digest of each question, obligations and the record's name in each answer; Cerbos
carries outputs. Exit code 1: fewer than three times the decisions per second; 2: it was not
measured, because h2load or Cerbos is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from docs.demo.scene import ROOT, Scene
from loadtests import cerbos_wire
from loadtests.cpu_ratio import cpu_s
from loadtests.rounds import Target, show
from pdp.model import Action, Request, Resource, Subject
from pdp.v1 import authorization_pb2 as pb
from pdp.wire import request_to_pb

POLICIES = Path(__file__).parent / "cerbos_policies"
BATCH = "/pdp.v1.AuthorizationService/AuthorizeBatch"
KIND = "expense_report"
ACTIONS = ("read", "update", "submit", "approve")
RESOURCES = 50
QUESTIONS = RESOURCES * len(ACTIONS)
TIMES_MIN = 3.0
START_S_MAX = 30.0
# How much may be in flight: enough that no server waits for the generator.
CONNECTIONS, STREAMS = 8, 2
# Of what an honest answer weighs: an error or a denial of everything is much less.
WEIGHT_MIN = 0.9
NOT_MEASURED = 2


class NotHereError(Exception):
    """Something that is needed is not installed; says what, and how to get it."""


def needed(cerbos: str | None) -> tuple[Path, Path]:
    """h2load and Cerbos.

    Args:
        cerbos: its binary, or a folder in which `npm install cerbos` was run.

    Raises:
        NotHereError: one is missing.
    """
    h2load = shutil.which("h2load")
    if h2load is None:
        raise NotHereError("h2load is not there: apt-get install nghttp2-client")
    place = Path(cerbos or shutil.which("cerbos") or "/nowhere")
    if place.is_dir():
        found = sorted(place.glob("node_modules/@cerbos/cerbos-*/cerbos-*"))
        place = found[0] if found else Path("/nowhere")
    if not place.is_file():
        raise NotHereError(
            "Cerbos is not there: npm install cerbos in a folder; name it with --cerbos or CERBOS"
        )
    return Path(h2load), place


def reports() -> list[tuple[str, dict[str, Any]]]:
    """Id and properties of each, in every state and of several departments and authors."""
    authors, categories = ("alice", "bob", "carol", "dave", "erin"), ("travel", "meals", "books")
    states = ("submitted", "draft", "approved", "paid", "submitted", "archived")
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(RESOURCES):
        lines = [
            {"category": categories[(number + line) % 3], "amount_cents": cents, "receipt": receipt}
            for line, (cents, receipt) in enumerate(((500, True), (3_000, True), (1_500, False)))
        ]
        if number % 12 == 0:
            lines[0]["category"] = "entertainment"
        properties: dict[str, Any] = {
            "author": authors[number % 5],
            "submitted_by": authors[number % 5],
            "department": ("sales", "sales", "it")[number % 3],
            "status": states[number % 6],
            "amount_cents": 1_000 * (number * 37 % 130) + 100,
            "year": 2026,
            "lines": lines,
            "delegations": [],
            "assistants": [],
        }
        found.append((f"report-{number}", properties))
    return found


ROLES = ("employee", "manager")
ABOUT: dict[str, Any] = {"department": "sales", "grade": 4}


def our_message() -> bytes:
    """The batch."""
    subject = Subject("user", "bob", {"roles": list(ROLES), **ABOUT})
    items = [
        Request(
            subject,
            Action(action),
            Resource(KIND, name, properties),
            request_id=f"{name}/{action}",
        )
        for name, properties in reports()
        for action in ACTIONS
    ]
    return pb.AuthorizeBatchRequest(
        request_id="b" * 32,
        semantic=pb.BATCH_SEMANTIC_EXECUTE_ALL,
        items=map(request_to_pb, items),
    ).SerializeToString()


def our_permits(answer: bytes) -> dict[tuple[str, str], bool]:
    """By resource and action."""
    found = {}
    for item in pb.AuthorizeBatchResponse.FromString(answer).items:
        name, _, action = item.request_id.partition("/")
        found[name, action] = item.effect == pb.EFFECT_PERMIT
    return found


def their_message() -> bytes:
    """The same questions."""
    resources = [(KIND, name, properties) for name, properties in reports()]
    return cerbos_wire.request(("bob", ROLES, ABOUT), resources, ACTIONS)


@dataclass
class Contender:
    """A server that runs, what it is asked, and what came of it.

    Attributes:
        pid: its process.
        port: of the relay before it.
        method: the gRPC method.
        message: the recorded message, without gRPC's prefix.
        answer: what it answers.
        rates: decisions per second, round by round.
        cpu_us: of the server's processor for each decision, likewise.
    """

    pid: int
    port: int
    method: str
    message: bytes
    answer: bytes = b""
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def round(self, h2load: Path, folder: Path, seconds: int) -> None:
        """Replay for so long."""
        body = folder / f"body-{self.port}"
        body.write_bytes(b"\0" + struct.pack(">I", len(self.message)) + self.message)
        words = [
            *(str(h2load), "-D", str(seconds), "--warm-up-time=1", "-t", "1"),
            *("-c", str(CONNECTIONS), "-m", str(STREAMS), "-d", str(body)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{self.port}{self.method}",
        ]
        before, started = _cpu_s(self.pid), time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        used, took = _cpu_s(self.pid) - before, time.monotonic() - started
        rate = float(_told(r"finished in [\d.]+\w+, ([\d.]+) req/s", done.stdout))
        count = int(_told(r"requests: .* (\d+) succeeded, 0 failed, 0 errored", done.stdout))
        data = int(_told(r"traffic:.*\((\d+)\) data", done.stdout))
        if not count or data < WEIGHT_MIN * count * len(self.answer):
            raise SystemExit(f"cerbos: these are not the answers that were checked:\n{done.stdout}")
        self.rates.append(rate * QUESTIONS)
        # The warm-up is in the time and in the work, so this is a little too much for both.
        self.cpu_us.append(used / (rate * took * QUESTIONS) * 1e6)


def _cpu_s(pid: int) -> float:
    """Of a process and of those that it started: proc(5), `children`."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_s(pid) + sum(_cpu_s(int(child)) for child in started)


def _told(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"cerbos: h2load said something else:\n{text}")
    return found[1]


class Ring:
    """Both servers, and what stands before them.

    Args:
        folder: empty, and the caller's to remove.
        cerbos: its binary.
    """

    def __init__(self, folder: Path, cerbos: Path) -> None:
        self.folder = folder
        self._workers = len(os.sched_getaffinity(0))
        self._cerbos = cerbos
        self._scene = Scene(folder)
        self._scene.issue_certificates()
        self._scene.publish_first()

    @contextlib.contextmanager
    def ours(self) -> Iterator[Contender]:
        """`pdp serve` with a process for each core, as Cerbos uses all of them."""
        path = self._scene.configure("workers.toml", self._scene.repository)
        path.write_text(f"workers = {self._workers}\n" + path.read_text())
        server = self._scene.start(path)
        try:
            with self._relay(server.port) as at:
                made = Contender(server.process.pid, at, BATCH, our_message())
                yield self._asked(made, server.port)
        finally:
            server.process.terminate()
            server.process.wait(timeout=30)
            if server.process.stdout:
                server.process.stdout.close()

    @contextlib.contextmanager
    def theirs(self, *, log: bool) -> Iterator[Contender]:
        """Cerbos, with its decision log or without."""
        ports = [_free_port(), _free_port()]
        name = f"cerbos-{'logged' if log else 'bare'}"
        audit = {
            "enabled": log,
            "accessLogsEnabled": False,
            "decisionLogsEnabled": True,
            "backend": "file",
            "file": {"path": str(self.folder / f"{name}.audit")},
        }
        certificates = self._scene.certificates
        configuration = {
            "server": {
                "httpListenAddr": f"127.0.0.1:{ports[0]}",
                "grpcListenAddr": f"127.0.0.1:{ports[1]}",
                "tls": {"cert": f"{certificates}/pdp.pem", "key": f"{certificates}/pdp.key"},
            },
            "storage": {"driver": "disk", "disk": {"directory": str(POLICIES)}},
            "schema": {"enforcement": "reject"},
            "telemetry": {"disabled": True},
            "audit": audit,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(configuration))  # JSON is YAML
        words = [str(self._cerbos), "server", f"--config={path}", "--log-level=warn"]
        with (self.folder / f"{name}.log").open("w") as out:
            process = subprocess.Popen(words, stdout=out, stderr=out)
        try:
            _until_listening(ports[1], process)
            with self._relay(ports[1]) as at:
                made = Contender(process.pid, at, cerbos_wire.METHOD, their_message())
                yield self._asked(made, ports[1])
        finally:
            process.terminate()
            process.wait(timeout=30)

    @contextlib.contextmanager
    def _relay(self, port: int) -> Iterator[int]:
        folder = self._scene.certificates
        words = [
            *(sys.executable, "-m", "loadtests.tls_relay", "--port", str(port)),
            *("--trust-bundle", str(folder / "ca.pem")),
            *("--certificate", str(folder / "caller.pem"), "--key", str(folder / "caller.key")),
        ]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield int(process.stdout.readline() if process.stdout else "")
            finally:
                process.terminate()

    def _asked(self, made: Contender, port: int) -> Contender:
        """Ask once, for the answer that all others must be like."""
        names = ("ca.pem", "caller.key", "caller.pem")
        pems = [(self._scene.certificates / name).read_bytes() for name in names]
        with grpc.secure_channel(
            f"localhost:{port}", grpc.ssl_channel_credentials(*pems)
        ) as channel:
            made.answer = channel.unary_unary(made.method, bytes, bytes)(made.message, timeout=10)
        return made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_S_MAX
    while process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("cerbos: it did not start")


def check_same(ours: Contender, theirs: Contender) -> int:
    """How many of the answers are permits; that all of them are the same is checked."""
    mine, others = our_permits(ours.answer), cerbos_wire.permits(theirs.answer)
    if len(mine) != QUESTIONS or mine != others:
        different = sorted(key for key in mine.keys() | others if mine.get(key) != others.get(key))
        raise SystemExit(f"cerbos: the answers differ: {different[:10]}")
    permits = sum(mine.values())
    if not QUESTIONS // 10 <= permits <= QUESTIONS * 9 // 10:
        raise SystemExit(f"cerbos: {permits} of {QUESTIONS} permits compare too little")
    return permits


def compare(h2load: Path, cerbos: Path, folder: Path, rounds: int, seconds: int) -> Target:
    """Rounds in turn; the ratio of the medians of rounds."""
    ring = Ring(folder, cerbos)
    with ring.ours() as ours, ring.theirs(log=True) as theirs, ring.theirs(log=False) as bare:
        permits = check_same(ours, theirs)
        check_same(ours, bare)
        contenders = {"ours": ours, "cerbos": theirs, "cerbos, no log": bare}
        for number in range(rounds):
            for name, contender in contenders.items():
                contender.round(h2load, folder, seconds)
                print(
                    f"round {number + 1}: {name:14} {contender.rates[-1]:9.0f} decisions/s, "
                    f"{contender.cpu_us[-1]:6.1f} µs CPU for each",
                    flush=True,
                )
    ratios = [mine / other for mine, other in zip(ours.rates, theirs.rates, strict=True)]
    against_bare = statistics.median(
        mine / other for mine, other in zip(ours.rates, bare.rates, strict=True)
    )
    detail = (
        f"same answers, {permits} permits; {statistics.median(ours.rates):.0f} and "
        f"{statistics.median(theirs.rates):.0f} decisions/s; "
        f"{against_bare:.2f} times Cerbos without its log"
    )
    words = f"a batch of {QUESTIONS}: our decisions/s / those of Cerbos"
    return Target(words, statistics.median(ratios), at_least=TIMES_MIN, detail=detail)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cerbos", default=os.environ.get("CERBOS"), help="binary or npm folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one round")
    options = parser.parse_args()
    try:
        h2load, cerbos = needed(options.cerbos)
    except NotHereError as error:
        print(f"cerbos: not measured: {error}")
        sys.exit(NOT_MEASURED)
    with tempfile.TemporaryDirectory(prefix="portcullis-cerbos-") as folder:
        target = compare(h2load, cerbos, Path(folder), options.rounds, options.seconds)
    show("Beside Cerbos", [target])
    sys.exit(0 if target.holds else 1)


if __name__ == "__main__":
    main()
