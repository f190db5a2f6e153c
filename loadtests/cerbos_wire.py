"""The few messages of Cerbos' API that a comparison needs, by their published names and numbers.

Not generated: their definitions are not in this repository. `CheckResources` takes one principal,
many resources and the actions for each; field numbers are those of `cerbos.request.v1`,
`cerbos.response.v1` and `cerbos.engine.v1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

METHOD: Final = "/cerbos.svc.v1.CerbosService/CheckResources"
ALLOW: Final = 1
_Field = descriptor_pb2.FieldDescriptorProto
_TEXT, _NUMBER, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_INT32, _Field.TYPE_MESSAGE
_VALUE: Final = ".google.protobuf.Value"

_FIELDS: Final[Mapping[str, Sequence[tuple[str, int, Any, str, bool]]]] = {
    "AttrEntry": (("key", 1, _TEXT, "", False), ("value", 2, _MESSAGE, _VALUE, False)),
    "Principal": (
        ("id", 1, _TEXT, "", False),
        ("roles", 3, _TEXT, "", True),
        ("attr", 4, _MESSAGE, ".c.AttrEntry", True),
    ),
    "Resource": (
        ("kind", 1, _TEXT, "", False),
        ("id", 3, _TEXT, "", False),
        ("attr", 4, _MESSAGE, ".c.AttrEntry", True),
    ),
    "Entry": (
        ("actions", 1, _TEXT, "", True),
        ("resource", 2, _MESSAGE, ".c.Resource", False),
    ),
    "Request": (
        ("request_id", 1, _TEXT, "", False),
        ("principal", 3, _MESSAGE, ".c.Principal", False),
        ("resources", 4, _MESSAGE, ".c.Entry", True),
    ),
    "Told": (("id", 1, _TEXT, "", False), ("kind", 2, _TEXT, "", False)),
    "ActionEntry": (("key", 1, _TEXT, "", False), ("value", 2, _NUMBER, "", False)),
    "Result": (
        ("resource", 1, _MESSAGE, ".c.Told", False),
        ("actions", 2, _MESSAGE, ".c.ActionEntry", True),
    ),
    "Response": (
        ("request_id", 1, _TEXT, "", False),
        ("results", 2, _MESSAGE, ".c.Result", True),
    ),
}


def _messages() -> Mapping[str, Any]:
    described = descriptor_pb2.FileDescriptorProto(
        name="cerbos_wire.proto",
        package="c",
        syntax="proto3",
        dependency=["google/protobuf/struct.proto"],
    )
    for name, fields in _FIELDS.items():
        message = described.message_type.add(name=name)
        for field, number, kind, of, many in fields:
            label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
            message.field.add(
                name=field, number=number, type=kind, type_name=of or None, label=label
            )
    pool = descriptor_pool.DescriptorPool()
    struct = descriptor_pb2.FileDescriptorProto()
    struct_pb2.DESCRIPTOR.CopyToProto(struct)
    pool.Add(struct)
    pool.Add(described)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"c.{name}"))
        for name in _FIELDS
    }


_MESSAGES: Final = _messages()


def _put(value: Any, out: Any) -> None:
    """JSON's kinds: Cerbos knows no others."""
    if isinstance(value, bool):
        out.bool_value = value
    elif isinstance(value, int | float):
        out.number_value = value
    elif isinstance(value, str):
        out.string_value = value
    elif isinstance(value, list):
        out.list_value.SetInParent()
        for item in value:
            _put(item, out.list_value.values.add())
    else:
        out.struct_value.SetInParent()
        for name, item in value.items():
            _put(item, out.struct_value.fields[name])


def _put_all(properties: Mapping[str, Any], entries: Any) -> None:
    for name, value in properties.items():
        entry = entries.add(key=name)
        _put(value, entry.value)


def request(
    principal: tuple[str, Sequence[str], Mapping[str, Any]],
    resources: Sequence[tuple[str, str, Mapping[str, Any]]],
    actions: Sequence[str],
) -> bytes:
    """May this principal do each action on each resource?

    Args:
        principal: id, roles, attributes.
        resources: kind, id, attributes of each.
        actions: by name.
    """
    out = _MESSAGES["Request"](request_id="q")
    out.principal.id = principal[0]
    out.principal.roles.extend(principal[1])
    _put_all(principal[2], out.principal.attr)
    for kind, name, attributes in resources:
        entry = out.resources.add(actions=actions)
        entry.resource.kind, entry.resource.id = kind, name
        _put_all(attributes, entry.resource.attr)
    message: bytes = out.SerializeToString()
    return message


def permits(answer: bytes) -> dict[tuple[str, str], bool]:
    """By resource and action."""
    told = _MESSAGES["Response"].FromString(answer)
    return {
        (result.resource.id, action.key): action.value == ALLOW
        for result in told.results
        for action in result.actions
    }
