"""`pdp test --mutate`: what the tests of policies would not notice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdp.authoring.compilation import Compilation
    from pdp.authoring.document_mutants import Mutant
    from pdp.authoring.mutation import Mutation
    from pdp.authoring.policy_tests import TestRow


def run(compilation: Compilation, rows: Sequence[TestRow]) -> Mutation:
    """Try every mutant; a progress bar on a terminal.

    Args:
        compilation: of policies without problems.
        rows: tests, all of which pass.
    """
    from rich.progress import Progress

    from pdp.authoring import mutation
    from pdp.cli.terminal import err
    from pdp.errors import ConfigurationError

    if compilation.callers is None:
        raise ConfigurationError("there is no caller policy: mutants cannot be asked anything")
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("mutants", total=None)

        def progress(done: int, all_: int) -> None:
            bar.update(task, completed=done, total=all_)

        return mutation.run(compilation, compilation.callers, rows, progress=progress)


def show(found: Mutation, folder: Path, least: float | None) -> None:
    """Print survivors as diffs, then the score.

    Args:
        found: what trying came to.
        folder: that paths are below.
        least: the score that is asked for, in per cent.
    """
    from rich.text import Text

    from pdp.authoring.mutation import Fate
    from pdp.cli.problems import counted, where
    from pdp.cli.terminal import out

    for mutant in found.survivors:
        at = mutant.position
        place = f"{where(folder, at.path)}:{at.line}:{at.column}: "
        said = f"{mutant.part}: {mutant.what}"
        out.print(Text.assemble((place, "bold"), ("survived: ", "bold yellow"), said))
        for line in mutant.diff(where(folder, at.path)).splitlines():
            style = {"+": "green", "-": "red", "@": "blue"}.get(line[:1], "")
            out.print(Text(f"      {line}".rstrip(), style))
    for item in found.tried:
        if item.fate is Fate.EQUIVALENT:
            at = item.mutant.position
            place = f"{where(folder, at.path)}:{at.line}:{at.column}"
            said = f"{place}: {item.mutant.part}: {item.mutant.what}: answers the same, not counted"
            out.print(Text(said, "bright_black"))
    killed, survived = found.count(Fate.KILLED), found.count(Fate.SURVIVED)
    said = f"{counted(killed + survived, 'mutant')}, {survived} survived"
    if found.skipped:
        said = f"{said}; {found.skipped} more were not tried"
    good = passed(found, least)
    floor = "" if least is None else f", asked for: {least:g} %"
    out.print(Text(f"{said}: score {shown(found)} %{floor}", "green" if good else "red"))


def shown(found: Mutation) -> str:
    """The score with one digit, cut: 89.96 must not read like 90."""
    return f"{int(found.score * 10) / 10:.1f}"


def passed(found: Mutation, least: float | None) -> bool:
    """Whether the score is as high as was asked for."""
    return least is None or found.score >= least


def as_json(found: Mutation, folder: Path) -> dict[str, object]:
    """The same for machines."""
    from pdp.authoring.mutation import Fate

    return {
        "score": round(found.score, 3),
        "killed": found.count(Fate.KILLED),
        "not_tried": found.skipped,
        "survived": [_mutant(mutant, folder) for mutant in found.survivors],
        "equivalent": [
            _mutant(item.mutant, folder) for item in found.tried if item.fate is Fate.EQUIVALENT
        ],
    }


def _mutant(mutant: Mutant, folder: Path) -> dict[str, object]:
    from pdp.cli.problems import where

    at = mutant.position
    path = where(folder, at.path)
    return {
        "path": path,
        "line": at.line,
        "column": at.column,
        "part": mutant.part,
        "kind": mutant.kind,
        "change": mutant.what,
        "diff": mutant.diff(path),
    }
