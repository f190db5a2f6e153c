"""The author's pages show what is so: every document in them compiles, every output is real."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdp import schema, schema_check
from pdp.authoring import definitions, documents, fields, policy_document, sources
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.authoring.compilation import compile_document, compile_sources
from pdp.authoring.expectations import CAUSES
from pdp.authoring.findings import KINDS
from pdp.authoring.matrices import CELLS_MAX
from pdp.authoring.schema_keywords import KEYWORDS, ROOT_KEYWORDS
from pdp.cel.limits import EvaluationLimits
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "policies.md").read_text()
TESTING = (ROOT / "docs" / "testing-policies.md").read_text()
README = (ROOT / "policies" / "expense-reports" / "README.md").read_text()
BLOCK = r"(?ms)^```yaml\n# ([^\n]+)\n(.*?)^```$"
BLOCKS = re.findall(BLOCK, PAGE)
HEAD = "policy: p\nresource: r\n"
RULE = "rules:\n  - id: a\n    effect: deny\n    actions: [read]\n"


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of the console blocks, and what it prints."""
    blocks = "".join(re.findall(r"(?ms)^```console\n(.*?)^```$", text))
    return re.findall(r"(?ms)^\$ pdp ([^\n]+)\n(.*?)(?=^\$|\Z)", blocks)


def run(command: str, folder: Path) -> str:
    """What `pdp` prints."""
    program = "import pdp.cli; pdp.cli.COMMANDS = ('check', 'test'); pdp.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_folder_is_what_the_page_says(tmp_path: Path) -> None:
    """Its three files, checked and tested: the outputs shown are those that come."""
    folder = tmp_path / "leave"
    folder.mkdir()
    names = [name for name, _ in BLOCKS if name.endswith(".yaml")]
    assert names == ["leave.yaml", "callers.yaml", "leave_test.yaml"]
    for name, text in BLOCKS:
        if name.endswith(".yaml"):
            (folder / name).write_text(text)
    shown = commands(PAGE)
    assert len(shown) == 2
    for command, output in shown:
        assert run(command, tmp_path) == output


def test_the_page_about_testing_is_what_it_says(tmp_path: Path) -> None:
    """Its documents beside those of the first folder; its row; the outputs it shows."""
    folder = tmp_path / "leave"
    folder.mkdir()
    blocks = re.findall(BLOCK, TESTING)
    assert [name for name, _ in blocks] == [
        "fixtures_test.yaml",
        "in a document of tests",
        "matrix_test.yaml",
    ]
    for name, text in [*BLOCKS, *blocks]:
        if name.endswith(".yaml"):
            (folder / name).write_text(text)
    shown = commands(TESTING)
    assert len(shown) == 2
    for command, output in shown:
        assert run(command, tmp_path) == output
    head = "kind: tests\nnow: 2026-09-15T10:00:00Z\ncaller: spiffe://example.org/people/portal\n"
    (folder / "row_test.yaml").write_text(head + dict(blocks)["in a document of tests"])
    assert run("test leave/row_test.yaml", tmp_path) == "1 test passed, 0 failed\n"


def test_the_limit_of_tables_and_the_options_on_the_page_are_so() -> None:
    """The number is the code's; every option that is named is one of the command."""
    assert f"at most {CELLS_MAX:,} answers" in TESTING
    known = set(re.findall(r"--?[a-z][a-z-]*", run("test --help", ROOT)))
    named = set(re.findall(r"`(--?[a-z][a-z-]*)", TESTING))
    assert named - known == set()


def test_the_commands_of_the_sample_print_what_its_page_says() -> None:
    """The README beside the expense reports."""
    shown = commands(README)
    assert len(shown) == 2
    for command, output in shown:
        assert run(command, ROOT) == output


def test_every_piece_of_a_policy_on_the_page_compiles(checker: Checker) -> None:
    """Pieces are marked `in a rule` or `in a policy`; `a schema` is a whole document."""
    pieces = [(where, text) for where, text in BLOCKS if not where.endswith(".yaml")]
    assert len(pieces) == 7
    for where, text in pieces:
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        # A piece of a policy may be its rules.
        rule = "" if text.startswith("rules:") else RULE
        document = HEAD + rule + {"in a rule": indented, "in a policy": text}.get(where, "")
        if where in {"a schema", "a shared document"}:
            document = text
        assert compile_document("p.yaml", document.encode(), checker).problems == (), text


def table(heading: str) -> list[list[str]]:
    """Cells of the table on the page whose first heading cell is this."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_every_trap_of_yaml_on_the_page_is_an_error(checker: Checker) -> None:
    """Each text of the table, in a rule: a problem, with something to do about it."""
    rows = table("written")
    assert len(rows) == 6
    for written, _ in rows:
        text = written.strip("`")
        rule = RULE.replace("actions: [read]", text) if text.startswith("actions") else RULE
        document = HEAD + rule + ("" if text.startswith("actions") else f"    {text}\n")
        if text.startswith("{"):
            document = f"{HEAD}rules: [{{id: a, effect: deny, actions: [read], {text[1:-1]}}}]\n"
        problems = compile_document("p.yaml", document.encode(), checker).problems
        assert problems, text
        assert problems[0].suggestion, text


def test_every_name_that_a_condition_sees_is_on_the_page() -> None:
    """The table of names is the checker's."""
    shown = {name for row in table("name") for name in re.findall(r"`([\w.]+)`", row[0])}
    parents = {name.partition(".")[0] for name in CONDITION_VARIABLES if "." in name}
    assert shown == set(CONDITION_VARIABLES) - parents


def test_every_kind_of_finding_is_on_the_page() -> None:
    """The table of findings is the catalogue."""
    kinds = [[kind.id, kind.summary, kind.severity.value] for kind in KINDS.values()]
    assert [row[:3] for row in table("id | finding")] == kinds


def test_every_limit_on_the_page_is_in_force() -> None:
    """The numbers are those of the code."""
    limits = EvaluationLimits()
    shown = {row[0]: [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?=[ :]|$)", row[1])]
             for row in table(["what", "limit"][0] + " | limit")}  # fmt: skip
    assert shown["one document"] == [
        documents.DOCUMENT_BYTES_MAX,
        documents.NODES_MAX,
        documents.DEPTH_MAX,
    ]
    assert shown["one folder"] == [sources.DOCUMENTS_MAX, sources.SOURCES_BYTES_MAX]
    assert shown["one policy"] == [definitions.VARIABLES_MAX]
    assert shown["`policy`, `id` of a rule"][0] == fields.IDENTIFIER.characters_max
    assert shown["a variable"] == [definitions.VARIABLE.characters_max]
    assert shown["a role, an action, a type"] == [fields.NAME.characters_max]
    assert shown["a condition"] == [
        definitions.CONDITION_CHARACTERS_MAX,
        limits.nodes_max,
        limits.depth_max,
    ]
    assert shown["a schema"] == [
        schema.NODES_MAX,
        schema.DEPTH_MAX,
        schema_check.PATTERN_CHARACTERS_MAX,
    ]
    assert shown["a justification, an owner"] == [fields.PROSE.characters_max]
    assert shown["a reason"] == [policy_document.REASON.characters_max]


def test_every_cause_that_a_test_may_expect_is_on_the_page() -> None:
    """The list behind `cause`."""
    found = re.search(r"`cause` \(([^)]*)\)", PAGE)
    assert found is not None
    assert tuple(re.findall(r"`(\w+)`", found[1])) == CAUSES


def test_every_word_of_json_schema_on_the_page_is_supported_and_no_other() -> None:
    """The table of words is the reader's."""
    shown = {name for row in table("word") for name in re.findall(r"`([$\w-]+)`", row[0])}
    assert shown == {*KEYWORDS, *ROOT_KEYWORDS}


def test_what_the_page_says_about_schemas_pdp_check_says(checker: Checker) -> None:
    """Each condition of the table, beside the schema of the page."""
    text = dict(BLOCKS)["a schema"].encode()
    said = {
        "stauts": "has no `stauts` in its schema (did you mean `status`?)",
        "aproved": "is never `aproved` (did you mean `approved`?)",
        '"5"': "is an int and never equals a string",
        "first_day": "(read it as a time, `timestamp(…)`)",
        "team": "`resource.properties.team` may be absent",
    }
    rows = table("in a condition")
    assert len(rows) == len(said)
    for (condition, _), expected in zip(rows, said.values(), strict=True):
        rule = f"{RULE}    when: |\n      {condition.strip('`')}\n"
        policy = HEAD.replace("resource: r", "resource: leave_request") + rule
        found = compile_sources({"p.yaml": policy.encode(), "s.yaml": text}, checker).problems
        assert any(expected in str(problem) for problem in found), condition
