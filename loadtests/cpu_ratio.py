"""`python -m loadtests.cpu_ratio`: what a decision costs beside what gRPC costs anyway.

A real `pdp serve` with its durable record, and a bare grpc.aio server that
answers the same bytes, in turn under the same closed loop: same question, same
size of answer, same mutual TLS, one process each, server and generator pinned
to a core each where there are two. CPU is user plus system time of the whole
server process, from /proc, per call that was answered. Medians of rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from docs.demo.questions import QUESTIONS
from docs.demo.scene import ROOT, Scene
from pdp.model import Action, Request
from pdp.wire import request_to_pb

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Arena:
    """Both servers, the question, and the generator.

    Args:
        folder: empty, and the caller's to remove.
        callers: of the closed loop.
        seconds: of one round.
    """

    def __init__(self, folder: Path, callers: int, seconds: float) -> None:
        self.scene = Scene(folder)
        self.scene.issue_certificates()
        self.scene.publish_first()
        self.message = folder / "message"
        self.answer = folder / "answer"
        asked = QUESTIONS[0]
        request = Request(
            asked.subject, Action(asked.action), asked.resource, asked.context, request_id="0" * 32
        )
        self.message.write_bytes(request_to_pb(request).SerializeToString())
        self.callers = callers
        self.seconds = seconds

    @contextlib.contextmanager
    def pdp(self) -> Iterator[tuple[int, int]]:
        """`pdp serve`: process id and port."""
        with self.scene.serving(self.scene.repository) as server:
            pin(server.process.pid, 0)
            yield server.process.pid, server.port

    @contextlib.contextmanager
    def echo(self, *options: str) -> Iterator[tuple[int, int]]:
        """The bare server: process id and port."""
        arguments = [
            *(sys.executable, "-m", "loadtests.echo_server", "--answer", str(self.answer)),
            *self._files("pdp"),
            *options,
        ]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                pin(process.pid, 0)
                yield process.pid, json.loads(line)["port"]
            finally:
                process.terminate()

    def ask_once(self, port: int) -> None:
        """Keep one answer of the PDP, for the other one to say."""
        names = ("ca.pem", "caller.key", "caller.pem")
        pems = [(self.scene.certificates / name).read_bytes() for name in names]
        with grpc.secure_channel(
            f"localhost:{port}", grpc.ssl_channel_credentials(*pems)
        ) as channel:
            method = channel.unary_unary("/pdp.v1.AuthorizationService/Authorize", bytes, bytes)
            self.answer.write_bytes(method(self.message.read_bytes(), timeout=10))

    def load(self, port: int, **options: object) -> dict[str, Any]:
        """One run of the closed loop; what it says."""
        words: dict[str, object] = {"callers": self.callers, "budget-s": 5}
        return self.generate("closed_loop", port, words | options)

    def generate(self, generator: str, port: int, options: dict[str, object]) -> dict[str, Any]:
        """One run of a generator of this package; what it says."""
        words = {"seconds": self.seconds, "message": self.message} | options
        arguments = [
            *(sys.executable, "-m", f"loadtests.{generator}", "--target", f"localhost:{port}"),
            *self._files("caller"),
            *(text for name, value in words.items() for text in (f"--{name}", str(value))),
        ]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            pin(process.pid, 1)
            out, _ = process.communicate(timeout=float(str(words["seconds"])) + 60)
        found: dict[str, Any] = json.loads(out)
        return found

    def round(self, pid: int, port: int) -> tuple[float, dict[str, Any]]:
        """CPU per call in microseconds, and what the generator says."""
        before = cpu_s(pid)
        told = self.load(port)
        return (cpu_s(pid) - before) / told["calls"] * 1e6, told

    def _files(self, name: str) -> list[str]:
        folder = self.scene.certificates
        return [
            *("--trust-bundle", str(folder / "ca.pem")),
            *("--certificate", str(folder / f"{name}.pem"), "--key", str(folder / f"{name}.key")),
        ]


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core, where there are two for us."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {cores[core]})


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process: proc(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def main() -> None:
    """Print a line per round, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    costs: dict[str, list[float]] = {"pdp": [], "echo": []}
    with tempfile.TemporaryDirectory(prefix="portcullis-cpu-") as folder:
        arena = Arena(Path(folder), options.callers, options.seconds)
        with arena.pdp() as pdp:
            arena.ask_once(pdp[1])
            with arena.echo() as echo:
                time.sleep(1)
                for _ in range(options.rounds):
                    for name, (pid, port) in (("pdp", pdp), ("echo", echo)):
                        cost, told = arena.round(pid, port)
                        costs[name].append(cost)
                        print(
                            f"{name:5} {cost:7.1f} us CPU a call, {told['decided_per_s']:8.1f}/s, "
                            f"p99 {told['p99_ms']} ms, {told['outcomes']}",
                            flush=True,
                        )
    pdp_us, echo_us = statistics.median(costs["pdp"]), statistics.median(costs["echo"])
    ratios = [ours / bare for ours, bare in zip(costs["pdp"], costs["echo"], strict=True)]
    print(
        f"ratio {pdp_us / echo_us:.2f} (medians {pdp_us:.1f} and {echo_us:.1f} us; "
        f"rounds {min(ratios):.2f} to {max(ratios):.2f}; {options.callers} callers)"
    )


if __name__ == "__main__":
    main()
