"""Cost: what work is charged, in units that do not depend on the machine.

    a region starts (the condition, a loop's body)   1 per node of the region
    a literal text in it                             1 per 64 code points more
    a text is compared                               1 per 64 code points or bytes
    a text is copied or searched                     1 per 16 code points or bytes
    a text is matched                                1 per 16 code points, times
                                                     1 per 16 instructions of the pattern
    a pattern is computed, a zone is named           1,000; 10
    a list or map is walked or built                 1 per element

A region is charged when it starts, whatever short circuits leave out of it, so
both tiers charge the same by construction; the rest is charged where the work
is done, by functions both tiers share. One unit is 30 to 300 ns of work.

INVARIANT: work is charged before it is done, and `BudgetSpentError` is not a
`CelError`: nothing in the language absorbs it.
"""

from __future__ import annotations

from typing import TypeAlias

# The units left, in a list of one: the cheapest cell Python has.
Meter: TypeAlias = list[int]

COMPARED_PER_UNIT = 64
COPIED_PER_UNIT = 16
# Compiling a pattern that is not spelled out in the policy: up to 7 ms.
PATTERN_UNITS = 1_000
# A named time zone: a table look-up, and a file of rules the first time.
ZONE_UNITS = 10


class BudgetSpentError(Exception):
    """The evaluation's cost budget ran out. Becomes `Verdict.SPENT`."""


def charge(meter: Meter, units: int) -> None:
    """Take units from the budget.

    Raises:
        BudgetSpentError: fewer were left.
    """
    meter[0] -= units
    if meter[0] < 0:
        raise BudgetSpentError


def matching_units(text: int, program: int) -> int:
    """Units of one RE2 search: the text times the pattern's program.

    That is RE2's bound when its automaton does not fit its memory. The length of
    a pattern says little: `(a?){1000}` has ten characters and 5,000 instructions.

    Args:
        text: length of the text, in code points.
        program: size of the compiled pattern, in instructions.
    """
    return (1 + text // COPIED_PER_UNIT) * (1 + program // COPIED_PER_UNIT)
