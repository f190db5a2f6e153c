"""A repository directory as its publisher sees it: locked, and verified before anything is signed.

    metadata/N.root.json  timestamp.json  N.snapshot.json  N.targets.json
             N.policies/TENANT.json  N.emergency.json
    targets/policies/TENANT/<sha256>.bundle.tar
            emergency/<sha256>.denials.json

Serve it with any web server, or read it as a directory. The publisher too
starts from the trusted root: a directory that somebody changed is not signed.
What counts as current is what the timestamp leads to; files beyond it are
left-overs of a publication that was cut short, and are written again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing.plan import EMERGENCY, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, tenant_of

_LOCK_NAME = ".publish.lock"
_FILE_BYTES_MAX = 5_000_000
_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class State:
    """The current metadata of a repository; all of it verified from the trusted root.

    Attributes:
        roots: every root from the trusted one on.
        timestamp, snapshot, targets: top-level roles.
        delegated: by role name.
    """

    roots: tuple[Metadata[Root], ...]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    delegated: Mapping[str, Metadata[Targets]]

    @property
    def root(self) -> Metadata[Root]:
        """The newest root."""
        return self.roots[-1]

    @property
    def revision(self) -> int:
        """The TUF snapshot version."""
        return self.snapshot.signed.version

    def roles(self) -> dict[str, Metadata[Any]]:
        """All metadata by role name."""
        return {
            ROOT: self.root,
            TARGETS: self.targets,
            **self.delegated,
            SNAPSHOT: self.snapshot,
            TIMESTAMP: self.timestamp,
        }

    @property
    def tenants(self) -> tuple[str, ...]:
        """Their names, in the order of delegation."""
        return tuple(filter(None, map(tenant_of, self.delegated)))

    def target(self, path: str) -> TargetFile | None:
        """What the role of its own folder says about a target."""
        metadata = self.delegated.get(path.rpartition("/")[0])
        return None if metadata is None else metadata.signed.targets.get(path)


class RepositoryFolder:
    """The directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether a repository was made here."""
        return self.metadata_path(ROOT, 1).exists()

    def metadata_path(self, role: str, version: int | None) -> Path:
        """Where a role's metadata is; the timestamp alone has no version in its name."""
        stem = role if version is None else f"{version}.{role}"
        return self.folder / "metadata" / f"{stem}.json"

    def target_path(self, path: str, sha256: str) -> Path:
        """Where a target file is: its name begins with its hash (TUF, consistent snapshots)."""
        parent, _, name = path.rpartition("/")
        return self.folder / "targets" / parent / f"{sha256}.{name}"

    @contextmanager
    def lock(self, wait_s: float = 10.0) -> Iterator[None]:
        """One publisher at a time.

        Args:
            wait_s: how long to wait for another, in seconds: `freshen` takes milliseconds.

        Raises:
            ConfigurationError: the directory cannot be written, or another
                publisher is still at it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise ConfigurationError(
                f"the repository `{self.folder}` cannot be written: {error.strerror}"
            ) from None
        try:
            self._acquire(descriptor, time.monotonic() + wait_s)
            yield
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int, end: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise ConfigurationError(
                        f"another publisher is at work in `{self.folder}`: try again"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def read(self, trusted_root: bytes) -> State:
        """Read and verify the current state.

        Expired roles are read: signing them anew is what a publisher does.

        Raises:
            ConfigurationError: there is no repository.
            BundleRefusedError: something is missing, or does not verify.
        """
        if not self.exists:
            raise ConfigurationError(
                f"there is no repository in `{self.folder}`: make one with `pdp bundle init`"
            )
        return self._read(trusted_root, None)

    def read_revision(self, trusted_root: bytes, revision: int) -> State:
        """Read and verify what was published as an earlier revision, to look at it.

        Signatures are verified as for the current one, by the keys that any of
        the roots names; what leads to it, the timestamp, was another one then.

        Raises:
            ConfigurationError: there is no repository, or no such revision yet.
            BundleRefusedError: something is missing, or does not verify.
        """
        current = self.read(trusted_root)
        if revision > current.revision:
            # A snapshot that no timestamp led to was never published.
            raise ConfigurationError(
                f"revision {revision} is not published: the newest is {current.revision}"
            )
        return self._read(trusted_root, revision)

    def _read(self, trusted_root: bytes, revision: int | None) -> State:
        roots = self._roots(trusted_root)
        timestamp = self._load(TIMESTAMP, None, Timestamp)
        _verify(TIMESTAMP, timestamp, roots)
        newest = timestamp.signed.snapshot_meta.version
        snapshot = self._load(SNAPSHOT, revision or newest, Snapshot)
        _verify(SNAPSHOT, snapshot, roots)
        meta = snapshot.signed.meta
        targets = self._load(TARGETS, _version(meta, TARGETS), Targets)
        _verify(TARGETS, targets, roots)
        delegated = {}
        for role in _delegations(targets.signed):
            metadata = self._load(role, _version(meta, role), Targets)
            try:
                targets.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
            except (RepositoryError, ValueError) as error:
                raise BundleRefusedError(f"the role `{role}` does not verify: {error}") from None
            delegated[role] = metadata
        return State(tuple(roots), timestamp, snapshot, targets, delegated)

    def read_target(self, info: TargetFile) -> bytes:
        """The bytes of a target, their hash compared.

        Raises:
            BundleRefusedError: they are missing or changed.
        """
        path = self.target_path(info.path, info.hashes.get("sha256", ""))
        try:
            data = path.read_bytes()
            info.verify_length_and_hashes(data)
        except (OSError, RepositoryError) as error:
            raise BundleRefusedError(f"the target `{path}` is damaged: {error}") from None
        return data

    def _roots(self, trusted_root: bytes) -> list[Metadata[Root]]:
        roots = [_parse(trusted_root, Root, "the trusted root")]
        _verify(ROOT, roots[0], roots)
        while self.metadata_path(ROOT, roots[-1].signed.version + 1).exists():
            following = self._load(ROOT, roots[-1].signed.version + 1, Root)
            # TUF, client workflow 5.3.4: signed by the old root's keys and by its own.
            _verify(ROOT, following, roots[-1:])
            _verify(ROOT, following, [following])
            roots.append(following)
        return roots

    def _load(self, role: str, version: int | None, kind: type[_S]) -> Metadata[_S]:
        path = self.metadata_path(role, version)
        try:
            with path.open("rb") as file:
                data = file.read(_FILE_BYTES_MAX)
        except OSError as error:
            raise BundleRefusedError(
                f"the repository has no `{path}`: {(error.strerror or '').lower()}"
            ) from None
        metadata = _parse(data, kind, f"`{path}`")
        if version is not None and metadata.signed.version != version:
            raise BundleRefusedError(f"`{path}` has the version {metadata.signed.version}")
        return metadata


def _delegations(targets: Targets) -> list[str]:
    """The delegated roles, in their order; the names become paths, so they are looked at."""
    roles = list((targets.delegations.roles if targets.delegations else None) or {})
    for role in roles:
        if role != EMERGENCY and tenant_of(role) is None:
            raise BundleRefusedError(f"the targets role delegates to {role[:80]!a}: unknown")
    if EMERGENCY not in roles or len(roles) == 1:
        raise BundleRefusedError("the targets role does not delegate to `emergency` and a tenant")
    return roles


def sha256_hex(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _version(meta: Mapping[str, Any], role: str) -> int:
    info = meta.get(f"{role}.json")
    if info is None:
        raise BundleRefusedError(f"the snapshot does not list the role `{role}`")
    return int(info.version)


def _parse(data: bytes, kind: type[_S], where: str) -> Metadata[_S]:
    try:
        metadata = Metadata[_S].from_bytes(data)
    except RepositoryError as error:
        raise BundleRefusedError(f"{where} is not TUF metadata: {error}") from None
    if not isinstance(metadata.signed, kind):
        raise BundleRefusedError(f"{where} is the metadata of another role")
    return metadata


def _verify(role: str, metadata: Metadata[Any], roots: list[Metadata[Root]]) -> None:
    """Signed as any of these roots asks, the newest first.

    Also an older one: when a root that replaces online keys was written and
    the publication was then cut short, the rest is still signed by the old keys.
    """
    failure = ""
    for root in reversed(roots):
        try:
            root.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            failure = failure or str(error)
        else:
            return
    raise BundleRefusedError(
        f"the role `{role}` does not verify: {failure}; somebody changed the repository, "
        "or the trusted root is another repository's"
    )
