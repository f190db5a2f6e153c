"""Where in its document something of a policy is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.errors import Position


@dataclass(frozen=True, slots=True)
class PolicyPlaces:
    """The places in one policy document. A place that is not there is the document's.

    Attributes:
        root: the document.
        imported: the shared documents it sees.
    """

    root: Map
    imported: tuple[Map, ...] = ()

    @property
    def position(self) -> Position:
        """The name of the policy."""
        return self.at("policy")

    def at(self, key: str) -> Position:
        """The value of a key of the policy."""
        node = self.root.get(key)
        return self.root.position if node is None else node.position

    def rule(self, rule_id: str) -> Map | None:
        """The map of a rule."""
        rules = self.root.get("rules")
        for node in rules.items if isinstance(rules, List) else ():
            given = node.get("id") if isinstance(node, Map) else None
            if isinstance(node, Map) and isinstance(given, Scalar) and given.text == rule_id:
                return node
        return None

    def in_rule(self, rule_id: str, key: str = "id") -> Position:
        """A key's value of a rule; its id if it has no such key."""
        rule = self.rule(rule_id)
        if rule is None:
            return self.position
        node = rule.get(key) or rule.get("id")
        return rule.position if node is None else node.position

    def entry(self, section: str, name: str) -> tuple[Scalar, Node] | None:
        """A key and its value in `variables` or `roles`."""
        node = self.root.get(section)
        entries = node.entries if isinstance(node, Map) else ()
        return next(((key, value) for key, value in entries if key.text == name), None)

    def key(self, section: str, name: str) -> Position | None:
        """Where a variable or a derived role is named, if it is defined in this document."""
        found = self.entry(section, name)
        return None if found is None else found[0].position

    def static_role(self, name: str) -> Position | None:
        """Where a static role is listed, if it is in this document."""
        node = self.root.get("static_roles")
        items = node.items if isinstance(node, List) else ()
        return next((i.position for i in items if isinstance(i, Scalar) and i.text == name), None)

    def definitions(self) -> Iterator[tuple[str, str, Position]]:
        """Section, name and place of each static role, variable and derived role."""
        node = self.root.get("static_roles")
        for item in node.items if isinstance(node, List) else ():
            if isinstance(item, Scalar):
                yield "static_roles", item.text, item.position
        for section in ("variables", "roles"):
            node = self.root.get(section)
            for key, _ in node.entries if isinstance(node, Map) else ():
                yield section, key.text, key.position

    def when(self, kind: str, name: str) -> Scalar | None:
        """The text of a condition: of a `rule`, a `role` or a `variable`, if it is here."""
        node: Node | None = None
        if kind == "rule":
            rule = self.rule(name)
            node = None if rule is None else rule.get("when")
        elif kind == "role":
            found = self.entry("roles", name)
            node = found[1].get("when") if found and isinstance(found[1], Map) else None
        else:
            found = self.entry("variables", name)
            node = None if found is None else found[1]
        return node if isinstance(node, Scalar) else None

    def text(self, kind: str, name: str) -> Scalar | None:
        """The text of a condition, here or in a shared document."""
        everywhere = (self, *(PolicyPlaces(root) for root in self.imported))
        return next(filter(None, (places.when(kind, name) for places in everywhere)), None)


def by_policy(roots: Iterable[Map]) -> Mapping[str, PolicyPlaces]:
    """The places of each policy, by its name."""
    found: dict[str, PolicyPlaces] = {}
    every = list(roots)
    shared = {
        name.text: root
        for root in every
        if root.get("policy") is None and isinstance(name := root.get("name"), Scalar)
    }
    for root in every:
        node = root.get("policy")
        if isinstance(node, Scalar):
            found.setdefault(node.text, PolicyPlaces(root, _imported(root, shared)))
    return found


def _imported(root: Map, shared: Mapping[str, Map]) -> tuple[Map, ...]:
    """What a document imports, directly and through others."""
    found: dict[str, Map] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop().get("imports")
        for item in node.items if isinstance(node, List) else ():
            name = item.text if isinstance(item, Scalar) else ""
            if name in shared and name not in found:
                found[name] = shared[name]
                waiting.append(shared[name])
    return tuple(found.values())
