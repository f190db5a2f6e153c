"""Watching a condition: a trace says what the exact tier did, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel import trace as tracing
from pdp.cel.compile import CelError, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.spans import Span, Text
from pdp.cel.syntax import Expression
from pdp.cel.trace import SAMPLES_MAX, Seen, Site, Trace, Tracer
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.model import Verdict
from pdp.values import Value
from tests.cel_generator import VARIABLES, Generator
from tests.celspec import tagged
from tests.conftest import Ledger

SEED = 20_261_126
LIMITS = EvaluationLimits()


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def parse(checker: Checker, source: str, more: dict[str, str] | None = None) -> Expression:
    """A checked expression."""
    return decode(checker.check(source, {**VARIABLES, **(more or {})}).checked_expr, source)


def tracer_of(
    checker: Checker, source: str, limits: EvaluationLimits = LIMITS, **variables: str
) -> Tracer:
    """A tracer of a condition with policy variables."""
    parsed = {name: parse(checker, text) for name, text in variables.items()}
    kinds = {name: str(each.root.type) for name, each in parsed.items()}
    return Tracer(parse(checker, source, kinds), parsed, limits)


def by_text(tracer: Tracer, trace: Trace) -> dict[str, Seen]:
    """What was seen, by the text it was seen at; the outermost of equal texts."""
    pairs = zip(tracer.sites, trace.seen, strict=True)
    return {site.text: seen for site, seen in reversed(list(pairs))}


def traced_conditions(
    checker: Checker, generator: Generator, count: int
) -> Iterator[tuple[Expression, dict[str, Expression]]]:
    """Generated conditions that check, each with two policy variables it may use."""
    made = 0
    while made < count:
        generator.policy_variables = []
        try:
            variables = {name: parse(checker, generator.expression(2)) for name in ("v", "w")}
            generator.policy_variables = ["v", "w"]
            kinds = {name: str(each.root.type) for name, each in variables.items()}
            expression = parse(checker, generator.expression(), kinds)
            compile_expression(expression, variables, LIMITS)
        except ExpressionError:
            continue
        made += 1
        yield expression, variables


def test_a_trace_gives_the_verdict_the_value_and_the_units(
    checker: Checker, ledger: Ledger
) -> None:
    """Watching changes nothing: verdict, value and units are the decision's, on generated cases."""
    generator, counts = Generator(SEED), Counter[str]()
    for expression, variables in traced_conditions(checker, generator, 150):
        compiled = compile_expression(expression, variables, LIMITS)
        tracer = Tracer(expression, variables, LIMITS)
        check_sites(tracer.sites)
        for _ in range(12):
            attributes = generator.attributes()
            trace = tracer.trace(attributes)
            assert trace.verdict is compiled.verdict(attributes), expression.source
            counts[trace.verdict.name] += 1
            problem = ""
            outcome: tuple[Value, int] = (None, trace.units)
            try:
                outcome = compiled.measure(attributes)
            except CelError as error:
                problem = str(error)
            assert (trace.problem, trace.seen[0].errors) == (problem, bool(problem))
            assert (tagged(trace.value), trace.units) == (tagged(outcome[0]), outcome[1])
            assert tagged(trace.seen[0].samples[0].value) == tagged(outcome[0])
    ledger(seed=SEED, **counts)
    assert min(counts[name] for name in ("TRUE", "FALSE", "DOUBT")) > 50


def check_sites(sites: tuple[Site, ...]) -> None:
    """A tree, the whole before its parts, parts of the same text inside it."""
    assert [site.id for site in sites] == list(range(len(sites)))
    assert sites[0].parent == -1
    for site in sites:
        for child in (sites[number] for number in site.children):
            assert child.id > site.id or child.variable
            if child.variable == site.variable and site.kind != "variable":
                assert site.start <= child.start <= child.end <= site.end, (site, child)


def test_short_circuits_leave_parts_that_were_not_evaluated(checker: Checker) -> None:
    """A branch that was not taken has count 0; the one that was has its outcome."""
    source = "(context.a == 1 && context.b == 2) || (subject.id == 'x' ? context.n > 1 : any.s)"
    tracer = tracer_of(checker, source)
    trace = tracer.trace({"context": {"a": 2, "n": 5}, "subject.id": "x", "any": {}})
    seen = by_text(tracer, trace)
    assert trace.verdict is Verdict.TRUE
    assert (seen["context.a == 1"].falses, seen["context.b == 2"].count) == (1, 0)
    assert (seen["context.n > 1"].trues, seen["any.s"].count) == (1, 0)
    assert seen["context.n"].samples[0].value == 5


def test_an_absorbed_error_is_seen_where_it_happened(checker: Checker) -> None:
    """The other side decided, and still the trace names the attribute that was missing."""
    tracer = tracer_of(checker, "context.a == 1 || subject.id == 'x'")
    trace = tracer.trace({"context": {}, "subject.id": "x"})
    seen = by_text(tracer, trace)
    assert trace.verdict is Verdict.TRUE
    assert seen["context.a"].errors == seen["context.a == 1"].errors == 1
    assert "a" in seen["context.a"].samples[0].problem
    site = next(site for site in tracer.sites if site.text == "context.a")
    assert site.path == ("context", "a")


def test_loops_keep_the_first_iterations_and_count_all(checker: Checker) -> None:
    """Each sample of a loop's body says what the loop variable was; the rest is counted."""
    tracer = tracer_of(checker, "context.xs.all(x, x.size() < 3)")
    trace = tracer.trace({"context": {"xs": [f"{at}" for at in range(50)]}})
    seen = by_text(tracer, trace)["x.size() < 3"]
    assert (seen.count, seen.trues, len(seen.samples)) == (50, 50, SAMPLES_MAX)
    assert seen.samples[3].bindings == (("x", "3"),)
    body = next(site for site in tracer.sites if site.text == "x.size() < 3")
    assert body.loop
    assert tracer.sites[0].kind in tracing.LOOPS
    assert not tracer.sites[0].loop


def test_variables_are_traced_in_their_own_text(checker: Checker) -> None:
    """A use shows the variable's name, and its parts stand in the variable's text, once."""
    tracer = tracer_of(checker, "big && (any.s == 'a' || big)", big="context.n > 5")
    trace = tracer.trace({"context": {"n": 9}, "any": {}})
    uses = [site for site in tracer.sites if site.kind == "variable"]
    bodies = [site for site in tracer.sites if site.variable == "big"]
    assert [site.text for site in uses] == ["big", "big"]
    assert {site.children for site in uses} == {(bodies[0].id,)}
    assert [trace.seen[site.id].trues for site in uses] == [1, 1]
    assert bodies[0].text == "context.n > 5"
    assert trace.seen[bodies[0].id].count == 2
    assert trace.seen[0].plus(trace.seen[0]).trues == 2


def test_a_spent_budget_is_seen(checker: Checker) -> None:
    """The part in which the budget ran out says so, and the verdict is SPENT."""
    limits = EvaluationLimits(cost_units_max=40)
    tracer = tracer_of(checker, "context.xs.exists(x, x == 'z')", limits)
    trace = tracer.trace({"context": {"xs": ["a"] * 50}})
    assert (trace.verdict, trace.units, trace.seen[0].spent) == (Verdict.SPENT, 40, 1)


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("(any.a || any.b) && any.n == 'x'", ["(any.a || any.b) && any.n == 'x'"]),
        ("(any.a || any.b) && (any.n)", ["any.a || any.b", "any.n"]),
        ("!(any.a) || -any.n > -5", ["!(any.a)", "-any.n > -5", "-5"]),
        ("has(context.m.a) && size(context) == 1", ["has(context.m.a)", "size(context)"]),
        ("any.s.contains('a\"(b') || any['k'] == {'a': [1u]}.a", ["any['k']", "{'a': [1u]}"]),
        (
            "any.exists(x, x == r'\\d')  // (\n || any.a",
            ["any.exists(x, x == r'\\d')", "x == r'\\d'"],
        ),
        ("subject.id == 'a' ? any.a : any.b", ["subject.id", "any.b"]),
    ],
)
def test_a_part_knows_its_text(checker: Checker, source: str, texts: list[str]) -> None:
    """Spans are what a person would mark, brackets and quotes in balance."""
    tracer = tracer_of(checker, source)
    check_sites(tracer.sites)
    found = [site.text for site in tracer.sites]
    assert set(texts) <= set(found), found


@given(
    st.text(max_size=60), st.integers(-3, 70), st.lists(st.tuples(st.integers(0, 60)), max_size=3)
)
def test_any_text_has_spans(source: str, offset: int, parts: list[tuple[int]]) -> None:
    """Whatever the text and the offset: a span inside the text, around its parts' starts."""
    size = len(source)
    inner = [Span(min(at, size), min(at + 1, size)) for (at,) in parts]
    span = Text(source).span(offset, inner)
    assert 0 <= span.start <= span.end <= size


def test_a_trace_that_is_not_the_exact_tier_would_differ(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: a listener that swallows an error gives another verdict, and the law notices."""
    expression = parse(checker, "context.a == 1")
    compiled = compile_expression(expression, {}, LIMITS)
    monkeypatch.setattr(tracing, "_listen", lambda _made, _at, _slots: lambda _run: False)
    assert Tracer(expression, {}, LIMITS).trace({"context": {}}).verdict is Verdict.FALSE
    assert compiled.verdict({"context": {}}) is Verdict.DOUBT
