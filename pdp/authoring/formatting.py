"""`pdp fmt`: one way to lay a document out.

Keys in their usual order, two blanks of indentation, lines of at most 100
characters where that is possible, comments where they were. What a document
says never changes: what comes out is read again and compared, and a document
that this cannot be shown for is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pdp.authoring.comments import BLOCK_STYLES, Comments
from pdp.authoring.documents import read_document
from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems
from pdp.authoring.scalar_styles import WIDTH, block, escaped, inline, same_condition
from pdp.errors import DocumentError, Position

_STEP = 2
_DUTIES = ("id", "type", "properties")
_ENTITY = ("type", "id", "properties")
# The order of keys, by where a map is; `*` is any key or item. Other keys follow as they were.
_ORDERS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (): (
        "kind", "policy", "name", "resource", "subject", "action", "context", "attributes",
        "max_age_s", "owner", "imports", "unguarded", "static_roles", "variables", "roles", "rules",
        "callers", "now", "caller", "tenant", "fetched", "tests", "headers", "body", "upstream",
        "routes",
    ),
    ("roles", "*"): ("from", "when"),
    ("rules", "*"): (
        "id", "effect", "actions", "roles", "when", "starts", "expires", "lease_s",
        "justification", "reason", "obligations", "advice", "accept",
    ),
    ("rules", "*", "obligations", "*"): _DUTIES,
    ("rules", "*", "advice", "*"): _DUTIES,
    ("rules", "*", "reason"): ("user", "admin"),
    ("callers", "*"): ("id", "tenants", "resources", "actions", "subjects", "may"),
    ("upstream",): ("set", "remove"),
    ("routes", "*"): ("id", "when", "subject", "action", "resource", "context"),
    ("routes", "*", "subject"): ("token", "type", "id", "properties"),
    ("routes", "*", "resource"): _ENTITY,
    ("tests", "*"): (
        "name", "now", "caller", "tenant", "http", "subject", "action", "resource", "context",
        "fetched", "expect",
    ),
    ("tests", "*", "http"): (
        "method", "path", "host", "scheme", "headers", "source", "extensions", "body",
    ),
    ("tests", "*", "subject"): _ENTITY,
    ("tests", "*", "resource"): _ENTITY,
    ("tests", "*", "action"): ("name", "properties"),
    ("tests", "*", "expect"): (
        "effect", "cause", "violation", "rules", "obligations", "advice", "reasons",
    ),
    ("tests", "*", "expect", "obligations", "*"): _DUTIES,
    ("tests", "*", "expect", "advice", "*"): _DUTIES,
}  # fmt: skip
# Below these, authors write data, and much of it: in braces it may fill several lines.
_DATA = frozenset({"properties", "context", "fetched"})
_Path = tuple[str, ...]


def format_document(path: str, data: bytes, problems: Problems) -> str | None:
    """The document, laid out.

    Args:
        path: for positions.
        data: the file's bytes.
        problems: gets what is wrong: the same as for `pdp check`, but for what only
            a policy as a whole can be wrong about.

    Returns:
        The text, or None after a problem.
    """
    root = read_document(path, data.replace(b"\r\n", b"\n"), problems)
    if root is None or not root.entries:
        return None if root is None else root.source.text
    comments = Comments(root)
    made = _Layout(comments).document(root)
    again = read_document(path, made.encode(), Problems())
    if again is None or not _same(root, again, ()) or Comments(again).all() != comments.all():
        message = "this document cannot be laid out without changing it"
        hint = "write it more simply: unusual quoting or comments in unusual places; and report it"
        problems.note(DocumentError(message, Position(path, 1, 1), hint))
        return None
    return made


def is_condition(path: _Path) -> bool:
    """Whether what stands here in a document is CEL."""
    match path:
        case ("variables", _) | ("roles", _, "when") | ("rules", _, "when"):
            return True
        case ("routes", _, "when" | "action" | "context"):
            return True
        case ("routes", _, "subject" | "resource", "id" | "properties"):
            return True
        case _:
            return False


def _same(one: Node, other: Node, path: _Path) -> bool:
    """Whether two nodes say the same; the order of a map's keys says nothing."""
    match one, other:
        case Scalar(), Scalar():
            if is_condition(path):
                return type(one.value) is type(other.value) and same_condition(one.text, other.text)
            return type(one.value) is type(other.value) and one.value == other.value
        case List(), List():
            return len(one.items) == len(other.items) and all(
                _same(a, b, (*path, "*")) for a, b in zip(one.items, other.items, strict=True)
            )
        case Map(), Map():
            names = [key.text for key, _ in one.entries]
            return sorted(names) == sorted(key.text for key, _ in other.entries) and all(
                _same(value, found, (*path, key.text))
                for key, value in one.entries
                if (found := other.get(key.text)) is not None
            )
        case _:
            return False


class _Layout:
    """Lays one document out."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments

    def document(self, root: Map) -> str:
        """The whole text."""
        head, tail = self.comments.head, self.comments.tail
        lines = [*head, *self._map(root, 0, ()), *tail]
        return "\n".join(_tidy(lines)) + "\n"

    def _map(self, node: Map, indent: int, path: _Path) -> list[str]:
        lines: list[str] = []
        for key, value in _ordered(node, path):
            name = inline(key) or key.text
            lines += self._entry(f"{name}:", key, value, indent, (*path, key.text))
        return lines

    def _list(self, node: List, indent: int, path: _Path) -> list[str]:
        lines: list[str] = []
        for item in node.items:
            lines += self._entry("-", item, item, indent, (*path, "*"))
        return lines

    def _entry(self, lead: str, entry: Node, value: Node, indent: int, path: _Path) -> list[str]:
        """One key or dash with its value, and what is said about it."""
        remarks = self.comments.of(entry)
        margin = " " * indent
        lines = [f"{margin}{line}" if line else "" for line in remarks.before]
        behind = "".join(f"  {text}" for text in (remarks.key, remarks.behind) if text)
        if isinstance(value, Scalar):
            lines += self._scalar(f"{margin}{lead}", value, indent + _STEP, behind, path)
        elif (one := self._short(value, len(margin) + len(lead) + 1, path)) is not None:
            lines.append(f"{margin}{lead} {one}{behind}")
        elif (filled := self._filled(lead, value, indent, path)) is not None:
            filled[-1] += behind
            lines += filled
        else:
            lines += self._below(lead, value, indent, remarks.key, path)
            if remarks.behind:
                lines.append(f"{margin}{remarks.behind}")
        return [*lines, *(f"{margin}{line}" if line else "" for line in remarks.after)]

    def _below(
        self, lead: str, value: Map | List, indent: int, comment: str, path: _Path
    ) -> list[str]:
        """A collection on the lines below its key, or behind its dash."""
        margin = " " * indent
        make = self._map if isinstance(value, Map) else self._list
        lines = make(value, indent + _STEP, path)  # type: ignore[arg-type]
        if lead != "-" or comment or not lines[0].strip() or lines[0].lstrip().startswith("#"):
            return [f"{margin}{lead}{f'  {comment}' if comment else ''}", *lines]
        return [f"{margin}- {lines[0].lstrip()}", *lines[1:]]

    def _is_long_form(self, value: Map | List) -> bool:
        """Whether a collection stays, or has to become, one entry a line."""
        return not value.flow or self.comments.inside(value)

    def _inline(self, node: Node, path: _Path) -> str | None:
        if isinstance(node, Scalar):
            return inline(node)
        parts = self._parts(node, path)
        if None in parts:
            return None
        text = ", ".join(part for part in parts if part is not None)
        return f"{{{text}}}" if isinstance(node, Map) else f"[{text}]"

    def _parts(self, node: Map | List, path: _Path) -> list[str | None]:
        """Each entry on one line; None for what has several."""
        if isinstance(node, List):
            return [self._inline(item, (*path, "*")) for item in node.items]
        parts: list[str | None] = []
        for key, value in _ordered(node, path):
            text = self._inline(value, (*path, key.text))
            parts.append(None if text is None else f"{inline(key) or key.text}: {text}")
        return parts

    def _short(self, value: Map | List, column: int, path: _Path) -> str | None:
        """A collection on one line, if that is its form and fits."""
        if self._is_long_form(value):
            return None
        one = self._inline(value, path)
        return one if one is not None and (column + len(one) <= WIDTH or len(one) <= 2) else None  # noqa: PLR2004

    def _filled(self, lead: str, value: Map | List, indent: int, path: _Path) -> list[str] | None:
        """Data in braces over several lines, as many entries on each as fit."""
        if self._is_long_form(value) or not _DATA.intersection(path):
            return None
        one = self._inline(value, path)
        if one is None:
            return None
        start = f"{' ' * indent}- " if lead == "-" else " " * (indent + _STEP)
        lines = [start + one[0]]
        margin = " " * len(lines[0])
        parts = [part for part in self._parts(value, path) if part is not None]
        for number, part in enumerate(parts):
            last = number + 1 == len(parts)
            text = part + (one[-1] if last else ",")
            if len(margin) + len(text) > WIDTH:
                return None
            glue = "" if lines[-1] in {start + one[0], margin} else " "
            if len(lines[-1]) + len(glue) + len(text) > WIDTH:
                lines.append(margin + text)
            else:
                lines[-1] += glue + text
        return lines if lead == "-" else [f"{' ' * indent}{lead}", *lines]

    def _scalar(self, lead: str, value: Scalar, indent: int, behind: str, path: _Path) -> list[str]:
        """A text on the line of its key, or on those below it."""
        one = inline(value)
        if (
            value.style not in BLOCK_STYLES
            and one is not None
            and len(lead) + 1 + len(one) <= WIDTH
        ):
            return [f"{lead} {one}{behind}"]
        lines = block(value, indent, condition=is_condition(path))
        if lines is None:
            # Nowhere to break it, or what no block can hold.
            return [f"{lead} {escaped(value.text) if one is None else one}{behind}"]
        margin = " " * indent
        rest = [f"{margin}{line}" if line else "" for line in lines[1:]]
        return [f"{lead} {lines[0]}{behind}", *rest]


def _ordered(node: Map, path: _Path) -> list[tuple[Scalar, Node]]:
    """A map's entries in the usual order of its keys; others follow as they were."""
    order = _ORDERS.get(_general(path), ())
    rank = {name: at for at, name in enumerate(order)}
    return sorted(node.entries, key=lambda entry: rank.get(entry[0].text, len(order)))


def _general(path: _Path) -> _Path:
    """Where a map is: names that authors choose are `*`."""
    if path[:1] == ("roles",) and len(path) > 1:
        return ("roles", "*", *path[2:])
    return path


def _tidy(lines: Iterable[str]) -> list[str]:
    """No empty line at either end."""
    found = list(lines)
    while found and not found[0]:
        found.pop(0)
    while found and not found[-1]:
        found.pop()
    return found
