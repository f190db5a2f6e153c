"""Measuring on a machine that others use too: interleaved rounds, medians, ratios.

Candidates take turns, a short round each, so that what disturbs one disturbs
its neighbours. Time is the processor's, of the whole process: waiting for a
core is not counted. Of each candidate the median over the rounds counts;
ratios are medians of the ratios within a round. Absolute times tell about the
machine, ratios about the code.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUND_NS = 4_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds per call of one candidate, round by round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Microseconds per call."""
        return statistics.median(self.rounds)

    def of_each(self, count: int) -> Timing:
        """The same of one, where each call did so many of them."""
        return Timing(tuple(taken / count for taken in self.rounds))

    def times(self, other: Timing) -> float:
        """How many times as long as the other it took: the median over the rounds."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Target:
    """One promise and what was found.

    Attributes:
        words: what is compared.
        found: the ratio, or another number.
        at_least: what it must not fall short of, or None.
        at_most: what it must not exceed, or None.
        detail: of what it was computed.
    """

    words: str
    found: float
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether the promise is kept. One that names no limit is none, and not kept."""
        if self.at_least is not None:
            return self.found >= self.at_least
        return self.at_most is not None and self.found <= self.at_most

    @property
    def limit(self) -> str:
        """For people."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


def measure(candidates: Mapping[str, Callable[[], object]], rounds: int = 31) -> dict[str, Timing]:
    """Time several callables in turn.

    Args:
        candidates: what to call, by name; each warms up first.
        rounds: turns of each; a round is some 4 ms, or one call.

    Returns:
        The timing of each.
    """
    counts = {name: _calls_per_round(step) for name, step in candidates.items()}
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, step in candidates.items():
            found[name].append(_timed(step, counts[name]) / counts[name] / 1_000)
    return {name: Timing(tuple(taken)) for name, taken in found.items()}


def _calls_per_round(step: Callable[[], object]) -> int:
    calls = 1
    while (taken := _timed(step, calls)) < ROUND_NS // 4 and calls < 1 << 20:
        calls *= 2
    return max(1, round(calls * ROUND_NS / max(taken, 1)))


def _timed(step: Callable[[], object], calls: int) -> int:
    # As `timeit` does: a collection in the middle of a round is somebody else's garbage.
    gc.collect(0)
    gc.disable()
    try:
        turns = itertools.repeat(None, calls)
        started = time.process_time_ns()
        for _ in turns:
            step()
        return time.process_time_ns() - started
    finally:
        gc.enable()


def show(title: str, targets: Sequence[Target]) -> None:
    """Print one group of promises."""
    print(f"\n{title}")
    for target in targets:
        holds = "holds" if target.holds else "MISSES"
        print(f"  {holds:6} {target.found:9.2f}  {target.limit:6}  {target.words}")
        if target.detail:
            print(f"{'':28}{target.detail}")
