"""What one verified bundle amounts to: everything a decision needs, immutable.

A request reads the current snapshot once and sees one version throughout.
Made only by `pdp.bundle`, from bytes whose signatures were checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdp.admission import Denials
from pdp.callers import CallerPolicy
from pdp.model import BundleRef
from pdp.policy import PolicySet
from pdp.values import NANOS

__all__ = ["CLOCK_TOLERANCE_NS", "Denials", "Snapshot"]

# How far the clock may be behind the mark before it counts as run backwards.
CLOCK_TOLERANCE_NS = 60 * NANOS


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One verified bundle.

    Attributes:
        policies: compiled policies by tenant.
        callers: who may ask.
        denials: the `emergency` target.
        ref: revision and digest.
        fresh_until_ns: from this instant on the answer is STALE.
        clock_mark_ns: the clock was at least here; see design section 6.
        unserved: tenants that this PDP is to serve and whose bundle cannot be used.
    """

    policies: Mapping[str, PolicySet]
    callers: CallerPolicy
    denials: Denials
    ref: BundleRef
    fresh_until_ns: int
    clock_mark_ns: int = field(default=0)
    unserved: frozenset[str] = frozenset()

    def is_stale(self, clock_ns: int) -> bool:
        """Expired, or the clock ran backwards. There is no grace."""
        return clock_ns >= self.fresh_until_ns or clock_ns < self.clock_mark_ns - CLOCK_TOLERANCE_NS

    def now_ns(self, clock_ns: int) -> int:
        """`now` in conditions: never before the mark."""
        return max(clock_ns, self.clock_mark_ns)
