"""The specification's own cases: no wrong answer, in either tier."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.authoring.checker_environment import CONFIGURATION, DECLARATIONS, make_configuration
from pdp.cel import fast_operators, semantics
from pdp.cel.functions import LIBRARIES
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from tests import celspec
from tests.cel_tiers import Tiers
from tests.conftest import ROOT, Ledger

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


def configuration_of(case: celspec.Case) -> str:
    """Our functions and the case's own; an extension with a function of the same name gives way."""
    if not case.declarations:
        return CONFIGURATION
    made = json.loads(make_configuration([*DECLARATIONS, *case.declarations]))
    names = {declaration.function for declaration in case.declarations}
    hidden = {
        library.extension
        for library in LIBRARIES
        if names & {function.name for function in library.functions}
    }
    made["extensions"] = [each for each in made["extensions"] if each["name"] not in hidden]
    return json.dumps(made)


def why_not(case: celspec.Case) -> str:
    """The reason for which a case that was refused, though it has a value, is left out."""
    if case.is_unchecked:
        return celspec.UNTYPED
    if "cel.block(" in case.source or "cel.iterVar(" in case.source:
        return celspec.NO_BLOCK
    if re.search(r"[A-Za-z]\w*\s*\{", case.source):
        return celspec.UNREADABLE
    return celspec.OTHER


def outcome(case: celspec.Case, checker: Checker) -> str:
    """`pass`, `refused` (and an error was due), why it is left out, or what is wrong."""
    try:
        checked = checker.check(
            case.source,
            case.variables,
            configuration=configuration_of(case),
            container=case.container,
        )
        if case.deduced and checked.type != case.deduced:
            return f"type {checked.type}, want {case.deduced}"
        expression = decode(checked.checked_expr, case.source)
        if case.is_check_only:
            return "pass"
        tiers = Tiers(expression)
    except (ExpressionError, ValueError):
        return "refused" if case.is_error else why_not(case)
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
            result = celspec.UNREADABLE if case is None else outcome(case, checker)
            if result in {"pass", "refused"} | celspec.REASONS:
                count[result] += 1
            elif name not in WRONG_CASES:
                count["wrong"] += 1
                wrong.append(f"{file.stem}/{name}: {result}")
    return counts, wrong


def figures(count: Counter[str]) -> dict[str, int]:
    """For the ledger."""
    _, passed, refused, left = celspec.rows({"": count})[""]
    return {"pass": passed, "refused": refused, "not_supported": left}


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
    # The published table, for every file that has the cases it had then.
    told = celspec.published((ROOT / "docs" / "cel.md").read_text("utf-8"))
    found = celspec.rows(counts)
    stale = {name for name, row in told.items() if name in found and found[name][0] == row[0]}
    assert {name: found[name] for name in stale} == {name: told[name] for name in stale}, (
        celspec.table(counts)
    )
    assert told, celspec.table(counts)


def test_no_answer_differs_from_the_specification_twin_without_guard(
    vectors: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without overflow checks and exact kinds, the same comparison finds wrong answers."""
    monkeypatch.setattr(semantics, "make_int", lambda value: value)
    monkeypatch.setattr(fast_operators, "_in_range", lambda value, _frame: value)
    _, wrong = run([vectors / "celspec" / "integer_math.json"], checker)
    assert wrong


def case_of(**more: Any) -> dict[str, Any]:
    """A case as the files write it."""
    return {"section": "s", "name": "n", "expr": "1", "value": {"int64Value": "1"}, **more}


STRANGE: tuple[tuple[dict[str, Any], str], ...] = (
    (case_of(), "pass"),
    (case_of(expr="x", bindings={"x": {"value": {"int64Value": "1"}}}), celspec.OTHER),
    (case_of(value={"objectValue": {"@type": "google.protobuf.Any"}}), celspec.UNREADABLE),
    (case_of(value={"enumValue": {"type": "E", "value": 1}}), celspec.UNREADABLE),
    (case_of(value={}), celspec.UNREADABLE),
    (case_of(value={"int64Value": "one"}), celspec.UNREADABLE),
    (case_of(unknown={"exprs": ["1"]}), celspec.UNREADABLE),
    (case_of(anyEvalErrors={}), celspec.UNREADABLE),
    (case_of(bindings={"x": {"error": {}}}), celspec.UNREADABLE),
    (case_of(typeEnv=[{"name": "x", "ident": {"type": {"messageType": "M"}}}]), celspec.UNREADABLE),
    (case_of(typeEnv=[{"name": "x", "ident": {"type": {"wrapper": "INT64"}}}]), celspec.UNREADABLE),
    (case_of(typeEnv=[{"name": "x", "other": {}}]), celspec.UNREADABLE),
    (case_of(expr="google.protobuf.Int32Value{value: 1}"), celspec.UNREADABLE),
    (case_of(expr="TestAllTypes{a: 1}", container="a.b"), celspec.UNREADABLE),
    (case_of(expr="TestAllTypes{a: 1}", evalError={"errors": []}), "refused"),
    (case_of(expr="'a' + 1", disableCheck=True), celspec.UNTYPED),
    (case_of(expr="cel.block([1], cel.index(0))"), celspec.NO_BLOCK),
    (case_of(expr="1 ++"), celspec.OTHER),
    (case_of(expr="y", container="a", typeEnv=[
        {"name": "a.y", "ident": {"type": {"primitive": "INT64"}}}],
        bindings={"a.y": {"value": {"int64Value": "1"}}}), "pass"),
)  # fmt: skip


@pytest.mark.parametrize(("raw", "want"), STRANGE, ids=[str(at) for at in range(len(STRANGE))])
def test_a_case_of_any_kind_is_answered_or_left_out(
    raw: dict[str, Any], want: str, tmp_path: Path, checker: Checker
) -> None:
    """Values, types and outcomes that are not read are left out with a reason; none crashes."""
    file = tmp_path / "strange.json"
    file.write_text(json.dumps([raw]), "utf-8")
    counts, wrong = run([file], checker)
    assert wrong == []
    assert counts["strange"] == Counter({want: 1})
    assert celspec.published(celspec.table(counts))["strange"][0] == 1
