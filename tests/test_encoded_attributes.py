"""Attributes that are written again: a record says the same as if it were the first."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.audit import encoded
from pdp.audit.encoded import EncodedAttributes
from pdp.v1 import audit_pb2
from pdp.value_codec import map_from_pb, map_to_pb
from pdp.values import Timestamp, Uint

scalars: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([0, 1, True, False, 0.0, -0.0, 1.0, "", "1", b"1", None, Uint(1)]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
    st.binary(max_size=20),
    st.builds(Timestamp, st.integers(0, 10**18)),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(["subject.id", "resource.properties.status", "context.n"])


def shape(value: Any) -> Any:
    """With what `==` does not tell apart, kind and sign; a map has no order."""
    if type(value) is dict:
        return {name: shape(item) for name, item in value.items()}
    if type(value) is list:
        return [shape(item) for item in value]
    return type(value), repr(value)


def told(entry: audit_pb2.DecisionRecord) -> Any:
    """Its attributes."""
    return shape(map_from_pb(entry.attributes, "attributes"))


def plain(attributes: dict[str, Any]) -> audit_pb2.DecisionRecord:
    """As it is written without any memory."""
    entry = audit_pb2.DecisionRecord()
    map_to_pb(attributes, entry.attributes, "attributes")
    return entry


@settings(max_examples=100)
@given(st.lists(st.dictionaries(names, values, max_size=3), max_size=12), st.integers(1, 8))
def test_a_record_says_the_same_with_it_and_without(
    written: list[dict[str, Any]], kept_max: int
) -> None:
    """Whatever was written before, however often, and however little is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded, "_KEPT_MAX", kept_max)
        memory = EncodedAttributes()
        for attributes in [*written, *written, *written]:
            entry = audit_pb2.DecisionRecord()
            memory.write(attributes, entry)
            assert told(entry) == told(plain(attributes))
            # Values like it that are other objects, as if somebody sent it anew.
            entry = audit_pb2.DecisionRecord()
            copied = map_from_pb(plain(attributes).attributes, "attributes")
            memory.write(copied, entry)
            assert told(entry) == told(plain(attributes))


def test_equal_values_of_other_kinds_are_told_apart() -> None:
    """1, true, 1.0, 1u and the time 1 are equal or look so; 0.0 equals -0.0."""
    memory = EncodedAttributes()
    for _ in range(3):
        for value in (
            1,
            True,
            1.0,
            Uint(1),
            Timestamp(1),
            0.0,
            -0.0,
            math.copysign(0.0, -1),
            False,
        ):
            entry = audit_pb2.DecisionRecord()
            memory.write({"n": value}, entry)
            assert told(entry) == shape({"n": value})


def test_an_identity_that_became_anothers_says_nothing() -> None:
    """A list that is gone leaves its identity to the next one, and not its bytes."""
    memory = EncodedAttributes()
    for number in range(500):
        entry = audit_pb2.DecisionRecord()
        memory.write({"n": [number]}, entry)
        assert told(entry) == shape({"n": [number]})


def test_what_is_kept_is_bounded() -> None:
    """However many different values come, each twice: then it begins anew."""
    memory = EncodedAttributes()
    for number in range(3 * encoded._KEPT_MAX):
        for _ in range(2):
            memory.write({"n": number}, audit_pb2.DecisionRecord())
        assert len(memory._kept) <= len(memory._seen) <= encoded._KEPT_MAX
    for _ in range(3):
        memory.write({"n": ["x" * 2_000]}, audit_pb2.DecisionRecord())
    assert all(len(found) <= encoded._BYTES_MAX for _, found in memory._kept.values())


def test_a_kept_value_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If values of all kinds were known by what they equal, a record would say another kind."""
    monkeypatch.setattr(encoded, "type", lambda _: str, raising=False)
    memory = EncodedAttributes()
    wrong = 0
    for value in (1, 1, True, True, 1.0):
        entry = audit_pb2.DecisionRecord()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoded, "len", lambda _: 0, raising=False)
            memory.write({"n": value}, entry)
        wrong += told(entry) != shape({"n": value})
    assert wrong
