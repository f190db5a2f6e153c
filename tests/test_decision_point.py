"""The decision point: it always answers, and what it answers is recorded.

Quoted from its promise: "`authorize` returns a `Decision`, or the task or the
process is ending."
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import admission, boundary, call, decision_point
from pdp.admission import Denials
from pdp.audit import entry as entries
from pdp.audit import patience
from pdp.audit.decision_id import _Chance, new_decision_id
from pdp.audit.entry import Capture, Evidence, Received, build_entry
from pdp.audit.log import ENTRY_BYTES_MAX
from pdp.boundary import InputLimits
from pdp.call import Call, named, with_record
from pdp.callers import CallerEntry
from pdp.decision_point import DecisionPoint
from pdp.errors import InvalidRequestError
from pdp.model import (
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    RecordRef,
    Request,
    Subject,
    deny,
)
from pdp.snapshot import CLOCK_TOLERANCE_NS, Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, Timestamp
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    NOW_NS,
    PEP,
    WATERMARK,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    ask,
    make_snapshot,
    message,
)

ONE_SECOND = 1.0


class Bench:
    """A decision point with everything in hand."""

    def __init__(
        self,
        snapshot: Snapshot | None = None,
        mode: str = "at_once",
        *,
        without_bundle: bool = False,
        capture: Capture = Capture.ATTRIBUTES,
    ) -> None:
        self.clock = HandClock()
        self.recorder = MemoryRecorder(mode)
        self.snapshots = HeldSnapshot(None if without_bundle else snapshot or make_snapshot())
        self.point = DecisionPoint(self.snapshots, self.recorder, capture=capture, clock=self.clock)

    def decide(
        self,
        request: Any = None,
        caller: Caller = PEP,
        patience_s: float = ONE_SECOND,
        received: Received | None = None,
    ) -> Decision:
        """Ask and wait."""
        deadline = self.clock.seconds + patience_s
        return asyncio.run(self.point.authorize(request or ask(), caller, deadline, received))


def outcome(decision: Decision) -> tuple[str, str]:
    """Effect and cause."""
    return decision.effect.name, decision.cause.name


def test_a_permit_names_bundle_rule_record_and_obligations() -> None:
    """A permit carries everything a client checks, and its record says the same."""
    bench = Bench()
    decision = bench.decide()
    assert outcome(decision) == ("PERMIT", "RULE")
    assert decision.rules == ("documents/anyone-reads",)
    assert decision.obligations == (WATERMARK,)
    assert decision.bundle == make_snapshot().ref
    assert decision.record is not None
    assert decision.record.seq == 1
    (entry,) = bench.recorder.entries
    assert entry.effect == pb.EFFECT_PERMIT
    assert entry.cause == pb.CAUSE_RULE
    assert list(entry.rules) == ["documents/anyone-reads"]
    assert entry.obligations[0].properties["size"].int64_value == 12
    assert entry.bundle.revision == 7
    assert entry.caller.spiffe_id == PEP.spiffe_id
    assert entry.caller.serial == "1f"
    assert (entry.subject.type, entry.subject.id) == ("user", "alice")
    assert (entry.action, entry.resource_type, entry.resource_id) == ("read", "document", "1")
    assert entry.decision_id == decision.decision_id
    assert bench.recorder.times == [NOW_NS]


@pytest.mark.parametrize(
    ("request_", "caller", "expected"),
    [
        (ask("destroy"), PEP, ("DENY", "RULE")),
        (ask("write"), PEP, ("DENY", "DEFAULT")),
        (ask("write", roles=["manager"]), PEP, ("PERMIT", "RULE")),
        (ask("read"), Caller("spiffe://other.example.org/pep"), ("DENY", "CALLER")),
        (dataclasses.replace(ask(), subject_token="x"), PEP, ("DENY", "IDENTITY")),
        (dataclasses.replace(ask(), tenant="else"), PEP, ("DENY", "INVALID")),
        (dataclasses.replace(ask(), request_id="\ud800"), PEP, ("DENY", "INVALID")),
    ],
)
def test_every_answer_is_recorded_with_its_own_cause(
    request_: Request, caller: Caller, expected: tuple[str, str]
) -> None:
    """Effect and cause of the answer are those of its record."""
    bench = Bench()
    decision = bench.decide(request_, caller)
    assert outcome(decision) == expected
    assert decision.record is not None
    (entry,) = bench.recorder.entries
    assert (entry.effect, entry.cause) == (decision.effect.value, decision.cause.value)


def test_no_bundle_denies() -> None:
    """Without a verified bundle the answer is DENY(NO_BUNDLE), recorded."""
    bench = Bench(without_bundle=True)
    decision = bench.decide()
    assert outcome(decision) == ("DENY", "NO_BUNDLE")
    assert decision.bundle is None
    assert decision.record is not None


def test_a_request_sees_one_snapshot() -> None:
    """The source is asked once in a request, so a poll in between changes nothing."""
    bench = Bench()
    bench.decide()
    assert bench.snapshots.looks == 1


# -- never stale ----------------------------------------------------------------------------------


@given(offset_ns=st.integers(-10 * NANOS, 10 * NANOS))
@settings(max_examples=60, deadline=None)
def test_never_stale(offset_ns: int) -> None:
    """At and after `fresh_until` the answer is DENY(STALE), to the nanosecond, never before."""
    bench = Bench(make_snapshot(fresh_until_ns=NOW_NS - offset_ns))
    expected = ("DENY", "STALE") if offset_ns >= 0 else ("PERMIT", "RULE")
    assert outcome(bench.decide()) == expected


def test_never_stale_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the freshness check a bundle of yesterday permits."""
    monkeypatch.setattr(Snapshot, "is_stale", lambda *_: False)
    bench = Bench(make_snapshot(fresh_until_ns=NOW_NS - 86_400 * NANOS))
    assert outcome(bench.decide()) == ("PERMIT", "RULE")


def test_a_clock_that_ran_backwards_is_stale() -> None:
    """More than a minute behind the mark, the clock is not believed."""
    mark = NOW_NS + CLOCK_TOLERANCE_NS
    assert outcome(Bench(make_snapshot(clock_mark_ns=mark)).decide()) == ("PERMIT", "RULE")
    assert outcome(Bench(make_snapshot(clock_mark_ns=mark + 1)).decide()) == ("DENY", "STALE")


def test_a_permit_that_became_stale_while_its_record_was_written_is_denied() -> None:
    """The proof expires between evaluation and answer: DENY(STALE), with a record of its own."""
    bench = Bench(make_snapshot(fresh_until_ns=NOW_NS + 5))

    def time_passes() -> None:
        bench.clock.wall = NOW_NS + 5

    bench.recorder.on_append = time_passes
    decision = bench.decide()
    assert outcome(decision) == ("DENY", "STALE")
    assert [entry.effect for entry in bench.recorder.entries] == [pb.EFFECT_PERMIT, pb.EFFECT_DENY]
    assert decision.record is not None
    assert decision.record.seq == 2
    assert bench.recorder.entries[0].decision_id != decision.decision_id


# -- no permit without a record -------------------------------------------------------------------

BROKEN_RECORDERS = ("never", "fails", "fails_later", "refuses", "cancels", "breaks")


@pytest.mark.parametrize("mode", BROKEN_RECORDERS)
def test_no_permit_without_a_record(mode: str) -> None:
    """However the recorder fails, a permit becomes DENY, and the answer is there in time."""
    bench = Bench(mode=mode)
    bench.clock.step_s = 0.0
    decision = bench.decide(patience_s=0.05)
    assert decision.effect is Effect.DENY
    assert decision.cause is (Cause.INTERNAL if mode == "breaks" else Cause.AUDIT)
    assert decision.record is None
    assert decision.rules == ()
    assert decision.obligations == ()


def test_no_permit_without_a_record_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision point that takes any record for a durable one permits with a full disk."""

    async def believing(self: DecisionPoint, entry: object, now: int, deadline: float) -> object:
        return object()

    monkeypatch.setattr(DecisionPoint, "_record", believing)
    assert Bench(mode="fails").decide(patience_s=0.05).effect is Effect.PERMIT


def test_a_permit_waits_for_its_record() -> None:
    """A record that becomes durable within the deadline is a permit; its hash is in the answer."""
    bench = Bench(mode="later")
    decision = bench.decide()
    assert outcome(decision) == ("PERMIT", "RULE")
    assert decision.record is not None
    assert decision.record.seq in bench.recorder.durable


def test_a_record_that_comes_after_the_deadline_does_not_permit() -> None:
    """Durable, but late: DENY(AUDIT), because nobody knows whether the caller still waits."""
    bench = Bench(mode="at_once")

    def time_passes() -> None:
        bench.clock.seconds += 2 * ONE_SECOND

    bench.recorder.on_append = time_passes
    assert outcome(bench.decide()) == ("DENY", "AUDIT")


@pytest.mark.parametrize("mode", [*BROKEN_RECORDERS, "suppressed"])
def test_a_denial_leaves_with_its_own_cause_when_it_cannot_be_recorded(mode: str) -> None:
    """A denial needs no record to be given; only the record is missing, and that is counted."""
    bench = Bench(mode=mode)
    decision = bench.decide(ask("destroy"), patience_s=0.05)
    expected = ("DENY", "INTERNAL") if mode == "breaks" else ("DENY", "RULE")
    assert outcome(decision) == expected
    assert decision.record is None
    counters = bench.point._telemetry.counters
    assert sum(n for (name, *_), n in counters.items() if name in {"records", "failures"}) >= 1


def test_a_denial_waits_for_its_record_until_its_deadline() -> None:
    """A slow disk delays a denial, so that the caller learns which record it has."""
    decision = Bench(mode="later").decide(ask("destroy"))
    assert decision.record is not None


def test_a_failed_record_that_nobody_waits_for_is_not_an_unhandled_error() -> None:
    """The future fails after the answer has left: no noise from the event loop."""
    bench = Bench(mode="fails_later")
    bench.recorder.delay_s = 0.03
    noise: list[object] = []

    async def scenario() -> Decision:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
        decision = await bench.point.authorize(ask(), PEP, bench.clock.seconds + 0.01)
        await asyncio.sleep(0.06)
        return decision

    assert outcome(asyncio.run(scenario())) == ("DENY", "AUDIT")
    import gc

    gc.collect()
    assert noise == []


# -- deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience_s", [0.0, -1.0, -1e9])
def test_a_spent_deadline_denies_before_any_evaluation(patience_s: float) -> None:
    """Nobody waits any more: DENY(DEADLINE), recorded, without looking at the bundle."""
    bench = Bench()
    decision = bench.decide(patience_s=patience_s)
    assert outcome(decision) == ("DENY", "DEADLINE")
    assert bench.snapshots.looks == 0
    assert len(bench.recorder.entries) == 1


def test_a_deadline_spent_by_evaluation_records_no_permit() -> None:
    """The deadline passes while rules are evaluated: no PERMIT record of an answer nobody gets."""
    bench = Bench()
    bench.clock.step_s = 0.6
    assert outcome(bench.decide()) == ("DENY", "DEADLINE")
    assert [entry.effect for entry in bench.recorder.entries] == [pb.EFFECT_DENY]


@pytest.mark.parametrize("deadline", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("mode", ["never", "at_once"])
def test_odd_deadlines_never_permit_without_a_record(deadline: float, mode: str) -> None:
    """Not-a-number and the infinities are numbers to Python; the wait stays bounded."""
    bench = Bench(mode=mode)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(patience, "WAIT_S_MAX", 0.02)
    with monkeypatch.context():
        decision = asyncio.run(bench.point.authorize(ask(), PEP, deadline))
    monkeypatch.undo()
    if mode == "never" or deadline == float("-inf"):
        assert decision.effect is Effect.DENY
    else:
        assert decision.record is not None


# -- it never raises ------------------------------------------------------------------------------


class _Rotten:
    """An object whose every attribute raises."""

    def __getattribute__(self, name: str) -> object:
        raise ZeroDivisionError(name)


@pytest.mark.parametrize(
    "part", ["snapshots", "recorder", "clock", "request", "admission", "entry", "id", "telemetry"]
)
def test_authorize_never_raises_whatever_breaks(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any part of the path raising anything is DENY(INTERNAL)."""
    bench = Bench()
    request: Any = ask()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    if part == "request":
        request = _Rotten()
    elif part == "admission":
        monkeypatch.setattr(admission, "decide", broken)
    elif part == "entry":
        monkeypatch.setattr(decision_point, "build_entry", broken)
    elif part == "id":
        monkeypatch.setattr(call, "new_decision_id", broken)
    else:
        monkeypatch.setattr(bench.point, f"_{part}", _Rotten())
    decision = asyncio.run(bench.point.authorize(request, PEP, bench.clock.seconds + 1))
    assert outcome(decision) == ("DENY", "INTERNAL")


def test_an_internal_denial_is_recorded() -> None:
    """A failure in the rules leaves a record that says INTERNAL."""
    bench = Bench()
    assert bench.snapshots.snapshot is not None
    tenants: Any = {"default": _Rotten()}
    bench.snapshots.snapshot = dataclasses.replace(bench.snapshots.snapshot, policies=tenants)
    decision = bench.decide()
    assert outcome(decision) == ("DENY", "INTERNAL")
    assert decision.record is not None
    (entry,) = bench.recorder.entries
    assert entry.cause == pb.CAUSE_INTERNAL


def test_authorize_never_raises_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the outermost handler a broken part would raise into the caller."""
    bench = Bench()
    monkeypatch.setattr(bench.point, "_recorder", _Rotten())
    question = Call(ask(), PEP, 1e9, None)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(bench.point._answer(question))


def test_cancellation_is_not_caught() -> None:
    """A cancelled call ends without an answer, while its record stays."""
    bench = Bench(mode="never")

    async def scenario() -> bool:
        task = asyncio.create_task(bench.point.authorize(ask(), PEP, bench.clock.seconds + 30))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(scenario())
    assert len(bench.recorder.entries) == 1


# -- bare requests --------------------------------------------------------------------------------


def test_a_bare_request_is_judged_at_the_boundary() -> None:
    """In-process callers get no way around the trust boundary of input."""
    bench = Bench()
    loop: list[object] = []
    loop.append(loop)
    request = dataclasses.replace(ask(), context={"loop": loop})  # type: ignore[dict-item]
    assert outcome(bench.decide(request)) == ("DENY", "INVALID")
    assert bench.recorder.entries[0].request_digest == b""


def test_a_bare_request_is_judged_at_the_boundary_twin_without_guard() -> None:
    """A request that claims to be admitted is not judged again: only `admit` may make one."""
    bench = Bench()
    request = dataclasses.replace(ask(), context={"big": 2**70})
    claimed = dataclasses.replace(boundary.admit(ask(), PEP, InputLimits()), request=request)
    assert bench.decide(claimed).effect is Effect.PERMIT
    assert outcome(bench.decide(request)) == ("DENY", "INVALID")


def test_the_answer_to_a_door_says_what_was_wrong() -> None:
    """A tenant that the caller may not name is a denial, and an error for the door to tell."""
    bench = Bench()
    question = dataclasses.replace(ask(), tenant="else")
    answer = asyncio.run(bench.point.answer(question, PEP, bench.clock.seconds + 1))
    assert answer.invalid is not None
    assert answer.invalid.field == "tenant"
    assert answer.decision.effect is Effect.DENY


# -- emergency denials, callers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denials", "cause"),
    [
        (Denials(callers=frozenset({PEP.spiffe_id})), "CALLER"),
        (Denials(serials=frozenset({(TRUST_DOMAIN, "1f")})), "CALLER"),
        (Denials(subjects=frozenset({("user", "alice")})), "IDENTITY"),
    ],
)
def test_emergency_denials_hold_on_every_call(denials: Denials, cause: str) -> None:
    """What the emergency list names is denied although a rule permits."""
    bench = Bench(make_snapshot(denials=denials))
    assert outcome(bench.decide()) == ("DENY", cause)


def test_a_caller_asks_only_what_its_entry_covers() -> None:
    """Least privilege: another action of the same resource is DENY(CALLER)."""
    entry = CallerEntry(
        id=PEP.spiffe_id, resources=("document",), actions=("write",), asserts=("user",)
    )
    assert outcome(Bench(make_snapshot(callers=(entry,))).decide()) == ("DENY", "CALLER")


# -- what records hold ----------------------------------------------------------------------------


def test_a_record_keeps_the_attributes_that_candidate_rules_read() -> None:
    """Only what a rule reads is kept, by its path; absent attributes are absent."""
    bench = Bench()
    bench.decide(ask("write", roles=["manager"], secret="s3cret"))
    (entry,) = bench.recorder.entries
    assert list(entry.attributes) == ["subject.properties.roles"]
    roles = entry.attributes["subject.properties.roles"].list_value.values
    assert [role.string_value for role in roles] == ["manager"]
    assert b"s3cret" not in entry.SerializeToString()
    assert entry.request_digest == entries.canonical_digest(
        boundary.admit(ask("write", roles=["manager"], secret="s3cret"), PEP, InputLimits())
    )


def test_attributes_read_takes_the_widest_path_and_what_the_rule_met() -> None:
    """A path below another is not kept twice; one that ends early keeps where it ended."""
    attributes: dict[str, Any] = {
        "context": {"a": {"b": 1}, "x.y": True, "s": "text"},
        "subject.id": "alice",
    }
    reads = frozenset(
        {
            ("context", "a"),
            ("context", "a", "b"),
            ("context", "x.y"),
            ("context", "x", "y"),
            ("context", "s", "deeper"),
            ("subject.id",),
            ("resource", "gone"),
            ("now",),
        }
    )
    found = entries.attributes_at(entries._paths((reads,)), attributes, 5)
    assert found == {
        "context.a": {"b": 1},
        "context['x.y']": True,
        "context.s": "text",
        "subject.id": "alice",
        "now": Timestamp(5),
    }


def test_capture_full_keeps_the_message_as_received() -> None:
    """With `capture: full` a record can be replayed from the very bytes."""
    data = message()
    received = Received(data)
    bench = Bench(capture=Capture.FULL)
    bench.decide(received=received)
    (entry,) = bench.recorder.entries
    assert entry.request == data
    assert entry.request_digest == received.digest
    bench = Bench()
    bench.decide(received=received)
    assert bench.recorder.entries[0].request == b""


def test_capture_full_keeps_all_attributes_of_a_bare_request() -> None:
    """Without a door there is no message, so everything it held is kept instead."""
    bench = Bench(capture=Capture.FULL)
    bench.decide(ask(secret="x"))
    assert set(bench.recorder.entries[0].attributes) == {
        "subject.properties",
        "action.properties",
        "resource.properties",
        "context",
    }


@given(
    attribute_bytes=st.integers(0, 200_000),
    rules=st.integers(0, 3_000),
    message_bytes=st.integers(0, 500_000),
)
@settings(max_examples=40, deadline=None)
def test_an_entry_always_fits(attribute_bytes: int, rules: int, message_bytes: int) -> None:
    """However much is read, asked or applied, the entry fits and names what it left out."""
    long = "n" * 2_048
    request = Request(
        Subject(long, long), ask().action, ask().resource, tenant=long, request_id=long
    )
    evidence = Evidence(
        request,
        Caller(f"spiffe://{TRUST_DOMAIN}/{'p' * 2_000}", "f" * 40, long),
        {"context": "x" * attribute_bytes},
        bytes(32),
        b"\x00" * message_bytes,
    )
    decision = dataclasses.replace(
        deny(Cause.RULE, tuple(f"policy-of-some-length/rule-{n}" for n in range(rules))),
        decision_id=new_decision_id(NOW_NS),
        bundle=make_snapshot().ref,
        obligations=(Obligation("o", "t", {"text": "x" * attribute_bytes}),),
        advice=(Obligation("a", "t", {"text": "x" * attribute_bytes}),),
    )
    entry = build_entry(decision, evidence)
    assert entry.ByteSize() <= ENTRY_BYTES_MAX
    assert entry.truncated == (entry.attributes_digest != b"")
    assert entry.truncated or (
        len(entry.rules) == rules
        and len(entry.attributes["context"].string_value) == attribute_bytes
    )
    assert entry.subject.id == long
    assert entry.effect == pb.EFFECT_DENY


def test_an_entry_always_fits_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without shortening, a large request makes a record that no log takes."""
    monkeypatch.setattr(entries, "_shorten", lambda *_: None)
    evidence = Evidence(ask(), PEP, {"context": "x" * 70_000}, bytes(32))
    assert build_entry(deny(Cause.DEFAULT), evidence).ByteSize() > ENTRY_BYTES_MAX


def test_the_digest_of_what_was_left_out_tells_two_requests_apart() -> None:
    """Two records that differ only in what was left out have different digests."""
    digests = {
        build_entry(
            deny(Cause.DEFAULT), Evidence(ask(), PEP, {"context": mark * 70_000}, bytes(32))
        ).attributes_digest
        for mark in "ab"
    }
    assert len(digests) == 2


@given(text=st.one_of(st.text(), st.integers(), st.none(), st.binary()))
@settings(max_examples=60, deadline=None)
def test_a_refused_request_is_recorded_whatever_it_holds(text: Any) -> None:
    """What the boundary refused is recorded all the same, whatever stands for a name."""
    bench = Bench()
    request = Request(Subject(text, "\udfff"), ask().action, ask().resource)
    decision = bench.decide(request)
    assert outcome(decision) == ("DENY", "INVALID")
    assert decision.record is not None


# -- ids ------------------------------------------------------------------------------------------


@given(clock_ns=st.integers(-(2**70), 2**90))
@settings(max_examples=200, deadline=None)
def test_decision_ids_are_uuid_version_7(clock_ns: int) -> None:
    """Version 7, variant RFC 9562, and the clock's milliseconds in front."""
    parsed = uuid.UUID(new_decision_id(clock_ns))
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == min(max(clock_ns // 1_000_000, 0), 2**48 - 1)


def test_decision_ids_differ() -> None:
    """Ten thousand ids of one millisecond are ten thousand ids."""
    assert len({new_decision_id(NOW_NS) for _ in range(10_000)}) == 10_000


def test_chance_is_never_given_twice_not_even_after_a_fork() -> None:
    """Digits are fetched many at a time; a child process starts with digits of its own."""
    chance = _Chance()
    taken = [chance.take() for _ in range(3_000)]
    assert len(set(taken)) == 3_000
    assert {len(part) for part in taken} == {19}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, chance.take().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(reader, 19).decode(), chance.take()
    os.close(reader)
    os.close(writer)
    assert theirs != ours


def test_decision_id_of_the_rfc() -> None:
    """RFC 9562 appendix A.6: 2022-02-22T19:22:22.000Z begins with 017f22e2-79b0-7."""
    assert new_decision_id(1_645_557_742_000 * 1_000_000).startswith("017f22e2-79b0-7")


def test_a_decision_that_is_shared_is_completed_in_a_copy() -> None:
    """A constant that many questions are answered with takes the name of none of them."""
    shared = deny(Cause.INDETERMINATE)
    before = dict(shared.__dict__)
    calls = [Call(ask(), PEP, 1e9, None) for _ in range(2)]
    one, other = (with_record(named(shared, each), None) for each in calls)
    assert one.decision_id != other.decision_id
    assert shared.__dict__ == before
    assert one == dataclasses.replace(shared, decision_id=one.decision_id)


def test_concurrent_requests_do_not_mix() -> None:
    """A thousand questions in flight on one loop each get their own answer."""
    bench = Bench(mode="later")

    async def one(number: int) -> bool:
        action = ("read", "write", "destroy")[number % 3]
        request = dataclasses.replace(ask(action), request_id=f"q-{number}")
        decision = await bench.point.authorize(request, PEP, bench.clock.seconds + 20)
        assert decision.record is not None
        entry = bench.recorder.entries[decision.record.seq - 1]
        assert entry.request_id == f"q-{number}"
        return decision.effect is (Effect.PERMIT if action == "read" else Effect.DENY)

    async def scenario() -> list[bool]:
        return await asyncio.gather(*(one(number) for number in range(1_000)))

    assert all(asyncio.run(scenario()))


def test_invalid_request_errors_name_the_path() -> None:
    """Paths are built from the inside out, and hostile keys are quoted."""
    with pytest.raises(InvalidRequestError) as caught:
        boundary.admit(
            dataclasses.replace(ask(), context={"a": [{"b c\n": 2**70}]}), PEP, InputLimits()
        )
    assert caught.value.field == "context.a[0]['b c\\n']"


# -- waiting for records --------------------------------------------------------------------------


@given(
    waits=st.lists(st.floats(0.001, 0.04), min_size=1, max_size=12),
    done=st.sets(st.integers(0, 11)),
)
@settings(max_examples=25, deadline=None)
def test_patience_ends_for_each_record_at_its_own_time(waits: list[float], done: set[int]) -> None:
    """One timer for all of them: none ends early, none hangs, those that are done stay so."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        kept = patience.Patience()
        ref = RecordRef("test/0/1", 1, bytes(32))

        async def one(number: int, wait_s: float) -> None:
            future: asyncio.Future[RecordRef] = loop.create_future()
            started = loop.time()
            kept.watch(future, wait_s)
            if number in done:
                future.set_result(ref)
                assert await patience.outcome(future) is ref
                return
            with pytest.raises(patience.TooLateError):
                await asyncio.wait_for(patience.outcome(future), 5)
            assert loop.time() - started >= wait_s - 0.002

        await asyncio.gather(*(one(number, wait_s) for number, wait_s in enumerate(waits)))

    asyncio.run(scenario())


def test_patience_starts_anew_on_another_event_loop() -> None:
    """The timer of a loop that has ended must not be waited for."""
    kept = patience.Patience()

    async def scenario(patience_s: float) -> None:
        future: asyncio.Future[RecordRef] = asyncio.get_running_loop().create_future()
        kept.watch(future, patience_s)
        if patience_s < 1:
            with pytest.raises(patience.TooLateError):
                await asyncio.wait_for(patience.outcome(future), 5)

    asyncio.run(scenario(0.5e2))
    asyncio.run(scenario(0.01))


def test_a_recorder_that_cancels_is_told_from_a_caller_that_hangs_up() -> None:
    """The one is a failed record, the other the end of the task."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordRef] = loop.create_future()
        loop.call_soon(future.cancel)
        with pytest.raises(patience.TooLateError):
            await patience.outcome(future)
        other: asyncio.Future[RecordRef] = loop.create_future()
        task = asyncio.ensure_future(patience.outcome(other))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_a_failing_recorder_is_told_of_once_until_it_works_again() -> None:
    """An operator sees why records fail without raising the log level, and not once per call."""
    stream = io.StringIO()
    clock, recorder = HandClock(), MemoryRecorder("fails")
    telemetry = Telemetry(stream, clock.wall_ns)
    point = DecisionPoint(HeldSnapshot(make_snapshot()), recorder, clock=clock, telemetry=telemetry)

    for mode in ("fails", "fails", "at_once", "fails"):
        recorder.mode = mode
        asyncio.run(point.authorize(ask(), PEP, clock.seconds + ONE_SECOND))
    telemetry.close()
    told = [line for line in stream.getvalue().splitlines() if "record_failed" in line]
    assert len(told) == 2
    assert all("the disk is full" in line for line in told)
