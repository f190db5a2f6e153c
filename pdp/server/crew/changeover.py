"""When workers change over to a newer bundle: together. Pure; times are seconds of one clock.

A worker that has verified a newer bundle waits with it. When all have it, or
have had time enough, all are told to switch, and whoever has not done so
`SWITCH_S` later is ended: a process that decides by older policies than the
others is no part of this PDP any longer.

INVARIANT: from the moment at which the first worker decides by a revision,
`SWITCH_S` and the time between two looks later no worker decides by an older one.
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


@dataclass(frozen=True, slots=True, order=True)
class Edition:
    """A bundle as workers name it: by its revision first.

    Attributes:
        revision: of the repository.
        digest: of all targets, hexadecimal.
    """

    revision: int
    digest: str

    def __str__(self) -> str:
        return f"{self.revision}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Edition | None:
        """What `str` wrote; None: nothing, or something else."""
        revision, colon, digest = text.partition(":")
        if not (colon and revision.isascii() and revision.isdigit()):
            return None
        return cls(int(revision), digest)


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker said last.

    Attributes:
        decides: what it decides by, if by anything.
        prepared: what it has verified beyond that, if anything.
        since_s: when it began to decide by that.
    """

    decides: Edition | None
    prepared: Edition | None
    since_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A changeover that is over.

    Attributes:
        edition: what all decide by.
        skew_s: seconds between the first worker and the last.
    """

    edition: Edition
    skew_s: float


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done now.

    Attributes:
        switch: workers to be told, and to what.
        end: workers to be ended.
        done: what was completed with this.
    """

    switch: Mapping[int, Edition] = field(default_factory=dict)
    end: tuple[int, ...] = ()
    done: Done | None = None


class Changeover:
    """Follows all workers. Feed it `told` and `gone`, then do what `look` says, again and again."""

    def __init__(self) -> None:
        self._workers: dict[int, Told] = {}
        self._target: Edition | None = None
        self._seen_s = 0.0
        self._apart_s: float | None = None

    def told(self, worker: int, said: Told) -> None:
        """A worker said where it is."""
        self._workers[worker] = said

    def gone(self, worker: int) -> None:
        """A worker ended; it answers nobody."""
        self._workers.pop(worker, None)

    def editions(self) -> dict[int, Edition | None]:
        """What each worker decides by."""
        return {worker: said.decides for worker, said in self._workers.items()}

    def look(self, now_s: float) -> Steps:
        """What follows from what was told until now."""
        # Whoever has no bundle permits nothing: nobody waits for it.
        workers = {w: said for w, said in self._workers.items() if said.decides is not None}
        decided = max((s.decides for s in workers.values() if s.decides), default=None)
        prepared = max((s.prepared for s in workers.values() if s.prepared), default=None)
        newest = max((edition for edition in (decided, prepared) if edition), default=None)
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

    def _finish(self, newest: Edition, workers: Mapping[int, Told]) -> Steps:
        self._apart_s = None
        if self._target != newest:
            return Steps()
        self._target = None
        moments = [said.since_s for said in workers.values()]
        return Steps(done=Done(newest, max(moments) - min(moments)))

    def _together(self, behind: Mapping[int, Told], decided: Edition, now_s: float) -> Steps:
        """Workers decide by different editions: those that are behind follow now, or end."""
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
