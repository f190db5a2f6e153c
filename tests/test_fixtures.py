"""Fixtures and tables: shorter tests that mean what the long ones mean."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pdp.authoring import matrices
from pdp.authoring.policy_tests import TestDocuments, TestRow, read_tests
from pdp.model import Cause, Effect
from tests.simulators.author_commands import Command

HEAD = "kind: tests\nnow: 2026-09-15T10:00:00Z\ncaller: spiffe://demo.example.org/a\n"
FIXTURES = """\
subjects:
  ana: {type: user, id: ana, properties: {roles: [member], team: red}}
  bo: {like: ana, id: bo, properties: {team: blue}}
resources:
  draft: {type: r, id: "1", properties: {state: draft}}
contexts:
  office: {network: office}
"""
TABLE = """\
matrices:
  - name: m
    context: office
    table: |
      # who may do what
      action   resource  ana     bo

      read     draft     PERMIT  DENY/DEFAULT
      approve  draft     DENY    -
"""
POLICY = """\
policy: p
resource: r
static_roles: [member]
rules:
  - id: reads
    effect: permit
    actions: [read]
    roles: [member]
    when: subject.properties.team == "red" && context.network == "office"
    justification: x
"""
CALLERS = """\
kind: callers
callers:
  - id: spiffe://demo.example.org/a
    resources: [r]
    actions: ["*"]
    subjects: {assert: [user]}
"""


def read(text: str, **others: str) -> TestDocuments:
    """A document of tests, and others by the stem of their name."""
    more = {f"{name}_test.yaml": other.encode() for name, other in others.items()}
    return read_tests({"p_test.yaml": text.encode(), **more})


def rows(text: str, **others: str) -> tuple[TestRow, ...]:
    """Its rows; there are no problems."""
    found = read(text, **others)
    assert [str(problem) for problem in found.problems] == []
    return found.rows


def test_a_named_row_asks_what_the_long_one_asks() -> None:
    """Names, `like` and a shared document make the same request as writing it out."""
    expect = "    expect: {effect: DENY}\n"
    short = HEAD + "tests:\n  - name: t\n    subject: bo\n    action: read\n    resource: draft\n"
    long = HEAD + (
        "tests:\n  - name: t\n    subject:\n      type: user\n      id: bo\n"
        "      properties: {roles: [member], team: blue}\n    action: read\n"
        '    resource: {type: r, id: "1", properties: {state: draft}}\n'
    )
    (wanted,) = rows(long + "    context: {network: office}\n" + expect)
    short += "    context: office\n" + expect
    (own,) = rows(short + FIXTURES)
    (shared,) = rows(short, fixtures=f"kind: fixtures\n{FIXTURES}")
    assert wanted.request == own.request == shared.request


def test_like_replaces_property_by_property_and_changes_nothing_else() -> None:
    """What is written beside `like` wins; the fixture itself stays as it is."""
    text = HEAD + FIXTURES + (
        "tests:\n"
        "  - {name: a, subject: {like: ana, properties: {roles: []}}, action: read,\n"
        "     resource: draft, expect: {effect: DENY}}\n"
        "  - {name: b, subject: ana, action: read, resource: draft, expect: {effect: DENY}}\n"
    )  # fmt: skip
    changed, same = rows(text)
    assert changed.request.subject.properties == {"roles": [], "team": "red"}
    assert same.request.subject.properties == {"roles": ["member"], "team": "red"}


def test_each_answer_of_a_table_is_a_test_with_its_own_place() -> None:
    """`-` is not asked; a comment and an empty line are none; caller and now are the head's."""
    found = rows(HEAD + FIXTURES + TABLE)
    assert [(row.name, row.expect.effect, row.expect.cause) for row in found] == [
        ("m: ana read draft", Effect.PERMIT, None),
        ("m: bo read draft", Effect.DENY, Cause.DEFAULT),
        ("m: ana approve draft", Effect.DENY, None),
    ]
    lines = (HEAD + FIXTURES + TABLE).splitlines()
    for row in found:
        line = lines[row.position.line - 1]
        assert line[row.position.column - 1 :].startswith(row.expect.effect.name)
    assert {row.request.context["network"] for row in found} == {"office"}
    assert found[0].request.action.name == "read"


def test_a_column_says_the_context_of_a_line() -> None:
    """Behind `action resource`, the word `context` makes a third column."""
    table = TABLE.replace("    context: office\n", "").replace(
        "resource  ana", "resource context ana"
    )
    table = table.replace("draft   ", "draft office ")
    assert [row.name for row in rows(HEAD + FIXTURES + table)] == [
        "m: ana read draft office",
        "m: bo read draft office",
        "m: ana approve draft office",
    ]


def test_a_table_alone_is_a_document_of_tests_and_rows_come_first() -> None:
    """`tests` may be left out where there are matrices; order is that of kinds, then lines."""
    one = (
        "tests:\n  - {name: t, subject: ana, action: a, resource: draft, expect: {effect: DENY}}\n"
    )
    assert next(row.name for row in rows(HEAD + FIXTURES + TABLE + one)) == "t"
    assert read(HEAD + FIXTURES).problems != ()


def test_fixtures_of_one_document_are_not_those_of_another() -> None:
    """Only `kind: fixtures` is shared; the same name in both is a problem."""
    one = (
        "tests:\n  - {name: t, subject: ana, action: a, resource: draft, expect: {effect: DENY}}\n"
    )
    found = read(HEAD + one, other=HEAD + FIXTURES + TABLE)
    assert {str(problem).partition(" (")[0] for problem in found.problems} == {
        "p_test.yaml:5:24: there is no subject `ana`",
        "p_test.yaml:5:50: there is no resource `draft`",
    }
    found = read(HEAD + FIXTURES + one, fixtures=f"kind: fixtures\n{FIXTURES}")
    said = str(found.problems[0])
    assert (
        said == "p_test.yaml:5:3: subject `ana` is defined twice (it is at fixtures_test.yaml:3:3)"
    )


def test_a_table_is_bounded() -> None:
    """More answers than anybody reads are refused before they are looked at."""
    names = [f"s{n}" for n in range(101)]
    subjects = "subjects:\n" + "".join(f"  {name}: {{type: user, id: x}}\n" for name in names)
    lines = "".join(f"      a{n} draft {'DENY ' * 101}\n" for n in range(100))
    table = (
        f"matrices:\n  - name: m\n    table: |\n      action resource {' '.join(names)}\n{lines}"
    )
    text = HEAD + "resources:\n  draft: {type: r, id: x}\n" + subjects + table
    (problem,) = read(text).problems
    assert f"more than {matrices.CELLS_MAX} answers" in problem.message


@given(st.integers(0, 2**32))
def test_garbage_in_tables_and_fixtures_has_a_place(seed: int) -> None:
    """A document of both with a few changes: rows, or problems that point into it."""
    chance = random.Random(seed)
    text = HEAD + FIXTURES + TABLE
    words = ["PERMIT", "-", "like", "ana", "action", "context", "|", ">", ":", "\n", "  ", "{", "#"]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(words) + text[at + chance.randrange(6) :]
    found = read(text)
    lines = text.split("\n")
    for place in [problem.position for problem in found.problems] + [
        r.position for r in found.rows
    ]:
        assert place is not None
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1


def test_the_command_runs_tables_with_shared_fixtures(tmp_path: Path, pdp: Command) -> None:
    """A failing answer is shown where it stands; one file alone still knows the fixtures."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "callers.yaml").write_text(CALLERS)
    (tmp_path / "fixtures_test.yaml").write_text(f"kind: fixtures\n{FIXTURES}")
    (tmp_path / "p_test.yaml").write_text(HEAD + TABLE)
    assert pdp("check", tmp_path).stdout.endswith("3 tests: no problems\n")
    assert pdp("test", tmp_path).stdout == "3 tests passed, 0 failed\n"
    assert pdp("test", tmp_path / "p_test.yaml").stdout == "3 tests passed, 0 failed\n"
    (tmp_path / "p_test.yaml").write_text(HEAD + TABLE.replace("DENY/DEFAULT", "PERMIT"))
    done = pdp("test", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [
        "p_test.yaml:11:34: failed: m: bo read draft",
        "      effect: expected PERMIT, got DENY",
    ]
    only = pdp("test", tmp_path / "fixtures_test.yaml")
    assert (only.returncode, "only fixtures" in only.stderr) == (2, True)
