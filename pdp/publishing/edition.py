"""The next state of a repository: changed role by role, signed, then written safely for readers.

INVARIANT: what a reader can reach is complete. New files have new names
(consistent snapshots) and are durable before the timestamp that leads to
them is replaced, which is one rename.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    TOP_LEVEL_ROLE_NAMES,
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from pdp.bundle.anchor import Anchor
from pdp.bundle.memory import write_durably
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.publishing.keyring import Keyring, KeyUnavailableError
from pdp.publishing.plan import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, tenant_of
from pdp.publishing.repository import RepositoryFolder, State, sha256_hex

_FILE_MODE = 0o644  # public: whoever serves the directory must be able to read it


@dataclass(slots=True)
class Edition:
    """Metadata to be signed and written.

    Attributes:
        keyring: the keys, and through its plan the thresholds and expiries.
        now_s: seconds since the epoch.
        before: the state this follows, or None for the first.
        anchor: what the root says about itself.
        signed: the unsigned new metadata by role, in the order of changes.
        files: new target files by place in the directory.
    """

    keyring: Keyring
    now_s: int
    before: State | None
    anchor: Anchor = Anchor.PRODUCTION
    signed: dict[str, Any] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def renew(self, role: str) -> None:
        """A new version of a role, with the keys and the expiry of the plan."""
        if role in self.signed:
            return
        new = self._next(role)
        lifetime = timedelta(seconds=self.keyring.plan.roles[role].expires_s)
        new.expires = datetime.fromtimestamp(self.now_s, UTC) + lifetime
        if role == ROOT:
            self._fill_root(new)
        elif role == TARGETS:
            self._fill_delegations(new)
        self.signed[role] = new

    def _next(self, role: str) -> Any:
        before = self.before
        known = before.roles().get(role) if before else None
        if known is not None:
            new = _copy(known).signed
            new.version += 1
            return new
        new = _first(role)
        listed = before.snapshot.signed.meta.get(f"{role}.json") if before else None
        if listed is not None:
            # A tenant that was removed comes back: to readers its versions go on.
            new.version = listed.version + 1
        return new

    @property
    def delegated(self) -> tuple[str, ...]:
        """The delegated roles of the next state: another plan counts once `targets` says so."""
        if self.before is None or TARGETS in self.signed:
            return self.keyring.plan.delegated
        return tuple(self.before.delegated)

    def put(self, role: str, path: str, data: bytes, custom: dict[str, Any]) -> None:
        """A new version of a delegated role, with this target in place of its old one."""
        self.renew(role)
        info = TargetFile.from_data(path, data, ["sha256"])
        info.unrecognized_fields["custom"] = custom
        self.signed[role].targets[path] = info
        self.files[path, sha256_hex(data)] = data

    def write(self, folder: RepositoryFolder) -> State:
        """Sign everything that changed, the snapshot and the timestamp; write it; return it.

        Nothing is written unless everything could be signed.

        Raises:
            ConfigurationError: a role's threshold cannot be met with the keys at hand,
                or nobody delegates to it.
            BundleRefusedError: a role that is not renewed has expired.
            OSError: the directory cannot be written; readers still see the old state.
        """
        early = [role for role in self.signed if tenant_of(role) and role not in self.delegated]
        if early:
            raise ConfigurationError(
                f"the repository does not delegate to `{early[0]}` yet: run "
                "`pdp bundle publish --renew targets`"
            )
        roots, done = self._sign_all()
        root = self._current(ROOT, done)
        for (path, digest), data in self.files.items():
            _write(folder.target_path(path, digest), data)
        # The root late and the timestamp last: between the two a reader of a root with other
        # online keys is refused, so the two are as close as they can be.
        for role in (*self.delegated, TARGETS, SNAPSHOT, ROOT):
            if role in done:
                version = done[role].signed.version
                _write(folder.metadata_path(role, version), done[role].to_bytes())
        _write(folder.metadata_path(TIMESTAMP, None), done[TIMESTAMP].to_bytes())
        return State(
            (*roots, root) if ROOT in done else roots,
            done[TIMESTAMP],
            self._current(SNAPSHOT, done),
            self._current(TARGETS, done),
            {role: self._current(role, done) for role in self.delegated},
        )

    def _sign_all(self) -> tuple[tuple[Metadata[Root], ...], dict[str, Metadata[Any]]]:
        done: dict[str, Metadata[Any]] = {}
        roots = self.before.roots if self.before else ()
        if ROOT in self.signed:
            delegators = [self.signed[ROOT], *([roots[-1].signed] if roots else [])]
            done[ROOT] = self._sign(ROOT, self.signed[ROOT], delegators)
        root = self._current(ROOT, done).signed
        self._renew_where_keys_changed(TARGETS, root, done)
        if TARGETS in self.signed:
            done[TARGETS] = self._sign(TARGETS, self.signed[TARGETS], [root])
        targets = self._current(TARGETS, done).signed
        for role in self.delegated:
            self._renew_where_keys_changed(role, targets, done)
            if role in self.signed:
                done[role] = self._sign(role, self.signed[role], [targets])
        self._renew_where_keys_changed(SNAPSHOT, root, done)
        if self.before is None or any(role in done for role in (TARGETS, *self.delegated)):
            self.renew(SNAPSHOT)
        if SNAPSHOT in self.signed:
            self._list_roles(done)
            done[SNAPSHOT] = self._sign(SNAPSHOT, self.signed[SNAPSHOT], [root])
        self._refuse_expired(done)
        self.renew(TIMESTAMP)
        if SNAPSHOT in done:
            snapshot = done[SNAPSHOT]
            self.signed[TIMESTAMP].snapshot_meta = MetaFile.from_data(
                snapshot.signed.version, snapshot.to_bytes(), ["sha256"]
            )
        done[TIMESTAMP] = self._sign(TIMESTAMP, self.signed[TIMESTAMP], [root])
        return roots, done

    def _list_roles(self, done: dict[str, Metadata[Any]]) -> None:
        for role in (TARGETS, *self.delegated):
            if role in done:
                metadata = done[role]
                self.signed[SNAPSHOT].meta[f"{role}.json"] = MetaFile.from_data(
                    metadata.signed.version, metadata.to_bytes(), ["sha256"]
                )

    def _current(self, role: str, done: dict[str, Metadata[Any]]) -> Metadata[Any]:
        if role in done:
            return done[role]
        if self.before is None:
            raise RuntimeError(f"the first edition has no {role}")
        return self.before.roles()[role]

    def _renew_where_keys_changed(
        self, role: str, delegator: Root | Targets, done: dict[str, Metadata[Any]]
    ) -> None:
        if role in self.signed or self.before is None:
            return
        if role not in self.before.roles():
            self.renew(role)
            return
        metadata = self._current(role, done)
        try:
            delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError):
            self.renew(role)

    def _refuse_expired(self, done: dict[str, Metadata[Any]]) -> None:
        """A timestamp over an expired role would be signed for nobody."""
        now = datetime.fromtimestamp(self.now_s, UTC)
        expired = [
            role
            for role in (ROOT, TARGETS, *self.delegated, SNAPSHOT)
            if self._current(role, done).signed.is_expired(now)
        ]
        tenants = [role for role in self.delegated if tenant_of(role)]
        alone = [role for role in expired if tenant_of(role)]
        # One tenant's expired role is its own loss, as long as there is another to sign for.
        if expired and (alone != expired or alone == tenants):
            names = ", ".join(f"`{role}`" for role in expired)
            options = " ".join(f"--renew {role}" for role in expired)
            raise BundleRefusedError(
                f"expired: {names}; no PDP would load what is signed now: "
                f"run `pdp bundle publish {options}`"
            )

    def _sign(self, role: str, signed: Any, delegators: list[Root | Targets]) -> Metadata[Any]:
        """Sign with every key at hand that a delegator names; each threshold must be met."""
        metadata: Metadata[Any] = Metadata(signed)
        names = self.keyring.by_keyid()
        wanted: dict[str, None] = {}
        for delegator in delegators:
            wanted.update(dict.fromkeys(_role_of(delegator, role).keyids))
        missing = []
        for keyid in wanted:
            name = names.get(keyid)
            if name is None:
                missing.append(f"a key with the id {keyid[:12]}… that this folder does not know")
                continue
            try:
                metadata.sign(self.keyring.signer(name), append=True)
            except (KeyUnavailableError, UnsignedMetadataError) as error:
                missing.append(f"`{name}`: {error}")
        for delegator in delegators:
            threshold = _role_of(delegator, role).threshold
            try:
                delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
            except RepositoryError:
                raise ConfigurationError(
                    f"the role `{role}` needs {threshold} signatures and has "
                    f"{len(metadata.signatures)}; missing: {'; '.join(missing)}"
                ) from None
        return metadata

    def _fill_root(self, root: Root) -> None:
        plan = self.keyring.plan
        root.consistent_snapshot = True
        if self.anchor.marked:
            root.unrecognized_fields["development"] = True
        root.keys = {}
        for role in sorted(TOP_LEVEL_ROLE_NAMES):
            keys = [self.keyring.public(name) for name in plan.roles[role].keys]
            root.roles[role] = Role([key.keyid for key in keys], plan.roles[role].threshold)
            root.keys.update({key.keyid: key for key in keys})

    def _fill_delegations(self, targets: Targets) -> None:
        plan = self.keyring.plan
        all_keys: dict[str, Key] = {}
        roles: dict[str, DelegatedRole] = {}
        for role in plan.delegated:
            keys = [self.keyring.public(name) for name in plan.roles[role].keys]
            all_keys.update({key.keyid: key for key in keys})
            roles[role] = DelegatedRole(
                role,
                [key.keyid for key in keys],
                plan.roles[role].threshold,
                terminating=True,
                paths=[f"{role}/*"],
            )
        targets.delegations = Delegations(all_keys, roles)


def _role_of(delegator: Root | Targets, role: str) -> Role:
    return delegator.get_delegated_role(role)


def _first(role: str) -> Any:
    if role == ROOT:
        return Root(consistent_snapshot=True)
    if role == SNAPSHOT:
        return Snapshot()
    if role == TIMESTAMP:
        return Timestamp()
    return Targets()


def _copy(metadata: Metadata[Any]) -> Metadata[Any]:
    return Metadata[Any].from_bytes(metadata.to_bytes())


def _write(path: Path, data: bytes) -> None:
    _make_folder(path.parent)
    write_durably(path, data, _FILE_MODE)


def _make_folder(folder: Path) -> None:
    """As `mkdir -p`, and durable: a timestamp must not outlive the folders it leads to."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
