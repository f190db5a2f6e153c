"""What a survey of a spool comes to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pdp.audit.budget import Budget, Use
from pdp.audit.log import Opened
from pdp.audit.problems import Problems
from pdp.audit.segment import SegmentName
from pdp.model import RecordRef
from pdp.v1.authorization_pb2 import EFFECT_PERMIT

_NOTES_MAX = 1_000


@dataclass(slots=True)
class SegmentFinding:
    """One segment file.

    Attributes:
        name: boot and number.
        path: where it lies.
        size: bytes of the file.
        records: how many records of the log are in it.
        denial_bytes: of them, bytes of recorded denials.
        count_bytes: bytes of counts of denials.
        last: its last record.
    """

    name: SegmentName
    path: Path
    size: int = 0
    records: int = 0
    denial_bytes: int = 0
    count_bytes: int = 0
    last: RecordRef | None = None

    def charge(self, budget: Budget) -> None:
        """Count what is in it against the size budget."""
        rest = self.size - self.denial_bytes - self.count_bytes
        budget.charge(self.name, Use.DENIAL, self.denial_bytes)
        budget.charge(self.name, Use.COUNTS, self.count_bytes)
        budget.charge(self.name, Use.PERMIT, rest)

    def count(self, record: Opened, size: int) -> None:
        """One more record of the log, of `size` bytes."""
        self.records += 1
        self.last = record.ref
        if record.body == "decision":
            if record.message.decision.effect != EFFECT_PERMIT:
                self.denial_bytes += size
        elif record.body == "suppressed_denials":
            self.count_bytes += size


@dataclass(frozen=True, slots=True)
class Tail:
    """An incomplete record at the end of a segment, with no record behind it."""

    segment: SegmentName
    offset: int
    length: int


@dataclass(slots=True)
class Survey:
    """What was found.

    Attributes:
        segments: by age.
        problems: damage and forgery; empty if the log holds.
        notes: what is explained but worth knowing.
        records: how many records the log has.
        first, last: its ends.
        end_unreadable: the disk could not read a segment that may hold the last record.
        tails: incomplete bytes at its very end. Of several segments, if opening
            the next one was cut short too.
        anchor: the latest head from outside that was found in it.
        after_anchor: records behind that one.
        origin: hash of the record elsewhere that the first one goes on from.
    """

    segments: list[SegmentFinding] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)
    records: int = 0
    first: Opened | None = None
    last: Opened | None = None
    end_unreadable: bool = False
    tails: list[Tail] = field(default_factory=list)
    anchor: RecordRef | None = None
    after_anchor: int = 0
    origin: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def note(self, text: str) -> None:
        """Keep a remark, up to a limit."""
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(text)
