"""The nouns: what is asked, what is answered.

AuthZEN's words (subject, action, resource, context) and two effects. Law
ring: no clock, no I/O, no protobuf, no logging. The client uses these classes
too, so this module imports nothing but `values`.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from pdp.values import Value, canonical

if TYPE_CHECKING:
    from pdp.explanation import Explanation

Properties = Mapping[str, Value]


class Effect(enum.Enum):
    """DENY or PERMIT. There is no third, and no truth value to get wrong."""

    DENY = 1
    PERMIT = 2

    # By identity, at C speed: members are single, and the engine counts by them.
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return self is Effect.PERMIT


class Cause(enum.Enum):
    """Which step of the decision made the answer. Numbers are the wire's."""

    RULE = 1
    INDETERMINATE = 2
    DEFAULT = 3
    BUDGET = 4
    DEADLINE = 5
    SCHEMA = 6
    INVALID = 7
    NO_BUNDLE = 8
    STALE = 9
    CALLER = 10
    IDENTITY = 11
    AUDIT = 12
    INTERNAL = 13
    OVERLOADED = 14
    # Only a client says these; they never cross the wire.
    UNREACHABLE = 100
    UNUSABLE = 101

    __hash__ = object.__hash__  # as Effect


class Verdict(enum.Enum):
    """What a condition, a role or a rule comes to: Kleene's three, and SPENT.

    SPENT means the cost budget ran out. Unlike DOUBT nothing absorbs it: a
    rule with a spent part is spent, and a spent rule denies the request.
    """

    FALSE = 0
    TRUE = 1
    DOUBT = 2
    SPENT = 3

    __hash__ = object.__hash__  # as Effect

    def __bool__(self) -> bool:
        message = "a verdict has no truth value: compare with `is`"
        raise TypeError(message)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who wants to act. `type` and `id` are compared byte by byte."""

    type: str
    id: str
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """What the subject wants to do."""

    name: str
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resource:
    """What the action is done to."""

    type: str
    id: str
    properties: Properties = field(default_factory=dict)


# Stands for the argument that is not there; each request without a context has a dict of its own.
_NO_CONTEXT: Final[Properties] = {}


@dataclass(frozen=True)
class Request:
    """One question. `tenant` empty means the one that is configured.

    `explain` asks why, and is no part of what is asked: the answer is the same.
    """

    subject: Subject
    action: Action
    resource: Resource
    context: Properties = field(default_factory=dict)
    tenant: str = ""
    request_id: str = ""
    subject_token: str = ""
    explain: bool = False

    # As `Decision`, and for the same reason. INVARIANT: sets every field.
    def __init__(  # noqa: PLR0917 the fields
        self,
        subject: Subject,
        action: Action,
        resource: Resource,
        context: Properties = _NO_CONTEXT,
        tenant: str = "",
        request_id: str = "",
        subject_token: str = "",
        explain: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        made = self.__dict__
        made["subject"] = subject
        made["action"] = action
        made["resource"] = resource
        made["context"] = {} if context is _NO_CONTEXT else context
        made["tenant"] = tenant
        made["request_id"] = request_id
        made["subject_token"] = subject_token
        made["explain"] = explain


@dataclass(frozen=True, slots=True)
class Caller:
    """The calling workload, as its certificate proved it."""

    spiffe_id: str
    serial: str = ""
    peer: str = ""
    # The last moment of its certificate, and of those above it; 0: not known. It says nothing of
    # who it is.
    ends_ns: int = field(default=0, compare=False)

    @property
    def trust_domain(self) -> str:
        """The `td` of `spiffe://td/path`."""
        return _parts(self.spiffe_id)[0]

    @property
    def path(self) -> str:
        """The `/path` of `spiffe://td/path`."""
        return _parts(self.spiffe_id)[1]


@functools.lru_cache(maxsize=1_024)
def _parts(spiffe_id: str) -> tuple[str, str]:
    """Trust domain and path; kept, because the same few workloads ask again and again."""
    domain, _, rest = spiffe_id.removeprefix("spiffe://").partition("/")
    return domain, f"/{rest}" if rest else ""


@dataclass(frozen=True, slots=True)
class Obligation:
    """A duty that comes with an answer; matched by clients on type and id.

    Advice has the same shape, and may be ignored.
    """

    id: str
    type: str
    properties: Properties = field(default_factory=dict)
    _key: list[tuple[str, str, bytes]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @property
    def key(self) -> tuple[str, str, bytes]:
        """Injective key: order and equality of obligations go by it. Computed once."""
        if not self._key:
            self._key.append((self.id, self.type, canonical(dict(self.properties))))
        return self._key[0]


def distinct(duties: Sequence[Obligation]) -> tuple[Obligation, ...]:
    """Sorted, without duplicates."""
    if len(duties) < 2:  # noqa: PLR2004 none, or one
        return tuple(duties)
    by_key = {duty.key: duty for duty in duties}
    return tuple(by_key[key] for key in sorted(by_key))


Ordered = TypeVar("Ordered", str, "Reason")


def in_order(found: Sequence[Ordered]) -> tuple[Ordered, ...]:
    """Names or reasons, sorted, without duplicates."""
    return tuple(sorted(set(found))) if len(found) > 1 else tuple(found)


@dataclass(frozen=True, slots=True, order=True)
class Reason:
    """What the author of a rule wrote about it, `policy/rule`: a fixed text."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class BundleRef:
    """Names the bundle: TUF snapshot version and digest of all targets."""

    revision: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Names a durable audit record."""

    pdp_id: str
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """A permit may be repeated for the same question until then. Nanoseconds since the epoch.

    Attributes:
        until_ns: from this instant on it is no answer, by the clock of the decision point.
        decided_ns: when it was decided, by the same clock.
        used: whether this is a repetition: the client did not ask.
    """

    until_ns: int
    decided_ns: int
    used: bool = False


@dataclass(frozen=True)
class Decision:
    """One answer. `explanation` is there when it was asked for and granted; it decides nothing.

    INVARIANT: `bool(decision)` is true only for a permit. A plain dataclass is
    always truthy, and `if pdp.authorize(...)` is what people write.

    Attributes:
        effect: the answer.
        cause: which step made it.
        rules: names of the rules that made it, sorted.
        obligations: what the asking service must do when it permits, or when it denies.
        decision_id: UUIDv7.
        bundle: what it was made from.
        record: where it is written down.
        advice: like obligations, but may be ignored.
        reason_user: texts of those rules for the person who was answered.
        reason_admin: texts for whoever looks after the policies; only for
            callers that may `explain`.
        lease: how long it may be repeated, if it may.
    """

    effect: Effect
    cause: Cause
    rules: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    decision_id: str = ""
    bundle: BundleRef | None = None
    record: RecordRef | None = None
    advice: tuple[Obligation, ...] = ()
    reason_user: tuple[Reason, ...] = ()
    reason_admin: tuple[Reason, ...] = ()
    # With the cause SCHEMA: what does not fit, `pdp.schema_check.Schemas.violation`.
    schema_violation: str = ""
    explanation: Explanation | None = None
    lease: Lease | None = None

    # Three are made for each answer, and the generated `__init__` of a frozen class, a call of
    # `object.__setattr__` for each field, takes three times as long.
    # INVARIANT: sets every field; tests/test_model.py asks each.
    def __init__(  # noqa: PLR0913, PLR0917 the fields
        self,
        effect: Effect,
        cause: Cause,
        rules: tuple[str, ...] = (),
        obligations: tuple[Obligation, ...] = (),
        decision_id: str = "",
        bundle: BundleRef | None = None,
        record: RecordRef | None = None,
        advice: tuple[Obligation, ...] = (),
        reason_user: tuple[Reason, ...] = (),
        reason_admin: tuple[Reason, ...] = (),
        schema_violation: str = "",
        explanation: Explanation | None = None,
        lease: Lease | None = None,
    ) -> None:
        made = self.__dict__
        made["effect"] = effect
        made["cause"] = cause
        made["rules"] = rules
        made["obligations"] = obligations
        made["decision_id"] = decision_id
        made["bundle"] = bundle
        made["record"] = record
        made["advice"] = advice
        made["reason_user"] = reason_user
        made["reason_admin"] = reason_admin
        made["schema_violation"] = schema_violation
        made["explanation"] = explanation
        made["lease"] = lease

    def __bool__(self) -> bool:
        return self.effect is Effect.PERMIT

    @property
    def leased(self) -> bool:
        """Whether the client gave it again without asking, within its lease."""
        return self.lease is not None and self.lease.used


class Semantic(enum.Enum):
    """Which questions of a batch are decided: AuthZEN's three. Numbers are the wire's."""

    EXECUTE_ALL = 1
    DENY_ON_FIRST_DENY = 2
    PERMIT_ON_FIRST_PERMIT = 3

    def ends(self, decision: Decision) -> bool:
        """Whether no question after this one is decided."""
        if self is Semantic.EXECUTE_ALL:
            return False
        permits = decision.effect is Effect.PERMIT
        return permits is (self is Semantic.PERMIT_ON_FIRST_PERMIT)


def deny(cause: Cause, rules: tuple[str, ...] = ()) -> Decision:
    """A denial with its cause."""
    return Decision(Effect.DENY, cause, rules)
