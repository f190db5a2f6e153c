import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from pdp.v1 import authorization_pb2 as _authorization_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompiledDocument(_message.Message):
    __slots__ = ("format_version", "source_path", "policy", "callers")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PATH_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CALLERS_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    source_path: str
    policy: CompiledPolicy
    callers: CompiledCallers
    def __init__(self, format_version: _Optional[int] = ..., source_path: _Optional[str] = ..., policy: _Optional[_Union[CompiledPolicy, _Mapping]] = ..., callers: _Optional[_Union[CompiledCallers, _Mapping]] = ...) -> None: ...

class CompiledCondition(_message.Message):
    __slots__ = ("source", "checked_expr", "line", "column")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_EXPR_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    source: str
    checked_expr: bytes
    line: int
    column: int
    def __init__(self, source: _Optional[str] = ..., checked_expr: _Optional[bytes] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class CompiledPolicy(_message.Message):
    __slots__ = ("name", "resource_type", "owner", "static_roles", "variables", "roles", "rules")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    STATIC_ROLES_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    name: str
    resource_type: str
    owner: str
    static_roles: _containers.RepeatedScalarFieldContainer[str]
    variables: _containers.RepeatedCompositeFieldContainer[CompiledVariable]
    roles: _containers.RepeatedCompositeFieldContainer[CompiledRole]
    rules: _containers.RepeatedCompositeFieldContainer[CompiledRule]
    def __init__(self, name: _Optional[str] = ..., resource_type: _Optional[str] = ..., owner: _Optional[str] = ..., static_roles: _Optional[_Iterable[str]] = ..., variables: _Optional[_Iterable[_Union[CompiledVariable, _Mapping]]] = ..., roles: _Optional[_Iterable[_Union[CompiledRole, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[CompiledRule, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("id", "effect", "actions", "roles", "when", "starts", "expires", "justification", "obligations")
    ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    effect: _authorization_pb2.Effect
    actions: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[str]
    when: CompiledCondition
    starts: _timestamp_pb2.Timestamp
    expires: _timestamp_pb2.Timestamp
    justification: str
    obligations: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Obligation]
    def __init__(self, id: _Optional[str] = ..., effect: _Optional[_Union[_authorization_pb2.Effect, str]] = ..., actions: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[str]] = ..., when: _Optional[_Union[CompiledCondition, _Mapping]] = ..., starts: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., justification: _Optional[str] = ..., obligations: _Optional[_Iterable[_Union[_authorization_pb2.Obligation, _Mapping]]] = ...) -> None: ...

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
