"""Texts that people write: normal form, case folding, one Unicode on every Python."""

from __future__ import annotations

import hashlib
import itertools
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import unicode as library
from pdp.cel.library.unicode_unassigned import BOUNDS
from pdp.cel.values import CelError
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter, units

TEXTS = st.text(max_size=40) | st.text(
    "aAäÄßẞéeE\u0301\u0327\u0345\u03c3\u03c2\u03a3İ\u0131Iiǅ\u1e9b\u0323", max_size=12
)
HOLES = ["\ud800", "a\udfff", "\u0378", "\U000e0080", "\U0010ffff", "\ufdd0"]
# Of each code point that Unicode 14.0 assigns, folded and normalised, in order.
DIGEST = "0b7f51a7cf58941489af5bc515f6f84f51f3eaa3750854daf693673fab60f718"


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def assigned() -> Iterator[str]:
    """Every character that is let through."""
    for start, end in itertools.pairwise((0, *BOUNDS)):
        if not _is_hole(start):
            yield from map(chr, range(start, end))


def _is_hole(start: int) -> bool:
    return start in BOUNDS[::2]


def test_one_unicode_on_every_python() -> None:
    """What is let through folds to the same on this Python as on the one with Unicode 14.0."""
    digest = hashlib.sha256()
    for character in assigned():
        folded = unicodedata.normalize("NFD", character).casefold()
        for text in (unicodedata.normalize("NFC", character), unicodedata.normalize("NFC", folded)):
            digest.update(text.encode("utf-8"))
    assert digest.hexdigest() == DIGEST


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="the table is of Unicode 14.0")
def test_the_table_is_that_of_unicode() -> None:
    """Made again from `unicodedata`: unassigned code points and surrogates, no others."""
    holes = [unicodedata.category(chr(point)) in {"Cn", "Cs"} for point in range(0x110000)]
    changes = [at for at, hole in enumerate(holes) if hole != (holes[at - 1] if at else False)]
    assert tuple(changes) == BOUNDS


@given(TEXTS, TEXTS)
def test_folding_and_normalising_are_settled_at_once(one: str, two: str) -> None:
    """Both are idempotent; folding is normal, and what is canonically equal folds alike."""
    try:
        folded, normal = library.case_fold(one, meter()), library.normalize_nfc(one, meter())
    except CelError:
        return
    assert library.case_fold(folded, meter()) == folded
    assert library.normalize_nfc(normal, meter()) == normal
    assert library.normalize_nfc(folded, meter()) == folded
    assert library.case_fold(normal, meter()) == folded
    assert library.case_fold(unicodedata.normalize("NFD", one), meter()) == folded
    assert unicodedata.normalize("NFD", normal) == unicodedata.normalize("NFD", one)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Straße", "STRASSE"), ("É", "e\u0301"), ("\u00c5", "\u212b"), ("K", "\u212a"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("Ǆ", "ǆ"), ("ADMIN", "admin"), ("ﬁ", "FI"),
        ("\u1fb3", "\u0391\u0399"), ("\u03b1\u0345\u0301", "\u1fb4"),
    ],
)  # fmt: skip
def test_texts_that_match_without_case(one: str, two: str) -> None:
    """Pairs that ASCII lower case keeps apart."""
    assert library.case_fold(one, meter()) == library.case_fold(two, meter())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        # Turkish: the dotted capital is no plain i, and the dotless one neither.
        ("İ", "i"), ("\u0131", "i"), ("\u0131", "I"),
        # Letters of other alphabets that look the same.
        ("\u0430dmin", "admin"), ("\uff41dmin", "admin"),
        # What cannot be seen is there.
        ("ad\u200bmin", "admin"), ("admin\x00", "admin"), ("admin ", "admin"),
    ],
)  # fmt: skip
def test_texts_that_do_not_match_without_case(one: str, two: str) -> None:
    """Folding is no search for look-alikes, and knows no country."""
    assert library.case_fold(one, meter()) != library.case_fold(two, meter())


@pytest.mark.parametrize("text", HOLES)
def test_what_unicode_does_not_assign_is_an_error(checker: Checker, text: str) -> None:
    """A later Python may give it a meaning; noncharacters and half characters never have one."""
    assert evaluate(checker, "d.normalizeNFC()", d=text) is ERROR
    assert evaluate(checker, "d.caseFold()", d=text) is ERROR


def test_the_worst_text_takes_what_it_is_charged(checker: Checker) -> None:
    """Marks that have to be sorted, as many as are taken: milliseconds. More are refused."""
    worst = "a" + "\u0301" * 511 + "\u0316" * 512
    started = time.perf_counter()
    library.case_fold(worst, meter())
    assert time.perf_counter() - started < 0.5
    assert units(checker, "d.caseFold()", d=worst) == 2 + 64 + 1_024 + 4_096
    assert evaluate(checker, "d.caseFold()", d=worst + "a") is ERROR
    assert evaluate(checker, "d.caseFold()", d="A" * 100_000) == "a" * 100_000


def test_the_worst_text_twin_without_guard() -> None:
    """Without the bound, time grows by the square of the length."""
    times = []
    for count in (2_000, 8_000):
        text = "a" + "\u0301" * count + "\u0316" * count
        started = time.perf_counter()
        unicodedata.normalize("NFC", text)
        times.append(time.perf_counter() - started)
    assert times[1] > 6 * times[0]


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("d.caseFold() == 'straße'.caseFold()", {"d": "STRASSE"}, True),
    ("d.normalizeNFC() == '\u00e9'", {"d": "e\u0301"}, True),
    ("d == '\u00e9'", {"d": "e\u0301"}, False),
    ("d.exists(x, x.caseFold() == 'ops')", {"d": ["OPS"]}, True),
    ("d.caseFold()", {"d": b"a"}, ERROR),
    ("d.normalizeNFC()", {"d": 7}, ERROR),
]
MISTAKES = [
    ("s.caseFold() == '\\u0378'.caseFold()", 17, "does not assign"),
    ("b'a'.caseFold() == s", 14, "`caseFold` cannot take"),
    ("s.caseFold('tr') == s", 11, "`caseFold` is not called like this"),
    ("s.casefold() == s", 11, "`casefold` is not defined"),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_texts_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(("source", "column", "words"), MISTAKES)
def test_a_mistake_about_texts_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, and literals that can never be right: with their place."""
    assert_refused(checker, source, column, words)
