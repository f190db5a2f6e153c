"""What the PDP remembers across restarts: the state file, and the last verified files.

The state file is small and precious: without it a rollback cannot be told
from a first start. It is written with fsync of file and folder, carries its
own checksum, and a damaged one stops the start. The kept files are large and
worthless to an attacker: they only save fetching, everything in them is
verified again, and damaged ones are dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.archive import ArchiveLimits, read_archive, write_archive
from pdp.bundle.settings import TENANTS_MAX, BundleLimits
from pdp.bundle.strict_json import StrictJsonError, check_keys, integer, parse_object, render
from pdp.bundle.trust import WORK_PREFIX, Kept
from pdp.errors import BundleRefusedError, ConfigurationError, StateFileError

# 1 had one digest of all targets in place of one for each.
_STATE_VERSION = 2
_STATE_VERSION_BEFORE = 1
_STATE_BYTES_MAX = 262_144
_STATE_NAME = "state.json"
_KEPT_NAME = "last-good.tar"
_LOCK_NAME = "lock"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MEMBER = re.compile(r"(roots|roles|targets)/(.+)")


@dataclass(frozen=True, slots=True)
class Memory:
    """The state file's contents.

    Attributes:
        versions: the highest version of each role that was accepted; `snapshot` is the revision.
        targets: SHA-256 in hexadecimal of each target that was accepted at that revision, by path.
        clock_mark_ns: the clock was at least here (design section 6).
        timestamp_first_verified_ns: the clock when this timestamp version was first accepted.
        digest: of all targets at that revision, if an older PDP wrote the file; then `targets`
            is empty.
    """

    versions: Mapping[str, int]
    targets: Mapping[str, str]
    clock_mark_ns: int
    timestamp_first_verified_ns: int
    digest: bytes = b""

    @property
    def revision(self) -> int:
        """The highest TUF snapshot version that was accepted."""
        return self.versions["snapshot"]


class MemoryFolder:
    """The state folder, held by one process at a time.

    Attributes:
        folder: the state folder.
        work: where temporary folders can be made.

    Raises:
        ConfigurationError: it cannot be made or written, or another process has it.
    """

    def __init__(self, folder: Path, limits: BundleLimits) -> None:
        self.folder = folder
        self.work = folder
        self._limits = limits
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"the state folder `{folder}` cannot be used: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigurationError(
                f"the state folder `{folder}` is in use by another process: "
                "give each PDP its own `state_folder`"
            ) from None
        self._clear_work()

    def _clear_work(self) -> None:
        """What a process that was killed during a poll left behind; we hold the lock."""
        for leftover in self.work.glob(f"{WORK_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    @property
    def state_path(self) -> Path:
        """Where the state file is."""
        return self.folder / _STATE_NAME

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def read(self) -> Memory | None:
        """The state file, or None if there is none.

        Raises:
            StateFileError: it is damaged or unreadable.
        """
        try:
            data = self.state_path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileError(
                f"the state file `{self.state_path}` cannot be read: {error.strerror}"
            ) from None
        try:
            return parse_state(data)
        except StrictJsonError as error:
            raise StateFileError(
                f"the state file `{self.state_path}` is damaged: it {error}. Restore it from a "
                "backup; or remove it and set `revision_floor` to the newest revision that "
                "you know was published"
            ) from None

    def write(self, memory: Memory) -> None:
        """Replace the state file, durably.

        Raises:
            OSError: it could not be written; the old one is still there.
        """
        write_durably(self.state_path, render_state(memory))

    def read_kept(self) -> Kept:
        """The kept files; empty if there are none or they are damaged."""
        try:
            data = (self.folder / _KEPT_NAME).read_bytes()
            return _parse_kept(read_archive(data, self._kept_limits()))
        except (OSError, BundleRefusedError):
            # Nothing is lost but time: they would have been verified again anyway.
            return Kept()

    def write_kept(self, kept: Kept) -> None:
        """Replace the kept files, durably.

        Raises:
            OSError: they could not be written; the old ones are still there.
            BundleRefusedError: a role or target has a name or size that cannot be kept.
        """
        members = {f"roots/{version}.json": data for version, data in kept.roots.items()}
        members |= {f"roles/{role}.json": data for role, data in kept.roles.items()}
        members |= {f"targets/{path}": data for path, data in kept.targets.items()}
        if members:
            write_durably(self.folder / _KEPT_NAME, write_archive(members, self._kept_limits()))

    def _kept_limits(self) -> ArchiveLimits:
        largest = self._limits.archive.archive_bytes_max
        # As many tenants' bundles as there may be, and the metadata around them.
        return ArchiveLimits(
            archive_bytes_max=(TENANTS_MAX + 16) * largest,
            member_bytes_max=largest,
            name_bytes_max=250,
        )


class FollowedFolder(MemoryFolder):
    """The state folder of another process, read by a worker. Nothing in it is changed.

    Args:
        folder: the state folder.
        worker: whose; temporary folders are made in a folder of its own in there.
        limits: sizes.

    Raises:
        ConfigurationError: the worker's folder cannot be made, or another process has it.
    """

    def __init__(self, folder: Path, worker: int, limits: BundleLimits) -> None:
        super().__init__(folder / f"worker-{worker}", limits)
        # What is remembered is the other process's, and so is where it is.
        self.folder = folder

    def stamp(self) -> tuple[object, ...]:
        """Differs when anything was written since."""
        found: list[object] = []
        for name in (_STATE_NAME, _KEPT_NAME):
            try:
                status = (self.folder / name).stat()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def write(self, memory: Memory) -> None:
        """Remembers nothing: that is for the process that fetches."""

    def write_kept(self, kept: Kept) -> None:
        """Keeps nothing: that is for the process that fetches."""


def merged(own: Memory | None, theirs: Memory | None) -> Memory | None:
    """What two memories say together, and never milder than either.

    The higher version of each role, the later clock mark, and for one and the
    same timestamp the earlier first verification.
    """
    if own is None or theirs is None:
        return own or theirs
    versions = {
        role: max(own.versions.get(role, 0), theirs.versions.get(role, 0))
        for role in {**own.versions, **theirs.versions}
    }
    mine, other = own.versions["timestamp"], theirs.versions["timestamp"]
    first = [own.timestamp_first_verified_ns] * (mine >= other)
    first += [theirs.timestamp_first_verified_ns] * (other >= mine)
    ours, others = (own, theirs) if own.revision >= theirs.revision else (theirs, own)
    # Of one revision the content that was seen first: another is refused.
    same = ours.revision == others.revision
    return Memory(
        versions,
        {**(others.targets if same else {}), **ours.targets},
        max(own.clock_mark_ns, theirs.clock_mark_ns),
        min(first),
        ours.digest or (others.digest if same else b""),
    )


def render_state(memory: Memory) -> bytes:
    """The bytes of a state file."""
    body: dict[str, Any] = {
        "version": _STATE_VERSION,
        "versions": dict(memory.versions),
        "targets": dict(memory.targets),
        "clock_mark_ns": memory.clock_mark_ns,
        "timestamp_first_verified_ns": memory.timestamp_first_verified_ns,
    }
    return render({"state": body, "sha256": _checksum(body)})


def parse_state(data: bytes) -> Memory:
    """Parse a state file.

    Raises:
        StrictJsonError: not exactly what `render_state` writes. If it raises
            anything else, that is a bug.
    """
    value = parse_object(data, _STATE_BYTES_MAX)
    check_keys(value, frozenset({"state", "sha256"}))
    body = value["state"]
    if type(body) is not dict or value["sha256"] != _checksum(body):
        raise StrictJsonError("does not match its checksum")
    version = integer(body, "version", 1)
    if version not in {_STATE_VERSION, _STATE_VERSION_BEFORE}:
        raise StrictJsonError("was written by another version of the PDP")
    content = "targets" if version == _STATE_VERSION else "digest"
    check_keys(
        body,
        frozenset({"version", "versions", content, "clock_mark_ns", "timestamp_first_verified_ns"}),
    )
    versions = body["versions"]
    if type(versions) is not dict or not {"root", "timestamp", "snapshot"} <= versions.keys():
        raise StrictJsonError("has no versions of root, timestamp and snapshot")
    return Memory(
        versions={role: integer(versions, role, 1) for role in versions},
        targets=_targets(body["targets"]) if content == "targets" else {},
        clock_mark_ns=integer(body, "clock_mark_ns", 0),
        timestamp_first_verified_ns=integer(body, "timestamp_first_verified_ns", 0),
        digest=bytes.fromhex(_digest(body["digest"], "digest")) if content == "digest" else b"",
    )


def _targets(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        raise StrictJsonError("has `targets` that are no object")
    return {path: _digest(digest, f"targets.{path[:80]}") for path, digest in value.items()}


def _digest(value: Any, name: str) -> str:
    if type(value) is not str or _DIGEST.fullmatch(value) is None:
        raise StrictJsonError(f"has no SHA-256 in `{name}`")
    return value


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a crash leaves the old or the new one, whole.

    Raises:
        OSError: the old file, if any, is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        # Not O_EXCL: one that a crash left behind is overwritten.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(body: dict[str, Any]) -> str:
    """Against damage, not against an attacker: who can write here can also write a checksum."""
    return hashlib.sha256(render(body)).hexdigest()


def _parse_kept(members: Mapping[str, bytes]) -> Kept:
    kept = Kept()
    for name, data in members.items():
        match = _MEMBER.fullmatch(name)
        if match is None:
            continue
        kind, rest = match[1], match[2]
        if kind == "targets":
            kept.targets[rest] = data
        elif kind == "roles":
            kept.roles[rest.removesuffix(".json")] = data
        elif rest.removesuffix(".json").isdecimal():
            kept.roots[int(rest.removesuffix(".json"))] = data
    return kept
