"""What both drivers have in common around the core: an endpoint, its TLS and its tally.

Everything but waiting. TLS is required and mutual: there is no plaintext
option, and no option to skip a check.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
import weakref
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import grpc

from pdp.errors import ConfigurationError
from pdp.model import Action, Cause, Effect, Properties, Request, Resource, Semantic, Subject
from pdp_client import _arguments, _attempts, _batch, _channel, _identity
from pdp_client._answers import UNDECIDED, Answers, Question
from pdp_client._batch import BatchCall
from pdp_client._breaker import Breaker, Evidence
from pdp_client._core import Call, Conclusion, Outcome, Refusal, Status
from pdp_client._identity import PathText
from pdp_client._lines import Line, Lines
from pdp_client._pem_files import Material
from pdp_client._throttle import RetryThrottle

_log = logging.getLogger("pdp_client")

PUSHBACK: Final = "grpc-retry-pushback-ms"
WARNINGS_INTERVAL_S: Final = 1.0
# How often the files are looked at: three calls of `stat`, on a call.
LOOK_INTERVAL_S: Final = 1.0
# How long calls may still go over the old channel while the new one connects:
# as long as one attempt to connect may take.
OVERLAP_S_MAX: Final = 2.0

# All endpoints of this process, for `_after_fork`.
_endpoints: weakref.WeakSet[Endpoint] = weakref.WeakSet()


def _after_fork() -> None:
    """Give every endpoint a new lock: another thread may have held the old one when this forked.

    It would be held for ever in the child, and a denial there would never come.
    """
    for endpoint in list(_endpoints):
        endpoint._lock = threading.Lock()  # noqa: SLF001 our own class


os.register_at_fork(after_in_child=_after_fork)


class Endpoint:
    """Where a PDP is, how it is authenticated, and what came of asking it.

    Not used by itself: `Client` and `AsyncClient` are this, plus waiting.
    """

    def __init__(  # noqa: PLR0913 who asks, whom, and for how long
        self,
        target: str,
        *,
        trust_bundle: PathText | None = None,
        certificate: PathText | None = None,
        key: PathText | None = None,
        workload_api: str | None = None,
        trust_domain: str | None = None,
        server_name: str | None = None,
        budget_s: float = _arguments.BUDGET_S_DEFAULT,
        can_meet: Collection[tuple[str, str]] = (),
    ) -> None:
        self._target = _channel.check_target(target)
        self._budget_s = _arguments.check_budget_s(budget_s)
        self._can_meet = _arguments.check_can_meet(can_meet)
        self._options = _channel.CHANNEL_OPTIONS
        if server_name is not None:
            if not server_name:
                raise ConfigurationError("the server name is empty: leave it out to check the host")
            self._options += (("grpc.ssl_target_name_override", server_name),)
        files = (trust_bundle, certificate, key)
        self._source, self._material = _identity.opened(files, workload_api, trust_domain)
        self._fingerprint = b"" if self._material is None else self._material.digest()
        self._lock = threading.Lock()
        self._closed = False
        # Of the process that opened the channel, or the agent's stream.
        self._process_id: int | None = None if workload_api is None else os.getpid()
        self._permits = 0
        self._denials: Counter[Cause] = Counter()
        self._breaker = Breaker()
        self._throttle = RetryThrottle()
        self._unasked = 0
        self._lines = Lines()
        self._looked_at = time.monotonic()
        self._looking = False
        self._answered_at = -math.inf
        self._renewals = 0
        self._warned_at = -WARNINGS_INTERVAL_S
        self._unwarned = 0
        _endpoints.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._target}>"

    @property
    def counts(self) -> Mapping[Cause, int]:
        """Denials so far, by cause: a copy.

        UNREACHABLE and UNUSABLE are the client's own, and what to alert on.
        """
        with self._lock:
            return dict(self._denials)

    @property
    def budget_s(self) -> float:
        """Seconds that a call may take, unless it says otherwise."""
        return self._budget_s

    @property
    def permits(self) -> int:
        """Permits so far."""
        with self._lock:
            return self._permits

    @property
    def unasked(self) -> int:
        """Denials so far without asking, because the PDP had failed too often.

        They are among the UNREACHABLE of `counts`.
        """
        with self._lock:
            return self._unasked

    @property
    def renewals(self) -> int:
        """How often changed certificate files were taken into use so far."""
        with self._lock:
            return self._renewals

    def _question(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        tenant: str,
        *,
        explain: bool,
        subject_token: str,
    ) -> Request:
        # 128 random bits: an answer to another question cannot carry this id by chance.
        return _arguments.question(
            subject,
            action,
            resource,
            context,
            tenant,
            request_id=secrets.token_hex(16),
            explain=explain,
            subject_token=subject_token,
        )

    def _questions(self, questions: Sequence[Question], semantic: Semantic) -> list[Request]:
        """The questions of a batch, each with an id of its own.

        Raises:
            TypeError: not the classes of the signature.
        """
        if not isinstance(semantic, Semantic):
            raise TypeError(f"semantic must be a Semantic, not {type(semantic).__name__}")
        found = []
        for one in questions:
            if not isinstance(one, Question):
                raise TypeError(
                    f"questions must hold pdp_client.Question, not {type(one).__name__}"
                )
            found.append(
                self._question(
                    *(one.subject, one.action, one.resource, one.context, one.tenant),
                    explain=one.explain,
                    subject_token=one.subject_token,
                )
            )
        return found

    def _begin_batch(
        self, questions: Sequence[Request], semantic: Semantic, started: float, budget_s: float
    ) -> BatchCall:
        return _batch.begin(questions, semantic, secrets.token_hex(16), started, budget_s)

    def _check_open(self) -> None:
        """Refuse what would hang: gRPC's threads do not live on in a forked process.

        Called with the lock held.
        """
        if self._closed:
            raise Refusal(Cause.UNREACHABLE, "the client is closed")
        if self._process_id is None:
            self._process_id = os.getpid()
        elif self._process_id != os.getpid():
            raise Refusal(
                Cause.UNREACHABLE,
                "the client was used before this process was forked: make one after the fork",
            )

    def _connect(self, material: Material, *, ahead: bool) -> Line:
        """A new channel. The drivers' own; with the lock held.

        Args:
            material: for its TLS.
            ahead: connect now, not when it is first used.
        """
        raise NotImplementedError

    def _lease(self) -> tuple[Line, Line | None]:
        """The line for one attempt, to be given back; and one to be closed before it is made.

        Raises:
            Refusal: the client cannot be used, or not here.
        """
        self._look()
        now = time.monotonic()
        with self._lock:
            self._check_open()
            # One rotation at a time: a successor lives at most `OVERLAP_S_MAX`.
            if self._material is not None and not self._lines.is_turning:
                # Overlap is for calls that would be answered. If none was for a
                # while, the old certificate may be why, or there are no calls.
                works = now - self._answered_at < OVERLAP_S_MAX
                self._lines.add(
                    self._connect(self._material, ahead=not self._lines.is_empty),
                    until=now + OVERLAP_S_MAX if works else now,
                )
                self._material = None
            return self._lines.lease(now)

    def _release(self, line: Line) -> bool:
        """Give a line back. True: close it."""
        with self._lock:
            return self._lines.release(line)

    def _look(self) -> None:
        """Look for new certificates, once a second. Whatever is wrong with them, the old ones stay.

        Not under the lock, and by one caller at a time: a file system that
        hangs holds up one call.
        """
        now = time.monotonic()
        with self._lock:
            if self._looking or now - self._looked_at < LOOK_INTERVAL_S:
                return
            self._looking, self._looked_at = True, now
        try:
            found = self._source.changed()
        except ConfigurationError as error:
            _log.warning("new certificates for %s are not used: %s", self._target, error)
            return
        finally:
            self._looking = False
        if found is None:
            return
        _log.info("new certificates for %s are used", self._target)
        with self._lock:
            self._renewals += not self._lines.is_empty
            self._material = found
            self._fingerprint = found.digest()

    def _admit(self) -> int:
        """Before the network is used for a call.

        Raises:
            Refusal: the breaker is open.
        """
        with self._lock:
            admitted = self._breaker.admit(time.monotonic())
            if admitted is None:
                self._unasked += 1
                raise Refusal(
                    Cause.UNREACHABLE,
                    "not asked: the PDP failed too often, and is tried once a second",
                )
            return admitted

    def _may_follow(self, outcome: Outcome) -> bool:
        with self._lock:
            return _attempts.worth_another(outcome, self._throttle)

    def _learn(self, admitted: int, evidence: Evidence, *, overloaded: bool) -> None:
        """What a call says about the PDP, for calls to come."""
        with self._lock:
            was_open = self._breaker.is_open
            self._breaker.learn(admitted, time.monotonic(), evidence)
            is_open = self._breaker.is_open
            if overloaded:
                self._throttle.failed()
            elif evidence is Evidence.ANSWERED:
                self._throttle.answered()
            if evidence is Evidence.ANSWERED:
                self._answered_at = time.monotonic()
        if is_open != was_open:
            doing = "fails too often: calls are denied unasked" if is_open else "answers again"
            _log.warning("the PDP at %s %s", self._target, doing)

    def _settle(self, conclusion: Conclusion, admitted: int | None) -> Conclusion:
        """Count and learn from a conclusion, and warn of a denial that the PDP did not make.

        Args:
            conclusion: of one call.
            admitted: what `_admit` returned for it; None if it did not get so far.
        """
        if admitted is not None:
            overloaded = conclusion.decision.cause is Cause.OVERLOADED
            self._learn(admitted, conclusion.evidence, overloaded=overloaded)
        self._count(conclusion)
        return conclusion

    def _settle_batch(
        self, conclusions: Sequence[Conclusion | None], admitted: int | None
    ) -> Answers:
        """Count each, and learn once: a batch is one call.

        Args:
            conclusions: of one batch, by place; None: not decided.
            admitted: as `_settle`.
        """
        made = [conclusion for conclusion in conclusions if conclusion is not None]
        if admitted is not None:
            # What was denied unsent says nothing; what is left says the same of all.
            said = {conclusion.evidence for conclusion in made} - {Evidence.NEITHER}
            evidence = said.pop() if len(said) == 1 else Evidence.NEITHER
            overloaded = any(one.decision.cause is Cause.OVERLOADED for one in made)
            self._learn(admitted, evidence, overloaded=overloaded)
        for conclusion in made:
            self._count(conclusion)
        return Answers([UNDECIDED if one is None else one.decision for one in conclusions])

    def _count(self, conclusion: Conclusion) -> None:
        decision = conclusion.decision
        with self._lock:
            if decision.effect is Effect.PERMIT:
                self._permits += 1
                return
            self._denials[decision.cause] += 1
            if not conclusion.reason:
                return
            # In an outage every call is denied: the log gets one line a second.
            now = time.monotonic()
            if now - self._warned_at < WARNINGS_INTERVAL_S:
                self._unwarned += 1
                return
            self._warned_at = now
            unwarned, self._unwarned = self._unwarned, 0
        _log.warning(
            "denied (%s) without a decision of the PDP at %s: %s; %d more since the last warning",
            decision.cause.name,
            self._target,
            conclusion.reason,
            unwarned,
            exc_info=conclusion.unexpected,
        )


def time_left(call: Call) -> float:
    """Seconds until a call's deadline, for one more attempt."""
    return call.deadline - time.monotonic()


def ended(
    status: int,
    message: bytes | None = None,
    detail: str | None = None,
    trailing: Iterable[Any] | None = None,
) -> Outcome:
    """The outcome of an attempt that ends now."""
    pushback = tuple(str(value) for name, value in trailing or () if name == PUSHBACK)
    return Outcome(status, message, detail or "", time.monotonic(), pushback)


def spent() -> Outcome:
    """The outcome of an attempt for which no time was left: nothing is sent."""
    return ended(Status.DEADLINE_EXCEEDED, detail="no time was left for an attempt")


def number(code: grpc.StatusCode) -> int:
    """The number of a status on the wire."""
    wire_number: int = code.value[0]
    return wire_number
