"""`pdp test`: asks the questions in `*_test.yaml` and compares the answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from pdp.authoring.checker import Checker
    from pdp.authoring.compilation import Compilation
    from pdp.authoring.coverage_report import Minimum
    from pdp.authoring.parallel import Result
    from pdp.cli.coverage_output import CoverageOutput

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Test policies: every row of a `*_test.yaml` is a question and its answer.

Give the folder with the policies and their tests, or one file of tests: its
policies are those of its folder. The caller policy applies, as in the PDP.

\b
  pdp test policies/expense-reports
  pdp test policies/expense-reports -k "their own"
  pdp test --watch policies/expense-reports
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
have the lists `rules`, `obligations` and `advice`, and `reasons` with the
lists `user` and `admin`. Subjects and resources can be named once, and tables
say who may do what.

What do the tests reach? `--cover` says which rules decided, which conditions
came to true and to false, and which sides of `&&`, `||` and `?:` did:

\b
  pdp test --cover-min-rules 100 policies/expense-reports
  pdp test --cover-html out.html policies/expense-reports

Do the tests notice mistakes? `--mutate` makes hundreds of small ones, one
at a time, and shows those that no test notices:

\b
  pdp test --mutate --mutation-min 90 policies/expense-reports

Each condition that a test looks at is evaluated by cel-python, too. Two truth
values that differ are an error; what it cannot evaluate is counted.

Exit code: 0 all passed, 1 a test failed, the policies have problems, two
evaluators differ, coverage or score is too low, 2 no test found.
"""

# As `pdp dev`: a save is noticed within half a second.
_LOOK_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test", help=HELP, no_args_is_help=True)(run_tests)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says."""

    path: Path
    only: str
    as_json: bool
    processes: int
    junit: Path | None
    cover: bool
    minimum: Minimum
    html: Path | None
    mutate: bool
    mutation_min: float | None

    @property
    def folder(self) -> Path:
        """Where the policies are."""
        return self.path.parent if self.path.is_file() else self.path

    @property
    def whole(self) -> bool:
        """Whether all tests of the folder are asked."""
        return not self.only and self.path == self.folder


def _least(what: str) -> Any:
    return typer.Option(metavar="PERCENT", min=0, max=100, help=f"Refuse if fewer {what}.")


_MIN_RULES = _least("rules have decided")
_MIN_CONDITIONS = _least("outcomes of conditions came")
_MIN_BRANCHES = _least("branches were reached")


def run_tests(  # noqa: PLR0913, PLR0917 the options of a command
    path: Annotated[Path, typer.Argument(help="Folder of policies and tests, or a file of tests.")],
    only: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only tests whose name has this text.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print outcomes as JSON.")] = False,
    processes: Annotated[
        int, typer.Option("-j", metavar="N", min=1, max=64, help="So many processes at once.")
    ] = 1,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write outcomes as JUnit XML.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Test again after each save, until Ctrl-C.")
    ] = False,
    cover: Annotated[bool, typer.Option("--cover", help="Say what the tests reach.")] = False,
    cover_min_rules: Annotated[int, _MIN_RULES] = 0,
    cover_min_conditions: Annotated[int, _MIN_CONDITIONS] = 0,
    cover_min_branches: Annotated[int, _MIN_BRANCHES] = 0,
    cover_html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the policies in colours.")
    ] = None,
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
    from pdp.authoring.checker import Checker
    from pdp.authoring.coverage_report import Minimum
    from pdp.errors import ConfigurationError

    minimum = Minimum(cover_min_rules, cover_min_conditions, cover_min_branches)
    wishes = Wishes(
        path=path,
        only=only,
        as_json=as_json,
        processes=processes,
        junit=junit,
        cover=cover or cover_html is not None or minimum != Minimum(),
        minimum=minimum,
        html=cover_html,
        mutate=mutate or mutation_min is not None,
        mutation_min=mutation_min,
    )
    if wishes.mutate and not wishes.whole:
        raise ConfigurationError("`--mutate` asks all tests of a folder: give it without `-k`")
    if watch and as_json:
        raise ConfigurationError("`--watch` is for people, `--json` for machines: choose one")
    with Checker() as checker:
        if watch:
            _watch(wishes, checker)
        elif not _once(wishes, checker):
            raise typer.Exit(EXIT_REFUSED)


def _watch(wishes: Wishes, checker: Checker) -> None:
    """Test, and again whenever the folder has changed and is at rest."""
    from pdp.authoring.watching import Watch
    from pdp.cli.terminal import out, report
    from pdp.errors import PdpError

    watch = Watch(wishes.folder)
    try:
        while True:
            try:
                _once(wishes, checker)
            except (PdpError, OSError) as error:
                # Half of a save: the next one may be better.
                report(error)
            out.print("waiting for a save; Ctrl-C ends", style="dim", markup=False)
            while not watch.changed():
                time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        return


def _once(wishes: Wishes, checker: Checker) -> bool:
    """One run; whether all is well."""
    from pdp.authoring import parallel
    from pdp.authoring.compilation import compile_sources
    from pdp.authoring.http_translation import translated
    from pdp.authoring.policy_tests import read_tests, unknown_names
    from pdp.authoring.sources import read_folder
    from pdp.cli import outcomes
    from pdp.errors import ConfigurationError

    path, folder = wishes.path, wishes.folder
    found = read_folder(folder)
    asked = {name for name in found.tests if path in (folder, folder / name)}
    if not asked:
        raise ConfigurationError(
            f"no tests in `{path}`: write some in a file named `…_test.yaml`; see `pdp test --help`"
        )
    compilation = compile_sources(found.policies, checker, found.problems)
    tests = read_tests(found.tests, asked)
    if not compilation.problems:
        tests = translated(tests, compilation.mapping)
    problems = (*compilation.problems, *tests.problems)
    if not compilation.problems:
        problems += unknown_names(tests.rows, compilation.rule_names, compilation.provider_names)
    if problems or compilation.callers is None:
        sources = {**found.policies, **found.tests}
        outcomes.show_problems(problems, folder, sources, as_json=wishes.as_json)
        return False
    rows = [row for row in tests.rows if wishes.only.lower() in row.name.lower()]
    if not rows:
        named = f"no test has `{wishes.only}` in its name"
        raise ConfigurationError(named if wishes.only else f"no tests in `{path}`: only fixtures")
    result = parallel.run(compilation, rows, processes=wishes.processes, cover=wishes.cover)
    return _report(wishes, compilation, result)


def _report(wishes: Wishes, compilation: Compilation, result: Result) -> bool:
    """Show what came, and write what is asked for; whether all is well."""
    from pdp.authoring import junit
    from pdp.cli import mutation, opinion, outcomes

    folder, found = wishes.folder, result.outcomes
    unnamed = outcomes.unnamed(compilation.rule_names, found) if wishes.whole else []
    passed = all(outcome.passed for outcome in found)
    covered = _covered(wishes, compilation, result)
    # A test that fails as it is would notice everything.
    rows = [outcome.row for outcome in found]
    mutants = mutation.run(compilation, rows) if wishes.mutate and passed else None
    second = opinion.run(compilation, rows)
    ok = passed and not second.differences and (covered is None or covered.enough)
    ok = ok and (mutants is None or mutation.passed(mutants, wishes.mutation_min))
    if wishes.junit is not None:
        wishes.junit.write_bytes(junit.render(found, folder))
    if wishes.as_json:
        more: dict[str, object] = {"second_opinion": opinion.as_json(second, folder)}
        if covered is not None:
            more["coverage"] = covered.as_plain()
        if mutants is not None:
            more["mutation"] = mutation.as_json(mutants, folder)
        outcomes.show_json(found, folder, unnamed, more, ok=ok)
        return ok
    opinion.show(second, folder, compilation.sources)
    outcomes.show(found, folder, unnamed)
    if covered is not None:
        covered.show()
    if mutants is not None:
        mutation.show(mutants, folder, wishes.mutation_min)
    return ok


def _covered(wishes: Wishes, compilation: Compilation, result: Result) -> CoverageOutput | None:
    """What was covered, its page written; None if nobody asks."""
    if not wishes.cover:
        return None
    from pdp.cli.coverage_output import coverage_of

    covered = coverage_of(compilation, result.counts, wishes.folder, wishes.minimum)
    if wishes.html is not None:
        covered.write_page(wishes.html, compilation.sources)
    return covered
