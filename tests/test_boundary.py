"""The trust boundary of input: after it, every value is plain, small and meant."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import boundary
from pdp.boundary import DEPTH_MAX, InputLimits, admit
from pdp.errors import ConfigurationError, InvalidRequestError, member
from pdp.model import Action, Caller, Request, Resource, Subject
from pdp.values import (
    DURATION_SECONDS_MAX,
    INT64_MAX,
    INT64_MIN,
    NANOS,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    UINT64_MAX,
    Duration,
    Timestamp,
    Uint,
    canonical,
)

CALLER = Caller("spiffe://td.example.org/ns/web")
SMALL = InputLimits(
    depth_max=3, values_max=10, text_bytes_max=200, name_bytes_max=8, token_bytes_max=16
)


def ask(**changes: Any) -> Request:
    """A small request."""
    plain = Request(Subject("user", "alice"), Action("read"), Resource("doc", "1"))
    return dataclasses.replace(plain, **changes)


def refusal(request: Any, limits: InputLimits | None = None) -> tuple[str, str]:
    """Path and reason of the refusal."""
    with pytest.raises(InvalidRequestError) as caught:
        admit(request, CALLER, limits or InputLimits())
    return caught.value.field, caught.value.reason


def test_conditions_see_these_names_and_no_other() -> None:
    """The names of design section 5, in dotted form too, for the compiled conditions."""
    request = Request(
        Subject("user", "alice", {"a": 1}),
        Action("read", {"b": 2}),
        Resource("doc", "1", {"c": 3}),
        {"d": 4},
    )
    attributes = admit(request, CALLER, InputLimits()).attributes
    assert attributes["subject"] == {"type": "user", "id": "alice", "properties": {"a": 1}}
    assert attributes["action"] == {"name": "read", "properties": {"b": 2}}
    assert attributes["resource"] == {"type": "doc", "id": "1", "properties": {"c": 3}}
    assert attributes["context"] == {"d": 4}
    assert attributes["caller"] == {
        "id": "spiffe://td.example.org/ns/web",
        "trust_domain": "td.example.org",
        "path": "/ns/web",
    }
    assert attributes["token"] == {}
    for name, value in attributes.items():
        whole, dot, part = name.partition(".")
        parent = attributes[whole]
        assert isinstance(parent, dict | str)
        assert not dot or (isinstance(parent, dict) and parent[part] == value)


def test_a_token_is_never_an_attribute() -> None:
    """An unverified token cannot be looked at by a condition, nor end up in a record."""
    attributes = admit(ask(subject_token="secret.token"), CALLER, InputLimits()).attributes
    assert b"secret.token" not in canonical(dict(attributes))


def test_later_changes_reach_nothing() -> None:
    """Attributes are copies all the way down: a caller cannot change them under evaluation."""
    inner: list[Any] = [1]
    context: dict[str, Any] = {"a": {"b": inner}}
    attributes = admit(ask(context=context), CALLER, InputLimits()).attributes
    before = canonical(dict(attributes))
    inner.append(2)
    context["a"]["c"] = 3
    context["x"] = 4
    assert canonical(dict(attributes)) == before


def test_later_changes_reach_nothing_twin_without_guard() -> None:
    """Without the copy, the very list that the caller holds would be evaluated."""
    context: dict[str, Any] = {"a": [1]}
    assert admit(ask(context=context), CALLER, InputLimits()).request.context is context


GOOD_EDGES: list[Any] = [
    INT64_MIN,
    INT64_MAX,
    Uint(0),
    Uint(UINT64_MAX),
    True,
    None,
    -0.0,
    5e-324,
    "",
    "\x00",
    "e\u0301",
    b"",
    b"\xff",
    Timestamp(TIMESTAMP_SECONDS_MIN * NANOS),
    Timestamp(TIMESTAMP_SECONDS_MAX * NANOS + NANOS - 1),
    Duration(DURATION_SECONDS_MAX * NANOS),
    Duration(-DURATION_SECONDS_MAX * NANOS),
    [],
    {},
]


@pytest.mark.parametrize("value", GOOD_EDGES, ids=repr)
def test_values_at_the_edge_are_admitted_unchanged(value: Any) -> None:
    """Nothing is normalised: not the NUL, not the Unicode form, not the sign of zero."""
    context = admit(ask(context={"x": value}), CALLER, InputLimits()).attributes["context"]
    assert canonical(context) == canonical({"x": value})
    assert isinstance(context, dict)
    assert type(context["x"]) is type(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (INT64_MAX + 1, "int64"),
        (INT64_MIN - 1, "int64"),
        (Uint(UINT64_MAX + 1), "uint64"),
        (Uint(-1), "uint64"),
        (math.nan, "finite"),
        (-math.inf, "finite"),
        ("\ud800", "Unicode"),
        (Timestamp((TIMESTAMP_SECONDS_MAX + 1) * NANOS), "years"),
        (Timestamp(TIMESTAMP_SECONDS_MIN * NANOS - 1), "years"),
        (Duration(DURATION_SECONDS_MAX * NANOS + 1), "10,000"),
        ((1, 2), "kind"),
        ({1}, "kind"),
        (bytearray(), "kind"),
        (object(), "kind"),
        (type("Sub", (str,), {})("x"), "kind"),
        (type("Sub", (int,), {})(1), "kind"),
        (type("Sub", (dict,), {})(), "kind"),
        (type("Sub", (list,), {})(), "kind"),
        ({1: 2}, "string"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_beyond_the_edge_are_refused(value: Any, reason: str) -> None:
    """Out of range, not a number, half a character, or an object with behaviour of its own."""
    path, found = refusal(ask(context={"a": [None, {"b": value}]}))
    assert path.startswith("context.a[1].b")
    assert reason in found


@pytest.mark.parametrize(
    "part", ["subject.properties", "action.properties", "resource.properties", "context"]
)
def test_every_part_of_a_request_is_judged(part: str) -> None:
    """No corner of a request that nobody looks at."""
    bad: Any = {"x": 2**70}
    request = {
        "subject.properties": ask(subject=Subject("user", "alice", bad)),
        "action.properties": ask(action=Action("read", bad)),
        "resource.properties": ask(resource=Resource("doc", "1", bad)),
        "context": ask(context=bad),
    }[part]
    assert refusal(request) == (f"{part}.x", "is out of the range of int64")


NAMED: dict[str, Callable[[Any], Request]] = {
    "subject.type": lambda text: ask(subject=Subject(text, "a")),
    "subject.id": lambda text: ask(subject=Subject("a", text)),
    "action.name": lambda text: ask(action=Action(text)),
    "resource.type": lambda text: ask(resource=Resource(text, "a")),
    "resource.id": lambda text: ask(resource=Resource("a", text)),
    "tenant": lambda text: ask(tenant=text),
    "request_id": lambda text: ask(request_id=text),
    "subject_token": lambda text: ask(subject_token=text),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("text", ["\ud800", 5, None, b"x", ["x"]], ids=repr)
def test_names_are_valid_text(name: str, text: Any) -> None:
    """A name is a string with a UTF-8 encoding, wherever it stands."""
    assert refusal(NAMED[name](text))[0] == name


@pytest.mark.parametrize("name", NAMED)
def test_names_have_a_limit_in_bytes(name: str) -> None:
    """Bytes are counted, not characters: what is recorded is bytes."""
    size = SMALL.token_bytes_max if name == "subject_token" else SMALL.name_bytes_max
    admit(NAMED[name]("x" * size), CALLER, SMALL)
    admit(NAMED[name]("ä" * (size // 2)), CALLER, SMALL)
    assert refusal(NAMED[name]("x" * (size + 1)), SMALL)[0] == name
    assert refusal(NAMED[name]("ä" * (size // 2 + 1)), SMALL)[0] == name


def test_required_names_are_required() -> None:
    """Empty is missing; tenant, request id and token may be."""
    for name, make in NAMED.items():
        if name in {"tenant", "request_id", "subject_token"}:
            admit(make(""), CALLER, InputLimits())
        else:
            assert refusal(make("")) == (name, "is required")


def test_depth_is_bounded_in_lists_and_maps() -> None:
    """The limit counts lists and maps alike, and ends what contains itself."""
    loop: dict[str, Any] = {}
    loop["loop"] = [loop]
    assert "nested deeper" in refusal(ask(context=loop))[1]
    fits: Any = {"a": [{"b": 1}]}
    admit(ask(context=fits), CALLER, SMALL)
    assert "nested deeper" in refusal(ask(context={"a": [{"b": []}]}), SMALL)[1]
    assert "nested deeper" in refusal(ask(context={"a": [{"b": {}}]}), SMALL)[1]


def test_the_number_of_values_is_bounded_over_the_whole_request() -> None:
    """Ten values, wherever they are."""
    properties: Any = {"a": [1, 2, 3], "b": 4}
    context: Any = {"a": [1, 2, 3]}
    request = ask(subject=Subject("user", "alice", properties), context=context)
    admit(request, CALLER, dataclasses.replace(SMALL, values_max=9))
    refused = refusal(request, dataclasses.replace(SMALL, values_max=8))
    assert refused == ("context.a[2]", "takes the request over its limit of values")


def test_text_is_bounded_over_the_whole_request() -> None:
    """Keys, names, strings and bytes come out of one allowance."""
    names = len("useralicereaddoc1")
    context: Any = {"kk": "ä", "b": b"12345"}
    size = names + 2 + 2 + 1 + 5
    admit(ask(context=context), CALLER, dataclasses.replace(SMALL, text_bytes_max=size))
    refused = refusal(ask(context=context), dataclasses.replace(SMALL, text_bytes_max=size - 1))
    assert refused == ("context.b", "takes the request over its limit of text")


def test_limits_twin_without_guard() -> None:
    """The same hostile requests pass where the limits are wide, so it is the limits that refuse."""
    admit(ask(context={"a": [{"b": [[]]}]}), CALLER, InputLimits())
    admit(ask(context={"a": [0] * 50}), CALLER, InputLimits())
    admit(ask(context={"a": "x" * 300}), CALLER, InputLimits())


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(InputLimits)])
def test_limits_that_admit_nothing_or_too_much_cannot_be_made(name: str) -> None:
    """Zero is no limit to choose; deeper than a record can hold is none either."""
    for value in (0, -1):
        with pytest.raises(ConfigurationError):
            InputLimits(**{name: value})
    with pytest.raises(ConfigurationError):
        InputLimits(depth_max=DEPTH_MAX + 1)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("department", ".department"),
        ("a_1", ".a_1"),
        ("", "['']"),
        ("a.b", "['a.b']"),
        ("a b", "['a b']"),
        ("ä", "['\\xe4']"),
        ("\n\x1b[31m", "['\\n\\x1b[31m']"),
        ("x" * 100, "." + "x" * 64),
    ],
)
def test_keys_in_paths_are_quoted(key: str, written: str) -> None:
    """A hostile key cannot break out of a log line."""
    assert member(key) == written


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=10),
        st.characters(categories=["Cs"]),
        st.binary(max_size=10),
        st.integers(-(2**70), 2**70).map(Uint),
        st.integers(-(2**100), 2**100).map(Timestamp),
        st.integers(-(2**100), 2**100).map(Duration),
        st.just(object()),
        st.tuples(st.integers()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=4),
    ),
    max_leaves=15,
)


@given(name=ANYTHING, properties=ANYTHING, context=ANYTHING, token=ANYTHING)
@settings(max_examples=300, deadline=None)
def test_boundary_fuzz(name: Any, properties: Any, context: Any, token: Any) -> None:
    """Anything at all is admitted with an injective encoding, or is an InvalidRequestError."""
    request = ask(subject=Subject("user", name, properties), context=context, subject_token=token)
    try:
        admitted = admit(request, CALLER, SMALL)
    except InvalidRequestError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted
    else:
        canonical(dict(admitted.attributes))


def test_boundary_fuzz_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the judgement of scalars taken out, an integer of 70 bits gets in."""
    monkeypatch.setattr(boundary._Intake, "_scalar", lambda self, value: value)
    assert admit(ask(context={"x": 2**70}), CALLER, InputLimits()).attributes["context"] == {
        "x": 2**70
    }
