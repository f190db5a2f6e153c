"""Semantic versions: SemVer 2.0.0, its precedence and nothing laxer. Names as in Kubernetes.

No `v1.2.3`, no `1.2`, no leading zeros. The build after `+` does not count:
versions that differ in it alone are equal, and neither is greater.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from types import MappingProxyType

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.reading import can_be_read, part_of
from pdp.cel.library.signatures import define, make_library
from pdp.cel.opaque import NAMES, Identifier, Semver
from pdp.cel.values import CelError, Datum, no_overload
from pdp.values import INT64_MAX

_CODE_POINTS_MAX = 256
_COMPARATORS_MAX = 16
_READ_UNITS = 10
# SemVer 2.0.0, items 2, 9 and 10.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
_COMPARATOR = re.compile(r"(<=|>=|<|>|=)(.+)", re.ASCII)
_TESTS: MappingProxyType[str, Callable[[int], bool]] = MappingProxyType(
    {
        "<": lambda order: order < 0,
        "<=": lambda order: order <= 0,
        ">": lambda order: order > 0,
        ">=": lambda order: order >= 0,
        "=": lambda order: order == 0,
    }
)

# Each comparator of a range: its test of `compareTo`, and its version.
Range = tuple[tuple[Callable[[int], bool], Semver], ...]


def _identifier(text: str) -> Identifier:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def read_version(text: str) -> Semver:
    """`1.2.3`, `1.2.3-rc.1+build.5`.

    Raises:
        CelError: not a semantic version, or one of its numbers is no int64.
    """
    found = _VERSION.fullmatch(text) if len(text) <= _CODE_POINTS_MAX else None
    if found is None:
        message = "not a semantic version: want `1.2.3` or `1.2.3-rc.1`"
        raise CelError(message)
    major, minor, patch = int(found[1]), int(found[2]), int(found[3])
    if max(major, minor, patch) > INT64_MAX:
        message = "a semantic version with a number out of range"
        raise CelError(message)
    pre = found[4]
    identifiers = tuple(map(_identifier, pre.split("."))) if pre else ()
    return Semver((major, minor, patch), (0 if pre else 1, identifiers), text)


def read_range(text: str) -> Range:
    """`>=1.2.0 <2.0.0`: comparators with blanks between, which must all hold.

    Raises:
        CelError: not a range.
    """
    comparators = text.split(" ") if len(text) <= _CODE_POINTS_MAX else []
    if not 0 < len(comparators) <= _COMPARATORS_MAX:
        message = f"a range of versions has 1 to {_COMPARATORS_MAX} comparators, as `>=1.2.0`"
        raise CelError(message)
    made = []
    for comparator in comparators:
        found = _COMPARATOR.fullmatch(comparator)
        if found is None:
            message = "not a range of versions: want `>=1.2.0 <2.0.0`"
            raise CelError(message)
        made.append((_TESTS[found[1]], read_version(found[2])))
    return tuple(made)


def _core_part(at: int) -> Callable[[Semver], int]:
    return lambda version: version.core[at]


def semver(text: Datum, meter: Meter) -> Semver:
    """`semver(text)`."""
    if type(text) is not str:
        raise no_overload("semver", text)
    charge(meter, _READ_UNITS + len(text) // COPIED_PER_UNIT)
    return read_version(text)


def _order(one: Semver, two: Semver) -> int:
    """-1, 0 or 1 (items 10 and 11)."""
    first, second = (one.core, one.pre), (two.core, two.pre)
    return (first > second) - (first < second)


def _compared(name: str, take: Callable[[int], Datum]) -> Callable[[Datum, Datum, Meter], Datum]:
    def call(one: Datum, two: Datum, meter: Meter) -> Datum:
        if type(one) is not Semver or type(two) is not Semver:
            raise no_overload(name, one, two)
        charge(meter, 1)
        return take(_order(one, two))

    return call


def satisfies(version: Datum, wanted: Datum, meter: Meter) -> bool:
    """`version.satisfies(range)`.

    As in npm, a pre-release satisfies a range only if a comparator names a
    pre-release of the same major, minor and patch: `<2.0.0` is not meant to
    let `2.0.0-alpha` in, although that comes before.
    """
    if type(version) is not Semver:
        raise no_overload("satisfies", version, wanted)
    if type(wanted) is str:
        charge(meter, _READ_UNITS + len(wanted) // COPIED_PER_UNIT)
        wanted = read_range(wanted)
    elif type(wanted) is not tuple:
        raise no_overload("satisfies", version, wanted)
    charge(meter, len(wanted))
    if version.pre[1] and not any(
        other.pre[1] and other.core == version.core for _, other in wanted
    ):
        return False
    return all(test(_order(version, other)) for test, other in wanted)


_NAME = NAMES[Semver]
_PARTS = ("major", "minor", "patch")

LIBRARY = make_library(
    "semver",
    define("semver", {"string_to_semver": f"(string) -> {_NAME}"}, semver, folds=True),
    define(
        "isSemver",
        {"is_semver": "(string) -> bool"},
        can_be_read(read_version, "isSemver", _READ_UNITS),
    ),
    *(
        define(
            name,
            {f"semver_{name}": f"{_NAME}.() -> int"},
            part_of(Semver, name, _core_part(at)),
            metered=False,
        )
        for at, name in enumerate(_PARTS)
    ),
    define(
        "compareTo",
        {"semver_compare_to": f"{_NAME}.({_NAME}) -> int"},
        _compared("compareTo", operator.index),
    ),
    define(
        "isLessThan",
        {"semver_is_less_than": f"{_NAME}.({_NAME}) -> bool"},
        _compared("isLessThan", _TESTS["<"]),
    ),
    define(
        "isGreaterThan",
        {"semver_is_greater_than": f"{_NAME}.({_NAME}) -> bool"},
        _compared("isGreaterThan", _TESTS[">"]),
    ),
    define(
        "satisfies",
        {"semver_satisfies": f"{_NAME}.(string) -> bool"},
        satisfies,
        literal=read_range,
    ),
    types=(_NAME,),
)
