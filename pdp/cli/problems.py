"""How `pdp check` and `pdp test` show problems: place, excerpt, caret, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

from rich.cells import cell_len
from rich.text import Text

from pdp.cli.terminal import out
from pdp.errors import ExpressionError, PolicyError

# A longer line is cut around the caret, so that it does not fill a screen.
EXCERPT_CHARACTERS_MAX = 140
_TAB = "    "


def where(folder: PurePath, path: str) -> str:
    """A document's path as the user would type it."""
    return str(folder / path) if path else str(folder)


def show(problem: PolicyError, folder: PurePath, sources: Mapping[str, bytes]) -> None:
    """Print one problem.

    Args:
        problem: its position's path is below the folder.
        folder: the folder that was checked.
        sources: the documents' bytes, by path below the folder.
    """
    position = problem.position
    place = where(folder, position.path if position else "")
    if position and position.line:
        place = f"{place}:{position.line}:{position.column}"
    out.print(Text.assemble((f"{place}: ", "bold"), ("error: ", "bold red"), problem.message))
    if position and position.line:
        data = sources.get(position.path, b"")
        _excerpt(data, position.line, position.column)
    if problem.suggestion:
        out.print(Text.assemble(("      = ", "blue"), problem.suggestion))


def _excerpt(data: bytes, line: int, column: int) -> None:
    """The source line, and a caret below the character."""
    lines = data.decode(errors="replace").removeprefix("\ufeff").split("\n")
    if line > len(lines):
        return
    before = _printable(lines[line - 1][: column - 1])
    text = before + _printable(lines[line - 1][column - 1 :])
    if len(text) > EXCERPT_CHARACTERS_MAX:
        cut = max(0, len(before) - EXCERPT_CHARACTERS_MAX // 2)
        before = before[cut:]
        text = text[cut : cut + EXCERPT_CHARACTERS_MAX]
    number = f"{line:5} | "
    out.print(Text.assemble((number, "blue"), text))
    # The caret goes by width on the screen: many characters take two cells.
    pad = " " * cell_len(before)
    out.print(Text.assemble((" " * (len(number) - 2) + "| ", "blue"), pad, ("^", "bold red")))


def _printable(text: str) -> str:
    """The text without what could move the cursor or change the terminal."""
    return "".join(
        _TAB if char == "\t" else char if char.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for char in text.rstrip("\r")
    )


def as_json(problem: PolicyError, folder: PurePath) -> dict[str, object]:
    """One problem for machines; a line or column of 0 is unknown."""
    position = problem.position
    return {
        "path": where(folder, position.path if position else ""),
        "line": position.line if position else 0,
        "column": position.column if position else 0,
        "kind": "expression" if isinstance(problem, ExpressionError) else "document",
        "message": problem.message,
        "suggestion": problem.suggestion,
    }


def counted(number: int, what: str) -> str:
    """`1 rule`, `2 rules`, `2 policies`."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("cy") else f"{number} {what}s"


def summary(counts: Iterable[tuple[int, str]]) -> str:
    """`3 policies, 17 rules`."""
    return ", ".join(counted(number, what) for number, what in counts)
