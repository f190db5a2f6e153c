"""The durable half of the spool: one thread, no event loop, no queue.

    open      survey what is there, make it durable, begin a boot in a new segment
    commit    append a batch, fsync once; what it returns may be answered for
    tick      reopen after a failure, write counts, notice room that archiving made

There is no separate recovery: every start surveys, and what a crash left
behind is stated in the first segment of the new boot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pdp
from pdp.audit.appender import Appender, Body
from pdp.audit.budget import Budget, DenialCounts, SpoolLimits, Use
from pdp.audit.disk import Disk, Lock
from pdp.audit.findings import Survey
from pdp.audit.log import ENTRY_BYTES_MAX, TAG_DECISION, TAG_SUPPRESSED, PdpId, head_text
from pdp.audit.survey import LOCK_NAME, archived_heads, segment_names, survey
from pdp.errors import ConfigurationError, SpoolError, SpoolSuppressedError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.v1.authorization_pb2 import EFFECT_PERMIT
from pdp.values import NANOS

# Findings that a boot states one by one; `pdp audit verify` names them all.
_DAMAGE_STATED_MAX = 16
# One is usual, two are possible; more were put there, and stay damage.
_TAILS_STATED_MAX = 100
_DETAIL_MAX = 512
# How often a full spool looks whether archiving made room.
_LOOK_FOR_ROOM_NS = NANOS

_log = logging.getLogger(__name__)

Clock = Callable[[], int]


class Waiting(NamedTuple):
    """A decision that waits for the disk: the message, its serialisation, its time."""

    entry: audit_pb2.DecisionRecord
    body: bytes
    time_ns: int


@dataclass(slots=True)
class JournalFigures:
    """What was done since the start, for telemetry.

    Attributes:
        records: decisions made durable.
        batches: fsyncs that made them so.
        suppressed: denials counted in place of being recorded.
        refused: permits refused because the spool was full.
    """

    records: int = 0
    batches: int = 0
    suppressed: int = 0
    refused: int = 0


class Journal:
    """One PDP's open spool. Use `open`. Not thread-safe, `head` and `healthy` aside.

    Args:
        directory: the spool, surveyed and locked.
        pdp_id: who writes: `instance/worker/boot`.
        lock: released by `close`.
        appender: its growing end, with a segment open.
        budget: charged with what is there.
        disk: the file system.
        clocks: wall clock and monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        directory: Path,
        pdp_id: str,
        lock: Lock,
        appender: Appender,
        budget: Budget,
        *,
        disk: Disk,
        clocks: tuple[Clock, Clock],
    ) -> None:
        self.pdp_id = pdp_id
        self.figures = JournalFigures()
        self._directory = directory
        self._lock = lock
        self._appender = appender
        self._budget = budget
        self._disk = disk
        self._clock_ns, self._monotonic_ns = clocks
        self._counts = DenialCounts(budget.limits.callers_max)
        self._counts_at_ns = 0
        self._full = False
        self._looked_at_ns = -_LOOK_FOR_ROOM_NS

    @classmethod
    def open(
        cls,
        directory: Path,
        instance: str,
        worker: int,
        *,
        limits: SpoolLimits,
        disk: Disk,
        clocks: tuple[Clock, Clock],
    ) -> Journal:
        """Recover what is there and begin a boot.

        Args:
            directory: the spool; made if only its parent exists.
            instance: the PDP's name in records.
            worker: its worker, 0 while there is one.
            limits: see there.
            disk: the file system.
            clocks: wall clock and monotonic clock, in nanoseconds.

        Raises:
            ConfigurationError: the directory is in use, or open to others.
            SpoolError: the boot could not be made durable.
        """
        try:
            lock = _lock(directory, disk)
            try:
                _settle(directory, disk)
                found = survey([directory], disk)
                _insist_on_the_end(found)
                pdp_id = PdpId(instance, worker, 1 + _last_boot(found, directory, disk))
                appender = Appender(
                    directory,
                    pdp_id,
                    found.last.ref.hash if found.last else None,
                    limits=limits,
                    disk=disk,
                    clock_ns=clocks[0],
                    monotonic_ns=clocks[1],
                )
                budget = Budget(limits)
                for segment in found.segments:
                    segment.charge(budget)
                size = appender.begin(_boot_statements(found))
                budget.charge(appender.segment, Use.STATEMENT, size)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise SpoolError(
                f"the spool `{directory}` cannot be opened: {error.strerror or error}: "
                "free some space or mend the disk, then start again"
            ) from error
        return cls(directory, str(pdp_id), lock, appender, budget, disk=disk, clocks=clocks)

    @property
    def head(self) -> RecordRef | None:
        """The last durable record of this boot."""
        return self._appender.head

    @property
    def healthy(self) -> bool:
        """Whether a PERMIT could be recorded now."""
        return self._appender.is_open and not self._full

    @property
    def failures(self) -> int:
        """Writes and fsyncs that failed."""
        return self._appender.failures

    @property
    def size_bytes(self) -> int:
        """What is charged to the size budget."""
        return self._budget.total_bytes

    def commit(self, batch: Sequence[Waiting]) -> list[RecordRef | SpoolError]:
        """Make decisions durable: one write, one fsync.

        Returns:
            For each, in order, the record that is durable now, or why there is
            none. An error says nothing about what is on the disk.
        """
        if not self._appender.ready():
            return [SpoolError("the spool cannot be written at the moment") for _ in batch]
        refusals = [self._refusal(waiting) for waiting in batch]
        bodies = [
            Body(TAG_DECISION, waiting.body, waiting.time_ns)
            for waiting, refusal in zip(batch, refusals, strict=True)
            if refusal is None
        ]
        if not bodies:
            return [refusal for refusal in refusals if refusal is not None]
        try:
            refs = iter(self._appender.append(bodies))
        except SpoolError as error:
            # One each: an exception object collects the traceback of everyone who raises it.
            return [refusal or SpoolError(str(error)) for refusal in refusals]
        self.figures.records += len(bodies)
        self.figures.batches += 1
        return [refusal or next(refs) for refusal in refusals]

    def tick(self) -> float | None:
        """Do what is due.

        Returns:
            Seconds until something will be, or None.
        """
        due: list[int] = []
        if not self._appender.is_open and not self._appender.ready():
            due.append(self._appender.reopen_at_ns)
        if self._full:
            self._look_for_room()
        if self._full:
            due.append(self._looked_at_ns + _LOOK_FOR_ROOM_NS)
        now = self._monotonic_ns()
        if self._counts and self._appender.is_open:
            if now >= self._counts_at_ns:
                self._write_counts(Use.COUNTS)
                self._defer_counts()
            if self._counts:
                due.append(self._counts_at_ns)
        return max(0.0, (min(due) - now) / NANOS) if due else None

    def close(self) -> None:
        """Write what is counted and let go of the directory."""
        if self._counts and self._appender.ready():
            self._write_counts(Use.STATEMENT)
        if self._counts:
            _log.error("%d denials were counted and could not be written", self._counts.total())
        self._appender.close()
        self._lock.release()

    # Sharing out the size budget.

    def _refusal(self, waiting: Waiting) -> SpoolError | None:
        """Why this decision is not recorded, after counting it; or None, after charging it."""
        if len(waiting.body) > ENTRY_BYTES_MAX:
            return SpoolError(f"a record's body has at most {ENTRY_BYTES_MAX} bytes")
        use = Use.PERMIT if waiting.entry.effect == EFFECT_PERMIT else Use.DENIAL
        size = self._appender.size_of(len(waiting.body))
        admitted = self._budget.admits(use, size)
        if not admitted:
            self._look_for_room()
            admitted = self._budget.admits(use, size)
        if admitted:
            self._budget.charge(self._appender.segment, use, size)
            return None
        if use is Use.DENIAL:
            if not self._counts:
                self._defer_counts()
            self._counts.add(waiting.entry, waiting.time_ns)
            self.figures.suppressed += 1
            return SpoolSuppressedError("denials have used their share of the spool: counted")
        self._full = True
        self.figures.refused += 1
        return SpoolError(
            f"the spool is full ({self._budget.total_bytes} bytes): "
            "`pdp audit archive` makes room, or raise its size"
        )

    def _look_for_room(self) -> None:
        now = self._monotonic_ns()
        if now - self._looked_at_ns < _LOOK_FOR_ROOM_NS:
            return
        self._looked_at_ns = now
        try:
            self._budget.keep_only(segment_names(self._disk, self._directory))
        except OSError as error:
            _log.warning("the spool `%s` could not be listed: %s", self._directory, error)
        largest = self._appender.size_of(ENTRY_BYTES_MAX)
        if self._budget.admits(Use.PERMIT, min(largest, self._budget.limits.segment_bytes_max)):
            self._full = False

    def _defer_counts(self) -> None:
        interval_ns = int(self._budget.limits.count_interval_s * NANOS)
        self._counts_at_ns = self._monotonic_ns() + interval_ns

    def _write_counts(self, use: Use) -> None:
        """Record counts of denials; those that could not be written are kept."""
        while self._counts:
            message = self._counts.message(ENTRY_BYTES_MAX)
            body = message.SerializeToString()
            size = self._appender.size_of(len(body))
            if not self._budget.admits(use, size):
                return
            self._budget.charge(self._appender.segment, use, size)
            try:
                self._appender.append([Body(TAG_SUPPRESSED, body, self._clock_ns())])
            except SpoolError:
                return
            self._counts.forget(message)


def _lock(directory: Path, disk: Disk) -> Lock:
    disk.make_directory(directory)
    lock = disk.lock(directory / LOCK_NAME)
    if lock is None:
        holder = disk.lock_holder(directory / LOCK_NAME)
        who = f"process {holder}" if holder else "another process"
        raise ConfigurationError(
            f"`{directory}` is in use by {who}: give each PDP a spool directory of its own"
        )
    return lock


def _last_boot(found: Survey, directory: Path, disk: Disk) -> int:
    """The highest number in use, here or in what was archived from here."""
    archived = [PdpId.parse(head.pdp_id) for head in archived_heads(disk, directory)]
    boots = [segment.name.boot for segment in found.segments]
    return max([0, *boots, *(writer.boot for writer in archived if writer)])


def _insist_on_the_end(found: Survey) -> None:
    """A boot that went on from an older record would look like a removal for ever."""
    if found.end_unreadable:
        raise SpoolError(
            "the disk cannot read the end of the spool: mend it, or move the unreadable segment "
            "away and have `pdp audit verify` find it missing"
        )


def _boot_statements(found: Survey) -> list[audit_pb2.SpoolEvent]:
    """What the new boot states about what it found."""
    event = audit_pb2.SpoolEvent
    last_head = head_text(found.last.ref) if found.last else ""
    version = f"portcullis {pdp.__version__}"
    statements = [event(kind=event.KIND_BOOT, last_head=last_head, detail=version)]
    for tail in found.tails[:_TAILS_STATED_MAX]:
        _log.warning("segment `%s` ends in a torn record", tail.segment)
        statements.append(
            event(
                kind=event.KIND_TORN_TAIL,
                segment=str(tail.segment),
                offset=tail.offset,
                bytes=tail.length,
                last_head=last_head,
            )
        )
    problems = found.problems
    for problem in problems.found[:_DAMAGE_STATED_MAX]:
        # Kept as it is, and no reason to stop: records to come are as good as ever.
        _log.error("the spool is damaged: %s", problem)
        statements.append(
            event(
                kind=event.KIND_DAMAGE,
                segment=problem.place.segment,
                offset=problem.place.offset,
                detail=str(problem)[:_DETAIL_MAX],
            )
        )
    if problems.count > _DAMAGE_STATED_MAX:
        detail = f"{problems.count} findings in all: `pdp audit verify` names them"
        statements.append(event(kind=event.KIND_DAMAGE, detail=detail))
    return statements


def _settle(directory: Path, disk: Disk) -> None:
    """Make durable what the last boot left, so that what is read next is what will stay.

    A process that was killed leaves records that were written but not yet
    synced. The new boot goes on from the last that it reads, so that one must
    not vanish. Boots before the last were settled by the one after them, before
    it made its first segment.
    """
    names = segment_names(disk, directory)
    for name in names:
        if name.boot == names[-1].boot:
            try:
                disk.settle_file(directory / str(name))
            except OSError as error:
                # What did not get to the disk was never answered for, and will not be read.
                _log.error("segment `%s` could not be synced: %s", name, error.strerror or error)
