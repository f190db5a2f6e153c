"""Reading a map of a document key by key; every breach becomes a problem.

A method returns None after it noted a problem, so that reading goes on and an
author sees all problems of a document at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems, closest, one_of, word
from pdp.authoring.yaml_hints import BLOCK
from pdp.errors import Position
from pdp.values import Value

# Control, format (zero width and the like), surrogate, private and unassigned:
# two names that look the same must be the same.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NO_KEY = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Text:
    """What a text may be."""

    what: str
    characters_max: int
    pattern: re.Pattern[str] | None = None
    reserved: frozenset[str] = frozenset()
    lines: bool = False  # may be folded over several lines

    def complaint(self, text: str) -> str:
        """What is wrong with a text, or the empty string."""
        if not text.strip():
            return "is empty"
        if len(text) > self.characters_max:
            return f"is longer than {self.characters_max} characters"
        if not text.isascii() or not text.isprintable():
            for char in text.replace("\n", " ") if self.lines else text:
                if unicodedata.category(char) in _INVISIBLE:
                    return f"has an invisible character or a line break (U+{ord(char):04X})"
        if text in self.reserved:
            return "is reserved"
        if self.pattern and not self.pattern.fullmatch(text):
            return f"must be {self.what}"
        return ""


# What only people read.
PROSE = Text("a text", 1_000, lines=True)
# Words of other systems, compared byte by byte: no blank at either end.
NAME = Text("a name without white space at its ends", 128, re.compile(r"\S(?:.*\S)?"))
# Names of our own, which end up in `policy/rule`, in logs and in URLs.
IDENTIFIER = Text(
    "lower-case letters, digits, `-`, `_` and `.`, beginning with a letter",
    64,
    re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*"),
)


class Fields:
    """One map, its keys checked against those it may have."""

    def __init__(
        self,
        node: Node,
        what: str,
        problems: Problems,
        *,
        required: Mapping[str, str],
        optional: Iterable[str] = (),
    ) -> None:
        """Check the keys.

        Args:
            node: should be a map; anything else is a problem.
            what: how a message names it, "rule `a`".
            problems: gets what is wrong.
            required: keys that must be there, and what to do if they are not.
            optional: keys that may be there.
        """
        self.what = what
        self.problems = problems
        self.position = node.position
        self._nodes: dict[str, Node] = {}
        known = [*required, *optional]
        if not isinstance(node, Map):
            problems.add(node.position, f"{what} must be a map", f"its keys: {one_of(known)}")
            self.is_map = False
            return
        self.is_map = True
        for key, value in node.entries:
            if key.text in known:
                self._nodes[key.text] = value
            else:
                self._unknown(node, key, known)
        for name, hint in required.items():
            if name not in self._nodes:
                problems.add(node.position, f"{what} has no {word(name)}", hint)

    def _unknown(self, node: Map, key: Scalar, known: list[str]) -> None:
        hint = closest(key.text, known)
        if not hint and node.flow and _NO_KEY.search(key.text):
            # `{when: f(a, b)}` is `when: f(a` and a key `b)` to YAML.
            hint = f"in braces a comma ends an unquoted value; {BLOCK}"
        hint = hint or f"it may have {one_of(known)}"
        self.problems.add(key.position, f"{self.what} has an unknown key {word(key.text)}", hint)

    def node(self, key: str) -> Node | None:
        """The value of a known key, if given."""
        return self._nodes.get(key)

    def at(self, key: str) -> Position:
        """Where the key's value is, or the map when it is not given."""
        node = self._nodes.get(key)
        return self.position if node is None else node.position

    def text(self, key: str, rule: Text) -> str | None:
        """A string that follows the rule."""
        node = self.node(key)
        return None if node is None else self.checked(node, word(key), rule)

    def verbatim(self, key: str) -> str | None:
        """Any string, byte by byte; what it may be, somebody else decides."""
        node = self.node(key)
        scalar = None if node is None else self.string(node, word(key))
        return None if scalar is None else scalar.text

    def checked(self, node: Node, what: str, rule: Text) -> str | None:
        """The string in a node, if it is one and follows the rule."""
        if (scalar := self.string(node, what)) is None:
            return None
        if complaint := rule.complaint(scalar.text):
            shown = f"{what} {word(scalar.text)}" if scalar.text.strip() else what
            hint = "" if rule.what in complaint else f"write {rule.what}"
            hint = "choose another name" if scalar.text in rule.reserved else hint
            hint = "shorten it" if len(scalar.text) > rule.characters_max else hint
            self.problems.add(node.position, f"{shown} {complaint}", hint)
            return None
        return scalar.text.strip() if rule.lines else scalar.text

    def string(self, node: Node, what: str) -> Scalar | None:
        """The node if it is a string, not null, a number, a list or a map."""
        if not isinstance(node, Scalar):
            kind = "list" if isinstance(node, List) else "map"
            self.problems.add(node.position, f"{what} must be a string, not a {kind}")
        elif node.value is None:
            self.problems.add(node.position, f"{what} is empty", "write a value, or remove the key")
        elif type(node.value) is not str:
            message = f"{what} must be a string, but {word(node.text)} is none to YAML"
            self.problems.add(node.position, message, f'write `"{node.text}"`')
        else:
            return node
        return None

    def items(self, key: str, empty_hint: str) -> tuple[Node, ...] | None:
        """The items of a list that is not empty."""
        node = self.node(key)
        if node is None:
            return None
        if not isinstance(node, List):
            message = f"{word(key)} of {self.what} must be a list"
            text = node.text if isinstance(node, Scalar) else ""
            hint = f"write `[{text}]`" if type(text) is str and text.isidentifier() else empty_hint
            self.problems.add(node.position, message, hint)
            return None
        if not node.items:
            self.problems.add(node.position, f"{word(key)} of {self.what} is empty", empty_hint)
            return None
        return node.items

    def texts(self, key: str, rule: Text, empty_hint: str) -> tuple[Scalar, ...] | None:
        """The strings of a list that is not empty, each once, each by the rule."""
        items = self.items(key, empty_hint)
        if items is None:
            return None
        found: dict[str, Scalar] = {}
        for item in items:
            text = self.checked(item, f"an item of {word(key)}", rule)
            if text is None or not isinstance(item, Scalar):
                continue
            if text in found:
                line = found[text].position.line
                message = f"{word(text)} is listed twice in {word(key)}"
                self.problems.add(item.position, message, f"it is on line {line} already")
            found[text] = item
        return tuple(found.values()) if len(found) == len(items) else None

    def names_or_any(self, key: str, empty_hint: str) -> tuple[str, ...] | None:
        """Exact names, or the sole `*`."""
        found = self.texts(key, NAME, empty_hint)
        if found is None:
            return None
        for item in found:
            if "*" not in item.text or len(found) == 1 == len(item.text):
                continue
            sole = item.text == "*"
            message = "`*` stands among other names" if sole else f"{word(item.text)} is no pattern"
            hint = f'{word(key)} are exact names, or the sole `"*"` for any'
            self.problems.add(item.position, message, hint)
            return None
        return tuple(item.text for item in found)

    def choice(self, key: str, choices: Iterable[str]) -> str | None:
        """One word of a closed set."""
        node = self.node(key)
        scalar = None if node is None else self.string(node, word(key))
        if scalar is None:
            return None
        known = list(choices)
        if scalar.text in known:
            return scalar.text
        lower = {name.lower(): name for name in known}
        near = lower.get(scalar.text.lower())
        hint = f"write {word(near)}" if near else closest(scalar.text, known)
        message = f"{word(key)} {word(scalar.text)} is unknown"
        self.problems.add(scalar.position, message, hint or f"it may be {one_of(known)}")
        return None


def value_of(node: Node) -> Value:
    """The plain value of a node. Depth is bounded by the document's."""
    if isinstance(node, Map):
        return {key.text: value_of(item) for key, item in node.entries}
    if isinstance(node, List):
        return [value_of(item) for item in node.items]
    return node.value
