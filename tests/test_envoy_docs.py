"""docs/envoy.md says what is: its mapping compiles, its tables are all, its example runs."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from docs.demo.scene import PDP
from docs.examples.envoy import __main__ as example
from docs.examples.envoy.stage import HERE, Envoy, Reply, Upstream
from pdp.authoring.compilation import compile_sources
from pdp.config import load_settings
from pdp.http_mapping import OVERRIDES, UNREADABLE
from pdp.http_request import HTTP_NAMES, SOURCE_NAMES
from pdp.http_target import QUERY_ITEMS_MAX
from tests.conftest import ROOT
from tests.simulators.configurations import good_tree, toml_text, write_files
from tests.simulators.envoy import AROUND

PAGE = (ROOT / "docs" / "envoy.md").read_text()
SHORT = {"google.protobuf.Timestamp": "timestamp"}


def block(first: str) -> str:
    """The block of YAML that begins with this comment."""
    (found,) = re.findall(rf"(?ms)^```yaml\n# {re.escape(first)}\n(.*?)^```$", PAGE)
    return str(found)


def rows(heading: str) -> list[list[str]]:
    """Rows of a table of the page, by its first column's heading."""
    part = PAGE.split(f"| {heading} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]


def test_the_mapping_that_is_shown_compiles() -> None:
    """As it stands on the page, beside any policies."""
    found = compile_sources({**AROUND, "http.yaml": block("http.yaml").encode()})
    assert found.problems == ()
    assert found.mapping is not None
    assert [route.id for route in found.mapping.routes] == [
        "read-document", "create-document", "backup",
    ]  # fmt: skip


def _pdp(*words: str | Path) -> str:
    """What the command prints; it ends with exit code 0."""
    done = subprocess.run([PDP, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_that_are_shown_pass(tmp_path: Path) -> None:
    """Those of the page, and those of the example."""
    for name, text in AROUND.items():
        (tmp_path / name).write_bytes(
            text.replace(b"spiffe://a/b", b"spiffe://demo.example.org/envoy")
        )
    for name in ("http.yaml", "http_test.yaml"):
        (tmp_path / name).write_text(block(name))
    assert _pdp("test", tmp_path).splitlines()[-1] == "5 tests passed, 0 failed"
    assert _pdp("test", HERE / "policies").splitlines()[-1] == "9 tests passed, 0 failed"
    _pdp("fmt", "--check", HERE / "policies")
    _pdp("check", "--strict", HERE / "policies")


def test_the_names_that_are_shown_are_all_there_are() -> None:
    """In order, with their types."""
    shown = {row[0].strip("`"): row[1] for row in rows("name")}
    names = {**HTTP_NAMES, **SOURCE_NAMES}
    assert shown == {name: SHORT.get(kind, kind) for name, kind in names.items()}
    assert list(shown) == list(names)


def test_the_headers_that_are_shown_are_those() -> None:
    """What cannot be read, what never goes on, and how many items of a query are read."""
    for name in UNREADABLE - set(OVERRIDES):
        assert f"`{name}`" in PAGE or name.startswith("x-forwarded-") or name == "host", name
    for name in OVERRIDES:
        assert f"`{name}`" in PAGE
    assert f"more than {QUERY_ITEMS_MAX} items" in PAGE


def test_the_setting_that_is_shown_switches_the_door_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off without it."""
    monkeypatch.delenv("PDP_ENVOY", raising=False)
    write_files(tmp_path)
    (text,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", PAGE)
    path = tmp_path / "pdp.toml"
    path.write_text(toml_text(good_tree()))
    assert load_settings(path).envoy is False
    path.write_text(text + toml_text(good_tree()))
    assert load_settings(path).envoy is True


def test_the_example_fails_closed() -> None:
    """What the page says of Envoy's own configuration is what the example has."""
    shown = YAML(typ="safe").load(block("envoy.yaml"))
    assert shown["failure_mode_allow"] is False
    filled = string.Template((HERE / "envoy.yaml").read_text()).substitute(
        folder="/f", pdp_port=1, upstream_port=2
    )
    config = YAML(typ="safe").load(filled)
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    filters = chain["filters"][0]["typed_config"]["http_filters"]
    authz = filters[0]["typed_config"]
    assert {key: authz[key] for key in shown} == shown
    assert authz["with_request_body"]["pack_as_bytes"] is True
    assert authz["with_request_body"]["allow_partial_message"] is False


def test_the_example_keeps_every_promise() -> None:
    """As a reader runs it, `make envoy`: exit code 0, a real Envoy, a PDP that is killed."""
    assert "python -m docs.examples.envoy" in (ROOT / "Makefile").read_text()
    result = subprocess.run(
        [sys.executable, "-m", "docs.examples.envoy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "BROKEN" not in result.stdout
    assert result.stdout.count("   kept   ") == 7
    assert "Every promise was kept." in result.stdout
    assert result.stdout.count("for DELETE ") == 1


def test_the_example_twin_with_a_wrong_expectation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If an answer were not the promised one, the example would show it and fail."""

    class Everything(Envoy):
        """An Envoy that lets everything through."""

        def ask(self, *_: object, **__: object) -> Reply:
            """200."""
            service.seen.append(("GET", "/", {}))
            return Reply(200, {}, "", 0.0)

    service, show = Upstream(), example.Show()
    monkeypatch.setattr(Everything, "__init__", lambda _: None)
    example._answers(show, Everything(), service)  # type: ignore[call-arg]
    assert show.broken == 3
    assert "BROKEN" in capsys.readouterr().out
