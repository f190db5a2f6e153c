"""`BalancedClient` for asyncio: see `pdp_client.balanced`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from pdp.model import Action, Cause, Decision, Properties, Resource, Semantic, Subject, deny
from pdp_client import _arguments
from pdp_client._answers import Answers, Question
from pdp_client._core import AccessDenied
from pdp_client._fleet import ClientOptions, Fleet, options_of
from pdp_client.aio import AsyncClient
from pdp_client.balanced import Asked


class AsyncBalancedClient:
    """`BalancedClient` for asyncio, with `await` and `async with`. Hedging needs no threads."""

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        dns: str | None = None,
        hedge: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.budget_s, made_with = options_of(options, dns)

        def make(target: str) -> AsyncClient:
            return AsyncClient(target, **made_with)

        self._fleet: Fleet[AsyncClient] = Fleet(make, targets, dns, hedging=hedge)
        # What goes on beside calls: attempts that lost, and looking up.
        self._beside: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def counts(self) -> Mapping[str, Mapping[Cause, int]]:
        """As `BalancedClient.counts`."""
        return {target: client.counts for target, client in self._fleet.clients.items()}

    @property
    def hedged(self) -> int:
        """As `BalancedClient.hedged`."""
        return self._fleet.balance.hedged

    @property
    def failed_over(self) -> int:
        """As `BalancedClient.failed_over`."""
        return self._fleet.balance.failed_over

    @property
    def out(self) -> list[str]:
        """As `BalancedClient.out`."""
        return self._fleet.balance.out(time.monotonic())

    async def authorize(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 the client's signature
        tenant: str = "",
        explain: bool = False,
        subject_token: str = "",
    ) -> Decision:
        """As `AsyncClient.authorize`: one budget for all attempts."""
        decision, _ = await self._asked(
            *(subject, action, resource, context),
            timeout,
            {"tenant": tenant, "explain": explain, "subject_token": subject_token},
        )
        return decision

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
        """As `AsyncClient.enforce`."""
        decision, reason = await self._asked(
            *(subject, action, resource, context),
            timeout,
            {"tenant": tenant, "explain": explain, "subject_token": subject_token},
        )
        if not decision:
            raise AccessDenied(decision, reason)
        return decision

    async def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answers:
        """As `AsyncClient.authorize_batch`, at the PDP whose turn it is; not tried elsewhere."""
        self._look()
        target = self._fleet.balance.choose(time.monotonic())
        client = None if target is None else self._fleet.clients.get(target)
        if client is None:
            return Answers([deny(Cause.UNREACHABLE)] * len(questions))
        return await client.authorize_batch(questions, semantic, timeout=timeout)

    async def close(self) -> None:
        """Close all connections. Calls in flight, and all later ones, are denied."""
        for task in list(self._beside):
            task.cancel()
        for client in self._fleet.all_clients():
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _asked(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        timeout: float | None,  # noqa: ASYNC109
        named: dict[str, Any],
    ) -> Asked:
        started = time.monotonic()
        ends = started + _arguments.budget(timeout, self.budget_s)

        async def attempt(target: str) -> Asked:
            client = self._fleet.clients.get(target)
            if client is None:
                return deny(Cause.UNREACHABLE), "the PDP is gone"
            left = ends - time.monotonic()
            try:
                decision = await client.enforce(
                    subject, action, resource, context, timeout=left, **named
                )
            except AccessDenied as denied:
                return denied.decision, denied.reason
            return decision, ""

        self._look()
        first = self._fleet.balance.choose(started)
        if first is None and self._looking is not None:
            # The first calls wait for the first look.
            await asyncio.wait({self._looking}, timeout=max(0.0, ends - time.monotonic()))
            first = self._fleet.balance.choose(time.monotonic())
        if first is None:
            return deny(Cause.UNREACHABLE), "there is no PDP"
        after = self._fleet.balance.hedge_after(ends - started)
        if after is None:
            begun = time.monotonic()
            found = await attempt(first)
            if self._fleet.settle(first, found[0], time.monotonic() - begun):
                return found
            second = self._fleet.second(first, ends)
            if second is None:
                return found
            begun = time.monotonic()
            other = await attempt(second)
            good = self._fleet.settle(second, other[0], time.monotonic() - begun)
            return other if good else found
        return await self._hedged(attempt, first, after, ends)

    async def _hedged(
        self, attempt: Callable[[str], Any], first: str, after: float, ends: float
    ) -> Asked:
        begun = {first: time.monotonic()}
        running: dict[asyncio.Task[Asked], str] = {asyncio.create_task(attempt(first)): first}
        last: Asked = deny(Cause.UNREACHABLE), "no PDP answered within the budget"
        try:
            done, _ = await asyncio.wait(running, timeout=after)
            if not done:
                second = self._fleet.balance.choose(time.monotonic(), (first,))
                if second is not None and self._fleet.balance.hedge():
                    begun[second] = time.monotonic()
                    running[asyncio.create_task(attempt(second))] = second
            while running:
                left = max(0.0, ends - time.monotonic())
                done, _ = await asyncio.wait(
                    running, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    # Their own deadlines are a moment away: whom the budget ended with has failed.
                    for target in running.values():
                        self._fleet.balance.failed(target, time.monotonic())
                    return last
                for task in done:
                    target = running.pop(task)
                    last = task.result()
                    took_s = time.monotonic() - begun[target]
                    if self._fleet.settle(target, last[0], took_s):
                        return last
                if not running and len(begun) == 1:
                    second = self._fleet.second(first, ends)
                    if second is not None:
                        begun[second] = time.monotonic()
                        running[asyncio.create_task(attempt(second))] = second
            return last
        finally:
            # The slower attempt is of no use any more, nor is one of a caller that was cancelled.
            for task in running:
                task.cancel()
                self._beside.add(task)
                task.add_done_callback(self._gone)

    def _look(self) -> None:
        """Look the DNS name up, if that is due: beside calls, none waits for it."""
        if not self._fleet.due(time.monotonic()):
            return
        task = self._looking = asyncio.create_task(self._look_up())
        self._beside.add(task)
        task.add_done_callback(self._gone)

    async def _look_up(self) -> None:
        answers = None
        with contextlib.suppress(OSError, UnicodeError):
            answers = await asyncio.get_running_loop().getaddrinfo(
                self._fleet.host, self._fleet.port, type=socket.SOCK_STREAM
            )
        for client in self._fleet.looked_up(answers, time.monotonic()):
            await client.close()

    def _gone(self, task: asyncio.Task[Any]) -> None:
        self._beside.discard(task)
        with contextlib.suppress(asyncio.CancelledError, Exception):
            task.result()
