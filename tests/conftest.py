"""Fixtures and the ledger of proofs.

`make test` runs everything but what is marked `prove`; `make prove` runs what
is, and keeps seeds and counts: every proof says what it did through `ledger`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_LEDGER = pytest.StashKey[list[dict[str, object]]]()

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


def pytest_configure(config: pytest.Config) -> None:
    """Start an empty ledger."""
    config.stash[_LEDGER] = []


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """`ledger(seed=…, cases=…, …)`: keep what this test did, to be shown at the end."""

    def write(**figures: object) -> None:
        request.config.stash[_LEDGER].append({"test": request.node.nodeid, **figures})

    yield write


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show the ledger, and keep it when `PORTCULLIS_LEDGER` names a file."""
    rows = config.stash[_LEDGER]
    if not rows:
        return
    terminalreporter.section("ledger")
    for row in rows:
        figures = " ".join(f"{key}={value}" for key, value in row.items() if key != "test")
        terminalreporter.write_line(f"{row['test']}: {figures}")
    if path := os.environ.get("PORTCULLIS_LEDGER"):
        Path(path).write_text(json.dumps(rows, indent=1, default=str) + "\n")
