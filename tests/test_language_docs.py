"""The page of the language: every example on it is executed, and nothing is missing from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pdp.authoring import compilation
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.authoring.compilation import compile_document
from pdp.boundary import InputLimits, admit
from pdp.cel.functions import LIBRARIES
from pdp.cel.moments import parse_timestamp
from pdp.cel.values import KIND_TYPES
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from pdp.model import Action, Caller, Request, Resource, Subject
from tests.cel_tiers import Tiers
from tests.celspec import tagged
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "language.md").read_text()
BLOCKS = re.findall(r"(?ms)^```yaml\n# ([^\n]+)\n(.*?)^```$", PAGE)
# How the checker calls them, and how the page does.
SHORT = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
MACROS = frozenset(
    {"has", "all", "exists", "exists_one", "existsOne", "filter", "map", "transformList"}
    | {"transformMap", "transformMapEntry", "cel.bind", "optMap", "optFlatMap", "sortBy"}
)
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "!", "&&", "||", "?", "in")


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def rows(left: str, right: str) -> list[tuple[str, str]]:
    """The first cell's code and the second cell of all tables with these headings."""
    found = []
    tables = re.findall(rf"(?m)^\| {left} \| {right} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE)
    for line in "".join(tables).splitlines():
        match = re.fullmatch(r"\| `(.*?)` \| (.*) \|", line.replace("\\|", "\0"))
        assert match is not None, line
        found.append((match[1].replace("\0", "|"), match[2].replace("\0", "|")))
    return found


EXAMPLES = rows("expression", "value")
REFUSED = rows("written", "refused with")


def attributes() -> Mapping[str, Any]:
    """What a condition sees of the page's question."""
    (block,) = re.findall(r"(?ms)^```json\n(.*?)^```$", PAGE)
    asked = json.loads(block)
    request = Request(
        Subject(**asked["subject"]),
        Action(**asked["action"]),
        Resource(**asked["resource"]),
        asked["context"],
    )
    admitted = admit(request, Caller(asked["caller"]), InputLimits())
    return {**admitted.attributes, "now": parse_timestamp(asked["now"])}


def evaluate(checker: Checker, source: str) -> Any:
    """The value as a condition would see it, tagged by its kind, or "error"; both tiers agree."""
    checked = checker.check(source, CONDITION_VARIABLES)
    tiers = Tiers(decode(checked.checked_expr, source))
    want = tiers.exact(attributes())
    assert want.kind in {"value", "error"}, source
    for fold in (True, False):
        got = tiers.fast(attributes(), fold=fold)
        if got.kind == "value":
            assert (tagged(got.value), got.units) == (tagged(want.value), want.units)
    return tagged(want.value) if want.kind == "value" else "error"


@pytest.mark.parametrize(("source", "shown"), EXAMPLES)
def test_every_example_comes_to_what_the_page_says(
    checker: Checker, source: str, shown: str
) -> None:
    """The value in the right column, written in CEL too, or an error."""
    want = "error" if shown == "error" else evaluate(checker, shown.strip("`"))
    assert evaluate(checker, source) == want


@pytest.mark.parametrize(("source", "shown"), REFUSED)
def test_every_refusal_says_what_the_page_says(checker: Checker, source: str, shown: str) -> None:
    """Message and suggestion, word by word."""
    with pytest.raises(ExpressionError) as caught:
        checker.check(source, CONDITION_VARIABLES)
    error = caught.value
    assert shown == error.message + (f" ({error.suggestion})" if error.suggestion else "")


@pytest.mark.parametrize(("name", "text"), BLOCKS)
def test_every_document_compiles_or_is_refused_as_shown(
    checker: Checker, name: str, text: str
) -> None:
    """`refused LINE:COLUMN: message`, the only problem; lines count without the comment."""
    problems = compile_document("p.yaml", text.encode(), checker).problems
    shown = [
        f"refused {each.position.line}:{each.position.column}: {each.message}"
        + (f" ({each.suggestion})" if each.suggestion else "")
        for each in problems
        if each.position is not None
    ]
    assert shown == ([name] if name.startswith("refused") else [])


def called() -> set[str]:
    """Names of functions and macros that some example calls."""
    text = "\n".join(source for source, _ in EXAMPLES)
    return set(
        re.findall(r"((?:\b(?:cel|ip|lists|math|optional|sets|strings|base64)\.)?\w+)\(", text)
    )


def test_every_function_and_macro_has_an_example() -> None:
    """What the language has, the page shows in use; what it shows, the language has."""
    known = {function.name for library in LIBRARIES for function in library.functions}
    names = {name for name in known if re.fullmatch(r"[a-zA-Z.]+", name)}
    names |= {"math.greatest", "math.least"} | MACROS
    shown = called() | {name.rpartition(".")[2] for name in called()}
    assert names - shown == set()
    text = " ".join(source for source, _ in EXAMPLES)
    assert [operator for operator in OPERATORS if operator not in text] == []


def test_every_signature_of_ours_is_on_the_page() -> None:
    """Those that the checker is told of, in the form that the page explains, and no others."""
    declared = set()
    for library in LIBRARIES:
        if library.name == "standard":
            continue  # `string`, declared anew for our types
        for each in library.declarations:
            kinds = [SHORT.get(kind, kind) for kind in each.parameters]
            target = f"{kinds.pop(0)}." if each.member else ""
            result = SHORT.get(each.result, each.result)
            declared.add(f"{target}{each.function}({', '.join(kinds)}) -> {result}")
    assert set(re.findall(r"`([^`\n]+\) -> [^`\n]+)`", PAGE)) == declared


def test_every_kind_of_document_is_on_the_page() -> None:
    """The table names those that there are, and no others."""
    assert set(re.findall(r"(?m)^\| `kind: (\w+)`", PAGE)) == set(compilation._KINDS)


def test_every_type_is_on_the_page() -> None:
    """The table of types names each kind of value."""
    (table,) = re.findall(r"(?m)^\| type \| written \| notes \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE)
    shown = set(
        re.findall(r"`([\w.]+)(?:\([A-Z, ]+\))?`", re.sub(r"(?m)^\| ([^|]*).*", r"\1", table))
    )
    kinds = {SHORT.get(kind.name, kind.name) for kind in KIND_TYPES.values()}
    assert shown == kinds | {"dyn"}


def test_the_page_is_linked_from_where_people_begin() -> None:
    """README and the author's first page."""
    assert "docs/language.md" in (ROOT / "README.md").read_text()
    assert "language.md" in (ROOT / "docs" / "policies.md").read_text()
    assert len(EXAMPLES) > 150
