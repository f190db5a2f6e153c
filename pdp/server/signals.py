"""What a process was told by signals: to stop, kindly or at once."""

from __future__ import annotations

import asyncio
import signal


class Signals:
    """What the process was told. Make it on the event loop.

    Attributes:
        first: set by the first signal.
        second: set by the second.
        kindly: whether the first was SIGTERM, which somebody who balances load sends.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.kindly = False
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)

    def _received(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self.second.set()
        else:
            self.kindly = number == signal.SIGTERM
            self.first.set()
