"""Values and their canonical encoding."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.values import (
    Duration,
    Timestamp,
    Uint,
    Value,
    canonical,
    format_duration,
    format_timestamp,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 2**64 - 1).map(Uint)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.integers(-(2**62), 2**62).map(Timestamp)
    | st.integers(-(2**62), 2**62).map(Duration)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


def described(value: Any) -> object:
    """A description in which values that CEL tells apart, Python tells apart too."""
    if isinstance(value, list):
        return ("list", *(described(item) for item in value))
    if isinstance(value, dict):
        return ("map", frozenset((key, described(item)) for key, item in value.items()))
    if isinstance(value, float):
        return ("float", struct.pack(">d", value))
    return (type(value).__name__, repr(value))


@given(values, values)
def test_canonical_encoding_is_injective(left: Value, right: Value) -> None:
    """Two values share an encoding exactly when they are the same value."""
    assert (canonical(left) == canonical(right)) == (described(left) == described(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, True),
        (1, 1.0),
        (1, Uint(1)),
        (0.0, -0.0),
        (["a", "b"], ["ab", ""]),
        ([["a"], "b"], [["a", "b"]]),
        ({"a": "b"}, ["a", "b"]),
        ({}, []),
        ("1", 1),
        ("a", b"a"),
        (None, ""),
        (Timestamp(1), Duration(1)),
        ("s1:", ["s1:"]),
        ({"a": {}, "b": 1}, {"a": {"b": 1}}),
    ],
)
def test_values_that_look_alike_have_different_encodings(left: Value, right: Value) -> None:
    """Pairs that a sloppy key would confuse."""
    assert canonical(left) != canonical(right)


def test_order_of_map_entries_does_not_matter() -> None:
    """A map has no order."""
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})


def test_what_is_not_a_value_is_an_error() -> None:
    """No encoding is made up for other objects."""
    with pytest.raises(TypeError, match="not a value: set"):
        canonical(set())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-62_135_596_800 * 10**9, "0001-01-01T00:00:00Z"),
        (253_402_300_799 * 10**9 + 500_000_000, "9999-12-31T23:59:59.5Z"),
    ],
)
def test_timestamps_are_written_with_all_their_digits(ns: int, text: str) -> None:
    """RFC 3339 in UTC, nanoseconds kept, years padded."""
    assert format_timestamp(ns) == text


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0s"), (-1_500_000_000, "-1.5s"), (1, "0.000000001s")]
)
def test_durations_are_written_in_seconds(ns: int, text: str) -> None:
    """Seconds with a fraction and an `s`, the sign in front."""
    assert format_duration(ns) == text
