"""For how long a permit may be repeated by whoever asked, without asking. Law ring: pure.

A lease is a permit that outlives its moment, so it is the least of everything that could end
it: what each rule that permitted grants, the next time at which a rule begins or ends, the end
of the token and of the caller's certificate, and the freshness of the policies. There is none
where the moment itself took part: a duty comes with the answer, or a rule reads `now`.
Source: docs/adr/0029.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from pdp.errors import PolicyError
from pdp.model import Decision, Effect, Lease
from pdp.values import NANOS

LEASE_S_MAX: Final = 5
_NOW: Final = "now"


class Rule(Protocol):
    """What a candidate rule says of leases."""

    @property
    def name(self) -> str:
        """`policy/rule`."""
        ...

    @property
    def reads(self) -> AbstractSet[tuple[str, ...]]:
        """Attribute paths that any part of it looks at."""
        ...

    @property
    def lease_s(self) -> int:
        """Seconds that it grants; 0: none."""
        ...


def check_lease(what: str, effect: Effect, lease_s: int) -> None:
    """Refuse a lease that no rule may have.

    Raises:
        PolicyError: longer than 5 s, or a denial's.
    """
    if not 0 <= lease_s <= LEASE_S_MAX:
        raise PolicyError(f"{what} has a lease of other than 0 to {LEASE_S_MAX} seconds")
    if effect is Effect.DENY and lease_s:
        raise PolicyError(f"{what} denies and has a lease", suggestion="remove `lease_s`")


def granted_s(decision: Decision, candidates: Iterable[Rule]) -> int:
    """What the rules grant, in seconds; 0: nothing.

    Args:
        decision: the answer, of which the candidates are.
        candidates: every rule that was looked at, permits and denies.
    """
    if decision.effect is not Effect.PERMIT or decision.obligations:
        return 0
    made_by, granted = set(decision.rules), [LEASE_S_MAX]
    for rule in candidates:
        if any(path[0] == _NOW for path in rule.reads):
            # It may deny the next moment, whatever it said in this one.
            return 0
        if rule.name in made_by:
            granted.append(rule.lease_s)
            made_by.discard(rule.name)
    # INVARIANT: all that permitted were seen, and the least of them counts.
    return 0 if made_by else min(granted)


def lease(
    seconds: int,
    clock_ns: int,
    ends_ns: Sequence[int],
    now_ns: int,
    ends_of_now_ns: Sequence[int | None],
) -> Lease | None:
    """The lease that is left of so many seconds; None: none.

    Args:
        seconds: granted by the rules.
        clock_ns: when it was decided, nanoseconds since the epoch.
        ends_ns: from when on it must not be used, by that clock.
        now_ns: when it was decided, as the rules saw it: never before the clock.
        ends_of_now_ns: the same by that reading; None: no end.
    """
    lefts = [min(seconds, LEASE_S_MAX) * NANOS]
    lefts += [end - clock_ns for end in ends_ns]
    lefts += [end - now_ns for end in ends_of_now_ns if end is not None]
    left = min(lefts)
    return Lease(clock_ns + left, clock_ns) if left > 0 else None
