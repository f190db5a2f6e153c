"""How what happens gets to a screen: through one thread, so that nobody waits for a terminal.

A terminal can be stopped (Ctrl-S) and a pipe can be full. Decisions beyond
what waits are counted, everything else is kept: there is little of it.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pdp.config.settings import Address
from pdp.dev.cast import Cast
from pdp.dev.decisions import DecisionSeen
from pdp.dev.workbench import Report

_DECISIONS_WAITING_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Started:
    """There are answers.

    Attributes:
        cast: who may ask.
        certificates: certificate of each role of the cast, in its order.
        program: the first question, as a program, which also is in `folder`.
    """

    address: Address
    folder: Path
    kept: bool
    cast: Cast
    certificates: tuple[Path, ...]
    program_path: Path
    program: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong that no author can mend by saving; the command goes on."""

    words: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Decisions that were not shown."""

    count: int


News = Started | Report | DecisionSeen | Trouble | Dropped


class NewsDesk:
    """Takes news from any thread and shows them in order, in a thread of its own.

    Args:
        show: called in that thread. If the screen is gone, the command ends.
    """

    def __init__(self, show: Callable[[News], None]) -> None:
        self._show = show
        self._waiting: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.put(None)
        # A screen that takes nothing must not keep the command from ending.
        self._thread.join(2.0)

    def tell(self, news: News) -> None:
        """Never blocks, never raises."""
        if isinstance(news, DecisionSeen):
            if self._waiting.qsize() >= _DECISIONS_WAITING_MAX:
                self._dropped += 1
                return
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._waiting.put(Dropped(dropped))
        self._waiting.put(news)

    def _run(self) -> None:
        try:
            while (news := self._waiting.get()) is not None:
                self._show(news)
        except (OSError, SystemExit):
            # The other end of a pipe is gone, `pdp dev … | head`; rich says so by SystemExit.
            os.kill(os.getpid(), signal.SIGTERM)
