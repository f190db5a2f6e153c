"""The fast tier: one Python function per condition, loop and shared variable.

It computes what the exact tier computes, or raises. Where nothing raises,
Python's `and`, `or` and loops skip exactly what CEL's do, so value and charge
are the exact tier's. It absorbs no errors at all: on any exception, a spent
budget included, the exact tier decides from the beginning.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pdp.cel import plan as plans
from pdp.cel.codegen import (
    Code,
    Frame,
    Namespace,
    assign,
    bail,
    call,
    compare,
    give,
    item,
    keep,
    kind_is,
    literal,
    load,
    negation,
    pick,
)
from pdp.cel.containers import insert_all, items, pairs
from pdp.cel.cost import Meter
from pdp.cel.fast_operators import Operators, condition
from pdp.cel.fast_optionals import (
    is_optional,
    write_binding,
    write_optional,
    write_otherwise,
    write_present,
)
from pdp.cel.plan import Macro, Plan, Program
from pdp.cel.values import (
    NONE,
    Datum,
    Optional,
    insert,
    make_map,
    make_optional_list,
    make_optional_map,
)
from pdp.values import Duration, Timestamp

Condition = Callable[[Mapping[str, Datum], Meter], Datum]

_BUILT_IN = {
    "type": type,
    "len": len,
    "str": str,
    "int": int,
    "float": float,
    "list": list,
    "dict": dict,
    "Timestamp": Timestamp,
    "Duration": Duration,
    "bail": bail,
    "items": items,
    "pairs": pairs,
    "insert": insert,
    "insert_all": insert_all,
    "make_map": make_map,
    "make_optional_list": make_optional_list,
    "make_optional_map": make_optional_map,
    "Optional": Optional,
    "NONE": NONE,
    "MISSING": object(),
}
_GLOBAL = ("attributes", "meter")


def compile_fast(program: Program, *, fold: bool = True) -> Condition:
    """Compile.

    Args:
        program: what to compute. Its weight is the caller's to charge.
        fold: compute constant parts now. Off only in tests, so that the
            specification's constant cases exercise the generated code.

    Returns:
        A function of the attributes and a meter. It raises `Exception`s of
        any kind where the exact tier has to decide.
    """
    writer = _Writer(program, fold=fold)
    module = writer.module(program.root)
    names = writer.namespace.names
    # Built from nodes above, run without builtins; no text is involved.
    exec(compile(module, "<condition>", "exec"), names)  # noqa: S102
    made: Condition = names["condition"]
    return made


class _Writer:
    """Turns plans into Python functions."""

    def __init__(self, program: Program, *, fold: bool) -> None:
        self.namespace = Namespace(_BUILT_IN, inline=fold)
        self.operators = Operators(self.namespace, fold=fold)
        self.fold = fold
        self.functions: list[ast.stmt] = []
        self.definitions: dict[int, str] = {}
        self.uses = _count_uses(program.root)

    def module(self, root: Plan) -> ast.Module:
        """All functions; the last is `condition(attributes, meter)`."""
        self.function("condition", root)
        return ast.fix_missing_locations(ast.Module(self.functions, []))

    def function(self, name: str, body: Plan) -> None:
        """A function of the global scope that gives the value of a plan."""
        frame = Frame()
        value = self.code(body, frame).tree
        self.functions.append(frame.function(name, _GLOBAL, [give(value)]))

    def code(self, plan: Plan, frame: Frame) -> Code:
        """The expression for one plan."""
        made: Code
        match plan:
            case plans.Constant() | plans.Attribute() | plans.Local() | plans.Bound() | plans.Use():
                made = self._name(plan, frame)
            case plans.Bind():
                made = write_binding(self, plan, frame)
            case _ if (optional := write_optional(self, plan, frame)) is not None:
                made = optional
            case plans.Otherwise():
                made = write_otherwise(self, plan, frame)
            case plans.Field(operand, name):
                # Of all values only a map takes a string in brackets, and a
                # map without it raises too.
                made = Code(item(self.code(operand, frame).tree, literal(name)))
            case plans.Present(operand, name):
                made = self._present(operand, name, frame)
            case plans.Apply(function, arguments):
                parts = [self.code(argument, frame) for argument in arguments]
                made = self.operators.write(function, parts, frame)
            case plans.Both() | plans.Either():
                made = self._decided(plan, frame)
            case plans.Choice(test, then, otherwise):
                made = self._choice(test, then, otherwise, frame)
            case plans.MakeList(elements, optional):
                made = self._list([self.code(each, frame) for each in elements], optional)
            case plans.MakeMap(entries, optional):
                made = self._map(entries, optional, frame)
            case plans.Loop():
                made = self._loop(plan, frame)
        return made

    def asked(self, plan: Plan, frame: Frame) -> ast.expr:
        """The expression for one plan where a bool is needed."""
        return condition(self.code(plan, frame), frame)

    def _name(
        self,
        plan: plans.Constant | plans.Attribute | plans.Local | plans.Bound | plans.Use,
        frame: Frame,
    ) -> Code:
        match plan:
            case plans.Constant(value):
                return self.namespace.constant(value)
            case plans.Attribute(name, likely):
                return Code(load(frame.attribute(name)), likely=likely)
            case plans.Local(slot) | plans.Bound(slot):
                return Code(load(f"x{slot}"))
            case plans.Use(definition):
                return self._use(definition, frame)

    def _use(self, definition: plans.Definition, frame: Frame) -> Code:
        """A policy variable: in place if used once, else a function of its own."""
        if self.uses[id(definition)] == 1:
            return self.code(definition.body, frame)
        name = self.definitions.get(id(definition))
        if name is None:
            name = self.definitions[id(definition)] = f"v{len(self.definitions)}"
            self.function(name, definition.body)
        return Code(call(name, *map(load, _GLOBAL)))

    def _present(self, operand: Plan, name: str, frame: Frame) -> Code:
        if is_optional(operand):
            return write_present(self, operand, name, frame)
        kept = frame.temporary()
        guard = kind_is(keep(kept, self.code(operand, frame).tree), "dict")
        found = compare(literal(name), (ast.In(), load(kept)))
        return Code(pick(guard, found, call("bail")), bool)

    def _decided(self, plan: plans.Both | plans.Either, frame: Frame) -> Code:
        """`&&` and `||`; long chains become one flat `and` or `or`."""
        kind = type(plan)
        sides: list[Plan] = []
        waiting: list[Plan] = [plan]
        while waiting:
            part = waiting.pop()
            if isinstance(part, kind):
                waiting += (part.right, part.left)
            else:
                sides.append(part)
        values = [condition(self.code(side, frame), frame) for side in sides]
        operator: ast.boolop = ast.And() if kind is plans.Both else ast.Or()
        return Code(ast.BoolOp(operator, values), bool)

    def _choice(self, test: Plan, then: Plan, otherwise: Plan, frame: Frame) -> Code:
        asked = condition(self.code(test, frame), frame)
        one, two = self.code(then, frame), self.code(otherwise, frame)
        return Code(pick(asked, one.tree, two.tree), one.kind if one.kind is two.kind else None)

    def _list(self, elements: list[Code], optional: frozenset[int]) -> Code:
        if optional:
            made = ast.List([element.tree for element in elements], ast.Load())
            which = load(self.namespace.object(optional))
            return Code(call("make_optional_list", made, which), list)
        if self.fold and all(element.is_constant for element in elements):
            # Shared by all evaluations: no operator changes a list, and the
            # fast tier's values are never handed out.
            return self.namespace.constant([element.value for element in elements])
        return Code(ast.List([element.tree for element in elements], ast.Load()), list)

    def _map(
        self, entries: tuple[tuple[Plan, Plan], ...], optional: frozenset[int], frame: Frame
    ) -> Code:
        pairs: list[ast.expr] = [
            ast.Tuple([self.code(key, frame).tree, self.code(value, frame).tree], ast.Load())
            for key, value in entries
        ]
        made = ast.List(pairs, ast.Load())
        if optional:
            which = load(self.namespace.object(optional))
            return Code(call("make_optional_map", made, which), dict)
        return Code(call("make_map", made), dict)

    # -- loops -------------------------------------------------------------------

    def _loop(self, plan: plans.Loop, frame: Frame) -> Code:
        """A call of the loop's own function, which takes the loop variables around it."""
        source = self.code(plan.source, frame)
        name = f"loop{plan.slot}"
        captured = sorted(_free_in_body(plan))
        outer = [f"x{slot}" for slot in captured]
        inner = Frame()
        body = self._loop_body(plan, inner)
        self.functions.append(inner.function(name, [*_GLOBAL, "source", *outer], body))
        called = call(name, *map(load, _GLOBAL), source.tree, *map(load, outer))
        return Code(called, _RESULTS.get(plan.macro, bool))

    def _loop_body(self, plan: plans.Loop, frame: Frame) -> list[ast.stmt]:
        """Charge for all elements, run, and give back what a quantifier left out."""
        test = None if plan.test is None else condition(self.code(plan.test, frame), frame)
        body: list[ast.stmt] = []
        before: list[ast.stmt] = []
        result: ast.expr
        match plan.macro:
            case Macro.ALL | Macro.EXISTS if test is not None:
                by = plan.macro is Macro.EXISTS
                before = [assign("done", literal(0))]
                body = [
                    _add("done", literal(1)),
                    ast.If(
                        test if by else negation(test),
                        [_charge(plan.weight, _left_out()), give(literal(by))],
                        [],
                    ),
                ]
                result = literal(not by)
            case Macro.EXISTS_ONE if test is not None:
                before = [assign("found", literal(0))]
                body = [ast.If(test, [_add("found", literal(1))], [])]
                result = compare(load("found"), (ast.Eq(), literal(1)))
            case Macro.TABLE | Macro.MERGE if plan.transform is not None:
                before = [assign("out", ast.Dict([], []))]
                made = self.code(plan.transform, frame).tree
                if plan.macro is Macro.TABLE:
                    put = call("insert", load("out"), load(f"x{plan.slot}"), made)
                else:
                    put = call("insert_all", load("out"), made, load("meter"))
                stored: ast.stmt = ast.Expr(put)
                body = [stored] if test is None else [ast.If(test, [stored], [])]
                result = load("out")
            case _:
                before = [assign("out", ast.List([], ast.Load()))]
                made = load(f"x{plan.slot}")
                if plan.transform is not None:
                    made = self.code(plan.transform, frame).tree
                append: ast.stmt = ast.Expr(
                    ast.Call(ast.Attribute(load("out"), "append", ast.Load()), [made], [])
                )
                body = [append] if test is None else [ast.If(test, [append], [])]
                result = load("out")
        return self._run_loop(plan, [*before], body, result)

    def _run_loop(
        self, plan: plans.Loop, before: list[ast.stmt], body: list[ast.stmt], result: ast.expr
    ) -> list[ast.stmt]:
        """The loop around a body, charged in advance."""
        first: ast.expr = ast.Name(f"x{plan.slot}", ast.Store())
        if plan.second is None:
            run = ast.For(first, load("source"), body, [])
            prepare: ast.stmt = ast.If(
                negation(kind_is(load("source"), "list")),
                [assign("source", call("items", load("source")))],
                [],
            )
        else:
            second = ast.Name(f"x{plan.second}", ast.Store())
            run = ast.For(ast.Tuple([first, second], ast.Store()), load("source"), body, [])
            prepare = assign("source", call("pairs", load("source")))
        return [
            prepare,
            _charge(plan.weight, call("len", load("source"))),
            # INVARIANT: nothing runs that is not charged; the meter is a list of one.
            ast.If(
                compare(_meter(ast.Load()), (ast.Lt(), literal(0))),
                [ast.Expr(call("bail"))],
                [],
            ),
            *before,
            run,
            give(result),
        ]


_RESULTS = MappingProxyType({Macro.MAP: list, Macro.TABLE: dict, Macro.MERGE: dict})


def _meter(context: ast.expr_context) -> ast.Subscript:
    return ast.Subscript(load("meter"), literal(0), context)


def _charge(weight: int, count: ast.expr) -> ast.stmt:
    """`meter[0] -= count * weight`."""
    units = ast.BinOp(count, ast.Mult(), literal(weight))
    return ast.AugAssign(_meter(ast.Store()), ast.Sub(), units)


def _left_out() -> ast.expr:
    """Minus the number of elements not looked at: charging it gives them back."""
    return ast.BinOp(load("done"), ast.Sub(), call("len", load("source")))


def _add(name: str, value: ast.expr) -> ast.stmt:
    return ast.AugAssign(ast.Name(name, ast.Store()), ast.Add(), value)


def _count_uses(root: Plan) -> Counter[int]:
    """How often each definition is used, looking into each of them once."""
    uses: Counter[int] = Counter()
    waiting = [root]
    while waiting:
        plan = waiting.pop()
        if isinstance(plan, plans.Use):
            uses[id(plan.definition)] += 1
            if uses[id(plan.definition)] > 1:
                continue
        waiting.extend(plans.children(plan))
    return uses


def _free_in_body(loop: plans.Loop) -> set[int]:
    """Loop variables of outer loops that a loop's body uses."""
    found: set[int] = set()
    for part in (loop.test, loop.transform):
        if part is not None:
            found |= _free(part)
    return found - {loop.slot, loop.second}


def _free(plan: Plan) -> set[int]:
    """Loop variables a plan uses without making them."""
    match plan:
        case plans.Local(slot) | plans.Bound(slot):
            return {slot}
        case plans.Bind(slot, value, body):
            return _free(value) | (_free(body) - {slot})
        case plans.Use():
            return set()  # a variable's expression is in the global scope
        case plans.Loop(source=source):
            return _free(source) | _free_in_body(plan)
        case _:
            found: set[int] = set()
            for part in plans.children(plan):
                found |= _free(part)
            return found


def describe(program: Program) -> str:
    """The generated Python, for people. Never executed."""
    return ast.unparse(_Writer(program, fold=True).module(program.root))
