"""`pdp test`: asks the questions in `*_test.yaml` and compares the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from rich.text import Text

    from pdp.authoring.mutation import Mutation
    from pdp.authoring.second_opinion import Opinion
    from pdp.authoring.trial import Outcome
    from pdp.errors import PolicyError

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Test policies: every row of a `*_test.yaml` is a question and its answer.

Give the folder with the policies and their tests, or one file of tests: its
policies are those of its folder. The caller policy applies, as in the PDP.

\b
  pdp test policies/expense-reports
  pdp test policies/expense-reports -k "their own"
  pdp test --json policies/expense-reports | jq .tests

A file of tests:

\b
  kind: tests
  now: 2026-09-15T10:00:00Z
  caller: spiffe://demo.example.org/expenses/frontend
  tests:
    - name: whose roles are not known reads nothing
      subject: {type: user, id: ana}
      action: read
      resource: {type: expense_report, id: r1, properties: {author: ana}}
      expect: {effect: DENY, cause: INDETERMINATE}

What `expect` leaves out, but for the effect, is not compared. It may also
have the lists `rules`, `obligations` and `advice`, and `reasons` with the lists
`user` and `admin`.

Do the tests notice mistakes? `--mutate` makes hundreds of small ones, one
at a time, and shows those that no test notices:

\b
  pdp test --mutate --mutation-min 90 policies/expense-reports

Each condition that a test looks at is evaluated by cel-python, too. Two truth
values that differ are an error; what it cannot evaluate is counted.

Exit code: 0 all passed, 1 a test failed, the policies have problems, two
evaluators differ, or the score is too low, 2 no test found.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test", help=HELP, no_args_is_help=True)(run_tests)


def run_tests(
    path: Annotated[Path, typer.Argument(help="Folder of policies and tests, or a file of tests.")],
    only: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only tests whose name has this text.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print outcomes as JSON.")] = False,
    mutate: Annotated[
        bool, typer.Option("--mutate", help="Try small mistakes: would the tests notice?")
    ] = False,
    mutation_min: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="PERCENT",
            help="With `--mutate`: refuse a lower score. Alone it asks for `--mutate`.",
        ),
    ] = None,
) -> None:
    """Run the tests of policies."""
    from pdp.authoring import trial
    from pdp.authoring.compilation import compile_sources
    from pdp.authoring.policy_tests import read_tests, unknown_rules
    from pdp.authoring.sources import read_folder
    from pdp.cel.limits import EvaluationLimits
    from pdp.cli import mutation, opinion
    from pdp.errors import ConfigurationError

    mutate = mutate or mutation_min is not None
    if mutate and (only or path.is_file()):
        raise ConfigurationError("`--mutate` asks all tests of a folder: give it without `-k`")
    folder = path.parent if path.is_file() else path
    found = read_folder(folder)
    sources = {name: data for name, data in found.tests.items() if path in (folder, folder / name)}
    if not sources:
        raise ConfigurationError(
            f"no tests in `{path}`: write some in a file named `…_test.yaml`; see `pdp test --help`"
        )
    tests = read_tests(sources)
    compilation = compile_sources(found.policies, None, found.problems)
    problems = (*compilation.problems, *tests.problems)
    if not compilation.problems:
        problems += unknown_rules(tests.rows, compilation.rule_names)
    if problems or compilation.callers is None:
        _show_problems(problems, folder, {**found.policies, **sources}, as_json=as_json)
        raise typer.Exit(EXIT_REFUSED)
    rows = [row for row in tests.rows if only.lower() in row.name.lower()]
    if not rows:
        raise ConfigurationError(f"no test has `{only}` in its name")
    policies = compilation.policy_set(EvaluationLimits())
    outcomes = trial.run(policies, compilation.callers, rows)
    unnamed = [] if only or path != folder else _unnamed(compilation.rule_names, outcomes)
    passed = all(outcome.passed for outcome in outcomes)
    # A test that fails as it is would notice everything.
    mutants = mutation.run(compilation, rows) if mutate and passed else None
    second = opinion.run(compilation, rows)
    if as_json:
        _show_json(outcomes, folder, unnamed, mutants, second)
    else:
        opinion.show(second, folder, found.policies)
        _show(outcomes, folder, unnamed)
        if mutants is not None:
            mutation.show(mutants, folder, mutation_min)
    well = passed and not second.differences
    if not well or (mutants is not None and not mutation.passed(mutants, mutation_min)):
        raise typer.Exit(EXIT_REFUSED)


def _unnamed(rules: frozenset[str], outcomes: Iterable[Outcome]) -> list[str]:
    """Rules that are in no answer: no test would notice if they were gone."""
    named = {
        name
        for outcome in outcomes
        if outcome.decision is not None
        for name in outcome.decision.rules
    }
    return sorted(rules - named)


def _show_problems(
    found: Sequence[PolicyError], folder: Path, sources: Mapping[str, bytes], *, as_json: bool
) -> None:
    from pdp.cli import problems
    from pdp.cli.terminal import out

    if as_json:
        shown = [problems.as_json(problem, folder) for problem in found]
        typer.echo(json.dumps({"ok": False, "problems": shown}, indent=1, ensure_ascii=False))
        return
    for problem in found:
        problems.show(problem, folder, sources)
    said = f"{problems.counted(len(found), 'problem')}: no test was run"
    out.print(said, style="red", markup=False)


def _show(outcomes: Sequence[Outcome], folder: Path, unnamed: Sequence[str]) -> None:
    from rich.text import Text

    from pdp.cli.terminal import out

    show_failed(outcomes, folder)
    if unnamed:
        out.print(Text(f"in no answer: {', '.join(unnamed)}", "yellow"))
    out.print(summary(outcomes))


def summary(outcomes: Sequence[Outcome]) -> Text:
    """`12 tests passed, 0 failed`."""
    from rich.text import Text

    from pdp.cli.problems import counted

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
    from rich.text import Text

    from pdp.cli.problems import where
    from pdp.cli.terminal import out

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


def _show_json(
    outcomes: Sequence[Outcome],
    folder: Path,
    unnamed: Sequence[str],
    mutants: Mutation | None,
    second: Opinion,
) -> None:
    from pdp.cli import mutation, opinion
    from pdp.cli.problems import where

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
    ok = all(outcome.passed for outcome in outcomes) and not second.differences
    report: dict[str, object] = {"ok": ok, "tests": tests, "rules_in_no_answer": list(unnamed)}
    report["second_opinion"] = opinion.as_json(second, folder)
    if mutants is not None:
        report["mutation"] = mutation.as_json(mutants, folder)
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
