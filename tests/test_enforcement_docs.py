"""The page about enforcement points: its code runs, and its table is what is told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pdp_client import testing
from pdp_client.enforcement import _grpc_guards, _outcomes
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "enforcement.md").read_text()
BLOCKS = dict(re.findall(r"(?ms)^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE))


def names(client: Any, async_client: Any) -> dict[str, Any]:
    """What the page takes for given."""

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    return {"client": client, "async_client": async_client, "application": application}


@pytest.mark.parametrize("title", [title for title in BLOCKS if title != "Obligations"])
def test_the_code_on_the_page_runs(title: str) -> None:
    """Every place that is shown is made as it is shown."""
    given = names(testing.DenyAll(), testing.AsyncDenyAll())
    exec(compile(BLOCKS[title], f"docs/enforcement.md: {title}", "exec"), given)  # noqa: S102 ours


def test_functions_blocks_and_lists_do_what_the_page_says() -> None:
    """Nothing after a denial, everything after a permit."""
    code = compile(BLOCKS["Functions, blocks, lists"], "docs/enforcement.md", "exec")
    for client, kept in ((testing.DenyAll(), []), (testing.UnsafePermitAll(), ["a", "b"])):
        given = names(client, None)
        exec(code, given)  # noqa: S102 ours
        assert given["visible"]("ana", ["a", "b"]) == kept


def test_duties_on_the_page_are_declared_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handled is what the client says it can meet."""
    made: list[Any] = []

    def client(target: str, **options: Any) -> testing.DenyAll:
        made.append((target, options["can_meet"]))
        return testing.DenyAll()

    monkeypatch.setattr("pdp_client.Client", client)
    exec(compile(BLOCKS["Obligations"], "docs/enforcement.md", "exec"), {})  # noqa: S102 ours
    assert made == [("pdp.example.org:8443", {("document", "watermark")})]


def test_the_table_is_what_is_told() -> None:
    """Three classes, their status over HTTP and over gRPC."""
    rows = re.findall(r"(?m)^\| [^|]+ \| (\d+) \| ([A-Z_]+) \|$", PAGE)
    assert rows == [
        (str(_outcomes.HTTP_STATUS[told]), _grpc_guards.STATUS[told].name)
        for told in _outcomes.Told
    ]
