"""Is this sequence of records the one that was written? Pure.

Each record carries the hash of the one before it, so a chain that holds
proves that nothing between its two ends was changed, removed, reordered or
repeated. It proves nothing about its far end: a tail that was cut off leaves a
shorter chain that holds. That takes a head from outside (`pdp.audit.survey`).

What is found is named as exactly as the chain allows: a record whose own link
and whose successor's link both fail was changed itself; one whose link alone
fails follows a record that was changed.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pdp.audit.log import NO_HASH, Opened, head_text
from pdp.model import RecordRef
from pdp.v1 import audit_pb2

# A damaged log can have as many findings as bytes; people read the first ones.
PROBLEMS_MAX = 1_000
_MISSING_RANGES_MAX = 1_000
# Hashes remembered to tell a repeated record from another one with its number.
_RECENT_MAX = 4_096

_NOT_AS_LINKED = "its content is not what the next record goes on from"


class ProblemKind(enum.StrEnum):
    """What is wrong. The words are part of `pdp audit verify --json`."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    UNREADABLE = "unreadable"
    SEGMENT = "segment"
    CUT = "cut"


@dataclass(slots=True)
class Place:
    """Where a record stands. Treated as immutable."""

    segment: str
    offset: int


@dataclass(slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: what is wrong.
        place: where, as near as can be told.
        pdp_id: whose record, or empty.
        seq: which record, or the first of several; 0 if that cannot be told.
        seq_last: the last of several.
        message: in words.
    """

    kind: ProblemKind
    place: Place
    message: str
    pdp_id: str = ""
    seq: int = 0
    seq_last: int = 0

    def __post_init__(self) -> None:
        self.seq_last = self.seq_last or self.seq

    def __str__(self) -> str:
        who = ""
        if self.seq:
            span = (
                f"seq {self.seq}"
                if self.seq == self.seq_last
                else (f"seq {self.seq} to {self.seq_last}")
            )
            who = f" {self.pdp_id} {span}"
        return f"{self.kind}: {self.place.segment} offset {self.place.offset}{who}: {self.message}"


@dataclass(slots=True)
class Problems:
    """Findings, bounded: `count` goes on when the list is full."""

    found: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        """Keep a finding, or make the last one longer if this one continues it."""
        if self.found:
            last = self.found[-1]
            if (
                problem.kind in {ProblemKind.REORDERED, ProblemKind.DUPLICATED}
                and (last.kind, last.pdp_id, last.message, last.place.segment)
                == (problem.kind, problem.pdp_id, problem.message, problem.place.segment)
                and problem.seq == last.seq_last + 1
            ):
                last.seq_last = problem.seq
                return
        self.count += 1
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(problem)


@dataclass(slots=True)
class _Missing:
    place: Place
    first: int
    last: int


@dataclass(slots=True)
class _Unread:
    place: Place
    length: int


class Chain:
    """Takes records and gaps in the order in which they stand.

    Args:
        problems: where findings go.
        origins: hashes of records elsewhere that the first record here may go
            on from: the last archived one, a head that the operator names.
    """

    def __init__(self, problems: Problems, origins: Iterable[bytes] = ()) -> None:
        self.problems = problems
        self.first: Opened | None = None
        self.last: Opened | None = None
        self.last_place = Place("", 0)
        self.records = 0
        # Hash of the record elsewhere that the first one here goes on from.
        self.origin: bytes | None = None
        self._origins = frozenset(origins)
        self._gaps: list[_Unread] = []
        self._missing: list[_Missing] = []
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        # The link of `last` failed: who stands before it, until the next record tells whose fault.
        self._suspect: tuple[Opened, Place] | None = None
        # `last` is known to be changed, so the next link fails and says nothing new.
        self._excused = False

    def gap(self, place: Place, length: int) -> None:
        """Bytes that hold no record that can be read."""
        self._gaps.append(_Unread(place, length))

    def record(self, place: Place, record: Opened) -> None:
        """The next record that can be read."""
        self.records += 1
        if self.last is None:
            self._begin(place, record)
        elif record.ref.pdp_id == self.last.ref.pdp_id:
            self._continue(place, record, self.last)
        else:
            self._boot(place, record, self.last)

    def finish(self) -> None:
        """No more records: settle what was waiting for one."""
        self._settle_suspect()
        for gap in self._gaps:
            seq = self.last.ref.seq + 1 if self.last else 0
            message = f"{gap.length} bytes at the end of what is here cannot be read"
            self._report(ProblemKind.CHANGED, gap.place, message, self.last, seq)
        self._gaps.clear()
        self._settle_missing()

    def _accept(self, place: Place, record: Opened) -> None:
        self.first = self.first or record
        self.last, self.last_place = record, place
        self._recent[record.ref.seq] = record.ref.hash
        if len(self._recent) > _RECENT_MAX:
            self._recent.popitem(last=False)

    def _begin(self, place: Place, record: Opened) -> None:
        seq = record.ref.seq
        if self._gaps:
            self._blame_gaps(record, first=max(1, seq - 1) if seq > 1 else 0, last=seq - 1)
        elif record.prev_hash in self._origins:
            self.origin = record.prev_hash
        elif seq != 1 or record.prev_hash != NO_HASH:
            message = "the log begins here in its middle: what stood before was removed (if it was "
            message += "archived, give the archive's folder as well)"
            self._report(ProblemKind.REMOVED, place, message, record, max(1, seq - 1))
        self._check_boot(place, record)
        self._accept(place, record)

    def _continue(self, place: Place, record: Opened, last: Opened) -> None:
        seq, expected = record.ref.seq, last.ref.seq + 1
        linked = record.prev_hash == last.ref.hash
        if linked:
            self._continue_linked(place, record, expected)
        elif seq == expected:
            self._blame_gaps(record, first=0, last=0)
            self._unlinked(place, record)
        elif seq > expected:
            self._settle_suspect()
            if self._gaps:
                self._blame_gaps(record, first=expected, last=seq - 1)
            else:
                self._lose(place, expected, seq - 1)
            self._excused = False
            self._accept(place, record)
        else:
            self._out_of_place(place, record, last)

    def _continue_linked(self, place: Place, record: Opened, expected: int) -> None:
        if self._suspect:
            # `last` is as its successor knows it, so the fault lies before it.
            before, before_place = self._suspect
            self._report(ProblemKind.CHANGED, before_place, _NOT_AS_LINKED, before)
            self._suspect = None
        if self._gaps:
            self._blame_gaps(record, first=0, last=0)
        self._excused = False
        if record.ref.seq != expected:
            message = f"it is numbered {record.ref.seq} where {expected} belongs"
            self._report(ProblemKind.CHANGED, place, message, record, expected)
            record.ref = RecordRef(record.ref.pdp_id, expected, record.ref.hash)
            self._excused = True
        self._accept(place, record)

    def _unlinked(self, place: Place, record: Opened) -> None:
        """The right number, but it follows another record than the one before it here."""
        last, last_place = self.last, self.last_place
        if last is None or self._excused:
            self._excused = False
        elif self._suspect:
            # Neither its own link nor its successor's holds: this is the one.
            self._report(ProblemKind.CHANGED, last_place, _NOT_AS_LINKED, last)
            self._suspect = None
        else:
            self._suspect = (last, last_place)
        self._accept(place, record)

    def _out_of_place(self, place: Place, record: Opened, last: Opened) -> None:
        seq = record.ref.seq
        for missing in self._missing:
            if missing.first <= seq <= missing.last:
                self._find(missing, seq)
                message = "it stands behind later records"
                self._report(ProblemKind.REORDERED, place, message, record)
                break
        else:
            same = self._recent.get(seq) == record.ref.hash or record.ref.hash == last.ref.hash
            message = "it was there before" if same else "another record has its number"
            self._report(ProblemKind.DUPLICATED, place, message, record)
        self._blame_gaps(record, first=0, last=0)

    def _boot(self, place: Place, record: Opened, last: Opened) -> None:
        """A record of another `pdp_id` than the one before it."""
        linked = record.prev_hash == last.ref.hash
        if linked and (record.ref.seq != 1 or record.id.boot <= last.id.boot):
            message = f"`{head_text(record.ref)}` stands where `{last.ref.pdp_id}` goes on"
            self._report(ProblemKind.CHANGED, place, message, record)
            record.ref = RecordRef(last.ref.pdp_id, last.ref.seq + 1, record.ref.hash)
            record.id = last.id
            self._excused = True
            self._accept(place, record)
            return
        if record.id.boot <= last.id.boot:
            message = f"it stands behind records of `{last.ref.pdp_id}`"
            self._report(ProblemKind.REORDERED, place, message, record)
            return
        self._settle_suspect()
        self._settle_missing()
        self._boot_link(place, record, last, linked=linked)
        self._recent.clear()
        self._excused = False
        self._check_boot(place, record)
        self._accept(place, record)

    def _boot_link(self, place: Place, record: Opened, last: Opened, *, linked: bool) -> None:
        if self._gaps:
            first = last.ref.seq + 1
            self._blame_gaps(last, first=0 if linked else first, last=0 if linked else first)
        elif record.ref.seq != 1:
            self._lose(place, 1, record.ref.seq - 1, record)
        elif not linked and not self._excused:
            message = (
                f"`{record.ref.pdp_id}` goes on from another record: either this one was changed "
                "or those behind it were removed"
            )
            self._report(ProblemKind.REMOVED, self.last_place, message, last)

    def _check_boot(self, place: Place, record: Opened) -> None:
        event = record.event
        is_boot = event is not None and event.kind == audit_pb2.SpoolEvent.KIND_BOOT
        if is_boot != (record.ref.seq == 1):
            message = "a boot begins with seq 1, and seq 1 with a boot"
            self._report(ProblemKind.CHANGED, place, message, record)

    def _blame_gaps(self, record: Opened, first: int, last: int) -> None:
        """Say what the unread bytes before `record` were: these numbers, or (0) nothing."""
        for gap in self._gaps:
            if first:
                message = f"{gap.length} bytes cannot be read as the record they were"
                problem = Problem(
                    ProblemKind.CHANGED, gap.place, message, record.ref.pdp_id, first, last
                )
            else:
                message = f"{gap.length} bytes are no record; the records around them fit together"
                problem = Problem(ProblemKind.UNREADABLE, gap.place, message)
            self.problems.add(problem)
        self._gaps.clear()

    def _lose(self, place: Place, first: int, last: int, record: Opened | None = None) -> None:
        if record is not None or len(self._missing) >= _MISSING_RANGES_MAX:
            self._report_missing(_Missing(place, first, last), record or self.last)
            return
        self._missing.append(_Missing(place, first, last))

    def _find(self, missing: _Missing, seq: int) -> None:
        """A record that was missing turns up out of place."""
        self._missing.remove(missing)
        for first, last in ((missing.first, seq - 1), (seq + 1, missing.last)):
            if first <= last:
                self._missing.append(_Missing(missing.place, first, last))

    def _settle_missing(self) -> None:
        for missing in self._missing:
            self._report_missing(missing, self.last)
        self._missing.clear()

    def _report_missing(self, missing: _Missing, record: Opened | None) -> None:
        pdp_id = record.ref.pdp_id if record else ""
        message = "missing before this place"
        self.problems.add(
            Problem(
                ProblemKind.REMOVED, missing.place, message, pdp_id, missing.first, missing.last
            )
        )

    def _settle_suspect(self) -> None:
        """The successor that would tell whose fault a broken link is does not come."""
        if self._suspect:
            before, place = self._suspect
            message = "the second does not go on from the first: one of the two was changed"
            seq = before.ref.seq
            self.problems.add(
                Problem(ProblemKind.CHANGED, place, message, before.ref.pdp_id, seq, seq + 1)
            )
            self._suspect = None

    def _report(
        self, kind: ProblemKind, place: Place, message: str, record: Opened | None, seq: int = 0
    ) -> None:
        pdp_id = record.ref.pdp_id if record else ""
        number = seq or (record.ref.seq if record else 0)
        self.problems.add(Problem(kind, place, message, pdp_id, number))
