"""A PDP's bundle side on a stepped clock, with a state folder that outlives its restarts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pdp.admission import decide
from pdp.boundary import InputLimits, admit
from pdp.bundle import BundleKeeper, BundleSettings, PollResult
from pdp.cel.limits import EvaluationLimits
from pdp.model import Action, Caller, Cause, Decision, Request, Resource, Subject, deny
from pdp.snapshot import Snapshot
from pdp.values import NANOS
from tests.simulators.repository import Files, Repository, serve_folder


class Clock:
    """A clock that is stepped by hand; real time plus an offset."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns() + int(self.offset_s * NANOS)


class Reader:
    """One PDP, restarted as often as a test likes.

    Args:
        folder: of everything: repository, root, state.
        settings: of the keeper, beyond the places.

    Attributes:
        repository: the honest publisher.
        store: the directory that is served; `serve` fills it.
        clock: of the PDP.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.repository = Repository()
        self.clock = Clock()
        self.folder = folder
        self.store = folder / "store"
        self.root = folder / "root.json"
        self.root.write_bytes(self.repository.trusted_root)
        self.state = folder / "state"
        self.settings = {"source": str(self.store), "revision_floor": 1, **settings}
        self.keeper: BundleKeeper | None = None

    def serve(self, files: Files | None = None) -> None:
        """Serve these files, or what the publisher has now."""
        serve_folder(self.repository.files if files is None else files, self.store)

    def start(self, **settings: Any) -> PollResult:
        """End the running process, if any, and start another."""
        self.stop()
        merged = {"root": self.root, "state_folder": self.state, **self.settings, **settings}
        self.keeper = BundleKeeper(BundleSettings(**merged), EvaluationLimits(), self.clock)
        return self.keeper.start()

    def stop(self) -> None:
        """End the running process."""
        if self.keeper is not None:
            self.keeper.close()

    def poll(self) -> PollResult:
        """One poll."""
        assert self.keeper is not None
        return self.keeper.poll()

    @property
    def snapshot(self) -> Snapshot | None:
        """What decisions would use."""
        assert self.keeper is not None
        return self.keeper.current()

    @property
    def revision(self) -> int | None:
        """Of the current snapshot."""
        return self.snapshot.ref.revision if self.snapshot else None

    def serves(self) -> bool:
        """Whether there is a snapshot and it is fresh."""
        return self.snapshot is not None and not self.snapshot.is_stale(self.clock())

    def decide(self, action: str = "read", caller: str = "spiffe://example.org/web") -> Decision:
        """The decision on a document, with the checks that the decision point makes."""
        snapshot, now_ns = self.snapshot, self.clock()
        if snapshot is None:
            return deny(Cause.NO_BUNDLE)
        if snapshot.is_stale(now_ns):
            return deny(Cause.STALE)
        who = Caller(caller)
        request = Request(Subject("user", "alice"), Action(action), Resource("document", "1"))
        admitted = admit(request, who, InputLimits())
        decision, _ = decide(
            snapshot.policies,
            snapshot.callers,
            snapshot.denials,
            admitted,
            who,
            snapshot.now_ns(now_ns),
        )
        return decision
