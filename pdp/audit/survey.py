"""Everything that can be said about a spool from its bytes alone.

Recovery at each start, `pdp audit verify`, `show` and `archive` all see a
spool through this one reader, which takes every byte as hostile input: it
never raises because of content, and bounds what it keeps.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from pdp.audit.chain import Chain
from pdp.audit.disk import Disk, ReadFile
from pdp.audit.findings import SegmentFinding, Survey, Tail
from pdp.audit.heads import HeadCheck
from pdp.audit.log import Opened, RecordError, head_text, open_record, parse_head
from pdp.audit.problems import Place, Problem, ProblemKind
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

LOCK_NAME = "lock"
ARCHIVE_LOCK_NAME = "archive.lock"
# Holds the heads of the last records that were archived from the folder, the newest first.
INDEX_NAME = "archived"

# More than any segment that the settings allow; the rest of a larger file is not looked at.
SEGMENT_BYTES_LIMIT = 4 * 1024**3
_INDEX_BYTES_MAX = 1_024
# Records between two calls of `progress`.
_PROGRESS_EVERY = 1_024

Visit = Callable[[Place, Opened], None]
Progress = Callable[[int, int], None]


def segment_names(disk: Disk, folder: Path) -> list[SegmentName]:
    """The segments in a folder, by age. Other files are none of ours.

    Raises:
        OSError: the folder cannot be listed.
    """
    return sorted(filter(None, map(SegmentName.parse, disk.names(folder))))


def archived_heads(disk: Disk, folder: Path) -> list[RecordRef]:
    """The records up to which the folder was archived, if it was.

    Two: the index is written before a segment is removed, so the first record
    here goes on from the newer or, if that was interrupted, from the older. An
    index that makes no sense counts as none: then the first record here has
    nothing to go on from, and that is reported.

    Raises:
        OSError: there is one, and it cannot be read. That is no reason to
            call what was archived removed.
    """
    try:
        with disk.open(folder / INDEX_NAME) as file:
            text = file.read_at(0, _INDEX_BYTES_MAX)
    except FileNotFoundError:
        return []
    try:
        return [parse_head(line) for line in text.decode("ascii", "replace").splitlines()]
    except ConfigurationError:
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
        OSError: a folder cannot be listed, or its index not be read.
        ConfigurationError: a head is older than what is here.
    """
    return _Surveyor(folders, disk, heads, visit, progress).run()


class _ReadFailedError(Exception):
    """A read from the disk failed. Kept apart from errors of who looks at the records."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Guarded:
    """A file whose failures are findings."""

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self.size = file.size

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return self._file.read_at(offset, length)
        except OSError as error:
            raise _ReadFailedError(error) from error


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
        self._unreadable: SegmentName | None = None
        self._places: dict[SegmentName, list[Path]] = {}
        for folder in folders:
            for name in segment_names(disk, folder):
                self._places.setdefault(name, []).append(folder / str(name))

    def run(self) -> Survey:
        result, chain = self._result, self._chain
        names = sorted(self._places)
        total = 0

        def first_look(name: SegmentName, file: ReadFile) -> None:
            nonlocal total
            total += file.size
            self._read_statements(name, file)

        for name in names:
            self._with_file(name, functools.partial(first_look, name))
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
        # Names sort like ages, as text too.
        unreadable = self._unreadable
        result.end_unreadable = bool(unreadable and str(unreadable) >= chain.last_place.segment)
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
        failure: OSError | None = None
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self._disk.open(self._places[name][0]))
            except OSError as error:
                failure = error
            else:
                try:
                    read(_Guarded(file))
                except _ReadFailedError as error:
                    failure = error.reason
        if failure is not None:
            self._unreadable = max(name, self._unreadable or name)
        if failure is not None and report:
            hint = " (was it archived while this ran? run it again)"
            gone = hint if isinstance(failure, FileNotFoundError) else ""
            self._segment_problem(name, f"cannot be read: {failure.strerror or failure}{gone}")

    def _segment_problem(self, name: SegmentName, message: str, offset: int = 0) -> None:
        self._problems.add(Problem(ProblemKind.SEGMENT, Place(str(name), offset), message))

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
            self._chain.gap(place, len(data) + FRAME_OVERHEAD, finding.name.boot)
            return
        self._no_tails()
        size = len(data) + FRAME_OVERHEAD
        if record.id.boot != finding.name.boot:
            self._chain.foreign(place, record, size, finding.name.boot)
            return
        self._chain.record(place, record)
        self._heads.live(place, record, self._chain.records)
        finding.count(record, size)
        if self._visit:
            self._visit(place, record)

    def _take_gap(self, name: SegmentName, gap: Gap) -> None:
        if gap.torn:
            # Damage, unless no record follows.
            self._result.tails.append(Tail(name, gap.offset, gap.length))
        else:
            self._no_tails()
            self._chain.gap(Place(str(name), gap.offset), gap.length, name.boot)

    def _no_tails(self) -> None:
        """Something follows, so what looked like the end of the log is not."""
        for tail in self._result.tails:
            place = Place(str(tail.segment), tail.offset)
            self._chain.gap(place, tail.length, tail.segment.boot)
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
                    same = same_content(left, right)
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


def same_content(left: ReadFile, right: ReadFile) -> bool:
    """Byte by byte."""
    if left.size != right.size:
        return False
    step = 1024 * 1024
    return all(
        left.read_at(offset, step) == right.read_at(offset, step)
        for offset in range(0, left.size, step)
    )
