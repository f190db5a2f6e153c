"""Small parts to build Python syntax trees from: names, calls, guards.

Conditions become Python through `ast` nodes only, never through text. Values
that a policy wrote are passed as objects, so nothing in a policy is ever read
as Python.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from pdp.cel.values import Datum


class BailError(Exception):
    """The fast tier met something it leaves to the exact tier."""


def bail() -> NoReturn:
    """Leave the evaluation to the exact tier."""
    raise BailError


class _Unknown:
    """Not a constant."""


UNKNOWN: Final = _Unknown()
# What `ast.Constant` may hold and keep its exact type.
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


@dataclass(frozen=True, slots=True)
class Code:
    """An expression, and what is known of its value.

    Attributes:
        tree: computes the value, or raises.
        kind: exact Python type of the value, if it is certain. Certain means
            that we made it so; the checker's word or the attributes' usual
            types do not count.
        value: the value itself, of a constant.
        likely: what to guard for first, if the kind is not certain.
    """

    tree: ast.expr
    kind: type | None = None
    value: Datum = UNKNOWN
    likely: type | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the value is known."""
        return self.value is not UNKNOWN


def load(name: str) -> ast.expr:
    """A name."""
    return ast.Name(name, ast.Load())


def literal(value: Any) -> ast.expr:
    """A plain constant."""
    return ast.Constant(value)


def call(function: str, *arguments: ast.expr) -> ast.expr:
    """`function(arguments)`."""
    return ast.Call(load(function), list(arguments), [])


def keep(name: str, value: ast.expr) -> ast.expr:
    """`(name := value)`."""
    return ast.NamedExpr(ast.Name(name, ast.Store()), value)


def compare(left: ast.expr, *rest: tuple[ast.cmpop, ast.expr]) -> ast.expr:
    """`left op right op right ...`."""
    return ast.Compare(left, [operator for operator, _ in rest], [right for _, right in rest])


def pick(test: ast.expr, then: ast.expr, otherwise: ast.expr) -> ast.expr:
    """`then if test else otherwise`."""
    return ast.IfExp(test, then, otherwise)


def every(*parts: ast.expr) -> ast.expr:
    """`a and b`."""
    return ast.BoolOp(ast.And(), list(parts))


def negation(value: ast.expr) -> ast.expr:
    """`not value`."""
    return ast.UnaryOp(ast.Not(), value)


def item(container: ast.expr, key: ast.expr) -> ast.expr:
    """`container[key]`."""
    return ast.Subscript(container, key, ast.Load())


def kind_is(value: ast.expr, kind: str) -> ast.expr:
    """`type(value) is kind`."""
    return compare(call("type", value), (ast.Is(), load(kind)))


def assign(name: str, value: ast.expr) -> ast.stmt:
    """`name = value`."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def give(value: ast.expr) -> ast.stmt:
    """`return value`."""
    return ast.Return(value)


@dataclass(slots=True)
class Frame:
    """One Python function under construction.

    Attributes:
        attributes: global names it reads, each into a local at its start.
        temporaries: how many it has.
    """

    attributes: dict[str, str] = field(default_factory=dict)
    temporaries: int = 0

    def temporary(self) -> str:
        """A new local."""
        self.temporaries += 1
        return f"t{self.temporaries}"

    def attribute(self, name: str) -> str:
        """The local that holds a global name."""
        return self.attributes.setdefault(name, f"g{len(self.attributes)}")

    def function(self, name: str, parameters: Sequence[str], body: list[ast.stmt]) -> ast.stmt:
        """The finished function; reads its attributes first."""
        reads = [
            assign(local, item(load("attributes"), literal(attribute)))
            for attribute, local in self.attributes.items()
        ]
        arguments = ast.arguments(
            posonlyargs=[],
            args=[ast.arg(parameter) for parameter in parameters],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        )
        return ast.FunctionDef(name, arguments, [*reads, *body], [])


class Namespace:
    """The globals of the generated functions: what they call, and constants.

    Args:
        functions: what they call.
        inline: write plain constants in place. Off only in tests, where Python
            must not compute with constants before the code runs.
    """

    def __init__(self, functions: dict[str, Any], *, inline: bool = True) -> None:
        self.inline = inline
        self.names: dict[str, Any] = {"__builtins__": {}, **functions}
        self._known: dict[int, str] = {}

    def constant(self, value: Datum) -> Code:
        """A value as an expression of its exact kind."""
        if self.inline and type(value) in _PLAIN:
            return Code(literal(value), type(value), value)
        return Code(load(self.object(value)), type(value), value)

    def object(self, value: Any) -> str:
        """The name under which an object is reachable."""
        # By identity: `1`, `1.0`, `true` and `1u` are equal to Python. What is in
        # `names` stays alive, so no identity is used twice.
        name = self._known.get(id(value))
        if name is None:
            name = self._known[id(value)] = f"c{len(self._known)}"
            self.names[name] = value
        return name
