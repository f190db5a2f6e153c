"""Sizing is arithmetic, and what a stall does is a simulation: both hold the page to themselves."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from docs.demo.questions import QUESTIONS
from docs.demo.scene import Scene
from loadtests import capacity, stall_simulation
from loadtests.capacity import Load
from loadtests.stall_simulation import POLICIES, Setting, Simulation, simulate
from pdp_client import Question, _balance, _breaker
from tests.conftest import ROOT, Ledger

PAGE = (ROOT / "docs" / "capacity.md").read_text()
FOUND = (ROOT / "loadtests" / "README.md").read_text()
CPU_US = 350
LOAD = Load(decisions_per_s=5_000, cpu_us=CPU_US, record_bytes=810)
SMALL = Setting(clients=6, stall=6.0, after=4.0)
TURNS, FAILING_OVER, HEDGING = list(POLICIES)[1:]


def test_processes_are_rate_times_cpu_over_utilisation() -> None:
    """5,000 a second of 350 us are 1.75 cores: at one half, four; all of a fraction is one more."""
    assert capacity.processes(LOAD) == 4
    assert capacity.processes(replace(LOAD, decisions_per_s=1)) == 1
    assert capacity.processes(LOAD, 0.9) == 2
    assert capacity.machines(LOAD, 2) == 3
    assert capacity.machines(replace(LOAD, spare=2), 3) == 4


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: Load(0, 1, 1),
        lambda: Load(1, float("nan"), 1),
        lambda: Load(float("inf"), 1, 1),
        lambda: Load(1, 1, -1),
        lambda: Load(1, 1, 1, spare=-1),
        lambda: capacity.processes(LOAD, 1.0),
        lambda: capacity.wait_us(CPU_US, 0),
        lambda: capacity.machines(LOAD, 0),
        lambda: capacity.spool_bytes(LOAD, 0, 60),
        lambda: capacity.spool_bytes(LOAD, 1, 0),
    ],
)
def test_senseless_sizes_are_refused(senseless: Callable[[], object]) -> None:
    """A rate of nothing, a core that is used to its end, no process: there is no plan for it."""
    with pytest.raises(ValueError, match=r"must|at least|utilisation"):
        senseless()


def test_spool_holds_two_archivings_below_the_alert() -> None:
    """What two archivings leave behind fills no more than the share at which there is an alert."""
    size = capacity.spool_bytes(LOAD, 2, 3_600)
    between = 5_000 / 2 * 810 * 3_600
    assert 2 * between / size <= capacity.SPOOL_ALERT
    alert = f"`pdp_spool_bytes / pdp_spool_bytes_max > {capacity.SPOOL_ALERT}`"
    assert alert in (ROOT / "docs" / "operations.md").read_text()
    assert capacity.record_bytes_per_day(LOAD) == 5_000 * 810 * 86_400


def test_memory_is_the_bound_of_the_page_about_running() -> None:
    """With the defaults 947 MiB, as docs/serve.md says; parent and fetcher beside workers."""
    assert capacity.memory_mib() == 947
    assert capacity.memory_mib(workers=2) == 2 * 947 + 150
    assert capacity.memory_mib(bundle_mib=100) == 1_147
    assert "which is 947 MiB with the defaults" in (ROOT / "docs" / "serve.md").read_text()


def test_page_cites_what_was_found_and_computes_the_rest() -> None:
    """Measured figures are those of the load tests; the others are what the functions say."""
    # What is measured anew may change; the page must not promise more than was found last.
    cpu = re.search(r"`--rounds \d+`: (\d+) and \d+ us, ratio", FOUND)
    batch = re.search(r"(\d+) µs of CPU\n *where it was (\d+)", FOUND)
    bundle = re.search(r"10,000 policies, 28 MB: [^|]*\| ([\d.]+) s, (\d+) MB", FOUND)
    assert cpu is not None
    assert batch is not None
    assert bundle is not None
    assert 250 < int(cpu[1]) <= CPU_US
    assert f"with the expense reports: less than {CPU_US} us" in PAGE
    assert round(stall_simulation.CPU_S * 1e6) == CPU_US
    assert int(batch[1]) <= 70
    assert "less than 70 us of CPU a\nquestion" in PAGE
    assert float(bundle[1]) < 3
    assert int(bundle[2]) < 150
    assert "10,000 policies of 28 MB take less than 150 MB" in PAGE
    waits = [round(capacity.wait_us(CPU_US, share)) for share in (0.5, 0.8, 0.9)]
    told = "{:,} us at one half, {:,} us at 0.8, {:,} us at 0.9".format(*waits)
    assert f"At {CPU_US} us: {told}" in PAGE
    late = [round(1_000 * capacity.catching_up_s(0.1, share)) for share in (0.5, 0.8)]
    assert late == [100, 400]


def test_command_of_the_page_prints_what_the_page_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever types it gets the same plan."""
    shown = re.search(
        r"```sh\npython -m loadtests.capacity (.*)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL
    )
    assert shown is not None
    monkeypatch.setattr(sys, "argv", ["capacity", *shlex.split(shown[1])])
    capacity.main()
    assert capsys.readouterr().out == shown[2]
    monkeypatch.setattr(sys, "argv", ["capacity", *shlex.split(shown[1]), "--workers", "0"])
    with pytest.raises(SystemExit) as ended:
        capacity.main()
    assert ended.value.code == 2


def test_simulation_is_the_same_each_time() -> None:
    """What a seed gives, it gives again; another seed gives other calls."""
    once = Simulation(SMALL, 10, HEDGING).run()
    assert Simulation(SMALL, 10, HEDGING).run() == once
    assert Simulation(replace(SMALL, seed=2), 10, HEDGING).run() != once


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("pdps", [1, 10])
def test_simulated_calls_end_within_their_budget_and_only_a_stall_denies(
    pdps: int, policy: str
) -> None:
    """No call is later than its budget or asked more than twice; none is denied before."""
    ended = Simulation(SMALL, pdps, policy).run()
    assert max(one.took for one in ended) <= SMALL.budget + 1e-9
    assert max(one.attempts for one in ended) <= 2
    early = [one for one in ended if one.started < SMALL.before - SMALL.budget]
    assert early
    assert all(one.permitted for one in early)


def test_turns_spread_a_stall_and_leaving_out_ends_it() -> None:
    """Of ten PDPs, turns deny a tenth of calls all the time; learning denies a fraction of that."""
    turns, _ = simulate(SMALL, 10, TURNS)
    learning, after = simulate(SMALL, 10, FAILING_OVER)
    alone, _ = simulate(SMALL, 1, FAILING_OVER)
    kept, _ = simulate(SMALL, 10, "one connection")
    assert turns.denied == pytest.approx(0.1, abs=0.02)
    assert learning.denied < turns.denied / 2
    assert after.denied == 0
    assert alone.denied > 0.99
    assert kept.worst > 0.99
    assert turns.worst < 0.2


def test_hedging_is_bounded_and_rescues_the_few_that_meet_one_of_many() -> None:
    """A twentieth of calls is asked twice, and what was earned before; fewer are denied."""
    plain, _ = simulate(SMALL, 100, FAILING_OVER)
    hedged, _ = simulate(SMALL, 100, HEDGING)
    assert 0 < hedged.extra < _balance.HEDGE_SHARE + 0.02
    assert hedged.denied < plain.denied


def test_hedging_twin_that_learns_nothing_from_the_end_of_a_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two PDPs, hedging would keep the stalled one in for longer if `Balance` were not told."""
    plain, _ = simulate(SMALL, 2, FAILING_OVER)
    hedged, _ = simulate(SMALL, 2, HEDGING)
    monkeypatch.setattr(stall_simulation, "HEDGED_TIMEOUT_IS_LEARNT", False)
    unlearnt, _ = simulate(SMALL, 2, HEDGING)
    assert hedged.denied < 2 * plain.denied
    assert unlearnt.denied > 2 * hedged.denied


def test_simulation_uses_the_clients_own_balance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: where `Balance` leaves nobody out, the simulated stall does not end either."""
    learning, _ = simulate(SMALL, 10, FAILING_OVER)
    monkeypatch.setattr(_balance, "FAILURES_MAX", 1 << 60)
    monkeypatch.setattr(_breaker.Breaker, "learn", lambda *_: None)
    unguarded, _ = simulate(SMALL, 10, FAILING_OVER)
    assert unguarded.denied > 2 * learning.denied


def test_table_of_the_page_is_what_the_simulation_prints() -> None:
    """The rows of two and of ten PDPs; the others are proved at length."""
    assert stall_simulation.HEAD in PAGE
    for pdps in (2, 10):
        for policy in POLICIES:
            assert stall_simulation.row(pdps, policy, *simulate(Setting(), pdps, policy)) in PAGE


@pytest.mark.prove
def test_whole_table_of_the_page_is_what_the_simulation_prints(ledger: Ledger) -> None:
    """All fleets under all policies, row by row, and nothing besides."""
    rows = [
        stall_simulation.row(pdps, policy, *simulate(Setting(), pdps, policy))
        for pdps in stall_simulation.FLEETS
        for policy in POLICIES
    ]
    table = PAGE.partition("<!-- begin stall -->\n")[2].partition("<!-- end stall -->")[0]
    assert table.split("\n") == [*stall_simulation.HEAD.split("\n"), *rows, ""]
    ledger(seed=Setting().seed, cases=len(rows))


@pytest.mark.prove
def test_record_of_a_question_of_the_demo_is_as_large_as_the_page_says(
    tmp_path_factory: pytest.TempPathFactory, ledger: Ledger
) -> None:
    """A real `pdp serve`: how much its record grows, within a tenth."""
    scene = Scene(tmp_path_factory.mktemp("record"))
    scene.issue_certificates()
    scene.publish_first()

    def size() -> int:
        return sum(path.stat().st_size for path in scene.record.rglob("*.seg"))

    with scene.serving(scene.repository) as server, scene.client(server) as client:
        asked = [
            client.authorize(one.subject, one.action, one.resource, one.context)
            for one in QUESTIONS
        ]
        before = size()
        for one in QUESTIONS:
            client.authorize(one.subject, one.action, one.resource, one.context)
        each = (size() - before) / len(asked)
        batch = [
            Question(one.subject, one.action, one.resource, context=one.context)
            for one in QUESTIONS * (200 // len(QUESTIONS))
        ]
        before = size()
        client.authorize_batch(batch)
        each_of_batch = (size() - before) / len(batch)
    told = re.search(r"The questions of the demo: (\d+)\s+bytes each", PAGE)
    assert told is not None
    assert each == pytest.approx(int(told[1]), rel=0.1)
    told = re.search(r"and (\d+) bytes of record", PAGE)
    assert told is not None
    assert each_of_batch == pytest.approx(int(told[1]), rel=0.1)
    ledger(
        seed="none: real processes", cases=len(asked), bytes_a_record=round(each),
        bytes_a_question_of_a_batch=round(each_of_batch),
    )  # fmt: skip
