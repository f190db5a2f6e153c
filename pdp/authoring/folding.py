"""What a condition can come to at all, whatever is asked.

Logic is followed by its parts, as CEL absorbs errors: `false && x` is false.
Whatever looks at nothing is evaluated, by the exact tier of the PDP.
Everything else may come to anything: an answer here is never a guess.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from itertools import product

from pdp.authoring.expressions import free_names
from pdp.cel.compile import compile_expression
from pdp.cel.library.calendar import read_zone
from pdp.cel.limits import EvaluationLimits
from pdp.cel.moments import PARTS
from pdp.cel.syntax import Call, Expression, Ident, Literal, Node, Select
from pdp.cel.values import CelError
from pdp.checked_expr import walk
from pdp.errors import ExpressionError
from pdp.model import Verdict
from pdp.values import Value


class Outcome(enum.Enum):
    """One evaluation: true, false, or in doubt, which is an error or no truth value."""

    TRUE = "true"
    FALSE = "false"
    DOUBT = "in doubt"


Outcomes = frozenset[Outcome]

_TRUE, _FALSE, _DOUBT = Outcome.TRUE, Outcome.FALSE, Outcome.DOUBT
ANYTHING: Outcomes = frozenset(Outcome)
ALWAYS: Outcomes = frozenset({_TRUE})
NEVER: Outcomes = frozenset({_FALSE})
_IN_A_ZONE = frozenset(PARTS)
_STRICT = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@in"}
)
_BY_VERDICT = {Verdict.TRUE: _TRUE, Verdict.FALSE: _FALSE}
_NOT = {_TRUE: _FALSE, _FALSE: _TRUE, _DOUBT: _DOUBT}


class Folding:
    """What the conditions of one policy can come to.

    Args:
        variables: the policy's, by name.
        limits: as for the conditions themselves.
    """

    def __init__(self, variables: Mapping[str, Expression], limits: EvaluationLimits) -> None:
        self._variables = variables
        self._limits = limits
        self._known: dict[str, Outcomes] = {}
        self._closed: dict[str, bool] = {}
        # By identity; the nodes are held here, so that no other node gets their place.
        self._memo: dict[int, tuple[Node, Outcomes]] = {}

    def condition(self, expression: Expression | None) -> Outcomes:
        """What a condition can come to; none is always true."""
        return ALWAYS if expression is None else self.node(expression.root)

    def node(self, node: Node) -> Outcomes:
        """What a part of a condition, outside of any loop, can come to."""
        if id(node) not in self._memo:
            self._memo[id(node)] = (node, self._node(node))
        return self._memo[id(node)][1]

    def _node(self, node: Node) -> Outcomes:
        match node:
            case Call(function="_&&_", target=None, args=(left, right)):
                return self._both(node, self.node(left), self.node(right))
            case Call(function="_||_", target=None, args=(left, right)):
                return _absorbed(self.node(left), self.node(right), by=_TRUE)
            case Call(function="!_", target=None, args=(operand,)):
                return frozenset(_NOT[outcome] for outcome in self.node(operand))
            case Call(function="_?_:_", target=None, args=(test, then, otherwise)):
                return self._choice(self.node(test), then, otherwise)
            case Ident() if (name := _name(node)) in self._variables:
                if name not in self._known:
                    self._known[name] = self.node(self._variables[name].root)
                return self._known[name]
            case _ if _fails(node):
                return frozenset({_DOUBT})
            case _:
                return self._evaluated(node) if self._looks_at_nothing(node) else ANYTHING

    def constant_parts(self, node: Node) -> Iterator[tuple[Node, Outcomes]]:
        """Operands of `&&` and `||`, and tests of `?:`, that always come to the same.

        The largest ones; a node that is itself constant has none: it is its
        owner's to tell.
        """
        if len(self.node(node)) == 1:
            return
        match node:
            case Call(function="_&&_" | "_||_", target=None, args=(left, right)):
                yield from self._constant_part(left)
                yield from self._constant_part(right)
            case Call(function="!_", target=None, args=(operand,)):
                yield from self.constant_parts(operand)
            case Call(function="_?_:_", target=None, args=(test, then, otherwise)):
                yield from self._constant_part(test)
                yield from self.constant_parts(then)
                yield from self.constant_parts(otherwise)
            case _:
                return

    def _constant_part(self, node: Node) -> Iterator[tuple[Node, Outcomes]]:
        if len(found := self.node(node)) == 1:
            yield node, found
        else:
            yield from self.constant_parts(node)

    def _both(self, node: Node, left: Outcomes, right: Outcomes) -> Outcomes:
        found = _absorbed(left, right, by=_FALSE)
        # `a == 1 && a == 2`: each may be true, both never are.
        return found - ALWAYS if _TRUE in found and self._contradicts(node) else found

    def _choice(self, test: Outcomes, then: Node, otherwise: Node) -> Outcomes:
        found = test & {_DOUBT}
        if _TRUE in test:
            found |= self.node(then)
        if _FALSE in test:
            found |= self.node(otherwise)
        return found

    def _contradicts(self, node: Node) -> bool:
        """Whether one attribute would have to equal two different texts or numbers."""
        wanted: dict[tuple[str, ...], Value] = {}
        for part in self._conjuncts(node):
            match part:
                case Call(function="_==_", args=(Literal() as literal, place)):
                    pass
                case Call(function="_==_", args=(place, Literal() as literal)):
                    pass
                case _:
                    continue
            path = _path(place)
            # Compared by type, too: numbers of different types can be equal.
            if not path or type(literal.value) not in {str, int, bool}:
                continue
            first = wanted.setdefault(path, literal.value)
            if type(first) is type(literal.value) and first != literal.value:
                return True
        return False

    def _conjuncts(self, node: Node) -> Iterator[Node]:
        match node:
            case Call(function="_&&_", target=None, args=(left, right)):
                yield from self._conjuncts(left)
                yield from self._conjuncts(right)
            case Ident() if (name := _name(node)) in self._variables:
                yield from self._conjuncts(self._variables[name].root)
            case _:
                yield node

    def _looks_at_nothing(self, node: Node) -> bool:
        """Whether the value is in the text: nothing of a request, no clock."""
        types = {
            _name(part)
            for part, _ in walk(node)
            if isinstance(part, Ident) and part.type.name == "type"
        }
        return all(
            name in types or (name in self._variables and self._variable_is_closed(name))
            for name in free_names(node)
        )

    def _variable_is_closed(self, name: str) -> bool:
        if name not in self._closed:
            self._closed[name] = self._looks_at_nothing(self._variables[name].root)
        return self._closed[name]

    def _evaluated(self, node: Node) -> Outcomes:
        try:
            compiled = compile_expression(Expression(node, ""), self._variables, self._limits)
        except ExpressionError:
            return ANYTHING
        return frozenset({_BY_VERDICT.get(compiled.verdict({}), _DOUBT)})


def _fails(node: Node) -> bool:
    """Whether a part is an error for every request: a time that is asked for in no time zone.

    Operators pass the errors of their operands on, but for those of logic. `timeOfDay` and its
    kin are refused when they are compiled; CEL's own are defined to be errors of the evaluation.
    """
    match node:
        case Call(function=name, args=(Literal(value=str(zone)),)) if name in _IN_A_ZONE and zone:
            try:
                read_zone(zone)
            except CelError:
                return True
            return False
        case Call(function=name, target=None, args=args) if name in _STRICT:
            return any(map(_fails, args))
        case _:
            return False


def _absorbed(left: Outcomes, right: Outcomes, *, by: Outcome) -> Outcomes:
    """`&&`, decided by false, or `||`, decided by true, on all pairs of outcomes."""
    other = _NOT[by]
    return frozenset(
        by if by in pair else other if pair == (other, other) else _DOUBT
        for pair in product(left, right)
    )


def _name(node: Ident) -> str:
    return node.name.removeprefix(".")


def _path(node: Node) -> tuple[str, ...]:
    """The attribute path that a node names, or the empty tuple."""
    match node:
        case Ident():
            return (_name(node),)
        case Select(operand=operand, field=field, test_only=False):
            below = _path(operand)
            return (*below, field) if below else ()
        case _:
            return ()


def start_of(node: Node, source: str) -> int:
    """The offset of the first character of a part.

    The tree has the place of an operator, and of a call's parenthesis.
    """
    return min(_begin(part, source) for part, _ in walk(node))


def _begin(node: Node, source: str) -> int:
    if isinstance(node, Call) and node.target is None:
        begin = node.offset - len(node.function)
        if begin >= 0 and source[begin : node.offset] == node.function:
            return begin
    return node.offset
