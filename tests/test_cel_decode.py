"""Checked expressions as bytes: what is read, and that hostile bytes are only refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdp import checked_expr
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Ident, Literal, Select, position_of
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.model import Verdict
from pdp.v1 import checked_pb2 as pb

SAMPLES = (
    "subject.id == 'a' && resource.properties.n + 1 > 2u",
    "subject.properties.roles.exists(r, r in ['a', 'b']) || {'a': [1, 2.5, b'x']}['a'][0] == null",
    "[1, 2].map(x, x > 1, x * 2).filter(y, true).all(z, z != 0) ? now > timestamp(0) : false",
    "context.a.b.c.startsWith('x') && has(context.d) && !(duration('1s') < duration('2s'))",
)


@pytest.fixture(scope="module")
def samples() -> Iterator[dict[str, bytes]]:
    """Checked conditions."""
    with Checker() as checker:
        yield {
            source: checker.check(source.replace("2u", "2"), CONDITION_VARIABLES).checked_expr
            for source in SAMPLES
        }


def message(source: str, samples: dict[str, bytes]) -> pb.CheckedExpr:
    """A sample, to be tampered with."""
    out = pb.CheckedExpr()
    out.ParseFromString(samples[source])
    return out


def node(kind: str = "bool") -> pb.CheckedExpr:
    """A message that holds one node, number 1, of a type."""
    out = pb.CheckedExpr()
    out.expr.id = 1
    if kind == "bool":
        out.type_map[1].primitive = pb.CheckedType.PRIMITIVE_TYPE_BOOL
    elif kind == "dyn":
        out.type_map[1].dyn.SetInParent()
    else:
        out.type_map[1].primitive = pb.CheckedType.PRIMITIVE_TYPE_STRING
    return out


def refused(out: pb.CheckedExpr, source: str = "source", *, require_bool: bool = False) -> str:
    """Why a message is refused."""
    with pytest.raises(ExpressionError) as caught:
        decode(out.SerializeToString(), source, require_bool=require_bool)
    return str(caught.value)


def test_positions_count_code_points_and_stay_inside_the_text() -> None:
    """Offsets beyond the text, or before it, are brought inside."""
    for offset, want in ((0, 0), (2, 2), (10**6, 6), (-5, 0)):
        out = node()
        out.expr.const_expr.bool_value = True
        out.source_info.positions[1] = offset
        assert decode(out.SerializeToString(), "source").root.offset == want
    place = position_of("é🐱\nab", 4)
    assert (place.line, place.column) == (2, 2)


def test_condition_must_be_a_bool_and_a_variable_may_be_anything() -> None:
    """Bool and dyn pass as conditions; anything passes as a variable."""
    for kind in ("bool", "dyn", "string"):
        out = node(kind)
        out.expr.ident_expr.name = "x"
        assert decode(out.SerializeToString(), "x").root.type.name == kind
        if kind == "string":
            assert "must be a bool, this is `string`" in refused(out, require_bool=True)
        else:
            assert isinstance(decode(out.SerializeToString(), "x", require_bool=True).root, Ident)


def test_reference_that_names_a_selection_makes_it_one_name() -> None:
    """cel-go leaves `a.b` as a selection and says in the reference map what it is."""
    out = node("dyn")
    out.expr.select_expr.field = "b"
    out.expr.select_expr.operand.id = 2
    out.expr.select_expr.operand.ident_expr.name = "a"
    out.type_map[2].dyn.SetInParent()
    assert isinstance(decode(out.SerializeToString(), "a.b").root, Select)
    out.reference_map[1].name = "a.b"
    root = decode(out.SerializeToString(), "a.b").root
    assert isinstance(root, Ident)
    assert root.name == "a.b"
    out.expr.select_expr.test_only = True
    assert "`has()` of `a.b`" in refused(out)


def test_reference_with_a_value_is_that_constant() -> None:
    """An enumeration constant is its number."""
    out = node("dyn")
    out.expr.ident_expr.name = "a.B"
    out.reference_map[1].name = "a.B"
    out.reference_map[1].value.int64_value = 3
    root = decode(out.SerializeToString(), "a.B").root
    assert isinstance(root, Literal)
    assert root.value == 3


def tampered() -> Iterator[tuple[str, pb.CheckedExpr]]:
    """Messages that must be refused."""
    yield "empty", pb.CheckedExpr()
    yield "no form", node()
    out = node()
    out.expr.const_expr.SetInParent()
    yield "empty constant", out
    out = node()
    out.expr.const_expr.duration_value.seconds = 1
    yield "constant of an old form", out
    out = node()
    out.expr.const_expr.bool_value = True
    del out.type_map[1]
    yield "no type", out
    out = node()
    out.expr.ident_expr.SetInParent()
    yield "no name", out
    out = node()
    out.expr.select_expr.field = "a"
    yield "selection from nothing", out
    out = node()
    out.expr.call_expr.function = "f"
    yield "unresolved call", out
    out = node()
    out.expr.struct_expr.message_name = "M"
    yield "message", out
    out = node()
    out.expr.struct_expr.entries.add().field_key = "a"
    yield "field in a map", out
    out = node()
    out.expr.comprehension_expr.iter_var = "x"
    yield "empty loop", out
    out = node()
    out.expr.const_expr.bool_value = True
    out.type_map[1].error.SetInParent()
    yield "error type", out
    out = node()
    out.expr.const_expr.bool_value = True
    out.type_map[1].wrapper = pb.CheckedType.PRIMITIVE_TYPE_BOOL
    yield "wrapper type", out
    out = node()
    out.expr.const_expr.bool_value = True
    kind = out.type_map[1]
    for _ in range(40):
        kind.list_type.elem_type.SetInParent()
        kind = kind.list_type.elem_type
    kind.dyn.SetInParent()
    yield "deep type", out


@pytest.mark.parametrize(("name", "out"), list(tampered()), ids=[name for name, _ in tampered()])
def test_message_that_is_no_checked_expression_is_refused(name: str, out: pb.CheckedExpr) -> None:
    """Each with an error about the expression, none by a crash or a default."""
    assert refused(out)


def test_unknown_fields_are_refused(samples: dict[str, bytes]) -> None:
    """A field a later version may have added could mean anything; here it means no."""
    for data in samples.values():
        assert decode(data, "").source == ""
        with pytest.raises(ExpressionError, match="not known"):
            decode(data + b"\xfa\x3f\x01x", "")


def test_unknown_fields_are_refused_inside_too(samples: dict[str, bytes]) -> None:
    """Unknown fields of an inner node count as well."""
    out = message(SAMPLES[0], samples)
    inner = out.expr.call_expr.args[0]
    inner.MergeFromString(b"\xfa\x3f\x01x")
    assert "not known" in refused(out)


def test_unknown_fields_are_refused_twin_without_guard(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protobuf itself would read past them in silence."""
    monkeypatch.setattr(pb.CheckedExpr, "DiscardUnknownFields", lambda _self: None, raising=False)
    data = samples[SAMPLES[0]] + b"\xfa\x3f\x01x"
    assert decode(data, "") == decode(samples[SAMPLES[0]], "")


def nested(depth: int) -> bytes:
    """A message of that many levels of calls; written by hand, as no encoder goes so deep."""
    inner = b"\x10\x01\x22\x03\x0a\x01d"
    for _ in range(depth - 1):
        call = b"\x12\x01f\x1a" + _length(inner) + inner
        inner = b"\x10\x01\x32" + _length(call) + call
    types = pb.CheckedExpr()
    types.type_map[1].dyn.SetInParent()
    return types.SerializeToString() + b"\x22" + _length(inner) + inner


def test_deep_and_large_messages_are_refused() -> None:
    """Nesting beyond our limit, and protobuf's, and trees beyond the node limit."""
    assert "was not resolved" in str(refusal_of(nested(checked_expr.DEPTH_MAX)))
    assert "nested deeper than 48 levels" in str(refusal_of(nested(checked_expr.DEPTH_MAX + 1)))
    for depth in (200, 20_000):
        assert "damaged" in str(refusal_of(nested(depth)))
    wide = node()
    for _ in range(60_000):
        wide.expr.list_expr.elements.add(id=1).const_expr.bool_value = True
    assert "larger than 50000 nodes" in refused(wide)
    with pytest.raises(ExpressionError, match="larger than"):
        decode(b"\x00" * (checked_expr.BYTES_MAX + 1), "")


def refusal_of(data: bytes) -> ExpressionError:
    """Why bytes are refused."""
    with pytest.raises(ExpressionError) as caught:
        decode(data, "")
    return caught.value


def _length(data: bytes) -> bytes:
    """A protobuf length."""
    out, left = bytearray(), len(data)
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes([*out, left])


def survive(data: bytes, source: str) -> None:
    """Decode, compile and evaluate: refusal or a verdict, nothing else."""
    try:
        expression = decode(data, source)
        compiled = compile_expression(expression, {}, EvaluationLimits(cost_units_max=5_000))
    except ExpressionError:
        return
    attributes: dict[str, Any] = {
        "subject.id": "a",
        "context": {"a": {"b": {"c": "x"}}},
        "subject.properties": {},
    }
    assert type(compiled.verdict(attributes)) is Verdict


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    """Any bytes at all: a refusal, or a tree that compiles or is refused."""
    survive(data, "source")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    which=st.sampled_from(SAMPLES),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.integers(0, 2)),
        min_size=1,
        max_size=6,
    ),
)
def test_tampered_bytes_are_refused_or_still_a_condition(
    samples: dict[str, bytes], which: str, edits: list[tuple[float, int, int]]
) -> None:
    """Real messages with bytes changed, removed or added: nothing escapes."""
    data = bytearray(samples[which])
    for place, byte, action in edits:
        at = int(place * len(data))
        data[at : at + (action != 1)] = b"" if action == 2 else bytes([byte])
    survive(bytes(data), which)
