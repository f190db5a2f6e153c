"""SPIFFE IDs in conditions: read as the server reads them, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import spiffe as library
from pdp.cel.values import CelError
from pdp.errors import IdentityError
from pdp.identity.spiffe_id import parse_spiffe_id
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter

LIKELY = st.from_regex(r"spiffe://[a-zA._%-]{0,4}(?:/[a-zA._%-]{0,3}){0,3}", fullmatch=True)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


@given(st.text(max_size=30) | LIKELY)
@example("spiffe://td/")
@example("spiffe://td/a/..")
@example("spiffe://td/a\n")
@example("spiffe://td\n")
def test_ids_are_read_as_the_server_reads_them(text: str) -> None:
    """The same workloads, in the same parts; here a trust domain alone is an ID too."""
    try:
        made = library.read_spiffe_id(text)
    except CelError:
        with pytest.raises(IdentityError):
            parse_spiffe_id(text)
        return
    assert str(made) == text
    if made.path:
        known = parse_spiffe_id(text)
        assert (known.trust_domain, known.path) == (made.trust_domain, made.path)


@given(LIKELY, LIKELY)
def test_under_is_whole_segments_of_one_trust_domain(one: str, other: str) -> None:
    """`isUnder` is "begins with the other and a slash", and never holds of itself."""
    try:
        first, second = library.read_spiffe_id(one), library.read_spiffe_id(other)
    except CelError:
        return
    assert library.is_under(first, second, meter()) is one.startswith(f"{other}/")
    assert library.is_under(first, other, meter()) is one.startswith(f"{other}/")
    assert not library.is_under(first, first, meter())


NOT_IDS = [
    "", "spiffe://", "spiffe:///a", "SPIFFE://td/a", "https://td/a", "spiffe://TD/a", "spiffe://td/",
    "spiffe://td//a", "spiffe://td/a/", "spiffe://td/.", "spiffe://td/../x", "spiffe://td/a/./b",
    "spiffe://td:443/a", "spiffe://u@td/a", "spiffe://td/a?x", "spiffe://td/a#x", "spiffe://td/a%2fb",
    "spiffe://td/a b", "spiffe://td/a\x00", "spiffe://td/\u0430", " spiffe://td/a", "spiffe://td/a\n",
    "spiffe://" + "a" * 256 + "/a", "spiffe://td/" + "a" * 2_048,
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_IDS, ids=lambda text: repr(text)[:24])
def test_what_is_no_id_is_an_error(checker: Checker, text: str) -> None:
    """Nothing is normalised, so nothing can be normalised into someone else."""
    assert evaluate(checker, "isSpiffeID(d)", d=text) is False
    assert evaluate(checker, "spiffeID(d)", d=text) is ERROR
    assert evaluate(checker, "spiffeID('spiffe://td/a').isUnder(d)", d=text) is ERROR


def test_a_neighbour_is_not_under_twin_without_guard() -> None:
    """Comparing texts alone, `/ns/production` would be under `/ns/prod`."""
    text, above = "spiffe://td/ns/production", "spiffe://td/ns/prod"
    assert text.startswith(above)
    assert not library.is_under(library.read_spiffe_id(text), above, meter())


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("spiffeID(d).trustDomain()", {"d": "spiffe://example.org/ns/prod"}, "example.org"),
    ("spiffeID(d).path()", {"d": "spiffe://example.org/ns/prod"}, "/ns/prod"),
    ("spiffeID(d).path()", {"d": "spiffe://example.org"}, ""),
    ("spiffeID(d).isUnder('spiffe://td/ns/prod')", {"d": "spiffe://td/ns/prod/shop"}, True),
    ("spiffeID(d).isUnder('spiffe://td/ns/prod')", {"d": "spiffe://td/ns/production"}, False),
    ("spiffeID(d).isUnder('spiffe://td/ns/prod')", {"d": "spiffe://td/ns/prod"}, False),
    ("spiffeID(d).isUnder('spiffe://td')", {"d": "spiffe://td/a"}, True),
    ("spiffeID(d).isUnder(spiffeID('spiffe://td.evil'))", {"d": "spiffe://td/a"}, False),
    ("spiffeID(d).inTrustDomain('td')", {"d": "spiffe://td/a"}, True),
    ("spiffeID('spiffe://td/a').inTrustDomain(d)", {"d": "TD"}, ERROR),
    ("spiffeID(d) == spiffeID('spiffe://td/a')", {"d": "spiffe://td/A"}, False),
    ("type(spiffeID(d)) == spiffe.ID", {"d": "spiffe://td/a"}, True),
    ("string(spiffeID(d))", {"d": "spiffe://td/a"}, "spiffe://td/a"),
    ("spiffeID(d)", {"d": 7}, ERROR),
]
MISTAKES = [
    ("spiffeID(s).isUnder('spiffe://TD/ns')", 21, "not a SPIFFE ID"),
    ("spiffeID('example.org/a') == spiffeID(s)", 10, "not a SPIFFE ID"),
    ("spiffeID(s).inTrustDomain('spiffe://td')", 27, "not a trust domain"),
    ("spiffeID(s) == s", 13, "`==` cannot take"),
    ("s.trustDomain() == 'td'", 14, "`trustDomain` cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_spiffe_ids_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_spiffe_ids_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
