"""docs/providers.md says what is: documents, configuration, tables."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path

import pytest
from pydantic import BaseModel

from pdp import cli
from pdp.authoring.fetched_rows import FAILURES
from pdp.authoring.formatting import format_document
from pdp.authoring.problems import Problems
from pdp.config import ConfigurationProblemsError, Settings, load_settings
from pdp.config.document import HttpSourceSection, ProviderSection, SqlSourceSection
from pdp.providers.settings import HttpSource, SqlSource
from pdp.server.checks import check_files
from tests.conftest import ROOT
from tests.simulators.author_commands import Command
from tests.simulators.configurations import good_tree, toml_text, write_files
from tests.simulators.repository import Repository

PAGE = (ROOT / "docs" / "providers.md").read_text()
DOCUMENTS = re.findall(r"(?ms)^```yaml\n# ([^\n]+)\n(.*?)^```$", PAGE)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("PDP_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The documents of the page."""
    for name, text in DOCUMENTS:
        (tmp_path / name).write_text(text)
    return tmp_path


def test_its_documents_are_laid_out_checked_and_tested(folder: Path, pdp: Command) -> None:
    """`pdp check` prints what the page shows, `pdp test` passes, `pdp fmt` changes nothing."""
    ((command, shown),) = re.findall(r"(?ms)^```console\n\$ pdp ([^\n]+)\n(.*?)^```$", PAGE)
    done = pdp(*command.split(), cwd=folder)
    assert done.stdout == shown, done.stdout + done.stderr
    done = pdp("test", ".", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, text in DOCUMENTS:
        assert format_document(name, text.encode(), Problems()) == text


def test_its_permits_would_come_without_the_law(folder: Path, pdp: Command) -> None:
    """Twin: the same rows with a provider that is up: the denials of the outage fail."""
    path = folder / "notes_test.yaml"
    text = path.read_text().replace("fetched: {hr: DOWN}", "fetched: {hr: {suspended: false}}")
    path.write_text(text)
    done = pdp("test", ".", cwd=folder)
    assert done.returncode == 1
    assert "while hr is down" in done.stdout


def load(folder: Path, providers: str) -> Settings:
    """A good configuration and these lines."""
    write_files(folder, Repository().trusted_root)
    (folder / "hr-ca.pem").write_bytes((folder / "trust.pem").read_bytes())
    (folder / "hr.token").write_text("secret")
    sqlite3.connect(folder / "archive.sqlite").close()
    path = folder / "pdp.toml"
    path.write_text(toml_text(good_tree()) + "\n" + providers)
    return load_settings(path)


def shown_configuration(folder: Path) -> str:
    """The page's, with its database where there is one."""
    text = PAGE.split("```toml\n")[1].split("```")[0]
    database = folder / "archive.sqlite"
    database.touch()
    return text.replace("sqlite:////srv/archive.sqlite", f"sqlite:///{database}")


def test_the_configuration_that_is_shown_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pdp: Command
) -> None:
    """Both providers; what `pdp config check` shows has no URL and no statement in it."""
    settings = load(tmp_path, shown_configuration(tmp_path))
    hr, archive = settings.providers.sources
    assert isinstance(hr.source, HttpSource)
    assert isinstance(archive.source, SqlSource)
    assert hr.source.token_file == tmp_path / "hr.token"
    assert archive.source.json == ("labels",)
    assert set(settings.bundle.providers or ()) == {("default", "hr"), ("default", "archive")}
    check_files(settings, "pdp.toml")
    monkeypatch.setattr(cli, "COMMANDS", ("config", "check"))
    done = pdp("config", "check", "--config", tmp_path / "pdp.toml")
    assert "hr of default, http; archive of default, sql" in " ".join(done.stdout.split())
    assert "SELECT" not in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('name = "hr"', 'name = "archive"', "two providers `archive` of `default`"),
        ('name = "hr"', 'name = "HR"', "`name` is 'HR'"),
        ('name = "hr"', 'nam = "hr"', "did you mean `name`"),
        ("timeout_s = 0.2", "timeout_s = 60", "timeout_s`"),
        ("timeout_s = 0.2", 'tenants = ["x"]', "which is none of `bundle.tenants`"),
        ("https://hr", "http://hr", "write `https://host/path/{id}`"),
        ("hr-ca.pem", "none.pem", "there is no file"),
        ("hr.token", "none.token", "there is no file"),
        ("[providers.sources.http]", "[providers.sources.sql]", "statement` is missing"),
        (":id", ":who", "has the parameters"),
        ("SELECT", "DROP", "is no query"),
        ("/archive.sqlite", "/none.sqlite", "there is no file"),
        ("reserve_s = 0.05", "reserve_s = 2", "reserve_s`"),
        ("reserve_s = 0.05", 'url = "x"', "is not a setting"),
    ],
)
def test_half_a_provider_refuses_to_start(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    """Each with the place and what to do."""
    text = shown_configuration(tmp_path)
    assert before in text
    with pytest.raises(Exception, match=re.escape(problem)) as caught:
        check_files(load(tmp_path, text.replace(before, after)), "pdp.toml")
    assert isinstance(caught.value, ConfigurationProblemsError)


def test_a_provider_with_two_ways_or_none_is_refused(tmp_path: Path) -> None:
    """One way, exactly."""
    both = '[[providers.sources]]\nname = "hr"\n[providers.sources.python]\nentry_point = "x"\n'
    both += '[providers.sources.sql]\nurl = "sqlite:////x"\nstatement = "SELECT :id"\n'
    none = '[[providers.sources]]\nname = "hr"\n'
    for text in (both, none):
        with pytest.raises(ConfigurationProblemsError, match="exactly one of"):
            load(tmp_path, text)


def rows(part: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = part.split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


MODELS = (ProviderSection, HttpSourceSection, SqlSourceSection)


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_on_the_page_with_its_default(model: type[BaseModel]) -> None:
    """In order, and none that does not exist."""
    found = rows(PAGE.split("| setting |")[1 + MODELS.index(model)])
    assert [name.strip("`") for name, *_ in found] == list(model.model_fields)
    for name, shown, _ in found:
        field = model.model_fields[name.strip("`")]
        if field.is_required():
            assert shown == "required", name
        elif isinstance(field.default, tuple):
            assert tuple(json.loads(shown.strip("`"))) == field.default, name
        else:
            assert shown.strip("`") == str(field.default or "none"), name


def test_every_failure_is_on_the_page() -> None:
    """Those that a test can name."""
    (line,) = re.findall(r"The failures that can be named are (.*?)\. A question", PAGE)
    assert re.findall(r"`(\w+)`", line) == list(FAILURES)
