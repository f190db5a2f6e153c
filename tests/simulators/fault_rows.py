"""The rows of the fault matrix: what is broken, and what clients and the record must show.

Each row breaks one thing of a running site, asks while it is broken, mends it,
and insists that permits come back. What must hold for all rows is in `judge`;
docs/faults.md is `table()`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pdp.model import Cause
from pdp.values import NANOS
from pdp_client import AsyncClient
from tests.simulators.fault_site import (
    BUDGET_S,
    FRONTEND,
    IN_FLIGHT_MAX,
    LONG,
    Seen,
    Site,
    yesterday,
)
from tests.simulators.repository import Answer, dripping

SHORT = timedelta(seconds=4)
# Less than the age that connections reach: the certificate expires under an open one.
CALLER_SHORT = timedelta(seconds=2)
HEARTBEAT_S = 2.0
HUNG_BUDGET_S = 0.25  # the client's default: nobody waits longer for a PDP that hangs
HUNG_LANES = 16
FEW_LANES = 3
CROWD = 10 * IN_FLIGHT_MAX
# A disk of our own would have most answers ready before so many questions are there.
CROWD_SYNC_S = 0.02
STEP_S = 7_200.0
# A step forward moves the clock mark at most to the end of the heartbeat. If that is less than
# the tolerance of 60 s away, permits come back as soon as the clock does.
STEP_HEARTBEAT_S = 40.0
KILL_EVERY = 320
FILL_STEP = 65_536

# Denials that a machine may cause which is shared with others. Never what a row is about, unless
# it says so.
NOISE = {Cause.UNREACHABLE, Cause.OVERLOADED, Cause.DEADLINE, Cause.AUDIT}
# What every fourth question is told that gets to the policies.
HONEST = Cause.DEFAULT


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    Attributes:
        name: short.
        fault: what is done, in words.
        causes: of the denials that it makes; each must be among them, and nothing else but noise.
        sees: what clients see, in words.
        record: what the record says, in words.
        log: events that the PDP must tell meanwhile.
        share: of the answers, that must be denials for one of `causes`.
        act: does it, and mends it.
        least: calls, however few the others make.
        bent: whether it takes the entry point with another clock and another disk.
    """

    name: str
    fault: str
    causes: tuple[Cause, ...]
    sees: str
    record: str
    share: float
    act: Callable[[Site, Seen, int], None]
    bent: bool = False
    least: int = 0
    log: tuple[str, ...] = ()


# -- the process


def _kill(site: Site, seen: Seen, calls: int) -> None:
    kills = max(1, calls // KILL_EVERY)
    for turn in range(kills):
        pdp = site.pdp
        count = calls * (turn + 1) // kills - calls * turn // kills

        def kill(pdp: object = pdp) -> None:
            site.pdp.process.kill()

        site.ask(seen, count, halfway=kill)
        pdp.end()
        site.start(pdp.port)
        site.until(permits=True)


def _hang(site: Site, seen: Seen, calls: int) -> None:
    def stop() -> None:
        site.pdp.signal(signal.SIGSTOP)

    site.ask(seen, calls // 4, budget_s=HUNG_BUDGET_S, lanes=HUNG_LANES, halfway=stop)
    # Answers that had left before are in: from here on nobody is there who could decide.
    try:
        rest = calls - calls // 4
        site.ask(seen, rest, budget_s=HUNG_BUDGET_S, lanes=HUNG_LANES, permits=False)
    finally:
        site.pdp.signal(signal.SIGCONT)
    site.until(permits=True)


# -- the disk


def _fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        for size in (FILL_STEP, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


def _full(site: Site, seen: Seen, calls: int) -> None:
    ballast = site.spool.parent / "ballast"

    def fill() -> None:
        if site.mounted:
            _fill_up(ballast)
        else:
            site.pdp.forbid_growth(forbid=True)

    site.ask(seen, calls // 4, halfway=fill)
    # What room there was in the last page is used up when the first record fails.
    site.until(permits=False)
    site.ask(seen, calls - calls // 4, permits=False)
    if site.mounted:
        ballast.unlink()
    else:
        site.pdp.forbid_growth(forbid=False)
    site.until(permits=True)


def _slow_disk(site: Site, seen: Seen, calls: int) -> None:
    def slow() -> None:
        site.controls.write(sync_s=HUNG_BUDGET_S * 2)

    # Few at once: of a crowd most would be turned away at the door, and not wait for the disk.
    site.ask(seen, calls // 4, budget_s=HUNG_BUDGET_S, lanes=FEW_LANES, halfway=slow)
    rest = calls - calls // 4
    site.ask(seen, rest, budget_s=HUNG_BUDGET_S, lanes=FEW_LANES, permits=False)
    site.controls.write()
    site.until(permits=True)
    site.settle()


# -- the clock


def _step(shift_s: float) -> Callable[[Site, Seen, int], None]:
    def act(site: Site, seen: Seen, calls: int) -> None:
        seen.fresh_until_ns = site.heartbeat(STEP_HEARTBEAT_S)
        site.ask(seen, calls // 4, halfway=lambda: site.controls.write(shift_s=shift_s))
        site.ask(seen, calls - calls // 4, permits=False)
        site.controls.write()
        site.heartbeat()
        site.until(permits=True)

    return act


# -- certificates


def _sleep_until(when: datetime, more_s: float = 0.0) -> None:
    # Good for all of its last second.
    time.sleep(max(0.0, when.timestamp() + 1 + more_s - time.time()))


def _caller_expires(site: Site, seen: Seen, calls: int) -> None:
    svid = site.callers.issue(FRONTEND, lifetime=CALLER_SHORT)
    client, _ = site.new_client(svid)
    with client:
        site.ask(seen, calls // 4, client=client)
        _sleep_until(svid.leaf.not_valid_after_utc)
        site.ask(seen, calls - calls // 4, client=client, permits=False)


def _pdp_expires(site: Site, seen: Seen, calls: int) -> None:
    svid = site.show(SHORT)
    site.ask(seen, calls // 4)
    # Clients check it in handshakes only: on open connections the PDP itself answers no more.
    _sleep_until(svid.leaf.not_valid_after_utc, 1.0)
    site.until(permits=False)
    site.ask(seen, calls - calls // 4, permits=False)
    site.show(LONG)
    site.until(permits=True)


def _callers_authority_removed(site: Site, seen: Seen, calls: int) -> None:
    site.ask(seen, calls // 4, halfway=lambda: site.trust(site.authority))
    site.until(permits=False)
    site.ask(seen, calls - calls // 4, permits=False)
    site.trust(site.authority, site.callers)
    site.until(permits=True)


def _pdps_authority_removed(site: Site, seen: Seen, calls: int) -> None:
    client, files = site.new_client()
    with client:
        site.ask(
            seen, calls // 4, client=client,
            halfway=lambda: files.trust(site.callers.bundle_pem),
        )  # fmt: skip
        site.until(permits=False, client=client)
        site.ask(seen, calls - calls // 4, client=client, permits=False)
        files.trust(site.authority.bundle_pem)
        site.until(permits=True, client=client)


# -- the bundle store


def _hang_up(handler: object, data: bytes | None) -> None:
    raise ConnectionResetError


def _until_stale(site: Site, seen: Seen, calls: int, spoil: Callable[[], None]) -> None:
    """Ask before and after the last heartbeat that the PDP believes has ended."""
    fresh_until_ns = seen.fresh_until_ns = site.heartbeat(HEARTBEAT_S)
    spoil()
    site.ask(seen, calls // 2)
    time.sleep(max(0.0, (fresh_until_ns - time.time_ns()) / NANOS))
    site.ask(seen, calls - calls // 2, permits=False)
    site.heartbeat()
    site.until(permits=True)


def _store_answers(answer: Answer) -> Callable[[Site, Seen, int], None]:
    def act(site: Site, seen: Seen, calls: int) -> None:
        def spoil() -> None:
            site.store.answer = answer

        _until_stale(site, seen, calls, spoil)

    return act


def _garbage(site: Site, seen: Seen, calls: int) -> None:
    def spoil() -> None:
        site.store.files = {
            name: bytes(255 - byte for byte in data) for name, data in site.store.files.items()
        }

    _until_stale(site, seen, calls, spoil)


def _yesterdays(site: Site, seen: Seen, calls: int) -> None:
    def spoil() -> None:
        site.store.files = site.old

    _until_stale(site, seen, calls, spoil)


def _wrong_digest(site: Site, seen: Seen, calls: int) -> None:
    def spoil() -> None:
        site.publish()
        served = site.repository.saved()
        for name in served:
            if name.endswith(".bundle.tar"):
                served[name] = yesterday()
        site.store.files = served

    _until_stale(site, seen, calls, spoil)


# -- load


def _crowd(site: Site, seen: Seen, calls: int) -> None:
    async def crowd() -> None:
        numbers = iter(range(calls))
        _, files = site.new_client()
        async with AsyncClient(
            f"localhost:{site.pdp.port}", **files.paths, budget_s=BUDGET_S
        ) as client:

            async def one() -> None:
                for _ in numbers:
                    subject, asked = seen.question()
                    started = time.monotonic()
                    decision = await client.authorize(subject, "read", asked)
                    late_s = time.monotonic() - started - BUDGET_S
                    seen.keep(asked, decision, late_s, permits=True)
                    if decision.cause is Cause.OVERLOADED:
                        await asyncio.sleep(BUDGET_S)

            await asyncio.gather(*(one() for _ in range(CROWD)))

    site.controls.write(sync_s=CROWD_SYNC_S)
    asyncio.run(crowd())
    site.controls.write()
    site.until(permits=True)
    site.settle()


STALE_RECORD = "permits before `fresh_until` only; the denials, as STALE"

ROWS: tuple[Row, ...] = (
    Row("killed", "kill -9 while calls are in flight, and a restart on the same spool",
        (Cause.UNREACHABLE,), "denied until it is back",
        "every permit that was received; recovery is clean", 0.2, _kill),
    Row("hung", "SIGSTOP while calls are in flight, SIGCONT later",
        (Cause.UNREACHABLE,), "denied at the end of the budget",
        "what was answered before; late questions, as DEADLINE", 0.5, _hang),
    Row("disk_full", "the spool's file system is full",
        (Cause.AUDIT,), "denied; permits again when there is room",
        "nothing of these denials; where the write failed, POISONED", 0.4, _full),
    Row("file_limit", "no file of the PDP may grow (RLIMIT_FSIZE)",
        (Cause.AUDIT,), "denied; permits again when files may grow",
        "nothing of these denials; where the write failed, POISONED", 0.4, _full, bent=True),
    # The door learns how long answers take: on a busy machine it turns away most of the later ones.
    Row("fsync_slow", "each fsync of the spool takes twice the budget",
        (Cause.AUDIT, Cause.UNREACHABLE, Cause.OVERLOADED),
        "denied at the end of the budget, later at the door",
        "permits that nobody received: a PERMIT says that it may have been answered", 0.5,
        _slow_disk, bent=True),
    Row("clock_ahead", "the PDP's clock steps two hours ahead",
        (Cause.STALE,), "denied until the clock is back", "the denials, as STALE, at that time",
        0.4, _step(STEP_S), bent=True),
    Row("clock_behind", "the PDP's clock steps two hours back",
        (Cause.STALE,), "denied until the clock is back", "the denials, as STALE, at that time",
        0.4, _step(-STEP_S), bent=True),
    Row("caller_expired", "the caller's certificate expires under its open connection",
        (Cause.CALLER, Cause.UNREACHABLE), "denied from the second on",
        "nothing: nobody was identified", 0.5, _caller_expires),
    Row("pdp_expired", "the PDP's certificate expires under open connections",
        (Cause.UNREACHABLE,), "denied from that second on",
        "what was answered before", 0.5, _pdp_expires, log=("tls_expired",)),
    Row("callers_ca_removed", "the callers' authority leaves the PDP's trust bundle",
        (Cause.CALLER, Cause.UNREACHABLE), "denied when the PDP has looked at the file",
        "nothing: nobody was identified", 0.5, _callers_authority_removed, log=("tls_updated",)),
    Row("pdps_ca_removed", "the PDP's authority leaves the client's trust bundle",
        (Cause.UNREACHABLE,), "denied within 3 s of calls", "what was answered before", 0.5,
        _pdps_authority_removed),
    Row("store_down", "the bundle store hangs up on everybody",
        (Cause.STALE,), "nothing, then denied from `fresh_until` on", STALE_RECORD, 0.3,
        _store_answers(_hang_up), log=("bundle_unreachable",)),
    Row("store_slow", "the bundle store sends a byte every 50 ms",
        (Cause.STALE,), "nothing, then denied from `fresh_until` on", STALE_RECORD, 0.3,
        _store_answers(dripping(0.05)), log=("bundle_unreachable",)),
    Row("store_old", "the store serves yesterday's repository, whose bundle permits everything",
        (Cause.STALE,), "nothing of it; denied from `fresh_until` on", STALE_RECORD, 0.3,
        _yesterdays, log=("bundle_refused",)),
    Row("store_garbage", "the store serves other bytes for every file",
        (Cause.STALE,), "nothing of it; denied from `fresh_until` on", STALE_RECORD, 0.3,
        _garbage, log=("bundle_refused",)),
    Row("store_digest", "the store serves another bundle than the one that was signed",
        (Cause.STALE,), "nothing of it; denied from `fresh_until` on", STALE_RECORD, 0.3,
        _wrong_digest, log=("bundle_refused",)),
    Row("crowd", "ten times as many callers at once as the PDP takes on; an fsync takes 20 ms",
        (Cause.OVERLOADED,), "some are denied at once, the others answered",
        "what was answered; a denial at the door is counted, not recorded", 0.1, _crowd,
        bent=True, least=2 * CROWD),
)  # fmt: skip


def judge(row: Row, seen: Seen, calls: int, recorded: list[str]) -> list[str]:
    """How the law was broken; empty if it holds.

    Args:
        row: which.
        seen: by clients.
        calls: how many there were to be.
        recorded: what is wrong with the record.
    """
    wrong = [*seen.wrong, *recorded]
    if seen.calls != calls:
        wrong.append(f"{calls} calls were made, {seen.calls} were answered")
    expected = {f"DENY/{cause.name}" for cause in row.causes}
    wrong += [f"the PDP did not tell `{event}`" for event in row.log if event not in seen.told]
    known = expected | {f"DENY/{cause.name}" for cause in (*NOISE, HONEST)} | {"PERMIT/RULE"}
    wrong += [f"unexpected: {outcome}" for outcome in seen.outcomes if outcome not in known]
    felt = sum(seen.outcomes[outcome] for outcome in expected)
    if felt < row.share * calls:
        wrong.append(f"the fault was felt by {felt} of {calls} calls")
    return wrong


def table() -> str:
    """The table of docs/faults.md."""
    lines = [
        "| fault | what it is | clients see | cause | the record says |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        causes = ", ".join(cause.name for cause in row.causes)
        log = ", ".join(f"`{event}`" for event in row.log)
        cells = (f"`{row.name}`", row.fault, row.sees, causes, row.record, log)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"
