"""How parent and children talk: a line of JSON for each thing said, over two pipes.

A child reads from standard input and writes to what its standard output was.
Neither side waits for the other: what cannot be written at once is kept, up to
a limit, and then dropped. Everything that matters is said again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

Letter = dict[str, Any]

LINE_BYTES_MAX: Final = 65_536
# What waits in a pipe whose other end does not read.
_WAITING_BYTES_MAX: Final = 262_144


def write_letter(writer: asyncio.WriteTransport, letter: Letter) -> bool:
    """Say something.

    Returns:
        Whether it is on its way; False: nobody reads, or the other end is gone.
    """
    if writer.is_closing() or writer.get_write_buffer_size() > _WAITING_BYTES_MAX:
        return False
    writer.write(json.dumps(letter).encode() + b"\n")
    return True


async def letters(reader: asyncio.StreamReader) -> AsyncIterator[Letter]:
    """What the other side says, until it is gone. What is no letter is left out."""
    while True:
        try:
            line = await reader.readline()
        except (ValueError, ConnectionError):
            # Longer than any letter, or cut off: there is nothing to go on from.
            return
        if not line.endswith(b"\n"):
            return
        try:
            letter = json.loads(line)
        except ValueError:
            continue
        if isinstance(letter, dict):
            yield letter
