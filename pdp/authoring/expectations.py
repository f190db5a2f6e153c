"""What a row of `pdp test` expects of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from pdp.authoring.fields import NAME, PROSE, Fields
from pdp.authoring.fixtures import properties
from pdp.authoring.nodes import List, Node
from pdp.authoring.problems import Problems, word
from pdp.model import Cause, Effect, Obligation

# What rules, schemas, the caller policy and the HTTP mapping can answer; others need a clock, disk
# or network.
CAUSES = tuple(
    cause.name
    for cause in (
        Cause.RULE,
        Cause.INDETERMINATE,
        Cause.DEFAULT,
        Cause.BUDGET,
        Cause.CALLER,
        Cause.IDENTITY,
        Cause.SCHEMA,
        Cause.INVALID,
    )
)
_EFFECTS = tuple(effect.name for effect in Effect)
_VIOLATING = frozenset({Cause.SCHEMA.name, Cause.IDENTITY.name})


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a row expects. None is not compared."""

    effect: Effect
    cause: Cause | None
    rules: tuple[str, ...] | None
    obligations: tuple[Obligation, ...] | None
    advice: tuple[Obligation, ...] | None = None
    reason_user: tuple[str, ...] | None = None
    reason_admin: tuple[str, ...] | None = None
    # Of a schema, or of what a provider owns: its path, or its path and the words after it.
    violation: str | None = None


def read_expectation(fields: Fields, problems: Problems) -> Expectation | None:
    """What a row expects; None if it has a problem, which is noted."""
    node = fields.node("expect")
    if node is None:
        return None
    inner = Fields(
        node,
        "`expect`",
        problems,
        required={"effect": "write `effect: PERMIT` or `effect: DENY`"},
        optional=("cause", "rules", "obligations", "advice", "reasons", "violation"),
    )
    effect = inner.choice("effect", _EFFECTS)
    cause = inner.choice("cause", CAUSES)
    if effect == Effect.PERMIT.name and cause not in {None, Cause.RULE.name}:
        message = f"no permit has the cause {word(cause)}"
        fields.problems.add(inner.at("cause"), message, "a permit has the cause `RULE`")
    rules = _listed(inner, "rules")
    names = None
    if rules is not None:
        texts = [inner.checked(item, "an item of `rules`", NAME) for item in rules]
        names = tuple(text for text in texts if text is not None)
    obligations = _duties(inner, "obligations")
    advice = _duties(inner, "advice")
    user, admin = _reasons(inner)
    violation = inner.text("violation", PROSE)
    if violation is not None and cause not in _VIOLATING:
        hint = "write `cause: SCHEMA`, or `cause: IDENTITY` where a provider owns the attribute"
        inner.problems.add(inner.at("violation"), "only those causes come with a violation", hint)
    if effect is None:
        return None
    found = Cause[cause] if cause else None
    return Expectation(Effect[effect], found, names, obligations, advice, user, admin, violation)


def _reasons(fields: Fields) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Texts for the user and for the administrator; a key left out is not compared."""
    node = fields.node("reasons")
    if node is None:
        return None, None
    inner = Fields(node, "`reasons`", fields.problems, required={}, optional=("user", "admin"))
    return _said(inner, "user"), _said(inner, "admin")


def _said(fields: Fields, key: str) -> tuple[str, ...] | None:
    items = _listed(fields, key)
    if items is None:
        return None
    texts = [fields.checked(item, f"an item of {word(key)}", PROSE) for item in items]
    return tuple(text for text in texts if text is not None)


def _listed(fields: Fields, key: str) -> tuple[Node, ...] | None:
    """The items of a list, which may be empty: that expects none."""
    node = fields.node(key)
    if node is None:
        return None
    if not isinstance(node, List):
        fields.problems.add(node.position, f"{word(key)} must be a list", "none is `[]`")
        return None
    return node.items


def _duties(fields: Fields, key: str) -> tuple[Obligation, ...] | None:
    """Obligations or advice."""
    one = "obligation" if key == "obligations" else "advice"
    items = _listed(fields, key)
    if items is None:
        return None
    found = []
    for node in items:
        required = dict.fromkeys(("id", "type"), "clients match on type and id")
        duty = Fields(
            node, f"the {one}", fields.problems, required=required, optional=("properties",)
        )
        name, kind = duty.text("id", NAME), duty.text("type", NAME)
        if name is not None and kind is not None:
            found.append(Obligation(name, kind, properties(duty, "properties")))
    return tuple(found)
