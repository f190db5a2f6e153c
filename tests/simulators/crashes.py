"""Histories of one spool on a simulated disk: work, failures, deaths, and what must hold after.

The law: what was acknowledged is there, the log verifies, and recovering again
changes nothing. One seed is one history.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from pdp.audit.budget import SpoolLimits
from pdp.audit.findings import Survey
from pdp.audit.journal import Journal, Waiting
from pdp.audit.log import Opened
from pdp.audit.problems import Place
from pdp.audit.survey import survey
from pdp.errors import SpoolError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.v1.authorization_pb2 import CAUSE_RULE, EFFECT_DENY, EFFECT_PERMIT
from pdp.values import NANOS
from tests.simulators.disk import PowerLoss, SimulatedDisk

SPOOL = Path("/spool")
NOW_NS = 1_790_000_000 * NANOS
FAULT_KINDS = frozenset(
    {"write", "sync", "create", "open", "remove", "rename", "sync_directory", "make_directory"}
)


def decision(number: int, *, permit: bool = True, filler: int = 0) -> audit_pb2.DecisionRecord:
    """A small record."""
    entry = audit_pb2.DecisionRecord(
        decision_id=f"decision-{number}",
        action="read",
        resource_type="document",
        resource_id="x" * filler,
        effect=EFFECT_PERMIT if permit else EFFECT_DENY,
        cause=CAUSE_RULE,
    )
    entry.caller.spiffe_id = "spiffe://demo.example.org/web"
    return entry


def waiting(number: int, *, permit: bool = True, filler: int = 0) -> Waiting:
    """The same, as the spool hands it to the journal."""
    entry = decision(number, permit=permit, filler=filler)
    return Waiting(entry, entry.SerializeToString(), NOW_NS + number)


@dataclass(slots=True)
class History:
    """One history.

    Attributes:
        disk: where it happens.
        acknowledged: records that were declared durable.
        broken: how the law was broken; empty if it holds.
    """

    disk: SimulatedDisk
    acknowledged: list[RecordRef] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    now_ns: int = NOW_NS
    written: int = 0

    def clock_ns(self) -> int:
        """Wall and monotonic clock in one."""
        return self.now_ns

    def open(self, limits: SpoolLimits) -> Journal:
        """Start the PDP."""
        clocks = (self.clock_ns, self.clock_ns)
        return Journal.open(SPOOL, "pdp", 0, limits=limits, disk=self.disk, clocks=clocks)

    def look(self) -> tuple[Survey, list[RecordRef]]:
        """What an auditor sees, who holds everything that was acknowledged against it."""
        seen: list[RecordRef] = []

        def visit(_: Place, record: Opened) -> None:
            seen.append(record.ref)

        return survey([SPOOL], self.disk, heads=self.acknowledged, visit=visit), seen


def run_history(seed: int, *, holes: bool = False, disk: SimulatedDisk | None = None) -> History:
    """Live through one history and judge it."""
    chance = random.Random(f"history {seed}")
    history = History(disk or SimulatedDisk(seed, holes=holes))
    limits = SpoolLimits(
        directory_bytes_max=8 * 65_536, segment_bytes_max=chance.choice([300, 2_000])
    )
    fault_rate = chance.choice([0.0, 0.05, 0.3])
    for _ in range(chance.randint(1, 3)):
        history.disk.arm(chance.randint(1, 40), fault_rate, FAULT_KINDS)
        try:
            _boot(history, chance, limits)
        except PowerLoss:
            continue
        except SpoolError:
            # The PDP exits; the machine goes on.
            history.disk.kill()
        if chance.random() < 0.7:
            history.disk.lose_power()
        else:
            history.disk.kill()
    _judge(history, limits, holes=holes)
    return history


def _boot(history: History, chance: random.Random, limits: SpoolLimits) -> None:
    """One life of the PDP. Ends by PowerLoss, by an error at start, or undisturbed."""
    journal = history.open(limits)
    for _ in range(chance.randint(1, 8)):
        batch = []
        for _ in range(chance.choice([1, 1, 2, 5])):
            history.written += 1
            batch.append(waiting(history.written, filler=chance.choice([0, 10, 150])))
        results = journal.commit(batch)
        history.acknowledged += [ref for ref in results if isinstance(ref, RecordRef)]
        history.now_ns += chance.choice([0, NANOS // 20, 10 * NANOS])
        journal.tick()
    if chance.random() < 0.3:
        journal.close()


def _judge(history: History, limits: SpoolLimits, *, holes: bool) -> None:
    """Recover without further trouble, twice, losing power in between."""
    history.disk.arm(None)
    journal = history.open(limits)
    journal.commit([waiting(0)])
    before = _check(history, holes=holes)
    # Nothing of what recovery built on may have been only in the cache.
    history.disk.lose_power()
    again = history.open(limits)
    after = _check(history, holes=holes)
    again.close()
    if after[: len(before)] != before:
        history.broken.append("recovering again changed the log")
    if not holes and len(after) != len(before) + 1:
        history.broken.append(f"recovering again stated {len(after) - len(before)} things, not 1")


def _check(history: History, *, holes: bool) -> list[RecordRef]:
    found, seen = history.look()
    missing = set(history.acknowledged) - set(seen)
    if missing:
        history.broken.append(f"{len(missing)} acknowledged records are missing")
    if not holes and found.problems.count:
        history.broken += [f"verification: {problem}" for problem in found.problems.found[:3]]
    if len(seen) != len(set(seen)):
        history.broken.append("a record is in the log twice")
    return seen
