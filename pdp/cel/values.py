"""Values while they are computed: kinds, errors, and the keys of maps.

At run time a CEL value is a `pdp.values.Value`, a `Type` (what `type(1)`
gives), or of a kind of `pdp.cel.opaque`. Kinds are told apart by exact Python
type, never by `isinstance`: a bool is an int to Python, and so is `Uint`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Any, TypeAlias

from pdp.cel import opaque
from pdp.cel.syntax import Type
from pdp.values import Duration, Timestamp, Uint

# A `Value`, a `Type` or an opaque value. Its kind is decided at run time, so the type checker
# cannot help here; the tests against the specification do.
Datum: TypeAlias = Any


class CelError(Exception):
    """An error value of CEL: `1 / 0`, a missing key, no matching overload.

    The message names kinds, not values: a condition's data may be secret.
    """


class BoolKey(enum.Enum):
    """A bool as a key of a map.

    To Python `{True: 2, 1: 3}` has one entry; to CEL it has two.
    """

    FALSE = False
    TRUE = True


@dataclass(frozen=True, slots=True, eq=False)
class Optional:
    """What `optional.of(x)` gives. `NONE` is the one without a value.

    Compared by `pdp.cel.semantics.equal` only: to Python no two are equal.
    """

    value: Datum

    def __repr__(self) -> str:
        return "optional.none()" if self is NONE else f"optional.of({self.value!r})"


NONE = Optional(None)


KIND_TYPES = MappingProxyType(
    {
        NoneType: Type("null_type"),
        bool: Type("bool"),
        int: Type("int"),
        Uint: Type("uint"),
        float: Type("double"),
        str: Type("string"),
        bytes: Type("bytes"),
        Timestamp: Type("google.protobuf.Timestamp"),
        Duration: Type("google.protobuf.Duration"),
        list: Type("list"),
        dict: Type("map"),
        Type: Type("type"),
        Optional: Type("optional_type"),
        **{kind: Type(name) for kind, name in opaque.NAMES.items()},
    }
)
NUMBERS = frozenset({int, Uint, float})
KINDS_BY_NAME = MappingProxyType({type_.name: kind for kind, type_ in KIND_TYPES.items()})
TYPES_BY_NAME = MappingProxyType({kind.name: kind for kind in KIND_TYPES.values()})


def type_of(value: Datum) -> Type:
    """What `type(value)` gives: without parameters, as at run time everywhere."""
    found = KIND_TYPES.get(type(value))
    if found is None:
        message = "a value of a kind that CEL does not know"
        raise CelError(message)
    return found


def no_overload(function: str, *operands: Datum) -> CelError:
    """The error of a function that has no overload for its operands."""
    kinds = ", ".join(str(KIND_TYPES.get(type(operand), "?")) for operand in operands)
    return CelError(f"no overload of `{function}` for ({kinds})")


def make_key(value: Datum) -> Datum:
    """The Python key for a CEL key of a map under construction.

    Raises:
        CelError: keys are bool, int, uint or string (langdef, "Aggregate values").
    """
    kind = type(value)
    if kind is str or kind is int or kind is Uint:
        return value
    if kind is bool:
        return BoolKey(value)
    raise no_overload("{}", value)


def search_key(value: Datum) -> Datum:
    """The Python key to look a CEL value up by; a double finds the integer it equals.

    Raises:
        CelError: a value of this kind is never a key.
    """
    kind = type(value)
    if kind is str or kind in NUMBERS:
        return value
    if kind is bool:
        return BoolKey(value)
    raise no_overload("[]", value)


def keys(mapping: dict[Any, Datum]) -> list[Datum]:
    """The CEL keys of a map, in its order."""
    return [key.value if type(key) is BoolKey else key for key in mapping]


def make_map(entries: list[tuple[Datum, Datum]]) -> dict[Any, Datum]:
    """A map of evaluated entries.

    Raises:
        CelError: a key is of the wrong kind, or occurs twice (`1` and `1u` are one key).
    """
    out: dict[Any, Datum] = {}
    for key, value in entries:
        insert(out, key, value)
    return out


def insert(mapping: dict[Any, Datum], key: Datum, value: Datum) -> None:
    """Add an entry to a map under construction.

    Raises:
        CelError: the key is of the wrong kind, or is there already.
    """
    made = make_key(key)
    if made in mapping:
        message = "a key occurs twice in a map"
        raise CelError(message)
    mapping[made] = value


def given(value: Datum) -> Optional:
    """An optional, of `?x` in a list or map.

    Raises:
        CelError: it is not one.
    """
    if type(value) is Optional:
        return value
    raise no_overload("?", value)


def make_optional_list(elements: list[Datum], optional: frozenset[int]) -> list[Datum]:
    """`[a, ?b]`: what is optional is an element if it has a value."""
    out: list[Datum] = []
    for at, element in enumerate(elements):
        if at not in optional:
            out.append(element)
        elif given(element) is not NONE:
            out.append(element.value)
    return out


def make_optional_map(
    entries: list[tuple[Datum, Datum]], optional: frozenset[int]
) -> dict[Any, Datum]:
    """`{k: v, ?l: w}`: what is optional is an entry if it has a value. Its key must be one."""
    out: dict[Any, Datum] = {}
    for at, (key, value) in enumerate(entries):
        if at not in optional:
            insert(out, key, value)
        elif given(value) is NONE:
            make_key(key)
        else:
            insert(out, key, value.value)
    return out
