"""Three evaluators, one answer: ours, Google's (cel-expr-python) and cel-python's interpreter.

Random well-typed conditions on random attributes, often of the wrong kind. What
theirs are known to do differently is kept out of the random cases and is named
in the tests below instead, each with the answer that is right.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.authoring.checker_environment import CONFIGURATION
from pdp.cel.compile import CelError, CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.values import NANOS, Duration, Timestamp, Uint
from tests import cel_generator, celpy_oracle
from tests.cel_tiers import Tiers
from tests.celspec import tagged
from tests.conftest import Ledger

SEED = 20_260_301
ORACLE = Path(__file__).parent / "simulators" / "cel_oracle.py"
# Evaluations per oracle in `make prove`; 10,000,000 is a night's work.
EVALUATIONS = int(os.environ.get("PORTCULLIS_EVALUATIONS", "100000"))
EXPRESSIONS_MIN = 5_000
SETS = 20
CHUNK = 250


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def compile_text(
    checker: Checker, source: str, variables: dict[str, str]
) -> tuple[CompiledExpression, Tiers]:
    """A compiled condition, and its two tiers alone."""
    expression = decode(checker.check(source, variables).checked_expr, source)
    return compile_expression(expression, {}, EvaluationLimits()), Tiers(expression)


def ours(compiled: CompiledExpression, tiers: Tiers, attributes: dict[str, Any]) -> list[Any]:
    """Our answer, `["value", value]` or `["error"]`; the fast tier's must be the same."""
    try:
        value = compiled.value(attributes)
    except CelError:
        return ["error"]
    fast = tiers.fast(attributes)
    assert fast.kind == "left" or tagged(fast.value) == tagged(value), compiled.source
    return ["value", value]


# -- Google's ------------------------------------------------------------------------


def google_answers(
    cases: list[dict[str, Any]], variables: dict[str, str]
) -> list[list[list[Any]] | None]:
    """What Google's evaluator says; None where its process died, which starts again after it."""
    first = json.dumps({"configuration": CONFIGURATION, "variables": variables})
    out: list[list[list[Any]] | None] = []
    while len(out) < len(cases):
        lines = [first, *(json.dumps(case) for case in cases[len(out) :])]
        done = subprocess.run(
            [sys.executable, "-I", str(ORACLE)],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        out += [json.loads(line) for line in done.stdout.splitlines()]
        if len(out) < len(cases):
            assert done.returncode < 0, done.stderr
            out.append(None)
    return out


GOOGLE_TYPES = {bool: "BOOL", int: "INT", Uint: "UINT", str: "STRING", float: "DOUBLE"}


def as_google(answer: list[Any]) -> list[Any]:
    """Our answer in its form: the values of scalars only."""
    if answer[0] == "error":
        return answer
    kind = GOOGLE_TYPES.get(type(answer[1]), "other")
    value = repr(answer[1]) if kind == "DOUBLE" else answer[1]
    return ["value", kind, None if kind == "other" else value]


def as_json(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as the oracle takes them: `now` in seconds."""
    return {**attributes, "now": attributes["now"].ns // NANOS}


def compare_with_google(
    checker: Checker, seed: int, expressions: int, sets: int
) -> tuple[Counter[str], list[Any]]:
    """Both evaluators on the same conditions and attributes; counts, and every difference."""
    generator, counts = cel_generator.Generator(seed, oracle=True), Counter[str]()
    cases: list[dict[str, Any]] = []
    answers: list[list[list[Any]]] = []
    while len(cases) < expressions:
        source = generator.expression()
        try:
            compiled, tiers = compile_text(checker, source, cel_generator.VARIABLES)
        except ExpressionError:
            continue
        given = [generator.attributes() for _ in range(sets)]
        answers.append([as_google(ours(compiled, tiers, each)) for each in given])
        cases.append({"source": source, "attributes": [as_json(each) for each in given]})
    wrong: list[Any] = []
    theirs = google_answers(cases, cel_generator.VARIABLES)
    for case, mine, other in zip(cases, answers, theirs, strict=True):
        counts["expressions"] += 1
        if other is None:
            counts["died"] += 1
            continue
        for attributes, one, two in zip(case["attributes"], mine, other, strict=True):
            counts[one[0]] += 1
            same = one == two or (one[0] == two[0] == "value" and one[1] == "other")
            if not same:
                wrong.append((case["source"], attributes, one, two))
    return counts, wrong


def test_agrees_with_the_official_evaluator(checker: Checker, ledger: Ledger) -> None:
    """On conditions and data within its known limits, Google's evaluator says the same."""
    counts, wrong = compare_with_google(checker, SEED, 200, SETS)
    ledger(seed=SEED, disagreements=len(wrong), **counts)
    assert wrong == []
    assert counts["value"] > 1_000
    assert counts["error"] > 500
    assert counts["died"] <= 1


@pytest.mark.prove
def test_agrees_with_the_official_evaluator_at_length(checker: Checker, ledger: Ledger) -> None:
    """The same on 100,000 evaluations of 5,000 conditions, or as many as the environment says."""
    total: Counter[str] = Counter()
    part = 0
    while total["value"] + total["error"] < EVALUATIONS or total["expressions"] < EXPRESSIONS_MIN:
        part += 1
        counts, wrong = compare_with_google(checker, SEED + part, CHUNK, SETS)
        assert wrong == []
        total += counts
    ledger(seed=SEED, disagreements=0, evaluations=total["value"] + total["error"], **total)


# -- cel-python's interpreter --------------------------------------------------------


def is_excused(source: str, one: list[Any], two: list[Any]) -> bool:
    """Theirs is wrong, and how is known: an error in `exists_one` passes by `&&` and `||`."""
    return "exists_one" in source and one[0] == "value" and two[0] == "error"


def compare_with_celpy(
    checker: Checker, seed: int, expressions: int, sets: int
) -> tuple[Counter[str], list[Any]]:
    """Both evaluators on the same conditions and attributes; counts, and every difference."""
    generator, counts = celpy_oracle.Generator(seed), Counter[str]()
    evaluator, wrong = celpy_oracle.Evaluator(), []
    while counts["expressions"] < expressions:
        source = generator.expression()
        try:
            compiled, tiers = compile_text(checker, source, celpy_oracle.VARIABLES)
        except ExpressionError:
            continue
        counts["expressions"] += 1
        given = [generator.attributes() for _ in range(sets)]
        for attributes, two in zip(given, evaluator.answers(source, given), strict=True):
            one = ours(compiled, tiers, attributes)
            counts[one[0]] += 1
            same = one[0] == two[0] and (one[0] == "error" or _same(one[1], two[1]))
            if not same and is_excused(source, one, two):
                counts["excused"] += 1
            elif not same:
                wrong.append((source, attributes, one, two))
    return counts, wrong


def _same(mine: Any, other: Any) -> bool:
    """Moments and spans are compared inside conditions; as results they lose nanoseconds there."""
    return type(mine) in {Timestamp, Duration} or tagged(mine) == tagged(other)


def test_agrees_with_cel_python(checker: Checker, ledger: Ledger) -> None:
    """On the core language, each part of a certain type, cel-python's interpreter says the same."""
    counts, wrong = compare_with_celpy(checker, SEED, 60, SETS)
    ledger(seed=SEED, disagreements=len(wrong), **counts)
    assert wrong == []
    assert counts["value"] > 800
    assert counts["excused"] < 50


@pytest.mark.prove
def test_agrees_with_cel_python_at_length(checker: Checker, ledger: Ledger) -> None:
    """The same on 100,000 evaluations of 5,000 conditions, or as many as the environment says."""
    total: Counter[str] = Counter()
    part = 0
    while total["value"] + total["error"] < EVALUATIONS or total["expressions"] < EXPRESSIONS_MIN:
        part += 1
        counts, wrong = compare_with_celpy(checker, SEED + part, CHUNK, SETS)
        assert wrong == []
        total += counts
    ledger(seed=SEED, disagreements=0, evaluations=total["value"] + total["error"], **total)


def test_agreement_twin_without_guard(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluator whose integers never overflow is found out by either oracle."""
    monkeypatch.setattr("pdp.cel.semantics.make_int", lambda value: value)
    monkeypatch.setattr("pdp.cel.fast_operators._in_range", lambda value, _frame: value)
    _, by_google = compare_with_google(checker, SEED, 100, 10)
    _, by_celpy = compare_with_celpy(checker, SEED, 100, 10)
    assert by_google
    assert by_celpy


# -- where theirs is wrong -------------------------------------------------------------

# Source, our answer, Google's: the documented exceptions (docs/cel.md). A row whose last
# column is no longer true says that a release of theirs has changed.
DIFFERENT: tuple[tuple[str, list[Any], list[Any]], ...] = (
    ("base64.decode('YQ ==') == b'a'", ["error"], ["value", "BOOL", True]),
    ("base64.decode('YQ.=') == b'a'", ["error"], ["value", "BOOL", True]),
    ("'abc'.substring(1, 3)", ["value", "STRING", "bc"], ["error"]),
    ("lists.range(-1) == []", ["value", "BOOL", True], ["error"]),
    ("[0.0 / 0.0, 1.0].sort().size()", ["error"], ["value", "INT", 2]),
    ("[1][?dyn(0u)].hasValue()", ["value", "BOOL", True], ["error"]),
    ("[1][?dyn(0.0)].hasValue()", ["value", "BOOL", True], ["error"]),
    ("optional.of([1])[5].hasValue()", ["value", "BOOL", False], ["value", "BOOL", True]),
    ("optional.of(dyn(1))[0].hasValue()", ["error"], ["value", "BOOL", True]),
    ("optional.of(dyn(1)).a.hasValue() || true", ["value", "BOOL", True], ["error"]),
    ("{'a': 1, ?'a': optional.of(1)}.size() == 1 || true", ["value", "BOOL", True], ["error"]),
    ("[7].transformMap(i, v, v)[0]", ["value", "INT", 7], ["error"]),
    (
        "'%s'.format([123456789.125])",
        ["value", "STRING", "1.23456789125e+08"],
        ["value", "STRING", "1.23457e+08"],
    ),
    (
        "'%s'.format([duration('1.5s')])",
        ["value", "STRING", "1.5s"],
        ["value", "STRING", "1.500s"],
    ),
    ("int(' 1 ')", ["error"], ["value", "INT", 1]),
    ("int(dyn(true))", ["error"], ["value", "INT", 1]),
    ("{dyn(1): 'a', 1u: 'b'}.size()", ["error"], ["value", "INT", 2]),
)


@pytest.mark.parametrize(("source", "mine", "theirs"), DIFFERENT, ids=[d[0] for d in DIFFERENT])
def test_where_googles_evaluator_differs(
    source: str, mine: list[Any], theirs: list[Any], checker: Checker
) -> None:
    """Each known difference is still one, and ours is what docs/cel.md says it is."""
    compiled, tiers = compile_text(checker, source, {})
    assert as_google(ours(compiled, tiers, {})) == mine
    assert google_answers([{"source": source, "attributes": [{}]}], {}) == [[theirs]]


CELPY_DIFFERENT: tuple[tuple[str, list[Any], list[Any]], ...] = (
    ("1 == dyn(1.0)", ["value", True], ["error"]),
    ("null == dyn(1)", ["value", False], ["error"]),
    ("dyn(true) == 1", ["value", False], ["value", True]),
    ("'a' in dyn('abc')", ["error"], ["value", True]),
    ("[1, 2][-1]", ["error"], ["value", 2]),
    ("(0.0 / 0.0) == (0.0 / 0.0)", ["value", False], ["value", True]),
    ("('a' + 'b').contains('a')", ["value", True], ["error"]),
    ("false && [1].exists_one(x, 1 / 0 == x)", ["value", False], ["error"]),
    ("int('1_000')", ["error"], ["value", 1_000]),
)


@pytest.mark.parametrize(
    ("source", "mine", "theirs"), CELPY_DIFFERENT, ids=[d[0] for d in CELPY_DIFFERENT]
)
def test_where_cel_python_differs(
    source: str, mine: list[Any], theirs: list[Any], checker: Checker
) -> None:
    """Each known difference is still one; ours is what the language definition says."""
    compiled, tiers = compile_text(checker, source, {})
    assert ours(compiled, tiers, {}) == mine
    assert celpy_oracle.Evaluator().answers(source, [{}]) == [theirs]
