"""How the comparison of conditions with schemas says what it found, and where."""

from __future__ import annotations

from collections.abc import Sequence

from pdp.authoring.presence import Path
from pdp.authoring.shapes import Shape
from pdp.cel.syntax import Ident, Node, Select


def written(path: Path | None) -> str:
    """A way to a value as an author writes it; empty where it has no short form."""
    match path:
        case ("name", str() as name):
            return name
        case ("loop", str() as name, _):
            return name
        case ("field", tuple() as below, str() as name):
            before = written(below)
            if not before:
                return ""
            return f"{before}.{name}" if name.isidentifier() else f'{before}["{name}"]'
        case ("literal", _, value):
            return str(value)
        case _:
            return ""


def place_of(node: Node) -> int:
    """Where a reader looks for a node: a chain of fields begins at its first name."""
    while isinstance(node, Select):
        node = node.operand
    if isinstance(node, Ident) and "." in node.name[1:]:
        # The position of a dotted name is its last point.
        return max(node.offset - node.name.removeprefix(".").rfind("."), 0)
    return node.offset


def hint_about(shapes: Sequence[Shape]) -> str:
    """What to do about values of kinds that do not go together."""
    kinds = [shape.kinds for shape in shapes]
    texts = any("string" in each for each in kinds)
    if texts and any("google.protobuf.Timestamp" in each for each in kinds):
        return "read it as a time, `timestamp(…)`"
    if texts and any("google.protobuf.Duration" in each for each in kinds):
        return "read it as a span of time, `duration(…)`"
    if texts and any(each & {"int", "uint", "double"} for each in kinds):
        return "write the number without quotes, or declare another type in the schema"
    return ""
