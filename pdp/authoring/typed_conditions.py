"""The conditions of a folder's policies, compared with the schemas of the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pdp.authoring.expressions import free_names
from pdp.authoring.nodes import Map
from pdp.authoring.places import PolicyPlaces, by_policy
from pdp.authoring.presence import Fact, Facts, Presence, either
from pdp.authoring.problems import Problems
from pdp.authoring.schema_types import SchemaTypes
from pdp.authoring.type_check import TypeCheck
from pdp.errors import ExpressionError, Position
from pdp.policy import PolicyDocument, RuleDocument
from pdp.schema import SchemaDocument


def check_types(
    policies: Iterable[PolicyDocument],
    roots: Mapping[str, Map],
    schemas: Iterable[SchemaDocument],
    problems: Problems,
) -> None:
    """Note what schemas show to be wrong in conditions.

    Args:
        policies: without other problems.
        roots: the documents, for places.
        schemas: all of the folder.
        problems: gets what is wrong.
    """
    types = SchemaTypes(schemas)
    if types.is_empty:
        return
    places = by_policy(roots.values())
    for policy in policies:
        _Policy(policy, types, places, problems).check()


class _Policy:
    """The check of one policy."""

    def __init__(
        self,
        policy: PolicyDocument,
        types: SchemaTypes,
        places: Mapping[str, PolicyPlaces],
        problems: Problems,
    ) -> None:
        self.policy = policy
        self.types = types
        self.places = places
        self.problems = problems
        self.variables = dict(policy.variables)
        self.roles = {role.name: role for role in policy.roles}
        self.presence = Presence(self.variables)

    def check(self) -> None:
        """All of its conditions."""
        for role in self.policy.roles:
            if role.when is not None:
                self._checker().condition(("role", role.name), role.when)
        for rule in self.policy.rules:
            if rule.when is not None:
                check = self._checker(_exact(rule.actions))
                check.condition(("rule", rule.id), rule.when, self._held(rule))
        for name in self._unused():
            self._checker().unused(name)

    def _checker(self, actions: tuple[str, ...] = ()) -> TypeCheck:
        names = self.types.names(self.policy.resource_type, actions)
        return TypeCheck(self.variables, names, self._note)

    def _held(self, rule: RuleDocument) -> frozenset[Fact]:
        """What holds where a rule's condition matters: one of its roles is held."""
        facts: Facts = None
        for name in rule.roles or ("",):
            role = self.roles.get(name)
            known: Facts = frozenset()
            if role is not None and role.when is not None:
                known = self.presence.when(role.when.root, true=True)
            facts = either(facts, known)
        return facts or frozenset()

    def _unused(self) -> Iterable[str]:
        conditions = [role.when for role in self.policy.roles]
        conditions += [rule.when for rule in self.policy.rules]
        waiting = [each.root for each in conditions if each is not None]
        used: set[str] = set()
        while waiting:
            for name in free_names(waiting.pop()) & self.variables.keys() - used:
                used.add(name)
                waiting.append(self.variables[name].root)
        return [name for name in self.variables if name not in used]

    def _note(self, text: tuple[str, str], offset: int, message: str, hint: str) -> None:
        self.problems.note(ExpressionError(message, self._place(text, offset), hint))

    def _place(self, text: tuple[str, str], offset: int) -> Position:
        own = self.places[self.policy.name]
        scalar = own.text(*text)
        return own.position if scalar is None else scalar.locate(offset)


def _exact(actions: tuple[str, ...]) -> tuple[str, ...]:
    """The actions of a rule, if they are names and no patterns."""
    return () if any("*" in action for action in actions) else actions
