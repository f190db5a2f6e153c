"""The wire: nothing gets lost, nothing is guessed, nothing raises what it should not."""

from __future__ import annotations

import dataclasses
import enum
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import boundary, value_codec, wire
from pdp.boundary import DEPTH_MAX, InputLimits, admit
from pdp.errors import AnswerError, InvalidRequestError
from pdp.model import (
    Action,
    BundleRef,
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    Reason,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
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
    Value,
    canonical,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(0, UINT64_MAX).map(Uint),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(max_size=20),
    st.integers(TIMESTAMP_SECONDS_MIN * NANOS, TIMESTAMP_SECONDS_MAX * NANOS + NANOS - 1).map(
        Timestamp
    ),
    st.integers(-DURATION_SECONDS_MAX * NANOS, DURATION_SECONDS_MAX * NANOS).map(Duration),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
PROPERTIES = st.dictionaries(TEXT, VALUES, max_size=4)
NAMES = TEXT.filter(bool)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request that can be sent."""
    return Request(
        Subject(draw(NAMES), draw(NAMES), draw(PROPERTIES)),
        Action(draw(NAMES), draw(PROPERTIES)),
        Resource(draw(NAMES), draw(NAMES), draw(PROPERTIES)),
        draw(PROPERTIES),
        draw(TEXT),
        draw(NAMES),
        draw(TEXT),
    )


def ask(**changes: Any) -> Request:
    """A small request."""
    plain = Request(Subject("user", "alice"), Action("read"), Resource("doc", "1"), request_id="q")
    return dataclasses.replace(plain, **changes)


def nested(levels: int, leaf: object = 1, *, lists: bool = False) -> Any:
    """A value inside this many lists or maps."""
    value = leaf
    for _ in range(levels):
        value = [value] if lists else {"k": value}
    return value


# -- round trips ----------------------------------------------------------------------------------


@given(value=VALUES)
@settings(max_examples=300, deadline=None)
def test_a_value_comes_back_as_it_was(value: Value) -> None:
    """Through bytes and back: same kinds, same numbers, to the nanosecond."""
    data = wire.value_to_pb(value).SerializeToString()
    back = wire.value_from_pb(pb.Value.FromString(data))
    assert canonical(back) == canonical(value)


@given(request=requests())
@settings(max_examples=150, deadline=None)
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    """All fields, none swapped."""
    back = wire.parse_request(wire.request_to_pb(request).SerializeToString())
    assert back == request
    assert canonical(dict(back.context)) == canonical(dict(request.context))


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Any decision a decision point can make."""
    effect = draw(st.sampled_from(Effect))
    permit = effect is Effect.PERMIT
    causes = [Cause.RULE] if permit else [cause for cause in Cause if cause.value < 100]
    digest = st.binary(min_size=32, max_size=32)
    record = RecordRef(draw(NAMES), draw(st.integers(1, 2**63)), draw(digest))
    return Decision(
        effect,
        draw(st.sampled_from(causes)),
        tuple(draw(st.lists(NAMES, min_size=int(permit), max_size=3))),
        tuple(
            Obligation(draw(NAMES), draw(NAMES), draw(PROPERTIES))
            for _ in range(draw(st.integers(0, 2)))
        ),
        draw(NAMES),
        BundleRef(draw(st.integers(0, 2**63)), draw(digest)) if permit else None,
        record if permit or draw(st.booleans()) else None,
        tuple(
            Obligation(draw(NAMES), draw(NAMES), draw(PROPERTIES))
            for _ in range(draw(st.integers(0, 1)))
        ),
        tuple(Reason(draw(NAMES), draw(NAMES)) for _ in range(draw(st.integers(0, 2)))),
        tuple(Reason(draw(NAMES), draw(NAMES)) for _ in range(draw(st.integers(0, 2)))),
    )


@given(decision=decisions())
@settings(max_examples=150, deadline=None)
def test_a_decision_comes_back_as_it_was(decision: Decision) -> None:
    """What the decision point said is what the client reads."""
    message = wire.decision_to_pb(decision, "q", bytes(32))
    back = pb.AuthorizeResponse.FromString(message.SerializeToString())
    assert wire.decision_from_pb(back) == decision
    assert back.request_id == "q"
    assert back.request_digest == bytes(32)


def test_five_stays_five() -> None:
    """The reason for a Value of our own: a Struct would make 5 into 5.0, and 1 is not true."""
    back = wire.value_from_pb(wire.value_to_pb([5, 5.0, True, 1, Uint(1)]))
    assert isinstance(back, list)
    assert [type(item) for item in back] == [int, float, bool, int, Uint]


# -- what clients may write -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ((1, "a"), [1, "a"]),
        ((), []),
        ({}, {}),
        (datetime(2026, 9, 21, tzinfo=UTC), Timestamp(1_789_948_800 * NANOS)),
        (
            datetime(2026, 9, 21, 2, tzinfo=timezone(timedelta(hours=2))),
            Timestamp(1_789_948_800 * NANOS),
        ),
        (datetime(1, 1, 1, tzinfo=UTC), Timestamp(TIMESTAMP_SECONDS_MIN * NANOS)),
        (
            datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            Timestamp(TIMESTAMP_SECONDS_MAX * NANOS + 999_999_000),
        ),
        (timedelta(days=-1, microseconds=1), Duration(-86_399_999_999_000)),
        (timedelta(microseconds=-1), Duration(-1_000)),
    ],
)
def test_python_values_that_mean_one_thing_are_taken(written: object, read: Value) -> None:
    """Tuples, datetimes with a zone and timedeltas, to the microsecond."""
    assert wire.value_from_pb(wire.value_to_pb(written)) == read


class Colour(enum.StrEnum):
    """A string to Python, and what does `str` of it mean elsewhere?"""

    RED = "red"


class Number(int):
    """An int with ideas of its own."""


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (2**63, "context.x", "out of the range of int64"),
        (-(2**63) - 1, "context.x", "out of the range of int64"),
        (Uint(2**64), "context.x", "out of the range of uint64"),
        (Uint(-1), "context.x", "out of the range of uint64"),
        (math.nan, "context.x", "finite"),
        (math.inf, "context.x", "finite"),
        (datetime(2026, 9, 21), "context.x", "zone"),  # noqa: DTZ001 the point of it
        (timedelta.max, "context.x", "10,000 years"),
        (Timestamp(2**70), "context.x", "years 1 to 9999"),
        (Duration(2**90), "context.x", "10,000 years"),
        ({1, 2}, "context.x", "`set`"),
        (Colour.RED, "context.x", "`Colour`"),
        (Number(5), "context.x", "`Number`"),
        (object(), "context.x", "`object`"),
        (bytearray(b"x"), "context.x", "`bytearray`"),
        (3 + 4j, "context.x", "`complex`"),
        ("\ud800", "context.x", "Unicode"),
        ([1, {"a b": [None, {3: 1}]}], "context.x[1]['a b'][1] key", "string"),
        ({"\udfff": 1}, "context.x key", "Unicode"),
    ],
)
def test_what_has_no_single_meaning_is_refused_with_its_path(
    value: object, path: str, reason: str
) -> None:
    """Nothing is rounded, cut or guessed at: the caller hears which field it is."""
    with pytest.raises(InvalidRequestError) as caught:
        wire.request_to_pb(ask(context={"x": value}))
    assert caught.value.field == path
    assert reason in caught.value.reason


def test_a_list_that_contains_itself_is_refused() -> None:
    """No recursion error, no endless loop."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        wire.request_to_pb(ask(context={"x": loop}))


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("part", ["subject", "context"])
def test_the_deepest_request_can_be_sent_recorded_and_read_back(part: str, *, lists: bool) -> None:
    """What the boundary admits fits protobuf's limit of 100 levels, also whole in a record."""
    deepest = {"k": nested(DEPTH_MAX - 1, Timestamp(1), lists=lists)}
    request = ask(subject=Subject("user", "alice", deepest), context=deepest)
    data = wire.request_to_pb(request).SerializeToString()
    admitted = admit(wire.parse_request(data), Caller("spiffe://td/a"), InputLimits())
    record = audit_pb2.Record()
    whole = {part: admitted.attributes[part]}
    value_codec.map_to_pb(whole, record.decision.attributes, "attributes")
    again = audit_pb2.Record.FromString(record.SerializeToString())
    assert value_codec.map_from_pb(again.decision.attributes, "attributes") == whole
    deeper = ask(context={"k": nested(DEPTH_MAX, lists=lists)})
    parsed = wire.parse_request(wire.request_to_pb(deeper).SerializeToString())
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        admit(parsed, Caller("spiffe://td/a"), InputLimits())


@pytest.mark.parametrize("lists", [True, False])
def test_nothing_is_encoded_that_no_parser_reads_back(*, lists: bool) -> None:
    """The deepest message that can be written is read back; one level more is an error here."""
    limit = value_codec.LEVELS_MAX
    message = wire.request_to_pb(ask(context={"k": nested(limit - 1, Timestamp(1), lists=lists)}))
    assert pb.AuthorizeRequest.FromString(message.SerializeToString()) == message
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        wire.request_to_pb(ask(context={"k": nested(limit, lists=lists)}))


def test_required_fields_are_required_on_both_ends() -> None:
    """Empty is missing, when writing and when reading."""
    empty = {
        "request_id": ask(request_id=""),
        "subject.type": ask(subject=Subject("", "a")),
        "subject.id": ask(subject=Subject("a", "")),
        "action.name": ask(action=Action("")),
        "resource.type": ask(resource=Resource("", "a")),
        "resource.id": ask(resource=Resource("a", "")),
    }
    for field, request in empty.items():
        with pytest.raises(InvalidRequestError, match="is required") as caught:
            wire.request_to_pb(request)
        assert caught.value.field == field
        message = wire.request_to_pb(ask())
        *parents, last = field.split(".")
        inner: Any = getattr(message, parents[0]) if parents else message
        inner.ClearField(last)
        with pytest.raises(InvalidRequestError, match="is required") as caught:
            wire.parse_request(message.SerializeToString())
        assert caught.value.field == field


# -- what servers may read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (pb.Value(), "no value of a known kind"),
        (pb.Value(timestamp_value={"nanos": -1}), "nanoseconds"),
        (pb.Value(timestamp_value={"nanos": NANOS}), "nanoseconds"),
        (pb.Value(timestamp_value={"seconds": TIMESTAMP_SECONDS_MAX + 1}), "years 1 to 9999"),
        (pb.Value(timestamp_value={"seconds": TIMESTAMP_SECONDS_MIN - 1}), "years 1 to 9999"),
        (pb.Value(duration_value={"seconds": 1, "nanos": -1}), "different signs"),
        (pb.Value(duration_value={"seconds": -1, "nanos": 1}), "different signs"),
        (pb.Value(duration_value={"nanos": NANOS}), "nanoseconds"),
        (pb.Value(duration_value={"nanos": -NANOS}), "nanoseconds"),
        (pb.Value(duration_value={"seconds": DURATION_SECONDS_MAX + 1}), "10,000 years"),
        (
            pb.Value(duration_value={"seconds": DURATION_SECONDS_MAX, "nanos": 1}),
            "10,000 years",
        ),
        (pb.Value(list_value={"values": [pb.Value()]}), "no value of a known kind"),
    ],
)
def test_values_without_meaning_are_refused(value: pb.Value, reason: str) -> None:
    """A Value without a kind is an error, not null; times out of range are errors, not wrapped."""
    message = wire.request_to_pb(ask())
    message.context["x"].CopyFrom(value)
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        wire.parse_request(message.SerializeToString())
    assert caught.value.field.startswith("context.x")


def test_the_wish_for_an_explanation_crosses_the_wire() -> None:
    """Asked or not asked, as the caller said; it is not lost and not made up."""
    for wish in (True, False):
        request = dataclasses.replace(ask_plainly(), explain=wish)
        message = wire.request_to_pb(request).SerializeToString()
        assert wire.parse_request(message).explain is wish


def ask_plainly() -> Request:
    """A question without properties."""
    return Request(Subject("user", "a"), Action("read"), Resource("r", "1"), request_id="q")


def unknown_field(number: int = 99) -> bytes:
    """A field of another version: varint 1."""
    tag = number << 3
    return bytes([tag & 0x7F | 0x80, tag >> 7, 1])


def test_unknown_fields_are_refused_at_any_depth() -> None:
    """A part of the question that we do not understand is not skipped."""
    plain = wire.request_to_pb(ask(context={"a": [1]})).SerializeToString()
    assert wire.parse_request(plain).request_id == "q"
    with pytest.raises(InvalidRequestError, match="does not know"):
        wire.parse_request(plain + unknown_field())
    inner = pb.Value.FromString(pb.Value(int64_value=1).SerializeToString() + unknown_field())
    message = wire.request_to_pb(ask())
    message.context["a"].list_value.values.add().CopyFrom(inner)
    with pytest.raises(InvalidRequestError, match="does not know"):
        wire.parse_request(message.SerializeToString())
    # A kind of a newer protocol alone in a Value.
    message.context["a"].CopyFrom(pb.Value.FromString(unknown_field()))
    with pytest.raises(InvalidRequestError):
        wire.parse_request(message.SerializeToString())


def test_unknown_fields_are_refused_twin_without_guard() -> None:
    """Protobuf by itself drops what it does not know, and answers the rest."""
    data = wire.request_to_pb(ask()).SerializeToString() + unknown_field()
    assert wire.request_from_pb(pb.AuthorizeRequest.FromString(data)) == ask()


def test_other_writings_of_the_same_request_are_read() -> None:
    """Another encoder's order, long varints and explicit defaults are no unknown fields."""
    plain = wire.request_to_pb(ask()).SerializeToString()
    fields = [b"\x0a\x01q", plain.removeprefix(b"\x0a\x01q"), b"\x40\x80\x00", b"\x12\x00"]
    for data in (b"".join(fields), b"".join(reversed(fields))):
        assert wire.parse_request(data) == ask()


@given(data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_request_fuzz(data: bytes) -> None:
    """Any bytes are a request or an InvalidRequestError in one printable line."""
    try:
        wire.parse_request(data)
    except InvalidRequestError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted


@st.composite
def damaged_requests(draw: st.DrawFn) -> bytes:
    """A good message with some bytes changed, cut, or said twice."""
    data = bytearray(wire.request_to_pb(draw(requests())).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        data += data[: draw(st.integers(0, len(data)))]
    return bytes(data[: len(data) - draw(st.integers(0, 5))])


@given(data=damaged_requests())
@settings(max_examples=200, deadline=None)
def test_damaged_request_fuzz(data: bytes) -> None:
    """As above; and what is read passes the boundary or is refused there, never more."""
    try:
        request = wire.parse_request(data)
        admit(request, Caller("spiffe://td/a"), InputLimits())
    except InvalidRequestError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted


# -- in one pass ----------------------------------------------------------------------------------

CALLER = Caller("spiffe://td.example.org/ns/web")
LIMITS = st.builds(
    InputLimits,
    depth_max=st.integers(1, DEPTH_MAX),
    values_max=st.sampled_from([1, 3, 30, 10_000]),
    text_bytes_max=st.sampled_from([10, 40, 262_144]),
    name_bytes_max=st.sampled_from([1, 2, 5, 1_024]),
    token_bytes_max=st.sampled_from([1, 16_384]),
)


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """A message that the encoder would not write: no number, no kind, very deep, unknown."""
    sent = wire.request_to_pb(draw(requests()))
    target = draw(
        st.sampled_from([sent.subject.properties, sent.resource.properties, sent.context])
    )
    match draw(st.sampled_from(["", "double", "none", "deep", "nanos", "negative", "unknown"])):
        case "double":
            target["k"].double_value = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
        case "none":
            target["k"].SetInParent()
        case "deep":
            levels = draw(st.integers(1, DEPTH_MAX + 2))
            value_codec.map_to_pb({"k": nested(levels - 1, lists=draw(st.booleans()))}, target, "p")
        case "nanos":
            target["k"].timestamp_value.nanos = -1
        case "negative":
            target["k"].duration_value.nanos = -1
        case "unknown":
            return sent.SerializeToString() + unknown_field()
    return sent.SerializeToString()


def in_two_passes(data: bytes, limits: InputLimits) -> tuple[object, ...]:
    """What the parser and then the boundary make of a message."""
    try:
        admitted = admit(wire.parse_request(data), CALLER, limits)
    except InvalidRequestError as error:
        return error.field, error.reason
    return admitted.request, canonical(dict(admitted.attributes))


def in_one_pass(data: bytes, limits: InputLimits) -> tuple[object, ...]:
    """What `admit_message` makes of it."""
    try:
        admitted = wire.admit_message(data, CALLER, limits)
    except InvalidRequestError as error:
        return error.field, error.reason
    return admitted.request, canonical(dict(admitted.attributes))


@given(data=st.one_of(odd_requests(), damaged_requests()), limits=LIMITS)
@settings(max_examples=400, deadline=None)
def test_one_pass_admits_and_refuses_what_two_do(data: bytes, limits: InputLimits) -> None:
    """Parsing and judging at once gives the same attributes, or the same refusal."""
    assert in_one_pass(data, limits) == in_two_passes(data, limits)


def test_one_pass_refuses_what_is_not_finite() -> None:
    """The short way does not let an infinity pass."""
    sent = wire.request_to_pb(ask())
    sent.context["k"].double_value = math.inf
    with pytest.raises(InvalidRequestError):
        wire.admit_message(sent.SerializeToString(), CALLER, InputLimits())


def test_one_pass_refuses_what_is_not_finite_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the decoder did not look, a condition would meet an infinity."""
    monkeypatch.setattr(math, "isfinite", lambda _value: True)
    sent = wire.request_to_pb(ask())
    sent.context["k"].double_value = math.inf
    admitted = wire.admit_message(sent.SerializeToString(), CALLER, InputLimits())
    assert admitted.attributes["context"] == {"k": math.inf}


def test_a_message_too_long_to_be_short_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are counted for whatever could exceed them."""
    data = wire.request_to_pb(ask(context={"k": list(range(60))})).SerializeToString()
    with pytest.raises(InvalidRequestError, match="limit of values"):
        wire.admit_message(data, CALLER, InputLimits(values_max=50))
    monkeypatch.setattr(boundary, "fits", lambda _size, _limits: True)
    assert wire.admit_message(data, CALLER, InputLimits(values_max=50)).request.context


# -- answers --------------------------------------------------------------------------------------


def permit() -> pb.AuthorizeResponse:
    """A good permit."""
    decision = Decision(
        Effect.PERMIT,
        Cause.RULE,
        ("p/r",),
        (Obligation("o", "t", {"n": 1}),),
        "id",
        BundleRef(1, bytes(32)),
        RecordRef("a/0/1", 1, bytes(32)),
        (Obligation("o", "t"),),
        (Reason("p/r", "for the user"),),
        (Reason("p/r", "for the administrator"),),
    )
    return wire.decision_to_pb(decision, "q", bytes(32))


def spoil_obligation(message: pb.AuthorizeResponse) -> None:
    """A property of a kind that this client does not know."""
    message.obligations[0].properties["n"].CopyFrom(pb.Value.FromString(unknown_field()))


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("effect", lambda m: m.ClearField("effect")),
        ("effect", lambda m: setattr(m, "effect", 3)),
        ("effect", lambda m: setattr(m, "effect", -1)),
        ("cause", lambda m: m.ClearField("cause")),
        ("cause", lambda m: setattr(m, "cause", 15)),
        ("cause", lambda m: setattr(m, "cause", 100)),
        ("cause", lambda m: setattr(m, "cause", pb.CAUSE_DEFAULT)),
        ("obligations[0].id", lambda m: m.obligations[0].ClearField("id")),
        ("obligations[0].type", lambda m: m.obligations[0].ClearField("type")),
        ("obligations[0].properties.n", spoil_obligation),
        ("advice[0].id", lambda m: m.advice[0].ClearField("id")),
        ("advice[0].type", lambda m: m.advice[0].ClearField("type")),
        ("reason_user[0]", lambda m: m.reason_user[0].ClearField("rule")),
        ("reason_admin[0]", lambda m: m.reason_admin[0].ClearField("text")),
        ("rules", lambda m: m.ClearField("rules")),
        ("decision_id", lambda m: m.ClearField("decision_id")),
        ("bundle", lambda m: m.ClearField("bundle")),
        ("bundle.digest", lambda m: setattr(m.bundle, "digest", b"x")),
        ("record", lambda m: m.ClearField("record")),
        ("record", lambda m: m.record.ClearField("seq")),
        ("record", lambda m: m.record.ClearField("pdp_id")),
        ("record.hash", lambda m: setattr(m.record, "hash", bytes(31))),
    ],
)
def test_an_answer_that_is_not_well_formed_is_unusable(field: str, spoil: Any) -> None:
    """Unknown, unspecified or missing: an error that names the field, never a permit."""
    message = permit()
    assert wire.decision_from_pb(message)
    spoil(message)
    with pytest.raises(AnswerError) as caught:
        wire.decision_from_pb(message)
    assert caught.value.field == field


def test_the_zero_answer_is_unusable() -> None:
    """Empty bytes parse; they are no permit and no denial."""
    with pytest.raises(AnswerError):
        wire.decision_from_pb(pb.AuthorizeResponse.FromString(b""))


def test_a_denial_needs_nothing_but_effect_and_cause() -> None:
    """Fields that a permit must carry may be missing from a denial."""
    message = pb.AuthorizeResponse(effect=pb.EFFECT_DENY, cause=pb.CAUSE_NO_BUNDLE)
    assert wire.decision_from_pb(message) == Decision(Effect.DENY, Cause.NO_BUNDLE)


def test_unknown_fields_in_an_answer_are_skipped() -> None:
    """A newer decision point may say more; what must be understood is an obligation."""
    data = permit().SerializeToString() + unknown_field()
    assert wire.decision_from_pb(pb.AuthorizeResponse.FromString(data))


def test_a_clients_cause_never_crosses_the_wire() -> None:
    """UNREACHABLE is something only a client can say."""
    with pytest.raises(KeyError):
        wire.decision_to_pb(Decision(Effect.DENY, Cause.UNREACHABLE), "q", bytes(32))


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_answer_fuzz(data: bytes) -> None:
    """Any bytes that parse are a decision or an AnswerError; a permit is a whole one."""
    try:
        message = pb.AuthorizeResponse.FromString(data)
    except Exception:  # noqa: BLE001 protobuf's own refusals are the client core's business
        return
    try:
        decision = wire.decision_from_pb(message)
    except AnswerError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted
    else:
        assert not decision or (decision.record and decision.bundle and decision.rules)


def test_enums_of_model_and_wire_agree() -> None:
    """Same names, same numbers: the model's numbers go into records as they are."""
    ours = {f"CAUSE_{cause.name}": cause.value for cause in Cause if cause.value < 100}
    assert ours | {"CAUSE_UNSPECIFIED": 0} == dict(pb.Cause.items())
    effects = {f"EFFECT_{effect.name}": effect.value for effect in Effect}
    assert effects | {"EFFECT_UNSPECIFIED": 0} == dict(pb.Effect.items())


def test_the_wire_is_light() -> None:
    """A service that imports the client loads no CEL, TUF, X.509, TOML or settings code."""
    program = "import sys, pdp.wire; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"cryptography", "tuf", "pydantic", "re2", "ruamel", "typer", "uvloop", "cachetools"}
    assert {name.partition(".")[0] for name in done.stdout.split()} & heavy == set()
