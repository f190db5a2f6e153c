"""Answers of providers that are kept for a while, by everything that they depend on.

Bounded in bytes. An answer counts from when its question was asked, not from when it came,
and ages by two clocks: one stops while a machine sleeps, the other may be set. A failure
is kept for a moment, to protect the provider, and stays a failure; nothing becomes absent
by being kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cachetools import TLRUCache

from pdp.fetched import Fetched, FetchOutcome
from pdp.fetching import Asked
from pdp.values import NANOS, canonical

# Of an entry, beside its values: key, times and the cache's own links.
_ENTRY_BYTES: Final = 1_024
# A wall clock that went back further than this says nothing about age.
_BACKWARDS_NS: Final = 60 * NANOS


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks."""

    seconds: float
    wall_ns: int


@dataclass(frozen=True, slots=True)
class _Kept:
    fetched: Fetched
    asked: Moment
    age_max_s: float
    size: int


class Answers:
    """For one event loop.

    Args:
        bytes_max: of all of them.
        failure_s: for so long a failure is kept.
        monotonic: seconds that never go back.
    """

    def __init__(self, bytes_max: int, failure_s: float, monotonic: Callable[[], float]) -> None:
        self._failure_s = failure_s
        self._bytes_max = bytes_max
        self._kept: TLRUCache[Asked, _Kept] = TLRUCache(
            bytes_max,
            ttu=lambda _, kept, __: kept.asked.seconds + kept.age_max_s,
            timer=monotonic,
            getsizeof=lambda kept: kept.size,
        )

    def get(self, asked: Asked, now: Moment) -> Fetched | None:
        """The answer, if one is kept that is not too old."""
        kept = self._kept.get(asked)
        if kept is None:
            return None
        age_ns = now.wall_ns - kept.asked.wall_ns
        age_s = now.seconds - kept.asked.seconds
        if max(age_s, age_ns / NANOS) >= kept.age_max_s or age_ns < -_BACKWARDS_NS:
            return None
        return kept.fetched

    def keep(self, asked: Asked, fetched: Fetched, since: Moment) -> None:
        """Keep an answer.

        Args:
            asked: the question, all of it.
            fetched: what came.
            since: when it was asked.
        """
        failed = fetched.outcome is not FetchOutcome.FETCHED
        age_max_s = min(self._failure_s, asked.max_age_s) if failed else float(asked.max_age_s)
        size = _ENTRY_BYTES + len(canonical(dict(fetched.values)))
        if age_max_s > 0 and size <= self._bytes_max:
            self._kept[asked] = _Kept(fetched, since, age_max_s, size)
