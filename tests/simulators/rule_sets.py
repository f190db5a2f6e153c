"""Random rule sets and random requests, and a reference for what they decide.

Conditions come from a pool whose members read attributes that requests may
hold, lack or hold with the wrong type, so that true, false, doubt and a spent
budget all happen. The reference is written from the design's sentences, not
from the engine: it settles every doubt in every way and looks at the outcomes.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

from pdp import policy as policy_module
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
    Reason,
    Request,
    Resource,
    Subject,
    Verdict,
)
from pdp.policy import EVERY_RESOURCE, PolicyDocument, PolicySet, RoleDocument, RuleDocument
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument
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
# What rules may list besides, and what requests ask besides.
PATTERNS = ("share:*", "share:link:*", "share:link:open")
SEGMENTED = ("share:link:open", "share:link:", "share:", "share", "share:user", "shares:x")
DUTIES = tuple(
    Obligation(name, "custom", properties)
    for name in ("watermark", "notify")
    for properties in ({}, {"text": "a"}, {"text": "b"})
)


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
    advice: tuple[Obligation, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy: derived role `derived` has the given sources and condition."""

    name: str
    resource_type: str
    sources: tuple[str, ...]
    role_when: str | None
    rules: tuple[tuple[str, RuleSpec], ...]


RuleSet = tuple[PolicySpec, ...]


# Generators take a `random.Random`, so that one number is one case, and a law can
# look at many thousands of them in the time a structured generator makes hundreds.


def _some(chance: random.Random, items: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(chance.choices(items, k=chance.randint(1, most)))


def _when(chance: random.Random) -> str | None:
    if chance.random() < 0.4:
        return chance.choice((None, ALWAYS))
    return chance.choice(SOURCES)


def _instant(chance: random.Random) -> int | None:
    return chance.choice((None, None, None, None, NOW_NS - 1, NOW_NS, NOW_NS + 1))


def rule_spec(chance: random.Random) -> RuleSpec:
    """One rule; two of three permit."""
    effect = chance.choice((Effect.PERMIT, Effect.PERMIT, Effect.DENY))
    permits = effect is Effect.PERMIT
    return RuleSpec(
        effect=effect,
        actions=(
            ("*",) if chance.random() < 0.4 else _some(chance, (*ACTIONS, *ACTIONS, *PATTERNS), 2)
        ),
        roles=None if chance.random() < 0.4 else _some(chance, (*STATIC_ROLES, "derived"), 3),
        when=_when(chance),
        starts_ns=_instant(chance) if permits else None,
        expires_ns=_instant(chance) if permits else None,
        obligations=tuple(chance.sample(DUTIES, chance.randint(0, 2))),
        advice=tuple(chance.sample(DUTIES, chance.randint(0, 1))),
    )


def rule_set(chance: random.Random) -> RuleSet:
    """One to three policies of one to four rules."""
    return tuple(
        PolicySpec(
            name=f"policy-{index}",
            resource_type=chance.choice((*TYPES, *TYPES, EVERY_RESOURCE)),
            sources=() if chance.random() < 0.3 else _some(chance, STATIC_ROLES, 2),
            role_when=_when(chance),
            rules=tuple((f"rule-{i}", rule_spec(chance)) for i in range(chance.randint(1, 4))),
        )
        for index in range(chance.randint(1, 3))
    )


_WRONG: tuple[Value, ...] = (None, "text", 7, 1.5, True, [], {"a": 1})


def _properties(chance: random.Random, members: dict[str, Value]) -> dict[str, Value]:
    """Each member present (8 of 10), absent, or of a wrong type."""
    made: dict[str, Value] = {}
    for name, good in members.items():
        roll = chance.random()
        if roll < 0.9:
            made[name] = good if roll < 0.8 else chance.choice(_WRONG)
    return made


def request(chance: random.Random) -> Request:
    """One request, often about what the rule sets govern."""
    pick = chance.choice
    roles: list[Value] = list(chance.choices((*STATIC_ROLES, "other"), k=chance.randint(0, 3)))
    tags: list[Value] = list(chance.choices(("red", "green", "yellow"), k=chance.randint(0, 12)))
    return Request(
        Subject(
            pick(("user", "user", "robot")),
            pick(("alice", "bob")),
            _properties(chance, {"roles": roles, "level": chance.randint(0, 5)}),
        ),
        Action(pick((*ACTIONS, *ACTIONS, "delete", pick(SEGMENTED)))),
        Resource(
            pick((*TYPES, *TYPES, "unknown")),
            "1",
            _properties(
                chance,
                {
                    "owner": pick(("alice", "bob")),
                    "amount": chance.randint(0, 200),
                    "tags": tags,
                    "name": pick(("aaa", "ab")),
                },
            ),
        ),
        _properties(
            chance,
            {
                "mfa": chance.random() < 0.5,
                "ip": pick(("10.0.0.1", "192.0.2.1")),
                "at": pick(("2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "never")),
            },
        ),
    )


def build(
    rule_set: RuleSet,
    schemas: Sequence[SchemaDocument] = (),
    providers: Sequence[ProviderDocument] = (),
) -> PolicySet:
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
                    advice=rule.advice,
                    # One text for each rule: a reason that is another rule's would be seen.
                    reason_user=f"{policy.name} {rule_id}",
                    reason_admin=f"{rule_id} of {policy.name}",
                )
                for rule_id, rule in policy.rules
            ),
        )
        for policy in rule_set
    ]
    # Compiling is a pure function of the source; the pool is compiled once.
    with patch.object(
        policy_module, "compile_expression", lambda found, *_: compiled(found.source)
    ):
        return PolicySet(documents, LIMITS, schemas, providers)


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


def _names(listed: str, action: str) -> bool:
    """A final `*` is one or more further characters; alone, any action."""
    if listed == "*":
        return True
    return re.fullmatch(re.escape(listed).replace(r"\*", ".+"), action, re.DOTALL) is not None


def outcomes(rule_set: RuleSet, request: Request) -> list[Outcome]:
    """What each candidate rule may come to."""
    reference = _Reference(request)
    return [
        Outcome(f"{policy.name}/{rule_id}", rule, *reference.rule(policy, rule))
        for policy in rule_set
        if policy.resource_type in {request.resource.type, EVERY_RESOURCE}
        for rule_id, rule in policy.rules
        if any(_names(action, request.action.name) for action in rule.actions)
        and not (rule.starts_ns is not None and rule.starts_ns > NOW_NS)
        and not (rule.expires_ns is not None and rule.expires_ns <= NOW_NS)
    ]


def reference_decision(found: Sequence[Outcome]) -> Decision:
    """The design's sentence on combining, word by word."""

    def names(chosen: Iterable[Outcome]) -> tuple[str, ...]:
        return tuple(sorted({item.name for item in chosen}))

    denies = [item for item in found if item.rule.effect is Effect.DENY]
    permits = [item for item in found if item.rule.effect is Effect.PERMIT]

    def duties(chosen: Iterable[Outcome]) -> tuple[Obligation, ...]:
        """Of those that may apply."""
        return _sorted(d for item in chosen if True in item.possible for d in item.rule.obligations)

    def said(effect: Effect, chosen: list[Outcome], owed: Iterable[Outcome]) -> Decision:
        """With the words of the rules that apply."""
        made_by = names(chosen)
        texts = [(name, *name.split("/")) for name in made_by]
        return Decision(
            effect,
            Cause.RULE,
            made_by,
            duties(owed),
            advice=_sorted(item for one in chosen for item in one.rule.advice),
            reason_user=tuple(Reason(name, f"{policy} {rule}") for name, policy, rule in texts),
            reason_admin=tuple(Reason(name, f"{rule} of {policy}") for name, policy, rule in texts),
        )

    if spent := names(item for item in found if item.spent):
        return Decision(Effect.DENY, Cause.BUDGET, spent, duties(denies))
    if applying := [item for item in denies if item.possible == {True}]:
        return said(Effect.DENY, applying, denies)
    if doubtful := names(item for item in denies if True in item.possible):
        return Decision(Effect.DENY, Cause.INDETERMINATE, doubtful, duties(denies))
    if granting := [item for item in permits if item.possible == {True}]:
        return said(Effect.PERMIT, granting, permits)
    return Decision(Effect.DENY, Cause.DEFAULT)


def _sorted(duties: Iterable[Obligation]) -> tuple[Obligation, ...]:
    found = {duty.key: duty for duty in duties}
    return tuple(found[key] for key in sorted(found))


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
