"""`python -m loadtests.overload`: what becomes of answers when more callers ask than can be served.

A real `pdp serve` with its durable record, on a core of its own; closed loops of
callers on another. First the least number of callers that saturates it is
found; then five times as many ask, each with the client's default budget, and
one that is told OVERLOADED waits a budget before it asks again. Goodput is
decisions of the rules that came within the budget. Exit code 1 if it falls below
80 % of what it was at saturation, an answered call took longer than its budget,
or the server's memory grew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from loadtests.cpu_ratio import Arena
from pdp_client._arguments import BUDGET_S_DEFAULT

CALLERS = (4, 8, 16, 32, 64)
# The least number of callers that brings this share of the best goodput saturates.
SATURATED = 0.95
TIMES = 5
GOODPUT_MIN = 0.8
# What an allocator may do with nobody asking for more.
GROWTH_MIB_MAX = 8.0
# A timer of the generator, on a core that is busy, fires late.
LATE_MS_MAX = 50.0


def resident_mib(pid: int) -> float:
    """Memory of a process that is in use now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    return 0.0


def saturation(arena: Arena, port: int) -> tuple[int, float]:
    """The least number of callers that saturates, and decisions a second then."""
    rates: dict[int, float] = {}
    for callers in CALLERS:
        told = arena.load(port, callers=callers)
        rates[callers] = told["decided_per_s"]
        print(f"{callers:4} callers: {describe(told)}", flush=True)
    enough = max(rates.values()) * SATURATED
    return next((callers, rate) for callers, rate in rates.items() if rate >= enough)


def describe(told: dict[str, Any]) -> str:
    """One run of the generator, in a line."""
    return (
        f"{told['decided_per_s']:8.1f} decisions/s, p99 {told['p99_ms']} ms, "
        f"longest {told['longest_ms']} ms, {told['outcomes']}"
    )


def main() -> None:
    """Print what was found; exit with 1 if it is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="of the overload")
    options = parser.parse_args()
    budget_s = BUDGET_S_DEFAULT
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="portcullis-overload-") as folder:
        arena = Arena(Path(folder), CALLERS[0], options.seconds)
        with arena.pdp() as (pid, port):
            arena.ask_once(port)
            callers, saturated = saturation(arena, port)
            crowd = callers * TIMES
            arena.load(port, callers=crowd, **{"budget-s": budget_s})  # what a crowd needs at all
            before = resident_mib(pid)
            for _ in range(options.rounds):
                told = arena.load(port, callers=crowd, **{"budget-s": budget_s})
                share = told["decided_per_s"] / saturated
                print(f"{crowd:4} callers: {describe(told)}; {share:.0%} of saturation", flush=True)
                if share < GOODPUT_MIN:
                    wrong.append(f"goodput is {share:.0%} of saturation")
                if told["longest_ms"] > budget_s * 1_000 + LATE_MS_MAX:
                    wrong.append(f"a call took {told['longest_ms']} ms")
            grown = resident_mib(pid) - before
            print(f"memory: {before:.1f} MiB, then {grown:+.1f} MiB")
            if grown > GROWTH_MIB_MAX:
                wrong.append(f"memory grew by {grown:.1f} MiB")
    print("; ".join(wrong) or "ok: goodput, time and memory hold")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
