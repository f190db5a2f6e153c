"""How much is taken on at once: what is beyond it is denied before any work is done.

A PDP that takes on more than it can do answers everybody too late, and an
answer that comes too late is a denial that was paid for. So a question is
turned away at the door, with an answer that costs a fraction of a decision,
for one of these reasons:

    in_flight  as many questions as allowed are being decided
    bytes      they are as long as allowed together: what they hold in memory grows with it
    queue      the event loop's turn has been going on for too long already
    hopeless   less time is left than answers take at present

The last one keeps the rest useful when questions arrive with their time used up:
gRPC queues them where no server in Python can see them, and only the caller's
deadline tells how long they waited.
"""

from __future__ import annotations

import asyncio
from typing import Final

from pdp.config.settings import Limits
from pdp.decision_point import Clock
from pdp.server.metrics.times import Times

# The weight of the newest answer in the mean of how long they take: the last twenty or so count.
_WEIGHT: Final = 0.1
# A question needs so many times the mean: half of the answers take longer than that.
_MARGIN: Final = 2.0
# Unless so many were in flight so recently, no question is hopeless. Where there is no crowd, a
# deadline that is short is the caller's own affair, and the mean must be learnt anew somehow.
_CROWD: Final = 4
_CROWD_S: Final = 1.0


class Gate:
    """Counts what is being decided. For one event loop.

    Args:
        limits: `requests_in_flight_max`, `bytes_in_flight_max` and `queue_max_s`.
        clock: of deadlines.

    Attributes:
        in_flight: questions being decided now.
        bytes_in_flight: the lengths of their messages, together.
        times: how long answers took, `single` ones and batches.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.in_flight = self.bytes_in_flight = 0
        self.times = {"single": Times(), "batch": Times()}
        self._in_flight_max = limits.requests_in_flight_max
        self._bytes_max = limits.bytes_in_flight_max
        self._queue_max_s = limits.queue_max_s
        self._clock = clock
        self._mean_s = 0.0
        self._mean_s_max = limits.deadline_max_s
        self._crowded_until = float("-inf")
        # When the first question of this turn of the event loop came in; None: none has.
        self._turn_began: float | None = None

    def refusal(self, patience_s: float, size: int) -> str:
        """Why a question is not taken on now; empty: take it on, with `enter`.

        Args:
            patience_s: how long an answer may take.
            size: bytes of the message.
        """
        now = self._clock.monotonic()
        began = self._turn_began
        if began is None:
            self._turn_began = now
            # Runs at the beginning of the next turn, after everything that is due in this one.
            asyncio.get_running_loop().call_soon(self._turn_ended)
        elif now - began > self._queue_max_s:
            return "queue"
        if self.in_flight >= self._in_flight_max:
            return "in_flight"
        if self.bytes_in_flight + size > self._bytes_max:
            return "bytes"
        if self.in_flight >= _CROWD:
            self._crowded_until = now + _CROWD_S
        if patience_s < _MARGIN * self._mean_s and now < self._crowded_until:
            return "hopeless"
        return ""

    def enter(self, size: int) -> float:
        """Take a question on; return the moment, for `leave`."""
        self.in_flight += 1
        self.bytes_in_flight += size
        return self._clock.monotonic()

    def leave(self, entered: float, size: int, *, in_time: bool, single: bool = True) -> None:
        """It was answered, or will not be. Call once for each `enter`, whatever happens.

        Args:
            entered: what `enter` returned.
            size: as `enter` was told.
            in_time: whether it was done before its deadline. If not, it would
                have taken longer than it did, nobody knows how long: such a one
                never makes answers look quick. One that came too late already, as
                hundreds do when a process goes on that was stopped, says nothing.
            single: whether it was one question. A batch takes longer, and how long
                says nothing about the time that questions need.
        """
        self.in_flight -= 1
        self.bytes_in_flight -= size
        took_s = self._clock.monotonic() - entered
        self.times["single" if single else "batch"].note(took_s)
        if not single:
            return
        if not in_time:
            took_s = min(max(took_s, self._mean_s), self._mean_s_max)
        self._mean_s += (took_s - self._mean_s) * _WEIGHT

    def hold(self, size: int) -> None:
        """Count an answer that waits to be sent; `release` it, whatever happens."""
        self.bytes_in_flight += size

    def release(self, size: int) -> None:
        """It was sent, or will not be."""
        self.bytes_in_flight -= size

    def _turn_ended(self) -> None:
        self._turn_began = None
