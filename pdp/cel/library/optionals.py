"""Optionals: a value, or none, without an error.

`or` and `orValue` look at their second side only where they need it, so they
are no functions but parts of a plan; their rows are what stands in the tree.
"""

from __future__ import annotations

from types import NoneType
from typing import NoReturn

from pdp.cel import containers
from pdp.cel.library.rows import Function, Library, words
from pdp.cel.values import NONE, NUMBERS, CelError, Datum, Optional, no_overload
from pdp.values import Duration, Timestamp

_SIZED = frozenset({str, bytes, list, dict})


def of(value: Datum) -> Optional:
    """`optional.of(value)`."""
    return Optional(value)


def none() -> Optional:
    """`optional.none()`."""
    return NONE


def of_non_zero_value(value: Datum) -> Optional:
    """`optional.ofNonZeroValue(value)`: none for null, false, 0, and what is empty."""
    return NONE if _is_zero(value) else Optional(value)


def _is_zero(value: Datum) -> bool:
    kind = type(value)
    if kind in _SIZED:
        return len(value) == 0
    if kind in NUMBERS:
        return bool(value == 0)
    if kind is Timestamp or kind is Duration:
        return bool(value.ns == 0)
    return kind is NoneType or value is False


def has_value(optional: Datum) -> bool:
    """`optional.hasValue()`."""
    if type(optional) is Optional:
        return optional is not NONE
    raise no_overload("hasValue", optional)


def value_of(optional: Datum) -> Datum:
    """`optional.value()`."""
    if type(optional) is not Optional:
        raise no_overload("value", optional)
    if optional is NONE:
        message = "the value of `optional.none()`"
        raise CelError(message)
    return optional.value


def _lazy(_first: Datum, _second: Datum) -> NoReturn:
    message = "`or` and `orValue` are parts of a plan"
    raise TypeError(message)


OPTIONAL_FIELD = Function(
    "_?._", words("select_optional_field"), 2, containers.optional_select, result=Optional
)
OPTIONAL_INDEX = Function(
    "_[?_]",
    words(
        "map_optindex_optional_value optional_map_optindex_optional_value "
        "list_optindex_optional_int optional_list_optindex_optional_int"
    ),
    2,
    containers.optional_index,
    result=Optional,
)
OF = Function("optional.of", words("optional_of"), 1, of, result=Optional)
NOTHING = Function("optional.none", words("optional_none"), 0, none, result=Optional)
HAS_VALUE = Function("hasValue", words("optional_hasValue"), 1, has_value, result=bool)
VALUE = Function("value", words("optional_value"), 1, value_of)
OR = Function("or", words("optional_or_optional"), 2, _lazy)
OR_VALUE = Function("orValue", words("optional_orValue_value"), 2, _lazy)

LIBRARY = Library(
    name="optionals",
    functions=(
        OPTIONAL_FIELD,
        OPTIONAL_INDEX,
        OF,
        NOTHING,
        Function(
            "optional.ofNonZeroValue",
            words("optional_ofNonZeroValue"),
            1,
            of_non_zero_value,
            result=Optional,
        ),
        HAS_VALUE,
        VALUE,
        OR,
        OR_VALUE,
    ),
    extension="optional",
)
