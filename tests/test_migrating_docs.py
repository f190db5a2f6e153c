"""The page for those who come from another engine: its policy does what it says, its code runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pdp_client import Cause, testing
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "migrating.md").read_text()
FILES = re.findall(r"(?ms)^```yaml\n# ([^\n]+)\n(.*?)^```$", PAGE)
(CODE,) = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE)
LEAVE = {"id": "l-1", "manager": "lea", "status": "pending"}


def leave_tests(folder: Path, edit: tuple[str, str] = ("", "")) -> subprocess.CompletedProcess[str]:
    """Write the page's files, run its command."""
    for name, text in FILES:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace(*edit))
    (command,) = re.findall(r"(?m)^\$ pdp (.*)$", PAGE)
    return subprocess.run(
        [Path(sys.executable).with_name("pdp"), *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_translated_policy_passes_its_tests(tmp_path: Path) -> None:
    """Also the row that says that a deny that cannot be judged denies."""
    done = leave_tests(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 tests passed" in done.stdout


def test_twin_a_policy_that_takes_absence_for_normal_fails_that_row(tmp_path: Path) -> None:
    """Had the deny been skipped, the last row would not pass: it tells the engines apart."""
    deny = 'when: resource.properties.status != "pending"'
    skipped = 'when: has(resource.properties.status) && resource.properties.status != "pending"'
    done = leave_tests(tmp_path, (deny, skipped))
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize("cause", [Cause.UNREACHABLE, Cause.RULE])
def test_the_code_that_is_shown_denies_whatever_the_cause(cause: Cause) -> None:
    """A bool, false for every denial; true only for a permit."""
    namespace: dict[str, Any] = {}
    exec(compile(CODE, "docs/migrating.md", "exec"), namespace)  # noqa: S102 our own page
    assert namespace["may_approve"](testing.DenyAll(cause), "lea", LEAVE) is False
    assert namespace["may_approve"](testing.UnsafePermitAll(), "lea", LEAVE) is True
