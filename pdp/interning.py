"""Questions admitted with parts that came before: bytes -> what they were found to be.

The same subjects, actions and resources come again and again, and what their
bytes amount to is a function of the bytes and of the limits of input. So it is
worked out once and kept, bounded in number and in memory. What holds here:

- the key is the whole of the bytes, nothing less;
- what comes out is what `wire.admit_message` makes of the same message: it
  answers by itself whatever is unusual here, and whatever is wrong. Only what
  was judged and found good is kept, so nothing is refused or admitted for what
  came before;
- a protobuf message may hold a field twice, and then its parts are merged: what
  does not come back byte for byte in length from a message of these fields is
  unusual. So are unknown fields, and lengths that are written in a longer way;
- nobody changes what is kept: conditions cannot, and nothing else gets it;
- it knows nothing of tenants or policies: what the schemas of one version said
  of a part is noted on it by those, under a mark that is theirs alone.

Source of the design: docs/adr/0019.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.message import DecodeError

from pdp import boundary, wire
from pdp.boundary import Admitted, InputLimits
from pdp.errors import InvalidRequestError
from pdp.model import Action, Caller, Request, Resource, Subject
from pdp.parts import Part
from pdp.v1 import authorization_pb2 as pb
from pdp.value_codec import map_within, value_within
from pdp.values import Value

# The published messages that are read here, with the fields that this module knows what to do with.
# Any other field is unknown to it, so unusual. Those that are looked up stay bytes.
_KNOWN: Final[Mapping[str, Mapping[str, bool]]] = {
    "AuthorizeRequest": {
        "request_id": False,
        "tenant": False,
        "subject": True,
        "action": True,
        "resource": True,
        # Read as it is: hardly ever is one like another.
        "context": False,
        "subject_token": False,
        "explain": False,
    },
    "Subject": {"type": False, "id": False, "properties": True},
    "Action": {"name": False, "properties": True},
    "Resource": {"type": False, "id": False, "properties": True},
}


def _mirrors() -> Callable[[str], Any]:
    """The messages by name, in a pool of their own; and `Entry`, which protobuf keeps back."""
    source = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(source)
    source.ClearField("service")
    for described in source.message_type:
        if described.name in _KNOWN:
            _look_no_further(described, _KNOWN[described.name])
    entry = source.message_type.add(name="Entry")
    kind = descriptor_pb2.FieldDescriptorProto
    entry.field.add(name="key", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=kind.TYPE_MESSAGE,
        label=kind.LABEL_OPTIONAL,
        type_name=".pdp.v1.Value",
    )
    pool = descriptor_pool.DescriptorPool()
    for imported in (timestamp_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
        copied = descriptor_pb2.FileDescriptorProto()
        imported.CopyToProto(copied)
        pool.Add(copied)
    pool.Add(source)
    return lambda name: message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"pdp.v1.{name}")
    )


def _look_no_further(described: descriptor_pb2.DescriptorProto, known: Mapping[str, bool]) -> None:
    fields = [field for field in described.field if field.name in known]
    for field in fields:
        if known[field.name]:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    del described.field[:]
    described.field.extend(fields)


_mirror: Final = _mirrors()
# The parsers, bound once.
_question: Final = _mirror("AuthorizeRequest").FromString
_subject: Final = _mirror("Subject").FromString
_action: Final = _mirror("Action").FromString
_resource: Final = _mirror("Resource").FromString
_entry: Final = _mirror("Entry").FromString

# Bytes of memory, estimated from above: for subjects, for resources and for single properties,
# and for actions, of which there are few.
KEPT_BYTES_MAX: Final = 8 << 20
_ACTIONS_BYTES_MAX: Final = 1 << 20
# However small they are. And what is longer than this is not what comes again and again.
_KEPT_MAX: Final = 16_384
_ITEM_BYTES_MAX: Final = 4_096
# Of a part beside its properties: the object, its names, two maps, its place in the table.
_PART_BYTES: Final = 1_536
_PLACE_BYTES: Final = 256


class Sized(Protocol):
    """What can be kept."""

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, the bytes that it was made from included."""
        ...


class Property(NamedTuple):
    """One property."""

    name: str
    value: Value
    size: int


T = TypeVar("T", bound=Sized)


class _UnusualError(Exception):
    """Whether a message is wrong or only odd, the ordinary way finds out."""


class Generations(Generic[T]):
    """What was kept lately, by bytes: a young half, and the old half that it will replace.

    What is used moves to the young half; when that is full, the old one is
    dropped at once. So a flood of what never comes again costs what comes again
    at most one more miss for each time that it fills the memory.

    Args:
        bytes_max: of both halves together.
        kept_max: items in both halves together.

    Attributes:
        young: the young half.
    """

    __slots__ = ("_bytes", "_bytes_max", "_kept_max", "_old", "young")

    def __init__(self, bytes_max: int, kept_max: int = _KEPT_MAX) -> None:
        self._bytes_max = bytes_max // 2
        self._kept_max = kept_max // 2
        self.young: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.young.keys() | self._old.keys())

    def get(self, key: bytes) -> T | None:
        """What is kept for exactly these bytes."""
        found = self.young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.keep(key, found)
        return found

    def keep(self, key: bytes, item: T) -> None:
        """Keep it, unless it is large.

        Args:
            key: the whole of the bytes that it was made from.
            item: never changed by anybody.
        """
        if len(key) > _ITEM_BYTES_MAX or item.size > self._bytes_max:
            return
        if self._bytes + item.size > self._bytes_max or len(self.young) >= self._kept_max:
            self._old, self.young, self._bytes = self.young, {}, 0
        self.young[key] = item
        self._bytes += item.size


class Interner:
    """Admits messages. For one event loop.

    Args:
        limits: what a request may be at most; what is kept was judged by these.
        bytes_max: of memory, for subjects, for resources and for properties each.
    """

    def __init__(self, limits: InputLimits, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._limits = limits
        # Longer ones could exceed a limit on sums.
        self._short = boundary.fitting_bytes(limits)
        self._subjects: Generations[Part] = Generations(bytes_max)
        self._resources: Generations[Part] = Generations(bytes_max)
        self._actions: Generations[Part] = Generations(min(bytes_max, _ACTIONS_BYTES_MAX))
        self._properties: Generations[Property] = Generations(bytes_max)

    def admit(self, message: bytes, caller: Caller) -> Admitted:
        """What `wire.admit_message` makes of it, with values that others may have as well.

        Args:
            message: as received; trusted in nothing.
            caller: already verified.

        Raises:
            InvalidRequestError: as `wire.admit_message`.
        """
        if len(message) <= self._short:
            try:
                return self._admit(message, caller)
            except (_UnusualError, InvalidRequestError, DecodeError, UnicodeDecodeError):
                pass
        return wire.admit_message(message, caller, self._limits)

    def _admit(self, message: bytes, caller: Caller) -> Admitted:
        asked = _read(_question, message)
        # Most are among the young; a call for each of the three would cost half of what is saved.
        key = asked.subject
        subject = self._subjects.young.get(key) or self._subjects.get(key) or self._subject(key)
        key = asked.action
        action = self._actions.young.get(key) or self._actions.get(key) or self._action(key)
        key = asked.resource
        resource = self._resources.young.get(key) or self._resources.get(key) or self._resource(key)
        context = map_within(asked.context, self._limits.depth_max)
        request_id, tenant = asked.request_id, asked.tenant
        if not request_id:
            raise _UnusualError
        if len(message) > self._limits.name_bytes_max:
            boundary.check_names((request_id, tenant), len(message), self._limits)
        request = Request(
            subject.entity,  # type: ignore[arg-type]
            action.entity,  # type: ignore[arg-type]
            resource.entity,  # type: ignore[arg-type]
            context,
            tenant,
            request_id,
            asked.subject_token,
            asked.explain,
        )
        return boundary.admit_parts(request, caller, (subject, action, resource), context)

    def _subject(self, message: bytes) -> Part:
        made = _read(_subject, message)
        properties, size = self._map(made.properties)
        self._check(len(message), made.type, made.id)
        part = Part(
            Subject(sys.intern(made.type), made.id, properties), "subject", size + len(message)
        )
        self._subjects.keep(message, part)
        return part

    def _action(self, message: bytes) -> Part:
        made = _read(_action, message)
        properties, size = self._map(made.properties)
        self._check(len(message), made.name)
        part = Part(Action(sys.intern(made.name), properties), "action", size + len(message))
        self._actions.keep(message, part)
        return part

    def _resource(self, message: bytes) -> Part:
        made = _read(_resource, message)
        properties, size = self._map(made.properties)
        self._check(len(message), made.type, made.id)
        part = Part(
            Resource(sys.intern(made.type), made.id, properties), "resource", size + len(message)
        )
        self._resources.keep(message, part)
        return part

    def _check(self, size: int, *names: str) -> None:
        """Each is required, and none may be too long."""
        if not all(names):
            raise _UnusualError
        boundary.check_names(names, size, self._limits)

    def _map(self, items: Any) -> tuple[dict[str, Value], int]:
        """The properties, and the bytes of memory that a part with them takes."""
        found: dict[str, Value] = {}
        size = _PART_BYTES
        for item in items:
            name, value, taken = self._properties.get(item) or self._property(item)
            # A name that comes twice has its last value, as in any map field.
            found[name] = value
            size += taken
        return found, size

    def _property(self, message: bytes) -> Property:
        """One entry of a map field."""
        entry = _read(_entry, message)
        value = value_within(entry.value, self._limits.depth_max)
        # One text for the name wherever it is: a condition finds it without comparing letters.
        name = sys.intern(entry.key)
        size = len(message) + _size(name) + _size(value) + _PLACE_BYTES
        made = Property(name, value, size)
        self._properties.keep(message, made)
        return made


def _read(parse: Callable[[bytes], Any], message: bytes) -> Any:
    """The message, if it holds fields of its kind alone, each once, written in the short way."""
    made = parse(message)
    made.DiscardUnknownFields()
    # INVARIANT: each field that is there counts once, at its shortest; what is there twice or is
    # written longer makes the message longer than this, and nothing makes it shorter.
    if made.ByteSize() != len(message):
        raise _UnusualError
    return made


def _size(value: Value) -> int:
    """Bytes of memory that a value takes with all that is in it."""
    size = sys.getsizeof(value)
    if type(value) is dict:
        size += sum(_size(name) + _size(item) for name, item in value.items())
    elif type(value) is list:
        size += sum(map(_size, value))
    return size
