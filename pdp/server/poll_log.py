"""What looks at the store come to, in the log and the counters."""

from __future__ import annotations

from pdp.bundle import PollResult
from pdp.telemetry import Telemetry


class PollLog:
    """Tells what is news, and counts the rest.

    Args:
        telemetry: counters and logs.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._outcome = ""
        self._behind: frozenset[str] = frozenset()

    def take(self, result: PollResult) -> None:
        """One look at the store."""
        behind = frozenset(result.troubles)
        if result.outcome != "unchanged" or self._outcome != "unchanged":
            tell_poll(self._telemetry, result)
        elif behind != self._behind:
            # Nothing new for the others: it went wrong, or right again, without a revision.
            tell_poll(self._telemetry, result)
        if result.verified:
            self._behind = behind
        self._telemetry.count("polls", result.outcome)
        self._outcome = result.outcome


def tell_poll(telemetry: Telemetry, result: PollResult) -> None:
    """Log what a poll brought, and each tenant that it left behind."""
    level = "info" if result.verified else "error"
    telemetry.log(level, f"bundle_{result.outcome}", detail=result.detail)
    for tenant, why in sorted(result.troubles.items()):
        telemetry.log("warning", "tenant_behind", tenant=tenant, detail=why)
