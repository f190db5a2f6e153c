"""How long things take, in a fixed number of bins."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# Upper bounds in seconds. The client's budget is 0.25 s by default, the server's largest 5 s.
BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Times:
    """A histogram for one thread.

    Attributes:
        counts: how many per bin, the last without an upper bound.
        sum_s: of all of them.
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def note(self, took_s: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s
