"""Schemas of requests: which attributes there are, and what they may be. Law ring: pure.

A schema is about one part of a request: the properties of a subject type, of
a resource type or of an action, or the context. It is a subset of JSON Schema
2020-12 over our own kinds of values (docs/policies.md says which), read by
`pdp.authoring.json_schema`, carried by a bundle and compared with requests by
`pdp.schema_check`.

What a schema does is refuse: a request that does not fit is denied before any
rule is looked at, so no schema can make an answer milder. Absent schemas
refuse nothing.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Final, TypeAlias

from pdp.values import Duration, Timestamp, Uint

# The name of a context schema that is about the requests for every resource type.
ANY = "*"
# Requests are bounded to 30 levels; nobody reads a schema of more than these.
DEPTH_MAX = 16
NODES_MAX = 5_000

Scalar: TypeAlias = None | bool | int | float | str


class Kind(enum.Enum):
    """Kinds of values. Numbers are the bundle's."""

    NULL = 1
    BOOL = 2
    INT = 3
    UINT = 4
    DOUBLE = 5
    STRING = 6
    BYTES = 7
    TIMESTAMP = 8
    DURATION = 9
    LIST = 10
    MAP = 11

    __hash__ = object.__hash__


ALL_KINDS: Final = frozenset(Kind)
KIND_OF: Final[Mapping[type, Kind]] = MappingProxyType(
    {
        NoneType: Kind.NULL,
        bool: Kind.BOOL,
        int: Kind.INT,
        Uint: Kind.UINT,
        float: Kind.DOUBLE,
        str: Kind.STRING,
        bytes: Kind.BYTES,
        Timestamp: Kind.TIMESTAMP,
        Duration: Kind.DURATION,
        list: Kind.LIST,
        dict: Kind.MAP,
    }
)
TYPE_OF: Final = MappingProxyType({kind: type_ for type_, kind in KIND_OF.items()})
# How a message names them; words of JSON Schema where it has them.
KIND_NAMES: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        Kind.NULL: "null",
        Kind.BOOL: "a boolean",
        Kind.INT: "an integer",
        Kind.UINT: "an unsigned integer",
        Kind.DOUBLE: "a double",
        Kind.STRING: "a string",
        Kind.BYTES: "bytes",
        Kind.TIMESTAMP: "a timestamp",
        Kind.DURATION: "a duration",
        Kind.LIST: "an array",
        Kind.MAP: "an object",
    }
)
NUMBERS: Final = frozenset({Kind.INT, Kind.DOUBLE})


class Target(enum.Enum):
    """Which part of a request a schema is about. Numbers are the bundle's."""

    SUBJECT = 1
    RESOURCE = 2
    ACTION = 3
    CONTEXT = 4

    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range of numbers."""

    value: int | float
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Property:
    """A declared key of a map."""

    name: str
    required: bool
    schema: Schema


@dataclass(frozen=True, slots=True)
class Schema:
    """What one value may be.

    INVARIANT: zero is strict where it concerns what is let through: without
    `kinds` nothing fits, without `open` and `additional` no undeclared key.

    Attributes:
        kinds: what it may be; never empty.
        values: the only values it may have; None means any.
        properties: declared keys, sorted by name.
        open: undeclared keys may hold anything.
        additional: what undeclared keys hold, where not anything goes.
        said: whether the author wrote what holds for undeclared keys; as `unguarded` below.
        items: what a list holds; None means anything.
        length: fewest and most characters of a string.
        count: fewest and most items of a list.
        pattern: RE2 that is found somewhere in a string, or empty.
        date_time: a string is an RFC 3339 timestamp.
        minimum, maximum: of a number.
    """

    kinds: frozenset[Kind]
    values: tuple[Scalar, ...] | None = None
    properties: tuple[Property, ...] = ()
    open: bool = False
    additional: Schema | None = None
    said: bool = True
    items: Schema | None = None
    length: tuple[int, int | None] = (0, None)
    count: tuple[int, int | None] = (0, None)
    pattern: str = ""
    date_time: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None


# The schema `true`: every value fits.
ANYTHING: Final = Schema(ALL_KINDS, open=True)


@dataclass(frozen=True, slots=True)
class SchemaDocument:
    """A schema and what it is about.

    Attributes:
        target: which part of a request.
        name: a subject type, a resource type or an action; of a context, the
            resource type, or `*` for all.
        schema: of a map.
        unguarded: whether conditions may read what is not required without
            asking whether it is there: where it is absent, they are in doubt.
            For `pdp check`; a decision does not look at it.
    """

    target: Target
    name: str
    schema: Schema
    unguarded: bool = False


def described(document: SchemaDocument) -> str:
    """What a schema is about, for a message."""
    if document.target is Target.CONTEXT and document.name == ANY:
        return "the context of every resource type"
    noun = {
        Target.SUBJECT: "subject type",
        Target.RESOURCE: "resource type",
        Target.ACTION: "action",
        Target.CONTEXT: "the context of resource type",
    }[document.target]
    return f"{noun} `{document.name}`"


def kinds_named(kinds: frozenset[Kind]) -> str:
    """`an integer or null`, for a message."""
    if kinds >= NUMBERS:
        names = ["a number"]
        kinds = kinds - NUMBERS
    else:
        names = []
    ordered = sorted(kinds, key=operator.attrgetter("value"))
    names += [KIND_NAMES[kind] for kind in ordered if kind is not Kind.NULL]
    names += ["null"] if Kind.NULL in kinds else []
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def scalar_key(value: object) -> tuple[str, object]:
    """Equality of JSON Schema: 1 and 1.0 are one number, true is none."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", value
    return type(value).__name__, value
