"""Which tokens of its text a part of an expression covers. For showing changes only."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from pdp.cel.spans import Text
from pdp.cel.syntax import Node
from pdp.checked_expr import walk

_ENDS = frozenset(")]}")


class Layout:
    """The text of one expression that the checker accepted."""

    def __init__(self, source: str) -> None:
        self._text = Text(source)
        self.tokens = self._text.tokens
        self._starts = [token.start for token in self.tokens]
        self._ends = [token.end for token in self.tokens]

    def at(self, offset: int) -> int:
        """The number of the token at an offset."""
        return max(bisect_right(self._starts, offset) - 1, 0)

    def extent(self, node: Node) -> tuple[int, int]:
        """The numbers of a node's first and last token, without brackets around the whole."""
        parts = [self._text.span(part.offset, ()) for part, _ in walk(node)]
        start, end = self._text.span(node.offset, parts)
        first, last = self.at(start), bisect_left(self._ends, end)
        # The dot of `.name`, which reaches past a loop variable, is nobody's field.
        if first and self.tokens[first - 1].text == ".":
            before = self.tokens[first - 2] if first > 1 else None
            if before is None or (before.kind == "operator" and before.text not in _ENDS):
                first -= 1
        return first, last

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
