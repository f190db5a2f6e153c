"""What a value may be, as far as schemas and the checker tell before any request comes.

A shape is wider than a type of CEL: it may be of several kinds, may have only
certain values, and knows which fields a map has and which of them are sure to
be there. What is not known is `DYN`, about which nothing is ever complained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from pdp.cel.syntax import Type
from pdp.schema import ALL_KINDS, Kind, Schema, scalar_key

# Names are those of CEL's types.
KIND_TYPES: Final[Mapping[Kind, str]] = {
    Kind.NULL: "null_type",
    Kind.BOOL: "bool",
    Kind.INT: "int",
    Kind.UINT: "uint",
    Kind.DOUBLE: "double",
    Kind.STRING: "string",
    Kind.BYTES: "bytes",
    Kind.TIMESTAMP: "google.protobuf.Timestamp",
    Kind.DURATION: "google.protobuf.Duration",
    Kind.LIST: "list",
    Kind.MAP: "map",
}
NUMBERS: Final = frozenset({"int", "uint", "double"})
_WORDS: Final[Mapping[str, str]] = {
    "null_type": "null",
    "google.protobuf.Timestamp": "a timestamp",
    "google.protobuf.Duration": "a duration",
    "int": "an int",
    "bytes": "bytes",
    "uint": "a uint",
    "optional_type": "an optional",
}
ScalarKey = tuple[str, object]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a map. `unguarded`: may be read without a look whether it is there."""

    shape: Shape
    required: bool = True
    unguarded: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may be.

    Attributes:
        kinds: names of CEL types; empty means that nothing is known.
        values: the only values it may have, by `pdp.schema.scalar_key`; None means any.
        fields: of a map.
        rest: what other keys of a map hold; None means that there are none.
        said: whether somebody wrote that there may be other keys.
        element: of a list, or of an optional.
    """

    kinds: frozenset[str] = frozenset()
    values: frozenset[ScalarKey] | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    rest: Shape | None = None
    said: bool = True
    element: Shape | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return bool(self.kinds)


DYN: Final = Shape()


def scalar(kind: str) -> Shape:
    """Any value of one kind."""
    return Shape(frozenset({kind}))


def of_schema(schema: Schema, *, unguarded: bool) -> Shape:
    """The shape of what fits a schema."""
    if schema.kinds == ALL_KINDS and schema.values is None:
        return DYN
    rest = schema.additional
    return Shape(
        frozenset(KIND_TYPES[kind] for kind in schema.kinds),
        None if schema.values is None else frozenset(map(scalar_key, schema.values)),
        {
            item.name: Field(of_schema(item.schema, unguarded=unguarded), item.required, unguarded)
            for item in schema.properties
        },
        DYN if schema.open else None if rest is None else of_schema(rest, unguarded=unguarded),
        schema.said,
        DYN if schema.items is None else of_schema(schema.items, unguarded=unguarded),
    )


def of_type(type_: Type) -> Shape:
    """The shape of a type that the checker deduced."""
    match type_.name, type_.parameters:
        case "dyn", _:
            return DYN
        case "map", (_, value):
            return Shape(frozenset({"map"}), rest=of_type(value))
        case "list" | "optional_type", (element,):
            return Shape(frozenset({type_.name}), element=of_type(element))
        case name, _:
            return scalar(name)


def join(one: Shape, other: Shape) -> Shape:
    """What either may be."""
    if not one.is_known or not other.is_known:
        return DYN
    fields = {
        name: _joined(one, other, name) for name in sorted(one.fields.keys() | other.fields.keys())
    }
    rests = [rest for rest in (one.rest, other.rest) if rest is not None]
    both = one.values is not None and other.values is not None
    values = (one.values or frozenset()) | (other.values or frozenset())
    elements = [item for item in (one.element, other.element) if item is not None]
    return Shape(
        one.kinds | other.kinds,
        values if both else None,
        fields,
        union(rests) if rests else None,
        one.said and other.said,
        union(elements) if elements else None,
    )


def _joined(one: Shape, other: Shape, name: str) -> Field:
    left, right = one.fields.get(name), other.fields.get(name)
    if left is not None and right is not None:
        return Field(
            join(left.shape, right.shape),
            left.required and right.required,
            left.unguarded and right.unguarded,
        )
    known, rest = (left, other.rest) if left is not None else (right, one.rest)
    shape = DYN if known is None else known.shape
    unguarded = known is not None and known.unguarded
    # A map of another kind than the one that has this key may not have it.
    has_map = "map" in one.kinds and "map" in other.kinds
    required = known is not None and known.required and not has_map
    return Field(shape if rest is None else join(shape, rest), required, unguarded)


def union(shapes: Iterable[Shape]) -> Shape:
    """What any of them may be; DYN when there is none."""
    found = list(shapes)
    return reduce(join, found) if found else DYN


def meet(one: Shape, other: Shape) -> Shape:
    """What is both."""
    if not one.is_known:
        return other
    if not other.is_known:
        return one
    values = one.values
    if other.values is not None:
        values = other.values if values is None else values & other.values
    fields = {}
    for name in sorted(one.fields.keys() | other.fields.keys()):
        left = one.fields.get(name) or _of_rest(one)
        right = other.fields.get(name) or _of_rest(other)
        if left is not None and right is not None:
            fields[name] = Field(
                meet(left.shape, right.shape),
                left.required or right.required,
                left.unguarded and right.unguarded,
            )
    closed = one.rest is None or other.rest is None
    return Shape(
        one.kinds & other.kinds,
        values,
        fields,
        None if one.rest is None or other.rest is None else meet(one.rest, other.rest),
        closed or (one.said and other.said),
        meet(one.element or DYN, other.element or DYN),
    )


def _of_rest(shape: Shape) -> Field | None:
    return None if shape.rest is None else Field(shape.rest, required=False, unguarded=True)


def described(shape: Shape) -> str:
    """`a string or null`, for a message."""
    kinds = sorted(shape.kinds, key=lambda kind: (kind == "null_type", kind))
    if {"int", "double"} <= shape.kinds:
        kinds = ["number", *(kind for kind in kinds if kind not in {"int", "double"})]
    return " or ".join(_WORDS.get(kind, f"a {kind}") for kind in kinds) or "anything"
