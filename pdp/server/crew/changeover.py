"""When workers change over to a newer bundle: together. Pure; times are seconds of one clock.

A worker that has verified a newer bundle waits with it. When all have it, or
have had time enough, all are told to switch, and whoever has not done so
`SWITCH_S` later is ended: a process that decides by older policies than the
others is no part of this PDP any longer.

INVARIANT: from the moment at which the first worker decides by a revision,
`SWITCH_S` and the time between two looks later no worker decides by an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        switch: workers to be told.
        end: workers to be ended.
        done: what was completed with this.
    """

    switch: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    done: Done | None = None


class Changeover:
    """Follows all workers. Feed it `told` and `gone`, then do what `look` says."""

    def __init__(self) -> None:
        self._workers: dict[int, Told] = {}
        self._target: Edition | None = None
        self._seen_s = 0.0
        self._ordered_s: float | None = None
        self._ordered: set[int] = set()

    @property
    def target(self) -> Edition | None:
        """What workers change over to at present."""
        return self._target

    def told(self, worker: int, said: Told) -> None:
        """A worker said where it is."""
        self._workers[worker] = said

    def gone(self, worker: int) -> None:
        """A worker ended; it answers nobody."""
        self._workers.pop(worker, None)
        self._ordered.discard(worker)

    def editions(self) -> dict[int, Edition | None]:
        """What each worker decides by."""
        return {worker: said.decides for worker, said in self._workers.items()}

    def look(self, now_s: float) -> Steps:
        """What follows from what was told until now."""
        newest = max(
            (e for said in self._workers.values() for e in (said.decides, said.prepared) if e),
            default=None,
        )
        if newest is None:
            return Steps()
        if all(said.decides == newest for said in self._workers.values()):
            return self._finish(newest)
        if newest != self._target:
            self._target, self._seen_s, self._ordered_s = newest, now_s, None
            self._ordered = set()
        return self._order(newest, now_s)

    def _finish(self, newest: Edition) -> Steps:
        if self._target != newest:
            return Steps()
        self._target = None
        moments = [said.since_s for said in self._workers.values()]
        return Steps(done=Done(newest, max(moments) - min(moments)))

    def _order(self, newest: Edition, now_s: float) -> Steps:
        behind = {w for w, said in self._workers.items() if said.decides != newest}
        if self._ordered_s is None:
            ready = all(self._workers[worker].prepared == newest for worker in behind)
            # Somebody may decide by it already: a worker that has just started.
            begun = len(behind) < len(self._workers)
            if not (ready or begun or now_s - self._seen_s >= PREPARE_S):
                return Steps()
            self._ordered_s = now_s
        due = {w for w in behind if self._workers[w].prepared == newest} - self._ordered
        self._ordered |= due
        late = behind if now_s - self._ordered_s >= SWITCH_S else set()
        return Steps(tuple(sorted(due - late)), tuple(sorted(late)))
