"""What the verified bundles amount to: everything a decision needs, immutable.

A request reads the current snapshot once and sees one version throughout.
Made only by `pdp.bundle`, from bytes whose signatures were checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp.admission import Denials
from pdp.callers import CallerPolicy
from pdp.http_mapping import HttpMapping
from pdp.model import BundleRef
from pdp.policy import PolicySet
from pdp.tenancy import Tenancy
from pdp.values import NANOS

__all__ = ["CLOCK_TOLERANCE_NS", "Denials", "Snapshot", "TenantState"]

# How far the clock may be behind the mark before it counts as run backwards.
CLOCK_TOLERANCE_NS = 60 * NANOS


@dataclass(frozen=True, slots=True)
class TenantState:
    """What one tenant's answers are made of, and how long that counts.

    Attributes:
        ref: the revision that its bundle was last verified in; digest of bundle and denials.
        fresh_until_ns: from this instant on its answers are STALE.
    """

    ref: BundleRef
    fresh_until_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The verified bundles of all tenants that are served.

    Attributes:
        policies: compiled policies by tenant.
        callers: who may ask.
        denials: the `emergency` target.
        ref: revision and digest, of all of them.
        fresh_until_ns: from this instant on every answer is STALE.
        clock_mark_ns: the clock was at least here; see design section 6.
        unserved: tenants that this PDP is to serve and has no bundle of.
        tenants: what is each tenant's own; one that is not in it is as the whole.
        tenancy: what the operator says of requests that name no tenant.
        mappings: what HTTP requests ask, by tenant; not every bundle says it.
    """

    policies: Mapping[str, PolicySet]
    callers: CallerPolicy
    denials: Denials
    ref: BundleRef
    fresh_until_ns: int
    clock_mark_ns: int = field(default=0)
    unserved: frozenset[str] = frozenset()
    tenants: Mapping[str, TenantState] = field(default_factory=dict)
    tenancy: Tenancy | None = None
    mappings: Mapping[str, HttpMapping] = field(default_factory=dict)

    @property
    def has_providers(self) -> bool:
        """Whether some attributes are not the callers' to send."""
        return any(each.provided is not None for each in self.policies.values())

    def home(self, spiffe_id: str) -> str:
        """The tenant of a request that names none; empty: it must name one."""
        tenancy = self.tenancy
        if tenancy is None:
            tenancy = Tenancy(frozenset(self.policies) | self.unserved)
        return tenancy.home(spiffe_id)

    def ref_of(self, tenant: str) -> BundleRef:
        """Revision and digest of what a tenant's answers are made of."""
        own = self.tenants.get(tenant)
        return self.ref if own is None else own.ref

    def fresh_until(self, tenant: str) -> int:
        """From when on a tenant's answers are STALE, nanoseconds since the epoch."""
        own = self.tenants.get(tenant)
        return self.fresh_until_ns if own is None else own.fresh_until_ns

    def is_stale(self, clock_ns: int, tenant: str = "") -> bool:
        """Expired, or the clock ran backwards. There is no grace.

        Args:
            clock_ns: nanoseconds since the epoch.
            tenant: whose bundle; without one, whether all are.
        """
        return (
            clock_ns >= self.fresh_until(tenant)
            or clock_ns < self.clock_mark_ns - CLOCK_TOLERANCE_NS
        )

    def now_ns(self, clock_ns: int) -> int:
        """`now` in conditions: never before the mark."""
        return max(clock_ns, self.clock_mark_ns)
