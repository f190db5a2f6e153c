"""What verification finds, and where. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

# A damaged log can have as many findings as bytes; people read the first ones.
PROBLEMS_MAX = 1_000


class ProblemKind(enum.StrEnum):
    """What is wrong. The words are part of `pdp audit verify --json`."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    UNREADABLE = "unreadable"
    SEGMENT = "segment"
    CUT = "cut"


@dataclass(slots=True)
class Place:
    """Where a record stands. Treated as immutable."""

    segment: str
    offset: int


@dataclass(slots=True)
class Problem:
    """One finding.

    Attributes:
        kind: what is wrong.
        place: where, as near as can be told.
        pdp_id: whose record, or empty.
        seq: which record, or the first of several; 0 if that cannot be told.
        seq_last: the last of several.
        message: in words.
    """

    kind: ProblemKind
    place: Place
    message: str
    pdp_id: str = ""
    seq: int = 0
    seq_last: int = 0

    def __post_init__(self) -> None:
        self.seq_last = self.seq_last or self.seq

    def __str__(self) -> str:
        who = ""
        if self.seq:
            span = (
                f"seq {self.seq}"
                if self.seq == self.seq_last
                else (f"seq {self.seq} to {self.seq_last}")
            )
            who = f" {self.pdp_id} {span}"
        return f"{self.kind}: {self.place.segment} offset {self.place.offset}{who}: {self.message}"


@dataclass(slots=True)
class Problems:
    """Findings, bounded: `count` goes on when the list is full."""

    found: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problem: Problem) -> None:
        """Keep a finding, or make the last one longer if this one continues it."""
        if self.found:
            last = self.found[-1]
            if (
                problem.kind in {ProblemKind.REORDERED, ProblemKind.DUPLICATED}
                and (last.kind, last.pdp_id, last.message, last.place.segment)
                == (problem.kind, problem.pdp_id, problem.message, problem.place.segment)
                and problem.seq == last.seq_last + 1
            ):
                last.seq_last = problem.seq
                return
        self.count += 1
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(problem)
