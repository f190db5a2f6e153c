"""What comes back during a scenario, second by second, and its way to a file.

One tally for all users of a process. Percentiles are of all calls: one that was
turned away took its time as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from loadtests.scenarios import Outcome, Second, percentile
from pdp_client import Cause, Decision, Effect, Undecided

# A policy decided. Any other denial is a PDP, or a way to it, that did not bear the load.
DECIDED = frozenset({Cause.RULE, Cause.DEFAULT, Cause.INDETERMINATE, Cause.BUDGET, Cause.SCHEMA})


@dataclass(slots=True)
class _Bucket:
    users: int = 0
    decided: int = 0
    shed: int = 0
    errors: int = 0
    took_ms: list[float] = field(default_factory=list)


class Tally:
    """Counts calls as they end."""

    def __init__(self) -> None:
        # By tenant: each has revisions of its own.
        self.newest: Counter[str] = Counter()
        self._decided: Counter[str] = Counter()
        self._went_back = 0
        self._buckets: list[_Bucket] = []
        self._causes: Counter[str] = Counter()
        self._revisions: set[int] = set()

    def ended(
        self,
        second: int,
        users: int,
        took_ms: float,
        cause: Cause,
        revision: int,
        known: int,
        *,
        tenant: str = "",
    ) -> None:
        """One call.

        Args:
            second: of the scenario, in which it ended.
            users: how many there were then.
            took_ms: from when the question was due.
            cause: why it was answered so.
            revision: of the bundle that answered; 0: none did.
            known: `newest` of the tenant when the question was asked.
            tenant: whom it was about, where there are several.
        """
        while len(self._buckets) <= second:
            self._buckets.append(_Bucket())
        bucket = self._buckets[second]
        bucket.users = max(bucket.users, users)
        bucket.took_ms.append(took_ms)
        if cause in DECIDED:
            bucket.decided += 1
            self._decided[tenant] += 1
        elif cause is Cause.OVERLOADED:
            bucket.shed += 1
        else:
            bucket.errors += 1
        if cause not in DECIDED:
            self._causes[cause.name] += 1
        if revision:
            self._revisions.add(revision)
            self._went_back += revision < known
            self.newest[tenant] = max(self.newest[tenant], revision)

    def outcome(self) -> Outcome:
        """What came of it all."""
        everything = sorted(took for bucket in self._buckets for took in bucket.took_ms)
        return Outcome(
            *_percentiles(everything),
            causes=dict(self._causes.most_common()),
            revisions=tuple(sorted(self._revisions)),
            went_back=self._went_back,
            seconds=tuple(map(_second, self._buckets)),
            tenants=dict(sorted(self._decided.items())),
        )


def of_batch(items: Sequence[Decision | Undecided]) -> Decision:
    """What stands for a batch: the first item that nobody decided, else the first.

    Raises:
        ValueError: a batch of nothing.
    """
    if not items:
        raise ValueError("a batch of nothing decides nothing")
    for item in items:
        if not isinstance(item, Decision):
            return Decision(Effect.DENY, Cause.UNUSABLE)
        if item.cause not in DECIDED:
            return item
    return next(item for item in items if isinstance(item, Decision))


def _percentiles(ordered: list[float]) -> tuple[float, float, float]:
    p50, p95, p99 = (round(percentile(ordered, share), 3) for share in (0.5, 0.95, 0.99))
    return p50, p95, p99


def _second(bucket: _Bucket) -> Second:
    times = _percentiles(sorted(bucket.took_ms))
    return Second(bucket.users, bucket.decided, bucket.shed, bucket.errors, *times)


def to_json(outcome: Outcome) -> str:
    """For a file."""
    return json.dumps(asdict(outcome))


def from_json(text: str) -> Outcome:
    """What `to_json` wrote."""
    found = json.loads(text)
    seconds = tuple(Second(**second) for second in found["seconds"])
    revisions = tuple(found["revisions"])
    return Outcome(**{**found, "seconds": seconds, "revisions": revisions})
