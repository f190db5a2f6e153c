"""CheckedExpr bytes to our syntax tree. The bytes may be anything.

What comes out is a tree within limits whose every node is of a known form and
has a static type; whether its names and functions exist is for
`pdp.cel.compile` to say. Field numbers: proto/pdp/v1/checked.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import NoReturn

from google.protobuf.message import DecodeError

from pdp.cel.syntax import (
    Call,
    Comprehension,
    Constant,
    Expression,
    Ident,
    ListNode,
    Literal,
    MapEntry,
    MapNode,
    Node,
    Select,
    Type,
    position_of,
)
from pdp.errors import ExpressionError
from pdp.v1 import checked_pb2 as pb
from pdp.values import Uint

# A condition's tree. cel-cpp's parser stops at 32 levels, 100,000 code points;
# protobuf itself at 100 levels of messages, two of which make one of ours, so
# that ours comes first, and its message with it.
BYTES_MAX = 4 << 20
NODES_MAX = 50_000
DEPTH_MAX = 48
TYPE_DEPTH_MAX = 32

_PRIMITIVES = MappingProxyType(
    {
        pb.CheckedType.PRIMITIVE_TYPE_BOOL: Type("bool"),
        pb.CheckedType.PRIMITIVE_TYPE_INT64: Type("int"),
        pb.CheckedType.PRIMITIVE_TYPE_UINT64: Type("uint"),
        pb.CheckedType.PRIMITIVE_TYPE_DOUBLE: Type("double"),
        pb.CheckedType.PRIMITIVE_TYPE_STRING: Type("string"),
        pb.CheckedType.PRIMITIVE_TYPE_BYTES: Type("bytes"),
    }
)
_WELL_KNOWN = MappingProxyType(
    {
        pb.CheckedType.WELL_KNOWN_TYPE_ANY: Type("google.protobuf.Any"),
        pb.CheckedType.WELL_KNOWN_TYPE_TIMESTAMP: Type("google.protobuf.Timestamp"),
        pb.CheckedType.WELL_KNOWN_TYPE_DURATION: Type("google.protobuf.Duration"),
    }
)
_OPTIONAL_FIELD = "_?._"
_ROOT_TYPES = frozenset({"bool", "dyn"})
_DAMAGED = "the checked form of this expression is damaged"


def decode(data: bytes, source: str, *, require_bool: bool = False) -> Expression:
    """Read a checked expression.

    Args:
        data: a serialised `pdp.v1.CheckedExpr`, trusted in nothing.
        source: the text it was checked from; errors point into it.
        require_bool: refuse a root whose type is neither bool nor dyn. A
            condition must be one of these; a variable may be anything.

    Raises:
        ExpressionError: not a checked expression, a form that is not
            supported, or too large.
    """
    if len(data) > BYTES_MAX:
        _refuse(source, 0, f"the checked form is larger than {BYTES_MAX} bytes")
    message = pb.CheckedExpr()
    try:
        message.ParseFromString(data)
    except DecodeError:
        _refuse(source, 0, _DAMAGED, "or nested too deeply")
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:
        _refuse(source, 0, "the checked form has fields that are not known", "build it again")
    root = _Decoder(message, source).node(message.expr, 1)
    if require_bool and root.type.name not in _ROOT_TYPES:
        _refuse(
            source,
            0,
            f"a condition must be a bool, this is `{root.type}`",
            "compare it with something",
        )
    return Expression(root, source)


def walk(root: Node) -> Iterator[tuple[Node, frozenset[str]]]:
    """Every node of a tree, the outermost first, with the loop variables around it."""
    waiting: list[tuple[Node, frozenset[str]]] = [(root, frozenset())]
    while waiting:
        node, bound = waiting.pop()
        yield node, bound
        below: list[Node] = []
        match node:
            case Select(operand):
                below = [operand]
            case Call(_, target, args):
                below = [*args] if target is None else [target, *args]
            case ListNode(elements):
                below = [*elements]
            case MapNode(entries):
                below = [part for entry in entries for part in (entry.key, entry.value)]
            case Comprehension():
                waiting += [(node.iter_range, bound), (node.accu_init, bound)]
                inner = bound | {node.iter_var, node.iter_var2, node.accu_var}
                parts = (node.loop_condition, node.loop_step, node.result)
                waiting += [(part, inner) for part in parts]
            case Literal() | Ident():
                pass
        waiting += [(part, bound) for part in below]


def _refuse(source: str, offset: int, message: str, suggestion: str = "") -> NoReturn:
    raise ExpressionError(message, position_of(source, offset), suggestion)


class _Decoder:
    """Walks one message."""

    def __init__(self, message: pb.CheckedExpr, source: str) -> None:
        self.types = message.type_map
        self.references = message.reference_map
        self.positions = message.source_info.positions
        self.source = source
        self.left = NODES_MAX

    def offset(self, node: pb.CheckedNode) -> int:
        """Where the node is, in code points; 0 if nobody said. Never outside the text."""
        at = self.positions.get(node.id, 0)
        return min(max(at, 0), len(self.source))

    def refuse(self, node: pb.CheckedNode, message: str, suggestion: str = "") -> NoReturn:
        _refuse(self.source, self.offset(node), message, suggestion)

    # -- types ---------------------------------------------------------------

    def type_of(self, node: pb.CheckedNode) -> Type:
        """The static type; a node without one is an error, not dyn."""
        if node.id in self.types:
            return self.type(node, self.types[node.id], 1)
        # The checker leaves out the types of a map's keys and of nothing else.
        return self.refuse(node, _DAMAGED, "a part has no type")

    def type(self, node: pb.CheckedNode, kind: pb.CheckedType, level: int) -> Type:
        """A type, within depth."""
        if level > TYPE_DEPTH_MAX:
            self.refuse(node, "a type is nested too deeply")
        name = kind.WhichOneof("type_kind")
        inner: list[pb.CheckedType] = []
        match name:
            case "primitive" if kind.primitive in _PRIMITIVES:
                return _PRIMITIVES[kind.primitive]
            case "well_known" if kind.well_known in _WELL_KNOWN:
                return _WELL_KNOWN[kind.well_known]
            case "dyn" | "type_param":
                # A parameter nothing fixed, as in `[]`, may be any type.
                return Type("dyn")
            case "null":
                return Type("null_type")
            case "list_type":
                inner = [kind.list_type.elem_type]
            case "map_type":
                inner = [kind.map_type.key_type, kind.map_type.value_type]
            case "type":
                # The type of types has no parameter.
                inner = [kind.type] if kind.type.WhichOneof("type_kind") else []
            case "abstract_type":
                inner = list(kind.abstract_type.parameter_types)
            case _:
                self.refuse(node, f"a type of the form `{name}` is not supported")
        parameters = tuple(self.type(node, part, level + 1) for part in inner)
        return Type(kind.abstract_type.name or name.removesuffix("_type"), parameters)

    # -- nodes ---------------------------------------------------------------

    def node(self, node: pb.CheckedNode, level: int) -> Node:
        """A node and all below it."""
        self.left -= 1
        if self.left < 0:
            self.refuse(node, f"larger than {NODES_MAX} nodes")
        if level > DEPTH_MAX:
            self.refuse(node, f"nested deeper than {DEPTH_MAX} levels")
        match node.WhichOneof("expr_kind"):
            case "const_expr":
                return self._literal(node, node.const_expr)
            case "ident_expr":
                return self._ident(node, node.ident_expr.name)
            case "select_expr":
                return self._select(node, level)
            case "call_expr":
                return self._call(node, level)
            case "list_expr":
                return self._list(node, level)
            case "struct_expr":
                return self._map(node, level)
            case "comprehension_expr":
                return self._comprehension(node, level)
            case _:
                return self.refuse(node, _DAMAGED, "a part is empty")

    def _literal(self, node: pb.CheckedNode, constant: pb.CheckedConstant) -> Literal:
        kind = constant.WhichOneof("constant_kind")
        value: Constant
        match kind:
            case "null_value":
                value = None
            case "bool_value":
                value = constant.bool_value
            case "int64_value":
                value = constant.int64_value
            case "uint64_value":
                value = Uint(constant.uint64_value)
            case "double_value":
                value = constant.double_value
            case "string_value":
                value = constant.string_value
            case "bytes_value":
                value = constant.bytes_value
            case _:
                self.refuse(node, f"a constant of the form `{kind}` is not supported")
        return Literal(value, self.type_of(node), self.offset(node))

    def _ident(self, node: pb.CheckedNode, name: str) -> Node:
        """A name, or what the checker says it stands for."""
        reference = self.references.get(node.id)
        if reference is not None:
            if reference.HasField("value"):
                return self._literal(node, reference.value)
            # Same name, or the full name of one that was found in a container.
            name = reference.name or name
        if not name:
            self.refuse(node, _DAMAGED, "a name is empty")
        return Ident(name, self.type_of(node), self.offset(node))

    def _select(self, node: pb.CheckedNode, level: int) -> Node:
        select = node.select_expr
        reference = self.references.get(node.id)
        if reference is not None and (reference.name or reference.HasField("value")):
            # cel-go leaves a qualified name as selections and says here what it is.
            if select.test_only:
                self.refuse(node, f"`has()` of `{reference.name}`, which is no field of a map")
            return self._ident(node, reference.name)
        if not select.HasField("operand"):
            self.refuse(node, _DAMAGED, "a selection from nothing")
        operand = self.node(select.operand, level + 1)
        at = self.offset(node)
        return Select(operand, select.field, select.test_only, self.type_of(node), at)

    def _call(self, node: pb.CheckedNode, level: int) -> Call:
        call = node.call_expr
        target = self.node(call.target, level + 1) if call.HasField("target") else None
        args = tuple(
            self._field_name(argument)
            if call.function == _OPTIONAL_FIELD and at == 1
            else self.node(argument, level + 1)
            for at, argument in enumerate(call.args)
        )
        reference = self.references.get(node.id)
        overloads = () if reference is None else tuple(reference.overload_id)
        if not overloads:
            self.refuse(node, f"the function `{call.function}` was not resolved by the checker")
        at = self.offset(node)
        return Call(call.function, target, args, overloads, self.type_of(node), at)

    def _field_name(self, node: pb.CheckedNode) -> Literal:
        """The name in `operand.?name`, to which the checker gives no type."""
        if node.const_expr.WhichOneof("constant_kind") != "string_value":
            self.refuse(node, _DAMAGED, "a field without a name")
        return Literal(node.const_expr.string_value, Type("string"), self.offset(node))

    def _list(self, node: pb.CheckedNode, level: int) -> ListNode:
        elements = tuple(self.node(element, level + 1) for element in node.list_expr.elements)
        optional = tuple(node.list_expr.optional_indices)
        return ListNode(elements, optional, self.type_of(node), self.offset(node))

    def _map(self, node: pb.CheckedNode, level: int) -> MapNode:
        struct = node.struct_expr
        if struct.message_name:
            self.refuse(
                node,
                f"making a message, `{struct.message_name}{{...}}`, is not supported",
                "conditions work on maps, lists and scalars",
            )
        entries: list[MapEntry] = []
        for entry in struct.entries:
            if entry.WhichOneof("key_kind") != "map_key" or not entry.HasField("value"):
                self.refuse(node, _DAMAGED, "a map entry without key or value")
            key = self.node(entry.map_key, level + 1)
            value = self.node(entry.value, level + 1)
            entries.append(MapEntry(key, value, entry.optional_entry))
        return MapNode(tuple(entries), self.type_of(node), self.offset(node))

    def _comprehension(self, node: pb.CheckedNode, level: int) -> Comprehension:
        inner = node.comprehension_expr
        return Comprehension(
            iter_var=inner.iter_var,
            iter_var2=inner.iter_var2,
            iter_range=self.node(inner.iter_range, level + 1),
            accu_var=inner.accu_var,
            accu_init=self.node(inner.accu_init, level + 1),
            loop_condition=self.node(inner.loop_condition, level + 1),
            loop_step=self.node(inner.loop_step, level + 1),
            result=self.node(inner.result, level + 1),
            type=self.type_of(node),
            offset=self.offset(node),
        )
