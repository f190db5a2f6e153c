"""Names of decisions: UUIDs that sort like the records they are in."""

from __future__ import annotations

import os
from typing import Final

_NS_PER_MS: Final = 1_000_000
_CHANCE_DIGITS: Final = 19  # of which one gives two bits: 74 bits of an id
_FETCHED: Final = 512
# The variant of UUID takes two bits of a digit; the other two stay as they came.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Chance:
    """Random digits, fetched many at a time.

    Each fetch is a system call that gives the interpreter lock away; next to
    the thread that writes records that costs more than the rest of an answer.
    They make ids unique, not secret.
    """

    def __init__(self) -> None:
        self._digits = ""
        self._place = 0
        # The last moment that was asked for, and how it is written.
        self._moment: int | None = None
        self._written = ""
        # Two processes must not go on from the same digits.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._digits = ""
        self._place = 0

    def take(self) -> str:
        """The next `_CHANCE_DIGITS` hexadecimal digits; none is given twice."""
        place = self._place
        if place + _CHANCE_DIGITS > len(self._digits):
            self._digits, place = os.urandom(_CHANCE_DIGITS * _FETCHED // 2).hex(), 0
        end = self._place = place + _CHANCE_DIGITS
        return self._digits[place:end]

    def when(self, milliseconds: int) -> str:
        """The digits of a moment; many ids are of the same one."""
        if milliseconds != self._moment:
            bounded = min(max(milliseconds, 0), 2**48 - 1)
            digits = f"{bounded:012x}"
            self._written = f"{digits[:8]}-{digits[8:]}-7"
            self._moment = milliseconds
        return self._written


_CHANCE: Final = _Chance()


def new_decision_id(clock_ns: int) -> str:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, 74 of chance.

    The clock is the caller's: ids sort like the records they name. A time
    before 1970 or after 10889 counts as the nearest that can be written.
    """
    chance = _CHANCE.take()
    when = _CHANCE.when(clock_ns // _NS_PER_MS)
    return f"{when}{chance[:3]}-{_VARIANT[chance[3]]}{chance[4:7]}-{chance[7:]}"
