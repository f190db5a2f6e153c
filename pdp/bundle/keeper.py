"""Keeps one verified bundle current: fetch, verify, remember, swap.

Steps of one load, in this order; each is marked where it happens. Nothing of
a step exists before the step before it has succeeded.

     (1) the clock is not behind the mark
     (2) TUF: root chain from the embedded root, timestamp, snapshot, targets,
         delegated roles; thresholds, versions, expiries; target hashes
     (3) the newest root is marked `development` exactly when our anchor is
     (4) the timestamp does not expire further ahead than a heartbeat may
     (5) no role has expired by the decision clock
     (6) no role is older than the state file remembers; the revision floor
     (7) the same revision has the same content
     (8) each archive: size, shape, manifest, digests, and what was signed of it
     (9) the bundle was not signed after now
    (10) denials parse
    (11) documents decode and compile; exactly one caller policy
    (12) fresh until when, and not over already
         Where several tenants are served, whatever (2) and (5) to (12) say of one tenant's own
         role, target or archive is its own affair: it keeps what it had while that is
         fresh, and the others go on. The root, timestamp, snapshot, targets and emergency
         are everybody's.
    (13) kept files and state file are durable
    (14) the snapshot is swapped in

Not checked here: freshness between polls (`Snapshot.is_stale`, on every
decision) and whether the store is honest about being unreachable (that is
what `fresh_until` is for).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, RepositoryError

from pdp.bundle import freshness
from pdp.bundle.anchor import Anchor
from pdp.bundle.denials import DENIALS_BYTES_MAX
from pdp.bundle.manifest import digest_of
from pdp.bundle.memory import Memory, MemoryFolder
from pdp.bundle.settings import (
    EMERGENCY_ROLE,
    EMERGENCY_TARGET,
    BundleSettings,
    bundle_role,
    bundle_target,
)
from pdp.bundle.store import Deadline, HostileStoreError, KeptStore, Store, open_store
from pdp.bundle.tenants import Load, Loaded, shared
from pdp.bundle.trust import Kept, Wanted, root_problem, verify_repository
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleError, BundleRefusedError, ConfigurationError, StateFileError
from pdp.snapshot import Snapshot

PollOutcome = Literal["unchanged", "updated", "unreachable", "refused"]


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one poll came to.

    Attributes:
        outcome: `unchanged` and `updated` verified the store's current state;
            `unreachable` and `refused` did not, and the last good snapshot
            stays until its `fresh_until`. Of several tenants some may have
            been verified and some not: `detail` names those.
        detail: one line for the log.
        troubles: what is wrong with single tenants, by name; the others go on.
    """

    outcome: PollOutcome
    detail: str
    troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def verified(self) -> bool:
        """Whether the store's current state was verified."""
        return self.outcome in {"unchanged", "updated"}


class BundleKeeper:
    """The PDP's bundle. `start` once, then `poll` at intervals; `current` at any time.

    `start`, `poll` and `close` are serialised by a lock; `current` takes none.

    Args:
        settings: where from, and what is remembered where.
        limits: of evaluation, for compiling.
        clock_ns: nanoseconds since the epoch; the clock that decisions use.
        anchor: where trust starts. No part of the settings, so that no file
            and no variable can say it.
    """

    def __init__(
        self,
        settings: BundleSettings,
        limits: EvaluationLimits,
        clock_ns: Callable[[], int],
        anchor: Anchor = Anchor.PRODUCTION,
    ) -> None:
        self.anchor = anchor
        self._settings = settings
        self._limits = limits
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._folder: MemoryFolder | None = None
        self._trusted_root = b""
        self._memory: Memory | None = None
        self._kept = Kept()
        self._saved = Kept()
        self._loaded: Loaded | None = None
        self._snapshot: Snapshot | None = None
        self._wanted = [
            Wanted(
                bundle_target(tenant),
                bundle_role(tenant),
                settings.limits.archive.archive_bytes_max,
                alone=len(settings.tenants) > 1,
            )
            for tenant in settings.tenants
        ] + [Wanted(EMERGENCY_TARGET, EMERGENCY_ROLE, DENIALS_BYTES_MAX)]

    def current(self) -> Snapshot | None:
        """The last good snapshot, fresh or not, or None: ask it `is_stale` before each use."""
        return self._snapshot

    def targets(self) -> dict[str, bytes]:
        """The verified target files of the current snapshot, by path."""
        return dict(self._kept.targets) if self._snapshot is not None else {}

    def start(self) -> PollResult:
        """Load for the first time.

        Returns:
            `updated`; or `unreachable`, with a snapshot if kept files verify
            and are fresh, else without; or `refused` because this clock is
            behind the mark.

        Raises:
            ConfigurationError: no usable trusted root or state folder.
            StateFileError: the state file is damaged, or absent without a `revision_floor`.
            BundleRefusedError: what was fetched fails verification.
        """
        with self._lock:
            if self._folder is not None:
                raise RuntimeError("start() was called twice")
            self._trusted_root = _read_root(self._settings, self.anchor)
            folder = self._take_folder()
            try:
                result = self._first_load(folder)
            except BaseException:
                folder.close()
                raise
            self._folder = folder
            return result

    def poll(self) -> PollResult:
        """Look for something newer. Never raises for what the store holds or does.

        Returns within `poll_time_max_s` plus the time to compile.
        """
        with self._lock:
            if self._folder is None:
                raise RuntimeError("poll() before start(), or after close()")
            result, _ = self._attempt(self._folder, self._open())
            return result

    def close(self) -> None:
        """Give the state folder back. `current` still answers."""
        with self._lock:
            if self._folder is not None:
                self._folder.close()
                self._folder = None

    def _take_folder(self) -> MemoryFolder:
        return MemoryFolder(self._settings.state_folder, self._settings.limits)

    def _open(self) -> Store:
        return open_store(self._settings.source, Deadline(self._settings.poll_time_max_s))

    def _first_load(self, folder: MemoryFolder) -> PollResult:
        self._memory = folder.read()
        if self._memory is None and self._settings.revision_floor is None:
            raise StateFileError(
                f"there is no state file `{folder.state_path}`: on the very first start set "
                "`revision_floor` to the revision that `pdp bundle show` prints; if there was a "
                "state file, find out where it went"
            )
        self._kept = folder.read_kept()
        result, error = self._attempt(folder, self._open())
        if result.outcome == "refused" and not isinstance(error, _ClockError):
            if isinstance(error, OSError):
                raise ConfigurationError(result.detail) from error
            raise BundleRefusedError(result.detail) from error
        if result.outcome != "unreachable":
            return result
        told, troubles = self._fall_back(folder)
        return PollResult("unreachable", f"{result.detail}; {told}", troubles)

    def _fall_back(self, folder: MemoryFolder) -> tuple[str, Mapping[str, str]]:
        """The store is down: what was kept goes through the same steps as if it were the store."""
        timestamp = self._kept.roles.get("timestamp")
        if timestamp is None:
            return "there is no bundle, and none was kept", {}
        deadline = Deadline(self._settings.poll_time_max_s)
        result, _ = self._attempt(
            folder, KeptStore({"metadata/timestamp.json": timestamp}, deadline)
        )
        if result.verified:
            return f"going on with what was kept: {result.detail}", result.troubles
        return f"there is no bundle: what was kept cannot be used: {result.detail}", {}

    def _attempt(self, folder: MemoryFolder, store: Store) -> tuple[PollResult, Exception | None]:
        """One load and its outcome; whatever happens, the last good snapshot is intact."""
        before = self._snapshot
        try:
            snapshot = self._load(folder, store)
        except Exception as error:  # noqa: BLE001 whatever else goes wrong is a refusal too
            self._remember_failure(folder)
            return _explain(error, store.last), error
        fresh = f"fresh until {freshness.shown(snapshot.fresh_until_ns)}"
        detail = f"revision {snapshot.ref.revision}, {fresh}"
        found = sorted((self._loaded.troubles if self._loaded else {}).items())
        troubles = {
            tenant: f"{_standing(snapshot, tenant)}: {_line(why)[:200]}" for tenant, why in found
        }
        for tenant, why in troubles.items():
            detail += f"; tenant `{tenant}` {why}"
        updated = before is None or before.ref != snapshot.ref
        return PollResult("updated" if updated else "unchanged", detail, troubles), None

    def _load(self, folder: MemoryFolder, store: Store) -> Snapshot:
        settings, memory, now_ns = self._settings, self._memory, self._clock_ns()
        mark_ns = memory.clock_mark_ns if memory else 0
        # (1) the clock
        _refuse_clock_behind(now_ns, mark_ns)
        # (2) TUF
        verified = verify_repository(
            store, self._trusted_root, self._kept, self._wanted, settings.limits, folder.work
        )
        # (3) development
        if problem := self.anchor.mark_problem(marked=verified.development):
            raise BundleRefusedError(f"the root is {problem}")
        # (4) far ahead, (5) expired, (6) older, (7) changed: what all tenants share
        expires = shared(verified.expires_ns, settings)
        emergency = {EMERGENCY_TARGET: verified.targets[EMERGENCY_TARGET].sha256}
        freshness.refuse_far_expiry(expires["timestamp"], now_ns, settings.freshness_max_s)
        freshness.refuse_expired(expires, now_ns)
        freshness.refuse_below_floor(verified.revision, settings.revision_floor)
        freshness.refuse_rollback(shared(verified.versions, settings), memory)
        freshness.refuse_changed(verified.revision, emergency, memory)
        if not verified.failed:
            digest = digest_of({path: t.sha256 for path, t in verified.targets.items()})
            freshness.refuse_changed_as_a_whole(verified.revision, digest, memory)
        first_ns = freshness.first_verified_ns(verified.versions["timestamp"], memory, now_ns)
        until_ns = freshness.fresh_until_ns(expires, first_ns, settings.freshness_max_s)
        freshness.refuse_spent(until_ns, now_ns)
        # (5) to (12) each tenant's own
        loaded = Load(
            verified, memory, self._loaded, settings, self._limits, self.anchor, now_ns, first_ns
        ).run()
        until_ns = loaded.fresh_until_ns
        mark_ns = freshness.clock_mark_ns(mark_ns, loaded.signed_at_ns, now_ns, until_ns)
        # (13) durable; kept files first: the state file never remembers more than they can serve
        if verified.kept != self._saved:
            self._save(folder, verified.kept)
        new_memory = Memory(_highest(loaded, memory), _contents(loaded, memory), mark_ns, first_ns)
        folder.write(new_memory)
        # (14) swap
        self._memory, self._kept, self._loaded = new_memory, verified.kept, loaded
        self._snapshot = Snapshot(
            policies=loaded.policies,
            callers=loaded.callers,
            denials=loaded.denials,
            ref=loaded.ref,
            fresh_until_ns=until_ns,
            clock_mark_ns=mark_ns,
            unserved=frozenset(settings.tenants) - frozenset(loaded.tenants),
            tenants={name: tenant.state for name, tenant in loaded.tenants.items()},
            tenancy=settings.tenancy,
            mappings=loaded.mappings,
        )
        return self._snapshot

    def _save(self, folder: MemoryFolder, kept: Kept) -> None:
        folder.write_kept(kept)
        # A copy: `roots` gains what later polls verify.
        self._saved = replace(kept, roots=dict(kept.roots))

    def _remember_failure(self, folder: MemoryFolder) -> None:
        """Also a failed poll moves the clock mark, and keeps the roots that it verified."""
        memory, snapshot = self._memory, self._snapshot
        try:
            if self._kept.roots != self._saved.roots:
                self._save(folder, self._kept)
            if memory is None or snapshot is None:
                return
            mark_ns = freshness.clock_mark_ns(
                memory.clock_mark_ns, 0, self._clock_ns(), snapshot.fresh_until_ns
            )
            self._memory = replace(memory, clock_mark_ns=mark_ns)
            self._snapshot = replace(snapshot, clock_mark_ns=mark_ns)
            folder.write(self._memory)
        except (OSError, BundleRefusedError):
            # The disk is full or gone: the mark holds in memory, and nothing gets milder.
            return


class _ClockError(BundleRefusedError):
    """Our own clock's fault, not the supplier's: no reason to refuse to start."""


def _refuse_clock_behind(clock_ns: int, mark_ns: int) -> None:
    try:
        freshness.refuse_clock_behind(clock_ns, mark_ns)
    except BundleRefusedError as error:
        raise _ClockError(str(error)) from None


def _highest(loaded: Loaded, memory: Memory | None) -> dict[str, int]:
    """Versions to remember: a role that is not used, or not accepted, keeps what it had."""
    return {**(memory.versions if memory else {}), **loaded.versions}


def _contents(loaded: Loaded, memory: Memory | None) -> dict[str, str]:
    """What was accepted at this revision, now or before."""
    before = memory.targets if memory and memory.revision == loaded.ref.revision else {}
    return {**before, **loaded.targets}


def _standing(snapshot: Snapshot, tenant: str) -> str:
    state = snapshot.tenants.get(tenant)
    if state is None:
        return "is not served"
    until = freshness.shown(state.fresh_until_ns)
    return f"stays at revision {state.ref.revision}, fresh until {until}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _read_root(settings: BundleSettings, anchor: Anchor) -> bytes:
    try:
        with settings.root.open("rb") as file:
            data = file.read(settings.limits.root_bytes_max + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the trusted root `{settings.root}` cannot be read: {error.strerror}; "
            "it is the `root.json` that `pdp bundle init` wrote"
        ) from None
    if len(data) > settings.limits.root_bytes_max:
        raise ConfigurationError(f"the trusted root `{settings.root}` is too large to be one")
    if problem := root_problem(data, anchor):
        raise ConfigurationError(f"the trusted root `{settings.root}` {problem}")
    return data


def _explain(error: Exception, last: str) -> PollResult:
    """What an error of a load means for the last good snapshot: nothing. For the log: this."""
    # TUF says "failed to deserialize" and keeps the reason as the cause.
    said = f"{error}: {error.__cause__}" if isinstance(error, RepositoryError) else str(error)
    text = _line(said.removesuffix(": None"))[:500]
    if isinstance(error, HostileStoreError | DownloadLengthMismatchError):
        return PollResult("refused", text)
    if isinstance(error, DownloadError):
        return PollResult("unreachable", text)
    if isinstance(error, BundleError):
        return PollResult("refused", text)
    if isinstance(error, RepositoryError):
        return PollResult("refused", f"the repository does not verify at `{last}`: {text}")
    if isinstance(error, OSError):
        where = f" `{error.filename}`" if error.filename else ""
        return PollResult("refused", f"the state folder fails:{where} {error.strerror or text}")
    # Metadata that was signed, and that neither TUF nor we expected.
    return PollResult("refused", f"the repository is malformed at `{last}`: {text}")
