"""The table of functions: what exists, and which overloads of the checker it answers for.

A call is resolved by the overload ids the official checker wrote into the
tree. One function answers for all overloads of its name and decides by the
kinds it meets, because an argument of type `dyn` may turn out to be any of
them. A later library (strings, sets, network) is more rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pdp.cel import conversions, moments, semantics, text, values
from pdp.cel.syntax import Type
from pdp.values import Duration, Timestamp, Uint


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """One row.

    Attributes:
        name: CEL's name, `_+_` for operators.
        overloads: ids of the checker.
        arity: arguments, the receiver of a method included.
        call: takes evaluated arguments, then the meter if `metered`.
        metered: whether the call itself charges units.
        result: the Python type of every result, or None if it varies.
    """

    name: str
    overloads: frozenset[str]
    arity: int
    call: Callable[..., Any]
    metered: bool = False
    result: type | None = None


_ORDERED = "bool bytes double duration int64 string timestamp uint64"
# The checker has these only with cross-type comparisons switched on.
_CROSS = "int64_uint64 int64_double uint64_int64 uint64_double double_int64 double_uint64"


def _ids(prefix: str, suffixes: str) -> frozenset[str]:
    return frozenset(f"{prefix}_{suffix}" for suffix in suffixes.split())


def _words(ids: str) -> frozenset[str]:
    return frozenset(ids.split())


def _operators() -> Iterator[Function]:
    yield Function("_==_", _words("equals"), 2, semantics.equal, metered=True, result=bool)
    yield Function("_!=_", _words("not_equals"), 2, semantics.not_equal, metered=True, result=bool)
    for name, prefix, call in (
        ("_<_", "less", semantics.less),
        ("_<=_", "less_equals", semantics.less_equal),
        ("_>_", "greater", semantics.greater),
        ("_>=_", "greater_equals", semantics.greater_equal),
    ):
        overloads = _ids(prefix, f"{_ORDERED} {_CROSS}")
        yield Function(name, overloads, 2, call, metered=True, result=bool)
    yield Function(
        "_+_",
        _ids(
            "add",
            "int64 uint64 double string bytes list duration_duration "
            "duration_timestamp timestamp_duration",
        ),
        2,
        semantics.add,
        metered=True,
    )
    yield Function(
        "_-_",
        _ids(
            "subtract",
            "int64 uint64 double duration_duration timestamp_duration timestamp_timestamp",
        ),
        2,
        semantics.subtract,
    )
    yield Function("_*_", _ids("multiply", "int64 uint64 double"), 2, semantics.multiply)
    yield Function("_/_", _ids("divide", "int64 uint64 double"), 2, semantics.divide)
    yield Function("_%_", _ids("modulo", "int64 uint64"), 2, semantics.modulo)
    yield Function("-_", _ids("negate", "int64 double"), 1, semantics.negate)
    yield Function("!_", _words("logical_not"), 1, semantics.invert, result=bool)
    yield Function(
        "@in", _words("in_list in_map"), 2, semantics.contained, metered=True, result=bool
    )
    yield Function("_[_]", _words("index_list index_map"), 2, semantics.index)


def _texts() -> Iterator[Function]:
    size = _ids("size", "string bytes list map") | _words(
        "string_size bytes_size list_size map_size"
    )
    yield Function("size", size, 1, semantics.size, result=int)
    for name, ids, call in (
        ("contains", "contains_string", text.contains),
        ("startsWith", "starts_with_string", text.starts_with),
        ("endsWith", "ends_with_string", text.ends_with),
        ("matches", "matches matches_string", text.matches),
    ):
        yield Function(name, _words(ids), 2, call, metered=True, result=bool)


def _conversions() -> Iterator[Function]:
    numbers = "int64 uint64 double string"
    metered: tuple[tuple[str, str, Callable[..., Any], type], ...] = (
        ("int", f"{numbers} timestamp duration", conversions.to_int, int),
        ("uint", numbers, conversions.to_uint, Uint),
        ("double", numbers, conversions.to_double, float),
        ("string", f"{numbers} bytes bool timestamp duration", conversions.to_string, str),
        ("bytes", "bytes string", conversions.to_bytes, bytes),
    )
    free: tuple[tuple[str, str, Callable[..., Any], type], ...] = (
        ("bool", "bool string", conversions.to_bool, bool),
        ("timestamp", "timestamp string int64", conversions.to_timestamp, Timestamp),
        ("duration", "duration string int64", conversions.to_duration, Duration),
    )
    for rows in (metered, free):
        for name, sources, call, result in rows:
            kind = {"int": "int64", "uint": "uint64"}.get(name, name)
            overloads = frozenset(f"{source}_to_{kind}" for source in sources.split())
            yield Function(name, overloads, 1, call, metered=rows is metered, result=result)
    yield Function("type", _words("type"), 1, values.type_of, result=Type)
    yield Function("dyn", _words("to_dyn"), 1, conversions.to_dyn)


def _accessors() -> Iterator[Function]:
    ids = {
        "getFullYear": "year",
        "getMonth": "month",
        "getDate": "day_of_month_1_based",
        "getDayOfMonth": "day_of_month",
        "getDayOfYear": "day_of_year",
        "getDayOfWeek": "day_of_week",
        "getHours": "hours",
        "getMinutes": "minutes",
        "getSeconds": "seconds",
        "getMilliseconds": "milliseconds",
    }
    for name in moments.PARTS:
        plain = _words(f"timestamp_to_{ids[name]} duration_to_{ids[name]}")
        call = moments.part_of(name)
        yield Function(name, plain, 1, call, metered=True, result=int)
        # `timestamp_to_seconds_tz` is the checker's own spelling.
        zoned = _words(f"timestamp_to_{ids[name]}_with_tz timestamp_to_{ids[name]}_tz")
        yield Function(name, zoned, 2, call, metered=True, result=int)


FUNCTIONS: tuple[Function, ...] = (
    *_operators(),
    *_texts(),
    *_conversions(),
    *_accessors(),
)
BY_OVERLOAD = MappingProxyType(
    {overload: function for function in FUNCTIONS for overload in function.overloads}
)
EQUAL, NOT_EQUAL = BY_OVERLOAD["equals"], BY_OVERLOAD["not_equals"]
CONTAINED, INDEX = BY_OVERLOAD["in_list"], BY_OVERLOAD["index_list"]
MATCHES = BY_OVERLOAD["matches"]
# `in` where the list is short strings written in the policy. This and the next
# have no overloads of their own: `pdp.cel.resolve` puts them where they belong.
LISTED = Function("@in", frozenset(), 2, semantics.listed, result=bool)
# `matches` with a pattern written in the policy.
MATCHES_KNOWN = Function("matches", frozenset(), 2, text.matches_known, metered=True, result=bool)
