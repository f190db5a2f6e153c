"""The law: how rules combine into one decision. All of it, and nothing else.

May not know: time, I/O, protobuf, logging, configuration, CEL. Where verdicts come
from is none of this file's business: combining is tested on abstract rules.

Candidate rules are those of the request's resource type, and those of every
type, that name its action and are within their time. All are evaluated, then:

    a rule's budget was spent     DENY(BUDGET)         rules: those that spent
    a deny applies                DENY(RULE)           rules: the denies that apply
    a deny is in doubt            DENY(INDETERMINATE)  rules: the denies in doubt
    a permit applies              PERMIT(RULE)         rules: the permits that apply
    otherwise                     DENY(DEFAULT)        rules: none

An answer carries the obligations of every rule of its effect that applies, is in doubt or spent:
breaking something must not shed a watermark or an alarm. It has advice and reasons of the rules it
names, if these apply: what only informs must be true. Source: docs/adr/0001, 0010, 0026.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from pdp.model import Cause, Decision, Effect, Obligation, Reason, Verdict, distinct, in_order

Facts = TypeVar("Facts", contravariant=True)  # noqa: PLC0105
_Counted = dict[Verdict, list["Rule[Facts]"]]  # rules of one effect

_FALSE, _TRUE, _DOUBT, _SPENT = Verdict.FALSE, Verdict.TRUE, Verdict.DOUBT, Verdict.SPENT


class Condition(Protocol[Facts]):
    """Has a verdict on a request's facts. Pure; never raises; SPENT when its budget ran out."""

    def evaluate(self, facts: Facts) -> Verdict:
        """The verdict on these facts."""


class Rule(Protocol[Facts]):
    """A candidate rule. `roles` None means anyone; `when` None means always."""

    @property
    def name(self) -> str:
        """`policy/rule`."""

    @property
    def effect(self) -> Effect:
        """What it does when it applies."""

    @property
    def roles(self) -> Sequence[Condition[Facts]] | None:
        """Any of which is needed."""

    @property
    def when(self) -> Condition[Facts] | None:
        """The condition."""

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """Duties that come with the answer."""

    @property
    def advice(self) -> tuple[Obligation, ...]:
        """The same, but they may be ignored."""

    @property
    def reason_user(self) -> tuple[Reason, ...]:
        """At most one text for the user."""

    @property
    def reason_admin(self) -> tuple[Reason, ...]:
        """At most one text for the administrator."""


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene OR; SPENT dominates. No short circuit, so order cannot matter."""
    found = _FALSE
    for verdict in verdicts:
        if found is _FALSE or verdict is _SPENT or (verdict is _TRUE and found is _DOUBT):
            found = verdict
    return found


def conjunction(
    roles: Sequence[Condition[Facts]] | None, when: Condition[Facts] | None, facts: Facts
) -> Verdict:
    """(OR of the roles) AND the condition, in Kleene's logic; None is true.

    Every role is evaluated; the condition is not when no role is held: false AND any is false.
    """
    if roles is None:
        return _TRUE if when is None else when.evaluate(facts)
    held = any_of([role.evaluate(facts) for role in roles])
    if held is _FALSE or held is _SPENT:
        return held
    verdict = _TRUE if when is None else when.evaluate(facts)
    # INVARIANT: from here held is TRUE or DOUBT; DOUBT yields to FALSE and SPENT.
    return _DOUBT if held is _DOUBT and verdict is _TRUE else verdict


def tally(rules: Iterable[Rule[Facts]], facts: Facts) -> tuple[_Counted[Facts], _Counted[Facts]]:
    """The denies by verdict, and the permits; those that are FALSE left out."""
    found: tuple[_Counted[Facts], _Counted[Facts]] = {}, {}
    for rule in rules:
        if (verdict := conjunction(rule.roles, rule.when, facts)) is not _FALSE:
            found[rule.effect is Effect.PERMIT].setdefault(verdict, []).append(rule)
    return found


def duties(by: _Counted[Facts]) -> tuple[Obligation, ...]:
    """Those of all rules of one effect that are not FALSE."""
    return distinct([duty for rules in by.values() for rule in rules for duty in rule.obligations])


def _answer(
    effect: Effect, cause: Cause, rules: list[Rule[Facts]], by: _Counted[Facts]
) -> Decision:
    """With the duties of its effect, and the words of its rules if they apply."""
    owed, one = duties(by), len(rules) == 1
    names = (rules[0].name,) if one else in_order([rule.name for rule in rules])
    wordy = [rule for rule in rules if rule.advice or rule.reason_user or rule.reason_admin]
    if cause is not Cause.RULE or not wordy:
        return Decision(effect, cause, names, owed)
    advice = distinct([item for rule in wordy for item in rule.advice])
    user = in_order([reason for rule in wordy for reason in rule.reason_user])
    admin = in_order([reason for rule in wordy for reason in rule.reason_admin])
    return Decision(effect, cause, names, owed, "", None, None, advice, user, admin)


def decide(rules: Iterable[Rule[Facts]], facts: Facts) -> Decision:
    """Combine candidate rules into a decision without id, bundle or record. Pure; never raises.

    Args:
        rules: the candidates, in any order, repeated or not.
        facts: what their conditions look at.
    """
    denies, permits = tally(rules, facts)
    # INVARIANT: this order is the law; every line but the last but one denies.
    if spent := denies.get(_SPENT, []) + permits.get(_SPENT, []):
        return _answer(Effect.DENY, Cause.BUDGET, spent, denies)
    if _TRUE in denies:
        return _answer(Effect.DENY, Cause.RULE, denies[_TRUE], denies)
    if _DOUBT in denies:
        return _answer(Effect.DENY, Cause.INDETERMINATE, denies[_DOUBT], denies)
    if _TRUE in permits:
        return _answer(Effect.PERMIT, Cause.RULE, permits[_TRUE], permits)
    return Decision(Effect.DENY, Cause.DEFAULT)
