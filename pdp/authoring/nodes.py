"""What a document consists of: scalars, lists and maps, and where each one is.

`Scalar.locate` finds the place in the document of a character inside a value:
that is how an error in a CEL expression points into a quoted or folded block.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from pdp.errors import Position

# White space is all that folding, chomping and indentation change.
_BLANKS = " \t\r\n"
_ESCAPE_DIGITS = {"x": 2, "u": 4, "U": 8}

ScalarValue: TypeAlias = None | bool | int | float | str


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The text of one document, and where its lines begin."""

    path: str
    text: str
    _starts: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        self._starts.extend(match.end() for match in re.finditer("\n", self.text))

    def position(self, index: int) -> Position:
        """The line and column of a character; both count from 1, columns in code points."""
        line = bisect_right(self._starts, index)
        return Position(self.path, line, index - self._starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """A line's text without its end, or the empty string."""
        if not 1 <= number <= len(self._starts):
            return ""
        end = self.text.find("\n", self._starts[number - 1])
        return self.text[self._starts[number - 1] : end if end >= 0 else None].rstrip("\r")


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A scalar. `value` is resolved; `text` is what it says; indices are into the source."""

    source: Source
    value: ScalarValue
    text: str
    style: str
    start: int
    end: int

    @property
    def position(self) -> Position:
        """Where it begins."""
        return self.source.position(self.start)

    @property
    def content_position(self) -> Position:
        """Where its text begins: behind a quote, or on the first line of a block."""
        return self.locate(0)

    def locate(self, offset: int) -> Position:
        """The position in the document of a character of `text`.

        Exact for what is not white space, in every style: folding, chomping
        and indentation change white space only, so the n-th other character
        of the text is the n-th other one of the source.
        """
        return self.source.position(self._index(offset))

    def boundary(self, offset: int) -> int:
        """The index in the source of a boundary between characters of `text`.

        Of one before a character that is not white space, where that begins;
        else where the last one before it ends.
        """
        before = sum(1 for char in self.text[:offset] if char not in _BLANKS)
        behind = offset >= len(self.text) or self.text[offset] in _BLANKS
        found = self.start
        for index, end, count in self._written():
            if count == before and not behind:
                return index
            if count == before - 1:
                found = end
        return found

    def _index(self, offset: int) -> int:
        before = sum(1 for char in self.text[:offset] if char not in _BLANKS)
        blank = offset >= len(self.text) or self.text[offset] in _BLANKS
        last = self.start
        for index, end, count in self._written():
            if count == before and (not blank or not before):
                return index
            if blank and count == before - 1:
                since = offset - len(self.text[:offset].rstrip(_BLANKS))
                line_end = self.source.text.find("\n", end)
                room = line_end - end if line_end >= 0 else since
                return end + max(0, min(since, room))
            last = index
        return last

    def _written(self) -> Iterator[tuple[int, int, int]]:
        """Begin, end and number of each character that is not white space."""
        text, index, count = self.source.text, self.start, 0
        quote = {"single": "'", "double": '"'}.get(self.style, "")
        if self.style in {"literal", "folded"}:
            index = text.find("\n", index) + 1 or self.end
        elif quote:
            index += 1
        while index < self.end:
            step, char = 1, text[index]
            if quote and char == quote:
                if quote == '"' or text[index + 1 : index + 2] != "'":
                    return
                step = 2
            elif quote == '"' and char == "\\":
                step, char = _escape(text, index)
            if char not in _BLANKS:
                yield index, index + step, count
                count += 1
            index += step


def _escape(text: str, index: int) -> tuple[int, str]:
    """Length of the escape at `index`, and a character of the kind it stands for."""
    kind = text[index + 1 : index + 2]
    if kind in _ESCAPE_DIGITS:
        digits = text[index + 2 : index + 2 + _ESCAPE_DIGITS[kind]]
        return 2 + len(digits), " " if int(digits, 16) in map(ord, _BLANKS) else "x"
    # Escaped line break, space, tab, \t, \n, \r: white space, or nothing at all.
    return 2, " " if kind in " \t\n\rtnr" else "x"


@dataclass(frozen=True, slots=True, eq=False)
class List:
    """A sequence. `flow` means written in brackets; `end` is behind it then."""

    source: Source
    items: tuple[Node, ...]
    start: int
    end: int
    flow: bool

    @property
    def position(self) -> Position:
        """Where it begins."""
        return self.source.position(self.start)


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A mapping with string keys, each once. `flow` means written in braces, up to `end`."""

    source: Source
    entries: tuple[tuple[Scalar, Node], ...]
    start: int
    end: int
    flow: bool

    @property
    def position(self) -> Position:
        """Where it begins."""
        return self.source.position(self.start)

    def get(self, key: str) -> Node | None:
        """The value of a key, or None."""
        return next((node for name, node in self.entries if name.text == key), None)


Node: TypeAlias = Scalar | List | Map


def end_of(node: Node) -> int:
    """The index behind the last character that a node wrote."""
    match node:
        case Scalar():
            return (
                node.boundary(len(node.text)) if node.style in {"literal", "folded"} else node.end
            )
        case List(items=items) if items and not node.flow:
            return end_of(items[-1])
        case Map(entries=entries) if entries and not node.flow:
            return end_of(entries[-1][1])
        case _:
            return node.end
