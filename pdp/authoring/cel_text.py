"""Where each part of an expression stands in its text.

The checked tree knows one place of each node: that of its operator, its dot or
its bracket. What a node covers follows from the places of all nodes below it,
and from brackets, which come in pairs. It is used for showing changes, never
for deciding.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from pdp.cel.syntax import Node
from pdp.checked_expr import walk

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|//[^\n]*)
    | [bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
    | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}
             |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | 0[xX][0-9a-fA-F]+[uU]?
    | [0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?[uU]? | \.[0-9]+(?:[eE][-+]?[0-9]+)?
    | [_A-Za-z][_A-Za-z0-9]* | `[^`\n]*`
    | && | \|\| | == | != | <= | >=
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[_A-Za-z`]")
_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `end` is behind its last character."""

    start: int
    end: int
    text: str


def tokens(source: str) -> tuple[Token, ...]:
    """The tokens of a text, without white space and comments. Any text has some."""
    return tuple(
        Token(match.start(), match.end(), match[0])
        for match in _TOKEN.finditer(source)
        if match["blank"] is None
    )


class Layout:
    """The text of one expression that the checker accepted."""

    def __init__(self, source: str) -> None:
        self.tokens = tokens(source)
        self._starts = [token.start for token in self.tokens]

    def at(self, offset: int) -> int:
        """The number of the token at an offset."""
        return max(bisect_right(self._starts, offset) - 1, 0)

    def extent(self, node: Node) -> tuple[int, int]:
        """The numbers of a node's first and last token, without brackets around the whole."""
        first, last = len(self.tokens), 0
        for part, _ in walk(node):
            number = self.at(part.offset)
            first, last = min(first, self._begin(number)), max(last, self._end(number))
        return self._balanced(first, last)

    def wrapped(self, node: Node) -> tuple[int, int]:
        """Likewise, with the brackets around it."""
        first, last = self.extent(node)
        while self.is_wrapped(first, last):
            first, last = first - 1, last + 1
        return first, last

    def is_wrapped(self, first: int, last: int) -> bool:
        """Whether these tokens stand in brackets of their own."""
        return (
            first > 0
            and last + 1 < len(self.tokens)
            and self.tokens[first - 1].text == "("
            and self.tokens[last + 1].text == ")"
        )

    def _begin(self, number: int) -> int:
        """Back over the name before a bracket or dot, with all of its parts."""
        if self.tokens[number].text in {"(", "."} and self._is_name(number - 1):
            number -= 1
        while number > 0 and self.tokens[number - 1].text == "." and self._is_name(number):
            number -= 1
            if self._is_name(number - 1):
                number -= 1
        return number

    def _end(self, number: int) -> int:
        """Past the field behind a dot, and the number behind a sign."""
        last = len(self.tokens) - 1
        return min(number + 1, last) if self.tokens[number].text in {".", "-", "!"} else number

    def _is_name(self, number: int) -> bool:
        return number >= 0 and _NAME.match(self.tokens[number].text) is not None

    def _balanced(self, first: int, last: int) -> tuple[int, int]:
        opened = 0
        for token in self.tokens[first : last + 1]:
            if token.text in _OPENERS:
                opened += 1
            elif token.text in _CLOSERS:
                opened -= 1
                if opened < 0:
                    return self._balanced(self._opening(first), last)
        while opened > 0 and last + 1 < len(self.tokens):
            last += 1
            text = self.tokens[last].text
            opened += (text in _OPENERS) - (text in _CLOSERS)
        return first, last

    def _opening(self, first: int) -> int:
        """The bracket, further left, that is open where these tokens begin."""
        depth = 0
        for number in range(first - 1, -1, -1):
            text = self.tokens[number].text
            depth += (text in _CLOSERS) - (text in _OPENERS)
            if depth < 0:
                return self._begin(number)
        return 0
