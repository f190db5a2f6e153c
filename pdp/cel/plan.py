"""The plan: what a condition comes to, once its names are resolved.

Both tiers are made from it. Names are gone (a loop variable is a slot, so
nothing can be captured), macros are recognised, policy variables are shared
definitions. Made by `pdp.cel.resolve` only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pdp.cel.functions import INDEX
from pdp.cel.library.optionals import OPTIONAL_FIELD, OPTIONAL_INDEX
from pdp.cel.library.rows import Function
from pdp.cel.values import Datum

# What looks into a map under a key: of a constant key, a longer path.
_LOOKS_UP = frozenset({INDEX, OPTIONAL_FIELD, OPTIONAL_INDEX})


class Macro(enum.Enum):
    """The loops there are. `map`, `filter` and `transformList` are one: filter, then transform."""

    ALL = "all"
    EXISTS = "exists"
    EXISTS_ONE = "exists_one"
    MAP = "map"
    TABLE = "transformMap"
    MERGE = "transformMapEntry"


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A literal, or a type."""

    value: Datum


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """A name of the global scope: `subject.id`.

    `likely` is the Python type that the checker was told to expect: a hint for
    which case to write first, never a promise.
    """

    name: str
    likely: type | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A loop variable."""

    slot: int


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A name of `cel.bind`: its value, or the error that it is."""

    slot: int


@dataclass(frozen=True, slots=True, eq=False)
class Bind:
    """`cel.bind(name, value, body)`. The value is computed once; its error shows where it is used.

    As in cel-go and cel-cpp: `cel.bind(a, 1 / 0, true)` is true.
    """

    slot: int
    value: Plan
    body: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Otherwise:
    """`first.or(second)` and, with `unwrap`, `first.orValue(second)`: second only if needed."""

    first: Plan
    second: Plan
    unwrap: bool


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A policy variable. One object however often it is used."""

    name: str
    body: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """A policy variable in place: as if its expression were written there."""

    definition: Definition


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """`operand.name`."""

    operand: Plan
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """`has(operand.name)`."""

    operand: Plan
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Apply:
    """A call. `arguments` begins with the receiver of a method."""

    function: Function
    arguments: tuple[Plan, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """`left && right`."""

    left: Plan
    right: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    """`left || right`."""

    left: Plan
    right: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """`test ? then : otherwise`."""

    test: Plan
    then: Plan
    otherwise: Plan


@dataclass(frozen=True, slots=True, eq=False)
class MakeList:
    """`[a, b]`. `optional` holds the indices of `?a` elements."""

    elements: tuple[Plan, ...]
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class MakeMap:
    """`{k: v}`. `optional` holds the indices of `?k: v` entries."""

    entries: tuple[tuple[Plan, Plan], ...]
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A macro.

    Attributes:
        macro: which.
        slot: of the loop variable.
        second: of the second loop variable; then the first is an index or a key.
        source: what it runs over.
        test: its condition; None for a `map` without one.
        transform: what `map` makes; None for `filter` and the quantifiers.
        weight: units of one iteration.
    """

    macro: Macro
    slot: int
    source: Plan
    test: Plan | None
    transform: Plan | None
    weight: int
    second: int | None = None


Plan: TypeAlias = (
    Constant
    | Attribute
    | Local
    | Bound
    | Bind
    | Otherwise
    | Use
    | Field
    | Present
    | Apply
    | Both
    | Either
    | Choice
    | MakeList
    | MakeMap
    | Loop
)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A whole condition.

    Attributes:
        root: its plan.
        weight: units charged when it starts.
        slots: how many loop variables there are, in its variables too.
        reads: attribute paths it may look at.
    """

    root: Plan
    weight: int
    slots: int
    reads: frozenset[tuple[str, ...]]


def children(plan: Plan) -> Iterator[Plan]:
    """The direct parts of a plan; a variable's expression is a part of its use."""
    match plan:
        case Use(definition):
            yield definition.body
        case Field(operand) | Present(operand):
            yield operand
        case Apply(_, arguments):
            yield from arguments
        case Both(left, right) | Either(left, right) | Otherwise(left, right):
            yield left
            yield right
        case Bind(_, value, body):
            yield value
            yield body
        case Choice(test, then, otherwise):
            yield from (test, then, otherwise)
        case MakeList(elements):
            yield from elements
        case MakeMap(entries):
            for key, value in entries:
                yield key
                yield value
        case Loop(source=source, test=test, transform=transform):
            yield source
            if test is not None:
                yield test
            if transform is not None:
                yield transform
        case Constant() | Attribute() | Local() | Bound():
            pass


def path_of(plan: Plan) -> tuple[str, ...] | None:
    """The attribute path a plan names, if it is nothing but one."""
    match plan:
        case Attribute(name=name):
            return (name,)
        case Field(operand, name) | Present(operand, name):
            found = path_of(operand)
            return None if found is None else (*found, name)
        case Apply(function, (operand, Constant(str(key)))) if function in _LOOKS_UP:
            found = path_of(operand)
            return None if found is None else (*found, key)
        case _:
            return None


def paths_read(root: Plan) -> frozenset[tuple[str, ...]]:
    """All attribute paths a plan looks at; a prefix where what follows is dynamic."""
    found: set[tuple[str, ...]] = set()
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        plan = waiting.pop()
        if isinstance(plan, Use):
            # A variable used in many places is looked at once.
            if id(plan.definition) in seen:
                continue
            seen.add(id(plan.definition))
        path = path_of(plan)
        if path is None:
            waiting.extend(children(plan))
        else:
            found.add(path)
    return frozenset(found)
