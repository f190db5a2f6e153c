"""The fail-safe conformance kit: ours pass it, and what does not fail safe does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pdp.failsafe import adapter as adapting
from pdp.failsafe import trial, verdict
from pdp.failsafe.adapter import Adapter, AdapterError, Answered
from pdp.failsafe.catalogue import FAULTS, Fault
from pdp.failsafe.firing_range import FiringRange
from pdp.failsafe.judging import judge
from pdp.failsafe.trial import Options
from pdp.failsafe.verdict import Row, Verdict
from tests.conftest import ROOT, Ledger

ADAPTERS = ROOT / "clients" / "python" / "failsafe_adapters"
FLAVOURS = (
    *("threads", "asyncio", "balanced", "balanced-asyncio", "function", "filter", "grpc"),
    *("grpc-aio", "asgi", "fastapi", "flask", "django"),
)
PAGE = (ROOT / "docs" / "failsafe.md").read_text()


def kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`pdp failsafe`."""
    return subprocess.run(
        [Path(sys.executable).with_name("pdp"), "failsafe", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3_000,
        check=False,
    )


def run(flavour: str, *options: str) -> dict[str, Any]:
    """One of ours through all faults; what the kit says of it."""
    done = kit("--json", *options, "--", sys.executable, str(ADAPTERS / "ours.py"), flavour)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["passes"] else 1)
    return found


@pytest.fixture(scope="module")
def ours() -> dict[str, dict[str, Any]]:
    """All of ours, some at a time: most of what they do is wait."""
    with ThreadPoolExecutor(5) as pool:
        runs = pool.map(lambda flavour: run(flavour, "--rounds", "1", "--step", "170"), FLAVOURS)
        return dict(zip(FLAVOURS, runs, strict=True))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_each_of_our_clients_and_enforcement_points_passes(
    ours: dict[str, dict[str, Any]], flavour: str
) -> None:
    """No permit, no hang, in time, under every fault; and the honest PDP gets through."""
    found = ours[flavour]
    assert found["problems"] == []
    batches = flavour in {"threads", "asyncio", "balanced", "balanced-asyncio", "filter"}
    expected = [one for one in FAULTS if one.place != "batch" or batches]
    assert [row["fault"] for row in found["faults"]] == [one.name for one in expected]
    assert all(row["deny"] == row["calls"] for row in found["faults"]), "ours never raise"


@pytest.mark.prove
@pytest.mark.timeout(4_000)
@pytest.mark.parametrize("flavour", ["threads", "asyncio"])
def test_each_client_passes_with_ten_thousand_calls(flavour: str, ledger: Ledger) -> None:
    """Then the tail is judged as well: p99.9 of lateness beside that of a bare sleeper."""
    found = run(flavour, "--rounds", "80")
    ledger(calls=found["calls"], tail_ms=found["tail_ms"])
    assert found["problems"] == []
    assert found["calls"] >= verdict.TAIL_CALLS_MIN


@pytest.mark.prove
@pytest.mark.timeout(4_000)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_each_of_ours_passes_with_every_byte_cut(flavour: str, ledger: Ledger) -> None:
    """Connections are cut at every byte of question and answer, both ways."""
    cuts = [f"--only={one.name}" for one in FAULTS if one.place == "cut"]
    found = run(flavour, *cuts, "--rounds", "1", "--step", "1")
    ledger(calls=found["calls"])
    assert found["problems"] == []


def test_there_are_more_faults_than_were_promised() -> None:
    """Forty at least, each with a name of its own and in words."""
    assert len(FAULTS) >= 40
    assert len({one.name for one in FAULTS}) == len(FAULTS)
    assert len({one.words for one in FAULTS}) == len(FAULTS)


# -- what does not fail safe ------------------------------------------------------------

PROGRAM = """\
import json, sys, time
for line in sys.stdin:
    message = json.loads(line)
    if "protocol" in message:
        answer = {"ready": True, "name": "bad"}
    elif "ask" in message:
        answer = {"ask": message["ask"], "outcome": outcome(message)}
    elif "sleep" in message:
        time.sleep(message["ms"] / 1000)
        answer = {"sleep": message["sleep"]}
    else:
        answer = message
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """The scripted PDP behind good and bad certificates."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


def judged(place: FiringRange, folder: Path, outcome: str, *faults: str) -> Verdict:
    """An adapter that says what this function says, without asking anybody."""
    program = folder / "adapter.py"
    program.write_text(f"{outcome}\n{PROGRAM}")
    chosen = [one for one in FAULTS if one.name in faults]
    with Adapter([sys.executable, str(program)]) as adapter:
        return judge(adapter, place, chosen, Options(budget_s=0.05, rounds=2))


def test_a_client_that_permits_when_it_fails_does_not_pass(
    firing_range: FiringRange, tmp_path: Path
) -> None:
    """`except: return True`: the controls are right, and every fault is a permit."""
    program = 'def outcome(message): return "deny" if message["fault"] == "deny" else "permit"'
    found = judged(firing_range, tmp_path, program, "wrong_digest", "refused")
    assert found.problems == [
        "wrong_digest: 2 of 2 calls: permit",
        "refused: 2 of 2 calls: permit",
    ]


def test_a_client_that_denies_everything_does_not_pass(
    firing_range: FiringRange, tmp_path: Path
) -> None:
    """It permits nothing under a fault, and nothing without: the controls say so."""
    found = judged(firing_range, tmp_path, 'def outcome(message): return "deny"', "refused")
    assert found.rows[0].holds
    assert found.problems == [
        "before refused: the honest PDP's permit came back as deny",
        "after all: the honest PDP's permit came back as deny",
    ]


def test_a_client_that_denies_everything_twin_without_controls(
    firing_range: FiringRange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the controls it would pass."""
    monkeypatch.setattr(trial.Trials, "control", lambda _: "")
    found = judged(firing_range, tmp_path, 'def outcome(message): return "deny"', "refused")
    assert found.problems == []


def test_a_client_that_hangs_does_not_pass_and_is_started_anew(
    firing_range: FiringRange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for so long and no longer; the next fault gets an adapter that lives."""
    monkeypatch.setattr(adapting, "HANG_S", 0.5)
    program = (
        "import time\n"
        "def outcome(message):\n"
        '    if message["fault"] == "wrong_digest": time.sleep(60)\n'
        '    return "permit" if message["fault"] == "permit" else "deny"'
    )
    found = judged(firing_range, tmp_path, program, "wrong_digest", "no_digest")
    assert found.problems == ["wrong_digest: 2 of 2 calls: hang"]


def test_a_client_that_raises_passes_and_is_told(firing_range: FiringRange, tmp_path: Path) -> None:
    """An exception stops a program: no permit, but not what ours do."""
    program = (
        "def outcome(message):\n"
        '    return message["fault"] if message["fault"] in ("permit", "deny") else "error"'
    )
    found = judged(firing_range, tmp_path, program, "wrong_digest")
    assert found.problems == []
    assert found.rows[0].outcomes == Counter(error=2)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit(3)", "adapter ended, or said what is no JSON object"),
        ("print('hello', flush=True)", "no JSON object: b'hello'"),
        ("print('{}', flush=True)", "did not say that it is ready"),
        ("import sys; sys.exit('a file is missing')", "it said: a file is missing"),
    ],
)
def test_an_adapter_that_does_not_speak_is_an_error_with_its_words(
    tmp_path: Path, program: str, said: str
) -> None:
    """Exit code 2, and what the adapter itself said on its standard error."""
    path = tmp_path / "adapter.py"
    path.write_text(program)
    done = kit("--only", "refused", "--", sys.executable, str(path))
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())


def test_an_adapter_that_says_something_else_is_an_error(
    firing_range: FiringRange, tmp_path: Path
) -> None:
    """An outcome that is none must not be counted as a denial."""
    with pytest.raises(AdapterError, match="to a question"):
        judged(firing_range, tmp_path, 'def outcome(message): return "maybe"', "refused")


def test_wrong_use_says_what_is_right() -> None:
    """A fault that is none, an adapter that is missing, a program that is not there."""
    for arguments, said in (
        (["--only", "refusd", "--", "x"], "no fault `refusd`"),
        (["--only", "refused"], "the adapter is missing"),
        (["--only", "refused", "--", "./nowhere"], "cannot start `./nowhere`"),
    ):
        done = kit(*arguments)
        assert done.returncode == 2, done.stdout
        assert said in " ".join(done.stderr.split())


# -- the arithmetic of the verdict ------------------------------------------------------


def row(*outcomes: Answered) -> Row:
    """A row with these calls of 0.25 s."""
    made = Row(FAULTS[0])
    for one in outcomes:
        made.add(one, 0.25)
    return made


@pytest.mark.parametrize(
    ("answered", "holds"),
    [
        (Answered("deny", 0.1), True),
        (Answered("error", 2.2), True),
        (Answered("deny", 2.3), False),
        (Answered("permit", 0.1), False),
        (Answered("hang", 5.0), False),
    ],
)
def test_a_row_holds_without_permit_or_hang_and_in_time(answered: Answered, holds: bool) -> None:
    """One call that is not so, and the fault is not survived."""
    assert row(Answered("deny", 0.1), answered).holds is holds
    assert not row().holds


def test_the_tail_is_judged_with_calls_enough_to_have_one() -> None:
    """p99.9 of lateness less that of a bare sleeper, which carries the machine's own."""
    found = Verdict("x", [row(Answered("deny", 0.1))])
    found.late_s, found.slept_late_s = [0.2] * 10_000, [0.1] * 1_000
    assert found.tail_s == pytest.approx(0.1)
    assert found.problems == []
    found.rows = [row(*[Answered("deny", 0.1)] * 10_000)]
    assert found.problems == ["p99.9 of lateness is 100 ms beyond that of a bare sleeper"]


# -- the page ---------------------------------------------------------------------------


def table(faults: tuple[Fault, ...]) -> str:
    """The page's table of faults."""
    rows = [f"| `{one.name}` | {one.place} | {one.words} |" for one in faults]
    return "\n".join(["| fault | made in | what it is |", "|---|---|---|", *rows])


def test_the_page_lists_every_fault() -> None:
    """As the catalogue has them: `python -m tests.test_failsafe` writes the table."""
    found = re.search(r"(?s)<!-- begin faults -->\n(.*?)\n<!-- end faults -->", PAGE)
    assert found is not None
    assert found.group(1) == table(FAULTS)


def test_the_options_on_the_page_are_those_of_the_command() -> None:
    """With their defaults."""
    done = kit("--help")
    for option, default in re.findall(r"(?m)^\| `(--[a-z-]+)[^|]*` \| ([^|]*) \|", PAGE):
        assert option in done.stdout
        if default.strip().isdigit():
            assert f"[default: {default.strip()}]" in done.stdout


if __name__ == "__main__":
    path = ROOT / "docs" / "failsafe.md"
    path.write_text(
        re.sub(
            r"(?s)(<!-- begin faults -->\n).*(<!-- end faults -->)",
            lambda found: f"{found.group(1)}{table(FAULTS)}\n{found.group(2)}",
            PAGE,
        )
    )
