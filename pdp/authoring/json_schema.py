"""JSON Schema as authors write it: the subset of 2020-12 that docs/policies.md states.

What is outside of it is refused with its place, never skipped: a keyword that
is skipped is a check that somebody believes in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pdp.authoring.fields import Text
from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.authoring.schema_keywords import (
    ABOUT,
    ANNOTATIONS,
    DIALECT,
    ELSEWHERE,
    FORMATS,
    KEYWORDS,
    ROOT_KEYWORDS,
    TYPES,
    VALUE_TYPES,
)
from pdp.errors import PolicyError
from pdp.schema import (
    ALL_KINDS,
    ANYTHING,
    DEPTH_MAX,
    KIND_OF,
    NODES_MAX,
    NUMBERS,
    Bound,
    Kind,
    Property,
    Schema,
    kinds_named,
    scalar_key,
)
from pdp.schema import Scalar as ScalarValue
from pdp.schema_check import pattern_of

_REF = "#/$defs/"
_VALUES_MAX = 1_000
_WORDS = Text("a key without invisible characters", 256)
_COUNT_MAX = 2**31 - 1


def read_json_schema(node: Node, problems: Problems) -> Schema:
    """Read a schema. After a problem, what is returned is incomplete."""
    return _Reader(node, problems).schema()


class _Reader:
    """Reads one JSON Schema."""

    def __init__(self, root: Node, problems: Problems) -> None:
        self.root = root
        self.problems = problems
        self.definitions: dict[str, Node] = {}
        self.used: set[str] = set()
        self.left = NODES_MAX

    def schema(self) -> Schema:
        """The whole."""
        if isinstance(self.root, Map):
            self._dialect(self.root.get("$schema"))
            self._definitions(self.root.get("$defs"))
        found = self._node(self.root, 1, ())
        for name, node in self.definitions.items():
            if name not in self.used:
                # Looked at all the same, so that a mistake in it is found.
                self._node(node, 1, (name,))
        return found

    def _dialect(self, node: Node | None) -> None:
        if node is not None and (not isinstance(node, Scalar) or node.value != DIALECT):
            message = "this dialect of JSON Schema is not supported"
            self.problems.add(node.position, message, f"leave it out, or write `{DIALECT}`")

    def _definitions(self, node: Node | None) -> None:
        if isinstance(node, Map):
            self.definitions = {key.text: inner for key, inner in node.entries}
        elif node is not None:
            self.problems.add(node.position, "`$defs` must be a map", "write `name: {type: …}`")

    def _node(self, node: Node, level: int, open_refs: tuple[str, ...]) -> Schema:
        self.left -= 1
        if self.left < 0 or level > DEPTH_MAX:
            # Once: a schema that is too large is so in many places.
            if self.left >= 0 or self.left == -1:
                message = f"the schema has more than {NODES_MAX} parts or {DEPTH_MAX} levels"
                hint = "split it, or leave parts open"
                self.problems.add(self.root.position, message, hint)
            return ANYTHING
        if isinstance(node, Scalar) and node.value is True:
            return ANYTHING
        if not isinstance(node, Map):
            hint = "write `{type: string}`; `true` is anything"
            self.problems.add(node.position, "a schema must be a map", hint)
            return ANYTHING
        known = (*KEYWORDS, *ROOT_KEYWORDS) if node is self.root else KEYWORDS
        given: dict[str, Node] = {}
        for key, value in node.entries:
            if key.text in known:
                given[key.text] = value
            else:
                self._unknown(key, known)
        if "$ref" in given:
            return self._reference(given, level, open_refs)
        return _Part(self, node, given, level, open_refs).schema()

    def _unknown(self, key: Scalar, known: tuple[str, ...]) -> None:
        if key.text in ROOT_KEYWORDS:
            hint = "write it at the top of the schema"
        else:
            hint = ELSEWHERE.get(key.text) or closest(key.text, known)
        message = f"the keyword {word(key.text)} is not supported in a schema"
        self.problems.add(key.position, message, hint or "docs/policies.md lists those that are")

    def _reference(
        self, given: Mapping[str, Node], level: int, open_refs: tuple[str, ...]
    ) -> Schema:
        others = [name for name in given if name not in {"$ref", *ANNOTATIONS, *ROOT_KEYWORDS}]
        if others:
            message = f"beside `$ref` there is {word(others[0])}"
            self.problems.add(given[others[0]].position, message, "move it into the definition")
        ref = given["$ref"]
        text = ref.text if isinstance(ref, Scalar) else ""
        name = text.removeprefix(_REF)
        if not text.startswith(_REF):
            message = f"the reference {word(text)} does not lead into this document"
            self.problems.add(ref.position, message, f'write `$ref: "{_REF}name"`')
        elif name not in self.definitions:
            hint = closest(name, self.definitions) or "write it under `$defs`"
            self.problems.add(ref.position, f"`$defs` has no {word(name)}", hint)
        elif name in open_refs:
            message = f"{word(name)} refers to itself"
            self.problems.add(ref.position, message, "leave the inner part open: `true`")
        else:
            self.used.add(name)
            return self._node(self.definitions[name], level, (*open_refs, name))
        return ANYTHING

    def inner(self, node: Node, level: int, open_refs: tuple[str, ...]) -> Schema:
        """A schema inside another one."""
        return self._node(node, level + 1, open_refs)


class _Part:
    """One schema object without `$ref`."""

    def __init__(
        self,
        reader: _Reader,
        node: Map,
        given: Mapping[str, Node],
        level: int,
        open_refs: tuple[str, ...],
    ) -> None:
        self.reader = reader
        self.problems = reader.problems
        self.node = node
        self.given = given
        self.level = level
        self.open_refs = open_refs
        self.rest = self._additional()

    def schema(self) -> Schema:
        """The schema that it says."""
        kinds = self._kinds()
        values = self._values()
        if values is not None:
            kinds &= {KIND_OF[type(value)] for value in values} | _as_numbers(values)
        for keyword, about in ABOUT.items():
            if keyword in self.given and not kinds & about:
                message = f"{word(keyword)} says nothing about {kinds_named(kinds or ALL_KINDS)}"
                hint = f"it is about {kinds_named(about - {Kind.UINT})}: remove it"
                self.problems.add(self.given[keyword].position, message, hint)
        minimum, maximum = self._bound("minimum"), self._bound("maximum")
        length = self._range("minLength", "maxLength")
        found = Schema(
            kinds,
            values=values,
            properties=self._properties(),
            open=self.rest is ANYTHING,
            additional=None if self.rest is ANYTHING else self.rest,
            said="additionalProperties" in self.given,
            items=self._inner("items"),
            length=length,
            count=self._range("minItems", "maxItems"),
            pattern=self._pattern(),
            date_time=self._format(),
            minimum=minimum,
            maximum=maximum,
        )
        if minimum is not None and maximum is not None and minimum.value > maximum.value:
            message = "no number is between these bounds"
            self.problems.add(self.node.position, message, "exchange them")
        return found

    # -- kinds and values --------------------------------------------------------

    def _kinds(self) -> frozenset[Kind]:
        if "type" in self.given and "x-type" in self.given:
            message = "there is `x-type` beside `type`"
            self.problems.add(self.given["x-type"].position, message, "remove one of them")
        for keyword, table in (("type", TYPES), ("x-type", VALUE_TYPES)):
            if keyword in self.given:
                return self._types(keyword, table)
        return ALL_KINDS

    def _types(self, keyword: str, table: Mapping[str, frozenset[Kind]]) -> frozenset[Kind]:
        node = self.given[keyword]
        items = node.items if isinstance(node, List) else (node,)
        kinds: frozenset[Kind] = frozenset()
        for item in items:
            text = item.text if isinstance(item, Scalar) else ""
            if isinstance(item, Scalar) and item.value is None:
                # `[string, null]` of YAML is not `["string", "null"]` of JSON.
                self.problems.add(item.position, "null is no name of a type", 'write `"null"`')
            elif text not in table:
                other = "x-type" if text in VALUE_TYPES else ""
                hint = f"write `{other}: {text}`" if other else closest(text, table)
                message = f"the type {word(text)} is unknown"
                self.problems.add(item.position, message, hint or f"it may be {one_of(table)}")
            else:
                kinds |= table[text]
        if isinstance(node, List) and not items:
            self.problems.add(node.position, "the list of types is empty", "nothing would fit")
        return kinds or ALL_KINDS

    def _values(self) -> tuple[ScalarValue, ...] | None:
        if "const" in self.given and "enum" in self.given:
            message = "there is `const` beside `enum`"
            self.problems.add(self.given["const"].position, message, "remove one of them")
        items: tuple[Node, ...]
        if "const" in self.given:
            items = (self.given["const"],)
        elif (node := self.given.get("enum")) is None:
            return None
        elif not isinstance(node, List) or not node.items:
            message = "`enum` must be a list that is not empty"
            self.problems.add(node.position, message, "write `enum: [draft, submitted]`")
            return None
        else:
            items = node.items
        kinds = self._kinds()
        found: dict[tuple[str, object], ScalarValue] = {}
        if len(items) > _VALUES_MAX:
            message = f"there are more than {_VALUES_MAX} values"
            self.problems.add(items[0].position, message, "write a pattern, or leave it open")
            return None
        for item in items:
            if not isinstance(item, Scalar):
                message = "a value of `enum` must be a scalar"
                self.problems.add(item.position, message, "lists and maps are not compared here")
            elif KIND_OF[type(item.value)] not in kinds:
                message = f"the value {word(item.text)} is not {kinds_named(kinds)}"
                self.problems.add(item.position, message, "it could never be sent")
            elif scalar_key(item.value) in found:
                self.problems.add(item.position, f"{word(item.text)} is there twice", "remove one")
            else:
                found[scalar_key(item.value)] = item.value
        return tuple(found.values()) or None

    # -- containers --------------------------------------------------------------

    def _inner(self, keyword: str) -> Schema | None:
        node = self.given.get(keyword)
        return None if node is None else self.reader.inner(node, self.level, self.open_refs)

    def _additional(self) -> Schema | None:
        """What undeclared keys hold; absent means anything (JSON Schema, Core, 10.3.2.3)."""
        node = self.given.get("additionalProperties")
        if node is None:
            return ANYTHING
        if isinstance(node, Scalar) and node.value is False:
            return None
        return self.reader.inner(node, self.level, self.open_refs)

    def _properties(self) -> tuple[Property, ...]:
        node = self.given.get("properties")
        declared: dict[str, Property] = {}
        if node is not None and not isinstance(node, Map):
            self.problems.add(node.position, "`properties` must be a map", "write `name: {…}`")
        elif node is not None:
            for key, inner in node.entries:
                if complaint := _WORDS.complaint(key.text):
                    message = f"the property {word(key.text)} {complaint}"
                    self.problems.add(key.position, message, "nobody could write it in a condition")
                schema = self.reader.inner(inner, self.level, self.open_refs)
                declared[key.text] = Property(key.text, required=False, schema=schema)
        for item in self._required():
            name = item.text
            if name in declared:
                declared[name] = replace(declared[name], required=True)
            elif "additionalProperties" in self.given and self.rest is not None:
                declared[name] = Property(name, required=True, schema=self.rest)
            else:
                # Nothing would fit a closed schema; in an open one it is most likely misspelt.
                hint = closest(name, declared) or f"write `{name}: true` under `properties`"
                message = f"{word(name)} is required and not declared"
                self.problems.add(item.position, message, hint)
        return tuple(declared[name] for name in sorted(declared))

    def _required(self) -> tuple[Scalar, ...]:
        node = self.given.get("required")
        if node is None:
            return ()
        items = node.items if isinstance(node, List) else (node,)
        found = tuple(
            item for item in items if isinstance(item, Scalar) and type(item.value) is str
        )
        if not isinstance(node, List) or len(found) != len(items):
            self.problems.add(node.position, "`required` must be a list of strings", "`[author]`")
        return found

    # -- scalars -----------------------------------------------------------------

    def _bound(self, end: str) -> Bound | None:
        exclusive = f"exclusive{end.capitalize()}"
        if end in self.given and exclusive in self.given:
            message = f"there is {word(exclusive)} beside {word(end)}"
            self.problems.add(self.given[exclusive].position, message, "remove one of them")
        for keyword in (end, exclusive):
            if (node := self.given.get(keyword)) is None:
                continue
            value = node.value if isinstance(node, Scalar) else None
            if type(value) in {int, float} and math.isfinite(value):  # type: ignore[arg-type]
                return Bound(value, keyword is exclusive)  # type: ignore[arg-type]
            self.problems.add(node.position, f"{word(keyword)} must be a number", "")
        return None

    def _range(self, least: str, most: str) -> tuple[int, int | None]:
        low, high = self._count(least), self._count(most)
        if low is not None and high is not None and low > high:
            message = f"{word(least)} is greater than {word(most)}"
            self.problems.add(self.given[least].position, message, "exchange them")
        return low or 0, high

    def _count(self, keyword: str) -> int | None:
        node = self.given.get(keyword)
        if node is None:
            return None
        value = node.value if isinstance(node, Scalar) else None
        if type(value) is int and 0 <= value <= _COUNT_MAX:
            return value
        self.problems.add(node.position, f"{word(keyword)} must be a whole number", "0 or more")
        return None

    def _pattern(self) -> str:
        node = self.given.get("pattern")
        if node is None:
            return ""
        text = node.value if isinstance(node, Scalar) else None
        if not isinstance(text, str) or not text:
            self.problems.add(node.position, "`pattern` must be a string", "write it in quotes")
            return ""
        try:
            pattern_of(text)
        except PolicyError as error:
            self.problems.add(node.position, f"`pattern`: {error.message}", error.suggestion)
            return ""
        return text

    def _format(self) -> bool:
        node = self.given.get("format")
        if node is None:
            return False
        text = node.text if isinstance(node, Scalar) else ""
        if text not in FORMATS:
            message = f"the format {word(text)} is not checked"
            hint = f"{one_of(FORMATS)} is; write others as a `pattern`"
            self.problems.add(node.position, message, hint)
        return True


def _as_numbers(values: tuple[ScalarValue, ...]) -> frozenset[Kind]:
    """A number of `enum` stands for itself as integer and as double: 1 is 1.0 in JSON Schema."""
    return NUMBERS if any(type(value) in {int, float} for value in values) else frozenset()
