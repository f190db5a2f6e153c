"""The load test loads: through the real client, with an exit code that a pipeline can use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.simulators.faults import FiringRange

QUESTIONS = """\
{"subject": {"type": "user", "id": "a"}, "action": "permit", "resource": {"type": "r", "id": "1"}}
{"subject": {"type": "user", "id": "a"}, "action": "deny", "resource": {"type": "r", "id": "1"}}
"""


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


def locust(
    firing_range: FiringRange, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Two seconds of load."""
    (folder / "questions.jsonl").write_text(QUESTIONS)
    files = firing_range.files()
    return subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"),
            *("-u", "4", "-r", "4", "-t", "2s", "--only-summary"),
            *("--pdp-target", firing_range.target(), "--budget-ms", "2000"),
            *("--pdp-trust-bundle", str(files["trust_bundle"])),
            *("--pdp-certificate", str(files["certificate"]), "--pdp-key", str(files["key"])),
            *("--questions", str(folder / "questions.jsonl"), *options),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.prove
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--p99-ms", "2000"], 0, "0.00% undecided: within the budget"),
        (["--p99-ms", "0.001"], 1, "p99 is above"),
        (["--p99-ms", "2000", "--pdp-server-name", "elsewhere"], 1, "100.00% undecided"),
        (["--pdp-key", "nowhere.key"], 2, "cannot read `nowhere.key`"),
    ],
)
def test_load_test_ends_with_its_verdict(
    firing_range: FiringRange, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    """In time: 0. Too slow, or without decisions: 1. Wrong use: 2."""
    done = locust(firing_range, tmp_path, *options)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    if code == 0:
        assert "PERMIT" in done.stderr
        assert "DENY" in done.stderr


@pytest.mark.prove
def test_scenarios_against_a_real_pdp_end_with_a_verdict_and_a_report(tmp_path: Path) -> None:
    """A steady load and reloads under load, through the real client, a new edition noticed."""
    told = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests.load", "steady", "reload", "--seconds", "24"),
            *("--json", "--report", str(tmp_path / "load.html")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    steady, reload = json.loads(told.stdout)
    assert (steady["errors_max"], reload["errors_max"]) == (0, 0), told.stderr
    assert len(reload["outcome"]["revisions"]) > 1
    assert reload["outcome"]["went_back"] == 0
    assert told.returncode == (1 if steady["problems"] or reload["problems"] else 0)
    assert "within their budget" in (tmp_path / "load.html").read_text()


@pytest.mark.prove
def test_tenants_and_batches_against_a_real_pdp_are_all_decided(tmp_path: Path) -> None:
    """Three tenants at one PDP, each asked about; batches of 200, each item decided."""
    told = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests.load", "tenants", "batch", "--seconds", "20"),
            *("--json", "--report", str(tmp_path / "load.html")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    tenants, batch = json.loads(told.stdout)
    assert tenants["errors_max"] == 0, told.stderr
    assert set(tenants["outcome"]["tenants"]) == {"acme", "globex", "initech"}
    assert sum(second["decided"] for second in batch["outcome"]["seconds"]) > 0, told.stderr
    assert batch["questions_per_s"] >= 200
    assert "questions/s in batches of 200" in (tmp_path / "load.html").read_text()


def test_scenario_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """A misspelt scenario must not become no scenario at all."""
    told = subprocess.run(
        [sys.executable, "-m", "loadtests.load", "stedy"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 2
    assert "no scenario `stedy`; known: steady, burst, ramp, reload" in told.stderr
