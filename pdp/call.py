"""One question on its way through the decision point, and what it gets with its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pdp.admission import resolve_tenant
from pdp.audit.decision_id import new_decision_id
from pdp.audit.entry import Received
from pdp.boundary import Admitted
from pdp.errors import InvalidRequestError
from pdp.lease import granted_s, lease
from pdp.model import (
    BundleRef,
    Caller,
    Cause,
    Decision,
    Effect,
    Lease,
    RecordRef,
    Request,
)
from pdp.policy import PolicySet, Rule
from pdp.snapshot import Snapshot
from pdp.subject_token import SubjectToken

if TYPE_CHECKING:
    from pdp.http_question import HttpQuestion


# By identity, because members of enums take long to hash.
_LABELS: Final = {
    (id(effect), id(cause)): (effect.name, cause.name) for effect in Effect for cause in Cause
}


def labels(decision: Decision) -> tuple[str, str]:
    """Effect and cause, as decisions are counted by them."""
    return _LABELS[id(decision.effect), id(decision.cause)]


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, and for a door: what was wrong with the request.

    INVARIANT: where `invalid` is set, the decision is a denial.
    """

    decision: Decision
    invalid: InvalidRequestError | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that could not be admitted, and why.

    A door makes one only in a batch: alone, what it cannot admit gets no decision. Of an
    HTTP request the bundle says what it asks, so that this comes of it on the way.

    Attributes:
        request: what could be read of it.
        error: what is wrong with it.
        cause: of the denial that it is.
    """

    request: Request
    error: InvalidRequestError
    cause: Cause = Cause.INVALID


@dataclass(frozen=True, slots=True)
class Moment:
    """What questions see that are asked together: one reading of the clock, one version.

    Attributes:
        clock_ns: nanoseconds since the epoch.
        snapshot: of the policies.
        doing: what they are a part of, in the word of the caller policy: `batch` or `search`.
        proofs: what each token of them proves at this moment, by its whole text; None:
            nothing. It ends with them: nothing is kept by a token's text.
    """

    clock_ns: int
    snapshot: Snapshot | None
    doing: str
    proofs: dict[str, SubjectToken | None] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One request on its way. Filled step by step; a step that fails leaves the rest empty."""

    question: Request | Admitted | Refused | HttpQuestion
    caller: Caller
    deadline: float
    received: Received | None
    clock_ns: int = 0
    now_ns: int = 0
    admitted: Admitted | None = None
    snapshot: Snapshot | None = None
    tenant: str = ""  # named, or by the operator's word; not yet whether the caller may
    rules: Sequence[Rule] = ()
    invalid: InvalidRequestError | None = None
    # Completes the request with what providers said. Set: the answer holds no longer than now,
    # for they may say something else the next moment.
    supply: Callable[[Admitted], Admitted] | None = None

    @property
    def request(self) -> Request:
        """As asked, admitted or not."""
        question = self.question
        return question if isinstance(question, Request) else question.request

    def resolved_tenant(self) -> str:
        """The tenant that the law resolved.

        Raises:
            InvalidRequestError: none; then there was no decision of rules.
        """
        if self.snapshot is None:
            raise InvalidRequestError("tenant", "was not resolved")
        policies, callers = self.snapshot.policies, self.snapshot.callers
        allowed = callers.tenants(self.caller.spiffe_id)
        return resolve_tenant(policies, allowed, self.request.tenant, self.tenant)

    def policies(self) -> PolicySet:
        """Those of that tenant. Raises as `resolved_tenant`."""
        tenant = self.resolved_tenant()
        if self.snapshot is None:
            raise InvalidRequestError("tenant", "was not resolved")
        return self.snapshot.policies[tenant]

    @property
    def recorded(self) -> Request:
        """As asked, and where several tenants are served with the tenant that it was about."""
        request = self.request
        if request.tenant or self.snapshot is None or len(self.snapshot.tenants) <= 1:
            return request
        return replace(request, tenant=self.tenant)

    @property
    def bundle(self) -> BundleRef | None:
        """What decided, as far as it is known."""
        return None if self.snapshot is None else self.snapshot.ref_of(self.tenant)

    def is_stale(self, clock_ns: int) -> bool:
        """Whether what decided is no longer fresh, or there is nothing."""
        return self.snapshot is None or self.snapshot.is_stale(clock_ns, self.tenant)


def named(decision: Decision, call: Call) -> Decision:
    """A copy with an id of its own, and the bundle that decided."""
    copied = object.__new__(Decision)
    # Of a dict that is copied whole, no field is looked at.
    made = decision.__dict__.copy()
    object.__setattr__(copied, "__dict__", made)
    made["decision_id"] = new_decision_id(call.clock_ns)
    made["bundle"] = call.bundle
    made["record"] = None
    made["lease"] = _lease(decision, call)
    return copied


def _lease(decision: Decision, call: Call) -> Lease | None:
    """For how long a permit may be repeated; None: not at all.

    INVARIANT: only what came as a message of our own protocol: other doors have no word for it.
    """
    snapshot, admitted, request = call.snapshot, call.admitted, call.request
    if decision.effect is not Effect.PERMIT or snapshot is None or admitted is None:
        return None
    if call.received is None or call.supply is not None or request.explain:
        return None
    policies = call.policies()
    if not policies.grants_leases:
        return None
    token, now_ns = admitted.token, call.now_ns
    return lease(
        granted_s(decision, call.rules),
        call.clock_ns,
        [call.caller.ends_ns, snapshot.fresh_until(call.tenant)],
        now_ns,
        [
            policies.changes_ns(request.resource.type, request.action.name, now_ns),
            None if token is None else token.expires_ns,
        ],
    )


def with_record(decision: Decision, record: RecordRef | None) -> Decision:
    """What `named` made, with the name of its record, if there is one; the same object.

    INVARIANT: the copy is this call's, and whoever is answered gets it after. Other decisions may
    be shared, as `pdp.provided.UNASKED`.
    """
    decision.__dict__["record"] = record
    return decision
