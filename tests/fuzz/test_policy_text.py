"""No matter what garbage an author's folder holds: it compiles, or a problem says where it is.

Nothing else is ever raised, and what compiles loads in the PDP.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import compiled
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_document
from pdp.authoring.policy_tests import read_tests
from pdp.cel.limits import EvaluationLimits
from pdp.policy import PolicyDocument, PolicySet
from pdp.schema import SchemaDocument
from pdp.schema_check import Schemas
from tests.conftest import ROOT, Ledger

SAMPLE = ROOT / "policies" / "expense-reports"
LIMITS = EvaluationLimits()
SEED = 20_260_915


SCHEMA = b"""kind: schema
resource: report
schema:
  type: object
  additionalProperties: false
  required: [author]
  $defs:
    line: {type: object, properties: {amount: {type: integer, minimum: 0}}}
  properties:
    author: {type: string, minLength: 1, pattern: "^[a-z]+$"}
    status: {enum: [draft, 1, null, true]}
    due: {type: [string, "null"], format: date-time}
    lines: {type: array, maxItems: 9, items: {$ref: "#/$defs/line"}}
    at: {x-type: timestamp}
"""


SHARED = b"""kind: shared
name: people
imports: []
static_roles: [lead]
variables: {same_team: subject.properties.team == resource.properties.team}
roles: {team-lead: {from: [lead], when: same_team}}
"""


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def documents(*, tests: bool) -> list[bytes]:
    """The documents of the sample: policies and callers, or tests."""
    found = [
        path.read_bytes()
        for path in sorted(SAMPLE.glob("*.yaml"))
        if path.stem.endswith("_test") is tests
    ]
    assert len(found) == (5 if tests else 8)
    return found if tests else [*found, SCHEMA, SHARED, SHARED.replace(b"imports: []\n", b"")]


def compile_one(data: bytes, checker: Checker) -> bool:
    """Whether the document compiles. Either way the promise of this file is checked."""
    found = compile_document("p.yaml", data, checker)
    for problem in found.problems:
        assert problem.message
        assert problem.position is not None, problem
        assert problem.position.path == "p.yaml"
        lines = data.decode(errors="replace").split("\n")
        assert 1 <= problem.position.line <= len(lines), problem
        # At most one behind the end of the line; a byte order mark is no column.
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1, problem
    assert bool(found.problems) is not bool(found.documents)
    for document in found.documents:
        loaded = compiled.decode(document.compiled)
        if isinstance(loaded, SchemaDocument):
            Schemas([loaded])
        elif isinstance(loaded, PolicyDocument):
            PolicySet([loaded], LIMITS)
    return not found.problems


# What is put in: pieces of YAML, of CEL, and of nothing.
WORDS = (
    "- : # ' \" [ ] { } , | > ! ? % @ ` ~ * \\ ( ) . & é 漢 \u202e &a *a !t null true 0 1e9 "
    "in && || == 99999999999999999999 "
    "subject now deny permit has( .all(x,x) \\u0000 \\ud800 --- <<: when:"
)
PIECES = (
    *(word.encode() for word in WORDS.split()),
    *(b" ", b"\n", b"\n  ", b"\t", b": ", b" #", b"- ", b"\r", b"\r\n", b"...\n"),
    *(b"\0", b"\xff", b"\xc3", b"expires: ", b"roles: []"),
)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The document with one to four changes."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(5):
            case 0:
                out[at:at] = chance.choice(PIECES)
            case 1:
                del out[at : at + chance.choice((1, 1, 2, 5, 40))]
            case 2:
                out[at : at + 1] = chance.choice(PIECES)
            case 3:
                # A line twice, or somewhere else.
                lines = bytes(out).split(b"\n")
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
                out = bytearray(b"\n".join(lines))
            case _:
                out = out[:at]
    return bytes(out)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()))
@settings(max_examples=100, deadline=None)
def test_any_bytes_compile_or_have_a_problem_with_a_place(checker: Checker, data: bytes) -> None:
    """Random bytes and random text."""
    compile_one(data, checker)


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_mutated_policies_compile_or_have_a_problem_with_a_place(
    checker: Checker, seed: int
) -> None:
    """The expense reports with a few changes: deep into every part of the compiler."""
    chance = random.Random(seed)
    compile_one(mutate(chance.choice(documents(tests=False)), chance), checker)


_condition = st.text(
    st.sampled_from("subjectnow.id()[]{}!=<>&|?:+-*/%\"'\\,0123456789 \n\tué\0#"), max_size=60
)


@given(_condition, st.sampled_from(["plain", "single", "double", "block"]))
@settings(max_examples=80, deadline=None)
def test_any_condition_compiles_or_has_a_problem_with_a_place(
    checker: Checker, text: str, style: str
) -> None:
    """Random text of CEL's alphabet, in every style of YAML."""
    written = {
        "plain": text,
        "single": "'" + text.replace("'", "''") + "'",
        "double": '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"',
        "block": "|\n" + "".join(f"      {line}\n" for line in text.split("\n")),
    }[style]
    document = (
        "policy: p\nresource: r\nrules:\n  - id: a\n    effect: deny\n    actions: [read]\n"
        f"    when: {written}\n"
    )
    compile_one(document.encode(), checker)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_mutated_tests_are_tests_or_have_a_problem_with_a_place(seed: int) -> None:
    """The same for documents of tests; cut to their first rows, for time."""
    chance = random.Random(seed)
    data = chance.choice(documents(tests=True))[:3_000]
    found = read_tests({"p_test.yaml": mutate(data, chance)})
    for problem in found.problems:
        assert problem.position is not None
        assert problem.position.line >= 1


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_many_mutated_policies_compile_or_have_a_problem_with_a_place(
    checker: Checker, ledger: Ledger
) -> None:
    """The long run: seed and counts are kept."""
    chance = random.Random(SEED)
    sources = documents(tests=False)
    cases, compiled_well, began = 6_000, 0, time.monotonic()
    for _ in range(cases):
        compiled_well += compile_one(mutate(chance.choice(sources), chance), checker)
    assert 0 < compiled_well < cases
    ledger(
        seed=SEED,
        cases=cases,
        compiled=compiled_well,
        refused=cases - compiled_well,
        seconds=round(time.monotonic() - began, 1),
    )
