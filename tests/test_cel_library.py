"""Libraries as a whole: rows and declarations agree, and no function looks around."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.cel.functions import BY_OVERLOAD, LIBRARIES
from pdp.cel.library.signatures import define
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from tests.cel_library import refusal, units
from tests.cel_tiers import Tiers
from tests.conftest import ROOT
from tests.test_language_docs import EXAMPLES, attributes


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
