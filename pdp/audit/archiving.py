"""Moving sealed segments out of a spool: verify, copy, sync, compare, then remove.

Safe to interrupt at any point, and to run again: a segment is removed only
when its copy is durable and the spool's index names the record that what
remains goes on from. The PDP may run meanwhile; it notices the room by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pdp.audit.disk import Disk
from pdp.audit.findings import SegmentFinding
from pdp.audit.log import head_text
from pdp.audit.survey import (
    ARCHIVE_LOCK_NAME,
    INDEX_NAME,
    Progress,
    archived_heads,
    same_content,
    survey,
)
from pdp.errors import ConfigurationError, SpoolError
from pdp.model import RecordRef

_STEP_BYTES = 1024 * 1024
_PARTIAL = ".partial"


@dataclass(slots=True)
class Archived:
    """What was done.

    Attributes:
        segments: that were removed here and are in the archive.
        size: their bytes.
        head: the last record among them, which what remains goes on from.
        damage: findings in what was moved, if that was allowed.
    """

    segments: list[str] = field(default_factory=list)
    size: int = 0
    head: RecordRef | None = None
    damage: int = 0


def archive(
    spool: Path,
    destination: Path,
    disk: Disk,
    *,
    damaged_too: bool = False,
    progress: Progress | None = None,
) -> Archived:
    """Move every sealed segment of `spool` to `destination`.

    Args:
        spool: the folder of a PDP, running or not.
        destination: made if only its parent exists; may hold earlier segments.
        disk: the file system.
        damaged_too: move damage as it is, for evidence; else it stops the move.
        progress: called with bytes read and bytes in all, while verifying.

    Raises:
        ConfigurationError: another archiving runs, or a folder is open to others.
        SpoolError: the spool is damaged, or a copy is not what it should be;
            nothing was removed.
        OSError: the disk refused. What was not finished is still in the spool.
    """
    disk.make_directory(destination)
    if disk.same_directory(spool, destination):
        raise ConfigurationError(f"`{destination}` is the spool itself: name another folder")
    lock = disk.lock(spool / ARCHIVE_LOCK_NAME)
    if lock is None:
        raise ConfigurationError(f"`{spool}` is being archived by another process: wait for it")
    try:
        found = survey([spool], disk, progress=progress)
        if found.problems.count and not damaged_too:
            raise SpoolError(
                f"`{spool}` is damaged ({found.problems.found[0]}), so nothing was moved: "
                "look with `pdp audit verify`, then move it as it is with `--damaged`"
            )
        sealed = _sealed(found.segments)
        for segment in sealed:
            _copy(segment, destination, disk)
        result = Archived(damage=found.problems.count)
        # What the first segment that is still here goes on from.
        heads = [head for head in archived_heads(disk, spool) if head.hash == found.origin]
        for segment in sealed:
            if segment.last is not None:
                heads = [segment.last, *heads[:1]]
            _remove(segment, heads, spool, disk)
            result.segments.append(str(segment.name))
            result.size += segment.size
            result.head = segment.last or result.head
        return result
    finally:
        lock.release()


def _sealed(segments: Sequence[SegmentFinding]) -> list[SegmentFinding]:
    """Segments that are not written any more, and whose end is known.

    A segment is written only while it is the newest. Its end may be restated by
    the next one (a failed write), so there must be a later one with records.
    """
    with_records = [index for index, segment in enumerate(segments) if segment.records]
    return list(segments[: with_records[-1]]) if with_records else []


def _copy(segment: SegmentFinding, destination: Path, disk: Disk) -> None:
    """A durable copy under the same name, compared byte by byte."""
    target = destination / segment.path.name
    if segment.path.name in disk.names(destination):
        # A run before this one was interrupted, perhaps before the name was durable.
        disk.settle_file(target)
        disk.sync_directory(destination)
        if _equal(segment.path, target, disk):
            return
        raise SpoolError(
            f"`{target}` exists and is another segment: archive each PDP to a folder of its own"
        )
    partial = destination / f"{segment.path.name}{_PARTIAL}"
    _replace(partial, disk, _chunks(segment.path, disk), target)
    if not _equal(segment.path, target, disk):
        raise SpoolError(f"`{target}` is not what was copied: nothing was removed")


def _remove(segment: SegmentFinding, heads: Sequence[RecordRef], spool: Path, disk: Disk) -> None:
    """Name what the spool goes on from, durably; then remove the segment, durably.

    Args:
        segment: whose copy is durable.
        heads: what the spool goes on from without the segment, and with it: it
            is there until it is gone.
        spool: its folder.
        disk: the file system.
    """
    if segment.last is not None:
        text = "".join(f"{head_text(head)}\n" for head in heads).encode()
        index = spool / INDEX_NAME
        _replace(spool / f"{INDEX_NAME}{_PARTIAL}", disk, lambda write: write(text), index)
    disk.remove(segment.path)
    # One by one, oldest first: what remains is always the end of the log, without holes.
    disk.sync_directory(spool)


_Fill = Callable[[Callable[[bytes], None]], None]


def _replace(partial: Path, disk: Disk, fill: _Fill, target: Path) -> None:
    """Write a file under another name, sync it, then let it take its place."""
    with contextlib.suppress(FileNotFoundError):
        disk.remove(partial)
    file = disk.create(partial)
    try:
        fill(file.write)
        file.sync()
    finally:
        file.close()
    disk.rename(partial, target)
    disk.sync_directory(target.parent)


def _chunks(path: Path, disk: Disk) -> _Fill:
    def fill(write: Callable[[bytes], None]) -> None:
        with disk.open(path) as file:
            for offset in range(0, file.size, _STEP_BYTES):
                write(file.read_at(offset, min(_STEP_BYTES, file.size - offset)))

    return fill


def _equal(left: Path, right: Path, disk: Disk) -> bool:
    with disk.open(left) as one, disk.open(right) as other:
        return same_content(one, other)
