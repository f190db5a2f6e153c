"""Time, as the office sees it. The law gets it as a number."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Time, as a decision sees it. Tests bring their own."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, as far as the machine knows; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back. Deadlines are on this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    # Themselves: each decision looks several times.
    wall_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)
