"""Interning: what came before never changes what a message is taken for, nor the answer to it."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import admission, interning, wire
from pdp.boundary import Admitted, InputLimits
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.compile import CompiledExpression
from pdp.errors import InvalidRequestError
from pdp.interning import Generations, Interner
from pdp.model import Action, Caller, Cause, Decision, Request, Resource, Subject, Verdict
from pdp.policy import PolicySet
from pdp.schema import ANYTHING, Kind, Property, Schema, SchemaDocument, Target
from pdp.schema_check import Schemas
from pdp.snapshot import Denials
from pdp.v1 import authorization_pb2 as pb
from pdp.values import Value, canonical
from tests.simulators import rule_sets as rs
from tests.test_wire import LIMITS, damaged_requests, in_two_passes, odd_requests, requests

CALLER = Caller("spiffe://td.example.org/ns/web")
PLAIN = InputLimits()
# The fields of a question whose parts are looked up, by number.
PARTS = {"subject": 3, "action": 4, "resource": 5}


def taken_for(interner: Interner, data: bytes, caller: Caller = CALLER) -> tuple[object, ...]:
    """What an interner makes of a message."""
    try:
        admitted = interner.admit(data, caller)
    except InvalidRequestError as error:
        return error.field, error.reason
    return admitted.request, canonical(dict(admitted.attributes))


def field(number: int, payload: bytes, *, long: bool = False) -> bytes:
    """A field of bytes as it is on the wire; `long`: its length in more digits than needed."""
    size = len(payload)
    digits = [size & 0x7F]
    while size := size >> 7:
        digits[-1] |= 0x80
        digits.append(size & 0x7F)
    if long:
        digits[-1] |= 0x80
        digits.append(0)
    return bytes([number << 3 | 2, *digits]) + payload


@st.composite
def recombined(draw: st.DrawFn) -> bytes:
    """Parts of two questions in one message: in any order, one of them twice, oddly written."""
    one = wire.request_to_pb(draw(requests()))
    other = wire.request_to_pb(draw(requests()))
    said = [field(1, b"q")]
    for name, number in PARTS.items():
        for source in draw(st.sampled_from([(one,), (other,), (one, other), (one, one), ()])):
            part = getattr(source, name).SerializeToString()
            said.append(field(number, part, long=draw(st.booleans())))
    said += [field(6, b"\x0a\x01k\x12\x02\x18\x07")] * draw(st.integers(0, 2))
    return b"".join(draw(st.permutations(said)))


MESSAGES = st.one_of(
    requests().map(lambda asked: wire.request_to_pb(asked).SerializeToString()),
    odd_requests(),
    damaged_requests(),
    recombined(),
)


def agree(interner: Interner, data: bytes, limits: InputLimits) -> bool:
    """Whether it makes of a message what parser and boundary do, at first and at second sight."""
    expected = in_two_passes(data, limits)
    return taken_for(interner, data) == expected == taken_for(interner, data)


@given(data=st.lists(MESSAGES, min_size=1, max_size=6), limits=LIMITS, small=st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_came_before_changes_nothing(
    data: list[bytes], limits: InputLimits, small: bool
) -> None:
    """Any messages in a row, hits, misses, evictions: the same attributes or the same refusal."""
    interner = Interner(limits, 12_000 if small else interning.KEPT_BYTES_MAX)
    for message in [*data, *data]:
        assert agree(interner, message, limits)


def pairs() -> Iterator[tuple[bytes, bytes]]:
    """Messages that differ in one byte of one part, at its beginning, in its middle, at its end."""
    asked = Request(
        Subject("user", "ana", {"grade": 5, "unit": "a"}),
        Action("read", {"mode": "x"}),
        Resource("report", "r-1", {"amount": 7, "owner": "ana"}),
        request_id="q",
    )
    data = wire.request_to_pb(asked).SerializeToString(deterministic=True)
    for old, new in ((b"user", b"usar"), (b"ana", b"eva"), (b"grade", b"gradf"), (b"r-1", b"r-2")):
        yield data, data.replace(old, new)
    yield data, data.replace(b"read", b"rear")
    yield data, data.replace(b"\x18\x07", b"\x18\x08")


def test_one_byte_makes_another_part() -> None:
    """Whatever differs in a byte is another subject, action, resource or property."""
    for one, other in pairs():
        interner = Interner(PLAIN)
        assert one != other
        assert agree(interner, one, PLAIN)
        assert agree(interner, other, PLAIN)


@pytest.mark.parametrize("key", [len, lambda data: data[:4], lambda data: data[-2:]])
def test_one_byte_makes_another_part_twin_without_guard(
    key: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were parts kept by their length, or by some bytes, one would be taken for another."""
    get, keep = Generations.get, Generations.keep
    monkeypatch.setattr(Generations, "get", lambda self, data: get(self, key(data)))  # type: ignore[arg-type]

    def by_less(self: Any, data: bytes, item: Any) -> None:
        monkeypatch.setattr(interning, "len", lambda _: 0, raising=False)
        keep(self, key(data), item)  # type: ignore[arg-type]
        monkeypatch.delattr(interning, "len")

    monkeypatch.setattr(Generations, "keep", by_less)
    interner = Interner(PLAIN)
    assert not all(
        taken_for(interner, message) == in_two_passes(message, PLAIN)
        for pair in pairs()
        for message in pair
    )


def twice() -> bytes:
    """A question whose subject is there twice: to protobuf, one of both."""
    first = pb.Subject(type="user", id="ana")
    second = pb.Subject(id="eva")
    whole = wire.request_to_pb(
        Request(Subject("x", "x"), Action("read"), Resource("report", "r-1"), request_id="q")
    )
    whole.ClearField("subject")
    parts = field(3, first.SerializeToString()) + field(3, second.SerializeToString())
    return whole.SerializeToString() + parts


def test_a_part_that_comes_twice_is_read_as_everywhere() -> None:
    """A subject in two fields is merged by protobuf, and is not the last of them."""
    interner = Interner(PLAIN)
    assert interner.admit(twice(), CALLER).request.subject == Subject("user", "eva")
    assert agree(interner, twice(), PLAIN)


def test_a_part_that_comes_twice_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If lengths were not compared, the last subject would be taken, or none."""
    monkeypatch.setattr(interning, "_read", lambda parse, message: parse(message))
    first = pb.Subject(type="user", id="ana").SerializeToString()
    second = pb.Subject(type="user", id="eva", properties={"k": pb.Value(bool_value=True)})
    whole = pb.AuthorizeRequest(
        request_id="q", action={"name": "a"}, resource={"type": "r", "id": "1"}
    )
    data = whole.SerializeToString() + field(3, second.SerializeToString()) + field(3, first)
    found = Interner(PLAIN).admit(data, CALLER)
    assert canonical(dict(found.attributes)) != in_two_passes(data, PLAIN)[1]


def test_an_unknown_field_is_refused_after_a_hit() -> None:
    """A part that is kept helps no message with a field that nobody knows, at any depth."""
    interner = Interner(PLAIN)
    whole = wire.request_to_pb(
        Request(Subject("user", "ana"), Action("read"), Resource("report", "r-1"), request_id="q")
    )
    data = whole.SerializeToString()
    interner.admit(data, CALLER)
    unknown = field(99 >> 3, b"x")
    subject = field(3, whole.subject.SerializeToString() + unknown)
    for odd in (data + unknown, data + subject):
        assert agree(interner, odd, PLAIN)
        with pytest.raises(InvalidRequestError, match="does not know"):
            interner.admit(odd, CALLER)


def test_what_is_refused_is_not_kept() -> None:
    """A part that is too deep, not finite or without a name leaves nothing behind."""
    for spoil in ("deep", "infinite", "nameless"):
        whole = wire.request_to_pb(
            Request(Subject("user", "a"), Action("read"), Resource("r", "1"), request_id="q")
        )
        if spoil == "deep":
            inner = whole.subject.properties["k"]
            for _ in range(PLAIN.depth_max):
                inner = inner.list_value.values.add()
            inner.list_value.SetInParent()
        elif spoil == "infinite":
            whole.subject.properties["k"].double_value = float("inf")
        else:
            whole.subject.id = ""
        interner = Interner(PLAIN)
        for _ in range(3):
            with pytest.raises(InvalidRequestError):
                interner.admit(whole.SerializeToString(), CALLER)
        assert not len(interner._subjects)
        assert not len(interner._properties)


def test_an_ordinary_question_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client sends is never unusual: with every kind of value, seen before or not."""
    values: dict[str, Value] = {"a": [1, "x", None, {"b": True}], "c": 1.5, "d": b"\0", "": ""}
    asked = Request(
        Subject("user", "ana", {key: value for key, value in values.items() if key}),
        Action("read"),
        Resource("report", "r-1", {"n": -1}),
        values,
        "default",
        "q",
        "token",
        explain=True,
    )
    monkeypatch.setattr(wire, "admit_message", lambda *_: pytest.fail("the long way"))
    interner = Interner(PLAIN)
    for _ in range(2):
        assert (
            interner.admit(wire.request_to_pb(asked).SerializeToString(), CALLER).request == asked
        )


def test_the_mirrors_know_every_published_field() -> None:
    """A field that is added to the protocol is unusual here until somebody says what it means."""
    published: dict[str, Any] = {
        "AuthorizeRequest": pb.AuthorizeRequest,
        "Subject": pb.Subject,
        "Action": pb.Action,
        "Resource": pb.Resource,
    }
    assert published.keys() == interning._KNOWN.keys()
    for name, message in published.items():
        fields = {one.name: one.number for one in message.DESCRIPTOR.fields}
        assert fields.keys() == interning._KNOWN[name].keys()
        mirrored = interning._mirror(name).DESCRIPTOR.fields
        assert {one.name: one.number for one in mirrored} == fields


# -- decisions ------------------------------------------------------------------------------------


CALLERS = CallerPolicy((CallerEntry(rs.CALLER.spiffe_id, ("*",), ("*",), ("*",), ("*",)),))


def sent(asked: Request) -> bytes:
    """The message of a question, which it has an id for."""
    return wire.request_to_pb(replace(asked, request_id="q")).SerializeToString()


def decided(admitted: Admitted, policies: PolicySet) -> Decision:
    """The answer."""
    return admission.decide(
        {"default": policies}, CALLERS, Denials(), admitted, rs.CALLER, rs.NOW_NS
    )[0]


def schemas(chance: random.Random) -> Schemas:
    """Schemas that refuse some of the requests: a level or an amount is bounded, or a text."""
    kinds = chance.choice(({Kind.INT}, {Kind.STRING}, {Kind.INT, Kind.STRING, Kind.NULL}))
    bounded = Schema(frozenset(kinds))

    def one_of(name: str) -> Schema:
        members = (Property(name, chance.random() < 0.5, bounded),)
        return Schema(frozenset({Kind.MAP}), properties=members, open=True)

    return Schemas(
        [
            SchemaDocument(Target.SUBJECT, "user", one_of("level")),
            SchemaDocument(Target.RESOURCE, "report", one_of("amount")),
        ]
    )


def answers_that_differ(rounds: int) -> tuple[int, int, int]:
    """Random rules and schemas of several tenants and versions over one interner.

    Returns:
        Answers, those with the cause SCHEMA, and those that are not what they would be without.
    """
    chance = random.Random(20261126)
    asked = [rs.request(chance) for _ in range(60)]
    messages = [sent(each) for each in asked]
    interner = Interner(PLAIN)
    seen = refused = differ = 0
    for _ in range(rounds):
        tenants = [rs.build(rs.rule_set(chance)) for _ in range(2)]
        for policies in tenants:
            policies._schemas = schemas(chance)
        for message in chance.choices(messages, k=30):
            for policies in tenants:
                ordinary = wire.admit_message(message, rs.CALLER, PLAIN)
                expected = decided(ordinary, policies)
                found = decided(interner.admit(message, rs.CALLER), policies)
                seen += 1
                refused += expected.cause is Cause.SCHEMA
                differ += found != expected
    return seen, refused, differ


def test_answers_are_the_same_for_every_tenant_and_version() -> None:
    """What the schemas of one tenant, or of the last bundle, said of a part binds no other."""
    seen, refused, differ = answers_that_differ(25)
    assert differ == 0
    assert seen // 10 < refused < seen * 9 // 10


def test_answers_are_the_same_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were all schemas one to the parts, what fits one tenant's would be let through by another."""
    made = Schemas.__init__
    mark = object()

    def one_for_all(self: Schemas, documents: Any = ()) -> None:
        made(self, documents)
        self._mark, self._fits = mark, (mark, "")

    monkeypatch.setattr(Schemas, "__init__", one_for_all)
    assert answers_that_differ(25)[2] > 0


def test_roles_in_doubt_stay_in_doubt() -> None:
    """What was read of a subject's roles is read again: none, some, or nobody can say."""
    for roles in (["clerk"], [], ["clerk", 7], None):
        properties: dict[str, Value] = {} if roles is None else {"roles": roles}  # type: ignore[dict-item]
        asked = Request(
            Subject("user", "ana", properties), Action("read"), Resource("report", "1"), {},
            request_id="q",
        )  # fmt: skip
        message = wire.request_to_pb(asked).SerializeToString()
        interner, chance = Interner(PLAIN), random.Random(7)
        for _ in range(20):
            policies = rs.build(rs.rule_set(chance))
            expected = decided(wire.admit_message(message, rs.CALLER, PLAIN), policies)
            assert decided(interner.admit(message, rs.CALLER), policies) == expected


def changed_by_deciding() -> int:
    """Of forty questions, those of which anything changed by thousands of conditions."""
    chance = random.Random(26)
    messages = [sent(rs.request(chance)) for _ in range(40)]
    interner = Interner(PLAIN)
    before = [canonical(dict(interner.admit(each, rs.CALLER).attributes)) for each in messages]
    for _ in range(60):
        policies = rs.build(rs.rule_set(chance))
        for message in messages:
            decided(interner.admit(message, rs.CALLER), policies)
    after = [canonical(dict(interner.admit(each, rs.CALLER).attributes)) for each in messages]
    return sum(one != other for one, other in zip(before, after, strict=True))


def test_deciding_changes_nothing_that_is_kept() -> None:
    """After thousands of conditions over the same values, each is what it was when judged."""
    assert changed_by_deciding() == 0


def test_deciding_changes_nothing_that_is_kept_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were there a condition that writes into what it reads, the next question would see it."""
    verdict = CompiledExpression.verdict

    def writing(self: CompiledExpression, attributes: Any) -> Verdict:
        attributes["resource.properties"]["amount"] = 1_000
        return verdict(self, attributes)

    monkeypatch.setattr(CompiledExpression, "verdict", writing)
    assert changed_by_deciding() > 0


# -- memory ---------------------------------------------------------------------------------------

_BYTES_MAX = 400_000


def hostile(number: int) -> bytes:
    """A question of its own, made of what takes the most memory for its bytes."""
    deep: Value = {}
    for _ in range(12):
        deep = {"": deep, "k": {}}
    wide: list[Value] = [{} for _ in range(100)]
    properties: dict[str, Value] = {"deep": deep, "wide": wide, f"n{number}": {"": number}}
    name = f"s-{number}"
    asked = Request(
        Subject("user", name, properties),
        Action(f"a-{number}", {f"n{number}": [{}, number]}),
        Resource("report", name, {**properties, f"m{number}": number}),
        request_id="q",
    )
    return wire.request_to_pb(asked).SerializeToString()


def taken_by_a_flood(messages: int) -> int:
    """Bytes of memory that an interner has after so many questions, none like another."""
    interner = Interner(PLAIN, _BYTES_MAX)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(messages):
            interner.admit(hostile(number), CALLER)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_flood_fills_no_memory() -> None:
    """Whatever is sent, what is kept stays within its bounds: four of them, and small change."""
    assert taken_by_a_flood(600) < 4 * _BYTES_MAX


def test_a_flood_fills_no_memory_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were bytes not counted, a flood would fill the memory."""
    monkeypatch.setattr(interning, "_size", lambda _: 0)
    monkeypatch.setattr(interning, "_PART_BYTES", 0)
    monkeypatch.setattr(interning, "_PLACE_BYTES", 0)
    monkeypatch.setattr(interning, "_ITEM_BYTES_MAX", 1 << 20)
    assert taken_by_a_flood(600) > 4 * _BYTES_MAX


def test_number_is_bounded_too() -> None:
    """However small they are, there are never more than so many, and the youngest are there."""
    kept: Generations[interning.Property] = Generations(1 << 20, 100)
    for number in range(1_000):
        kept.keep(b"%d" % number, interning.Property("k", number, 1))
        assert len(kept) <= 100
        assert kept.get(b"%d" % number) is not None
    assert kept.get(b"0") is None


def test_what_is_used_outlives_a_flood() -> None:
    """Something that is asked for again and again stays, however much comes in between."""
    kept: Generations[interning.Property] = Generations(1 << 20, 100)
    kept.keep(b"used", interning.Property("k", 1, 1))
    for number in range(1_000):
        assert kept.get(b"used") is not None
        kept.keep(b"%d" % number, interning.Property("k", number, 1))


def test_schemas_that_are_gone_are_not_kept_by_parts() -> None:
    """A part notes who judged it by a mark, so no bundle outlives its time for a note on a part."""
    interner = Interner(PLAIN)
    message = sent(rs.request(random.Random(3)))
    document = SchemaDocument(Target.ACTION, "x", Schema(frozenset({Kind.MAP}), items=ANYTHING))
    judge = Schemas([document])
    admitted = interner.admit(message, rs.CALLER)
    assert judge.violation(admitted.attributes, admitted.parts) == ""
    assert admitted.parts is not None
    notes = [part.judged for part in admitted.parts]
    assert all(note is not None and type(note[0]) is object for note in notes)
