"""What the operator says about the bundle, judged before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pdp.archive import ArchiveLimits
from pdp.callers import check_caller_id
from pdp.errors import ConfigurationError, PolicyError
from pdp.tenancy import Tenancy

DEFAULT_TENANT = "default"
EMERGENCY_TARGET = "emergency/denials.json"
EMERGENCY_ROLE = "emergency"

# A longer life of the heartbeat is a longer life for a stolen timestamp key and for a withdrawn
# policy, so an operator may stretch our hour to a day and no further.
_FRESHNESS_SECONDS_CAP = 86_400
_FRESHNESS_SECONDS_MIN = 60
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
# Each costs a poll a look; more belong on PDPs of their own.
TENANTS_MAX = 64


def bundle_target(tenant: str) -> str:
    """Path of a tenant's bundle in the repository."""
    return f"policies/{tenant}/bundle.tar"


def bundle_role(tenant: str) -> str:
    """Name of the TUF role that alone may sign a tenant's bundle."""
    return f"policies/{tenant}"


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """What is fetched at most. Units are in the names.

    Metadata limits: python-tuf's defaults are 512,000 (root), 16,384
    (timestamp), 2,000,000 (snapshot) and 5,000,000 (targets); ours has five
    roles, so less is enough.
    """

    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    root_bytes_max: int = 262_144
    timestamp_bytes_max: int = 16_384
    snapshot_bytes_max: int = 262_144
    targets_bytes_max: int = 1_048_576
    root_rotations_max: int = 64  # new roots in one poll
    delegations_max: int = 32  # roles looked at for one target


@dataclass(frozen=True, slots=True)
class BundleSettings:
    """Where the bundle comes from and what is remembered of it.

    Attributes:
        source: `https://...`, `http://...` (TUF authenticates what comes),
            `file:/path`, or the path of a repository directory.
        root: file of the trusted root, embedded in the deployment. Always the
            start of trust; nothing that was fetched ever replaces it.
        state_folder: what was seen before; on a volume that outlives the process.
        revision_floor: the lowest acceptable revision (TUF snapshot version).
            Needed when the state folder is new.
        freshness_max_s: the longest that one freshness proof counts.
        poll_time_max_s: wall time of one poll's fetching, all requests together.
        tenants: whose bundles are loaded.
        default_tenant: whom a request is about that names none; empty: it must name one,
            unless there is but one.
        caller_tenants: the same of single callers, by SPIFFE ID or `spiffe://domain/path/*`.
        providers: (tenant, provider) of all that bundles may name; None: any, which are
            then not asked.
        limits: sizes.
    """

    source: str
    root: Path
    state_folder: Path
    revision_floor: int | None = None
    freshness_max_s: int = 3600
    poll_time_max_s: float = 10.0
    tenants: tuple[str, ...] = (DEFAULT_TENANT,)
    default_tenant: str = ""
    caller_tenants: Mapping[str, str] = field(default_factory=dict)
    providers: frozenset[tuple[str, str]] | None = frozenset()
    limits: BundleLimits = field(default_factory=BundleLimits)

    def __post_init__(self) -> None:
        """Judge.

        Raises:
            ConfigurationError: with the setting and what to write instead.
        """
        check_source(self.source)
        if self.revision_floor is not None and self.revision_floor < 1:
            raise ConfigurationError(
                f"`revision_floor` is {self.revision_floor}: revisions begin at 1"
            )
        if not _FRESHNESS_SECONDS_MIN <= self.freshness_max_s <= _FRESHNESS_SECONDS_CAP:
            raise ConfigurationError(
                f"`freshness_max_s` is {self.freshness_max_s}: "
                f"it must be from {_FRESHNESS_SECONDS_MIN} to {_FRESHNESS_SECONDS_CAP}"
            )
        if not 0 < self.poll_time_max_s <= 600:  # noqa: PLR2004 said in the message
            raise ConfigurationError(
                f"`poll_time_max_s` is {self.poll_time_max_s}: it must be above 0, at most 600"
            )
        if not self.tenants or len(set(self.tenants)) != len(self.tenants):
            raise ConfigurationError("`tenants` must name at least one tenant, and each once")
        if len(self.tenants) > TENANTS_MAX:
            raise ConfigurationError(
                f"`tenants` names {len(self.tenants)}: at most {TENANTS_MAX} share a PDP"
            )
        for tenant in self.tenants:
            check_tenant(tenant)
        self._check_tenancy()

    def _check_tenancy(self) -> None:
        known = ", ".join(f"`{tenant}`" for tenant in self.tenants)
        if self.default_tenant and self.default_tenant not in self.tenants:
            raise ConfigurationError(
                f"`default_tenant` is {self.default_tenant[:80]!a}, which is none of `tenants`: "
                f"{known}"
            )
        for caller, tenant in self.caller_tenants.items():
            try:
                check_caller_id(caller)
            except PolicyError as error:
                raise ConfigurationError(
                    f"`caller_tenants` has {caller[:200]!a}: {error}"
                ) from None
            if tenant not in self.tenants:
                raise ConfigurationError(
                    f"`caller_tenants` gives `{caller}` to {tenant[:80]!a}, which is none of "
                    f"`tenants`: {known}"
                )

    @property
    def tenancy(self) -> Tenancy:
        """What is said of requests that name no tenant."""
        return Tenancy(frozenset(self.tenants), self.default_tenant, dict(self.caller_tenants))


def check_tenant(tenant: str) -> str:
    """A tenant's name, unchanged: it becomes part of paths, role and key names.

    Raises:
        ConfigurationError: it is none.
    """
    if _TENANT.fullmatch(tenant) is None:
        raise ConfigurationError(
            f"the tenant {tenant[:80]!a} is not allowed: use a-z, 0-9 and `-`, at most 63"
        )
    return tenant


def check_source(source: str) -> None:
    """Judge where a repository is said to be.

    Raises:
        ConfigurationError: a scheme or a part of a URL that is not supported.
    """
    if not source:
        raise ConfigurationError("the bundle source is empty: give a URL or a directory")
    if not is_url(source):
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
        if scheme and scheme[1] != "file":
            raise ConfigurationError(
                f"the bundle source `{source}` has the scheme `{scheme[1]}`: "
                "use `https`, `http`, `file`, or a path"
            )
        return
    try:
        url = urlsplit(source)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"the bundle source `{source}` is not a URL: {error}") from None
    if not host:
        raise ConfigurationError(f"the bundle source `{source}` names no host")
    # A query would be cut off by relative names; a password would end up in logs.
    if url.query or url.fragment or url.username is not None or url.password is not None:
        raise ConfigurationError(
            f"the bundle source at `{host}` has a user, a query or a fragment: leave them out"
        )


def is_url(source: str) -> bool:
    """Whether the repository is behind HTTP."""
    return source.startswith(("http://", "https://"))
