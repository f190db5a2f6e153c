"""`python -m loadtests.latency_curve`: how long answers take at which share of saturation.

A real `pdp serve` with its durable record, beside a bare server over the same
mutual TLS that also waits for a group-committed fsync of a record's size on the
same disk. First the rate that saturates the PDP is found by a ramp of closed
loops; then questions come at shares of it, at random times, to both in turn. What
counts is the median over the rounds of the ratio of both 99th percentiles at half
of saturation. Exit code 1: it is above 3, or a call went undecided there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from loadtests.closed_loop import PERMIT_OR_DENY
from loadtests.cpu_ratio import Arena
from loadtests.overload import saturation

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
JUDGED = 0.5
RATIO_MAX = 3.0


def size_of(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def undecided(told: dict[str, Any]) -> int:
    """Calls that ended with anything but a decision of the rules."""
    return int(told["calls"] - told["outcomes"].get(PERMIT_OR_DENY, 0))


def curve(
    arena: Arena, ports: dict[str, int], saturated: float, rounds: int
) -> dict[float, tuple[float, int]]:
    """For each share the ratio of both p99, and how many calls of the PDP went undecided."""
    found: dict[float, tuple[float, int]] = {}
    for share in SHARES:
        rate = saturated * share
        ratios: list[float] = []
        failed = 0
        for number in range(rounds):
            told = {
                name: arena.generate("open_loop", port, {"rate": rate, "seed": number})
                for name, port in ports.items()
            }
            ratios.append(told["pdp"]["p99_ms"] / told["echo"]["p99_ms"])
            failed += undecided(told["pdp"])
            print(f"{share:4.0%} {rate:7.0f}/s  {describe(told)}  {ratios[-1]:.2f} x", flush=True)
        found[share] = statistics.median(ratios), failed
    return found


def describe(told: dict[str, dict[str, Any]]) -> str:
    """Both servers, in a line."""
    return "  ".join(
        f"{name} p50 {its['p50_ms']:6.2f} p95 {its['p95_ms']:6.2f} p99 {its['p99_ms']:6.2f} ms"
        for name, its in told.items()
    )


def main() -> None:
    """Print the curve; exit with 1 if it is too steep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=5, help="at each share")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portcullis-curve-") as folder:
        arena = Arena(Path(folder), 32, options.seconds)
        with arena.pdp() as (_, port):
            arena.ask_once(port)
            callers, saturated = saturation(arena, port)
            before = size_of(arena.scene.record)
            told = arena.load(port, callers=callers)
            size = (size_of(arena.scene.record) - before) // told["calls"]
            print(f"{callers} callers saturate: {saturated:.0f}/s; {size} bytes a record")
            log = ("--log", str(Path(folder) / "echo.log"), "--record-bytes", str(size))
            with arena.echo(*log) as (_, echo):
                found = curve(arena, {"pdp": port, "echo": echo}, saturated, options.rounds)
    for share, (ratio, failed) in found.items():
        print(f"{share:4.0%} of saturation: p99 {ratio:.2f} x that of the echo, {failed} undecided")
    ratio, failed = found[JUDGED]
    good = ratio <= RATIO_MAX and not failed
    print("ok" if good else f"not good enough: at most {RATIO_MAX} x and 0 undecided")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
