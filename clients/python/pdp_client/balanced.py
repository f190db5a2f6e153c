"""A client of several PDPs that are one to the program: round robin, a second attempt elsewhere.

Each PDP has a `Client` of its own, with its own breaker and connection, and everything that a
client promises holds: an answer counts only if that client believes it. What is here chooses and
waits.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack

from pdp.model import Action, Cause, Decision, Properties, Resource, Semantic, Subject, deny
from pdp_client import _arguments
from pdp_client._answers import Answers, Question
from pdp_client._core import AccessDenied
from pdp_client._fleet import ClientOptions, Fleet, options_of
from pdp_client.sync import Client

# Calls of a hedging client that wait at the same time; beyond, calls are not hedged.
THREADS_MAX: Final = 32

Asked = tuple[Decision, str]


class BalancedClient:
    """`Client`, of several PDPs.

    Args:
        targets: addresses of the PDPs, as of `Client`; or none, with `dns`.
        dns: `host:port`: every address of that name is a PDP, whose certificate has that name. It
            is looked up again every ten seconds; a look that fails changes nothing.
        hedge: ask a second PDP when the first takes longer than 95 % of answers do, for no more
            than 5 % of calls. Then calls run on threads of this client, 32 at most.
        options: trust_bundle, certificate, key, server_name, budget_s, can_meet: as `Client`.

    Raises:
        pdp.errors.ConfigurationError: no target, one twice, or as `Client`.
    """

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        dns: str | None = None,
        hedge: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.budget_s, made_with = options_of(options, dns)

        def make(target: str) -> Client:
            return Client(target, **made_with)

        self._fleet: Fleet[Client] = Fleet(make, targets, dns, hedging=hedge)
        self._pool = (
            concurrent.futures.ThreadPoolExecutor(THREADS_MAX, "pdp-client") if hedge else None
        )
        # A counter that several threads add to would drift.
        self._places = threading.BoundedSemaphore(THREADS_MAX - 1)
        self._looked = threading.Event()

    @property
    def counts(self) -> Mapping[str, Mapping[Cause, int]]:
        """Denials so far, by target and cause; a failed first attempt is among them."""
        return {target: client.counts for target, client in self._fleet.clients.items()}

    @property
    def hedged(self) -> int:
        """Second attempts because the first took long, so far."""
        return self._fleet.balance.hedged

    @property
    def failed_over(self) -> int:
        """Second attempts because the first failed, so far."""
        return self._fleet.balance.failed_over

    @property
    def out(self) -> list[str]:
        """Targets that are left out at the moment, because they failed."""
        return self._fleet.balance.out(time.monotonic())

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
        """As `Client.authorize`: one budget for all attempts."""
        return self._asked(
            *(subject, action, resource, context),
            timeout,
            {"tenant": tenant, "explain": explain, "subject_token": subject_token},
        )[0]

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
        """As `Client.enforce`."""
        decision, reason = self._asked(
            *(subject, action, resource, context),
            timeout,
            {"tenant": tenant, "explain": explain, "subject_token": subject_token},
        )
        if not decision:
            raise AccessDenied(decision, reason)
        return decision

    def authorize_batch(
        self,
        questions: Sequence[Question],
        semantic: Semantic = Semantic.EXECUTE_ALL,
        *,
        timeout: float | None = None,
    ) -> Answers:
        """As `Client.authorize_batch`, at the PDP whose turn it is; not tried elsewhere."""
        self._look()
        target = self._fleet.balance.choose(time.monotonic())
        client = None if target is None else self._fleet.clients.get(target)
        if client is None:
            return Answers([deny(Cause.UNREACHABLE)] * len(questions))
        return client.authorize_batch(questions, semantic, timeout=timeout)

    def close(self) -> None:
        """Close all connections. Calls in flight, and all later ones, are denied."""
        for client in self._fleet.all_clients():
            client.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _asked(
        self,
        subject: Subject,
        action: Action | str,
        resource: Resource,
        context: Properties | None,
        timeout: float | None,
        named: dict[str, Any],
    ) -> Asked:
        started = time.monotonic()
        ends = started + _arguments.budget(timeout, self.budget_s)

        def attempt(target: str) -> Asked:
            client = self._fleet.clients.get(target)
            if client is None:
                return deny(Cause.UNREACHABLE), "the PDP is gone"
            left = ends - time.monotonic()
            try:
                decision = client.enforce(subject, action, resource, context, timeout=left, **named)
            except AccessDenied as denied:
                return denied.decision, denied.reason
            return decision, ""

        self._look()
        first = self._fleet.balance.choose(started)
        if first is None and self._looked.wait(max(0.0, ends - time.monotonic())):
            # The first calls wait for the first look.
            first = self._fleet.balance.choose(time.monotonic())
        if first is None:
            return deny(Cause.UNREACHABLE), "there is no PDP"
        after = self._fleet.balance.hedge_after(ends - started)
        pool = self._pool
        if after is None or pool is None or not self._places.acquire(blocking=False):
            return self._in_turn(attempt, first, ends)
        try:
            return self._hedged(pool, attempt, first, after, ends)
        finally:
            self._places.release()

    def _look(self) -> None:
        """Look the DNS name up, if that is due: on a thread, so that no call waits for it."""
        if self._fleet.due(time.monotonic()):
            threading.Thread(target=self._look_up, name="pdp-client-dns", daemon=True).start()

    def _look_up(self) -> None:
        answers = None
        with contextlib.suppress(OSError, UnicodeError):
            answers = socket.getaddrinfo(
                self._fleet.host, self._fleet.port, type=socket.SOCK_STREAM
            )
        for client in self._fleet.looked_up(answers, time.monotonic()):
            client.close()
        self._looked.set()

    def _in_turn(self, attempt: Callable[[str], Asked], first: str, ends: float) -> Asked:
        """Ask one; if that fails and there is time, another."""
        begun = time.monotonic()
        found = attempt(first)
        if self._fleet.settle(first, found[0], time.monotonic() - begun):
            return found
        second = self._fleet.second(first, ends)
        if second is None:
            return found
        begun = time.monotonic()
        other = attempt(second)
        good = self._fleet.settle(second, other[0], time.monotonic() - begun)
        return other if good else found

    def _hedged(
        self,
        pool: concurrent.futures.ThreadPoolExecutor,
        attempt: Callable[[str], Asked],
        first: str,
        after: float,
        ends: float,
    ) -> Asked:
        """Ask one; another, if it takes long or fails. The first answer counts."""
        begun = {first: time.monotonic()}
        running = {_submit(pool, attempt, first): first}
        concurrent.futures.wait(running, timeout=after)
        pending = next(iter(running))
        if not pending.done():
            second = self._fleet.balance.choose(time.monotonic(), (first,))
            if second is not None and self._fleet.balance.hedge():
                begun[second] = time.monotonic()
                running[_submit(pool, attempt, second)] = second
        last: Asked = deny(Cause.UNREACHABLE), "no PDP answered within the budget"
        while running:
            left = max(0.0, ends - time.monotonic())
            done, _ = concurrent.futures.wait(
                running, timeout=left, return_when=concurrent.futures.FIRST_COMPLETED
            )
            if not done:
                # Their own deadlines are a moment away: whom the budget ended with has failed.
                for target in running.values():
                    self._fleet.balance.failed(target, time.monotonic())
                return last
            for future in done:
                target = running.pop(future)
                last = future.result()
                took_s = time.monotonic() - begun[target]
                if self._fleet.settle(target, last[0], took_s):
                    return last
            if not running and len(begun) == 1:
                second = self._fleet.second(first, ends)
                if second is not None:
                    begun[second] = time.monotonic()
                    running[_submit(pool, attempt, second)] = second
        return last


def _submit(
    pool: concurrent.futures.ThreadPoolExecutor, attempt: Callable[[str], Asked], target: str
) -> concurrent.futures.Future[Asked]:
    try:
        return pool.submit(attempt, target)
    except RuntimeError:
        # It was closed meanwhile.
        closed: concurrent.futures.Future[Asked] = concurrent.futures.Future()
        closed.set_result((deny(Cause.UNREACHABLE), "the client is closed"))
        return closed
