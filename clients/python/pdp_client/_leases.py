"""Permits that may be repeated for a moment without asking, and when they may not.

As the core, this knows no clock and no threads: time comes in as numbers, and the endpoint
calls it under its lock. Nothing here can make a permit: it keeps what a PDP gave, with a lease,
to the very question that is asked again, and forgets it when anything says that it may be over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pdp.model import BundleRef, Decision, Effect, Lease
from pdp.v1 import authorization_pb2 as pb
from pdp.values import NANOS, Value, canonical

if TYPE_CHECKING:
    from cachetools import LRUCache

# Whatever a PDP says.
LEASE_S_MAX: Final = 5.0
ENTRIES_MAX: Final = 100_000
# Of so many tenants it is known which revision was seen; the questions of others are asked.
TENANTS_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that may be answered by a lease, or whose answer may become one.

    Attributes:
        question: all that the PDP is told, but for the question's id: bytes of the message.
        tenant: as it is named; empty: the caller's own.
        asker: certificate, key and authorities of this client, which ones, and what it can meet.
        at: when it was asked, seconds on the driver's monotonic clock.
    """

    question: bytes
    tenant: str
    asker: bytes
    at: float


def asked(message: bytes, asker: bytes, at: float) -> Asked:
    """What is asked, read from the bytes that are sent: nothing else can be what was answered."""
    request = pb.AuthorizeRequest.FromString(message)
    request.ClearField("request_id")
    return Asked(request.SerializeToString(deterministic=True), request.tenant, asker, at)


def asker_of(fingerprint: bytes, rotations: int, can_meet: Collection[tuple[str, str]]) -> bytes:
    """Who asks, as bytes: injective."""
    duties: list[Value] = [[kind, name] for kind, name in sorted(can_meet)]
    return canonical([fingerprint, rotations, duties])


def encoding(asked: Asked, bundle: BundleRef) -> bytes:
    """Question, tenant, token, asker and bundle as bytes. INVARIANT: injective."""
    named: Value = [asked.tenant, asked.question, asked.asker, bundle.revision, bundle.digest]
    return canonical(named)


def lasts_s(lease: Lease) -> float:
    """How long, by the PDP's own clock from first to last: the two clocks are never compared."""
    return min((lease.until_ns - lease.decided_ns) / NANOS, LEASE_S_MAX)


class Leases:
    """Permits under lease.

    Args:
        entries_max: so many are kept; the least recently used goes first.
    """

    def __init__(self, entries_max: int) -> None:
        # Only for who wants leases: the client is light.
        from cachetools import LRUCache  # noqa: PLC0415

        self._kept: LRUCache[bytes, tuple[float, Decision]] = LRUCache(maxsize=entries_max)
        # By tenant, as questions name it: the highest revision that an answer has shown.
        self._seen: dict[str, BundleRef] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, asked: Asked, now: float) -> Decision | None:
        """The permit that answers this now, marked; None: ask."""
        bundle = self._seen.get(asked.tenant)
        if bundle is None:
            return None
        key = _key(asked, bundle)
        found = self._kept.get(key)
        if found is None:
            return None
        until, decision = found
        # Written so that a clock that is not a number is late.
        if not now < until:
            del self._kept[key]
            return None
        return decision

    def see(self, tenant: str, decision: Decision) -> bool:
        """Take note of an answer. Whether it is of the highest revision seen.

        INVARIANT: a tenant's higher revision, and one that says two things, ends every lease:
        an answer that names its tenant may be about the same one as an answer that does not.
        """
        bundle, known = decision.bundle, self._seen.get(tenant)
        if bundle is None:
            return False
        if known is None:
            leases = decision.effect is Effect.PERMIT and decision.lease is not None
            if not leases or len(self._seen) >= TENANTS_MAX:
                return False
        elif bundle.revision < known.revision:
            return False
        elif bundle == known:
            return True
        self._kept.clear()
        if known is not None and bundle.revision == known.revision:
            # Two PDPs of one revision do not agree what is in it.
            return False
        self._seen[tenant] = bundle
        return True

    def keep(self, asked: Asked, decision: Decision) -> None:
        """Keep a permit for as long as its lease says, counted from when it was asked for."""
        current = self.see(asked.tenant, decision)
        lease, bundle = decision.lease, decision.bundle
        if not current or lease is None or bundle is None:
            return
        if decision.effect is not Effect.PERMIT or decision.obligations or decision.explanation:
            return
        marked = replace(decision, lease=replace(lease, used=True))
        self._kept[_key(asked, bundle)] = (asked.at + lasts_s(lease), marked)


def _key(asked: Asked, bundle: BundleRef) -> bytes:
    # Tokens and attributes are not kept, only what they hash to.
    return hashlib.sha256(encoding(asked, bundle)).digest()
