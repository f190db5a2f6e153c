"""When to stop asking a PDP that does not answer, and when to ask it again.

As the core, this knows no clock and no threads: time comes in as numbers, and
the endpoint calls it under its lock. Nothing here can make a permit: a breaker
decides only whether the network is used, and an open one means DENY(UNREACHABLE).

What it counts, once for each question that was asked:

*Answered* is whatever shows that a PDP of our protocol is there and works: a
permit, a denial for whatever cause (OVERLOADED too: denying is what it should
do then, and the answer came), a refusal of the question or of the caller, and
a permit whose obligations the calling program has not declared. The last
matters: whoever chooses what is asked about could otherwise open the breaker
for everybody.

*Failed* is a call that nobody decided, or an answer that cannot be used.

*Neither* is a question that never got to the PDP, and a call that ran out of
less time than a PDP may fairly be given.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

# references/security.md section 4.1.
WINDOW_S: Final = 10
CALLS_MIN: Final = 20
PROBE_INTERVAL_S: Final = 1.0
# A share of errors of one half, as integers: failures * 2 >= calls.
_CALLS_PER_FAILURE: Final = 2


class Evidence(enum.Enum):
    """What a call says about the PDP."""

    ANSWERED = "answered"
    FAILED = "failed"
    NEITHER = "neither"


@dataclass(slots=True)
class _Second:
    number: int
    calls: int = 0
    failures: int = 0


class Breaker:
    """Opens when at least half of at least 20 calls of the last 10 s failed.

    While it is open, one call a second is let through to try. The first that is
    answered closes it. Asking for more than one answer was considered: each
    would be one more second in which everybody is denied by a PDP that is back,
    and all that it saves is at most 20 calls to one that is not, which are
    denied as well.

    INVARIANT: nothing here waits for a call to report. A trial that is
    cancelled or lost delays the next one by nothing.
    """

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque()  # at most WINDOW_S of them, oldest first
        self._now = -math.inf
        self._open = False
        self._try_at = 0.0
        self._epoch = 0  # how often it opened or closed

    @property
    def is_open(self) -> bool:
        """Whether calls are denied without asking."""
        return self._open

    def admit(self, now: float) -> int | None:
        """May a call be made?

        Args:
            now: seconds on a clock that does not go back. From threads, times
                may come in slightly out of order.

        Returns:
            What to give back to `learn`, or None: deny, and leave the network alone.
        """
        self._now = max(self._now, now)
        if self._open:
            if self._now < self._try_at:
                return None
            self._try_at = self._now + PROBE_INTERVAL_S
        return self._epoch

    def learn(self, admitted: int, now: float, evidence: Evidence) -> None:
        """Take note of how a call ended.

        Args:
            admitted: what `admit` returned for it. A call from before the
                breaker last opened or closed says nothing about now.
            now: when it ended.
            evidence: what it says.
        """
        self._now = max(self._now, now)
        if admitted != self._epoch or evidence is Evidence.NEITHER:
            return
        if self._open:
            if evidence is Evidence.ANSWERED:
                self._turn(is_open=False)
            return
        failed = evidence is Evidence.FAILED
        self._count(failed=failed)
        # Nothing but a failure makes it open.
        if not failed:
            return
        calls = sum(second.calls for second in self._seconds)
        failures = sum(second.failures for second in self._seconds)
        if calls >= CALLS_MIN and failures * _CALLS_PER_FAILURE >= calls:
            self._turn(is_open=True)

    def _turn(self, *, is_open: bool) -> None:
        self._open = is_open
        self._epoch += 1
        self._seconds.clear()
        self._try_at = self._now + PROBE_INTERVAL_S

    def _count(self, *, failed: bool) -> None:
        # By the second, not by the call: the same few numbers at any load.
        # So the window is the second that is now and the nine before it.
        number = math.floor(self._now)
        while self._seconds and self._seconds[0].number <= number - WINDOW_S:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        self._seconds[-1].calls += 1
        self._seconds[-1].failures += failed
