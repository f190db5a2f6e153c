import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Effect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_UNSPECIFIED: _ClassVar[Effect]
    EFFECT_DENY: _ClassVar[Effect]
    EFFECT_PERMIT: _ClassVar[Effect]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_RULE: _ClassVar[Cause]
    CAUSE_INDETERMINATE: _ClassVar[Cause]
    CAUSE_DEFAULT: _ClassVar[Cause]
    CAUSE_BUDGET: _ClassVar[Cause]
    CAUSE_DEADLINE: _ClassVar[Cause]
    CAUSE_SCHEMA: _ClassVar[Cause]
    CAUSE_INVALID: _ClassVar[Cause]
    CAUSE_NO_BUNDLE: _ClassVar[Cause]
    CAUSE_STALE: _ClassVar[Cause]
    CAUSE_CALLER: _ClassVar[Cause]
    CAUSE_IDENTITY: _ClassVar[Cause]
    CAUSE_AUDIT: _ClassVar[Cause]
    CAUSE_INTERNAL: _ClassVar[Cause]
    CAUSE_OVERLOADED: _ClassVar[Cause]

class BatchSemantic(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_SEMANTIC_UNSPECIFIED: _ClassVar[BatchSemantic]
    BATCH_SEMANTIC_EXECUTE_ALL: _ClassVar[BatchSemantic]
    BATCH_SEMANTIC_DENY_ON_FIRST_DENY: _ClassVar[BatchSemantic]
    BATCH_SEMANTIC_PERMIT_ON_FIRST_PERMIT: _ClassVar[BatchSemantic]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_FALSE: _ClassVar[Outcome]
    OUTCOME_TRUE: _ClassVar[Outcome]
    OUTCOME_DOUBT: _ClassVar[Outcome]
    OUTCOME_SPENT: _ClassVar[Outcome]
EFFECT_UNSPECIFIED: Effect
EFFECT_DENY: Effect
EFFECT_PERMIT: Effect
CAUSE_UNSPECIFIED: Cause
CAUSE_RULE: Cause
CAUSE_INDETERMINATE: Cause
CAUSE_DEFAULT: Cause
CAUSE_BUDGET: Cause
CAUSE_DEADLINE: Cause
CAUSE_SCHEMA: Cause
CAUSE_INVALID: Cause
CAUSE_NO_BUNDLE: Cause
CAUSE_STALE: Cause
CAUSE_CALLER: Cause
CAUSE_IDENTITY: Cause
CAUSE_AUDIT: Cause
CAUSE_INTERNAL: Cause
CAUSE_OVERLOADED: Cause
BATCH_SEMANTIC_UNSPECIFIED: BatchSemantic
BATCH_SEMANTIC_EXECUTE_ALL: BatchSemantic
BATCH_SEMANTIC_DENY_ON_FIRST_DENY: BatchSemantic
BATCH_SEMANTIC_PERMIT_ON_FIRST_PERMIT: BatchSemantic
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_FALSE: Outcome
OUTCOME_TRUE: Outcome
OUTCOME_DOUBT: Outcome
OUTCOME_SPENT: Outcome

class Null(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Value(_message.Message):
    __slots__ = ("null_value", "bool_value", "int64_value", "uint64_value", "double_value", "string_value", "bytes_value", "timestamp_value", "duration_value", "list_value", "map_value")
    NULL_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    UINT64_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_VALUE_FIELD_NUMBER: _ClassVar[int]
    DURATION_VALUE_FIELD_NUMBER: _ClassVar[int]
    LIST_VALUE_FIELD_NUMBER: _ClassVar[int]
    MAP_VALUE_FIELD_NUMBER: _ClassVar[int]
    null_value: Null
    bool_value: bool
    int64_value: int
    uint64_value: int
    double_value: float
    string_value: str
    bytes_value: bytes
    timestamp_value: _timestamp_pb2.Timestamp
    duration_value: _duration_pb2.Duration
    list_value: ListValue
    map_value: MapValue
    def __init__(self, null_value: _Optional[_Union[Null, _Mapping]] = ..., bool_value: bool = ..., int64_value: _Optional[int] = ..., uint64_value: _Optional[int] = ..., double_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ..., timestamp_value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_value: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., list_value: _Optional[_Union[ListValue, _Mapping]] = ..., map_value: _Optional[_Union[MapValue, _Mapping]] = ...) -> None: ...

class ListValue(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class MapValue(_message.Message):
    __slots__ = ("entries",)
    class EntriesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.MessageMap[str, Value]
    def __init__(self, entries: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("type", "id", "properties")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    properties: _containers.MessageMap[str, Value]
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., properties: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("name", "properties")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    properties: _containers.MessageMap[str, Value]
    def __init__(self, name: _Optional[str] = ..., properties: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("type", "id", "properties")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    properties: _containers.MessageMap[str, Value]
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., properties: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class AuthorizeRequest(_message.Message):
    __slots__ = ("request_id", "tenant", "subject", "action", "resource", "context", "subject_token", "explain")
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    tenant: str
    subject: Subject
    action: Action
    resource: Resource
    context: _containers.MessageMap[str, Value]
    subject_token: str
    explain: bool
    def __init__(self, request_id: _Optional[str] = ..., tenant: _Optional[str] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., resource: _Optional[_Union[Resource, _Mapping]] = ..., context: _Optional[_Mapping[str, Value]] = ..., subject_token: _Optional[str] = ..., explain: bool = ...) -> None: ...

class Obligation(_message.Message):
    __slots__ = ("id", "type", "properties")
    class PropertiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    properties: _containers.MessageMap[str, Value]
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., properties: _Optional[_Mapping[str, Value]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("rule", "text")
    RULE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    rule: str
    text: str
    def __init__(self, rule: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class BundleRef(_message.Message):
    __slots__ = ("revision", "digest")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    revision: int
    digest: bytes
    def __init__(self, revision: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class RecordRef(_message.Message):
    __slots__ = ("pdp_id", "seq", "hash")
    PDP_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    pdp_id: str
    seq: int
    hash: bytes
    def __init__(self, pdp_id: _Optional[str] = ..., seq: _Optional[int] = ..., hash: _Optional[bytes] = ...) -> None: ...

class AuthorizeResponse(_message.Message):
    __slots__ = ("request_id", "request_digest", "effect", "cause", "decision_id", "rules", "obligations", "bundle", "record", "advice", "reason_user", "reason_admin", "schema_violation", "invalid", "explanation", "lease_until", "decided_at")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    REASON_USER_FIELD_NUMBER: _ClassVar[int]
    REASON_ADMIN_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VIOLATION_FIELD_NUMBER: _ClassVar[int]
    INVALID_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request_digest: bytes
    effect: Effect
    cause: Cause
    decision_id: str
    rules: _containers.RepeatedScalarFieldContainer[str]
    obligations: _containers.RepeatedCompositeFieldContainer[Obligation]
    bundle: BundleRef
    record: RecordRef
    advice: _containers.RepeatedCompositeFieldContainer[Obligation]
    reason_user: _containers.RepeatedCompositeFieldContainer[Reason]
    reason_admin: _containers.RepeatedCompositeFieldContainer[Reason]
    schema_violation: str
    invalid: str
    explanation: Explanation
    lease_until: _timestamp_pb2.Timestamp
    decided_at: _timestamp_pb2.Timestamp
    def __init__(self, request_id: _Optional[str] = ..., request_digest: _Optional[bytes] = ..., effect: _Optional[_Union[Effect, str]] = ..., cause: _Optional[_Union[Cause, str]] = ..., decision_id: _Optional[str] = ..., rules: _Optional[_Iterable[str]] = ..., obligations: _Optional[_Iterable[_Union[Obligation, _Mapping]]] = ..., bundle: _Optional[_Union[BundleRef, _Mapping]] = ..., record: _Optional[_Union[RecordRef, _Mapping]] = ..., advice: _Optional[_Iterable[_Union[Obligation, _Mapping]]] = ..., reason_user: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., reason_admin: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., schema_violation: _Optional[str] = ..., invalid: _Optional[str] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ..., lease_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AuthorizeBatchRequest(_message.Message):
    __slots__ = ("request_id", "semantic", "items")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    semantic: BatchSemantic
    items: _containers.RepeatedCompositeFieldContainer[AuthorizeRequest]
    def __init__(self, request_id: _Optional[str] = ..., semantic: _Optional[_Union[BatchSemantic, str]] = ..., items: _Optional[_Iterable[_Union[AuthorizeRequest, _Mapping]]] = ...) -> None: ...

class AuthorizeBatchResponse(_message.Message):
    __slots__ = ("request_id", "request_digest", "items")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request_digest: bytes
    items: _containers.RepeatedCompositeFieldContainer[AuthorizeResponse]
    def __init__(self, request_id: _Optional[str] = ..., request_digest: _Optional[bytes] = ..., items: _Optional[_Iterable[_Union[AuthorizeResponse, _Mapping]]] = ...) -> None: ...

class AuthorizeStreamRequest(_message.Message):
    __slots__ = ("request", "timeout", "together")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    request: AuthorizeRequest
    timeout: _duration_pb2.Duration
    together: _containers.RepeatedCompositeFieldContainer[AuthorizeStreamRequest]
    def __init__(self, request: _Optional[_Union[AuthorizeRequest, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., together: _Optional[_Iterable[_Union[AuthorizeStreamRequest, _Mapping]]] = ...) -> None: ...

class AuthorizeStreamResponse(_message.Message):
    __slots__ = ("answer", "together")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    answer: AuthorizeResponse
    together: _containers.RepeatedCompositeFieldContainer[AuthorizeResponse]
    def __init__(self, answer: _Optional[_Union[AuthorizeResponse, _Mapping]] = ..., together: _Optional[_Iterable[_Union[AuthorizeResponse, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("rules", "roles", "others", "missing", "flips", "truncated")
    RULES_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    FLIPS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[ExplainedRule]
    roles: _containers.RepeatedCompositeFieldContainer[ExplainedRole]
    others: _containers.RepeatedCompositeFieldContainer[OtherRule]
    missing: _containers.RepeatedScalarFieldContainer[str]
    flips: _containers.RepeatedCompositeFieldContainer[Flip]
    truncated: bool
    def __init__(self, rules: _Optional[_Iterable[_Union[ExplainedRule, _Mapping]]] = ..., roles: _Optional[_Iterable[_Union[ExplainedRole, _Mapping]]] = ..., others: _Optional[_Iterable[_Union[OtherRule, _Mapping]]] = ..., missing: _Optional[_Iterable[str]] = ..., flips: _Optional[_Iterable[_Union[Flip, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class ExplainedRule(_message.Message):
    __slots__ = ("name", "effect", "outcome", "anyone", "roles", "when")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ANYONE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    effect: Effect
    outcome: Outcome
    anyone: bool
    roles: _containers.RepeatedScalarFieldContainer[int]
    when: ExplainedCondition
    def __init__(self, name: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., anyone: bool = ..., roles: _Optional[_Iterable[int]] = ..., when: _Optional[_Union[ExplainedCondition, _Mapping]] = ...) -> None: ...

class ExplainedRole(_message.Message):
    __slots__ = ("name", "outcome", "sources", "when", "problem")
    class Source(_message.Message):
        __slots__ = ("name", "outcome")
        NAME_FIELD_NUMBER: _ClassVar[int]
        OUTCOME_FIELD_NUMBER: _ClassVar[int]
        name: str
        outcome: Outcome
        def __init__(self, name: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    outcome: Outcome
    sources: _containers.RepeatedCompositeFieldContainer[ExplainedRole.Source]
    when: ExplainedCondition
    problem: str
    def __init__(self, name: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., sources: _Optional[_Iterable[_Union[ExplainedRole.Source, _Mapping]]] = ..., when: _Optional[_Union[ExplainedCondition, _Mapping]] = ..., problem: _Optional[str] = ...) -> None: ...

class ExplainedCondition(_message.Message):
    __slots__ = ("text", "outcome", "problem", "units", "parts")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    outcome: Outcome
    problem: str
    units: int
    parts: _containers.RepeatedCompositeFieldContainer[ExplainedPart]
    def __init__(self, text: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., problem: _Optional[str] = ..., units: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[ExplainedPart, _Mapping]]] = ...) -> None: ...

class ExplainedPart(_message.Message):
    __slots__ = ("parent", "kind", "variable", "start", "text", "count", "trues", "falses", "errors", "samples")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUES_FIELD_NUMBER: _ClassVar[int]
    FALSES_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    parent: int
    kind: str
    variable: str
    start: int
    text: str
    count: int
    trues: int
    falses: int
    errors: int
    samples: _containers.RepeatedCompositeFieldContainer[ExplainedSample]
    def __init__(self, parent: _Optional[int] = ..., kind: _Optional[str] = ..., variable: _Optional[str] = ..., start: _Optional[int] = ..., text: _Optional[str] = ..., count: _Optional[int] = ..., trues: _Optional[int] = ..., falses: _Optional[int] = ..., errors: _Optional[int] = ..., samples: _Optional[_Iterable[_Union[ExplainedSample, _Mapping]]] = ...) -> None: ...

class ExplainedSample(_message.Message):
    __slots__ = ("value", "problem", "bindings")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    value: str
    problem: str
    bindings: str
    def __init__(self, value: _Optional[str] = ..., problem: _Optional[str] = ..., bindings: _Optional[str] = ...) -> None: ...

class OtherRule(_message.Message):
    __slots__ = ("name", "effect", "standing")
    class Standing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STANDING_UNSPECIFIED: _ClassVar[OtherRule.Standing]
        STANDING_CANDIDATE: _ClassVar[OtherRule.Standing]
        STANDING_OTHER_ACTION: _ClassVar[OtherRule.Standing]
        STANDING_NOT_YET: _ClassVar[OtherRule.Standing]
        STANDING_EXPIRED: _ClassVar[OtherRule.Standing]
    STANDING_UNSPECIFIED: OtherRule.Standing
    STANDING_CANDIDATE: OtherRule.Standing
    STANDING_OTHER_ACTION: OtherRule.Standing
    STANDING_NOT_YET: OtherRule.Standing
    STANDING_EXPIRED: OtherRule.Standing
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    name: str
    effect: Effect
    standing: OtherRule.Standing
    def __init__(self, name: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., standing: _Optional[_Union[OtherRule.Standing, str]] = ...) -> None: ...

class Flip(_message.Message):
    __slots__ = ("rule", "outcome", "effect", "cause")
    RULE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    outcome: Outcome
    effect: Effect
    cause: Cause
    def __init__(self, rule: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., effect: _Optional[_Union[Effect, str]] = ..., cause: _Optional[_Union[Cause, str]] = ...) -> None: ...
