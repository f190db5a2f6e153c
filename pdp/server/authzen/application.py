"""One HTTP request in steps; an ASGI application.

    1  who is asking            401; who is not known hears of nothing else
    2  what they want           404, 405; a page is an answer already
    3  the body                 400, with bounds of size and time
    4  is there too much to do  DENY(OVERLOADED), counted, not recorded
    5  when it is decided       with others, where many come
    6  what they ask            400
    7  the decision point       a decision, whatever happens

A denial is status 200 with `"decision": false`. Any other status means that there is no
decision, and never a permit. What the door refuses is counted; the words of an unexpected
error go nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from pdp import boundary
from pdp.batch import Batch, BatchDecisionPoint
from pdp.config.settings import Limits
from pdp.decision_point import Clock
from pdp.errors import IdentityError, InvalidRequestError
from pdp.identity.svid import SvidVerifier
from pdp.model import Caller, Cause, Effect, deny
from pdp.server.authzen.connection import HEADER_BYTES_MAX, STATE, Peer
from pdp.server.authzen.evaluations import admit_item, answers, check_request_id, evaluations
from pdp.server.authzen.messages import JSON, Json, answer, failure, parse_body, question, render
from pdp.server.authzen.pages import EVALUATION, EVALUATIONS, Offer
from pdp.server.batch import QUESTION_WEIGHT
from pdp.server.overload import Gate
from pdp.server.pace import Pace
from pdp.telemetry import Telemetry

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID: Final = b"x-request-id"
# For reading and writing what the deadline of a decision does not cover.
_WHOLE_CALL_MARGIN_S: Final = 1.0
# Items admitted in a row, so that the event loop is not held for long.
_ROW: Final = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back.

    Attributes:
        status: of HTTP.
        body: JSON.
        headers: beyond those that every reply has.
        close: whether the connection ends with it.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


class _RefusedError(Exception):
    """The call ends without a decision. Never leaves this module."""

    def __init__(
        self,
        status: HTTPStatus,
        label: str,
        message: str,
        header: tuple[bytes, bytes] | None = None,
        *,
        close: bool = False,
    ) -> None:
        self.label = label
        body = render(failure(status.value, message))
        self.reply = Reply(status.value, body, () if header is None else (header,), close)
        super().__init__(message)


class _GoneError(Exception):
    """Whoever asked has hung up."""


class AuthzenDoor:
    """Serves AuthZEN.

    Args:
        decision_point: what decides.
        verifier: who is asking.
        gate: how much is taken on at once, through all doors.
        pace: when it is decided, likewise.
        limits: of bodies, requests and deadlines.
        clock: the decision point's.
        telemetry: counters and logs.
        offer: what is served where.

    Attributes:
        draining: whether clients are told, with each answer, to come back over another connection.
    """

    def __init__(
        self,
        decision_point: BatchDecisionPoint,
        verifier: SvidVerifier,
        gate: Gate,
        pace: Pace,
        *,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
        offer: Offer,
    ) -> None:
        self.draining = False
        self._decision_point = decision_point
        self._verifier = verifier
        self._gate = gate
        self._pace = pace
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._pages = {path.encode(): page for path, page in offer.pages.items()}
        self._evaluation = (offer.prefix + EVALUATION).encode()
        self._asked = {
            self._evaluation: self._decide_one,
            (offer.prefix + EVALUATIONS).encode(): self._decide_many,
        }
        # Bodies that are being read, and as long as they say they are.
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Only HTTP comes here: the listener has lifespan and WebSockets off."""
        try:
            async with asyncio.timeout(self._limits.deadline_max_s + _WHOLE_CALL_MARGIN_S):
                reply = await self._replied(scope, receive)
                await self._send(reply, _request_ids(scope)[:1], send)
        except _GoneError:
            self._telemetry.count("refused", "gone")

    async def _send(self, reply: Reply, request_ids: list[bytes], send: Send) -> None:
        headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(reply.body)).encode()),
            (b"date", formatdate(self._clock.wall_ns() / 1e9, usegmt=True).encode()),
            # An answer is about one moment.
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *reply.headers,
            *((REQUEST_ID, value) for value in request_ids),
        ]
        if reply.close or self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _replied(self, scope: Scope, receive: Receive) -> Reply:
        try:
            return await self._reply(scope, receive)
        except _RefusedError as error:
            refusal = error
        except InvalidRequestError as error:
            refusal = _RefusedError(HTTPStatus.BAD_REQUEST, "invalid", str(error))
        except _GoneError:
            raise
        except Exception as error:  # noqa: BLE001 the door failed: an error status, never a permit
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            refusal = _RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed", close=True
            )
        self._telemetry.count("refused", refusal.label)
        return refusal.reply

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        entered = self._clock.monotonic()
        # (1) Before anything else of the request is looked at.
        caller = self._caller(scope)
        _check_head(scope)
        # (2) Byte by byte: nothing is decoded, so nothing is decoded differently elsewhere.
        path = scope["raw_path"]
        page = self._pages.get(path)
        if page is not None:
            self._check_method(scope, "GET")
            return Reply(HTTPStatus.OK, page)
        decided = self._asked.get(path)
        if decided is None:
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, "unknown", "there is nothing at this path: see the metadata"
            )
        self._check_method(scope, "POST")
        request_id = _request_id(scope)
        # (3) Its size is bounded before it comes.
        data = await self._body(scope, receive)
        deadline = entered + self._limits.deadline_default_s - self._limits.answer_reserve_s
        # (4) Before any work is done.
        single = path == self._evaluation
        weight = len(data) if single else self._weight(len(data))
        if reason := self._gate.refusal(deadline - self._clock.monotonic(), weight):
            return self._overloaded(reason, single=single)
        began = self._gate.enter(weight)
        try:
            if single:
                # (5) With others, where there are many; a batch is a row of its own.
                await self._pace.turn()
            return await decided(data, request_id, caller, deadline)
        finally:
            in_time = self._clock.monotonic() < deadline
            self._gate.leave(began, weight, in_time=in_time, single=single)

    def _weight(self, size: int) -> int:
        """What a batch counts for among the bytes in flight, as through the other door."""
        return size + QUESTION_WEIGHT * min(self._limits.batch_items_max, size)

    def _overloaded(self, reason: str, *, single: bool) -> Reply:
        """Deny without looking at the question; how many there are, nobody has counted."""
        self._telemetry.count("overloaded", reason)
        if not single:
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", "more is asked than can be answered in time"
            )
        self._telemetry.count("decisions", Effect.DENY.name, Cause.OVERLOADED.name)
        return Reply(HTTPStatus.OK, render(answer(deny(Cause.OVERLOADED))))

    async def _decide_one(
        self, data: bytes, request_id: str, caller: Caller, deadline: float
    ) -> Reply:
        return await self._answered(parse_body(data), request_id, caller, deadline)

    async def _decide_many(
        self, data: bytes, request_id: str, caller: Caller, deadline: float
    ) -> Reply:
        limits = self._limits
        message = parse_body(data)
        asked = evaluations(message, len(data), limits.batch_items_max, limits.message_bytes_max)
        if asked is None:
            return await self._answered(message, request_id, caller, deadline)
        check_request_id(request_id, limits.input)
        questions = []
        for number, item in enumerate(asked.items):
            questions.append(admit_item(item, number, caller, limits.input))
            if not len(questions) % _ROW:
                await asyncio.sleep(0)
        batch = Batch(request_id, asked.semantic, questions)
        found = await self._decision_point.answer_batch(batch, caller, deadline)
        return Reply(HTTPStatus.OK, render(answers(found, asked.semantic)))

    async def _answered(
        self, message: Json, request_id: str, caller: Caller, deadline: float
    ) -> Reply:
        # (6) The message, then its values.
        asked = question(message, request_id)
        admitted = boundary.admit(asked, caller, self._limits.input)
        # (7) The rest never raises.
        found = await self._decision_point.answer(admitted, caller, deadline)
        if found.invalid is not None:
            # What only the bundle can tell: a caller of several tenants. Recorded.
            raise found.invalid
        return Reply(HTTPStatus.OK, render(answer(found.decision)))

    def _caller(self, scope: Scope) -> Caller:
        try:
            peer: Peer = scope["state"][STATE]
            return self._verifier.caller(peer.auth_context, peer.address, self._clock.wall_ns())
        except IdentityError as error:
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "unauthenticated",
                str(error),
                # What is wanted is no header: a certificate.
                (b"www-authenticate", b"X509-SVID"),
            ) from None

    def _check_method(self, scope: Scope, method: str) -> None:
        if scope["method"] != method:
            raise _RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "unknown",
                f"only {method} is answered here",
                (b"allow", method.encode()),
                close=True,
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of it, at most `message_bytes_max`.

        A refusal here ends the connection: what is left of the body is not read.
        """
        bytes_max = self._limits.message_bytes_max
        expected = _declared(scope, bytes_max)
        if self._arriving + expected > self._limits.bytes_in_flight_max:
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too much is arriving at once", close=True
            )
        self._arriving += expected
        try:
            async with asyncio.timeout(self._limits.deadline_max_s):
                return await _read(receive, bytes_max)
        except TimeoutError:
            raise _invalid(f"took longer than {self._limits.deadline_max_s:g} s") from None
        finally:
            self._arriving -= expected


def _check_head(scope: Scope) -> None:
    """Bound what comes before the body; h11 bounds only what has not come to its end.

    Raises:
        _RefusedError: it is longer.
    """
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES_MAX:
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST,
            "invalid",
            f"the headers are longer than {HEADER_BYTES_MAX} bytes",
            close=True,
        )


async def _read(receive: Receive, bytes_max: int) -> bytes:
    data = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        data += message["body"]
        if len(data) > bytes_max:
            raise _invalid(f"is longer than {bytes_max} bytes")
        more = message["more_body"]
    return bytes(data)


def _declared(scope: Scope, bytes_max: int) -> int:
    """Bytes of the body, as it says, or as many as there may be.

    Raises:
        _RefusedError: more than there may be, or not JSON as it is.
    """
    headers = scope["headers"]
    kinds = [value for name, value in headers if name == b"content-type"]
    kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind != JSON:
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST, "invalid", f"`content-type` must be `{JSON}`", close=True
        )
    if any(name == b"content-encoding" for name, _ in headers):
        # A question is small; what unpacks to much is never unpacked.
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST, "invalid", "`content-encoding` is not supported", close=True
        )
    # h11 has checked that there is at most one and that it is a number.
    lengths = [int(value) for name, value in headers if name == b"content-length"]
    expected = lengths[0] if lengths else bytes_max
    if expected > bytes_max:
        raise _invalid(f"is longer than {bytes_max} bytes")
    return expected


def _invalid(reason: str) -> _RefusedError:
    error = InvalidRequestError("body", reason)
    return _RefusedError(HTTPStatus.BAD_REQUEST, "invalid", str(error), close=True)


def _request_ids(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == REQUEST_ID]


def _request_id(scope: Scope) -> str:
    """For the record; empty if there is none. It goes back as it came in either case.

    Raises:
        _RefusedError: there are two.
    """
    found = _request_ids(scope)
    if len(found) > 1:
        raise _RefusedError(
            HTTPStatus.BAD_REQUEST, "invalid", "`x-request-id` was sent twice", close=True
        )
    return found[0].decode("latin-1") if found else ""
