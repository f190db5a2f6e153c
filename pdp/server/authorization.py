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

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from pdp import wire
from pdp.audit.entry import Received
from pdp.config.settings import Limits
from pdp.decision_point import Clock, DecisionPoint
from pdp.errors import IdentityError, InvalidRequestError, OwnIdentityError
from pdp.identity.svid import SvidVerifier
from pdp.interning import Interner
from pdp.model import Caller, Cause, Effect, deny
from pdp.server.overload import Gate
from pdp.server.pace import Pace
from pdp.telemetry import Headers, Telemetry
from pdp.wire_batch import read_id

SERVICE: Final = "pdp.v1.AuthorizationService"
METHOD: Final = "Authorize"
# Status messages travel in a header; gRPC refuses 8 KiB of those by default.
_DETAILS_CHARACTERS_MAX: Final = 500


Trailer = tuple[tuple[str, str | bytes], ...]
_Done = TypeVar("_Done")


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

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Trailer
    ) -> NoReturn:
        """End the call with an error status. Always raises."""
        ...


class RefusedError(Exception):
    """The call ends with an error status. Never leaves the doors."""

    def __init__(
        self,
        code: grpc.StatusCode,
        label: str,
        details: str,
        wrong: InvalidRequestError | None = None,
    ) -> None:
        self.code = code
        self.wrong = wrong
        self.label = label
        self.details = details
        super().__init__(details)


class AuthorizationDoor:
    """Serves `Authorize`.

    Args:
        decision_point: what decides.
        verifier: who is asking.
        limits: of messages, requests and deadlines.
        clock: the decision point's.
        telemetry: counters and logs.

    Attributes:
        limits: as given.
        gate: how much is taken on at once, by all doors of this server.
        pace: when a question is decided, likewise.
        interner: admits what is asked, likewise.
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
        self.limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self.gate = Gate(limits, clock)
        self.pace = Pace()
        self.interner = Interner(limits.input)

    async def authorize(self, message: bytes, context: RpcContext) -> bytes:
        """One call. Cancellation passes through: then no answer is sent."""
        return await self.guarded(self._authorize(message, context), context)

    async def guarded(self, call: Coroutine[Any, Any, _Done], context: RpcContext) -> _Done:
        """The answer of a call, or its error status."""
        try:
            return await call
        except RefusedError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 the door failed: an error status, never a permit
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            refusal = RefusedError(grpc.StatusCode.INTERNAL, "internal", "the server failed")
        self._telemetry.count("refused", refusal.label)
        details = refusal.details[:_DETAILS_CHARACTERS_MAX]
        return await context.abort(refusal.code, details, _rich(refusal, details))

    async def _authorize(self, message: bytes, context: RpcContext) -> bytes:
        # (1) Before the work, so that the work counts against it.
        return await self.asked(message, context, self.patience_s(context.time_remaining()))

    async def traced(
        self, kind: str, context: RpcContext, call: Coroutine[Any, Any, _Done]
    ) -> _Done:
        """The answer of a call, in a span if anybody wants spans."""
        tracing = self._telemetry.tracing
        if tracing is None:
            return await call
        # Only grpcio's own contexts have metadata.
        metadata: Headers = getattr(context, "invocation_metadata", tuple)() or ()
        with tracing.call(kind, metadata):
            return await call

    async def asked(
        self, message: bytes, context: RpcContext, patience_s: float, *, gathered: bool = False
    ) -> bytes:
        """The answer to one question, by steps 2 to 7.

        Args:
            message: the question.
            context: of the call that it came in.
            patience_s: how long the answer may take.
            gathered: whether it came with others already, so that nothing is gained by waiting.

        Raises:
            RefusedError: there is no answer.
        """
        call = self._asked(message, context, patience_s, gathered=gathered)
        if self._telemetry.tracing is None:
            return await call
        return await self.traced("authorize", context, call)

    async def _asked(
        self, message: bytes, context: RpcContext, patience_s: float, *, gathered: bool
    ) -> bytes:
        size = len(message)
        too_long = size > self.limits.message_bytes_max
        # (2) Before any work is done.
        reason = "" if too_long else self.gate.refusal(patience_s, size)
        if too_long or reason:
            # Who is not known hears of nothing else.
            self.caller(context)
            return self._overloaded(message, reason) if reason else self.too_long()
        entered = self.gate.enter(size)
        try:
            # (3) With others, where there are many.
            # Others that came with it are let in first, so that none of them waits at the gate.
            await (asyncio.sleep(0) if gathered else self.pace.turn())
            # (4) Before a byte of the message is looked at.
            caller = self.caller(context)
            return await self._decided(message, caller, entered + patience_s)
        finally:
            in_time = self._clock.monotonic() < entered + patience_s
            self.gate.leave(entered, len(message), in_time=in_time)

    def caller(self, context: RpcContext) -> Caller:
        """Who is asking, by the certificate of this connection and by what is believed now.

        Raises:
            RefusedError: UNAUTHENTICATED; UNAVAILABLE where the fault is ours.
        """
        try:
            return self._verifier.caller(
                context.auth_context(), context.peer(), self._clock.wall_ns()
            )
        except OwnIdentityError as error:
            # No fault of the caller's: it asks another server, or this one later.
            raise RefusedError(grpc.StatusCode.UNAVAILABLE, "identity_ended", str(error)) from None
        except IdentityError as error:
            raise RefusedError(
                grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", str(error)
            ) from None

    def too_long(self) -> NoReturn:
        """Refuse a message for its length."""
        raise invalid(
            InvalidRequestError("request", f"is longer than {self.limits.message_bytes_max} bytes")
        )

    async def _decided(self, message: bytes, caller: Caller, deadline: float) -> bytes:
        # (5) The message, then its values.
        received = Received(message)
        try:
            admitted = self.interner.admit(message, caller)
        except InvalidRequestError as error:
            raise invalid(error) from None
        # (6) The rest never raises.
        answer = await self._decision_point.answer(admitted, caller, deadline, received)
        if answer.invalid is not None:
            # What only the bundle can tell: a tenant that this caller may not name. Recorded.
            raise invalid(answer.invalid)
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
            request_id = read_id(message)
        except InvalidRequestError as error:
            raise invalid(error) from None
        # The answer repeats it: no amplifier.
        if not 0 < len(request_id) <= self.limits.input.name_bytes_max:
            raise invalid(InvalidRequestError("request_id", "is required, and has a limit"))
        self.count_overloaded(reason)
        return wire.decision_to_pb(
            deny(Cause.OVERLOADED), request_id, hashlib.sha256(message).digest()
        ).SerializeToString()

    def count_overloaded(self, reason: str) -> None:
        """One denial for OVERLOADED."""
        self._telemetry.count("decisions", Effect.DENY.name, Cause.OVERLOADED.name)
        self._telemetry.count("overloaded", reason)

    def patience_s(self, remaining_s: float | None) -> float:
        """Seconds the decision may take: the caller's, bounded, minus the way of the answer.

        Zero or less means that it is too late already: DENY(DEADLINE).
        """
        if remaining_s is None:
            remaining_s = self.limits.deadline_default_s
        return min(remaining_s, self.limits.deadline_max_s) - self.limits.answer_reserve_s


def invalid(error: InvalidRequestError) -> RefusedError:
    """The status for what is wrong with a message."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "invalid", str(error), error)


def _rich(refusal: RefusedError, details: str) -> Trailer:
    """What is wrong with a message, for programs: `google.rpc.BadRequest` with the field's path."""
    if refusal.wrong is None:
        return ()
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=refusal.wrong.field[:_DETAILS_CHARACTERS_MAX],
        description=refusal.wrong.reason[:_DETAILS_CHARACTERS_MAX],
    )
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=details)
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return rpc_status.to_status(status).trailing_metadata
