"""A PDP that is stopped or killed while calls are in flight, again and again: real processes.

One client asks one scripted PDP. Half of the calls of a round are on their way when the
process is stopped (SIGSTOP) or killed (-9), half begin after it. The PDP would permit all
of them, but later than the signal took effect, so none of its permits can be there. Then
the process goes on, or another one takes its port, and an honest permit has to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pdp_client import AsyncClient, Client
from tests.simulators.campaign import ALICE, REPORT, Results
from tests.simulators.faults import FiringRange, ScriptedPdp

INTERRUPTIONS = ("stopped_in_flight", "stopped", "killed_in_flight", "killed")
# An answer takes at least this share of the budget: time for the signal to come before it.
SLOW_FROM, SLOW_TO = 0.6, 0.9
# Until the signal, at most, as a share of the budget.
SIGNAL_BY = 0.3
RECOVERY_S_MAX = 20.0
ROUNDS_A_LINE = 50


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended; times of the monotonic clock."""

    started: float
    ended: float
    permitted: bool


Ask = Callable[[str, float], Future[Ended]]


@contextlib.contextmanager
def asking(driver: str, firing_range: FiringRange, target: str, lanes: int) -> Iterator[Ask]:
    """`ask(action, budget_s)`: begin a call with the one client, of either kind."""
    files = firing_range.files()
    if driver == "threads":
        with ThreadPoolExecutor(lanes) as pool, Client(target, **files) as client:

            def ask(action: str, budget_s: float) -> Ended:
                started = time.monotonic()
                decision = client.authorize(ALICE, action, REPORT, timeout=budget_s)
                return Ended(started, time.monotonic(), bool(decision))

            yield lambda action, budget_s: pool.submit(ask, action, budget_s)
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asynchronous = AsyncClient(target, **files)

    async def ask_in_task(action: str, budget_s: float) -> Ended:
        started = time.monotonic()
        decision = await asynchronous.authorize(ALICE, action, REPORT, timeout=budget_s)
        return Ended(started, time.monotonic(), bool(decision))

    try:
        yield lambda action, budget_s: asyncio.run_coroutine_threadsafe(
            ask_in_task(action, budget_s), loop
        )
    finally:
        asyncio.run_coroutine_threadsafe(asynchronous.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run_interrupted(
    driver: str, firing_range: FiringRange, *, calls: int, burst: int, budget_s: float, seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Results:  # fmt: skip
    """Rounds of so many calls before and after a signal, until there were enough calls.

    Args:
        driver: `threads` or `asyncio`.
        firing_range: whose certificates are used.
        calls: that met a fault, at least.
        burst: calls before the signal, and as many after it.
        budget_s: of each.
        seed: of what is drawn.
        progress: is told now and then how far it is.
    """
    good = firing_range.authority.issue("pdp", dns_names=["localhost"])
    served = {"good": (good, firing_range.authority.bundle_pem)}
    chance, results, rounds = random.Random(seed), Results(), 0
    pdp = ScriptedPdp(served).__enter__()
    ports = pdp.ports
    try:
        with asking(driver, firing_range, f"localhost:{ports['good']}", 2 * burst) as ask:
            while results.calls < calls:
                _until_permits(ask)
                results.controls += 1
                kind = "stopped" if rounds % 2 == 0 else "killed"
                number = signal.SIGSTOP if kind == "stopped" else signal.SIGKILL
                _round(results, ask, pdp, kind, number, burst, budget_s, chance)
                if number is signal.SIGKILL:
                    pdp.__exit__()
                    pdp = ScriptedPdp(served, ports).__enter__()
                else:
                    pdp.kill(signal.SIGCONT)
                rounds += 1
                if rounds % ROUNDS_A_LINE == 0:
                    progress(f"{driver}, stopped and killed: {results.calls} of {calls} calls")
            _until_permits(ask)
    finally:
        pdp.kill(signal.SIGCONT)
        pdp.__exit__()
    return results


def _round(
    results: Results, ask: Ask, pdp: ScriptedPdp, kind: str, number: signal.Signals, burst: int,
    budget_s: float, chance: random.Random,
) -> None:  # fmt: skip
    slow_s = [budget_s * chance.uniform(SLOW_FROM, SLOW_TO) for _ in range(burst)]
    begun = [ask(f"slow:{round(each * 1000)}", budget_s) for each in slow_s]
    time.sleep(budget_s * chance.uniform(0, SIGNAL_BY))
    pdp.kill(number)
    silent_from = time.monotonic()
    after = [ask("permit", budget_s) for _ in range(burst)]
    for call, answered_after_s in zip(begun, slow_s, strict=True):
        ended = call.result()
        # On a machine so busy that the answer may have been given before: no fault was met.
        if ended.started + answered_after_s > silent_from:
            _keep(results, f"{kind}_in_flight", ended, budget_s)
    for call in after:
        _keep(results, kind, call.result(), budget_s)


def _keep(results: Results, kind: str, ended: Ended, budget_s: float) -> None:
    (results.permits if ended.permitted else results.denials)[kind] += 1
    results.lateness_s.append(max(0.0, ended.ended - ended.started - budget_s))


def _until_permits(ask: Ask) -> None:
    """Ask until the PDP answers, with calls on their way while it comes back.

    Raises:
        TimeoutError: it did not.
    """
    over = time.monotonic() + RECOVERY_S_MAX
    while not ask("permit", 1.0).result().permitted:
        if time.monotonic() > over:
            raise TimeoutError("permits did not come back")
        time.sleep(0.02)
