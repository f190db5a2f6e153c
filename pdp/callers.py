"""Caller policy: which workload may ask which questions. Law ring: pure.

One entry must cover the whole request: entries are not merged, so that a
reader of one entry knows all it grants.
"""

from __future__ import annotations

from dataclasses import dataclass

from pdp.errors import PolicyError
from pdp.model import Request

ANY = "*"


@dataclass(frozen=True, slots=True)
class CallerEntry:
    """One workload, or all workloads below a path.

    Attributes:
        id: `spiffe://td/path`, or `spiffe://td/path/*` for one or more further segments.
        tenants, resources, actions: exact strings or the sole `*`.
        asserts: subject types it may assert, or None: the subject must bring a token.
        may: of `explain`, `batch`, `search`.
    """

    id: str
    resources: tuple[str, ...]
    actions: tuple[str, ...]
    asserts: tuple[str, ...] | None
    tenants: tuple[str, ...] = ("default",)
    may: frozenset[str] = frozenset()

    def matches(self, spiffe_id: str) -> bool:
        """Whether the entry is about this workload."""
        if self.id.endswith("/*"):
            prefix = self.id[:-1]
            return spiffe_id.startswith(prefix) and len(spiffe_id) > len(prefix)
        return spiffe_id == self.id


def _covers(allowed: tuple[str, ...], value: str) -> bool:
    return value in allowed or allowed == (ANY,)


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """All entries. An empty one cannot be made: it would be a PDP nobody may ask."""

    entries: tuple[CallerEntry, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            message = "the caller policy is empty"
            raise PolicyError(message, suggestion="list at least one caller")

    def tenants(self, spiffe_id: str) -> frozenset[str]:
        """The tenants this workload may name; `*` stands for itself."""
        return frozenset(
            tenant
            for entry in self.entries
            if entry.matches(spiffe_id)
            for tenant in entry.tenants
        )

    def covering(self, spiffe_id: str, tenant: str, request: Request) -> tuple[CallerEntry, ...]:
        """The entries that cover this request, subject aside."""
        return tuple(
            entry
            for entry in self.entries
            if entry.matches(spiffe_id)
            and _covers(entry.tenants, tenant)
            and _covers(entry.resources, request.resource.type)
            and _covers(entry.actions, request.action.name)
        )

    def asserting(
        self, covering: tuple[CallerEntry, ...], subject_type: str
    ) -> CallerEntry | None:
        """The first covering entry that may assert this subject type, or None."""
        for entry in covering:
            if entry.asserts is not None and _covers(entry.asserts, subject_type):
                return entry
        return None
