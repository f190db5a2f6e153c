"""Libraries as a whole: rows and declarations agree, and no function looks around."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.cel.cost import BudgetSpentError
from pdp.cel.functions import BY_OVERLOAD, LIBRARIES
from pdp.cel.library.network import read_cidr, read_ip
from pdp.cel.library.semver import read_version
from pdp.cel.library.signatures import define
from pdp.cel.opaque import Hierarchy, SpiffeID
from pdp.cel.syntax import Type
from pdp.cel.values import KIND_TYPES, NONE, CelError, Optional
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.values import NANOS, TIMESTAMP_SECONDS_MIN, Duration, Timestamp, Uint
from tests.cel_library import meter, refusal, units
from tests.cel_tiers import Tiers
from tests.conftest import ROOT
from tests.test_language_docs import EXAMPLES, attributes

# `or` and `orValue` are parts of a plan, not functions that are called.
CALLED = [
    row for library in LIBRARIES for row in library.functions if row.name not in {"or", "orValue"}
]


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def test_every_declared_overload_has_its_row() -> None:
    """Of the same name and number of arguments; none twice, and literals only where two are."""
    overloads = [overload for row in _rows() for overload in row.overloads]
    assert len(overloads) == len(set(overloads))
    for library in LIBRARIES:
        for each in library.declarations:
            row = BY_OVERLOAD[each.overload]
            assert (row.name, row.arity) == (each.function, len(each.parameters))
    assert {row.arity for row in _rows() if row.literal} == {2}


def _rows() -> list[Any]:
    return [row for library in LIBRARIES for row in library.functions]


@pytest.mark.parametrize(
    "overloads", [{"a": "string -> bool"}, {"a": "(string)"}, {"a": "(a) -> b", "b": "(a, b) -> b"}]
)
def test_what_is_no_signature_is_not_taken(overloads: dict[str, str]) -> None:
    """A mistake in a table ends the import, not a policy."""
    with pytest.raises(ValueError, match="`"):
        define("f", overloads, len)


def test_no_function_reads_anything_but_its_arguments(checker: Checker) -> None:
    """All examples of the language, evaluated under Python's audit: no file, socket or process."""
    programs = [
        Tiers(decode(checker.check(source, CONDITION_VARIABLES).checked_expr, source))
        for source, _ in EXAMPLES
    ]
    asked, seen = attributes(), _watch()
    for program in programs:
        program.exact(asked)
        program.fast(asked)
        program.fast(asked, fold=False)
    assert list(seen(stop=True)) == []


def test_no_function_reads_anything_but_its_arguments_twin_without_guard() -> None:
    """The audit does see a file that is opened, and a directory that is listed."""
    seen = _watch()
    list(ROOT.iterdir())
    (ROOT / "README.md").read_bytes()
    assert list(seen(stop=True)) == ["os.listdir", "open"]


class _Audit:
    """Events of this thread, until stopped; a hook cannot be taken away again."""

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()
        self.events: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, _arguments: object) -> None:
        if threading.get_ident() == self.thread and event.startswith(
            ("open", "os.", "socket.", "subprocess.", "import", "glob.", "ctypes.", "shutil.")
        ):
            self.events.append(event)

    def __call__(self, *, stop: bool) -> list[str]:
        if stop:
            self.thread = None
        return self.events


def _watch() -> _Audit:
    return _Audit()


@pytest.mark.parametrize(
    "source",
    [
        "cidr('10.0.0.0/33').containsIP(s)",
        "cidr('10.0.0.0/8').containsIP('10.0.0.256')",
        "s.matchesPath('/a//b')",
        "hierarchy('a..b') == hierarchy(s)",
        "semver(s).satisfies('>1')",
        "spiffeID(s).isUnder('td/a')",
        "timestamp(s).isWeekday('Mars/Olympus')",
    ],
)
def test_a_literal_that_can_never_be_right_is_refused(checker: Checker, source: str) -> None:
    """Also where nobody would ever get to it."""
    with pytest.raises(ExpressionError):
        Tiers(decode(checker.check(source, {"s": "string"}).checked_expr, source))
    assert refusal(checker, f"false && ({source})").position is not None


@pytest.mark.parametrize(
    ("literal", "computed"),
    [
        ("d.matchesPath('/a/**')", "d.matchesPath(dyn('/a/**'))"),
        ("semver('1.0.0').satisfies('>=1.0.0')", "semver('1.0.0').satisfies(dyn('>=1.0.0'))"),
        ("spiffeID('spiffe://td/a') == d", "spiffeID(dyn('spiffe://td/a')) == d"),
        ("hierarchy('a.b') == d", "hierarchy(dyn('a.b')) == d"),
    ],
)
def test_a_literal_is_read_before_anybody_asks(
    checker: Checker, literal: str, computed: str
) -> None:
    """The same condition with a text that has to be read each time costs the reading."""
    assert units(checker, computed, d="/a/b") >= units(checker, literal, d="/a/b") + 10


def test_errors_are_the_same_in_every_process() -> None:
    """Another seed of hashes, the same message: explanations are compared and kept."""
    program = (
        "from pdp.cel.library.unicode import case_fold\n"
        "from pdp.cel.values import CelError\n"
        "try: case_fold('\\u0378\\u0379\\u0380\\u0381\\u0382', [10**9])\n"
        "except CelError as error: print(error)\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert said == {"U+0378, which Unicode 14.0 does not assign\n"}


_TEXTS = ["", "a", "10.0.0.1", "10.0.0.0/8", "/a/*", "1.2.3", ">=1.0.0", "spiffe://td/a", "UTC"]
_TEXTS += ["a.b", "Europe/Berlin", "\x00", "\ud800", "é", "a" * 5_000, "%s %d", "-1"]
_SCALARS = [
    None,
    True,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    Uint(0),
    Uint(2**64 - 1),
    0.5,
    math.nan,
    math.inf,
]
_MOMENTS = [Timestamp(0), Timestamp(TIMESTAMP_SECONDS_MIN * NANOS), Duration(-1), Type("int")]
_OPAQUE = [
    read_ip("10.0.0.1"),
    read_ip("::1"),
    read_cidr("10.0.0.0/8"),
    read_version("1.2.3-a.1+b"),
    Hierarchy(("a", "b"), "."),
    SpiffeID("td", ""),
    Optional(1),
    NONE,
]
DATA = st.recursive(
    st.sampled_from([*_TEXTS, *_SCALARS, *_MOMENTS, *_OPAQUE]) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_TEXTS), inner),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=600)
def test_any_values_give_a_value_or_an_error(data: st.DataObject) -> None:
    """Every row of every library, with arguments of any kinds: never another exception."""
    row = data.draw(st.sampled_from(CALLED))
    arguments = data.draw(st.lists(DATA, min_size=row.arity, max_size=row.arity))
    budget = [10_000]
    try:
        value = row.call(*arguments, *([budget] * row.metered))
    except (CelError, BudgetSpentError):
        return
    assert row.result in {None, type(value)}
    assert type(value) in {*KIND_TYPES, Optional}
    assert 0 <= budget[0] <= 10_000


@pytest.mark.parametrize("arguments", [("", "\ud800"), ("\ud800", "a"), ("\ud800", "")])
def test_half_a_character_is_an_error_to_re2_too(arguments: tuple[str, str]) -> None:
    """The boundary refuses such texts; should one get here, `||` absorbs it like any error."""
    row = BY_OVERLOAD["matches"]
    with pytest.raises(CelError):
        row.call(*arguments, meter())
