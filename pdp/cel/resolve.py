"""Syntax tree to plan: names, macros, functions, sizes. All refusals happen here.

What the checker guarantees is not taken on trust: the tree may come from
anywhere, so every node is looked at again, within limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from pdp.cel import moments
from pdp.cel import plan as plans
from pdp.cel.cost import COMPARED_PER_UNIT
from pdp.cel.functions import (
    BY_OVERLOAD,
    CONTAINED,
    LISTED,
    MATCHES,
    MATCHES_KNOWN,
)
from pdp.cel.library.optionals import OR, OR_VALUE
from pdp.cel.library.rows import Function
from pdp.cel.limits import EvaluationLimits
from pdp.cel.macros import Binding, recognise, recognise_binding
from pdp.cel.plan import Plan, Program
from pdp.cel.syntax import (
    Call,
    Comprehension,
    Expression,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    position_of,
)
from pdp.cel.text import compile_pattern
from pdp.cel.values import KINDS_BY_NAME, TYPES_BY_NAME, CelError
from pdp.errors import ExpressionError

_CONDITIONAL = "conditional"
_ONLY = "docs/cel.md lists the functions there are"


@dataclass(frozen=True, slots=True)
class _Part:
    """A resolved piece and its measures, variables inlined."""

    plan: Plan
    weight: int
    nodes: int
    depth: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plan came from: the variable in whose text (empty: the condition's), and the node."""

    variable: str
    node: Node


def resolve(
    expression: Expression,
    variables: Mapping[str, Expression],
    limits: EvaluationLimits,
    origins: dict[int, Origin] | None = None,
) -> Program:
    """Resolve a condition.

    Args:
        expression: the condition.
        variables: the policy's variables by name.
        limits: how large it may be.
        origins: filled with the origin of every plan, by `id()`, for those who show what
            happened inside; they hold for as long as the program does.

    Raises:
        ExpressionError: something in it is not supported, too large or too
            deep, or a variable uses itself. The position is inside the text
            of the expression or variable at fault.
    """
    scope = _Scope(variables, limits, origins)
    part = _Resolver(scope, expression.source).part(expression.root, {}, 1)
    return Program(
        root=part.plan,
        weight=part.weight,
        slots=scope.slots,
        reads=plans.paths_read(part.plan),
    )


def _is_short_list(plan: Plan) -> bool:
    """Whether a plan is a list of string literals, each compared free of charge."""
    return isinstance(plan, plans.MakeList) and all(
        isinstance(element, plans.Constant)
        and type(element.value) is str
        and len(element.value) < COMPARED_PER_UNIT
        for element in plan.elements
    )


class _Scope:
    """What the pieces of one condition share."""

    def __init__(
        self,
        variables: Mapping[str, Expression],
        limits: EvaluationLimits,
        origins: dict[int, Origin] | None,
    ) -> None:
        self.variables = variables
        self.limits = limits
        self.origins = origins
        self.slots = 0
        self.bound: set[int] = set()  # slots of `cel.bind`
        self.defined: dict[str, _Part] = {}
        self.open: list[str] = []
        self.level = 0  # levels around the innermost open variable, written out
        self.chains: dict[str, int] = {}  # variables that one goes through, itself included

    def new_slot(self) -> int:
        self.slots += 1
        return self.slots - 1


class _Resolver:
    """Resolves one text: the condition's, or that of the variable it is named after."""

    def __init__(self, scope: _Scope, source: str, name: str = "") -> None:
        self.scope = scope
        self.source = source
        self.name = name
        self.visited = 0
        self.outside = scope.level
        self.level = 0
        self.chain = 0

    def refuse(self, node: Node, message: str, suggestion: str = "") -> NoReturn:
        if self.name:
            message = f"in the variable `{self.name}`: {message}"
        raise ExpressionError(message, position_of(self.source, node.offset), suggestion)

    def part(self, node: Node, locals_: Mapping[str, int], level: int) -> _Part:
        """Resolve a node. `level` is its depth within its own text."""
        limits = self.scope.limits
        self.visited += 1
        # The tree may be a hand-made graph: count visits, not objects.
        if self.visited > limits.nodes_max:
            self._refuse_size(node)
        # Counted on the way down too: variables that use each other in a long chain must end
        # here, not in a recursion.
        if self.outside + level > limits.depth_max:
            self._refuse_depth(node)
        self.level = level
        part = self._dispatch(node, locals_, level)
        if self.scope.origins is not None:
            self.scope.origins[id(part.plan)] = Origin(self.name, node)
        if part.nodes > limits.nodes_max:
            self._refuse_size(node)
        if level - 1 + part.depth > limits.depth_max:
            self._refuse_depth(node)
        return part

    def _refuse_size(self, node: Node) -> NoReturn:
        self.refuse(
            node,
            f"larger than {self.scope.limits.nodes_max} nodes with its variables written out",
            "split the rule, or use a variable fewer times",
        )

    def _refuse_depth(self, node: Node) -> NoReturn:
        self.refuse(
            node,
            f"nested deeper than {self.scope.limits.depth_max} levels "
            "with its variables written out",
            "name a part of it as a variable of its own rule",
        )

    def _dispatch(self, node: Node, locals_: Mapping[str, int], level: int) -> _Part:
        match node:
            case Literal(value):
                extra = len(value) // COMPARED_PER_UNIT if isinstance(value, str | bytes) else 0
                return _Part(plans.Constant(value), 1 + extra, 1, 1)
            case Ident():
                return self._ident(node, locals_)
            case Select(operand, field, test_only):
                below = self.part(operand, locals_, level + 1)
                make = plans.Present if test_only else plans.Field
                return self._join(make(below.plan, field), below)
            case Call():
                return self._call(node, locals_, level)
            case ListNode(elements, optional):
                if any(not 0 <= at < len(elements) for at in optional):
                    self.refuse(node, "an optional element that is not there")
                parts = [self.part(element, locals_, level + 1) for element in elements]
                made = plans.MakeList(tuple(p.plan for p in parts), frozenset(optional))
                return self._join(made, *parts)
            case MapNode():
                return self._map(node, locals_, level)
            case Comprehension():
                return self._comprehension(node, locals_, level)

    @staticmethod
    def _join(plan: Plan, *parts: _Part) -> _Part:
        return _Part(
            plan,
            1 + sum(part.weight for part in parts),
            1 + sum(part.nodes for part in parts),
            1 + max((part.depth for part in parts), default=0),
        )

    # -- names ---------------------------------------------------------------

    def _ident(self, node: Ident, locals_: Mapping[str, int]) -> _Part:
        """A name: innermost loop variable, else the global scope; `.name` is global at once."""
        if node.name in locals_:
            slot = locals_[node.name]
            make = plans.Bound if slot in self.scope.bound else plans.Local
            return _Part(make(slot), 1, 1, 1)
        name = node.name.removeprefix(".")
        if not name or name.startswith("@"):
            self.refuse(node, f"`{node.name}` is not a name")
        if name in self.scope.variables:
            return self._variable(node, name)
        if node.type.name == "type" and name in TYPES_BY_NAME:
            return _Part(plans.Constant(TYPES_BY_NAME[name]), 1, 1, 1)
        return _Part(plans.Attribute(name, KINDS_BY_NAME.get(node.type.name)), 1, 1, 1)

    def _variable(self, node: Ident, name: str) -> _Part:
        """A policy variable, resolved once, in the global scope."""
        scope = self.scope
        if name in scope.open:
            circle = " -> ".join([*scope.open[scope.open.index(name) :], name])
            self.refuse(node, f"the variable `{name}` uses itself: {circle}")
        if name not in scope.defined:
            # Plans nest by uses, also where each variable is but the name of the next: such a
            # chain has no depth written out, and must still end before Python's own limit.
            if len(scope.open) >= scope.limits.depth_max:
                self._refuse_depth(node)
            expression = scope.variables[name]
            scope.open.append(name)
            scope.level = self.outside + self.level - 1
            resolver = _Resolver(scope, expression.source, name)
            body = resolver.part(expression.root, {}, 1)
            scope.open.pop()
            scope.level = self.outside
            scope.chains[name] = resolver.chain + 1
            definition = plans.Definition(name, body.plan)
            scope.defined[name] = _Part(plans.Use(definition), body.weight, body.nodes, body.depth)
        self.chain = max(self.chain, scope.chains[name])
        if self.chain > scope.limits.depth_max:
            self._refuse_depth(node)
        known = scope.defined[name]
        if scope.origins is None or not isinstance(known.plan, plans.Use):
            return known
        # Every use has an origin of its own; what it uses is shared.
        return replace(known, plan=plans.Use(known.plan.definition))

    # -- calls ---------------------------------------------------------------

    def _call(self, node: Call, locals_: Mapping[str, int], level: int) -> _Part:
        given = node.args if node.target is None else (node.target, *node.args)
        form = self._form(node, len(given))
        parts = [self.part(argument, locals_, level + 1) for argument in given]
        found = tuple(part.plan for part in parts)
        match form, found:
            case "_&&_", (left, right):
                return self._join(plans.Both(left, right), *parts)
            case "_||_", (left, right):
                return self._join(plans.Either(left, right), *parts)
            case "_?_:_", (test, then, otherwise):
                return self._join(plans.Choice(test, then, otherwise), *parts)
            case Function(), (first, second) if form is OR or form is OR_VALUE:
                otherwise = plans.Otherwise(first, second, unwrap=form is OR_VALUE)
                return self._join(otherwise, *parts)
            case Function(), _:
                form = self._special(node, form, found)
                return self._join(self._applied(form, found, given), *parts)
            case _:
                return self._refuse_function(node)

    def _form(self, node: Call, count: int) -> Function | str:
        """The function that answers for all of a call's overloads."""
        special = {
            ("_&&_", ("logical_and",), 2),
            ("_||_", ("logical_or",), 2),
            ("_?_:_", (_CONDITIONAL,), 3),
        }
        if (node.function, node.overloads, count) in special and node.target is None:
            return node.function
        candidates = {BY_OVERLOAD.get(overload) for overload in node.overloads}
        if len(candidates) == 1:
            (function,) = candidates
            if function and function.name == node.function and function.arity == count:
                return function
        return self._refuse_function(node)

    def _refuse_function(self, node: Call) -> NoReturn:
        self.refuse(node, f"the function `{node.function}` is not supported", _ONLY)

    def _special(self, node: Call, function: Function, arguments: tuple[Plan, ...]) -> Function:
        """The function for constant arguments, whose work is done now: patterns, zones, lists."""
        if not arguments:
            return function
        last = arguments[-1]
        if function is CONTAINED and _is_short_list(last):
            return LISTED
        if not isinstance(last, plans.Constant):
            return function
        if function is MATCHES and type(last.value) is str:
            try:
                compile_pattern(last.value)
            except CelError as error:
                self.refuse(node, str(error), "see the RE2 syntax")
            return MATCHES_KNOWN
        if function.name in moments.PARTS:
            moments.load_zone(last.value)
        return function

    def _applied(
        self, function: Function, arguments: tuple[Plan, ...], nodes: tuple[Node, ...]
    ) -> Plan:
        """A call, or its value: what literals let us read now is not read again."""
        known = [plan.value for plan in arguments if isinstance(plan, plans.Constant)]
        if function.folds and len(known) == len(arguments):
            meter = [self.scope.limits.cost_units_max]
            try:
                return plans.Constant(function.call(*known, *([meter] * function.metered)))
            except CelError as error:
                self.refuse(nodes[0], str(error))
        last = arguments[-1] if function.literal else None
        if isinstance(last, plans.Constant) and type(last.value) is str and function.literal:
            try:
                function = function.knowing(function.literal(last.value))
            except CelError as error:
                self.refuse(nodes[-1], str(error))
        return plans.Apply(function, arguments)

    # -- containers and loops --------------------------------------------------

    def _map(self, node: MapNode, locals_: Mapping[str, int], level: int) -> _Part:
        parts: list[_Part] = []
        entries: list[tuple[Plan, Plan]] = []
        for entry in node.entries:
            key = self.part(entry.key, locals_, level + 1)
            value = self.part(entry.value, locals_, level + 1)
            parts += (key, value)
            entries.append((key.plan, value.plan))
        optional = frozenset(at for at, entry in enumerate(node.entries) if entry.optional)
        return self._join(plans.MakeMap(tuple(entries), optional), *parts)

    def _binding(self, found: Binding, locals_: Mapping[str, int], level: int) -> _Part:
        """`cel.bind`: its value is in the scope outside."""
        value = self.part(found.value, locals_, level + 1)
        slot = self.scope.new_slot()
        self.scope.bound.add(slot)
        body = self.part(found.body, {**locals_, found.name: slot}, level + 1)
        return self._join(plans.Bind(slot, value.plan, body.plan), value, body)

    def _comprehension(self, node: Comprehension, locals_: Mapping[str, int], level: int) -> _Part:
        """A macro. Its range is in the scope outside; its body starts a region of cost."""
        binding = recognise_binding(node)
        if binding is not None:
            return self._binding(binding, locals_, level)
        found = recognise(node)
        if found is None:
            self.refuse(node, "this macro is not supported", _ONLY)
        source = self.part(node.iter_range, locals_, level + 1)
        slot = self.scope.new_slot()
        inner = {**locals_, node.iter_var: slot}
        second: int | None = None
        if node.iter_var2:
            second = inner[node.iter_var2] = self.scope.new_slot()
        body: dict[str, _Part | None] = {"test": None, "transform": None}
        for name, part in (("test", found.test), ("transform", found.transform)):
            if part is not None:
                body[name] = self.part(part, inner, level + 1)
        test, transform = body["test"], body["transform"]
        parts = [part for part in (test, transform) if part is not None]
        loop = plans.Loop(
            macro=found.macro,
            slot=slot,
            source=source.plan,
            test=test.plan if test else None,
            transform=transform.plan if transform else None,
            weight=1 + sum(part.weight for part in parts),
            second=second,
        )
        measured = self._join(loop, source, *parts)
        return _Part(loop, 1 + source.weight, measured.nodes, measured.depth)
