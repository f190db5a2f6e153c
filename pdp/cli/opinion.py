"""How `pdp test` and `pdp bundle build` show what the second interpreter says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pdp.authoring.compilation import Compilation
    from pdp.authoring.policy_tests import TestRow
    from pdp.authoring.second_opinion import Difference, Opinion
    from pdp.errors import ExpressionError

_STOPS = "one of the two is wrong: nothing is built until it is known which; please report it"


def run(compilation: Compilation, rows: Sequence[TestRow]) -> Opinion:
    """Ask about the conditions that these tests look at; a progress bar on a terminal."""
    from rich.progress import Progress

    from pdp.authoring import second_opinion
    from pdp.cli.terminal import err

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("second opinion", total=None)

        def progress(done: int, all_: int) -> None:
            bar.update(task, completed=done, total=all_)

        return second_opinion.consult(compilation, rows, progress=progress)


def show(found: Opinion, folder: Path, sources: Mapping[str, bytes]) -> None:
    """Print differences; and, on standard error, how much there is no opinion on.

    Args:
        found: what asking came to.
        folder: that paths are below.
        sources: the documents, for excerpts.
    """
    from pdp.cli import problems
    from pdp.cli.terminal import err

    for problem in as_problems(found):
        problems.show(problem, folder, sources)
    if without := found.cannot.total() + found.known.total():
        agreed = problems.counted(found.agreed, "evaluation")
        said = f"second opinion: cel-python agrees on {agreed}, and has none on {without}"
        err.print(said, style="bright_black", markup=False)


def as_problems(found: Opinion) -> list[ExpressionError]:
    """Each difference as an error in its document."""
    return [_as_problem(item) for item in found.differences]


def _as_problem(item: Difference) -> ExpressionError:
    from pdp.errors import ExpressionError

    ours, theirs = (str(value).lower() for value in (item.ours, item.theirs))
    message = (
        f"two evaluators differ: `{item.condition}` is {ours} to this one and {theirs} to "
        f"cel-python, in the test `{item.row}`"
    )
    return ExpressionError(message, item.position, _STOPS)


def as_json(found: Opinion, folder: Path) -> dict[str, object]:
    """The same for machines."""
    from pdp.cli.problems import where

    return {
        "agreed": found.agreed,
        "no_value": found.no_value,
        "cannot_evaluate": dict(sorted(found.cannot.items())),
        "known_mistakes": dict(sorted(found.known.items())),
        "not_asked": found.skipped,
        "differences": [
            {
                "condition": item.condition,
                "path": where(folder, item.position.path),
                "line": item.position.line,
                "column": item.position.column,
                "test": item.row,
                "value": item.ours,
                "second_value": item.theirs,
            }
            for item in found.differences
        ],
    }
