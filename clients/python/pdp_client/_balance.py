"""Which of several PDPs is asked, and when a second one is: without a clock, a thread or a socket.

Round robin over those that answer. One that fails five times in a row is left out for a while,
longer each time (the precedent is Envoy's outlier detection: `consecutive_5xx` 5, a base of 30 s;
ours is shorter, since a PDP that restarts is back within seconds). If all are out, the one that is
soonest back is asked: leaving all of them out would make an outage of a moment last.

A second attempt, at another PDP, is made at most once for a call: when the first one failed, or,
if hedging is on, when it takes longer than 95 % of answers do. Both are bounded: failing over as
gRFC A6 bounds retries, hedging to a twentieth of calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pdp_client._throttle import RetryThrottle

FAILURES_MAX: Final = 5
EJECTED_S: Final = 5.0
EJECTED_S_MAX: Final = 60.0
# Of so many of the last answers the 95th percentile is taken, and of fewer none.
_SAMPLE: Final = 200
SAMPLE_MIN: Final = 40
_SHARE: Final = 0.95
# Sooner than this, a second question costs more than it saves.
HEDGE_S_MIN: Final = 0.002
HEDGE_SHARE: Final = 0.05
_HEDGES_MAX: Final = 5.0

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class _Record:
    """What is known of one PDP."""

    failures: int = 0  # in a row
    ejections: int = 0  # since it last answered well for a while
    out_until: float = 0.0


class Balance(Generic[T]):
    """Chooses. For all threads.

    Args:
        members: names of the PDPs, at least one.
        hedging: whether a call that takes long gets a second attempt.
    """

    def __init__(self, members: Sequence[T], *, hedging: bool = False) -> None:
        self._lock = threading.Lock()
        self._records: dict[T, _Record] = {}
        self._turn = 0
        self._hedging = hedging
        self._took: deque[float] = deque(maxlen=_SAMPLE)
        self._answers = 0
        self._hedges = 0.0
        self._hedge_s: float | None = None
        self._throttle = RetryThrottle()
        self.hedged = self.failed_over = 0
        self.become(members)

    def become(self, members: Sequence[T]) -> None:
        """There are other PDPs now. What is known of those that stay is kept."""
        with self._lock:
            self._records = {one: self._records.get(one, _Record()) for one in members}

    def choose(self, now: float, tried: Collection[T] = ()) -> T | None:
        """Whom to ask next; None: nobody is left that was not tried."""
        with self._lock:
            left = [one for one in self._records if one not in tried]
            if not left:
                return None
            good = [one for one in left if self._records[one].out_until <= now]
            if not good:
                return min(left, key=lambda one: self._records[one].out_until)
            self._turn += 1
            return good[self._turn % len(good)]

    def out(self, now: float) -> list[T]:
        """Who is left out at the moment."""
        with self._lock:
            return [one for one, record in self._records.items() if record.out_until > now]

    def answered(self, member: T, took_s: float) -> None:
        """It answered, with a permit or a denial, so many seconds after it was asked."""
        with self._lock:
            if (record := self._records.get(member)) is not None:
                record.failures = record.ejections = 0
                record.out_until = 0.0
            self._throttle.answered()
            self._took.append(took_s)
            self._answers += 1
            # Sorting 200 numbers takes some 10 us; every tenth answer is often enough.
            if self._hedging and self._answers >= SAMPLE_MIN and self._answers % 10 == 0:
                ordered = sorted(self._took)
                self._hedge_s = max(HEDGE_S_MIN, ordered[int(len(ordered) * _SHARE)])

    def failed(self, member: T, now: float) -> None:
        """Nothing that can be used came of asking it."""
        with self._lock:
            self._throttle.failed()
            record = self._records.get(member)
            if record is None:
                return
            record.failures += 1
            if record.failures >= FAILURES_MAX:
                record.failures = 0
                record.ejections += 1
                out_s = min(EJECTED_S * 2 ** (record.ejections - 1), EJECTED_S_MAX)
                record.out_until = now + out_s

    def hedge_after(self, left_s: float) -> float | None:
        """After how many seconds without an answer a second PDP is asked; None: it is not.

        Counts the call. Afterwards `hedge` says whether it may really be.

        Args:
            left_s: of the call's budget. The second attempt needs the time of an answer.
        """
        with self._lock:
            self._hedges = min(_HEDGES_MAX, self._hedges + HEDGE_SHARE)
            after = self._hedge_s
            if after is None or len(self._records) < 2 or left_s < 2 * after:  # noqa: PLR2004
                return None
            return after

    def hedge(self) -> bool:
        """Take one of the hedges that the calls so far have earned."""
        with self._lock:
            if self._hedges < 1:
                return False
            self._hedges -= 1
            self.hedged += 1
            return True

    def fail_over(self) -> bool:
        """Whether a call that failed may be tried elsewhere: not while most of them fail."""
        with self._lock:
            if not self._throttle.allows or len(self._records) < 2:  # noqa: PLR2004
                return False
            self.failed_over += 1
            return True
