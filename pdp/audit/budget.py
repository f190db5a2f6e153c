"""How the size budget of a spool is shared out. Pure.

Denials may use half of it, and are only counted after that, so nobody fills
the log by being refused. Permits may use what is left. Counts have a reserve
that nothing else may use. The PDP's own few statements (a boot, a failed
write) are always written: there is one of them per start or failure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from pdp.audit.segment import SegmentName
from pdp.errors import ConfigurationError
from pdp.v1 import audit_pb2

MEBIBYTE = 1024 * 1024
# Of the budget: 1/16, but a mebibyte is months of counts.
_RESERVE_SHARE = 16
_RESERVE_BYTES_MAX = MEBIBYTE
# SPIFFE-ID specification, section 2.3: at most 2048 bytes, all ASCII.
_SPIFFE_ID_MAX = 2048
# So that archiving, which leaves the segment in use alone, can free most of a full spool.
_SEGMENTS_MIN = 8


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Limits of one spool.

    Attributes:
        directory_bytes_max: size budget of the directory.
        segment_bytes_max: a segment that has reached this is followed by a new one.
        queue_records_max: records that may wait for the disk.
        queue_bytes_max: bytes that may wait for the disk.
        count_interval_s: how often counts of denials are written.
        callers_max: callers whose denials are counted one by one.
        reopen_first_s: after a failed write, the first wait before a new segment is tried again.
        reopen_longest_s: the longest.

    Raises:
        ConfigurationError: a limit is out of range.
    """

    directory_bytes_max: int = 1024 * MEBIBYTE
    segment_bytes_max: int = 16 * MEBIBYTE
    queue_records_max: int = 4096
    queue_bytes_max: int = 16 * MEBIBYTE
    count_interval_s: float = 60.0
    callers_max: int = 256
    reopen_first_s: float = 0.1
    reopen_longest_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("segment_bytes_max", "queue_records_max", "queue_bytes_max", "callers_max"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` is {getattr(self, name)}: set at least 1")
        for name in ("count_interval_s", "reopen_first_s", "reopen_longest_s"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"`{name}` is {getattr(self, name)}: set more than 0")
        if self.directory_bytes_max < _SEGMENTS_MIN * self.segment_bytes_max:
            raise ConfigurationError(
                f"`directory_bytes_max` is {self.directory_bytes_max}: set at least "
                f"{_SEGMENTS_MIN} times `segment_bytes_max` ({self.segment_bytes_max}), so that "
                "archiving can make room"
            )


class Use(enum.Enum):
    """What bytes are used for."""

    PERMIT = enum.auto()
    DENIAL = enum.auto()
    COUNTS = enum.auto()
    STATEMENT = enum.auto()


@dataclass(slots=True)
class _Used:
    total: int = 0
    denials: int = 0
    counts: int = 0


@dataclass(slots=True)
class Budget:
    """Bytes in use, by segment. One thread."""

    limits: SpoolLimits
    _segments: dict[SegmentName, _Used] = field(default_factory=dict)
    _all: _Used = field(default_factory=_Used)
    reserve_bytes: int = field(init=False)  # kept for counts

    def __post_init__(self) -> None:
        """Computed once: it is asked for with each record."""
        self.reserve_bytes = min(
            _RESERVE_BYTES_MAX, self.limits.directory_bytes_max // _RESERVE_SHARE
        )

    @property
    def total_bytes(self) -> int:
        """In use, in all."""
        return self._all.total

    def admits(self, use: Use, size: int) -> bool:
        """Whether `size` more bytes of this use fit."""
        limit = self.limits.directory_bytes_max
        used = self._all
        if use is Use.STATEMENT:
            return True
        if use is Use.COUNTS:
            return used.counts + size <= self.reserve_bytes
        if used.total - used.counts + size > limit - self.reserve_bytes:
            return False
        return use is Use.PERMIT or used.denials + size <= limit // 2

    def charge(self, segment: SegmentName, use: Use, size: int) -> None:
        """Count bytes that were written, whether or not they are durable."""
        its = self._segments.get(segment)
        if its is None:
            its = self._segments[segment] = _Used()
        for used in (its, self._all):
            used.total += size
            if use is Use.DENIAL:
                used.denials += size
            elif use is Use.COUNTS:
                used.counts += size

    def keep_only(self, present: Iterable[SegmentName]) -> None:
        """Forget segments that are no longer there."""
        for name in self._segments.keys() - set(present):
            gone = self._segments.pop(name)
            self._all.total -= gone.total
            self._all.denials -= gone.denials
            self._all.counts -= gone.counts


class DenialCounts:
    """Denials that were not recorded, by caller and cause. One thread.

    Args:
        callers_max: callers told apart; the others share the empty name, so
            that memory and record stay bounded.
    """

    def __init__(self, callers_max: int) -> None:
        self._callers_max = callers_max
        self._counts: dict[tuple[str, int], int] = {}
        self._callers: set[str] = set()
        self.since_ns = 0

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> None:
        """Count one denial, or all of a batch."""
        caller = entry.caller.spiffe_id[:_SPIFFE_ID_MAX]
        if caller not in self._callers:
            if len(self._callers) >= self._callers_max:
                caller = ""
            else:
                self._callers.add(caller)
        if not self._counts:
            self.since_ns = time_ns
        for denial in entry.batch.items or (entry,):
            key = (caller, int(denial.cause))
            self._counts[key] = self._counts.get(key, 0) + 1

    def message(self, bytes_max: int) -> audit_pb2.SuppressedDenials:
        """As many counts as fit, as a record body; `forget` them once it is durable."""
        body = audit_pb2.SuppressedDenials()
        body.since.FromNanoseconds(self.since_ns)
        size = body.ByteSize()
        for (caller, cause), count in sorted(self._counts.items()):
            row = audit_pb2.SuppressedCount(spiffe_id=caller, count=count)
            row.cause = cause  # type: ignore[assignment]
            size += row.ByteSize() + 4
            if size > bytes_max:
                break
            body.counts.append(row)
        return body

    def forget(self, written: audit_pb2.SuppressedDenials) -> None:
        """Take off what is durable now."""
        for row in written.counts:
            key = (row.spiffe_id, int(row.cause))
            left = self._counts[key] - row.count
            if left:
                self._counts[key] = left
            else:
                del self._counts[key]
        if not self._counts:
            self._callers.clear()

    def total(self) -> int:
        """Denials counted and not yet written."""
        return sum(self._counts.values())
