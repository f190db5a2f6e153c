"""The law: how rules combine into one decision. All of it, and nothing else.

May not know: time, I/O, protobuf, logging, configuration, CEL. A rule here is
a name, an effect, roles, a condition and obligations; where verdicts come from
is none of this file's business, so that combining is tested on abstract rules.

Candidate rules are those of the request's resource type that name its action
and are within their time. Every candidate is evaluated, then:

    a rule's budget was spent     DENY(BUDGET)         rules: those that spent
    a deny applies                DENY(RULE)           rules: the denies that apply
    a deny is in doubt            DENY(INDETERMINATE)  rules: the denies in doubt
    a permit applies              PERMIT(RULE)         rules: the permits that apply
    otherwise                     DENY(DEFAULT)        rules: none

A permit carries the obligations of every permit that applies or is in doubt:
a permit in doubt does not grant, but breaking something must not shed a
watermark. Source of the rule: docs/adr/0001.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from pdp.model import Cause, Decision, Effect, Obligation, Verdict

Facts = TypeVar("Facts", contravariant=True)  # noqa: PLC0105

_FALSE, _TRUE, _DOUBT, _SPENT = Verdict.FALSE, Verdict.TRUE, Verdict.DOUBT, Verdict.SPENT


class Condition(Protocol[Facts]):
    """Something with a verdict on the facts of a request.

    `evaluate` is a pure function of the facts, never raises, and says SPENT
    when its own cost budget ran out.
    """

    def evaluate(self, facts: Facts) -> Verdict:
        """The verdict on these facts."""
        ...


class Rule(Protocol[Facts]):
    """A candidate rule. `roles` None means anyone; `when` None means always."""

    @property
    def name(self) -> str:
        """`policy/rule`."""
        ...

    @property
    def effect(self) -> Effect:
        """What it does when it applies."""
        ...

    @property
    def roles(self) -> Sequence[Condition[Facts]] | None:
        """Any of which is needed."""
        ...

    @property
    def when(self) -> Condition[Facts] | None:
        """The condition."""
        ...

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """Duties that come with a permit."""
        ...


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene OR; SPENT dominates. No short circuit, so order cannot matter."""
    found = set(verdicts)
    for verdict in (_SPENT, _TRUE, _DOUBT):
        if verdict in found:
            return verdict
    return _FALSE


def conjunction(
    roles: Sequence[Condition[Facts]] | None, when: Condition[Facts] | None, facts: Facts
) -> Verdict:
    """(OR of the roles) AND the condition, in Kleene's logic; None is true.

    Every role is evaluated. The condition is not, when the roles are
    definitely not held: false AND anything is false.
    """
    held = _TRUE if roles is None else any_of([role.evaluate(facts) for role in roles])
    if held is _FALSE or held is _SPENT:
        return held
    verdict = _TRUE if when is None else when.evaluate(facts)
    # INVARIANT: from here held is TRUE or DOUBT; DOUBT yields to FALSE and SPENT.
    return _DOUBT if held is _DOUBT and verdict is _TRUE else verdict


class _Tally(Generic[Facts]):
    """Rules by effect and verdict."""

    def __init__(self, rules: Iterable[Rule[Facts]], facts: Facts) -> None:
        self.found: dict[tuple[Effect | None, Verdict], list[Rule[Facts]]] = {}
        for rule in rules:
            verdict = conjunction(rule.roles, rule.when, facts)
            effect = None if verdict is _SPENT else rule.effect
            self.found.setdefault((effect, verdict), []).append(rule)

    def names(self, effect: Effect | None, verdict: Verdict) -> tuple[str, ...]:
        """Sorted, without duplicates."""
        return tuple(sorted({rule.name for rule in self.found.get((effect, verdict), ())}))

    def obligations(self) -> tuple[Obligation, ...]:
        """Of the permits that apply or are in doubt, sorted, without duplicates."""
        by_key: dict[tuple[str, str, bytes], Obligation] = {}
        for verdict in (_TRUE, _DOUBT):
            for rule in self.found.get((Effect.PERMIT, verdict), ()):
                by_key.update((item.key, item) for item in rule.obligations)
        return tuple(by_key[key] for key in sorted(by_key))


def decide(rules: Iterable[Rule[Facts]], facts: Facts) -> Decision:
    """Combine candidate rules into a decision. Pure; never raises.

    Args:
        rules: the candidates, in any order, repeated or not.
        facts: what their conditions look at.

    Returns:
        A decision without id, bundle or record: those are not law.
    """
    tally = _Tally(rules, facts)
    # INVARIANT: this order is the law; every line but the last but one denies.
    if names := tally.names(None, _SPENT):
        return Decision(Effect.DENY, Cause.BUDGET, names)
    if names := tally.names(Effect.DENY, _TRUE):
        return Decision(Effect.DENY, Cause.RULE, names)
    if names := tally.names(Effect.DENY, _DOUBT):
        return Decision(Effect.DENY, Cause.INDETERMINATE, names)
    if names := tally.names(Effect.PERMIT, _TRUE):
        return Decision(Effect.PERMIT, Cause.RULE, names, tally.obligations())
    return Decision(Effect.DENY, Cause.DEFAULT)
