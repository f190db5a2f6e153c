"""`format.format(arguments)`: `%s %d %f %e %b %o %x %X %%`, with a precision for `%f` and `%e`.

Source of the rules: the strings extension of cel-go and cel-cpp, and the
specification's cases. Two departures from cel-cpp: `%s` of a double gives all
its digits, as `string(double)`, where cel-cpp gives six; and `%s` of a
duration gives as many as needed, where cel-cpp gives 3, 6 or 9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from types import MappingProxyType, NoneType
from typing import Any

from pdp.cel.conversions import to_string
from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.syntax import Type
from pdp.cel.values import CelError, Datum, keys, no_overload
from pdp.values import Duration, Timestamp, Uint

_CLAUSE = re.compile(r"%(?:\.([0-9]+))?(.)", re.ASCII | re.DOTALL)
_PRECISION_MAX = 1_000  # cel-cpp's
_PRECISION_DIGITS_MAX = 4
_PRECISION = 6
_INTEGERS = frozenset({int, Uint})
_NUMBERS = frozenset({int, Uint, float})
_SCALARS = frozenset({bool, int, Uint, str, bytes, Timestamp, Duration})
_SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})


def format_text(pattern: Datum, arguments: Datum, meter: Meter) -> str:
    """The text with its clauses replaced; more arguments than clauses are ignored."""
    if type(pattern) is not str or type(arguments) is not list:
        raise no_overload("format", pattern, arguments)
    charge(meter, len(pattern) // COPIED_PER_UNIT)
    out: list[str] = []
    at, used = 0, 0
    while (clause := pattern.find("%", at)) >= 0:
        out.append(pattern[at:clause])
        if pattern.startswith("%%", clause):
            out.append("%")
            at = clause + 2
            continue
        found = _CLAUSE.match(pattern, clause)
        if found is None or found[2] not in _CLAUSES:
            message = "`format` with a clause that is not known"
            raise CelError(message)
        if used >= len(arguments):
            message = "`format` with fewer arguments than clauses"
            raise CelError(message)
        charge(meter, 1)
        out.extend(_CLAUSES[found[2]](arguments[used], _precision(found[1]), meter))
        used += 1
        at = found.end()
    out.append(pattern[at:])
    charge(meter, sum(map(len, out)) // COPIED_PER_UNIT)
    return "".join(out)


def _precision(digits: str | None) -> int:
    if digits is None:
        return _PRECISION
    bare = digits.lstrip("0")
    if len(bare) > _PRECISION_DIGITS_MAX or int(bare or "0") > _PRECISION_MAX:
        message = f"`format` with a precision above {_PRECISION_MAX}"
        raise CelError(message)
    return int(bare or "0")


def _wrong(clause: str, argument: Datum) -> CelError:
    return no_overload(f"%{clause}", argument)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _any(argument: Datum, _precision: int, meter: Meter) -> Iterator[str]:
    """`%s`: any value. The keys of a map in the order of their texts."""
    kind = type(argument)
    if kind is list:
        charge(meter, len(argument))
        yield "["
        for at, item in enumerate(argument):
            if at:
                yield ", "
            yield from _any(item, 0, meter)
        yield "]"
    elif kind is dict:
        charge(meter, len(argument) * max(len(argument).bit_length(), 1))
        texts = [
            ("".join(_any(key, 0, meter)), item)
            for key, item in zip(keys(argument), argument.values(), strict=True)
        ]
        texts.sort(key=lambda entry: entry[0])
        yield "{"
        for at, (key, item) in enumerate(texts):
            yield f"{', ' if at else ''}{key}: "
            yield from _any(item, 0, meter)
        yield "}"
    elif kind is float:
        yield to_string(argument, meter) if math.isfinite(argument) else _special(argument)
    elif kind is Type:
        yield argument.name
    elif kind is NoneType:
        yield "null"
    elif kind in _SCALARS:
        text = to_string(argument, meter)
        charge(meter, len(text) // COPIED_PER_UNIT)
        yield text
    else:
        raise _wrong("s", argument)


def _decimal(argument: Datum, _precision: int, _meter: Meter) -> Iterator[str]:
    """`%d`: a number."""
    kind = type(argument)
    if kind in _INTEGERS:
        yield str(int(argument))
    elif kind is float:
        yield f"{argument:f}" if math.isfinite(argument) else _special(argument)
    else:
        raise _wrong("d", argument)


def _double(clause: str) -> Callable[[Datum, int, Meter], Iterator[str]]:
    """`%f` and `%e`: a number, or the name of one that has no digits."""

    def write(argument: Datum, precision: int, meter: Meter) -> Iterator[str]:
        kind = type(argument)
        if kind is str and argument in _SPECIAL:
            yield argument
            return
        if kind not in _NUMBERS:
            raise _wrong(clause, argument)
        # Up to 308 digits before the point, and the precision after it.
        charge(meter, (310 + precision) // COPIED_PER_UNIT)
        value = float(argument)
        yield f"{value:.{precision}{clause}}" if math.isfinite(value) else _special(value)

    return write


def _digits(clause: str, extra: frozenset[type]) -> Callable[[Datum, int, Meter], Iterator[str]]:
    """`%b`, `%o`, `%x`, `%X`: an integer in another base."""

    def write(argument: Datum, _precision: int, meter: Meter) -> Iterator[str]:
        kind = type(argument)
        if kind in _INTEGERS or (kind is bool and bool in extra):
            yield f"{int(argument):{clause}}"
        elif kind in extra and kind is not bool:
            charge(meter, 2 * len(argument) // COPIED_PER_UNIT)
            data = argument.encode("utf-8", "surrogatepass") if kind is str else argument
            yield data.hex().upper() if clause == "X" else data.hex()
        else:
            raise _wrong(clause, argument)

    return write


_TEXTS: frozenset[type] = frozenset({str, bytes})
_CLAUSES: MappingProxyType[str, Callable[[Any, int, Meter], Iterator[str]]] = MappingProxyType(
    {
        "s": _any,
        "d": _decimal,
        "f": _double("f"),
        "e": _double("e"),
        "b": _digits("b", frozenset({bool})),
        "o": _digits("o", frozenset()),
        "x": _digits("x", _TEXTS),
        "X": _digits("X", _TEXTS),
    }
)
