import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckedExpr(_message.Message):
    __slots__ = ("reference_map", "type_map", "expr", "source_info", "expr_version")
    class ReferenceMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: CheckedReference
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[CheckedReference, _Mapping]] = ...) -> None: ...
    class TypeMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: CheckedType
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[CheckedType, _Mapping]] = ...) -> None: ...
    REFERENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    TYPE_MAP_FIELD_NUMBER: _ClassVar[int]
    EXPR_FIELD_NUMBER: _ClassVar[int]
    SOURCE_INFO_FIELD_NUMBER: _ClassVar[int]
    EXPR_VERSION_FIELD_NUMBER: _ClassVar[int]
    reference_map: _containers.MessageMap[int, CheckedReference]
    type_map: _containers.MessageMap[int, CheckedType]
    expr: CheckedNode
    source_info: CheckedSourceInfo
    expr_version: str
    def __init__(self, reference_map: _Optional[_Mapping[int, CheckedReference]] = ..., type_map: _Optional[_Mapping[int, CheckedType]] = ..., expr: _Optional[_Union[CheckedNode, _Mapping]] = ..., source_info: _Optional[_Union[CheckedSourceInfo, _Mapping]] = ..., expr_version: _Optional[str] = ...) -> None: ...

class CheckedType(_message.Message):
    __slots__ = ("dyn", "null", "primitive", "wrapper", "well_known", "list_type", "map_type", "function", "message_type", "type_param", "type", "error", "abstract_type")
    class PrimitiveType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PRIMITIVE_TYPE_UNSPECIFIED: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_BOOL: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_INT64: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_UINT64: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_DOUBLE: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_STRING: _ClassVar[CheckedType.PrimitiveType]
        PRIMITIVE_TYPE_BYTES: _ClassVar[CheckedType.PrimitiveType]
    PRIMITIVE_TYPE_UNSPECIFIED: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_BOOL: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_INT64: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_UINT64: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_DOUBLE: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_STRING: CheckedType.PrimitiveType
    PRIMITIVE_TYPE_BYTES: CheckedType.PrimitiveType
    class WellKnownType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WELL_KNOWN_TYPE_UNSPECIFIED: _ClassVar[CheckedType.WellKnownType]
        WELL_KNOWN_TYPE_ANY: _ClassVar[CheckedType.WellKnownType]
        WELL_KNOWN_TYPE_TIMESTAMP: _ClassVar[CheckedType.WellKnownType]
        WELL_KNOWN_TYPE_DURATION: _ClassVar[CheckedType.WellKnownType]
    WELL_KNOWN_TYPE_UNSPECIFIED: CheckedType.WellKnownType
    WELL_KNOWN_TYPE_ANY: CheckedType.WellKnownType
    WELL_KNOWN_TYPE_TIMESTAMP: CheckedType.WellKnownType
    WELL_KNOWN_TYPE_DURATION: CheckedType.WellKnownType
    class ListType(_message.Message):
        __slots__ = ("elem_type",)
        ELEM_TYPE_FIELD_NUMBER: _ClassVar[int]
        elem_type: CheckedType
        def __init__(self, elem_type: _Optional[_Union[CheckedType, _Mapping]] = ...) -> None: ...
    class MapType(_message.Message):
        __slots__ = ("key_type", "value_type")
        KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
        VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
        key_type: CheckedType
        value_type: CheckedType
        def __init__(self, key_type: _Optional[_Union[CheckedType, _Mapping]] = ..., value_type: _Optional[_Union[CheckedType, _Mapping]] = ...) -> None: ...
    class FunctionType(_message.Message):
        __slots__ = ("result_type", "arg_types")
        RESULT_TYPE_FIELD_NUMBER: _ClassVar[int]
        ARG_TYPES_FIELD_NUMBER: _ClassVar[int]
        result_type: CheckedType
        arg_types: _containers.RepeatedCompositeFieldContainer[CheckedType]
        def __init__(self, result_type: _Optional[_Union[CheckedType, _Mapping]] = ..., arg_types: _Optional[_Iterable[_Union[CheckedType, _Mapping]]] = ...) -> None: ...
    class AbstractType(_message.Message):
        __slots__ = ("name", "parameter_types")
        NAME_FIELD_NUMBER: _ClassVar[int]
        PARAMETER_TYPES_FIELD_NUMBER: _ClassVar[int]
        name: str
        parameter_types: _containers.RepeatedCompositeFieldContainer[CheckedType]
        def __init__(self, name: _Optional[str] = ..., parameter_types: _Optional[_Iterable[_Union[CheckedType, _Mapping]]] = ...) -> None: ...
    DYN_FIELD_NUMBER: _ClassVar[int]
    NULL_FIELD_NUMBER: _ClassVar[int]
    PRIMITIVE_FIELD_NUMBER: _ClassVar[int]
    WRAPPER_FIELD_NUMBER: _ClassVar[int]
    WELL_KNOWN_FIELD_NUMBER: _ClassVar[int]
    LIST_TYPE_FIELD_NUMBER: _ClassVar[int]
    MAP_TYPE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    TYPE_PARAM_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ABSTRACT_TYPE_FIELD_NUMBER: _ClassVar[int]
    dyn: _empty_pb2.Empty
    null: _struct_pb2.NullValue
    primitive: CheckedType.PrimitiveType
    wrapper: CheckedType.PrimitiveType
    well_known: CheckedType.WellKnownType
    list_type: CheckedType.ListType
    map_type: CheckedType.MapType
    function: CheckedType.FunctionType
    message_type: str
    type_param: str
    type: CheckedType
    error: _empty_pb2.Empty
    abstract_type: CheckedType.AbstractType
    def __init__(self, dyn: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., null: _Optional[_Union[_struct_pb2.NullValue, str]] = ..., primitive: _Optional[_Union[CheckedType.PrimitiveType, str]] = ..., wrapper: _Optional[_Union[CheckedType.PrimitiveType, str]] = ..., well_known: _Optional[_Union[CheckedType.WellKnownType, str]] = ..., list_type: _Optional[_Union[CheckedType.ListType, _Mapping]] = ..., map_type: _Optional[_Union[CheckedType.MapType, _Mapping]] = ..., function: _Optional[_Union[CheckedType.FunctionType, _Mapping]] = ..., message_type: _Optional[str] = ..., type_param: _Optional[str] = ..., type: _Optional[_Union[CheckedType, _Mapping]] = ..., error: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., abstract_type: _Optional[_Union[CheckedType.AbstractType, _Mapping]] = ...) -> None: ...

class CheckedReference(_message.Message):
    __slots__ = ("name", "overload_id", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    overload_id: _containers.RepeatedScalarFieldContainer[str]
    value: CheckedConstant
    def __init__(self, name: _Optional[str] = ..., overload_id: _Optional[_Iterable[str]] = ..., value: _Optional[_Union[CheckedConstant, _Mapping]] = ...) -> None: ...

class CheckedConstant(_message.Message):
    __slots__ = ("null_value", "bool_value", "int64_value", "uint64_value", "double_value", "string_value", "bytes_value", "duration_value", "timestamp_value")
    NULL_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    UINT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    DURATION_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_VALUE_FIELD_NUMBER: _ClassVar[int]
    null_value: _struct_pb2.NullValue
    bool_value: bool
    int64_value: int
    uint64_value: int
    double_value: float
    string_value: str
    bytes_value: bytes
    duration_value: _duration_pb2.Duration
    timestamp_value: _timestamp_pb2.Timestamp
    def __init__(self, null_value: _Optional[_Union[_struct_pb2.NullValue, str]] = ..., bool_value: bool = ..., int64_value: _Optional[int] = ..., uint64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ..., duration_value: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timestamp_value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CheckedNode(_message.Message):
    __slots__ = ("id", "const_expr", "ident_expr", "select_expr", "call_expr", "list_expr", "struct_expr", "comprehension_expr")
    class Ident(_message.Message):
        __slots__ = ("name",)
        NAME_FIELD_NUMBER: _ClassVar[int]
        name: str
        def __init__(self, name: _Optional[str] = ...) -> None: ...
    class Select(_message.Message):
        __slots__ = ("operand", "field", "test_only")
        OPERAND_FIELD_NUMBER: _ClassVar[int]
        FIELD_FIELD_NUMBER: _ClassVar[int]
        TEST_ONLY_FIELD_NUMBER: _ClassVar[int]
        operand: CheckedNode
        field: str
        test_only: bool
        def __init__(self, operand: _Optional[_Union[CheckedNode, _Mapping]] = ..., field: _Optional[str] = ..., test_only: bool = ...) -> None: ...
    class Call(_message.Message):
        __slots__ = ("target", "function", "args")
        TARGET_FIELD_NUMBER: _ClassVar[int]
        FUNCTION_FIELD_NUMBER: _ClassVar[int]
        ARGS_FIELD_NUMBER: _ClassVar[int]
        target: CheckedNode
        function: str
        args: _containers.RepeatedCompositeFieldContainer[CheckedNode]
        def __init__(self, target: _Optional[_Union[CheckedNode, _Mapping]] = ..., function: _Optional[str] = ..., args: _Optional[_Iterable[_Union[CheckedNode, _Mapping]]] = ...) -> None: ...
    class CreateList(_message.Message):
        __slots__ = ("elements", "optional_indices")
        ELEMENTS_FIELD_NUMBER: _ClassVar[int]
        OPTIONAL_INDICES_FIELD_NUMBER: _ClassVar[int]
        elements: _containers.RepeatedCompositeFieldContainer[CheckedNode]
        optional_indices: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, elements: _Optional[_Iterable[_Union[CheckedNode, _Mapping]]] = ..., optional_indices: _Optional[_Iterable[int]] = ...) -> None: ...
    class CreateStruct(_message.Message):
        __slots__ = ("message_name", "entries")
        class Entry(_message.Message):
            __slots__ = ("id", "field_key", "map_key", "value", "optional_entry")
            ID_FIELD_NUMBER: _ClassVar[int]
            FIELD_KEY_FIELD_NUMBER: _ClassVar[int]
            MAP_KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            OPTIONAL_ENTRY_FIELD_NUMBER: _ClassVar[int]
            id: int
            field_key: str
            map_key: CheckedNode
            value: CheckedNode
            optional_entry: bool
            def __init__(self, id: _Optional[int] = ..., field_key: _Optional[str] = ..., map_key: _Optional[_Union[CheckedNode, _Mapping]] = ..., value: _Optional[_Union[CheckedNode, _Mapping]] = ..., optional_entry: bool = ...) -> None: ...
        MESSAGE_NAME_FIELD_NUMBER: _ClassVar[int]
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        message_name: str
        entries: _containers.RepeatedCompositeFieldContainer[CheckedNode.CreateStruct.Entry]
        def __init__(self, message_name: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[CheckedNode.CreateStruct.Entry, _Mapping]]] = ...) -> None: ...
    class Comprehension(_message.Message):
        __slots__ = ("iter_var", "iter_range", "accu_var", "accu_init", "loop_condition", "loop_step", "result", "iter_var2")
        ITER_VAR_FIELD_NUMBER: _ClassVar[int]
        ITER_RANGE_FIELD_NUMBER: _ClassVar[int]
        ACCU_VAR_FIELD_NUMBER: _ClassVar[int]
        ACCU_INIT_FIELD_NUMBER: _ClassVar[int]
        LOOP_CONDITION_FIELD_NUMBER: _ClassVar[int]
        LOOP_STEP_FIELD_NUMBER: _ClassVar[int]
        RESULT_FIELD_NUMBER: _ClassVar[int]
        ITER_VAR2_FIELD_NUMBER: _ClassVar[int]
        iter_var: str
        iter_range: CheckedNode
        accu_var: str
        accu_init: CheckedNode
        loop_condition: CheckedNode
        loop_step: CheckedNode
        result: CheckedNode
        iter_var2: str
        def __init__(self, iter_var: _Optional[str] = ..., iter_range: _Optional[_Union[CheckedNode, _Mapping]] = ..., accu_var: _Optional[str] = ..., accu_init: _Optional[_Union[CheckedNode, _Mapping]] = ..., loop_condition: _Optional[_Union[CheckedNode, _Mapping]] = ..., loop_step: _Optional[_Union[CheckedNode, _Mapping]] = ..., result: _Optional[_Union[CheckedNode, _Mapping]] = ..., iter_var2: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CONST_EXPR_FIELD_NUMBER: _ClassVar[int]
    IDENT_EXPR_FIELD_NUMBER: _ClassVar[int]
    SELECT_EXPR_FIELD_NUMBER: _ClassVar[int]
    CALL_EXPR_FIELD_NUMBER: _ClassVar[int]
    LIST_EXPR_FIELD_NUMBER: _ClassVar[int]
    STRUCT_EXPR_FIELD_NUMBER: _ClassVar[int]
    COMPREHENSION_EXPR_FIELD_NUMBER: _ClassVar[int]
    id: int
    const_expr: CheckedConstant
    ident_expr: CheckedNode.Ident
    select_expr: CheckedNode.Select
    call_expr: CheckedNode.Call
    list_expr: CheckedNode.CreateList
    struct_expr: CheckedNode.CreateStruct
    comprehension_expr: CheckedNode.Comprehension
    def __init__(self, id: _Optional[int] = ..., const_expr: _Optional[_Union[CheckedConstant, _Mapping]] = ..., ident_expr: _Optional[_Union[CheckedNode.Ident, _Mapping]] = ..., select_expr: _Optional[_Union[CheckedNode.Select, _Mapping]] = ..., call_expr: _Optional[_Union[CheckedNode.Call, _Mapping]] = ..., list_expr: _Optional[_Union[CheckedNode.CreateList, _Mapping]] = ..., struct_expr: _Optional[_Union[CheckedNode.CreateStruct, _Mapping]] = ..., comprehension_expr: _Optional[_Union[CheckedNode.Comprehension, _Mapping]] = ...) -> None: ...

class CheckedSourceInfo(_message.Message):
    __slots__ = ("syntax_version", "location", "line_offsets", "positions")
    class PositionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    SYNTAX_VERSION_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    LINE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    syntax_version: str
    location: str
    line_offsets: _containers.RepeatedScalarFieldContainer[int]
    positions: _containers.ScalarMap[int, int]
    def __init__(self, syntax_version: _Optional[str] = ..., location: _Optional[str] = ..., line_offsets: _Optional[_Iterable[int]] = ..., positions: _Optional[_Mapping[int, int]] = ...) -> None: ...
