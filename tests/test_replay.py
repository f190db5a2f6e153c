"""Replay: what was asked before, asked of both editions; nothing is guessed.

The one thing that must not happen is "no difference" about a question that was
not the one that was asked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.audit.disk import RealDisk
from pdp.audit.entry import Capture, Received
from pdp.audit.log import Opened
from pdp.audit.spool import Spool
from pdp.audit.survey import survey
from pdp.boundary import InputLimits, admit
from pdp.decision_point import DecisionPoint
from pdp.impact import recorded
from pdp.impact.edition import Edition, read_edition
from pdp.impact.question import Question
from pdp.impact.recorded import Recorded, Unplayable, fill, read_record
from pdp.impact.replay import Danger, Outcome, Replay, danger_of
from pdp.model import (
    Action,
    BundleRef,
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    Request,
    Resource,
    Subject,
)
from pdp.snapshot import Denials, Snapshot
from pdp.values import NANOS
from pdp.wire import request_to_pb
from tests.conftest import ROOT, Ledger
from tests.simulators.author_commands import Command
from tests.simulators.decision_points import NOW_NS, HandClock, HeldSnapshot
from tests.simulators.long_log import write_log
from tests.test_diff import folder, pdp
from tests.test_explaining import POLICY

__all__ = ["pdp"]

SEED = 20_261_127
CALLER = Caller("spiffe://example.org/app")
# Looks at more than the policy it came from: who owns a note, and whether it is late.
WIDER = POLICY.replace(
    "when: is_open &&", "when: is_open && resource.properties.owner != subject.id &&"
).replace('t == "secret"', 't == "secret" || context.late == true')
SCHEMA = """
kind: schema
resource: note
unguarded: in-doubt
schema:
  type: object
  properties:
    level: {type: integer}
  additionalProperties: true
"""


@pytest.fixture(scope="module")
def editions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Edition, Edition]:
    """The policy of test_explaining, and one that reads more."""
    path = tmp_path_factory.mktemp("editions")
    old = read_edition(str(folder(path / "old")))
    new = read_edition(str(folder(path / "new", WIDER)))
    return dataclasses.replace(old, ref=BundleRef(7, bytes(32))), new


def questions(seed: int, count: int) -> Iterator[Request]:
    """Requests of every kind, attributes now and then missing or of the wrong kind."""
    chance = random.Random(seed)

    def some(**values: list[Any]) -> dict[str, Any]:
        return {
            name: chance.choice(options)
            for name, options in values.items()
            if chance.random() < 0.75
        }

    for number in range(count):
        yield Request(
            Subject(
                chance.choice(["user", "robot"]),
                chance.choice(["ana", "ben"]),
                some(roles=[["reader"], ["editor"], [], "x"], level=[1, 2, 3, "high"], more=[1]),
            ),
            Action(chance.choice(["read", "write", "burn"]), some(fast=[True])),
            Resource(
                chance.choice(["note", "note", "note", "other"]),
                "n1",
                some(
                    status=["open", "shut"],
                    level=[1, 2, None],
                    author=["ana", "ben"],
                    owner=["ana", "ben"],
                    tags=[["secret"], ["a"], [], 7],
                ),
            ),
            some(late=[True, False, 1]),
            request_id=f"q-{number}",
        )


def record(
    path: Path, edition: Edition, requests: list[Request], capture: Capture, *, door: bool
) -> list[Opened]:
    """What a real decision point and a real spool keep of them."""
    clock = HandClock()
    snapshot = Snapshot(
        policies=edition.tenants,
        callers=edition.callers,
        denials=Denials(),
        ref=edition.ref or BundleRef(1, bytes(32)),
        fresh_until_ns=NOW_NS + 3_600 * NANOS,
        clock_mark_ns=NOW_NS,
    )

    async def run() -> None:
        spool = Spool.open(path, "pdp-1")
        point = DecisionPoint(HeldSnapshot(snapshot), spool, capture=capture, clock=clock)
        for request in requests:
            received = None
            if door:
                message = request_to_pb(request).SerializeToString()
                received = Received(message)
            await point.authorize(request, CALLER, clock.seconds + 60, received)
        spool.close()

    asyncio.run(run())
    return records(path)


def records(path: Path) -> list[Opened]:
    """All of a log."""
    found: list[Opened] = []
    survey([path], RealDisk(), visit=lambda _, opened: found.append(opened))
    return found


def answer(edition: Edition, request: Request) -> Decision:
    """What an edition says."""
    admitted = admit(request, CALLER, InputLimits())
    return edition.decide(admitted, CALLER, NOW_NS)[0]


def played(
    editions: tuple[Edition, Edition], found: list[Opened], top: int = 1_000, **options: Any
) -> Outcome:
    """Both editions on a log."""
    work = Replay(*editions, top=top, **options)
    for each in found:
        work.take_record(each)
    return work.outcome


@pytest.mark.parametrize("door", [True, False])
def test_full_records_replay_exactly(
    editions: tuple[Edition, Edition], tmp_path: Path, *, door: bool
) -> None:
    """With `capture: full` every request is asked again, and each difference is found."""
    asked = list(questions(SEED, 150))
    found = record(tmp_path / "r", editions[0], asked, Capture.FULL, door=door)
    outcome = played(editions, found)
    want = [danger_of(*(answer(each, request) for each in editions)) for request in asked]
    assert (outcome.asked, outcome.drifted, sum(outcome.skipped.values())) == (len(asked), 0, 0)
    assert outcome.different == sum(danger is not None for danger in want)
    for danger in Danger:
        assert outcome.counts[danger] == want.count(danger)
    assert outcome.different > 10


def test_partial_records_are_asked_only_if_the_answer_is_the_same(
    editions: tuple[Edition, Edition], tmp_path: Path, ledger: Ledger
) -> None:
    """With `capture: attributes`: what is asked again is answered as the whole request would be."""
    asked = list(questions(SEED + 1, 300))
    found = record(tmp_path / "r", editions[0], asked, Capture.ATTRIBUTES, door=True)
    by_id = {request.request_id: request for request in asked}
    count = 0
    for opened in found:
        kept = next(iter(read_record(opened)), None)
        if not isinstance(kept, Recorded):
            continue
        question = fill(kept, editions, editions[0])
        if isinstance(question, Unplayable):
            assert question.reason.startswith("attribute `")
            continue
        whole = by_id[question.request.request_id]
        for edition in editions:
            assert answer(edition, question.request) == answer(edition, whole), whole
        count += 1
    ledger(seed=SEED + 1, asked=count, of=len(asked))
    assert 50 < count < len(asked)


def test_guessing_what_was_not_recorded_would_be_noticed(
    editions: tuple[Edition, Edition], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: with gaps taken for absent attributes, some answers are not those of the request."""
    asked = list(questions(SEED + 1, 300))
    found = record(tmp_path / "r", editions[0], asked, Capture.ATTRIBUTES, door=True)
    by_id = {request.request_id: request for request in asked}
    everything = frozenset({(part,) for part in recorded._PARTS})
    monkeypatch.setattr(recorded, "_BY_RULES", frozenset(range(20)))
    real = recorded.reads
    calls = iter(range(10**9))

    def careless(edition: Edition, bare: Any, question: Question) -> Any:
        # The first of each three calls is about what the deciding edition looked for.
        return everything if next(calls) % 3 == 0 else real(edition, bare, question)

    monkeypatch.setattr(recorded, "reads", careless)
    wrong = 0
    for opened in found:
        kept = next(iter(read_record(opened)), None)
        if isinstance(kept, Recorded):
            question = fill(kept, editions, editions[0])
            assert isinstance(question, Question)
            whole = by_id[question.request.request_id]
            wrong += answer(editions[1], question.request) != answer(editions[1], whole)
    assert wrong > 0


def test_what_is_absent_is_known_only_of_the_bundle_that_decided(
    editions: tuple[Edition, Edition], tmp_path: Path
) -> None:
    """Without knowing who decided, an attribute that is not there may have been there."""
    request = Request(
        Subject("user", "ana", {"roles": ["reader"]}),
        Action("read"),
        Resource("note", "n1", {"status": "open", "level": 1, "tags": []}),
        request_id="q",
    )
    found = record(tmp_path / "r", editions[0], [request], Capture.ATTRIBUTES, door=True)
    same = (editions[0], editions[0])
    assert played(same, found).asked == 1
    unknown = dataclasses.replace(editions[0], ref=None)
    outcome = played((unknown, unknown), found)
    assert list(outcome.skipped) == ["attribute `subject.properties.level` was not recorded"]
    assert played((unknown, unknown), found, recorded_by_old=True).asked == 1


def test_a_schema_looks_at_all_of_its_part(
    editions: tuple[Edition, Edition], tmp_path: Path
) -> None:
    """A new schema cannot be tried on attributes that were recorded in part."""
    path = folder(tmp_path / "new")
    (path / "s.yaml").write_text(SCHEMA)
    new = read_edition(str(path))
    asked = [Request(Subject("user", "a", {"roles": []}), Action("read"), Resource("note", "1"))]
    part = record(tmp_path / "a", editions[0], asked, Capture.ATTRIBUTES, door=False)
    outcome = played((editions[0], new), part)
    assert list(outcome.skipped) == ["attribute `resource.properties` was not recorded"]
    whole = record(tmp_path / "f", editions[0], asked, Capture.FULL, door=False)
    assert played((editions[0], new), whole).asked == 1


def tampered(opened: Opened, **changes: Any) -> Opened:
    """Another decision in the record."""
    message = type(opened.message).FromString(opened.message.SerializeToString())
    for name, value in changes.items():
        if value is None:
            message.decision.ClearField(name)
        else:
            setattr(message.decision, name, value)
    return dataclasses.replace(opened, message=message)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"truncated": True, "request": None}, "too large"),
        ({"cause": 7}, "refused as malformed"),
        ({"request": b"\xff\xff"}, "not the one whose digest was recorded"),
        ({"tenant": "else", "request": None}, "tenant `else`"),
    ],
)
def test_what_cannot_be_asked_again_says_why(
    editions: tuple[Edition, Edition], tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    """Each record that is left out is counted with its reason."""
    asked = list(questions(SEED, 1))
    found = record(tmp_path / "r", editions[0], asked, Capture.FULL, door=True)
    outcome = played(editions, [tampered(found[-1], **changes)])
    assert outcome.asked == 0
    ((said, count),) = outcome.skipped.items()
    assert (count, reason in said) == (1, True), said


WATERMARK = Obligation("mark", "watermark", {"text": "x"})
OTHER = Obligation("tell", "notification", {})
PERMIT = Decision(Effect.PERMIT, Cause.RULE, ("p/r",), (WATERMARK,))
DENY = Decision(Effect.DENY, Cause.DEFAULT)


@pytest.mark.parametrize(
    ("old", "new", "danger"),
    [
        (DENY, PERMIT, Danger.OPENS),
        (PERMIT, DENY, Danger.CLOSES),
        (PERMIT, dataclasses.replace(PERMIT, obligations=()), Danger.SHEDS),
        (PERMIT, dataclasses.replace(PERMIT, obligations=(OTHER,)), Danger.SHEDS),
        (PERMIT, dataclasses.replace(PERMIT, obligations=(OTHER, WATERMARK)), Danger.OTHERWISE),
        (PERMIT, dataclasses.replace(PERMIT, rules=("p/s",)), Danger.OTHERWISE),
        (DENY, Decision(Effect.DENY, Cause.CALLER), Danger.OTHERWISE),
        (PERMIT, PERMIT, None),
        (DENY, DENY, None),
    ],
)
def test_danger_of_a_difference(old: Decision, new: Decision, danger: Danger | None) -> None:
    """Opening is worst, then lost duties, then closing, then everything else."""
    assert danger_of(old, new) is danger


def test_differences_are_bounded_and_the_worst_come_first(
    editions: tuple[Edition, Edition],
) -> None:
    """However many differ: counts are exact, cases and kinds have a limit."""
    work = Replay(*editions, top=5, caller=CALLER.spiffe_id, now_ns=NOW_NS)
    for number in range(400):
        row = {
            "subject": {
                "type": "user",
                "id": f"u{number}",
                "properties": {"roles": ["reader"], "level": 3},
            },
            "action": "read",
            "resource": {
                "type": "note",
                "id": f"n{number}",
                "properties": {"status": "open", "level": 1, "tags": ["a"], "owner": "x"},
            },
            "context": {"late": number % 2 == 0},
        }
        work.take_line(json.dumps(row).encode(), f"q:{number}")
    outcome = work.outcome
    assert (outcome.asked, outcome.counts) == (400, {Danger.CLOSES: 200})
    assert len(outcome.cases[Danger.CLOSES]) == 5
    assert [case.place for case in outcome.worst(3)] == ["q:0", "q:2", "q:4"]
    for number in range(3_000):
        work.take_line(f'{{"x{number}": 1}}'.encode(), "q")
    assert len(outcome.skipped) <= 1_001
    assert sum(outcome.skipped.values()) == 3_000
    # Which they are: the first of each reason, and no more, however many there are.
    assert outcome.skipped_at.keys() == outcome.skipped.keys()
    assert max(map(len, outcome.skipped_at.values())) == 3


LINE = (
    '{"caller": "spiffe://example.org/app", "now": "2026-09-15T10:00:00Z", "subject": {"type":'
    ' "user", "id": "ana", "properties": {"roles": ["editor"]}}, "action": "write", "resource":'
    ' {"type": "note", "id": "1", "properties": {"author": "ana", "tags": []}}}'
)
LINES = [
    LINE,
    "not a question",
    "",
    "\udcff",
]


def test_the_command_replays_files_of_questions(tmp_path: Path, pdp: Command) -> None:
    """Exit code 1 and the case; what is no question is counted; 0 without a difference."""
    narrower = POLICY.replace('deny\n    actions: ["*"]', "deny\n    actions: [burn]")
    old, new = folder(tmp_path / "old"), folder(tmp_path / "new", narrower)
    path = tmp_path / "questions.jsonl"
    path.write_bytes("\n".join(LINES).encode("utf-8", "surrogateescape"))
    done = pdp("diff", old, new, "--replay", path, "--json")
    told = json.loads(done.stdout)["replay"]
    assert (done.returncode, told["asked"], told["different"]) == (1, 1, {})
    places = {(each["count"], *each["first"]) for each in told["not_asked"]}
    assert places == {(1, f"{path}:2"), (1, f"{path}:4")}
    path.write_text(LINES[0].replace('"tags": []', '"tags": ["secret"]') + "\n")
    done = pdp("diff", old, new, "--replay", path)
    assert done.returncode == 1
    assert "1 request asked of both, 1 answered otherwise" in done.stdout
    assert "DENY → PERMIT: user:ana write note:1 at 2026-09-15T10:00:00Z" in done.stdout
    assert pdp("diff", old, old, "--replay", path).returncode == 0
    assert pdp("diff", old, old, "--replay", tmp_path / "nothing").returncode == 2
    assert pdp("diff", old, old, "--replay", old).returncode == 2


def test_the_command_replays_a_spool(
    editions: tuple[Edition, Edition], tmp_path: Path, pdp: Command
) -> None:
    """The folder of a record, with heads to find each case by."""
    record(tmp_path / "r", editions[0], list(questions(SEED, 60)), Capture.FULL, door=True)
    old, new = folder(tmp_path / "old"), folder(tmp_path / "new", WIDER)
    done = pdp("diff", old, new, "--replay", tmp_path / "r", "--top", "2", "--json")
    told = json.loads(done.stdout)["replay"]
    assert (done.returncode, told["asked"], told["recorded_otherwise"]) == (1, 60, 0)
    assert len(told["cases"]) == 2
    assert told["cases"][0]["place"].startswith("pdp-1/0/1:")
    assert told["cases"][0]["danger"] == min(told["different"], key=lambda name: Danger[name])


def test_a_line_of_any_length_is_one_line(
    tmp_path: Path, pdp: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line longer than any question is left out, and the next one is read whole."""
    from pdp.cli import diff

    monkeypatch.setattr(diff, "_LINE_BYTES_MAX", 2_000)
    old = folder(tmp_path / "old")
    path = tmp_path / "questions.jsonl"
    path.write_text("[" * 7_000 + "\n" + LINES[0] + "\n" + "x" * 2_000)
    told = json.loads(pdp("diff", old, old, "--replay", path, "--json").stdout)["replay"]
    assert (told["asked"], sum(each["count"] for each in told["not_asked"])) == (1, 2)


def replay_in_a_process(tmp_path: Path, count: int) -> tuple[dict[str, Any], float, int]:
    """`pdp diff --replay` of so many records: what it says, seconds, peak memory in bytes."""
    log = tmp_path / f"log-{count}"
    write_log(log, list(questions(SEED, 5_000)), CALLER, count, NOW_NS)
    old, new = folder(tmp_path / "old"), folder(tmp_path / "new", WIDER)
    program = "import pdp.cli; pdp.cli.COMMANDS = ('diff', 'check'); pdp.cli.main()"
    arguments = ["diff", str(old), str(new), "--replay", str(log), "--json"]
    started = time.monotonic()
    with (tmp_path / "out.json").open("w+b") as out:
        child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=out, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 1
        out.seek(0)
        told = json.load(out)["replay"]
    shutil.rmtree(log)
    return told, seconds, usage.ru_maxrss * 1024


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_a_million_records_replay_in_the_memory_of_a_few(tmp_path: Path, ledger: Ledger) -> None:
    """1,000,000 records take at most 64 MiB more than 5,000, and every difference is counted."""
    few, _, small = replay_in_a_process(tmp_path, 5_000)
    many, seconds, large = replay_in_a_process(tmp_path, 1_000_000)
    ledger(seconds=round(seconds), peak_mib=large >> 20, peak_of_5000_mib=small >> 20)
    assert many["asked"] == 1_000_000
    assert many["different"] == {name: 200 * n for name, n in few["different"].items()}
    assert large < small + (64 << 20)
