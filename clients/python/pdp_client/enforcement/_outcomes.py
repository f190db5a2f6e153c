"""How a denial is told to whoever asked for the act: by class, never with what was asked about.

Three classes, because whoever is denied can do three things: bring credentials, do without, or
come again later. A decision that nobody could make is the third: an outage of the PDP must not
look like a policy to people, and is no permit all the same.
"""

from __future__ import annotations

import enum
import logging
from typing import Final

from pdp.model import Cause, Decision
from pdp_client.enforcement._subjects import NoSubjectError

_log: Final = logging.getLogger("pdp_client")

# Nobody decided. Everything else is the PDP's word about the question, or about this workload.
_OUTAGE: Final = frozenset(
    {
        Cause.AUDIT,
        Cause.DEADLINE,
        Cause.INTERNAL,
        Cause.NO_BUNDLE,
        Cause.OVERLOADED,
        Cause.STALE,
        Cause.UNREACHABLE,
        Cause.UNUSABLE,
    }
)
_REASONS_MAX: Final = 10


class Told(enum.Enum):
    """What is told."""

    UNAUTHENTICATED = "nobody is known to act"
    DENIED = "access denied"
    UNAVAILABLE = "access cannot be decided at the moment"

    def __bool__(self) -> bool:
        raise TypeError("this is a denial, of whatever class: compare with `is`")


HTTP_STATUS: Final = {Told.UNAUTHENTICATED: 401, Told.DENIED: 403, Told.UNAVAILABLE: 503}


def told(decision: Decision) -> Told:
    """The class of a denial."""
    return Told.UNAVAILABLE if decision.cause in _OUTAGE else Told.DENIED


def body_of(outcome: Told, decision: Decision | None) -> dict[str, object]:
    """What is said over HTTP: the class, and what the rules' authors want the person to read."""
    body: dict[str, object] = {"error": outcome.value}
    reasons = () if decision is None else decision.reason_user
    if reasons:
        body["reasons"] = [reason.text for reason in reasons[:_REASONS_MAX]]
    return body


def headers_of(outcome: Told) -> dict[str, str]:
    """What belongs to the status: RFC 9110, section 11.6.1; and no denial is kept by a cache."""
    headers = {"Cache-Control": "no-store"}
    if outcome is Told.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def refusal(error: Exception) -> Told:
    """The class of a denial because it could not be said what to ask; logged by kind."""
    if isinstance(error, NoSubjectError):
        return Told.UNAUTHENTICATED
    _log.warning("denied at the enforcement point: %s", type(error).__name__)
    return Told.DENIED
