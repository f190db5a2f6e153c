"""Small changes of one condition: what an author could have got wrong in it.

Made on the checked tree, so no checker runs. Each change also says what it is
in the text, for a reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

from pdp.authoring.cel_text import Layout
from pdp.cel.macros import recognise
from pdp.cel.syntax import (
    BOOL,
    Call,
    Comprehension,
    Constant,
    Expression,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
)
from pdp.values import INT64_MAX, INT64_MIN, Uint

# operator -> (its neighbour, prefix of its overloads, prefix of the neighbour's).
_NEIGHBOURS = MappingProxyType(
    {
        "_<_": ("_<=_", "less_", "less_equals_"),
        "_<=_": ("_<_", "less_equals_", "less_"),
        "_>_": ("_>=_", "greater_", "greater_equals_"),
        "_>=_": ("_>_", "greater_equals_", "greater_"),
    }
)
_OPPOSITES = MappingProxyType({"_==_": ("_!=_", "not_equals"), "_!=_": ("_==_", "equals")})
_CHAINS = MappingProxyType({"_&&_": "conjunct", "_||_": "disjunct"})
_SIGNS = frozenset("-!")
# A longer part of a condition is cut in a message.
SHOWN_CHARACTERS = 40
_UINT64_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Characters `start` to `end` of a text become `text`."""

    start: int
    end: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One small change of an expression."""

    kind: str
    what: str
    root: Node
    edits: tuple[TextEdit, ...]


def changes(expression: Expression) -> Iterator[Change]:
    """Every small change of an expression, in the order of its tree.

    Only what is known to be a truth value is negated as a whole: a variable of any
    type may be a number, and then nobody could.
    """
    yield from _Changes(expression).all()


def swap(root: Node, old: Node, new: Node) -> Node:
    """The tree with another node in the place of one of its own."""
    if root is old:
        return new
    return _rebuilt(root, lambda child: swap(child, old, new))


def _rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with changed children."""
    match node:
        case Select(operand=operand):
            return replace(node, operand=change(operand))
        case Call(target=target, args=args):
            found = None if target is None else change(target)
            return replace(node, target=found, args=tuple(map(change, args)))
        case ListNode(elements=elements):
            return replace(node, elements=tuple(map(change, elements)))
        case MapNode(entries=entries):
            made = (replace(e, key=change(e.key), value=change(e.value)) for e in entries)
            return replace(node, entries=tuple(made))
        case Comprehension():
            return replace(
                node, iter_range=change(node.iter_range), loop_step=change(node.loop_step)
            )
        case _:
            return node


class _Changes:
    """The changes of one expression."""

    def __init__(self, expression: Expression) -> None:
        self.root = expression.root
        self.source = expression.source
        self.layout = Layout(expression.source)

    def all(self) -> Iterator[Change]:
        """All of them."""
        if self.root.type == BOOL:
            tokens = self.layout.tokens
            edits = (
                TextEdit(tokens[0].start, tokens[0].start, "!("),
                TextEdit(tokens[-1].end, tokens[-1].end, ")"),
            )
            root = Call("!_", None, (self.root,), ("logical_not",), BOOL, self.root.offset)
            yield Change("negate", "the condition is negated", root, edits)
        yield from self._below(self.root, "")

    def _below(self, node: Node, chain: str) -> Iterator[Change]:
        """Changes of a node and of what an author wrote below it. `chain` is the one it is in."""
        inside = ""
        match node:
            case Literal():
                yield from self._literal(node)
            case ListNode():
                yield from self._elements(node)
            case Call(function=function) if function in _CHAINS:
                inside = function
                if chain != function or self.layout.is_wrapped(*self.layout.extent(node)):
                    yield from self._chain(node)
            case Call():
                yield from self._call(node)
            case _:
                pass
        for child in _written(node):
            yield from self._below(child, inside)

    def _change(self, kind: str, what: str, node: Node, new: Node, *edits: TextEdit) -> Change:
        return Change(kind, what, swap(self.root, node, new), edits)

    def _shown(self, node: Node) -> str:
        """A node's text for a message, on one line."""
        first, last = (self.layout.tokens[at] for at in self.layout.extent(node))
        text = " ".join(self.source[first.start : last.end].split())
        return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"

    # -- && and || ---------------------------------------------------------------

    def _chain(self, node: Call) -> Iterator[Change]:
        """Each operand of `a && b && c` gone, however the parser grouped them."""
        operands: list[Node] = []
        signs: list[int] = []
        self._flatten(node, operands, signs)
        first, last = self.layout.extent(node)
        tokens = self.layout.tokens
        for index, operand in enumerate(operands):
            rest = [part for part in operands if part is not operand]
            new = rest[0]
            for part in rest[1:]:
                new = replace(node, args=(new, part))
            if index == 0:
                edit = TextEdit(tokens[first].start, tokens[signs[0] + 1].start)
            else:
                end = signs[index] - 1 if index < len(signs) else last
                edit = TextEdit(tokens[signs[index - 1] - 1].end, tokens[end].end)
            kind = _CHAINS[node.function]
            yield self._change(kind, f"without `{self._shown(operand)}`", node, new, edit)

    def _flatten(self, node: Call, operands: list[Node], signs: list[int]) -> None:
        """The operands of a chain and the tokens between them, in the order of the text."""
        for index, side in enumerate(node.args):
            if (
                isinstance(side, Call)
                and side.function == node.function
                and not self.layout.is_wrapped(*self.layout.extent(side))
            ):
                self._flatten(side, operands, signs)
            else:
                operands.append(side)
            if index == 0:
                signs.append(self.layout.at(node.offset))

    # -- other calls --------------------------------------------------------------

    def _call(self, node: Call) -> Iterator[Change]:
        sign = self.layout.at(node.offset)
        token = self.layout.tokens[sign]
        if node.function == "!_":
            edit = TextEdit(token.start, self.layout.tokens[sign + 1].start)
            yield self._change("negate", "without `!`", node, node.args[0], edit)
        elif node.function in _NEIGHBOURS:
            function, mine, other = _NEIGHBOURS[node.function]
            overloads = tuple(other + overload.removeprefix(mine) for overload in node.overloads)
            yield self._operator(node, function, overloads)
        elif node.function in _OPPOSITES:
            function, overload = _OPPOSITES[node.function]
            yield self._operator(node, function, (overload,))
        elif node.function == "_?_:_":
            yield from self._branches(node, sign)
        elif node.function == "duration" and node.target is None:
            yield from self._duration(node)

    def _operator(self, node: Call, function: str, overloads: tuple[str, ...]) -> Change:
        token = self.layout.tokens[self.layout.at(node.offset)]
        new = replace(node, function=function, overloads=overloads)
        edit = TextEdit(token.start, token.end, function.strip("_"))
        what = f"`{token.text}` is `{edit.text}`"
        return self._change("comparison", what, node, new, edit)

    def _branches(self, node: Call, mark: int) -> Iterator[Change]:
        """`test ? then : otherwise`, always the one or always the other."""
        tokens = self.layout.tokens
        first, last = self.layout.extent(node)
        colon = self.layout.wrapped(node.args[1])[1] + 1
        if colon > last or tokens[colon].text != ":":
            return
        begin = tokens[first].start
        yield self._change(
            "conditional",
            "always the branch before `:`",
            node,
            node.args[1],
            TextEdit(begin, tokens[mark + 1].start),
            TextEdit(tokens[colon - 1].end, tokens[last].end),
        )
        yield self._change(
            "conditional",
            "always the branch behind `:`",
            node,
            node.args[2],
            TextEdit(begin, tokens[colon + 1].start),
        )

    def _duration(self, node: Call) -> Iterator[Change]:
        match node.args:
            case (Literal(value=str() as text) as given,):
                new = replace(node, args=(replace(given, value=f"{text}1s"),))
                token = self.layout.tokens[self.layout.at(given.offset)]
                edit = _inside(token.text, token.end, "1s")
                yield self._change("constant", f"`{text}1s` for `{text}`", node, new, edit)
            case _:
                return

    # -- constants -----------------------------------------------------------------

    def _literal(self, node: Literal) -> Iterator[Change]:
        number = self.layout.at(node.offset)
        token = self.layout.tokens[number]
        start = token.start
        if token.text in _SIGNS:
            token = self.layout.tokens[number + 1]
        match node.value:
            case bool() as flag:
                yield self._constant(node, not flag, start, token.end, str(not flag).lower())
            case Uint() as count:
                for other in (int(count) + 1, int(count) - 1):
                    if 0 <= other <= _UINT64_MAX:
                        yield self._constant(node, Uint(other), start, token.end, f"{other}u")
            case int() as whole:
                for other in (whole + 1, whole - 1):
                    if INT64_MIN <= other <= INT64_MAX:
                        yield self._constant(node, other, start, token.end, str(other))
            case float() as real:
                yield self._constant(node, real + 1.0, start, token.end, repr(real + 1.0))
            case str() as text if token.text[-1:] in {"'", '"'}:
                edit = _inside(token.text, token.end, "_")
                new = replace(node, value=f"{text}_")
                what = f"another text than `{text}`"
                yield self._change("constant", what, node, new, edit)
            case _:
                return

    def _constant(self, node: Literal, value: Constant, start: int, end: int, shown: str) -> Change:
        what = f"`{shown}` for `{self._shown(node)}`"
        return self._change(
            "constant", what, node, replace(node, value=value), TextEdit(start, end, shown)
        )

    def _elements(self, node: ListNode) -> Iterator[Change]:
        if len(node.elements) == 1 or node.optional:
            return
        tokens = self.layout.tokens
        extents = [self.layout.wrapped(element) for element in node.elements]
        for index, element in enumerate(node.elements):
            rest = node.elements[:index] + node.elements[index + 1 :]
            if index:
                edit = TextEdit(tokens[extents[index - 1][1]].end, tokens[extents[index][1]].end)
            else:
                edit = TextEdit(tokens[extents[0][0]].start, tokens[extents[1][0]].start)
            what = f"without `{self._shown(element)}`"
            yield self._change("element", what, node, replace(node, elements=rest), edit)


def _inside(token: str, end: int, text: str) -> TextEdit:
    """Text at the end of a string, before its closing quotes."""
    quotes = 3 if token[-3:] in {"'''", '"""'} and len(token) >= 6 else 1  # noqa: PLR2004
    return TextEdit(end - quotes, end - quotes, text)


def _written(node: Node) -> tuple[Node, ...]:
    """The parts of a node that stand in the text; of a macro, not what it expands into."""
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(function="duration", args=(Literal(),)):
            return ()
        case Call(target=target, args=args):
            return args if target is None else (target, *args)
        case ListNode(elements=elements):
            return elements
        case MapNode(entries=entries):
            return tuple(part for entry in entries for part in (entry.key, entry.value))
        case Comprehension():
            found = recognise(node)
            if found is None:
                return (node.iter_range,)
            parts = (node.iter_range, found.test, found.transform)
            return tuple(part for part in parts if part is not None)
        case _:
            return ()
