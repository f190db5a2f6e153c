"""A child's two pipes to its parent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Self

from pdp.server.crew.letters import LINE_BYTES_MAX, Letter, letters, write_letter


class ParentLink:
    """The pipes to the parent, on an event loop. Use `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, output: int) -> Self:
        """Take standard input, and this descriptor."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(LINE_BYTES_MAX)
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", closefd=False)
        )
        writer, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(output, "wb"))
        return cls(reader, writer)

    def say(self, **letter: object) -> None:
        """Tell the parent something; never waits."""
        write_letter(self._writer, letter)

    async def hear(self, act: Callable[[Letter], None]) -> None:
        """Act on what the parent says, as long as there is one."""
        async for letter in letters(self._reader):
            act(letter)
        # Nobody is there any more to start, switch or end this process.
        os._exit(1)
