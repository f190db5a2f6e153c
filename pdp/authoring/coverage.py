"""What tests have seen of the policies: rules, conditions, and every branch in them.

Conditions are watched by the exact tier itself (`pdp.cel.trace`), on the rules
that a decision looked at, with the facts it looked at. What is counted:

    rule        an answer with the cause RULE names it
    condition   `when` of a rule or of a role came to true, and to false
    operand     each side of `&&` and `||` came to true, and to false
    branch      each side of `?:` was evaluated

A side that is itself an `&&` or `||` is counted by its own sides. What came to
an error is neither true nor false: it is shown, and asked of nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pdp import engine
from pdp.boundary import Admitted
from pdp.cel.compile import CompiledExpression
from pdp.cel.trace import Site, Tracer
from pdp.model import Cause, Decision, Verdict
from pdp.policy import PolicySet, Rule
from pdp.roles import DerivedRole, Facts, StaticRole, When
from pdp.values import Timestamp

RULE, CONDITION, OPERAND, BRANCH = "rule", "condition", "operand", "branch"
_LOGIC = frozenset({"&&", "||"})
_NOT_ASKED = frozenset({Verdict.FALSE, Verdict.SPENT})


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """Something that tests can reach.

    Attributes:
        policy: its name.
        owner: whose text it is in: `rule`, `role` or `variable`.
        name: the owner's.
        what: `rule`, `condition`, `operand` or `branch`.
        start, end: its place in the owner's text, in code points; 0 for a rule.
    """

    policy: str
    owner: str
    name: str
    what: str
    start: int = 0
    end: int = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """What it should have come to."""
        if self.what == RULE:
            return ("decided",)
        return ("evaluated",) if self.what == BRANCH else ("true", "false")


Counts = Counter[tuple[Spot, str]]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    covered: int
    total: int

    @property
    def percent(self) -> int:
        """Rounded down: 100 is all of them."""
        return 100 if not self.total else self.covered * 100 // self.total


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was seen.

    Attributes:
        spots: everything there is, sorted.
        counts: how often each came to what.
    """

    spots: tuple[Spot, ...]
    counts: Mapping[tuple[Spot, str], int]

    def missing(self, spot: Spot) -> tuple[str, ...]:
        """What a spot never came to."""
        return tuple(word for word in spot.wanted if not self.counts.get((spot, word)))

    def share(self, *what: str) -> Share:
        """How much of these kinds of spots was covered."""
        spots = [spot for spot in self.spots if spot.what in what]
        total = sum(len(spot.wanted) for spot in spots)
        return Share(total - sum(len(self.missing(spot)) for spot in spots), total)

    @property
    def rules(self) -> Share:
        """Rules that decided."""
        return self.share(RULE)

    @property
    def conditions(self) -> Share:
        """Outcomes of whole conditions, two each."""
        return self.share(CONDITION)

    @property
    def branches(self) -> Share:
        """Outcomes of the sides of `&&`, `||` and `?:`."""
        return self.share(OPERAND, BRANCH)


@dataclass(slots=True)
class Watcher:
    """Counts what happens in decisions. Give it to `trial.run`; several can be added up."""

    counts: Counts = field(default_factory=Counter)
    _probes: dict[tuple[int, str], _Probe] = field(default_factory=dict)

    def __call__(
        self, admitted: Admitted, now_ns: int, decision: Decision, candidates: Sequence[Rule], /
    ) -> None:
        """One decision, and the rules it was made from."""
        if decision.cause is Cause.RULE:
            for name in decision.rules:
                policy, _, rule_id = name.partition("/")
                self.counts[Spot(policy, "rule", rule_id, RULE), "decided"] += 1
        facts = Facts({**admitted.attributes, "now": Timestamp(now_ns)})
        roles: set[tuple[str, str]] = set()
        for rule in candidates:
            policy, _, rule_id = rule.name.partition("/")
            for role in rule.roles or ():
                # Decided once per request, as in the engine.
                if isinstance(role, DerivedRole) and (policy, role.name) not in roles:
                    roles.add((policy, role.name))
                    self._condition(role.sources, role.when, facts, (policy, "role", role.name))
            self._condition(rule.roles, rule.when, facts, (policy, "rule", rule_id))

    def _condition(
        self,
        roles: tuple[StaticRole | DerivedRole, ...] | None,
        when: When | None,
        facts: Facts,
        owner: tuple[str, str, str],
    ) -> None:
        """A condition is evaluated unless the roles are definitely not held."""
        if when is None:
            return
        if roles is not None:
            held = engine.any_of([role.evaluate(facts) for role in roles])
            if held in _NOT_ASKED:
                return
        self._probe(when.expression, owner).look(facts, self.counts)

    def _probe(self, expression: CompiledExpression, owner: tuple[str, str, str]) -> _Probe:
        key = (id(expression), owner[0])
        if key not in self._probes:
            self._probes[key] = _Probe(expression, owner)
        return self._probes[key]


class _Probe:
    """A condition with its spots, ready to be watched."""

    def __init__(self, expression: CompiledExpression, owner: tuple[str, str, str]) -> None:
        self.expression = expression  # held: probes are found by its identity
        self.tracer = expression.tracer()
        self.spots = list(_spots(self.tracer, owner))

    def look(self, facts: Facts, counts: Counts) -> None:
        """Evaluate the condition once more, watched."""
        trace = self.tracer.trace(facts.attributes)
        for spot, at in self.spots:
            seen = trace.seen[at]
            if spot.what == BRANCH:
                counts[spot, "evaluated"] += seen.count
                continue
            counts[spot, "true"] += seen.trues
            counts[spot, "false"] += seen.falses
            counts[spot, "in doubt"] += seen.count - seen.trues - seen.falses


def _spots(tracer: Tracer, owner: tuple[str, str, str]) -> Iterator[tuple[Spot, int]]:
    """The spots of a condition, each with the id of its site."""
    sites = tracer.sites
    policy, kind, name = owner
    seen: set[Spot] = set()

    def spot(site: Site, what: str) -> Spot:
        inside = ("variable", site.variable) if site.variable else (kind, name)
        return Spot(policy, *inside, what, site.start, site.end)

    yield spot(sites[0], CONDITION), 0
    for site in sites:
        children = [sites[child] for child in site.children]
        if site.kind in _LOGIC:
            found = [(spot(part, OPERAND), part.id) for part in children if _is_side(site, part)]
        elif site.kind == "?:":
            found = [(spot(part, BRANCH), part.id) for part in children[1:]]
        else:
            continue
        for made, at in found:
            if made not in seen:
                seen.add(made)
                yield made, at


def _is_side(site: Site, part: Site) -> bool:
    return part.kind not in _LOGIC or part.variable != site.variable


def everything(policies: PolicySet, resource_types: Iterable[str]) -> tuple[Spot, ...]:
    """All spots of the rules about these types of resources, sorted."""
    found: set[Spot] = set()
    for rule in (rule for kind in resource_types for rule in policies.rules_about(kind)):
        policy, _, rule_id = rule.name.partition("/")
        found.add(Spot(policy, "rule", rule_id, RULE))
        conditions = [(rule.when, ("rule", rule_id))]
        conditions += [
            (role.when, ("role", role.name))
            for role in rule.roles or ()
            if isinstance(role, DerivedRole)
        ]
        for when, owner in conditions:
            if when is not None:
                tracer = when.expression.tracer()
                found.update(spot for spot, _ in _spots(tracer, (policy, *owner)))
    return tuple(sorted(found))
