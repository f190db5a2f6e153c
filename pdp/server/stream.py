"""The native gRPC door for conversations: many questions in flight on one stream.

Each question is asked as if it came alone (`pdp.server.authorization`): who asks is
worked out again, it has a deadline of its own, it goes through the same gate, and
its answer leaves when it is there. What is particular to a stream:

- so many questions are in flight at once; the next is not read before one of
  them is answered, and gRPC's flow control tells the client;
- a question that would be refused gets the answer DENY(INVALID), for a status
  would end the conversation; so does one whose id is in flight already;
- questions may come together in one message. That is all they have in common;
  from then on answers that are there at the same time leave in one message, too;
- a caller that is not believed any longer, or does not read its answers, is
  shown the door: the conversation ends, and with it all that is in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import grpc

from pdp import wire, wire_batch
from pdp.errors import InvalidRequestError
from pdp.model import Cause, Decision, deny
from pdp.server.authorization import AuthorizationDoor, RefusedError, RpcContext
from pdp.telemetry import Telemetry

METHOD: Final = "AuthorizeStream"
# Questions of one message. They wait for their places, as if each had come alone.
TOGETHER_MAX: Final = 1_000
# Decided in a row, so that the event loop is not held for long (as `pdp.server.pace` has it).
_ROW: Final = 32
# Of one message, where answers may leave together.
_ANSWERS_BYTES_MAX: Final = 262_144


class StreamContext(RpcContext, Protocol):
    """What the door needs of a stream's `grpc.aio.ServicerContext`."""

    async def read(self) -> object:
        """The next message, or `grpc.aio.EOF`."""
        ...

    async def write(self, message: bytes) -> None:
        """Send; returns when flow control has let it through."""
        ...


class StreamDoor:
    """Serves `AuthorizeStream`.

    Args:
        door: for single questions.
        telemetry: counters and logs.
    """

    def __init__(self, door: AuthorizationDoor, telemetry: Telemetry) -> None:
        self._door = door
        self._telemetry = telemetry
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Take no more questions; those in flight are answered, then conversations end."""
        self._draining.set()

    async def authorize_stream(self, _: object, context: StreamContext) -> None:
        """One conversation. Cancellation passes through, and ends all that is in flight."""
        await self._door.guarded(self._converse(context), context)

    async def _converse(self, context: StreamContext) -> None:
        # Who is not known does not get to ask.
        self._door.caller(context)
        conversation = _Conversation(self._door, _Connection(context), self._telemetry)
        drained = False
        try:
            async with asyncio.TaskGroup() as sending:
                sending.create_task(conversation.send_all())
                async with asyncio.TaskGroup() as questions:
                    drained = await self._take_all(context, conversation, questions)
                conversation.end()
        except BaseExceptionGroup as group:
            # The first says why; the others were ended by it.
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        if drained:
            raise RefusedError(
                grpc.StatusCode.UNAVAILABLE,
                "draining",
                "the server is stopping; what was not answered was not taken: ask another one",
            )

    async def _take_all(
        self, context: StreamContext, conversation: _Conversation, questions: asyncio.TaskGroup
    ) -> bool:
        """Take questions until the client has no more; True: until the server stops."""
        draining = asyncio.create_task(self._draining.wait())
        reading: asyncio.Task[object] | None = None
        try:
            while True:
                await conversation.places.acquire()
                reading = asyncio.create_task(_read(context))
                await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    return True
                message = reading.result()
                if not isinstance(message, bytes):
                    return False
                for number, one in enumerate(conversation.taken(message), 1):
                    # The place of the first was there before it was read.
                    if one is not message:
                        await conversation.places.acquire()
                    questions.create_task(conversation.answer(one, gathered=one is not message))
                    if not number % _ROW:
                        await asyncio.sleep(0)
        finally:
            draining.cancel()
            if reading is not None:
                reading.cancel()


async def _read(context: StreamContext) -> object:
    return await context.read()


class _Connection:
    """A stream, whose handshake is asked about once: what it brought stays what it is."""

    def __init__(self, context: StreamContext) -> None:
        self.read, self.write, self.abort = context.read, context.write, context.abort
        self.time_remaining = context.time_remaining
        self._properties, self._peer = context.auth_context(), context.peer()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Properties of the connection's handshake."""
        return self._properties

    def peer(self) -> str:
        """Network address."""
        return self._peer


class _Conversation:
    """One stream's questions in flight.

    Attributes:
        places: one for each question that may be in flight; acquired by who reads.
    """

    def __init__(
        self, door: AuthorizationDoor, context: StreamContext, telemetry: Telemetry
    ) -> None:
        self.places = asyncio.Semaphore(door.limits.stream_in_flight_max)
        self._door = door
        self._context = context
        self._telemetry = telemetry
        self._in_flight: set[str] = set()
        self._together = False
        self._ready: deque[bytes] = deque()
        self._something = asyncio.Event()
        self._ended = False

    def taken(self, message: bytes) -> Iterator[bytes]:
        """The questions of a message, for each of which there must be a place: one, or several."""
        limits, several = self._door.limits, []
        # Before a byte of it is looked at.
        self._door.caller(self._context)
        if len(message) <= limits.message_bytes_max:
            with contextlib.suppress(InvalidRequestError):  # as one question, it is told why
                several = wire_batch.split_together(message, TOGETHER_MAX)
        if not several:
            yield message
            return
        self._together = True
        # The place that was there for the message.
        self.places.release()
        yield from several

    async def answer(self, message: bytes, *, gathered: bool) -> None:
        """Answer one question, whatever it is. Its place is free once its answer is sent.

        Args:
            message: an `AuthorizeStreamRequest` of one question.
            gathered: whether it came together with others.

        Raises:
            RefusedError: the conversation ends.
        """
        answer = await self._answered(message, gathered=gathered)
        # Who does not read holds memory here, and not for long.
        self._door.gate.hold(len(answer))
        self._ready.append(answer)
        self._something.set()

    def end(self) -> None:
        """There will be no more answers."""
        self._ended = True
        self._something.set()

    async def send_all(self) -> None:
        """Send what is ready until the end.

        Raises:
            RefusedError: the conversation ends.
        """
        try:
            while self._ready or not self._ended:
                await self._something.wait()
                self._something.clear()
                while self._ready:
                    await self._send(self._next())
        finally:
            for answer in self._ready:
                self._door.gate.release(len(answer))

    def _next(self) -> list[bytes]:
        answers, size = [self._ready.popleft()], 0
        while self._together and self._ready:
            size += len(answers[-1])
            if size + len(self._ready[0]) > _ANSWERS_BYTES_MAX:
                break
            answers.append(self._ready.popleft())
        return answers

    async def _answered(self, message: bytes, *, gathered: bool) -> bytes:
        # Before a byte of it is looked at.
        if not gathered:
            self._door.caller(self._context)
        request_id, question = "", message
        try:
            if len(message) > self._door.limits.message_bytes_max:
                self._door.too_long()
            question, timeout_s = wire_batch.split_question(message)
            request_id = wire_batch.read_name(question, self._door.limits.input.name_bytes_max)
            if request_id in self._in_flight:
                raise InvalidRequestError("request_id", "is that of a question in flight")  # noqa: TRY301
            return await self._asked(request_id, question, timeout_s, gathered=gathered)
        except InvalidRequestError as error:
            return self._denied(request_id, question, str(error))
        except RefusedError as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return self._denied(request_id, question, error.details)

    async def _asked(
        self, request_id: str, question: bytes, timeout_s: float | None, *, gathered: bool
    ) -> bytes:
        self._in_flight.add(request_id)
        try:
            if timeout_s is None:
                timeout_s = self._door.limits.deadline_default_s
            # The stream's own end bounds every question.
            remaining_s = self._context.time_remaining()
            least_s = timeout_s if remaining_s is None else min(timeout_s, remaining_s)
            patience_s = self._door.patience_s(least_s)
            return await self._door.asked(question, self._context, patience_s, gathered=gathered)
        except RefusedError:
            raise
        except Exception as error:  # noqa: BLE001 one question failed: its answer is DENY
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            self._telemetry.count("refused", "internal")
            return _told(deny(Cause.INTERNAL), request_id, question, "")
        finally:
            self._in_flight.discard(request_id)

    def _denied(self, request_id: str, question: bytes, wrong: str) -> bytes:
        self._telemetry.count("refused", "invalid")
        return _told(deny(Cause.INVALID), request_id, question, wrong)

    async def _send(self, answers: list[bytes]) -> None:
        try:
            async with asyncio.timeout(self._door.limits.deadline_max_s):
                await self._context.write(wire_batch.join_answers(answers))
        except TimeoutError:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "unread", "the answers are not read"
            ) from None
        finally:
            for answer in answers:
                self._door.gate.release(len(answer))
                self.places.release()


def _told(decision: Decision, request_id: str, question: bytes, wrong: str) -> bytes:
    digest = hashlib.sha256(question).digest()
    return wire.decision_to_pb(decision, request_id, digest, wrong).SerializeToString()
