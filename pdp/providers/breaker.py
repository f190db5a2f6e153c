"""How much a provider is asked: not too often at once, and not while it fails.

For one event loop. A provider that is down costs each question its timeout and a thread;
after some failures in a row it is left alone for a while, then one question tries it.
Who is not asked is BUSY, which is an error like any other.
"""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Counts failures in a row.

    Args:
        failures_max: then it opens.
        rest_s: it stays open for so long; then one question is let through.
        monotonic: seconds that never go back.
    """

    def __init__(self, failures_max: int, rest_s: float, monotonic: Callable[[], float]) -> None:
        self._failures_max = failures_max
        self._rest_s = rest_s
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = float("-inf")
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the last questions failed, all of them."""
        return self._failures >= self._failures_max

    def admits(self) -> bool:
        """Whether a question may be asked now; if it is the one that tries, the others may not."""
        if not self.is_open:
            return True
        if self._trying or self._monotonic() < self._open_until:
            return False
        self._trying = True
        return True

    def note(self, *, answered: bool) -> None:
        """What came of a question that was let through."""
        self._trying = False
        if answered:
            self._failures = 0
            return
        self._failures += 1
        if self.is_open:
            self._open_until = self._monotonic() + self._rest_s


class Bulkhead:
    """Counts questions that are under way, those that nobody waits for any more too.

    Args:
        concurrent_max: at the same time.
    """

    def __init__(self, concurrent_max: int) -> None:
        self._left = concurrent_max

    def enter(self) -> bool:
        """Whether there is room for one more, which is then taken."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def leave(self) -> None:
        """One has ended."""
        self._left += 1
