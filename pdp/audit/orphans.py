"""Spools that no process of a PDP will go on with: made durable, read to their end, closed.

A PDP of several workers has a spool for each below `record.folder`, and one of
a single process has it in that folder itself. When the number of workers
changes, some are left over. What is in them was answered for, so it is treated
as at a start: settled on the disk, verified, and stated in a last segment what
was found, if it did not end in such statements already.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import Disk
from pdp.audit.journal import Clock, Journal
from pdp.audit.survey import segment_names, survey
from pdp.errors import SpoolError

_WORKER: Final = re.compile(r"worker-([1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A spool that was left over.

    Attributes:
        folder: where it is.
        pdp_id: under which its end was stated.
        problems: findings in it; `pdp audit verify` names them.
    """

    folder: Path
    pdp_id: str
    problems: int


def spool_folders(folder: Path, disk: Disk) -> dict[int, Path]:
    """The spools of a PDP by worker: 0 is the folder itself, and is always there.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = {0: folder}
    for name in disk.names(folder):
        if match := _WORKER.fullmatch(name):
            found[int(match[1])] = folder / name
    return dict(sorted(found.items()))


def logs_in(folders: Sequence[Path], disk: Disk) -> dict[int, list[Path]]:
    """The logs that lie in these folders, by worker. A PDP of one process has one log.

    Args:
        folders: of a PDP's records, and of its archives.
        disk: the file system.

    Raises:
        OSError: a folder cannot be listed.
    """
    found: dict[int, list[Path]] = {}
    for folder in folders:
        for worker, spool in spool_folders(folder, disk).items():
            found.setdefault(worker, []).append(spool)
    if len(found) > 1 and not any(segment_names(disk, spool) for spool in found[0]):
        del found[0]
    return dict(sorted(found.items()))


def close_orphans(
    folder: Path,
    instance: str,
    in_use: Collection[int],
    *,
    limits: SpoolLimits,
    disk: Disk,
    clocks: tuple[Clock, Clock],
) -> list[Orphan]:
    """Recover every spool below `folder` that no worker goes on with.

    Args:
        folder: of the PDP's records.
        instance: the PDP's name in records.
        in_use: workers that open their spools themselves.
        limits: of a spool.
        disk: the file system.
        clocks: wall clock and monotonic clock, in nanoseconds.

    Raises:
        ConfigurationError: another process has one of them.
        SpoolError: one of them cannot be read or written.
    """
    try:
        left = {w: f for w, f in spool_folders(folder, disk).items() if w not in in_use}
        return [
            orphan
            for worker, found in left.items()
            if (orphan := _close(found, instance, worker, limits, disk, clocks))
        ]
    except OSError as error:
        raise SpoolError(
            f"a spool in `{folder}` cannot be read: {error.strerror or error}: mend the disk, "
            "then start again"
        ) from error


def _close(
    folder: Path,
    instance: str,
    worker: int,
    limits: SpoolLimits,
    disk: Disk,
    clocks: tuple[Clock, Clock],
) -> Orphan | None:
    if not segment_names(disk, folder):
        return None
    before = survey([folder], disk)
    # The last thing said is what a start found: there is nothing behind it to recover.
    if not before.tails and before.last is not None and before.last.body == "spool_event":
        return None
    journal = Journal.open(folder, instance, worker, limits=limits, disk=disk, clocks=clocks)
    journal.close()
    return Orphan(folder, journal.pdp_id, before.problems.count)
