"""Names of decisions: UUIDs that sort like the records they are in."""

from __future__ import annotations

import os
from typing import Final

_NS_PER_MS: Final = 1_000_000
_CHANCE_BYTES: Final = 10  # 74 bits of an id


class _Chance:
    """Random bytes, fetched many at a time.

    Each fetch is a system call that gives the interpreter lock away; next to
    the thread that writes records that costs more than the rest of an answer.
    They make ids unique, not secret.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._place = 0
        # Two processes must not go on from the same bytes.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._bytes = b""
        self._place = 0

    def take(self) -> bytes:
        """The next `_CHANCE_BYTES` bytes; none is given twice."""
        place = self._place
        if place >= len(self._bytes):
            self._bytes, place = os.urandom(_CHANCE_BYTES * 512), 0
        self._place = place + _CHANCE_BYTES
        return self._bytes[place : place + _CHANCE_BYTES]


_CHANCE: Final = _Chance()


def new_decision_id(clock_ns: int) -> str:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, 74 of chance.

    The clock is the caller's: ids sort like the records they name. A time
    before 1970 or after 10889 counts as the nearest that can be written.
    """
    milliseconds = min(max(clock_ns // _NS_PER_MS, 0), 2**48 - 1)
    chance = int.from_bytes(_CHANCE.take(), "big")
    number = (
        milliseconds << 80
        | 0x7 << 76
        | (chance >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | chance & 0x3FFF_FFFF_FFFF_FFFF
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
