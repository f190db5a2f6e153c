"""The specification's own cases: no wrong answer, in either tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.authoring.checker_environment import DECLARATIONS, make_configuration
from pdp.cel import fast_operators, semantics
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from tests import celspec
from tests.cel_tiers import Tiers
from tests.conftest import Ledger

# Cases that are wrong themselves (vectors/README.md).
WRONG_CASES = frozenset(
    {
        "bytes_literals/triple_single_quoted_unescaped_punctuation",
        "bytes_literals/triple_double_quoted_unescaped_punctuation",
    }
)
# Files whose features are the core: nearly all of their cases must be answered.
CORE = frozenset(
    {
        *("basic", "comparisons", "conversions", "fields", "fp_math", "integer_math", "lists"),
        *("logic", "macros", "parse", "plumbing", "string", "timestamps"),
    }
)
ERROR = object()


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def answers(tiers: Tiers, attributes: Mapping[str, Any]) -> list[Any]:
    """What each tier says; ERROR for an error. The fast tier may leave the answer."""
    exact = tiers.exact(attributes)
    out: list[Any] = [ERROR if exact.kind == "error" else celspec.tagged(exact.value)]
    for fold in (True, False):
        fast = tiers.fast(attributes, fold=fold)
        if fast.kind == "value":
            assert fast.units == exact.units
            out.append(celspec.tagged(fast.value))
    return out


def outcome(case: celspec.Case, checker: Checker) -> str:
    """`pass`, `refused` (and an error was due), `not supported`, or what is wrong."""
    try:
        checked = checker.check(
            case.source,
            case.variables,
            configuration=make_configuration([*DECLARATIONS, *case.declarations]),
            container=case.container,
        )
        if case.deduced and checked.type != case.deduced:
            return f"type {checked.type}, want {case.deduced}"
        expression = decode(checked.checked_expr, case.source)
        if case.is_check_only:
            return "pass"
        tiers = Tiers(expression)
    except ExpressionError:
        return "refused" if case.is_error else "not supported"
    want = ERROR if case.is_error else celspec.tagged(case.expected)
    for got in answers(tiers, case.attributes):
        if got != want:
            return f"got {got}, want {want}"
    return "pass"


def run(files: list[Path], checker: Checker) -> tuple[dict[str, Counter[str]], list[str]]:
    """Counts by file, and everything that is wrong."""
    counts: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    for file in sorted(files):
        count = counts[file.stem] = Counter()
        for name, case in celspec.load(file):
            result = "not supported" if case is None else outcome(case, checker)
            if result in {"pass", "refused", "not supported"}:
                count[result] += 1
            elif name not in WRONG_CASES:
                count["wrong"] += 1
                wrong.append(f"{file.stem}/{name}: {result}")
    return counts, wrong


def figures(count: Counter[str]) -> dict[str, int]:
    """For the ledger."""
    return {key.replace(" ", "_"): count[key] for key in ("pass", "refused", "not supported")}


def test_no_answer_differs_from_the_specification(
    vectors: Path, checker: Checker, ledger: Ledger
) -> None:
    """Every case is answered rightly in both tiers, or refused before it could be answered."""
    counts, wrong = run([*(vectors / "celspec").glob("*.json")], checker)
    for name, count in counts.items():
        ledger(file=name, **figures(count))
    ledger(file="all", **figures(sum(counts.values(), Counter[str]())))
    core = sum((count for name, count in counts.items() if name in CORE), Counter[str]())
    ledger(file="core", **figures(core))
    assert wrong == []
    assert (core["pass"] + core["refused"]) / core.total() > 0.95


def test_no_answer_differs_from_the_specification_twin_without_guard(
    vectors: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without overflow checks and exact kinds, the same comparison finds wrong answers."""
    monkeypatch.setattr(semantics, "make_int", lambda value: value)
    monkeypatch.setattr(fast_operators, "_in_range", lambda value, _frame: value)
    _, wrong = run([vectors / "celspec" / "integer_math.json"], checker)
    assert wrong
