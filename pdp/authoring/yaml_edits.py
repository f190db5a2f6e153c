"""Small changes of a document's text: one entry gone, one word another.

For showing what a change would look like where its author would make it. The
rest of the text, comments and layout included, stays as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pdp.authoring.cel_mutants import TextEdit
from pdp.authoring.nodes import List, Map, Node, Scalar, end_of

# Lines around a change: enough to see the rule that it is in.
_CONTEXT_LINES = 2
# What begins something else than an unquoted text (YAML 1.2.2, section 7.3.3).
_INDICATORS = frozenset("!\"'[]{}&*|>%@`#,")


def in_scalar(scalar: Scalar, edits: Iterable[TextEdit]) -> tuple[TextEdit, ...]:
    """Edits of a scalar's text as edits of the document."""
    edits = tuple(edits)
    changed = applied(scalar.text, edits)
    if scalar.style == "plain" and changed[:1] in _INDICATORS:
        quoted = changed.replace("'", "''")
        return (TextEdit(scalar.start, scalar.end, f"'{quoted}'"),)
    return tuple(
        TextEdit(
            scalar.boundary(edit.start), scalar.boundary(edit.end), _written(scalar, edit.text)
        )
        for edit in edits
    )


def _written(scalar: Scalar, text: str) -> str:
    match scalar.style:
        case "single":
            return text.replace("'", "''")
        case "double":
            return text.replace("\\", "\\\\").replace('"', '\\"')
        case _:
            return text


def whole(scalar: Scalar, text: str) -> TextEdit:
    """A scalar written as another plain text."""
    return TextEdit(scalar.start, end_of(scalar), text)


def without_key(parent: Map, name: str) -> TextEdit:
    """One key of a map gone, with its value."""
    index = next(at for at, (key, _) in enumerate(parent.entries) if key.text == name)
    spans = [(key.start, end_of(value)) for key, value in parent.entries]
    return _without(parent, spans, index, dash=False)


def without_item(parent: List, index: int) -> TextEdit:
    """One item of a list gone."""
    spans = [(_start(item), end_of(item)) for item in parent.items]
    return _without(parent, spans, index, dash=not parent.flow)


def with_item(parent: List, text: str) -> TextEdit:
    """One more item at the end of a list."""
    end = end_of(parent.items[-1])
    if parent.flow:
        return TextEdit(end, end, f", {text}")
    source = parent.source.text
    begin = source.rfind("\n", 0, _start(parent.items[-1])) + 1
    indent = source[begin : _start(parent.items[-1])].partition("-")[0]
    return TextEdit(end, end, f"\n{indent}- {text}")


def with_only(parent: List, text: str) -> TextEdit:
    """A list of one item in the place of another list."""
    if parent.flow:
        return TextEdit(parent.start, parent.end, f"[{text}]")
    return TextEdit(_start(parent.items[0]), end_of(parent.items[-1]), text)


def _start(node: Node) -> int:
    return node.start


def _without(
    parent: Map | List, spans: Sequence[tuple[int, int]], index: int, *, dash: bool
) -> TextEdit:
    text = parent.source.text
    start, end = spans[index]
    if parent.flow:
        if index:
            return TextEdit(spans[index - 1][1], end)
        return TextEdit(start, spans[1][0] if len(spans) > 1 else end)
    line = text.rfind("\n", 0, start) + 1
    before = text[line:start].strip()
    if before not in {"", "-"} or (before == "-" and not dash):
        # The first key behind a dash: what follows takes its place.
        return TextEdit(start, spans[index + 1][0] if index + 1 < len(spans) else end)
    following = text.find("\n", end)
    return TextEdit(line, following + 1 if following >= 0 else len(text))


def applied(text: str, edits: Iterable[TextEdit]) -> str:
    """The text with changes that do not overlap."""
    for edit in sorted(edits, key=lambda item: (item.start, item.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def diff(path: str, text: str, edits: Iterable[TextEdit], name: str) -> str:
    """A unified diff of a document, as `git diff` would show it.

    Args:
        path: of the document, as the user would type it.
        text: of the document.
        edits: what changes.
        name: what the changed document is called: `mutant`.
    """
    before, after = (
        [line if line.endswith("\n") else f"{line}\n" for line in part.splitlines(keepends=True)]
        for part in (text, applied(text, edits))
    )
    lines = difflib.unified_diff(before, after, path, f"{path} ({name})", n=_CONTEXT_LINES)
    return "".join(lines)
