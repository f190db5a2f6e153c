"""Names that rules and conditions use: static roles, variables and derived roles.

A policy defines them for itself, a document `kind: shared` for whoever imports
it; both are read here. Conditions stay text with a position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pdp.authoring.fields import NAME, Fields, Text
from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, word
from pdp.authoring.yaml_hints import BLOCK
from pdp.errors import Position

# Names every condition sees; a variable must not hide one.
STANDARD_NAMES = ("subject", "action", "resource", "context", "caller", "token", "now")
# CEL langdef, "Syntax": reserved words and literals; and names of types and
# macros, which a variable would hide.
RESERVED_WORDS = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in",
     "let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while",
     "bool", "bytes", "double", "duration", "dyn", "has", "int", "list", "map", "null_type",
     "optional_type", "string", "timestamp", "type", "uint"}
)  # fmt: skip
CONDITION_CHARACTERS_MAX = 10_000
# Each is checked knowing all others; more than this is not read by anybody either.
VARIABLES_MAX = 500

ROLE = replace(NAME, what="a role name without white space", pattern=re.compile(r"[^\s*]+"))
VARIABLE = Text(
    "letters, digits and `_`, beginning with a letter",
    64,
    re.compile(r"[A-Za-z][A-Za-z0-9_]*"),
    RESERVED_WORDS,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
ANYONE = "leave it out to mean anyone"


@dataclass(frozen=True, slots=True)
class VariableDraft:
    """A variable: its name, where that is written, and its text."""

    name: str
    position: Position
    text: Scalar


@dataclass(frozen=True, slots=True)
class RoleDraft:
    """A derived role."""

    name: str
    sources: tuple[str, ...]
    when: Scalar | None
    position: Position


@dataclass(frozen=True, slots=True)
class Definitions:
    """What one document defines, or several together, by name.

    Attributes:
        static_roles: where each is listed.
        variables: the variables.
        roles: the derived roles.
    """

    static_roles: Mapping[str, Position] = field(default_factory=dict)
    variables: Mapping[str, VariableDraft] = field(default_factory=dict)
    roles: Mapping[str, RoleDraft] = field(default_factory=dict)


class DefinitionsReader:
    """Reads the definitions of one document.

    Args:
        fields: the document.
        problems: gets what is wrong.
        scope: what it imports.
        document: how a message names it, `policy`.
    """

    def __init__(
        self, fields: Fields, problems: Problems, scope: Definitions, document: str
    ) -> None:
        self.fields = fields
        self.problems = problems
        self.scope = scope
        self.document = document
        # Imported and own; a static role that both list is one role.
        self.static_roles: dict[str, Position] = dict(scope.static_roles)
        self.derived_roles: dict[str, Position] = {}

    def definitions(self) -> Definitions:
        """Its own definitions."""
        listed = self.fields.texts("static_roles", ROLE, "list role names, or leave it out") or ()
        own = {item.text: item.position for item in listed}
        for item in listed:
            if (derived := self.scope.roles.get(item.text)) is not None:
                message = f"role {word(item.text)} is both static and derived"
                hint = f"rename one of them; the derived one is at {derived.position}"
                self.problems.add(item.position, message, hint)
        self.static_roles |= own
        return Definitions(own, self._variables(), self._roles())

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of all roles that a rule may ask for."""
        return (*self.static_roles, *self.derived_roles, *self.scope.roles)

    def _imported_too(self, key: Scalar, what: str, position: Position) -> None:
        message = f"{what} {word(key.text)} is imported, and defined here too"
        self.problems.add(key.position, message, f"rename one; the imported one is at {position}")

    def _entries(self, key: str) -> Iterable[tuple[Scalar, Node]]:
        node = self.fields.node(key)
        if node is None:
            return ()
        if not isinstance(node, Map):
            self.problems.add(node.position, f"{word(key)} must be a map", "write `name: …` below")
            return ()
        if not node.entries:
            self.problems.add(node.position, f"{word(key)} is empty", "leave it out")
        return node.entries

    def _variables(self) -> dict[str, VariableDraft]:
        found: dict[str, VariableDraft] = {}
        entries = list(self._entries("variables"))
        if len(entries) > VARIABLES_MAX:
            message = f"{self.fields.what} has more than {VARIABLES_MAX} variables"
            self.problems.add(self.fields.at("variables"), message, "split the document")
            return {}
        for key, node in entries:
            if key.text in STANDARD_NAMES:
                message = f"variable {word(key.text)} would hide a name every condition sees"
                self.problems.add(key.position, message, "choose another name")
            elif (imported := self.scope.variables.get(key.text)) is not None:
                self._imported_too(key, "variable", imported.position)
            elif self.fields.checked(key, "variable", VARIABLE) is None:
                continue
            if (scalar := self.condition(node, f"variable {word(key.text)}")) is not None:
                found[key.text] = VariableDraft(key.text, key.position, scalar)
        return found

    def condition(self, node: Node | None, what: str) -> Scalar | None:
        """CEL text. Absent means true; anything else that is no text is an error."""
        if node is None:
            return None
        if not isinstance(node, Scalar):
            kind = "a list" if isinstance(node, List) else "a map"
            message = f"{what} must be a CEL expression, but begins like {kind} of YAML"
            self.problems.add(node.position, message, BLOCK)
        elif node.value is None or not node.text.strip():
            hint = "leave it out to mean always" if what == "`when`" else "write a CEL expression"
            self.problems.add(node.position, f"{what} is empty", hint)
        elif type(node.value) is not str:
            message = f"{what} must be a CEL expression in a string, not {word(node.text)}"
            self.problems.add(node.position, message, f'write `"{node.text}"`')
        elif len(node.text) > CONDITION_CHARACTERS_MAX:
            message = f"{what} is longer than {CONDITION_CHARACTERS_MAX} characters"
            self.problems.add(node.position, message, "move parts of it into variables")
        elif found := _CONTROL.search(node.text):
            # cel-cpp's wrapper cuts text at NUL (references/cel.md): never hand it one.
            message = f"{what} has the control character U+{ord(found[0]):04X}"
            hint = "in a CEL string it is written as an escape"
            self.problems.add(node.locate(found.start()), message, hint)
        else:
            return node
        return None

    def _roles(self) -> dict[str, RoleDraft]:
        found: dict[str, RoleDraft] = {}
        entries = list(self._entries("roles"))
        # Names first, so that a role may be named before it is defined.
        for key, _ in entries:
            if self.fields.checked(key, "role", ROLE) is None:
                continue
            if (imported := self.scope.roles.get(key.text)) is not None:
                self._imported_too(key, "role", imported.position)
                continue
            self.derived_roles[key.text] = key.position
            if (static := self.static_roles.get(key.text)) is not None:
                message = f"role {word(key.text)} is both static and derived"
                near = static.path == key.position.path
                where = f"on line {static.line}" if near else f"at {static}"
                self.problems.add(
                    key.position, message, f"rename one of them; the static one is {where}"
                )
        for key, node in entries:
            if key.text in self.derived_roles:
                found[key.text] = self._role(key, node)
        return found

    def _role(self, key: Scalar, node: Node) -> RoleDraft:
        what = f"role {word(key.text)}"
        fields = Fields(node, what, self.problems, required={}, optional=("from", "when"))
        if isinstance(node, Map) and not node.entries:
            hint = "give it `from`, a list of static roles, or `when`, a condition, or both"
            self.problems.add(key.position, f"{what} would be held by anyone", hint)
        sources = fields.texts("from", ROLE, ANYONE) or ()
        for item in sources:
            if item.text in self.static_roles:
                continue
            if item.text in self.derived_roles or item.text in self.scope.roles:
                hint = "put what they share into a variable"
                message = f"`from` names the derived role {word(item.text)}; it takes static ones"
                self.problems.add(item.position, message, hint)
            else:
                self.undefined(item, self.static_roles, "static role")
        when = self.condition(fields.node("when"), "`when`")
        return RoleDraft(key.text, tuple(item.text for item in sources), when, key.position)

    def undefined(self, item: Scalar, known: Iterable[str], what: str) -> None:
        """Note a role that is named and not defined."""
        hint = closest(item.text, known)
        hint = hint or f"a role held from outside is listed in `static_roles: [{item.text}]`"
        message = f"{what} {word(item.text)} is not defined in this {self.document}"
        self.problems.add(item.position, message, hint)
