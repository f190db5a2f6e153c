"""SECURITY.md names what it must, invents nobody's address, and its times make sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pdp
from pdp.snapshot import CLOCK_TOLERANCE_NS
from pdp.values import NANOS
from tests.conftest import ROOT

POLICY = ROOT / "SECURITY.md"
SECTIONS = (
    *("Reporting", "Supported versions", "What is trusted for what", "What is not defended"),
    "Dependencies",
)
# What the table of trust has to speak of, each in a row of its own.
TRUSTED = (
    *("root.json", "policy keys", "emergency key", "timestamp", "publisher", "bundle store"),
    *("certificate authorities", "caller", "client library", "clock", "state folder", "disk"),
)


def _rows(text: str, section: str) -> list[list[str]]:
    """Cells of the first table of a section, heading left out."""
    part = text.split(f"\n## {section}\n")[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _addresses(text: str) -> list[str]:
    """What looks like a way to reach somebody outside of the hosting platform."""
    return re.findall(r"[\w.+-]+@[\w-]+\.\w+|mailto:|https?://\S+|\b0x[0-9A-F]{16,}\b", text)


def test_policy_has_every_section() -> None:
    """Reports, versions, what is trusted, what is not defended, what is fixed when."""
    assert tuple(re.findall(r"(?m)^## (.*)$", POLICY.read_text())) == SECTIONS


def test_reports_go_to_the_hosting_platform_and_to_no_invented_address() -> None:
    """The way to report is the platform's private one; no address, link or key is made up."""
    text = POLICY.read_text()
    assert "security advisories of the platform" in text
    assert _addresses(text) == []


@pytest.mark.parametrize("address", ["security@portcullis.example", "https://portcullis.example"])
def test_invented_address_is_noticed_twin_without_guard(address: str) -> None:
    """The search for addresses finds one."""
    assert _addresses(f"{POLICY.read_text()}\nWrite to {address}.") != []


@pytest.mark.parametrize("what", TRUSTED)
def test_everything_that_is_trusted_is_limited(what: str) -> None:
    """It has a row that says for what, what happens when it is bad, and what remains."""
    rows = [row for row in _rows(POLICY.read_text(), SECTIONS[2]) if what in row[0]]
    assert rows, what
    for row in rows:
        assert len(row) == 4
        assert all(len(cell) > 3 for cell in row), row


def test_this_version_is_supported_or_unreleased() -> None:
    """The table of versions speaks of the series that this code is of."""
    series = f"{pdp.__version__.partition('.')[0]}.x"
    assert any(
        series in row[0] and row[1] == "yes" for row in _rows(POLICY.read_text(), SECTIONS[1])
    )


def test_worse_is_fixed_sooner() -> None:
    """Times rise from critical to medium, and what can be reached comes first."""
    rows = _rows(POLICY.read_text(), SECTIONS[4])
    assert [row[0].split(",")[0] for row in rows] == ["critical", "high", "medium", "low"]
    days = [[int(cell.split()[0]) for cell in row[1:]] for row in rows[:-1]]
    assert days == sorted(days)
    assert all(reached < not_reached for reached, not_reached in days)


def test_minute_that_goes_unnoticed_is_the_tolerance() -> None:
    """What the policy says about clocks is what freshness is judged by."""
    assert CLOCK_TOLERANCE_NS == 60 * NANOS
    assert "less than a minute" in POLICY.read_text()


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_nobody_else_invents_an_address(page: str) -> None:
    """No other page offers a private address for reports."""
    assert re.findall(r"[\w.+-]+@(?!example\.)[\w-]+\.\w+", (Path(ROOT) / page).read_text()) == []
