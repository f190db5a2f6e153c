"""Many questions at once: AuthZEN's semantics, one moment, one record, hostile batches."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import admission, wire_batch
from pdp.admission import Denials
from pdp.audit import batch_entry
from pdp.audit.budget import DenialCounts
from pdp.audit.entry import BatchEvidence, Capture
from pdp.audit.log import ENTRY_BYTES_MAX, TAG_DECISION, Opened, PdpId, Sealer, open_record
from pdp.audit.reading import Filter, as_line
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.callers import CallerEntry
from pdp.config.settings import Limits
from pdp.errors import InvalidRequestError
from pdp.identity.svid import SvidVerifier
from pdp.identity.trust import load_trust_bundle
from pdp.impact.recorded import Unplayable, read_record
from pdp.model import Cause, Decision, Effect, RecordRef, Request
from pdp.server.authorization import AuthorizationDoor
from pdp.server.batch import BatchDoor
from pdp.snapshot import Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
from pdp.wire import request_to_pb
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    NOW_NS,
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    RunningServer,
    ask,
    make_snapshot,
    now_snapshot,
    running_server,
)
from tests.test_server import AUTHORITY, AbortedError, BenchContext

BATCH = "/pdp.v1.AuthorizationService/AuthorizeBatch"
ALL = Semantic.EXECUTE_ALL
# May ask for batches; the entry that other tests use may not.
MAY = CallerEntry(
    id=f"spiffe://{TRUST_DOMAIN}/*",
    resources=("document",),
    actions=("*",),
    asserts=("user",),
    may=frozenset({"batch", "explain"}),
)
P, D = "PERMIT(RULE)", "DENY(DEFAULT)"


def asked(*actions: str, **attributes: Any) -> list[Request]:
    """A question for each action, ids in order: `q0`, `q1`."""
    return [
        dataclasses.replace(ask(action, **attributes), request_id=f"q{index}")
        for index, action in enumerate(actions)
    ]


class Bench:
    """A decision point that takes batches, everything in hand."""

    def __init__(self, mode: str = "at_once", **options: Any) -> None:
        self.clock = HandClock()
        self.recorder = MemoryRecorder(mode)
        self.snapshots = HeldSnapshot(make_snapshot(callers=(MAY,)))
        self.point = BatchDecisionPoint(self.snapshots, self.recorder, clock=self.clock, **options)

    def decide(
        self, questions: Sequence[Any], semantic: Semantic = ALL, patience_s: float = 1.0
    ) -> list[str]:
        """Ask and wait; effects and causes."""
        batch = Batch("b-1", semantic, questions)
        deadline = self.clock.seconds + patience_s
        self.answers = asyncio.run(self.point.answer_batch(batch, PEP, deadline))
        return [told(answer.decision) for answer in self.answers]


def told(decision: Decision) -> str:
    """Effect and cause."""
    return f"{decision.effect.name}({decision.cause.name})"


# -- semantics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("semantic", "actions", "expected"),
    [
        (ALL, "read write read", [P, D, P]),
        (Semantic.DENY_ON_FIRST_DENY, "read read write read", [P, P, D]),
        (Semantic.DENY_ON_FIRST_DENY, "read read", [P, P]),
        (Semantic.DENY_ON_FIRST_DENY, "write read", [D]),
        (Semantic.PERMIT_ON_FIRST_PERMIT, "write write read write", [D, D, P]),
        (Semantic.PERMIT_ON_FIRST_PERMIT, "write write", [D, D]),
        (Semantic.PERMIT_ON_FIRST_PERMIT, "read write", [P]),
    ],
)
def test_the_three_semantics(semantic: Semantic, actions: str, expected: list[str]) -> None:
    """What comes after the deciding question was not decided: no answer, and no item on record."""
    bench = Bench()
    assert bench.decide(asked(*actions.split()), semantic) == expected
    (entry,) = bench.recorder.entries
    assert len(entry.batch.items) == len(expected)
    assert entry.batch.questions == len(actions.split())
    assert entry.batch.semantic == semantic.value


def test_semantics_have_the_numbers_of_the_wire() -> None:
    """Each semantic is what the published enum says, and none is missing."""
    published = {
        name.removeprefix("BATCH_SEMANTIC_"): number for name, number in pb.BatchSemantic.items()
    }
    assert published.pop("UNSPECIFIED") == 0
    assert {item.name: item.value for item in Semantic} == published


def test_a_permit_that_becomes_a_denial_ends_the_batch_there() -> None:
    """Deny on first deny: after the record failed, the first answer is the first denial."""
    bench = Bench("fails")
    assert bench.decide(asked("read", "read"), Semantic.DENY_ON_FIRST_DENY) == ["DENY(AUDIT)"]


# -- one moment -----------------------------------------------------------------------------------


def test_a_batch_sees_one_moment_and_one_version() -> None:
    """A bundle and an hour that come between two of its rows change nothing in it."""
    bench = Bench()
    questions = asked(*["read"] * 80)
    denying = make_snapshot(
        callers=(MAY,), denials=Denials(subjects=frozenset({("user", "alice")}))
    )

    async def scenario() -> list[str]:
        batch = Batch("b-1", ALL, questions)
        task = asyncio.create_task(bench.point.answer_batch(batch, PEP, bench.clock.seconds + 1))
        await asyncio.sleep(0)
        # The first row is decided now.
        bench.snapshots.snapshot = denying
        bench.clock.wall += 60 * NANOS
        return [told(answer.decision) for answer in await task]

    assert asyncio.run(scenario()) == [P] * 80
    assert bench.snapshots.looks == 1
    assert bench.recorder.times == [NOW_NS]


def test_a_batch_lets_others_have_their_turn() -> None:
    """The event loop is not held for longer than a row takes."""
    bench = Bench()
    turns = 0

    async def scenario() -> None:
        nonlocal turns
        batch = Batch("b-1", ALL, asked(*["read"] * 200))
        task = asyncio.create_task(bench.point.answer_batch(batch, PEP, bench.clock.seconds + 1))
        while not task.done():
            await asyncio.sleep(0)
            turns += 1

    asyncio.run(scenario())
    assert turns >= 200 // 32


# -- each question is its own ---------------------------------------------------------------------


def test_invalid_questions_are_denied_and_the_others_answered() -> None:
    """What alone would be refused is DENY(INVALID) among others, and says why."""
    bench = Bench()
    good, bad, other = asked("read", "read", "read")
    bad = dataclasses.replace(bad, context={"x": float("nan")})
    other = dataclasses.replace(other, tenant="else")
    assert bench.decide([good, bad, other]) == [P, "DENY(INVALID)", "DENY(INVALID)"]
    assert [answer.invalid and answer.invalid.field for answer in bench.answers] == [
        None,
        "context.x",
        "tenant",
    ]


def test_a_question_that_breaks_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """DENY(INTERNAL) for the one, and everything as it was for the rest."""
    bench = Bench()
    whole = admission.decide

    def breaking(*arguments: Any, **options: Any) -> Any:
        if arguments[3].request.request_id == "q1":
            raise ZeroDivisionError
        return whole(*arguments, **options)

    monkeypatch.setattr(admission, "decide", breaking)
    assert bench.decide(asked("read", "read", "read")) == [P, "DENY(INTERNAL)", P]


def test_a_caller_without_the_word_gets_no_batch() -> None:
    """`may: [batch]` is needed for each question, and one entry must cover it wholly."""
    bench = Bench()
    bare = dataclasses.replace(MAY, may=frozenset({"explain"}))
    writes = dataclasses.replace(MAY, actions=("write",))
    bench.snapshots.snapshot = make_snapshot(callers=(bare,))
    assert bench.decide(asked("read", "write")) == ["DENY(CALLER)"] * 2
    bench.snapshots.snapshot = make_snapshot(callers=(bare, writes))
    assert bench.decide(asked("read", "write")) == ["DENY(CALLER)", D]


def test_a_caller_without_the_word_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision point that does not say that it is a batch answers anybody's."""
    bench = Bench()
    bench.snapshots.snapshot = make_snapshot(callers=(dataclasses.replace(MAY, may=frozenset()),))
    whole = admission.decide
    monkeypatch.setattr(admission, "decide", lambda *arguments, **_: whole(*arguments))
    assert bench.decide(asked("read")) == [P]


def test_time_that_is_used_up_denies_the_permits() -> None:
    """Nothing is permitted that nobody waits for."""
    bench = Bench()
    assert bench.decide(asked("read", "write"), patience_s=0.0) == ["DENY(DEADLINE)"] * 2
    late = Bench()
    late.clock.step_s = 0.3
    assert "PERMIT" not in " ".join(late.decide(asked("read", "read", "read")))


# -- the record -----------------------------------------------------------------------------------


def test_one_record_holds_a_whole_batch() -> None:
    """Who asked what, what rules read, and each answer; caller and bundle once."""
    bench = Bench()
    bench.decide(asked("read", "write", "destroy", roles=["manager"]))
    (entry,) = bench.recorder.entries
    assert (entry.request_id, entry.effect, entry.cause) == ("b-1", 2, pb.CAUSE_RULE)
    assert entry.caller.spiffe_id == PEP.spiffe_id
    assert entry.bundle.revision == 7
    assert (entry.batch.part, entry.batch.parts) == (1, 1)
    items = entry.batch.items
    assert [item.action for item in items] == ["read", "write", "destroy"]
    assert [item.effect for item in items] == [2, 2, 1]
    assert [item.request_id for item in items] == ["q0", "q1", "q2"]
    assert [len(item.request_digest) for item in items] == [32] * 3
    assert items[1].attributes["subject.properties.roles"].list_value.values
    assert not any(item.HasField("caller") or item.HasField("bundle") for item in items)
    decisions = [answer.decision for answer in bench.answers]
    assert [item.decision_id for item in items] == [found.decision_id for found in decisions]
    assert {found.record and found.record.seq for found in decisions} == {1}
    assert len({entry.decision_id, *(found.decision_id for found in decisions)}) == 4


BROKEN = ["never", "fails", "fails_later", "breaks", "refuses", "cancels"]


@pytest.mark.parametrize("mode", BROKEN)
def test_no_permit_of_a_batch_without_a_record(mode: str) -> None:
    """However the recorder fails, no permit leaves, and denials stay what they are."""
    found = Bench(mode).decide(asked("read", "write", "read"), patience_s=0.05)
    broken = "INTERNAL" if mode == "breaks" else "AUDIT"
    assert found == [f"DENY({broken})", "DENY(INTERNAL)" if mode == "breaks" else D, found[0]]


def test_no_permit_of_a_batch_without_a_record_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """When failures of the recorder are taken for records, permits leave unrecorded."""

    async def pretend(*_: object) -> RecordRef:
        return RecordRef("pdp/0/1", 1, bytes(32))

    monkeypatch.setattr(BatchDecisionPoint, "_record", pretend)
    assert Bench("fails").decide(asked("read")) == [P]


def big(count: int, size: int) -> list[Request]:
    """Questions whose records are as long as this."""
    return [
        dataclasses.replace(question, subject=dataclasses.replace(
            question.subject, properties={"roles": ["manager", "x" * size]}
        ))
        for question in asked(*["write"] * count)
    ]  # fmt: skip


def test_what_does_not_fit_one_record_goes_on_in_the_next() -> None:
    """Nothing is left out, each part can be kept, and each answer names the part it is in."""
    bench = Bench()
    assert bench.decide(big(30, 5_000)) == [P] * 30
    entries = bench.recorder.entries
    assert [entry.batch.part for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.batch.parts for entry in entries} == {len(entries)} == {3}
    assert len({entry.decision_id for entry in entries}) == 1
    assert all(entry.ByteSize() <= ENTRY_BYTES_MAX for entry in entries)
    items = [item for entry in entries for item in entry.batch.items]
    assert [item.request_id for item in items] == [f"q{index}" for index in range(30)]
    assert not any(item.truncated for item in items)
    places = {
        item.request_id: seq for seq, entry in enumerate(entries, 1) for item in entry.batch.items
    }
    for index, answer in enumerate(bench.answers):
        assert answer.decision.record is not None
        assert answer.decision.record.seq == places[f"q{index}"]


def test_a_question_that_fits_no_record_leaves_a_digest() -> None:
    """As alone: what is too long is left out, said, and has a digest."""
    bench = Bench()
    assert bench.decide(big(2, 70_000)) == [P] * 2
    items = [item for entry in bench.recorder.entries for item in entry.batch.items]
    assert [(item.truncated, len(item.attributes_digest)) for item in items] == [(True, 32)] * 2


def test_a_part_that_is_not_durable_denies_all_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The permits of a batch leave together or not at all."""
    bench = Bench()
    whole = BatchDecisionPoint._record

    async def losing(self: Any, entry: Any, clock_ns: int, deadline: float) -> Any:
        record = await whole(self, entry, clock_ns, deadline)
        return None if entry.batch.part == 2 else record

    monkeypatch.setattr(BatchDecisionPoint, "_record", losing)
    assert bench.decide(big(30, 5_000)) == ["DENY(AUDIT)"] * 30


def test_a_batch_never_leaves_stale() -> None:
    """The proof expires while the record is written: STALE, and on record as such."""
    bench = Bench()

    def expire() -> None:
        bench.clock.wall = NOW_NS + 7_200 * NANOS

    bench.recorder.on_append = expire
    assert bench.decide(asked("read", "write")) == ["DENY(STALE)", D]
    first, second = bench.recorder.entries
    assert [item.cause for item in second.batch.items] == [pb.CAUSE_STALE, pb.CAUSE_DEFAULT]
    assert (first.effect, second.effect) == (pb.EFFECT_PERMIT, pb.EFFECT_DENY)


def test_full_capture_keeps_each_question(tmp_path: Path) -> None:
    """For replay: an item has the bytes of its question, as the record of a single one has."""

    async def scenario() -> None:
        snapshot = now_snapshot(callers=make_snapshot(callers=(MAY,)).callers)
        async with running_server(tmp_path, snapshot=snapshot, capture=Capture.FULL) as running:
            await send(running, message(asked("read", "write")))
            (entry,) = running.recorder.entries
            assert [item.request for item in entry.batch.items] == [
                request_to_pb(question).SerializeToString() for question in asked("read", "write")
            ]

    asyncio.run(scenario())


def test_denials_of_a_batch_are_counted_one_by_one() -> None:
    """A batch that is only counted counts as many denials as it has, each with its cause."""
    bench = Bench()
    bench.decide(asked("write", "destroy", "write"))
    (entry,) = bench.recorder.entries
    counts = DenialCounts(9)
    counts.add(entry, NOW_NS)
    assert counts.total() == 3
    assert {row.cause: row.count for row in counts.message(9_999).counts} == {
        pb.CAUSE_DEFAULT: 2,
        pb.CAUSE_RULE: 1,
    }


def test_a_batch_is_found_and_shown() -> None:
    """One line says how many of it; it is found by the id of any of its decisions."""
    bench = Bench()
    bench.decide(asked("read", "write"))
    (entry,) = bench.recorder.entries
    record = _sealed(entry)
    assert "batch of 2: 1 permitted, 1 denied by spiffe://" in as_line(record)
    for answer in bench.answers:
        assert Filter(decision_id=answer.decision.decision_id).takes(record)
    assert not Filter(decision_id="another").takes(record)


def test_a_batch_is_replayed_question_by_question() -> None:
    """Each item is read as the record of its question alone would be."""
    batch, single = Bench(), Bench()
    questions = asked("read", "write", "destroy", roles=["manager"])
    batch.decide(questions)
    for question in questions:
        asyncio.run(single.point.authorize(question, PEP, single.clock.seconds + 1))
    (together,) = (read_record(_sealed(entry)) for entry in batch.recorder.entries)
    alone = [found for entry in single.recorder.entries for found in read_record(_sealed(entry))]
    assert together == alone
    assert len(alone) == 3
    assert not any(isinstance(found, Unplayable) for found in alone)


def _sealed(entry: audit_pb2.DecisionRecord) -> Opened:
    sealer = Sealer(PdpId("pdp-1", 0, 1))
    return open_record(sealer.seal(1, bytes(32), NOW_NS, TAG_DECISION, entry.SerializeToString()))


def test_an_entry_of_a_batch_always_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of a part take less than is kept free for them."""
    evidence = BatchEvidence(
        "d" * 36, "é" * 1_024, 1, 2**31, dataclasses.replace(PEP, spiffe_id="s" * 2_048),
        make_snapshot().ref, bytes(32),
    )  # fmt: skip
    head = batch_entry._head(evidence, pb.EFFECT_PERMIT, pb.CAUSE_RULE)
    assert head.ByteSize() + 32 < batch_entry._HEAD_BYTES_MAX


# -- the door -------------------------------------------------------------------------------------


def message(
    questions: Sequence[Request],
    semantic: int = 1,
    request_id: str = "b-1",
) -> bytes:
    """The bytes of a batch."""
    return pb.AuthorizeBatchRequest(
        request_id=request_id,
        semantic=semantic,  # type: ignore[arg-type]
        items=[request_to_pb(question) for question in questions],
    ).SerializeToString()


async def send(running: RunningServer, data: bytes) -> pb.AuthorizeBatchResponse:
    """One batch over a connection of its own."""
    async with running.channel() as channel:
        method = channel.unary_unary(BATCH, bytes, pb.AuthorizeBatchResponse.FromString)
        answer: pb.AuthorizeBatchResponse = await method(data, timeout=5)
        return answer


def test_a_batch_over_mutual_tls(tmp_path: Path) -> None:
    """Ids, digests, obligations and records of each question, in order; digest of the whole."""
    questions = asked("read", "write", "read", "destroy")

    async def scenario() -> None:
        snapshot = now_snapshot(callers=make_snapshot(callers=(MAY,)).callers)
        async with running_server(tmp_path, snapshot=snapshot) as running:
            data = message(questions)
            answer = await send(running, data)
            assert answer.request_id == "b-1"
            assert answer.request_digest == hashlib.sha256(data).digest()
            assert [item.request_id for item in answer.items] == ["q0", "q1", "q2", "q3"]
            assert [item.effect for item in answer.items] == [2, 1, 2, 1]
            for item, question in zip(answer.items, questions, strict=True):
                alone = request_to_pb(question).SerializeToString()
                assert item.request_digest == hashlib.sha256(alone).digest()
                assert item.record.seq == 1
            assert answer.items[0].obligations[0].id == "mark"
            (entry,) = running.recorder.entries
            assert entry.request_digest == answer.request_digest
            assert running.telemetry.counters["decisions", "PERMIT", "RULE"] == 2

    asyncio.run(scenario())


def test_malformed_batches_are_invalid_argument_with_the_field(tmp_path: Path) -> None:
    """What leaves a question without an answer of its own refuses the batch, and says where."""
    questions = asked("read", "write")
    twice = message(questions) + pb.AuthorizeBatchRequest(request_id="b-2").SerializeToString()
    same = [dataclasses.replace(question, request_id="q") for question in questions]
    nameless = pb.AuthorizeBatchRequest.FromString(message(questions))
    nameless.items[1].ClearField("request_id")
    long = [dataclasses.replace(questions[0], request_id="x" * 2_000)]
    cases = [
        (b"\xff\xff", "not a `pdp.v1.AuthorizeBatchRequest`"),
        (b"", "`request_id` is required"),
        (message(questions, request_id="x" * 1_025), "`request_id` is longer"),
        (message(questions, semantic=0), "`semantic` is required"),
        (message(questions, semantic=4), "`semantic` is required"),
        (message([]), "`items` is required"),
        (message(asked(*["read"] * 6)), "`items` are more than 5"),
        (message(same), "`items[1].request_id` is that of another"),
        (nameless.SerializeToString(), "`items[1].request_id` is required"),
        (message(long), "`items[0].request_id` is longer"),
        (message(questions) + b"\x1a\x01\xff", "`items[2]` is not a protobuf message"),
        (message(questions) + b"\xf8\x06\x01", "does not know, or twice"),
        (twice, "does not know, or twice"),
        (message(questions) + b"\x0a\x03x" + b"y" * 20_000, "`request`"),
    ]

    async def scenario() -> None:
        limits = Limits(batch_items_max=5, message_bytes_max=10_000)
        async with running_server(tmp_path, limits=limits) as running:
            for data, says in cases:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await send(running, data)
                if len(data) > 14_000:
                    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    continue
                assert (says, caught.value.code()) == (says, grpc.StatusCode.INVALID_ARGUMENT)
                assert says in (caught.value.details() or "")
            assert running.recorder.entries == []

    asyncio.run(scenario())


def test_a_damaged_question_damages_no_other(tmp_path: Path) -> None:
    """Bad UTF-8, fields of the future, no subject: DENY(INVALID) with the reason."""
    whole = pb.AuthorizeBatchRequest.FromString(message(asked("read")))
    bodies = [
        b"\x0a\x02b0" + b"\x1a\x04\x0a\x02\xff\xff",
        request_to_pb(asked("read")[0]).SerializeToString() + b"\x0a\x02b1" + b"\xf8\x06\x01",
        b"\x0a\x02b2",
    ]
    data = whole.SerializeToString()
    for body in bodies:
        data += b"\x1a" + bytes([len(body)]) + body if len(body) < 128 else b""

    async def scenario() -> None:
        snapshot = now_snapshot(callers=make_snapshot(callers=(MAY,)).callers)
        async with running_server(tmp_path, snapshot=snapshot) as running:
            answer = await send(running, data)
            found = {item.request_id: (item.effect, item.cause) for item in answer.items}
            assert found.pop("q0") == (pb.EFFECT_PERMIT, pb.CAUSE_RULE)
            assert set(found) == {"b0", "b1", "b2"}
            assert set(found.values()) == {(pb.EFFECT_DENY, pb.CAUSE_INVALID)}
            reasons = [item.invalid for item in answer.items]
            assert reasons[0] == ""
            assert "does not know" in reasons[2]
            assert "`subject.type` is required" in reasons[3]
            (entry,) = running.recorder.entries
            assert [item.request_id for item in entry.batch.items] == ["q0", "b0", "b1", "b2"]

    asyncio.run(scenario())


def test_explanations_of_a_batch_have_the_room_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is no amplifier: what does not fit is left out, and says so."""
    monkeypatch.setattr("pdp.server.batch.EXPLANATION_BYTES_MAX", 1_000)
    questions = [dataclasses.replace(one, explain=True) for one in asked(*["read"] * 50)]

    async def scenario() -> None:
        snapshot = now_snapshot(callers=make_snapshot(callers=(MAY,)).callers)
        async with running_server(tmp_path, snapshot=snapshot) as running:
            answer = await send(running, message(questions))
            shown = [item.explanation for item in answer.items]
            assert shown[0].rules
            assert sum(one.ByteSize() for one in shown if one.rules) <= 1_000
            assert shown[-1].truncated
            assert {item.effect for item in answer.items} == {pb.EFFECT_PERMIT}

    asyncio.run(scenario())


def bench_doors(
    limits: Limits | None = None,
    recorder: MemoryRecorder | None = None,
    snapshot: Snapshot | None = None,
) -> tuple[AuthorizationDoor, BatchDoor]:
    """Doors without a socket."""
    clock = HandClock(wall=time.time_ns())
    telemetry = Telemetry(None, clock.wall_ns)
    limits = limits or Limits()
    snapshot = snapshot or make_snapshot(
        callers=(MAY,),
        fresh_until_ns=clock.wall + 3_600 * NANOS,
        clock_mark_ns=clock.wall - 3_600 * NANOS,
    )
    point = BatchDecisionPoint(
        HeldSnapshot(snapshot), recorder or MemoryRecorder(), clock=clock, telemetry=telemetry
    )
    verifier = SvidVerifier(load_trust_bundle(TRUST_DOMAIN, AUTHORITY.bundle_pem))
    door = AuthorizationDoor(point, verifier, limits, clock, telemetry)
    return door, BatchDoor(door, point)


async def outcome(door: BatchDoor, data: bytes) -> tuple[str, Any]:
    """`("OK", answer)`, or an error status and its details."""
    context = BenchContext()
    try:
        return "OK", pb.AuthorizeBatchResponse.FromString(await door.authorize_batch(data, context))
    except AbortedError:
        return context.status


def test_overload_denies_each_question_of_a_batch() -> None:
    """Before any is looked at; what the semantic leaves out stays out; nothing is recorded."""
    recorder = MemoryRecorder()
    door, batches = bench_doors(Limits(requests_in_flight_max=1), recorder)
    door.gate.enter(9)

    async def scenario() -> None:
        status, answer = await outcome(batches, message(asked("read", "read")))
        assert status == "OK"
        assert [item.cause for item in answer.items] == [pb.CAUSE_OVERLOADED] * 2
        assert [item.request_id for item in answer.items] == ["q0", "q1"]
        _, answer = await outcome(batches, message(asked("read", "read"), semantic=2))
        assert [item.cause for item in answer.items] == [pb.CAUSE_OVERLOADED]

    asyncio.run(scenario())
    assert recorder.entries == []


def test_batches_in_flight_are_bounded_by_what_they_may_hold() -> None:
    """Short questions count for more than their bytes, and everything is given back."""
    door, batches = bench_doors(Limits(bytes_in_flight_max=50_000))

    async def scenario() -> None:
        status, answer = await outcome(batches, message(asked("read")))
        assert (status, answer.items[0].cause) == ("OK", pb.CAUSE_OVERLOADED)

    asyncio.run(scenario())
    assert (door.gate.in_flight, door.gate.bytes_in_flight) == (0, 0)


def test_a_batch_teaches_the_gate_nothing() -> None:
    """How long a batch takes does not turn single questions away."""
    door, batches = bench_doors()
    door._clock.step_s = 0.05  # type: ignore[attr-defined]
    asyncio.run(outcome(batches, message(asked("read"))))
    assert door.gate._mean_s == 0.0


def test_the_mirror_is_the_published_message() -> None:
    """Names, numbers and wire types of what is read are those of `AuthorizeBatchRequest`."""
    mirrored = wire_batch._Batch.DESCRIPTOR.fields
    published = pb.AuthorizeBatchRequest.DESCRIPTOR.fields
    wire_types = {"message": 2, "bytes": 2, "string": 2, "enum": 0, "int32": 0}
    names = {9: "string", 14: "enum", 11: "message", 12: "bytes", 5: "int32"}

    def rows(fields: Any) -> list[tuple[str, int, int, bool]]:
        return [
            (field.name, field.number, wire_types[names[field.type]], field.is_repeated)
            for field in fields
        ]

    assert rows(mirrored) == rows(published)


@given(st.data())
@settings(max_examples=150)
def test_hostile_batches_are_answered_or_refused(data: st.DataObject) -> None:
    """Any bytes, or a batch with some changed: an answer for each id, or INVALID_ARGUMENT."""
    if data.draw(st.booleans()):
        raw = bytearray(data.draw(st.binary(max_size=300)))
    else:
        raw = bytearray(message(asked("destroy", "write", n=5, m={"a": [None, True]})))
        for _ in range(data.draw(st.integers(0, 5))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    door, batches = bench_doors()
    status, answer = asyncio.run(outcome(batches, bytes(raw)))
    if status == "OK":
        assert all(item.effect == pb.EFFECT_DENY for item in answer.items)
        assert len({item.request_id for item in answer.items}) == len(answer.items)
    else:
        assert status == "INVALID_ARGUMENT"
        assert answer.isprintable()
    assert door._telemetry.counters["failures", "decision_point"] == 0
    assert door.gate.in_flight == 0


@given(st.binary(max_size=200))
def test_split_batch_raises_one_error_only(raw: bytes) -> None:
    """Any bytes: a batch, or `InvalidRequestError`."""
    try:
        found = wire_batch.split_batch(raw, 5, 64)
    except InvalidRequestError:
        return
    assert 0 < len(found.items) <= 5
    assert len(dict(found.items)) == len(found.items)


def test_a_strangers_batch_is_not_looked_at() -> None:
    """UNAUTHENTICATED comes before every other word, also in a crowd."""
    for limits in (Limits(), Limits(bytes_in_flight_max=1), Limits(message_bytes_max=10)):
        _, batches = bench_doors(limits)
        context = BenchContext(shown=b"not a certificate")

        async def scenario(batches: BatchDoor = batches, context: BenchContext = context) -> None:
            with pytest.raises(AbortedError):
                await batches.authorize_batch(message(asked("read")), context)

        asyncio.run(scenario())
        assert context.status[0] == "UNAUTHENTICATED"


def test_causes_of_a_batch_are_those_of_the_model() -> None:
    """The summary of a batch has a cause of the wire, whatever ended it."""
    for cause in Cause:
        if cause.value >= 100:
            continue
        decision = Decision(Effect.DENY, cause)
        assert batch_entry._outcome([decision]) == (pb.EFFECT_DENY, cause.value)
        assert audit_pb2.DecisionRecord(cause=cause.value).cause == cause.value  # type: ignore[arg-type]
