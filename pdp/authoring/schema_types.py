"""What the conditions of a policy see, as the schemas of its folder say.

A policy on a resource type sees that type's schema and the contexts' schemas.
Its conditions may meet any subject type and, in what is shared by rules, any
action: there, what some schema declares counts as declared. Behind
`subject.type == "user" &&` only that type's schema counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pdp.authoring.presence import Fact
from pdp.authoring.shapes import DYN, Field, Shape, meet, of_schema, scalar, union
from pdp.schema import ANY, SchemaDocument, Target

_STRING = scalar("string")
_SUBJECT_TYPE = ("name", "subject.type")
_ACTION_NAME = ("name", "action.name")


class SchemaTypes:
    """The schemas of a folder, as shapes."""

    def __init__(self, documents: Iterable[SchemaDocument]) -> None:
        self._shapes: dict[Target, dict[str, Shape]] = {target: {} for target in Target}
        for document in documents:
            shape = of_schema(document.schema, unguarded=document.unguarded)
            self._shapes[document.target][document.name] = shape

    @property
    def is_empty(self) -> bool:
        """Whether there is no schema at all."""
        return not any(self._shapes.values())

    def names(self, resource_type: str, actions: Sequence[str] = ()) -> Names:
        """What conditions see.

        Args:
            resource_type: the policy's; `*` sees what all types have in common.
            actions: exact names of the rule's actions; empty where it may be any.
        """
        return Names(self._shapes, resource_type, tuple(actions))


class Names:
    """Shapes by name, for the conditions of one rule, or of all."""

    def __init__(
        self,
        shapes: Mapping[Target, Mapping[str, Shape]],
        resource_type: str,
        actions: tuple[str, ...],
    ) -> None:
        self._shapes = shapes
        self._actions = actions
        resources, contexts = shapes[Target.RESOURCE], shapes[Target.CONTEXT]
        if resource_type == ANY:
            resource, context = union(resources.values()), DYN
        else:
            resource = resources.get(resource_type, DYN)
            context = contexts.get(resource_type, DYN)
        self._fixed = {
            "resource.properties": resource,
            "context": meet(context, contexts.get(ANY, DYN)),
        }

    def __call__(self, name: str, facts: frozenset[Fact]) -> Shape | None:
        """The shape of a name, given what holds; None where schemas say nothing."""
        if name in self._fixed:
            return self._fixed[name]
        match name:
            case "subject.properties":
                return self._declared(Target.SUBJECT, _said(_SUBJECT_TYPE, facts))
            case "action.properties":
                named = _said(_ACTION_NAME, facts) or self._actions
                return self._declared(Target.ACTION, named)
            case "resource" | "subject" | "action":
                first = ("name",) if name == "action" else ("type", "id")
                fields = {field: Field(_STRING) for field in first}
                properties = self(f"{name}.properties", facts) or DYN
                return Shape(frozenset({"map"}), fields=fields | {"properties": Field(properties)})
            case _:
                return None

    def _declared(self, target: Target, named: tuple[str, ...]) -> Shape:
        known = self._shapes[target]
        if named:
            # A type without a schema may have any attribute.
            found = [known[name] for name in named if name in known]
            return union(found) if found else DYN
        return union(known.values())


def _said(path: tuple[str, str], facts: frozenset[Fact]) -> tuple[str, ...]:
    return tuple(
        str(fact[2]) for fact in facts if fact[:2] == ("is", path) and type(fact[2]) is str
    )
