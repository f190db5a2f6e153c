"""Recognises the shapes that the macros expand into.

The official parser replaces macros before the checker sees them, so the tree
holds comprehensions only. These are the shapes of cel-cpp 0.1x and cel-go; any
other comprehension is refused rather than run by rules nobody tested. The
accumulator's own nodes are not evaluated at all: `map` is an append.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdp.cel.plan import Macro
from pdp.cel.syntax import Call, Comprehension, Ident, ListNode, Literal, MapNode, Node

# Names that only macros make: nothing that can be written in CEL begins with `@` or `#`.
_UNUSED = "#unused"
_SORTED = "@__sortBy_input__"


@dataclass(frozen=True, slots=True)
class MacroCall:
    """A recognised loop: its condition, and what it makes of an element."""

    macro: Macro
    test: Node | None
    transform: Node | None


@dataclass(frozen=True, slots=True)
class Binding:
    """A recognised `cel.bind`, also inside `optMap` and `sortBy`."""

    name: str
    value: Node
    body: Node


def recognise_binding(node: Comprehension) -> Binding | None:
    """`cel.bind`: a loop over nothing whose accumulator is the name."""
    name = node.accu_var
    if (
        node.iter_var == _UNUSED
        and not node.iter_var2
        and _is_empty(node.iter_range)
        and _is_literal(node.loop_condition, value=False)
        and _is_name(node.loop_step, name)
        and (name.isidentifier() or name == _SORTED)
    ):
        return Binding(name, node.accu_init, node.result)
    return None


def recognise(node: Comprehension) -> MacroCall | None:
    """The loop a comprehension came from, or None if it came from no known one."""
    accu = node.accu_var
    # INVARIANT: `@` cannot be written in CEL, so no condition names an accumulator.
    if not accu.startswith("@") or not node.iter_var.isidentifier():
        return None
    if node.iter_var2 and (not node.iter_var2.isidentifier() or node.iter_var2 == node.iter_var):
        return None
    if _is_bool(node.accu_init) and _is_name(node.result, accu):
        return _quantifier(node, accu)
    if not _is_literal(node.loop_condition, value=True):
        return None
    if _is_literal(node.accu_init, value=0):
        return _exists_one(node, accu)
    if not _is_name(node.result, accu):
        return None
    if _is_empty(node.accu_init):
        return _map(node, accu)
    if isinstance(node.accu_init, MapNode) and not node.accu_init.entries and node.iter_var2:
        return _table(node, accu)
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


def _conditional(node: Comprehension, accu: str) -> tuple[Node | None, Node] | None:
    """Step: made, or test ? made : accu. Gives (test, made)."""
    step = _call(node.loop_step, "_?_:_", 3)
    if step is None:
        return None, node.loop_step
    return (step[0], step[1]) if _is_name(step[2], accu) else None


def _map(node: Comprehension, accu: str) -> MacroCall | None:
    """Step: accu + [transform], or test ? accu + [transform] : accu."""
    found = _conditional(node, accu)
    addition = found and _call(found[1], "_+_", 2)
    if found is None or not addition or not _is_name(addition[0], accu):
        return None
    made = addition[1]
    if not isinstance(made, ListNode) or len(made.elements) != 1 or made.optional:
        return None
    element = made.elements[0]
    is_itself = _is_name(element, node.iter_var) and not node.iter_var2
    return MacroCall(Macro.MAP, found[0], None if is_itself else element)


def _table(node: Comprehension, accu: str) -> MacroCall | None:
    """Step: insert(accu, key, transform) or insert(accu, transform), under a test or not."""
    found = _conditional(node, accu)
    if found is None:
        return None
    entry = _call(found[1], "cel.@mapInsert", 3)
    if entry and _is_name(entry[0], accu) and _is_name(entry[1], node.iter_var):
        return MacroCall(Macro.TABLE, found[0], entry[2])
    merged = _call(found[1], "cel.@mapInsert", 2)
    if merged and _is_name(merged[0], accu):
        return MacroCall(Macro.MERGE, found[0], merged[1])
    return None


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


def _is_empty(node: Node) -> bool:
    return isinstance(node, ListNode) and not node.elements


def _is_bool(node: Node) -> bool:
    return isinstance(node, Literal) and type(node.value) is bool
