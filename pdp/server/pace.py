"""Questions that come fast are gathered for a few milliseconds and decided in a row.

Between two questions that come one by one, gRPC's threads and the record's writer
run, and the processor forgets what deciding needs: the same decision then takes
twice the time that it takes in a row. And an fsync of 0.2 ms, one for each record,
costs more than the decision. So where a few milliseconds bring several questions,
they wait for each other; their records are then made durable together. Where they
do not, nothing waits. (The precedent is PostgreSQL's `commit_delay` with
`commit_siblings`.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

# Questions are gathered for so long, where the last ones came so fast that it can be expected to
# bring four; and never more at a time, so that the event loop is not held for long.
GATHER_S: Final = 0.005
_GATHERED_MAX: Final = 32
_LAST: Final = 16
_LAST_S_MAX: Final = GATHER_S * _LAST / 4


class Pace:
    """When a question is decided. For one event loop at a time."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        # When the last ones came. Several, because they come in crowds.
        self._came: deque[float] = deque([float("-inf")] * _LAST, _LAST)

    async def turn(self) -> None:
        """Wait until this question is to be decided: not at all, or for at most `GATHER_S`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._came.append(now)
        if now - self._came[0] > _LAST_S_MAX:
            return
        # One for each: whoever gives up cancels what it waits for.
        future = loop.create_future()
        self._waiting.append(future)
        if len(self._waiting) >= _GATHERED_MAX:
            self._go_on(self._waiting)
        elif len(self._waiting) == 1:
            loop.call_later(GATHER_S, self._go_on, self._waiting)
        await future

    def _go_on(self, waiting: list[asyncio.Future[None]]) -> None:
        """All of them go on in this turn of the event loop, one after the other."""
        if waiting is not self._waiting:
            return  # they went on when they were enough
        self._waiting = []
        for future in waiting:
            if not future.done():
                future.set_result(None)
