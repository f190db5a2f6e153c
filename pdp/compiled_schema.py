"""Schemas and providers as a bundle carries them: `pdp.v1.CompiledSchema` <-> `pdp.schema`.

As in `pdp.compiled`, the bytes are believed nothing: what is absent, unknown,
unsorted or out of range is refused. That a schema is not too large and that
its patterns compile `pdp.schema_check.Schemas` finds.
"""

from __future__ import annotations

import math

from pdp.errors import DocumentError, InvalidRequestError
from pdp.provided import ProviderDocument
from pdp.schema import DEPTH_MAX, NODES_MAX, Bound, Kind, Property, Scalar, Schema, SchemaDocument
from pdp.schema import Target as SchemaTarget
from pdp.v1 import bundle_pb2 as pb
from pdp.value_codec import value_from_pb, value_to_pb

_DAMAGED = "a schema is damaged"
_SCALARS = frozenset({type(None), bool, int, float, str})


def schema_to_pb(document: SchemaDocument, out: pb.CompiledSchema) -> None:
    """Encode into `out`."""
    # The model's numbers are the bundle's.
    out.target = document.target.value  # type: ignore[assignment]
    out.name = document.name
    _node_to_pb(document.schema, out.schema)


def schema_from_pb(message: pb.CompiledSchema) -> SchemaDocument:
    """Decode.

    Raises:
        DocumentError: it is no schema.
    """
    try:
        target = SchemaTarget(message.target)
    except ValueError:
        raise DocumentError("a schema does not say what it is about") from None
    if not message.name:
        raise DocumentError("a schema does not name what it is about")
    if not message.HasField("schema"):
        raise DocumentError(_DAMAGED)
    return SchemaDocument(target, message.name, _Reader().node(message.schema, 1))


def provider_to_pb(document: ProviderDocument, out: pb.CompiledProvider) -> None:
    """Encode into `out`."""
    out.name, out.type, out.max_age_s = document.name, document.type, document.max_age_s
    out.target = document.target.value  # type: ignore[assignment]
    out.attributes.extend(document.attributes)


def provider_from_pb(message: pb.CompiledProvider) -> ProviderDocument:
    """Decode. That it names a subject or a resource, and is well-formed, `pdp.provided` finds.

    Raises:
        DocumentError: it does not say what it is about.
    """
    try:
        target = SchemaTarget(message.target)
    except ValueError:
        raise DocumentError("a provider does not say what it is about") from None
    return ProviderDocument(
        message.name, target, message.type, tuple(message.attributes), message.max_age_s
    )


def _node_to_pb(schema: Schema, out: pb.SchemaNode) -> None:
    kinds = sorted(kind.value for kind in schema.kinds)
    out.kinds.extend(kinds)  # type: ignore[arg-type]
    if schema.values is not None:
        out.values.SetInParent()
        out.values.values.extend(map(value_to_pb, schema.values))
    for item in schema.properties:
        property_pb = out.properties.add(name=item.name, required=item.required)
        _node_to_pb(item.schema, property_pb.schema)
    out.open = schema.open
    if schema.additional is not None:
        _node_to_pb(schema.additional, out.additional)
    if schema.items is not None:
        _node_to_pb(schema.items, out.items)
    out.min_length, most = schema.length
    if most is not None:
        out.max_length = most
    out.min_items, most = schema.count
    if most is not None:
        out.max_items = most
    out.pattern, out.date_time = schema.pattern, schema.date_time
    for bound, bound_pb in ((schema.minimum, out.minimum), (schema.maximum, out.maximum)):
        if bound is not None:
            bound_pb.value.CopyFrom(value_to_pb(bound.value))
            bound_pb.exclusive = bound.exclusive


class _Reader:
    """Decodes one schema, within limits."""

    def __init__(self) -> None:
        self.left = NODES_MAX

    def node(self, message: pb.SchemaNode, level: int) -> Schema:
        """A node and all below it."""
        self.left -= 1
        if self.left < 0 or level > DEPTH_MAX:
            raise DocumentError("a schema is too large or nested too deeply")
        numbers = list(message.kinds)
        if not numbers or numbers != sorted(set(numbers)):
            raise DocumentError(_DAMAGED)
        try:
            kinds = frozenset(map(Kind, numbers))
        except ValueError:
            raise DocumentError("a schema has a kind of value that is not known") from None
        names = [item.name for item in message.properties]
        if not all(item.HasField("schema") for item in message.properties) or names != sorted(
            set(names)
        ):
            raise DocumentError(_DAMAGED)
        return Schema(
            kinds,
            values=_values(message.values) if message.HasField("values") else None,
            properties=tuple(
                Property(item.name, item.required, self.node(item.schema, level + 1))
                for item in message.properties
            ),
            open=message.open,
            additional=self.node(message.additional, level + 1)
            if message.HasField("additional")
            else None,
            items=self.node(message.items, level + 1) if message.HasField("items") else None,
            length=(
                message.min_length,
                message.max_length if message.HasField("max_length") else None,
            ),
            count=(message.min_items, message.max_items if message.HasField("max_items") else None),
            pattern=message.pattern,
            date_time=message.date_time,
            minimum=_bound(message.minimum) if message.HasField("minimum") else None,
            maximum=_bound(message.maximum) if message.HasField("maximum") else None,
        )


def _scalar(message: object) -> Scalar:
    try:
        value = value_from_pb(message)  # type: ignore[arg-type]
    except InvalidRequestError:
        raise DocumentError(_DAMAGED) from None
    if type(value) not in _SCALARS or (type(value) is float and not math.isfinite(value)):
        raise DocumentError(_DAMAGED)
    return value  # type: ignore[return-value]


def _values(message: pb.SchemaValues) -> tuple[Scalar, ...]:
    if not message.values:
        raise DocumentError("a schema lets nothing through")
    return tuple(map(_scalar, message.values))


def _bound(message: pb.SchemaBound) -> Bound:
    value = _scalar(message.value)
    if type(value) is not int and type(value) is not float:
        raise DocumentError(_DAMAGED)
    return Bound(value, message.exclusive)
