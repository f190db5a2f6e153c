"""Conversions: `int`, `uint`, `double`, `string`, `bytes`, `bool`, `timestamp`, `duration`.

Texts are read strictly: no blanks, no underscores, no digits but 0 to 9, no
hexadecimal, nothing out of range. cel-cpp is laxer (`int(" 1 ")` is 1 there);
an attribute that is not plainly a number is an error here.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from pdp.cel import opaque
from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.moments import parse_duration, parse_timestamp
from pdp.cel.semantics import make_int, make_timestamp, make_uint
from pdp.cel.values import CelError, Datum, no_overload
from pdp.values import NANOS, Duration, Timestamp, Uint, format_duration, format_timestamp

_INT = re.compile(r"([+-]?)0*([0-9]{1,19})", re.ASCII)
_UINT = re.compile(r"()0*([0-9]{1,20})", re.ASCII)
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_SPECIAL = re.compile(r"nan|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_TRUE = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "false", "FALSE", "False"})
_EXPONENT_BELOW, _EXPONENT_FROM = 4, 6
_TWO_63 = 2.0**63
_TWO_64 = 2.0**64


def _read(text: str, shape: re.Pattern[str], meter: Meter) -> re.Match[str]:
    """What the text says, if it has the shape; charged by its length."""
    charge(meter, len(text) // COPIED_PER_UNIT)
    found = shape.fullmatch(text)
    if found is None:
        message = "a text that is not a number of this type"
        raise CelError(message)
    return found


def _read_integer(text: str, shape: re.Pattern[str], meter: Meter) -> int:
    """The integer, leading zeros left out: Python refuses to read many digits."""
    sign, digits = _read(text, shape, meter).groups()
    return int(sign + digits)


def to_int(value: Datum, meter: Meter) -> int:
    """`int`: doubles truncate towards zero; timestamps become seconds since the epoch."""
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is Uint:
        return make_int(int(value))
    if kind is float:
        # Both ends are out: the specification's tests have -2^63 as an error.
        if not -_TWO_63 < value < _TWO_63:
            message = "a double out of the range of int"
            raise CelError(message)
        return int(value)
    if kind is str:
        return make_int(_read_integer(value, _INT, meter))
    if kind is Timestamp:
        return int(value.ns // NANOS)
    raise no_overload("int", value)


def to_uint(value: Datum, meter: Meter) -> Uint:
    """`uint`: doubles truncate towards zero; negative numbers are errors."""
    kind = type(value)
    if kind is Uint:
        return Uint(value)
    if kind is int:
        return make_uint(value)
    if kind is float:
        if not 0.0 <= value < _TWO_64:
            message = "a double out of the range of uint"
            raise CelError(message)
        return Uint(value)
    if kind is str:
        return make_uint(_read_integer(value, _UINT, meter))
    raise no_overload("uint", value)


def to_double(value: Datum, meter: Meter) -> float:
    """`double`: the nearest one. A decimal too large for a double is an error."""
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is int or kind is Uint:
        return float(value)
    if kind is str:
        if len(value) <= len("-infinity") and _SPECIAL.fullmatch(value):
            return float(value)
        number = float(_read(value, _DOUBLE, meter)[0])
        if math.isinf(number):
            message = "a number out of the range of double"
            raise CelError(message)
        return number
    raise no_overload("double", value)


def to_string(value: Datum, meter: Meter) -> str:
    """`string`."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return format_double(value)
    if kind is bytes:
        charge(meter, len(value) // COPIED_PER_UNIT)
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            message = "bytes that are not UTF-8"
            raise CelError(message) from None
    if kind is Timestamp:
        return format_timestamp(value.ns)
    if kind is Duration:
        return format_duration(value.ns)
    if kind in opaque.NAMES:
        return str(value)
    raise no_overload("string", value)


def format_double(value: float) -> str:
    """The shortest decimal that reads back, laid out as Go's `%g` and cel-cpp do.

    With an exponent when it is below -4 or at least 6 (cel-cpp's default
    precision): 123456.5, but 1.2345675e+06; `1`, not `1.0`.
    """
    if not math.isfinite(value):
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    # The value is 0.text times ten to the power of `point`.
    point = len(digits) + int(exponent) if value else 1
    if -_EXPONENT_BELOW < point <= _EXPONENT_FROM:
        if point <= 0:
            text = "0." + "0" * -point + text
        elif point >= len(text):
            text = text.ljust(point, "0")
        else:
            text = f"{text[:point]}.{text[point:]}"
    else:
        mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
        text = f"{mantissa}e{point - 1:+03d}"
    return f"-{text}" if sign else text


def to_bytes(value: Datum, meter: Meter) -> bytes:
    """`bytes`: of a string, its UTF-8."""
    kind = type(value)
    if kind is bytes:
        return bytes(value)
    if kind is str:
        charge(meter, len(value) // COPIED_PER_UNIT)
        try:
            return bytes(value, "utf-8")
        except UnicodeEncodeError:
            message = "a string that is not Unicode"
            raise CelError(message) from None
    raise no_overload("bytes", value)


def to_bool(value: Datum) -> bool:
    """`bool`: the ten spellings of the language definition."""
    if value is True or value is False:
        return bool(value)
    if type(value) is str:
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        message = "a text that is not a bool"
        raise CelError(message)
    raise no_overload("bool", value)


def to_timestamp(value: Datum) -> Timestamp:
    """`timestamp`: RFC 3339, or seconds since the epoch."""
    kind = type(value)
    if kind is Timestamp:
        return Timestamp(value.ns)
    if kind is str:
        return parse_timestamp(value)
    if kind is int:
        return make_timestamp(value * NANOS)
    raise no_overload("timestamp", value)


def to_duration(value: Datum) -> Duration:
    """`duration`: `1h30m`, `-1.5s`."""
    kind = type(value)
    if kind is Duration:
        return Duration(value.ns)
    if kind is str:
        return parse_duration(value)
    raise no_overload("duration", value)


def to_dyn(value: Datum) -> Datum:
    """`dyn`: the value itself; only the checker sees a difference."""
    return value
