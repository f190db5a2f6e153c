"""Asking a directory: in threads of its own, few of them, and never longer than there is time.

A thread that waits for a database cannot be ended from outside. So there are few,
each driver has a timeout of its own, and one that is still busy is not given to
anybody else: a directory that hangs costs searches, and no decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.records import Entry, Place
from pdp.telemetry import Telemetry

THREADS: Final = 4

T = TypeVar("T")


class Directory(Protocol):
    """What can be asked. Called in threads, several at a time; raises `DirectoryError` only."""

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:
        """The entry of this id, or None: there is none.

        Args:
            place: where.
            name: the id, any text.
            time_s: how long it may take.
        """
        ...

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:
        """The next entries, by the bytes of their ids.

        Args:
            place: where.
            name: the id after which they come; empty: from the first on.
            count: how many at most. INVARIANT: fewer means that there are no more.
            time_s: how long it may take.
        """
        ...

    def check(self) -> None:
        """Look at what is on this machine, as far as something is. Asks no network.

        Raises:
            DirectoryError: it cannot be used.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class DirectoryReader:
    """A directory for an event loop.

    Args:
        directory: what is asked.
        time_max_s: how long one question to it may take, its wait for a thread included.
        telemetry: counts and tells of failures; never their words, which may hold attributes.
    """

    def __init__(self, directory: Directory, time_max_s: float, telemetry: Telemetry) -> None:
        self._directory = directory
        self._time_max_s = time_max_s
        self._telemetry = telemetry
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="directory")
        self._free = asyncio.Semaphore(THREADS)
        self._failing = False

    async def find(self, place: Place, name: str, left_s: float) -> Entry | None:
        """As `Directory.find`, within `left_s` seconds.

        Raises:
            DirectoryError: there is no answer.
        """
        return await self._asked(lambda time_s: self._directory.find(place, name, time_s), left_s)

    async def after(self, place: Place, name: str, count: int, left_s: float) -> list[Entry]:
        """As `Directory.after`, within `left_s` seconds.

        Raises:
            DirectoryError: there is no answer, or one that is not in order.
        """
        found = await self._asked(
            lambda time_s: self._directory.after(place, name, count, time_s), left_s
        )
        if len(found) > count:
            raise self._failed(DirectoryError(Fault.WRONG, "more entries than were asked for"))
        for item in found:
            # INVARIANT: each id is above the one before it, so no page repeats or skips one.
            if item.id <= name:
                raise self._failed(DirectoryError(Fault.WRONG, "entries are not in order"))
            name = item.id
        return found

    async def _asked(self, ask: Callable[[float], T], left_s: float) -> T:
        time_s = min(self._time_max_s, left_s)
        try:
            async with asyncio.timeout(time_s):
                await self._free.acquire()
                asking = asyncio.get_running_loop().run_in_executor(self._threads, ask, time_s)
                # However long the caller waits: the thread is free when it is done.
                asking.add_done_callback(self._done)
                found = await asyncio.shield(asking)
        except TimeoutError:
            raise self._failed(DirectoryError(Fault.SLOW, "no answer in time")) from None
        except DirectoryError as error:
            raise self._failed(error) from None
        except Exception as error:  # noqa: BLE001 whatever a driver raises, there is no answer
            self._telemetry.log("error", "directory_broke", error=type(error).__name__)
            raise self._failed(DirectoryError(Fault.BROKEN, "it failed")) from None
        if self._failing:
            self._failing = False
            self._telemetry.log("info", "directory_answers")
        return found

    def _done(self, asking: asyncio.Future[Any]) -> None:
        self._free.release()
        # Looked at, so that nobody is told of an error that nobody waited for.
        if not asking.cancelled():
            asking.exception()

    def _failed(self, error: DirectoryError) -> DirectoryError:
        self._telemetry.count("directory", error.fault.value)
        if not self._failing:  # the rest of a row would be a line for each search
            self._failing = True
            self._telemetry.log("warning", "directory_failed", reason=str(error))
        return error

    def close(self) -> None:
        """Wait for nobody: a thread that hangs ends with its driver's timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._directory.close()
