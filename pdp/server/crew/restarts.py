"""When a process that ended is started again, and when never. Pure; times are seconds."""

from __future__ import annotations

from typing import Final

# The first pause; each further one is twice as long, for what ends at once does so again.
_FIRST_S: Final = 0.2
_LONGEST_S: Final = 10.0
# A process that lived so long begins anew with the first pause.
SETTLED_S: Final = 30.0
# Ends in a row, each before it had settled, after which starting again helps nobody.
ENDS_MAX: Final = 5


class Restarts:
    """The ends of one process."""

    def __init__(self) -> None:
        self._ends = 0

    def ended(self, lived_s: float) -> float:
        """It ended by itself.

        Args:
            lived_s: how long it ran.

        Returns:
            Seconds until it is to be started again.
        """
        self._ends = 1 if lived_s >= SETTLED_S else self._ends + 1
        return min(_LONGEST_S, _FIRST_S * 2.0 ** (self._ends - 1))

    @property
    def hopeless(self) -> bool:
        """Whether it ended again and again without ever having settled."""
        return self._ends >= ENDS_MAX
