"""The operations page says what the code says, and explains all of it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from docs.operations import __main__ as operations
from docs.operations import found
from pdp.audit.budget import SpoolLimits
from pdp.bundle.settings import BundleSettings
from pdp.config.document import Document, variables
from pdp.errors import ConfigurationError
from pdp.model import Cause
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "operations.md"
LINKING = (PAGE, ROOT / "SECURITY.md", ROOT / "docs" / "deploy" / "README.md")
RUNBOOK = (
    *("First start", "A bundle is refused", "STALE", "The clock"),
    *(
        "The disk is full, slow or broken",
        "Overload",
        "Workers",
        "Rotation of keys and certificates",
    ),
    *("A state file is damaged", "Restoring or replacing a node", "Upgrading"),
)


def _rows(name: str) -> list[list[str]]:
    """Cells of a generated table, heading left out."""
    text = PAGE.read_text()
    part = text.split(f"<!-- begin {name} -->\n")[1].split(f"<!-- end {name} -->")[0]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in part.splitlines()[2:]
    ]


def test_page_is_what_the_code_says() -> None:
    """Every generated table is as `make operations` makes it now."""
    page = PAGE.read_text()
    assert operations.render(page) == page, "run `make operations`, and explain what is new"


def test_page_that_is_out_of_date_is_noticed_twin_without_guard() -> None:
    """A page that lacks one row is not what the code says."""
    page = re.sub(r"(?m)^\| `stopped` .*\n", "", PAGE.read_text())
    assert operations.render(page) != page


def test_everything_on_the_page_is_explained() -> None:
    """No setting, exit code, cause, event or counter lacks a meaning."""
    unexplained = [
        line
        for table in operations.tables().values()
        for line in table.splitlines()
        if operations.MISSING in line or re.search(r"\| +\|$", line)
    ]
    assert unexplained == [], (
        "explain it in docs/operations/meanings.toml (settings: docs/serve.md)"
    )


def test_no_meaning_outlives_what_it_explains() -> None:
    """meanings.toml has no event, cause or counter that is no more."""
    said = operations.meanings()
    assert set(said["causes"]) == {cause.name for cause in Cause}
    assert set(said["events"]) == {event.key for event in found.events()}
    counted = {name for counter in found.counters() for name in (counter.name, counter.key)}
    assert set(said["counters"]) <= counted


@pytest.fixture
def another_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the page is made from, too."""
    monkeypatch.setattr(found, "ROOT", tmp_path)
    monkeypatch.setattr(found, "SOURCES", ("more",))
    (tmp_path / "more").mkdir()
    return tmp_path / "more" / "code.py"


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ('telemetry.log("error", "new_event", why=1)', "new_event"),
        ('self._telemetry.log("error", "one" if late else "other")', "other"),
        ('def f():\n    state = "later"\n    telemetry.log("info", state)', "later"),
        ('telemetry.log("info", f"seen_{result.outcome}")', "seen_refused"),
        (
            'import logging\n_log = logging.getLogger(__name__)\n_log.error("a %s", 1)',
            "more.code: a %s",
        ),
    ],
)
def test_new_event_is_found_and_asked_about(another_source: Path, code: str, key: str) -> None:
    """However an event is written, it comes into the page, and the page lacks its meaning."""
    another_source.write_text(code)
    assert key in {event.key for event in found.events()}
    assert operations.MISSING in operations.tables()["events"]


@pytest.mark.parametrize(
    "code", ["telemetry.log(level, name)", 'telemetry.log("info", f"x_{anything}")']
)
def test_event_whose_name_cannot_be_read_is_refused(another_source: Path, code: str) -> None:
    """An event that only running tells cannot be explained, so it is an error."""
    another_source.write_text(code)
    with pytest.raises(found.UnreadableError):
        found.events()


def test_new_counter_is_found_and_asked_about(another_source: Path) -> None:
    """A counter comes into the page with its labels, and the page lacks its meaning."""
    another_source.write_text('self._telemetry.count("surprises", decision.cause.name)')
    assert found.counters() == [found.Counter("surprises", ("<cause>",))]
    assert operations.MISSING in operations.tables()["counters"]


def test_every_setting_is_on_the_page() -> None:
    """Each setting has a row, by name and variable, in the order of the settings."""
    shown = {row[1].strip("`"): row[0].strip("`") for row in _rows("settings")}
    assert list(shown.items()) == list(variables().items())


def _section(setting: str) -> tuple[type[BaseModel], str]:
    section, _, name = setting.rpartition(".")
    model: type[BaseModel] = Document
    if section:
        annotation = Document.model_fields[section].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model, name


def _accepts(model: type[BaseModel], name: str, value: float) -> bool:
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return not any(finding["loc"] == (name,) for finding in error.errors())
    return True


def test_bounds_on_the_page_are_those_that_hold() -> None:
    """Each bound is accepted, or for `above` just missed, and what is beyond it is refused."""
    bounded = 0
    for row in _rows("settings"):
        setting, whole = row[0].strip("`"), row[2] == "whole number"
        model, name = _section(setting)
        for word, text in re.findall(r"(above|from|to) ([\d.,]+)", row[4]):
            bound = float(text.replace(",", ""))
            step = 1.0 if whole else 1e-9
            cast = int if whole else float
            assert _accepts(model, name, cast(bound)) == (word != "above"), setting
            beyond = bound + step if word == "to" else bound - step
            assert not _accepts(model, name, cast(beyond)), setting
            bounded += 1
    assert bounded > 20


def test_bounds_that_are_told_in_prose_hold() -> None:
    """`freshness_max_s` is from 60 to 86,400, and a spool holds at least eight segments."""
    page = PAGE.read_text()
    assert "from 60 to 86,400" in page
    for seconds, fine in ((59, False), (60, True), (86_400, True), (86_401, False)):
        try:
            BundleSettings("/x", Path("root.json"), Path("state"), freshness_max_s=seconds)
        except ConfigurationError:
            assert not fine
        else:
            assert fine
    assert "at least eight segments" in page
    SpoolLimits(directory_bytes_max=8 * 1024, segment_bytes_max=1024)
    with pytest.raises(ConfigurationError, match="8 times"):
        SpoolLimits(directory_bytes_max=8 * 1024 - 1, segment_bytes_max=1024)


def test_every_state_of_health_is_on_the_page() -> None:
    """The states that the event `health` tells are those that `Server.state` returns."""
    tree = ast.parse((ROOT / "pdp" / "server" / "listener.py").read_text())
    (state,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "state"
    ]
    told = {
        text.value
        for node in ast.walk(state)
        if isinstance(node, ast.Return) and node.value
        for text in ast.walk(node.value)
        if isinstance(text, ast.Constant)
    }
    (row,) = [row for row in _rows("events") if row[0] == "`health`"]
    assert len(told) >= 4
    assert told <= set(re.findall(r"`(\w+)`", row[3]))


def test_runbook_has_every_case() -> None:
    """What happens to those who operate it has a paragraph."""
    assert tuple(re.findall(r"(?m)^### (.*)$", PAGE.read_text())) == RUNBOOK


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    """`page.md#heading` names a heading that is there."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", page.read_text()):
        path = (page.parent / target) if target else page
        assert anchor in _anchors(path), f"{target}#{anchor}"


def test_meanings_are_read_as_they_are_written() -> None:
    """meanings.toml has the four tables that the page is made from, and no other."""
    text = operations.MEANINGS.read_text()
    assert set(tomllib.loads(text)) == {"exit_codes", "causes", "counters", "events"}
