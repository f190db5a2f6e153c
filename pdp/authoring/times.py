"""RFC 3339 timestamps in documents. A zone is required: midnight is not one instant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from pdp.values import NANOS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_SPAN = re.compile(r"([0-9]{1,6})([hdw])")
_UNIT_S = {"h": 3_600, "d": 86_400, "w": 604_800}
EXAMPLE = "2027-01-31T00:00:00Z"
_HOUR_MAX, _MINUTE_MAX = 23, 59


def parse_timestamp(text: str) -> int:
    """Nanoseconds since 1970-01-01T00:00:00Z.

    A leap second (`:60`) is refused: it names no instant that a clock shows.

    Raises:
        ValueError: it is not RFC 3339 with a zone, or not a date that exists.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("is not a timestamp with a zone")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    zone = UTC
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > _HOUR_MAX or minutes > _MINUTE_MAX:
            raise ValueError("has a zone that does not exist")
        offset = timedelta(hours=hours, minutes=minutes)
        zone = timezone(offset if match[8] == "+" else -offset)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        since = moment.astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        raise ValueError("is not a date and time that exists") from None
    fraction = int((match[7] or "").ljust(9, "0"))
    return (since.days * 86_400 + since.seconds) * NANOS + fraction


def parse_span(text: str) -> int:
    """Nanoseconds in `12h`, `30d` or `4w`.

    Raises:
        ValueError: it is none of these.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError("is not a span of time")
    return int(match[1]) * _UNIT_S[match[2]] * NANOS


def shown(moment_ns: int) -> str:
    """A moment to the second, as RFC 3339 in UTC."""
    return (_EPOCH + timedelta(seconds=moment_ns // NANOS)).isoformat().replace("+00:00", "Z")
