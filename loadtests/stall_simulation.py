"""`python -m loadtests.stall_simulation`: what clients see while one PDP of many stalls.

A discrete-event simulation, without a clock, a socket or a thread: time is a number, chance
comes from a seed, and the same seed gives the same table. What decides is the client's own:
`Balance` for turns, leaving out, failing over and hedging, `Breaker` for when nobody is asked.

Client processes ask at random times (Poisson). A PDP decides one question after the other, then
waits for its record. One PDP stalls: it takes questions and says nothing, as a process
that is stopped or whose disk hangs. Afterwards it goes on with what is still in time.

An attempt that runs to the end of the budget has failed; one that was overtaken is cancelled,
and says nothing, as in the client for asyncio.

What is left out: the network, admission (nobody is told OVERLOADED), certificates.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadtests.scenarios import percentile
from pdp_client._arguments import BUDGET_S_DEFAULT
from pdp_client._balance import Balance
from pdp_client._breaker import Breaker, Evidence
from pdp_client._fleet import ATTEMPT_S_MIN

FLEETS: Final = (1, 2, 10, 1_000)
# ruff: noqa: S311 chance makes load here, not secrets
POLICIES: Final = {
    "one connection": "each client keeps to the PDP that a balancer of connections gave it",
    "turns": "round robin alone; nothing is learnt about a PDP",
    "turns, failing over": "and a PDP that fails is left out, a call that failed tried elsewhere",
    "turns, failing over, hedging": "and a call that takes long is asked of a second one, too",
}
# CPU of a decision in one process, no less than what loadtests/README.md found.
CPU_S: Final = 0.00035
# Until a record is durable, on average, and what the network takes; an assumption.
RECORD_S: Final = 0.002
# A budget below this says nothing about the PDP when it runs out: docs/client.md.
FAIR_S: Final = 0.1
# Where a call may be hedged, the client waits for its attempts until the budget ends, and tells
# `Balance` then of all that still run. A test shows what would come of it if it did not.
HEDGED_TIMEOUT_IS_LEARNT = True


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated; times in seconds.

    Attributes:
        clients: processes that ask.
        rate: calls a second of each.
        before, stall, after: how long all is well, one PDP stalls, all is well again.
    """

    clients: int = 20
    rate: float = 50.0
    before: float = 5.0
    stall: float = 10.0
    after: float = 10.0
    budget: float = BUDGET_S_DEFAULT
    seed: int = 1


@dataclass(slots=True)
class Pdp:
    """One core, first come, first served; an answer leaves when its record is durable."""

    stalls_from: float
    stalls_until: float
    free: float = 0.0

    def answers_at(self, now: float, deadline: float, record_s: float) -> float | None:
        """When the answer comes; None: it is past its deadline before it is looked at."""
        begins = max(now, self.free)
        if self.stalls_from <= begins < self.stalls_until:
            begins = self.stalls_until
        if begins >= deadline:
            return None
        self.free = begins + CPU_S
        ends = self.free + record_s
        # Begun before the stall, and not out when it comes: it is out after it.
        if begins < self.stalls_from <= ends:
            ends += self.stalls_until - self.stalls_from
        return ends


@dataclass(slots=True)
class Client:
    """One process that asks: what it has learnt."""

    balance: Balance[int]
    breakers: dict[int, Breaker]
    home: int

    def breaker(self, member: int) -> Breaker:
        """Of this PDP, or of all where the client does not know them apart."""
        return self.breakers.setdefault(member, Breaker())


@dataclass(slots=True)
class Call:
    """One call on its way."""

    client: Client
    owner: int
    started: float
    deadline: float
    hedged: bool = False
    tried: list[int] = field(default_factory=list)
    flying: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    owner: int
    started: float
    took: float
    permitted: bool
    attempts: int


class Simulation:
    """One fleet under one policy.

    Args:
        setting: what happens.
        pdps: how many.
        policy: one of POLICIES.
    """

    def __init__(self, setting: Setting, pdps: int, policy: str) -> None:
        self.setting = setting
        self.policy = policy
        self.learns = "failing over" in policy
        self.ended: list[Ended] = []
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        # Two streams, so that each policy meets the same calls.
        self._due, self._chance = random.Random(setting.seed), random.Random(setting.seed + 1)
        ends = setting.before + setting.stall
        self._pdps = [Pdp(ends, ends) for _ in range(pdps)]
        # The one that client 0 is connected to: with fewer clients than PDPs some have nobody.
        self._pdps[0] = Pdp(setting.before, ends)
        hedging = "hedging" in policy
        self._clients = [
            Client(Balance(range(pdps), hedging=hedging), {}, number % pdps)
            for number in range(setting.clients)
        ]
        for client in self._clients:
            # Processes do not begin their turns at the same PDP.
            for _ in range(self._due.randrange(pdps)):
                client.balance.choose(0.0)

    def run(self) -> list[Ended]:
        """All calls, in the order of their ends."""
        for number in range(len(self._clients)):
            self._at(self._due.expovariate(self.setting.rate), self._arrives(number))
        while self._events:
            now, _, happens = heapq.heappop(self._events)
            happens(now)
        return self.ended

    def _at(self, when: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _arrives(self, number: int) -> Callable[[float], None]:
        def happens(now: float) -> None:
            setting = self.setting
            if now >= setting.before + setting.stall + setting.after:
                return
            self._at(now + self._due.expovariate(setting.rate), self._arrives(number))
            self._begin(Call(self._clients[number], number, now, now + setting.budget), now)

        return happens

    def _begin(self, call: Call, now: float) -> None:
        balance = call.client.balance
        member = call.client.home if self.policy == "one connection" else balance.choose(now)
        if member is None:
            raise RuntimeError("a fleet without PDPs")
        after = balance.hedge_after(call.deadline - now) if self.learns else None
        call.hedged = after is not None
        if after is not None:
            self._at(now + after, lambda at: self._hedge(call, at))
        self._attempt(call, member, now)

    def _hedge(self, call: Call, now: float) -> None:
        # Only while the first attempt is still on its way.
        if call.over or len(call.tried) != 1 or not call.flying:
            return
        second = call.client.balance.choose(now, call.tried)
        if second is not None and call.client.balance.hedge():
            self._attempt(call, second, now)

    def _attempt(self, call: Call, member: int, now: float) -> None:
        breaker = call.client.breaker(member if self.learns else -1)
        call.tried.append(member)
        call.flying += 1
        admitted = breaker.admit(now)
        if admitted is None:
            self._attempt_ended(call, member, now, now, answered=False)
            return
        record_s = self._chance.expovariate(1 / RECORD_S)
        answer = self._pdps[member].answers_at(now, call.deadline, record_s)
        answered = answer is not None and answer <= call.deadline
        ends = answer if answer is not None and answered else call.deadline

        def happens(at: float) -> None:
            if call.over:
                return  # cancelled: nothing is learnt from it
            fair = call.deadline - now >= FAIR_S
            failed = Evidence.FAILED if fair else Evidence.NEITHER
            breaker.learn(admitted, at, Evidence.ANSWERED if answered else failed)
            if call.hedged and not answered and not HEDGED_TIMEOUT_IS_LEARNT:
                call.flying -= 1
                if not call.flying:
                    self._end(call, at, permitted=False)
                return
            self._attempt_ended(call, member, now, at, answered=answered)

        self._at(ends, happens)

    def _attempt_ended(
        self, call: Call, member: int, began: float, now: float, *, answered: bool
    ) -> None:
        call.flying -= 1
        balance = call.client.balance
        if self.learns and answered:
            balance.answered(member, now - began)
        elif self.learns:
            balance.failed(member, now)
        if answered:
            self._end(call, now, permitted=True)
            return
        if self.learns and len(call.tried) == 1 and call.deadline - now >= ATTEMPT_S_MIN:
            second = balance.choose(now, call.tried)
            if second is not None and balance.fail_over():
                self._attempt(call, second, now)
                return
        if not call.flying:
            self._end(call, now, permitted=False)

    def _end(self, call: Call, now: float, *, permitted: bool) -> None:
        call.over = True
        self.ended.append(
            Ended(call.owner, call.started, now - call.started, permitted, len(call.tried))
        )


@dataclass(frozen=True, slots=True)
class Window:
    """What came of the calls that began in one part of the time.

    Attributes:
        denied: share of them.
        worst: share of those of the client that fared worst.
        p99_ms, p999_ms: until a call ended, however it did.
        extra: questions asked more than calls made, as a share of calls.
    """

    denied: float
    worst: float
    p99_ms: float
    p999_ms: float
    extra: float


def window(ended: Sequence[Ended], begins: float, ends: float) -> Window:
    """Calls that began from one time to another."""
    inside = [one for one in ended if begins <= one.started < ends]
    took = sorted(one.took * 1_000 for one in inside)
    by_client: dict[int, list[bool]] = {}
    for one in inside:
        by_client.setdefault(one.owner, []).append(not one.permitted)
    return Window(
        sum(not one.permitted for one in inside) / max(1, len(inside)),
        max((sum(denied) / len(denied) for denied in by_client.values()), default=0.0),
        percentile(took, 0.99),
        percentile(took, 0.999),
        sum(one.attempts - 1 for one in inside) / max(1, len(inside)),
    )


def simulate(setting: Setting, pdps: int, policy: str) -> tuple[Window, Window]:
    """While one of the PDPs stalls, and after."""
    ended = Simulation(setting, pdps, policy).run()
    over = setting.before + setting.stall
    return window(ended, setting.before, over), window(ended, over, over + setting.after)


HEAD: Final = (
    "| PDPs | the client | denied meanwhile | of the worst client | p99, p99.9 meanwhile | "
    "asked twice | denied after | p99, p99.9 after |\n|---|---|---|---|---|---|---|---|"
)


def row(pdps: int, policy: str, during: Window, after: Window) -> str:
    """One line of the table."""
    return (
        f"| {pdps:,} | {policy} | {during.denied:.2%} | {during.worst:.1%} | "
        f"{during.p99_ms:.0f} ms, {during.p999_ms:.0f} ms | {during.extra:.1%} | "
        f"{after.denied:.2%} | {after.p99_ms:.0f} ms, {after.p999_ms:.0f} ms |"
    )


def main() -> None:
    """Print the table of docs/capacity.md."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.stall_simulation", description=__doc__.partition("\n")[0]
    )
    known = Setting()
    parser.add_argument("--pdps", type=int, nargs="+", default=list(FLEETS))
    parser.add_argument("--clients", type=int, default=known.clients)
    parser.add_argument("--rate", type=float, default=known.rate, help="calls a second of each")
    parser.add_argument("--stall", type=float, default=known.stall, help="seconds")
    parser.add_argument("--seed", type=int, default=known.seed)
    options = parser.parse_args()
    if min([*options.pdps, options.clients]) < 1 or options.rate <= 0 or options.stall <= 0:
        parser.error("all of them must be above 0")
    setting = Setting(
        clients=options.clients, rate=options.rate, stall=options.stall, seed=options.seed
    )
    print(HEAD)
    for pdps in options.pdps:
        for policy in POLICIES:
            print(row(pdps, policy, *simulate(setting, pdps, policy)))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
