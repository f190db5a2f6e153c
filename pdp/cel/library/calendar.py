"""Time of day, weekday and date on the calendar of a named zone.

Local means what a clock on the wall there shows: on the day the clocks change,
nine in the morning is still `duration("9h")`. The zone is always named; the
rules of zones come from the pinned `tzdata` package (`pdp.cel.moments`).
"""

from __future__ import annotations

from pdp.cel import moments
from pdp.cel.cost import Meter
from pdp.cel.library.signatures import define, make_library
from pdp.cel.values import CelError, Datum, no_overload
from pdp.values import NANOS, Duration, Timestamp

_DAY_SECONDS = 86_400
_FRIDAY = 5
_YEAR_MAX = 9_999
_ANYTIME = 10**15  # a budget to check a zone's name with, when a policy is built


def read_zone(text: str) -> str:
    """A time zone, unchanged; its rules are read now.

    Raises:
        CelError: not a time zone.
    """
    if not text:
        message = "not a time zone: want `Europe/Zurich`, `UTC` or `+02:00`"
        raise CelError(message)
    moments.offset_seconds(0, text, [_ANYTIME])
    return text


def _local(name: str, moment: Datum, zone: Datum, meter: Meter) -> tuple[int, int, int]:
    """Day since 1970-01-01, second of the day and nanosecond, on the clock of the zone."""
    if type(moment) is not Timestamp or type(zone) is not str:
        raise no_overload(name, moment, zone)
    if not zone:
        read_zone(zone)
    seconds, nano = divmod(moment.ns, NANOS)
    days, second = divmod(seconds + moments.offset_seconds(moment.ns, zone, meter), _DAY_SECONDS)
    return days, second, nano


def time_of_day(moment: Datum, zone: Datum, meter: Meter) -> Duration:
    """`t.timeOfDay(zone)`: what the clock shows, as a duration from 0s to less than 24h."""
    _, second, nano = _local("timeOfDay", moment, zone, meter)
    return Duration(second * NANOS + nano)


def weekday(moment: Datum, zone: Datum, meter: Meter) -> int:
    """`t.weekday(zone)`: ISO 8601, from 1 for Monday to 7 for Sunday."""
    days, _, _ = _local("weekday", moment, zone, meter)
    return (days + 3) % 7 + 1  # 1970-01-01: Thursday


def is_weekday(moment: Datum, zone: Datum, meter: Meter) -> bool:
    """`t.isWeekday(zone)`: Monday to Friday."""
    return weekday(moment, zone, meter) <= _FRIDAY


def local_date(moment: Datum, zone: Datum, meter: Meter) -> str:
    """`t.localDate(zone)`: `2026-01-31`."""
    days, _, _ = _local("localDate", moment, zone, meter)
    year, month, day = moments.civil(days)
    if not 1 <= year <= _YEAR_MAX:
        message = "a date outside the years 1 to 9999"
        raise CelError(message)
    return f"{year:04}-{month:02}-{day:02}"


LIBRARY = make_library(
    "calendar",
    *(
        define(
            name,
            {f"timestamp_{overload}": f"google.protobuf.Timestamp.(string) -> {result}"},
            call,
            literal=read_zone,
        )
        for name, overload, result, call in (
            ("timeOfDay", "time_of_day", "google.protobuf.Duration", time_of_day),
            ("weekday", "weekday", "int", weekday),
            ("isWeekday", "is_weekday", "bool", is_weekday),
            ("localDate", "local_date", "string", local_date),
        )
    ),
)
