"""From where in its text an expression stands: for people, never for a decision.

The checker gives each node one position, of the token that makes it what it
is: the `&&` of a conjunction, the `.` of a selection, the `(` of a call. What
the node covers follows from that, its parts, and brackets.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from typing import NamedTuple

# langdef, "Syntax". Whatever else stands in a text is a token of one character.
_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n\f]+|//[^\n]*)
  | (?P<string>(?:[bB]?[rR]|[rR][bB])(?:\"\"\"(?s:.)*?\"\"\"|'''(?s:.)*?'''|"[^"\n]*"|'[^'\n]*')
    |[bB]?(?:\"\"\"(?s:\\.|.)*?\"\"\"|'''(?s:\\.|.)*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z_0-9]*|`[^`\n]*`)
  | (?P<operator>&&|\|\||==|!=|<=|>=|(?s:.))
    """,
    re.VERBOSE,
)
_OPENERS, _CLOSERS = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


class Token(NamedTuple):
    """A token that is no blank and no comment."""

    start: int
    end: int
    kind: str
    text: str


class Span(NamedTuple):
    """Half open, in code points."""

    start: int
    end: int


class Text:
    """A source text in tokens."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = [
            Token(found.start(), found.end(), str(found.lastgroup), found.group())
            for found in _TOKEN.finditer(source)
            if found.lastgroup != "blank"
        ]
        self._starts = [token.start for token in self.tokens]
        self._partner = _partners(self.tokens)

    def span(self, offset: int, parts: Iterable[Span]) -> Span:
        """What the node at an offset covers, given what its parts do. Never outside the text."""
        if not self.tokens:
            return Span(0, len(self.source))
        at = max(bisect.bisect_right(self._starts, offset) - 1, 0)
        first, last = self._own(at)
        start, end = self.tokens[first].start, self.tokens[last].end
        for part in parts:
            start, end = min(start, part.start), max(end, part.end)
        return self._balanced(start, end)

    def _own(self, at: int) -> tuple[int, int]:
        """First and last token that surely belong to the node whose token this is."""
        tokens = self.tokens
        first = last = at
        text = tokens[at].text
        if text in _OPENERS:
            last = self._partner.get(at, at)
            if text == "(" and at and tokens[at - 1].kind == "name":
                first = self._qualified(at - 1)
        elif text == "." and at + 1 < len(tokens):
            last = at + 1
            if tokens[last].text == "?" and last + 1 < len(tokens):
                last += 1
            first = self._qualified(at)
        elif text == "-" and at + 1 < len(tokens) and tokens[at + 1].kind == "number":
            last = at + 1
        return first, last

    def _qualified(self, at: int) -> int:
        """The first token of a dotted name that ends here, `math` of `math.greatest`."""
        while at and (
            (self.tokens[at].text == "." and self.tokens[at - 1].kind == "name")
            or (self.tokens[at].kind == "name" and self.tokens[at - 1].text == ".")
        ):
            at -= 1
        return at

    def _balanced(self, start: int, end: int) -> Span:
        """Widened until every bracket inside has its partner inside."""
        first = bisect.bisect_left(self._starts, start)
        last = bisect.bisect_left(self._starts, end) - 1
        at = first
        while at <= last:
            partner = self._partner.get(at)
            if partner is not None and partner < first:
                first = at = partner
                continue
            if partner is not None and partner > last:
                last = partner
            at += 1
        return Span(self.tokens[first].start, self.tokens[max(first, last)].end)


def _partners(tokens: list[Token]) -> dict[int, int]:
    """The bracket that belongs to each bracket, by index."""
    partner: dict[int, int] = {}
    open_: list[int] = []
    for at, token in enumerate(tokens):
        if token.text in _OPENERS:
            open_.append(at)
        elif token.text in _CLOSERS and open_ and _OPENERS[tokens[open_[-1]].text] == token.text:
            other = open_.pop()
            partner[at], partner[other] = other, at
    return partner
