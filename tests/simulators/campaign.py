"""Many faulted calls at once, by both clients, with bare sleepers beside them.

One campaign is: lanes (threads or tasks), each asking one question after the
other of a peer that goes wrong in a way drawn from a seed. Beside them as many
sleepers sleep the same budget in the same process, for a lateness that no
client can better on that machine at that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from pdp_client import AsyncClient, Client, Resource, Subject
from tests.simulators.faults import (
    MANGLED,
    SPOILED,
    FiringRange,
    Garbage,
    Plan,
    Proxy,
    Silent,
    SilentAfterTls,
    refusing,
)

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")

# Ways to keep a client waiting to the end of its budget, and ways to fail at once.
PATIENT = (
    "silent", "silent_after_tls", "slow", "silence_after_permit", "stall", "stall_answer",
    "drip_answer",
)  # fmt: skip
PROMPT = (
    "refused", "garbage", "spoilt", "mangled", "status", "status_after_permit",
    "server_expired", "server_foreign", "server_elsewhere", "client_expired", "client_foreign",
    "reset", "close", "flip", "reset_request", "reset_answer", "close_answer", "flip_answer",
)  # fmt: skip

# How much of the TLS handshake and the first frames a cut may leave: the whole
# of it is over 2,600 bytes towards the client and over 6,000 towards the PDP.
OPENING_BYTES = 2_400
# A dripped answer must be one that cannot be whole within the budget.
DRIP_LEFT_BYTES = 200

AnyClient = TypeVar("AnyClient", Client, AsyncClient)


@dataclass
class Results:
    """What came of a campaign."""

    permits: Counter[str] = field(default_factory=Counter)  # by kind of fault: none is good
    denials: Counter[str] = field(default_factory=Counter)
    controls: int = 0  # honest calls in between that were permitted
    lateness_s: list[float] = field(default_factory=list)
    sleeper_lateness_s: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Faulted calls made."""
        return sum(self.permits.values()) + sum(self.denials.values())

    def __iadd__(self, other: Results) -> Self:
        """Take in what came of another one."""
        self.permits += other.permits
        self.denials += other.denials
        self.controls += other.controls
        self.lateness_s += other.lateness_s
        self.sleeper_lateness_s += other.sleeper_lateness_s
        return self


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class Peers:
    """Who is asked: addresses by kind of fault, one of each for all lanes."""

    def __init__(self, firing_range: FiringRange) -> None:
        self.firing_range = firing_range
        self._open = contextlib.ExitStack()
        # Address, and who asks.
        self.targets: dict[str, tuple[str, str]] = {
            "scripted": (firing_range.target(), "client"),
            "server_expired": (firing_range.target("expired"), "client"),
            "server_foreign": (firing_range.target("foreign"), "client"),
            "server_elsewhere": (firing_range.target("elsewhere"), "client"),
            "client_expired": (firing_range.target(), "expired"),
            "client_foreign": (firing_range.target(), "foreign"),
        }

    def __enter__(self) -> Self:
        enter, folder = self._open.enter_context, self.firing_range.folder
        files = (folder / "pdp.pem", folder / "pdp.key", folder / "trust.pem")
        listeners = {
            "refused": enter(refusing()),
            "silent": enter(Silent()).port,
            "garbage": enter(Garbage()).port,
            "silent_after_tls": enter(SilentAfterTls(*files)).port,
        }
        for name, port in listeners.items():
            self.targets[name] = (f"localhost:{port}", "client")
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def proxy(self) -> Proxy:
        """A proxy before the scripted PDP, for one lane."""
        return self._open.enter_context(Proxy(self.firing_range.pdp.ports["good"]))


@dataclass
class Job(Generic[AnyClient]):
    """One faulted call, ready to be made.

    Attributes:
        client: to ask with.
        action: to ask about.
        warm: whether an honest call goes before it, so that the fault meets a
            connection that works.
        arm: makes the peer go wrong.
        passing: whether the client is for this call only.
    """

    client: AnyClient
    action: str
    warm: bool = False
    arm: Callable[[], None] = lambda: None
    passing: bool = False


class Lane(Generic[AnyClient]):
    """One asker's own clients, and its own proxy.

    Args:
        kind: `Client` or `AsyncClient`.
        peers: who is asked.
        chance: all that is drawn here is drawn from it.
        budget_s: of every call.
        answer_bytes: size of an honest answer on a connection that works.
    """

    def __init__(
        self,
        kind: Callable[..., AnyClient],
        peers: Peers,
        chance: random.Random,
        budget_s: float,
        answer_bytes: int,
    ) -> None:
        self._kind: Callable[..., AnyClient] = kind
        self._range = peers.firing_range
        self._chance = chance
        self._budget_s = budget_s
        self._answer_bytes = answer_bytes
        self._proxy = peers.proxy()
        self.clients: dict[str, AnyClient] = {
            name: self._client(*peer) for name, peer in peers.targets.items()
        }

    def _client(self, target: str, who: str = "client") -> AnyClient:
        return self._kind(target, **self._range.files(who), budget_s=self._budget_s)

    def control(self) -> Job[AnyClient]:
        """An honest call."""
        return Job(self.clients["scripted"], "permit")

    def job(self, kind: str) -> Job[AnyClient]:
        """A call that goes wrong in this way."""
        chance, scripted = self._chance, self.clients["scripted"]
        if kind in self.clients:
            return Job(self.clients[kind], "permit")
        if kind == "slow":
            # A permit, a few milliseconds after the deadline.
            after_ms = round(self._budget_s * 1000) + chance.randint(2, 10)
            return Job(scripted, f"slow:{after_ms}")
        if kind in {"spoilt", "mangled"}:
            return Job(scripted, chance.choice(sorted(SPOILED if kind == "spoilt" else MANGLED)))
        if kind in {"status", "status_after_permit"}:
            return Job(scripted, f"{kind}:{chance.randint(1, 16)}")
        if kind == "silence_after_permit":
            return Job(scripted, kind)
        return self._cut(kind)

    def _cut(self, kind: str) -> Job[AnyClient]:
        then, _, where = kind.partition("_")
        client = self._client(f"localhost:{self._proxy.port}")
        # What the last one left is no business of this one.
        self._proxy.set(Plan())
        if where == "answer":
            spare = DRIP_LEFT_BYTES if then == "drip" else 1
            plan = Plan(self._chance.randint(0, self._answer_bytes - spare), then)
            return Job(client, "permit", True, lambda: self._proxy.set(plan), passing=True)
        towards = "server" if where == "request" else "client"
        plan = Plan(self._chance.randint(0, OPENING_BYTES), then, towards)
        return Job(client, "permit", False, lambda: self._proxy.set(plan), passing=True)


WARM_S = 2.0
SETTLE_S = 0.02  # for frames that follow the warming answer
CONTROL_EVERY = 50


def _keep(results: Results, kind: str, late_s: float, *, permitted: bool) -> None:
    (results.permits if permitted else results.denials)[kind] += 1
    results.lateness_s.append(max(0.0, late_s))


def run_threads(
    firing_range: FiringRange, kinds: list[str], *, lanes: int, budget_s: float, seed: int,
    answer_bytes: int,
) -> Results:  # fmt: skip
    """A campaign of `Client` in threads: one call per kind in the list."""
    results, ended = Results(), threading.Event()

    def ask(own: Lane[Client], kinds: list[str]) -> None:
        for turn, kind in enumerate(kinds):
            if turn % CONTROL_EVERY == 0:
                control = own.control()
                control.client.authorize(ALICE, "permit", REPORT, timeout=WARM_S)
                results.controls += control.client.permits > 0
            job = own.job(kind)
            if job.warm:
                job.client.authorize(ALICE, "permit", REPORT, timeout=WARM_S)
                time.sleep(SETTLE_S)
            job.arm()
            started = time.monotonic()
            decision = job.client.authorize(ALICE, job.action, REPORT)
            late_s = time.monotonic() - started - budget_s
            _keep(results, kind, late_s, permitted=bool(decision))
            if job.passing:
                job.client.close()

    def sleep() -> None:
        while not ended.is_set():
            started = time.monotonic()
            time.sleep(budget_s)
            results.sleeper_lateness_s.append(time.monotonic() - started - budget_s)

    with Peers(firing_range) as peers, ThreadPoolExecutor(2 * lanes) as pool:
        own = [
            Lane(Client, peers, random.Random(seed * 1_000 + number), budget_s, answer_bytes)
            for number in range(lanes)
        ]
        # Sleepers sleep while calls are made: not while peers are set up or taken down.
        sleepers = [pool.submit(sleep) for _ in own]
        try:
            for asking in [pool.submit(ask, lane, kinds[i::lanes]) for i, lane in enumerate(own)]:
                asking.result()
        finally:
            ended.set()
        for sleeping in sleepers:
            sleeping.result()
        for lane in own:
            for client in lane.clients.values():
                client.close()
    return results


async def run_tasks(
    firing_range: FiringRange, kinds: list[str], *, lanes: int, budget_s: float, seed: int,
    answer_bytes: int,
) -> Results:  # fmt: skip
    """A campaign of `AsyncClient` in tasks: one call per kind in the list."""
    results = Results()

    async def ask(own: Lane[AsyncClient], kinds: list[str]) -> None:
        for turn, kind in enumerate(kinds):
            if turn % CONTROL_EVERY == 0:
                control = own.control()
                await control.client.authorize(ALICE, "permit", REPORT, timeout=WARM_S)
                results.controls += control.client.permits > 0
            job = own.job(kind)
            if job.warm:
                await job.client.authorize(ALICE, "permit", REPORT, timeout=WARM_S)
                await asyncio.sleep(SETTLE_S)
            job.arm()
            started = time.monotonic()
            decision = await job.client.authorize(ALICE, job.action, REPORT)
            late_s = time.monotonic() - started - budget_s
            _keep(results, kind, late_s, permitted=bool(decision))
            if job.passing:
                await job.client.close()

    async def sleep() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(budget_s)
            results.sleeper_lateness_s.append(time.monotonic() - started - budget_s)

    with Peers(firing_range) as peers:
        own = [
            Lane(AsyncClient, peers, random.Random(seed * 1_000 + number), budget_s, answer_bytes)
            for number in range(lanes)
        ]
        sleepers = [asyncio.create_task(sleep()) for _ in own]
        try:
            await asyncio.gather(*[ask(lane, kinds[i::lanes]) for i, lane in enumerate(own)])
        finally:
            for sleeping in sleepers:
                sleeping.cancel()
            await asyncio.gather(*sleepers, return_exceptions=True)
        for lane in own:
            for client in lane.clients.values():
                await client.close()
    return results
