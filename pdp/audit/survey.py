"""Everything that can be said about a spool from its bytes alone.

Recovery at each start, `pdp audit verify`, `show` and `archive` all see a
spool through this one reader, which takes every byte as hostile input: it
never raises because of content, and bounds what it keeps.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pdp.audit.budget import Budget, Use
from pdp.audit.chain import Chain, Place, Problem, ProblemKind, Problems
from pdp.audit.disk import Disk, ReadFile
from pdp.audit.heads import HeadCheck
from pdp.audit.log import Opened, RecordError, head_text, open_record, parse_head
from pdp.audit.segment import (
    FRAME_OVERHEAD,
    HEADER_BYTES,
    Frame,
    Gap,
    SegmentName,
    frames,
    read_header,
)
from pdp.audit.statements import DeadEnd, Statements, read_opening
from pdp.errors import ConfigurationError
from pdp.model import RecordRef
from pdp.v1.authorization_pb2 import EFFECT_PERMIT

LOCK_NAME = "lock"
ARCHIVE_LOCK_NAME = "archive.lock"
# Holds the heads of the last records that were archived from the folder, the newest first.
INDEX_NAME = "archived"

# More than any segment that the settings allow; the rest of a larger file is not looked at.
SEGMENT_BYTES_LIMIT = 4 * 1024**3
_INDEX_BYTES_MAX = 512
_NOTES_MAX = 1_000
# Records between two calls of `progress`.
_PROGRESS_EVERY = 1_024

Visit = Callable[[Place, Opened], None]
Progress = Callable[[int, int], None]


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


def segment_names(disk: Disk, folder: Path) -> list[SegmentName]:
    """The segments in a folder, by age. Other files are none of ours.

    Raises:
        OSError: the folder cannot be listed.
    """
    return sorted(filter(None, map(SegmentName.parse, disk.names(folder))))


def archived_heads(disk: Disk, folder: Path) -> list[RecordRef]:
    """The records up to which the folder was archived, if the index can be read.

    Two: the index is written before a segment is removed, so the first record
    here goes on from the newer or, if that was interrupted, from the older. An
    index that cannot be read counts as none: then the first record here has
    nothing to go on from, and that is reported.
    """
    try:
        with disk.open(folder / INDEX_NAME) as file:
            text = file.read_at(0, _INDEX_BYTES_MAX)
        return [parse_head(line) for line in text.decode("ascii", "replace").splitlines()]
    except (OSError, ConfigurationError):
        return []


def survey(
    folders: Sequence[Path],
    disk: Disk,
    *,
    heads: Sequence[RecordRef] = (),
    visit: Visit | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Read one log, which may lie in several folders.

    Args:
        folders: a spool, its archives; in any order.
        disk: the file system.
        heads: records that must be there, known from elsewhere.
        visit: called with each record of the log, in order.
        progress: called with bytes done and bytes in all.

    Raises:
        OSError: a folder cannot be listed.
        ConfigurationError: a head is older than what is here.
    """
    return _Surveyor(folders, disk, heads, visit, progress).run()


class _Surveyor:
    """One survey."""

    def __init__(
        self,
        folders: Sequence[Path],
        disk: Disk,
        heads: Sequence[RecordRef],
        visit: Visit | None,
        progress: Progress | None,
    ) -> None:
        self._disk = disk
        self._visit = visit
        self._progress = progress or (lambda _done, _total: None)
        self._result = Survey()
        self._problems = self._result.problems
        self._index = [head for folder in folders for head in archived_heads(disk, folder)]
        origins = {head.hash for head in (*self._index, *heads)}
        self._chain = Chain(self._problems, origins)
        self._heads = HeadCheck(heads, self._problems)
        self._statements = Statements()
        self._places: dict[SegmentName, list[Path]] = {}
        for folder in folders:
            for name in segment_names(disk, folder):
                self._places.setdefault(name, []).append(folder / str(name))

    def run(self) -> Survey:
        result, chain = self._result, self._chain
        names = sorted(self._places)
        for name in names:
            self._with_file(name, functools.partial(self._read_statements, name))
        total = self._total_bytes(names)
        done = 0
        for name in names:
            finding = SegmentFinding(name, self._places[name][0])
            result.segments.append(finding)
            self._compare_copies(name)
            read = functools.partial(self._read_segment, finding, done, total)
            self._with_file(name, read, report=True)
            done += finding.size
            self._progress(done, total)
        chain.finish()
        self._heads.finish(chain)
        result.records, result.first, result.last = chain.records, chain.first, chain.last
        result.origin = chain.origin
        result.anchor = self._heads.anchor
        result.after_anchor = chain.records - self._heads.anchor_records
        self._note_origin()
        return result

    def _with_file(
        self,
        name: SegmentName,
        read: Callable[[ReadFile], None],
        *,
        report: bool = False,
    ) -> None:
        """Run `read` on a segment; a file that cannot be read is a finding, not the end."""
        try:
            with self._disk.open(self._places[name][0]) as file:
                read(file)
        except OSError as error:
            if report:
                hint = " (was it archived while this ran? run it again)"
                gone = hint if isinstance(error, FileNotFoundError) else ""
                message = f"cannot be read: {error.strerror or error}{gone}"
                self._segment_problem(name, message)

    def _segment_problem(self, name: SegmentName, message: str, offset: int = 0) -> None:
        self._problems.add(Problem(ProblemKind.SEGMENT, Place(str(name), offset), message))

    def _total_bytes(self, names: Sequence[SegmentName]) -> int:
        sizes: list[int] = []
        for name in names:
            self._with_file(name, lambda file: sizes.append(file.size))
        return sum(sizes)

    def _read_statements(self, name: SegmentName, file: ReadFile) -> None:
        size = min(file.size, SEGMENT_BYTES_LIMIT)
        if not read_header(file.read_at, size, name).torn:
            self._statements.take(name, frames(file.read_at, size))

    def _read_segment(self, finding: SegmentFinding, done: int, total: int, file: ReadFile) -> None:
        name = finding.name
        finding.size = file.size
        size = min(file.size, SEGMENT_BYTES_LIMIT)
        if size < file.size:
            message = f"larger than any segment: read to {size}, the rest is not"
            self._segment_problem(name, message, size)
        header = read_header(file.read_at, size, name)
        if header.torn:
            # Opening it was cut short, so no record ever was in it. If one was, and was blanked,
            # the chain misses it.
            self._result.note(f"segment `{name}` was never begun: {size} bytes, no record")
            return
        if header.problem:
            self._segment_problem(name, header.problem)
        dead = self._statements.dead_ends.get(name)
        live_size = min(size, dead.offset) if dead else size
        text = str(name)
        items = frames(file.read_at, live_size)
        opening = read_opening(items)
        if opening.cut_short:
            self._result.note(f"segment `{name}` was never begun: its opening is cut short")
            return
        for count, item in enumerate(itertools.chain(opening.items, items)):
            if isinstance(item, Frame):
                self._take_frame(finding, Place(text, item.offset), item.record)
            else:
                self._take_gap(name, item)
            if count % _PROGRESS_EVERY == 0:
                self._progress(done + item.offset, total)
        if dead and dead.offset < size:
            self._read_dead(name, file, dead, size)

    def _take_frame(self, finding: SegmentFinding, place: Place, data: bytes) -> None:
        try:
            record = open_record(data)
        except RecordError as error:
            # The checksum holds: this was written so, not damaged so.
            message = f"it is no record that can be read: {error}"
            self._problems.add(Problem(ProblemKind.UNREADABLE, place, message))
            self._no_tails()
            self._chain.gap(place, len(data) + FRAME_OVERHEAD)
            return
        if record.id.boot != finding.name.boot:
            message = f"it holds a record of `{record.ref.pdp_id}`"
            self._segment_problem(finding.name, message, place.offset)
        self._no_tails()
        self._chain.record(place, record)
        self._heads.live(place, record, self._chain.records)
        finding.count(record, len(data) + FRAME_OVERHEAD)
        if self._visit:
            self._visit(place, record)

    def _take_gap(self, name: SegmentName, gap: Gap) -> None:
        if gap.torn:
            # Damage, unless no record follows.
            self._result.tails.append(Tail(name, gap.offset, gap.length))
        else:
            self._no_tails()
            self._chain.gap(Place(str(name), gap.offset), gap.length)

    def _no_tails(self) -> None:
        """Something follows, so what looked like the end of the log is not."""
        for tail in self._result.tails:
            self._chain.gap(Place(str(tail.segment), tail.offset), tail.length)
        self._result.tails.clear()

    def _read_dead(self, name: SegmentName, file: ReadFile, dead: DeadEnd, size: int) -> None:
        """Bytes that the log itself declares not to be part of it."""
        whole = 0
        for item in frames(file.read_at, size, start=max(dead.offset, HEADER_BYTES)):
            if isinstance(item, Frame):
                try:
                    record = open_record(item.record)
                except RecordError:
                    continue
                whole += 1
                self._heads.doubtful(Place(str(name), item.offset), record)
        self._result.note(
            f"segment `{name}` ends at {dead.offset}: {size - dead.offset} bytes behind it, "
            f"{whole} whole records among them, were never answered for ({dead.statement})"
        )

    def _compare_copies(self, name: SegmentName) -> None:
        first, *others = self._places[name]
        for other in others:
            try:
                with self._disk.open(first) as left, self._disk.open(other) as right:
                    same = _same_content(left, right)
            except OSError:
                same = False
            if same:
                self._result.note(f"segment `{name}` is in two folders, with the same content")
            else:
                self._segment_problem(name, f"`{first}` and `{other}` differ")

    def _note_origin(self) -> None:
        if self._chain.origin is None:
            return
        for head in self._index:
            if head.hash == self._chain.origin:
                self._result.note(
                    f"the log begins behind {head_text(head)}, which was archived and is not here"
                )


def _same_content(left: ReadFile, right: ReadFile) -> bool:
    if left.size != right.size:
        return False
    step = 1024 * 1024
    return all(
        left.read_at(offset, step) == right.read_at(offset, step)
        for offset in range(0, left.size, step)
    )
