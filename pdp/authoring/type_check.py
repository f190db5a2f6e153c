"""Comparing conditions with schemas: what can never be, or may not be there, before it happens.

The official checker sees attributes as `dyn`. This looks at its checked trees
once more, with the shapes that schemas give: misspelt attributes, kinds that
are never equal or that no function takes, values that an enumeration does not
have, and attributes that may be absent and are read without a look.

Variables are looked at where they are used, as the PDP evaluates them: a guard
around a name guards what the name stands for. Whatever is not known is not
complained about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pdp.authoring.presence import Fact, Presence
from pdp.authoring.problems import closest, one_of, word
from pdp.authoring.shapes import (
    DYN,
    Field,
    Shape,
    described,
    join,
    of_type,
    scalar,
    union,
)
from pdp.authoring.signatures import (
    ARITHMETIC,
    ORDER,
    depends_on_luck,
    fitting,
    may_be_equal,
    may_be_ordered,
)
from pdp.authoring.type_wording import hint_about, place_of, written
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
)
from pdp.schema import scalar_key
from pdp.values import Uint

_BOOL, _INT, _STRING = scalar("bool"), scalar("int"), scalar("string")
_OPERATORS = {"@in": "in", "-_": "-"}
_VALUES_SHOWN_MAX = 8

Facts = frozenset[Fact]
# What a name stands for, given the facts; None: it is none of those that schemas are about.
Names = Callable[[str, Facts], Shape | None]
# (kind, name) of the text, offset in it, message, suggestion.
Note = Callable[[tuple[str, str], int, str, str], None]


class TypeCheck:
    """Looks at the conditions of one policy.

    Args:
        variables: the policy's, by name.
        names: shapes of what conditions see.
        note: is told what is wrong.
    """

    def __init__(self, variables: Mapping[str, Expression], names: Names, note: Note) -> None:
        self.variables = variables
        self.presence = Presence(variables)
        self.names = names
        self._note = note
        self.text = ("", "")
        self.source = ""
        self.loops: dict[str, Shape] = {}
        self._known: dict[tuple[str, Facts], Shape] = {}
        self.guards = True

    def condition(
        self, text: tuple[str, str], expression: Expression, facts: Facts = frozenset()
    ) -> None:
        """Look at the condition of a rule or a role.

        Args:
            text: what it belongs to, `("rule", id)`.
            expression: the condition.
            facts: what holds whenever it matters.
        """
        with self._inside(text, expression):
            shape = self.node(expression.root, facts)
            self._truth(expression.root, shape)

    def unused(self, name: str) -> None:
        """Look at a variable that no condition uses: for misspelt attributes."""
        self.guards = False
        with self._inside(("variable", name), self.variables[name]):
            self.node(self.variables[name].root, frozenset())
        self.guards = True

    @contextmanager
    def _inside(self, text: tuple[str, str], expression: Expression) -> Iterator[None]:
        before = self.text, self.source, self.loops
        self.text, self.source, self.loops = text, expression.source, {}
        with self.presence.outside():
            yield
        self.text, self.source, self.loops = before

    def note(self, offset: int, message: str, suggestion: str = "") -> None:
        """Say what is wrong at a place of the current text."""
        self._note(self.text, offset, message, suggestion)

    # -- nodes -----------------------------------------------------------------

    def node(self, node: Node, facts: Facts) -> Shape:
        """The shape of a node's value; what is wrong in it is noted."""
        match node:
            case Literal(value):
                return _of_literal(value, node)
            case Ident(name):
                return self._ident(name, node, facts)
            case Select():
                return self._select(node, facts)
            case ListNode(elements):
                shapes = [self.node(element, facts) for element in elements]
                return Shape(frozenset({"list"}), element=union(shapes) if shapes else None)
            case MapNode():
                return self._map(node, facts)
            case Comprehension():
                return self._comprehension(node, facts)
            case Call():
                return self._call(node, facts)

    def _ident(self, name: str, node: Ident, facts: Facts) -> Shape:
        if name in self.loops:
            return self.loops[name]
        plain = name.removeprefix(".")
        if plain not in self.variables:
            known = self.names(plain, facts)
            return of_type(node.type) if known is None else known
        key = plain, facts
        if key not in self._known:
            expression = self.variables[plain]
            with self._inside(("variable", plain), expression):
                self._known[key] = self.node(expression.root, facts)
        return self._known[key]

    def _select(self, node: Select, facts: Facts) -> Shape:
        shape = self.node(node.operand, facts)
        # The position of a selection is its point; that of `has(…)` is its parenthesis.
        at = node.offset
        if node.test_only:
            at = max(self.source.find(f".{node.field}", node.operand.offset + 1), at)
        found = self._field(node, node.operand, shape, node.field, at + 1, facts)
        return _BOOL if node.test_only else found

    def _field(
        self, node: Node, operand: Node, shape: Shape, name: str, offset: int, facts: Facts
    ) -> Shape:
        """A field of a map: that it is one, is declared, and is there."""
        if not shape.is_known:
            return DYN
        if "optional_type" in shape.kinds:
            # It goes on being one; what is absent is none.
            inner = self._declared(operand, shape.element or DYN, name, offset)
            return Shape(frozenset({"optional_type"}), element=inner.shape if inner else DYN)
        if "map" not in shape.kinds:
            message = f"{self._called(operand)} is {described(shape)} and has no {word(name)}"
            self.note(offset, message, "")
            return DYN
        found = self._declared(operand, shape, name, offset)
        if found is None:
            return DYN
        tested = isinstance(node, Select) and node.test_only
        tested = tested or (isinstance(node, Call) and node.function in {"_?._", "_[?_]", "@in"})
        if not (found.required or found.unguarded or tested) and self.guards:
            path = self.presence.path(node)
            if path is None or ("has", path) not in facts:
                self._absent(operand, name, offset)
        return found.shape

    def _declared(self, operand: Node, shape: Shape, name: str, offset: int) -> Field | None:
        if not shape.is_known or "map" not in shape.kinds:
            return None
        if (found := shape.fields.get(name)) is not None:
            return found
        near = closest(name, shape.fields)
        if shape.rest is None or (not shape.said and near):
            hint = near or (f"it has {one_of(sorted(shape.fields))}" if shape.fields else "")
            if near and shape.rest is not None:
                hint += " else declare it, or write `additionalProperties: true`"
            message = f"{self._called(operand)} has no {word(name)} in its schema"
            self.note(offset, message, hint or "declare it in the schema")
            return None
        # Nobody said that it is there, nor that it is not: as if there were no schema.
        return Field(shape.rest, required=False, unguarded=not shape.rest.is_known)

    def _absent(self, operand: Node, name: str, offset: int) -> None:
        whole = self._called(operand).strip("`")
        message = f"{word(f'{whole}.{name}')} may be absent: its schema does not require it"
        hint = (
            f"write `has({whole}.{name}) && …`, or require it in the schema; "
            "or say there, `unguarded: in-doubt`, that rules may be in doubt without it"
        )
        self.note(offset, message, hint)

    def _map(self, node: MapNode, facts: Facts) -> Shape:
        fields, others = {}, []
        for entry in node.entries:
            value = self.node(entry.value, facts)
            if isinstance(entry.key, Literal) and isinstance(entry.key.value, str):
                fields[entry.key.value] = Field(value, required=not entry.optional)
            else:
                self.node(entry.key, facts)
                others.append(value)
        return Shape(frozenset({"map"}), None, fields, union(others) if others else None)

    def _comprehension(self, node: Comprehension, facts: Facts) -> Shape:
        range_ = self.node(node.iter_range, facts)
        if range_.is_known and not range_.kinds & {"list", "map"}:
            message = f"{self._called(node.iter_range)} is {described(range_)}, no list and no map"
            self.note(node.iter_range.offset, message, "")
            range_ = DYN
        before = dict(self.loops)
        accu = self.node(node.accu_init, facts)
        self.presence.enter(node)
        element, value = _looped(range_, two=bool(node.iter_var2))
        self.loops |= {node.iter_var: element, node.accu_var: accu}
        if node.iter_var2:
            self.loops[node.iter_var2] = value
        self.node(node.loop_condition, facts)
        step = self.node(node.loop_step, facts)
        self.loops[node.accu_var] = step if "list" in accu.kinds else of_type(node.accu_init.type)
        result = self.node(node.result, facts)
        self.presence.leave(node)
        self.loops = before
        return result

    # -- calls -----------------------------------------------------------------

    def _call(self, node: Call, facts: Facts) -> Shape:
        match node:
            case Call("_&&_" | "_||_" as function, None, (left, right)):
                for part, other in ((left, right), (right, left)):
                    known = self.presence.when(other, true=function == "_&&_")
                    if known is not None:
                        self._truth(part, self.node(part, facts | known))
                return _BOOL
            case Call("_?_:_", None, (test, then, otherwise)):
                self._truth(test, self.node(test, facts))
                return union(
                    self.node(part, facts | known)
                    for part, true in ((then, True), (otherwise, False))
                    if (known := self.presence.when(test, true=true)) is not None
                )
            case Call("!_", None, (operand,)):
                self._truth(operand, self.node(operand, facts))
                return _BOOL
            case Call("_[_]" | "_?._" | "_[?_]", None, (container, key)):
                return self._index(node, container, key, facts)
            case Call("_==_" | "_!=_", None, (left, right)):
                self._equal(node, left, right, facts)
                return _BOOL
            case Call("@in", None, (item, container)):
                self._in(node, item, container, facts)
                return _BOOL
            case _:
                return self._function(node, facts)

    def _truth(self, node: Node, shape: Shape) -> None:
        if shape.is_known and "bool" not in shape.kinds:
            message = f"{self._called(node)} is {described(shape)}, no truth value"
            self.note(place_of(node), message, "compare it with something")

    def _index(self, node: Call, container: Node, key: Node, facts: Facts) -> Shape:
        shape, by = self.node(container, facts), self.node(key, facts)
        optional = node.function != "_[_]"
        found = DYN
        if isinstance(key, Literal) and isinstance(key.value, str):
            found = self._field(node, container, shape, key.value, key.offset, facts)
            if "optional_type" in shape.kinds:
                return found
        elif "list" in shape.kinds and not by.kinds & {"string"}:
            found = shape.element or DYN
        elif shape.kinds == {"map"}:
            others = [DYN] if shape.rest is not None and not shape.rest.is_known else []
            found = union([*(f.shape for f in shape.fields.values()), *others])
            if shape.rest is not None:
                found = join(found, shape.rest)
        return Shape(frozenset({"optional_type"}), element=found) if optional else found

    def _function(self, node: Call, facts: Facts) -> Shape:
        nodes = node.args if node.target is None else (node.target, *node.args)
        shapes = [self.node(part, facts) for part in nodes]
        if node.function in ORDER:
            self._order(node, shapes)
            return _BOOL
        if node.function in {"orValue", "value"} and shapes[0].kinds == {"optional_type"}:
            return union([shapes[0].element or DYN, *shapes[1:]])
        options = fitting(node.function, shapes)
        name = _OPERATORS.get(node.function) or node.function.replace("_", "") or node.function
        if options == ():
            given = " and ".join(map(described, shapes))
            self.note(node.offset, f"`{name}` cannot take {given}", hint_about(shapes))
            return DYN
        if depends_on_luck(node.function, shapes):
            message = f"`{name}` takes numbers of one kind, and one here may be an int or a double"
            hint = "convert it, `double(…)`, and write numbers with a point, `2.0`"
            self.note(node.offset, message, hint)
        if node.function == "_+_" and options and {each[-1] for each in options} == {"list"}:
            # Of the empty list, which has no element, nothing needs to be known.
            elements = [shape.element for shape in shapes if shape.element is not None]
            unknown = not all(shape.is_known for shape in shapes)
            return Shape(frozenset({"list"}), element=DYN if unknown else union(elements))
        if node.function in ARITHMETIC and options:
            return Shape(frozenset(each[-1] for each in options))
        return of_type(node.type)

    # -- comparisons -------------------------------------------------------------

    def _order(self, node: Call, shapes: list[Shape]) -> None:
        one, other = shapes
        if not may_be_ordered(one, other):
            message = (
                f"`{node.function.replace('_', '')}` cannot compare {described(one)} "
                f"with {described(other)}"
            )
            self.note(node.offset, message, hint_about(shapes))

    def _equal(self, node: Call, left: Node, right: Node, facts: Facts) -> None:
        shapes = self.node(left, facts), self.node(right, facts)
        if isinstance(left, Literal):
            left, right, shapes = right, left, (shapes[1], shapes[0])
        self._never(node.offset, left, shapes[0], right, shapes[1])

    def _in(self, node: Call, item: Node, container: Node, facts: Facts) -> None:
        shape, inside = self.node(item, facts), self.node(container, facts)
        if isinstance(container, ListNode):
            for element in container.elements:
                self._never(element.offset, item, shape, element, self.node(element, facts))
        elif not fitting("@in", [shape, inside]):
            message = f"{self._called(container)} is {described(inside)}, no list and no map"
            self.note(node.offset, message, "compare with `==`")
        elif inside.kinds == {"list"} and inside.element is not None:
            self._never(node.offset, container, inside.element, item, shape, "an element of ")
        elif inside.kinds == {"map"} and isinstance(item, Literal) and type(item.value) is str:
            self._declared(container, inside, item.value, item.offset)

    def _never(
        self, offset: int, one: Node, a: Shape, other: Node, b: Shape, what: str = ""
    ) -> None:
        """Note it where the two are never equal."""
        if not may_be_equal(a, b):
            message = f"{what}{self._called(one)} is {described(a)} and never equals {described(b)}"
            if "null_type" in b.kinds or "null_type" in a.kinds:
                hint = f"ask whether it is there, `has({self._called(one).strip('`')})`"
            else:
                hint = hint_about([a, b])
            self.note(place_of(other) if isinstance(other, Literal) else offset, message, hint)
            return
        if a.values is None or b.values is None or a.values & b.values:
            return
        known = sorted(str(value) for _, value in a.values)
        given = sorted(str(value) for _, value in b.values)
        hint = closest(given[0], known) if len(given) == 1 else ""
        if len(known) <= _VALUES_SHOWN_MAX:
            hint = hint or f"it may be {one_of(known)}"
        message = f"{what}{self._called(one)} is never {one_of(given[:_VALUES_SHOWN_MAX])}"
        self.note(place_of(other) if isinstance(other, Literal) else offset, message, hint)

    # -- words -----------------------------------------------------------------

    def _called(self, node: Node) -> str:
        """How a message names what a node is."""
        return word(written(self.presence.path(node)) or "this")


def _of_literal(value: object, node: Literal) -> Shape:
    shape = of_type(node.type)
    if value is None or (type(value) in {bool, int, float, str, Uint}):
        return Shape(shape.kinds, frozenset({scalar_key(value)}))
    return shape


def _looped(range_: Shape, *, two: bool) -> tuple[Shape, Shape]:
    """What the variables of a loop hold: elements or keys; or, with two, indices or keys first."""
    if not range_.is_known or len(range_.kinds & {"list", "map"}) != 1:
        return DYN, DYN
    if "list" in range_.kinds:
        element = range_.element or DYN
        return (_INT, element) if two else (element, DYN)
    values = union([*(item.shape for item in range_.fields.values()), range_.rest or DYN])
    return _STRING, values if two else DYN
