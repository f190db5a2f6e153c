"""How a directory fails: one error, with a fault from a closed set."""

from __future__ import annotations

import enum

from pdp.errors import PdpError


class Fault(enum.Enum):
    """Why a directory gave no answer. A closed set: these are counted."""

    UNREACHABLE = "unreachable"
    SLOW = "slow"
    WRONG = "wrong"  # what it holds is not what it must be
    BROKEN = "broken"  # anything else


class DirectoryError(PdpError):
    """There is no answer, and so no search.

    Attributes:
        fault: why; what callers are told.
        reason: for the operator; never an attribute, a name or a secret.
    """

    def __init__(self, fault: Fault, reason: str) -> None:
        self.fault = fault
        self.reason = reason
        super().__init__(f"the directory is {fault.value}: {reason}")
