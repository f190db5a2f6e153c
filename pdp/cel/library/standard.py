"""The standard library: operators, `size`, texts, conversions, parts of moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pdp.cel import containers, conversions, moments, opaque, semantics, text, values
from pdp.cel.library.rows import Declaration, Function, Library, prefixed, words
from pdp.cel.syntax import Type
from pdp.values import Duration, Timestamp, Uint

_ORDERED = "bool bytes double duration int64 string timestamp uint64"
# The checker has these only with cross-type comparisons switched on.
_CROSS = "int64_uint64 int64_double uint64_int64 uint64_double double_int64 double_uint64"


def _operators() -> Iterator[Function]:
    yield Function("_==_", words("equals"), 2, semantics.equal, metered=True, result=bool)
    yield Function("_!=_", words("not_equals"), 2, semantics.not_equal, metered=True, result=bool)
    for name, prefix, call in (
        ("_<_", "less", semantics.less),
        ("_<=_", "less_equals", semantics.less_equal),
        ("_>_", "greater", semantics.greater),
        ("_>=_", "greater_equals", semantics.greater_equal),
    ):
        overloads = prefixed(prefix, f"{_ORDERED} {_CROSS}")
        yield Function(name, overloads, 2, call, metered=True, result=bool)
    yield Function(
        "_+_",
        prefixed(
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
        prefixed(
            "subtract",
            "int64 uint64 double duration_duration timestamp_duration timestamp_timestamp",
        ),
        2,
        semantics.subtract,
    )
    yield Function("_*_", prefixed("multiply", "int64 uint64 double"), 2, semantics.multiply)
    yield Function("_/_", prefixed("divide", "int64 uint64 double"), 2, semantics.divide)
    yield Function("_%_", prefixed("modulo", "int64 uint64"), 2, semantics.modulo)
    yield Function("-_", prefixed("negate", "int64 double"), 1, semantics.negate)
    yield Function("!_", words("logical_not"), 1, semantics.invert, result=bool)
    yield Function(
        "@in", words("in_list in_map"), 2, containers.contained, metered=True, result=bool
    )
    yield Function(
        "_[_]",
        words("index_list index_map optional_list_index_int optional_map_index_value"),
        2,
        containers.index,
    )


def _texts() -> Iterator[Function]:
    size = prefixed("size", "string bytes list map") | words(
        "string_size bytes_size list_size map_size"
    )
    yield Function("size", size, 1, containers.size, result=int)
    for name, ids, call in (
        ("contains", "contains_string", text.contains),
        ("startsWith", "starts_with_string", text.starts_with),
        ("endsWith", "ends_with_string", text.ends_with),
        ("matches", "matches matches_string", text.matches),
    ):
        yield Function(name, words(ids), 2, call, metered=True, result=bool)


def _conversions() -> Iterator[Function]:
    numbers = "int64 uint64 double string"
    others = " ".join(
        ["bytes bool timestamp duration", *map(_overload_part, opaque.NAMES.values())]
    )
    metered: tuple[tuple[str, str, Callable[..., Any], type], ...] = (
        ("int", f"{numbers} timestamp duration", conversions.to_int, int),
        ("uint", numbers, conversions.to_uint, Uint),
        ("double", numbers, conversions.to_double, float),
        ("string", f"{numbers} {others}", conversions.to_string, str),
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
    yield Function("type", words("type"), 1, values.type_of, result=Type)
    yield Function("dyn", words("to_dyn"), 1, conversions.to_dyn)


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
        plain = words(f"timestamp_to_{ids[name]} duration_to_{ids[name]}")
        call = moments.part_of(name)
        yield Function(name, plain, 1, call, metered=True, result=int)
        # `timestamp_to_seconds_tz` is the checker's own spelling.
        zoned = words(f"timestamp_to_{ids[name]}_with_tz timestamp_to_{ids[name]}_tz")
        yield Function(name, zoned, 2, call, metered=True, result=int)


def _string_overloads() -> Iterator[Declaration]:
    """All of `string`: what the checker brings cannot be added to, only replaced."""
    for source, kind in (
        *(("bool", "bool"), ("bytes", "bytes"), ("double", "double"), ("int64", "int")),
        *(("string", "string"), ("uint64", "uint")),
        ("duration", "google.protobuf.Duration"),
        ("timestamp", "google.protobuf.Timestamp"),
        *((_overload_part(name), name) for name in opaque.NAMES.values()),
    ):
        yield Declaration("string", f"{source}_to_string", (kind,), "string")


def _overload_part(name: str) -> str:
    """`net.IP` as overload ids have it."""
    return name.lower().replace(".", "_")


LIBRARY = Library(
    name="standard",
    functions=(*_operators(), *_texts(), *_conversions(), *_accessors()),
    declarations=tuple(_string_overloads()),
)
