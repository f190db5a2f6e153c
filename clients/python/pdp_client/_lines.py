"""Which channel a call goes over while certificates are replaced.

A line is a channel and who uses it. There is one that calls go over, and
after a rotation a successor that connects while calls still go over the old
one. It takes over when it is connected, or when its time is up. The old one is
closed when the last call on it has ended: within the longest budget.

As the core, this knows no clock and no threads, and of a channel only that it
is one; the endpoint calls it under its lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class Line:
    """One channel.

    Attributes:
        channel: the driver's.
        methods: what the driver calls, by the name on the wire.
        is_connected: asked of a successor, before each call.
        users: attempts that are being made over it.
    """

    channel: Any
    methods: Any
    is_connected: Callable[[], bool]
    users: int = 0


class Lines:
    """The line that calls go over, the one before it and the one after it."""

    def __init__(self) -> None:
        self._current: Line | None = None
        self._successor: Line | None = None
        self._until = 0.0
        self._retired: set[Line] = set()  # with calls on them

    @property
    def is_empty(self) -> bool:
        """Whether there is no line to call over."""
        return self._current is None

    @property
    def is_turning(self) -> bool:
        """Whether a successor is waiting. Another one has to wait for it."""
        return self._successor is not None

    def add(self, line: Line, until: float) -> None:
        """Add the first line, or a successor that takes over at `until` at the latest."""
        if self._current is None:
            self._current = line
        else:
            self._successor, self._until = line, until

    def lease(self, now: float) -> tuple[Line, Line | None]:
        """The line for one attempt, to be given back to `release`; and one that is to be closed.

        INVARIANT: a line that is to be closed has no users, and gets none.
        """
        if self._current is None:
            raise LookupError("there is no line to call over")
        over = None
        if self._successor is not None and (now >= self._until or self._successor.is_connected()):
            old, self._current, self._successor = self._current, self._successor, None
            if old.users:
                self._retired.add(old)
            else:
                over = old
        self._current.users += 1
        return self._current, over

    def release(self, line: Line) -> bool:
        """An attempt has ended. True: its line is to be closed."""
        line.users -= 1
        if line.users or line not in self._retired:
            return False
        self._retired.remove(line)
        return True

    def clear(self) -> list[Line]:
        """Forget all lines; they are to be closed, whoever uses them."""
        lines = [line for line in (self._current, self._successor, *self._retired) if line]
        self._current = self._successor = None
        self._retired.clear()
        return lines
