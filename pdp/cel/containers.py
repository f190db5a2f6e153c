"""Membership, selection, look-up, size: what looks into lists, maps and optionals.

Same sources and rules as `pdp.cel.semantics`.
"""

from __future__ import annotations

from typing import Any

from pdp.cel.cost import COMPARED_PER_UNIT, BudgetSpentError, Meter, charge
from pdp.cel.semantics import equal
from pdp.cel.values import (
    NONE,
    NUMBERS,
    CelError,
    Datum,
    Optional,
    insert,
    keys,
    no_overload,
    search_key,
)
from pdp.values import Uint

_SIZED = frozenset({str, bytes, list, dict})


def contained(item: Datum, container: Datum, meter: Meter) -> bool:
    """`in`: an element of a list by `==`, or a key of a map."""
    kind = type(container)
    if kind is list:
        meter[0] -= len(container)
        if meter[0] < 0:
            raise BudgetSpentError
        if type(item) is str and len(item) < COMPARED_PER_UNIT:
            # Python's `in` agrees with CEL's on strings, and short ones are
            # compared free of charge.
            return item in container
        return any(equal(item, element, meter) for element in container)
    if kind is dict:
        return search_key(item) in container
    raise no_overload("in", item, container)


def listed(item: Datum, literal: Datum) -> bool:
    """`in` a list of short string literals: part of the condition's weight, so free."""
    return type(item) is str and item in literal


def index(container: Datum, position: Datum) -> Datum:
    """`container[position]`: from 0 in a list, by key in a map; no negative positions.

    Of an optional it is `container[?position]`.
    """
    kind = type(container)
    if kind is dict:
        key = search_key(position)
        if key in container:
            return container[key]
        message = "no such key"
        raise CelError(message)
    if kind is list:
        at = type(position)
        if at is float and position.is_integer():
            position = int(position)
        elif at is not int and at is not Uint:
            raise no_overload("[]", container, position)
        if 0 <= position < len(container):
            return container[position]
        message = "index out of bounds"
        raise CelError(message)
    if kind is Optional:
        return optional_index(container, position)
    raise no_overload("[]", container, position)


def optional_index(container: Datum, position: Datum) -> Optional:
    """`container[?position]`: none where `[]` finds nothing.

    A value that can never be a key is none too, as in cel-cpp; a list takes
    the positions that `[]` takes.
    """
    if type(container) is Optional:
        if container is NONE:
            return NONE
        container = container.value
    kind = type(container)
    if kind is dict:
        at = type(position)
        if at is not str and at not in NUMBERS and at is not bool:
            return NONE
        key = search_key(position)
        return Optional(container[key]) if key in container else NONE
    if kind is list:
        at = type(position)
        if at is float and position.is_integer():
            position = int(position)
        elif at is not int and at is not Uint:
            raise no_overload("[?]", container, position)
        return Optional(container[position]) if 0 <= position < len(container) else NONE
    raise no_overload("[?]", container, position)


def optional_select(operand: Datum, field: Datum) -> Optional:
    """`operand.?field`: of a map, or of an optional that holds one."""
    if type(operand) is Optional:
        if operand is NONE:
            return NONE
        operand = operand.value
    if type(operand) is not dict or type(field) is not str:
        raise no_overload(".?", operand)
    return Optional(operand[field]) if field in operand else NONE


def select(operand: Datum, field: str) -> Datum:
    """`operand.field`: of a map; of an optional it is `operand.?field`."""
    if type(operand) is Optional:
        return optional_select(operand, field)
    if type(operand) is not dict:
        raise no_overload(".", operand)
    if field in operand:
        return operand[field]
    message = f"no such key: `{field}`"
    raise CelError(message)


def has(operand: Datum, field: str) -> bool:
    """`has(operand.field)`: whether a map has the key; an optional may hold the map."""
    if type(operand) is Optional:
        if operand is NONE:
            return False
        operand = operand.value
    if type(operand) is not dict:
        raise no_overload("has", operand)
    return field in operand


def size(operand: Datum) -> int:
    """`size`: code points, bytes, elements or entries."""
    if type(operand) in _SIZED:
        return len(operand)
    raise no_overload("size", operand)


# -- loops ---------------------------------------------------------------------


def items(source: Datum) -> list[Datum]:
    """What a loop of one variable runs over: a list's elements, or a map's keys."""
    if type(source) is list:
        return source
    if type(source) is dict:
        return keys(source)
    raise no_overload("loop", source)


def pairs(source: Datum) -> list[tuple[Datum, Datum]]:
    """What a loop of two variables runs over: index and element, or key and value."""
    if type(source) is list:
        return list(enumerate(source))
    if type(source) is dict:
        return list(zip(keys(source), source.values(), strict=True))
    raise no_overload("loop", source)


def insert_all(out: dict[Any, Datum], entries: Datum, meter: Meter) -> None:
    """Add a map's entries to a map under construction.

    Raises:
        CelError: it is no map, or a key is there already.
    """
    if type(entries) is not dict:
        raise no_overload("transformMapEntry", entries)
    charge(meter, len(entries))
    for key, value in zip(keys(entries), entries.values(), strict=True):
        insert(out, key, value)
