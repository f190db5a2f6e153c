"""Batches in the client: believed as a whole or not at all, and never taken for a decision.

The oracle (`may_permit_batch`) is a list of conditions over the parsed messages, written apart
from the steps that it judges.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pdp import wire
from pdp.errors import AnswerError, InvalidRequestError
from pdp.model import Cause, Decision, Effect, Semantic, deny
from pdp.v1 import authorization_pb2 as pb
from pdp_client import (
    Answers,
    AsyncClient,
    Client,
    Question,
    Undecided,
    _batch,
    _core,
)
from pdp_client._answers import UNDECIDED
from pdp_client._batch import BatchCall
from pdp_client._breaker import Evidence
from pdp_client._core import Conclusion
from pdp_client.testing import AsyncUnsafePermitAll, DenyAll, UnsafePermitAll
from tests.simulators.faults import BATCH_SPOILED, MANGLED, FiringRange, honest_batch
from tests.test_client_core import (
    ALICE,
    CAN_MEET,
    REPORT,
    ended,
    may_permit,
    question,
    statuses,
    times,
)

ALL, FIRST_DENY, FIRST_PERMIT = Semantic
GENEROUS_S = 5.0


def begun(*actions: str, semantic: Semantic = ALL) -> BatchCall:
    """A batch that began at 0 and has a budget of 1 s; ids in order."""
    requests = [
        question(action=action, request_id=f"{place:032d}") for place, action in enumerate(actions)
    ]
    return _batch.begin(requests, semantic, "b" * 32, 0.0, 1.0)


def honest(batch: BatchCall) -> pb.AuthorizeBatchResponse:
    """The PDP's answer."""
    assert batch.call is not None
    message = batch.call.message
    return honest_batch(pb.AuthorizeBatchRequest.FromString(message), message)


def concluded(
    batch: BatchCall, outcome: Any, can_meet: frozenset[tuple[str, str]] = CAN_MEET
) -> list[Conclusion | None]:
    """What a driver makes of an outcome."""
    try:
        return _batch.conclude(batch, outcome, can_meet)
    except Exception as error:  # noqa: BLE001 as the drivers do
        return _batch.denied(error, batch.count, asked=True)


def told(conclusions: Sequence[Conclusion | None]) -> str:
    """`P`, `D` or `-` for each question."""
    return "".join("-" if one is None else "DP"[bool(one.decision)] for one in conclusions)


def answered(
    batch: BatchCall, answer: pb.AuthorizeBatchResponse, can_meet: Any = CAN_MEET
) -> list[Conclusion | None]:
    """What a driver makes of an answer that came in time."""
    return concluded(batch, ended(answer.SerializeToString()), can_meet)


# -- what is believed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("semantic", "actions", "expected"),
    [
        (ALL, "permit deny permit", "PDP"),
        (FIRST_DENY, "permit permit deny permit", "PPD-"),
        (FIRST_DENY, "permit permit", "PP"),
        (FIRST_DENY, "deny permit", "D-"),
        (FIRST_PERMIT, "deny permit deny", "DP-"),
        (FIRST_PERMIT, "deny deny", "DD"),
        (FIRST_PERMIT, "permit permit", "P-"),
    ],
)
def test_the_three_semantics(semantic: Semantic, actions: str, expected: str) -> None:
    """What was decided is a decision; what the semantic left out is none."""
    batch = begun(*actions.split(), semantic=semantic)
    assert told(answered(batch, honest(batch))) == expected


@settings(max_examples=50)
@given(st.data())
def test_answers_in_any_order_are_the_same(data: st.DataObject) -> None:
    """Answers are matched by id: their order says nothing."""
    actions = data.draw(st.lists(st.sampled_from(["permit", "deny"]), min_size=1, max_size=8))
    batch = begun(*actions, semantic=data.draw(st.sampled_from(Semantic)))
    answer = honest(batch)
    expected = told(answered(batch, answer))
    items = data.draw(st.permutations(list(answer.items)))
    answer.ClearField("items")
    answer.items.extend(items)
    assert told(answered(batch, answer)) == expected


@pytest.mark.parametrize("semantic", Semantic)
@pytest.mark.parametrize("fault", sorted(BATCH_SPOILED))
def test_a_spoilt_batch_is_unusable_as_a_whole(fault: str, semantic: Semantic) -> None:
    """One answer too few, too many, twice, mixed up or spoilt: every question is denied."""
    last = "permit" if semantic is FIRST_PERMIT else "deny"
    first = {ALL: "permit", FIRST_DENY: "permit", FIRST_PERMIT: "deny"}[semantic]
    batch = begun(first, first, last, semantic=semantic)
    answer = honest(batch)
    if fault.startswith("last_") and not answer.items[-1].HasField("record"):
        # What spoils a permit may leave a denial as it is.
        batch = begun(first, first, "permit", semantic=semantic)
        answer = honest(batch)
    BATCH_SPOILED[fault](answer)
    conclusions = answered(batch, answer)
    assert [one.decision for one in conclusions if one] == [deny(Cause.UNUSABLE)] * 3
    assert all(one and one.reason and one.evidence is Evidence.FAILED for one in conclusions)


@pytest.mark.parametrize(
    ("semantic", "actions", "keep"),
    [
        (FIRST_DENY, "permit permit permit", 2),
        (FIRST_PERMIT, "deny deny deny", 2),
        (ALL, "permit permit permit", 2),
    ],
)
def test_a_batch_that_stops_before_its_end_is_unusable(
    semantic: Semantic, actions: str, keep: int
) -> None:
    """Only the question that ends a batch may be the last that is answered."""
    batch = begun(*actions.split(), semantic=semantic)
    answer = honest(batch)
    del answer.items[keep:]
    assert told(answered(batch, answer)) == "DDD"


@pytest.mark.parametrize(
    ("semantic", "actions"),
    [(FIRST_DENY, "permit deny permit"), (FIRST_PERMIT, "deny permit deny")],
)
def test_a_batch_that_goes_on_after_its_end_is_unusable(semantic: Semantic, actions: str) -> None:
    """A PDP that decides what it was told not to decide is not believed in anything."""
    batch = begun(*actions.split(), semantic=semantic)
    everything = begun(*actions.split())
    answer = honest(everything)
    assert batch.call
    answer.request_digest = batch.call.digest
    assert told(answered(batch, answer)) == "DDD"


def _no_check(*_: object) -> None:
    """In place of a guard."""


@pytest.mark.parametrize(
    ("module", "guard", "fault"),
    [
        (_core, "_check_request_id", "batch_id"),
        (_core, "_check_request_digest", "batch_digest"),
        (_batch, "_check_complete", "missing_last"),
    ],
)
def test_a_spoilt_batch_twin_without_guard(
    module: Any, guard: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without each guard, permits of the spoilt batch would get through."""
    batch = begun("permit", "permit", "permit")
    answer = honest(batch)
    BATCH_SPOILED[fault](answer)
    assert "P" not in told(answered(batch, answer))
    monkeypatch.setattr(module, guard, _no_check)
    assert "P" in told(answered(batch, answer))


@pytest.mark.parametrize("fault", ["exchanged_digests", "digest_of_the_batch"])
def test_an_answer_to_other_bytes_twin_without_guard(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check of each answer, one to another question's bytes would permit."""
    batch = begun("permit", "permit", "permit")
    answer = honest(batch)
    BATCH_SPOILED[fault](answer)
    assert told(answered(batch, answer)) == "DDD"
    monkeypatch.setattr(
        _batch, "_check_answers_one", lambda waiting, item: waiting.pop(item.request_id)
    )
    assert told(answered(batch, answer)) == "PPP"


def test_a_duty_concerns_one_question() -> None:
    """A permit with a duty that was not declared is a denial; its neighbours stay what they are."""
    batch = begun("permit", "obligation_unknown", "obliged")
    conclusions = answered(batch, honest(batch))
    assert told(conclusions) == "PDP"
    refused = conclusions[1]
    assert refused
    assert (refused.decision.cause, refused.evidence) == (Cause.UNUSABLE, Evidence.ANSWERED)


def test_a_duty_that_cannot_be_met_ends_the_batch_that_a_denial_ends() -> None:
    """Deny on first deny: a permit that the client turns into a denial is the first denial."""
    batch = begun("permit", "obligation_unknown", "permit", semantic=FIRST_DENY)
    assert told(answered(batch, honest(batch))) == "PD-"
    batch = begun("obligation_unknown", "permit", semantic=FIRST_PERMIT)
    assert told(answered(batch, honest(batch))) == "D-"


# -- what cannot be asked -----------------------------------------------------------------


def begun_with_a_bad_one(semantic: Semantic) -> BatchCall:
    """A batch whose second question cannot be encoded."""
    requests = [question(action="permit", request_id=f"{place:032d}") for place in range(3)]
    requests[1] = question({"n": math.nan}, request_id="1" * 32)
    return _batch.begin(requests, semantic, "b" * 32, 0.0, 1.0)


@pytest.mark.parametrize(
    ("semantic", "sent", "expected"),
    [(ALL, [0, 2], "PDP"), (FIRST_DENY, [0], "PD-"), (FIRST_PERMIT, [0, 2], "P--")],
)
def test_a_question_that_cannot_be_asked_is_denied_by_itself(
    semantic: Semantic, sent: list[int], expected: str
) -> None:
    """The others are asked, and answered as if they were alone; what is left out is not sent."""
    batch = begun_with_a_bad_one(semantic)
    assert [one.place for one in batch.sent] == sent
    conclusions = answered(batch, honest(batch))
    assert told(conclusions) == expected
    if conclusions[1]:
        assert conclusions[1].decision.cause is Cause.INVALID


def test_a_batch_of_nothing_that_can_be_asked_is_not_sent() -> None:
    """Then there is no call, and each question is denied."""
    bad = question({"n": math.nan})
    batch = _batch.begin([bad, bad], ALL, "b" * 32, 0.0, 1.0)
    assert batch.call is None
    assert told(concluded(batch, None)) == "DD"


def test_a_batch_that_is_too_long_is_denied_unsent() -> None:
    """More questions, or more bytes, than any PDP takes: INVALID, in bounded time."""
    one = question()
    with pytest.raises(InvalidRequestError, match="more than 1000"):
        _batch.begin([one] * 1_001, ALL, "b" * 32, 0.0, 1.0)
    large = question({"text": "x" * 200_000})
    with pytest.raises(InvalidRequestError, match="together"):
        _batch.begin([large] * 900, ALL, "b" * 32, 0.0, 1.0)
    with pytest.raises(_core.Refusal, match="no time"):
        _batch.begin([one], ALL, "b" * 32, 0.0, 0.0)


# -- whatever comes back ------------------------------------------------------------------


def may_permit_batch(
    batch: BatchCall, outcome: Any, can_meet: frozenset[tuple[str, str]]
) -> list[bool]:
    """The oracle: for each question, whether anything but DENY is allowed."""
    nothing = [False] * batch.count
    assert batch.call
    asked = pb.AuthorizeBatchRequest.FromString(batch.call.message)
    if outcome.message is None or len(outcome.message) > 4_194_304:
        return nothing
    try:
        answer = pb.AuthorizeBatchResponse.FromString(outcome.message)
    except (DecodeError, UnicodeDecodeError):
        return nothing
    ids = [item.request_id for item in answer.items]
    by_id = {item.request_id: item for item in answer.items}
    first = asked.items[: len(ids)]
    permits = [by_id[item.request_id].effect == 2 for item in first if item.request_id in by_id]
    ending = {1: None, 2: False, 3: True}[asked.semantic]
    ends = [ending is not None and permit is ending for permit in permits]
    whole = all(
        [
            outcome.status == 0,
            outcome.at - batch.call.deadline <= 0,
            answer.request_id == asked.request_id,
            answer.request_digest == hashlib.sha256(batch.call.message).digest(),
            sorted(ids) == sorted(item.request_id for item in first),
            len(ids) == len(asked.items) or any(ends),
            True not in ends[:-1],
            all(
                by_id.get(item.request_id, answer).request_digest
                == hashlib.sha256(item.SerializeToString()).digest()
                for item in first
            ),
            all(map(_could_be_believed, answer.items)),
        ]
    )
    if not whole:
        return nothing
    found = []
    for item in first:
        met = {(duty.type, duty.id) for duty in by_id[item.request_id].obligations} <= can_meet
        found.append(by_id[item.request_id].effect == 2 and met)
        if ending is not None and found[-1] is ending:
            break
    return found + [False] * (batch.count - len(found))


def _could_be_believed(item: pb.AuthorizeResponse) -> bool:
    """Whether an answer alone is well-formed: a permit as the other oracle has it, or a denial."""
    try:
        decision = wire.decision_from_pb(item)
    except AnswerError:
        return False
    if decision.effect is Effect.DENY:
        return True
    duties = frozenset((duty.type, duty.id) for duty in item.obligations)
    call = _core.begin(question(), 0.0, 1.0)
    alone = pb.AuthorizeResponse()
    alone.CopyFrom(item)
    # That it is to this question is judged elsewhere.
    alone.request_id, alone.request_digest = call.request_id, call.digest
    return may_permit(call, ended(alone.SerializeToString()), duties)


@st.composite
def batch_answers(draw: st.DrawFn, batch: BatchCall) -> bytes | None:
    """Honest, spoilt in any number of ways, cut, flipped, or noise."""
    answer = honest(batch)
    harm = draw(st.sampled_from(["none"] * 3 + ["noise", "spoilt", "spoilt", "flipped", "cut"]))
    if harm == "noise":
        return draw(st.none() | st.binary(max_size=200))
    if harm == "spoilt":
        for fault in draw(st.lists(st.sampled_from(sorted(BATCH_SPOILED)), max_size=2)):
            with contextlib.suppress(IndexError):
                BATCH_SPOILED[fault](answer)
    message = bytearray(answer.SerializeToString())
    if harm == "flipped":
        message[draw(st.integers(0, len(message) - 1))] ^= draw(st.integers(1, 255))
    if harm == "cut":
        message = message[: draw(st.integers(0, len(message)))]
    return bytes(message)


ACTIONS = st.lists(
    st.sampled_from(["permit", "permit", "deny", "obliged", "obligation_unknown"]),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150)
@given(st.data(), ACTIONS, st.sampled_from(Semantic), statuses, times)
def test_client_denies_batches(
    data: st.DataObject, actions: list[str], semantic: Semantic, status: int, at: float
) -> None:
    """Whatever bytes come back, with whatever status, whenever: permits only where all holds."""
    batch = begun(*actions, semantic=semantic)
    outcome = ended(data.draw(batch_answers(batch)), status, at)
    conclusions = concluded(batch, outcome)
    allowed = may_permit_batch(batch, outcome, CAN_MEET)
    assert [one is not None and bool(one.decision) for one in conclusions] == allowed
    assert all(one is None or one.unexpected is None for one in conclusions)
    event(f"permits: {any(allowed)}")


@given(st.binary(max_size=500))
def test_any_bytes_deny_a_batch(message: bytes) -> None:
    """Bytes that nobody made for this batch deny all of it."""
    conclusions = concluded(begun("permit", "permit"), ended(message))
    assert [one and one.decision for one in conclusions] == [deny(Cause.UNUSABLE)] * 2


@pytest.mark.parametrize("fault", sorted(MANGLED))
def test_a_mangled_batch_is_denied(fault: str) -> None:
    """Whole messages that are no answer."""
    batch = begun("permit", "permit")
    found = MANGLED[fault](honest(batch).SerializeToString())
    # Of an unknown field of 300,000 bytes gRPC itself would have no opinion here.
    if fault != "oversize":
        assert told(concluded(batch, ended(found[0] if found else None))) == "DD"


def test_a_batch_answer_has_a_largest_size() -> None:
    """What is larger than any honest answer is not parsed."""
    batch = begun("permit")
    message = honest(batch).SerializeToString()
    spare = _batch.RESPONSE_BYTES_MAX - len(message)
    # An unknown field: skipped, where it fits.
    filler = b"\xfa\x7f" + b"\x80\x80\x80\x01" + bytes(2_097_152)
    assert told(concluded(batch, ended(message + filler))) == "P"
    assert told(concluded(batch, ended(message + bytes(spare + 1)))) == "D"


# -- what the program holds ---------------------------------------------------------------

PERMIT = Decision(Effect.PERMIT, Cause.RULE, ("a/b",))
DENY = deny(Cause.DEFAULT)


TRAPS: list[Any] = [
    *(bool, all, any, list, iter, reversed),
    lambda answers: True in answers,
    lambda answers: not answers,
]


def test_a_batch_has_no_truth_value() -> None:
    """Whatever Python offers to make one truth of several answers, or of none, is an error."""
    for decided in ([], [PERMIT], [PERMIT, PERMIT], [DENY]):
        answers: Any = Answers(decided)
        for trap in (
            bool,
            all,
            any,
            list,
            iter,
            reversed,
            lambda it: True in it,
            lambda it: not it,
        ):
            with pytest.raises(TypeError):
                trap(answers)


def test_a_batch_twin_without_guard() -> None:
    """A plain list would permit: of nothing, all are permitted, and a denied batch is true."""
    assert all([])
    assert bool([DENY])


def test_answers_are_looked_at_by_place() -> None:
    """A place is a whole number within the batch; nothing counts from the end."""
    answers = Answers([PERMIT, DENY, UNDECIDED])
    assert (answers[0], answers[1], len(answers)) == (PERMIT, DENY, 3)
    assert [answers.permitted(place) for place in range(3)] == [True, False, False]
    for place in (-1, 3):
        with pytest.raises(IndexError):
            answers[place]
    mistaken: Any
    for mistaken in (True, slice(0, 1), "0", None):
        with pytest.raises(TypeError):
            answers[mistaken]


def test_what_was_not_decided_is_false_and_no_denial() -> None:
    """It is not a decision: who looks for a denial, or that there is none, finds neither."""
    left_out: Any = Answers([DENY, UNDECIDED])[1]
    assert type(left_out) is Undecided
    assert not left_out
    with pytest.raises(AttributeError):
        left_out.effect  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("decided", "every", "some"),
    [
        ([], False, False),
        ([PERMIT], True, True),
        ([PERMIT, DENY], False, True),
        ([PERMIT, UNDECIDED], False, True),
        ([DENY, UNDECIDED], False, False),
    ],
)
def test_all_and_any_of_a_batch(decided: list[Any], *, every: bool, some: bool) -> None:
    """Of no questions none is permitted; one that was not decided is not permitted."""
    answers = Answers(decided)
    assert (answers.all_permitted, answers.any_permitted) == (every, some)


# -- in both clients ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def firing_range(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiringRange]:
    """A scripted PDP, and the files of a client."""
    with FiringRange(tmp_path_factory.mktemp("range")) as made:
        yield made


def questions(*actions: str) -> list[Question]:
    """One for each action."""
    return [Question(ALICE, action, REPORT) for action in actions]


def by_both(
    firing_range: FiringRange,
    asked: list[Question],
    semantic: Semantic = ALL,
    timeout: float | None = None,
) -> list[tuple[Answers, Any]]:
    """Answers and what was counted, of each kind of client."""
    arguments: Any = {**firing_range.files(), "budget_s": GENEROUS_S}
    with Client(firing_range.target(), **arguments) as client:
        found: list[tuple[Answers, Any]] = [
            (client.authorize_batch(asked, semantic, timeout=timeout), client)
        ]

    async def tasks() -> tuple[Answers, Any]:
        async with AsyncClient(firing_range.target(), **arguments) as client:
            return await client.authorize_batch(asked, semantic, timeout=timeout), client

    return [*found, asyncio.run(tasks())]


def test_a_batch_over_the_wire(firing_range: FiringRange) -> None:
    """Each question has its own decision, by its place; each is counted."""
    for answers, client in by_both(firing_range, questions("permit", "deny", "permit")):
        assert [answers.permitted(place) for place in range(3)] == [True, False, True]
        assert (client.permits, client.counts) == (2, {Cause.RULE: 1})


def test_a_short_circuit_over_the_wire(firing_range: FiringRange) -> None:
    """What was not decided is not counted either."""
    for answers, client in by_both(firing_range, questions("deny", "permit"), FIRST_DENY):
        assert isinstance(answers[1], Undecided)
        assert (client.permits, client.counts) == (0, {Cause.RULE: 1})


def test_a_batch_is_tried_again_once(firing_range: FiringRange) -> None:
    """As a question alone: UNAVAILABLE, a short pause, the same bytes."""
    for answers, _ in by_both(firing_range, questions("permit", "once:14")):
        assert answers.all_permitted
    for answers, _ in by_both(firing_range, questions("permit", "status:14")):
        assert not answers.any_permitted


def test_no_questions_are_no_call_and_no_permit(firing_range: FiringRange) -> None:
    """A list that turned out empty permits nothing, and goes nowhere."""
    for answers, client in by_both(firing_range, []):
        assert len(answers) == 0
        assert not answers.all_permitted
        assert (client.permits, client.counts) == (0, {})


def test_a_batch_without_time_is_denied(firing_range: FiringRange) -> None:
    """No time is a denial of every question."""
    for answers, client in by_both(firing_range, questions("permit", "permit"), timeout=0):
        assert not answers.any_permitted
        assert client.counts == {Cause.UNREACHABLE: 2}


def test_a_batch_counts_once_for_the_breaker(firing_range: FiringRange) -> None:
    """A hundred questions that fail together are one call that failed; the breaker stays shut."""
    with Client(firing_range.target(), **firing_range.files(), budget_s=GENEROUS_S) as client:
        for _ in range(3):
            client.authorize_batch(questions(*["permit"] * 30, "status:13"))
        assert client.counts == {Cause.UNREACHABLE: 93}
        assert client.authorize(ALICE, "permit", REPORT)
        for _ in range(16):
            client.authorize_batch(questions("status:13"))
        asked = client.authorize_batch(questions("permit"))
        assert not asked.any_permitted
        assert client.unasked == 1


def test_wrong_classes_in_a_batch_are_raised(firing_range: FiringRange) -> None:
    """A bug in the calling program is a TypeError, before anything is sent."""
    wrong: Any
    with Client(firing_range.target(), **firing_range.files()) as client:
        for wrong in ("alice", [("user", "alice")], [ALICE], 7):
            with pytest.raises(TypeError):
                client.authorize_batch(wrong)
        wrong = 1
        with pytest.raises(TypeError, match="semantic"):
            client.authorize_batch(questions("permit"), wrong)


def test_stand_ins_answer_batches() -> None:
    """As the clients: by place, with the semantics, and what cannot be asked is denied."""
    bad = Question(ALICE, "read", REPORT, context={"n": math.nan})
    with UnsafePermitAll() as permitting:
        answers = permitting.authorize_batch([*questions("a"), bad, *questions("b")])
        assert [answers.permitted(place) for place in range(3)] == [True, False, True]
        answers = permitting.authorize_batch(questions("a", "b"), FIRST_PERMIT)
        assert isinstance(answers[1], Undecided)
    denying = DenyAll().authorize_batch(questions("a", "b", "c"), FIRST_DENY)
    assert [type(denying[place]) for place in range(3)] == [Decision, Undecided, Undecided]

    async def tasks() -> Answers:
        async with AsyncUnsafePermitAll() as permitting:
            return await permitting.authorize_batch(questions("a", "b"))

    assert asyncio.run(tasks()).all_permitted
