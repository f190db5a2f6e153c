"""Local time: what the clock on the wall shows, on the days it is changed too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import calendar as library
from pdp.cel.moments import parse_timestamp
from pdp.cel.values import CelError
from pdp.values import NANOS, TIMESTAMP_SECONDS_MAX, TIMESTAMP_SECONDS_MIN, Duration, Timestamp
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter, units

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
     "Pacific/Apia", "+05:45", "-11:00"]
)  # fmt: skip
BERLIN = "Europe/Berlin"
HOUR = 3_600 * NANOS


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def zone_of(name: str) -> Any:
    """The zone, for the oracle."""
    if name[0] in "+-":
        return datetime.strptime(name.replace(":", ""), "%z").tzinfo
    return ZoneInfo(name)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)), ZONES)  # noqa: DTZ001
def test_local_time_is_what_datetime_says(moment: datetime, zone: str) -> None:
    """Time of day, weekday and date agree with Python's own calendar."""
    aware = moment.replace(tzinfo=UTC)
    stamp = parse_timestamp(aware.isoformat().replace("+00:00", "Z"))
    local = aware.astimezone(zone_of(zone))
    nanos = (local.hour * 3_600 + local.minute * 60 + local.second) * NANOS
    nanos += local.microsecond * 1_000
    assert library.time_of_day(stamp, zone, meter()) == Duration(nanos)
    assert library.weekday(stamp, zone, meter()) == local.isoweekday()
    assert library.is_weekday(stamp, zone, meter()) is (local.isoweekday() <= 5)
    assert library.local_date(stamp, zone, meter()) == local.date().isoformat()


@given(st.integers(TIMESTAMP_SECONDS_MIN * NANOS, TIMESTAMP_SECONDS_MAX * NANOS), ZONES)
def test_any_moment_has_a_time_of_day_in_any_zone(ns: int, zone: str) -> None:
    """From the year 1 to 9999: never negative, never 24 hours; a date, or an error at the ends."""
    stamp = Timestamp(ns)
    assert 0 <= library.time_of_day(stamp, zone, meter()).ns < 24 * HOUR
    assert 1 <= library.weekday(stamp, zone, meter()) <= 7
    try:
        assert len(library.local_date(stamp, zone, meter())) == 10
    except CelError:
        assert not TIMESTAMP_SECONDS_MIN + 86_400 < ns // NANOS < TIMESTAMP_SECONDS_MAX - 86_400


@given(st.text(max_size=20))
def test_any_text_is_a_zone_or_an_error(text: str) -> None:
    """Fuzz: no zone by accident, and never the host's own."""
    try:
        assert library.read_zone(text) == text
    except CelError:
        return
    assert text


CLOCKS: list[tuple[str, str, str, int]] = [
    # Nine on the wall, winter and summer, and on both days of change.
    ("2026-01-15T08:00:00Z", "9h", "2026-01-15", 4),
    ("2026-07-15T07:00:00Z", "9h", "2026-07-15", 3),
    ("2026-03-29T00:59:59Z", "1h59m59s", "2026-03-29", 7),
    ("2026-03-29T01:00:00Z", "3h", "2026-03-29", 7),
    ("2026-03-29T07:00:00Z", "9h", "2026-03-29", 7),
    # The hour from two to three comes twice.
    ("2026-10-25T00:30:00Z", "2h30m", "2026-10-25", 7),
    ("2026-10-25T01:30:00Z", "2h30m", "2026-10-25", 7),
    # Another day there.
    ("2026-07-17T22:30:00Z", "30m", "2026-07-18", 6),
]


@pytest.mark.parametrize(("moment", "clock", "date", "weekday"), CLOCKS)
def test_the_clock_on_the_wall(
    checker: Checker, moment: str, clock: str, date: str, weekday: int
) -> None:
    """Berlin, around the days on which its clocks change."""
    now = parse_timestamp(moment)
    assert evaluate(checker, f"d.timeOfDay('{BERLIN}') == duration('{clock}')", d=now)
    assert evaluate(checker, f"d.localDate('{BERLIN}')", d=now) == date
    assert evaluate(checker, f"d.weekday('{BERLIN}')", d=now) == weekday
    assert evaluate(checker, f"d.isWeekday('{BERLIN}')", d=now) is (weekday <= 5)


def test_the_clock_on_the_wall_twin_without_guard() -> None:
    """Hours since midnight, as a stopwatch has them, are another number on the day of change."""
    now, midnight = (
        parse_timestamp(text) for text in ("2026-03-29T07:00:00Z", "2026-03-28T23:00:00Z")
    )
    assert now.ns - midnight.ns == 8 * HOUR
    assert library.time_of_day(now, BERLIN, meter()).ns == 9 * HOUR


def test_a_zone_costs_what_it_costs_everywhere(checker: Checker) -> None:
    """Ten units by name, none by offset."""
    now = Timestamp(0)
    assert units(checker, f"d.weekday('{BERLIN}')", d=now) == 3 + 10
    assert units(checker, "d.weekday('+01:00')", d=now) == 3


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": ""}, ERROR),
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": "europe/berlin"}, ERROR),
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": "../etc/passwd"}, ERROR),
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": "UTC\x00"}, ERROR),
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": "CET6"}, ERROR),
    ("d.timeOfDay(e)", {"d": Timestamp(0), "e": 1}, ERROR),
    ("d.timeOfDay('UTC')", {"d": 0}, ERROR),
    ("d.timeOfDay('UTC')", {"d": Duration(0)}, ERROR),
    ("d.weekday('UTC')", {"d": Timestamp(-1)}, 3),
    ("d.localDate('-00:01')", {"d": Timestamp(TIMESTAMP_SECONDS_MIN * NANOS)}, ERROR),
]
MISTAKES = [
    ("timestamp(s).timeOfDay('Europe/Berln') < duration('9h')", 24, "not a time zone"),
    ("timestamp(s).isWeekday('')", 24, "not a time zone"),
    ("timestamp(s).weekday()", 21, "`weekday` is not called like this"),
    ("s.timeOfDay('UTC') < duration('9h')", 12, "`timeOfDay` cannot take"),
    ("timestamp(s).timeOfDay('UTC') < '09:00'", 31, "`<` cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_calendars_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_calendars_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
