"""One request, one path: from a question to an answer that is recorded.

`DecisionPoint` is the whole product without a door; a process that imports it
needs no server. The promise: `authorize` returns a `Decision`, or the task or
the process is ending. It never raises an `Exception`; cancellation is not
caught, and then no answer is sent.

Steps, in this order, numbered where they are done:

    1  the trust boundary of input                          DENY(INVALID)
    2  the deadline is spent                                DENY(DEADLINE)
    3  the snapshot, read once                              DENY(NO_BUNDLE)
    4  its freshness                                        DENY(STALE)
       an HTTP request becomes a question: `HttpQuestion`   its own causes
    5  a subject token is verified; then caller, tenant,
       subject, schemas, rules: `admission.decide`          its own causes
       where rules read what callers do not send, that is
       fetched, and steps 1 to 5 are done again
    6  the record is made and handed to the recorder
    7  a PERMIT waits until it is durable                   DENY(AUDIT)
    8  the freshness again: a PERMIT never leaves stale     DENY(STALE)
       the token again: nor after the end of its proof      DENY(IDENTITY)

Any other exception, in any step, is DENY(INTERNAL). Last, an answer that rules
made is explained to a caller that asked why and may: what comes of that is added
to the answer, and changes nothing in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from pdp import admission, boundary
from pdp.audit.batch_attributes import BatchAttributes
from pdp.audit.encoded import EncodedAttributes
from pdp.audit.entry import (
    Capture,
    Evidence,
    Received,
    all_attributes,
    attributes_read,
    build_entry,
    canonical_digest,
)
from pdp.audit.patience import Patience, TooLateError, outcome
from pdp.boundary import Admitted, InputLimits
from pdp.call import Answer, Call, Moment, Refused, labels, named, with_record
from pdp.clock import Clock, SystemClock
from pdp.errors import InvalidRequestError, SpoolError, SpoolSuppressedError
from pdp.explaining import RULE_CAUSES, explain
from pdp.explanation import Explanation
from pdp.fetching import AttributeSource, Unconfigured, supply
from pdp.http_question import HttpQuestion
from pdp.identity.token import TokenVerifier
from pdp.model import Caller, Cause, Decision, Effect, RecordRef, Request, deny
from pdp.proof import has_ended, kept, proved, verified
from pdp.provided import UNASKED
from pdp.snapshot import Snapshot
from pdp.subject_token import SubjectToken
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2

__all__ = ["Clock", "DecisionPoint", "Recorder", "SnapshotSource", "SystemClock"]


class SnapshotSource(Protocol):
    """Where the current snapshot comes from."""

    def current(self) -> Snapshot | None:
        """The last verified bundle, fresh or not; None if there is none.

        Called on the event loop once per request: does no I/O and takes no
        lock that is held during I/O. A snapshot never changes; a newer one
        is another object.
        """
        ...


class Recorder(Protocol):
    """Where records become durable."""

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """Take one record; called on the event loop.

        Place and hash are assigned before it returns. The future is resolved
        only once the record's bytes are on stable storage, and fails with
        `SpoolError` if that cannot be; a denial that is counted in place of
        being recorded fails with `SpoolSuppressedError`. Nobody retries.
        """
        ...


class DecisionPoint:
    """Answers questions from the current snapshot and records every answer.

    For one event loop. In-process use needs nothing else: bring a source of
    snapshots (`pdp.bundle.BundleKeeper`) and a recorder (`pdp.audit.spool`).

    Args:
        snapshots: verified bundles.
        recorder: durable records.
        limits: what a request may be at most; judged here only for a bare
            `Request`, a door has admitted its own.
        capture: how much of a request a record keeps.
        clock: time.
        telemetry: counters and logs.
        tokens: verifies subject tokens; without it, none proves anything.
        attributes: what callers do not send; without it, there is none.
    """

    def __init__(
        self,
        snapshots: SnapshotSource,
        recorder: Recorder,
        *,
        limits: InputLimits | None = None,
        capture: Capture = Capture.ATTRIBUTES,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        tokens: TokenVerifier | None = None,
        attributes: AttributeSource | None = None,
    ) -> None:
        self._attributes = attributes or Unconfigured()
        self._snapshots = snapshots
        self._tokens = tokens
        self._recorder = recorder
        self._limits = limits or InputLimits()
        self._capture = capture
        self._clock = clock or SystemClock()
        self._telemetry = telemetry or Telemetry(None, self._clock.wall_ns)
        self._record_failing = False
        self._patience = Patience()
        self._encoded = EncodedAttributes()

    async def authorize(
        self,
        question: Request | Admitted | HttpQuestion,
        caller: Caller,
        deadline: float,
        received: Received | None = None,
    ) -> Decision:
        """Decide, record, answer.

        Args:
            question: a bare request, or one that a door has admitted for this caller, or an
                HTTP request, used once.
            caller: the workload that asks; whoever calls this has verified it.
            deadline: when the answer must be there, on the clock's `monotonic`.
                Nothing waits longer.
            received: the message the question came in, if it came in one.

        Returns:
            A decision, always. A PERMIT has a durable record.
        """
        try:
            return await self._answer(Call(question, caller, deadline, received))
        except Exception:  # noqa: BLE001 the promise: even the handling of a failure may fail
            return deny(Cause.INTERNAL)

    def may_name(self, caller: Caller, tenant: str) -> bool:
        """Whether a request of this caller may be about this tenant. Decides nothing about it."""
        snapshot = self._snapshots.current()
        if snapshot is None or snapshot.denials.denies_caller(caller):
            return False
        allowed = snapshot.callers.tenants(caller.spiffe_id)
        try:
            return admission.resolve_tenant(snapshot.policies, allowed, tenant) == tenant
        except InvalidRequestError:
            return False

    async def answer(
        self,
        question: Request | Admitted | HttpQuestion,
        caller: Caller,
        deadline: float,
        received: Received | None = None,
    ) -> Answer:
        """`authorize`, with what a door tells its caller besides."""
        call = Call(question, caller, deadline, received)
        try:
            decision = await self._answer(call)
        except Exception:  # noqa: BLE001 as above
            return Answer(deny(Cause.INTERNAL))
        return Answer(decision, call.invalid)

    async def _answer(self, call: Call) -> Decision:
        try:
            decision = self._decide(call)
            if decision is UNASKED:
                decision = await self._supplied(call)
            decision = await self._concluded(call, decision)
        except Exception as error:  # noqa: BLE001 whatever broke, the answer is DENY, recorded
            self._failed(error)
            # What broke may be in any of these.
            call.rules, call.admitted = (), None
            decision = await self._concluded(call, deny(Cause.INTERNAL))
        if call.request.explain:
            decision = self._explained(call, decision)
        self._count(decision)
        return decision

    def _count(self, decision: Decision) -> None:
        effect, cause = labels(decision)
        self._telemetry.count("decisions", effect, cause)

    async def _supplied(self, call: Call) -> Decision:
        """Steps 1 to 5 again, with what providers say: the same version, at a later moment."""
        await supply(self._attributes, [call], call.deadline)
        return self._decide(call, Moment(self._clock.wall_ns(), call.snapshot, ""))

    def _explained(self, call: Call, decision: Decision) -> Decision:
        """The decision as it is, with why.

        INVARIANT: whoever gets here with a decision of the rules was admitted by an entry that
        may have explanations: `admission` denies all others with CALLER, before any rule.
        """
        if decision.cause not in RULE_CAUSES or call.snapshot is None or call.admitted is None:
            return decision
        if self._clock.monotonic() >= call.deadline:
            # Nobody waits for it, and it would keep others waiting.
            return replace(decision, explanation=Explanation(truncated=True))
        try:
            why = explain(call.policies(), call.admitted, call.now_ns, decision, call.rules)
        except Exception as error:  # noqa: BLE001 the answer stands, whatever breaks here
            self._failed(error)
            return decision
        return replace(decision, explanation=why)

    def _failed(self, error: Exception) -> None:
        """Say where, never what: the words of an error may hold attributes."""
        self._telemetry.count("failures", "decision_point")
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        self._telemetry.log("error", "decision_failed", error=type(error).__name__, place=place)

    def _decide(self, call: Call, moment: Moment | None = None) -> Decision:
        """Steps 1 to 5. Synchronous: one request sees one moment and one version.

        Args:
            call: which.
            moment: that of its batch, if it is part of one.
        """
        clock_ns = self._clock.wall_ns() if moment is None else moment.clock_ns
        call.clock_ns = call.now_ns = clock_ns
        # (1) A bare request is judged here; a door's was judged there. What an HTTP request asks,
        # only the snapshot can tell.
        asked = call.question
        http = asked if isinstance(asked, HttpQuestion) else None
        if isinstance(asked, Admitted) and asked.token is None and asked.completion is None:
            call.admitted = asked
        elif http is None:  # what somebody else proved or fetched is nothing: judged anew
            try:
                call.admitted = self._admit(call)
            except InvalidRequestError as error:
                call.invalid = error
                return deny(Cause.INVALID)
        # (2) Before any work: nobody waits for the answer.
        if self._clock.monotonic() >= call.deadline:
            return deny(Cause.DEADLINE)
        # (3) The whole request sees this version, whatever a poll brings meanwhile.
        snapshot = self._snapshots.current() if moment is None else moment.snapshot
        call.snapshot = snapshot
        if snapshot is None:
            return deny(Cause.NO_BUNDLE)
        tenant = call.tenant = call.request.tenant or snapshot.home(call.caller.spiffe_id)
        if tenant in snapshot.unserved:
            return deny(Cause.NO_BUNDLE)
        # (4) Expired, or the clock ran backwards. No grace. Each tenant by its own bundle.
        if snapshot.is_stale(clock_ns, tenant):
            return deny(Cause.STALE)
        call.now_ns = snapshot.now_ns(clock_ns)
        if http is not None:
            found = http.translate(snapshot, call.tenant, call.now_ns, self._verifies(call.now_ns))
            if isinstance(found, Refused):
                return deny(found.cause)
            call.admitted = found
        return self._law(call, snapshot, moment)

    def _law(self, call: Call, snapshot: Snapshot, moment: Moment | None) -> Decision:
        """(5): who may ask, then the rules."""
        if (admitted := call.admitted) is None:
            return deny(Cause.INTERNAL)
        if admitted.request.subject_token and admitted.token is None:
            proofs = moment.proofs if moment else None
            admitted = call.admitted = proved(
                admitted, self._tokens, call.now_ns, self._telemetry, proofs
            )
        if call.supply is not None:
            admitted = call.admitted = call.supply(admitted)
        try:
            decision, call.rules = admission.decide(
                snapshot.policies,
                snapshot.callers,
                snapshot.denials,
                admitted,
                call.caller,
                call.now_ns,
                doing=moment.doing if moment else "",
                home=call.tenant,
            )
        except InvalidRequestError as error:
            call.invalid = error
            return deny(Cause.INVALID)
        return decision

    def _verifies(self, now_ns: int) -> Callable[[str], SubjectToken | None]:
        return lambda text: verified(text, self._tokens, now_ns, self._telemetry)

    def _admit(self, call: Call) -> Admitted:
        if isinstance(call.question, Refused):
            raise call.question.error
        return boundary.admit(call.request, call.caller, self._limits)

    async def _concluded(self, call: Call, decision: Decision) -> Decision:
        """Steps 6 to 8."""
        if decision.effect is Effect.PERMIT and self._clock.monotonic() >= call.deadline:
            # Evaluation took the rest of the time; a permit that nobody waits for is not recorded.
            decision = deny(Cause.DEADLINE)
        decision = named(decision, call)
        # (6) Every answer is recorded, denials too.
        record = await self._filed(decision, call)
        if decision.effect is not Effect.PERMIT:
            # A denial that could not be recorded in time leaves all the same, counted.
            return with_record(decision, record)
        # (7) INVARIANT: below this line the record of the permit is durable.
        if record is None or self._clock.monotonic() >= call.deadline:
            return Decision(
                Effect.DENY, Cause.AUDIT, decision_id=decision.decision_id, bundle=decision.bundle
            )
        # (8) Making the record durable takes time, and a proof may expire meanwhile.
        call.clock_ns = self._clock.wall_ns()
        if call.snapshot is None or call.is_stale(call.clock_ns):
            return await self._concluded(call, deny(Cause.STALE))
        if has_ended(call.admitted, call.snapshot.now_ns(call.clock_ns)):
            return await self._concluded(call, deny(Cause.IDENTITY))
        return with_record(decision, record)

    async def _filed(self, decision: Decision, call: Call) -> RecordRef | None:
        """Step 6: the record is made, and is durable when this returns; None: not in time."""
        entry = build_entry(decision, self._evidence(call), encoded=self._encoded)
        return await self._record(entry, call.clock_ns, call.deadline)

    async def _record(
        self, entry: audit_pb2.DecisionRecord, clock_ns: int, deadline: float
    ) -> RecordRef | None:
        """The durable record, or None: there is none in time."""
        try:
            future = self._recorder.append(entry, clock_ns)
            if not future.done():
                self._patience.watch(future, deadline - self._clock.monotonic())
            record = await outcome(future)
        except SpoolSuppressedError:
            self._telemetry.count("records", "suppressed")
        except SpoolError as error:
            self._telemetry.count("records", "failed")
            if not self._record_failing:  # the rest of a row would be a line for each call
                self._record_failing = True
                self._telemetry.log("warning", "record_failed", reason=str(error))
        except TooLateError:
            self._telemetry.count("records", "late")
        else:
            self._record_failing = False
            return record
        return None

    def _evidence(self, call: Call, batch: BatchAttributes | None = None) -> Evidence:
        admitted, received, full = call.admitted, call.received, self._capture is Capture.FULL
        written = None
        if admitted is None:
            attributes, token = {}, None
        else:
            token = admitted.token
            if full and received is None:
                attributes = all_attributes(admitted.sent, call.now_ns)
            elif batch and (written := batch.encode(call.rules, admitted, call.now_ns)) is not None:
                attributes = {}
            else:
                attributes = attributes_read(call.rules, admitted.attributes, call.now_ns)
            if full and token is not None:
                attributes["token"] = dict(token.claims)
        http = call.question if isinstance(call.question, HttpQuestion) else None
        message = b""
        if http is not None:
            digest = http.digest
        elif received is None:
            digest = b"" if admitted is None else canonical_digest(admitted)
        else:
            digest, message = received.digest, kept(received.message, admitted) if full else b""
        facts = None if http is None else http.facts()
        known = admitted is not None
        completion = None if admitted is None else admitted.completion
        return Evidence(
            call.recorded, call.caller, attributes, digest, message, known, token, facts,
            completion, full, written,
        )  # fmt: skip
