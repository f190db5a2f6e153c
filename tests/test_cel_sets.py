"""Lists as sets: their laws, with CEL's equality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel import semantics
from pdp.cel.cost import BudgetSpentError
from pdp.cel.library import sets as library
from pdp.values import Uint
from tests.cel_library import ERROR, assert_refused, assert_value, meter, units

SCALARS = st.sampled_from(
    [0, 1, Uint(1), 1.0, True, False, None, "a", "b", "c" * 70, [1], {"a": 1}]
)
LISTS = st.lists(SCALARS, max_size=5) | st.lists(st.sampled_from("abc"), max_size=5)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


@given(LISTS, LISTS, LISTS)
def test_sets_have_the_laws_of_sets(one: list[Any], two: list[Any], three: list[Any]) -> None:
    """Containment is a partial order up to equivalence; intersection is symmetric."""

    def contains(whole: list[Any], part: list[Any]) -> bool:
        return library.contains(whole, part, meter())

    assert contains(one, one)
    assert contains(one, [])
    assert library.equivalent(one, two, meter()) is (contains(one, two) and contains(two, one))
    if contains(one, two) and contains(two, three):
        assert contains(one, three)
    assert library.intersects(one, two, meter()) is library.intersects(two, one, meter())
    assert library.intersects(one, two, meter()) is any(contains(two, [item]) for item in one)
    assert library.equivalent(one, [*reversed(one), *one], meter())


@given(LISTS, LISTS)
def test_elements_are_equal_as_in_conditions(one: list[Any], two: list[Any]) -> None:
    """Elements compare by CEL's `==`: `1`, `1u` and `1.0` are one element, `true` is another."""
    expected = all(any(semantics.equal(a, b, meter()) for b in one) for a in two)
    assert library.contains(one, two, meter()) is expected


def test_large_sets_are_charged_before_the_work(checker: Checker) -> None:
    """Short strings by their number, all else by pairs; beyond the budget nothing is compared."""
    names = [f"user-{n}" for n in range(1_000)]
    assert units(checker, "sets.contains(d, e)", d=names, e=names) == 3 + 2_000
    with pytest.raises(BudgetSpentError):
        library.contains([*range(1_000)], [*range(1_000)], [100_000])


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("sets.contains(d, ['a'])", {"d": ["a", "b"]}, True),
    ("sets.contains(['a', 'b'], d)", {"d": ["b", "a", "b"]}, True),
    ("sets.contains(d, ['a', 'c'])", {"d": ["a", "b"]}, False),
    ("sets.equivalent(d, [1, 1u, 1.0])", {"d": [1]}, True),
    ("sets.equivalent(d, ['a'])", {"d": []}, False),
    ("sets.intersects(d, ['a'])", {"d": []}, False),
    ("sets.intersects(d, [[1]])", {"d": [[1.0]]}, True),
    ("sets.intersects(d, [1])", {"d": [True]}, False),
    ("sets.contains(d, ['a'])", {"d": "a"}, ERROR),
    ("sets.contains(d, ['a'])", {"d": {"a": 1}}, ERROR),
]
MISTAKES = [
    ("sets.contains(s, ['a'])", 14, "cannot take"),
    ("sets.contains(['a'], [1])", 14, "cannot take"),
    ("['a'].contains(['a'])", 15, "cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_sets_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_sets_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
