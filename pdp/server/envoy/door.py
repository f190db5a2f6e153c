"""The door for Envoy: `envoy.service.auth.v3.Authorization/Check`.

The caller is Envoy, by its own X.509-SVID. Steps:

    1  how long Envoy waits, minus the answer reserve
    2  is there too much to do                             DENY(OVERLOADED)
    3  when it is decided, with others where many come
    4  who is asking                                       denied, counted
    5  what Envoy says about the HTTP request              DENY(INVALID)
    6  the decision point: mapping, caller policy, rules   a decision, recorded
    7  the answer: let it go on only for a permit whose obligations are met here

INVARIANT: whatever happens, the answer is a CheckResponse. An error status is
for Envoy a failure of the service, which it may be told to ignore.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from pdp.config.settings import Limits
from pdp.decision_point import Clock, DecisionPoint, SnapshotSource
from pdp.errors import InvalidRequestError
from pdp.http_question import HttpQuestion
from pdp.http_request import HttpRequest
from pdp.identity.svid import SvidVerifier
from pdp.model import Caller, Cause, Decision, Effect, deny
from pdp.server.authorization import AuthorizationDoor, RefusedError, RpcContext
from pdp.server.envoy.answers import allowed, denied, last_resort
from pdp.server.envoy.messages import http_request, parse_check, tenant_of
from pdp.telemetry import Telemetry
from pdp.v1 import ext_authz_pb2 as pb

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"
_REQUEST_ID_CHARACTERS_MAX: Final = 128


class EnvoyDoor:
    """Serves `Check`.

    Args:
        door: the native door: who is asking, how much is taken on, how long.
        decision_point: what decides.
        verifier: of certificates that Envoy forwards.
        limits: of messages and questions.
        clock: the decision point's.
        telemetry: counters and logs.
    """

    def __init__(
        self,
        door: AuthorizationDoor,
        decision_point: DecisionPoint,
        verifier: SvidVerifier,
        *,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._door = door
        self._decision_point = decision_point
        self._verifier = verifier
        self._limits = limits
        self._clock = clock
        self._telemetry = telemetry
        self._last_resort = last_resort()

    async def check(self, message: bytes, context: RpcContext) -> bytes:
        """One call. Cancellation passes through: then no answer is sent."""
        try:
            return await self._door.traced("check", context, self._check(message, context))
        except RefusedError as error:
            label = error.label
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 the door failed: a denial that needs nothing
            self._telemetry.log("error", "door_failed", error=type(error).__name__)
            label = "internal"
        self._telemetry.count("refused", label)
        return self._last_resort

    async def _check(self, message: bytes, context: RpcContext) -> bytes:
        # (1) Before the work, so that the work counts against it.
        patience_s = self._door.patience_s(context.time_remaining())
        size = len(message)
        too_long = size > self._limits.message_bytes_max
        # (2) Before any work is done.
        reason = "" if too_long else self._door.gate.refusal(patience_s, size)
        if too_long or reason:
            # Who is not known hears of nothing else.
            self._door.caller(context)
            if too_long:
                self._door.too_long()
            self._door.count_overloaded(reason)
            return denied(deny(Cause.OVERLOADED)).SerializeToString()
        entered = self._door.gate.enter(size)
        try:
            # (3) With others, where there are many.
            await self._door.pace.turn()
            # (4) Before a byte of the message is looked at.
            caller = self._door.caller(context)
            return (await self._answer(message, caller, entered + patience_s)).SerializeToString()
        finally:
            in_time = self._clock.monotonic() < entered + patience_s
            self._door.gate.leave(entered, size, in_time=in_time)

    async def _answer(
        self, message: bytes, caller: Caller, deadline: float
    ) -> pb.EnvoyCheckResponse:
        # (5) What cannot be read is recorded too: somebody sent it to a service.
        question = self._question(message, caller)
        # (6) The rest never raises.
        decision = (await self._decision_point.answer(question, caller, deadline)).decision
        return self._answered(decision, question)

    def _answered(self, decision: Decision, question: HttpQuestion) -> pb.EnvoyCheckResponse:
        """(7)."""
        unusable = False
        if decision.effect is Effect.PERMIT and question.mapping is not None:
            values = question.upstream_values(decision.decision_id)
            answer = allowed(decision, question.mapping, values)
            if answer is not None:
                return answer
            # The record says that it may have been answered; it was not.
            unusable = True
            self._telemetry.count("refused", "unmet_obligation")
        return denied(decision, wants_token=question.wants_token, unusable=unusable)

    def _question(self, message: bytes, caller: Caller) -> HttpQuestion:
        http: HttpRequest | InvalidRequestError
        tenant = request_id = ""
        try:
            check = parse_check(message)
            tenant = tenant_of(check)
            http = http_request(check, self._identify)
            request_id = _request_id(http)
        except InvalidRequestError as error:
            http = error
        digest = hashlib.sha256(message).digest()
        return HttpQuestion(http, caller, self._limits.input, tenant, request_id, digest)

    def _identify(self, pem: bytes) -> tuple[str, str]:
        found = self._verifier.identify(pem, b"", self._clock.wall_ns())
        return found.text, found.serial


def _request_id(http: HttpRequest) -> str:
    """Envoy's `x-request-id`, for the record; empty where it is none that fits."""
    found = next((value for name, value in http.headers if name == "x-request-id"), "")
    fits = found.isascii() and found.isprintable() and len(found) <= _REQUEST_ID_CHARACTERS_MAX
    return found if fits else ""


def mapping_state(snapshots: SnapshotSource) -> str:
    """`mapped`, or what is missing for any request to go on."""
    snapshot = snapshots.current()
    if snapshot is None:
        return "no_bundle"
    return "mapped" if snapshot.mappings else "no_mapping"
