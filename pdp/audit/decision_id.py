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
    chance = _CHANCE.take()
    # Two bits say which variant of UUID it is; digit for digit this is quicker than as one number.
    variant = 0x8000 | int.from_bytes(chance[:2], "big") & 0x3FFF
    digits = chance[2:].hex()
    when = f"{milliseconds:012x}"
    return f"{when[:8]}-{when[8:]}-7{digits[:3]}-{variant:04x}-{digits[4:]}"
