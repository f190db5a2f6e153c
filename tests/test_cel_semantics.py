"""Operators and functions, case by case, where CEL and Python part ways."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel import containers, conversions, moments, semantics, text
from pdp.cel.cost import BudgetSpentError
from pdp.cel.values import CelError, make_map
from pdp.checked_expr import decode
from pdp.values import INT64_MAX, INT64_MIN, NANOS, UINT64_MAX, Duration, Timestamp, Uint
from tests.cel_tiers import Tiers
from tests.celspec import tagged

ERROR = object()
PLENTY = 10**9


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def evaluate(checker: Checker, source: str, **names: Any) -> Any:
    """The value, or ERROR; both tiers agree or the fast one leaves it."""
    variables = dict.fromkeys(names, "dyn")
    tiers = Tiers(decode(checker.check(source, variables).checked_expr, source))
    want = tiers.exact(names)
    for fold in (True, False):
        got = tiers.fast(names, fold=fold)
        if got.kind == "value":
            assert (tagged(got.value), got.units) == (tagged(want.value), want.units)
            assert want.kind == "value"
    return want.value if want.kind == "value" else ERROR


def meter() -> list[int]:
    """A budget nothing here spends."""
    return [PLENTY]


CASES: list[tuple[str, dict[str, Any], Any]] = [
    # bool is no number, anywhere
    ("d == 1", {"d": True}, False),
    ("d == 0.0", {"d": False}, False),
    ("d != 1", {"d": True}, True),
    ("d in [1, 0]", {"d": True}, False),
    ("1 in d", {"d": [True]}, False),
    ("d == e", {"d": [True], "e": [1]}, False),
    ("d == e", {"d": {"a": True}, "e": {"a": 1}}, False),
    ("d < 2", {"d": True}, ERROR),
    ("d + 1", {"d": True}, ERROR),
    ("[7, 8][d]", {"d": True}, ERROR),
    ("{true: 2, 1: 3}[true]", {}, 2),
    ("{true: 2, 1: 3}[1]", {}, 3),
    ("{true: 2, 1: 3}.map(k, k)", {}, [True, 1]),
    ("{1: 2}[d]", {"d": True}, ERROR),
    ("d in {1: 2}", {"d": True}, False),
    ("d ? 1 : 2", {"d": 1}, ERROR),
    ("d && true", {"d": 1}, ERROR),
    ("!d", {"d": 0}, ERROR),
    # numbers compare across kinds, through double
    ("d == 1.0", {"d": Uint(1)}, True),
    ("d == 9007199254740992.0", {"d": 2**53 + 1}, True),
    ("d == e", {"d": 2**53 + 1, "e": 2.0**53}, True),
    ("d == 9007199254740993", {"d": 2.0**53}, True),
    ("d < 9007199254740993", {"d": 2.0**53}, False),
    ("d > 9007199254740992.0", {"d": 2**53 + 1}, False),
    ("d == e", {"d": math.nan, "e": math.nan}, False),
    ("[d] == [d]", {"d": math.nan}, False),
    ("d in [d]", {"d": math.nan}, False),
    ("d < 1 || d >= 1", {"d": math.nan}, False),
    ("0.0 == d", {"d": -0.0}, True),
    ("{1: 'i'}[d]", {"d": 1.0}, "i"),
    ("{1: 'i'}[d]", {"d": Uint(1)}, "i"),
    ("{1: 'i'}[d]", {"d": 1.5}, ERROR),
    ("{9007199254740993: 'i'}[d]", {"d": 2.0**53}, ERROR),
    ("{1: 2, d: 3}", {"d": Uint(1)}, ERROR),
    ("{'a': 2, d: 3}", {"d": "a"}, ERROR),
    ("{d: 3}", {"d": 1.0}, ERROR),
    ("{d: 3}", {"d": None}, ERROR),
    # arithmetic
    ("d + 1", {"d": INT64_MAX}, ERROR),
    ("-d", {"d": INT64_MIN}, ERROR),
    ("d * -1", {"d": INT64_MIN}, ERROR),
    ("d / -1", {"d": INT64_MIN}, ERROR),
    ("d % -1", {"d": INT64_MIN}, ERROR),
    ("d + 1u", {"d": Uint(UINT64_MAX)}, ERROR),
    ("d - 1u", {"d": Uint(0)}, ERROR),
    ("d + 1", {"d": 1.0}, ERROR),
    ("d + 1", {"d": Uint(1)}, ERROR),
    ("d / 2", {"d": -7}, -3),
    ("d % 2", {"d": -7}, -1),
    ("7 % d", {"d": -2}, 1),
    ("d / 0", {"d": 1}, ERROR),
    ("d / 0.0", {"d": 1.0}, math.inf),
    ("d / -0.0", {"d": 1.0}, -math.inf),
    ("d / 0.0 == d", {"d": 0.0}, False),
    ("d % e", {"d": 1.0, "e": 2.0}, ERROR),
    ("d + e", {"d": "a", "e": "b"}, "ab"),
    ("d + e", {"d": [1], "e": ["a"]}, [1, "a"]),
    ("d + e", {"d": "a", "e": b"b"}, ERROR),
    ("d * 2", {"d": "a"}, ERROR),
    ("d % e", {"d": "%s", "e": "a"}, ERROR),
    # selection and index
    ("d[-1]", {"d": [1, 2]}, ERROR),
    ("d[0]", {"d": "abc"}, ERROR),
    ("d[0]", {"d": b"abc"}, ERROR),
    ("d['a']", {"d": "abc"}, ERROR),
    ("d['a']", {"d": ["a"]}, ERROR),
    ("d[e]", {"d": [1, 2], "e": 1.0}, 2),
    ("d[e]", {"d": [1, 2], "e": 0.5}, ERROR),
    ("d.a", {"d": "abc"}, ERROR),
    ("d.a", {"d": None}, ERROR),
    ("has(d.a)", {"d": {"a": None}}, True),
    ("has(d.a)", {"d": {}}, False),
    ("has(d.a)", {"d": "abc"}, ERROR),
    ("has(d.a)", {"d": ["a"]}, ERROR),
    ("has(d.a.b)", {"d": {}}, ERROR),
    ("'a' in d", {"d": "abc"}, ERROR),
    ("'a' in d", {"d": {"a": 1}}, True),
    ("d in {'a': 1}", {"d": ["a"]}, ERROR),
    ("d in ['a', 'b']", {"d": ["a"]}, False),
    ("d in ['a', 'b']", {"d": {}}, False),
    # order
    ("d < 'b'", {"d": "a"}, True),
    ("d < 'b'", {"d": b"a"}, ERROR),
    ("d < e", {"d": False, "e": True}, True),
    ("d < e", {"d": [1], "e": [2]}, ERROR),
    ("d < e", {"d": None, "e": None}, ERROR),
    ("d < e", {"d": "\U0001f431", "e": "\uffff"}, False),
    ("d < e", {"d": Timestamp(1), "e": Timestamp(2)}, True),
    ("d < e", {"d": Timestamp(1), "e": Duration(2)}, ERROR),
    ("d == null", {"d": None}, True),
    ("d == null", {"d": False}, False),
    ("d != null", {"d": []}, True),
    # texts
    ("size(d)", {"d": "é🐱"}, 2),
    ("size(d)", {"d": b"\xc3\xa9"}, 2),
    ("size(d)", {"d": 5}, ERROR),
    ("d.contains('')", {"d": ""}, True),
    ("d.contains('a')", {"d": ["a"]}, ERROR),
    ("d.startsWith('a')", {"d": b"abc"}, ERROR),
    ("d.matches('^b$')", {"d": "a\nb"}, False),
    ("d.matches('b')", {"d": "abc"}, True),
    ("d.matches('^a.b$')", {"d": "a\x00b"}, True),
    ("d == 'admin'", {"d": "admin\x00evil"}, False),
    ("d.matches(e)", {"d": "a", "e": "("}, ERROR),
    ("d.matches(e)", {"d": "aaa", "e": "(?=a)"}, ERROR),
    # macros
    ("d.all(x, x > 0)", {"d": []}, True),
    ("d.exists(x, x > 0)", {"d": []}, False),
    ("d.all(x, x)", {"d": [True, 1]}, ERROR),
    ("d.all(x, x)", {"d": [1, False]}, False),
    ("d.exists(x, x)", {"d": [1, True]}, True),
    ("d.exists_one(x, x)", {"d": [1, True]}, ERROR),
    ("d.exists_one(x, x == 1)", {"d": [1, Uint(1)]}, False),
    ("d.map(x, x > 1, x * 2)", {"d": [1, 2, 3]}, [4, 6]),
    ("d.filter(x, x)", {"d": [1]}, ERROR),
    ("d.map(x, 1 / x)", {"d": [1, 0]}, ERROR),
    ("d.exists(x, x == 'a')", {"d": "a"}, ERROR),
    ("d.all(k, k == 'a')", {"d": {"a": 1}}, True),
    ("d.map(x, d.map(y, x + y))", {"d": [1, 2]}, [[2, 3], [3, 4]]),
    ("d.map(x, [9].map(x, x))", {"d": [1]}, [[9]]),
    ("d.map(x, x + [9].map(x, x)[0])", {"d": [1]}, [10]),
    # types
    ("type(d) == int", {"d": 1}, True),
    ("type(d) == int", {"d": True}, False),
    ("type(d) == int", {"d": Uint(1)}, False),
    ("type(type(d)) == type", {"d": 1}, True),
    ("d == int", {"d": 1}, False),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES, ids=[case[0] for case in CASES])
def test_operator_gives_what_the_language_says(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Each case in both tiers: the exact value with its exact kind, or an error."""
    got = evaluate(checker, source, **names)
    assert (got is want) if want is ERROR else (tagged(got) == tagged(want))


NUMBERS = [
    *(0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, INT64_MIN, INT64_MAX),
    *(Uint(0), Uint(1), Uint(2**53 + 1), Uint(UINT64_MAX)),
    *(0.0, -0.0, 1.0, 0.5, -(2.0**53), 2.0**53, 2.0**63, -(2.0**63), 2.0**64),
    *(math.inf, -math.inf, math.nan, True, False),
]


def spelled(value: Any) -> str:
    """A literal, or an expression that folds to the value."""
    if type(value) is bool:
        return str(value).lower()
    if type(value) is float:
        return f"double('{value!r}')"
    return f"{int(value)}u" if type(value) is Uint else str(value)


def compared(left: Any, right: Any, operator: str) -> Any:
    """By the language: both through double if one is a double; bools apart from numbers."""
    if (type(left) is bool) != (type(right) is bool):
        return {"==": False, "!=": True}.get(operator, ERROR)
    if float in {type(left), type(right)}:
        left, right = float(left), float(right)
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def test_numbers_compare_across_kinds(checker: Checker) -> None:
    """All pairs of awkward numbers, all operators, literal or not, in both tiers."""
    for operator in ("==", "!=", "<", "<=", ">", ">="):
        for literal in NUMBERS:
            sources = (
                f"d {operator} dyn({spelled(literal)})",
                f"dyn({spelled(literal)}) {operator} d",
            )
            for source, swapped in zip(sources, (False, True), strict=True):
                expression = decode(checker.check(source, {"d": "dyn"}).checked_expr, source)
                tiers = Tiers(expression)
                for value in NUMBERS:
                    sides = (literal, value) if swapped else (value, literal)
                    want = compared(*sides, operator)
                    got = tiers.exact({"d": value})
                    fast = tiers.fast({"d": value})
                    assert (got.value if got.kind == "value" else ERROR) is want, (source, value)
                    assert fast.kind == "left" or fast.value is want, (source, value)
    pairs = itertools.product(NUMBERS, NUMBERS)
    assert all(semantics.equal(a, b, meter()) is compared(a, b, "==") for a, b in pairs)


TEXTS: list[tuple[Any, str, Any]] = [
    (conversions.to_int, "12", 12),
    (conversions.to_int, "-0", 0),
    (conversions.to_int, "+7", 7),
    (conversions.to_int, "9223372036854775808", ERROR),
    (conversions.to_int, "0" * 10_000 + "1", 1),
    *((conversions.to_int, bad, ERROR) for bad in ("", " 1", "1 ", "1_000", "0x10", "1.0", "१")),
    *((conversions.to_int, bad, ERROR) for bad in ("1e3", "--1", "+", "1\x00", "1\n")),
    (conversions.to_uint, "18446744073709551615", Uint(UINT64_MAX)),
    *((conversions.to_uint, bad, ERROR) for bad in ("-1", "+1", "18446744073709551616", "1u")),
    (conversions.to_double, "1e3", 1000.0),
    (conversions.to_double, ".5", 0.5),
    (conversions.to_double, "-Infinity", -math.inf),
    *((conversions.to_double, bad, ERROR) for bad in ("1_0", "1e400", "0x1p3", " 1", "1,5", "½")),
    *((conversions.to_double, bad, ERROR) for bad in ("infinit", "nan1", "e1", ".", "1e", "1\n")),
    (conversions.to_bool, "t", True),
    *((conversions.to_bool, bad, ERROR) for bad in ("T", "yes", "tRUE", "", "01")),
    (conversions.to_timestamp, "1970-01-01T00:00:00Z", Timestamp(0)),
    (conversions.to_timestamp, "1970-01-01T01:00:00.000000001+01:00", Timestamp(1)),
    (conversions.to_timestamp, "1969-12-31T23:59:59.999999999Z", Timestamp(-1)),
    (conversions.to_timestamp, "2000-02-29T00:00:00Z", Timestamp(951_782_400 * NANOS)),
    (conversions.to_timestamp, "0001-01-01T00:00:00+00:01", ERROR),
    *(
        (conversions.to_timestamp, bad, ERROR)
        for bad in (
            "2001-02-29T00:00:00Z",
            "2001-02-20T24:00:00Z",
            "2001-02-20T23:60:00Z",
            "2001-02-20T23:59:60Z",
            "2001-02-20T23:59:59+24:00",
            "2001-02-20T23:59:59+01:60",
            "2001-02-20T23:59:59+0100",
            "2001-02-20T23:59:59",
            "2001-02-20",
            "2001-02-20 23:59:59Z",
            "2001-02-20T23:59:59.Z",
            "\uff12001-02-20T23:59:59Z",
            "2001-02-20T23:59:59Z\n",
            "2001-02-20T23:59:59." + "0" * 200 + "Z",
        )
    ),
    (conversions.to_duration, "1h30m", Duration(5_400 * NANOS)),
    (conversions.to_duration, "-1.5s", Duration(-3 * NANOS // 2)),
    (conversions.to_duration, "0", Duration(0)),
    (conversions.to_duration, "1ms1us1ns", Duration(1_001_001)),
    (conversions.to_duration, "315576000000s", Duration(315_576_000_000 * NANOS)),
    *(
        (conversions.to_duration, bad, ERROR)
        for bad in ("", "-", "1", "1d", "s", ".s", "1s ", "1h-1s", "315576000001s", "1 s", "1S")
    ),
    (conversions.to_duration, "1s" * 100, ERROR),
]


@pytest.mark.parametrize(
    ("convert", "given_text", "want"), TEXTS, ids=[f"{c[0].__name__}-{c[1][:24]!r}" for c in TEXTS]
)
def test_texts_are_converted_strictly(convert: Any, given_text: str, want: Any) -> None:
    """What is not plainly a number, a time or a span is an error."""
    metered = convert in {conversions.to_int, conversions.to_uint, conversions.to_double}
    arguments = (given_text, meter()) if metered else (given_text,)
    if want is ERROR:
        with pytest.raises(CelError):
            convert(*arguments)
    else:
        assert tagged(convert(*arguments)) == tagged(want)


@given(st.integers(-62_135_596_800 * NANOS, 253_402_300_799 * NANOS + NANOS - 1))
def test_timestamps_survive_text(ns: int) -> None:
    """A timestamp's text reads back to the same nanosecond."""
    written = conversions.to_string(Timestamp(ns), meter())
    assert conversions.to_timestamp(written) == Timestamp(ns)


@given(st.floats())
def test_doubles_survive_text(value: float) -> None:
    """A double's text reads back to the same double."""
    back = conversions.to_double(conversions.to_string(value, meter()), meter())
    assert repr(back) == repr(value)


@given(st.text(max_size=40))
def test_no_text_breaks_a_conversion(junk: str) -> None:
    """Any text is a value or a `CelError` to every reader of texts, never another exception."""
    for convert in (conversions.to_int, conversions.to_uint, conversions.to_double):
        try:
            convert(junk, meter())
        except CelError:
            continue
    for read in (conversions.to_bool, conversions.to_timestamp, conversions.to_duration):
        try:
            read(junk)
        except CelError:
            continue
    try:
        text.matches(junk, junk, meter())
        moments.offset_seconds(0, junk, meter())
    except CelError:
        return


def test_zones_follow_their_rules_and_no_file_name_is_one() -> None:
    """Offsets of named zones, to the ends of time; a path is not a zone."""
    summer, winter = 1_783_000_000 * NANOS, 1_768_000_000 * NANOS
    assert moments.offset_seconds(summer, "Europe/Zurich", meter()) == 7_200
    assert moments.offset_seconds(winter, "Europe/Zurich", meter()) == 3_600
    assert moments.offset_seconds(winter, "-02:30", meter()) == -9_000
    year = moments.part_of("getFullYear")
    last, first = Timestamp(253_402_300_799 * NANOS), Timestamp(-62_135_596_800 * NANOS)
    assert year(last, "Asia/Tokyo", meter()) == 10_000
    assert year(first, "America/New_York", meter()) == 0
    for bad in ("../zones", "/etc/passwd", "europe/zurich", "+24:00", "1:60", "EST5EDT/../UTC"):
        with pytest.raises(CelError):
            moments.offset_seconds(0, bad, meter())


def test_work_is_charged_by_what_it_touches() -> None:
    """Units grow with elements, code points and patterns; small work is free."""

    def units(call: Any, *arguments: Any) -> int:
        left = meter()
        call(*arguments, left)
        return PLENTY - left[0]

    assert units(semantics.equal, "a" * 6_400, "a" * 6_400) == 100
    assert units(semantics.equal, "a" * 6_400, "a" * 6_401) == 0
    assert units(semantics.equal, [1] * 500, [1] * 500) == 500
    assert units(semantics.equal, {"a": [1] * 9}, {"a": [1] * 9}) == 10
    assert units(semantics.add, "a" * 800, "b" * 800) == 100
    assert units(semantics.add, [1] * 30, [2] * 12) == 42
    assert units(containers.contained, 5, [1] * 70) == 70
    assert units(semantics.less, "a" * 640, "b" * 6_400) == 10
    assert units(text.contains, "a" * 1_600, "b") == 100
    assert units(text.matches_known, "a" * 1_600, "a") == 101
    assert units(text.matches, "a" * 1_600, "a") == 1_101
    assert units(text.matches_known, "a" * 1_600, "(a?){100}") == 101 * (1 + 404 // 16)
    assert units(conversions.to_string, b"a" * 160) == 10


def test_spent_budget_stops_before_the_work() -> None:
    """The charge comes first: too large a concatenation is never made."""
    with pytest.raises(BudgetSpentError):
        semantics.add("a" * 1_000, "b" * 1_000, [124])


def test_catastrophic_pattern_is_linear(checker: Checker) -> None:
    """A pattern that kills backtracking engines is nothing to RE2."""
    assert evaluate(checker, "d.matches('(a+)+$')", d="a" * 20_000 + "b") is False


@pytest.mark.parametrize(
    "pattern", ["(a?){1000}a{1000}", "(a{1,30}){1,30}", r"\\pL{300}\\pN{300}", "(.{1,1000}){1}"]
)
def test_costly_pattern_spends_or_is_refused(pattern: str) -> None:
    """The costliest patterns known, on the longest text of a request: no half second of work."""
    start = time.process_time()
    with pytest.raises((BudgetSpentError, CelError)):
        text.matches("ab" * 131_072, pattern, [100_000])
    assert time.process_time() - start < 0.5


def test_patterns_from_data_run_out_of_budget(checker: Checker) -> None:
    """A list of hostile patterns is charged for compiling them, in either tier."""
    source = "d.exists(p, 'x'.matches(p))"
    tiers = Tiers(decode(checker.check(source, {"d": "dyn"}).checked_expr, source))
    patterns = {"d": [f"(y?){{{at}}}y" for at in range(2, 500)]}
    assert tiers.exact(patterns).kind == "spent"
    assert tiers.fast(patterns).kind == "left"


@given(st.lists(st.one_of(st.booleans(), st.integers(-3, 3), st.text(max_size=2))))
def test_maps_keep_bool_and_int_keys_apart(given_keys: list[Any]) -> None:
    """As many entries as distinct CEL keys, and each found by its key alone."""
    distinct = {(type(key).__name__, key): key for key in given_keys}
    made = make_map([(key, tagged(key)) for key in distinct.values()])
    assert len(made) == len(distinct)
    assert all(containers.index(made, key) == tagged(key) for key in distinct.values())
