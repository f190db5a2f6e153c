"""How `pdp test` shows what came of the tests; `pdp dev` shows the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer
from rich.text import Text

from pdp.authoring.trial import Outcome
from pdp.cli import problems
from pdp.cli.problems import counted, where
from pdp.cli.terminal import out
from pdp.errors import PolicyError


def unnamed(rules: frozenset[str], outcomes: Iterable[Outcome]) -> list[str]:
    """Rules that are in no answer: no test would notice if they were gone."""
    named = {
        name
        for outcome in outcomes
        if outcome.decision is not None
        for name in outcome.decision.rules
    }
    return sorted(rules - named)


def show_problems(
    found: Sequence[PolicyError], folder: Path, sources: Mapping[str, bytes], *, as_json: bool
) -> None:
    """Why no test was run."""
    if as_json:
        shown = [problems.as_json(problem, folder) for problem in found]
        typer.echo(json.dumps({"ok": False, "problems": shown}, indent=1, ensure_ascii=False))
        return
    for problem in found:
        problems.show(problem, folder, sources)
    said = f"{problems.counted(len(found), 'problem')}: no test was run"
    out.print(said, style="red", markup=False)


def show(outcomes: Sequence[Outcome], folder: Path, unnamed: Sequence[str]) -> None:
    """Print what failed, the rules in no answer, and how many passed."""
    show_failed(outcomes, folder)
    if unnamed:
        out.print(Text(f"in no answer: {', '.join(unnamed)}", "yellow"))
    out.print(summary(outcomes))


def summary(outcomes: Sequence[Outcome]) -> Text:
    """`12 tests passed, 0 failed`."""
    passed = sum(outcome.passed for outcome in outcomes)
    failed = len(outcomes) - passed
    said = f"{counted(passed, 'test')} passed, {failed} failed"
    return Text(said, "red" if failed else "green")


def show_failed(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Print what each failed test expected and got.

    Args:
        outcomes: of all tests.
        folder: that paths are below.
    """
    for outcome in outcomes:
        if outcome.passed:
            continue
        at = outcome.row.position
        place = f"{where(folder, at.path)}:{at.line}:{at.column}: "
        out.print(Text.assemble((place, "bold"), ("failed: ", "bold red"), outcome.row.name))
        if outcome.refused:
            said = f"      the PDP would refuse this request as invalid: {outcome.refused}"
            out.print(Text(said))
        for item in outcome.differences:
            line = f"      {item.key}: expected {item.expected}, got {item.actual}"
            out.print(Text(line))
        # `is not None`: a denial is false, that is what its truth value is for.
        if outcome.decision is not None and outcome.differences:
            said = f"by {', '.join(outcome.decision.rules) or 'no rule'}"
            said = outcome.decision.schema_violation or said
            out.print(Text(f"      {outcome.decision.cause.name} {said}"))


def show_json(
    outcomes: Sequence[Outcome],
    folder: Path,
    unnamed: Sequence[str],
    more: Mapping[str, object],
    *,
    ok: bool,
) -> None:
    """Print everything for machines.

    Args:
        outcomes: of all tests.
        folder: that paths are below.
        unnamed: rules in no answer.
        more: what else was asked for, by name.
        ok: whether the command succeeds.
    """
    tests = [
        {
            "name": outcome.row.name,
            "path": where(folder, outcome.row.position.path),
            "line": outcome.row.position.line,
            "passed": outcome.passed,
            "effect": outcome.decision.effect.name if outcome.decision is not None else None,
            "cause": outcome.decision.cause.name if outcome.decision is not None else None,
            "schema_violation": (
                outcome.decision.schema_violation if outcome.decision is not None else ""
            ),
            "rules": list(outcome.decision.rules) if outcome.decision is not None else [],
            "refused": outcome.refused,
            "differences": [
                {"key": item.key, "expected": item.expected, "actual": item.actual}
                for item in outcome.differences
            ],
        }
        for outcome in outcomes
    ]
    report = {"ok": ok, "tests": tests, "rules_in_no_answer": list(unnamed), **more}
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
