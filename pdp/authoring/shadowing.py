"""When a deny without a condition takes all that another rule could say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pdp.callers import ANY


@dataclass(frozen=True, slots=True)
class Deny:
    """A deny that applies whenever one of its roles is held; None is anyone.

    Attributes:
        name: `policy/rule`.
        resource_type, actions, roles: as written.
        static_roles: those of its policy, which mean the same in every other.
    """

    name: str
    resource_type: str
    actions: tuple[str, ...]
    roles: tuple[str, ...] | None
    static_roles: frozenset[str]

    @property
    def policy(self) -> str:
        """The name of its policy."""
        return self.name.partition("/")[0]


def shadows(
    deny: Deny,
    rule: str,
    actions: Sequence[str],
    held: Sequence[frozenset[str]] | None,
    static_roles: frozenset[str],
) -> bool:
    """Whether the deny applies to every question that a rule applies to.

    Args:
        deny: the deny.
        rule: the other rule's name; no rule shadows itself.
        actions: the other rule's.
        held: for each role that makes the other rule apply, roles that are
            held by whoever holds it, one of them at least; None is anyone.
        static_roles: of the other rule's policy.
    """
    if deny.name == rule or not all(_includes(deny.actions, action) for action in actions):
        return False
    if deny.roles is None:
        return True
    if held is None:
        return False
    same_policy = deny.policy == rule.partition("/")[0]
    # A derived role of another policy is another role, whatever its name.
    known = set(deny.roles) if same_policy else set(deny.roles) & deny.static_roles & static_roles
    return all(_implies(names, known, static_roles) for names in held)


def _implies(names: frozenset[str], known: set[str], static_roles: frozenset[str]) -> bool:
    """A role itself, or every static role that it can come from, is among the deny's."""
    sources = names & static_roles
    derived = names - static_roles
    return bool(derived & known) or (bool(sources) and sources <= known)


def _includes(patterns: Sequence[str], action: str) -> bool:
    """Whether an action, or all that a pattern of actions means, is among these."""
    return any(pattern in {ANY, action} or _begins(pattern, action) for pattern in patterns)


def _begins(pattern: str, action: str) -> bool:
    """`report:*` means what begins with `report:` and goes on."""
    prefix = pattern.removesuffix(ANY)
    return pattern != prefix and action.startswith(prefix) and action != prefix
