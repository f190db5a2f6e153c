"""`pdp.explanation` <-> `pdp.v1.Explanation`. Light: the client uses it.

Reading is strict, and what cannot be read is None: an explanation decides
nothing, so nobody is denied for a bad one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, cast

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
)
from pdp.model import Cause, Effect, Verdict
from pdp.v1 import authorization_pb2 as pb

# What an explanation may add to an answer: a client refuses one over 262,144 bytes.
BYTES_MAX: Final = 196_608

_OUTCOMES = MappingProxyType(
    {
        None: pb.OUTCOME_UNSPECIFIED,
        Verdict.FALSE: pb.OUTCOME_FALSE,
        Verdict.TRUE: pb.OUTCOME_TRUE,
        Verdict.DOUBT: pb.OUTCOME_DOUBT,
        Verdict.SPENT: pb.OUTCOME_SPENT,
    }
)
_VERDICTS = MappingProxyType({number: verdict for verdict, number in _OUTCOMES.items()})


def explanation_to_pb(explanation: Explanation, out: pb.Explanation) -> None:
    """Encode. One that is larger than `BYTES_MAX` all the same is left out, and says so."""
    for rule in explanation.rules:
        made = out.rules.add(
            name=rule.name,
            effect=_effect(rule.effect),
            outcome=_OUTCOMES[rule.verdict],
            anyone=rule.roles is None,
            roles=rule.roles,
        )
        if rule.when is not None:
            _condition_to_pb(rule.when, made.when)
    for role in explanation.roles:
        held = out.roles.add(name=role.name, outcome=_OUTCOMES[role.verdict], problem=role.problem)
        for name, verdict in role.sources:
            held.sources.add(name=name, outcome=_OUTCOMES[verdict])
        if role.when is not None:
            _condition_to_pb(role.when, held.when)
    for other in explanation.others:
        standing = cast("pb.OtherRule.Standing", other.standing.value)
        out.others.add(name=other.name, effect=_effect(other.effect), standing=standing)
    out.missing.extend(explanation.missing)
    for flip in explanation.flips:
        out.flips.add(
            rule=flip.rule,
            outcome=_OUTCOMES[flip.verdict],
            effect=_effect(flip.effect),
            cause=cast("pb.Cause", flip.cause.value),
        )
    out.truncated = explanation.truncated
    if out.ByteSize() > BYTES_MAX:
        out.Clear()
        out.truncated = True


def _effect(effect: Effect) -> pb.Effect:
    return pb.EFFECT_PERMIT if effect is Effect.PERMIT else pb.EFFECT_DENY


def _condition_to_pb(condition: ExplainedCondition, out: pb.ExplainedCondition) -> None:
    out.text = condition.text
    out.outcome = _OUTCOMES[condition.verdict]
    out.problem = condition.problem
    out.units = condition.units
    for part in condition.parts:
        made = out.parts.add(
            parent=part.parent + 1,
            kind=part.kind,
            variable=part.variable,
            start=part.start,
            text=part.text,
            count=part.count,
            trues=part.trues,
            falses=part.falses,
            errors=part.errors,
        )
        for sample in part.samples:
            made.samples.add(value=sample.value, problem=sample.problem, bindings=sample.bindings)


def explanation_from_pb(message: pb.Explanation) -> Explanation | None:
    """Decode; None if it is not one."""
    try:
        return _explanation(message)
    except (KeyError, ValueError):
        return None


def _explanation(message: pb.Explanation) -> Explanation:
    roles = tuple(
        ExplainedRole(
            name=role.name,
            verdict=_verdict(role.outcome),
            sources=tuple((each.name, _verdict(each.outcome)) for each in role.sources),
            when=_condition(role.when) if role.HasField("when") else None,
            problem=role.problem,
        )
        for role in message.roles
    )
    return Explanation(
        rules=tuple(_rule(rule, len(roles)) for rule in message.rules),
        roles=roles,
        others=tuple(
            OtherRule(each.name, Effect(each.effect), Standing(each.standing))
            for each in message.others
        ),
        missing=tuple(message.missing),
        flips=tuple(
            Flip(each.rule, _verdict(each.outcome), Effect(each.effect), Cause(each.cause))
            for each in message.flips
        ),
        truncated=message.truncated,
    )


def _verdict(outcome: pb.Outcome) -> Verdict:
    """A verdict that has to be there."""
    verdict = _VERDICTS[outcome]
    if verdict is None:
        message = "an outcome is missing"
        raise ValueError(message)
    return verdict


def _rule(rule: pb.ExplainedRule, roles: int) -> ExplainedRule:
    if (rule.anyone and rule.roles) or any(at >= roles for at in rule.roles):
        message = "a rule names a role that is not there"
        raise ValueError(message)
    return ExplainedRule(
        name=rule.name,
        effect=Effect(rule.effect),
        verdict=_verdict(rule.outcome),
        roles=None if rule.anyone else tuple(rule.roles),
        when=_condition(rule.when) if rule.HasField("when") else None,
    )


def _condition(condition: pb.ExplainedCondition) -> ExplainedCondition:
    return ExplainedCondition(
        text=condition.text,
        verdict=_VERDICTS[condition.outcome],
        problem=condition.problem,
        units=condition.units,
        parts=tuple(_part(part, at) for at, part in enumerate(condition.parts)),
    )


def _part(part: pb.ExplainedPart, at: int) -> Part:
    if part.parent > at:
        message = "a part stands before what it belongs to"
        raise ValueError(message)
    return Part(
        parent=part.parent - 1,
        kind=part.kind,
        variable=part.variable,
        start=part.start,
        text=part.text,
        count=part.count,
        trues=part.trues,
        falses=part.falses,
        errors=part.errors,
        samples=tuple(Sample(each.value, each.problem, each.bindings) for each in part.samples),
    )
