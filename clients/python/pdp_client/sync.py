"""The client for threads: the core, driven by a blocking gRPC channel."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc
import tenacity

from pdp.model import Action, Decision, Effect, Properties, Resource, Semantic, Subject
from pdp_client import _arguments, _attempts, _batch, _core
from pdp_client._answers import Answers, Question
from pdp_client._channel import BATCH_METHOD, METHOD
from pdp_client._core import AccessDenied, Call, Conclusion, Outcome, Status
from pdp_client._endpoint import ended, number, spent, time_left
from pdp_client._leasing import LeasingEndpoint
from pdp_client._lines import Line
from pdp_client._pem_files import Material


class Client(LeasingEndpoint):
    """Asks a PDP, and denies whatever goes wrong.

    One client serves all threads of a process. It connects when it is first
    asked, so it may be made before a process forks and used after, but not
    used on both sides. A context manager; `close` ends its connections.

    The three files may be replaced while it is used: see "Rotation" in docs/client.md.

    Args:
        target: `host:port`, or a gRPC address (`dns:`, `ipv4:`, `ipv6:`, `unix:`).
        trust_bundle: PEM file of the authorities that the PDP's certificate may come from.
        certificate: PEM file of this workload's X.509-SVID, leaf first.
        key: PEM file of its private key.
        workload_api: `unix:` and the socket of an agent with the SPIFFE Workload API, in place of
            the three files; making a client then waits for it, and comes after a fork.
        trust_domain: whose authorities of the agent's the PDP's certificate may come from; by
            default those of this workload's own trust domain.
        server_name: DNS name that the PDP's certificate must carry, where it
            is not the host of `target`. It cannot be a SPIFFE ID: see docs/client.md.
        budget_s: seconds that a call may take, all attempts together; at most 5.
        can_meet: (type, id) of the obligations that the calling program meets.
            A permit with any other is a denial.
        lease_cache: so many permits may be kept, each for as long as its rule allows, and at most
            5 s, and given again without asking; 0: none. See "Leases" in docs/client.md.

    Raises:
        pdp.errors.ConfigurationError: the target or a file cannot be used.
        TypeError, ValueError: `budget_s`, `can_meet` or `lease_cache` is not what it says.
    """

    def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """May `subject` do `action` on `resource`?

        Args:
            subject: who wants to act.
            action: its name, or an `Action` with properties.
            resource: what it is done to.
            context: anything else the policies look at.
            timeout: seconds for this call, for all attempts; at most 5 are
                used. Default: the client's `budget_s`.
            tenant: empty means the one that the PDP is configured with for this caller.
            explain: ask why, too: `decision.explanation`. A caller whose entry in
                the caller policy does not say `may: [explain]` is denied.
            subject_token: a JWT access token that proves `subject`, for the PDP to verify.

        Returns:
            The decision. True in a condition only if it permits. Every
            failure is a denial with its cause, and so is a question that
            cannot be asked.

        Raises:
            TypeError: an argument is not of its class. Nothing else: what
                ends the process or the thread passes through.
        """
        return self._ask(
            subject,
            action,
            resource,
            context,
            timeout,
            tenant,
            explain=explain,
            subject_token=subject_token,
        ).decision

    def enforce(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `authorize`, but a denial is raised: it cannot be overlooked.

        Raises:
            AccessDenied: carries the decision.
            TypeError: as `authorize`.
        """
        conclusion = self._ask(
            subject,
            action,
            resource,
            context,
            timeout,
            tenant,
            explain=explain,
            subject_token=subject_token,
        )
        if conclusion.decision.effect is not Effect.PERMIT:
            raise AccessDenied(conclusion.decision, conclusion.reason)
        return conclusion.decision

    def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,
    ) -> Answers:
        """Ask many questions at once: decided at one moment, by one version of the policies.

        For callers whose entry in the caller policy says `may: [batch]`; all others are denied.

        Args:
            questions: at most 1,000, and at most as many as the PDP takes: 200 unless it is
                told otherwise. None are no call, and nothing is permitted.
            semantic: which of them are decided: all, or those up to the first that is denied,
                or up to the first that is permitted.
            timeout: as `authorize`, for the batch as a whole.

        Returns:
            The decision of each question by its place, or `Undecided` where the batch ended
            before it. It has no truth value. A failure is the denial of every question; what
            cannot be asked is the denial of that question.

        Raises:
            TypeError: an argument is not of its class.
        """
        started = time.monotonic()
        requests = self._questions(questions, semantic)
        budget_s = _arguments.budget(timeout, self._budget_s)
        batch = admitted = outcome = None
        try:
            batch = self._begin_batch(requests, semantic, started, budget_s)
            if batch.call is not None:
                admitted = self._admit()
                outcome = self._tried(BATCH_METHOD, batch.call)
            conclusions = _batch.conclude(batch, outcome, self._can_meet)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            conclusions = _batch.denied(error, len(requests), asked=batch is not None)
        self._take_note_of_batch(requests, conclusions)
        return self._settle_batch(conclusions, admitted)

    def close(self) -> None:
        """Close the connections. Calls in flight, and all later ones, are denied."""
        with self._lock:
            self._closed = True
            lines = self._lines.clear()
        for line in lines:
            line.channel.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        timeout: float | None,
        tenant: str,
        *,
        explain: bool,
        subject_token: str,
    ) -> Conclusion:
        started = time.monotonic()
        request = self._question(
            subject, action, resource, context, tenant, explain=explain, subject_token=subject_token
        )
        budget_s = _arguments.budget(timeout, self._budget_s)
        call = admitted = None
        try:
            call = _core.begin(request, started, budget_s)
            asked = self._leasable(call, request, started)
            decision = self._under_lease(asked)
            if decision is None:
                admitted = self._admit()
                outcome = self._tried(METHOD, call)
                decision = _core.conclude(call, outcome, self._can_meet)
                self._take_note(asked, request, decision)
            conclusion = Conclusion(decision)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            conclusion = _core.denial(error, asked=call is not None)
        return self._settle(conclusion, admitted)

    def _tried(self, method: str, call: Call) -> Outcome:
        attempt = functools.partial(self._attempt, method, call)
        rules = _attempts.attempts(call.deadline, self._may_follow)
        return tenacity.Retrying(sleep=time.sleep, **rules)(attempt)

    def _attempt(self, method: str, call: Call) -> Outcome:
        line, over = self._lease()
        try:
            if over is not None:
                over.channel.close()
            left = time_left(call)
            if left <= 0:
                return spent()
            # Not wait_for_ready: a refused connection is known now, not at the deadline.
            return ended(Status.OK, line.methods[method](call.message, timeout=left))
        except grpc.RpcError as error:
            return ended(number(error.code()), None, error.details(), error.trailing_metadata())
        finally:
            if self._release(line):
                line.channel.close()

    def _connect(self, material: Material, *, ahead: bool) -> Line:
        channel = grpc.secure_channel(self._target, material.credentials(), self._options)
        # No serialiser and no deserialiser: the bytes that were hashed are
        # the bytes that are sent.
        methods = {name: channel.unary_unary(name, None, None) for name in (METHOD, BATCH_METHOD)}
        # The future has a thread of gRPC's until it is connected.
        return Line(channel, methods, grpc.channel_ready_future(channel).done if ahead else _never)


def _never() -> bool:
    return False
