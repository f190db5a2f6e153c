"""The page about explanations shows what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pdp.explaining import ExplanationLimits
from pdp.explanation_codec import BYTES_MAX
from tests.conftest import ROOT
from tests.test_explain_command import Command, pdp

__all__ = ["pdp"]

PAGE = (ROOT / "docs" / "explain.md").read_text()


def write_files(page: str, folder: Path) -> None:
    """The files that a page shows, by the comment on their first line."""
    for kind, name, text in re.findall(
        r"(?ms)^```(yaml|json)\n(?:#|//) ([^\n]+)\n(.*?)^```$", page
    ):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert name.endswith(f".{kind}")


def commands(page: str) -> list[tuple[str, str]]:
    """Each command of the console blocks, and what it prints."""
    blocks = "".join(re.findall(r"(?ms)^```console\n(.*?)^```$", page))
    return re.findall(r"(?ms)^\$ pdp ([^\n]+)\n(.*?)(?=^\$|\Z)", blocks)


def test_the_example_prints_what_the_page_shows(
    pdp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, its command, its output."""
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    ((command, output),) = commands(PAGE)
    assert pdp(*command.split()).stdout == output


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
