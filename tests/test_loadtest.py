"""The load test loads: through the real client, with an exit code that a pipeline can use."""

from __future__ import annotations

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
