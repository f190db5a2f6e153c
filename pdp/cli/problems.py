"""How `pdp check` and `pdp test` show problems: place, excerpt, caret, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Protocol

from rich.cells import cell_len
from rich.text import Text

from pdp.authoring.findings import Finding
from pdp.cli.terminal import out
from pdp.errors import ExpressionError, PolicyError, Position

# A longer line is cut around the caret, so that it does not fill a screen.
EXCERPT_CHARACTERS_MAX = 140
_TAB = "    "
_STYLES = {"warning": "bold yellow", "note": "bold cyan"}


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
    _show(problem, ("error: ", "bold red"), folder, sources)


def show_finding(finding: Finding, folder: PurePath, sources: Mapping[str, bytes]) -> None:
    """Print one finding that is no error, as `show` prints a problem."""
    style = _STYLES[finding.severity.value]
    label = f"{finding.severity.value}[{finding.kind.id}]: "
    _show(finding, (label, style), folder, sources)


class _Placed(Protocol):
    """What is said about a place."""

    @property
    def message(self) -> str: ...
    @property
    def position(self) -> Position | None: ...
    @property
    def suggestion(self) -> str: ...


def _show(
    said: _Placed, label: tuple[str, str], folder: PurePath, sources: Mapping[str, bytes]
) -> None:
    position = said.position
    place = where(folder, position.path if position else "")
    if position and position.line:
        place = f"{place}:{position.line}:{position.column}"
    out.print(Text.assemble((f"{place}: ", "bold"), label, said.message))
    if position and position.line:
        data = sources.get(position.path, b"")
        _excerpt(data, position.line, position.column, label[1])
    if said.suggestion:
        out.print(Text.assemble(("      = ", "blue"), said.suggestion))


def _excerpt(data: bytes, line: int, column: int, style: str) -> None:
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
    out.print(Text.assemble((" " * (len(number) - 2) + "| ", "blue"), pad, ("^", style)))


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


def finding_as_json(finding: Finding, folder: PurePath) -> dict[str, object]:
    """One finding for machines; an empty `accepted` is not accepted."""
    return {
        "id": finding.kind.id,
        "name": finding.kind.name,
        "severity": finding.severity.value,
        "path": where(folder, finding.position.path),
        "line": finding.position.line,
        "column": finding.position.column,
        "subject": finding.subject,
        "message": finding.message,
        "suggestion": finding.suggestion,
        "accepted": finding.accepted,
    }


def counted(number: int, what: str) -> str:
    """`1 rule`, `2 rules`, `2 policies`."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("cy") else f"{number} {what}s"


def summary(counts: Iterable[tuple[int, str]]) -> str:
    """`3 policies, 17 rules`."""
    return ", ".join(counted(number, what) for number, what in counts)
