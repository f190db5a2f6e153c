"""TUF, used as it is: from the trusted root to target bytes whose signatures were checked.

One `Updater` per call, in a folder of its own that is thrown away: what an
earlier call verified is put there first (so `tuf` sees rollbacks and need not
fetch again), and what this call verified is handed back. A call is thus a
transaction. Where `tuf` keeps each role as soon as that role alone verifies,
a timestamp that our own checks refuse afterwards would stay, and its version
number would shut out the honest ones.

Roots are the exception: each root that verified is kept even when the rest
fails, or a store could make us forget that a key was replaced.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from pdp.bundle.anchor import Anchor
from pdp.bundle.settings import BundleLimits
from pdp.bundle.store import STORE_URL, Store
from pdp.errors import BundleRefusedError
from pdp.values import NANOS

# Names of the folders that calls work in.
WORK_PREFIX = "poll-"

# Above this, JSON readers begin to round. TUF itself sets no bound, and takes true for 1.
_VERSION_MAX = 2**53

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A target, and the one role that may sign it.

    Attributes:
        path, role: in the repository.
        bytes_max: of the target.
        alone: whether only its own tenant is without it when it fails. What all
            share is not: then nothing is verified.
    """

    path: str
    role: str
    bytes_max: int
    alone: bool = False


@dataclass(frozen=True, slots=True)
class VerifiedTarget:
    """Bytes that the right role signed.

    Attributes:
        data: exactly the bytes whose hash was compared.
        custom: the signed `custom` object, or an empty one.
    """

    data: bytes
    custom: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """In hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(slots=True)
class Kept:
    """Files that verified before. Nothing in it is believed: each is verified again when used.

    Attributes:
        roots: root files by version, those after the trusted root only.
        roles: metadata files by role name, the root aside.
        targets: target files by path.
    """

    roots: dict[int, bytes] = field(default_factory=dict)
    roles: dict[str, bytes] = field(default_factory=dict)
    targets: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifiedSet:
    """One consistent state of the repository.

    INVARIANT: made by `verify_repository` only, after every signature,
    threshold, version, length, hash and (by the system clock) expiry of what
    is in it was checked by TUF.

    Attributes:
        versions: by role name; `snapshot` is what we call the revision.
        expires_ns: by role name, nanoseconds since the epoch.
        development: whether the root is marked as made by `pdp dev`.
        targets: by path.
        failed: why a target of one tenant is not in it, by path.
        kept: the files all this was read from.
    """

    versions: Mapping[str, int]
    expires_ns: Mapping[str, int]
    development: bool
    targets: Mapping[str, VerifiedTarget]
    failed: Mapping[str, Exception]
    kept: Kept

    @property
    def revision(self) -> int:
        """The TUF snapshot version."""
        return self.versions[Snapshot.type]


def verify_repository(
    store: Store,
    trusted_root: bytes,
    kept: Kept,
    wanted: Sequence[Wanted],
    limits: BundleLimits,
    folder: Path,
) -> VerifiedSet:
    """Fetch and verify the current state of a repository.

    Args:
        store: where files come from; trusted in nothing.
        trusted_root: the embedded root. Always the start, whatever was kept.
        kept: files of an earlier call. Its `roots` gain every new root that
            verified, also when this call fails.
        wanted: targets.
        limits: sizes.
        folder: where a temporary folder can be made.

    Raises:
        RepositoryError: TUF refuses what it read, and all tenants share it.
        DownloadError: the same, of what could not be fetched.
        BundleRefusedError: a shared target is missing, too large, or signed by the wrong role.
        OSError: the folder cannot be written.
    """
    try:
        return _verify(store, trusted_root, kept, wanted, limits, folder)
    except RepositoryError:
        known = {role: data for role, data in kept.roles.items() if role != Snapshot.type}
        if len(known) == len(kept.roles) or not any(want.alone for want in wanted):
            raise
        # TUF refuses a whole snapshot in which one role went back or is gone. Whose role it is
        # decides who is without it, so without the last snapshot once more; what went back, the
        # state file knows role by role (`pdp.bundle.keeper`, step 6).
        roots, targets = kept.roots, kept.targets
        return _verify(store, trusted_root, Kept(roots, known, targets), wanted, limits, folder)


def _verify(
    store: Store,
    trusted_root: bytes,
    kept: Kept,
    wanted: Sequence[Wanted],
    limits: BundleLimits,
    folder: Path,
) -> VerifiedSet:
    with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=folder) as name:
        work = Path(name)
        _lay_out(work, kept)
        updater = Updater(
            metadata_dir=str(work),
            metadata_base_url=f"{STORE_URL}/metadata/",
            target_dir=str(work / "fetched"),
            target_base_url=f"{STORE_URL}/targets/",
            fetcher=store,
            config=_configuration(limits),
            bootstrap=trusted_root,
        )
        try:
            updater.refresh()
        finally:
            _keep_roots(work, kept, _read(trusted_root, Root).version)
        found, failed = _targets(updater, work, kept, wanted, store)
        return _collect(work, kept, found, failed)


def _targets(
    updater: Updater, work: Path, kept: Kept, wanted: Sequence[Wanted], store: Store
) -> tuple[dict[Wanted, tuple[VerifiedTarget, Targets]], dict[Wanted, Exception]]:
    """What verified, with its role; and why the rest did not."""
    found: dict[Wanted, tuple[VerifiedTarget, Targets]] = {}
    failed: dict[Wanted, Exception] = {}
    # What all share first: no tenant's target takes its time.
    for left, want in zip(
        range(len(wanted), 0, -1), sorted(wanted, key=lambda want: want.alone), strict=True
    ):
        try:
            with store.share(left if want.alone else 1):
                target = _target(updater, work, kept, want)
                role = _delegated(work, want.role)
                _check_version(want.role, role)
            found[want] = target, role
        except Exception as error:
            # INVARIANT: what one tenant's signers publish, and what a store does with it, is that
            # tenant's loss alone.
            if not want.alone or isinstance(error, OSError):
                raise
            failed[want] = error
    return found, failed


def root_problem(trusted_root: bytes, anchor: Anchor = Anchor.PRODUCTION) -> str | None:
    """Why these bytes cannot be the trusted root of this anchor, or None.

    A root vouches for itself: its signatures must reach its own threshold.
    Its expiry is no problem: a newer root may be in the store.
    """
    try:
        metadata = Metadata[Root].from_bytes(trusted_root)
        if not isinstance(metadata.signed, Root):
            return "is the metadata of another role"
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        return f"is not a valid root: {' '.join(str(error).split())[:200]}"
    problem = anchor.mark_problem(marked=is_development(metadata.signed))
    return f"is {problem}" if problem else None


def is_development(root: Root) -> bool:
    """Whether a root carries the mark of `pdp dev`; any mark but a plain false counts."""
    return root.unrecognized_fields.get("development", False) is not False


def _configuration(limits: BundleLimits) -> UpdaterConfig:
    return UpdaterConfig(
        max_root_rotations=limits.root_rotations_max,
        max_delegations=limits.delegations_max,
        root_max_length=limits.root_bytes_max,
        timestamp_max_length=limits.timestamp_bytes_max,
        snapshot_max_length=limits.snapshot_bytes_max,
        targets_max_length=limits.targets_bytes_max,
    )


def _role_file(work: Path, role: str) -> Path:
    return work / f"{quote(role, '')}.json"


def _lay_out(work: Path, kept: Kept) -> None:
    """Put kept files where `Updater` looks for those it knows."""
    history = work / "root_history"
    history.mkdir()
    for version, data in kept.roots.items():
        (history / f"{version}.root.json").write_bytes(data)
    for role, data in kept.roles.items():
        _role_file(work, role).write_bytes(data)


def _keep_roots(work: Path, kept: Kept, first: int) -> None:
    # `Updater` points `root.json` at the newest root it trusts, also when it fails.
    newest = _read((work / "root.json").read_bytes(), Root).version
    for version in range(first + 1, newest + 1):
        kept.roots[version] = (work / "root_history" / f"{version}.root.json").read_bytes()


def _target(updater: Updater, work: Path, kept: Kept, want: Wanted) -> VerifiedTarget:
    info = updater.get_targetinfo(want.path)
    if info is None:
        raise BundleRefusedError(
            f"the repository has no `{want.path}`: publish it, or see which roles it delegates to"
            f"{_delegations(work)}"
        )
    # TUF lets any role on the way answer, the top one included. Who may sign what is fixed here,
    # and with that, whose expiry counts.
    if _delegated(work, want.role).targets.get(want.path) != info:
        raise BundleRefusedError(f"`{want.path}` is not signed by the role `{want.role}`")
    if info.length > want.bytes_max:
        raise BundleRefusedError(
            f"`{want.path}` is {info.length} bytes, more than {want.bytes_max}"
        )
    # SHA-256 names a target in our digest and records; a role that signs only a weaker hash
    # would leave that open.
    if "sha256" not in info.hashes:
        raise BundleRefusedError(f"`{want.path}` is signed without its SHA-256")
    custom = info.custom if isinstance(info.custom, dict) else {}
    return VerifiedTarget(_target_bytes(updater, info, kept.targets.get(want.path)), custom)


def _delegated(work: Path, role: str) -> Targets:
    """The metadata of a delegated role, checked once more against its delegator.

    `Updater` writes a role's file when it accepts the role; but a file that
    we laid out stays when the role is not on the way to any target.
    """
    top = _read(_role_file(work, Targets.type).read_bytes(), Targets)
    meta = _read(_role_file(work, Snapshot.type).read_bytes(), Snapshot).meta.get(f"{role}.json")
    file = _role_file(work, role)
    if top.delegations is None or role not in (top.delegations.roles or {}) or meta is None:
        raise BundleRefusedError(f"the repository does not delegate to the role `{role}`")
    if not file.exists():
        raise BundleRefusedError(f"the repository does not ask the role `{role}` for its targets")
    metadata = Metadata[Targets].from_bytes(file.read_bytes())
    top.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    if metadata.signed.version != meta.version:
        raise BundleRefusedError(f"the role `{role}` is not in the version of the snapshot")
    return _read(file.read_bytes(), Targets)


def _target_bytes(updater: Updater, info: TargetFile, kept: bytes | None) -> bytes:
    if kept is not None:
        try:
            info.verify_length_and_hashes(kept)
        except RepositoryError:
            pass
        else:
            return kept
    data = Path(updater.download_target(info)).read_bytes()
    # Once more on the bytes in hand: what was checked is what is parsed.
    info.verify_length_and_hashes(data)
    return data


def _delegations(work: Path) -> str:
    top = _read(_role_file(work, Targets.type).read_bytes(), Targets)
    names = sorted((top.delegations.roles if top.delegations else None) or {})
    return f" ({', '.join(names)[:400]})" if names else ""


def _check_version(role: str, signed: Signed) -> None:
    # Remembered in the state file: what could not be read back must not get there.
    if type(signed.version) is not int or signed.version > _VERSION_MAX:
        raise BundleRefusedError(f"the role `{role}` has a version that is no version")


def _collect(
    work: Path,
    kept: Kept,
    found: Mapping[Wanted, tuple[VerifiedTarget, Targets]],
    failed: Mapping[Wanted, Exception],
) -> VerifiedSet:
    """Read the verified metadata back: versions and expiries are no public part of `Updater`.

    The folder is ours, made for this call, mode 0700. What is in it is what
    `Updater` loaded: it writes a role's file exactly when it accepts the role.
    """
    root = _read((work / "root.json").read_bytes(), Root)
    shared = [Timestamp.type, Snapshot.type, Targets.type]
    files = {
        role: _role_file(work, role).read_bytes()
        for role in dict.fromkeys([*shared, *(want.role for want in found)])
    }
    loaded: dict[str, Signed] = {
        Root.type: root,
        Timestamp.type: _read(files[Timestamp.type], Timestamp),
        Snapshot.type: _read(files[Snapshot.type], Snapshot),
        Targets.type: _read(files[Targets.type], Targets),
    }
    for role, signed in loaded.items():
        _check_version(role, signed)
    loaded |= {want.role: role for want, (_, role) in found.items()}
    return VerifiedSet(
        versions={role: signed.version for role, signed in loaded.items()},
        expires_ns={
            role: int(signed.expires.timestamp()) * NANOS for role, signed in loaded.items()
        },
        development=is_development(root),
        targets={want.path: target for want, (target, _) in found.items()},
        failed={want.path: error for want, error in failed.items()},
        kept=Kept(
            roots={v: d for v, d in kept.roots.items() if v <= root.version},
            # Those of a tenant that failed now stay: what comes back is compared with them.
            roles=_of(kept.roles, [want.role for want in failed]) | files,
            targets=_of(kept.targets, [want.path for want in failed])
            | {want.path: target.data for want, (target, _) in found.items()},
        ),
    )


def _of(files: Mapping[str, bytes], names: Sequence[str]) -> dict[str, bytes]:
    return {name: files[name] for name in names if name in files}


def _read(data: bytes, kind: type[_S]) -> _S:
    signed = Metadata[_S].from_bytes(data).signed
    if not isinstance(signed, kind):
        raise RepositoryError(f"expected the metadata of a {kind.type}")
    return signed
