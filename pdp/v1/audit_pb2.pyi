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

class Record(_message.Message):
    __slots__ = ("format_version", "pdp_id", "seq", "prev_hash", "time", "decision", "spool_event", "suppressed_denials")
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PDP_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PREV_HASH_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SPOOL_EVENT_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_DENIALS_FIELD_NUMBER: _ClassVar[int]
    format_version: int
    pdp_id: str
    seq: int
    prev_hash: bytes
    time: _timestamp_pb2.Timestamp
    decision: DecisionRecord
    spool_event: SpoolEvent
    suppressed_denials: SuppressedDenials
    def __init__(self, format_version: _Optional[int] = ..., pdp_id: _Optional[str] = ..., seq: _Optional[int] = ..., prev_hash: _Optional[bytes] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decision: _Optional[_Union[DecisionRecord, _Mapping]] = ..., spool_event: _Optional[_Union[SpoolEvent, _Mapping]] = ..., suppressed_denials: _Optional[_Union[SuppressedDenials, _Mapping]] = ...) -> None: ...

class DecisionRecord(_message.Message):
    __slots__ = ("decision_id", "request_id", "tenant", "caller", "subject", "action", "resource_type", "resource_id", "attributes", "request_digest", "request", "effect", "cause", "rules", "obligations", "bundle", "truncated", "attributes_digest", "advice", "lease_until", "batch", "search", "door", "http", "providers", "fetched", "schema_violation")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _authorization_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_authorization_pb2.Value, _Mapping]] = ...) -> None: ...
    class FetchedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _authorization_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_authorization_pb2.Value, _Mapping]] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VIOLATION_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    request_id: str
    tenant: str
    caller: CallerRef
    subject: SubjectRef
    action: str
    resource_type: str
    resource_id: str
    attributes: _containers.MessageMap[str, _authorization_pb2.Value]
    request_digest: bytes
    request: bytes
    effect: _authorization_pb2.Effect
    cause: _authorization_pb2.Cause
    rules: _containers.RepeatedScalarFieldContainer[str]
    obligations: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Obligation]
    bundle: _authorization_pb2.BundleRef
    truncated: bool
    attributes_digest: bytes
    advice: _containers.RepeatedCompositeFieldContainer[_authorization_pb2.Obligation]
    lease_until: _timestamp_pb2.Timestamp
    batch: BatchRecord
    search: SearchRecord
    door: str
    http: HttpFacts
    providers: _containers.RepeatedCompositeFieldContainer[ProviderAnswer]
    fetched: _containers.MessageMap[str, _authorization_pb2.Value]
    schema_violation: str
    def __init__(self, decision_id: _Optional[str] = ..., request_id: _Optional[str] = ..., tenant: _Optional[str] = ..., caller: _Optional[_Union[CallerRef, _Mapping]] = ..., subject: _Optional[_Union[SubjectRef, _Mapping]] = ..., action: _Optional[str] = ..., resource_type: _Optional[str] = ..., resource_id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, _authorization_pb2.Value]] = ..., request_digest: _Optional[bytes] = ..., request: _Optional[bytes] = ..., effect: _Optional[_Union[_authorization_pb2.Effect, str]] = ..., cause: _Optional[_Union[_authorization_pb2.Cause, str]] = ..., rules: _Optional[_Iterable[str]] = ..., obligations: _Optional[_Iterable[_Union[_authorization_pb2.Obligation, _Mapping]]] = ..., bundle: _Optional[_Union[_authorization_pb2.BundleRef, _Mapping]] = ..., truncated: bool = ..., attributes_digest: _Optional[bytes] = ..., advice: _Optional[_Iterable[_Union[_authorization_pb2.Obligation, _Mapping]]] = ..., lease_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., batch: _Optional[_Union[BatchRecord, _Mapping]] = ..., search: _Optional[_Union[SearchRecord, _Mapping]] = ..., door: _Optional[str] = ..., http: _Optional[_Union[HttpFacts, _Mapping]] = ..., providers: _Optional[_Iterable[_Union[ProviderAnswer, _Mapping]]] = ..., fetched: _Optional[_Mapping[str, _authorization_pb2.Value]] = ..., schema_violation: _Optional[str] = ...) -> None: ...

class ProviderAnswer(_message.Message):
    __slots__ = ("provider", "outcome", "cached", "values_digest", "unusable")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_FETCHED: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_UNKNOWN: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_LATE: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_DOWN: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_WRONG: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_BUSY: _ClassVar[ProviderAnswer.Outcome]
        OUTCOME_UNCONFIGURED: _ClassVar[ProviderAnswer.Outcome]
    OUTCOME_UNSPECIFIED: ProviderAnswer.Outcome
    OUTCOME_FETCHED: ProviderAnswer.Outcome
    OUTCOME_UNKNOWN: ProviderAnswer.Outcome
    OUTCOME_LATE: ProviderAnswer.Outcome
    OUTCOME_DOWN: ProviderAnswer.Outcome
    OUTCOME_WRONG: ProviderAnswer.Outcome
    OUTCOME_BUSY: ProviderAnswer.Outcome
    OUTCOME_UNCONFIGURED: ProviderAnswer.Outcome
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    VALUES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    UNUSABLE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    outcome: ProviderAnswer.Outcome
    cached: bool
    values_digest: bytes
    unusable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider: _Optional[str] = ..., outcome: _Optional[_Union[ProviderAnswer.Outcome, str]] = ..., cached: bool = ..., values_digest: _Optional[bytes] = ..., unusable: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchRecord(_message.Message):
    __slots__ = ("semantic", "questions", "part", "parts", "items")
    SEMANTIC_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    semantic: _authorization_pb2.BatchSemantic
    questions: int
    part: int
    parts: int
    items: _containers.RepeatedCompositeFieldContainer[DecisionRecord]
    def __init__(self, semantic: _Optional[_Union[_authorization_pb2.BatchSemantic, str]] = ..., questions: _Optional[int] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., items: _Optional[_Iterable[_Union[DecisionRecord, _Mapping]]] = ...) -> None: ...

class HttpFacts(_message.Message):
    __slots__ = ("route", "method", "host", "path")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    route: str
    method: str
    host: str
    path: str
    def __init__(self, route: _Optional[str] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class SearchRecord(_message.Message):
    __slots__ = ("kind", "continued", "more", "decided", "failure", "items")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[SearchRecord.Kind]
        KIND_SUBJECT: _ClassVar[SearchRecord.Kind]
        KIND_RESOURCE: _ClassVar[SearchRecord.Kind]
        KIND_ACTION: _ClassVar[SearchRecord.Kind]
    KIND_UNSPECIFIED: SearchRecord.Kind
    KIND_SUBJECT: SearchRecord.Kind
    KIND_RESOURCE: SearchRecord.Kind
    KIND_ACTION: SearchRecord.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONTINUED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    kind: SearchRecord.Kind
    continued: bool
    more: bool
    decided: int
    failure: str
    items: _containers.RepeatedCompositeFieldContainer[DecisionRecord]
    def __init__(self, kind: _Optional[_Union[SearchRecord.Kind, str]] = ..., continued: bool = ..., more: bool = ..., decided: _Optional[int] = ..., failure: _Optional[str] = ..., items: _Optional[_Iterable[_Union[DecisionRecord, _Mapping]]] = ...) -> None: ...

class CallerRef(_message.Message):
    __slots__ = ("spiffe_id", "serial", "peer")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    serial: str
    peer: str
    def __init__(self, spiffe_id: _Optional[str] = ..., serial: _Optional[str] = ..., peer: _Optional[str] = ...) -> None: ...

class SubjectRef(_message.Message):
    __slots__ = ("type", "id", "issuer", "jti")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    JTI_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    issuer: str
    jti: str
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., issuer: _Optional[str] = ..., jti: _Optional[str] = ...) -> None: ...

class SpoolEvent(_message.Message):
    __slots__ = ("kind", "segment", "offset", "bytes", "last_head", "detail", "opening")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[SpoolEvent.Kind]
        KIND_BOOT: _ClassVar[SpoolEvent.Kind]
        KIND_TORN_TAIL: _ClassVar[SpoolEvent.Kind]
        KIND_DAMAGE: _ClassVar[SpoolEvent.Kind]
        KIND_POISONED: _ClassVar[SpoolEvent.Kind]
    KIND_UNSPECIFIED: SpoolEvent.Kind
    KIND_BOOT: SpoolEvent.Kind
    KIND_TORN_TAIL: SpoolEvent.Kind
    KIND_DAMAGE: SpoolEvent.Kind
    KIND_POISONED: SpoolEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_HEAD_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    OPENING_FIELD_NUMBER: _ClassVar[int]
    kind: SpoolEvent.Kind
    segment: str
    offset: int
    bytes: int
    last_head: str
    detail: str
    opening: int
    def __init__(self, kind: _Optional[_Union[SpoolEvent.Kind, str]] = ..., segment: _Optional[str] = ..., offset: _Optional[int] = ..., bytes: _Optional[int] = ..., last_head: _Optional[str] = ..., detail: _Optional[str] = ..., opening: _Optional[int] = ...) -> None: ...

class SuppressedDenials(_message.Message):
    __slots__ = ("counts", "since")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[SuppressedCount]
    since: _timestamp_pb2.Timestamp
    def __init__(self, counts: _Optional[_Iterable[_Union[SuppressedCount, _Mapping]]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SuppressedCount(_message.Message):
    __slots__ = ("spiffe_id", "cause", "count")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    cause: _authorization_pb2.Cause
    count: int
    def __init__(self, spiffe_id: _Optional[str] = ..., cause: _Optional[_Union[_authorization_pb2.Cause, str]] = ..., count: _Optional[int] = ...) -> None: ...
