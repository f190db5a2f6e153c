"""What docs/client.md shows is run, against a scripted PDP that permits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pdp_client import AsyncClient, Client, Decision, Resource, Subject
from tests.conftest import ROOT
from tests.simulators.faults import FiringRange

PAGE = (ROOT / "docs" / "client.md").read_text()


def shown() -> list[str]:
    """The page's Python, block by block."""
    return re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE)


def test_what_the_page_shows_runs(tmp_path: Path) -> None:
    """Every block, in order, with this machine's address and files in the place of the page's."""
    with FiringRange(tmp_path) as made:
        files = made.files()
        here: dict[str, str] = {
            '"pdp.example.org:8443"': repr(made.target()),
            '"ca.pem"': repr(str(files["trust_bundle"])),
            '"me.pem"': repr(str(files["certificate"])),
            '"me.key"': repr(str(files["key"])),
            "Client(...,": f"Client({made.target()!r}, **files,",
        }
        with Client(made.target(), **files, budget_s=5) as pdp:
            names: dict[str, Any] = {
                "pdp": pdp,
                "files": files,
                "Client": Client,
                "AsyncClient": AsyncClient,
                "alice": Subject("user", "alice"),
                "reports": [Resource("report", str(number)) for number in range(3)],
            }
            for block in shown():
                local = block
                for there, instead in here.items():
                    local = local.replace(there, instead)
                exec(local, names)  # noqa: S102 our own page
                names["pdp"] = pdp
        assert isinstance(names["decision"], Decision)
        assert [report.id for report in names["readable"]] == ["0", "1", "2"]
        assert len(shown()) >= 3
