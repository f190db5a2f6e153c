"""What a subject token does to a decision: identity, claims, roles, revocation, record and end."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pdp import admission, boundary, decision_point, proof
from pdp.audit.entry import Capture, Received
from pdp.batch import Batch, BatchDecisionPoint, Semantic
from pdp.boundary import InputLimits
from pdp.call import Answer
from pdp.callers import CallerEntry
from pdp.decision_point import DecisionPoint
from pdp.identity.token import TokenVerifier
from pdp.impact import recorded
from pdp.impact.recorded import Unplayable
from pdp.model import Cause, Decision, Effect, Request, Subject, Verdict
from pdp.proof import kept
from pdp.roles import Facts, StaticRole
from pdp.snapshot import Denials, Snapshot
from pdp.subject_token import TOKEN_ROLES, SubjectToken
from pdp.telemetry import Telemetry
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, Value
from pdp.wire import parse_request
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.decision_points import (
    NOW_NS,
    PEP,
    HandClock,
    HeldSnapshot,
    MemoryRecorder,
    ask,
    make_snapshot,
    message,
)
from tests.simulators.token_issuer import ISSUER, NOW_S, TokenIssuer, verifier

HONEST = TokenIssuer()
PROVED = CallerEntry(
    id=f"spiffe://{TRUST_DOMAIN}/*",
    resources=("document",),
    actions=("*",),
    asserts=None,
    may=frozenset({"batch"}),
)


class Desk:
    """A decision point that verifies tokens, with everything in hand."""

    def __init__(
        self,
        folder: Path,
        snapshot: Snapshot | None = None,
        capture: Capture = Capture.ATTRIBUTES,
        **issuer: Any,
    ) -> None:
        self.clock = HandClock()
        self.recorder = MemoryRecorder()
        self.telemetry = Telemetry(None, self.clock.wall_ns)
        self.tokens: TokenVerifier = verifier(folder, **issuer)
        self.point = BatchDecisionPoint(
            HeldSnapshot(snapshot or make_snapshot(callers=(PROVED,))),
            self.recorder,
            capture=capture,
            clock=self.clock,
            telemetry=self.telemetry,
            tokens=self.tokens,
        )

    def decide(self, question: Any, received: Received | None = None) -> Decision:
        """Ask and wait."""
        deadline = self.clock.seconds + 1.0
        return asyncio.run(self.point.authorize(question, PEP, deadline, received))

    def decide_batch(self, questions: list[Request]) -> list[Answer]:
        """Ask several at once, and wait."""
        batch = Batch("b-1", Semantic.EXECUTE_ALL, questions)
        return asyncio.run(self.point.answer_batch(batch, PEP, self.clock.seconds + 1.0))

    def outcome(self, question: Any) -> tuple[str, str]:
        """Effect and cause."""
        decision = self.decide(question)
        return decision.effect.name, decision.cause.name


def bringing(text: str, action: str = "read", **properties: object) -> Request:
    """A question about alice that brings a token."""
    return dataclasses.replace(ask(action, **properties), subject_token=text)


PERMIT, DENIED = ("PERMIT", "RULE"), ("DENY", "IDENTITY")


# ---- who ----------------------------------------------------------------------


def test_a_verified_token_is_what_token_required_asks_for(tmp_path: Path) -> None:
    """With it the rules decide; without one, or with one that proves nothing, IDENTITY."""
    desk = Desk(tmp_path)
    assert desk.outcome(bringing(HONEST.token())) == PERMIT
    assert desk.outcome(ask()) == DENIED
    assert desk.outcome(bringing(HONEST.token({"alg": "none"}))) == DENIED
    assert desk.outcome(bringing("garbage")) == DENIED
    assert desk.telemetry.counters["tokens", "verified"] == 1
    assert desk.telemetry.counters["tokens", "algorithm"] == 1
    assert desk.telemetry.counters["tokens", "malformed"] == 1


def test_a_verified_token_twin_that_believes_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a token that proves nothing taken for one that does, garbage would permit."""
    believed = SubjectToken(ISSUER, "t", "user", "alice", NOW_NS + NANOS, {})
    monkeypatch.setattr(TokenVerifier, "verify", lambda *_: believed)
    assert Desk(tmp_path).outcome(bringing("garbage")) == PERMIT


@pytest.mark.parametrize(
    "subject", [Subject("user", "mallory"), Subject("service", "alice"), Subject("user", "Alice")]
)
def test_a_token_about_somebody_else_proves_nothing(tmp_path: Path, subject: Subject) -> None:
    """Subject of the request and of the token are the same, type and id, byte by byte."""
    question = dataclasses.replace(bringing(HONEST.token()), subject=subject)
    desk = Desk(tmp_path)
    assert desk.outcome(question) == DENIED
    (entry,) = desk.recorder.entries
    # The record names no credential that did not prove its subject.
    assert (entry.subject.issuer, entry.subject.jti) == ("", "")


def test_a_token_about_somebody_else_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison, alice's token answers for mallory."""
    monkeypatch.setattr(SubjectToken, "proves", lambda *_: True)
    question = dataclasses.replace(bringing(HONEST.token()), subject=Subject("user", "mallory"))
    assert Desk(tmp_path).outcome(question) == PERMIT


def test_a_token_of_an_asserting_caller_is_verified_too(tmp_path: Path) -> None:
    """It need not send one; one that it sends counts, and widens no types that it asserts."""
    desk = Desk(tmp_path, make_snapshot())
    assert desk.outcome(ask()) == PERMIT
    assert desk.outcome(bringing(HONEST.token())) == PERMIT
    assert desk.outcome(bringing(HONEST.token(exp=NOW_S - 1))) == DENIED
    service = Desk(tmp_path, make_snapshot(), subject_type="service")
    question = dataclasses.replace(bringing(HONEST.token()), subject=Subject("service", "alice"))
    assert service.outcome(question) == ("DENY", "CALLER")


def test_without_issuers_no_token_proves_anything() -> None:
    """And a request that leans on one is not answered without it."""
    recorder, clock = MemoryRecorder(), HandClock()
    telemetry = Telemetry(None, clock.wall_ns)
    point = DecisionPoint(HeldSnapshot(make_snapshot()), recorder, clock=clock, telemetry=telemetry)
    decision = asyncio.run(point.authorize(bringing(HONEST.token()), PEP, clock.seconds + 1))
    assert decision.cause is Cause.IDENTITY
    assert telemetry.counters["tokens", "no_issuers"] == 1


def test_a_proof_by_somebody_else_is_none(tmp_path: Path) -> None:
    """A request that comes with a ready-made proof is judged, and verified, anew."""
    claimed = SubjectToken(ISSUER, "t", "user", "alice", NOW_NS + NANOS, {})
    for text in ("", "garbage"):
        admitted = boundary.admit(bringing(text), PEP, InputLimits())
        desk = Desk(tmp_path)
        assert desk.outcome(boundary.with_token(admitted, claimed)) == DENIED


# ---- one verification for the questions of a batch -----------------------------


def check_shared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions with tokens, some the same: who gets what, and how often a token was verified."""
    desk = Desk(folder)
    looked: list[str] = []
    real = TokenVerifier.verify

    def verify(self: TokenVerifier, text: str, now_ns: int) -> SubjectToken:
        looked.append(text)
        return real(self, text, now_ns)

    monkeypatch.setattr(TokenVerifier, "verify", verify)
    alices, bobs, ended = (
        HONEST.token(), HONEST.token(sub="bob", jti="t-2"), HONEST.token(exp=NOW_S - 1),
    )  # fmt: skip
    texts = [alices, bobs, alices, ended, alices, ended, "", alices[:-1]]
    answers = desk.decide_batch(
        [
            dataclasses.replace(bringing(text), request_id=f"q-{number}")
            for number, text in enumerate(texts)
        ]
    )
    # All ask about alice: only her token proves her.
    assert [bool(answer.decision) for answer in answers] == [text == alices for text in texts]
    assert looked == [alices, bobs, ended, alices[:-1]]
    assert desk.telemetry.counters["tokens", "verified"] == 2
    # The next batch asks anew: what was verified is kept for nobody.
    desk.decide_batch([bringing(alices)])
    assert looked.count(alices) == 2


def test_the_questions_of_a_batch_share_the_verification_of_one_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One verification for one text; another text, however like it, is another token."""
    check_shared(tmp_path, monkeypatch)


@pytest.mark.parametrize("key", [lambda text: text[:40], lambda _: "one"])
def test_a_shared_verification_twin_by_less_than_the_whole_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Any
) -> None:
    """Shared by the token's beginning, or by the batch, one token answers for another."""

    class Loose(dict[str, Any]):
        def __contains__(self, text: object) -> bool:
            return super().__contains__(key(text))

        def __getitem__(self, text: str) -> Any:
            return super().__getitem__(key(text))

        def __setitem__(self, text: str, value: Any) -> None:
            super().__setitem__(key(text), value)

    real: Any = proof.proved
    proofs = Loose()

    def loose(*arguments: Any) -> Any:
        return real(*arguments[:4], proofs)

    monkeypatch.setattr(decision_point, "proved", loose)
    with pytest.raises(AssertionError):
        check_shared(tmp_path, monkeypatch)


# ---- denials that cannot wait --------------------------------------------------


def test_a_token_on_the_emergency_list_proves_nothing(tmp_path: Path) -> None:
    """By issuer and `jti`; the same `jti` of another issuer is another token."""
    denied = Denials(jtis=frozenset({(ISSUER, "t-1"), ("https://other.example.org", "t-2")}))
    desk = Desk(tmp_path, make_snapshot(callers=(PROVED,), denials=denied))
    assert desk.outcome(bringing(HONEST.token())) == DENIED
    assert desk.outcome(bringing(HONEST.token(jti="t-2"))) == PERMIT
    assert desk.recorder.entries[0].subject.jti == "t-1"


def test_a_token_on_the_emergency_list_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look, a token that was withdrawn goes on until it ends."""
    denied = Denials(jtis=frozenset({(ISSUER, "t-1")}))
    monkeypatch.setattr(admission.Denials, "denies_token", lambda *_: False)
    desk = Desk(tmp_path, make_snapshot(callers=(PROVED,), denials=denied))
    assert desk.outcome(bringing(HONEST.token())) == PERMIT


def test_a_subject_on_the_emergency_list_is_denied_with_a_token_too(tmp_path: Path) -> None:
    """Proof of who it is does not help who is denied."""
    denied = Denials(subjects=frozenset({("user", "alice")}))
    desk = Desk(tmp_path, make_snapshot(callers=(PROVED,), denials=denied))
    assert desk.outcome(bringing(HONEST.token())) == DENIED


# ---- claims and roles ----------------------------------------------------------


def test_claims_are_token_in_conditions_and_empty_without_one(tmp_path: Path) -> None:
    """All of them, delegation included, and nothing where there is no verified token."""
    seen: list[Value] = []
    real = admission.decide

    def looking(*arguments: Any, **named: Any) -> Any:
        seen.append(arguments[3].attributes["token"])
        return real(*arguments, **named)

    desk = Desk(tmp_path, make_snapshot())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "decide", looking)
        desk.decide(bringing(HONEST.token(act={"sub": "robot"})))
        desk.decide(bringing("garbage"))
        desk.decide(ask())
    claims, refused, absent = seen
    assert isinstance(claims, dict)
    assert claims["act"] == {"sub": "robot"}
    assert claims["department"] == "finance"
    assert (refused, absent) == ({}, {})


@pytest.mark.parametrize(
    ("own", "proved", "verdict"),
    [
        ([], ["manager"], Verdict.TRUE),
        (["manager"], [], Verdict.TRUE),
        ([], [], Verdict.FALSE),
        # A list that is absent or malformed is in doubt, whichever it is.
        (None, [], Verdict.DOUBT),
        ([], None, Verdict.DOUBT),
        ([], "manager", Verdict.DOUBT),
        ([], ["clerk", 1], Verdict.DOUBT),
        # What is held is held, whatever the other list would say.
        (None, ["manager"], Verdict.TRUE),
        (["manager"], None, Verdict.TRUE),
        (["clerk"], ["auditor"], Verdict.FALSE),
    ],
)
def test_a_role_is_held_through_either_list(own: Value, proved: Value, verdict: Verdict) -> None:
    """Kleene's OR of what the caller says and what the token proves."""
    facts = Facts({"subject.properties": {"roles": own}, TOKEN_ROLES: proved})
    assert StaticRole("manager").evaluate(facts) is verdict


def test_a_role_of_the_token_reaches_the_rules_and_the_record(tmp_path: Path) -> None:
    """And only from an issuer whose tokens list roles."""
    text = HONEST.token(groups=["manager"])
    desk = Desk(tmp_path, roles_claim=("groups",))
    assert desk.outcome(bringing(text, "write")) == PERMIT
    entry = desk.recorder.entries[-1]
    assert entry.attributes[TOKEN_ROLES].list_value.values[0].string_value == "manager"
    assert Desk(tmp_path).outcome(bringing(text, "write", roles=[])) == ("DENY", "DEFAULT")


def test_a_role_that_the_token_does_not_list_is_not_held(tmp_path: Path) -> None:
    """With an empty list from the caller; without one it is in doubt, which permits nothing."""
    desk = Desk(tmp_path, roles_claim=("groups",))
    text = HONEST.token(groups=["clerk"])
    assert desk.outcome(bringing(text, "write", roles=[])) == ("DENY", "DEFAULT")
    assert desk.outcome(bringing(text, "write")) == ("DENY", "DEFAULT")


# ---- the record ----------------------------------------------------------------


def arriving(question: Request) -> tuple[Request, Received]:
    """A question as a door receives it."""
    data = message(question)
    return parse_request(data), Received(data)


@pytest.mark.parametrize("capture", list(Capture))
def test_the_record_names_the_token_and_never_holds_it(tmp_path: Path, capture: Capture) -> None:
    """Issuer and `jti`; whoever reads the record must not be able to use it."""
    desk = Desk(tmp_path, capture=capture)
    text = HONEST.token()
    question, data = arriving(bringing(text))
    assert desk.decide(question, data).effect is Effect.PERMIT
    assert desk.decide(bringing(text)).effect is Effect.PERMIT
    for entry in desk.recorder.entries:
        assert (entry.subject.issuer, entry.subject.jti) == (ISSUER, "t-1")
        written = entry.SerializeToString()
        assert all(part.encode() not in written for part in text.split("."))
    kept = pb.AuthorizeRequest.FromString(desk.recorder.entries[0].request)
    if capture is Capture.FULL:
        assert kept.subject.id == "alice"
        claims = desk.recorder.entries[0].attributes["token"].map_value
        assert claims.entries["department"].string_value == "finance"


def test_the_record_twin_that_keeps_messages_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `capture: full` and the message as received, the record would hold the token."""
    monkeypatch.setattr("pdp.decision_point.kept", lambda data, _: data)
    desk = Desk(tmp_path, capture=Capture.FULL)
    text = HONEST.token()
    question, data = arriving(bringing(text))
    desk.decide(question, data)
    assert text.encode() in desk.recorder.entries[0].SerializeToString()


def test_a_denial_for_a_bad_token_holds_it_neither(tmp_path: Path) -> None:
    """Nor does one that was refused before anything was looked at."""
    desk = Desk(tmp_path, capture=Capture.FULL)
    text = HONEST.token(exp=NOW_S - 1)
    desk.decide(*arriving(bringing(text)))
    assert text.encode() not in desk.recorder.entries[0].SerializeToString()


def test_a_message_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    """One that was not admitted may have a token in it all the same."""
    text = HONEST.token()
    data = message(bringing(text))
    assert kept(b"\xff" + data, None) == b""
    assert text.encode() not in kept(data, None)
    assert kept(message(), None) == message()


@pytest.mark.parametrize("capture", list(Capture))
def test_what_a_token_proved_is_not_replayed_without_it(tmp_path: Path, capture: Capture) -> None:
    """Asked again without the token it would be another question: skipped, and said."""
    desk = Desk(tmp_path, make_snapshot(), capture)
    desk.decide(*arriving(bringing(HONEST.token())))
    desk.decide(*arriving(ask()))
    proved, asserted = (recorded._read(entry, NOW_NS) for entry in desk.recorder.entries)
    assert isinstance(proved, Unplayable)
    assert "proved by a token" in proved.reason
    assert not isinstance(asserted, Unplayable) or "digest" in asserted.reason


# ---- the end of a token ---------------------------------------------------------


def test_a_permit_never_leaves_after_the_end_of_its_token(tmp_path: Path) -> None:
    """Verified in time, recorded too late: DENY(IDENTITY), and that is recorded too."""
    desk = Desk(tmp_path)
    text = HONEST.token(exp=NOW_S + 1)
    assert desk.outcome(bringing(text)) == PERMIT
    desk.recorder.on_append = lambda: setattr(desk.clock, "wall", NOW_NS + NANOS)
    desk.clock.wall = NOW_NS
    assert desk.outcome(bringing(text)) == DENIED
    permit, denial = desk.recorder.entries[-2:]
    assert (permit.effect, denial.effect) == (pb.EFFECT_PERMIT, pb.EFFECT_DENY)
    assert denial.cause == pb.CAUSE_IDENTITY


def test_a_permit_after_the_end_of_its_token_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second look, the wait for the record is a grace."""
    monkeypatch.setattr("pdp.decision_point.has_ended", lambda *_: False)
    desk = Desk(tmp_path)
    desk.recorder.on_append = lambda: setattr(desk.clock, "wall", NOW_NS + NANOS)
    assert desk.outcome(bringing(HONEST.token(exp=NOW_S + 1))) == PERMIT


def test_a_clock_behind_the_bundles_revives_no_token(tmp_path: Path) -> None:
    """Tokens end by the later of the clock and the mark that the bundle proves."""
    desk = Desk(tmp_path, make_snapshot(callers=(PROVED,), clock_mark_ns=NOW_NS + 30 * NANOS))
    assert desk.outcome(bringing(HONEST.token(exp=NOW_S + 20))) == DENIED
    assert desk.outcome(bringing(HONEST.token(exp=NOW_S + 40))) == PERMIT


def test_a_permit_of_a_batch_never_leaves_after_the_end_of_its_token(tmp_path: Path) -> None:
    """Only that one: what another token proves still holds, and is recorded beside it."""
    desk = Desk(tmp_path)
    questions = [bringing(HONEST.token(exp=NOW_S + 1)), bringing(HONEST.token(jti="t-2"))]
    desk.recorder.on_append = lambda: setattr(desk.clock, "wall", NOW_NS + NANOS)
    answers = desk.decide_batch(questions)
    assert [answer.decision.cause for answer in answers] == [Cause.IDENTITY, Cause.RULE]
    assert [bool(answer.decision) for answer in answers] == [False, True]
    last = desk.recorder.entries[-1].batch.items
    assert [item.effect for item in last] == [pb.EFFECT_DENY, pb.EFFECT_PERMIT]
    assert last[1].subject.jti == "t-2"


def test_a_permit_of_a_batch_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second look, both leave."""
    monkeypatch.setattr("pdp.batch.has_ended", lambda *_: False)
    desk = Desk(tmp_path)
    desk.recorder.on_append = lambda: setattr(desk.clock, "wall", NOW_NS + NANOS)
    answers = desk.decide_batch([bringing(HONEST.token(exp=NOW_S + 1))])
    assert bool(answers[0].decision)
