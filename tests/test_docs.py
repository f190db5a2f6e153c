"""What the documents say about the code is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pdp.model import Cause
from tests.conftest import ROOT
from tests.test_architecture import MAY_IMPORT, RINGS

ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
DECISIONS = ROOT / "docs" / "adr"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("policies/**/*.md")])
PARTS = ("Question", "Decision", "Alternatives", "Consequences", "Negative consequences")


def _rows(path: Path, heading: str) -> list[list[str]]:
    """Cells of the table whose first heading cell is this."""
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_architecture_shows_the_import_table_that_is_enforced() -> None:
    """The table of rings in the page is the table of the test, modules and permissions."""
    shown = {row[0]: (row[1], row[2]) for row in _rows(ARCHITECTURE, "ring")}
    assert list(shown) == list(RINGS)
    for ring, (modules, may_import) in shown.items():
        assert tuple(re.findall(r"`([\w.]+)`", modules)) == RINGS[ring]
        named = set(RINGS) - {ring} if may_import == "all others" else set(may_import.split(", "))
        assert named - {""} == MAY_IMPORT[ring], ring


def test_architecture_shows_every_cause_in_order() -> None:
    """The table of causes is the enum, none more and none less."""
    assert [row[0] for row in _rows(ARCHITECTURE, "cause")] == [cause.name for cause in Cause]


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("[0-9]*.md")), ids=lambda path: path.stem)
def test_decision_record_is_listed_and_says_what_it_costs(path: Path) -> None:
    """Each record has all its parts, a status, a date, and negative consequences in words."""
    text = path.read_text()
    parts = re.split(r"(?m)^## ", text)
    assert tuple(part.partition("\n")[0] for part in parts[1:]) == PARTS
    assert all(len(part.partition("\n")[2].split()) >= 10 for part in parts[1:])
    assert re.search(r"(?m)^- Status: (accepted|proposed|replaced by \[\d{4}\])", text)
    assert re.search(r"(?m)^- Date: \d{4}-\d{2}-\d{2}$", text)
    assert text.startswith(f"# {path.stem[:4]}: ")
    assert f"[{path.stem[:4]}]({path.name})" in (DECISIONS / "README.md").read_text()


def test_decision_records_are_numbered_without_gaps() -> None:
    """No record was deleted: a later one replaces it instead."""
    numbers = sorted(int(path.stem[:4]) for path in DECISIONS.glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    """A relative link names a file that exists."""
    text = re.sub(r"(?s)```.*?```", "", path.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), target


def test_code_refers_to_documents_that_exist() -> None:
    """Every `docs/...` that a source file names is there, by its full name or its beginning."""
    sources = [*ROOT.glob("pdp/**/*.py"), *ROOT.glob("clients/**/*.py"), *ROOT.glob("proto/**/*")]
    for source in sources:
        if source.is_file():
            for found in re.findall(r"\bdocs/[\w./-]*\w", source.read_text()):
                assert list(ROOT.glob(f"{found}*")), f"{source.relative_to(ROOT)}: {found}"
