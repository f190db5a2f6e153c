"""The PDPs of a balanced client: a list that stays, or a DNS name whose addresses come and go.

Everything but waiting, for threads and for asyncio.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from os import PathLike
from typing import Any, Final, Generic, Required, TypedDict, TypeVar

from pdp.errors import ConfigurationError
from pdp.model import Cause, Decision
from pdp_client._arguments import BUDGET_S_DEFAULT, check_budget_s
from pdp_client._balance import Balance

_log: Final = logging.getLogger("pdp_client")

# Between two looks at a DNS name; as gRPC's own resolver, on the call that finds it due.
LOOK_S: Final = 10.0
# A PDP that left DNS still has calls in flight: no budget is longer.
RETIRE_S: Final = 6.0
# As many addresses of a name as are used; a record with more is cut, not refused.
MEMBERS_MAX: Final = 64
# What a second attempt needs at least: less, and it could only be late.
ATTEMPT_S_MIN: Final = 0.01
_PORT_MAX: Final = 65_535
_FAILED: Final = frozenset({Cause.UNREACHABLE, Cause.UNUSABLE})
# A PDP that says so answers, and not this question: another may.
_ELSEWHERE: Final = _FAILED | {Cause.OVERLOADED}

C = TypeVar("C")


class ClientOptions(TypedDict, total=False):
    """What the client of each PDP is made with: see `Client`. The first three are required."""

    trust_bundle: Required[str | PathLike[str]]
    certificate: Required[str | PathLike[str]]
    key: Required[str | PathLike[str]]
    server_name: str | None
    budget_s: float
    can_meet: Collection[tuple[str, str]]


def options_of(options: ClientOptions, dns: str | None) -> tuple[float, ClientOptions]:
    """The budget of calls, and what each client is made with: a name of DNS is its PDPs' name.

    Raises:
        TypeError, ValueError: the budget is none.
    """
    budget_s = check_budget_s(options.get("budget_s", BUDGET_S_DEFAULT))
    if dns is None or options.get("server_name") is not None:
        return budget_s, options
    return budget_s, {**options, "server_name": dns.rpartition(":")[0]}


class Fleet(Generic[C]):
    """Who can be asked, and what is known of them.

    Args:
        make: makes the client of a target. Called here for each.
        targets: addresses; or none, with `dns`.
        dns: `host:port`, all of whose addresses are PDPs.
        hedging: whether calls that take long get a second attempt.

    Raises:
        ConfigurationError: not exactly one of both, a target twice, no `host:port`.
    """

    def __init__(
        self,
        make: Callable[[str], C],
        targets: Sequence[str],
        dns: str | None,
        *,
        hedging: bool,
    ) -> None:
        named: object = targets
        if isinstance(named, str):
            raise ConfigurationError("the targets are a list of addresses, not one string")
        if bool(targets) is (dns is not None):
            raise ConfigurationError("name either targets, or a DNS name that has them")
        if len(set(targets)) != len(targets):
            raise ConfigurationError("a target is named twice")
        self.host, self.port = _host_and_port(dns) if dns is not None else ("", 0)
        self._make = make
        self._lock = threading.Lock()
        self._clients = {target: make(target) for target in targets}
        self._retired: list[tuple[float, C]] = []
        self._looked_at = -LOOK_S
        self._looking = False
        self.balance: Balance[str] = Balance(list(targets), hedging=hedging)

    @property
    def clients(self) -> dict[str, C]:
        """By target: a copy."""
        with self._lock:
            return dict(self._clients)

    def due(self, now: float) -> bool:
        """Whether this caller is to look the name up. It says what came of it: `looked_up`."""
        with self._lock:
            if not self.host or self._looking or now - self._looked_at < LOOK_S:
                return False
            self._looking = True
            return True

    def looked_up(self, answers: Iterable[tuple[Any, ...]] | None, now: float) -> list[C]:
        """Take what `getaddrinfo` said; None: it failed, and all stays as it is.

        Returns:
            Clients that nobody uses any more, to be closed.
        """
        found = sorted({_target(answer) for answer in answers or ()})[:MEMBERS_MAX]
        with self._lock:
            self._looking, self._looked_at = False, now
            closed = [one for until, one in self._retired if until <= now]
            self._retired = [pair for pair in self._retired if pair[0] > now]
            if not found:
                _log.warning("the addresses of %s are not known: the old ones stay", self.host)
                return closed
            for target in set(self._clients) - set(found):
                self._retired.append((now + RETIRE_S, self._clients.pop(target)))
            for target in found:
                if target not in self._clients:
                    self._clients[target] = self._make(target)
        self.balance.become(found)
        return closed

    def all_clients(self) -> list[C]:
        """Those in use and those that were, for closing."""
        with self._lock:
            return [*self._clients.values(), *(one for _, one in self._retired)]

    def settle(self, target: str, decision: Decision, took_s: float) -> bool:
        """Learn what came of an attempt. Whether it is the answer to the call."""
        if decision.cause in _FAILED:
            self.balance.failed(target, time.monotonic())
        else:
            self.balance.answered(target, took_s)
        return decision.cause not in _ELSEWHERE

    def second(self, first: str, ends: float) -> str | None:
        """Who is asked after the first one failed; None: nobody, or there is no time."""
        now = time.monotonic()
        if ends - now < ATTEMPT_S_MIN:
            return None
        second = self.balance.choose(now, (first,))
        return second if second is not None and self.balance.fail_over() else None


def _host_and_port(dns: str) -> tuple[str, int]:
    host, colon, port = dns.rpartition(":")
    if not host or not colon or not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
        raise ConfigurationError(f"`{dns}` is no DNS name and port: write `host:port`")
    return host, int(port)


def _target(answer: tuple[Any, ...]) -> str:
    """One answer of `getaddrinfo`, as a target of gRPC's."""
    address, port = answer[4][0], answer[4][1]
    return f"ipv6:[{address}]:{port}" if ":" in address else f"ipv4:{address}:{port}"
