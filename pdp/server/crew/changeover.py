"""When workers change over to a newer bundle: together. Pure; times are seconds of one clock.

A worker that has verified a newer bundle waits with it. When all have it, or
have had time enough, all are told to switch, and whoever has not done so
`SWITCH_S` later is ended: a process that decides by older policies than the
others is no part of this PDP any longer.

INVARIANT: from the moment at which the first worker decides by a revision,
`SWITCH_S` and the time between two looks later no worker decides by an older one.

A revision is the version of the repository's snapshot, and TUF has bound all its
contents by their hashes: workers of one revision differ at most in a tenant that
one of them could not load, and does not serve or serves as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# For verifying and compiling, all workers at the same time. Until then all decide as before.
PREPARE_S: Final = 10.0
# From the word to switch on. Switching is one assignment; this is for a process that gets no turn.
SWITCH_S: Final = 1.5
# A worker that hears nothing for so long switches by itself: the parent does not answer.
WORD_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker said last.

    Attributes:
        decides: the revision it decides by, if by any.
        prepared: the revision it has verified beyond that, if any.
        since_s: when it began to decide by that.
    """

    decides: int | None
    prepared: int | None
    since_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A changeover that is over.

    Attributes:
        revision: what all decide by.
        skew_s: seconds between the first worker and the last.
    """

    revision: int
    skew_s: float


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done now.

    Attributes:
        switch: workers to be told, and to what.
        end: workers to be ended.
        done: what was completed with this.
    """

    switch: Mapping[int, int] = field(default_factory=dict)
    end: tuple[int, ...] = ()
    done: Done | None = None


class Changeover:
    """Follows all workers. Feed it `told` and `gone`, then do what `look` says, again and again."""

    def __init__(self) -> None:
        self._workers: dict[int, Told] = {}
        self._target: int | None = None
        self._seen_s = 0.0
        self._apart_s: float | None = None

    @property
    def pending(self) -> bool:
        """Whether workers are to change over, or are doing so."""
        return self._target is not None

    def told(self, worker: int, said: Told) -> None:
        """A worker said where it is."""
        self._workers[worker] = said

    def gone(self, worker: int) -> None:
        """A worker ended; it answers nobody."""
        self._workers.pop(worker, None)

    def revisions(self) -> dict[int, int | None]:
        """What each worker decides by."""
        return {worker: said.decides for worker, said in self._workers.items()}

    def look(self, now_s: float) -> Steps:
        """What follows from what was told until now."""
        # Whoever has no bundle permits nothing: nobody waits for it.
        workers = {w: said for w, said in self._workers.items() if said.decides is not None}
        decided = max((s.decides for s in workers.values() if s.decides), default=None)
        prepared = max((s.prepared for s in workers.values() if s.prepared), default=None)
        newest = max((revision for revision in (decided, prepared) if revision), default=None)
        if newest is None or decided is None:
            return Steps()
        if newest == decided and all(said.decides == newest for said in workers.values()):
            return self._finish(newest, workers)
        if newest != self._target:
            self._target, self._seen_s = newest, now_s
        behind = {w: said for w, said in workers.items() if said.decides != decided}
        if behind:
            return self._together(behind, decided, now_s)
        self._apart_s = None
        ready = {w for w, said in workers.items() if said.prepared == newest}
        if len(ready) < len(workers) and now_s - self._seen_s < PREPARE_S:
            return Steps()
        return Steps(dict.fromkeys(sorted(ready), newest))

    def _finish(self, newest: int, workers: Mapping[int, Told]) -> Steps:
        self._apart_s = None
        if self._target != newest:
            return Steps()
        self._target = None
        moments = [said.since_s for said in workers.values()]
        return Steps(done=Done(newest, max(moments) - min(moments)))

    def _together(self, behind: Mapping[int, Told], decided: int, now_s: float) -> Steps:
        """Workers decide by different revisions: those that are behind follow now, or end."""
        if self._apart_s is None:
            self._apart_s = now_s
        if now_s - self._apart_s >= SWITCH_S:
            return Steps(end=tuple(sorted(behind)))
        return Steps(
            {
                worker: said.prepared
                for worker, said in sorted(behind.items())
                if said.prepared is not None and said.prepared >= decided
            }
        )
