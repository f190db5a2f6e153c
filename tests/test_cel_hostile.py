"""Attacks on conditions by what they compute and by what they are given: denied or right."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pdp import boundary, wire
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.boundary import InputLimits
from pdp.cel.codegen import Code
from pdp.cel.compile import CelError, CompiledExpression, compile_expression
from pdp.cel.fast_operators import Operators
from pdp.cel.library.rows import Function
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.decision_point import DecisionPoint
from pdp.errors import ExpressionError, InvalidRequestError
from pdp.model import Action, Effect, Request, Resource, Subject, Verdict
from pdp.policy import PolicyDocument, PolicySet, RuleDocument
from pdp.v1 import authorization_pb2 as pb
from pdp.values import Uint
from tests.celspec import tagged
from tests.simulators.decision_points import (
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    make_snapshot,
)

VARIABLES = dict(CONDITION_VARIABLES)
MEMORY_BYTES_MAX = 64 << 20
SECONDS_MAX = 10.0  # on a loaded machine; each takes milliseconds


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def compiled(checker: Checker, source: str) -> CompiledExpression:
    """A compiled condition."""
    expression = decode(checker.check(source, VARIABLES).checked_expr, source, require_bool=True)
    return compile_expression(expression, {}, EvaluationLimits())


# -- results that would not fit -------------------------------------------------------


def doubled(levels: int, value: str, twice: str, use: str) -> str:
    """`cel.bind`, each name twice the one before: 2 to the power of `levels` in the end."""
    text = use.format(f"a{levels}")
    for at in range(levels, 0, -1):
        text = f"cel.bind(a{at}, {twice.format(f'a{at - 1}')}, {text})"
    return f"cel.bind(a0, {value}, {text})"


BOMBS = (
    "lists.range(100000000).size() > 0",
    "lists.range(9223372036854775807).size() > 0",
    "lists.range(90000).map(x, lists.range(90000)).size() > 0",
    "lists.range(90000).transformMap(i, v, lists.range(v)).size() > 0",
    "context.s.replace('', context.s).size() > 0",
    "context.s.replace('x', context.s).replace('x', context.s).size() > 0",
    "context.s.split('').join(context.s).size() > 0",
    "context.xs.join(context.s).split('').join(context.s).size() > 0 || true",
    "lists.range(9000).map(i, context.s).join().size() > 0",
    "lists.range(9000).map(i, '%.1000f').join().format(lists.range(9000)).size() > 0",
    "base64.encode(bytes(context.s + context.s)).replace('e', context.s).size() > 0",
    "strings.quote(context.s).replace('x', context.s).reverse().size() > 0",
    "context.s.lastIndexOf(context.s.substring(1)) == 9 || context.s.replace('x', context.s) == ''",
    doubled(20, "context.s", "{0} + {0}", "{0}.size() > 0"),
    doubled(20, "context.xs", "{0} + {0}", "{0}.size() > 0"),
    doubled(20, "context.xs", "[{0}, {0}]", "{0} == dyn({0})"),
    doubled(20, "context.xs", "[{0}, {0}]", "{0}.flatten(99).size() > 0"),
    doubled(20, "context.xs", "[{0}, {0}]", "'%s'.format([{0}]).size() > 0"),
    doubled(20, "context.xs", "[{0}, {0}]", "[{0}, {0}].distinct().size() > 0"),
    doubled(20, "context.s", "{{'k': {0}, 'l': {0}}}", "'%s'.format([{0}]) == ''"),
    doubled(14, "optional.of(context.xs)", "optional.of([{0}, {0}])", "{0} == {0}"),
    "lists.range(30000).map(i, {'k': i}).distinct().size() > 0",
    "lists.range(99000).sort().reverse().sort().size() > 0",
    "lists.range(900).all(i, x, lists.range(900).exists(j, y, x == -1 || y == 899))",
)
BOMB_ATTRIBUTES: dict[str, Any] = {"context": {"s": "x" * 20_000, "xs": ["y" * 99] * 99}}


@pytest.mark.parametrize("source", BOMBS, ids=[str(at) for at in range(len(BOMBS))])
def test_no_condition_computes_more_than_its_budget(source: str, checker: Checker) -> None:
    """What would be huge is charged before it is made: SPENT, in bounded memory and time."""
    condition = compiled(checker, source)
    tracemalloc.start()
    started = time.monotonic()
    verdict = condition.verdict(BOMB_ATTRIBUTES)
    took, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict is Verdict.SPENT
    assert peak < MEMORY_BYTES_MAX
    assert took < SECONDS_MAX


@pytest.mark.parametrize(
    ("library", "source", "value"),
    [
        ("lists", "lists.range(300000).size() > 0", Verdict.TRUE),
        ("strings", "context.s.replace('x', context.s).size() > 0", Verdict.TRUE),
        ("formatting", "'%.1000f'.format([1.0]) == ''", Verdict.FALSE),
    ],
)
def test_no_condition_computes_more_than_its_budget_twin_without_guard(
    library: str, source: str, value: Verdict, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the charges, the huge result would be made."""
    attributes: dict[str, Any] = {"context": {"s": "x" * 2_000}}
    limits = EvaluationLimits(cost_units_max=60)
    expression = decode(checker.check(source, VARIABLES).checked_expr, source)
    assert compile_expression(expression, {}, limits).verdict(attributes) is Verdict.SPENT
    monkeypatch.setattr(f"pdp.cel.library.{library}.charge", lambda _meter, _units: None)
    assert compile_expression(expression, {}, limits).verdict(attributes) is value


def bytes_to_compile(checker: Checker, source: str) -> int:
    """Peak memory while a condition is compiled."""
    expression = decode(checker.check(source, VARIABLES).checked_expr, source)
    tracemalloc.start()
    compile_expression(expression, {}, EvaluationLimits()).verdict({})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


LARGE_CONSTANT = "lists.range(300000).size() > 0"


def test_nothing_large_is_made_while_a_bundle_loads(checker: Checker) -> None:
    """Parts that are constant are computed in advance only if that is free of charge."""
    assert bytes_to_compile(checker, LARGE_CONSTANT) < 1 << 20


def test_nothing_large_is_made_while_a_bundle_loads_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full meter, the list would be made before anybody asks anything."""

    def unguarded(self: Operators, function: Function, parts: list[Code]) -> Code:
        meter = [[1 << 53]] if function.metered else []
        return self.namespace.constant(function.call(*(part.value for part in parts), *meter))

    monkeypatch.setattr(Operators, "_folded", unguarded)
    assert bytes_to_compile(checker, LARGE_CONSTANT) > 1 << 20


def test_searching_backwards_takes_no_quadratic_time(checker: Checker) -> None:
    """`lastIndexOf` of a text that nearly matches everywhere: Python's `rfind` takes minutes."""
    condition = compiled(checker, "context.t.lastIndexOf(context.p) == -1")
    started = time.monotonic()
    verdict = condition.verdict({"context": {"t": "a" * 200_000, "p": "b" + "a" * 100_000}})
    assert verdict is Verdict.TRUE
    assert time.monotonic() - started < SECONDS_MAX


# -- values, through the boundary and the decision -------------------------------------


def nested(levels: int) -> Any:
    """A list in a list, so many times."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def is_text(value: object) -> bool:
    """Whether CEL calls it a string."""
    return type(value) is str


# A condition, and when it must be true; false or in doubt both deny.
RIGHT: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("context.v == 'admin'", lambda v: v == "admin"),
    ("context.?v.orValue('') == 'admin'", lambda v: v == "admin"),
    ("context.v.startsWith('admin')", lambda v: is_text(v) and v.startswith("admin")),
    ("context.v.trim() == 'admin'", lambda v: is_text(v) and v.strip() == "admin"),
    ("context.v.replace('\\x00', '') == 'admin'",
     lambda v: is_text(v) and v.replace("\0", "") == "admin"),
    ("context.v.split('\\x00')[0] == 'admin'",
     lambda v: is_text(v) and v.split("\0")[0] == "admin"),
    ("'%s'.format([context.v]) == 'admin'", lambda v: v in ("admin", b"admin")),
    ("context.v.lowerAscii() == 'admin'", lambda v: is_text(v) and v.lower() == "admin"),
    ("context.v.reverse() == 'nimda'", lambda v: v == "admin"),
    ("context.v.size() == 5", lambda v: type(v) in (str, bytes, list, dict) and len(v) == 5),
    ("[context.v, 'admin'].distinct().size() == 1", lambda v: v == "admin"),
    ("[context.v].join() == 'admin'", lambda v: v == "admin"),
    ("math.greatest(context.v, 0) == 1", lambda v: type(v) in (int, float, Uint) and v == 1),
    ("context.v + 1 > 9223372036854775806", lambda v: type(v) is int and v == 2**63 - 2),
    ("context.v == 1", lambda v: type(v) in (int, float, Uint) and v == 1),
    ("context.v.flatten(99).size() == 1", lambda v: v == nested(20)),
    ("cel.bind(x, context.v, x == x && type(x) == double)", lambda v: type(v) is float),
    ("optional.ofNonZeroValue(context.v).hasValue() && type(context.v) == bool",
     lambda v: v is True),
)  # fmt: skip
VALUES: dict[str, Any] = {
    "plain": "admin",
    "a NUL at the end": "admin\0",
    "a NUL and more": "admin\0evil",
    "a NUL before": "\0admin",
    "blanks": " admin\t",
    "another alphabet": "аdmin",  # noqa: RUF001 - Cyrillic on purpose
    "a combining mark": "admin\u0301",
    "bytes": b"admin",
    "bytes that are no text": b"\xff\xfe",
    "true": True,
    "one": 1,
    "one of another kind": Uint(1),
    "one with a point": 1.0,
    "null": None,
    "the largest int": 2**63 - 1,
    "one below": 2**63 - 2,
    "the smallest int": -(2**63),
    "the largest uint": Uint(2**64 - 1),
    "deep": nested(20),
    "five": [1, 2, 3, 4, 5],
    "keys like numbers": {"1": 1, "true": 2},
    "a long text": "x" * 200_000,
}
REFUSED: dict[str, Any] = {
    "half a character": "admin\ud800",
    "half a character alone": "\udc00",
    "half a character as a key": {"\ud800": 1},
    "not a number": math.nan,
    "infinity": math.inf,
    "an int too large": 2**63,
    "an int far too large": 2**4_096,
    "a uint too large": Uint(2**64),
    "10,000 deep": nested(10_000),
    "10 MB": "x" * 10_000_000,
    "10 MB of bytes": b"x" * 10_000_000,
    "100,000 values": [0] * 100_000,
    "a key that is no text": {1: "a"},
    "a set": {1},
    "a tuple": (1,),
    "an object": object(),
    "a text of another class": type("Text", (str,), {})("admin"),
    "an int of another class": type("Int", (int,), {})(1),
}


@pytest.fixture(scope="module")
def points(checker: Checker) -> list[DecisionPoint]:
    """For each condition a decision point whose only rule permits if it holds."""
    out: list[DecisionPoint] = []
    for source, _ in RIGHT:
        when = decode(checker.check(source, VARIABLES).checked_expr, source, require_bool=True)
        rule = RuleDocument("r", Effect.PERMIT, ("read",), None, when, None, None, "test", ())
        document = PolicyDocument("p", "document", "o@example.org", (), (), (), (rule,))
        snapshot = make_snapshot(tenants={"default": PolicySet([document], EvaluationLimits())})
        out.append(DecisionPoint(HeldSnapshot(snapshot), MemoryRecorder(), clock=HandClock()))
    return out


def request_with(value: Any) -> Request:
    """A question whose context holds the value."""
    return Request(
        Subject("user", "alice", {}),
        Action("read"),
        Resource("document", "1", {}),
        {"v": value},
        request_id="q-1",
    )


def decide(point: DecisionPoint, value: Any) -> tuple[Effect, str]:
    """Effect and cause."""

    async def asked() -> tuple[Effect, str]:
        found = await point.authorize(request_with(value), PEP, 2_000.0)
        return found.effect, found.cause.name

    return asyncio.run(asked())


@pytest.mark.parametrize("name", VALUES)
def test_a_hostile_value_is_judged_rightly(name: str, points: list[DecisionPoint]) -> None:
    """NUL, look-alikes, edges of the number types: PERMIT exactly where the condition holds."""
    value = VALUES[name]
    for point, (source, holds) in zip(points, RIGHT, strict=True):
        effect, cause = decide(point, value)
        assert (effect is Effect.PERMIT) is holds(value), (source, cause)


def test_a_hostile_value_is_judged_rightly_twin_without_guard(
    points: list[DecisionPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A boundary that cut texts at NUL, as C does, would take a longer name for `admin`."""
    real = boundary.admit

    def cutting(request: Request, *rest: Any) -> Any:
        value = str(request.context["v"]).partition("\0")[0]
        return real(request_with(value), *rest)

    monkeypatch.setattr("pdp.boundary.admit", cutting)
    assert decide(points[0], "admin\0evil")[0] is Effect.PERMIT


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_beyond_the_boundary_is_denied(name: str, points: list[DecisionPoint]) -> None:
    """Half characters, NaN, huge integers, great depth, 10 MB: DENY(INVALID), whatever is asked."""
    for point in points:
        assert decide(point, REFUSED[name]) == (Effect.DENY, "INVALID")


def field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes; its length may not be a single digit of base 128."""
    size, length = len(data), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def in_context(value: bytes, key: bytes = b"v") -> bytes:
    """An entry of a question's context, as bytes."""
    number = pb.AuthorizeRequest.DESCRIPTOR.fields_by_name["context"].number
    return field(number, field(1, key) + field(2, value))


def bytes_of(kind: str) -> bytes:
    """A value's bytes, of a kind that no encoder writes."""
    fields = pb.Value.DESCRIPTOR.fields_by_name
    text = fields["string_value"].number
    if kind == "half a character":
        return field(text, b"admin\xed\xa0\x80")
    if kind == "no text":
        return field(text, b"\xff")
    items = fields["list_value"].number
    value = b""
    for _ in range(10_000):
        value = field(items, field(1, value))
    return value


@pytest.mark.parametrize("kind", ["half a character", "no text", "10,000 deep"])
def test_bytes_that_no_encoder_writes_are_refused(kind: str) -> None:
    """What the encoder would refuse is refused on arrival too, without a crash."""
    message = wire.request_to_pb(request_with(1)).SerializeToString() + in_context(bytes_of(kind))
    with pytest.raises(InvalidRequestError):
        wire.admit_message(message, PEP, InputLimits())


def test_a_key_that_comes_twice_has_one_value() -> None:
    """Two entries of one key: the last, as protobuf says, for conditions and record alike."""
    text = pb.Value.DESCRIPTOR.fields_by_name["string_value"].number
    message = wire.request_to_pb(request_with("guest")).SerializeToString()
    message += in_context(field(text, b"admin"))
    admitted = wire.admit_message(message, PEP, InputLimits())
    assert admitted.attributes["context"] == {"v": "admin"}
    assert admitted.request.context == {"v": "admin"}


# -- values, past a boundary that failed -----------------------------------------------


@pytest.mark.parametrize("name", [*VALUES, *REFUSED])
def test_the_evaluator_survives_any_value(name: str, checker: Checker) -> None:
    """Even with no boundary before it, the evaluator gives a verdict and never raises."""
    value = (VALUES | REFUSED)[name]
    for source, _ in RIGHT:
        condition = compiled(checker, source)
        assert condition.verdict({"context": {"v": value}}) in set(Verdict)


@pytest.mark.parametrize(
    "source",
    [
        "dyn(optional.of(true))",
        "dyn(context.?flag)",
        "dyn([optional.of(true)])[0]",
        "cel.bind(x, dyn(optional.of(true)), x)",
        "dyn({'a': optional.of(true)}).a",
    ],
)
def test_an_optional_is_never_a_decision(source: str, checker: Checker) -> None:
    """`optional.of(true)` is not `true`: the condition is in doubt."""
    assert compiled(checker, source).verdict({"context": {"flag": True}}) is Verdict.DOUBT


def test_an_optional_is_refused_as_a_condition(checker: Checker) -> None:
    """Where the checker knows that a condition is an optional, there is no bundle."""
    with pytest.raises(ExpressionError, match="must be a bool"):
        compiled(checker, "context.?flag")


# -- the same everywhere ---------------------------------------------------------------

SAME = (
    "'%s'.format([{'b': 1, 'a': [true, null], 3: 'c', 2u: b'd'}])",
    "[3, 1, 2, 3].distinct().sort()",
    "['b', 'a', 'é', 'b'].distinct().sortBy(x, x.reverse())",
    "{'b': 1, 'a': 2, 'c': 3}.transformMap(k, v, v > 1, k + '!')",
    "{'b': 1, 'a': 2}.transformList(k, v, k)",
    "{'b': 1, 'a': 2}.transformMapEntry(k, v, {v: k})",
    "[1, dyn(1.0), 1u, dyn('1'), true].distinct().size()",
    "{'b': 1, 'a': 2}.exists(k, v, k == 'a' && v == 2)",
    "[?context.?a, ?context.?b, optional.none().orValue('x')]",
    "cel.bind(x, context.a, [x, x].join('-').upperAscii().split('-'))",
    "math.greatest(context.n, 7, 2) + math.bitOr(5, 2)",
    "base64.encode(b'abc') + strings.quote('a\"b')",
)
ATTRIBUTES: dict[str, Any] = {"context": {"a": "left", "n": 5}}


def value_of(condition: CompiledExpression) -> str:
    """Its value, or that there is none, in a form that tells apart what CEL tells apart."""
    try:
        return repr(_ordered(condition.value(ATTRIBUTES)))
    except CelError:
        return "error"


def _ordered(value: Any) -> Any:
    if type(value) is list:
        return [_ordered(item) for item in value]
    if type(value) is dict:
        return sorted((repr(tagged(key)), repr(_ordered(item))) for key, item in value.items())
    return tagged(value)


def digest_of_values() -> str:
    """One digest over all values, in this process."""
    found = hashlib.sha256()
    with Checker() as checker:
        for source in SAME:
            checked = checker.check(source, VARIABLES).checked_expr
            made = compile_expression(decode(checked, source), {}, EvaluationLimits())
            found.update(value_of(made).encode())
    return found.hexdigest()


def test_values_do_not_depend_on_the_hash_seed() -> None:
    """Fresh processes with different hash seeds compute the same sorting, maps and texts."""
    program = "from tests.test_cel_hostile import digest_of_values; print(digest_of_values())"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent.parent,
        ).stdout.strip()
        for seed in ("0", "4242")
    }
    assert found == {digest_of_values()}


def test_values_do_not_mix_across_threads(checker: Checker) -> None:
    """One compiled condition in 8 threads: bound names and loop variables are each thread's own."""
    source = (
        "cel.bind(me, context.?who.orValue('none'), "
        "[me, 'x'].transformMap(i, v, v + me)[0] == context.want "
        "&& optional.of(me).optMap(y, y + y).value() == '%s%s'.format([me, me]))"
    )
    condition = compiled(checker, source)

    def ask(at: int) -> bool:
        right = at % 3 != 0
        want = f"u{at}u{at}" if right else "else"
        verdict = condition.verdict({"context": {"who": f"u{at}", "want": want}})
        return verdict is (Verdict.TRUE if right else Verdict.FALSE)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(4_000)))
