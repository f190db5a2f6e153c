"""Looking at a checked expression: the names it takes from outside, the keys it asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pdp.cel.syntax import Call, Comprehension, Ident, ListNode, Literal, MapNode, Node, Select
from pdp.checked_expr import walk


def _children(node: Node) -> Iterator[Node]:
    """The parts of a node, but for a comprehension's, which have scopes."""
    match node:
        case Select():
            yield node.operand
        case Call():
            if node.target is not None:
                yield node.target
            yield from node.args
        case ListNode():
            yield from node.elements
        case MapNode():
            for entry in node.entries:
                yield entry.key
                yield entry.value
        case _:
            return


def free_names(node: Node, bound: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names an expression takes from outside; a loop variable is none. Depth is bounded."""
    if isinstance(node, Ident):
        # `.name` reaches past a loop variable of that name.
        name = node.name.removeprefix(".")
        return frozenset() if node.name in bound else frozenset({name})
    if not isinstance(node, Comprehension):
        return frozenset().union(*(free_names(child, bound) for child in _children(node)))
    with_accu = bound | {node.accu_var}
    inside = with_accu | ({node.iter_var, node.iter_var2} - {""})
    return frozenset().union(
        free_names(node.iter_range, bound),
        free_names(node.accu_init, bound),
        free_names(node.loop_condition, inside),
        free_names(node.loop_step, inside),
        free_names(node.result, with_accu),
    )


def unknown_keys(
    root: Node, fields: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str, int]]:
    """(name, key, offset) of each `name["key"]` with a key that the name never has.

    `subject.idd` the checker refuses; `subject["idd"]` is an index like any other to it.
    """
    for node in walk(root):
        match node:
            case Call(function="_[_]", args=(Ident(name=name), Literal(value=str() as key))):
                name = name.removeprefix(".")
                if name in fields and key not in fields[name]:
                    yield name, key, node.args[1].offset
