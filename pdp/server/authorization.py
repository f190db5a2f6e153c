"""The native gRPC door: it only translates.

Bytes in, bytes out: the handler has no deserialiser, for the answer names the
digest of the request as it was received. What is refused here is counted and
gets an error status and no decision; an error status never means permit.

    1  how long they wait       deadline minus answer reserve
    2  is there too much to do  DENY(OVERLOADED), counted, not recorded
    3  when it is decided       with others, where many come
    4  who is asking            UNAUTHENTICATED
    5  what they ask            INVALID_ARGUMENT
    6  the decision point       a decision, whatever happens
    7  the answer

Who is asking comes before every answer but UNAUTHENTICATED, that of step 2 included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn, Protocol

import grpc
from google.protobuf import wrappers_pb2
from google.protobuf.message import DecodeError

from pdp import wire
from pdp.audit.entry import Received
from pdp.config.settings import Limits
from pdp.decision_point import Clock, DecisionPoint
from pdp.errors import IdentityError, InvalidRequestError
from pdp.identity.svid import SvidVerifier
from pdp.model import Caller, Cause, Effect, deny
from pdp.server.overload import Gate
from pdp.server.pace import Pace
from pdp.telemetry import Telemetry

SERVICE: Final = "pdp.v1.AuthorizationService"
METHOD: Final = "Authorize"
# Status messages travel in a header; gRPC refuses 8 KiB of those by default.
_DETAILS_CHARACTERS_MAX: Final = 500
# A message whose only field is a text with number 1, which is where `AuthorizeRequest` has its
# `request_id`. All other fields are unknown to it, and are skipped and not decoded.
_RequestId: Final = wrappers_pb2.StringValue


class RpcContext(Protocol):
    """What the door needs of `grpc.aio.ServicerContext`."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Properties of the connection's handshake."""
        ...

    def peer(self) -> str:
        """Network address."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""
        ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with an error status. Always raises."""
        ...


class _RefusedError(Exception):
    """The call ends with an error status. Never leaves this module."""

    def __init__(self, code: grpc.StatusCode, label: str, details: str) -> None:
        self.code = code
        self.label = label
        self.details = details
        super().__init__(details)


class AuthorizationDoor:
    """Serves `pdp.v1.AuthorizationService`.

    Args:
        decision_point: what decides.
        verifier: who is asking.
        limits: of messages, requests and deadlines.
        clock: the decision point's.
        telemetry: counters and logs.
    """

    def __init__(
        self,
        decision_point: DecisionPoint,
        verifier: SvidVerifier,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._decision_point = decision_point
        self._verifier = verifier
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._gate = Gate(limits, clock)
        self._pace = Pace()

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a gRPC server registers."""
        method = grpc.unary_unary_rpc_method_handler(self.authorize)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})

    async def authorize(self, message: bytes, context: RpcContext) -> bytes:
        """One call. Cancellation passes through: then no answer is sent."""
        try:
            return await self._authorize(message, context)
        except _RefusedError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 the door failed: an error status, never a permit
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            refusal = _RefusedError(grpc.StatusCode.INTERNAL, "internal", "the server failed")
        self._telemetry.count("refused", refusal.label)
        return await context.abort(refusal.code, refusal.details[:_DETAILS_CHARACTERS_MAX])

    async def _authorize(self, message: bytes, context: RpcContext) -> bytes:
        # (1) Before the work, so that the work counts against it.
        patience_s = self.patience_s(context.time_remaining())
        size = len(message)
        too_long = size > self._limits.message_bytes_max
        # (2) Before any work is done.
        reason = "" if too_long else self._gate.refusal(patience_s, size)
        if too_long or reason:
            # Who is not known hears of nothing else.
            self._caller(context)
            return self._overloaded(message, reason) if reason else self._too_long()
        entered = self._gate.enter(size)
        try:
            # (3) With others, where there are many.
            await self._pace.turn()
            # (4) Before a byte of the message is looked at.
            caller = self._caller(context)
            return await self._decided(message, caller, entered + patience_s)
        finally:
            in_time = self._clock.monotonic() < entered + patience_s
            self._gate.leave(entered, len(message), in_time=in_time)

    def _caller(self, context: RpcContext) -> Caller:
        try:
            return self._verifier.caller(
                context.auth_context(), context.peer(), self._clock.wall_ns()
            )
        except IdentityError as error:
            raise _RefusedError(
                grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", str(error)
            ) from None

    def _too_long(self) -> NoReturn:
        raise _invalid(
            InvalidRequestError("request", f"is longer than {self._limits.message_bytes_max} bytes")
        )

    async def _decided(self, message: bytes, caller: Caller, deadline: float) -> bytes:
        # (5) The message, then its values.
        received = Received(message, hashlib.sha256(message).digest())
        try:
            admitted = wire.admit_message(message, caller, self._limits.input)
        except InvalidRequestError as error:
            raise _invalid(error) from None
        # (6) The rest never raises.
        answer = await self._decision_point.answer(admitted, caller, deadline, received)
        if answer.invalid is not None:
            # What only the bundle can tell: a tenant that this caller may not name. Recorded.
            raise _invalid(answer.invalid)
        # (7) With the digest of what was asked.
        return wire.decision_to_pb(
            answer.decision, admitted.request.request_id, received.digest
        ).SerializeToString()

    def _overloaded(self, message: bytes, reason: str) -> bytes:
        """Deny without looking at the question, but for its id.

        What else is wrong with it is not found: a malformed question may be
        told OVERLOADED. That is a denial too, and cheaper than to find out.
        """
        try:
            request_id = _RequestId.FromString(message).value
        except (DecodeError, UnicodeDecodeError):
            raise _invalid(InvalidRequestError("request", "is not a protobuf message")) from None
        # The answer repeats it: no amplifier.
        if not 0 < len(request_id) <= self._limits.input.name_bytes_max:
            raise _invalid(InvalidRequestError("request_id", "is required, and has a limit"))
        self._telemetry.count("decisions", Effect.DENY.name, Cause.OVERLOADED.name)
        self._telemetry.count("overloaded", reason)
        return wire.decision_to_pb(
            deny(Cause.OVERLOADED), request_id, hashlib.sha256(message).digest()
        ).SerializeToString()

    def patience_s(self, remaining_s: float | None) -> float:
        """Seconds the decision may take: the caller's, bounded, minus the way of the answer.

        Zero or less means that it is too late already: DENY(DEADLINE).
        """
        if remaining_s is None:
            remaining_s = self._limits.deadline_default_s
        return min(remaining_s, self._limits.deadline_max_s) - self._limits.answer_reserve_s


def _invalid(error: InvalidRequestError) -> _RefusedError:
    return _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "invalid", str(error))
