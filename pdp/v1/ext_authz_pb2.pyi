from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnvoyCheckRequest(_message.Message):
    __slots__ = ("attributes",)
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: EnvoyAttributes
    def __init__(self, attributes: _Optional[_Union[EnvoyAttributes, _Mapping]] = ...) -> None: ...

class EnvoyAttributes(_message.Message):
    __slots__ = ("source", "destination", "request", "context_extensions", "tls_session")
    class ContextExtensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    TLS_SESSION_FIELD_NUMBER: _ClassVar[int]
    source: EnvoyPeer
    destination: EnvoyPeer
    request: EnvoyRequest
    context_extensions: _containers.ScalarMap[str, str]
    tls_session: EnvoyTlsSession
    def __init__(self, source: _Optional[_Union[EnvoyPeer, _Mapping]] = ..., destination: _Optional[_Union[EnvoyPeer, _Mapping]] = ..., request: _Optional[_Union[EnvoyRequest, _Mapping]] = ..., context_extensions: _Optional[_Mapping[str, str]] = ..., tls_session: _Optional[_Union[EnvoyTlsSession, _Mapping]] = ...) -> None: ...

class EnvoyPeer(_message.Message):
    __slots__ = ("principal", "certificate")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    principal: str
    certificate: str
    def __init__(self, principal: _Optional[str] = ..., certificate: _Optional[str] = ...) -> None: ...

class EnvoyTlsSession(_message.Message):
    __slots__ = ("sni",)
    SNI_FIELD_NUMBER: _ClassVar[int]
    sni: str
    def __init__(self, sni: _Optional[str] = ...) -> None: ...

class EnvoyRequest(_message.Message):
    __slots__ = ("http",)
    HTTP_FIELD_NUMBER: _ClassVar[int]
    http: EnvoyHttpRequest
    def __init__(self, http: _Optional[_Union[EnvoyHttpRequest, _Mapping]] = ...) -> None: ...

class EnvoyHttpRequest(_message.Message):
    __slots__ = ("id", "method", "headers", "path", "host", "scheme", "query", "fragment", "size", "protocol", "body", "raw_body", "header_map")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    RAW_BODY_FIELD_NUMBER: _ClassVar[int]
    HEADER_MAP_FIELD_NUMBER: _ClassVar[int]
    id: str
    method: str
    headers: _containers.ScalarMap[str, str]
    path: str
    host: str
    scheme: str
    query: str
    fragment: str
    size: int
    protocol: str
    body: str
    raw_body: bytes
    header_map: EnvoyHeaderMap
    def __init__(self, id: _Optional[str] = ..., method: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., path: _Optional[str] = ..., host: _Optional[str] = ..., scheme: _Optional[str] = ..., query: _Optional[str] = ..., fragment: _Optional[str] = ..., size: _Optional[int] = ..., protocol: _Optional[str] = ..., body: _Optional[str] = ..., raw_body: _Optional[bytes] = ..., header_map: _Optional[_Union[EnvoyHeaderMap, _Mapping]] = ...) -> None: ...

class EnvoyHeaderMap(_message.Message):
    __slots__ = ("headers",)
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.RepeatedCompositeFieldContainer[EnvoyHeader]
    def __init__(self, headers: _Optional[_Iterable[_Union[EnvoyHeader, _Mapping]]] = ...) -> None: ...

class EnvoyHeader(_message.Message):
    __slots__ = ("key", "value", "raw_value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RAW_VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    raw_value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., raw_value: _Optional[bytes] = ...) -> None: ...

class EnvoyHeaderOption(_message.Message):
    __slots__ = ("header", "append", "append_action")
    class AppendAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        APPEND_ACTION_APPEND_IF_EXISTS_OR_ADD: _ClassVar[EnvoyHeaderOption.AppendAction]
        APPEND_ACTION_ADD_IF_ABSENT: _ClassVar[EnvoyHeaderOption.AppendAction]
        APPEND_ACTION_OVERWRITE_IF_EXISTS_OR_ADD: _ClassVar[EnvoyHeaderOption.AppendAction]
        APPEND_ACTION_OVERWRITE_IF_EXISTS: _ClassVar[EnvoyHeaderOption.AppendAction]
    APPEND_ACTION_APPEND_IF_EXISTS_OR_ADD: EnvoyHeaderOption.AppendAction
    APPEND_ACTION_ADD_IF_ABSENT: EnvoyHeaderOption.AppendAction
    APPEND_ACTION_OVERWRITE_IF_EXISTS_OR_ADD: EnvoyHeaderOption.AppendAction
    APPEND_ACTION_OVERWRITE_IF_EXISTS: EnvoyHeaderOption.AppendAction
    HEADER_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    APPEND_ACTION_FIELD_NUMBER: _ClassVar[int]
    header: EnvoyHeader
    append: _wrappers_pb2.BoolValue
    append_action: EnvoyHeaderOption.AppendAction
    def __init__(self, header: _Optional[_Union[EnvoyHeader, _Mapping]] = ..., append: _Optional[_Union[_wrappers_pb2.BoolValue, _Mapping]] = ..., append_action: _Optional[_Union[EnvoyHeaderOption.AppendAction, str]] = ...) -> None: ...

class EnvoyCheckResponse(_message.Message):
    __slots__ = ("status", "denied_response", "ok_response", "dynamic_metadata")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DENIED_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    OK_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    DYNAMIC_METADATA_FIELD_NUMBER: _ClassVar[int]
    status: EnvoyStatus
    denied_response: EnvoyDenied
    ok_response: EnvoyAllowed
    dynamic_metadata: _struct_pb2.Struct
    def __init__(self, status: _Optional[_Union[EnvoyStatus, _Mapping]] = ..., denied_response: _Optional[_Union[EnvoyDenied, _Mapping]] = ..., ok_response: _Optional[_Union[EnvoyAllowed, _Mapping]] = ..., dynamic_metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class EnvoyStatus(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class EnvoyDenied(_message.Message):
    __slots__ = ("status", "headers", "body")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    status: EnvoyHttpStatus
    headers: _containers.RepeatedCompositeFieldContainer[EnvoyHeaderOption]
    body: str
    def __init__(self, status: _Optional[_Union[EnvoyHttpStatus, _Mapping]] = ..., headers: _Optional[_Iterable[_Union[EnvoyHeaderOption, _Mapping]]] = ..., body: _Optional[str] = ...) -> None: ...

class EnvoyHttpStatus(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: int
    def __init__(self, code: _Optional[int] = ...) -> None: ...

class EnvoyAllowed(_message.Message):
    __slots__ = ("headers", "headers_to_remove")
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_TO_REMOVE_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.RepeatedCompositeFieldContainer[EnvoyHeaderOption]
    headers_to_remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, headers: _Optional[_Iterable[_Union[EnvoyHeaderOption, _Mapping]]] = ..., headers_to_remove: _Optional[_Iterable[str]] = ...) -> None: ...
