"""The growing end of the log: one segment in use, one thread.

A segment takes decisions only after it, its name and its first statements are
durable. A write or fsync that fails poisons its segment: nothing is retried,
the batch fails, and the next segment states from which offset on the poisoned
one holds bytes that were never answered for. They may be on the disk all the
same, whole or torn; the statement is what explains them, and the chain goes on
from the last record before them.

Nothing is ever rewritten, truncated or, once it may hold a decision, removed.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import AppendFile, Disk
from pdp.audit.log import NO_HASH, TAG_SPOOL_EVENT, PdpId, Sealer, head_text, leaf_hash
from pdp.audit.segment import FRAME_OVERHEAD, SegmentName, encode_frame, encode_header
from pdp.errors import SpoolError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.values import NANOS

_DETAIL_MAX = 512
# Segments that failed and could not be removed, until no more are made: the next states them all.
_FAILED_MAX = 100

_log = logging.getLogger(__name__)


class Body(NamedTuple):
    """What a record says, serialised; the appender adds who, which and after what."""

    tag: bytes
    data: bytes
    time_ns: int


@dataclass(frozen=True, slots=True)
class _Failed:
    """Bytes that may be in a segment and were never answered for."""

    name: SegmentName
    offset: int
    length: int
    why: str


class Appender:
    """Appends to the log. Not thread-safe; `head` may be read from anywhere.

    Args:
        directory: the spool.
        pdp_id: who writes.
        goes_on_from: hash of the last record of the boot before.
        limits: see there.
        disk: the file system.
        clock_ns: wall clock, for statements.
        monotonic_ns: for the back-off.

    Attributes:
        head: the last durable record of this boot.
        segment: the segment in use, or the last that was.
        failures: writes and fsyncs that failed.
    """

    def __init__(
        self,
        directory: Path,
        pdp_id: PdpId,
        goes_on_from: bytes | None,
        *,
        limits: SpoolLimits,
        disk: Disk,
        clock_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self.head: RecordRef | None = None
        self.segment = SegmentName(pdp_id.boot, 0)
        self.failures = 0
        self._directory = directory
        self._writer = str(pdp_id)
        self._limits = limits
        self._disk = disk
        self._clock_ns = clock_ns
        self._monotonic_ns = monotonic_ns
        self._sealer = Sealer(pdp_id)
        # Position in the chain: the last durable record.
        self._seq = 0
        self._hash = goes_on_from or NO_HASH
        self._file: AppendFile | None = None
        # Durable bytes of the segment in use.
        self._size = 0
        # Names are never used twice, not even that of a segment that was removed.
        self._number = 0
        self._failed: list[_Failed] = []
        self._removal_pending = False
        self._wait_s = limits.reopen_first_s
        self.reopen_at_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a segment that can be written."""
        return self._file is not None

    def size_of(self, body_bytes: int) -> int:
        """Bytes that a record takes on the disk, at most."""
        return body_bytes + self._sealer.overhead + FRAME_OVERHEAD

    def ready(self) -> bool:
        """Whether a segment with room is open: rotates, and reopens if that is due."""
        if self._file is not None:
            if self._size < self._limits.segment_bytes_max:
                return True
            self._file.close()
            self._file = None
            self._reopen()
        elif self._monotonic_ns() >= self.reopen_at_ns:
            self._reopen()
        return self._file is not None

    def append(self, bodies: Sequence[Body]) -> list[RecordRef]:
        """One write, one fsync. When this returns, all of them are durable.

        Raises:
            SpoolError: nothing is known about any of them. Another segment has
                been tried already; do not try these again.
        """
        file = self._file
        if file is None:
            raise SpoolError("the spool cannot be written at the moment")
        refs: list[RecordRef] = []
        parts: list[bytes] = []
        seq, last = self._seq, self._hash
        for tag, data, time_ns in bodies:
            seq += 1
            record = self._sealer.seal(seq, last, time_ns, tag, data)
            last = leaf_hash(record)
            parts.append(encode_frame(record))
            refs.append(RecordRef(self._writer, seq, last))
        batch = b"".join(parts)
        try:
            file.write(batch)
            file.sync()
        except OSError as error:
            segment = self.segment
            self._poison(len(batch), error)
            raise SpoolError(
                f"segment `{segment}` could not be written: {error.strerror or error}"
            ) from error
        self._size += len(batch)
        self._seq, self._hash = seq, last
        self.head = refs[-1] if refs else self.head
        return refs

    def close(self) -> None:
        """Let go of the segment. What was appended is durable already."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def begin(self, statements: Sequence[audit_pb2.SpoolEvent]) -> int:
        """Open a new segment with these statements; return its bytes.

        Raises:
            OSError: it is not durable, and nothing is known about what of it is there.
        """
        self._number += 1
        name = SegmentName(self.segment.boot, self._number)
        seq, last = self._seq, self._hash
        parts = [encode_header(name)]
        if statements:
            # Readers take all of them or none: see `pdp.audit.statements`.
            statements[0].opening = len(statements)
        for statement in statements:
            seq += 1
            body = statement.SerializeToString()
            record = self._sealer.seal(seq, last, self._clock_ns(), TAG_SPOOL_EVENT, body)
            last = leaf_hash(record)
            parts.append(encode_frame(record))
        data = b"".join(parts)
        file: AppendFile | None = None
        try:
            file = self._disk.create(self._directory / str(name))
            file.write(data)
            file.sync()
            # INVARIANT: content first, then the name, then the first decision.
            self._disk.sync_directory(self._directory)
        except OSError:
            if file is not None:
                file.close()
            self._discard(name, len(data))
            raise
        self._file, self.segment, self._size = file, name, len(data)
        self._seq, self._hash = seq, last
        if statements:
            self.head = RecordRef(self._writer, seq, last)
        return len(data)

    def _discard(self, name: SegmentName, length: int) -> None:
        """Remove a segment that never counted; if it stays, that is stated like a failed write.

        It holds this appender's own statements at most, never a decision, and
        what it states will be stated again.
        """
        self._removal_pending = True
        try:
            self._disk.remove(self._directory / str(name))
        except FileNotFoundError:
            return
        except OSError:
            # A disk that became read-only refuses to remove even what was never made.
            if self._may_be_there(name):
                self._failed.append(_Failed(name, 0, length, "opening it failed"))

    def _may_be_there(self, name: SegmentName) -> bool:
        try:
            return str(name) in self._disk.names(self._directory)
        except OSError:
            return True

    def _settle_removals(self) -> None:
        """Before anything takes a discarded segment's place in the chain.

        INVARIANT: what was removed stays removed; else a power loss could
        bring it back beside what took its place.

        Raises:
            OSError: it may come back, or the disk leaves too much behind.
        """
        if len(self._failed) > _FAILED_MAX:
            raise OSError(errno.EIO, f"{len(self._failed)} segments failed and cannot be removed")
        if self._removal_pending:
            self._disk.sync_directory(self._directory)
            self._removal_pending = False

    def _poison(self, length: int, error: OSError) -> None:
        """Never touch this segment again; go on in a new one from the last durable record."""
        self.failures += 1
        why = error.strerror or str(error)
        _log.error(
            "segment `%s` is poisoned: up to %d bytes from %d on are in doubt: %s",
            self.segment, length, self._size, why,
        )  # fmt: skip
        self._failed.append(_Failed(self.segment, self._size, length, why))
        self.close()
        self._reopen()

    def _reopen(self) -> None:
        """Try for a new segment; after a failure, less and less often."""
        event = audit_pb2.SpoolEvent
        statements = [
            event(
                kind=event.KIND_POISONED,
                segment=str(failed.name),
                offset=failed.offset,
                bytes=failed.length,
                last_head=head_text(self.head) if self.head else "",
                detail=failed.why[:_DETAIL_MAX],
            )
            for failed in self._failed
        ]
        try:
            self._settle_removals()
            self.begin(statements)
        except OSError as error:
            self.failures += 1
            _log.error("no new segment could be opened: %s", error.strerror or error)
            self.reopen_at_ns = self._monotonic_ns() + int(self._wait_s * NANOS)
            self._wait_s = min(self._wait_s * 2, self._limits.reopen_longest_s)
            return
        self._failed.clear()
        self._wait_s = self._limits.reopen_first_s
