"""`pdp check`: says what is wrong with policies, and where."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from pdp.authoring.checker import Checker
    from pdp.authoring.findings import Finding
    from pdp.authoring.review import Clock
    from pdp.errors import PolicyError

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Check policies: documents, names, roles, and every condition.

Give the folder with the policies; the folders below it are part of it. It
must hold at least one policy and exactly one caller policy. Tests, in
`*_test.yaml`, are checked for their form: `pdp test` runs them. A single
file is checked by itself, without asking whether the others fit.

Policies without problems are looked through for what their author will not
have meant: rules that never apply, permits that have expired or are open to
anyone, roles and variables that nobody uses. Each finding has an id; a rule
accepts one with a reason, `accept: {PC302: price lists are public}`.

\b
  pdp check policies/expense-reports
  pdp check policies/expense-reports/approval.yaml
  pdp check --strict --expiring-within 12w policies/expense-reports
  pdp check --json policies/expense-reports | jq .problems
  pdp check --sarif check.sarif policies/expense-reports

Exit code: 0 no problems, 1 problems (with --strict also warnings), 2 not a
folder or a file.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", help=HELP, no_args_is_help=True)(check)


@dataclass(frozen=True, slots=True)
class Result:
    """What checking one path came to. Paths of problems and findings are below `folder`."""

    folder: Path
    sources: Mapping[str, bytes]
    problems: tuple[PolicyError, ...]
    findings: tuple[Finding, ...]
    counts: tuple[tuple[int, str], ...]


def check(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of policies, or files.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print problems as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    sarif: Annotated[
        str, typer.Option(metavar="FILE", help="Write all of it as SARIF 2.1.0; `-` prints it.")
    ] = "",
    now: Annotated[
        str, typer.Option(metavar="TIME", help="RFC 3339: what has expired by then. Now if absent.")
    ] = "",
    expiring_within: Annotated[
        str, typer.Option(metavar="SPAN", help="What expires soon: `12h`, `30d`, `4w`.")
    ] = "30d",
) -> None:
    """Check policies."""
    from pdp.authoring.checker import Checker
    from pdp.authoring.findings import fail
    from pdp.errors import ConfigurationError

    if as_json and sarif == "-":
        raise ConfigurationError("`--json` and `--sarif -` would both be printed: choose one")
    clock = _clock(now, expiring_within)
    with Checker() as checker:
        results = [_check(path, checker, clock) for path in paths]
    failed = fail((found for _, found in _all(results)), strict=strict)
    if sarif:
        _write_sarif(results, sarif)
    if as_json:
        _show_json(results, ok=not failed)
    elif sarif != "-":
        for result in results:
            _show(result, strict=strict)
    if failed:
        raise typer.Exit(EXIT_REFUSED)


def _clock(now: str, within: str) -> Clock:
    from pdp.authoring.review import Clock
    from pdp.authoring.times import EXAMPLE, parse_span, parse_timestamp
    from pdp.errors import ConfigurationError

    try:
        now_ns = parse_timestamp(now) if now else time.time_ns()
    except ValueError as error:
        raise ConfigurationError(f"`--now {now}` {error}: write `{EXAMPLE}`") from None
    try:
        return Clock(now_ns, parse_span(within))
    except ValueError as error:
        message = f"`--expiring-within {within}` {error}: write `12h`, `30d` or `4w`"
        raise ConfigurationError(message) from None


def _all(results: Sequence[Result]) -> Iterator[tuple[Path, Finding]]:
    """Problems and findings alike, each with its folder."""
    from pdp.authoring.findings import of_problem

    for result in results:
        for problem in result.problems:
            yield result.folder, of_problem(problem)
        for finding in result.findings:
            yield result.folder, finding


def _write_sarif(results: Sequence[Result], target: str) -> None:
    from pdp.authoring import sarif

    text = sarif.render(_all(results))
    if target == "-":
        typer.echo(text)
    else:
        Path(target).write_text(text + "\n", encoding="utf-8")


def _show_json(results: Sequence[Result], *, ok: bool) -> None:
    from pdp.cli import problems

    report = {
        "ok": ok,
        "checked": [
            {"path": str(r.folder), **{what: number for number, what in r.counts}} for r in results
        ],
        "problems": [
            problems.as_json(problem, result.folder)
            for result in results
            for problem in result.problems
        ],
        "findings": [
            problems.finding_as_json(finding, result.folder)
            for result in results
            for finding in result.findings
        ],
    }
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))


def _show(result: Result, *, strict: bool) -> None:
    from pdp.authoring.findings import Severity
    from pdp.cli import problems
    from pdp.cli.terminal import out

    for problem in result.problems:
        problems.show(problem, result.folder, result.sources)
    open_ = [finding for finding in result.findings if not finding.accepted]
    for finding in open_:
        problems.show_finding(finding, result.folder, result.sources)
    if count := len(result.problems):
        what = problems.counted(len(result.sources), "document")
        said, style = f"{what}: {problems.counted(count, 'problem')}", "red"
    else:
        said, style = f"{problems.summary(result.counts)}: no problems", "green"
    warnings = sum(finding.severity is Severity.WARNING for finding in open_)
    # What is accepted is in the other forms: here it would be noise.
    counts = ((warnings, "warning"), (len(open_) - warnings, "note"))
    said = ", ".join([said, *(problems.counted(number, what) for number, what in counts if number)])
    if warnings and style == "green":
        style = "red" if strict else "yellow"
    out.print(said, style=style, markup=False)


def _check(path: Path, checker: Checker, clock: Clock) -> Result:
    from pdp.authoring.compilation import compile_document, compile_sources
    from pdp.authoring.http_translation import translated
    from pdp.authoring.policy_tests import read_tests, unknown_names
    from pdp.authoring.review import review
    from pdp.authoring.sources import is_test, read_file, read_folder

    if path.is_file():
        sources = {path.name: read_file(path)}
        if is_test(path.name):
            tests = read_tests(sources)
            return Result(path.parent, sources, tests.problems, (), ((len(tests.rows), "test"),))
        compilation = compile_document(path.name, sources[path.name], checker)
        findings = review(compilation, clock)
        return Result(path.parent, sources, compilation.problems, findings, compilation.counts)
    found = read_folder(path)
    compilation = compile_sources(found.policies, checker, found.problems)
    tests = read_tests(found.tests)
    if not compilation.problems:
        tests = translated(tests, compilation.mapping)
    problems = (*compilation.problems, *tests.problems)
    if not compilation.problems:
        problems += unknown_names(tests.rows, compilation.rule_names, compilation.provider_names)
    counts = (*compilation.counts, (len(tests.rows), "test"))
    findings = review(compilation, clock)
    return Result(path, {**found.policies, **found.tests}, problems, findings, counts)
