"""What a repository is, for people and for monitors: roles, keys, expiries, targets, freshness."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Metadata

from pdp.bundle.manifest import digest_of
from pdp.publishing.plan import DELEGATED
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
class RepositoryFacts:
    """A repository as published.

    Attributes:
        revision: the TUF snapshot version; what answers, records and `revision_floor` say.
        digest: of all targets, as answers and records say it.
        fresh_for_s: until the first expiry of any role; 0 or less is stale.
        first_to_expire: the role that expires first.
    """

    revision: int
    digest: str
    fresh_for_s: int
    first_to_expire: str
    development: bool
    roles: tuple[RoleFacts, ...]
    targets: tuple[TargetFacts, ...]


def inspect_state(state: State, now_s: int) -> RepositoryFacts:
    """The facts of a state that was verified.

    Args:
        state: from `RepositoryFolder.read`.
        now_s: seconds since the epoch.
    """
    root, targets = state.root.signed, state.targets.signed
    roles = [
        _role(name, metadata, targets if name in DELEGATED else root, now_s)
        for name, metadata in state.roles().items()
    ]
    found = [
        TargetFacts(path, role, info.length, info.hashes.get("sha256", ""), dict(info.custom or {}))
        for role in DELEGATED
        for path, info in sorted(state.delegated[role].signed.targets.items())
    ]
    first = min(roles, key=lambda role: role.expires_in_s)
    return RepositoryFacts(
        revision=state.revision,
        digest=digest_of({target.path: target.sha256 for target in found}).hex(),
        fresh_for_s=first.expires_in_s,
        first_to_expire=first.name,
        development=root.unrecognized_fields.get("development", False) is not False,
        roles=tuple(roles),
        targets=tuple(found),
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
