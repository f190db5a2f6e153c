"""Policy documents as a bundle carries them: `pdp.v1.CompiledDocument` <-> documents.

`decode` is how the PDP loads a verified bundle, and it believes nothing: the
signature says who made the bytes, not that they are well made. Whatever the
bytes, it returns a document in which nothing absent stands for something
milder, or raises a PolicyError. What concerns a document as a whole (roles,
names, duplicates) `pdp.policy.PolicySet` checks once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp as TimestampPb

from pdp import checked_expr
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.syntax import Expression
from pdp.compiled_mapping import mapping_from_pb, mapping_to_pb
from pdp.compiled_schema import (
    provider_from_pb,
    provider_to_pb,
    schema_from_pb,
    schema_to_pb,
)
from pdp.errors import DocumentError, ExpressionError, InvalidRequestError, PolicyError, Position
from pdp.http_mapping import MappingDocument
from pdp.model import Effect, Obligation
from pdp.policy import EVERY_RESOURCE, PolicyDocument, RoleDocument, RuleDocument
from pdp.provided import ProviderDocument
from pdp.schema import SchemaDocument
from pdp.v1 import authorization_pb2 as wire_pb
from pdp.v1 import bundle_pb2 as pb
from pdp.value_codec import map_from_pb, obligation_to_pb
from pdp.values import NANOS, TIMESTAMP_SECONDS_MAX, TIMESTAMP_SECONDS_MIN

FORMAT_VERSION = 1
# An archive is bounded by `pdp.archive`; this bounds one member before it is parsed. A source
# is at most 1 MiB, and a checked expression is some ten times its source.
COMPILED_BYTES_MAX = 8 << 20
# Repeated items of one message; far above what fits a source of 1 MiB in practice.
ITEMS_MAX = 50_000

Kind = Literal["variable", "role", "rule"]
_EFFECT_TO_PB = {Effect.DENY: wire_pb.EFFECT_DENY, Effect.PERMIT: wire_pb.EFFECT_PERMIT}
_EFFECT_FROM_PB = {number: effect for effect, number in _EFFECT_TO_PB.items()}


@dataclass(frozen=True, slots=True)
class CheckedCondition:
    """A condition with what the checker made of it.

    Attributes:
        source: the CEL text.
        checked_expr: a serialised `pdp.v1.CheckedExpr`.
        line, column: where the text begins in its document; they count from 1.
    path: of that document inside the bundle, where it is another one than the
        policy's.
    """

    source: str
    checked_expr: bytes
    line: int
    column: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class SharedMarker:
    """Stands for a document of shared definitions; they are in the policies that use them."""

    name: str


Conditions = Mapping[tuple[Kind, str], CheckedCondition]
Document: TypeAlias = (
    "PolicyDocument | CallerPolicy | SchemaDocument | SharedMarker | ProviderDocument"
    " | MappingDocument"
)


def encode_policy(document: PolicyDocument, source_path: str, conditions: Conditions) -> bytes:
    """The bytes of a policy; equal for equal arguments.

    Args:
        document: as checked.
        source_path: path of the source inside the bundle.
        conditions: the checked form of each condition, by what it belongs to:
            ("variable", name), ("role", name) or ("rule", id).

    Raises:
        DocumentError: a rule lists no roles.
        KeyError: a condition of the document is not among them.
    """
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    policy = out.policy
    policy.name = document.name
    if document.resource_type == EVERY_RESOURCE:
        policy.every_resource = True
    else:
        policy.resource_type = document.resource_type
    policy.owner = document.owner
    policy.static_roles.extend(document.static_roles)
    for name, _ in document.variables:
        variable = policy.variables.add(name=name)
        _condition_to_pb(conditions["variable", name], variable.expression)
    for role in document.roles:
        role_pb = policy.roles.add(name=role.name)
        # `from` is a word of Python.
        getattr(role_pb, "from").extend(role.sources)
        if role.when is not None:
            _condition_to_pb(conditions["role", role.name], role_pb.when)
    for rule in document.rules:
        if rule.roles == ():
            # Empty means anyone in the message, and nobody could ever have meant it here.
            raise DocumentError(f"rule `{rule.id}` lists no roles", Position(source_path))
        rule_pb = policy.rules.add(id=rule.id, effect=_EFFECT_TO_PB[rule.effect])
        rule_pb.actions.extend(rule.actions)
        rule_pb.roles.extend(rule.roles or ())
        if rule.when is not None:
            _condition_to_pb(conditions["rule", rule.id], rule_pb.when)
        _time_to_pb(rule.starts_ns, rule_pb.starts)
        _time_to_pb(rule.expires_ns, rule_pb.expires)
        rule_pb.justification = rule.justification
        for duty in rule.obligations:
            obligation_to_pb(duty, rule_pb.obligations.add())
        for item in rule.advice:
            obligation_to_pb(item, rule_pb.advice.add())
        rule_pb.reason_user, rule_pb.reason_admin = rule.reason_user, rule.reason_admin
        rule_pb.lease_s = rule.lease_s
    return out.SerializeToString(deterministic=True)


def encode_callers(policy: CallerPolicy, source_path: str) -> bytes:
    """The bytes of a caller policy; equal for equal arguments."""
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    for entry in policy.entries:
        entry_pb = out.callers.callers.add(id=entry.id, may=sorted(entry.may))
        entry_pb.tenants.extend(entry.tenants)
        entry_pb.resources.extend(entry.resources)
        entry_pb.actions.extend(entry.actions)
        if entry.asserts is None:
            entry_pb.token_required.SetInParent()
        else:
            getattr(entry_pb, "assert").types.extend(entry.asserts)
    return out.SerializeToString(deterministic=True)


def encode_schema(document: SchemaDocument, source_path: str) -> bytes:
    """The bytes of a schema; equal for equal arguments."""
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    schema_to_pb(document, out.schema)
    return out.SerializeToString(deterministic=True)


def encode_provider(document: ProviderDocument, source_path: str) -> bytes:
    """The bytes of a provider; equal for equal arguments."""
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    provider_to_pb(document, out.provider)
    return out.SerializeToString(deterministic=True)


def encode_mapping(
    document: MappingDocument,
    source_path: str,
    expressions: Mapping[tuple[str, str], CheckedCondition],
) -> bytes:
    """The bytes of an HTTP mapping; equal for equal arguments.

    Raises:
        KeyError: an expression of the document is not among them.
    """
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    mapping_to_pb(document, expressions, _condition_to_pb, out.mapping)
    return out.SerializeToString(deterministic=True)


def encode_shared(name: str, source_path: str) -> bytes:
    """The bytes that stand for a document of shared definitions."""
    out = pb.CompiledDocument(format_version=FORMAT_VERSION, source_path=source_path)
    out.shared.name = name
    return out.SerializeToString(deterministic=True)


def decode(data: bytes) -> Document:
    """A document from a bundle.

    Raises:
        DocumentError: the bytes are no document of this format, or it breaks a
            rule of its kind.
        ExpressionError: a condition cannot be loaded.
    """
    if len(data) > COMPILED_BYTES_MAX:
        raise DocumentError(f"a compiled document is larger than {COMPILED_BYTES_MAX} bytes")
    try:
        message = pb.CompiledDocument.FromString(data)
    except DecodeError:
        raise DocumentError("a compiled document cannot be parsed") from None
    path = message.source_path
    if not path:
        raise DocumentError("a compiled document does not name its source")
    if message.format_version != FORMAT_VERSION:
        found = f"format {message.format_version} of a compiled document is not known"
        raise DocumentError(found, Position(path), "use a newer PDP, or an older builder")
    _refuse_unknown_fields(message, path)
    try:
        match message.WhichOneof("document"):
            case "policy":
                return _policy(message.policy, path)
            case "callers":
                return _callers(message.callers)
            case "schema":
                return schema_from_pb(message.schema)
            case "mapping":
                return _mapping(message.mapping, path)
            case "shared":
                return SharedMarker(_name(message.shared.name, "the name of shared definitions"))
            case "provider":
                return provider_from_pb(message.provider)
            case _:
                raise DocumentError("a compiled document is of no kind that is known")
    except PolicyError as error:
        if error.position is not None:
            raise
        raise DocumentError(error.message, Position(path), error.suggestion) from None


def _refuse_unknown_fields(message: pb.CompiledDocument, path: str) -> None:
    """A field we do not know may hold a condition we would not apply."""
    before = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != before:
        hint = "use a newer PDP, or an older builder"
        raise DocumentError("a compiled document has unknown fields", Position(path), hint)


def _items(values: Sequence[str], what: str) -> tuple[str, ...]:
    """Strings, none empty, not too many."""
    if len(values) > ITEMS_MAX:
        raise DocumentError(f"{what} has more than {ITEMS_MAX} items")
    if not all(values):
        raise DocumentError(f"{what} has an empty item")
    return tuple(values)


def _name(text: str, what: str) -> str:
    if not text:
        raise DocumentError(f"{what} is empty")
    return text


def _policy(message: pb.CompiledPolicy, path: str) -> PolicyDocument:
    name = _name(message.name, "the name of a policy")
    return PolicyDocument(
        name=name,
        resource_type=_resource_type(message, name),
        owner=message.owner,
        static_roles=_items(message.static_roles, f"the static roles of policy `{name}`"),
        variables=tuple(
            (_name(item.name, "the name of a variable"), _expression(item.expression, path))
            for item in message.variables
        ),
        roles=tuple(_role(item, path) for item in message.roles),
        rules=tuple(_rule(item, path) for item in message.rules),
    )


def _resource_type(message: pb.CompiledPolicy, policy: str) -> str:
    """Every type only when it says so and names none: absent is not "every"."""
    what = f"the resource type of policy `{policy}`"
    if not message.every_resource:
        return _name(message.resource_type, what)
    if message.resource_type:
        raise DocumentError(f"{what} is given, and yet it is for every type")
    return EVERY_RESOURCE


def _role(message: pb.CompiledRole, path: str) -> RoleDocument:
    name = _name(message.name, "the name of a role")
    sources = _items(getattr(message, "from"), f"`from` of role `{name}`")
    when = _when(message.when, path) if message.HasField("when") else None
    if when is None and not sources:
        raise DocumentError(f"role `{name}` would be held by anyone")
    return RoleDocument(name, sources, when)


def _rule(message: pb.CompiledRule, path: str) -> RuleDocument:
    name = _name(message.id, "the id of a rule")
    if message.effect not in _EFFECT_FROM_PB:
        raise DocumentError(f"rule `{name}` has no effect that is known")
    return RuleDocument(
        id=name,
        effect=_EFFECT_FROM_PB[message.effect],
        actions=_items(message.actions, f"`actions` of rule `{name}`"),
        # Absent and empty are one in protobuf; authors cannot write `roles: []`.
        roles=_items(message.roles, f"`roles` of rule `{name}`") or None,
        when=_when(message.when, path) if message.HasField("when") else None,
        starts_ns=_time(message.starts, name) if message.HasField("starts") else None,
        expires_ns=_time(message.expires, name) if message.HasField("expires") else None,
        justification=message.justification,
        obligations=tuple(_obligation(item, name) for item in message.obligations),
        advice=tuple(_obligation(item, name) for item in message.advice),
        reason_user=message.reason_user,
        reason_admin=message.reason_admin,
        lease_s=message.lease_s,
    )


def _obligation(message: wire_pb.Obligation, rule: str) -> Obligation:
    try:
        properties = map_from_pb(message.properties, "properties")
    except InvalidRequestError as error:
        raise DocumentError(f"an obligation of rule `{rule}`: {error}") from None
    what = f"the type or id of an obligation of rule `{rule}`"
    return Obligation(_name(message.id, what), _name(message.type, what), properties)


def _expression(
    message: pb.CompiledCondition, path: str, *, require_bool: bool = False
) -> Expression:
    path = message.source_path or path
    position = Position(path, message.line, message.column)
    if not message.source or not message.checked_expr:
        raise DocumentError("a condition is empty", position)
    try:
        return checked_expr.decode(message.checked_expr, message.source, require_bool=require_bool)
    except ExpressionError as error:
        # Without the document this is as near as it gets: a block's lines, a line's columns.
        if (inner := error.position) is not None:
            column = inner.column + (message.column - 1 if inner.line == 1 else 0)
            position = Position(path, message.line + inner.line - 1, column)
        raise ExpressionError(error.message, position, error.suggestion) from None


def _mapping(message: pb.CompiledHttpMapping, path: str) -> MappingDocument:
    def read(each: pb.CompiledCondition, require_bool: bool) -> Expression:  # noqa: FBT001
        return _expression(each, path, require_bool=require_bool)

    return mapping_from_pb(message, read, ITEMS_MAX)


def _when(message: pb.CompiledCondition, path: str) -> Expression:
    """A condition: what it is of must be able to be a truth value."""
    return _expression(message, path, require_bool=True)


def _condition_to_pb(condition: CheckedCondition, out: pb.CompiledCondition) -> None:
    out.source, out.checked_expr = condition.source, condition.checked_expr
    out.line, out.column = condition.line, condition.column
    out.source_path = condition.path


def _time_to_pb(ns: int | None, out: TimestampPb) -> None:
    if ns is not None:
        out.seconds, out.nanos = divmod(ns, NANOS)
        # Both zero is still a time: 1970-01-01.
        out.SetInParent()


def _time(message: TimestampPb, rule: str) -> int:
    in_range = TIMESTAMP_SECONDS_MIN <= message.seconds <= TIMESTAMP_SECONDS_MAX
    if not in_range or not 0 <= message.nanos < NANOS:
        raise DocumentError(f"a time of rule `{rule}` is out of range")
    return message.seconds * NANOS + message.nanos


def _callers(message: pb.CompiledCallers) -> CallerPolicy:
    return CallerPolicy(tuple(_caller(item) for item in message.callers))


def _caller(message: pb.CompiledCaller) -> CallerEntry:
    what = f"caller `{message.id}`"
    asserts: tuple[str, ...] | None
    match message.WhichOneof("subjects"):
        case "assert":
            asserts = _items(getattr(message, "assert").types, f"`assert` of {what}")
        case "token_required":
            asserts = None
        case _:
            raise DocumentError(f"{what} does not say how the subject is known")
    return CallerEntry(
        id=message.id,
        tenants=_items(message.tenants, f"`tenants` of {what}"),
        resources=_items(message.resources, f"`resources` of {what}"),
        actions=_items(message.actions, f"`actions` of {what}"),
        asserts=asserts,
        may=frozenset(_items(message.may, f"`may` of {what}")),
    )
