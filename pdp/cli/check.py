"""`pdp check`: says what is wrong with policies, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from pdp.authoring.checker import Checker
    from pdp.errors import PolicyError

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Check policies: documents, names, roles, and every condition.

Give the folder with the policies; the folders below it are part of it. It
must hold at least one policy and exactly one caller policy. Tests, in
`*_test.yaml`, are checked for their form: `pdp test` runs them. A single
file is checked by itself, without asking whether the others fit.

\b
  pdp check policies/expense-reports
  pdp check policies/expense-reports/approval.yaml
  pdp check --json policies/expense-reports | jq .problems

Exit code: 0 no problems, 1 problems, 2 not a folder or a file.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", help=HELP, no_args_is_help=True)(check)


@dataclass(frozen=True, slots=True)
class Result:
    """What checking one path came to. Paths of problems are below `folder`."""

    folder: Path
    sources: Mapping[str, bytes]
    problems: tuple[PolicyError, ...]
    counts: tuple[tuple[int, str], ...]


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of policies, or files.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print problems as JSON.")] = False,
) -> None:
    """Check policies."""
    from pdp.authoring.checker import Checker
    from pdp.cli import problems
    from pdp.cli.terminal import out

    with Checker() as checker:
        results = [_check(path, checker) for path in paths]
    found = sum(len(result.problems) for result in results)
    if as_json:
        report = {
            "ok": not found,
            "checked": [
                {"path": str(r.folder), **{what: number for number, what in r.counts}}
                for r in results
            ],
            "problems": [
                problems.as_json(problem, result.folder)
                for result in results
                for problem in result.problems
            ],
        }
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        for result in results:
            for problem in result.problems:
                problems.show(problem, result.folder, result.sources)
            if count := len(result.problems):
                what = problems.counted(len(result.sources), "document")
                said = f"{what}: {problems.counted(count, 'problem')}"
            else:
                said = f"{problems.summary(result.counts)}: no problems"
            out.print(said, style="red" if count else "green", markup=False)
    if found:
        raise typer.Exit(EXIT_REFUSED)


def _check(path: Path, checker: Checker) -> Result:
    from pdp.authoring.compilation import compile_document, compile_sources
    from pdp.authoring.policy_tests import read_tests, unknown_rules
    from pdp.authoring.sources import is_test, read_file, read_folder

    if path.is_file():
        sources = {path.name: read_file(path)}
        if is_test(path.name):
            tests = read_tests(sources)
            return Result(path.parent, sources, tests.problems, ((len(tests.rows), "test"),))
        compilation = compile_document(path.name, sources[path.name], checker)
        return Result(path.parent, sources, compilation.problems, compilation.counts)
    found = read_folder(path)
    compilation = compile_sources(found.policies, checker, found.problems)
    tests = read_tests(found.tests)
    problems = (*compilation.problems, *tests.problems)
    if not compilation.problems:
        problems += unknown_rules(tests.rows, compilation.rule_names)
    counts = (*compilation.counts, (len(tests.rows), "test"))
    return Result(path, {**found.policies, **found.tests}, problems, counts)
