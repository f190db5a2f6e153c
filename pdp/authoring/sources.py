"""Which files of a folder are documents. The only place of authoring that reads files.

Nothing is skipped in silence that an author could take for a policy: a deny
that is not read is a grant. Not read are hidden files and folders (editors,
version control), and files that do not end in `.yaml` or `.yml`, in any case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pdp.authoring.documents import DOCUMENT_BYTES_MAX
from pdp.authoring.problems import Problems, word
from pdp.errors import ConfigurationError, PolicyError, Position

# What fits an archive (`pdp.archive.ArchiveLimits`): a source and its compiled form are two
# members, and names are plain ASCII so that no file system makes two names one.
DOCUMENTS_MAX = 11_000
SOURCES_BYTES_MAX = 8 << 20
PATH_CHARACTERS_MAX = 180
FOLDER_DEPTH_MAX = 16
ENTRIES_MAX = 40_000
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SUFFIXES = (".yaml", ".yml")
_TEST_STEM = "_test"


@dataclass(frozen=True, slots=True)
class Sources:
    """The documents of a folder, by path below it with `/`, sorted.

    Attributes:
        policies: policy and caller documents.
        tests: documents of tests, `*_test.yaml`.
        problems: what could not be read.
    """

    policies: Mapping[str, bytes]
    tests: Mapping[str, bytes]
    problems: tuple[PolicyError, ...]


def is_document(name: str) -> bool:
    """Whether a file of this name is a document."""
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def is_test(name: str) -> bool:
    """Whether a document of this name holds tests."""
    return name.lower().rpartition(".")[0].endswith(_TEST_STEM)


def read_folder(folder: Path) -> Sources:
    """Read all documents of a folder and the folders below it.

    Raises:
        ConfigurationError: it is no folder.
        OSError: something in it cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"`{folder}` is not a folder: give the one with the policies")
    problems = Problems()
    walk = _Walk(folder, problems)
    walk.folder(folder, 0)
    policies = {path: data for path, data in sorted(walk.found.items()) if not is_test(path)}
    tests = {path: data for path, data in sorted(walk.found.items()) if is_test(path)}
    return Sources(policies, tests, problems.sorted())


def read_file(path: Path) -> bytes:
    """The bytes of one document; of a longer one, enough to be refused as too long.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(DOCUMENT_BYTES_MAX + 1)


def check_path(path: str, problems: Problems) -> None:
    """Note it when a bundle could not hold a document of this path.

    Nor may it hold one that reading a folder would not have found: what an
    author's own check does not look at must not be signed.
    """
    if not is_document(path.rpartition("/")[2]):
        problems.add(Position(path), "a document's name ends in `.yaml` or `.yml`", "rename it")
    if len(path) > PATH_CHARACTERS_MAX:
        problems.add(Position(path), f"the path is longer than {PATH_CHARACTERS_MAX} characters")
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment):
            hint = "use letters, digits, `.`, `_` and `-`, beginning with a letter, digit or `_`"
            problems.add(Position(path), f"{word(segment)} cannot be a name in a bundle", hint)


class _Walk:
    """One reading of a folder."""

    def __init__(self, root: Path, problems: Problems) -> None:
        self.root = root
        self.real_root = root.resolve()
        self.problems = problems
        self.found: dict[str, bytes] = {}
        self.entries_left = ENTRIES_MAX
        self.bytes_left = SOURCES_BYTES_MAX

    def folder(self, folder: Path, depth: int) -> None:
        """Read a folder and those below it."""
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda item: item.name):
                self.entries_left -= 1
                if self.entries_left < 0:
                    raise ConfigurationError(
                        f"`{self.root}` has more than {ENTRIES_MAX} files: is it the right folder?"
                    )
                if not entry.name.startswith("."):
                    self._entry(entry, depth)

    def _entry(self, entry: os.DirEntry[str], depth: int) -> None:
        path = Path(entry.path)
        relative = path.relative_to(self.root).as_posix()
        if entry.is_symlink() and (entry.is_dir() or is_document(entry.name)):
            if not self._is_inside(path, relative):
                return
        elif entry.is_dir():
            if depth >= FOLDER_DEPTH_MAX:
                message = f"the folder is more than {FOLDER_DEPTH_MAX} levels deep"
                self.problems.add(Position(relative), message)
            else:
                self.folder(path, depth + 1)
            return
        if is_document(entry.name):
            self._file(path, relative)

    def _is_inside(self, link: Path, relative: str) -> bool:
        """Whether a link is to a file of this folder; a link to anything else is a problem.

        Somebody else's folder must not become policy, and linked folders can
        be circles.
        """
        target = Path(os.path.realpath(link))
        if target.is_file() and target.is_relative_to(self.real_root):
            return True
        message = "the link does not lead to a file in this folder"
        self.problems.add(Position(relative), message, "put the document itself here")
        return False

    def _file(self, path: Path, relative: str) -> None:
        before = len(self.problems)
        check_path(relative, self.problems)
        if len(self.problems) > before:
            return
        if len(self.found) >= DOCUMENTS_MAX:
            raise ConfigurationError(
                f"`{self.root}` has more than {DOCUMENTS_MAX} documents: is it the right folder?"
            )
        # A pipe or a device would block or never end.
        if not path.is_file():
            self.problems.add(Position(relative), "this is not a plain file", "remove it")
            return
        data = read_file(path)
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise ConfigurationError(
                f"the documents in `{self.root}` are more than {SOURCES_BYTES_MAX} bytes together"
            )
        self.found[relative] = data
