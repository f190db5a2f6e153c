"""Recognises the shapes that the standard macros expand into.

The official parser replaces macros before the checker sees them, so the tree
holds comprehensions only. These are the shapes of cel-cpp 0.1x and cel-go; any
other comprehension is refused rather than run by rules nobody tested. The
accumulator's own nodes are not evaluated at all: `map` is an append.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdp.cel.plan import Macro
from pdp.cel.syntax import Call, Comprehension, Ident, ListNode, Literal, Node


@dataclass(frozen=True, slots=True)
class MacroCall:
    """A recognised macro: its condition, and what `map` makes of an element."""

    macro: Macro
    test: Node | None
    transform: Node | None


def recognise(node: Comprehension) -> MacroCall | None:
    """The macro a comprehension came from, or None if it came from no known one."""
    accu = node.accu_var
    # INVARIANT: `@` cannot be written in CEL, so no condition names an accumulator.
    if node.iter_var2 or not accu.startswith("@") or not node.iter_var.isidentifier():
        return None
    if _is_bool(node.accu_init) and _is_name(node.result, accu):
        return _quantifier(node, accu)
    if not _is_literal(node.loop_condition, value=True):
        return None
    if _is_literal(node.accu_init, value=0):
        return _exists_one(node, accu)
    if (
        isinstance(node.accu_init, ListNode)
        and not node.accu_init.elements
        and _is_name(node.result, accu)
    ):
        return _map(node, accu)
    return None


def _quantifier(node: Comprehension, accu: str) -> MacroCall | None:
    """`all`: while not strictly false, accu && test. `exists`: the mirror image."""
    going = _call(node.loop_condition, "@not_strictly_false", 1)
    if going is None:
        return None
    if _is_literal(node.accu_init, value=True):
        step = _call(node.loop_step, "_&&_", 2)
        if step and _is_name(going[0], accu) and _is_name(step[0], accu):
            return MacroCall(Macro.ALL, step[1], None)
        return None
    negated = _call(going[0], "!_", 1)
    step = _call(node.loop_step, "_||_", 2)
    if negated and step and _is_name(negated[0], accu) and _is_name(step[0], accu):
        return MacroCall(Macro.EXISTS, step[1], None)
    return None


def _exists_one(node: Comprehension, accu: str) -> MacroCall | None:
    """Step: test ? accu + 1 : accu. Result: accu == 1."""
    result = _call(node.result, "_==_", 2)
    step = _call(node.loop_step, "_?_:_", 3)
    if not (result and step and _is_name(result[0], accu) and _is_literal(result[1], value=1)):
        return None
    counted = _call(step[1], "_+_", 2)
    if (
        counted
        and _is_name(counted[0], accu)
        and _is_literal(counted[1], value=1)
        and _is_name(step[2], accu)
    ):
        return MacroCall(Macro.EXISTS_ONE, step[0], None)
    return None


def _map(node: Comprehension, accu: str) -> MacroCall | None:
    """Step: accu + [transform], or test ? accu + [transform] : accu."""
    test: Node | None = None
    appended: Node = node.loop_step
    step = _call(node.loop_step, "_?_:_", 3)
    if step is not None:
        if not _is_name(step[2], accu):
            return None
        test, appended = step[0], step[1]
    addition = _call(appended, "_+_", 2)
    if addition is None or not _is_name(addition[0], accu):
        return None
    made = addition[1]
    if not isinstance(made, ListNode) or len(made.elements) != 1 or made.optional:
        return None
    element = made.elements[0]
    return MacroCall(Macro.MAP, test, None if _is_name(element, node.iter_var) else element)


def _call(node: Node, function: str, arity: int) -> tuple[Node, ...] | None:
    if (
        isinstance(node, Call)
        and node.function == function
        and node.target is None
        and len(node.args) == arity
    ):
        return node.args
    return None


def _is_name(node: Node, name: str) -> bool:
    return isinstance(node, Ident) and node.name == name


def _is_literal(node: Node, *, value: bool | int) -> bool:
    return isinstance(node, Literal) and type(node.value) is type(value) and node.value == value


def _is_bool(node: Node) -> bool:
    return isinstance(node, Literal) and type(node.value) is bool
