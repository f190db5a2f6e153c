"""Random rule sets and random requests, and a reference for what they decide.

Conditions come from a pool whose members read attributes that requests may
hold, lack or hold with the wrong type, so that true, false, doubt and a spent
budget all happen. The reference is written from the design's sentences, not
from the engine: it settles every doubt in every way and looks at the outcomes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from pdp.authoring.checker import CONDITION_VARIABLES, Checker

from pdp.boundary import Admitted, InputLimits, admit
from pdp.cel.compile import CompiledExpression, compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.checked_expr import decode
from pdp.model import (
    Action,
    Caller,
    Cause,
    Decision,
    Effect,
    Obligation,
    Request,
    Resource,
    Subject,
    Verdict,
)
from pdp.policy import PolicyDocument, PolicySet, RoleDocument, RuleDocument
from pdp.values import Timestamp, Value

# Small, so that the bombs below spend it.
LIMITS = EvaluationLimits(cost_units_max=2_000)
NOW_NS = 1_790_000_000_000_000_000  # 2026-09-21
CALLER = Caller("spiffe://laws.example.org/caller")

ALWAYS, NEVER, BROKEN = "true", "false", "1 / 0 == 0"
SOURCES = (
    ALWAYS,
    NEVER,
    BROKEN,
    "subject.id == resource.properties.owner",
    "resource.properties.amount > 100",
    "resource.properties.amount > 100 || context.mfa",
    "resource.properties.amount <= 100 && context.mfa",
    "has(context.ip) && context.ip.startsWith('10.')",
    "'red' in resource.properties.tags",
    "resource.properties.tags.exists(t, t == 'red')",
    "resource.properties.tags.all(t, t.size() < 5)",
    "context.mfa",
    "!context.mfa",
    "context.mfa ? resource.properties.amount > 1 : subject.properties.level > 2",
    "now < timestamp('2027-01-01T00:00:00Z')",
    "timestamp(context.at) < now",
    "resource.properties.name.matches('^a+$')",
    "100 / subject.properties.level > 20",
    "subject.properties.level == resource.properties.amount",
    "action.name in ['read', 'list'] || subject.type == 'robot'",
    # A bomb: cubic in the tags.
    (
        "resource.properties.tags.all(a, resource.properties.tags.all(b, "
        "resource.properties.tags.all(c, a + b + c != 'x')))"
    ),
)


@functools.cache
def expressions() -> Mapping[str, Expression]:
    """The pool, checked by the official checker once per process."""
    with Checker() as checker:
        return {
            source: decode(checker.check(source, CONDITION_VARIABLES).checked_expr, source)
            for source in SOURCES
        }


@functools.cache
def compiled(source: str) -> CompiledExpression:
    """A member of the pool, compiled apart from any policy."""
    return compile_expression(expressions()[source], {}, LIMITS)


STATIC_ROLES = ("clerk", "chief")
TYPES, ACTIONS = ("report", "invoice"), ("read", "approve")
_times = st.sampled_from([None, None, None, NOW_NS - 1, NOW_NS, NOW_NS + 1])
_conditions = st.sampled_from([None, *SOURCES])
_obligations = st.lists(
    st.builds(
        Obligation,
        st.sampled_from(["watermark", "notify"]),
        st.just("custom"),
        st.sampled_from([{}, {"text": "a"}, {"text": "b"}]),
    ),
    max_size=2,
).map(tuple)


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule before it gets an id; `when` is a source of the pool."""

    effect: Effect
    actions: tuple[str, ...]
    roles: tuple[str, ...] | None
    when: str | None
    starts_ns: int | None
    expires_ns: int | None
    obligations: tuple[Obligation, ...]


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy: derived role `derived` has the given sources and condition."""

    name: str
    resource_type: str
    sources: tuple[str, ...]
    role_when: str | None
    rules: tuple[tuple[str, RuleSpec], ...]


RuleSet = tuple[PolicySpec, ...]


def _times_of(effect: Effect, starts: int | None, expires: int | None) -> tuple[int | None, ...]:
    return (starts, expires) if effect is Effect.PERMIT else (None, None)


@st.composite
def rule_specs(draw: st.DrawFn) -> RuleSpec:
    """One rule."""
    effect = draw(st.sampled_from(Effect))
    starts, expires = _times_of(effect, draw(_times), draw(_times))
    roles = draw(st.none() | st.lists(st.sampled_from([*STATIC_ROLES, "derived"]), min_size=1,
                                      max_size=3).map(tuple))  # fmt: skip
    actions = draw(st.just(("*",)) | st.lists(st.sampled_from(ACTIONS), min_size=1).map(tuple))
    duties = draw(_obligations) if effect is Effect.PERMIT else ()
    return RuleSpec(effect, actions, roles, draw(_conditions), starts, expires, duties)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """One to three policies of one to four rules."""
    policies = []
    for index in range(draw(st.integers(1, 3))):
        rules = draw(st.lists(rule_specs(), min_size=1, max_size=4))
        policies.append(
            PolicySpec(
                name=f"policy-{index}",
                resource_type=draw(st.sampled_from(TYPES)),
                sources=draw(st.lists(st.sampled_from(STATIC_ROLES), max_size=2).map(tuple)),
                role_when=draw(_conditions),
                rules=tuple((f"rule-{i}", rule) for i, rule in enumerate(rules)),
            )
        )
    return tuple(policies)


_wrong: st.SearchStrategy[Value] = st.sampled_from([None, "text", 7, 1.5, True, [], {"a": 1}])
_roles = st.lists(st.sampled_from([*STATIC_ROLES, "other"]), max_size=3)
_tags = st.lists(st.sampled_from(["red", "green", "yellow"]), max_size=12)


def _properties(**members: st.SearchStrategy[Value]) -> st.SearchStrategy[dict[str, Value]]:
    """Each member present, absent or of a wrong type."""
    return st.fixed_dictionaries(
        {}, optional={name: good | good | good | _wrong for name, good in members.items()}
    )


requests = st.builds(
    Request,
    st.builds(
        Subject,
        st.sampled_from(["user", "robot"]),
        st.sampled_from(["alice", "bob"]),
        _properties(roles=_roles, level=st.integers(0, 5)),
    ),
    st.builds(Action, st.sampled_from([*ACTIONS, "delete"])),
    st.builds(
        Resource,
        st.sampled_from([*TYPES, "unknown"]),
        st.just("1"),
        _properties(
            owner=st.sampled_from(["alice", "bob"]),
            amount=st.integers(0, 200),
            tags=_tags,
            name=st.sampled_from(["aaa", "ab"]),
        ),
    ),
    _properties(
        mfa=st.booleans(),
        ip=st.sampled_from(["10.0.0.1", "192.0.2.1"]),
        at=st.sampled_from(["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "never"]),
    ),
)


def build(rule_set: RuleSet) -> PolicySet:
    """The rule set as the PDP holds it."""
    pool = expressions()

    def expression(source: str | None) -> Expression | None:
        return None if source is None else pool[source]

    documents = [
        PolicyDocument(
            name=policy.name,
            resource_type=policy.resource_type,
            owner="laws",
            static_roles=STATIC_ROLES,
            variables=(),
            roles=(RoleDocument("derived", policy.sources, expression(policy.role_when)),),
            rules=tuple(
                RuleDocument(
                    id=rule_id,
                    effect=rule.effect,
                    actions=rule.actions,
                    roles=rule.roles,
                    when=expression(rule.when),
                    starts_ns=rule.starts_ns,
                    expires_ns=rule.expires_ns,
                    justification="laws",
                    obligations=rule.obligations,
                )
                for rule_id, rule in policy.rules
            ),
        )
        for policy in rule_set
    ]
    return PolicySet(documents, LIMITS)


def admitted(request: Request) -> Admitted:
    """The request past the boundary."""
    return admit(request, CALLER, InputLimits())


def decide(rule_set: RuleSet, request: Request) -> Decision:
    """What the law says."""
    return build(rule_set).decide(admitted(request), NOW_NS)[0]


# -- the reference ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the reference found for one candidate rule."""

    name: str
    rule: RuleSpec
    possible: frozenset[bool]
    spent: bool


def _settled(verdict: Verdict) -> frozenset[bool]:
    return {
        Verdict.TRUE: frozenset({True}),
        Verdict.FALSE: frozenset({False}),
        Verdict.DOUBT: frozenset({True, False}),
    }[verdict]


def _both(left: frozenset[bool], right: frozenset[bool]) -> frozenset[bool]:
    return frozenset(a and b for a, b in itertools.product(left, right))


def _either(parts: Iterable[frozenset[bool]]) -> frozenset[bool]:
    return frozenset(any(world) for world in itertools.product(*parts))


class _Reference:
    """Evaluates one request against one rule set, naively."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attributes = {**admitted(request).attributes, "now": Timestamp(NOW_NS)}

    def condition(self, source: str | None) -> tuple[frozenset[bool], bool]:
        """(what it may come to, whether it spent its budget)."""
        if source is None:
            return frozenset({True}), False
        verdict = compiled(source).verdict(self.attributes)
        if verdict is Verdict.SPENT:
            return frozenset({True, False}), True
        return _settled(verdict), False

    def static(self, name: str) -> frozenset[bool]:
        """A static role: in doubt when the list is absent or not a list of strings."""
        held = self.request.subject.properties.get("roles")
        if not isinstance(held, list) or any(not isinstance(role, str) for role in held):
            return frozenset({True, False})
        return frozenset({name in held})

    def guarded(self, roles: frozenset[bool], source: str | None) -> tuple[frozenset[bool], bool]:
        """Roles AND a condition, which is not looked at when no role can be held."""
        if roles == {False}:
            return roles, False
        found, spent = self.condition(source)
        return _both(roles, found), spent

    def role(self, policy: PolicySpec, name: str) -> tuple[frozenset[bool], bool]:
        """A role of a policy."""
        if name != "derived":
            return self.static(name), False
        anyone = frozenset({True})
        sources = _either(map(self.static, policy.sources)) if policy.sources else anyone
        return self.guarded(sources, policy.role_when)

    def rule(self, policy: PolicySpec, rule: RuleSpec) -> tuple[frozenset[bool], bool]:
        """A rule of a policy."""
        if rule.roles is None:
            return self.guarded(frozenset({True}), rule.when)
        parts = [self.role(policy, name) for name in rule.roles]
        if any(spent for _, spent in parts):
            return frozenset({True, False}), True
        return self.guarded(_either(found for found, _ in parts), rule.when)


def outcomes(rule_set: RuleSet, request: Request) -> list[Outcome]:
    """What each candidate rule may come to."""
    reference = _Reference(request)
    return [
        Outcome(f"{policy.name}/{rule_id}", rule, *reference.rule(policy, rule))
        for policy in rule_set
        if policy.resource_type == request.resource.type
        for rule_id, rule in policy.rules
        if (request.action.name in rule.actions or rule.actions == ("*",))
        and not (rule.starts_ns is not None and rule.starts_ns > NOW_NS)
        and not (rule.expires_ns is not None and rule.expires_ns <= NOW_NS)
    ]


def reference_decision(found: Sequence[Outcome]) -> Decision:
    """The design's sentence on combining, word by word."""

    def names(chosen: Iterable[Outcome]) -> tuple[str, ...]:
        return tuple(sorted({item.name for item in chosen}))

    denies = [item for item in found if item.rule.effect is Effect.DENY]
    permits = [item for item in found if item.rule.effect is Effect.PERMIT]
    if spent := names(item for item in found if item.spent):
        return Decision(Effect.DENY, Cause.BUDGET, spent)
    if applying := names(item for item in denies if item.possible == {True}):
        return Decision(Effect.DENY, Cause.RULE, applying)
    if doubtful := names(item for item in denies if True in item.possible):
        return Decision(Effect.DENY, Cause.INDETERMINATE, doubtful)
    if granting := names(item for item in permits if item.possible == {True}):
        duties = {
            duty.key: duty
            for item in permits
            if True in item.possible
            for duty in item.rule.obligations
        }
        return Decision(
            Effect.PERMIT, Cause.RULE, granting, tuple(duties[key] for key in sorted(duties))
        )
    return Decision(Effect.DENY, Cause.DEFAULT)


def with_rule(rule_set: RuleSet, policy: int, rule: int, **changes: object) -> RuleSet:
    """The rule set with one rule changed."""
    chosen = rule_set[policy]
    rules = list(chosen.rules)
    rules[rule] = (rules[rule][0], replace(rules[rule][1], **changes))  # type: ignore[arg-type]
    changed = replace(chosen, rules=tuple(rules))
    return (*rule_set[:policy], changed, *rule_set[policy + 1 :])


def without_rule(rule_set: RuleSet, policy: int, rule: int) -> RuleSet:
    """The rule set with one rule deleted, and its policy with it when it was the only one."""
    chosen = rule_set[policy]
    rules = chosen.rules[:rule] + chosen.rules[rule + 1 :]
    kept = (replace(chosen, rules=rules),) if rules else ()
    return (*rule_set[:policy], *kept, *rule_set[policy + 1 :])
