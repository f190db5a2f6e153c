"""How the fast tier writes optionals, without making any, and `cel.bind`.

`context.?a.?b.orValue(0)` becomes two look-ups with `get`. Where an optional
is known to be one from the text alone, "none" is the object `MISSING` inside
the expression, and nothing outside of it sees that object. An optional that
only running shows (`dyn(x).orValue(1)`) is a real one.
"""

from __future__ import annotations

import ast
from typing import Protocol

from pdp.cel import plan as plans
from pdp.cel.codegen import Code, Frame, call, compare, keep, kind_is, literal, load, pick
from pdp.cel.functions import INDEX
from pdp.cel.library.optionals import (
    HAS_VALUE,
    NOTHING,
    OF,
    OPTIONAL_FIELD,
    OPTIONAL_INDEX,
    VALUE,
)
from pdp.cel.plan import Plan
from pdp.cel.values import Optional

_LOOK_UPS = frozenset({OPTIONAL_FIELD, OPTIONAL_INDEX})


class Writer(Protocol):
    """What writes the rest of a condition."""

    def code(self, plan: Plan, frame: Frame) -> Code:
        """The expression for one plan."""
        ...

    def asked(self, plan: Plan, frame: Frame) -> ast.expr:
        """The same where a bool is needed."""
        ...


def is_optional(plan: Plan) -> bool:
    """Whether a plan is an optional, as its text shows, that can be written without one."""
    match plan:
        case plans.Apply(function, (_, plans.Constant(str()))) if function in _LOOK_UPS:
            return True
        case plans.Apply(function, (operand, plans.Constant(str()))) if function is INDEX:
            return is_optional(operand)
        case plans.Field(operand):
            return is_optional(operand)
        case plans.Apply(function):
            return function is OF or function is NOTHING
        case plans.Choice(_, then, otherwise):
            return is_optional(then) and is_optional(otherwise)
        case plans.Otherwise(first, second, unwrap=False):
            return is_optional(first) and is_optional(second)
        case plans.Bind(_, _, body):
            return is_optional(body)
        case _:
            return False


def write_optional(to: Writer, plan: Plan, frame: Frame) -> Code | None:
    """A plan whose parts are such optionals; None if it is none of these."""
    match plan:
        case plans.Otherwise(first, second, unwrap=True) if is_optional(first):
            kept = frame.temporary()
            found = keep(kept, _maybe(to, first, frame))
            other = to.code(second, frame)
            missing = compare(found, (ast.Is(), load("MISSING")))
            return Code(pick(missing, other.tree, load(kept)), likely=other.kind)
        case plans.Apply(function, (operand,)) if is_optional(operand):
            if function is HAS_VALUE:
                found = keep(frame.temporary(), _maybe(to, operand, frame))
                return Code(compare(found, (ast.IsNot(), load("MISSING"))), bool)
            if function is VALUE:
                kept = frame.temporary()
                found = keep(kept, _maybe(to, operand, frame))
                missing = compare(found, (ast.Is(), load("MISSING")))
                return Code(pick(missing, call("bail"), load(kept)))
            return None
        case _ if is_optional(plan):
            # One that goes on as a value.
            kept = frame.temporary()
            found = keep(kept, _maybe(to, plan, frame))
            missing = compare(found, (ast.Is(), load("MISSING")))
            return Code(pick(missing, load("NONE"), call("Optional", load(kept))), Optional)
        case _:
            return None


def write_otherwise(to: Writer, plan: plans.Otherwise, frame: Frame) -> Code:
    """`or` and `orValue` of what is an optional only when it runs."""
    kept, other = frame.temporary(), frame.temporary()
    guard = kind_is(keep(kept, to.code(plan.first, frame).tree), "Optional")
    is_none = compare(load(kept), (ast.Is(), load("NONE")))
    instead = to.code(plan.second, frame)
    if plan.unwrap:
        value: ast.expr = ast.Attribute(load(kept), "value", ast.Load())
        return Code(pick(guard, pick(is_none, instead.tree, value), call("bail")))
    checked = pick(kind_is(keep(other, instead.tree), "Optional"), load(other), call("bail"))
    return Code(pick(guard, pick(is_none, checked, load(kept)), call("bail")), Optional)


def write_binding(to: Writer, plan: plans.Bind, frame: Frame) -> Code:
    """`cel.bind`, its value first: `body if (x1 := value,) else None`, of a tuple never empty.

    An error of the value that nothing uses is the exact tier's.
    """
    value = to.code(plan.value, frame).tree
    body = to.code(plan.body, frame)
    kept = ast.Tuple([keep(f"x{plan.slot}", value)], ast.Load())
    return Code(pick(kept, body.tree, literal(None)), body.kind, likely=body.likely)


def write_present(to: Writer, operand: Plan, name: str, frame: Frame) -> Code:
    """`has(operand.name)` of an optional."""
    kept = frame.temporary()
    guard = kind_is(keep(kept, _maybe(to, operand, frame)), "dict")
    found = compare(literal(name), (ast.In(), load(kept)))
    return Code(pick(guard, found, _none_or_bail(kept, literal(value=False))), bool)


def _maybe(to: Writer, plan: Plan, frame: Frame) -> ast.expr:
    """The value of an optional, or `MISSING`."""
    match plan:
        case plans.Apply(_, (operand, plans.Constant(str(name)))) | plans.Field(operand, name):
            return _look_up(to, operand, name, frame)
        case plans.Apply(function, arguments):
            return to.code(arguments[0], frame).tree if function is OF else load("MISSING")
        case plans.Choice(test, then, otherwise):
            test_code = to.asked(test, frame)
            return pick(test_code, _maybe(to, then, frame), _maybe(to, otherwise, frame))
        case plans.Otherwise(first, second):
            kept = frame.temporary()
            found = keep(kept, _maybe(to, first, frame))
            missing = compare(found, (ast.Is(), load("MISSING")))
            return pick(missing, _maybe(to, second, frame), load(kept))
        case plans.Bind(slot, value, body):
            bound = ast.Tuple([keep(f"x{slot}", to.code(value, frame).tree)], ast.Load())
            return pick(bound, _maybe(to, body, frame), literal(None))
        case _:
            message = "no optional"
            raise TypeError(message)


def _look_up(to: Writer, operand: Plan, name: str, frame: Frame) -> ast.expr:
    """`operand.?name`, `operand[?"name"]`; of an optional also `.name` and `["name"]`."""
    kept = frame.temporary()
    chained = is_optional(operand)
    source = _maybe(to, operand, frame) if chained else to.code(operand, frame).tree
    get = ast.Attribute(load(kept), "get", ast.Load())
    found = ast.Call(get, [literal(name), load("MISSING")], [])
    other = _none_or_bail(kept, load("MISSING")) if chained else call("bail")
    return pick(kind_is(keep(kept, source), "dict"), found, other)


def _none_or_bail(kept: str, result: ast.expr) -> ast.expr:
    return pick(compare(load(kept), (ast.Is(), load("MISSING"))), result, call("bail"))
