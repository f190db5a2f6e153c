"""Our frozen, checked CEL syntax tree.

`pdp.checked_expr` builds it from the bytes in a bundle; `pdp.cel.compile`
turns it into Python. Law ring: no protobuf here.

Every node carries its `offset`, in code points from the start of the source,
and the static type the checker deduced for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pdp.errors import Position
from pdp.values import Duration, Timestamp, Uint


@dataclass(frozen=True, slots=True)
class Type:
    """A static type: a name, and parameters for list, map, optional_type and type.

    Names: `dyn`, `null_type`, `bool`, `int`, `uint`, `double`, `string`,
    `bytes`, `google.protobuf.Timestamp`, `google.protobuf.Duration`, `list`,
    `map`, `type`, `optional_type`, or an abstract type's own name.
    """

    name: str
    parameters: tuple[Type, ...] = ()

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


DYN = Type("dyn")
BOOL = Type("bool")

Constant: TypeAlias = None | bool | int | Uint | float | str | bytes | Timestamp | Duration


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Constant
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class Ident:
    """A resolved name: a loop variable, `subject.id`, or a type such as `int`."""

    name: str
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` with `test_only`."""

    operand: Node
    field: str
    test_only: bool
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call. `target` is the receiver of a method; `overloads` the checker's candidates."""

    function: str
    target: Node | None
    args: tuple[Node, ...]
    overloads: tuple[str, ...]
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class ListNode:
    """`[a, b]`. `optional` holds the indices of `?a` elements."""

    elements: tuple[Node, ...]
    optional: tuple[int, ...]
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class MapEntry:
    """`key: value` or `?key: value`."""

    key: Node
    value: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class MapNode:
    """`{k: v}`."""

    entries: tuple[MapEntry, ...]
    type: Type
    offset: int


@dataclass(frozen=True, slots=True)
class Comprehension:
    """What every macro expands into. `iter_var2` is empty for one-variable macros."""

    iter_var: str
    iter_var2: str
    iter_range: Node
    accu_var: str
    accu_init: Node
    loop_condition: Node
    loop_step: Node
    result: Node
    type: Type
    offset: int


Node: TypeAlias = Literal | Ident | Select | Call | ListNode | MapNode | Comprehension


@dataclass(frozen=True, slots=True)
class Expression:
    """A whole checked expression and its source text."""

    root: Node
    source: str


def position_of(source: str, offset: int) -> Position:
    """Line and column, from 1, of an offset in code points."""
    before = source[: max(offset, 0)]
    return Position("", before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
