"""Semantic versions: the order of the specification, and what is none."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import semver as library
from pdp.cel.opaque import Semver
from pdp.cel.values import CelError
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter

# The examples of SemVer 2.0.0, item 11, lowest first.
ORDERED = (
    "0.0.0-0", "0.0.0", "0.9.0", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
    "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1",
)  # fmt: skip
NUMBERS = st.integers(0, 12).map(str)
IDENTIFIERS = st.from_regex(r"0|[1-9][0-9]?|[0-9]?[a-c-][0-9a-c]?", fullmatch=True)
VERSIONS = st.builds(
    lambda core, pre, build: ".".join(core) + ("-" + ".".join(pre) if pre else "") + build,
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.lists(IDENTIFIERS, max_size=3),
    st.sampled_from(["", "+1", "+0.0-a"]),
)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def order(one: str, two: str) -> int:
    """-1, 0 or 1."""
    function = next(row for row in library.LIBRARY.functions if row.name == "compareTo")
    return int(function.call(library.read_version(one), library.read_version(two), meter()))


def test_precedence_is_that_of_the_specification() -> None:
    """Every pair of the specification's examples, in both directions."""
    for (i, one), (j, two) in itertools.product(enumerate(ORDERED), repeat=2):
        assert order(one, two) == (i > j) - (i < j), (one, two)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_precedence_is_a_total_order(one: str, two: str, three: str) -> None:
    """Antisymmetric, transitive, zero exactly where `==` holds; the build never counts."""
    assert order(one, two) == -order(two, one)
    assert (order(one, two) == 0) is (library.read_version(one) == library.read_version(two))
    if order(one, two) <= 0 and order(two, three) <= 0:
        assert order(one, three) <= 0
    assert order(one.partition("+")[0] + "+x", one) == 0
    assert hash(library.read_version(one.partition("+")[0])) == hash(library.read_version(one))


@given(VERSIONS, VERSIONS)
def test_a_range_is_its_comparators(one: str, two: str) -> None:
    """Of versions that are released, a comparator says what `compareTo` says."""
    one, two = one.partition("-")[0].partition("+")[0], two.partition("-")[0].partition("+")[0]
    version = library.read_version(one)
    expected = {"<": -1, "=": 0, ">": 1}
    for operator, wanted in expected.items():
        got = library.satisfies(version, f"{operator}{two}", meter())
        assert got is (order(one, two) == wanted)
        both = library.satisfies(version, f"{operator}{two} >={two}", meter())
        assert both is (got and order(one, two) >= 0)


NOT_VERSIONS = [
    "", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+",
    "1.2.3-01", "1.2.3-a..b", "1.2.3+a..b", "1.2.3-a_b",
    " 1.2.3", "1.2.3 ", "1.2.3\n", "1.2.3\x00", "-1.2.3",
    "1.-2.3", "1.2.3-\u0430", "\uff11.2.3", "1.2.9223372036854775808", "1.2.3-" + "a" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_VERSIONS, ids=lambda text: repr(text)[:20])
def test_what_is_no_version_is_an_error(checker: Checker, text: str) -> None:
    """Short, prefixed, padded, with zeros in front, out of range: refused, not guessed at."""
    assert evaluate(checker, "isSemver(d)", d=text) is False
    assert evaluate(checker, "semver(d)", d=text) is ERROR
    assert evaluate(checker, "semver('1.0.0').satisfies('>=' + d)", d=text) is ERROR


@given(st.text(max_size=30) | st.text("0123456789.-+ab<>= ", max_size=30))
def test_any_text_is_a_version_a_range_or_an_error(text: str) -> None:
    """Fuzz: what is read is written back; nothing but `CelError` comes out."""
    with contextlib.suppress(CelError):
        assert str(library.read_version(text)) == text
    with contextlib.suppress(CelError):
        assert library.read_range(text)


def test_a_pre_release_slips_in_twin_without_guard() -> None:
    """By precedence alone, `2.0.0-alpha` is less than `2.0.0`, so `<2.0.0` would take it."""
    alpha = library.read_version("2.0.0-alpha")
    ((test, limit),) = library.read_range("<2.0.0")
    assert test(order(str(alpha), str(limit)))
    assert not library.satisfies(alpha, "<2.0.0", meter())
    assert type(alpha) is Semver


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("semver(d).isLessThan(semver('1.10.0'))", {"d": "1.9.0"}, True),
    ("semver(d).isGreaterThan(semver('1.0.0-rc.1'))", {"d": "1.0.0"}, True),
    ("semver(d).compareTo(semver('1.0.0'))", {"d": "1.0.0-rc"}, -1),
    ("semver(d) == semver('1.0.0+b')", {"d": "1.0.0+a"}, True),
    ("semver(d) in [semver('1.0.0')]", {"d": "1.0.0+a"}, True),
    ("semver(d).major() * 100 + semver(d).minor() * 10 + semver(d).patch()", {"d": "1.2.3"}, 123),
    ("semver(d).satisfies('>=1.2.0 <2.0.0')", {"d": "1.9.9"}, True),
    ("semver(d).satisfies('>=1.2.0 <2.0.0')", {"d": "2.0.0"}, False),
    ("semver(d).satisfies('>=1.2.0 <2.0.0')", {"d": "2.0.0-alpha"}, False),
    ("semver(d).satisfies('>=2.0.0-alpha <2.0.0')", {"d": "2.0.0-beta"}, True),
    ("semver(d).satisfies('=1.2.3')", {"d": "1.2.3+x"}, True),
    ("semver('1.2.3').satisfies(d)", {"d": ""}, ERROR),
    ("semver('1.2.3').satisfies(d)", {"d": "1.2.3"}, ERROR),
    ("semver('1.2.3').satisfies(d)", {"d": ">=1.2.3  <2.0.0"}, ERROR),
    ("semver('1.2.3').satisfies(d)", {"d": " ".join(["=1.2.3"] * 17)}, ERROR),
    ("semver('1.2.3').satisfies(d)", {"d": 7}, ERROR),
    ("type(semver(d)) == semver.Version", {"d": "1.2.3"}, True),
    ("string(semver(d))", {"d": "1.2.3+b"}, "1.2.3+b"),
    ("semver(d)", {"d": 1}, ERROR),
    ("d.major()", {"d": "1.2.3"}, ERROR),
]
MISTAKES = [
    ("semver('v1.2.3') == semver(s)", 8, "not a semantic version"),
    ("semver(s).satisfies('>=1.2')", 21, "not a semantic version"),
    ("semver(s).satisfies('1.2.3')", 21, "not a range"),
    ("semver(s).isLessThan('1.2.3')", 21, "`isLessThan` cannot take"),
    ("semver(s) < semver(s)", 11, "`<` cannot take"),
    ("semver(1.2)", 7, "`semver` cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_versions_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_versions_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
