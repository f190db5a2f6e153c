"""What a repository is, for people and for monitors: roles, keys, expiries, targets, freshness."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Metadata

from pdp.bundle.manifest import digest_of
from pdp.bundle.settings import EMERGENCY_TARGET, bundle_role, bundle_target
from pdp.publishing.plan import tenant_of
from pdp.publishing.repository import State


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """One role as published.

    Attributes:
        signatures: how many of its keys signed the current version.
        expires_in_s: negative when expired.
    """

    name: str
    version: int
    threshold: int
    keys: tuple[str, ...]
    signatures: int
    expires: str
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One published target."""

    path: str
    role: str
    length: int
    sha256: str
    custom: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """One tenant as published.

    Attributes:
        digest: of its bundle and the emergency list, as its answers and records say it.
        fresh_for_s: until the first expiry of a role that its answers need; 0 or less is stale.
        first_to_expire: that role.
        published: whether it has a bundle.
    """

    name: str
    digest: str
    fresh_for_s: int
    first_to_expire: str
    published: bool


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """A repository as published.

    Attributes:
        revision: the TUF snapshot version; what answers, records and `revision_floor` say.
        digest: of all targets; with one tenant, as answers and records say it.
        fresh_for_s: until the first expiry of a role that every answer needs; 0 or less
            is stale. With one tenant that is any role.
        first_to_expire: that role.
        tenants: each tenant's own.
    """

    revision: int
    digest: str
    fresh_for_s: int
    first_to_expire: str
    development: bool
    roles: tuple[RoleFacts, ...]
    targets: tuple[TargetFacts, ...]
    tenants: tuple[TenantFacts, ...]


def inspect_state(state: State, now_s: int) -> RepositoryFacts:
    """The facts of a state that was verified.

    Args:
        state: from `RepositoryFolder.read`.
        now_s: seconds since the epoch.
    """
    root, targets = state.root.signed, state.targets.signed
    roles = [
        _role(name, metadata, targets if name in state.delegated else root, now_s)
        for name, metadata in state.roles().items()
    ]
    found = [
        TargetFacts(path, role, info.length, info.hashes.get("sha256", ""), dict(info.custom or {}))
        for role in state.delegated
        for path, info in sorted(state.delegated[role].signed.targets.items())
    ]
    several = len(state.tenants) > 1
    shared = [role for role in roles if not several or tenant_of(role.name) is None]
    first = _first(shared)
    return RepositoryFacts(
        revision=state.revision,
        digest=digest_of({target.path: target.sha256 for target in found}).hex(),
        fresh_for_s=first.expires_in_s,
        first_to_expire=first.name,
        development=root.unrecognized_fields.get("development", False) is not False,
        roles=tuple(roles),
        targets=tuple(found),
        tenants=tuple(_tenant(name, roles, found) for name in state.tenants),
    )


def of_tenant(facts: RepositoryFacts, tenant: str) -> RepositoryFacts:
    """What concerns one tenant: its own, and what all share."""
    (own,) = (each for each in facts.tenants if each.name == tenant)
    roles = [role for role in facts.roles if tenant_of(role.name) in {None, tenant}]
    targets = [each for each in facts.targets if tenant_of(each.role) in {None, tenant}]
    return replace(
        facts,
        digest=own.digest,
        fresh_for_s=own.fresh_for_s,
        first_to_expire=own.first_to_expire,
        roles=tuple(roles),
        targets=tuple(targets),
        tenants=(own,),
    )


def _first(roles: Iterable[RoleFacts]) -> RoleFacts:
    return min(roles, key=lambda role: role.expires_in_s)


def _tenant(name: str, roles: list[RoleFacts], targets: list[TargetFacts]) -> TenantFacts:
    needed = [role for role in roles if tenant_of(role.name) in {None, name}]
    paths = {EMERGENCY_TARGET: "emergency", bundle_target(name): bundle_role(name)}
    own = {each.path: each.sha256 for each in targets if paths.get(each.path) == each.role}
    first = _first(needed)
    return TenantFacts(
        name,
        digest_of(own).hex(),
        first.expires_in_s,
        first.name,
        published=bundle_target(name) in own,
    )


def _role(name: str, metadata: Metadata[Any], delegator: Any, now_s: int) -> RoleFacts:
    signed = metadata.signed
    role = delegator.get_delegated_role(name)
    result = delegator.get_verification_result(name, metadata.signed_bytes, metadata.signatures)
    return RoleFacts(
        name=name,
        version=signed.version,
        threshold=role.threshold,
        keys=tuple(role.keyids),
        signatures=len(result.signed),
        expires=f"{signed.expires:%Y-%m-%dT%H:%M:%SZ}",
        expires_in_s=int((signed.expires - datetime.fromtimestamp(now_s, UTC)).total_seconds()),
    )
