"""Looking at a checked expression: the names it takes from outside, the keys it asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pdp.cel.syntax import Call, Ident, Literal, Node
from pdp.checked_expr import walk


def free_names(root: Node) -> frozenset[str]:
    """Names an expression takes from outside; a loop variable is none."""
    return frozenset(
        # `.name` reaches past a loop variable of that name.
        node.name.removeprefix(".")
        for node, bound in walk(root)
        if isinstance(node, Ident) and node.name not in bound
    )


def unknown_keys(
    root: Node, fields: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str, int]]:
    """(name, key, offset) of each `name["key"]` with a key that the name never has.

    `subject.idd` the checker refuses; `subject["idd"]` is an index like any other to it.
    """
    for node, bound in walk(root):
        match node:
            case Call(
                function="_[_]", args=(Ident(name=name), Literal(value=str() as key, offset=at))
            ):
                known = () if name in bound else fields.get(name.removeprefix("."), ())
                if known and key not in known:
                    yield name.removeprefix("."), key, at
            case _:
                continue
