"""The comments of a document, and which of its parts each belongs to.

A comment on a line of its own is about what comes next; one that is indented
deeper than that closes what came before. One behind a value is about that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from pdp.authoring.nodes import List, Map, Node, Scalar, end_of

BLOCK_STYLES = frozenset({"literal", "folded"})


@dataclass(slots=True)
class Remarks:
    """What is said about one entry; an empty text is a blank line.

    Attributes:
        before: lines above it.
        key: behind its key, or behind the head of a block.
        behind: behind its value.
        after: lines below it, of the same collection.
    """

    before: list[str] = field(default_factory=list)
    key: str = ""
    behind: str = ""
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Comment:
    """One comment, or an empty line (with an empty text)."""

    start: int
    column: int
    text: str
    own_line: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A key with its value, or an item of a list; `column` is that of the key or the dash."""

    node: Node
    value: Node
    column: int


class Comments:
    """All comments of a document, each with what it is about."""

    def __init__(self, root: Map) -> None:
        self._text = root.source.text
        self._found = list(_comments(root))
        self._starts = [comment.start for comment in self._found if comment.text]
        self._empty = {comment.start for comment in self._found if not comment.text}
        self._remarks: dict[int, Remarks] = {}
        self.head: list[str] = []
        self.tail: list[str] = []
        self._attach(list(self._entries(root)))

    def of(self, entry: Node) -> Remarks:
        """What is said about an entry, by its key or, in a list, by its value."""
        return self._remarks.setdefault(id(entry), Remarks())

    def inside(self, node: Node) -> bool:
        """Whether there is a comment between a node's first and last character."""
        first = bisect_right(self._starts, node.start)
        return first < len(self._starts) and self._starts[first] < end_of(node)

    def all(self) -> list[str]:
        """The texts, sorted: what must be the same after formatting."""
        return sorted(comment.text for comment in self._found if comment.text)

    def _entries(self, node: Map | List) -> Iterator[_Entry]:
        """Everything that can have a remark, in the order of the text."""
        for entry, value in entries_of(node):
            yield _Entry(
                entry, value, _column(entry, dash=isinstance(node, List) and not node.flow)
            )
            if isinstance(value, Map | List) and (not value.flow or self.inside(value)):
                yield from self._entries(value)

    def _attach(self, entries: list[_Entry]) -> None:
        # Entries so far, each further right than those before: who is around, by column.
        around: list[_Entry] = []
        at = 0
        for comment in self._found:
            if not comment.text:
                continue
            while at < len(entries) and entries[at].node.start < comment.start:
                while around and around[-1].column >= entries[at].column:
                    around.pop()
                around.append(entries[at])
                at += 1
            if not comment.own_line and at:
                self._beside(entries[at - 1], comment)
                continue
            lines = self._place(comment, around, entries[at] if at < len(entries) else None)
            if self._is_below_empty(comment.start):
                lines.append("")
            lines.append(comment.text)
        seen: set[int] = set()
        for entry in entries:
            # Of entries on one line, the empty line above belongs to the outermost.
            begin = self._text.rfind("\n", 0, entry.node.start)
            if begin not in seen and self._is_below_empty(entry.node.start):
                self.of(entry.node).before.append("")
            seen.add(begin)

    def _is_below_empty(self, index: int) -> bool:
        """Whether the line above that of an index is empty."""
        begin = self._text.rfind("\n", 0, index) + 1
        return begin > 0 and (self._text.rfind("\n", 0, begin - 1) + 1) in self._empty

    def _place(
        self, comment: _Comment, around: list[_Entry], following: _Entry | None
    ) -> list[str]:
        """Where a comment on a line of its own belongs."""
        if not around:
            return self.head
        if following is not None and comment.column <= following.column:
            return self.of(following.node).before
        if following is None and comment.column == 0:
            return self.tail
        found = bisect_right(around, comment.column, key=lambda entry: entry.column)
        return self.of(around[max(found - 1, 0)].node).after

    def _beside(self, entry: _Entry, comment: _Comment) -> None:
        """A comment behind something on its line."""
        remarks = self.of(entry.node)
        head = isinstance(entry.value, Scalar) and entry.value.style in BLOCK_STYLES
        if (entry.value.start > comment.start or head) and not remarks.key:
            remarks.key = comment.text
        elif not remarks.behind:
            remarks.behind = comment.text
        else:
            remarks.after.append(comment.text)


def _column(entry: Node, *, dash: bool) -> int:
    text = entry.source.text
    before = text[text.rfind("\n", 0, entry.start) + 1 : entry.start]
    found = before.rfind("-") if dash else -1
    return len(before) if found < 0 else found


def entries_of(node: Map | List) -> Iterator[tuple[Node, Node]]:
    """(what it is known by, value) of each entry: the key, or the item itself."""
    if isinstance(node, Map):
        yield from node.entries
    else:
        yield from ((item, item) for item in node.items)


def scalars(node: Node) -> Iterator[Scalar]:
    """All scalars, in the order of the text."""
    if isinstance(node, Scalar):
        yield node
        return
    for entry, value in entries_of(node):
        if entry is not value:
            yield from scalars(entry)
        yield from scalars(value)


def _comments(root: Map) -> Iterator[_Comment]:
    """Comments and empty lines, in the order of the text: what no scalar covers."""
    text = root.source.text
    spans = [_inside(scalar) for scalar in scalars(root)]
    at = 0
    for start, end in [*spans, (len(text), len(text))]:
        yield from _in_gap(text, at, max(at, start))
        at = max(at, end)


def _inside(scalar: Scalar) -> tuple[int, int]:
    """From where to where there is no comment; the head of a block may have one."""
    if scalar.style not in BLOCK_STYLES:
        return scalar.start, scalar.end
    line_end = scalar.source.text.find("\n", scalar.start)
    # Empty lines at the end of a block are its own if it keeps them.
    end = scalar.end if scalar.text.endswith("\n\n") else end_of(scalar)
    return (line_end if line_end >= 0 else scalar.end), max(end, scalar.start)


def _in_gap(text: str, start: int, end: int) -> Iterator[_Comment]:
    at = start
    while at < end:
        line_end = text.find("\n", at)
        line_end = len(text) if line_end < 0 else line_end
        begin = text.rfind("\n", 0, at) + 1
        sharp = text.find("#", at, min(line_end, end))
        while sharp > 0 and text[sharp - 1] not in " \t\n":
            sharp = text.find("#", sharp + 1, min(line_end, end))
        if sharp >= 0:
            own_line = not text[begin:sharp].strip()
            yield _Comment(sharp, sharp - begin, text[sharp:line_end].rstrip(), own_line)
        elif at == begin and line_end <= end and not text[begin:line_end].strip():
            yield _Comment(begin, 0, "", own_line=True)
        at = line_end + 1
