"""How the fast tier writes each operator in Python.

Each writer either inlines the operator for the kinds it is good at, with
guards where kinds are not certain, or calls the function the exact tier calls.
Either way: same value, same charge, or an exception; never another value.

Constants of at most 2^53 in magnitude compare with Python's `==` and `<`
exactly as CEL compares them through double; larger ones call the function.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import MappingProxyType, NoneType

from pdp.cel import text
from pdp.cel.codegen import (
    Code,
    Frame,
    Namespace,
    bail,
    call,
    compare,
    every,
    item,
    keep,
    kind_is,
    literal,
    load,
    negation,
    pick,
)
from pdp.cel.cost import COMPARED_PER_UNIT, BudgetSpentError, Meter, charge, matching_units
from pdp.cel.functions import LISTED, MATCHES_KNOWN
from pdp.cel.library import network
from pdp.cel.library.rows import Function
from pdp.cel.opaque import CIDR
from pdp.cel.values import NUMBERS, CelError, Datum
from pdp.values import INT64_MAX, INT64_MIN, Duration, Timestamp

_EXACT_MAX = 2**53
_MOMENTS: MappingProxyType[type, str] = MappingProxyType(
    {Timestamp: "Timestamp", Duration: "Duration"}
)
_ORDERS: MappingProxyType[str, tuple[type[ast.cmpop], type[ast.cmpop]]] = MappingProxyType(
    {
        # The operator, and the one with its sides exchanged.
        "_<_": (ast.Lt, ast.Gt),
        "_<=_": (ast.LtE, ast.GtE),
        "_>_": (ast.Gt, ast.Lt),
        "_>=_": (ast.GtE, ast.LtE),
    }
)
_ARITHMETIC: MappingProxyType[str, type[ast.operator]] = MappingProxyType(
    {"_+_": ast.Add, "_-_": ast.Sub, "_*_": ast.Mult}
)


class Operators:
    """Writes calls. One per condition."""

    def __init__(self, namespace: Namespace, *, fold: bool) -> None:
        self.namespace = namespace
        self.fold = fold

    def write(self, function: Function, parts: list[Code], frame: Frame) -> Code:
        """A call of a function on parts that are already written."""
        if self.fold and all(part.is_constant for part in parts):
            folded = self._folded(function, parts)
            if folded is not None:
                return folded
        writer = _WRITERS.get(function.name)
        if writer is not None:
            written = writer(self, function, parts, frame)
            if written is not None:
                return written
        return self.plain(function, [part.tree for part in parts])

    def plain(self, function: Function, trees: list[ast.expr]) -> Code:
        """A call of the function the exact tier calls."""
        name = self.namespace.object(function.call)
        meter = [load("meter")] if function.metered else []
        return Code(call(name, *trees, *meter), function.result)

    def _folded(self, function: Function, parts: list[Code]) -> Code | None:
        """The value, computed now: if it is one, and free of charge.

        INVARIANT: the meter is empty, so that nothing large is made while a bundle loads:
        `lists.range(100000000)` is charged before it is made, here too.
        """
        meter: Meter = [0]
        arguments = [part.value for part in parts]
        try:
            value = function.call(*arguments, *([meter] if function.metered else []))
        except (CelError, BudgetSpentError):
            return None
        return self.namespace.constant(value)


def condition(code: Code, frame: Frame) -> ast.expr:
    """The expression where a bool is needed: anything else is left to the exact tier."""
    if code.kind is bool:
        return code.tree
    name = frame.temporary()
    is_bool = ast.BoolOp(
        ast.Or(),
        [
            compare(keep(name, code.tree), (ast.Is(), literal(True))),  # noqa: FBT003
            compare(load(name), (ast.Is(), literal(False))),  # noqa: FBT003
        ],
    )
    return pick(is_bool, load(name), call("bail"))


# -- equality and order --------------------------------------------------------


def _equality(to: Operators, function: Function, parts: list[Code], frame: Frame) -> Code | None:
    """`==` and `!=`."""
    left, right = parts
    same = function.name == "_==_"
    operator: ast.cmpop = ast.Eq() if same else ast.NotEq()
    for one, other in ((left, right), (right, left)):
        if one.is_constant:
            written = _equal_to_constant(one.value, other, frame)
            if written is not None:
                return Code(written if same else negation(written), bool)
    if left.kind is right.kind is int or left.kind is right.kind is float:
        return Code(compare(left.tree, (operator, right.tree)), bool)
    # Both sides are kept, left first, before either branch looks at them.
    first, second = frame.temporary(), frame.temporary()
    test = every(
        compare(
            call("type", keep(first, left.tree)),
            (ast.Is(), call("type", keep(second, right.tree))),
            (ast.Is(), load("str")),
        ),
        compare(call("len", load(first)), (ast.Lt(), literal(COMPARED_PER_UNIT))),
    )
    direct = compare(load(first), (operator, load(second)))
    return Code(pick(test, direct, to.plain(function, [load(first), load(second)]).tree), bool)


def _equal_to_constant(value: Datum, other: Code, frame: Frame) -> ast.expr | None:
    """`other == value`, where Python's `==` is CEL's, or can be made so."""
    kind = type(value)
    if kind is NoneType or kind is bool:
        return compare(other.tree, (ast.Is(), literal(value)))
    if kind is str or kind is bytes:
        if len(value) >= COMPARED_PER_UNIT:
            return None
        return compare(other.tree, (ast.Eq(), literal(value)))
    if kind in NUMBERS and abs(value) < _EXACT_MAX:
        plain = literal(float(value) if kind is float else int(value))
        if value not in {0, 1} or other.kind in NUMBERS:
            return compare(other.tree, (ast.Eq(), plain))
        # To Python, True == 1 and False == 0.
        name = frame.temporary()
        equal = compare(keep(name, other.tree), (ast.Eq(), plain))
        return every(equal, compare(load(name), (ast.IsNot(), literal(bool(value)))))
    return None


def _order(to: Operators, function: Function, parts: list[Code], frame: Frame) -> Code | None:
    """`<`, `<=`, `>`, `>=`."""
    left, right = parts
    straight, exchanged = _ORDERS[function.name]
    for one, other, operator in ((right, left, straight), (left, right, exchanged)):
        if not one.is_constant:
            continue
        written = _ordered_constant(one.value, other, operator(), frame)
        if written is not None:
            name, test, direct = written
            # In the call, the constant goes back to its side.
            sides = [load(name), one.tree] if one is right else [one.tree, load(name)]
            return Code(pick(test, direct, to.plain(function, sides).tree), bool)
    if left.kind is right.kind is int or left.kind is right.kind is float:
        return Code(compare(left.tree, (straight(), right.tree)), bool)
    return Code(_ordered_alike(to, function, (left, right), frame), bool)


def _ordered_alike(
    to: Operators, function: Function, sides: tuple[Code, Code], frame: Frame
) -> ast.expr:
    """Two sides of unknown kinds: direct if both are of the likely kind, else a call."""
    operator = _ORDERS[function.name][0]()
    likely = next((kind for side in sides for kind in (side.kind, side.likely) if kind), int)
    names = [frame.temporary(), frame.temporary()]
    guard = _MOMENTS.get(likely, "int")
    # Both sides are kept, left first, before either branch looks at them.
    test = compare(
        call("type", keep(names[0], sides[0].tree)),
        (ast.Is(), call("type", keep(names[1], sides[1].tree))),
        (ast.Is(), load(guard)),
    )
    one, two = (_ns(load(name)) if likely in _MOMENTS else load(name) for name in names)
    direct = compare(one, (operator, two))
    return pick(test, direct, to.plain(function, [load(name) for name in names]).tree)


def _ordered_constant(
    value: Datum, other: Code, operator: ast.cmpop, frame: Frame
) -> tuple[str, ast.expr, ast.expr] | None:
    """Name of the kept other side, the guard, and the comparison under it."""
    kind = type(value)
    if kind in _MOMENTS:
        name = frame.temporary()
        direct = compare(_ns(load(name)), (operator, literal(value.ns)))
        return name, kind_is(keep(name, other.tree), _MOMENTS[kind]), direct
    if kind is str and len(value) < COMPARED_PER_UNIT:
        guard = "str"
    elif kind is int and abs(value) < _EXACT_MAX:
        guard = "int"
    elif kind is float and abs(value) < _EXACT_MAX:
        guard = "float"
    else:
        return None
    name = frame.temporary()
    direct = compare(load(name), (operator, literal(value)))
    return name, kind_is(keep(name, other.tree), guard), direct


def _ns(value: ast.expr) -> ast.expr:
    return ast.Attribute(value, "ns", ast.Load())


# -- arithmetic ----------------------------------------------------------------


def _arithmetic(_to: Operators, function: Function, parts: list[Code], frame: Frame) -> Code | None:
    """`+`, `-`, `*` of integers and doubles; the rest is called."""
    left, right = parts
    operator = _ARITHMETIC[function.name]()
    if left.kind is right.kind is float:
        return Code(ast.BinOp(left.tree, operator, right.tree), float)
    if left.kind is right.kind is int:
        return Code(_in_range(ast.BinOp(left.tree, operator, right.tree), frame), int)
    return None


def _in_range(value: ast.expr, frame: Frame) -> ast.expr:
    """The integer, if it is an int64."""
    name = frame.temporary()
    test = compare(
        literal(INT64_MIN),
        (ast.LtE(), keep(name, value)),
        (ast.LtE(), literal(INT64_MAX)),
    )
    return pick(test, load(name), call("bail"))


def _invert(_to: Operators, _function: Function, parts: list[Code], frame: Frame) -> Code | None:
    return Code(negation(condition(parts[0], frame)), bool)


# -- containers and texts ------------------------------------------------------


def _index(to: Operators, function: Function, parts: list[Code], frame: Frame) -> Code | None:
    """`container[position]` with a constant position."""
    container, position = parts
    if position.kind is str and position.is_constant:
        # Of all values only a map takes a string in brackets.
        return Code(item(container.tree, position.tree))
    if position.kind is int and position.is_constant and position.value >= 0:
        name = frame.temporary()
        direct = item(load(name), position.tree)
        general = to.plain(function, [load(name), position.tree]).tree
        return Code(pick(kind_is(keep(name, container.tree), "list"), direct, general))
    return None


def _membership(to: Operators, function: Function, parts: list[Code], _frame: Frame) -> Code | None:
    """`in` a list of literals: a look-up. A list or map among them is not hashable: bails."""
    if function is LISTED and parts[1].is_constant:
        members = to.namespace.object(frozenset(parts[1].value))
        return Code(compare(parts[0].tree, (ast.In(), load(members))), bool)
    return None


def _affix(_to: Operators, function: Function, parts: list[Code], frame: Frame) -> Code | None:
    """`startsWith` and `endsWith` a short literal."""
    subject, affix = parts
    if not (affix.kind is str and affix.is_constant and len(affix.value) < COMPARED_PER_UNIT):
        return None
    method = "startswith" if function.name == "startsWith" else "endswith"
    name = frame.temporary()
    direct = ast.Call(ast.Attribute(load(name), method, ast.Load()), [affix.tree], [])
    return Code(pick(kind_is(keep(name, subject.tree), "str"), direct, call("bail")), bool)


def _matches(to: Operators, function: Function, parts: list[Code], _frame: Frame) -> Code | None:
    """`matches` a pattern written in the policy, compiled once."""
    subject, pattern = parts
    if function is not MATCHES_KNOWN:
        return None
    search = to.namespace.object(_searcher(pattern.value))
    return Code(call(search, subject.tree, load("meter")), bool)


def _searcher(pattern: str) -> Callable[[Datum, Meter], bool]:
    compiled = text.compile_pattern(pattern)
    search, size = compiled.search, compiled.size

    def searcher(subject: Datum, meter: Meter) -> bool:
        if type(subject) is not str:
            bail()
        charge(meter, matching_units(len(subject), size))
        return search(subject) is not None

    return searcher


def _contains_ip(
    to: Operators, _function: Function, parts: list[Code], _frame: Frame
) -> Code | None:
    """A block written in the policy that contains `ip(operand)`: no address is made."""
    block, address = parts
    tree = address.tree
    if type(block.value) is not CIDR or not isinstance(tree, ast.Call):
        return None
    made_by = to.namespace.names.get(tree.func.id) if isinstance(tree.func, ast.Name) else None
    if made_by is not network.ip:
        return None
    holds = to.namespace.object(network.holds_text(block.value))
    return Code(call(holds, *tree.args), bool)


def _dyn(_to: Operators, _function: Function, parts: list[Code], _frame: Frame) -> Code | None:
    return parts[0]


_Writer = Callable[[Operators, Function, list[Code], Frame], Code | None]
_WRITERS: MappingProxyType[str, _Writer] = MappingProxyType(
    {
        "_==_": _equality,
        "_!=_": _equality,
        **dict.fromkeys(_ORDERS, _order),
        **dict.fromkeys(_ARITHMETIC, _arithmetic),
        "!_": _invert,
        "_[_]": _index,
        "@in": _membership,
        "startsWith": _affix,
        "endsWith": _affix,
        "matches": _matches,
        "containsIP": _contains_ip,
        "dyn": _dyn,
    }
)
