"""From an admitted request to a decision: who asks, for which tenant, then the rules.

Law ring: pure. The decision point and `pdp test` both call `decide`, so that
what an author tests is what the PDP answers. The steps, in this order:

    1 the caller or its certificate is denied by the emergency list   DENY(CALLER)
    2 no entry of the caller policy is about the caller               DENY(CALLER)
    3 the tenant cannot be resolved                                   InvalidRequestError
    4 no entry covers tenant, resource type and action, and the
      wish for an explanation, the batch or the search, if any        DENY(CALLER)
    5 a subject token came and is not verified, or is about somebody
      else, or is denied by the emergency list; or one is required    DENY(IDENTITY)
    6 the caller may not assert subjects of this type                 DENY(CALLER)
    7 the subject is denied by the emergency list                     DENY(IDENTITY)
    8 the request does not fit the tenant's schemas                   DENY(SCHEMA)
    9 the tenant's policies                                           the engine
   10 reasons for administrators only to a caller that may `explain`

Schemas come after the caller policy, so that a stranger cannot find out what
attributes there are; and before the rules, so that no rule meets what its
author was told cannot come. Steps 8 and 9 are `PolicySet.decide`, together.

Nothing here looks at freshness, deadlines or records: those need a clock and
are the decision point's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pdp.boundary import Admitted
from pdp.callers import ANY, CallerPolicy
from pdp.errors import InvalidRequestError
from pdp.model import Caller, Cause, Decision, Subject, deny
from pdp.policy import PolicySet, Rule
from pdp.subject_token import SubjectToken


@dataclass(frozen=True, slots=True)
class Denials:
    """The `emergency` target: denials that cannot wait for a release.

    Deny-only: nothing in it can make an answer milder.

    Attributes:
        callers: SPIFFE IDs.
        serials: (trust domain, lower-case hexadecimal serial).
        subjects: (type, id).
        jtis: (issuer, jti).
    """

    callers: frozenset[str] = frozenset()
    serials: frozenset[tuple[str, str]] = frozenset()
    subjects: frozenset[tuple[str, str]] = frozenset()
    jtis: frozenset[tuple[str, str]] = frozenset()

    def denies_caller(self, caller: Caller) -> bool:
        """Whether this workload, or its certificate, is denied."""
        if caller.spiffe_id in self.callers:
            return True
        # Most days the list is empty.
        return bool(self.serials) and (caller.trust_domain, caller.serial) in self.serials

    def denies_subject(self, subject: Subject) -> bool:
        """Whether this subject is denied."""
        return bool(self.subjects) and (subject.type, subject.id) in self.subjects

    def denies_token(self, token: SubjectToken) -> bool:
        """Whether this token is denied. An issuer answers for its own `jti` only."""
        return bool(self.jtis) and (token.issuer, token.jti) in self.jtis


def resolve_tenant(
    policies: Mapping[str, PolicySet],
    allowed: frozenset[str],
    named: str,
    home: str | None = None,
) -> str:
    """The tenant a request is about.

    Args:
        policies: the tenants this PDP loads.
        allowed: the tenants the caller may name; `*` stands for all that are loaded.
        named: as the request says.
        home: what the operator says of a request of this caller that names none;
            empty: nothing. None where there is no operator: the caller's only one.

    Returns:
        The tenant. Whether its caller policy lists the caller at all, its entries say.

    Raises:
        InvalidRequestError: none is named where one must be, or the named one is
            not the caller's or not loaded. Which of the last two is not said: who
            may not name a tenant does not learn of it.
    """
    reachable = allowed
    if ANY in allowed:
        reachable = allowed - {ANY} | frozenset(policies)
    if not named and home is not None:
        # INVARIANT: no bundle has a say in this, so no tenant has one in another's requests.
        if not home:
            raise InvalidRequestError(
                "tenant",
                "is required: this PDP serves several tenants, and its configuration says "
                "none for this caller; send `tenant`",
            )
        if home in policies:
            return home
        named = home
    if not named:
        if len(reachable) != 1:
            raise InvalidRequestError(
                "tenant", "is required: this caller has not exactly one; send `tenant`"
            )
        (named,) = reachable
    if named not in reachable or named not in policies:
        raise InvalidRequestError("tenant", "is not one that this caller may name here")
    return named


def decide(
    policies: Mapping[str, PolicySet],
    callers: CallerPolicy,
    denials: Denials,
    admitted: Admitted,
    caller: Caller,
    now_ns: int,
    *,
    doing: str = "",
    home: str | None = None,
) -> tuple[Decision, Sequence[Rule]]:
    """The whole answer to one admitted request, but for time and durability.

    Args:
        policies: compiled policies by tenant.
        callers: who may ask what.
        denials: the emergency list.
        admitted: the request, past the boundary, admitted for this `caller`, with
            what its token proves at `now_ns`.
        caller: the verified workload.
        now_ns: nanoseconds since the epoch; `now` in conditions.
        doing: what the request is a part of: `batch`, `search`, or nothing.
        home: the tenant if the request names none, see `resolve_tenant`.

    Returns:
        The decision, and the candidate rules it looked at: none when it was
        made before the rules.

    Raises:
        InvalidRequestError: about `tenant`; a door answers INVALID_ARGUMENT.
    """
    request = admitted.request
    if denials.denies_caller(caller):
        return deny(Cause.CALLER), ()
    allowed = callers.tenants(caller.spiffe_id)
    # Before the tenant is looked at: a stranger gets a recorded denial and
    # learns nothing about tenants.
    if not allowed:
        return deny(Cause.CALLER), ()
    tenant = resolve_tenant(policies, allowed, request.tenant, home)
    token = admitted.token
    standing = callers.standing(caller.spiffe_id, tenant, request, doing, proved=token is not None)
    if not standing.covered:
        return deny(Cause.CALLER), ()
    if token is None:
        # A request that leans on a token which proves nothing is not answered without it.
        if request.subject_token:
            return deny(Cause.IDENTITY), ()
    elif not token.proves(request.subject) or denials.denies_token(token):
        return deny(Cause.IDENTITY), ()
    if not standing.admitted:
        return deny(Cause.IDENTITY if standing.needs_token else Cause.CALLER), ()
    if denials.denies_subject(request.subject):
        return deny(Cause.IDENTITY), ()
    decision, rules = policies[tenant].decide(admitted, now_ns)
    if decision.reason_admin and not standing.explains:
        decision = replace(decision, reason_admin=())
    return decision, rules
