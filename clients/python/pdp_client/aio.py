"""The client for asyncio: the core, driven by a `grpc.aio` channel."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import grpc
import tenacity

from pdp.errors import ConfigurationError
from pdp.model import Action, Cause, Decision, Effect, Properties, Resource, Semantic, Subject
from pdp_client import _arguments, _attempts, _batch, _core
from pdp_client._answers import Answers, Question
from pdp_client._breaker import Evidence
from pdp_client._channel import BATCH_METHOD, METHOD, STREAM_METHOD
from pdp_client._conversation import Conversation
from pdp_client._core import AccessDenied, Call, Conclusion, Outcome, Refusal, Status
from pdp_client._endpoint import ended, number, spent, time_left
from pdp_client._identity import PathText
from pdp_client._leasing import LeasingEndpoint
from pdp_client._lines import Line
from pdp_client._pem_files import Material


class AsyncClient(LeasingEndpoint):
    """Asks a PDP, and denies whatever goes wrong.

    One client serves all tasks of one event loop: the loop that first asks.
    Arguments and what they raise are those of `Client`. An asynchronous
    context manager; `close` ends its connections.

    Args:
        micro_batching: ask over one stream, where questions of the same moment share a
            message. Each is its own otherwise: see "Micro-batching" in docs/client.md.
        target, trust_bundle, certificate, key, workload_api, trust_domain, server_name,
            budget_s, can_meet, lease_cache: as `Client`. There are no leases with micro-batching.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _talk: Conversation | None = None

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
        micro_batching: bool = False,
        lease_cache: int = 0,
    ) -> None:
        if micro_batching and lease_cache:
            # Its conversations outlive a certificate by a moment, and a lease must not.
            raise ConfigurationError("choose one: `micro_batching`, or `lease_cache`")
        super().__init__(
            target,
            trust_bundle=trust_bundle,
            certificate=certificate,
            key=key,
            workload_api=workload_api,
            trust_domain=trust_domain,
            server_name=server_name,
            budget_s=budget_s,
            can_meet=can_meet,
            lease_cache=lease_cache,
        )
        if not isinstance(micro_batching, bool):
            raise TypeError(
                f"micro_batching must be True or False, not {type(micro_batching).__name__}"
            )
        self._micro_batching = micro_batching
        # Channels that are being closed: an event loop forgets a task that nobody holds.
        self._closing: set[asyncio.Future[None]] = set()

    async def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 the budget of the call, sent to the PDP
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """May `subject` do `action` on `resource`?

        Arguments and result are those of `Client.authorize`. Cancelling the
        task cancels the call; no decision is made up for it.

        Raises:
            TypeError: an argument is not of its class.
        """
        return (
            await self._ask(
                subject,
                action,
                resource,
                context,
                timeout,
                tenant,
                explain=explain,
                subject_token=subject_token,
            )
        ).decision

    async def enforce(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `authorize`, but a denial is raised: it cannot be overlooked.

        Raises:
            AccessDenied: carries the decision.
            TypeError: as `authorize`.
        """
        conclusion = await self._ask(
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

    async def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answers:
        """Ask many questions at once.

        Arguments and result are those of `Client.authorize_batch`.

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
                outcome = await self._tried(BATCH_METHOD, batch.call)
            conclusions = _batch.conclude(batch, outcome, self._can_meet)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            conclusions = _batch.denied(error, len(requests), asked=batch is not None)
        self._take_note_of_batch(requests, conclusions)
        return self._settle_batch(conclusions, admitted)

    async def close(self) -> None:
        """Close the connections. Calls in flight, and all later ones, are denied."""
        with self._lock:
            self._closed = True
            lines = self._lines.clear()
            talk, self._talk = self._talk, None
        if talk is not None:
            await talk.close()
        for line in lines:
            await line.channel.close(None)
        await asyncio.to_thread(self._source.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        timeout: float | None,  # noqa: ASYNC109
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
        call = admitted = outcome = None
        try:
            call = _core.begin(request, started, budget_s)
            asked = self._leasable(call, request, started)
            decision = self._under_lease(asked)
            if decision is None:
                admitted = self._admit()
                asking = self._talked(call) if self._micro_batching else self._tried(METHOD, call)
                outcome = await asking
                decision = _core.conclude(call, outcome, self._can_meet)
                self._take_note(asked, request, decision)
            conclusion = Conclusion(decision)
        except Exception as error:  # noqa: BLE001 the outermost edge: every failure is a denial
            conclusion = _core.denial(error, asked=call is not None)
            if outcome is not None and outcome.said:
                conclusion = replace(conclusion, evidence=Evidence.NEITHER)
        return self._settle(conclusion, admitted)

    async def _talked(self, call: Call) -> Outcome:
        """One attempt, and never another: a question that got no answer may have been decided."""
        talk = self._talk
        # A conversation is young, so it is over a line that may be used, unless this is elsewhere.
        if talk is not None and talk.takes_questions and self._is_here():
            return await talk.ask(call)
        line, over = self._lease()
        if talk is None or talk.line is not line or not talk.takes_questions:
            if talk is not None:
                talk.retire()
            # It keeps the lease until it ends.
            try:
                stream = line.methods[STREAM_METHOD]()
            except BaseException:
                self._release(line)
                raise
            talk = self._talk = Conversation(line, stream, functools.partial(self._hung_up, line))
        else:
            self._release(line)
        if over is not None:
            await over.channel.close(None)
        return await talk.ask(call)

    def _is_here(self) -> bool:
        """Whether this is the process and the event loop that asked first, and it is not closed."""
        here = self._process_id == os.getpid() and self._loop is asyncio.get_running_loop()
        return here and not self._closed

    def _hung_up(self, line: Line) -> None:
        if self._release(line):
            closing = asyncio.ensure_future(line.channel.close(None))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _tried(self, method: str, call: Call) -> Outcome:
        attempt = functools.partial(self._attempt, method, call)
        rules = _attempts.attempts(call.deadline, self._may_follow)
        # One per call, not one per client: tenacity keeps its state in
        # thread-local storage, and tasks share a thread.
        return await tenacity.AsyncRetrying(sleep=asyncio.sleep, **rules)(attempt)

    async def _attempt(self, method: str, call: Call) -> Outcome:
        line, over = self._lease()
        try:
            if over is not None:
                await over.channel.close(None)
            left = time_left(call)
            if left <= 0:
                return spent()
            return await _over(line.methods[method], call.message, left)
        finally:
            # Closing without grace does not wait, so it is not cancelled either.
            if self._release(line):
                await line.channel.close(None)

    def _check_open(self) -> None:
        super()._check_open()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise Refusal(
                Cause.UNREACHABLE, "the client belongs to another event loop: make one in each"
            )

    def _connect(self, material: Material, *, ahead: bool) -> Line:
        channel = grpc.aio.secure_channel(self._target, material.credentials(), self._options)

        def is_connected() -> bool:
            return channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

        if ahead:
            is_connected()
        methods: dict[str, Any] = {
            name: channel.unary_unary(name, None, None) for name in (METHOD, BATCH_METHOD)
        }
        methods[STREAM_METHOD] = channel.stream_stream(STREAM_METHOD, None, None)
        return Line(channel, methods, is_connected)


async def _over(
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], message: bytes, left_s: float
) -> Outcome:
    rpc = method(message, timeout=left_s)
    try:
        # Not `await rpc`: it raises CancelledError when the channel is closed
        # meanwhile, and then nobody could tell that from this task being
        # cancelled. The status says it in words.
        code = number(await rpc.code())
        if code != Status.OK:
            return ended(code, None, await rpc.details(), await rpc.trailing_metadata())
        return ended(Status.OK, await rpc)
    finally:
        # Nothing, once it is done. Otherwise this task is being cancelled, and
        # the PDP need not go on.
        rpc.cancel()
