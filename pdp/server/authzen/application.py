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
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from pdp import boundary
from pdp.batch import Batch
from pdp.config.settings import Limits
from pdp.decision_point import Clock
from pdp.errors import IdentityError, InvalidRequestError, OwnIdentityError
from pdp.identity.svid import SvidVerifier
from pdp.model import Caller, Cause, Effect, deny
from pdp.search import SearchDecisionPoint
from pdp.search_query import Searched
from pdp.server.authzen.connection import STATE, Peer
from pdp.server.authzen.evaluations import admit_item, answers, check_request_id, evaluations
from pdp.server.authzen.head import (
    REQUEST_ID,
    Head,
    Scope,
    all_of,
    check_size,
    declared,
    read_head,
    split_path,
)
from pdp.server.authzen.messages import JSON, Json, answer, parse_body, question, render
from pdp.server.authzen.pages import EVALUATION, EVALUATIONS, METADATA, Offer
from pdp.server.authzen.replies import GoneError, RefusedError, Reply, bad_body
from pdp.server.authzen.searches import KINDS, query
from pdp.server.authzen.searches import reply as search_reply
from pdp.server.batch import QUESTION_WEIGHT
from pdp.server.overload import Gate
from pdp.server.pace import Pace
from pdp.telemetry import Telemetry

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# The reply to a body, what came before it, who sent it, and when there must be one.
Answering = Callable[[bytes, Head, Caller, float], Awaitable[Reply]]

# For reading and writing what the deadline of a decision does not cover.
_WHOLE_CALL_MARGIN_S: Final = 1.0
# Searches at once, of all callers: beyond them, 503.
SEARCHES_AT_ONCE: Final = 8
# Items admitted in a row, so that the event loop is not held for long.
_ROW: Final = 32


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
        decision_point: SearchDecisionPoint,
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
        self._of_tenants = offer.tenants
        self._prefix = offer.prefix.encode()
        self._metadata = (METADATA + offer.prefix).encode()
        self._asked: Mapping[bytes, Answering] = {
            EVALUATION.encode(): self._decide_one,
            EVALUATIONS.encode(): self._decide_many,
        }
        if offer.search:
            self._asked = dict(self._asked) | {
                path.encode(): partial(self._search, kind) for path, kind in KINDS.items()
            }
        # Searches that are under way.
        self._searching = 0
        # Bodies that are being read, and as long as they say they are.
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Only HTTP comes here: the listener has lifespan and WebSockets off."""
        try:
            async with asyncio.timeout(self._limits.deadline_max_s + _WHOLE_CALL_MARGIN_S):
                reply = await self._replied(scope, receive)
                await self._send(reply, all_of(scope, REQUEST_ID)[:1], send)
        except GoneError:
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
            return await self._traced(scope, receive)
        except RefusedError as error:
            refusal = error
        except InvalidRequestError as error:
            refusal = RefusedError(HTTPStatus.BAD_REQUEST, "invalid", str(error))
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001 the door failed: an error status, never a permit
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            refusal = RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the server failed", close=True
            )
        self._telemetry.count("refused", refusal.label)
        return refusal.reply

    async def _traced(self, scope: Scope, receive: Receive) -> Reply:
        tracing = self._telemetry.tracing
        if tracing is None:
            return await self._reply(scope, receive)
        with tracing.call("authzen", scope["headers"]):
            return await self._reply(scope, receive)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        entered = self._clock.monotonic()
        # (1) Before anything else of the request is looked at.
        caller = self._caller(scope)
        check_size(scope)
        # (2) Byte by byte: nothing is decoded, so nothing is decoded differently elsewhere.
        path = scope["raw_path"]
        page = self._page(path, caller)
        if page is not None:
            self._check_method(scope, "GET")
            return Reply(HTTPStatus.OK, page)
        tenant, below = split_path(path, self._prefix, self._asked)
        decided = self._asked.get(below)
        if decided is None:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "unknown", "there is nothing at this path: see the metadata"
            )
        self._check_method(scope, "POST")
        head = read_head(scope, tenant)
        # (3) Its size is bounded before it comes.
        data = await self._body(scope, receive)
        deadline = entered + self._limits.deadline_default_s - self._limits.answer_reserve_s
        # (4) Before any work is done.
        single = below == EVALUATION.encode()
        weight = len(data) if single else self._weight(len(data))
        if reason := self._gate.refusal(deadline - self._clock.monotonic(), weight):
            return self._overloaded(reason, single=single)
        began = self._gate.enter(weight)
        try:
            if single:
                # (5) With others, where there are many; a batch is a row of its own.
                await self._pace.turn()
            return await decided(data, head, caller, deadline)
        finally:
            in_time = self._clock.monotonic() < deadline
            self._gate.leave(began, weight, in_time=in_time, single=single)

    def _page(self, path: bytes, caller: Caller) -> bytes | None:
        """What is served as it is; a tenant's metadata to whoever may name the tenant."""
        if (page := self._pages.get(path)) is not None:
            return page
        tenant, _ = split_path(path, self._metadata, (b"",))
        page = self._of_tenants.get(tenant)
        # INVARIANT: to all others there is no such path, be there such a tenant or not.
        return page if page and self._decision_point.may_name(caller, tenant) else None

    def _weight(self, size: int) -> int:
        """What a batch counts for among the bytes in flight, as through the other door."""
        return size + QUESTION_WEIGHT * min(self._limits.batch_items_max, size)

    def _overloaded(self, reason: str, *, single: bool) -> Reply:
        """Deny without looking at the question; how many there are, nobody has counted."""
        self._telemetry.count("overloaded", reason)
        if not single:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", "more is asked than can be answered in time"
            )
        self._telemetry.count("decisions", Effect.DENY.name, Cause.OVERLOADED.name)
        return Reply(HTTPStatus.OK, render(answer(deny(Cause.OVERLOADED))))

    async def _decide_one(self, data: bytes, head: Head, caller: Caller, deadline: float) -> Reply:
        return await self._answered(parse_body(data), head, caller, deadline)

    async def _decide_many(self, data: bytes, head: Head, caller: Caller, deadline: float) -> Reply:
        limits = self._limits
        message = parse_body(data)
        asked = evaluations(message, len(data), limits.batch_items_max, limits.message_bytes_max)
        if asked is None:
            return await self._answered(message, head, caller, deadline)
        check_request_id(head.request_id, limits.input)
        questions = []
        for number, item in enumerate(asked.items):
            questions.append(admit_item(item, number, head, caller, limits.input))
            if not len(questions) % _ROW:
                await asyncio.sleep(0)
        batch = Batch(head.request_id, asked.semantic, questions)
        found = await self._decision_point.answer_batch(batch, caller, deadline)
        return Reply(HTTPStatus.OK, render(answers(found, asked.semantic)))

    async def _search(
        self, kind: Searched, data: bytes, head: Head, caller: Caller, deadline: float
    ) -> Reply:
        asked = query(kind, parse_body(data), head)
        if self._searching >= SEARCHES_AT_ONCE:
            # Each is hundreds of decisions: single questions go before them.
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many searches are under way"
            )
        self._searching += 1
        try:
            return search_reply(await self._decision_point.search(asked, caller, deadline), asked)
        finally:
            self._searching -= 1

    async def _answered(self, message: Json, head: Head, caller: Caller, deadline: float) -> Reply:
        # (6) The message, then its values.
        asked = question(message, head)
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
        except OwnIdentityError as error:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "identity_ended", str(error), close=True
            ) from None
        except IdentityError as error:
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "unauthenticated",
                str(error),
                # What is wanted is no header: a certificate.
                (b"www-authenticate", b"X509-SVID"),
            ) from None

    def _check_method(self, scope: Scope, method: str) -> None:
        if scope["method"] != method:
            raise RefusedError(
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
        expected = declared(scope, bytes_max)
        if self._arriving + expected > self._limits.bytes_in_flight_max:
            raise RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too much is arriving at once", close=True
            )
        self._arriving += expected
        try:
            async with asyncio.timeout(self._limits.deadline_max_s):
                return await _read(receive, bytes_max)
        except TimeoutError:
            raise bad_body(f"took longer than {self._limits.deadline_max_s:g} s") from None
        finally:
            self._arriving -= expected


async def _read(receive: Receive, bytes_max: int) -> bytes:
    data = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        data += message["body"]
        if len(data) > bytes_max:
            raise bad_body(f"is longer than {bytes_max} bytes")
        more = message["more_body"]
    return bytes(data)
