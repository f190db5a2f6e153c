"""Many calls over one `AuthorizeStream`, for asyncio: what is asked at once shares a message.

Which call gets what is decided in `_flights.py`, what an answer is worth in `_core.py`. This waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import grpc

from pdp_client._core import Call, Outcome, Refusal, Status
from pdp_client._endpoint import ended, number, spent
from pdp_client._flights import Flight, Flights
from pdp_client._lines import Line

# A PDP ends connections that have become old, and gives what goes over them some seconds. It does
# not say so to a stream; so none lasts longer than that, and the next one finds a new connection,
# and new certificates.
AGE_S_MAX: Final = 1.0


class Conversation:
    """One stream, from its first question to its end. There is no second one in it.

    Args:
        line: what it goes over.
        stream: the call of `AuthorizeStream`.
        over: called when it has ended, and nobody waits for it any more.
    """

    def __init__(self, line: Line, stream: Any, over: Callable[[], None]) -> None:
        self.line = line
        self._stream = stream
        self._over = over
        self._flights = Flights()
        self._something = asyncio.Event()
        self._retired = False
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._run())

    @property
    def takes_questions(self) -> bool:
        """Whether it has neither ended nor been retired, and is not too old."""
        young = time.monotonic() - self._began < AGE_S_MAX
        return young and not self._retired and not self._task.done()

    async def ask(self, call: Call) -> Outcome:
        """How the call ended: an answer, its own deadline, or the end of the conversation.

        Cancelling frees its place at once.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()

        def tell(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        flight = Flight(call, tell)
        self._flights.add(flight)
        self._something.set()
        left_s = call.deadline - time.monotonic()
        timer = loop.call_later(left_s, lambda: tell(spent()))
        try:
            return await future
        finally:
            timer.cancel()
            self._flights.forget(flight)
            # There may be room for one that waits.
            self._something.set()

    def retire(self) -> None:
        """No more questions come; it ends when the last that is there has been told."""
        self._retired = True
        self._something.set()

    async def close(self) -> None:
        """End it now: whoever waits for an answer is told."""
        self._task.cancel()
        await asyncio.wait((self._task,))
        # A task that is cancelled before its first step takes none, not even the last.
        self._end(ended(Status.CANCELLED, detail="the client is closed"))

    async def _run(self) -> None:
        outcome = ended(Status.CANCELLED, detail="the client is closed")
        sending = asyncio.create_task(self._send())
        try:
            outcome = await self._read()
        except Refusal as refusal:
            # It ended well and brought no answer: that is what the core calls unusable.
            outcome = ended(Status.OK, None, refusal.reason)
        except Exception as error:  # noqa: BLE001 whatever broke, whoever waits is denied
            outcome = ended(Status.INTERNAL, detail=f"unexpected {type(error).__name__}")
        finally:
            sending.cancel()
            self._stream.cancel()
            self._end(outcome)
            self._over()

    def _end(self, outcome: Outcome) -> None:
        # One end is one failure, however many waited: the first of them says so to the breaker.
        for place, flight in enumerate(self._flights.end()):
            flight.tell(replace(outcome, said=place > 0))

    async def _read(self) -> Outcome:
        while isinstance(message := await self._next(), bytes):
            for flight, answer in self._flights.answered(message):
                flight.tell(ended(Status.OK, answer))
            self._something.set()
        # The status says in words what the exception of a read does not.
        code = number(await self._stream.code())
        detail, trailing = await self._stream.details(), await self._stream.trailing_metadata()
        return ended(code, None, detail, trailing)

    async def _next(self) -> object:
        try:
            return await self._stream.read()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return None
        except asyncio.CancelledError:
            # The channel was closed meanwhile, or this task is being cancelled.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return None

    async def _send(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            # Whoever asks in this turn of the event loop is still to come.
            await asyncio.sleep(0)
            if self._retired and not len(self._flights):
                self._stream.cancel()
                return
            while (message := self._flights.next_message(time.monotonic())) is not None:
                try:
                    await self._stream.write(message)
                except (grpc.RpcError, asyncio.InvalidStateError):
                    return  # it has ended, and the reader says why
