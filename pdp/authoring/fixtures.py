"""Subjects, resources and contexts that tests name instead of writing them out.

    subjects:
      ana: {type: user, id: ana, properties: {roles: [employee], team: red}}
      ana-without-roles: {like: ana, properties: {roles: []}}

In a document of tests they are its own; in a document `kind: fixtures` they
are those of all tests in the folder. `like` takes everything from one that is
defined above, and replaces what is written beside it, property by property.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp.authoring.fields import Fields, Text, value_of
from pdp.authoring.nodes import Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, word
from pdp.errors import Position
from pdp.values import Value

SECTIONS = ("subjects", "resources", "contexts")
# They are words of a table, so no white space; these three are its own words.
NAME = Text(
    "letters, digits, `-`, `_` and `.`, beginning with a letter",
    64,
    re.compile(r"[A-Za-z][A-Za-z0-9_.-]*"),
    frozenset({"action", "resource", "context"}),
)
_ENTITY_HINT = "write `{type: …, id: …}`, or the name of one that is defined"


@dataclass(frozen=True, slots=True)
class Entity:
    """A subject or a resource."""

    type: str
    id: str
    properties: Mapping[str, Value]


@dataclass(slots=True)
class Fixtures:
    """What can be named in one document of tests."""

    subjects: dict[str, Entity] = field(default_factory=dict)
    resources: dict[str, Entity] = field(default_factory=dict)
    contexts: dict[str, dict[str, Value]] = field(default_factory=dict)
    places: dict[tuple[str, str], Position] = field(default_factory=dict)
    # What was defined and has a problem: naming it is not a second one.
    broken: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> Fixtures:
        """The same, to be added to."""
        return Fixtures(
            dict(self.subjects),
            dict(self.resources),
            dict(self.contexts),
            dict(self.places),
            set(self.broken),
        )

    def read(self, fields: Fields) -> None:
        """Add those of a document."""
        for section in SECTIONS:
            node = fields.node(section)
            if node is None:
                continue
            if not isinstance(node, Map) or not node.entries:
                message = f"{word(section)} must be a map of names"
                fields.problems.add(node.position, message, "write `name: …` below, or remove it")
                continue
            for key, value in node.entries:
                self._define(fields, section, key, value)

    def _define(self, fields: Fields, section: str, key: Scalar, node: Node) -> None:
        problems = fields.problems
        what = section.removesuffix("s")
        if fields.checked(key, f"the name of a {what}", NAME) is None:
            self.broken.add((section, key.text))
            return
        first = self.places.setdefault((section, key.text), key.position)
        if first != key.position:
            problems.add(
                key.position, f"{what} {word(key.text)} is defined twice", f"it is at {first}"
            )
            return
        made: Entity | dict[str, Value] | None
        if section == "contexts":
            made = self.context(node, problems) if isinstance(node, Map) else None
            if made is None:
                hint = "write its attributes, `{network: office}`"
                problems.add(node.position, f"context {word(key.text)} must be a map", hint)
                self.broken.add((section, key.text))
            else:
                self.contexts[key.text] = made
            return
        known = self.subjects if section == "subjects" else self.resources
        made = self.entity(node, section, f"{what} {word(key.text)}", problems, naming=False)
        if made is None:
            self.broken.add((section, key.text))
        else:
            known[key.text] = made

    # -- what a row says -------------------------------------------------------

    def entity(
        self, node: Node, section: str, what: str, problems: Problems, *, naming: bool = True
    ) -> Entity | None:
        """A subject or a resource: written out, like another, or named.

        Args:
            node: what is written.
            section: `subjects` or `resources`.
            what: how a message names it.
            problems: gets what is wrong.
            naming: whether a name alone will do.
        """
        if naming and isinstance(node, Scalar) and type(node.value) is str:
            return self.named(node, section, problems)
        required = {"type": _ENTITY_HINT, "id": "every one has an id"}
        base: Entity | None = None
        optional = ["properties", "like"]
        if isinstance(node, Map) and node.get("like") is not None:
            required, optional = {}, [*optional, "type", "id"]
        inner = Fields(node, what, problems, required=required, optional=optional)
        like = inner.node("like")
        if like is not None:
            scalar = inner.string(like, "`like`")
            base = None if scalar is None else self.named(scalar, section, problems)
            if base is None:
                return None
        kind, name = inner.verbatim("type"), inner.verbatim("id")
        if base is not None:
            kind, name = kind or base.type, name or base.id
        given = properties(inner, "properties")
        if kind is None or name is None:
            return None
        return Entity(kind, name, given if base is None else {**base.properties, **given})

    def named(self, scalar: Scalar, section: str, problems: Problems) -> Entity | None:
        """The subject or resource of this name."""
        known = self.subjects if section == "subjects" else self.resources
        if scalar.text in known:
            return known[scalar.text]
        self.unknown(scalar.text, section, scalar.position, problems)
        return None

    def unknown(self, name: str, section: str, at: Position, problems: Problems) -> None:
        """Note that nothing has this name, unless that was noted where it is defined."""
        if (section, name) in self.broken:
            return
        known = [each for kind, each in self.places if kind == section]
        what = section.removesuffix("s")
        hint = (
            closest(name, known) or f"define it in {word(section)} above, or in a `kind: fixtures`"
        )
        problems.add(at, f"there is no {what} {word(name)}", hint)

    def context(self, node: Node | None, problems: Problems) -> dict[str, Value] | None:
        """A context: written out, named, or none."""
        if node is None:
            return {}
        if isinstance(node, Scalar) and type(node.value) is str:
            if node.text in self.contexts:
                return self.contexts[node.text]
            self.unknown(node.text, "contexts", node.position, problems)
            return None
        value = value_of(node)
        if isinstance(value, dict):
            return value
        problems.add(node.position, "`context` must be a map", "none is `{}`")
        return None


def properties(fields: Fields, key: str) -> dict[str, Value]:
    """A map of values; none is empty."""
    node = fields.node(key)
    if node is None:
        return {}
    value = value_of(node)
    if isinstance(value, dict):
        return value
    fields.problems.add(node.position, f"{word(key)} must be a map", "none is `{}`")
    return {}
