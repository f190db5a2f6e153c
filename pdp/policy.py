"""Policies, compiled and indexed. Law ring: pure.

A `PolicyDocument` is what authoring checked and a bundle carries; it comes in
here once, and out comes a `PolicySet` that finds the candidate rules of a
request. Nobody holds a half-compiled one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pdp import engine
from pdp.actions import ANY_ACTION, ByAction, is_action
from pdp.boundary import Admitted
from pdp.candidates import Candidates, Kept
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.cel.syntax import Expression
from pdp.errors import PolicyError
from pdp.lease import check_lease
from pdp.model import Cause, Decision, Effect, Obligation, Reason, deny
from pdp.provided import UNASKED, Provided, ProviderDocument
from pdp.roles import DerivedRole, Facts, StaticRole, When, reads
from pdp.schema import SchemaDocument
from pdp.schema_check import Schemas
from pdp.values import Timestamp

# As the resource type of a document: its rules are candidates whatever the type.
EVERY_RESOURCE = "*"
# A text that goes out with answers: short enough for a page, and for a bounded answer.
REASON_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class RoleDocument:
    """A derived role: any of `sources` (static roles; empty = anyone) AND `when`."""

    name: str
    sources: tuple[str, ...]
    when: Expression | None


@dataclass(frozen=True, slots=True)
class RuleDocument:
    """A rule as written. Times are nanoseconds since the epoch, or None."""

    id: str
    effect: Effect
    actions: tuple[str, ...]
    roles: tuple[str, ...] | None
    when: Expression | None
    starts_ns: int | None
    expires_ns: int | None
    justification: str
    obligations: tuple[Obligation, ...]
    advice: tuple[Obligation, ...] = ()
    reason_user: str = ""
    reason_admin: str = ""
    lease_s: int = 0


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """One policy as written, its conditions checked."""

    name: str
    resource_type: str
    owner: str
    static_roles: tuple[str, ...]
    variables: tuple[tuple[str, Expression], ...]
    roles: tuple[RoleDocument, ...]
    rules: tuple[RuleDocument, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule. `reads` are the attribute paths any part of it looks at."""

    name: str
    effect: Effect
    roles: tuple[StaticRole | DerivedRole, ...] | None
    when: When | None
    obligations: tuple[Obligation, ...]
    advice: tuple[Obligation, ...]
    reason_user: tuple[Reason, ...]
    reason_admin: tuple[Reason, ...]
    starts_ns: int | None
    expires_ns: int | None
    reads: frozenset[tuple[str, ...]]
    lease_s: int = 0

    @property
    def is_timed(self) -> bool:
        """Whether there are times when it does not hold."""
        return self.starts_ns is not None or self.expires_ns is not None

    def is_current(self, now_ns: int) -> bool:
        """Expired when now >= expires; begun when now >= starts."""
        if self.starts_ns is not None and now_ns < self.starts_ns:
            return False
        return self.expires_ns is None or now_ns < self.expires_ns


class PolicySet:
    """All rules of a tenant, found by resource type and action, and its schemas."""

    def __init__(
        self,
        documents: Iterable[PolicyDocument],
        limits: EvaluationLimits,
        schemas: Iterable[SchemaDocument] = (),
        providers: Iterable[ProviderDocument] = (),
    ) -> None:
        """Compile.

        Raises:
            PolicyError: no document, a document without rules, a duplicate name, an undefined
                role, an expression, a schema or a provider that does not compile.
        """
        schemas, providers = tuple(schemas), tuple(providers)
        # None: callers send everything there is.
        self.provided = Provided(providers, schemas) if providers else None
        self._schemas = Schemas(self.provided.unowned(schemas) if self.provided else schemas)
        self._by_type: dict[str, ByAction[Rule]] = {}
        self._of_every_type: ByAction[Rule] = ByAction()
        self._names: set[str] = set()
        self._rules: list[Rule] = []
        self._found: Kept[Rule] = Kept()
        for document in documents:
            if document.name in self._names:
                message = f"policy `{document.name}` is defined twice"
                raise PolicyError(message)
            self._names.add(document.name)
            self._add(document, limits)
        if not self._names:
            message = "the policy set is empty"
            raise PolicyError(message, suggestion="a bundle holds at least one policy")

    def _add(self, document: PolicyDocument, limits: EvaluationLimits) -> None:
        kind = document.resource_type
        if not kind or (EVERY_RESOURCE in kind and kind != EVERY_RESOURCE):
            message = f"the resource type of policy `{document.name}` is empty or has a `*`"
            raise PolicyError(message)
        rules = _Compiler(document, limits).rules()
        if kind != EVERY_RESOURCE:
            self._by_type.setdefault(kind, ByAction())
        index = self._index(kind)
        for source, rule in zip(document.rules, rules, strict=True):
            index.add(source.actions, rule)
        self._rules += rules

    def exchanged(
        self, resource_type: str, names: frozenset[str], other: PolicySet | None
    ) -> PolicySet:
        """This set with other rules in the place of some of one resource type.

        For trying small changes: what stays is not compiled again.

        Args:
            resource_type: that the rules are of; `*` for those of every type.
            names: `policy/rule` of those that go.
            other: what comes in their place, or None.
        """
        made = object.__new__(PolicySet)
        made._schemas, made._names, made._found = self._schemas, self._names, Kept()
        made.provided = self.provided
        made._by_type, made._of_every_type = dict(self._by_type), self._of_every_type
        made._rules = [rule for rule in self._rules if rule.name not in names]
        made._rules += () if other is None else other.rules
        coming = None if other is None else other._index(resource_type)  # noqa: SLF001
        index = self._index(resource_type).exchanged(lambda rule: rule.name not in names, coming)
        if resource_type == EVERY_RESOURCE:
            made._of_every_type = index
        else:
            made._by_type[resource_type] = index
        return made

    def _index(self, resource_type: str) -> ByAction[Rule]:
        if resource_type == EVERY_RESOURCE:
            return self._of_every_type
        return self._by_type.get(resource_type) or ByAction()

    @property
    def names(self) -> frozenset[str]:
        """Names of the policies."""
        return frozenset(self._names)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules, in the order of the documents."""
        return tuple(self._rules)

    def candidates(self, resource_type: str, action: str, now_ns: int) -> list[Rule]:
        """Rules of the type, or of every type, that name the action and are within their time."""
        return list(self._candidates(resource_type, action).current(now_ns))

    def _candidates(self, resource_type: str, action: str) -> Candidates[Rule]:
        """Found once for each type and action."""
        if (kept := self._found.get(resource_type, action)) is not None:
            return kept
        rules = self._of_every_type.find(action)
        if (own := self._by_type.get(resource_type)) is not None:
            rules += own.find(action)
        return self._found.keep(resource_type, action, Candidates(rules, _needs, _settled))

    def prepare(self, rules_max: int) -> None:
        """Write the code of so many rules now, so that no request waits for it.

        Of the others it is written at their first use, some 0.3 ms a condition.
        Either way it is the same code: it follows from the rule alone.
        """
        for rule in self._rules[:rules_max]:
            derived = [role.when for role in rule.roles or () if isinstance(role, DerivedRole)]
            for when in (rule.when, *derived):
                if when is not None:
                    when.expression.prepare()

    def rules_about(self, resource_type: str) -> list[Rule]:
        """Every rule that holds for a resource type, whatever its actions and times. To explain."""
        return [*self._of_every_type.rules, *self._by_type.get(resource_type, ByAction()).rules]

    @functools.cached_property
    def grants_leases(self) -> bool:
        """Whether any rule does."""
        return any(rule.lease_s for rule in self._rules)

    def changes_ns(self, resource_type: str, action: str, now_ns: int) -> int | None:
        """When the next of the rules that name them begins or ends; None: never."""
        return self._candidates(resource_type, action).changes_ns(now_ns)

    def actions(self, resource_type: str) -> tuple[frozenset[str], frozenset[str]]:
        """Actions that rules about the type or schemas name, and the patterns that permits have."""
        indexes = (self._of_every_type, self._index(resource_type))
        named = frozenset().union(*(index.named for index in indexes), self._schemas.actions)
        permits = (index.patterns(lambda rule: rule.effect is Effect.PERMIT) for index in indexes)
        return named, frozenset().union(*permits)

    def decide(self, admitted: Admitted, now_ns: int) -> tuple[Decision, Sequence[Rule]]:
        """The law on this set: the decision, and the candidates it looked at.

        INVARIANT: what providers own and the schemas first; nothing else may come before
        the rules. Where a candidate may read what a provider owns, and nobody
        has asked it yet (`Provided.complete`), the answer is UNASKED.
        """
        parts, provided = admitted.parts, self.provided
        if provided is not None and (violation := provided.violation(admitted.sent)):
            return replace(deny(Cause.IDENTITY), schema_violation=violation), ()
        if violation := self._schemas.violation(admitted.sent, parts):
            return replace(deny(Cause.SCHEMA), schema_violation=violation), ()
        request = admitted.request
        rules = self._candidates(request.resource.type, request.action.name)
        current = rules.current(now_ns)
        if provided is not None and admitted.completion is None:
            if provided.wanted(admitted.sent, current):
                return UNASKED, current
            # What no rule is known to read is an error, should one read it after all.
            admitted = provided.complete(admitted, {})
        # A provider may have said more of the subject than is on its part.
        own = parts[0] if parts is not None and admitted.completion is None else None
        facts = Facts({**admitted.attributes, "now": Timestamp(now_ns)}, own)
        decision = engine.decide(rules.possible(facts.held, now_ns), facts)
        return decision, current


class _Compiler:
    """Compiles one document."""

    def __init__(self, document: PolicyDocument, limits: EvaluationLimits) -> None:
        self.document = document
        self.limits = limits
        self.variables = dict(document.variables)
        self.roles: dict[str, StaticRole | DerivedRole] = {
            name: StaticRole(name) for name in document.static_roles
        }
        for role in document.roles:
            if role.name in self.roles:
                message = f"role `{role.name}` of policy `{document.name}` is defined twice"
                raise PolicyError(message)
            self.roles[role.name] = self._derived(role)

    def _when(self, expression: Expression | None) -> When | None:
        if expression is None:
            return None
        return When(compile_expression(expression, self.variables, self.limits))

    def _derived(self, role: RoleDocument) -> DerivedRole:
        sources = tuple(self._static(name) for name in role.sources) or None
        return DerivedRole(role.name, sources, self._when(role.when))

    def _static(self, name: str) -> StaticRole:
        if name not in self.document.static_roles:
            message = f"`{name}` is not a static role of policy `{self.document.name}`"
            raise PolicyError(message)
        return StaticRole(name)

    def _role(self, name: str) -> StaticRole | DerivedRole:
        if name not in self.roles:
            message = f"role `{name}` is not defined in policy `{self.document.name}`"
            raise PolicyError(message)
        return self.roles[name]

    def rules(self) -> list[Rule]:
        """All rules of the document."""
        if not self.document.rules:
            message = f"policy `{self.document.name}` has no rules"
            raise PolicyError(message)
        ids = [rule.id for rule in self.document.rules]
        if len(set(ids)) != len(ids):
            message = f"policy `{self.document.name}` has two rules with the same id"
            raise PolicyError(message)
        return [self._rule(rule) for rule in self.document.rules]

    def _check(self, rule: RuleDocument) -> None:
        """What authoring checked with positions, again: a bundle is checked, not believed.

        INVARIANT: nothing absent or empty is read as the milder of two meanings.
        """
        name = f"rule `{self.document.name}/{rule.id}`"
        if not rule.actions or not all(rule.actions):
            raise PolicyError(f"{name} lists no actions, or an empty one")
        if ANY_ACTION in rule.actions and set(rule.actions) != {ANY_ACTION}:
            raise PolicyError(f"{name} mixes `*` with action names")
        for action in rule.actions:
            # Read as an exact name, a deny of such a pattern would deny nothing.
            if not is_action(action):
                raise PolicyError(f"{name} has a `*` that is not the end of `prefix:*`")
        if rule.effect is Effect.DENY and (rule.starts_ns, rule.expires_ns) != (None, None):
            # A deny that ends is a grant nobody wrote.
            raise PolicyError(f"{name} denies for a time only", suggestion="remove `expires`")
        if rule.effect is Effect.PERMIT and not rule.justification.strip():
            raise PolicyError(f"{name} has no justification", suggestion="say why it permits")
        check_lease(name, rule.effect, rule.lease_s)
        if max(len(rule.reason_user), len(rule.reason_admin)) > REASON_CHARACTERS_MAX:
            raise PolicyError(
                f"{name} has a reason of more than {REASON_CHARACTERS_MAX} characters"
            )

    def _rule(self, source: RuleDocument) -> Rule:
        self._check(source)
        roles = None
        if source.roles is not None:
            if not source.roles:
                message = f"rule `{source.id}` lists no roles"
                raise PolicyError(message, suggestion="leave `roles` out to mean anyone")
            roles = tuple(self._role(name) for name in source.roles)
        when = self._when(source.when)
        name = f"{self.document.name}/{source.id}"
        return Rule(
            name=name,
            effect=source.effect,
            roles=roles,
            when=when,
            obligations=source.obligations,
            advice=source.advice,
            reason_user=_reason(name, source.reason_user),
            reason_admin=_reason(name, source.reason_admin),
            starts_ns=source.starts_ns,
            expires_ns=source.expires_ns,
            reads=reads(roles, when),
            lease_s=source.lease_s,
        )


def _reason(rule: str, text: str) -> tuple[Reason, ...]:
    return (Reason(rule, text),) if text else ()


def _needs(rule: Rule) -> frozenset[str] | None:
    """Static roles without any of which a rule cannot apply; None: it may, without any.

    A derived role is not held by whoever holds none of its sources, be its
    condition in doubt or spent: false AND anything is false.
    """
    found: set[str] = set()
    for role in rule.roles or ():
        sources = (role,) if isinstance(role, StaticRole) else role.sources
        if sources is None:
            return None
        found.update(source.name for source in sources)
    return None if rule.roles is None else frozenset(found)


def _settled(rule: Rule) -> Rule:
    """The rule for a subject that certainly holds one of the roles it needs: without them.

    Static roles that are certain are true or false, and true OR false is true. What a derived
    role comes to is not settled by its sources.
    """
    static = all(isinstance(role, StaticRole) for role in rule.roles or ())
    return replace(rule, roles=None) if static else rule
