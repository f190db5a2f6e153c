"""Timestamps and durations: reading them, and taking them apart.

Nanoseconds are integers throughout; Python's datetimes would cut them off and
end at the year 9999 in local time too.

Time zones: fixed offsets (`+02:00`) are computed; names (`Europe/Zurich`) come
from the pinned `tzdata` package, never from the host, so that one bundle
decides alike on every host. The rules of a zone are read once per process and
kept; `load_zone` at compile time keeps that file access out of evaluation for
names written in a policy.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from pdp.cel.cost import ZONE_UNITS, Meter, charge
from pdp.cel.semantics import make_timestamp
from pdp.cel.values import CelError, Datum, no_overload
from pdp.values import (
    DURATION_SECONDS_MAX,
    NANOS,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    Duration,
    Timestamp,
)

# Longer texts are refused unread. RFC 3339 needs 35 code points.
TEXT_MAX = 128
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_TERM = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = MappingProxyType(
    {
        "ns": 1,
        "us": 1_000,
        "µs": 1_000,
        "μs": 1_000,
        "ms": 1_000_000,
        "s": NANOS,
        "m": 60 * NANOS,
        "h": 3_600 * NANOS,
    }
)
_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d\d)", re.ASCII)
_HOURS_MAX, _MINUTES_MAX, _SECONDS_MAX = 23, 59, 59


# -- reading -----------------------------------------------------------------


@functools.lru_cache(maxsize=1_024)
def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339 with a zone. More than nine fraction digits are cut, as cel-go does.

    The same few come again and again, and each is read once; texts that are none are not kept.
    Leap seconds (`:60`) are refused: an int64 of seconds has no room for them.
    """
    found = _TIMESTAMP.fullmatch(text) if len(text) <= TEXT_MAX else None
    if found is None:
        message = "not a timestamp: want `2026-01-31T00:00:00Z`"
        raise CelError(message)
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, offset_hour, offset_minute = found.groups()[6:]
    offset = int(offset_hour or 0) * 3_600 + int(offset_minute or 0) * 60
    if (
        max(hour, int(offset_hour or 0)) > _HOURS_MAX
        or max(minute, int(offset_minute or 0)) > _MINUTES_MAX
        or second > _SECONDS_MAX
    ):
        message = "not a time of day"
        raise CelError(message)
    try:
        days = date(year, month, day).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        message = "not a date of the years 1 to 9999"
        raise CelError(message) from None
    seconds = days * _DAY + hour * 3_600 + minute * 60 + second
    seconds += offset if sign == "-" else -offset
    return make_timestamp(seconds * NANOS + _nanos(fraction))


def _nanos(fraction: str | None) -> int:
    return int((fraction or "0")[:9].ljust(9, "0"))


def parse_duration(text: str) -> Duration:
    """`1h30m`, `-1.5s`, `0`: a sign and terms of a number and a unit, as Go writes them.

    Parts below a nanosecond are cut off.
    """
    body = text[1:] if text[:1] in {"+", "-"} else text
    if len(text) <= TEXT_MAX and body == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(body) <= TEXT_MAX:
        term = _TERM.match(body, at)
        if term is None or not (term[1] or term[2]):
            break
        unit, fraction = _UNITS[term[3]], term[2] or ""
        total += int(term[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = term.end()
    if not body or at < len(body):
        message = "not a duration: want `1h30m` or `90s`"
        raise CelError(message)
    if total > DURATION_SECONDS_MAX * NANOS:
        message = "a duration longer than 10,000 years"
        raise CelError(message)
    return Duration(-total if text[0] == "-" else total)


# -- zones -------------------------------------------------------------------


@functools.cache
def _zone_names() -> frozenset[str]:
    """Every name there is, so that a name from a request never reaches the file system."""
    listed = importlib.resources.files("tzdata").joinpath("zones").read_text("ascii")
    return frozenset(listed.split())


@functools.cache
def _zone(name: str) -> ZoneInfo:
    """The rules of a known zone. A pure function of the installed package, so kept."""
    file = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as opened:
        return ZoneInfo.from_file(opened, key=name)


def load_zone(name: Datum) -> None:
    """Read the rules of a zone now, if it is a name of one."""
    if type(name) is str and name in _zone_names():
        _zone(name)


def offset_seconds(ns: int, zone: Datum, meter: Meter) -> int:
    """How far a zone is ahead of UTC at an instant.

    Args:
        ns: the instant.
        zone: `` (UTC), `UTC`, `02:00`, `-02:00` or a name of the IANA database.
        meter: charged for names.
    """
    if type(zone) is not str:
        raise no_overload("time zone", zone)
    if not zone or zone == "UTC":
        return 0
    if len(zone) <= TEXT_MAX and (fixed := _OFFSET.fullmatch(zone)):
        hours, minutes = int(fixed[2]), int(fixed[3])
        if hours <= _HOURS_MAX and minutes <= _MINUTES_MAX:
            return (hours * 3_600 + minutes * 60) * (-1 if fixed[1] == "-" else 1)
    charge(meter, ZONE_UNITS)
    if zone not in _zone_names():
        message = "not a time zone: want `Europe/Zurich` or `+02:00`"
        raise CelError(message)
    # datetime cannot hold local times before year 1 or after 9999, and no
    # zone changes its rules in the days at either end.
    seconds = ns // NANOS
    inside = min(max(seconds, TIMESTAMP_SECONDS_MIN + 2 * _DAY), TIMESTAMP_SECONDS_MAX - 2 * _DAY)
    local = (_EPOCH + timedelta(seconds=inside)).astimezone(_zone(zone))
    offset = local.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


# -- taking apart ------------------------------------------------------------


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day, counted from 1, of a day counted from 1970-01-01.

    Proleptic Gregorian, any year: a zone may push a timestamp into year 0 or
    10000, where Python's dates end.
    """
    shifted = days + 719_468  # days since 0000-03-01
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9  # noqa: PLR2004
    return year_of_era + era * 400 + (month <= 2), month, day  # noqa: PLR2004


def _day_of_year(days: int) -> int:
    """Counted from 0."""
    year, month, day = civil(days)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    before = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month - 1]
    return before + day - 1 + (leap and month > 2)  # noqa: PLR2004


# From (days since 1970-01-01, second of the day, nanosecond), all local.
_TIMESTAMP_PARTS: MappingProxyType[str, Callable[[int, int, int], int]] = MappingProxyType(
    {
        "getFullYear": lambda days, _second, _nano: civil(days)[0],
        "getMonth": lambda days, _second, _nano: civil(days)[1] - 1,
        "getDate": lambda days, _second, _nano: civil(days)[2],
        "getDayOfMonth": lambda days, _second, _nano: civil(days)[2] - 1,
        "getDayOfYear": lambda days, _second, _nano: _day_of_year(days),
        "getDayOfWeek": lambda days, _second, _nano: (days + 4) % 7,  # 1970-01-01: Thursday
        "getHours": lambda _days, second, _nano: second // 3_600,
        "getMinutes": lambda _days, second, _nano: second // 60 % 60,
        "getSeconds": lambda _days, second, _nano: second % 60,
        "getMilliseconds": lambda _days, _second, nano: nano // 1_000_000,
    }
)
# From the absolute value in nanoseconds; the sign is put back after. Hours,
# minutes and seconds are totals, milliseconds are what is left of the second.
_DURATION_PARTS: MappingProxyType[str, Callable[[int], int]] = MappingProxyType(
    {
        "getHours": lambda ns: ns // (3_600 * NANOS),
        "getMinutes": lambda ns: ns // (60 * NANOS),
        "getSeconds": lambda ns: ns // NANOS,
        "getMilliseconds": lambda ns: ns // 1_000_000 % 1_000,
    }
)
PARTS = tuple(_TIMESTAMP_PARTS)


def part_of(name: str) -> Callable[..., int]:
    """The function for one of `PARTS`, of a timestamp (with or without zone) or a duration."""
    of_timestamp, of_duration = _TIMESTAMP_PARTS[name], _DURATION_PARTS.get(name)

    def part(operand: Datum, *rest: Datum) -> int:
        *zone, meter = rest
        kind = type(operand)
        if kind is Timestamp:
            offset = offset_seconds(operand.ns, zone[0], meter) if zone else 0
            seconds, nano = divmod(operand.ns, NANOS)
            days, second = divmod(seconds + offset, _DAY)
            return of_timestamp(days, second, nano)
        if kind is Duration and of_duration is not None and not zone:
            return of_duration(abs(operand.ns)) * (-1 if operand.ns < 0 else 1)
        raise no_overload(name, operand, *zone)

    return part
