"""What came of all trials: a row for each fault, and whether the client passes.

It passes with no permit under a fault, no hang, each call within its budget and some grace, and the
controls: the honest PDP's permit and denial came back as such.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pdp.failsafe.adapter import Answered
from pdp.failsafe.catalogue import Fault

LATE_S_MAX: Final = 2.0
# With so many calls the tail is judged as well: p99.9 of lateness beside that of a bare sleeper.
TAIL_CALLS_MIN: Final = 10_000
TAIL_S_MAX: Final = 0.05
_TAIL: Final = 0.999


@dataclass(slots=True)
class Row:
    """One fault, and what its calls came to."""

    fault: Fault
    outcomes: Counter[str] = field(default_factory=Counter)
    latest_s: float = -math.inf

    def add(self, answered: Answered, budget_s: float) -> None:
        """Count a call."""
        self.outcomes[answered.outcome] += 1
        self.latest_s = max(self.latest_s, answered.took_s - budget_s)

    @property
    def calls(self) -> int:
        """How many there were."""
        return self.outcomes.total()

    @property
    def holds(self) -> bool:
        """Whether no call permitted, hung or was too late, and there was one."""
        bad = self.outcomes["permit"] + self.outcomes["hang"]
        return self.calls > 0 and not bad and self.latest_s <= LATE_S_MAX


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Verdict:
    """All of it.

    Attributes:
        adapter: its name.
        rows: in the order of the catalogue.
        broken: controls that failed, in words.
        late_s: of each faulted call, beyond its budget.
        slept_late_s: of each bare sleep, beyond its time.
    """

    adapter: str
    rows: list[Row] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    slept_late_s: list[float] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Faulted calls."""
        return sum(row.calls for row in self.rows)

    @property
    def tail_s(self) -> float:
        """p99.9 of lateness, less that of a bare sleeper in the same process."""
        return quantile(self.late_s, _TAIL) - quantile(self.slept_late_s, _TAIL)

    @property
    def problems(self) -> list[str]:
        """Why it does not pass; empty if it does."""
        found = list(self.broken)
        for row in self.rows:
            if not row.calls:
                found.append(f"{row.fault.name}: no call was made")
            found += [
                f"{row.fault.name}: {row.outcomes[bad]} of {row.calls} calls: {bad}"
                for bad in ("permit", "hang")
                if row.outcomes[bad]
            ]
            if row.latest_s > LATE_S_MAX and not row.outcomes["hang"]:
                found.append(f"{row.fault.name}: a call came {row.latest_s:.1f} s after its budget")
        if self.calls >= TAIL_CALLS_MIN and self.tail_s > TAIL_S_MAX:
            late_ms = self.tail_s * 1_000
            found.append(f"p99.9 of lateness is {late_ms:.0f} ms beyond that of a bare sleeper")
        return found

    def lines(self) -> list[str]:
        """For people: a table, and the verdict."""
        width = max(len(row.fault.name) for row in self.rows)
        head = f"{'fault':{width}}  calls  permit  deny  error  hang  latest"
        lines = [head, "-" * len(head)]
        for row in self.rows:
            counts = (row.outcomes[name] for name in ("permit", "deny", "error", "hang"))
            permit, deny, error, hang = counts
            mark = "" if row.holds else "  <- " + row.fault.words
            lines.append(
                f"{row.fault.name:{width}}  {row.calls:5}  {permit:6}  {deny:4}  {error:5}"
                f"  {hang:4}  {row.latest_s * 1_000:+5.0f} ms{mark}"
            )
        lines.append("")
        lines += [f"  {problem}" for problem in self.problems]
        bound = f"below {3 / self.calls:.1e} with 95 % confidence" if self.calls else "unknown"
        lines.append(
            f"{self.adapter}: {self.calls} calls under {len(self.rows)} faults: "
            + (f"passes; permits {bound}" if not self.problems else "does not pass")
            + f"; p99.9 of lateness less a sleeper's {self.tail_s * 1_000:+.1f} ms"
        )
        return lines

    def told(self) -> dict[str, Any]:
        """For machines."""
        return {
            "adapter": self.adapter,
            "passes": not self.problems,
            "problems": self.problems,
            "calls": self.calls,
            "tail_ms": round(self.tail_s * 1_000, 1),
            "faults": [
                {
                    "fault": row.fault.name,
                    "words": row.fault.words,
                    "calls": row.calls,
                    **{name: row.outcomes[name] for name in ("permit", "deny", "error", "hang")},
                    "latest_ms": round(row.latest_s * 1_000, 1),
                }
                for row in self.rows
            ],
        }
