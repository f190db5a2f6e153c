"""Caller policy: which workload may ask which questions. Law ring: pure.

One entry must cover the whole request: entries are not merged, so that a
reader of one entry knows all it grants. A half-valid entry cannot be made,
neither by an author nor from a bundle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pdp.errors import PolicyError
from pdp.model import Request

ANY = "*"
EXPLAIN = "explain"
BATCH = "batch"
SEARCH = "search"
MAY = frozenset({EXPLAIN, BATCH, SEARCH})
# Workloads whose entries are kept; more than any fleet has at once.
_KNOWN_MAX = 4_096
# Kinds of questions that are kept: a name may take a kilobyte.
_KINDS_MAX = 1_024

# SPIFFE-ID sections 2.1 to 2.3. `fullmatch` only: `$` would let a line break in.
SPIFFE_ID_BYTES_MAX = 2_048
TRUST_DOMAIN_BYTES_MAX = 255
_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


def check_caller_id(text: str) -> str:
    """A SPIFFE ID of a workload, or one whose last path segment is `*`; unchanged.

    Raises:
        PolicyError: it breaks a rule of the SPIFFE-ID specification, section 2.
    """
    if not text.startswith(_SCHEME):
        raise PolicyError("a caller is a SPIFFE ID", suggestion="write `spiffe://domain/path`")
    domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    if not _TRUST_DOMAIN.fullmatch(domain) or len(domain) > TRUST_DOMAIN_BYTES_MAX:
        hint = "lower-case letters, digits, `.`, `-` and `_`, at most 255; no port, no user"
        raise PolicyError("the trust domain of the SPIFFE ID is not valid", suggestion=hint)
    if not slash or not path:
        hint = "`spiffe://domain/path` names one workload, `spiffe://domain/*` all of a domain"
        raise PolicyError("the SPIFFE ID has no path", suggestion=hint)
    segments = path.split("/")
    if segments[-1] == ANY:
        segments.pop()
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
            hint = "letters, digits, `.`, `-` and `_` between slashes; `*` as the last segment only"
            raise PolicyError("the path of the SPIFFE ID is not valid", suggestion=hint)
    if len(text) > SPIFFE_ID_BYTES_MAX:
        raise PolicyError(f"the SPIFFE ID is longer than {SPIFFE_ID_BYTES_MAX} bytes")
    return text


@dataclass(frozen=True, slots=True)
class CallerEntry:
    """One workload, or all workloads below a path.

    Attributes:
        id: `spiffe://td/path`, or `spiffe://td/path/*` for one or more further segments.
        tenants, resources, actions: exact strings or the sole `*`.
        asserts: subject types it may assert, or None: the subject must bring a token.
        may: of `explain`, `batch`, `search`.

    Raises:
        PolicyError: the id is none, a list is empty or mixes `*` with names,
            or `may` holds an unknown word.
    """

    id: str
    resources: tuple[str, ...]
    actions: tuple[str, ...]
    asserts: tuple[str, ...] | None
    tenants: tuple[str, ...] = ("default",)
    may: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_caller_id(self.id)
        asserts = (ANY,) if self.asserts is None else self.asserts
        for name, allowed in (
            ("tenants", self.tenants),
            ("resources", self.resources),
            ("actions", self.actions),
            ("assert", asserts),
        ):
            # INVARIANT: an empty list would read as "none" here and as "any" to
            # whoever expects an absent list; it is refused, not interpreted.
            if not allowed or not all(allowed):
                raise PolicyError(f"`{name}` of caller `{self.id}` is empty or has an empty name")
            if ANY in allowed and allowed != (ANY,):
                hint = "`*` stands alone, or not at all"
                raise PolicyError(
                    f"`{name}` of caller `{self.id}` mixes `*` with names", None, hint
                )
        if unknown := self.may - MAY:
            raise PolicyError(f"caller `{self.id}` may not be allowed `{min(unknown)}`: unknown")

    def matches(self, spiffe_id: str) -> bool:
        """Whether the entry is about this workload."""
        if self.id.endswith("/*"):
            prefix = self.id[:-1]
            return spiffe_id.startswith(prefix) and len(spiffe_id) > len(prefix)
        return spiffe_id == self.id

    def admits(self, subject_type: str, *, proved: bool) -> bool:
        """Whether a subject of this type may be asked about.

        Args:
            subject_type: as the request says.
            proved: whether a verified token is about the same subject. It widens
                nothing for an entry that asserts: that lists the types it is for.
        """
        return proved if self.asserts is None else _covers(self.asserts, subject_type)


def _covers(allowed: tuple[str, ...], value: str) -> bool:
    return value in allowed or allowed == (ANY,)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the entries come to for one request.

    Attributes:
        covered: one covers it, subject aside.
        admitted: one of these is about subjects like this.
        needs_token: one of these wants a token.
        explains: one of these is about subjects like this and may `explain`.
    """

    covered: bool
    admitted: bool
    needs_token: bool
    explains: bool


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """All entries. An empty one cannot be made: it would be a PDP nobody may ask."""

    entries: tuple[CallerEntry, ...]
    # Who asked before, and what is about them: saves work, changes nothing.
    _known: dict[str, tuple[tuple[CallerEntry, ...], frozenset[str]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    # The same for questions of one kind.
    _standing: dict[tuple[str, str, str, str, str, bool, str, bool], Standing] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.entries:
            message = "the caller policy is empty"
            raise PolicyError(message, suggestion="list at least one caller")

    def tenants(self, spiffe_id: str) -> frozenset[str]:
        """The tenants this workload may name; `*` stands for itself."""
        return self._about(spiffe_id)[1]

    def _about(self, spiffe_id: str) -> tuple[tuple[CallerEntry, ...], frozenset[str]]:
        """The entries that are about a workload, and all of their tenants."""
        found = self._known.get(spiffe_id)
        if found is None:
            entries = tuple(entry for entry in self.entries if entry.matches(spiffe_id))
            found = entries, frozenset(tenant for entry in entries for tenant in entry.tenants)
            # Behind a final `/*` there may be any number of workloads.
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[spiffe_id] = found
        return found

    def covering(
        self, spiffe_id: str, tenant: str, request: Request, *, doing: str = ""
    ) -> tuple[CallerEntry, ...]:
        """The entries that cover this request, subject aside.

        One that asks for an explanation is covered only by an entry that may: an
        explanation shows policies, and entries are not merged here either. The
        same for one of a batch, which takes much of the PDP at a time, and for one
        of a search, which lists what nobody named.

        Args:
            spiffe_id: who asks.
            tenant: resolved.
            request: what is asked.
            doing: what the request is a part of, `batch` or `search`; empty: it is alone.
        """
        resource, action, explain = request.resource.type, request.action.name, request.explain
        return tuple(
            [
                entry
                for entry in self._about(spiffe_id)[0]
                if _covers(entry.tenants, tenant)
                and _covers(entry.resources, resource)
                and _covers(entry.actions, action)
                and (not explain or EXPLAIN in entry.may)
                and (not doing or doing in entry.may)
            ]
        )

    def standing(
        self, spiffe_id: str, tenant: str, request: Request, doing: str, *, proved: bool
    ) -> Standing:
        """What the entries come to for a request, worked out once for its kind.

        Args:
            spiffe_id: who asks.
            tenant: resolved.
            request: what is asked.
            doing: as for `covering`.
            proved: as for `CallerEntry.admits`.
        """
        subject, resource = request.subject.type, request.resource.type
        # INVARIANT: everything that `covering` and `admitting` look at.
        kind = (
            spiffe_id, tenant, subject, request.action.name, resource, request.explain, doing,
            proved,
        )  # fmt: skip
        found = self._standing.get(kind)
        if found is None:
            covering = self.covering(spiffe_id, tenant, request, doing=doing)
            found = Standing(
                covered=bool(covering),
                admitted=self.admitting(covering, subject, proved=proved) is not None,
                needs_token=any(entry.asserts is None for entry in covering),
                explains=self.may(covering, subject, EXPLAIN, proved=proved),
            )
            # A caller may make up types and actions.
            if len(self._standing) >= _KINDS_MAX:
                self._standing.clear()
            self._standing[kind] = found
        return found

    def searching(
        self, spiffe_id: str, tenant: str, resource_type: str | None, action: str | None
    ) -> tuple[CallerEntry, ...]:
        """The entries that let this workload search; None stands for whatever it may be."""
        return tuple(
            entry
            for entry in self._about(spiffe_id)[0]
            if SEARCH in entry.may
            and _covers(entry.tenants, tenant)
            and (resource_type is None or _covers(entry.resources, resource_type))
            and (action is None or _covers(entry.actions, action))
        )

    def admitting(
        self, covering: tuple[CallerEntry, ...], subject_type: str, *, proved: bool
    ) -> CallerEntry | None:
        """The first covering entry that is about subjects like this, or None."""
        for entry in covering:
            if entry.admits(subject_type, proved=proved):
                return entry
        return None

    def may(
        self, covering: tuple[CallerEntry, ...], subject_type: str, word: str, *, proved: bool
    ) -> bool:
        """Whether one entry covers the whole request, subject included, and allows this besides."""
        return any(
            word in entry.may and entry.admits(subject_type, proved=proved) for entry in covering
        )
