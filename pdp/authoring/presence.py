"""What is known where a part of a condition is looked at: which attributes are there.

`has(a.b) && a.b == 1` reads `a.b` only where it is there. A fact is something
that holds whenever some other part is true, or false. CEL absorbs an error on
either side of `&&` and `||`, so both sides may count on the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from pdp.cel.syntax import Call, Comprehension, Expression, Ident, Literal, Node, Select

# How a value is reached, as nested tuples; equal for equal ways.
Path: TypeAlias = tuple[object, ...]
# ("has", path), or ("is", path, values).
Fact: TypeAlias = tuple[object, ...]
# None: this never comes about, so everything holds.
Facts: TypeAlias = frozenset[Fact] | None


def both(one: Facts, other: Facts) -> Facts:
    """What holds when both come about."""
    return None if one is None or other is None else one | other


def either(one: Facts, other: Facts) -> Facts:
    """What holds whichever of the two comes about."""
    if one is None:
        return other
    return one if other is None else one & other


class Presence:
    """Facts about the parts of one policy's conditions.

    Args:
        variables: the policy's, by name.
    """

    def __init__(self, variables: Mapping[str, Expression]) -> None:
        self.variables = variables
        # By identity: the nodes live as long as the policy.
        self._facts: dict[tuple[int, bool], Facts] = {}
        self._paths: dict[int, Path | None] = {}
        # The loop that binds each name, innermost last.
        self.loops: dict[str, list[int]] = {}

    def path(self, node: Node) -> Path | None:
        """How the value of a node is reached; None where that has no name."""
        if id(node) not in self._paths:
            self._paths[id(node)] = self._path(node)
        return self._paths[id(node)]

    def _path(self, node: Node) -> Path | None:
        match node:
            case Ident(name):
                if self.loops.get(name):
                    return "loop", name, self.loops[name][-1]
                plain = name.removeprefix(".")
                if plain in self.variables:
                    with self.outside():
                        return self.path(self.variables[plain].root)
                return "name", plain
            case Select(operand, name):
                below = self.path(operand)
                return None if below is None else ("field", below, name)
            case Literal(value):
                return "literal", type(value).__name__, value
            case Call("_[_]" | "_?._", None, (container, Literal(value=str() as key))):
                below = self.path(container)
                return None if below is None else ("field", below, key)
            case Call(function, target, args):
                parts = [self.path(part) for part in ((target,) if target else ()) + args]
                return None if None in parts else ("call", function, *parts)
            case _:
                return None

    def when(self, node: Node, *, true: bool) -> Facts:
        """What holds when a node is true, or false."""
        key = id(node), true
        if key not in self._facts:
            self._facts[key] = self._when(node, true=true)
        return self._facts[key]

    def _when(self, node: Node, *, true: bool) -> Facts:
        match node:
            case Literal(bool() as value):
                return frozenset() if value is true else None
            case Ident(name) if not self.loops.get(name) and name in self.variables:
                with self.outside():
                    return self.when(self.variables[name].root, true=true)
            case Select(test_only=True):
                return self._has(self.path(node)) if true else frozenset()
            case Call("!_", None, (operand,)):
                return self.when(operand, true=not true)
            case Call("_&&_" | "_||_" as function, None, (left, right)):
                combine = both if (function == "_&&_") is true else either
                return combine(self.when(left, true=true), self.when(right, true=true))
            case Call("_?_:_", None, (test, then, otherwise)):
                return either(
                    both(self.when(test, true=True), self.when(then, true=true)),
                    both(self.when(test, true=False), self.when(otherwise, true=true)),
                )
            case Call("@in", None, (Literal(value=str() as key), container)) if true:
                below = self.path(container)
                return self._has(None if below is None else ("field", below, key))
            case Call("_==_" | "_!=_" as function, None, (left, right)):
                return self._equal(left, right) if (function == "_==_") is true else frozenset()
            case _:
                return frozenset()

    def _has(self, path: Path | None) -> Facts:
        return frozenset() if path is None else frozenset({("has", path)})

    def _equal(self, left: Node, right: Node) -> Facts:
        for one, other in ((left, right), (right, left)):
            if isinstance(other, Literal) and (path := self.path(one)) is not None:
                return frozenset({("is", path, other.value)})
        return frozenset()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """In the text of a variable, loops around its name bind nothing."""
        loops, self.loops = self.loops, {}
        try:
            yield
        finally:
            self.loops = loops

    def enter(self, loop: Comprehension) -> None:
        """Names of a loop are its own from here on."""
        for name in {loop.iter_var, loop.iter_var2, loop.accu_var} - {""}:
            self.loops.setdefault(name, []).append(id(loop))

    def leave(self, loop: Comprehension) -> None:
        """The end of `enter`."""
        for name in {loop.iter_var, loop.iter_var2, loop.accu_var} - {""}:
            self.loops[name].pop()
