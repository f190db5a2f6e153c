"""One entry of a directory, judged."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pdp import value_json
from pdp.directory.faults import DirectoryError, Fault
from pdp.values import Value

# An entry is what a request says about one thing; a request may have four times as much text.
PROPERTIES_BYTES_MAX: Final = 65_536
NAME_BYTES_MAX: Final = 1_024


class Kind(enum.Enum):
    """What an entry is. The values are the names of tables, and of members of the file."""

    SUBJECT = "subjects"
    RESOURCE = "resources"


@dataclass(frozen=True, slots=True)
class Place:
    """Where entries are listed: of one kind, of one tenant, of one type. Compared byte by byte."""

    kind: Kind
    tenant: str
    type: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A subject or a resource.

    Attributes:
        id: within its place.
        properties: not yet past the boundary: each request they get into is judged whole.
    """

    id: str
    properties: Mapping[str, Value] = field(default_factory=dict)


def entry(name: object, properties: object) -> Entry:
    """An entry of this name.

    Args:
        name: the id, as the directory holds it.
        properties: likewise: the text of a JSON object.

    Raises:
        DirectoryError: it is none.
    """
    if type(name) is not str or not 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX:
        raise DirectoryError(Fault.WRONG, "an id is no text, empty or too long")
    if type(properties) is not str:
        raise DirectoryError(Fault.WRONG, "the properties of an entry are no text")
    if len(properties) > PROPERTIES_BYTES_MAX:
        raise DirectoryError(Fault.WRONG, "the properties of an entry are too long")
    try:
        name.encode()
        found = value_json.parse(properties)
    except ValueError:
        raise DirectoryError(Fault.WRONG, "the properties of an entry are no JSON") from None
    if type(found) is not dict:
        raise DirectoryError(Fault.WRONG, "the properties of an entry are no JSON object")
    return Entry(name, found)
