"""Places in a tree: the laws of their relations, and texts that are no places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import hierarchy as library
from pdp.cel.opaque import Hierarchy
from pdp.cel.values import CelError
from tests.cel_library import ERROR, assert_refused, assert_value, meter

PLACES = st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(
    lambda names: library.hierarchy(names, meter())
)
RELATIONS = {function.name: function.call for function in library.LIBRARY.functions}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def holds(relation: str, one: Hierarchy, two: Hierarchy) -> bool:
    """One relation."""
    return bool(RELATIONS[relation](one, two, meter()))


@given(PLACES, PLACES)
def test_relations_have_their_inverses(one: Hierarchy, two: Hierarchy) -> None:
    """Ancestor and descendant, parent and child turn round; sibling and overlap are symmetric."""
    assert holds("isAncestorOf", one, two) is holds("isDescendantOf", two, one)
    assert holds("isParentOf", one, two) is holds("isChildOf", two, one)
    assert holds("isSiblingOf", one, two) is holds("isSiblingOf", two, one)
    assert holds("overlaps", one, two) is holds("overlaps", two, one)
    assert not holds("isParentOf", one, two) or holds("isAncestorOf", one, two)
    related = [name for name in ("isAncestorOf", "isDescendantOf", "isSiblingOf")
               if holds(name, one, two)]  # fmt: skip
    assert len(related) + (one == two) <= 1
    assert holds("overlaps", one, two) is (one == two or bool({*related} - {"isSiblingOf"}))


@given(PLACES, PLACES, PLACES)
def test_ancestry_is_a_strict_order(one: Hierarchy, two: Hierarchy, three: Hierarchy) -> None:
    """Nothing is its own ancestor, and an ancestor of an ancestor is one."""
    assert not holds("isAncestorOf", one, one)
    assert not holds("isSiblingOf", one, one)
    if holds("isAncestorOf", one, two) and holds("isAncestorOf", two, three):
        assert holds("isAncestorOf", one, three)


@given(PLACES, PLACES)
def test_a_common_ancestor_is_the_deepest(one: Hierarchy, two: Hierarchy) -> None:
    """It holds both, and one level further down it would not; without one it is an error."""
    try:
        shared = library.common_ancestor(one, two, meter())
    except CelError:
        assert one.segments[0] != two.segments[0]
        return
    depth = len(shared.segments)
    assert one.segments[:depth] == two.segments[:depth] == shared.segments
    assert one == two or one.segments[: depth + 1] != two.segments[: depth + 1]


@given(st.text(max_size=30) | st.text("ab.", max_size=12), st.text(max_size=9))
def test_any_text_is_a_place_or_an_error(text: str, separator: str) -> None:
    """Fuzz: what is read reads back as itself."""
    for by in (".", separator):
        try:
            made = library.hierarchy_by(text, by, meter())
        except CelError:
            continue
        assert by != "." or library.hierarchy(text, meter()) == made
        assert str(made) == text
        assert all(made.segments)


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("hierarchy('a.b').isAncestorOf(hierarchy(d))", {"d": "a.b.c"}, True),
    ("hierarchy('a.b').isAncestorOf(hierarchy(d))", {"d": "a.bc"}, False),
    ("hierarchy('a/b', '/').isAncestorOf(hierarchy(d, '/'))", {"d": "a/b/c"}, True),
    ("hierarchy(d).isDescendantOf(hierarchy(['a', 'b.c']))", {"d": ["a", "b.c", "d"]}, True),
    ("hierarchy('a.b') == hierarchy(d, ':')", {"d": "a:b"}, True),
    ("string(hierarchy(d, ':'))", {"d": "a:b"}, "a:b"),
    ("hierarchy(d).depth()", {"d": "a.b.c"}, 3),
    ("string(hierarchy(d).commonAncestor(hierarchy('a.b.x')))", {"d": "a.b.c"}, "a.b"),
    ("hierarchy(d).commonAncestor(hierarchy('b'))", {"d": "a"}, ERROR),
    ("type(hierarchy(d)) == hierarchy.Path", {"d": "a"}, True),
    ("hierarchy(d)", {"d": ""}, ERROR),
    ("hierarchy(d)", {"d": "a..b"}, ERROR),
    ("hierarchy(d)", {"d": ".a"}, ERROR),
    ("hierarchy(d)", {"d": []}, ERROR),
    ("hierarchy(d)", {"d": ["a", ""]}, ERROR),
    ("hierarchy(d)", {"d": ["a", 7]}, ERROR),
    ("hierarchy(d)", {"d": 7}, ERROR),
    ("hierarchy(d)", {"d": ".".join("a" * 65)}, ERROR),
    ("hierarchy(d)", {"d": ["a"] * 65}, ERROR),
    ("hierarchy(d)", {"d": "a" * 5_000}, ERROR),
    ("hierarchy('a', d)", {"d": ""}, ERROR),
    ("hierarchy('a', d)", {"d": "." * 9}, ERROR),
    ("hierarchy('A.b') == hierarchy(d)", {"d": "a.b"}, False),
]
MISTAKES = [
    ("hierarchy('a..b').isAncestorOf(hierarchy(s))", 11, "an empty name"),
    ("hierarchy(s).isAncestorOf('a.b')", 26, "`isAncestorOf` cannot take"),
    ("hierarchy(s, '') == hierarchy(s)", 14, "a separator"),
    ("s.isAncestorOf(s)", 15, "`isAncestorOf` cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_hierarchies_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_hierarchies_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
