"""What segments state at their beginning about those before them. Pure.

A segment may end in bytes that were never answered for: a torn write, or a
batch whose fsync failed. The PDP says so in the next segment it opens, and
that statement, itself a record in the chain, is what makes those bytes
explicable. So the first records of all segments are read before the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pdp.audit.log import RecordError, open_record, parse_head
from pdp.audit.segment import Gap, ReadAt, SegmentName, frames
from pdp.errors import ConfigurationError
from pdp.v1 import audit_pb2

# The PDP writes a handful.
_LEADING_MAX = 10_000


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """From this offset on, what stands in a segment is declared not to belong to the log."""

    offset: int
    statement: str


@dataclass(slots=True)
class Statements:
    """All of them.

    Attributes:
        dead_ends: by segment.
        unsynced: segments whose end may be missing.
        unsynced_hashes: of records that are gone on from even if they are missing.
    """

    dead_ends: dict[SegmentName, DeadEnd] = field(default_factory=dict)
    unsynced: set[SegmentName] = field(default_factory=set)
    unsynced_hashes: set[bytes] = field(default_factory=set)

    def read(self, by: SegmentName, read: ReadAt, size: int) -> None:
        """Take in what segment `by` states."""
        for count, item in enumerate(frames(read, size)):
            if isinstance(item, Gap) or count > _LEADING_MAX:
                return
            try:
                event = open_record(item.record).event
            except RecordError:
                return
            if event is None:
                return
            self._take(by, event)

    def _take(self, by: SegmentName, event: audit_pb2.SpoolEvent) -> None:
        about = SegmentName.parse(event.segment)
        # INVARIANT: a statement explains only what is older than itself.
        if about is None or about >= by:
            return
        kind = event.kind
        if kind == audit_pb2.SpoolEvent.KIND_TORN_TAIL:
            self.dead_ends.setdefault(about, DeadEnd(event.offset, f"torn, says segment `{by}`"))
        elif kind == audit_pb2.SpoolEvent.KIND_POISONED:
            statement = f"its write failed, says segment `{by}`"
            self.dead_ends.setdefault(about, DeadEnd(event.offset, statement))
        elif kind == audit_pb2.SpoolEvent.KIND_UNSYNCED:
            try:
                head = parse_head(event.last_head)
            except ConfigurationError:
                return
            self.unsynced.add(about)
            self.unsynced_hashes.add(head.hash)
