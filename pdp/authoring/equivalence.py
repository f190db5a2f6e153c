"""Whether two rules are provably the same rule, written differently.

Compared is what a rule comes to: the plan of its conditions with variables
written out, where the order of `&&` and `||` does not matter. What is not
proven equal is taken for different. The cost of an evaluation is not compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import fields, is_dataclass

from pdp.actions import action_matches
from pdp.cel.library.rows import Function
from pdp.cel.limits import EvaluationLimits
from pdp.cel.plan import Both, Either, Use
from pdp.cel.resolve import resolve
from pdp.cel.syntax import Expression
from pdp.model import Effect
from pdp.policy import EVERY_RESOURCE, PolicyDocument, RuleDocument

# What a node of a plan says beside its meaning.
_NO_MEANING = frozenset({"weight", "likely"})


def behaviour(
    document: PolicyDocument | None, denied: frozenset[str], limits: EvaluationLimits
) -> frozenset[Hashable]:
    """What the rules of a document do; equal for documents that answer alike.

    Args:
        document: None stands for no rule at all.
        denied: actions that an unconditional deny denies always: permits of these
            only are in no answer.
        limits: of conditions.

    Raises:
        ExpressionError: a condition does not compile.
    """
    if document is None:
        return frozenset()
    return frozenset(
        _rule(document, rule, limits)
        for rule in document.rules
        if not (rule.effect is Effect.PERMIT and _is_within(rule.actions, denied))
    )


def always_denied(documents: Iterable[PolicyDocument], resource_type: str) -> frozenset[str]:
    """Actions on a resource type that some rule denies to everybody, always."""
    return frozenset(
        action
        for document in documents
        if document.resource_type in {resource_type, EVERY_RESOURCE}
        for rule in document.rules
        if rule.effect is Effect.DENY and rule.roles is None and rule.when is None
        for action in rule.actions
    )


def _is_within(actions: Iterable[str], denied: frozenset[str]) -> bool:
    # A pattern is compared like a name: `report:*` is about `report:a:*`, all of it.
    return all(any(action_matches(wide, action) for wide in denied) for action in actions)


def _rule(document: PolicyDocument, rule: RuleDocument, limits: EvaluationLimits) -> Hashable:
    derived = {role.name: role for role in document.roles}

    def condition(expression: Expression | None) -> Hashable:
        if expression is None:
            return None
        return _key(resolve(expression, dict(document.variables), limits).root, {})

    roles = None
    if rule.roles is not None:
        roles = frozenset(
            (frozenset(derived[name].sources), condition(derived[name].when))
            if name in derived
            else name
            for name in rule.roles
        )
    duties = (
        frozenset(duty.key for duty in rule.obligations),
        frozenset(item.key for item in rule.advice),
        rule.reason_user,
        rule.reason_admin,
    )
    times = (rule.starts_ns, rule.expires_ns, rule.lease_s)
    actions = frozenset(rule.actions)
    return (rule.id, rule.effect, actions, roles, condition(rule.when), times, duties)


def _key(value: object, slots: dict[int, int]) -> Hashable:
    """A plan as a value; loop variables are numbered in the order in which they come."""
    match value:
        case Use(definition=definition):
            return _key(definition.body, slots)
        case Both() | Either():
            sides = _operands(value, type(value))
            return (type(value).__name__, frozenset(_key(side, slots) for side in sides))
        case Function():
            return value
        case tuple():
            return tuple(_key(item, slots) for item in value)
        case _ if is_dataclass(value) and type(value).__module__.startswith("pdp.cel.plan"):
            parts: list[Hashable] = [type(value).__name__]
            for field in fields(value):
                part = getattr(value, field.name)
                if field.name in _NO_MEANING:
                    continue
                if field.name.startswith("slot"):
                    part = slots.setdefault(part, len(slots))
                parts.append(_key(part, slots))
            return tuple(parts)
        case _:
            # `repr` with the type: 1, 1.0 and true are equal to Python.
            return (type(value).__name__, repr(value))


def _operands(value: object, kind: type[Both | Either]) -> list[object]:
    """The operands of `a && b && c`, however they are grouped, through variables too."""
    if isinstance(value, kind):
        return [*_operands(value.left, kind), *_operands(value.right, kind)]
    return [value]
