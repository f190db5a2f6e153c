"""The fault matrix: real processes, broken one way at a time, and not one permit too many.

The law, for each row of tests/simulators/fault_rows.py: every call is answered
within its budget and 2 s; a permit that a client received is one that the
policies give, made by a fresh bundle, and durable in a record that verifies;
while nobody could decide there is none; and when the fault is over, permits
come back. docs/faults.md is the table of the rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdp.admission import decide
from pdp.boundary import InputLimits, admit
from pdp.bundle import BundleKeeper, BundleSettings
from pdp.cel.limits import EvaluationLimits
from pdp.model import Action, Caller, Cause, Decision, Effect, RecordRef, Request
from pdp_client import Resource, _breaker
from tests.conftest import ROOT, Ledger
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.fault_rows import ROWS, Row, judge, table
from tests.simulators.fault_site import (
    FRONTEND,
    LATE_S_MAX,
    STRANGER,
    Seen,
    Site,
    open_site,
    two_days,
)
from tests.simulators.repository import Files, serve_folder

# 17 rows of 64 are more than a thousand calls; of 640, more than ten thousand.
CALLS = 64
CALLS_PROVE = 640
NAMED = {row.name: row for row in ROWS}


@pytest.fixture(autouse=True)
def without_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is to meet the fault: an open breaker would deny most of them unasked."""
    monkeypatch.setattr(_breaker, "CALLS_MIN", 1 << 60)


def run(site: Site, row: Row, calls: int) -> tuple[Seen, list[str]]:
    """Break, ask, mend; what was seen, and what is wrong with it."""
    seen, calls = Seen(row.name), max(calls, row.least)
    log_bytes = site.log_bytes()
    row.act(site, seen, calls)
    seen.told = site.told(log_bytes)
    return seen, judge(row, seen, calls, site.recorded(seen))


def run_matrix(folder: Path, calls: int, ledger: Ledger) -> None:
    """All rows, on two sites; the table, and the bound that their number gives."""
    wrong: dict[str, list[str]] = {}
    total = permits = unjustified = 0
    for bent in (False, True):
        with open_site(folder / ("bent" if bent else "real"), () if bent else None) as site:
            for row in ROWS:
                if row.bent is not bent:
                    continue
                started = time.monotonic()
                seen, found = run(site, row, calls)
                outcomes = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
                ledger(
                    seed="none: real processes", fault=row.name, cases=seen.calls, saw=outcomes,
                    expected="/".join(cause.name for cause in row.causes),
                    late_s_max=round(seen.late_s, 3), unjustified=len(seen.wrong),
                    recorded=len(seen.permits), bound=f"3/{seen.calls}",
                    seconds=round(time.monotonic() - started, 1),
                )  # fmt: skip
                total, permits = total + seen.calls, permits + len(seen.permits)
                unjustified += len(seen.wrong)
                if found:
                    wrong[row.name] = [f"{len(found)}: saw {outcomes}", *found[:5]]
    bound = f"3/{total} = {3 / total:.1e}"
    ledger(
        seed="none: real processes", fault="all", cases=total, permits=permits,
        unjustified=unjustified, bound=bound,
    )  # fmt: skip
    assert wrong == {}
    assert total >= len(ROWS) * calls


@pytest.mark.timeout(600)
def test_no_fault_makes_a_permit(tmp_path: Path, ledger: Ledger) -> None:
    """A thousand calls under each fault in turn: no permit that is not justified, all in time."""
    assert len(ROWS) * CALLS >= 1_000
    run_matrix(tmp_path, CALLS, ledger)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_no_fault_makes_a_permit_at_length(tmp_path: Path, ledger: Ledger) -> None:
    """Ten thousand calls under each fault in turn."""
    assert len(ROWS) * CALLS_PROVE >= 10_000
    run_matrix(tmp_path, CALLS_PROVE, ledger)


# -- controls and twins


def first_answer(folder: Path, files: Files) -> Decision:
    """What a PDP without memory tells the stranger, with this repository."""
    state = folder / "state"
    source = str(serve_folder(files, folder / "store"))
    settings = BundleSettings(source, folder / "root.json", state, 1)
    keeper = BundleKeeper(settings, EvaluationLimits(), time.time_ns)
    assert keeper.start().outcome == "updated"
    keeper.close()
    snapshot, who = keeper.current(), Caller(f"spiffe://{TRUST_DOMAIN}/{FRONTEND}")
    assert snapshot is not None
    asked = Resource("expense_report", "1", {"status": "submitted", "department": "sales"})
    admitted = admit(Request(STRANGER, Action("read"), asked, request_id="q"), who, InputLimits())
    decision, _ = decide(
        snapshot.policies, snapshot.callers, snapshot.denials, admitted, who, time.time_ns()
    )
    return decision


def test_yesterdays_repository_permits_where_nothing_is_remembered(tmp_path: Path) -> None:
    """The control of `store_old`: what it replays is good, and permits the stranger."""
    repository, old, new = two_days()
    for name, files, effect in (("a", old, Effect.PERMIT), ("b", new, Effect.DENY)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "root.json").write_bytes(repository.trusted_root)
        assert first_answer(folder, files).effect is effect


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A PDP that never finds a bundle stale and never waits for the disk."""
    folder = tmp_path_factory.mktemp("unguarded") / "site"
    with open_site(folder, ("--never-stale", "--not-waiting")) as site:
        yield site


@pytest.mark.parametrize("name", ["clock_ahead", "store_down"])
def test_staleness_twin_without_guard(unguarded: Site, name: str) -> None:
    """A PDP that does not judge freshness is caught by clock and store rows."""
    _, wrong = run(unguarded, NAMED[name], 16)
    assert any("while nobody could decide" in one for one in wrong), wrong


def test_durability_twin_without_guard(unguarded: Site) -> None:
    """A PDP that answers before the disk has is caught when it is killed on a slow one."""
    seen = Seen("twin")
    unguarded.controls.write(sync_s=5.0)
    unguarded.ask(seen, 64, halfway=unguarded.pdp.process.kill)
    unguarded.controls.write()
    unguarded.pdp.end()
    unguarded.start(unguarded.pdp.port)
    unguarded.until(permits=True)
    assert any("is not in the record" in one for one in unguarded.recorded(seen))


def answer(effect: Effect, cause: Cause) -> Decision:
    """What a client might be told."""
    return Decision(effect, cause, record=RecordRef("pdp-1/0/1", 1, bytes(32)))


@pytest.mark.parametrize(
    ("effect", "cause", "asked", "late_s", "permits", "says"),
    [
        (Effect.PERMIT, Cause.RULE, "1", LATE_S_MAX + 0.1, True, "after its budget"),
        (Effect.PERMIT, Cause.RULE, "1-denied", 0.0, True, "no policy permits it"),
        (Effect.PERMIT, Cause.RULE, "1", 0.0, False, "while nobody could decide"),
        (Effect.DENY, Cause.INTERNAL, "1", 0.0, True, "unexpected: DENY/INTERNAL"),
        (Effect.DENY, Cause.DEFAULT, "1", 0.0, True, "was felt by 0 of 1"),
    ],
)
def test_judge_notices_each_way_to_be_wrong(
    effect: Effect, cause: Cause, asked: str, late_s: float, permits: bool, says: str
) -> None:
    """Late, against policy, out of nowhere, for a strange cause, or no fault at all."""
    row, seen = NAMED["hung"], Seen("hung")
    seen.keep(Resource("expense_report", asked), answer(effect, cause), late_s, permits=permits)
    wrong = judge(row, seen, 1, [])
    assert any(says in one for one in wrong), wrong
    good = Seen("hung")
    denial = answer(Effect.DENY, Cause.UNREACHABLE)
    good.keep(Resource("expense_report", "1"), denial, 0.0, permits=False)
    assert judge(row, good, 1, []) == []


def test_page_shows_the_rows() -> None:
    """The table of docs/faults.md is made of the rows that are tested."""
    assert table() in (ROOT / "docs" / "faults.md").read_text()
