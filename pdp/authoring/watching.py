"""What was saved: a folder's documents by size and times, compared at intervals.

Polling, because it works on every file system and needs no other library; the
documents are read only when something differs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pdp.authoring.sources import ENTRIES_MAX, FOLDER_DEPTH_MAX, is_document

Fingerprint = frozenset[tuple[str, int, int, int]]

_UNREADABLE: Final = (0, 0, 0)


def fingerprint(folder: Path) -> Fingerprint:
    """The documents of a folder and those below it: path, inode, size, time of change.

    Never raises: what cannot be looked at is part of the fingerprint too.
    """
    found: set[tuple[str, int, int, int]] = set()
    _walk(str(folder), 0, found)
    return frozenset(found)


def _walk(folder: str, depth: int, found: set[tuple[str, int, int, int]]) -> None:
    # As `read_folder`, which says what is wrong; here it only must not go on for ever.
    if depth > FOLDER_DEPTH_MAX or len(found) > ENTRIES_MAX:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    _walk(entry.path, depth + 1, found)
                elif is_document(entry.name) or entry.is_symlink():
                    found.add((entry.path, *_look(entry)))
    except OSError:
        found.add((folder, *_UNREADABLE))


def _look(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    try:
        about = entry.stat()
    except OSError:
        return _UNREADABLE
    return about.st_ino, about.st_size, about.st_mtime_ns


class Watch:
    """Says when a folder has changed and is at rest again.

    Args:
        folder: of policies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = self._last = fingerprint(folder)

    def changed(self) -> bool:
        """Whether to read again. Call it at intervals.

        An editor may empty a file and then write it, so a change is told
        once two looks in a row saw the same.
        """
        now = fingerprint(self._folder)
        at_rest, self._last = now == self._last, now
        if not at_rest or now == self._told:
            return False
        self._told = now
        return True
