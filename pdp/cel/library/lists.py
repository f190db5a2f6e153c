"""Lists: slices, sorting, flattening. Every result is charged before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

from pdp.cel.cost import COMPARED_PER_UNIT, Meter, charge
from pdp.cel.library.rows import Function, Library, prefixed, words
from pdp.cel.library.strings import reverse_text
from pdp.cel.semantics import equal
from pdp.cel.values import (
    KIND_TYPES,
    NONE,
    BoolKey,
    CelError,
    Datum,
    Optional,
    no_overload,
)
from pdp.values import Duration, Timestamp, Uint

_MOMENTS = frozenset({Timestamp, Duration})
_ORDERED = frozenset({int, Uint, float, bool, str, bytes}) | _MOMENTS
_HASHED = frozenset({int, Uint, str, bytes})
_PLAIN = _HASHED | {bool, NoneType}
# What the checker calls the kinds that can be sorted.
_SORTS = "int uint double bool google.protobuf.Duration google.protobuf.Timestamp string bytes"


def make_range(count: Datum, meter: Meter) -> list[Datum]:
    """`lists.range(n)`: 0 to n - 1; empty for n below 1."""
    if type(count) is not int:
        raise no_overload("lists.range", count)
    charge(meter, max(count, 0))
    return list(range(count))


def cut(items: Datum, start: Datum, end: Datum, meter: Meter) -> list[Datum]:
    """`list.slice(start, end)`; both within the list."""
    if type(items) is not list or type(start) is not int or type(end) is not int:
        raise no_overload("slice", items, start, end)
    if not 0 <= start <= end <= len(items):
        message = "a slice outside the list"
        raise CelError(message)
    charge(meter, end - start)
    return items[start:end]


def flatten_once(items: Datum, meter: Meter) -> list[Datum]:
    """`list.flatten()`."""
    return flatten(items, 1, meter)


def flatten(items: Datum, levels: Datum, meter: Meter) -> list[Datum]:
    """`list.flatten(levels)`: lists in the list become their elements, so many levels deep."""
    if type(items) is not list or type(levels) is not int:
        raise no_overload("flatten", items, levels)
    if levels < 0:
        message = "`flatten` by a negative number of levels"
        raise CelError(message)
    out: list[Datum] = []
    # A list may stand in itself many times over: every visit is charged before it is made.
    charge(meter, len(items))
    waiting: list[Iterator[Datum]] = [iter(items)]
    while waiting:
        for item in waiting[-1]:
            if type(item) is list and len(waiting) <= levels:
                charge(meter, 1 + len(item))
                waiting.append(iter(item))
                break
            out.append(item)
        else:
            waiting.pop()
    return out


def _sort_keys(keys: list[Datum], meter: Meter) -> list[Any]:
    """Keys in a form in which Python's order is CEL's; charged for sorting them."""
    charge(meter, len(keys) * max(len(keys).bit_length(), 1))
    kinds = {type(key) for key in keys}
    if len(kinds) > 1:
        message = "`sort` of values of different types"
        raise CelError(message)
    for kind in kinds - _ORDERED:
        message = f"`sort` of values of the type `{KIND_TYPES.get(kind, '?')}`"
        raise CelError(message)
    if kinds & _MOMENTS:
        return [key.ns for key in keys]
    if kinds & {str, bytes}:
        longest = sum(len(key) // COMPARED_PER_UNIT for key in keys)
        charge(meter, longest * len(keys).bit_length())
    if float in kinds and any(key != key for key in keys):  # noqa: PLR0124 - NaN
        message = "`sort` of NaN, which has no order"
        raise CelError(message)
    return keys


def sort(items: Datum, meter: Meter) -> list[Datum]:
    """`list.sort()`: of one kind, which has an order."""
    if type(items) is not list:
        raise no_overload("sort", items)
    return _sorted(items, items, meter)


def sort_by_keys(items: Datum, keys: Datum, meter: Meter) -> list[Datum]:
    """`list.sortBy(x, key)`, whose keys are computed: the order of the keys, stable."""
    if type(items) is not list or type(keys) is not list or len(items) != len(keys):
        raise no_overload("sortBy", items, keys)
    return _sorted(items, keys, meter)


def _sorted(items: list[Datum], keys: list[Datum], meter: Meter) -> list[Datum]:
    order = _sort_keys(keys, meter)
    return [items[at] for at in sorted(range(len(items)), key=order.__getitem__)]


def distinct(items: Datum, meter: Meter) -> list[Datum]:
    """`list.distinct()`: the first of each that are equal by `==`."""
    if type(items) is not list:
        raise no_overload("distinct", items)
    charge(meter, len(items))
    if all(type(item) in _PLAIN for item in items):
        return _distinct_plain(items, meter)
    out: list[Datum] = []
    for item in items:
        for known in out:
            charge(meter, 1)
            if equal(known, item, meter):
                break
        else:
            out.append(item)
    return out


def _distinct_plain(items: list[Datum], meter: Meter) -> list[Datum]:
    """The same for kinds whose equality is Python's, `true` and `1` told apart."""
    seen: set[Datum] = set()
    out: list[Datum] = []
    for item in items:
        kind = type(item)
        if kind is str or kind is bytes:
            charge(meter, len(item) // COMPARED_PER_UNIT)
        key = BoolKey(item) if kind is bool else item
        if key not in seen:
            seen.add(key)
            out.append(item)
    return out


def reverse(operand: Datum, meter: Meter) -> Datum:
    """`reverse()` of a list, or of a string."""
    if type(operand) is str:
        return reverse_text(operand, meter)
    if type(operand) is not list:
        raise no_overload("reverse", operand)
    charge(meter, len(operand))
    return operand[::-1]


def first(items: Datum) -> Optional:
    """`list.first()`."""
    if type(items) is not list:
        raise no_overload("first", items)
    return Optional(items[0]) if items else NONE


def last(items: Datum) -> Optional:
    """`list.last()`."""
    if type(items) is not list:
        raise no_overload("last", items)
    return Optional(items[-1]) if items else NONE


def _rows() -> Iterator[Function]:
    for name, ids, arity, call in (
        ("lists.range", "list_range", 1, make_range),
        ("slice", "list_slice", 3, cut),
        ("flatten", "list_flatten", 1, flatten_once),
        ("flatten", "list_flatten_int", 2, flatten),
        ("distinct", "list_distinct", 1, distinct),
    ):
        yield Function(name, words(ids), arity, call, metered=True, result=list)
    sorts = frozenset(f"list_{kind}_sort" for kind in _SORTS.split())
    yield Function("sort", sorts, 1, sort, metered=True, result=list)
    by_keys = frozenset(f"{each}ByAssociatedKeys" for each in sorts)
    yield Function("@sortByAssociatedKeys", by_keys, 2, sort_by_keys, metered=True, result=list)
    # One row: of `dyn`, the checker names both.
    yield Function("reverse", words("list_reverse string_reverse"), 1, reverse, metered=True)
    yield Function("first", prefixed("list", "first"), 1, first, result=Optional)
    yield Function("last", prefixed("list", "last"), 1, last, result=Optional)


LIBRARY = Library(name="lists", functions=tuple(_rows()), extension="lists")
