"""Shared definitions, and what a policy sees of those it imports.

A document `kind: shared` has a name, and variables, static roles and derived
roles for whoever lists that name in `imports`. Importing brings everything the
imported document itself sees. A bundle holds no trace of it but a marker: each
compiled policy carries the definitions it uses, checked with the types that
hold where they are used. Positions stay those of the shared document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pdp.authoring.definitions import (
    VARIABLES_MAX,
    Definitions,
    DefinitionsReader,
    RoleDraft,
    VariableDraft,
)
from pdp.authoring.fields import IDENTIFIER, PROSE, Fields
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.policy_document import PolicyDraft
from pdp.authoring.problems import Problems, closest, word
from pdp.errors import Position

KIND = "shared"
# In the text of a condition, whatever looks like a name: a few too many are carried along, none
# too few.
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LIST = "list names of shared definitions, or leave it out"


@dataclass(slots=True)
class _Shared:
    """One shared document on its way."""

    fields: Fields
    name: str
    imports: tuple[Scalar, ...]
    broken: bool = False
    own: Definitions = field(default_factory=Definitions)
    # None: it, or something it imports, has a problem that was noted.
    scope: Definitions | None = None
    visible: Definitions | None = None

    @property
    def position(self) -> Position:
        """Where its name is."""
        return self.fields.at("name")


def is_shared(root: Map) -> bool:
    """Whether a document says that it is one of shared definitions."""
    kind = root.get("kind")
    return isinstance(kind, Scalar) and kind.text == KIND and root.get("policy") is None


class Library:
    """All shared documents of a folder.

    Args:
        roots: the documents, by path.
        problems: gets what is wrong with them and with imports.
        whole: whether these are all documents there are.
    """

    def __init__(self, roots: Mapping[str, Map], problems: Problems, *, whole: bool) -> None:
        self.problems = problems
        self.whole = whole
        self._by_name: dict[str, _Shared] = {}
        self._by_path: dict[str, _Shared] = {}
        for path, root in roots.items():
            self._by_path[path] = self._header(root)
        for shared in self._in_order():
            self._read(shared)

    def scope(self, root: Map) -> Definitions | None:
        """What a document imports; None if that has a problem, which was noted."""
        entries = tuple(pair for pair in root.entries if pair[0].text == "imports")
        if not entries:
            return Definitions()
        only = replace(root, entries=entries)
        fields = Fields(only, "the policy", self.problems, required={}, optional=("imports",))
        items = fields.texts("imports", IDENTIFIER, _LIST)
        if items is None:
            return None
        known = [self._is_known(item) for item in items]
        return self._merged(items) if all(known) else None

    def draft(self, path: str) -> PolicyDraft | None:
        """A shared document as a policy without rules, to be checked; None if it has a problem."""
        shared = self._by_path[path]
        if shared.scope is None or shared.visible is None:
            return None
        draft = PolicyDraft(shared.name, shared.position, "*", "", shared.own, ())
        return with_needed(draft, shared.scope)

    def _header(self, root: Map) -> _Shared:
        noted = len(self.problems)
        fields = Fields(
            root,
            "the document of shared definitions",
            self.problems,
            required={"kind": "write `kind: shared`", "name": "write the name to import it by"},
            optional=("owner", "imports", "static_roles", "variables", "roles"),
        )
        if not any(map(fields.node, ("static_roles", "variables", "roles"))):
            hint = "give it `static_roles`, `variables` or `roles`"
            self.problems.add(fields.position, f"{fields.what} defines nothing", hint)
        fields.text("owner", PROSE)
        shared = _Shared(fields, fields.text("name", IDENTIFIER) or "", ())
        first = self._by_name.setdefault(shared.name, shared)
        if first is not shared and shared.name:
            message = f"shared definitions {word(shared.name)} are there twice"
            self.problems.add(shared.position, message, f"the others are at {first.position}")
        shared.imports = fields.texts("imports", IDENTIFIER, _LIST) or ()
        shared.broken = len(self.problems) > noted
        return shared

    def _is_known(self, item: Scalar) -> bool:
        if item.text in self._by_name:
            return True
        known = sorted(filter(None, self._by_name))
        hint = closest(item.text, known) or f"a document `kind: shared` with `name: {item.text}`"
        if not self.whole:
            hint = "a file by itself imports nothing: check the folder"
        message = f"there are no shared definitions {word(item.text)}"
        self.problems.add(item.position, message, hint)
        return False

    def _in_order(self) -> list[_Shared]:
        """Each after those it imports. Those in a circle, and what imports them, are left out."""
        order: list[_Shared] = []
        uses = {
            name: [item.text for item in shared.imports if self._is_known(item)]
            for name, shared in self._by_name.items()
        }
        settled: set[str] = set()
        while len(settled) < len(uses):
            ready = [
                name for name in uses if name not in settled and settled.issuperset(uses[name])
            ]
            order += [self._by_name[name] for name in ready]
            # With none ready, every one waiting imports one that waits: there is a circle.
            settled.update(ready or self._circle(uses, settled))
        return order

    def _circle(self, uses: Mapping[str, list[str]], settled: set[str]) -> list[str]:
        path = [next(name for name in uses if name not in settled)]
        while (following := min(set(uses[path[-1]]) - settled)) not in path:
            path.append(following)
        path = path[path.index(following) :]
        first = path.index(min(path))
        path = path[first:] + path[:first]
        shown = " → ".join(f"`{name}`" for name in [*path, path[0]])
        message = f"shared definitions import each other in a circle: {shown}"
        if len(path) == 1:
            message = f"shared definitions {word(path[0])} import themselves"
        beginning = self._by_name[path[0]]
        at = next(item for item in beginning.imports if item.text == path[1 % len(path)])
        hint = "move what they share into definitions of their own"
        self.problems.add(at.position, message, hint)
        return path

    def _read(self, shared: _Shared) -> None:
        before = len(self.problems)
        known = all(item.text in self._by_name for item in shared.imports)
        scope = self._merged(shared.imports) if known and not shared.broken else None
        if scope is None:
            return
        shared.own = DefinitionsReader(
            shared.fields, self.problems, scope, "document of shared definitions"
        ).definitions()
        if len(self.problems) > before:
            return
        shared.scope = scope
        shared.visible = _together(scope, shared.own)

    def _merged(self, items: Iterable[Scalar]) -> Definitions | None:
        """What several imports define together; the same definition may come on two ways."""
        before = len(self.problems)
        found = Definitions({}, {}, {})
        for item in items:
            other = self._by_name[item.text].visible
            if other is None:
                return None
            self._collisions(item, found, other)
            found = _together(found, other)
            if max(map(len, (found.static_roles, found.variables, found.roles))) > VARIABLES_MAX:
                message = f"what is imported defines more than {VARIABLES_MAX} names"
                self.problems.add(item.position, message, "import less, or split what is imported")
                return None
        return found if len(self.problems) == before else None

    def _collisions(self, item: Scalar, found: Definitions, other: Definitions) -> None:
        places: list[tuple[str, Mapping[str, Position], Mapping[str, Position]]] = [
            ("variable", _places(found.variables), _places(other.variables)),
            ("role", _places(found.roles), _places(other.roles)),
            ("role", found.static_roles, _places(other.roles)),
            ("role", _places(found.roles), other.static_roles),
        ]
        for what, before, coming in places:
            for name in before.keys() & coming.keys():
                if before[name] != coming[name]:
                    message = f"{what} {word(name)} is imported twice, with two meanings"
                    hint = f"rename one; they are at {before[name]} and {coming[name]}"
                    self.problems.add(item.position, message, hint)


def _places(drafts: Mapping[str, VariableDraft] | Mapping[str, RoleDraft]) -> dict[str, Position]:
    return {name: draft.position for name, draft in drafts.items()}


def _together(first: Definitions, second: Definitions) -> Definitions:
    return Definitions(
        {**first.static_roles, **second.static_roles},
        {**first.variables, **second.variables},
        {**first.roles, **second.roles},
    )


def with_needed(draft: PolicyDraft, scope: Definitions) -> PolicyDraft:
    """A policy together with what it uses of its imports, theirs before its own."""
    own = draft.definitions
    asked = {name for rule in draft.rules for name in rule.roles or ()}
    roles = {name: role for name, role in scope.roles.items() if name in asked}
    derived = [*own.roles.values(), *roles.values()]
    texts = [rule.when.text for rule in draft.rules if rule.when is not None]
    texts += [role.when.text for role in derived if role.when is not None]
    texts += [variable.text.text for variable in own.variables.values()]
    used: set[str] = set()
    while texts:
        for name in (scope.variables.keys() & _WORD.findall(texts.pop())) - used:
            used.add(name)
            texts.append(scope.variables[name].text.text)
    asked |= {source for role in derived for source in role.sources}
    static = {name: place for name, place in scope.static_roles.items() if name in asked}
    variables = {name: each for name, each in scope.variables.items() if name in used}
    return replace(draft, definitions=_together(Definitions(static, variables, roles), own))
