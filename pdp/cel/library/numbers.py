"""The `math` library: the largest and the smallest, rounding, signs, bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from pdp.cel import semantics
from pdp.cel.cost import Meter, charge
from pdp.cel.library.rows import Function, Library, prefixed, words
from pdp.cel.semantics import make_int
from pdp.cel.values import NUMBERS, CelError, Datum, no_overload
from pdp.values import INT64_MAX, UINT64_MAX, Uint

_INTEGERS = frozenset({int, Uint})
_BITS = 64


def _extreme(
    name: str, beats: Callable[[Datum, Datum, Meter], bool]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`math.greatest` or `math.least`, of two numbers, and of one number or list.

    The first of equals stays, of whatever kind; NaN beats nothing and is not beaten.
    """

    def of_two(left: Datum, right: Datum, meter: Meter) -> Datum:
        if type(left) not in NUMBERS or type(right) not in NUMBERS:
            raise no_overload(name, left, right)
        return right if beats(right, left, meter) else left

    def of_one(operand: Datum, meter: Meter) -> Datum:
        if type(operand) in NUMBERS:
            return operand
        if type(operand) is not list:
            raise no_overload(name, operand)
        charge(meter, len(operand))
        if not operand:
            message = f"`{name}` of nothing"
            raise CelError(message)
        if type(operand[0]) not in NUMBERS:
            raise no_overload(name, operand[0])
        found = operand[0]
        for each in operand:
            found = of_two(found, each, meter)
        return found

    return of_two, of_one


def _rounded(name: str, function: Callable[[float], int]) -> Callable[[Datum], float]:
    """Rounding of a double; the sign of zero stays, NaN and infinity too."""

    def call(operand: Datum) -> float:
        if type(operand) is not float:
            raise no_overload(name, operand)
        if not math.isfinite(operand):
            return operand
        return math.copysign(float(function(operand)), operand)

    return call


def _half_away(operand: float) -> int:
    """The nearest integer; halves away from zero, where Python takes the even one."""
    size = abs(operand)
    whole = math.floor(size)
    # Exact: the difference of a double and its floor is a double.
    return whole + 1 if size - whole >= 0.5 else whole  # noqa: PLR2004


def absolute(operand: Datum) -> Datum:
    """`math.abs`."""
    kind = type(operand)
    if kind is int:
        return make_int(abs(operand))
    if kind is Uint:
        return operand
    if kind is float:
        return abs(operand)
    raise no_overload("math.abs", operand)


def sign(operand: Datum) -> Datum:
    """`math.sign`: -1, 0 or 1 of the same kind; NaN stays."""
    kind = type(operand)
    if kind not in NUMBERS:
        raise no_overload("math.sign", operand)
    if operand != operand:  # noqa: PLR0124 - NaN
        return operand
    return kind((operand > 0) - (operand < 0))


def square_root(operand: Datum) -> float:
    """`math.sqrt`, a double; NaN of what is negative."""
    if type(operand) not in NUMBERS:
        raise no_overload("math.sqrt", operand)
    value = float(operand)
    return math.nan if value < 0 else math.sqrt(value)


def _test(name: str, function: Callable[[float], bool]) -> Callable[[Datum], bool]:
    def call(operand: Datum) -> bool:
        if type(operand) is not float:
            raise no_overload(name, operand)
        return function(operand)

    return call


def _bitwise(name: str, function: Callable[[int, int], int]) -> Callable[[Datum, Datum], Datum]:
    def call(left: Datum, right: Datum) -> Datum:
        kind = type(left)
        if kind not in _INTEGERS or kind is not type(right):
            raise no_overload(name, left, right)
        return kind(function(int(left), int(right)))

    return call


def bit_not(operand: Datum) -> Datum:
    """`math.bitNot`."""
    if type(operand) is int:
        return ~operand
    if type(operand) is Uint:
        return Uint(int(operand) ^ UINT64_MAX)
    raise no_overload("math.bitNot", operand)


def _shift(name: str, *, left: bool) -> Callable[[Datum, Datum], Datum]:
    """A shift of 64 bits, without a sign; what is shifted out is gone."""

    def call(operand: Datum, count: Datum) -> Datum:
        kind = type(operand)
        if kind not in _INTEGERS or type(count) is not int:
            raise no_overload(name, operand, count)
        if count < 0:
            message = f"`{name}` by a negative number of bits"
            raise CelError(message)
        if count >= _BITS:
            return kind(0)
        bits = int(operand) & UINT64_MAX
        bits = bits << count & UINT64_MAX if left else bits >> count
        return kind(bits - (1 << _BITS) if kind is int and bits > INT64_MAX else bits)

    return call


def _rows() -> Iterator[Function]:
    kinds = "int double uint"
    pairs = " ".join(f"{one}_{two}" for one in kinds.split() for two in kinds.split())
    for name, word, beats in (
        ("math.@max", "math.greatest", semantics.greater),
        ("math.@min", "math.least", semantics.less),
    ):
        prefix = name.replace(".", "_")
        of_two, of_one = _extreme(word, beats)
        lists = " ".join(f"list_{kind}" for kind in kinds.split())
        one = prefixed(prefix, f"{kinds} {lists}")
        yield Function(name, prefixed(prefix, pairs), 2, of_two, metered=True)
        yield Function(name, one, 1, of_one, metered=True)
    for name, rounding in (
        ("ceil", math.ceil),
        ("floor", math.floor),
        ("round", _half_away),
        ("trunc", math.trunc),
    ):
        call = _rounded(f"math.{name}", rounding)
        yield Function(f"math.{name}", words(f"math_{name}_double"), 1, call, result=float)
    for name, test in (("isNaN", math.isnan), ("isInf", math.isinf), ("isFinite", math.isfinite)):
        tested = _test(f"math.{name}", test)
        yield Function(f"math.{name}", words(f"math_{name}_double"), 1, tested, result=bool)
    yield Function("math.abs", prefixed("math_abs", kinds), 1, absolute)
    yield Function("math.sign", prefixed("math_sign", kinds), 1, sign)
    yield Function("math.sqrt", prefixed("math_sqrt", kinds), 1, square_root, result=float)
    yield from _bits()


def _bits() -> Iterator[Function]:
    for name, function in (
        ("bitAnd", int.__and__),
        ("bitOr", int.__or__),
        ("bitXor", int.__xor__),
    ):
        overloads = prefixed(f"math_{name}", "int_int uint_uint")
        yield Function(f"math.{name}", overloads, 2, _bitwise(f"math.{name}", function))
    yield Function("math.bitNot", prefixed("math_bitNot", "int_int uint_uint"), 1, bit_not)
    for name in ("bitShiftLeft", "bitShiftRight"):
        shift = _shift(f"math.{name}", left=name == "bitShiftLeft")
        yield Function(f"math.{name}", prefixed(f"math_{name}", "int_int uint_int"), 2, shift)


LIBRARY = Library(name="math", functions=tuple(_rows()), extension="math")
