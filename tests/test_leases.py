"""How long a permit may be repeated without asking: by the rules, and by all that could end it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pdp import call, wire
from pdp import lease as law
from pdp.audit.entry import Received
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_document
from pdp.cel.limits import EvaluationLimits
from pdp.compiled import decode, encode_policy
from pdp.decision_point import DecisionPoint
from pdp.errors import PolicyError
from pdp.lease import LEASE_S_MAX, granted_s, lease
from pdp.model import Caller, Decision, Effect, Lease
from pdp.policy import PolicyDocument, PolicySet, RoleDocument, RuleDocument
from pdp.snapshot import Snapshot
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS
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
    now_snapshot,
    running_server,
)
from tests.simulators.rule_sets import expressions

FAR_NS = NOW_NS + 3_600 * NANOS
CALLER = dataclasses.replace(PEP, ends_ns=FAR_NS)
READS_NOW = "now < timestamp('2027-01-01T00:00:00Z')"


def permit(name: str = "a", lease_s: int = 5, **changes: Any) -> RuleDocument:
    """A permit that anyone may read."""
    made = RuleDocument(
        name, Effect.PERMIT, ("read",), None, None, None, None, "test", (), lease_s=lease_s
    )
    return dataclasses.replace(made, **changes)


def deny(name: str = "no", **changes: Any) -> RuleDocument:
    """A deny of something else, unless it is told otherwise."""
    made = RuleDocument(name, Effect.DENY, ("read",), None, None, None, None, "", ())
    return dataclasses.replace(made, **changes)


def policy_set(*rules: RuleDocument, **parts: Any) -> PolicySet:
    """One policy of documents."""
    document = PolicyDocument("p", "document", "", ("manager",), (), (), rules)
    return PolicySet([dataclasses.replace(document, **parts)], EvaluationLimits())


class Bench:
    """A decision point of some rules, everything in hand."""

    def __init__(
        self, *rules: RuleDocument, snapshot: Snapshot | None = None, **parts: Any
    ) -> None:
        self.clock, self.recorder = HandClock(), MemoryRecorder()
        made = snapshot or make_snapshot()
        made = dataclasses.replace(made, policies={"default": policy_set(*rules, **parts)})
        self.point = DecisionPoint(HeldSnapshot(made), self.recorder, clock=self.clock)

    def decide(self, caller: Caller = CALLER, request: Any = None, door: bool = True) -> Decision:
        """Ask as the door does, and wait."""
        asked = request or ask()
        received = Received(message(asked)) if door else None
        deadline = self.clock.seconds + 1
        return asyncio.run(self.point.authorize(asked, caller, deadline, received))

    def left_ns(self, **changes: Any) -> int:
        """How long the permit of this question may be repeated."""
        decision = self.decide(**changes)
        assert decision.effect is Effect.PERMIT
        return 0 if decision.lease is None else decision.lease.until_ns - NOW_NS


# -- by the rules -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What the law of leases sees of a rule."""

    name: str
    lease_s: int
    reads: frozenset[tuple[str, ...]] = frozenset()


candidates = st.builds(
    Candidate,
    st.sampled_from("abcd"),
    st.integers(0, 5),
    st.frozensets(st.sampled_from([("context", "ip"), ("now",)]), max_size=1),
)


@given(
    st.lists(candidates, unique_by=lambda rule: rule.name),
    st.sets(st.sampled_from("abcd"), min_size=1),
    st.booleans(),
    st.sampled_from(Effect),
)
def test_rules_grant_the_least_of_those_that_permit(
    rules: list[Candidate], made_by: set[str], obliged: bool, effect: Effect
) -> None:
    """Against the sentence: all that permit must grant; no duties, no `now`, no denial."""
    duties = (WATERMARK,) if obliged else ()
    decision = dataclasses.replace(
        Bench(permit()).decide(), effect=effect, rules=tuple(sorted(made_by)), obligations=duties
    )
    granting = [rule.lease_s for rule in rules if rule.name in made_by]
    refused = (
        effect is Effect.DENY
        or obliged
        or len(granting) < len(made_by)
        or any(("now",) in rule.reads for rule in rules)
    )
    assert granted_s(decision, rules) == (0 if refused else min(granting))


ends = st.integers(-10 * NANOS, 10 * NANOS)


@given(
    st.integers(0, 100),
    st.lists(ends, max_size=3),
    st.integers(0, 2 * NANOS),
    st.lists(st.none() | ends, max_size=3),
)
def test_a_lease_is_never_longer_than_any_of_its_bounds(
    seconds: int, by_clock: list[int], ahead: int, by_now: list[int | None]
) -> None:
    """Whatever is granted: within five seconds, before every end, and as long as that allows."""
    now_ns = NOW_NS + ahead
    until = [NOW_NS + end for end in by_clock]
    found = lease(
        seconds, NOW_NS, until, now_ns, [None if end is None else now_ns + end for end in by_now]
    )
    least = min(
        [seconds * NANOS, 5 * NANOS, *by_clock, *(end for end in by_now if end is not None)]
    )
    if least <= 0:
        assert found is None
    else:
        assert found == Lease(NOW_NS + least, NOW_NS)


def test_a_permit_with_a_lease_says_so_and_its_record_too() -> None:
    """The answer carries until when and since when; the record carries until when."""
    bench = Bench(permit(lease_s=2))
    decision = bench.decide()
    assert decision.lease == Lease(NOW_NS + 2 * NANOS, NOW_NS)
    assert not decision.leased
    assert bench.recorder.entries[0].lease_until.ToNanoseconds() == NOW_NS + 2 * NANOS
    answer = wire.decision_to_pb(decision, "q-1", bytes(32))
    assert answer.lease_until.ToNanoseconds() - answer.decided_at.ToNanoseconds() == 2 * NANOS
    assert wire.decision_from_pb(answer).lease == decision.lease


def test_without_lease_s_there_is_no_lease() -> None:
    """Off by default: nothing in answer or record."""
    bench = Bench(permit(lease_s=0))
    assert bench.decide().lease is None
    assert not bench.recorder.entries[0].HasField("lease_until")


def no_leases() -> dict[str, tuple[RuleDocument, ...]]:
    """Rules that permit, and why there is no lease."""
    timed = expressions()["timestamp(context.at) < now"]
    return {
        "another permit grants none": (permit(), permit("b", 0)),
        "an obligation": (permit(obligations=(WATERMARK,)),),
        "an obligation of another permit": (permit(), permit("b", obligations=(WATERMARK,))),
        "a permit that reads now": (permit(when=expressions()[READS_NOW]),),
        "a deny that reads now": (permit(), deny(when=timed, roles=("manager",))),
    }


def test_no_lease_where_the_moment_took_part() -> None:
    """The permit itself stands."""
    for why, rules in no_leases().items():
        assert Bench(*rules).left_ns(request=ask(roles=[])) == 0, why


def test_no_lease_where_the_moment_took_part_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the moment is not looked for, a condition of time would outlive its time."""
    monkeypatch.setattr(law, "_NOW", "nothing")
    for why in ("a permit that reads now", "a deny that reads now"):
        assert Bench(*no_leases()[why]).left_ns(request=ask(roles=[])) > 0


def test_no_lease_where_a_variable_or_a_role_reads_now() -> None:
    """What a rule looks at is what its roles and variables look at."""
    derived = RoleDocument("now-and-then", (), expressions()[READS_NOW])
    bench = Bench(permit(roles=("now-and-then",)), roles=(derived,))
    assert bench.left_ns() == 0


def test_denials_have_no_lease() -> None:
    """Not by a rule, and not for want of one."""
    for rules in ((permit(), deny()), (permit(actions=("write",)),)):
        bench = Bench(*rules)
        assert bench.decide().lease is None
        assert not bench.recorder.entries[0].HasField("lease_until")


def test_no_lease_with_an_explanation() -> None:
    """Whoever asks why wants to hear it now."""
    assert Bench(permit()).decide(request=dataclasses.replace(ask(), explain=True)).lease is None


def test_other_doors_give_no_lease() -> None:
    """What did not come as our own message has no word for it."""
    assert Bench(permit()).left_ns(door=False) == 0


def test_no_lease_where_attributes_were_fetched() -> None:
    """A provider may say something else the next moment."""
    policies = policy_set(permit())
    snapshot = dataclasses.replace(make_snapshot(), policies={"default": policies})
    for supply, expected in ((None, True), (lambda admitted: admitted, False)):
        asked = call.Call(ask(), CALLER, 0.0, Received(b""))
        asked.snapshot, asked.tenant = snapshot, "default"
        asked.clock_ns = asked.now_ns = NOW_NS
        bench = Bench(permit())
        asked.admitted = bench.point._admit(asked)
        asked.supply = supply
        decision, asked.rules = policies.decide(asked.admitted, NOW_NS)
        assert (call.named(decision, asked).lease is not None) is expected


# -- by time ----------------------------------------------------------------------------


@given(st.integers(1, 10 * NANOS))
def test_a_rules_end_and_beginning_bound_the_lease(left: int) -> None:
    """Its own end; another permit's end; one that begins within it, with its duties."""
    expected = min(left, LEASE_S_MAX * NANOS)
    at = NOW_NS + left
    assert Bench(permit(expires_ns=at)).left_ns() == expected
    assert Bench(permit(), permit("b", expires_ns=at)).left_ns() == expected
    soon = permit("b", starts_ns=at, obligations=(WATERMARK,))
    assert Bench(permit(), soon).left_ns() == expected


def test_a_rules_end_bounds_the_lease_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If ends of rules are not looked at, a permit outlives its rule."""
    monkeypatch.setattr(PolicySet, "changes_ns", lambda *_: None)
    assert Bench(permit(expires_ns=NOW_NS + NANOS)).left_ns() == LEASE_S_MAX * NANOS


@given(st.integers(1, 10 * NANOS))
def test_freshness_and_the_callers_certificate_bound_the_lease(left: int) -> None:
    """Neither the bundle nor the caller is believed longer than itself."""
    expected = min(left, LEASE_S_MAX * NANOS)
    stale = make_snapshot(fresh_until_ns=NOW_NS + left)
    assert Bench(permit(), snapshot=stale).left_ns() == expected
    caller = dataclasses.replace(PEP, ends_ns=NOW_NS + left)
    assert Bench(permit()).left_ns(caller=caller) == expected


def test_a_caller_whose_end_is_not_known_gets_none() -> None:
    """Zero is no end far away."""
    assert Bench(permit()).left_ns(caller=PEP) == 0


def test_the_end_of_a_token_bounds_the_lease() -> None:
    """By the reading of the clock that verified it, which may be ahead."""
    for token_left, ahead in ((2 * NANOS, 0), (2 * NANOS, NANOS)):
        found = lease(5, NOW_NS, [FAR_NS], NOW_NS + ahead, [NOW_NS + ahead + token_left])
        assert found == Lease(NOW_NS + token_left, NOW_NS)
    asked = call.Call(ask(), CALLER, 0.0, Received(b""))
    asked.snapshot = dataclasses.replace(
        make_snapshot(), policies={"default": policy_set(permit())}
    )
    asked.tenant, asked.clock_ns, asked.now_ns = "default", NOW_NS, NOW_NS
    admitted = Bench(permit()).point._admit(asked)
    decision, asked.rules = asked.policies().decide(admitted, NOW_NS)
    token = _token(NOW_NS + NANOS)
    asked.admitted = dataclasses.replace(admitted, token=token)
    assert call.named(decision, asked).lease == Lease(NOW_NS + NANOS, NOW_NS)


def _token(expires_ns: int) -> Any:
    from pdp.subject_token import SubjectToken

    return SubjectToken("https://issuer.example.org", "1", "user", "alice", expires_ns, {})


# -- as authors write it ----------------------------------------------------------------

POLICY = """policy: p
resource: document
rules:
  - id: a
    effect: EFFECT
    actions: [read]
    lease_s: SECONDS
    justification: j
"""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def written(checker: Checker, effect: str, seconds: str) -> Any:
    """The compilation of a policy."""
    text = POLICY.replace("EFFECT", effect).replace("SECONDS", seconds)
    return compile_document("p.yaml", text.encode(), checker)


def test_a_rule_says_its_lease_in_whole_seconds(checker: Checker) -> None:
    """From 0 to 5, through the bundle and back."""
    for seconds in range(LEASE_S_MAX + 1):
        found = written(checker, "permit", str(seconds))
        assert not found.problems
        (document,) = found.policies
        assert document.rules[0].lease_s == seconds
        again = decode(encode_policy(document, "p.yaml", {}))
        assert isinstance(again, PolicyDocument)
        assert again.rules[0].lease_s == seconds


@pytest.mark.parametrize("seconds", ["6", "-1", "0.5", '"1"', "true", "null", "[1]", "1e9"])
def test_any_other_lease_is_refused_where_it_stands(checker: Checker, seconds: str) -> None:
    """With its position and what to write instead."""
    (problem,) = written(checker, "permit", seconds).problems
    assert (problem.position.line, "lease_s" in problem.message) == (7, True)


def test_a_deny_has_no_lease(checker: Checker) -> None:
    """Refused by the author's reader, and by whoever loads a bundle."""
    (problem,) = written(checker, "deny", "1").problems
    assert "denies and has `lease_s`" in problem.message
    for rule in (deny(lease_s=1), permit(lease_s=6)):
        with pytest.raises(PolicyError, match="lease"):
            policy_set(rule)


def test_a_deny_has_no_lease_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bundle says would count, if it were not checked once more."""
    monkeypatch.setattr("pdp.policy.check_lease", lambda *_: None)
    assert policy_set(permit(lease_s=600)).rules[0].lease_s == 600
    # And the law has the last word all the same.
    assert Bench(permit(lease_s=600)).left_ns() == LEASE_S_MAX * NANOS


# -- over the network -------------------------------------------------------------------


def test_the_callers_certificate_bounds_a_lease_over_the_network(tmp_path: Path) -> None:
    """Seconds before the end of its certificate, a caller gets no more than that."""

    async def asked() -> tuple[pb.AuthorizeResponse, pb.AuthorizeResponse, int]:
        snapshot = now_snapshot(policies={"default": policy_set(permit())})
        async with running_server(tmp_path, snapshot=snapshot) as running:
            short = running.authority.issue("pep", lifetime=timedelta(minutes=20))
            end = x509.load_pem_x509_certificate(short.certificate_pem).not_valid_after_utc
            end_ns = int(end.timestamp()) * NANOS
            far = await running.call(message(), short)
            running.clock.shift_ns = end_ns - 4 * NANOS - running.clock.wall_ns()
            return far, await running.call(message(), short), end_ns

    far, near, end_ns = asyncio.run(asked())
    assert far.lease_until.ToNanoseconds() - far.decided_at.ToNanoseconds() == 5 * NANOS
    if near.effect == pb.EFFECT_PERMIT:  # on a machine that is busy for four seconds it is denied
        assert near.lease_until.ToNanoseconds() == end_ns
