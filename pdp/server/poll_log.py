"""What looks at the store come to, in the log."""

from __future__ import annotations

from pdp.bundle import PollResult
from pdp.telemetry import Telemetry


def tell_poll(telemetry: Telemetry, result: PollResult) -> None:
    """Log what a poll brought."""
    level = "info" if result.verified else "error"
    telemetry.log(level, f"bundle_{result.outcome}", detail=result.detail)
