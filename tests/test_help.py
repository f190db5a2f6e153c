"""`--help` of every command teaches: what it is for, an example, what the exit code says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from pdp.cli import COMMANDS, application

# What 80 columns show of a help text without breaking a line.
COLUMNS_MAX = 78
# Commands whose exit code is asked for in scripts of authors and in continuous integration.
AUTHORS = ("check", "test", "fmt", "schema", "explain", "repl", "diff", "dev")


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with what is typed for it."""
    below = getattr(command, "commands", None)
    if not below:
        yield path, command
        return
    for name, inner in below.items():
        yield from leaves(inner, f"{path} {name}")


ROOT_COMMAND = get_command(application())
LEAVES: dict[str, Any] = dict(leaves(ROOT_COMMAND, "pdp"))


def test_all_commands_are_listed_with_one_line_each() -> None:
    """`pdp --help` is the list; none is hidden, and each says what it is for."""
    below = getattr(ROOT_COMMAND, "commands", {})
    assert sorted(below) == sorted(COMMANDS)
    for name, command in below.items():
        first = (command.help or "").partition("\n")[0]
        assert first[-1:] in {".", "?"}, name
        assert not command.hidden


@pytest.mark.parametrize("name", LEAVES)
def test_help_has_an_example_and_fits_a_terminal(name: str) -> None:
    """The command is shown as it is typed, and no line of its text is broken at 80 columns."""
    text = LEAVES[name].help or ""
    assert f"{name} " in text
    too_long = [line for line in text.splitlines() if len(line) > COLUMNS_MAX]
    assert too_long == []


@pytest.mark.parametrize("name", AUTHORS)
def test_help_of_authors_commands_says_the_exit_codes(name: str) -> None:
    """0 and what else there is: a build server stops by it."""
    assert "Exit code: 0" in (LEAVES[f"pdp {name}"].help or "")
