"""Fixtures and the ledger of proofs.

`make test` runs everything but what is marked `prove`; `make prove` runs what
is, and keeps seeds and counts: every proof says what it did through `ledger`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
_LEDGER = "ledger"
_PLAIN = (bool, int, float, str)

# Time is no property of an example: the suite shares its cores with whatever else runs there.
settings.register_profile(
    "portcullis", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("portcullis")

Ledger = Callable[..., None]


def vectors_folder() -> Path:
    """Where the outside test data is: `PORTCULLIS_VECTORS`, else beside the project."""
    return Path(os.environ.get("PORTCULLIS_VECTORS", ROOT.parent / "shared" / "vectors"))


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of outside test data; tests that need it are skipped without it."""
    folder = vectors_folder()
    if not folder.is_dir():
        pytest.skip(f"no outside test data at {folder}: set PORTCULLIS_VECTORS to run this")
    return folder


@pytest.fixture(autouse=True)
def _clients_log_as_before() -> Iterator[None]:
    """`pdp authorize` quiets the client's logger, for its process; in tests that is this one."""
    logger = logging.getLogger("pdp_client")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """`ledger(seed=…, cases=…, …)`: keep what this test did, to be shown at the end.

    Figures travel with the test's report: the suite may run in several processes.
    """

    def write(**figures: object) -> None:
        plain = {
            key: value if type(value) in _PLAIN else str(value) for key, value in figures.items()
        }
        request.node.user_properties.append((_LEDGER, {"test": request.node.nodeid, **plain}))

    return write


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the ledger, and keep it when `PORTCULLIS_LEDGER` names a file."""
    rows = [
        figures
        # A proof that failed proves nothing.
        for report in terminalreporter.stats.get("passed", [])
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, figures in report.user_properties
        if name == _LEDGER and isinstance(figures, dict)
    ]
    if not rows:
        return
    rows.sort(key=lambda row: str(row["test"]))
    terminalreporter.section("ledger")
    for row in rows:
        figures = " ".join(f"{key}={value}" for key, value in row.items() if key != "test")
        terminalreporter.write_line(f"{row['test']}: {figures}")
    if path := os.environ.get("PORTCULLIS_LEDGER"):
        Path(path).write_text(json.dumps(rows, indent=1) + "\n")


@pytest.fixture
def pdp(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., object]:
    """Runs `pdp`'s own entry point, with the commands of authors only, in this process."""
    from pdp import cli
    from tests.simulators.author_commands import Done

    monkeypatch.setattr(cli, "COMMANDS", ("check", "test"))
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path, cwd: Path = ROOT) -> Done:
        monkeypatch.setattr(sys, "argv", ["pdp", *map(str, arguments)])
        with monkeypatch.context() as there:
            there.chdir(cwd)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run
