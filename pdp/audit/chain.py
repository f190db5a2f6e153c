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

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from pdp.audit.log import NO_HASH, Opened, PdpId, head_text, parse_head
from pdp.audit.problems import Place, Problem, ProblemKind, Problems
from pdp.errors import ConfigurationError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2

_MISSING_RANGES_MAX = 1_000
# Hashes remembered to tell a repeated record from another one with its number.
_RECENT_MAX = 4_096

_BEGINS_IN_THE_MIDDLE = (
    "the log begins here in its middle: what stood before was removed (if it was archived, give "
    "the archive's folder as well)"
)
_NOT_AS_LINKED = "its content is not what the next record goes on from"


@dataclass(slots=True)
class _Missing:
    place: Place
    first: int
    last: int
    message: str = "missing before this place"


@dataclass(slots=True)
class _Unread:
    place: Place
    length: int
    boot: int


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

    def gap(self, place: Place, length: int, boot: int) -> None:
        """Bytes that hold no record that can be read, in a segment of this boot."""
        self._gaps.append(_Unread(place, length, boot))

    def foreign(self, place: Place, record: Opened, length: int, boot: int) -> None:
        """A record that names another boot as its writer than the segment that it is in."""
        last = self.last
        message = f"it names `{record.ref.pdp_id}` as its writer"
        if last is not None and record.prev_hash == last.ref.hash:
            goes_on = last.id.boot == boot
            writer = last.id if goes_on else PdpId(last.id.instance, last.id.worker, boot)
            seq = last.ref.seq + 1 if goes_on else 1
            self.problems.add(Problem(ProblemKind.CHANGED, place, message, str(writer), seq))
            self._take_as(place, record, writer, seq)
        else:
            self._report(ProblemKind.REORDERED, place, message, record)
            # It may stand where another one should.
            self.gap(place, length, boot)

    def record(self, place: Place, record: Opened) -> None:
        """The next record that can be read. It is of the boot that its segment is of."""
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

    def _take_as(self, place: Place, record: Opened, writer: PdpId, seq: int) -> None:
        """Its link says where it belongs, so its own name or number was changed."""
        self._settle_suspect()
        record.id, record.ref = writer, RecordRef(str(writer), seq, record.ref.hash)
        self._excused = True
        self._accept(place, record)

    def _begin(self, place: Place, record: Opened) -> None:
        seq = record.ref.seq
        if self._gaps:
            self._blame_gaps(record, first=seq - 1, last=seq - 1)
        elif record.prev_hash == NO_HASH and seq != 1:
            self._report_number(place, record, 1)
            self._take_as(place, record, record.id, 1)
            return
        elif record.prev_hash in self._origins:
            self.origin = record.prev_hash
        elif record.prev_hash != NO_HASH and seq == 1:
            self._report(ProblemKind.REMOVED, place, _BEGINS_IN_THE_MIDDLE, record)
        elif seq != 1:
            self._missing.append(_Missing(place, 1, seq - 1, _BEGINS_IN_THE_MIDDLE))
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
        self._judge_suspect(linked=True)
        if self._gaps:
            self._blame_gaps(record, first=0, last=0)
        self._excused = False
        if record.ref.seq != expected:
            self._report_number(place, record, expected)
            self._take_as(place, record, record.id, expected)
        else:
            self._accept(place, record)

    def _unlinked(self, place: Place, record: Opened) -> None:
        """The right number, but it follows another record than the one before it here."""
        last, last_place = self.last, self.last_place
        if last is None or self._excused:
            self._excused = False
        elif not self._judge_suspect(linked=False):
            self._suspect = (last, last_place)
        self._accept(place, record)

    def _judge_suspect(self, *, linked: bool) -> bool:
        """The link of `last` failed. Its successor tells whose fault that is, if there is a doubt.

        Args:
            linked: whether the successor goes on from `last`. If so, `last` is
                as it was and the record before it was changed; if not, neither
                link of `last` holds, so it was changed itself.
        """
        if self._suspect is None:
            return False
        changed, place = self._suspect if linked else (self.last, self.last_place)
        self._report(ProblemKind.CHANGED, place, _NOT_AS_LINKED, changed)
        self._suspect = None
        return True

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
        if record.id.boot <= last.id.boot:
            self._impostor(place, record, last, linked=linked)
            return
        if record.ref.seq != 1 or self._gaps:
            self._settle_suspect()
        elif self._judge_suspect(linked=linked):
            self._excused = True
        self._settle_missing()
        self._recent.clear()
        if linked and record.ref.seq != 1:
            self._report_number(place, record, 1)
            self._take_as(place, record, record.id, 1)
            return
        self._boot_link(place, record, last, linked=linked)
        self._excused = False
        self._check_boot(place, record)
        self._accept(place, record)

    def _impostor(self, place: Place, record: Opened, last: Opened, *, linked: bool) -> None:
        """Another instance or worker in the same boot."""
        message = f"it names `{record.ref.pdp_id}` as its writer"
        if linked:
            self._report(ProblemKind.CHANGED, place, message, last, last.ref.seq + 1)
            self._take_as(place, record, last.id, last.ref.seq + 1)
        else:
            self._report(ProblemKind.REORDERED, place, message, record)

    def _boot_link(self, place: Place, record: Opened, last: Opened, *, linked: bool) -> None:
        """How a boot goes on from the one before, or what stands in between."""
        seq, gaps = record.ref.seq, self._gaps
        own = [gap for gap in gaps if gap.boot == record.id.boot]
        self._gaps = [gap for gap in gaps if gap.boot != record.id.boot]
        lost = 0 if linked else last.ref.seq + 1
        self._blame_gaps(last, first=lost, last=lost)
        self._gaps = own
        self._blame_gaps(record, first=min(1, seq - 1), last=seq - 1)
        if gaps:
            return
        if seq != 1:
            self._report_missing(_Missing(place, 1, seq - 1), record)
        elif not linked and not self._excused:
            self._report_end(place, record, last)

    def _report_end(self, place: Place, record: Opened, last: Opened) -> None:
        """A boot says which record it goes on from, and it is not the last one here."""
        try:
            head = parse_head(record.event.last_head if record.event else "")
        except ConfigurationError:
            message = f"`{record.ref.pdp_id}` goes on from another record than this one"
            self._report(ProblemKind.REMOVED, self.last_place, message, last)
            return
        if (head.pdp_id, head.seq) == (last.ref.pdp_id, last.ref.seq):
            self._report(ProblemKind.CHANGED, self.last_place, _NOT_AS_LINKED, last)
            return
        first = last.ref.seq + 1 if head.pdp_id == last.ref.pdp_id else 1
        message = f"missing: `{record.ref.pdp_id}` goes on from {head_text(head)}"
        self.problems.add(
            Problem(
                ProblemKind.REMOVED, place, message, head.pdp_id, min(first, head.seq), head.seq
            )
        )

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

    def _lose(self, place: Place, first: int, last: int) -> None:
        missing = _Missing(place, first, last)
        if len(self._missing) < _MISSING_RANGES_MAX:
            # They may turn up later.
            self._missing.append(missing)
        else:
            self._report_missing(missing, self.last)

    def _find(self, missing: _Missing, seq: int) -> None:
        """A record that was missing turns up out of place."""
        self._missing.remove(missing)
        for first, last in ((missing.first, seq - 1), (seq + 1, missing.last)):
            if first <= last:
                self._missing.append(_Missing(missing.place, first, last, missing.message))

    def _settle_missing(self) -> None:
        for missing in self._missing:
            self._report_missing(missing, self.last)
        self._missing.clear()

    def _report_missing(self, missing: _Missing, record: Opened | None) -> None:
        pdp_id = record.ref.pdp_id if record else ""
        first, last = missing.first, missing.last
        self.problems.add(
            Problem(ProblemKind.REMOVED, missing.place, missing.message, pdp_id, first, last)
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

    def _report_number(self, place: Place, record: Opened, expected: int) -> None:
        message = f"it is numbered {record.ref.seq} where {expected} belongs"
        self._report(ProblemKind.CHANGED, place, message, record, expected)

    def _report(
        self, kind: ProblemKind, place: Place, message: str, record: Opened | None, seq: int = 0
    ) -> None:
        pdp_id = record.ref.pdp_id if record else ""
        number = seq or (record.ref.seq if record else 0)
        self.problems.add(Problem(kind, place, message, pdp_id, number))
