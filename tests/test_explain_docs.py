"""The pages about explanations and changes show what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pdp import cli
from pdp.explaining import ExplanationLimits
from pdp.explanation_codec import BYTES_MAX
from tests.conftest import ROOT
from tests.test_explain_command import Command, pdp

__all__ = ["pdp"]

PAGE = (ROOT / "docs" / "explain.md").read_text()
DIFF = (ROOT / "docs" / "diff.md").read_text()


def write_files(page: str, folder: Path) -> None:
    """The files that a page shows, by the comment on their first line."""
    for kind, name, text in re.findall(
        r"(?ms)^```(yaml|json)\n(?:#|//) ([^\n]+)\n(.*?)^```$", page
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert f".{kind}" in name


def commands(page: str) -> list[tuple[str, str]]:
    """Each command of the console blocks, and what it prints."""
    blocks = "".join(re.findall(r"(?ms)^```console\n(.*?)^```$", page))
    return re.findall(r"(?ms)^\$ pdp ([^\n]+)\n(.*?)(?=^\$|\Z)", blocks)


def test_the_example_prints_what_the_page_shows(
    pdp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, its commands, its outputs."""
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    (explain, output), (repl, answers) = commands(PAGE)
    assert pdp(*explain.split()).stdout == output
    (lines,) = re.findall(r"(?ms)^```text\n(.*?)^```$", PAGE)
    command, _, name = repl.partition(" < ")
    assert name == "lines.txt"
    monkeypatch.setattr(cli, "COMMANDS", ("repl", "check"))
    assert pdp(*command.split(), stdin=lines.encode()).stdout == answers


def test_the_example_of_a_change_prints_what_the_page_shows(
    pdp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders, two questions, what differs; the dangerous first."""
    write_files(DIFF, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", ("diff", "check"))
    ((command, output),) = commands(DIFF)
    done = pdp(*command.split())
    assert (done.returncode, done.stdout) == (1, output)


def test_the_reasons_on_the_page_are_those_of_the_code() -> None:
    """What cannot be asked again: each row is something that the code says."""
    sources = "".join(
        (ROOT / "pdp" / "impact" / f"{name}.py").read_text() for name in ("recorded", "replay")
    )
    rows = re.findall(r"(?m)^\| ([a-z][^|]*) \| [^|]+ \|$", DIFF)
    reasons = [row for row in rows if row != "reason"]
    assert len(reasons) == 6
    for reason in reasons:
        assert all(piece.strip() in sources for piece in reason.split("`…`")), reason


def test_the_limits_are_those_of_the_page() -> None:
    """Numbers on the page are numbers of the code."""
    limits = ExplanationLimits()
    for shown in (
        f"{limits.rules_max} rules",
        f"{limits.parts_max:,} parts",
        f"{limits.characters_max} characters",
        f"{limits.units_max:,} units",
        f"{BYTES_MAX >> 10} KiB",
    ):
        assert shown in PAGE
