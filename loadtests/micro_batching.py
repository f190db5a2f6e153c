"""`python -m loadtests.micro_batching`: what a crowd in one process gets, apart and together.

A real `pdp serve` with its durable record. In this process 64 tasks ask one question after the
other through an `AsyncClient`, in turn: one call each, and with `micro_batching`. Decisions per
second are compared round by round. Exit code 1: fewer than three times as many.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docs.demo.questions import FIRST
from docs.demo.scene import Scene, Server
from loadtests.cpu_ratio import cpu_s
from loadtests.rounds import Target, show
from pdp_client import AsyncClient

TIMES_MIN = 3.0
# A busy machine must not turn what is measured into denials.
BUDGET_S = 5.0
CAN_MEET = {("notification", "notify-approver")}


@dataclass
class Way:
    """One way to ask, and what came of it, round by round.

    Attributes:
        client: to ask with.
        rates: decisions per second.
        cpu_us: of this process and the server's, for each decision.
    """

    client: AsyncClient
    rates: list[float] = field(default_factory=list)
    cpu_us: list[tuple[float, float]] = field(default_factory=list)

    async def round(self, pid: int, callers: int, seconds: float) -> None:
        """Ask for so long."""
        count, theirs, ours = 0, cpu_s(pid), time.process_time()
        started = time.monotonic()
        ends = started + seconds

        async def caller() -> None:
            nonlocal count
            while time.monotonic() < ends:
                decision = await self.client.authorize(
                    FIRST.subject, FIRST.action, FIRST.resource, FIRST.context
                )
                if not decision:
                    raise SystemExit(f"micro_batching: {decision.cause.name}, not a permit")
                count += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
        self.rates.append(count / (time.monotonic() - started))
        spent = time.process_time() - ours, cpu_s(pid) - theirs
        self.cpu_us.append((spent[0] / count * 1e6, spent[1] / count * 1e6))


async def _measured(
    scene: Scene, server: Server, callers: int, rounds: int, seconds: float
) -> Target:
    folder, pid = scene.certificates, server.process.pid
    arguments: dict[str, Any] = {
        "trust_bundle": folder / "ca.pem",
        "certificate": folder / "caller.pem",
        "key": folder / "caller.key",
        "budget_s": BUDGET_S,
        "can_meet": CAN_MEET,
    }
    target = f"localhost:{server.port}"
    async with (
        AsyncClient(target, **arguments) as apart,
        AsyncClient(target, **arguments, micro_batching=True) as together,
    ):
        ways = {"call by call": Way(apart), "together": Way(together)}
        for way in ways.values():
            await way.round(pid, callers, 0.3)
            way.rates.clear()
        for number in range(rounds):
            for name, way in ways.items():
                await way.round(pid, callers, seconds)
                here, there = way.cpu_us[-1]
                print(
                    f"round {number + 1}: {name:12} {way.rates[-1]:7.0f} decisions/s, "
                    f"{here:4.0f} µs CPU here and {there:4.0f} µs there for each",
                    flush=True,
                )
    one, many = ways["call by call"], ways["together"]
    ratios = [mine / other for mine, other in zip(many.rates, one.rates, strict=True)]
    detail = (
        f"all permitted; {statistics.median(many.rates):.0f} and "
        f"{statistics.median(one.rates):.0f} decisions/s; rounds "
        f"{min(ratios):.2f} to {max(ratios):.2f}"
    )
    words = f"{callers} callers in one process: decisions/s together / call by call"
    return Target(words, statistics.median(ratios), at_least=TIMES_MIN, detail=detail)


def compare(folder: Path, callers: int, rounds: int, seconds: float) -> Target:
    """Both ways in turn, against one server.

    Args:
        folder: empty, and the caller's to remove.
        callers: tasks that ask.
        rounds: of each way.
        seconds: of one round.
    """
    scene = Scene(folder)
    scene.issue_certificates()
    scene.publish_first()
    with scene.serving(scene.repository) as server:
        return asyncio.run(_measured(scene, server, callers, rounds, seconds))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-together-") as folder:
        target = compare(Path(folder), options.callers, options.rounds, options.seconds)
    show("Micro-batching", [target])
    sys.exit(0 if target.holds else 1)


if __name__ == "__main__":
    main()
