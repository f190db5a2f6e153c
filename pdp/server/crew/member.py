"""One child process as its parent sees it, over all its lives."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from pdp.errors import (
    BundleRefusedError,
    ConfigurationError,
    CrewError,
    PdpError,
    SpoolError,
    StateFileError,
)
from pdp.server.crew.letters import LINE_BYTES_MAX, Letter, letters, write_letter
from pdp.server.crew.order import Order, write_order
from pdp.server.crew.restarts import Restarts

# Isolated like this process, and nothing is imported from the folder it happens to be in.
_COMMAND: Final = ("-m", "pdp.server.crew.child")
# Why a child did not start, as the error that a single process would have ended with.
_ERRORS: Final[dict[str, type[PdpError]]] = {
    kind.__name__: kind
    for kind in (BundleRefusedError, ConfigurationError, SpoolError, StateFileError)
}
# The letter that says that a child does what it is for.
_BEGUN: Final = frozenset({"ready", "listening"})


class Member:
    """One child.

    Args:
        order: what it is to be.
        heard: called with what it says.
        started: called with its process id, at each start.

    Attributes:
        order: what it is to be.
        begun: whether it ever did what it is for.
        restarts: its ends.
    """

    def __init__(
        self,
        order: Order,
        heard: Callable[[Member, Letter], None],
        started: Callable[[Member, int], None],
    ) -> None:
        self.order = order
        self.begun = asyncio.Event()
        self.restarts = Restarts()
        self._heard = heard
        self._started = started
        self._process: asyncio.subprocess.Process | None = None
        self._heard_s: float | None = None
        self._failure = ""
        self._failed_with: type[PdpError] = CrewError

    @property
    def error(self) -> PdpError:
        """Why it ended, as it said itself."""
        if not self._failure:
            return CrewError(f"the process `{self.order.name}` ended: its log says why")
        return self._failed_with(self._failure)

    async def live(self) -> int:
        """Start it, hear it, and return its exit code when it has ended.

        Raises:
            OSError: no process can be started.
        """
        self._heard_s, self._failure = None, ""
        isolation = "-I" if sys.flags.isolated else "-P"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            isolation,
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            # What a terminal sends goes to the parent alone, which then tells the others.
            process_group=0,
        )
        self._process = process
        self._started(self, process.pid)
        try:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("pipes were asked for")
            process.stdin.write(write_order(self.order))
            async for letter in letters(process.stdout):
                self._take(letter)
            # It closed its end, or said what is no letter: a child that cannot be heard is none.
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(process.wait(), 5.0)
            self.signal(signal.SIGKILL)
            return await process.wait()
        finally:
            self.signal(signal.SIGKILL)
            self._process = None

    def _take(self, letter: Letter) -> None:
        said = letter.get("say")
        if said == "failed":
            self._failed_with = _ERRORS.get(str(letter.get("kind")), CrewError)
            self._failure = str(letter.get("text"))
            return
        if said in _BEGUN:
            self._heard_s = time.monotonic()
            self.begun.set()
        if self._heard_s is not None:
            self._heard_s = time.monotonic()
        self._heard(self, letter)

    def say(self, **letter: object) -> None:
        """Tell it something, if it is there; never waits."""
        if self._process is not None and self._process.stdin is not None:
            write_letter(self._process.stdin.transport, letter)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def silent_s(self, now_s: float) -> float:
        """For how long it has said nothing, since it began to do what it is for."""
        return 0.0 if self._heard_s is None else now_s - self._heard_s
