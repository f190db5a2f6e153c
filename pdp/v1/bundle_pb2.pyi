import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from pdp.v1 import authorization_pb2 as _authorization_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompiledDocument(_message.Message):
    __slots__ = ("format_version", "source_path", "policy", "callers", "schema", "shared", "mapping", "provider")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PATH_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    source_path: str
    policy: CompiledPolicy
    callers: CompiledCallers
    schema: CompiledSchema
    shared: CompiledShared
    mapping: CompiledHttpMapping
    provider: CompiledProvider
    def __init__(self, format_version: _Optional[int] = ..., source_path: _Optional[str] = ..., policy: _Optional[_Union[CompiledPolicy, _Mapping]] = ..., callers: _Optional[_Union[CompiledCallers, _Mapping]] = ..., schema: _Optional[_Union[CompiledSchema, _Mapping]] = ..., shared: _Optional[_Union[CompiledShared, _Mapping]] = ..., mapping: _Optional[_Union[CompiledHttpMapping, _Mapping]] = ..., provider: _Optional[_Union[CompiledProvider, _Mapping]] = ...) -> None: ...

class CompiledCondition(_message.Message):
    __slots__ = ("source", "checked_expr", "line", "column", "source_path")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_EXPR_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PATH_FIELD_NUMBER: _ClassVar[int]
    source: str
    checked_expr: bytes
    line: int
    column: int
    source_path: str
    def __init__(self, source: _Optional[str] = ..., checked_expr: _Optional[bytes] = ..., line: _Optional[int] = ..., column: _Optional[int] = ..., source_path: _Optional[str] = ...) -> None: ...

class CompiledShared(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CompiledPolicy(_message.Message):
    __slots__ = ("name", "resource_type", "owner", "static_roles", "variables", "roles", "rules", "every_resource")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STATIC_ROLES_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    EVERY_RESOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    resource_type: str
    owner: str
    static_roles: _containers.RepeatedScalarFieldContainer[str]
    variables: _containers.RepeatedCompositeFieldContainer[CompiledVariable]
    roles: _containers.RepeatedCompositeFieldContainer[CompiledRole]
    rules: _containers.RepeatedCompositeFieldContainer[CompiledRule]
    every_resource: bool
    def __init__(self, name: _Optional[str] = ..., resource_type: _Optional[str] = ..., owner: _Optional[str] = ..., static_roles: _Optional[_Iterable[str]] = ..., variables: _Optional[_Iterable[_Union[CompiledVariable, _Mapping]]] = ..., roles: _Optional[_Iterable[_Union[CompiledRole, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[CompiledRule, _Mapping]]] = ..., every_resource: bool = ...) -> None: ...

class CompiledVariable(_message.Message):
    __slots__ = ("name", "expression")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    expression: CompiledCondition
    def __init__(self, name: _Optional[str] = ..., expression: _Optional[_Union[CompiledCondition, _Mapping]] = ...) -> None: ...

class CompiledRole(_message.Message):
    __slots__ = ("name", "when")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    when: CompiledCondition
    def __init__(self, name: _Optional[str] = ..., when: _Optional[_Union[CompiledCondition, _Mapping]] = ..., **kwargs) -> None: ...

class CompiledRule(_message.Message):
    __slots__ = ("id", "effect", "actions", "roles", "when", "starts", "expires", "justification", "obligations", "advice", "reason_user", "reason_admin", "lease_s")
    ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    REASON_USER_FIELD_NUMBER: _ClassVar[int]
    REASON_ADMIN_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    id: str
    effect: _authorization_pb2.Effect
    actions: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[str]
    when: CompiledCondition
    starts: _timestamp_pb2.Timestamp
    expires: _timestamp_pb2.Timestamp
    justification: str
    obligations: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Obligation]
    advice: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Obligation]
    reason_user: str
    reason_admin: str
    lease_s: int
    def __init__(self, id: _Optional[str] = ..., effect: _Optional[_Union[_authorization_pb2.Effect, str]] = ..., actions: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[str]] = ..., when: _Optional[_Union[CompiledCondition, _Mapping]] = ..., starts: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., justification: _Optional[str] = ..., obligations: _Optional[_Iterable[_Union[_authorization_pb2.Obligation, _Mapping]]] = ..., advice: _Optional[_Iterable[_Union[_authorization_pb2.Obligation, _Mapping]]] = ..., reason_user: _Optional[str] = ..., reason_admin: _Optional[str] = ..., lease_s: _Optional[int] = ...) -> None: ...

class CompiledCallers(_message.Message):
    __slots__ = ("callers",)
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    callers: _containers.RepeatedCompositeFieldContainer[CompiledCaller]
    def __init__(self, callers: _Optional[_Iterable[_Union[CompiledCaller, _Mapping]]] = ...) -> None: ...

class CompiledCaller(_message.Message):
    __slots__ = ("id", "tenants", "resources", "actions", "token_required", "may")
    ID_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    ASSERT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    MAY_FIELD_NUMBER: _ClassVar[int]
    id: str
    tenants: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedScalarFieldContainer[str]
    actions: _containers.RepeatedScalarFieldContainer[str]
    token_required: TokenRequired
    may: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., tenants: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[str]] = ..., actions: _Optional[_Iterable[str]] = ..., token_required: _Optional[_Union[TokenRequired, _Mapping]] = ..., may: _Optional[_Iterable[str]] = ..., **kwargs) -> None: ...

class AssertedSubjects(_message.Message):
    __slots__ = ("types",)
    TYPES_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, types: _Optional[_Iterable[str]] = ...) -> None: ...

class TokenRequired(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompiledSchema(_message.Message):
    __slots__ = ("target", "name", "schema")
    class Target(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TARGET_UNSPECIFIED: _ClassVar[CompiledSchema.Target]
        TARGET_SUBJECT: _ClassVar[CompiledSchema.Target]
        TARGET_RESOURCE: _ClassVar[CompiledSchema.Target]
        TARGET_ACTION: _ClassVar[CompiledSchema.Target]
        TARGET_CONTEXT: _ClassVar[CompiledSchema.Target]
    TARGET_UNSPECIFIED: CompiledSchema.Target
    TARGET_SUBJECT: CompiledSchema.Target
    TARGET_RESOURCE: CompiledSchema.Target
    TARGET_ACTION: CompiledSchema.Target
    TARGET_CONTEXT: CompiledSchema.Target
    TARGET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    target: CompiledSchema.Target
    name: str
    schema: SchemaNode
    def __init__(self, target: _Optional[_Union[CompiledSchema.Target, str]] = ..., name: _Optional[str] = ..., schema: _Optional[_Union[SchemaNode, _Mapping]] = ...) -> None: ...

class CompiledProvider(_message.Message):
    __slots__ = ("name", "target", "type", "attributes", "max_age_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    target: CompiledSchema.Target
    type: str
    attributes: _containers.RepeatedScalarFieldContainer[str]
    max_age_s: int
    def __init__(self, name: _Optional[str] = ..., target: _Optional[_Union[CompiledSchema.Target, str]] = ..., type: _Optional[str] = ..., attributes: _Optional[_Iterable[str]] = ..., max_age_s: _Optional[int] = ...) -> None: ...

class SchemaNode(_message.Message):
    __slots__ = ("kinds", "values", "properties", "open", "additional", "items", "min_length", "max_length", "min_items", "max_items", "pattern", "date_time", "minimum", "maximum")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[SchemaNode.Kind]
        KIND_NULL: _ClassVar[SchemaNode.Kind]
        KIND_BOOL: _ClassVar[SchemaNode.Kind]
        KIND_INT64: _ClassVar[SchemaNode.Kind]
        KIND_UINT64: _ClassVar[SchemaNode.Kind]
        KIND_DOUBLE: _ClassVar[SchemaNode.Kind]
        KIND_STRING: _ClassVar[SchemaNode.Kind]
        KIND_BYTES: _ClassVar[SchemaNode.Kind]
        KIND_TIMESTAMP: _ClassVar[SchemaNode.Kind]
        KIND_DURATION: _ClassVar[SchemaNode.Kind]
        KIND_LIST: _ClassVar[SchemaNode.Kind]
        KIND_MAP: _ClassVar[SchemaNode.Kind]
    KIND_UNSPECIFIED: SchemaNode.Kind
    KIND_NULL: SchemaNode.Kind
    KIND_BOOL: SchemaNode.Kind
    KIND_INT64: SchemaNode.Kind
    KIND_UINT64: SchemaNode.Kind
    KIND_DOUBLE: SchemaNode.Kind
    KIND_STRING: SchemaNode.Kind
    KIND_BYTES: SchemaNode.Kind
    KIND_TIMESTAMP: SchemaNode.Kind
    KIND_DURATION: SchemaNode.Kind
    KIND_LIST: SchemaNode.Kind
    KIND_MAP: SchemaNode.Kind
    KINDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MIN_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    DATE_TIME_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[SchemaNode.Kind]
    values: SchemaValues
    properties: _containers.RepeatedCompositeFieldContainer[SchemaProperty]
    open: bool
    additional: SchemaNode
    items: SchemaNode
    min_length: int
    max_length: int
    min_items: int
    max_items: int
    pattern: str
    date_time: bool
    minimum: SchemaBound
    maximum: SchemaBound
    def __init__(self, kinds: _Optional[_Iterable[_Union[SchemaNode.Kind, str]]] = ..., values: _Optional[_Union[SchemaValues, _Mapping]] = ..., properties: _Optional[_Iterable[_Union[SchemaProperty, _Mapping]]] = ..., open: bool = ..., additional: _Optional[_Union[SchemaNode, _Mapping]] = ..., items: _Optional[_Union[SchemaNode, _Mapping]] = ..., min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., min_items: _Optional[int] = ..., max_items: _Optional[int] = ..., pattern: _Optional[str] = ..., date_time: bool = ..., minimum: _Optional[_Union[SchemaBound, _Mapping]] = ..., maximum: _Optional[_Union[SchemaBound, _Mapping]] = ...) -> None: ...

class SchemaValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Value]
    def __init__(self, values: _Optional[_Iterable[_Union[_authorization_pb2.Value, _Mapping]]] = ...) -> None: ...

class SchemaBound(_message.Message):
    __slots__ = ("value", "exclusive")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    value: _authorization_pb2.Value
    exclusive: bool
    def __init__(self, value: _Optional[_Union[_authorization_pb2.Value, _Mapping]] = ..., exclusive: bool = ...) -> None: ...

class SchemaProperty(_message.Message):
    __slots__ = ("name", "required", "schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    required: bool
    schema: SchemaNode
    def __init__(self, name: _Optional[str] = ..., required: bool = ..., schema: _Optional[_Union[SchemaNode, _Mapping]] = ...) -> None: ...

class CompiledHttpMapping(_message.Message):
    __slots__ = ("headers", "json_body", "routes", "set", "remove")
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    JSON_BODY_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.RepeatedScalarFieldContainer[str]
    json_body: bool
    routes: _containers.RepeatedCompositeFieldContainer[CompiledRoute]
    set: _containers.RepeatedCompositeFieldContainer[UpstreamHeader]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, headers: _Optional[_Iterable[str]] = ..., json_body: bool = ..., routes: _Optional[_Iterable[_Union[CompiledRoute, _Mapping]]] = ..., set: _Optional[_Iterable[_Union[UpstreamHeader, _Mapping]]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class UpstreamHeader(_message.Message):
    __slots__ = ("name", "source")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[UpstreamHeader.Source]
        SOURCE_SUBJECT_TYPE: _ClassVar[UpstreamHeader.Source]
        SOURCE_SUBJECT_ID: _ClassVar[UpstreamHeader.Source]
        SOURCE_RESOURCE_ID: _ClassVar[UpstreamHeader.Source]
        SOURCE_DECISION_ID: _ClassVar[UpstreamHeader.Source]
    SOURCE_UNSPECIFIED: UpstreamHeader.Source
    SOURCE_SUBJECT_TYPE: UpstreamHeader.Source
    SOURCE_SUBJECT_ID: UpstreamHeader.Source
    SOURCE_RESOURCE_ID: UpstreamHeader.Source
    SOURCE_DECISION_ID: UpstreamHeader.Source
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: UpstreamHeader.Source
    def __init__(self, name: _Optional[str] = ..., source: _Optional[_Union[UpstreamHeader.Source, str]] = ...) -> None: ...

class CompiledRoute(_message.Message):
    __slots__ = ("id", "when", "asserted", "bearer", "subject_properties", "action", "resource_type", "resource_id", "resource_properties", "context")
    ID_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    ASSERTED_FIELD_NUMBER: _ClassVar[int]
    BEARER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    when: CompiledCondition
    asserted: MappedSubject
    bearer: BearerToken
    subject_properties: CompiledCondition
    action: CompiledCondition
    resource_type: str
    resource_id: CompiledCondition
    resource_properties: CompiledCondition
    context: CompiledCondition
    def __init__(self, id: _Optional[str] = ..., when: _Optional[_Union[CompiledCondition, _Mapping]] = ..., asserted: _Optional[_Union[MappedSubject, _Mapping]] = ..., bearer: _Optional[_Union[BearerToken, _Mapping]] = ..., subject_properties: _Optional[_Union[CompiledCondition, _Mapping]] = ..., action: _Optional[_Union[CompiledCondition, _Mapping]] = ..., resource_type: _Optional[str] = ..., resource_id: _Optional[_Union[CompiledCondition, _Mapping]] = ..., resource_properties: _Optional[_Union[CompiledCondition, _Mapping]] = ..., context: _Optional[_Union[CompiledCondition, _Mapping]] = ...) -> None: ...

class MappedSubject(_message.Message):
    __slots__ = ("type", "id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: CompiledCondition
    def __init__(self, type: _Optional[str] = ..., id: _Optional[_Union[CompiledCondition, _Mapping]] = ...) -> None: ...

class BearerToken(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
