"""Whether a search is begun at all. Law ring: pure.

A search asks many questions, and each is admitted and decided like any other
(`pdp.admission`). This comes before: what could only end in denials is not begun,
so that whoever may not search learns nothing, of the directory least of all, and
costs no look into it. It grants nothing.

    1 the caller is denied by the emergency list, or nobody knows it    CALLER
    2 the tenant cannot be resolved                                     InvalidRequestError
    3 no entry lets the caller search in this tenant                    CALLER
    4 none lets it search among these resources, with this action       CALLER, it may search
    5 the subject, or its token, is denied as for a single question     IDENTITY or CALLER, likewise
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pdp.admission import Denials, resolve_tenant
from pdp.boundary import Admitted
from pdp.callers import ANY, CallerEntry, CallerPolicy
from pdp.model import Caller, Cause
from pdp.policy import PolicySet


@dataclass(frozen=True, slots=True)
class Screened:
    """What there is to search.

    Attributes:
        tenant: resolved; empty where `may` is false.
        may: whether the caller may search in this tenant at all.
        cause: why it is not begun, or None: it is.
        entries: of the caller policy, that let the caller search for this.
    """

    tenant: str
    may: bool
    cause: Cause | None
    entries: tuple[CallerEntry, ...] = ()


_STRANGER = Screened("", may=False, cause=Cause.CALLER)


def screen(
    policies: Mapping[str, PolicySet],
    callers: CallerPolicy,
    denials: Denials,
    admitted: Admitted,
    caller: Caller,
    *,
    subject_known: bool,
    action_known: bool,
    home: str | None = None,
) -> Screened:
    """Judge who searches for what.

    Args:
        policies: compiled policies by tenant.
        callers: who may ask what.
        denials: the emergency list.
        admitted: the question, past the boundary, with what its token proves. What is
            searched for stands in it by any name.
        caller: the verified workload.
        subject_known: whether the subject is named, not searched for.
        action_known: likewise, the action.
        home: the tenant if the request names none, see `pdp.admission.resolve_tenant`.

    Raises:
        InvalidRequestError: about `tenant`.
    """
    request = admitted.request
    if denials.denies_caller(caller):
        return _STRANGER
    allowed = callers.tenants(caller.spiffe_id)
    if not allowed:
        return _STRANGER
    tenant = resolve_tenant(policies, allowed, request.tenant, home)
    if not callers.searching(caller.spiffe_id, tenant, None, None):
        return _STRANGER
    action = request.action.name if action_known else None
    entries = callers.searching(caller.spiffe_id, tenant, request.resource.type, action)
    if not entries:
        return Screened(tenant, may=True, cause=Cause.CALLER)
    cause = _subject(callers, denials, admitted, entries, subject_known=subject_known)
    return Screened(tenant, may=True, cause=cause, entries=entries)


def _subject(
    callers: CallerPolicy,
    denials: Denials,
    admitted: Admitted,
    entries: tuple[CallerEntry, ...],
    *,
    subject_known: bool,
) -> Cause | None:
    """Why no question about this subject, or about any of its type, can be permitted."""
    subject, token = admitted.request.subject, admitted.token
    if token is None:
        if admitted.request.subject_token:
            return Cause.IDENTITY
    elif denials.denies_token(token) or (subject_known and not token.proves(subject)):
        return Cause.IDENTITY
    if callers.admitting(entries, subject.type, proved=token is not None) is None:
        return Cause.IDENTITY if any(entry.asserts is None for entry in entries) else Cause.CALLER
    if subject_known and denials.denies_subject(subject):
        return Cause.IDENTITY
    return None


def actions_to_try(
    policies: PolicySet, entries: tuple[CallerEntry, ...], resource_type: str
) -> tuple[list[str], list[str]]:
    """The actions that a search for actions asks about, and what it cannot ask about.

    Args:
        policies: of the tenant.
        entries: that let the caller search.
        resource_type: of the resource.

    Returns:
        Names, in order: those that rules about the type, schemas or the caller policy
        name. And the patterns of permits that may permit more than these: no list can
        name what nobody has named. A caller whose entries list names is told of none:
        other actions are denied to it.
    """
    named, patterns = policies.actions(resource_type)
    listed = frozenset(name for entry in entries for name in entry.actions) - {ANY}
    if all(ANY not in entry.actions for entry in entries):
        return sorted(listed), []
    return sorted(named | listed), sorted(patterns)
