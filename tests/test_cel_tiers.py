"""Two tiers, one answer: the fast tier never changes a verdict or a charge."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.cel import codegen, exact, fast_operators, semantics
from pdp.cel.compile import CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.model import Verdict
from tests.cel_generator import VARIABLES, Generator
from tests.cel_tiers import Outcome, Tiers
from tests.celspec import tagged
from tests.conftest import Ledger

SEED = 20_260_301


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def parse(checker: Checker, source: str, more: dict[str, str] | None = None) -> Expression:
    """A checked expression."""
    return decode(checker.check(source, {**VARIABLES, **(more or {})}).checked_expr, source)


def compile_text(
    checker: Checker, source: str, limits: EvaluationLimits | None = None
) -> CompiledExpression:
    """A compiled condition."""
    return compile_expression(parse(checker, source), {}, limits or EvaluationLimits())


def conditions(
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
            source = generator.expression()
            yield parse(checker, source, kinds), variables
        except ExpressionError:
            continue
        made += 1


def differences(
    tiers: Tiers, attributes: dict[str, Any], counts: Counter[str]
) -> list[tuple[Outcome, Outcome]]:
    """Where a tier that answered differs from the exact tier in value or charge."""
    want = tiers.exact(attributes)
    counts[f"exact_{want.kind}"] += 1
    out = []
    for fold in (True, False):
        got = tiers.fast(attributes, fold=fold)
        counts["fast_answers"] += got.kind == "value" and fold
        if got.kind == "value" and (
            want.kind != "value"
            or tagged(got.value) != tagged(want.value)
            or got.units != want.units
        ):
            out.append((got, want))
    return out


def compare_tiers(checker: Checker, seed: int, evaluations: int) -> Counter[str]:
    """Run random conditions on random attributes; fail at the first difference."""
    generator, counts = Generator(seed), Counter[str]()
    for expression, variables in conditions(checker, generator, evaluations // 20):
        try:
            tiers = Tiers(expression, variables)
        except ExpressionError:
            counts["refused"] += 1
            continue
        for _ in range(20):
            attributes = generator.attributes()
            found = differences(tiers, attributes, counts)
            assert found == [], (expression.source, attributes)
    return counts


def test_fast_tier_gives_the_exact_value_and_charge(checker: Checker, ledger: Ledger) -> None:
    """Wherever the fast tier answers, value and units are the exact tier's."""
    counts = compare_tiers(checker, SEED, 5_000)
    ledger(seed=SEED, **counts)
    assert counts["fast_answers"] > 1_500
    assert counts["exact_error"] > 500


@pytest.mark.prove
def test_fast_tier_gives_the_exact_value_and_charge_at_length(
    checker: Checker, ledger: Ledger
) -> None:
    """The same law on 100,000 evaluations."""
    counts = compare_tiers(checker, SEED + 1, 100_000)
    ledger(seed=SEED + 1, **counts)
    assert counts["fast_answers"] > 30_000


def verdict_by_exact_tier(
    expression: Expression,
    variables: dict[str, Expression],
    limits: EvaluationLimits,
    attributes: dict[str, Any],
) -> Verdict:
    """What the exact tier alone makes of it."""
    found = Tiers(expression, variables, limits).exact(attributes)
    if found.kind == "spent":
        return Verdict.SPENT
    if found.kind == "value" and type(found.value) is bool:
        return Verdict.TRUE if found.value else Verdict.FALSE
    return Verdict.DOUBT


def compare_budgets(checker: Checker, seed: int, count: int) -> Counter[str]:
    """Verdicts with budgets around what each evaluation costs."""
    generator, counts, near = Generator(seed), Counter[str](), random.Random(seed)
    for expression, variables in conditions(checker, generator, count):
        attributes = generator.attributes()
        try:
            cost = Tiers(expression, variables).exact(attributes).units or 30
        except ExpressionError:
            continue
        for budget in {cost - 1, cost, cost + 1, near.randrange(cost + 1)}:
            limits = EvaluationLimits(cost_units_max=budget)
            compiled = compile_expression(expression, variables, limits)
            want = verdict_by_exact_tier(expression, variables, limits, attributes)
            assert compiled.verdict(attributes) is want, (expression.source, attributes, budget)
            counts[want.name] += 1
    return counts


def test_spent_is_the_same_in_both_tiers(checker: Checker, ledger: Ledger) -> None:
    """A budget one unit short of the cost is SPENT; the cost itself is enough; in either tier."""
    counts = compare_budgets(checker, SEED, 80)
    ledger(seed=SEED, **counts)
    assert min(counts["SPENT"], counts["TRUE"], counts["FALSE"], counts["DOUBT"]) > 5


# -- twins: without a guard, a wrong answer appears --------------------------------


def test_true_is_not_one(checker: Checker) -> None:
    """A bool attribute never equals a number, in either tier."""
    for source in ("context.a == 1", "context.a == context.b", "1.0 == context.a"):
        compiled = compile_text(checker, source)
        assert compiled.verdict({"context": {"a": True, "b": 1}}) is Verdict.FALSE


def test_true_is_not_one_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own `==` would let `true` pass for 1."""

    def unguarded(value: Any, other: codegen.Code, _frame: Any) -> Any:
        return codegen.compare(other.tree, (ast.Eq(), codegen.literal(value)))

    monkeypatch.setattr(fast_operators, "_equal_to_constant", unguarded)
    compiled = compile_text(checker, "context.a == 1")
    assert compiled.verdict({"context": {"a": True}}) is Verdict.TRUE


OVERFLOWS = "context.n + 1 > context.n || size(context.s) + 9223372036854775807 > 0"


def test_overflow_is_an_error(checker: Checker) -> None:
    """int64 arithmetic never leaves int64, in either tier."""
    compiled = compile_text(checker, OVERFLOWS)
    attributes: dict[str, Any] = {"context": {"n": 2**63 - 1, "s": "x"}}
    assert compiled.verdict(attributes) is Verdict.DOUBT


def test_overflow_is_an_error_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Python's unbounded integers the condition would be true."""
    monkeypatch.setattr(semantics, "make_int", lambda value: value)
    monkeypatch.setattr(fast_operators, "_in_range", lambda value, _frame: value)
    compiled = compile_text(checker, OVERFLOWS)
    assert compiled.verdict({"context": {"n": 2**63 - 1, "s": "x"}}) is Verdict.TRUE


SPENDS = "context.xs.all(x, context.xs.all(y, x == y)) || true"
MANY: dict[str, Any] = {"context": {"xs": ["same"] * 300}}


def test_spent_budget_is_not_absorbed(checker: Checker) -> None:
    """`|| true` saves an error, not a spent budget; nor do macros."""
    assert compile_text(checker, SPENDS).verdict(MANY) is Verdict.SPENT
    nested = f"[1].exists(i, ({SPENDS}) || i == 1)"
    assert compile_text(checker, nested).verdict(MANY) is Verdict.SPENT


def test_spent_budget_is_not_absorbed_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If `||` caught every exception, a spent budget would be true."""
    monkeypatch.setattr(exact, "CelError", Exception)
    assert compile_text(checker, SPENDS).verdict(MANY) is Verdict.TRUE


def test_error_is_absorbed_by_a_definite_value(checker: Checker) -> None:
    """A missing attribute does not matter where the other side decides."""
    attributes: dict[str, Any] = {"context": {"xs": [1, 0, "a"]}}
    for source in (
        "context.missing == 1 || true",
        "context.xs.exists(x, 4 / x == 4)",
        "context.xs.exists(x, x == 'a')",
    ):
        assert compile_text(checker, source).verdict(attributes) is Verdict.TRUE
    for source in ("context.missing == 1 && false", "context.xs.all(x, 1 / x > 1)"):
        assert compile_text(checker, source).verdict(attributes) is Verdict.FALSE


def test_error_is_absorbed_by_a_definite_value_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the exact tier behind it, the fast tier's exception would decide."""
    monkeypatch.setattr(CompiledExpression, "_exact_verdict", lambda _self, _a: Verdict.DOUBT)
    compiled = compile_text(checker, "context.missing == 1 || true")
    assert compiled.verdict({"context": {}}) is Verdict.DOUBT


def test_has_is_not_a_substring_test(checker: Checker) -> None:
    """`has` looks into maps only; a string that contains the name is an error."""
    compiled = compile_text(checker, "has(context.m.dep)")
    assert compiled.verdict({"context": {"m": "department"}}) is Verdict.DOUBT


def test_has_is_not_a_substring_test_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its guard, Python's `in` would find the name inside the string."""
    always = codegen.literal(True)
    monkeypatch.setattr(
        "pdp.cel.fast.kind_is",
        lambda value, _kind: codegen.compare(value, (ast.IsNot(), always)),
    )
    compiled = compile_text(checker, "has(context.m.dep)")
    assert compiled.verdict({"context": {"m": "department"}}) is Verdict.TRUE


# -- the same everywhere -----------------------------------------------------------


def digest_of_verdicts(seed: int, count: int) -> str:
    """One digest over many verdicts, in this process."""
    found = sha256()
    generator = Generator(seed)
    with Checker() as checker:
        for expression, variables in conditions(checker, generator, count):
            compiled = compile_expression(expression, variables, EvaluationLimits())
            for _ in range(5):
                found.update(compiled.verdict(generator.attributes()).name.encode())
    return found.hexdigest()


def test_verdicts_do_not_depend_on_the_hash_seed() -> None:
    """Fresh processes with different hash seeds come to the same verdicts."""
    program = (
        "from tests.test_cel_tiers import digest_of_verdicts; print(digest_of_verdicts(7, 30))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent.parent,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(found) == 1


def test_verdicts_do_not_mix_across_threads(checker: Checker) -> None:
    """One compiled condition in 8 threads answers each its own question."""
    source = "context.xs.exists(x, x == subject.id) && size(context.xs.map(y, y + 'z')) > 0"
    compiled = compile_text(checker, source)

    def ask(at: int) -> bool:
        attributes: dict[str, Any] = {
            "subject.id": f"u{at}",
            "context": {"xs": ["a", f"u{at % 2 * at}"]},
        }
        want = Verdict.TRUE if at % 2 or at == 0 else Verdict.FALSE
        return compiled.verdict(attributes) is want

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(4_000)))
