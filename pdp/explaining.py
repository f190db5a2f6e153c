"""Why a decision is what it is: the same rules on the same request, watched.

Law ring: pure. An explanation is made after a decision, from it, and cannot
change it; verdicts come from the engine and from the rules themselves, so an
explanation that differs from the decision cannot be written here. It is not
free: a watched condition costs some ten times what it costs otherwise, and the
limits below are what one explanation may take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pdp import engine
from pdp.boundary import Admitted
from pdp.cel.partial import known
from pdp.cel.trace import Seen, Site, Trace, Tracer
from pdp.errors import member
from pdp.explanation import (
    ExplainedCondition,
    ExplainedRole,
    ExplainedRule,
    Explanation,
    Flip,
    OtherRule,
    Part,
    Sample,
    Standing,
    brief,
    cut,
)
from pdp.model import Cause, Decision, Effect, Obligation, Reason, Verdict
from pdp.policy import PolicySet, Rule
from pdp.roles import ROLES_PATH, DerivedRole, Facts, StaticRole, When, listed
from pdp.values import Timestamp, Value

# The causes that rules make; before any other, no rule was looked at.
RULE_CAUSES = frozenset({Cause.RULE, Cause.INDETERMINATE, Cause.DEFAULT, Cause.BUDGET})


@dataclass(frozen=True, slots=True)
class ExplanationLimits:
    """What one explanation may take. The default is what a caller may ask of a PDP.

    Attributes:
        rules_max: candidates that are explained, and as many of the others.
        parts_max: parts of conditions, in all.
        characters_max: what a text or a value is cut to.
        samples_max: evaluations kept of a part in a loop.
        units_max: cost of all conditions evaluated again; the one that crosses it is the last.
        bytes_max: size of all texts together, roughly what it takes on the wire.
    """

    rules_max: int = 32
    parts_max: int = 1_000
    characters_max: int = 80
    samples_max: int = 3
    units_max: int = 20_000
    bytes_max: int = 131_072


# For a person at their own terminal, who explains one request at a time.
GENEROUS = ExplanationLimits(
    rules_max=1_000,
    parts_max=20_000,
    characters_max=400,
    samples_max=8,
    units_max=10_000_000,
    bytes_max=32 << 20,
)


def explain(
    policies: PolicySet,
    admitted: Admitted,
    now_ns: int,
    decision: Decision,
    candidates: Sequence[Rule],
    limits: ExplanationLimits | None = None,
) -> Explanation:
    """Explain a decision that rules made.

    Args:
        policies: those that made it.
        admitted: the request.
        now_ns: the `now` it was made at.
        decision: the answer.
        candidates: the rules it was made from, as `PolicySet.decide` returned them.
        limits: of the explanation.

    Returns:
        The explanation; an empty one if the decision was made before the rules.
    """
    if decision.cause not in RULE_CAUSES:
        return Explanation()
    facts = Facts({**admitted.attributes, "now": Timestamp(now_ns)})
    work = _Explainer(facts, limits or ExplanationLimits())
    others = [
        OtherRule(rule.name, rule.effect, standing)
        for rule, standing in standings(policies, admitted, candidates, now_ns)
    ]
    return work.result(decision, candidates, others)


def standings(
    policies: PolicySet, admitted: Admitted, candidates: Iterable[Rule], now_ns: int
) -> list[tuple[Rule, Standing]]:
    """The rules that hold for the resource type and were no candidates, and why."""
    request = admitted.request
    known = {id(rule) for rule in candidates}
    found: list[tuple[Rule, Standing]] = []
    for rule in policies.rules_about(request.resource.type):
        if id(rule) in known:
            continue
        if rule.starts_ns is not None and now_ns < rule.starts_ns:
            standing = Standing.NOT_YET
        elif not rule.is_current(now_ns):
            standing = Standing.EXPIRED
        else:
            standing = Standing.OTHER_ACTION
        found.append((rule, standing))
    return sorted(found, key=lambda pair: pair[0].name)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A condition that is what it is said to be."""

    verdict: Verdict

    def evaluate(self, _facts: None) -> Verdict:
        """The verdict."""
        return self.verdict


@dataclass(frozen=True, slots=True)
class _Supposed:
    """A rule that came out as it is said to have: the engine's, with nothing behind it."""

    name: str
    effect: Effect
    when: _Fixed
    roles: None = None
    obligations: tuple[Obligation, ...] = ()
    advice: tuple[Obligation, ...] = ()
    reason_user: tuple[Reason, ...] = ()
    reason_admin: tuple[Reason, ...] = ()


def flips(verdicts: Sequence[tuple[str, Effect, Verdict]], effect: Effect) -> list[Flip]:
    """The single changes of one rule's verdict that would change the effect.

    The engine itself decides what would be. Rules of the same effect and
    verdict are alike to it in everything but their names, so each kind is
    tried once.

    Args:
        verdicts: name, effect and verdict of every candidate.
        effect: of the answer as it is.
    """
    supposed = [_Supposed(name, kind, _Fixed(verdict)) for name, kind, verdict in verdicts]
    known: dict[tuple[Effect, Verdict, Verdict], Decision] = {}
    found: list[Flip] = []
    for at, (name, kind, verdict) in enumerate(verdicts):
        for other in (Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT):
            key = (kind, verdict, other)
            if other is not verdict and key not in known:
                changed = _Supposed(name, kind, _Fixed(other))
                known[key] = engine.decide([*supposed[:at], changed, *supposed[at + 1 :]], None)
            if other is not verdict and known[key].effect is not effect:
                found.append(Flip(name, other, known[key].effect, known[key].cause))
    return found


def explain_condition(
    tracer: Tracer, text: str, attributes: Mapping[str, Value], limits: ExplanationLimits
) -> ExplainedCondition:
    """An expression by itself, part by part.

    Args:
        tracer: of it.
        text: it, as written.
        attributes: what it looks at.
        limits: of the explanation.
    """
    work = _Explainer(Facts(attributes), limits)
    return work.watched(tracer, cut(text, limits.characters_max))


class _Explainer:
    """One explanation in the making."""

    def __init__(self, facts: Facts, limits: ExplanationLimits) -> None:
        self.facts = facts
        self.limits = limits
        self.parts_left = limits.parts_max
        self.units_left = limits.units_max
        self.bytes_left = limits.bytes_max
        self.truncated = False
        self.roles: dict[StaticRole | DerivedRole, int] = {}
        self.explained: list[ExplainedRole] = []
        self.missing: dict[str, None] = {}

    def result(
        self, decision: Decision, candidates: Sequence[Rule], others: Sequence[OtherRule]
    ) -> Explanation:
        unique = list({rule.name: rule for rule in candidates}.values())
        verdicts = {
            rule.name: engine.conjunction(rule.roles, rule.when, self.facts) for rule in unique
        }
        named = frozenset(decision.rules)
        unique.sort(key=lambda rule: (rule.name not in named, rule.name))
        changes = flips(
            [(rule.name, rule.effect, verdicts[rule.name]) for rule in unique], decision.effect
        )
        most = self.limits.rules_max
        rules = tuple(
            self._rule(rule, verdicts[rule.name]) for rule in unique[:most] if self.bytes_left > 0
        )
        self.truncated |= len(rules) < len(unique) or len(others) > most or len(changes) > 3 * most
        return Explanation(
            rules=rules,
            roles=tuple(self.explained),
            others=tuple(others[:most]),
            missing=tuple(self.missing),
            flips=tuple(changes[: 3 * most]),
            truncated=self.truncated,
        )

    def _rule(self, rule: Rule, verdict: Verdict) -> ExplainedRule:
        self._pay(rule.name)
        roles = None
        held = Verdict.TRUE
        if rule.roles is not None:
            roles = tuple(self._role(role) for role in rule.roles)
            held = engine.any_of([self.explained[at].verdict for at in roles])
        when = self._when(rule.when, asked=held not in {Verdict.FALSE, Verdict.SPENT})
        return ExplainedRule(rule.name, rule.effect, verdict, roles, when)

    def _role(self, role: StaticRole | DerivedRole) -> int:
        """The index of a role, explained at its first use."""
        if role not in self.roles:
            verdict = role.evaluate(self.facts)
            if isinstance(role, StaticRole):
                made = ExplainedRole(role.name, verdict, problem=self._doubt(verdict))
            else:
                sources = tuple(
                    (each.name, each.evaluate(self.facts)) for each in role.sources or ()
                )
                held = engine.any_of([each for _, each in sources]) if sources else Verdict.TRUE
                when = self._when(role.when, asked=held is not Verdict.FALSE)
                made = ExplainedRole(role.name, verdict, sources, when, self._doubt(held))
            self._pay(role.name)
            self.roles[role] = len(self.explained)
            self.explained.append(made)
        return self.roles[role]

    def _doubt(self, held: Verdict) -> str:
        """Why a static role is in doubt; `ROLES_PATH` says where they are looked for."""
        if held is not Verdict.DOUBT:
            return ""
        if (gap := gap_in(ROLES_PATH, self.facts.attributes)) is not None:
            self.missing[gap] = None
            return f"no such attribute: `{gap}`"
        properties = known(self.facts.attributes)["subject.properties"]
        if isinstance(properties, dict) and listed(properties.get("roles")) is not None:
            return "the claim of the token that lists roles is not a list of strings"
        return f"`{written(ROLES_PATH)}` is not a list of strings"

    def _when(self, when: When | None, *, asked: bool) -> ExplainedCondition | None:
        if when is None:
            return None
        text = cut(when.expression.source, self.limits.characters_max)
        self._pay(text)
        if not asked:
            return ExplainedCondition(text, None)
        if self.units_left <= 0 or self.parts_left <= 0 or self.bytes_left <= 0:
            # Evaluated in the decision, as all others were; only not again, to be watched.
            self.truncated = True
            return ExplainedCondition(text, when.evaluate(self.facts))
        return self.watched(when.expression.tracer(), text)

    def watched(self, tracer: Tracer, text: str) -> ExplainedCondition:
        """A condition, evaluated once more."""
        trace = tracer.trace(self.facts.attributes)
        self.units_left -= trace.units
        self._note_missing(tracer, trace)
        problem = trace.problem
        if not problem and trace.verdict is Verdict.DOUBT:
            problem = "is not a truth value"
        parts = self._parts(tracer, trace)
        return ExplainedCondition(text, trace.verdict, problem, trace.units, parts)

    def _note_missing(self, tracer: Tracer, trace: Trace) -> None:
        for site in missing_sites(tracer.sites, trace.seen):
            path = site.path
            gap = None if path is None else gap_in(path, self.facts.attributes)
            if gap is not None and len(self.missing) < self.limits.rules_max:
                self.missing[gap] = None

    def _parts(self, tracer: Tracer, trace: Trace) -> tuple[Part, ...]:
        """All but names, literals and the beginnings of paths: what they are, the rest says."""
        index: dict[int, int] = {}
        parts: list[Part] = []
        for site, seen in zip(tracer.sites, trace.seen, strict=True):
            if site.parent >= 0 and (
                site.kind in {"literal", "loop variable"}
                or (site.path is not None and tracer.sites[site.parent].path is not None)
            ):
                continue
            if self.parts_left <= 0 or self.bytes_left <= 0:
                self.truncated = True
                break
            self.parts_left -= 1
            index[site.id] = len(parts)
            parts.append(self._part(site, seen, index.get(site.parent, -1)))
        return tuple(parts)

    def _part(self, site: Site, seen: Seen, parent: int) -> Part:
        most = self.limits.samples_max if site.loop else 1
        samples = tuple(
            Sample(
                "" if each.problem else self._brief(each.value),
                each.problem,
                ", ".join(f"{name} = {self._brief(value)}" for name, value in each.bindings),
            )
            for each in seen.samples[:most]
        )
        text = cut(site.text, self.limits.characters_max)
        for sample in samples:
            self._pay(sample.value, sample.problem, sample.bindings)
        self._pay(text, site.variable)
        return Part(
            parent=parent,
            kind=site.kind,
            variable=site.variable,
            start=site.start,
            text=text,
            count=seen.count,
            trues=seen.trues,
            falses=seen.falses,
            errors=seen.errors,
            samples=samples,
        )

    def _brief(self, value: object) -> str:
        return brief(value, self.limits.characters_max)

    def _pay(self, *texts: str) -> None:
        """Count what texts will take, with what frames them."""
        self.bytes_left -= 32 + sum(len(text.encode("utf-8", "replace")) + 4 for text in texts)


def missing_sites(sites: Sequence[Site], seen: Sequence[Seen]) -> list[Site]:
    """Attribute paths that ended in an error: the places where a request has a gap."""
    return [
        site
        for site, each in zip(sites, seen, strict=True)
        if each.errors and site.path is not None and site.kind != "has"
    ]


def gap_in(path: tuple[str, ...], attributes: Mapping[str, Value]) -> str | None:
    """The first step of a path that is not there, as an author would write it; else None.

    A step into something that has no members is no gap: a value is there, of
    the wrong kind.
    """
    value: object = known(attributes)
    for length, step in enumerate(path, 1):
        if not isinstance(value, Mapping):
            return None
        if step not in value:
            return written(path[:length])
        value = value[step]
    return None


def written(path: tuple[str, ...]) -> str:
    """`subject.properties.department`."""
    return path[0] + "".join(map(member, path[1:]))
