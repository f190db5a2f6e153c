"""`make envoy`: a real Envoy asks a real PDP about every request; then the PDP breaks.

Ends with exit code 0 only if every promise that it shows was kept.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from docs.demo.scene import Server, StageError
from docs.examples.envoy.stage import (
    HERE,
    Envoy,
    NotesScene,
    Reply,
    Upstream,
    configuration,
    envoy,
    upstream,
)

ANN: Mapping[str, str] = {"x-demo-user": "ann"}
# Method, path, what the client sends besides, and the status that it gets.
REQUESTS: tuple[tuple[str, str, Mapping[str, str], int], ...] = (
    ("GET", "/notes/welcome", ANN, 200),
    ("PUT", "/notes/ann-1", ANN, 200),
    ("GET", "/notes/ben-1", ANN, 403),
    ("DELETE", "/notes/ann-1", ANN, 403),
    ("GET", "/nowhere", ANN, 403),
    ("GET", "/notes/ann-1%252f..%252fben-1", ANN, 403),
    ("GET", "/notes/welcome", {}, 403),
    ("PUT", "/notes/ann-1", {**ANN, "x-user": "ben", "x-http-method-override": "DELETE"}, 200),
)


class Show:
    """Narration, and whether every promise was kept."""

    def __init__(self) -> None:
        self.broken = 0

    def say(self, words: str) -> None:
        """One line."""
        sys.stdout.write(words + "\n")

    def promise(self, words: str, *, kept: bool) -> None:
        """A promise and whether it was kept."""
        self.broken += not kept
        self.say(f"   {'kept  ' if kept else 'BROKEN'} {words}")


def _answers(show: Show, running: Envoy, service: Upstream) -> None:
    show.say("\n2. Ask: each line is a request through Envoy")
    wrong = 0
    for method, path, headers, expected in REQUESTS:
        reply = running.ask(method, path, headers)
        wrong += reply.status != expected
        said = reply.body.strip().partition("\n")[0][:90]
        sent = "".join(f" {name}: {value}" for name, value in headers.items())
        show.say(f"   {reply.status} {method:<6} {path}{sent}\n       {said}")
    permitted = sum(expected == 200 for *_, expected in REQUESTS)  # noqa: PLR2004 HTTP
    show.promise("every answer is what the policies say", kept=not wrong)
    show.promise("what was denied never reached the service", kept=len(service.seen) == permitted)
    _, _, last = service.seen[-1]
    show.promise(
        "the service gets the subject that was decided about, whatever the client wrote there",
        kept=last.get("x-user") == "ann" and "x-http-method-override" not in last,
    )


def _failures(show: Show, running: Envoy, server: Server, service: Upstream) -> None:
    show.say("\n3. Stop the PDP, let it go on, then kill -9")
    before = len(service.seen)
    os.kill(server.process.pid, signal.SIGSTOP)
    slow = running.ask("GET", "/notes/welcome", ANN)
    os.kill(server.process.pid, signal.SIGCONT)
    show.promise(f"no answer in time is a denial: {_told(slow)}", kept=slow.status == 403)  # noqa: PLR2004
    again = _until(running, 200)
    show.promise(f"when it answers again, requests go on: {_told(again)}", kept=again.status == 200)  # noqa: PLR2004
    before += again.status == 200  # noqa: PLR2004
    server.process.kill()
    server.process.wait()
    dead = running.ask("GET", "/notes/welcome", ANN)
    show.promise(f"no PDP is a denial: {_told(dead)}", kept=dead.status == 403)  # noqa: PLR2004
    show.promise("none of these denials reached the service", kept=len(service.seen) == before)


def _told(reply: Reply) -> str:
    return f"{reply.status} after {reply.seconds * 1_000:.0f} ms"


def _until(running: Envoy, status: int) -> Reply:
    """The first reply with this status, or the last after ten seconds."""
    ends = time.monotonic() + 10
    while True:
        reply = running.ask("GET", "/notes/welcome", ANN)
        if reply.status == status or time.monotonic() > ends:
            return reply
        time.sleep(0.05)


def run(folder: Path) -> int:
    """The whole example in a folder; the number of promises that were broken."""
    show, scene = Show(), NotesScene(folder)
    show.say("1. Sign the policies, start the PDP, the service and Envoy")
    scene.issue_certificates()
    scene.publish_first(HERE / "policies")
    with (
        scene.serving(scene.repository) as server,
        upstream() as service,
        envoy(folder, configuration(folder, server.port, service.port)) as running,
    ):
        show.say(f"   Envoy listens on 127.0.0.1:{running.ports['front']}")
        _answers(show, running, service)
        _failures(show, running, server, service)
    show.say("\n4. What was recorded")
    for line in scene.pdp("audit", "show", scene.record).stdout.splitlines():
        if " for " in line:
            show.say(f"   {line.partition(' ')[2]}")
    show.say(
        f"\n{show.broken} promises were broken" if show.broken else "\nEvery promise was kept."
    )
    return show.broken


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory(prefix="portcullis-envoy-") as folder:
        try:
            broken = run(Path(folder))
        except StageError as error:
            sys.exit(f"envoy: {error}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
