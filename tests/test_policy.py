"""Policies, compiled and indexed: which rules are candidates, and which roles are held."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pdp import checked_expr, policy
from pdp.actions import action_matches
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.boundary import InputLimits, admit
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.errors import PolicyError
from pdp.model import (
    Action,
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    Reason,
    Request,
    Resource,
    Subject,
    Verdict,
)
from pdp.policy import (
    PolicyDocument,
    PolicySet,
    RoleDocument,
    RuleDocument,
)
from pdp.roles import Facts, StaticRole
from pdp.values import Value

LIMITS = EvaluationLimits()
CALLER = Caller("spiffe://demo.example.org/a")
RULE = RuleDocument("a", Effect.PERMIT, ("read",), None, None, None, None, "x", ())
DENY = replace(RULE, effect=Effect.DENY, justification="")
DOCUMENT = PolicyDocument("p", "report", "", (), (), (), (RULE,))


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def expression(checker: Checker, source: str, **variables: str) -> Expression:
    """A checked expression."""
    checked = checker.check(source, {**CONDITION_VARIABLES, **variables})
    return checked_expr.decode(checked.checked_expr, source)


def decide(
    policies: PolicySet,
    *,
    action: str = "read",
    resource_type: str = "report",
    properties: dict[str, Value] | None = None,
    now_ns: int = 0,
) -> Decision:
    """The decision on a request of `ana`."""
    request = Request(
        Subject("user", "ana", properties or {}), Action(action), Resource(resource_type, "1")
    )
    return policies.decide(admit(request, CALLER, InputLimits()), now_ns)[0]


def one(*rules: RuleDocument, **parts: object) -> PolicySet:
    """A set of one document with these rules."""
    return PolicySet([replace(DOCUMENT, rules=rules, **parts)], LIMITS)  # type: ignore[arg-type]


# -- candidates -----------------------------------------------------------------


def test_candidates_are_of_the_type_and_name_the_action() -> None:
    """Exact, byte by byte; `*` is every action."""
    rules = (
        RULE,
        replace(RULE, id="b", actions=("write", "list")),
        replace(DENY, id="c", actions=("*",)),
    )
    policies = one(*rules)

    def names(action: str, resource_type: str = "report") -> set[str]:
        return {rule.name for rule in policies.candidates(resource_type, action, 0)}

    assert names("read") == {"p/a", "p/c"}
    assert names("list") == {"p/b", "p/c"}
    assert names("Read") == {"p/c"}
    assert names("*") == {"p/c"}
    assert names("read", "Report") == set()
    assert names("read", "*") == set()


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("report:read", {"p/all", "p/report"}),
        ("report:a:b", {"p/all", "p/report", "p/deep"}),
        ("report:a:", {"p/all", "p/report"}),
        ("report::", {"p/all", "p/report"}),
        ("report:\n", {"p/all", "p/report"}),
        # Not: nothing behind the colon, no colon, another word, another case, a part of a word.
        ("report:", {"p/all"}),
        ("report", {"p/all"}),
        ("reports:x", {"p/all"}),
        ("Report:read", {"p/all"}),
        ("x:report:read", {"p/all"}),
        # A request's star is a character like any other.
        ("report:*", {"p/all", "p/report"}),
        ("*", {"p/all"}),
        (":", {"p/all"}),
    ],
)
def test_a_pattern_is_about_what_begins_with_it_and_goes_on(action: str, found: set[str]) -> None:
    """`report:*` is one or more further characters after `report:`, whatever they are."""
    policies = one(
        replace(RULE, id="report", actions=("report:*",)),
        replace(RULE, id="deep", actions=("report:a:*",)),
        replace(DENY, id="all", actions=("*",)),
    )
    assert {rule.name for rule in policies.candidates("report", action, 0)} == found


def test_candidates_are_what_a_scan_finds() -> None:
    """Over all short actions, the index finds what comparing with every rule finds, each once."""
    words = ["", "a", "b", "aa"]
    actions = [":".join(parts) for n in range(1, 5) for parts in itertools.product(words, repeat=n)]
    listed = ["*", "a", "a:*", "a:b", "a:b:*", "b:*", "a:a:*", "aa:*", "a::*", "::*"]
    rules = [
        replace(RULE, id=f"r{i}", actions=actions)
        for i, actions in enumerate(
            [("*",), *itertools.permutations([item for item in listed if item != "*"], 2)]
        )
    ]
    policies = one(*rules)
    for action in filter(None, actions):
        expected = {
            f"p/{rule.id}"
            for rule in rules
            if any(action_matches(item, action) for item in rule.actions)
        }
        found = [rule.name for rule in policies.candidates("report", action, 0)]
        assert len(found) == len(set(found))
        assert set(found) == expected, action


def test_a_long_action_costs_no_more_looks_than_the_longest_pattern() -> None:
    """A request cannot make the search long: colons past every rule's prefix are not looked at."""
    looks = 0

    class Counting(dict[str, list[policy.Rule]]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal looks
            looks += 1
            return super().get(key, default)

    policies = one(replace(RULE, actions=("a:b:*",)))
    index = policies._by_type["report"]
    index._prefixes = Counting(index._prefixes)
    assert policies.candidates("report", "a:b:" + ":" * 1_000, 0)
    assert looks == 2


def test_rules_for_every_type_join_those_of_each_type() -> None:
    """Also where no policy is about the type; a request's type `*` is a type like any other."""
    everywhere = replace(DOCUMENT, name="all", resource_type="*", rules=(replace(DENY, id="d"),))
    policies = PolicySet([DOCUMENT, everywhere], LIMITS)
    for resource_type, found in (
        ("report", {"p/a", "all/d"}),
        ("invoice", {"all/d"}),
        ("*", {"all/d"}),
    ):
        names = {rule.name for rule in policies.candidates(resource_type, "read", 0)}
        assert names == found
    assert policies.candidates("invoice", "write", 0) == []
    assert decide(policies) == Decision(Effect.DENY, Cause.RULE, ("all/d",))
    assert [rule.name for rule in policies.rules] == ["p/a", "all/d"]


def test_rules_for_every_type_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they looked for under the type `*` only, a deny for everything would deny nothing."""
    everywhere = replace(DOCUMENT, name="all", resource_type="*", rules=(replace(DENY, id="d"),))
    monkeypatch.setattr(policy, "EVERY_RESOURCE", "-")
    monkeypatch.setattr(policy._Compiler, "_check", lambda *_: None)
    policies = PolicySet([DOCUMENT, everywhere], LIMITS)
    assert decide(policies).effect is Effect.PERMIT


def test_a_rule_that_names_an_action_twice_is_one_candidate() -> None:
    """Repetition changes nothing, as a name, as a pattern or as both."""
    for actions in (("read", "read"), ("read:*", "read:a", "read:a:*", "read:*")):
        policies = one(replace(RULE, actions=actions))
        for action in ("read", "read:a", "read:a:b"):
            found = policies.candidates("report", action, 0)
            assert len(found) == int(any(action_matches(item, action) for item in actions))


def test_policies_on_one_type_are_one_set_of_rules() -> None:
    """A deny of one document overrules the permit of another."""
    other = replace(DOCUMENT, name="q", rules=(DENY,))
    assert decide(PolicySet([DOCUMENT], LIMITS)).effect is Effect.PERMIT
    both = decide(PolicySet([DOCUMENT, other], LIMITS))
    assert both == Decision(Effect.DENY, Cause.RULE, ("q/a",))
    assert decide(PolicySet([other, DOCUMENT], LIMITS)) == both


@pytest.mark.parametrize(
    ("starts", "expires", "now", "current"),
    [
        (None, None, 0, True),
        (10, None, 9, False),
        (10, None, 10, True),
        (None, 10, 9, True),
        (None, 10, 10, False),
        (None, 10, 11, False),
        (10, 11, 10, True),
        (10, 11, 11, False),
        (-5, None, -6, False),
        (None, 0, -1, True),
    ],
)
def test_a_rule_is_in_force_from_starts_until_before_expires(
    starts: int | None, expires: int | None, now: int, current: bool
) -> None:
    """Expired when now >= expires; to the nanosecond."""
    policies = one(replace(RULE, starts_ns=starts, expires_ns=expires))
    assert (decide(policies, now_ns=now).effect is Effect.PERMIT) is current


def test_expiry_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at the time, an expired permit permits."""
    policies = one(replace(RULE, expires_ns=10))
    assert decide(policies, now_ns=11).effect is Effect.DENY
    monkeypatch.setattr(policy.Rule, "is_current", lambda *_: True)
    assert decide(policies, now_ns=11).effect is Effect.PERMIT


def test_now_is_the_time_of_the_decision(checker: Checker) -> None:
    """A condition's `now` is what the law was given."""
    when = expression(checker, "now == timestamp('1970-01-01T00:00:01.000000002Z')")
    policies = one(replace(RULE, when=when))
    assert decide(policies, now_ns=1_000_000_002).effect is Effect.PERMIT
    assert decide(policies, now_ns=1_000_000_001).effect is Effect.DENY


# -- roles ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "verdict"),
    [
        (["clerk", "boss"], Verdict.TRUE),
        (["boss"], Verdict.FALSE),
        ([], Verdict.FALSE),
        (["Clerk", "clerk "], Verdict.FALSE),
        # Malformed is in doubt, never "not held": not even when the name is among them.
        ("clerk", Verdict.DOUBT),
        (["clerk", 7], Verdict.DOUBT),
        (["boss", None], Verdict.DOUBT),
        ([["clerk"]], Verdict.DOUBT),
        ({"clerk": True}, Verdict.DOUBT),
        (None, Verdict.DOUBT),
        (True, Verdict.DOUBT),
    ],
)
def test_a_static_role_is_held_listed_or_in_doubt(roles: Value, verdict: Verdict) -> None:
    """`subject.properties.roles`, a list of strings."""
    facts = Facts({"subject.properties": {"roles": roles}})
    assert StaticRole("clerk").evaluate(facts) is verdict


def test_absent_roles_are_in_doubt() -> None:
    """A subject without the list is not a subject without roles."""
    assert StaticRole("clerk").evaluate(Facts({"subject.properties": {}})) is Verdict.DOUBT


def test_a_deny_for_a_role_denies_who_may_hold_it() -> None:
    """Doubt about a role does not get around a deny; twin: with an empty list it is not held."""
    policies = one(RULE, replace(DENY, id="d", roles=("clerk",)), static_roles=("clerk",))
    assert decide(policies, properties={"roles": []}).effect is Effect.PERMIT
    assert decide(policies, properties={}).cause is Cause.INDETERMINATE


def test_a_deny_for_a_role_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a malformed list "not held", a subject could shed a deny by breaking its roles."""
    policies = one(RULE, replace(DENY, id="d", roles=("clerk",)), static_roles=("clerk",))
    monkeypatch.setattr(StaticRole, "evaluate", lambda *_: Verdict.FALSE)
    assert decide(policies, properties={"roles": 7}).effect is Effect.PERMIT


def test_a_derived_role_is_any_source_and_the_condition(checker: Checker) -> None:
    """(any of `from`) AND `when`; no source means anyone."""
    when = expression(checker, "subject.id == 'ana'")
    other = expression(checker, "subject.id == 'bob'")
    for sources, condition, roles, held in (
        (("clerk", "boss"), when, ["boss"], True),
        (("clerk", "boss"), when, [], False),
        (("clerk",), other, ["clerk"], False),
        ((), when, [], True),
        (("clerk",), None, ["clerk"], True),
    ):
        policies = one(
            replace(RULE, roles=("derived",)),
            static_roles=("clerk", "boss"),
            roles=(RoleDocument("derived", sources, condition),),
        )
        decision = decide(policies, properties={"roles": list(roles)})
        assert (decision.effect is Effect.PERMIT) is held


def test_a_derived_role_is_decided_once_per_request(checker: Checker) -> None:
    """And its memory does not outlive the request: the next subject is judged anew."""
    when = expression(checker, "subject.properties.n == 1")
    rules = tuple(replace(RULE, id=f"r{i}", roles=("derived",)) for i in range(3))
    policies = one(*rules, roles=(RoleDocument("derived", (), when),))
    facts_seen = []
    role = policies.candidates("report", "read", 0)[0].roles
    assert role is not None
    assert all(rule.roles == role for rule in policies.candidates("report", "read", 0))
    for number, held in ((1, True), (2, False), (1, True)):
        decision = decide(policies, properties={"n": number})
        assert (decision.effect is Effect.PERMIT) is held
        facts_seen.append(decision.rules)
    assert facts_seen == [("p/r0", "p/r1", "p/r2"), (), ("p/r0", "p/r1", "p/r2")]


def test_variables_are_part_of_the_conditions_that_use_them(checker: Checker) -> None:
    """Inlined, each with those it uses itself; the paths that are read are theirs too."""
    variables = (
        ("owner", expression(checker, "resource.properties.owner")),
        ("mine", expression(checker, "subject.id == owner", owner="dyn")),
    )
    when = expression(checker, "mine && subject.properties.level > 1", mine="bool")
    policies = one(replace(RULE, when=when), variables=variables)
    (rule,) = policies.candidates("report", "read", 0)
    assert rule.reads == {
        ("subject.id",),
        ("subject.properties", "level"),
        ("resource.properties", "owner"),
    }


def test_reads_are_those_of_conditions_and_roles(checker: Checker) -> None:
    """What an audit record keeps: every attribute that any part of a rule looks at."""
    derived = RoleDocument("derived", ("clerk",), expression(checker, "context.ip == '::1'"))
    policies = one(
        replace(RULE, roles=("derived",), when=expression(checker, "now > timestamp(0)")),
        static_roles=("clerk",),
        roles=(derived,),
    )
    (rule,) = policies.candidates("report", "read", 0)
    assert rule.reads == {("subject.properties", "roles"), ("context", "ip"), ("now",)}


# -- documents that are not right -----------------------------------------------


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (replace(DOCUMENT, rules=()), "has no rules"),
        (replace(DOCUMENT, rules=(RULE, DENY)), "two rules with the same id"),
        (replace(DOCUMENT, rules=(replace(RULE, roles=("x",)),)), "role `x` is not defined"),
        (replace(DOCUMENT, rules=(replace(RULE, roles=()),)), "lists no roles"),
        (replace(DOCUMENT, rules=(replace(RULE, actions=()),)), "lists no actions"),
        (replace(DOCUMENT, rules=(replace(RULE, actions=("",)),)), "or an empty one"),
        (replace(DOCUMENT, rules=(replace(RULE, actions=("*", "read")),)), "mixes `*`"),
        (replace(DOCUMENT, rules=(replace(DENY, actions=("read*",)),)), "has a `\\*` that is not"),
        (replace(DOCUMENT, rules=(replace(DENY, actions=(":*",)),)), "has a `\\*` that is not"),
        (replace(DOCUMENT, rules=(replace(DENY, actions=("a:*:*",)),)), "has a `\\*` that is not"),
        (
            replace(DOCUMENT, rules=(replace(RULE, reason_user="x" * 501),)),
            "has a reason of more than",
        ),
        (
            replace(DOCUMENT, rules=(replace(RULE, reason_admin="x" * 501),)),
            "has a reason of more than",
        ),
        (replace(DOCUMENT, resource_type="re*"), "is empty or has a `\\*`"),
        (replace(DOCUMENT, resource_type=""), "is empty or has a `\\*`"),
        (replace(DOCUMENT, rules=(replace(DENY, expires_ns=1),)), "denies for a time only"),
        (replace(DOCUMENT, rules=(replace(DENY, starts_ns=0),)), "denies for a time only"),
        (replace(DOCUMENT, rules=(replace(RULE, justification=" "),)), "has no justification"),
        (replace(DOCUMENT, roles=(RoleDocument("r", ("x",), None),)), "is not a static role"),
        (
            replace(DOCUMENT, static_roles=("r",), roles=(RoleDocument("r", ("r",), None),)),
            "is defined twice",
        ),
    ],
)
def test_a_document_that_breaks_a_rule_is_not_loaded(
    document: PolicyDocument, complaint: str
) -> None:
    """What authoring checks is checked again: a signature says who, not that it is right."""
    with pytest.raises(PolicyError, match=complaint):
        PolicySet([document], LIMITS)


def test_an_expiring_deny_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check, a deny ends and becomes the grant that nobody wrote."""
    rules = (RULE, replace(DENY, id="d", expires_ns=10))
    with pytest.raises(PolicyError):
        one(*rules)
    monkeypatch.setattr(policy._Compiler, "_check", lambda *_: None)
    assert decide(one(*rules), now_ns=9).effect is Effect.DENY
    assert decide(one(*rules), now_ns=10).effect is Effect.PERMIT


def test_a_set_without_policies_is_not_made() -> None:
    """And neither is one that has a name twice."""
    with pytest.raises(PolicyError, match="the policy set is empty"):
        PolicySet([], LIMITS)
    with pytest.raises(PolicyError, match="`p` is defined twice"):
        PolicySet([DOCUMENT, DOCUMENT], LIMITS)


def test_variables_in_a_circle_are_not_loaded(checker: Checker) -> None:
    """A bundle that was made by hand ends in an error, not in a recursion."""
    circle = (
        ("a", expression(checker, "b", b="bool")),
        ("b", expression(checker, "a", a="bool")),
    )
    when = expression(checker, "a", a="bool")
    with pytest.raises(PolicyError):
        one(replace(RULE, when=when), variables=circle)


def test_obligations_come_with_their_permit() -> None:
    """Of every permit that applies."""
    duty = Obligation("watermark", "custom", {"n": 1})
    assert decide(one(replace(RULE, obligations=(duty,)))).obligations == (duty,)


def test_duties_of_a_denial_come_with_it() -> None:
    """What the asking service must do when it denies, what it may do, and what it may say."""
    alarm, hint = Obligation("alarm", "notify"), Obligation("hint", "show")
    denial = replace(
        DENY, id="d", obligations=(alarm,), advice=(hint,), reason_user="no", reason_admin="R-1"
    )
    found = decide(one(replace(RULE, obligations=(hint,)), denial))
    assert found == Decision(
        Effect.DENY,
        Cause.RULE,
        ("p/d",),
        (alarm,),
        advice=(hint,),
        reason_user=(Reason("p/d", "no"),),
        reason_admin=(Reason("p/d", "R-1"),),
    )


def chain(checker: Checker, pattern: str, length: int) -> tuple[tuple[str, Expression], ...]:
    """Variables `v0` to `v{length}`, each made of the one before."""
    out = [("v0", expression(checker, "context.ok"))]
    for i in range(1, length + 1):
        source = pattern.replace("V", f"v{i - 1}")
        out.append((f"v{i}", expression(checker, source, **{f"v{i - 1}": "dyn"})))
    return tuple(out)


@pytest.mark.parametrize(
    "pattern",
    ["V", "!V", "[" * 12 + "V" + "][0]" * 12],
)
def test_a_long_chain_of_variables_is_refused_not_a_recursion(
    checker: Checker, pattern: str
) -> None:
    """Whatever a bundle holds, loading it ends in an error of ours, also in a deep stack."""
    when = expression(checker, "v300", v300="dyn")
    with pytest.raises(PolicyError, match="nested deeper than 64 levels"):
        one(replace(RULE, when=when), variables=chain(checker, pattern, 300))


def test_a_chain_that_was_begun_elsewhere_in_the_condition_counts_as_a_whole(
    checker: Checker,
) -> None:
    """Each variable is compiled once; a chain in parts of 50 is still one of 300."""
    parts = " || ".join(f"(false && v{i}) || false" for i in range(50, 301, 50))
    names = {f"v{i}": "bool" for i in range(50, 301, 50)}
    when = expression(checker, parts, **names)
    with pytest.raises(PolicyError, match="nested deeper than 64 levels"):
        one(replace(RULE, when=when), variables=chain(checker, "V", 300))


def test_a_chain_within_the_limit_is_evaluated(checker: Checker) -> None:
    """60 variables, each the negation of the one before."""
    when = expression(checker, "v60", v60="dyn")
    policies = one(replace(RULE, when=when), variables=chain(checker, "!V", 60))
    request = Request(Subject("user", "ana"), Action("read"), Resource("report", "1"), {"ok": True})
    decision, _ = policies.decide(admit(request, CALLER, InputLimits()), 0)
    assert decision.effect is Effect.PERMIT
