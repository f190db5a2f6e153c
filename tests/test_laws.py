"""The promise, law by law (docs/ARCHITECTURE.md, section 1).

Each law is a test with its name, on generated rule sets and requests. The twin
of a law runs it against a weakened engine and must find a broken case. In the
normal run a law sees 5,000 requests; `make prove` shows it 100,000.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from pdp import engine
from pdp.model import Cause, Decision, Effect, Request, Verdict
from pdp.policy import PolicySet
from tests.conftest import Ledger
from tests.simulators import rule_sets as rs
from tests.simulators.rule_sets import ALWAYS, BROKEN, NEVER, RuleSet

SEED = 20261123
REQUESTS_PER_SET = 10
NORMAL_SETS, PROVE_SETS = 500, 10_000

Decide = Callable[[RuleSet, Request], Decision]
# A law: yields what is wrong with the decisions on this rule set and request.
Law = Callable[[Decide, RuleSet, Request], Iterator[str]]


def hold(law: Law, sets: int) -> dict[str, object]:
    """Run a law on this many rule sets; figures for the ledger."""
    requests = 0
    permits = 0

    @seed(SEED)
    @settings(max_examples=sets, deadline=None, database=None)
    @given(st.integers(0, 2**64))
    def run(number: int) -> None:
        nonlocal requests, permits
        chance = random.Random(number)
        rule_set, decide = rs.rule_set(chance), memoised()
        for _ in range(REQUESTS_PER_SET):
            request = rs.request(chance)
            requests += 1
            permits += bool(decide(rule_set, request))
            assert list(law(decide, rule_set, request)) == []

    run()
    assert requests >= sets * REQUESTS_PER_SET
    assert requests // 10 < permits < requests, "hardly any case permits, or hardly any denies"
    return {"seed": SEED, "requests": requests, "permits": permits, "broken": 0}


def memoised() -> Decide:
    """`rs.decide`, compiling each rule set of one case once."""
    built: dict[str, PolicySet] = {}

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        key = repr(rule_set)
        found = built.get(key)
        if found is None:
            found = built[key] = rs.build(rule_set)
        return found.decide(rs.admitted(request), rs.NOW_NS)[0]

    return decide


def caught(law: Law, weakened: Decide) -> bool:
    """Whether the law finds a broken case when the engine is weakened."""
    chance = random.Random(SEED)
    return any(
        True
        for _ in range(NORMAL_SETS * REQUESTS_PER_SET)
        for _ in law(weakened, rs.rule_set(chance), rs.request(chance))
    )


# -- laws ---------------------------------------------------------------------------------


def as_the_design_says(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """The decision is the reference's, to the last field."""
    found = decide(rule_set, request)
    expected = rs.reference_decision(rs.outcomes(rule_set, request))
    if found != expected:
        yield f"{found} instead of {expected}"


def default_deny(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """No applicable permit rule: DENY."""
    found = rs.outcomes(rule_set, request)
    permits = [item for item in found if item.rule.effect is Effect.PERMIT]
    if not any(item.possible == {True} for item in permits) and decide(rule_set, request):
        yield "permitted without an applicable permit rule"


def deny_overrides_permit(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """An applicable deny rule: DENY, whatever else applies."""
    for item in rs.outcomes(rule_set, request):
        if (
            item.rule.effect is Effect.DENY
            and item.possible == {True}
            and decide(rule_set, request)
        ):
            yield f"permitted although {item.name} denies"


def errors_never_help(decide: Decide, rule_set: RuleSet, request: Request) -> Iterator[str]:
    """A condition in error is never milder than the same condition true, or false."""
    for p, policy in enumerate(rule_set):
        for r in range(len(policy.rules)):
            broken = decide(rs.with_rule(rule_set, p, r, when=BROKEN), request)
            if not broken:
                continue
            for settled in (ALWAYS, NEVER):
                sound = decide(rs.with_rule(rule_set, p, r, when=settled), request)
                if not sound:
                    yield f"an error in {policy.name}/{r} permits what {settled} denies"
                elif not {o.key for o in sound.obligations} <= {o.key for o in broken.obligations}:
                    yield f"an error in {policy.name}/{r} sheds an obligation"


def order_and_duplicates_do_not_matter(
    decide: Decide, rule_set: RuleSet, request: Request
) -> Iterator[str]:
    """Policies, rules, roles and actions in any order, repeated or not."""
    first = decide(rule_set, request)
    shuffle = random.Random(SEED)
    for _ in range(2):
        if decide(_shuffled(rule_set, shuffle), _shuffled_roles(request, shuffle)) != first:
            yield "another order, another decision"


def _shuffled(rule_set: RuleSet, shuffle: random.Random) -> RuleSet:
    policies = []
    for policy in rule_set:
        rules = []
        for rule_id, rule in policy.rules:
            roles = rule.roles and tuple(shuffle.sample(rule.roles * 2, len(rule.roles) * 2))
            actions = rule.actions
            if actions != ("*",):
                actions = tuple(shuffle.sample(actions * 2, len(actions) * 2))
            duties = tuple(shuffle.sample(rule.obligations * 2, len(rule.obligations) * 2))
            rules.append((rule_id, replace(rule, roles=roles, actions=actions, obligations=duties)))
        shuffle.shuffle(rules)
        sources = tuple(shuffle.sample(policy.sources * 2, len(policy.sources) * 2))
        policies.append(replace(policy, rules=tuple(rules), sources=sources))
    shuffle.shuffle(policies)
    return tuple(policies)


def _shuffled_roles(request: Request, shuffle: random.Random) -> Request:
    roles = request.subject.properties.get("roles")
    if not isinstance(roles, list):
        return request
    twice = shuffle.sample(roles * 2, len(roles) * 2)
    subject = replace(request.subject, properties={**request.subject.properties, "roles": twice})
    return replace(request, subject=subject)


def deleting_a_permit_or_adding_a_deny_never_permits(
    decide: Decide, rule_set: RuleSet, request: Request
) -> Iterator[str]:
    """Neither turns a denial into a permit.

    A permit that spent its budget is left out: it denies the request by
    BUDGET, so deleting it takes a denial away (docs/adr/0001).
    """
    if decide(rule_set, request):
        return
    spent = {item.name for item in rs.outcomes(rule_set, request) if item.spent}
    for p, policy in enumerate(rule_set):
        for r, (rule_id, rule) in enumerate(policy.rules):
            if rule.effect is not Effect.PERMIT or f"{policy.name}/{rule_id}" in spent:
                continue
            smaller = rs.without_rule(rule_set, p, r)
            if smaller and decide(smaller, request):
                yield f"permitted once {policy.name}/{rule_id} was deleted"
    for when in (None, NEVER, BROKEN):
        denial = rs.RuleSpec(Effect.DENY, ("*",), None, when, None, None, ())
        added = replace(rule_set[0], rules=(*rule_set[0].rules, ("added", denial)))
        if decide((added, *rule_set[1:]), request):
            yield f"permitted once a deny ({when}) was added"


LAWS = [
    as_the_design_says,
    default_deny,
    deny_overrides_permit,
    errors_never_help,
    order_and_duplicates_do_not_matter,
    deleting_a_permit_or_adding_a_deny_never_permits,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Law, ledger: Ledger) -> None:
    """The law holds on 5,000 generated requests."""
    ledger(law=law.__name__, **hold(law, NORMAL_SETS))


@pytest.mark.prove
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_proved(law: Law, ledger: Ledger) -> None:
    """The law holds on 100,000 generated requests."""
    ledger(law=law.__name__, **hold(law, PROVE_SETS))


# -- twins: the engine without one of its guards ------------------------------------------


def _with_engine(monkeypatch: pytest.MonkeyPatch, name: str, replacement: object) -> Decide:
    monkeypatch.setattr(engine, name, replacement)
    return rs.decide


def _permit_on_default(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Permits when nothing applies."""

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        found = rs.decide(rule_set, request)
        return Decision(Effect.PERMIT, Cause.RULE) if found.cause is Cause.DEFAULT else found

    return decide


def _doubtful_deny_permits(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Takes a deny in doubt for a permit."""

    def decide(rule_set: RuleSet, request: Request) -> Decision:
        found = rs.decide(rule_set, request)
        indeterminate = found.cause is Cause.INDETERMINATE
        return Decision(Effect.PERMIT, Cause.RULE) if indeterminate else found

    return decide


def _permit_overrides(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Drops denies when a permit applies."""
    original = engine._Tally.names

    def names(self: object, effect: Effect | None, verdict: Verdict) -> tuple[str, ...]:
        granting = original(self, Effect.PERMIT, Verdict.TRUE)  # type: ignore[arg-type]
        if granting and effect is Effect.DENY:
            return ()
        return original(self, effect, verdict)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._Tally, "names", names)
    return rs.decide


def _doubt_is_false(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Skips rules in error, as Cedar and Cerbos do."""
    original = engine.conjunction

    def conjunction(*args: object) -> Verdict:
        found = original(*args)  # type: ignore[arg-type]
        return Verdict.FALSE if found is Verdict.DOUBT else found

    return _with_engine(monkeypatch, "conjunction", conjunction)


def _first_role_wins(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Looks at the first role only."""
    return _with_engine(monkeypatch, "any_of", lambda verdicts: next(iter(verdicts)))


def _spent_is_false(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Takes a spent budget for a condition that does not hold."""
    original = engine.conjunction

    def conjunction(*args: object) -> Verdict:
        found = original(*args)  # type: ignore[arg-type]
        return Verdict.FALSE if found is Verdict.SPENT else found

    return _with_engine(monkeypatch, "conjunction", conjunction)


@pytest.mark.parametrize(
    ("law", "weaken"),
    [
        (default_deny, _permit_on_default),
        (deny_overrides_permit, _permit_overrides),
        (errors_never_help, _doubt_is_false),
        (order_and_duplicates_do_not_matter, _first_role_wins),
        (deleting_a_permit_or_adding_a_deny_never_permits, _doubtful_deny_permits),
        (as_the_design_says, _spent_is_false),
    ],
    ids=lambda item: item.__name__.strip("_"),
)
def test_law_twin_without_guard(
    law: Law,
    weaken: Callable[[pytest.MonkeyPatch], Decide],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the guard removed the law is broken, and the law notices."""
    assert caught(law, weaken(monkeypatch))
