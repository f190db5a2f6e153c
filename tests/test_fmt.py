"""`pdp fmt`: one layout, twice the same, and never another meaning."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import cli
from pdp.authoring import formatting
from pdp.authoring.checker import Checker
from pdp.authoring.comments import Comments
from pdp.authoring.compilation import compile_sources
from pdp.authoring.documents import read_document
from pdp.authoring.formatting import format_document
from pdp.authoring.nodes import List, Map, Node
from pdp.authoring.problems import Problems
from pdp.authoring.sources import read_folder
from pdp.v1 import bundle_pb2
from tests.conftest import ROOT, Ledger
from tests.simulators.author_commands import Command

SAMPLES = ("document-sharing", "expense-reports", "production-access")
DOCUMENTS = {
    str(path.relative_to(ROOT / "policies")): path.read_text()
    for path in sorted((ROOT / "policies").rglob("*.yaml"))
}
UGLY = """\
# The head stays at the top.

# So does this.
policy: p   # its name
rules: # of it
  # about a
  - effect: permit
    id: a # its id
    actions: [ read,
       # about write
       write]   # both
    when: LONG
    justification: it is
      long
      and folded
    # closes a
  # closes what is above


  - {effect: deny,  id: b, actions: ["*"], when: 'context.a == "x"' }
  -
    id: c
    effect: deny
    actions:
    - read
    - write # of c
    when: |   # of the block
        context.a  &&
        context.b == 'y'
resource: r
variables:
    x: >
      context.a &&
      context.b
    y: "context.d == '\\u0041'"
    z: 'it''s'
# The end.
""".replace(
    "LONG",
    "resource.properties.a_rather_long_name == 1 && "
    'resource.properties.another == "x" && context.other',
)
TIDY = """\
# The head stays at the top.

# So does this.
policy: p  # its name
resource: r
variables:
  x: >
    context.a &&
    context.b
  y: "context.d == 'A'"
  z: "it's"
rules:  # of it
  # about a
  - id: a  # its id
    effect: permit
    actions:
      - read
      # about write
      - write  # both
    when: >-
      resource.properties.a_rather_long_name == 1 && resource.properties.another == "x" &&
      context.other
    justification: it is long and folded
    # closes a
  # closes what is above

  - {id: b, effect: deny, actions: ["*"], when: 'context.a == "x"'}
  - id: c
    effect: deny
    actions:
      - read
      - write  # of c
    when: |  # of the block
      context.a  &&
      context.b == 'y'
# The end.
"""


def formatted(text: str) -> str | None:
    """The document laid out; None after a problem."""
    return format_document("p.yaml", text.encode(), Problems())


def value(node: Node) -> object:
    """What a document says; the order of a map's keys says nothing."""
    if isinstance(node, Map):
        return {key.text: value(item) for key, item in node.entries}
    if isinstance(node, List):
        return [value(item) for item in node.items]
    return (type(node.value), str(node.value).replace(" \n", "\n").rstrip(" "))


def read(text: str) -> Map | None:
    """The document, if it is one."""
    return read_document("p.yaml", text.encode(), Problems())


def comments(root: Map) -> list[str]:
    """All comments of a document."""
    return Comments(root).all()


# -- one layout -------------------------------------------------------------------


def test_an_untidy_document_becomes_a_tidy_one() -> None:
    """Order of keys, indentation, quotes, long lines; every comment stays with its part."""
    assert formatted(UGLY) == TIDY


def test_a_tidy_document_stays_as_it_is() -> None:
    """Once is enough."""
    assert formatted(TIDY) == TIDY


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_samples_are_laid_out_by_it(name: str) -> None:
    """`pdp fmt --check policies` has nothing to say."""
    assert formatted(DOCUMENTS[name]) == DOCUMENTS[name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("policy: p\r\nresource: r\r\n", "policy: p\nresource: r\n"),
        ("\ufeffpolicy: p\n", "policy: p\n"),
        ("---\npolicy: p\n...\n", "policy: p\n"),
        ("policy: p", "policy: p\n"),
        ("{policy: p, owner: 'x'}\n", 'policy: p\nowner: "x"\n'),
        ("policy: p\n\n\n\nowner: x\n\n\n", "policy: p\n\nowner: x\n"),
        ("policy: ~\nowner:\n", "policy: null\nowner: null\n"),
        ('x: \'a "b"\'\ny: "a \\"b\\""\n', "x: 'a \"b\"'\ny: 'a \"b\"'\n"),
        ('x: "a\\nb\\0"\n', 'x: "a\\nb\\x00"\n'),
        ("x: [ ]\ny: { }\n", "x: []\ny: {}\n"),
        ("x:\n- a\n- - b\n  - c\n", "x:\n  - a\n  - - b\n    - c\n"),
        ("x: |+\n  a\n\ny: 1\n", "x: |+\n  a\n\ny: 1\n"),
        ("variables:\n  a: |\n    x  \n    y\n", "variables:\n  a: |\n    x\n    y\n"),
    ],
)
def test_small_things_have_one_form(before: str, after: str) -> None:
    """Line ends, marks, quotes, nothing, empty collections, lists in lists."""
    assert formatted(before) == after
    assert formatted(after) == after


def test_blanks_inside_a_text_of_a_condition_are_no_blanks() -> None:
    """Only what is between words may go: a blank in a string over lines means something."""
    text = 'variables:\n  a: |\n    context.a == """x  \n    y"""\n'
    assert formatted(text) == text
    prose = "owner: |\n  two blanks  \n  here\n"
    assert formatted(prose) == prose


# -- never another meaning ----------------------------------------------------------


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def without_positions(data: bytes) -> bytes:
    """A compiled document as if it had been written on one line."""
    message = bundle_pb2.CompiledDocument.FromString(data)
    policy = message.policy
    conditions = [item.expression for item in policy.variables]
    conditions += [item.when for item in policy.roles]
    conditions += [item.when for item in policy.rules]
    for condition in conditions:
        condition.line = condition.column = 0
    policy.rules.sort(key=lambda rule: rule.id)
    return message.SerializeToString(deterministic=True)


def untidy(text: str, seed: int) -> str:
    """The same document, with its keys in another order, wider, and other quotes."""
    root = read(text)
    assert root is not None
    chance = random.Random(seed)

    def lines(node: Node, indent: int) -> Iterator[str]:
        margin = " " * indent
        if isinstance(node, Map):
            entries = list(node.entries)
            # The order of variables and roles is theirs; that of fields is nobody's.
            if {"id", "effect"} & {key.text for key, _ in entries} or indent == 0:
                chance.shuffle(entries)
            for key, item in entries:
                if isinstance(item, Map | List):
                    yield f"{margin}{key.text}:"
                    yield from lines(item, indent + chance.choice((2, 3, 5)))
                else:
                    yield f"{margin}{key.text}:   {scalar(item)}"
        elif isinstance(node, List):
            for item in node.items:
                if isinstance(item, Map | List):
                    yield f"{margin}-"
                    yield from lines(item, indent + 4)
                else:
                    yield f"{margin}-   {scalar(item)}"

    def scalar(node: Node) -> str:
        said = getattr(node, "value", None)
        return json.dumps(said, ensure_ascii=False)

    return "\n".join(lines(root, 0)) + "\n"


@pytest.mark.parametrize("name", SAMPLES)
def test_what_compiles_is_the_same_before_and_after(name: str, checker: Checker) -> None:
    """Every policy of the samples, made untidy: compiled bytes are equal but for positions."""
    found = read_folder(ROOT / "policies" / name).policies
    before = {path: untidy(data.decode(), seed=len(path)).encode() for path, data in found.items()}
    after = {
        path: (format_document(path, data, Problems()) or "").encode()
        for path, data in before.items()
    }
    assert all(after[path] != before[path] for path in before)
    one, other = (compile_sources(sources, checker) for sources in (before, after))
    assert one.problems == other.problems == ()
    for a, b in zip(one.documents, other.documents, strict=True):
        assert without_positions(a.compiled) == without_positions(b.compiled), a.source_path


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(DOCUMENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(
        ["", " ", "\n", "\n\n", "# a", " # b\n", "    # c\n", "'", '"', "- ", "a: ", "{", "}", "[",
         "]", ", ", "|", ">", "\t", ": ", "é", "\\", "&", "*", "!", "%", "---\n", "x  \n"]
    ), st.integers(0, 3)), max_size=6),
)  # fmt: skip
def test_any_document_keeps_its_meaning_and_its_comments(
    name: str, edits: list[tuple[float, str, int]]
) -> None:
    """Sample documents, damaged: formatted twice is once, values and comments are the same."""
    check_one(DOCUMENTS[name][:3_000], edits)


def check_one(text: str, edits: list[tuple[float, str, int]]) -> bool:
    """Damage a text, format it, compare; whether it was a document at all."""
    for place, inserted, removed in edits:
        at = int(place * len(text))
        text = text[:at] + inserted + text[at + removed :]
    problems, expected = Problems(), Problems()
    made = format_document("p.yaml", text.encode(), problems)
    root = read_document("p.yaml", text.replace("\r\n", "\n").encode(), expected)
    if made is None:
        # What is no document has the problems that `pdp check` shows.
        if root is None:
            assert [str(p) for p in problems.sorted()] == [str(p) for p in expected.sorted()]
        return False
    assert root is not None
    again = read(made)
    assert again is not None
    assert value(again) == value(root)
    assert comments(again) == comments(root)
    assert formatted(made) == made
    return True


@pytest.mark.prove
def test_many_damaged_documents_keep_their_meaning(ledger: Ledger) -> None:
    """The same, by the thousand; nearly all that are documents can be laid out."""
    seed, cases = 20_261_126, 4_000
    chance = random.Random(seed)
    pieces = [
        "",
        "\n",
        " # b\n",
        "    # c\n",
        "  ",
        "- x\n",
        "# d\n",
        '"',
        "'",
        "[a]",
        "x  \n",
        ">",
    ]
    done = 0
    for _ in range(cases):
        text = DOCUMENTS[chance.choice(sorted(DOCUMENTS))][:4_000]
        edits = [
            (chance.random(), chance.choice(pieces), chance.choice((0, 0, 1, 5)))
            for _ in range(chance.randrange(4))
        ]
        done += check_one(text, edits)
    ledger(seed=seed, cases=cases, formatted=done)
    assert done >= cases / 4


def test_a_layout_that_changes_something_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is read again: were a value or a comment lost, the document is left alone."""
    monkeypatch.setattr(formatting, "inline", lambda _scalar: "other")
    problems = Problems()
    assert format_document("p.yaml", b"policy: p\n", problems) is None
    (problem,) = problems.sorted()
    assert "cannot be laid out without changing it" in str(problem)


def test_a_layout_that_changes_something_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the comparison it would have been written."""
    monkeypatch.setattr(formatting, "inline", lambda _scalar: "other")
    monkeypatch.setattr(formatting, "_same", lambda *_: True)
    assert format_document("p.yaml", b"policy: p\n", Problems()) == "other: other\n"


# -- the command ----------------------------------------------------------------------


@pytest.fixture
def fmt(pdp: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`pdp fmt`."""
    monkeypatch.setattr(cli, "COMMANDS", ("fmt", "check"))
    return pdp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One document to change, one not, one that is no YAML."""
    (tmp_path / "a.yaml").write_text("resource: r\npolicy: p\n")
    (tmp_path / "b.yaml").write_text("policy: q\n")
    return tmp_path


def test_documents_are_written_in_place(folder: Path, fmt: Command) -> None:
    """Changed ones only, as a whole, with the mode that they had; the second run changes none."""
    (folder / "a.yaml").chmod(0o640)
    untouched = (folder / "b.yaml").stat().st_mtime_ns
    done = fmt("fmt", folder)
    assert (done.returncode, done.stdout) == (0, "2 documents: 1 changed\n")
    assert (folder / "a.yaml").read_text() == "policy: p\nresource: r\n"
    assert (folder / "a.yaml").stat().st_mode & 0o777 == 0o640
    assert (folder / "b.yaml").stat().st_mtime_ns == untouched
    assert sorted(path.name for path in folder.iterdir()) == ["a.yaml", "b.yaml"]
    assert fmt("fmt", folder).stdout == "2 documents: 0 changed\n"


def test_check_changes_nothing_and_shows_what_would(folder: Path, fmt: Command) -> None:
    """A diff and exit 1; exit 0 when there is nothing to change."""
    done = fmt("fmt", "--check", ".", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "--- a.yaml",
        "+++ a.yaml (formatted)",
        "@@ -1,2 +1,2 @@",
        "+policy: p",
        " resource: r",
        "-policy: p",
        "2 documents: 1 to change",
    ]
    assert (folder / "a.yaml").read_text() == "resource: r\npolicy: p\n"
    assert fmt("fmt", "--check", folder / "b.yaml").returncode == 0


def test_what_is_no_yaml_is_refused_with_the_words_of_check(folder: Path, fmt: Command) -> None:
    """The same message; the file stays, the others are done."""
    bad = "policy: p\npolicy: q\n"
    (folder / "c.yaml").write_text(bad)
    done = fmt("fmt", ".", cwd=folder)
    assert done.returncode == 1
    assert (folder / "c.yaml").read_text() == bad
    assert (folder / "a.yaml").read_text() == "policy: p\nresource: r\n"
    shown = done.stdout
    assert shown.startswith("c.yaml:2:1: error: key `policy` is given twice\n")
    assert shown in fmt("check", "c.yaml", cwd=folder).stdout
    report = json.loads(fmt("fmt", "--json", "--check", ".", cwd=folder).stdout)
    assert (report["ok"], report["documents"], report["changed"]) == (False, 3, [])
    assert report["problems"][0]["path"] == "c.yaml"


def test_standard_input_becomes_standard_output(
    fmt: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pdp fmt -` for editors; nothing is printed after a problem."""

    def typed(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    typed("resource: r\npolicy: p\n")
    assert fmt("fmt", "-").stdout == "policy: p\nresource: r\n"
    typed("policy: [\n")
    done = fmt("fmt", "-")
    assert done.returncode == 1
    assert "policy: [\n" not in done.stdout.splitlines(keepends=True)[:1]
    typed("policy: p\n")
    assert fmt("fmt", "-", "--check").returncode == 0
    assert fmt("fmt", "-", "x.yaml").returncode == 2
