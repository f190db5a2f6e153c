"""The spool as the decision point sees it: hand over a record, await its durability.

One thread owns the journal and the disk. It gets the records of one turn of the
event loop together, and while an fsync runs, more collect in a queue, and the
next batch takes them all: the busier the PDP, the fewer fsyncs and thread
switches per decision. Nothing waits on purpose, so a lone decision pays for one
fsync and a thread switch. The event loop never waits for the disk or a lock.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import Disk, RealDisk
from pdp.audit.journal import Clock, Journal, JournalFigures, Waiting
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.errors import SpoolError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2

# Bounds of one batch, so that the first of many waits for a disk, not for a queue: a batch is
# sealed in about 10 us per record, and a segment is at most one batch longer than its limit.
_BATCH_RECORDS_MAX = 1_024
_BATCH_BYTES_MAX = 1024 * 1024

_log = logging.getLogger(__name__)

_Future = asyncio.Future[RecordRef]
_Item = tuple[Waiting, _Future]


class Spool:
    """Durable records. Use `open`.

    `append` is for one event-loop thread; everything else may be called from
    anywhere. Nothing is retried here, and nothing should be by the caller: a
    record whose future failed may or may not be on the disk, so its decision
    must not leave as a permit.
    """

    def __init__(self, journal: Journal, pdp_id: str, limits: SpoolLimits) -> None:
        self.pdp_id = pdp_id
        self._journal = journal
        self._limits = limits
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._gathered: list[_Item] = []
        # What waits is given minus taken. Each is written by one thread only, so there is no lock.
        self._given_records = self._given_bytes = 0
        self._taken_records = self._taken_bytes = 0
        self._closing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="pdp-audit-writer", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        directory: Path,
        instance: str,
        worker: int = 0,
        *,
        limits: SpoolLimits | None = None,
        clock_ns: Clock = time.time_ns,
        monotonic_ns: Clock = time.monotonic_ns,
        disk: Disk | None = None,
    ) -> Spool:
        """Recover what is there, begin a boot, start the writer.

        Reads everything that is in the directory, which takes about half a
        minute per GiB of small records; archiving keeps that short.

        Args:
            directory: one per worker; made if only its parent exists.
            instance: the PDP's name in records.
            worker: 0 while there is one.
            limits: see there.
            clock_ns: wall clock, for the spool's own statements.
            monotonic_ns: for intervals.
            disk: the file system; the real one unless a test says otherwise.

        Raises:
            ConfigurationError: the directory is in use, or open to others, or
                `instance` cannot be written into records.
            SpoolError: the disk does not take the first record.
        """
        limits = limits or SpoolLimits()
        journal = Journal.open(
            directory,
            instance,
            worker,
            limits=limits,
            disk=disk or RealDisk(),
            clocks=(clock_ns, monotonic_ns),
        )
        return cls(journal, journal.pdp_id, limits)

    @property
    def healthy(self) -> bool:
        """Whether a PERMIT could be recorded now."""
        return self._journal.healthy and not self._stopped and not self._closing

    @property
    def head(self) -> RecordRef | None:
        """The last durable record of this boot."""
        return self._journal.head

    @property
    def figures(self) -> JournalFigures:
        """What was done since the start. Read only."""
        return self._journal.figures

    @property
    def failures(self) -> int:
        """Writes and fsyncs that failed since the start."""
        return self._journal.failures

    @property
    def size_bytes(self) -> int:
        """What is charged to the size budget, as far as the writer has come."""
        return self._journal.size_bytes

    @property
    def waiting(self) -> int:
        """Records that wait for the disk."""
        return self._given_records - self._taken_records

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """Hand over a record. Call on the event loop; never blocks it.

        Args:
            entry: at most ENTRY_BYTES_MAX when serialised; not to be changed afterwards.
            time_ns: when the decision was made, since 1970.

        Returns:
            A future with the record's name, once its bytes are on stable
            storage. It fails with SpoolError if that cannot be known, or the
            spool or its queue is full; with SpoolSuppressedError if a denial
            was counted in its place. Cancelling it cancels no write.
        """
        future = asyncio.get_running_loop().create_future()
        body = entry.SerializeToString()
        size = len(body)
        if self._stopped or self._closing:
            _fail(future, "the spool is closed")
        elif size > ENTRY_BYTES_MAX:
            _fail(future, f"a record's body has {size} bytes, {ENTRY_BYTES_MAX} are allowed")
        elif (
            self._given_records - self._taken_records >= self._limits.queue_records_max
            or self._given_bytes - self._taken_bytes + size > self._limits.queue_bytes_max
        ):
            _fail(future, "more records wait for the disk than the queue takes")
        else:
            self._given_records += 1
            self._given_bytes += size
            self._gathered.append((Waiting(entry, body, time_ns), future))
            if len(self._gathered) == 1:
                # Runs after all that is due in this turn.
                future.get_loop().call_soon(self._hand_over)
        return future

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        # The writer wakes with the first, and finds all: this thread has the interpreter lock.
        for item in gathered:
            self._queue.put(item)
        if self._stopped:
            # The writer may have looked into the queue for the last time before that.
            for _, future in gathered:
                _fail(future, "the spool is closed")

    def close(self, timeout_s: float = 30.0) -> None:
        """Write everything that waits, and counts of denials; release the directory.

        Blocks; call it off the event loop, or when the loop has nothing left
        to do. Futures are resolved on their loop, so run it once more.

        Raises:
            SpoolError: the disk took longer than `timeout_s`.
        """
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise SpoolError(f"the disk did not take the last records in {timeout_s:g} s")

    # Below: the writer's thread.

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            self._journal.close()
        except Exception:  # noqa: BLE001 a bug of ours: what waits must fail, not hang
            _log.critical("the audit writer stopped: no permit leaves any more", exc_info=True)
        self._stopped = True
        left = []
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                left.append(item)
        self._settle(left, [SpoolError("the spool is closed") for _ in left])

    def _turn(self) -> bool:
        """One batch. False when there will be no more."""
        wait_s = self._journal.tick()
        try:
            item = self._queue.get(timeout=wait_s)
        except queue.Empty:
            return True
        batch: list[_Item] = []
        size = 0
        more = True
        while True:
            if item is None:
                more = False
                break
            batch.append(item)
            size += len(item[0].body)
            if len(batch) >= _BATCH_RECORDS_MAX or size >= _BATCH_BYTES_MAX:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        if batch:
            try:
                results = self._journal.commit([waiting for waiting, _ in batch])
            except Exception:
                self._settle(batch, [SpoolError("the audit writer failed") for _ in batch])
                raise
            self._taken_records += len(batch)
            self._taken_bytes += size
            self._settle(batch, results)
        return more

    @staticmethod
    def _settle(batch: Iterable[_Item], results: Iterable[RecordRef | SpoolError]) -> None:
        """Resolve futures, all of a loop in one call to it."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Future, RecordRef | SpoolError]]] = {}
        for (_, future), result in zip(batch, results, strict=True):
            by_loop.setdefault(future.get_loop(), []).append((future, result))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, settled)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                _log.debug("%d records were written for a loop that is closed", len(settled))


def _resolve(settled: list[tuple[_Future, RecordRef | SpoolError]]) -> None:
    """On the event loop."""
    for future, result in settled:
        if future.done():
            # Whoever waited gave up.
            continue
        if isinstance(result, SpoolError):
            _set_error(future, result)
        else:
            future.set_result(result)


def _fail(future: _Future, message: str) -> None:
    if not future.done():
        _set_error(future, SpoolError(message))


def _set_error(future: _Future, error: SpoolError) -> None:
    future.set_exception(error)
    # Mark it as seen: a caller that gave up meanwhile has counted it, and a log line for each
    # denial of an unwritable disk would help nobody.
    future.exception()
