"""A worker's bundle: what the fetcher verified, verified again.

One process fetches (`BundleKeeper`), and keeps the files that verified in the
state folder. Each worker reads them from there, and takes them through the
same steps as if they came from the store. So a worker believes the fetcher no
more than it would believe a store: bytes count by their signatures, from the
worker's own trusted root on.

INVARIANT: what a worker remembers is never milder than what it remembered
before, whatever the state folder says.

A snapshot of another revision is `prepared`, and decides nothing until `switch`:
so all workers can change over together. What is new within a revision, freshness
or a tenant that could not be loaded before, is in force at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pdp.bundle.anchor import Anchor
from pdp.bundle.keeper import BundleKeeper, PollResult
from pdp.bundle.memory import FollowedFolder, MemoryFolder, merged
from pdp.bundle.settings import BundleSettings
from pdp.bundle.store import Deadline, KeptStore, Store
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleError, StateFileError
from pdp.snapshot import Snapshot


class BundleFollower(BundleKeeper):
    """The bundle of one worker. `start` once, then `poll` often, and after each `adopt`.

    `start`, `poll` and `close` are serialised by a lock and may run in a
    thread; `adopt`, `switch` and `current` are for the event loop.

    Args:
        settings: as the fetcher's.
        limits: of evaluation, for compiling.
        clock_ns: nanoseconds since the epoch; the clock that decisions use.
        worker: its number.
        anchor: where trust starts.
    """

    def __init__(
        self,
        settings: BundleSettings,
        limits: EvaluationLimits,
        clock_ns: Callable[[], int],
        worker: int,
        anchor: Anchor = Anchor.PRODUCTION,
    ) -> None:
        super().__init__(settings, limits, clock_ns, anchor)
        self._worker = worker
        self._followed: FollowedFolder | None = None
        self._stamp: tuple[object, ...] = ()
        self._shown: Snapshot | None = None

    def current(self) -> Snapshot | None:
        """The snapshot that decides, fresh or not, or None: ask it `is_stale` before each use."""
        return self._shown

    @property
    def prepared(self) -> int | None:
        """The revision that was verified and waits for `switch`, if any does."""
        newest, shown = self._snapshot, self._shown
        if newest is None or (shown is not None and shown.ref.revision == newest.ref.revision):
            return None
        return newest.ref.revision

    def poll(self) -> PollResult:
        """Look whether the fetcher has verified something. Never raises for what it finds."""
        with self._lock:
            folder = self._followed
            if folder is None or self._folder is None:
                raise RuntimeError("poll() before start(), or after close()")
            if self._stamp and folder.stamp() == self._stamp:
                # No news, and yet time goes on: a clock that is set back must be noticed.
                self._remember_failure(folder)
                return PollResult("unchanged", "")
            return self._look(folder)

    def adopt(self) -> None:
        """Take what `poll` found into use as far as it decides as before."""
        newest, shown = self._snapshot, self._shown
        if newest is None or shown is None:
            return
        if newest.ref.revision == shown.ref.revision:
            self._shown = newest
        else:
            self._shown = replace(shown, clock_mark_ns=newest.clock_mark_ns)

    def switch(self) -> None:
        """Decide by the newest snapshot from now on."""
        self._shown = self._snapshot

    def _take_folder(self) -> MemoryFolder:
        settings = self._settings
        self._followed = FollowedFolder(settings.state_folder, self._worker, settings.limits)
        return self._followed

    def _open(self) -> Store:
        """The files that the fetcher kept, and nothing else: a worker fetches nothing."""
        timestamp = self._kept.roles.get("timestamp")
        files = {} if timestamp is None else {"metadata/timestamp.json": timestamp}
        return KeptStore(files, Deadline(self._settings.poll_time_max_s))

    def _first_load(self, folder: MemoryFolder) -> PollResult:
        """As `BundleKeeper.start`, but nothing that was kept is a reason not to start.

        The fetcher judged the store at its own start. Kept files that expired
        since then are no bundle, and the answer is a denial.
        """
        if self._settings.revision_floor is None and folder.read() is None:
            raise StateFileError(f"there is no state file `{folder.state_path}`")
        result = self._look(folder)
        self.switch()
        return result

    def _look(self, folder: MemoryFolder) -> PollResult:
        """Read what was kept and verify it; what fails is looked at again."""
        stamp = self._followed.stamp() if self._followed else ()
        self._stamp = ()
        try:
            # Before the kept files, which are written first: memory is never ahead of them.
            self._memory = merged(self._memory, folder.read())
        except BundleError as error:
            self._remember_failure(folder)
            return PollResult("refused", str(error))
        kept = folder.read_kept()
        kept.roots = {**self._kept.roots, **kept.roots}
        self._kept = kept
        result, _ = self._attempt(folder, self._open())
        if result.verified:
            self._stamp = stamp
        return result
