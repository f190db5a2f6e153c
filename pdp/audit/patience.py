"""Waits for records, each until its own deadline, with one timer for all of them.

A timer for each record would be set and cancelled again nearly every time,
which costs as much as making the record. Most records are durable long before
their time is up; when the timer fires, those are skipped.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final

from pdp.model import RecordRef

# No answer is worth a longer wait, whatever deadline an in-process caller sets.
WAIT_S_MAX: Final = 60.0

_Future = asyncio.Future[RecordRef]


class TooLateError(Exception):
    """Nobody waits for this record any longer. It may become durable all the same."""


class Patience:
    """Ends the waiting for records. For one event loop at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: list[tuple[float, int, _Future]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ends = 0.0

    def watch(self, future: _Future, patience_s: float) -> None:
        """Fail the future with `TooLateError` if it is not done by then.

        That stops no write: a recorder skips a future that is done.

        Args:
            future: not done.
            patience_s: zero, less and not a number are none: it fails at once.
        """
        loop = future.get_loop()
        if loop is not self._loop:
            # Timers of a loop that has ended do not fire; neither do its futures.
            self._loop, self._ends, self._timer = loop, [], None
        if not patience_s > 0:
            _give_up(future)
            return
        ends = loop.time() + min(patience_s, WAIT_S_MAX)
        heap = self._ends
        while heap and heap[0][2].done():
            heapq.heappop(heap)
        # The number keeps futures from being compared.
        heapq.heappush(heap, (ends, next(self._numbers), future))
        if self._timer is None or ends < self._timer_ends:
            self._arm(loop, ends)

    def _arm(self, loop: asyncio.AbstractEventLoop, ends: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_ends = loop.call_at(ends, self._ended, loop), ends

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        heap = self._ends
        while heap:
            ends, _, future = heap[0]
            if not future.done():
                if ends > now:
                    self._arm(loop, ends)
                    return
                _give_up(future)
            heapq.heappop(heap)


def _give_up(future: _Future) -> None:
    future.set_exception(TooLateError())
    # Whoever waited may be gone: then this is no news.
    future.exception()


async def outcome(future: _Future) -> RecordRef:
    """What became of a record.

    Raises:
        TooLateError: nothing in time, or the recorder cancelled the future: that
            would look like the end of our own task, and is only a failed record.
        SpoolError: as the recorder says.
        asyncio.CancelledError: our own task is ending.
    """
    try:
        return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise TooLateError from None
