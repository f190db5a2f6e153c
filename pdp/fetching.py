"""Before a decision: attributes that callers do not send are fetched, for one question or many.

The decision itself stays without I/O. A question whose candidate rules may read what a
provider owns comes out of the law unasked (`pdp.provided.UNASKED`); here its
providers are asked, at the same time and within what is left of its time, and it is
decided again, from the same snapshot at a new reading of the clock. Whatever goes
wrong here is an attribute in error, never a question without an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pdp.boundary import Admitted
from pdp.call import Call
from pdp.fetched import Fetched, FetchOutcome
from pdp.model import Request
from pdp.policy import PolicySet
from pdp.provided import Provided
from pdp.schema import Target


@dataclass(frozen=True, slots=True)
class Asked:
    """What a provider is asked. All of it is the key under which an answer is kept.

    INVARIANT: whatever an answer may depend on is part of it: the tenant, and the bundle
    that says what the answer is for.

    Attributes:
        provider: as the bundle names it.
        tenant: whose bundle.
        target: subject or resource.
        type, id: which one.
        attributes: that are wanted, sorted.
        max_age_s: how old an answer may be when it is used; 0: not kept at all.
        revision, digest: of the tenant's bundle.
    """

    provider: str
    tenant: str
    target: Target
    type: str
    id: str
    attributes: tuple[str, ...]
    max_age_s: int
    revision: int
    digest: bytes


class AttributeSource(Protocol):
    """Where attributes come from."""

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:
        """Ask providers, all at the same time.

        Never raises, but for cancellation; returns before the deadline, on the decision
        point's monotonic clock, less what it keeps back for the decision.

        Args:
            asked: each once.
            deadline: of the question, or the batch.

        Returns:
            What came of each.
        """
        ...


class Unconfigured:
    """No provider is configured."""

    async def fetch(self, asked: Collection[Asked], deadline: float) -> Mapping[Asked, Fetched]:  # noqa: ARG002 the protocol's
        """As `AttributeSource`: nobody is asked."""
        return {each: Fetched(each.provider, FetchOutcome.UNCONFIGURED) for each in asked}


async def supply(source: AttributeSource, calls: Sequence[Call], deadline: float) -> None:
    """Fetch what the candidate rules of some questions may read; no input is asked for twice.

    Args:
        source: of attributes.
        calls: that came out of the law unasked; each gets its `supply`.
        deadline: theirs.
    """
    wanted = [(call, *_wanted(call)) for call in calls]
    every = dict.fromkeys(each for _, _, asked in wanted for each in asked)
    try:
        found = await source.fetch(every, deadline)
    except Exception:  # noqa: BLE001 a provider's, whatever it is: the law decides without it
        found = {}
    for call, policies, asked in wanted:
        said = {
            each.provider: found.get(each) or Fetched(each.provider, FetchOutcome.WRONG)
            for each in asked
        }
        if policies.provided is not None:
            call.supply = _Supply(policies.provided, said, about(call.request))


def about(request: Request) -> tuple[str, str, str, str]:
    """Whom and what a question is about: what its providers are asked for."""
    subject, resource = request.subject, request.resource
    return subject.type, subject.id, resource.type, resource.id


@dataclass(frozen=True, slots=True)
class _Supply:
    """Completes a request with what providers said of it.

    INVARIANT: of it, and of no other: what an HTTP request asks may depend on when it is read,
    and then its providers were asked about somebody else.
    """

    provided: Provided
    said: Mapping[str, Fetched]
    about: tuple[str, str, str, str]

    def __call__(self, admitted: Admitted) -> Admitted:
        if about(admitted.request) != self.about:
            return admitted
        return self.provided.complete(admitted, self.said)


def _wanted(call: Call) -> tuple[PolicySet, list[Asked]]:
    """The policies of a question, and what they want to know of it."""
    snapshot, admitted, policies = call.snapshot, call.admitted, call.policies()
    if snapshot is None or admitted is None or policies.provided is None:
        raise RuntimeError("a question wants something that nobody owns")
    tenant = call.resolved_tenant()
    ref, request = snapshot.ref_of(tenant), admitted.request
    asked = []
    for document in policies.provided.wanted(admitted.sent, call.rules):
        entity = request.subject if document.target is Target.SUBJECT else request.resource
        asked.append(
            Asked(
                document.name,
                tenant,
                document.target,
                entity.type,
                entity.id,
                document.attributes,
                document.max_age_s,
                ref.revision,
                ref.digest,
            )
        )
    return policies, asked
