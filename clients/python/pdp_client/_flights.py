"""Calls that share a conversation: which wait to be sent, which for their answer.

As the core, this knows no clock, no sockets and no event loop: the driver (`_conversation.py`) says
what time it is, what came in and what was told to whom. What calls share is messages. A call that
is slow, refused, cancelled or answered with nonsense changes nothing for another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from pdp.errors import InvalidRequestError
from pdp.v1 import authorization_pb2 as pb
from pdp.wire_batch import join_question, join_together, read_id, split_answers
from pdp_client._core import Call, Outcome, unusable

# As many as a PDP reads of one stream before it has answered one, unless it is told otherwise.
IN_FLIGHT_MAX: Final = 64
# Of one message. A crowd in several messages keeps both sides at work: while answers to one are
# looked at here, the PDP decides the next.
TOGETHER_MAX: Final = 32
# Of one message: what comes together is small, and what is large goes alone.
MESSAGE_BYTES_MAX: Final = 262_144


@dataclass(eq=False, slots=True)
class Flight:
    """One call.

    Attributes:
        call: which.
        tell: takes how it ended. Called once at most.
    """

    call: Call
    tell: Callable[[Outcome], None]


class Flights:
    """The calls of one conversation.

    INVARIANT: a call is in one of two places, by its id, until it is told or forgotten; ids are
    drawn at random for each call, and none is used twice.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Flight] = {}
        self._sent: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def in_flight(self) -> int:
        """Calls that were sent and not answered."""
        return len(self._sent)

    def add(self, flight: Flight) -> None:
        """A call that is to be sent."""
        self._waiting[flight.call.request_id] = flight

    def forget(self, flight: Flight) -> None:
        """It needs no answer any more: its place is free, whatever the PDP does with it."""
        self._waiting.pop(flight.call.request_id, None)
        self._sent.pop(flight.call.request_id, None)

    def next_message(self, now: float) -> bytes | None:
        """What to send now: all that wait, as far as there is room; None: nothing.

        Args:
            now: seconds on the driver's monotonic clock. Each question is sent with what
                is left of its own budget, and one that has nothing left is not sent.
        """
        if len(self._sent) >= IN_FLIGHT_MAX:
            return None
        messages: list[bytes] = []
        size = 0
        for request_id, flight in list(self._waiting.items()):
            left_s = flight.call.deadline - now
            if not left_s > 0:
                continue
            size += len(flight.call.message)
            if len(self._sent) >= IN_FLIGHT_MAX or len(messages) >= TOGETHER_MAX:
                break
            if messages and size > MESSAGE_BYTES_MAX:
                break
            self._sent[request_id] = self._waiting.pop(request_id)
            messages.append(join_question(flight.call.message, left_s))
        if not messages:
            return None
        return messages[0] if len(messages) == 1 else join_together(messages)

    def answered(self, message: bytes) -> list[tuple[Flight, bytes]]:
        """Whose answers these are. What is nobody's is left out.

        That an answer is to a question's very bytes, and all else, is judged by the core.

        Raises:
            Refusal: it is no message of this protocol.
        """
        try:
            answers = split_answers(message)
        except InvalidRequestError:
            raise unusable("the answer is not a message of this protocol") from None
        found = []
        for answer in answers:
            flight = self._owner(answer)
            if flight is not None:
                del self._sent[flight.call.request_id]
                found.append((flight, answer))
        return found

    def _owner(self, answer: bytes) -> Flight | None:
        try:
            request_id = read_id(answer)
        except InvalidRequestError:
            return None
        if request_id:
            return self._sent.get(request_id)
        # The PDP could not read the question's id, and says by digest which one is meant.
        try:
            digest = pb.AuthorizeResponse.FromString(answer).request_digest
        except (DecodeError, UnicodeDecodeError):
            return None
        return next((one for one in self._sent.values() if one.call.digest == digest), None)

    def end(self) -> list[Flight]:
        """All that are left; there are none afterwards."""
        left = [*self._sent.values(), *self._waiting.values()]
        self._sent.clear()
        self._waiting.clear()
        return left
