"""A directory in one JSON file, read whole, and again when it has changed.

{"version": 1,
 "subjects": [{"type": "user", "id": "bob", "properties": {"role": "admin"}}],
 "resources": [{"tenant": "acme", "type": "record", "id": "1"}]}
"""

from __future__ import annotations

import bisect
import json
import os
import threading
from pathlib import Path
from typing import Any, Final

from pdp import value_json
from pdp.directory.faults import DirectoryError, Fault
from pdp.directory.records import Entry, Kind, Place, entry

# More than that is what tables are for: it is read in one go, and held in memory.
FILE_BYTES_MAX: Final = 4_194_304
_DEFAULT_TENANT: Final = "default"
_MEMBERS: Final = frozenset({"version", *(kind.value for kind in Kind)})
_FIELDS: Final = frozenset({"tenant", "type", "id", "properties"})
_Stamp = tuple[int, int, int, int]
_Listed = tuple[list[str], list[Entry]]


class DirectoryFile:
    """The file. What is broken is an error, also where it was whole before.

    Args:
        path: of the file. Replace it as a whole (write another one, rename it).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._places: dict[Place, _Listed] = {}

    def find(self, place: Place, name: str, time_s: float) -> Entry | None:  # noqa: ARG002 memory
        """As `Directory.find`."""
        names, entries = self._current().get(place, ([], []))
        index = bisect.bisect_left(names, name)
        return entries[index] if names[index : index + 1] == [name] else None

    def after(self, place: Place, name: str, count: int, time_s: float) -> list[Entry]:  # noqa: ARG002 memory
        """As `Directory.after`."""
        names, entries = self._current().get(place, ([], []))
        start = bisect.bisect_right(names, name)
        return entries[start : start + count]

    def check(self) -> None:
        """As `Directory.check`."""
        self._current()

    def close(self) -> None:
        """Nothing is held open."""

    def _current(self) -> dict[Place, _Listed]:
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    stamp = _stamp(file.fileno())
                    if stamp != self._stamp:
                        self._stamp = None
                        data = file.read(FILE_BYTES_MAX + 1)
                        self._places = _places(data)
                        self._stamp = stamp
            except OSError as error:
                self._stamp = None
                why = (error.strerror or "an error").lower()
                raise DirectoryError(Fault.UNREACHABLE, f"the file cannot be read: {why}") from None
            return self._places


def _stamp(descriptor: int) -> _Stamp:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _places(data: bytes) -> dict[Place, _Listed]:
    if len(data) > FILE_BYTES_MAX:
        raise _wrong(f"the file is longer than {FILE_BYTES_MAX} bytes: use tables")
    try:
        document: Any = value_json.parse(data.decode())
    except value_json.NotJsonError as error:
        raise _wrong(f"the file {error}") from None
    except ValueError:
        # Whose words would show a key or a number of it.
        raise _wrong("the file has a key twice, or a value that is out of range") from None
    if type(document) is not dict or type(document.get("version")) is not int:
        raise _wrong("the file has no `version`: it is an object with `version` 1")
    if document["version"] != 1:
        raise _wrong("the `version` of the file is not 1")
    if unknown := document.keys() - _MEMBERS:
        raise _wrong(f"the file has the member {min(unknown)[:64]!a}, which nothing reads")
    found: dict[Place, dict[str, Entry]] = {}
    for kind in Kind:
        listed = document.get(kind.value, [])
        if type(listed) is not list:
            raise _wrong(f"`{kind.value}` is no list")
        for number, item in enumerate(listed):
            try:
                place, one = _entry(kind, item)
                if one.id in found.setdefault(place, {}):
                    raise _wrong("is there twice")
            except DirectoryError as error:
                raise _wrong(f"`{kind.value}[{number}]`: {error.reason}") from None
            found[place][one.id] = one
    return {place: _in_order(entries) for place, entries in found.items()}


def _in_order(entries: dict[str, Entry]) -> _Listed:
    # Python compares text by code points, which is the order of its bytes in UTF-8.
    names = sorted(entries)
    return names, [entries[name] for name in names]


def _entry(kind: Kind, item: Any) -> tuple[Place, Entry]:
    if type(item) is not dict:
        raise _wrong("is no object")
    if unknown := item.keys() - _FIELDS:
        raise _wrong(f"has the member {min(unknown)[:64]!a}, which nothing reads")
    tenant, type_ = item.get("tenant", _DEFAULT_TENANT), item.get("type", "")
    for name, value in (("tenant", tenant), ("type", type_)):
        if type(value) is not str or not value:
            raise _wrong(f"has no `{name}`")
    properties = item.get("properties", {})
    # Judged like those of a table, by their text.
    text = json.dumps(properties, ensure_ascii=False)
    return Place(kind, tenant, type_), entry(item.get("id"), text)


def _wrong(reason: str) -> DirectoryError:
    return DirectoryError(Fault.WRONG, reason)
