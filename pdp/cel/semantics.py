"""Operators: equality, order, arithmetic.

Source of the rules: the CEL language definition (google/cel-spec,
doc/langdef.md) and its conformance tests; where both are silent, what cel-cpp
does. Every function takes evaluated operands of any kind and raises `CelError`
where CEL has an error. Those with a `meter` charge it; see `pdp.cel.cost`.
"""

from __future__ import annotations

import math
from typing import Any

from pdp.cel.cost import (
    COMPARED_PER_UNIT,
    COPIED_PER_UNIT,
    Meter,
    charge,
)
from pdp.cel.values import NONE, NUMBERS, CelError, Datum, Optional, no_overload
from pdp.values import (
    INT64_MAX,
    INT64_MIN,
    NANOS,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    UINT64_MAX,
    Duration,
    Timestamp,
    Uint,
)

_TEXTS = frozenset({str, bytes})
_MOMENTS = frozenset({Timestamp, Duration})
_SHIFTS = frozenset({(Timestamp, Duration), (Duration, Timestamp)})
_TIMESTAMP_NS_MIN = TIMESTAMP_SECONDS_MIN * NANOS
_TIMESTAMP_NS_MAX = TIMESTAMP_SECONDS_MAX * NANOS + NANOS - 1


# -- equality and order ------------------------------------------------------


def equal(left: Datum, right: Datum, meter: Meter) -> bool:
    """`==`: never an error; values of different kinds differ, numbers compare across kinds.

    A bool never equals a number, and NaN equals nothing, also inside lists,
    where Python would take identity for equality.
    """
    kind, other = type(left), type(right)
    if kind is other:
        if kind in _TEXTS:
            if len(left) != len(right):
                return False
            charge(meter, len(left) // COMPARED_PER_UNIT)
            return bool(left == right)
        if kind is list:
            return _equal_lists(left, right, meter)
        if kind is dict:
            return _equal_maps(left, right, meter)
        if kind is Optional:
            if left is NONE or right is NONE:
                return left is right
            charge(meter, 1)
            return equal(left.value, right.value, meter)
        return bool(left == right)
    if kind in NUMBERS and other in NUMBERS:
        if kind is float or other is float:
            # INVARIANT: through double, lossy, as the specification's tests
            # have it; Python would compare exactly.
            return float(left) == float(right)
        return int(left) == int(right)
    return False


def not_equal(left: Datum, right: Datum, meter: Meter) -> bool:
    """`!=`: the negation of `==`."""
    return not equal(left, right, meter)


def _equal_lists(left: list[Datum], right: list[Datum], meter: Meter) -> bool:
    if len(left) != len(right):
        return False
    charge(meter, len(left))
    return all(equal(a, b, meter) for a, b in zip(left, right, strict=True))


def _equal_maps(left: dict[Any, Datum], right: dict[Any, Datum], meter: Meter) -> bool:
    if len(left) != len(right):
        return False
    charge(meter, len(left))
    return all(key in right and equal(item, right[key], meter) for key, item in left.items())


def _comparable(function: str, left: Datum, right: Datum, meter: Meter) -> tuple[Datum, Datum]:
    """Both operands in a form in which Python's order is CEL's."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind in _MOMENTS:
            return left.ns, right.ns
        if kind in _TEXTS:
            # Python orders strings by code point, which is the order of UTF-8.
            charge(meter, min(len(left), len(right)) // COMPARED_PER_UNIT)
            return left, right
        if kind in NUMBERS or kind is bool:
            return left, right
    elif kind in NUMBERS and other in NUMBERS:
        if kind is float or other is float:
            return float(left), float(right)
        return left, right
    raise no_overload(function, left, right)


def less(left: Datum, right: Datum, meter: Meter) -> bool:
    """`<`."""
    a, b = _comparable("<", left, right, meter)
    return bool(a < b)


def less_equal(left: Datum, right: Datum, meter: Meter) -> bool:
    """`<=`."""
    a, b = _comparable("<=", left, right, meter)
    return bool(a <= b)


def greater(left: Datum, right: Datum, meter: Meter) -> bool:
    """`>`."""
    a, b = _comparable(">", left, right, meter)
    return bool(a > b)


def greater_equal(left: Datum, right: Datum, meter: Meter) -> bool:
    """`>=`."""
    a, b = _comparable(">=", left, right, meter)
    return bool(a >= b)


# -- arithmetic --------------------------------------------------------------


def make_int(value: int) -> int:
    """The value, if it is an int64."""
    if INT64_MIN <= value <= INT64_MAX:
        return value
    message = "int overflow"
    raise CelError(message)


def make_uint(value: int) -> Uint:
    """The value as a uint64."""
    if 0 <= value <= UINT64_MAX:
        return Uint(value)
    message = "uint overflow"
    raise CelError(message)


def make_timestamp(ns: int) -> Timestamp:
    """The instant, if it is within the years 1 to 9999."""
    if _TIMESTAMP_NS_MIN <= ns <= _TIMESTAMP_NS_MAX:
        return Timestamp(ns)
    message = "a timestamp outside the years 1 to 9999"
    raise CelError(message)


def _computed_duration(ns: int) -> Duration:
    """A duration that arithmetic made: int64 nanoseconds, as in cel-go and cel-cpp.

    Narrower than what `duration()` reads; the specification's tests hold the
    difference of the last and the first timestamp to be an error.
    """
    if INT64_MIN <= ns <= INT64_MAX:
        return Duration(ns)
    message = "duration overflow"
    raise CelError(message)


def add(left: Datum, right: Datum, meter: Meter) -> Datum:
    """`+`: numbers of one kind, strings, bytes, lists, times and spans."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return make_int(left + right)
        if kind in _TEXTS:
            charge(meter, (len(left) + len(right)) // COPIED_PER_UNIT)
            return left + right
        if kind is list:
            charge(meter, len(left) + len(right))
            return left + right
        if kind is float:
            return left + right
        if kind is Uint:
            return make_uint(int(left) + int(right))
        if kind is Duration:
            return _computed_duration(left.ns + right.ns)
    elif (kind, other) in _SHIFTS:
        return make_timestamp(left.ns + right.ns)
    raise no_overload("+", left, right)


def subtract(left: Datum, right: Datum) -> Datum:
    """`-` of two operands."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return make_int(left - right)
        if kind is float:
            return left - right
        if kind is Uint:
            return make_uint(int(left) - int(right))
        if kind is Timestamp or kind is Duration:
            return _computed_duration(left.ns - right.ns)
    elif kind is Timestamp and other is Duration:
        return make_timestamp(left.ns - right.ns)
    raise no_overload("-", left, right)


def multiply(left: Datum, right: Datum) -> Datum:
    """`*`."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return make_int(left * right)
        if kind is float:
            return left * right
        if kind is Uint:
            return make_uint(int(left) * int(right))
    raise no_overload("*", left, right)


def divide(left: Datum, right: Datum) -> Datum:
    """`/`: integers truncate towards zero; doubles follow IEEE 754."""
    kind = type(left)
    if kind is type(right):
        if kind is float:
            return _divide_doubles(left, right)
        if kind is int or kind is Uint:
            if right == 0:
                message = "division by zero"
                raise CelError(message)
            quotient = abs(int(left)) // abs(int(right))
            if kind is Uint:
                return Uint(quotient)
            return make_int(quotient if (left < 0) is (right < 0) else -quotient)
    raise no_overload("/", left, right)


def _divide_doubles(left: float, right: float) -> float:
    """IEEE 754 division, where Python raises on zero."""
    if right != 0.0:
        return left / right
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def modulo(left: Datum, right: Datum) -> Datum:
    """`%`: integers only; the result has the sign of the dividend."""
    kind = type(left)
    if kind is type(right) and (kind is int or kind is Uint):
        if right == 0:
            message = "modulus by zero"
            raise CelError(message)
        rest = abs(int(left)) % abs(int(right))
        if kind is Uint:
            return Uint(rest)
        if left == INT64_MIN and right == -1:
            # The quotient overflows; cel-go and cel-cpp call that an error.
            message = "int overflow"
            raise CelError(message)
        return rest if left >= 0 else -rest
    raise no_overload("%", left, right)


def negate(operand: Datum) -> Datum:
    """`-` of one operand: int or double."""
    kind = type(operand)
    if kind is int:
        return make_int(-operand)
    if kind is float:
        return -operand
    raise no_overload("-", operand)


def invert(operand: Datum) -> bool:
    """`!`."""
    if operand is True:
        return False
    if operand is False:
        return True
    raise no_overload("!", operand)


def bool_of(operand: Datum) -> bool:
    """`bool`-ness of a condition: exactly a bool, or an error."""
    if operand is True or operand is False:
        return bool(operand)
    raise no_overload("?:", operand)
