"""What the documents say about the code is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from pdp.bundle.denials import parse_denials
from pdp.config import load_settings
from pdp.config.document import (
    AuthzenSection,
    BundleSection,
    Document,
    LimitsSection,
    MetricsSection,
    ProvidersSection,
    RecordSection,
    SearchSection,
    TlsSection,
    TokensSection,
    TracesSection,
    variables,
)
from pdp.model import Caller, Cause, Subject
from pdp.publishing.plan import default_plan
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
    """No record was deleted: a later one replaces it instead. Numbers may be kept for others."""
    numbers = {int(path.stem[:4]) for path in DECISIONS.glob("[0-9]*.md")}
    assert len(numbers) == len(list(DECISIONS.glob("[0-9]*.md")))
    listed = (DECISIONS / "README.md").read_text()
    kept = {int(number) for number in re.findall(r"(?m)^\| (\d{4}) \| reserved", listed)}
    assert numbers | kept == set(range(1, max(numbers) + 1))


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


def _code(path: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", path.read_text())


def test_every_setting_is_explained_with_its_variable() -> None:
    """The table of docs/serve.md has each setting that exists, in order, and none that does not."""
    rows = _rows(ROOT / "docs" / "serve.md", "setting")
    shown = {variable.strip("`"): setting.strip("`") for setting, variable, *_ in rows}
    assert shown == variables()
    assert list(shown) == list(variables())


def test_every_default_that_is_shown_is_the_default() -> None:
    """Defaults in the table of docs/serve.md are those in force when nothing is said."""
    sections: dict[str, type[BaseModel]] = {
        "": Document, "bundle": BundleSection, "record": RecordSection, "limits": LimitsSection,
        "tls": TlsSection, "authzen": AuthzenSection, "tokens": TokensSection,
        "metrics": MetricsSection, "traces": TracesSection, "providers": ProvidersSection,
        "search": SearchSection,
    }  # fmt: skip
    units = {"GiB": 1024**3, "MiB": 1024**2}
    for setting, _, shown, _ in _rows(ROOT / "docs" / "serve.md", "setting"):
        section, _, name = setting.strip("`").rpartition(".")
        field = sections[section].model_fields[name]
        number, _, unit = shown.partition(" ")
        if field.is_required():
            assert shown == "required", setting
        elif isinstance(field.default, bool):
            assert shown == f"`{str(field.default).lower()}`", setting
        elif isinstance(field.default, int | float):
            assert float(number) * units.get(unit, 1) == field.default, setting
        elif isinstance(field.default, tuple):
            assert tuple(json.loads(shown.strip("`"))) == field.default, setting
        else:
            assert shown.strip("`") == str(field.default or "none"), setting


def test_configuration_that_is_shown_is_complete(tmp_path: Path) -> None:
    """The `pdp.toml` of docs/serve.md is one that `pdp serve` reads."""
    (text,) = _code(ROOT / "docs" / "serve.md", "toml")
    path = tmp_path / "pdp.toml"
    path.write_text(text.replace('= "/', f'= "{tmp_path}/'))
    for shown in re.findall(r'= "(/[^"]+)"', text):
        here = tmp_path / shown[1:]
        here.parent.mkdir(parents=True, exist_ok=True)
        if here.suffix:
            here.write_text("not looked into")
    settings = load_settings(path)
    assert (settings.instance, settings.listen.port) == ("pdp-1", 8443)
    assert settings.bundle.revision_floor == 12


def test_denials_that_are_shown_are_accepted() -> None:
    """The list of denials of docs/bundle.md is one that a PDP takes, and denies by."""
    (text,) = _code(ROOT / "docs" / "bundle.md", "json")
    denials = parse_denials(text.encode())
    assert denials.denies_subject(Subject("user", "mallory"))
    assert denials.denies_caller(Caller("spiffe://example.org/billing"))


def test_roles_that_are_shown_are_the_default_plan() -> None:
    """Thresholds and lives of roles in docs/bundle.md are those that `pdp bundle init` makes."""
    rows = _rows(ROOT / "docs" / "bundle.md", "role")
    plan = default_plan()
    assert tuple(row[0] for row in rows) == tuple(plan.roles)
    for name, _, shown, _ in rows:
        role = plan.roles[name]
        count = f"{role.threshold} of {len(role.keys)}" if len(role.keys) > 1 else "1 key"
        days, hours = divmod(role.expires_s // 3600, 24)
        life = f"{days} days" if days else f"{hours} hour"
        assert shown == f"{count}, {life}"
