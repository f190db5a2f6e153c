"""`pdp fmt`: lays policy documents out in one way."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdp.cli import EXIT_REFUSED

if TYPE_CHECKING:
    from pdp.errors import PolicyError

# Short lines and no square brackets: they are shown as they stand, and brackets are markup.
HELP = """Lay documents out in one way: policies, callers, schemas and tests.

Keys in their usual order, two blanks of indentation, quotes where they are
needed, long conditions over several lines. Comments stay, and so does what
a document says: that is compared before anything is written.

\b
  pdp fmt policies
  pdp fmt --check policies
  pdp fmt - < draft.yaml

`-` reads standard input and writes standard output. `--check` changes
nothing and shows what would be changed.

Exit code: 0 done, 1 a document is no valid YAML (the others are done), or
`--check` found one to change, 2 no such file or folder.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fmt", help=HELP, no_args_is_help=True)(fmt)


@dataclass(frozen=True, slots=True)
class _Result:
    """One document: its text before and after; the same after a problem."""

    folder: Path
    name: str
    before: bytes
    after: bytes
    problems: tuple[PolicyError, ...]

    @property
    def shown(self) -> str:
        """Its path, as the user would type it."""
        return self.name if self.name == "-" else str(self.folder / self.name)


def fmt(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders, files, or `-`.")],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; show what would be changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print paths and problems as JSON.")] = (
        False
    ),
) -> None:
    """Lay documents out."""
    from pdp.errors import ConfigurationError

    standard_input = Path("-") in paths
    if standard_input and (len(paths) > 1 or as_json):
        raise ConfigurationError("`-` is standard input: give it alone, and without `--json`")
    results = [_formatted(Path(), "-", _read_standard_input())] if standard_input else _read(paths)
    changed = [result for result in results if result.after != result.before]
    if not check:
        _write(results if standard_input else changed)
    if as_json:
        _show_json(results, changed)
    else:
        _show(results, changed, check=check, quiet=standard_input)
    if any(result.problems for result in results) or (check and changed):
        raise typer.Exit(EXIT_REFUSED)


def _read_standard_input() -> bytes:
    from pdp.authoring.documents import DOCUMENT_BYTES_MAX

    return sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)


def _read(paths: list[Path]) -> list[_Result]:
    from pdp.authoring.sources import read_file, read_folder

    results = []
    for path in paths:
        if path.is_file():
            results.append(_formatted(path.parent, path.name, read_file(path)))
            continue
        found = read_folder(path)
        documents = {**found.policies, **found.tests}
        results += [_formatted(path, name, documents[name]) for name in sorted(documents)]
        if found.problems:
            results.append(_Result(path, "", b"", b"", found.problems))
    return results


def _formatted(folder: Path, name: str, data: bytes) -> _Result:
    from pdp.authoring.formatting import format_document
    from pdp.authoring.problems import Problems

    problems = Problems()
    made = format_document(name, data, problems)
    after = data if made is None else made.encode()
    return _Result(folder, name, data, after, problems.sorted())


def _write(results: list[_Result]) -> None:
    """The changed documents, each as a whole or not at all."""
    from pdp.bundle.memory import write_durably

    for result in results:
        if result.name == "-":
            if not result.problems:
                sys.stdout.write(result.after.decode())
            continue
        path = (result.folder / result.name).resolve()
        write_durably(path, result.after, path.stat().st_mode & 0o777)


def _show(results: list[_Result], changed: list[_Result], *, check: bool, quiet: bool) -> None:
    from rich.text import Text

    from pdp.cli import problems
    from pdp.cli.terminal import err, out

    for result in results:
        for problem in result.problems:
            problems.show(problem, result.folder, {result.name: result.before})
    if check:
        for result in changed:
            for line in _diff(result):
                style = {"+": "green", "-": "red", "@": "blue"}.get(line[:1], "")
                out.print(Text(line, style))
    if quiet:
        return
    failed = sum(bool(result.problems) for result in results)
    documents = problems.counted(len(results), "document")
    said = f"{documents}: {len(changed)} {'to change' if check else 'changed'}"
    bad = failed or (check and changed)
    said += f", {failed} with problems" if failed else ""
    (err if failed else out).print(said, style="red" if bad else "green", markup=False)


def _diff(result: _Result) -> list[str]:
    before, after = (
        data.decode(errors="replace").splitlines() for data in (result.before, result.after)
    )
    return list(
        difflib.unified_diff(
            before, after, result.shown, f"{result.shown} (formatted)", lineterm=""
        )
    )


def _show_json(results: list[_Result], changed: list[_Result]) -> None:
    from pdp.cli import problems

    found = [
        problems.as_json(problem, result.folder)
        for result in results
        for problem in result.problems
    ]
    report = {
        "ok": not found,
        "documents": len(results),
        "changed": [result.shown for result in changed],
        "problems": found,
    }
    typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
