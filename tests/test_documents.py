"""YAML, strict: what is refused, and where everything is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring import documents
from pdp.authoring.documents import DOCUMENT_BYTES_MAX, read_document
from pdp.authoring.nodes import List, Map, Node, Scalar
from pdp.authoring.problems import Problems
from pdp.errors import PolicyError


def read(text: str | bytes) -> tuple[Map | None, tuple[PolicyError, ...]]:
    """The root and the problems of a document."""
    problems = Problems()
    data = text.encode() if isinstance(text, str) else text
    root = read_document("d.yaml", data, problems)
    return root, problems.sorted()


def value(text: str) -> Node:
    """The value of key `v` of a document without problems."""
    root, problems = read(text)
    assert not problems
    assert root is not None
    node = root.get("v")
    assert node is not None
    return node


def scalar(text: str) -> Scalar:
    """As `value`, for a scalar."""
    node = value(text)
    assert isinstance(node, Scalar)
    return node


def only_problem(text: str | bytes) -> str:
    """The one problem of a document, as an author reads it."""
    root, problems = read(text)
    assert root is None
    assert len(problems) == 1
    return str(problems[0])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("null", None),
        ("~", None),
        ("true", True),
        ("FALSE", False),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        # What YAML 1.1 would have made something else of.
        ("yes", "yes"),
        ("off", "off"),
        ("2026-09-15", "2026-09-15"),
        ("2026-09-15T10:00:00Z", "2026-09-15T10:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("=", "="),
        ('"7"', "7"),
        ("'true'", "true"),
        ('"\\0"', "\0"),
    ],
)
def test_scalars_are_what_the_core_schema_says(written: str, meant: object) -> None:
    """YAML 1.2.2, section 10.3.2; type and value, so that 1 is not true."""
    found = scalar(f"v: {written}\n").value
    assert (type(found), found) == (type(meant), meant)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("9223372036854775808", "is out of the range of int64"),
        ("-9223372036854775809", "is out of the range of int64"),
        ("1" * 5000, "is out of the range of int64"),
        ("0123", "has a leading zero"),
        ("-007", "has a leading zero"),
        ("1e400", "is out of the range of double"),
        (".inf", "is not a finite number"),
        ("-.INF", "is not a finite number"),
        (".NaN", "is not a finite number"),
    ],
)
def test_numbers_that_mean_different_things_to_different_readers_are_refused(
    written: str, complaint: str
) -> None:
    """A number that some reader would change is an error, with what to write instead."""
    said = only_problem(f"v: {written}\n")
    assert said.startswith("d.yaml:1:4: ")
    assert complaint in said
    assert "a string is written" in said


@pytest.mark.parametrize(
    ("char", "name"),
    [
        ("\0", "U+0000"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\u202e", "U+202E"),
        ("\u2066", "U+2066"),
        ("\u200f", "U+200F"),
        ("\ufeff", "U+FEFF"),
        ("\r", "U+000D"),
    ],
)
def test_invisible_and_misleading_characters_are_refused_where_they_are(
    char: str, name: str
) -> None:
    """A reviewer must see what is evaluated: bidirectional controls, NEL and the like."""
    said = only_problem(f"a: b\nv: x{char}y\n")
    assert said.startswith(f"d.yaml:2:5: character {name} is not allowed here")


def test_misleading_characters_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard, a text that reads backwards is taken."""
    monkeypatch.setattr(documents, "_REFUSED", re.compile("(?!)"))
    assert scalar("v: x\u202ey\n").text == "x\u202ey"


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"a: \xff\n", "1:4"), (b"a: b\nc: \xc3\xa9\xc3\n", "2:5"), (b"\xff\xfea\0", "1:1")],
)
def test_invalid_utf8_is_an_error_at_its_byte(data: bytes, place: str) -> None:
    """Latin-1, a cut sequence and UTF-16 are named, not guessed at."""
    said = only_problem(data)
    assert said.startswith(f"d.yaml:{place}: byte 0x")
    assert "save the file as UTF-8" in said


def test_a_byte_order_mark_moves_no_column() -> None:
    """Some editors write one; it is not part of the text."""
    root, problems = read("\ufeffv: x\n".encode())
    assert not problems
    assert root is not None
    assert root.entries[0][0].position.column == 1


def test_a_key_that_is_given_twice_is_refused() -> None:
    """Readers differ in which one counts: one sees the deny, the other the permit."""
    said = only_problem("effect: deny\nv: x\neffect: permit\n")
    assert said == "d.yaml:3:1: key `effect` is given twice (it is on line 1 already)"


def test_a_key_that_is_given_twice_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the later one wins, below whatever a reviewer read first."""
    monkeypatch.setattr(documents._Composer, "_key", lambda _self, key, _entries: key)
    root, problems = read("effect: deny\nv: x\neffect: permit\n")
    assert not problems
    assert root is not None
    effect = root.get("effect")
    assert isinstance(effect, Scalar)
    assert effect.text == "permit"


def test_windows_line_ends_move_no_line() -> None:
    """CRLF is one line break, and no part of a value."""
    found = scalar("a: b\r\nv: |\r\n  x\r\n  y\r\n")
    assert found.text == "x\ny\n"
    assert (found.locate(2).line, found.locate(2).column) == (4, 3)


def test_the_size_is_limited_before_anything_is_looked_at() -> None:
    """A document of more than the limit is refused in no time."""
    began = time.process_time()
    said = only_problem(b"[" * (DOCUMENT_BYTES_MAX + 1))
    assert "is larger than 1048576 bytes" in said
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("opener", ["[", "{a: ", "- ", "? "])
def test_depth_is_limited_before_it_costs_anything(opener: str) -> None:
    """Half a megabyte of nesting ends at the limit, in the parser's first steps."""
    began = time.process_time()
    said = only_problem("v: x\nw:\n  " + opener * (500_000 // len(opener)))
    assert "nested deeper than 32 levels" in said
    assert time.process_time() - began < 3


def test_the_number_of_nodes_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of too many items is refused at the first one too many."""
    assert documents.NODES_MAX == 50_000
    monkeypatch.setattr(documents, "NODES_MAX", 500)
    said = only_problem("v:\n" + "- a\n" * 600)
    assert said.startswith("d.yaml:499:3: the document has more than 500 values")


def test_the_number_of_nodes_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limit the same list is read to its end."""
    monkeypatch.setattr(documents, "NODES_MAX", 1 << 30)
    node = value("v:\n" + "- a\n" * 600)
    assert isinstance(node, List)
    assert len(node.items) == 600


@pytest.mark.parametrize(
    ("text", "offset_of", "line", "column"),
    [
        ("v: ab && cd\n", "cd", 1, 10),
        ("v:   ab\n", "ab", 1, 6),
        ('v: "ab && cd"\n', "cd", 1, 11),
        ("v: 'ab && cd'\n", "cd", 1, 11),
        # An escape is two, four or more characters in the source and one in the text.
        ('v: "a\\"b cd"\n', "cd", 1, 10),
        ('v: "\\x41\\u0042 cd"\n', "cd", 1, 16),
        ('v: "a\\tb cd"\n', "b", 1, 8),
        ("v: 'a''b cd'\n", "cd", 1, 10),
        # Folded over lines, each style in its way.
        ("v: ab &&\n    cd\n", "cd", 2, 5),
        ('v: "ab &&\n  cd"\n', "cd", 2, 3),
        ('v: "ab &&\\\n  cd"\n', "cd", 2, 3),
        ("v: |\n  ab &&\n    cd\n", "cd", 3, 5),
        ("v: |-\n  ab\n\n  cd\n", "cd", 4, 3),
        ("v: >\n  ab &&\n  cd\n", "cd", 3, 3),
        ("v: >-   # why\n  ab &&\n\n  cd\n", "cd", 4, 3),
        ("v: |2\n    ab\n  cd\n", "cd", 3, 3),
        # Columns count code points, not bytes or cells.
        ("v: 'äöü 漢字 cd'\n", "cd", 1, 12),
    ],
)
def test_a_character_of_a_value_is_found_in_the_document(
    text: str, offset_of: str, line: int, column: int
) -> None:
    """That is how a CEL error points into any style of scalar."""
    found = scalar(text)
    position = found.locate(found.text.index(offset_of))
    assert (position.line, position.column) == (line, column)


def test_white_space_is_found_next_to_what_is_before_it() -> None:
    """An error at a blank, or at the end, points behind the last character."""
    found = scalar("v: |\n  ab  cd\n")
    places = [(found.locate(i).line, found.locate(i).column) for i in (2, 3, 6, 7)]
    assert places == [(2, 5), (2, 6), (2, 9), (2, 9)]


_words = st.text(st.sampled_from("abc(&=.é漢"), min_size=1, max_size=6)


@given(st.lists(st.lists(_words, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_every_word_is_found_in_every_style(lines: list[list[str]], data: st.DataObject) -> None:
    """For generated texts, each word's position holds the same word, whatever the style."""
    indent = " " * data.draw(st.integers(1, 5))
    body = "".join(f"{indent}{' '.join(line)}\n" for line in lines)
    flat = " ".join(word for line in lines for word in line)
    quoted = "\n".join(f"{indent}{' '.join(line)}" for line in lines).strip()
    for text in (
        f"v: |\n{body}",
        f"v: >-\n{body}",
        f"v: '{flat}'\n",
        f'v: "{flat}"\n',
        f"v: '{quoted}'\n",
        f'v: "{quoted}"\n',
    ):
        found, at, rows = scalar(text), 0, text.split("\n")
        for word in flat.split():
            at = found.text.index(word, at)
            position = found.locate(at)
            assert rows[position.line - 1][position.column - 1 :].startswith(word), text
            at += len(word)


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_a_problem_with_a_position(data: bytes) -> None:
    """Whatever the bytes: a root, or problems that say where; nothing is raised."""
    root, problems = read(data)
    assert (root is None) == bool(problems)
    for problem in problems:
        assert problem.position is not None
        assert problem.position.line >= 1


_yaml = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "|", ">", "&x ", "*x", "!t ",
         '"', "'", "#", " # c", "? ", ": ", "---\n", "%YAML 1.2\n", "<<: ", "\\U", "\t", "~", "1"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(_yaml)
@settings(max_examples=300, deadline=None)
def test_any_text_of_yaml_tokens_is_a_document_or_a_problem(text: str) -> None:
    """As above, from the alphabet that gets deep into the parser."""
    root, problems = read(text)
    assert (root is None) == bool(problems)
