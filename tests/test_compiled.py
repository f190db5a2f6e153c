"""Compiled documents: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import compiled
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_directory
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.compiled import Document, decode, encode_callers, encode_policy
from pdp.errors import DocumentError, ExpressionError, PolicyError
from pdp.model import Effect, Obligation
from pdp.policy import PolicyDocument, PolicySet, RuleDocument
from pdp.schema import SchemaDocument
from pdp.schema_check import Schemas
from pdp.v1 import authorization_pb2 as wire_pb
from pdp.v1 import bundle_pb2 as pb
from pdp.values import Duration, Timestamp, Uint, Value
from tests.conftest import ROOT

RULE = RuleDocument("a", Effect.PERMIT, ("read",), None, None, None, None, "x", ())
DOCUMENT = PolicyDocument("p", "report", "owner", ("clerk",), (), (), (RULE,))


@pytest.fixture(scope="module")
def sample() -> Iterator[Compilation]:
    """The expense reports, compiled."""
    with Checker() as checker:
        found = compile_directory(ROOT / "policies" / "expense-reports", checker)
        found.raise_if_failed()
        yield found


_values: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.integers(0, 2**64 - 1).map(Uint)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.integers(-(10**18), 10**18).map(Timestamp)
    | st.integers(-(10**18), 10**18).map(Duration),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
_name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_obligation = st.builds(Obligation, _name, _name, st.dictionaries(_name, _values, max_size=2))
# Any time of google.protobuf.Timestamp, both ends included.
_time = st.none() | st.integers(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1)
_rule = st.builds(
    RuleDocument,
    id=_name,
    effect=st.sampled_from(Effect),
    actions=st.lists(_name, max_size=3).map(tuple),
    roles=st.none() | st.lists(_name, min_size=1, max_size=2).map(tuple),
    when=st.none(),
    starts_ns=_time,
    expires_ns=_time,
    justification=st.text(max_size=5),
    obligations=st.lists(_obligation, max_size=2).map(tuple),
    advice=st.lists(_obligation, max_size=2).map(tuple),
    reason_user=st.text(max_size=5),
    reason_admin=st.text(max_size=5),
)
_document = st.builds(
    PolicyDocument,
    name=_name,
    resource_type=_name | st.just("*"),
    owner=st.text(max_size=5),
    static_roles=st.lists(_name, max_size=3).map(tuple),
    variables=st.just(()),
    roles=st.just(()),
    rules=st.lists(_rule, max_size=3).map(tuple),
)


@given(_document, _name)
@settings(max_examples=100, deadline=None)
def test_a_policy_survives_its_encoding(document: PolicyDocument, path: str) -> None:
    """Every field, every value kind and every time; the same document gets the same bytes."""
    data = encode_policy(document, path, {})
    assert decode(data) == document
    assert encode_policy(document, path, {}) == data


_entry = st.builds(
    CallerEntry,
    id=st.sampled_from(["spiffe://d/a", "spiffe://d/*", "spiffe://d.e/a/b/*"]),
    resources=st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    actions=st.just(("*",)) | st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    asserts=st.none() | st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    tenants=st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    may=st.frozensets(st.sampled_from(["explain", "batch", "search"])),
)


@given(st.lists(_entry, min_size=1, max_size=4).map(tuple).map(CallerPolicy))
@settings(max_examples=100, deadline=None)
def test_a_caller_policy_survives_its_encoding(policy: CallerPolicy) -> None:
    """`token: required` and a list of types are told apart; sets have one order."""
    data = encode_callers(policy, "sources/callers.yaml")
    assert decode(data) == policy
    assert encode_callers(policy, "sources/callers.yaml") == data


def test_conditions_survive_with_their_place(sample: Compilation) -> None:
    """Source text, checked form, line and column of every condition of the expense reports."""
    count = 0
    for document in sample.documents:
        message = pb.CompiledDocument.FromString(document.compiled)
        lines = document.source.decode().splitlines()
        policy = message.policy
        conditions = [item.expression for item in policy.variables]
        conditions += [item.when for item in policy.roles if item.HasField("when")]
        conditions += [item.when for item in policy.rules if item.HasField("when")]
        for condition in conditions:
            first = condition.source.split("\n")[0].strip()
            there = lines[condition.line - 1][condition.column - 1 :]
            # A line of the document may end inside the first line of a folded text.
            assert min(len(there), len(first)) >= 2
            assert there.startswith(first[: len(there)]), condition.source
            count += 1
    assert count >= 25


def message_of(document: PolicyDocument = DOCUMENT) -> pb.CompiledDocument:
    """The message of a document, to be damaged."""
    return pb.CompiledDocument.FromString(encode_policy(document, "sources/p.yaml", {}))


def damage(change: Callable[[pb.CompiledDocument], object]) -> bytes:
    """The bytes of a small valid document after one change."""
    message = message_of(
        replace(DOCUMENT, rules=(replace(RULE, obligations=(Obligation("i", "t", {"n": 1}),)),))
    )
    change(message)
    return message.SerializeToString(deterministic=True)


def _to_callers(**subjects: object) -> Callable[[pb.CompiledDocument], object]:
    def change(message: pb.CompiledDocument) -> None:
        message.callers.callers.add(
            id="spiffe://d/a", tenants=["default"], resources=["r"], actions=["read"]
        )
        for key, value in subjects.items():
            setattr(message.callers.callers[0], key, value)

    return change


def _set(path: str, value: object) -> Callable[[pb.CompiledDocument], object]:
    def change(message: pb.CompiledDocument) -> None:
        target: object = message.policy
        *parents, last = path.split(".")
        for part in parents:
            target = target[int(part)] if part.isdigit() else getattr(target, part)  # type: ignore[index]
        setattr(target, last, value)

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: setattr(m, "format_version", 2), "format 2 of a compiled document"),
        (lambda m: setattr(m, "format_version", 0), "format 0 of a compiled document"),
        (lambda m: setattr(m, "source_path", ""), "does not name its source"),
        (lambda m: m.ClearField("policy"), "of no kind that is known"),
        (_set("name", ""), "the name of a policy is empty"),
        (_set("resource_type", ""), "the resource type of policy `p` is empty"),
        (_set("every_resource", True), "resource type of policy `p` is given, and yet it is for"),
        (_set("rules.0.id", ""), "the id of a rule is empty"),
        (lambda m: m.policy.rules[0].advice.add(id="i"), "an obligation of rule `a` is empty"),
        (_set("rules.0.effect", wire_pb.EFFECT_UNSPECIFIED), "no effect that is known"),
        (_set("rules.0.effect", 7), "no effect that is known"),
        (lambda m: m.policy.rules[0].actions.append(""), "has an empty item"),
        (lambda m: m.policy.rules[0].roles.append(""), "has an empty item"),
        (lambda m: m.policy.static_roles.append(""), "has an empty item"),
        (_set("rules.0.expires.nanos", 10**9), "out of range"),
        (_set("rules.0.starts.nanos", -1), "out of range"),
        (_set("rules.0.expires.seconds", 2**40), "out of range"),
        (_set("rules.0.obligations.0.type", ""), "an obligation of rule `a` is empty"),
        (
            lambda m: m.policy.rules[0].obligations[0].properties["n"].Clear(),
            "an obligation of rule `a`",
        ),
        (lambda m: m.policy.roles.add(name="r"), "role `r` would be held by anyone"),
        (lambda m: m.policy.roles.add(name=""), "the name of a role is empty"),
        (lambda m: m.policy.variables.add(name="v"), "a condition is empty"),
        (lambda m: m.policy.rules[0].when.SetInParent(), "a condition is empty"),
        (_set("rules.0.when.source", "true"), "a condition is empty"),
        (lambda m: m.callers.SetInParent(), "the caller policy is empty"),
        (_to_callers(), "does not say how the subject is known"),
        (_to_callers(id=""), "does not say how the subject is known"),
    ],
)
def test_a_damaged_document_is_refused(
    change: Callable[[pb.CompiledDocument], object], complaint: str
) -> None:
    """Each with what is wrong; nothing absent is read as something milder."""
    with pytest.raises(DocumentError, match=complaint):
        decode(damage(change))


def test_a_policy_for_every_type_says_so_and_names_none() -> None:
    """Neither is refused: an absent type is never read as every type."""
    data = encode_policy(replace(DOCUMENT, resource_type="*"), "sources/p.yaml", {})
    message = pb.CompiledDocument.FromString(data)
    assert (message.policy.resource_type, message.policy.every_resource) == ("", True)
    found = decode(data)
    assert isinstance(found, PolicyDocument)
    assert found.resource_type == "*"
    message.policy.every_resource = False
    with pytest.raises(DocumentError, match="the resource type of policy `p` is empty"):
        decode(message.SerializeToString())


def test_an_undamaged_document_is_not_refused() -> None:
    """The one that the test above damages."""
    assert isinstance(decode(damage(lambda _: None)), PolicyDocument)


def with_unknown_field(data: bytes, *, inside: bool) -> bytes:
    """The document with a field 99 of a version to come, at the top or in its rule."""
    unknown = b"\x98\x06\x01"  # field 99, varint 1
    if not inside:
        return data + unknown
    message = pb.CompiledDocument.FromString(data)
    rule = message.policy.rules[0]
    rule.MergeFromString(unknown)
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("inside", [False, True])
def test_an_unknown_field_is_refused(inside: bool) -> None:
    """It may be a condition of a later version: to leave it out would widen the rule."""
    data = with_unknown_field(encode_policy(DOCUMENT, "sources/p.yaml", {}), inside=inside)
    assert inside or len(UnknownFieldSet(pb.CompiledDocument.FromString(data))) == 1
    with pytest.raises(DocumentError, match="unknown fields"):
        decode(data)


def test_an_unknown_field_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the rule is loaded as if the field were not there."""
    monkeypatch.setattr(compiled, "_refuse_unknown_fields", lambda *_: None)
    data = with_unknown_field(encode_policy(DOCUMENT, "sources/p.yaml", {}), inside=True)
    assert decode(data) == DOCUMENT


def test_a_rule_that_lists_no_roles_is_not_encoded() -> None:
    """The message could not tell it from anyone."""
    with pytest.raises(DocumentError, match="lists no roles"):
        encode_policy(replace(DOCUMENT, rules=(replace(RULE, roles=()),)), "sources/p.yaml", {})


def test_the_size_is_limited_before_parsing() -> None:
    """A member of an archive that is too large is not handed to the parser."""
    with pytest.raises(DocumentError, match="larger than"):
        decode(b"\x08\x01" * (compiled.COMPILED_BYTES_MAX // 2 + 1))


def first_condition(sample: Compilation) -> pb.CompiledDocument:
    """A document of the sample that has conditions."""
    return pb.CompiledDocument.FromString(sample.documents[0].compiled)


def test_a_condition_that_is_no_truth_value_is_refused(sample: Compilation) -> None:
    """A variable may be a number; a rule's condition may not."""
    message = first_condition(sample)
    limit = next(v for v in message.policy.variables if v.name == "limit")
    message.policy.rules[0].when.CopyFrom(limit.expression)
    with pytest.raises(ExpressionError) as caught:
        decode(message.SerializeToString(deterministic=True))
    assert caught.value.position is not None
    assert caught.value.position.path == "sources/approval.yaml"
    assert caught.value.position.line == limit.expression.line


def test_a_damaged_condition_is_refused_at_its_place(sample: Compilation) -> None:
    """Bytes that are no checked expression: the line and column of the condition."""
    message = first_condition(sample)
    when = message.policy.rules[0].when
    when.checked_expr = b"\xff" * 10
    with pytest.raises(ExpressionError) as caught:
        decode(message.SerializeToString(deterministic=True))
    assert caught.value.position is not None
    assert (caught.value.position.line, caught.value.position.column) == (when.line, when.column)


def load(data: bytes) -> Document | None:
    """A document as the PDP loads it, or None when it is refused; nothing else is raised."""
    try:
        document = decode(data)
        if isinstance(document, PolicyDocument):
            PolicySet([document], EvaluationLimits())
        elif isinstance(document, SchemaDocument):
            Schemas([document])
    except PolicyError:
        return None
    return document


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    """Whatever the bytes: a PolicyError, never another exception."""
    load(data)


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_mutated_documents_are_documents_or_refused(
    sample: Compilation, data: st.DataObject
) -> None:
    """Real documents with bytes changed, cut, doubled or mixed: the same."""
    documents = [document.compiled for document in sample.documents]
    mutated = bytearray(data.draw(st.sampled_from(documents)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(mutated)))
        match data.draw(st.sampled_from(["change", "cut", "double", "insert"])):
            case "change":
                mutated[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 30))]
            case "double":
                mutated[at:at] = mutated[at : at + data.draw(st.integers(1, 60))]
            case _:
                mutated[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    load(bytes(mutated))
