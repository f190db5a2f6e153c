"""Answers and records of batches that are put together from bytes: as protobuf writes them."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.demo.scene import POLICIES
from pdp import wire, wire_answers
from pdp.audit import batch_attributes, item_bytes
from pdp.audit.batch_entry import single_entries
from pdp.audit.encoded import EncodedAttributes
from pdp.audit.entry import BatchEvidence, Evidence, Received, build_entry
from pdp.audit.item_bytes import ItemWriter
from pdp.authoring.compilation import compile_directory
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.boundary import InputLimits
from pdp.callers import CallerEntry
from pdp.cel.limits import EvaluationLimits
from pdp.interning import Interner
from pdp.model import (
    Action,
    BundleRef,
    Cause,
    Decision,
    Effect,
    Lease,
    Obligation,
    Reason,
    RecordRef,
    Request,
    Resource,
    Subject,
)
from pdp.policy import PolicySet
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from pdp.wire_answers import BatchAnswers
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    make_snapshot,
)

# Of one entry at most: the order of a map's entries is nobody's to say.
DUTIES = [Obligation("mark", "watermark", {"text": "é"}), Obligation("mark", "watermark", {})]
REASONS = [Reason("p/r", "no"), Reason("p/s", "no" * 200)]
BUNDLES = [BundleRef(7, bytes(32)), BundleRef(7, bytes(range(32)))]
texts = st.sampled_from(["", "a", "é" * 70, "x" * 3_000])


def some(items: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Up to two of them."""
    return st.lists(st.sampled_from(items), max_size=2).map(tuple)


decisions = st.builds(
    Decision,
    st.sampled_from(Effect),
    st.sampled_from([Cause.RULE, Cause.DEFAULT, Cause.BUDGET, Cause.SCHEMA]),
    some(["p/r", "p/s"]),
    some(DUTIES),
    texts,
    st.none() | st.sampled_from(BUNDLES),
    st.sampled_from([None, RecordRef("pdp/0/1", 1, bytes(32)), RecordRef("pdp/0/1", 300, b"h")]),
    some(DUTIES),
    some(REASONS),
    some(REASONS),
    texts,
    st.none(),
    st.sampled_from([None, Lease(10**18 + 5, 10**18), Lease(10**18 + 6, 10**18)]),
)  # fmt: skip
told = st.tuples(decisions, texts, st.sampled_from([b"", bytes(32)]), texts)


def by_protobuf(answers: list[tuple[Decision, str, bytes, str]]) -> bytes:
    """The bytes of the same batch."""
    return pb.AuthorizeBatchResponse(
        request_id="b",
        request_digest=bytes(32),
        items=[wire.decision_to_pb(*answer) for answer in answers],
    ).SerializeToString()


def from_bytes(answers: list[tuple[Decision, str, bytes, str]]) -> bytes:
    """The bytes as the door makes them."""
    out = BatchAnswers("b", bytes(32))
    for answer in answers:
        out.add(*answer)
    return out.to_bytes()


@settings(max_examples=150)
@given(st.lists(told, min_size=1, max_size=12))
def test_answers_are_the_bytes_that_protobuf_makes(
    answers: list[tuple[Decision, str, bytes, str]],
) -> None:
    """Alike or not, and each of them twice."""
    twice = [*answers, *reversed(answers)]
    assert from_bytes(twice) == by_protobuf(twice)


def test_answers_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If answers were alike that have the same effect, a denial would give another's rules."""
    monkeypatch.setattr(wire_answers, "said", lambda decision: decision.effect)
    denials = [Decision(Effect.DENY, Cause.RULE, (rule,), (), "d") for rule in ("p/r", "p/s")]
    answers = [(denial, "q", b"", "") for denial in denials]
    assert from_bytes(answers) != by_protobuf(answers)


BATCH = BatchEvidence("d" * 36, "b", 1, 2, PEP, BUNDLES[0], bytes(32))


def leased(until_s: int) -> Decision:
    """One permit, but for how long it may be repeated."""
    lease = Lease(until_s * 10**9, 10**9)
    return Decision(Effect.PERMIT, Cause.RULE, ("p/r",), (), "d", BUNDLES[0], lease=lease)


def test_each_answer_keeps_its_own_lease() -> None:
    """Alike in all else: of two tokens, one ends before the other."""
    answers = [(leased(until_s), "q", b"", "") for until_s in (2, 6)]
    assert from_bytes(answers) == by_protobuf(answers)
    writer = ItemWriter(BATCH, 1 << 16, EncodedAttributes())
    seen = Evidence(Request(Subject("", ""), Action(""), Resource("", "")), PEP, {}, b"")
    seen = dataclasses.replace(seen, admitted=True)
    items = [writer.item(answer[0], seen) for answer in answers]
    ends = [audit_pb2.DecisionRecord.FromString(item).lease_until.seconds for item in items]
    assert ends == [2, 6]


def test_each_answer_keeps_its_own_lease_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If leases were no part of what is said, the second would have the first's."""
    monkeypatch.setattr(wire_answers, "said", lambda decision: decision.rules)
    answers = [(leased(until_s), "q", b"", "") for until_s in (6, 2)]
    assert from_bytes(answers) != by_protobuf(answers)


evidence = st.builds(
    Evidence,
    st.builds(
        Request,
        st.sampled_from([Subject("user", "a"), Subject("user", "é")]),
        st.sampled_from([Action("read"), Action("write")]),
        st.sampled_from([Resource("document", "1"), Resource("document", "2"), Resource("", "")]),
        tenant=texts,
        request_id=texts,
    ),
    st.just(PEP),
    st.dictionaries(st.sampled_from(["subject.id", "now"]), st.integers(0, 2) | texts, max_size=2),
    st.sampled_from([b"", bytes(32)]),
    st.sampled_from([b"", b"message"]),
    admitted=st.booleans(),
)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(decisions, evidence), min_size=1, max_size=12),
    st.sampled_from([400, 1 << 16]),
)
def test_items_of_a_record_say_what_protobuf_says(
    items: list[tuple[Decision, Evidence]], bytes_max: int
) -> None:
    """Also those that are shortened, and those that nobody admitted."""
    writer = ItemWriter(BATCH, bytes_max, EncodedAttributes())
    for decision, seen in [*items, *reversed(items)]:
        expected = build_entry(decision, seen, bytes_max, None, BATCH)
        item = writer.item(decision, seen)
        assert audit_pb2.DecisionRecord.FromString(item) == expected
        assert len(item) == expected.ByteSize()


# -- batches as they are asked, beside their questions alone --------------------------------------


@functools.cache
def policies() -> PolicySet:
    """Expense reports: roles that are derived, schemas, denials, obligations."""
    compilation = compile_directory(POLICIES)
    compilation.raise_if_failed()
    return compilation.policy_set(EvaluationLimits())


MAY = CallerEntry(
    f"spiffe://{TRUST_DOMAIN}/*", ("expense_report",), ("*",), ("user",), may=frozenset({"batch"})
)
ABOUT: dict[str, Any] = {"roles": ["employee", "manager"], "department": "sales", "grade": 4}
REPORT: dict[str, Any] = {
    "author": "alice",
    "submitted_by": "bob",
    "department": "sales",
    "status": "submitted",
    "amount_cents": 9_000,
    "year": 2026,
    "lines": [{"category": "meals", "amount_cents": 500, "receipt": True}],
    "delegations": [],
    "assistants": [],
}
ACTIONS = ["read", "update", "submit", "approve", "reject", "pay", "fly"]
ODD: list[Any] = [None, 1, True, 1.0, "it", "bob", "draft", [], ["director"], {}]


def changed(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The same with a property less, or another value for one."""
    names = st.sampled_from([*whole, ""])
    less = names.map(lambda name: {key: value for key, value in whole.items() if key != name})
    other = st.tuples(names, st.sampled_from(ODD)).map(
        lambda pair: {key: pair[1] if key == pair[0] else value for key, value in whole.items()}
    )
    return less | other


questions = st.lists(
    st.builds(
        Request,
        st.builds(Subject, st.just("user"), st.sampled_from(["alice", "bob"]), changed(ABOUT)),
        st.sampled_from(ACTIONS).map(Action),
        # Few ids, so that one stands for several reports.
        st.builds(
            Resource, st.just("expense_report"), st.sampled_from(["1", "2"]), changed(REPORT)
        ),
        st.sampled_from([{}, {"mfa": True}, {"mfa": 1}]),
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def batches(draw: st.DrawFn) -> list[Request]:
    """Questions whose parts are combined anew, and some of them twice."""
    drawn = draw(questions)
    pick = st.sampled_from(drawn)
    mixed = draw(st.lists(st.tuples(pick, pick, pick, pick), max_size=8))
    found = drawn + [
        Request(one.subject, two.action, three.resource, four.context)
        for one, two, three, four in mixed
    ]
    return [
        dataclasses.replace(question, request_id=f"q{index}")
        for index, question in enumerate(draw(st.permutations(found)))
    ]


def asked(requests: list[Request], *, together: bool) -> Iterator[tuple[Any, Any]]:
    """Answer and record of each, without the names that differ."""
    recorder, clock, interner = MemoryRecorder(), HandClock(), Interner(InputLimits())
    snapshot = make_snapshot(callers=(MAY,), tenants={"default": policies()})
    if not together:
        entry = dataclasses.replace(MAY, may=frozenset())
        snapshot = make_snapshot(callers=(entry,), tenants={"default": policies()})
    point = BatchDecisionPoint(HeldSnapshot(snapshot), recorder, clock=clock)
    received = [Received(wire.request_to_pb(one).SerializeToString()) for one in requests]
    admitted = [interner.admit(one.message, PEP) for one in received]
    deadline = clock.seconds + 1
    if together:
        batch = Batch("b", Semantic.EXECUTE_ALL, admitted, received, bytes(32))
        answers = [one.decision for one in asyncio.run(point.answer_batch(batch, PEP, deadline))]
    else:
        pairs = zip(admitted, received, strict=True)
        answers = [asyncio.run(point.authorize(one, PEP, deadline, sent)) for one, sent in pairs]
    records = [single for entry in recorder.entries for single in single_entries(entry)]
    for decision, record in zip(answers, records, strict=True):
        assert decision.decision_id == record.decision_id
        record.decision_id = ""
        yield dataclasses.replace(decision, decision_id="", record=None), record


@settings(max_examples=40, deadline=None)
@given(batches())
def test_a_batch_is_answered_and_recorded_as_its_questions_alone(requests: list[Request]) -> None:
    """Permuted, twice, with one id for several reports, attributes missing or of another kind."""
    assert list(asked(requests, together=True)) == list(asked(requests, together=False))


@pytest.mark.parametrize("module", [batch_attributes, item_bytes])
def test_a_batch_is_recorded_twin_without_guard(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If parts were not told apart, a record would hold what was written of another report."""
    reports = [{**REPORT, "status": status} for status in ("submitted", "draft")]
    requests = [
        Request(
            Subject("user", "bob", ABOUT), Action("read"), Resource("expense_report", str(n), each),
            request_id=f"q{n}",
        )
        for n, each in enumerate(reports)
    ]  # fmt: skip
    expected = list(asked(requests, together=False))
    assert list(asked(requests, together=True)) == expected
    monkeypatch.setattr(module, "id", lambda _: 0, raising=False)
    assert list(asked(requests, together=True)) != expected
