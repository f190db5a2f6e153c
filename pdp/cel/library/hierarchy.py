"""Places in a tree: organisations, folders, scopes. As Cerbos has them, with CEL's names.

A hierarchy is a list of names from the root down. Names are compared code
point by code point; an empty name is an error, so that `a..c` is not a place.
"""

from __future__ import annotations

from collections.abc import Callable

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.signatures import define, make_library
from pdp.cel.opaque import NAMES, Hierarchy
from pdp.cel.values import CelError, Datum, no_overload

_DEPTH_MAX = 64
_CODE_POINTS_MAX = 4_096
_SEPARATOR_CODE_POINTS_MAX = 8
_SEPARATOR = "."
_READ_UNITS = 10

Segments = tuple[str, ...]


def _make(segments: Segments, separator: str) -> Hierarchy:
    if not all(segments):
        message = "a hierarchy with an empty name: want `a.b.c`"
        raise CelError(message)
    if len(segments) > _DEPTH_MAX:
        message = f"a hierarchy deeper than {_DEPTH_MAX} levels"
        raise CelError(message)
    return Hierarchy(segments, separator)


def _split(text: str, separator: str, meter: Meter) -> Hierarchy:
    charge(meter, _READ_UNITS + len(text) // COPIED_PER_UNIT)
    if len(text) > _CODE_POINTS_MAX:
        message = f"a hierarchy longer than {_CODE_POINTS_MAX} code points"
        raise CelError(message)
    return _make(tuple(text.split(separator)), separator)


def hierarchy(operand: Datum, meter: Meter) -> Hierarchy:
    """`hierarchy("a.b.c")`, `hierarchy(["a", "b", "c"])`."""
    if type(operand) is str:
        return _split(operand, _SEPARATOR, meter)
    if type(operand) is not list:
        raise no_overload("hierarchy", operand)
    charge(meter, _READ_UNITS + len(operand))
    if not operand or len(operand) > _DEPTH_MAX:
        message = f"a hierarchy has 1 to {_DEPTH_MAX} levels"
        raise CelError(message)
    for name in operand:
        if type(name) is not str:
            raise no_overload("hierarchy", operand)
    return _make(tuple(operand), _SEPARATOR)


def read_separator(text: str) -> str:
    """What stands between names, unchanged.

    Raises:
        CelError: empty, or too long.
    """
    if not 0 < len(text) <= _SEPARATOR_CODE_POINTS_MAX:
        message = f"a separator has 1 to {_SEPARATOR_CODE_POINTS_MAX} code points"
        raise CelError(message)
    return text


def hierarchy_by(text: Datum, separator: Datum, meter: Meter) -> Hierarchy:
    """`hierarchy("a/b/c", "/")`."""
    if type(text) is not str or type(separator) is not str:
        raise no_overload("hierarchy", text, separator)
    return _split(text, read_separator(separator), meter)


def _is_ancestor(one: Segments, two: Segments) -> bool:
    return len(one) < len(two) and two[: len(one)] == one


def _is_parent(one: Segments, two: Segments) -> bool:
    return len(one) + 1 == len(two) and two[:-1] == one


def _is_sibling(one: Segments, two: Segments) -> bool:
    """Two roots are siblings; nothing is its own."""
    return one != two and one[:-1] == two[:-1] and len(one) == len(two)


def _overlaps(one: Segments, two: Segments) -> bool:
    return one == two or _is_ancestor(one, two) or _is_ancestor(two, one)


def _related(
    name: str, test: Callable[[Segments, Segments], bool]
) -> Callable[[Datum, Datum, Meter], bool]:
    def call(one: Datum, two: Datum, meter: Meter) -> bool:
        if type(one) is not Hierarchy or type(two) is not Hierarchy:
            raise no_overload(name, one, two)
        charge(meter, min(len(one.segments), len(two.segments)))
        return test(one.segments, two.segments)

    return call


def common_ancestor(one: Datum, two: Datum, meter: Meter) -> Hierarchy:
    """The deepest place that both are at or below."""
    if type(one) is not Hierarchy or type(two) is not Hierarchy:
        raise no_overload("commonAncestor", one, two)
    charge(meter, min(len(one.segments), len(two.segments)))
    depth = 0
    for left, right in zip(one.segments, two.segments, strict=False):
        if left != right:
            break
        depth += 1
    if not depth:
        message = "two hierarchies with no ancestor in common"
        raise CelError(message)
    return Hierarchy(one.segments[:depth], one.separator)


def depth_of(operand: Datum) -> int:
    """`h.depth()`: 1 for a root."""
    if type(operand) is not Hierarchy:
        raise no_overload("depth", operand)
    return len(operand.segments)


_RELATIONS: tuple[tuple[str, str, Callable[[Segments, Segments], bool]], ...] = (
    ("isAncestorOf", "hierarchy_is_ancestor_of", _is_ancestor),
    ("isDescendantOf", "hierarchy_is_descendant_of", lambda one, two: _is_ancestor(two, one)),
    ("isParentOf", "hierarchy_is_parent_of", _is_parent),
    ("isChildOf", "hierarchy_is_child_of", lambda one, two: _is_parent(two, one)),
    ("isSiblingOf", "hierarchy_is_sibling_of", _is_sibling),
    ("overlaps", "hierarchy_overlaps", _overlaps),
)
_NAME = NAMES[Hierarchy]

LIBRARY = make_library(
    "hierarchy",
    define(
        "hierarchy",
        {
            "string_to_hierarchy": f"(string) -> {_NAME}",
            "list_to_hierarchy": f"(list(string)) -> {_NAME}",
        },
        hierarchy,
        folds=True,
    ),
    define(
        "hierarchy",
        {"string_string_to_hierarchy": f"(string, string) -> {_NAME}"},
        hierarchy_by,
        literal=read_separator,
        folds=True,
    ),
    *(
        define(name, {overload: f"{_NAME}.({_NAME}) -> bool"}, _related(name, test))
        for name, overload, test in _RELATIONS
    ),
    define(
        "commonAncestor",
        {"hierarchy_common_ancestor": f"{_NAME}.({_NAME}) -> {_NAME}"},
        common_ancestor,
    ),
    define("depth", {"hierarchy_depth": f"{_NAME}.() -> int"}, depth_of, metered=False),
    types=(_NAME,),
)
