"""Patterns of paths: against a plain recursive oracle, and ways around a pattern."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import paths
from pdp.cel.values import CelError
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter, units

SEGMENTS = st.lists(st.sampled_from(["a", "b", "c", "*"]).filter(lambda s: s != "*"), max_size=8)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "**"]), max_size=6)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def oracle(segments: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """What the two wildcards mean, said in the shortest way, however long it takes."""
    if not pattern:
        return not segments
    if pattern[0] == "**":
        return any(oracle(segments[n:], pattern[1:]) for n in range(len(segments) + 1))
    return bool(segments) and pattern[0] in {"*", segments[0]} and oracle(segments[1:], pattern[1:])


@given(SEGMENTS, PATTERNS)
def test_a_pattern_matches_what_its_wildcards_mean(segments: list[str], pattern: list[str]) -> None:
    """The greedy matcher and the recursive definition agree."""
    text, wanted = "/" + "/".join(segments), "/" + "/".join(pattern)
    expected = oracle(tuple(segments), tuple(pattern))
    assert paths.matches_path(text, wanted, meter()) is expected
    assert paths.matches_path(text, paths.read_pattern(wanted), meter()) is expected


AMBIGUOUS = [
    "", "//", "/a//b", "a//b", "/a/", "a/", "/.", "/..", "/a/../secret", "../secret", "/a/./b",
    "/a/..", "/%2e%2e/secret", "/a%2fb", "/a%2Fb", "/a%252fb", "/%c0%af", "/a\\b", "\\secret",
    "/a\x00", "/a\n", "/\x7f", "/secret?x=1", "/secret#x", "/secret;x=1", "/" + "a/" * 256 + "a",
    "/" + "a" * 4_096,
]  # fmt: skip


@pytest.mark.parametrize("text", AMBIGUOUS, ids=lambda text: repr(text)[:20])
def test_a_path_that_can_be_read_in_two_ways_is_an_error(checker: Checker, text: str) -> None:
    """Neither a match nor a miss: a deny rule about it is in doubt, a permit rule does not help."""
    assert evaluate(checker, "d.matchesPath('/**')", d=text) is ERROR
    assert evaluate(checker, "d.matchesPath('**')", d=text) is ERROR
    assert evaluate(checker, "'/a'.matchesPath(d)", d=text) is ERROR


@pytest.mark.parametrize("text", ["/a/../secret", "/secret;x=1", "/%73ecret"])
def test_a_path_that_can_be_read_in_two_ways_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Without the refusal, a path that a server takes for `/secret` misses the rule about it."""

    def split(given: str, _most: int) -> paths.Path:
        return paths.Path(given.startswith("/"), tuple(given.removeprefix("/").split("/")))

    monkeypatch.setattr(paths, "_read", split)
    assert not paths.matches_path(text, "/secret/**", meter())


@pytest.mark.parametrize(
    "text",
    ["/docs\uff0fa", "/docs\u2215a", "/docs\u2044a", "/d\u043ecs/a", "/DOCS/a", "/docs\u200b/a"],
)
def test_look_alikes_are_other_characters(text: str) -> None:
    """A slash or letter that only looks the same neither separates nor matches."""
    assert not paths.matches_path(text, "/docs/**", meter())
    assert paths.matches_path(text, "/**", meter())


@given(st.text(max_size=40) | st.text("/.*a%", max_size=20), st.text("/.*ab", max_size=20))
def test_any_text_is_a_path_a_pattern_or_an_error(text: str, pattern: str) -> None:
    """Fuzz: a bool or `CelError`, and a path without wildcards matches itself."""
    try:
        got = paths.matches_path(text, pattern, meter())
    except CelError:
        got = False
    assert got in {True, False}
    with contextlib.suppress(CelError):
        assert "*" in text or paths.matches_path(text, text, meter())


def test_the_worst_pattern_takes_what_it_is_charged(checker: Checker) -> None:
    """63 times `**`, on 256 segments that almost match: milliseconds, and its units."""
    pattern = "/" + "/".join(["**", "a"] * 31 + ["**", "b"])
    text = "/" + "/".join(["a"] * 256)
    started = time.perf_counter()
    assert not paths.matches_path(text, pattern, meter())
    assert time.perf_counter() - started < 0.5
    source = f"d.matchesPath('{pattern}')"
    weight = 3 + len(pattern) // 64
    assert units(checker, source, d=text) == weight + 10 + len(text) // 16 + 256 * 64 // 16


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("d.matchesPath('/docs/*')", {"d": "/docs/a"}, True),
    ("d.matchesPath('/docs/*')", {"d": "/docs/a/b"}, False),
    ("d.matchesPath('/docs/*')", {"d": "/docs"}, False),
    ("d.matchesPath('/docs/**')", {"d": "/docs"}, True),
    ("d.matchesPath('/docs/**')", {"d": "/docsx/a"}, False),
    ("d.matchesPath('/**/drafts/*')", {"d": "/a/b/drafts/c"}, True),
    ("d.matchesPath('/')", {"d": "/"}, True),
    ("d.matchesPath('a/*')", {"d": "a/b"}, True),
    ("d.matchesPath('a/*')", {"d": "/a/b"}, ERROR),
    ("d.matchesPath('/*')", {"d": "/*"}, True),
    ("d.matchesPath('/a')", {"d": 7}, ERROR),
    ("d.matchesPath(d)", {"d": "/a/x*"}, ERROR),
    ("['/a/**', '/b/**'].exists(p, d.matchesPath(p))", {"d": "/b/c"}, True),
]
MISTAKES = [
    ("s.matchesPath('/docs/*.pdf')", 15, "whole segments"),
    ("s.matchesPath('/docs/../x')", 15, "`..`"),
    ("s.matchesPath('/docs/')", 15, "an empty segment"),
    ("s == 'x' || s.matchesPath('/%2e')", 27, "decode it first"),
    ("s.matchesPath(7)", 14, "`matchesPath` cannot take"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_paths_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_paths_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
