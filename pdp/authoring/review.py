"""Looking through policies that compile, for what their authors will not have meant.

Pure: the time comes from outside, and so does everything else. Nothing here
changes what is built or decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pdp.authoring.acceptance import accepted_in
from pdp.authoring.compilation import Compilation
from pdp.authoring.expressions import free_names
from pdp.authoring.findings import KINDS, TIMED, Finding
from pdp.authoring.folding import ALWAYS, NEVER, Folding, Outcome, Outcomes, start_of
from pdp.authoring.nodes import Scalar
from pdp.authoring.places import PolicyPlaces, by_policy
from pdp.authoring.problems import one_of, word
from pdp.authoring.shadowing import Deny, shadows
from pdp.authoring.times import shown
from pdp.authoring.unused import unused
from pdp.callers import ANY, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.errors import Position
from pdp.model import Effect
from pdp.policy import EVERY_RESOURCE, PolicyDocument, RuleDocument
from pdp.values import NANOS

# How far `pdp check` looks ahead if it is not told.
HORIZON_NS: Final = 30 * 24 * 3600 * NANOS
_DOUBT: Outcomes = frozenset({Outcome.DOUBT})
_ALWAYS_DOUBT = "each of its evaluations is an error: a text for a number, a division by zero"


@dataclass(frozen=True, slots=True)
class Clock:
    """When a review is made, and how far it looks ahead. Nanoseconds."""

    now_ns: int
    horizon_ns: int


def review(compilation: Compilation, clock: Clock) -> tuple[Finding, ...]:
    """Everything that is suspicious in policies that compile, sorted by place.

    Args:
        compilation: without problems; one with problems has no findings yet.
        clock: when the review is made.
    """
    if compilation.problems:
        return ()
    places = by_policy(compilation.roots.values())
    policies = [
        _Policy(document, places[document.name], compilation.callers, clock)
        for document in compilation.policies
    ]
    denies = [deny for policy in policies for deny in policy.denies()]
    found = [
        finding
        for policy in policies
        for finding in policy.with_acceptance(policy.findings(denies))
    ]
    return tuple(sorted([*found, *unused(compilation, places)], key=_order))


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    at = finding.position
    return (at.path, at.line, at.column, finding.kind.id, finding.message)


class _Policy:
    """The review of one policy."""

    def __init__(
        self,
        document: PolicyDocument,
        places: PolicyPlaces,
        callers: CallerPolicy | None,
        clock: Clock,
    ) -> None:
        self.document = document
        self.places = places
        self.callers = callers
        self.clock = clock
        self.folding = Folding(dict(document.variables), EvaluationLimits())
        self.roles = {role.name: role for role in document.roles}
        self.unheld = {
            role.name
            for role in document.roles
            if Outcome.TRUE not in self.folding.condition(role.when)
        }

    def name(self, rule: RuleDocument) -> str:
        """`policy/rule`."""
        return f"{self.document.name}/{rule.id}"

    def denies(self) -> Iterator[Deny]:
        """The denies that always apply to whoever holds one of their roles."""
        for rule in self.document.rules:
            if rule.effect is Effect.DENY and self.folding.condition(rule.when) == ALWAYS:
                yield Deny(
                    self.name(rule),
                    self.document.resource_type,
                    rule.actions,
                    rule.roles,
                    frozenset(self.document.static_roles),
                )

    def findings(self, denies: Sequence[Deny]) -> Iterator[Finding]:
        """All of one policy."""
        yield from self._unused()
        for name, expression in self.document.variables:
            yield from self._constant_parts("variable", name, expression, f"variable {word(name)}")
        for role in self.document.roles:
            yield from self._role(role.name, role.when)
        for rule in self.document.rules:
            yield from self._rule(rule, denies)
        yield from self._asked()

    def with_acceptance(self, findings: Iterator[Finding]) -> Iterator[Finding]:
        """The findings, those accepted in their rule with the reason; and reasons for nothing."""
        used: set[tuple[str, str]] = set()
        reasons = {self.name(rule): self._accepted(rule) for rule in self.document.rules}
        for finding in findings:
            reason = reasons.get(finding.subject, {}).get(finding.kind.id)
            if reason is not None:
                used.add((finding.subject, finding.kind.id))
                finding = replace(finding, accepted=reason.text)  # noqa: PLW2901 its own self
            yield finding
        for subject, accepted in reasons.items():
            for kind, reason in accepted.items():
                if (subject, kind) not in used and kind not in TIMED:
                    message = f"{word(kind)} is accepted, but there is no such finding"
                    at = reason.position
                    yield Finding(KINDS["PC901"], message, at, "remove it", subject)

    def _accepted(self, rule: RuleDocument) -> Mapping[str, Scalar]:
        node = self.places.rule(rule.id)
        return {} if node is None else accepted_in(node)

    # -- what nobody uses ----------------------------------------------------

    def _unused(self) -> Iterator[Finding]:
        document = self.document
        conditions = [rule.when for rule in document.rules if rule.when is not None]
        conditions += [role.when for role in document.roles if role.when is not None]
        conditions += [expression for _, expression in document.variables]
        names = frozenset[str]().union(*(free_names(item.root) for item in conditions))
        for name, _ in document.variables:
            at = self.places.key("variables", name)
            if name not in names and at is not None:
                message = f"variable {word(name)} is used in no condition"
                yield self._of_policy("PC201", message, at, name)
        asked = {name for rule in document.rules for name in rule.roles or ()}
        for name in self.roles:
            at = self.places.key("roles", name)
            if name not in asked and at is not None:
                message = f"no rule asks for the role {word(name)}"
                yield self._of_policy("PC202", message, at, name)
        asked |= {name for role in document.roles for name in role.sources}
        for name in document.static_roles:
            at = self.places.static_role(name)
            if name not in asked and at is not None:
                message = f"neither a rule nor a derived role asks for the static role {word(name)}"
                yield self._of_policy("PC203", message, at, name)

    def _of_policy(self, kind: str, message: str, at: Position, name: str) -> Finding:
        return Finding(
            KINDS[kind], message, at, "use it, or remove it", f"{self.document.name}: {name}"
        )

    # -- conditions ----------------------------------------------------------

    def _at(self, kind: str, name: str, offset: int) -> Position:
        scalar = self.places.when(kind, name)
        return self.places.position if scalar is None else scalar.locate(offset)

    def _constant_parts(
        self, kind: str, name: str, expression: Expression | None, what: str, subject: str = ""
    ) -> Iterator[Finding]:
        if expression is None or self.places.when(kind, name) is None:
            return
        for node, outcomes in self.folding.constant_parts(expression.root):
            (outcome,) = outcomes
            message = f"this part of {what} is always {outcome.value}"
            at = self._at(kind, name, start_of(node, expression.source))
            hint = "remove it, or write what was meant"
            subject = subject or f"{self.document.name}: {name}"
            yield Finding(KINDS["PC103"], message, at, hint, subject)

    def _role(self, name: str, when: Expression | None) -> Iterator[Finding]:
        if self.places.key("roles", name) is None:
            return
        subject = f"{self.document.name}: {name}"
        outcomes = self.folding.condition(when)
        at = self._at("role", name, 0)
        if outcomes == _DOUBT:
            message = f"the condition of role {word(name)} is always in doubt"
            yield Finding(KINDS["PC109"], message, at, _ALWAYS_DOUBT, subject)
        elif name in self.unheld:
            message = f"nobody can hold the role {word(name)}: its condition can never be true"
            yield Finding(KINDS["PC108"], message, at, "correct the condition", subject)
        elif when is not None and outcomes == ALWAYS:
            message = f"the condition of role {word(name)} is always true"
            yield Finding(KINDS["PC102"], message, at, "leave `when` out, or correct it", subject)
        else:
            yield from self._constant_parts("role", name, when, f"role {word(name)}")

    # -- rules ---------------------------------------------------------------

    def _rule(self, rule: RuleDocument, denies: Sequence[Deny]) -> Iterator[Finding]:
        outcomes = self.folding.condition(rule.when)
        if rule.when is not None:
            yield from self._condition(rule, outcomes)
        if rule.roles is not None and self.unheld.issuperset(rule.roles):
            message = f"rule {word(rule.id)} can never apply: nobody can hold {one_of(rule.roles)}"
            yield self._of_rule("PC101", rule, "roles", message, "correct the roles")
        yield from self._shadow(rule, denies)
        if rule.effect is Effect.PERMIT:
            yield from self._time(rule)
            if outcomes == ALWAYS:
                yield from self._breadth(rule)

    def _of_rule(
        self,
        kind: str,
        rule: RuleDocument,
        key: str,
        message: str,
        hint: str,
        *,
        milder: bool = False,
    ) -> Finding:
        at = self.places.in_rule(rule.id, key)
        return Finding(KINDS[kind], message, at, hint, self.name(rule), milder=milder)

    def _condition(self, rule: RuleDocument, outcomes: Outcomes) -> Iterator[Finding]:
        at = self._at("rule", rule.id, 0)
        name, what = self.name(rule), f"the condition of rule {word(rule.id)}"
        if outcomes == _DOUBT:
            yield Finding(KINDS["PC109"], f"{what} is always in doubt", at, _ALWAYS_DOUBT, name)
        elif outcomes == ALWAYS:
            hint = "leave `when` out, or correct it"
            yield Finding(KINDS["PC102"], f"{what} is always true", at, hint, name)
        elif outcomes == NEVER or (rule.effect is Effect.PERMIT and Outcome.TRUE not in outcomes):
            message = f"rule {word(rule.id)} can never apply: its condition can never be true"
            yield Finding(KINDS["PC101"], message, at, "correct the condition", name)
        elif Outcome.TRUE not in outcomes:
            # A deny that is in doubt denies: it does something, though not what it says.
            message = f"{what} can never be true: it denies only when in doubt"
            yield Finding(KINDS["PC101"], message, at, "correct the condition", name)
        else:
            what = f"the condition of rule {word(rule.id)}"
            yield from self._constant_parts("rule", rule.id, rule.when, what, name)

    def _shadow(self, rule: RuleDocument, denies: Sequence[Deny]) -> Iterator[Finding]:
        """Whoever this rule applies to, an unconditional deny applies to as well."""
        name = self.name(rule)
        if rule.effect is Effect.DENY and _says_more(rule):
            return
        held = self._implied_roles(rule)
        by = next(
            (
                deny
                for deny in denies
                if deny.resource_type in {self.document.resource_type, EVERY_RESOURCE}
                and shadows(deny, name, rule.actions, held, frozenset(self.document.static_roles))
                # Of two denies that say the same, the first stays.
                and (rule.effect is Effect.PERMIT or self._yields(name, deny, denies))
            ),
            None,
        )
        if by is None:
            return
        denies_too = rule.effect is Effect.DENY
        what = "adds nothing" if denies_too else "never permits"
        message = f"rule {word(rule.id)} {what}: {word(by.name)} denies whenever it applies"
        hint = "remove it" if denies_too else "remove it, or give the deny a condition"
        yield self._of_rule("PC104", rule, "id", message, hint, milder=denies_too)

    def _yields(self, name: str, deny: Deny, denies: Sequence[Deny]) -> bool:
        """Whether this deny is the one that another one makes redundant, and not the reverse."""
        names = [item.name for item in denies]
        if name not in names:
            return True
        own = denies[names.index(name)]
        mutual = shadows(own, deny.name, deny.actions, _held(deny), deny.static_roles)
        return not mutual or names.index(deny.name) < names.index(name)

    def _implied_roles(self, rule: RuleDocument) -> tuple[frozenset[str], ...] | None:
        """For each role that makes the rule apply, the roles one of which is held with it."""
        if rule.roles is None:
            return None
        return tuple(
            frozenset({name, *(self.roles[name].sources if name in self.roles else ())})
            for name in rule.roles
        )

    def _asked(self) -> Iterator[Finding]:
        """Whether some caller may ask about the resources, and about some action of each rule."""
        if self.callers is None:
            return
        kind = self.document.resource_type
        asked = {
            action
            for entry in self.callers.entries
            if kind == EVERY_RESOURCE or entry.resources == (ANY,) or kind in entry.resources
            for action in entry.actions
        }
        hint = "add it to the caller policy, or correct the name"
        if not asked:
            message = f"no caller may ask about resources of type {word(kind)}"
            at = self.places.at("resource")
            yield Finding(KINDS["PC105"], message, at, hint, self.document.name)
            return
        for rule in self.document.rules:
            if not any(_meet(action, other) for action in rule.actions for other in asked):
                message = f"no caller may ask about the action {one_of(rule.actions)}"
                message = f"rule {word(rule.id)} is never asked for: {message}"
                yield self._of_rule("PC105", rule, "actions", message, hint)

    def _time(self, rule: RuleDocument) -> Iterator[Finding]:
        if rule.expires_ns is None:
            return
        what, at = f"rule {word(rule.id)}", shown(rule.expires_ns)
        if rule.expires_ns <= self.clock.now_ns:
            hint = "remove it, or renew it with a new justification"
            yield self._of_rule("PC106", rule, "expires", f"{what} expired at {at}", hint)
        elif rule.expires_ns <= self.clock.now_ns + self.clock.horizon_ns:
            hint = "renew it, or tell those who rely on it"
            yield self._of_rule("PC107", rule, "expires", f"{what} expires at {at}", hint)

    def _breadth(self, rule: RuleDocument) -> Iterator[Finding]:
        what, every = f"rule {word(rule.id)}", rule.actions == (ANY,)
        if rule.roles is None and every:
            message = f"{what} permits everything to anyone"
            hint = "give it roles, a condition, and the names of the actions"
            yield self._of_rule("PC301", rule, "id", message, hint)
        elif rule.roles is None:
            message = f"{what} permits {one_of(rule.actions)} to anyone, always"
            yield self._of_rule("PC302", rule, "id", message, "give it roles or a condition")
        elif every:
            message = f"{what} permits every action, also those to come"
            yield self._of_rule("PC303", rule, "actions", message, "list the actions")


def _says_more(rule: RuleDocument) -> bool:
    """Whether an answer has something from this deny that no other deny gives it."""
    said = (rule.obligations, rule.advice, rule.reason_user, rule.reason_admin)
    return any(said)


def _held(deny: Deny) -> tuple[frozenset[str], ...] | None:
    return None if deny.roles is None else tuple(frozenset({name}) for name in deny.roles)


def _meet(one: str, other: str) -> bool:
    """Whether two names of actions, or patterns that end in `*`, can mean the same action."""
    if one.endswith(ANY) or other.endswith(ANY):
        ends = one.removesuffix(ANY), other.removesuffix(ANY)
        if one.endswith(ANY) and other.endswith(ANY):
            return ends[0].startswith(ends[1]) or ends[1].startswith(ends[0])
        return other.startswith(ends[0]) if one.endswith(ANY) else one.startswith(ends[1])
    return one == other
