"""`pdp check` and what is behind it: every mistake is named, where it is, with what to do."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pdp import compiled
from pdp.authoring import sources as sources_module
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import (
    Compilation,
    compile_directory,
    compile_document,
    compile_sources,
)
from pdp.authoring.policy_tests import read_tests
from pdp.callers import CallerPolicy
from pdp.errors import ConfigurationError, PolicyError
from pdp.policy import PolicyDocument
from pdp.schema import SchemaDocument
from tests.conftest import ROOT
from tests.simulators.author_commands import Command, real_process

CASES = ROOT / "tests" / "cases"
SAMPLE = ROOT / "policies" / "expense-reports"
MARK = "▶"
HEAD = "policy: p\nresource: r\n"
RULE = "rules:\n  - id: a\n    effect: permit\n    actions: [read]\n    justification: x\n"
CALLERS = (
    b"kind: callers\ncallers:\n  - id: spiffe://demo.example.org/a\n    resources: [r]\n"
    b"    actions: [read]\n    subjects: {assert: [user]}\n"
)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def cases(name: str) -> list[Any]:
    """The cases of a file, each with its name."""
    found = YAML(typ="safe", pure=True).load((CASES / name).read_text())
    assert found
    return [pytest.param(case, id=case["name"]) for case in found]


def document(case: Mapping[str, str]) -> str:
    """The text of a case, marks included."""
    if "document" in case:
        return case["document"]
    if "rule" in case:
        return HEAD + RULE + "".join(f"    {line}\n" for line in case["rule"].splitlines())
    own_rules = "\nrules:" in case["policy"]
    return HEAD + ("" if own_rules else RULE) + case["policy"]


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without marks, and the line and column of each."""
    places = []
    clean = ""
    for part in text.split(MARK)[:-1]:
        clean += part
        places.append((clean.count("\n") + 1, len(clean) - (clean.rfind("\n") + 1) + 1))
    return clean + text.rsplit(MARK, maxsplit=1)[-1], places


def assert_told(case: Mapping[str, Any], problems: tuple[PolicyError, ...]) -> None:
    """Exactly the expected problems, exactly at the marks, in order."""
    _, places = unmarked(document(case))
    told = [str(problem) for problem in problems]
    found = [
        (problem.position.line, problem.position.column)
        for problem in problems
        if problem.position is not None
    ]
    assert found == places, told
    assert len(told) == len(case["problems"]), told
    for said, expected in zip(told, case["problems"], strict=True):
        assert expected in said


@pytest.mark.parametrize("case", cases("policy_mistakes.yaml"))
def test_a_mistake_in_a_policy_is_named_where_it_is(
    case: Mapping[str, Any], checker: Checker
) -> None:
    """The table in tests/cases/policy_mistakes.yaml."""
    text, _ = unmarked(document(case))
    assert_told(case, compile_document("p.yaml", text.encode(), checker).problems)


@pytest.mark.parametrize("case", cases("caller_mistakes.yaml"))
def test_a_mistake_in_a_caller_policy_is_named_where_it_is(
    case: Mapping[str, Any], checker: Checker
) -> None:
    """The table in tests/cases/caller_mistakes.yaml."""
    text, _ = unmarked(document(case))
    assert_told(case, compile_document("callers.yaml", text.encode(), checker).problems)


@pytest.mark.parametrize("case", cases("test_mistakes.yaml"))
def test_a_mistake_in_a_test_is_named_where_it_is(case: Mapping[str, Any]) -> None:
    """The table in tests/cases/test_mistakes.yaml."""
    text, _ = unmarked(document(case))
    assert_told(case, read_tests({"p_test.yaml": text.encode()}).problems)


ANY_TYPE = (
    "null", "true", "1", "1u", "1.5", '"a"', 'b"x"', "now", 'duration("1s")', "now - now", "[]",
    "[1]", "[[1]]", '[1, dyn("a")]', "{}", '{"a": 1}', '{1: "a"}', '[{"a": b"x"}]', "type(1)",
    "type(type(1))", "bool", "dyn(1)", "subject.properties", "context.a",
)  # fmt: skip


def test_a_variable_may_be_of_any_type(checker: Checker) -> None:
    """What the checker deduces for a variable, it takes as the type of a name."""
    text = "policy: p\nresource: r\nvariables:\n"
    text += "".join(f"  v{i}: |\n    {source}\n" for i, source in enumerate(ANY_TYPE))
    text += "rules:\n"
    for i in range(len(ANY_TYPE)):
        text += f"  - {{id: r{i}, effect: deny, actions: [a], when: 'v{i} == v{i}'}}\n"
    found = compile_document("p.yaml", text.encode(), checker)
    assert [str(problem) for problem in found.problems] == []
    assert len(found.rule_names) == len(ANY_TYPE)


# -- a set of documents ---------------------------------------------------------


def sample() -> dict[str, bytes]:
    """The expense reports, tests left out."""
    found = {
        path.name: path.read_bytes()
        for path in SAMPLE.glob("*.yaml")
        if not path.stem.endswith("_test")
    }
    assert len(found) == 8
    return found


def said(compilation: Compilation) -> list[str]:
    """All problems, as an author reads them."""
    return [str(problem) for problem in compilation.problems]


def test_order_of_files_does_not_matter(checker: Checker) -> None:
    """Documents in every order: the same bytes, the same problems."""
    sources = sample()
    broken = {**sources, "z.yaml": b"policy: z\n", "b.yaml": b"kind: nothing\n"}
    for documents in (sources, broken):
        first = compile_sources(documents, checker)
        for order in itertools.islice(itertools.permutations(sorted(documents)), 0, 700, 97):
            again = compile_sources({path: documents[path] for path in order}, checker)
            assert again.documents == first.documents
            assert said(again) == said(first)


def test_where_the_folder_is_changes_nothing(tmp_path: Path, checker: Checker) -> None:
    """The same documents elsewhere, files written in another order: the same bytes."""
    other = tmp_path / "some where" / "else"
    other.mkdir(parents=True)
    for name, data in sorted(sample().items(), reverse=True):
        (other / name).write_bytes(data)
    assert (
        compile_directory(other, checker).documents == compile_directory(SAMPLE, checker).documents
    )


def test_the_same_sources_get_the_same_bytes_in_every_process() -> None:
    """Another process and hash seed compile to the same bytes: signing rebuilds and compares."""
    program = (
        "import hashlib, sys; from pathlib import Path;"
        "from pdp.authoring.compilation import compile_directory;"
        "c = compile_directory(Path(sys.argv[1])); c.raise_if_failed();"
        "print(hashlib.sha256(b''.join(d.compiled for d in c.documents)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(SAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_what_is_compiled_is_what_the_pdp_loads(checker: Checker) -> None:
    """Every compiled document decodes to the document the compilation names."""
    compilation = compile_directory(SAMPLE, checker)
    compilation.raise_if_failed()
    loaded = [compiled.decode(document.compiled) for document in compilation.documents]
    assert [item for item in loaded if isinstance(item, CallerPolicy)] == [compilation.callers]
    assert [item for item in loaded if isinstance(item, PolicyDocument)] == list(
        compilation.policies
    )
    assert [item for item in loaded if isinstance(item, SchemaDocument)] == list(
        compilation.schemas
    )
    assert all(b"sources/" + d.source_path.encode() in d.compiled for d in compilation.documents)


def test_a_policy_name_is_used_once(checker: Checker) -> None:
    """Two files with one name: rules are named `policy/rule`, so the answer would be ambiguous."""
    rules = b"policy: p\nresource: r\nrules: [{id: a, effect: deny, actions: [read]}]\n"
    found = compile_sources({"b.yaml": rules, "a.yaml": rules, "c.yaml": CALLERS}, checker)
    assert said(found) == [
        "b.yaml:1:9: policy `p` is defined twice (the other one is at a.yaml:1:9)"
    ]


def test_there_is_exactly_one_caller_policy(checker: Checker) -> None:
    """None, and two, are problems: the first of two must not win in silence."""
    rules = b"policy: p\nresource: r\nrules: [{id: a, effect: deny, actions: [read]}]\n"
    none = compile_sources({"p.yaml": rules}, checker)
    assert said(none) == [
        "there is no caller policy (a document `kind: callers` says which workload may ask what)"
    ]
    two = compile_sources({"p.yaml": rules, "a.yaml": CALLERS, "b.yaml": CALLERS}, checker)
    (problem,) = said(two)
    assert problem.startswith("b.yaml:1:1: there is a second caller policy (the other one is at a.")


def test_an_empty_set_is_refused(checker: Checker) -> None:
    """No policy is not a policy that permits nothing: it is a wrong folder."""
    assert len(said(compile_sources({}, checker))) == 2
    assert "there is no policy" in said(compile_sources({"c.yaml": CALLERS}, checker))[0]


def test_all_problems_of_all_documents_are_told(checker: Checker) -> None:
    """Sorted by place, not only the first."""
    found = compile_sources(
        {
            "b.yaml": (HEAD + RULE + "    when: nope\n    roles: [x]\n").encode(),
            "a.yaml": (HEAD.replace(": p", ": q") + RULE + "    when: 1 + 'a'\n").encode(),
            "c.yaml": b"a: b: c\n",
        },
        checker,
    )
    places = [str(problem.position) for problem in found.problems]
    assert places == ["a.yaml:8:13", "b.yaml:8:11", "b.yaml:9:13", "c.yaml:1:5"]
    with pytest.raises(PolicyError, match=r"a\.yaml:8:13: .*and 3 more: `pdp check` shows them"):
        found.raise_if_failed()
    assert found.documents == ()


def test_problems_are_bounded(checker: Checker) -> None:
    """A hostile document cannot make us say more than anybody reads."""
    text = HEAD + RULE + "".join(f"x{i}: 1\n" for i in range(2_000))
    assert len(compile_document("p.yaml", text.encode(), checker).problems) == 200


# -- a folder -------------------------------------------------------------------


def write(folder: Path, documents: Mapping[str, bytes]) -> Path:
    """The documents as files below the folder."""
    for name, data in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


DENY = b"policy: p\nresource: r\nrules: [{id: a, effect: deny, actions: [read]}]\n"


def test_no_document_is_skipped_for_its_spelling(tmp_path: Path, checker: Checker) -> None:
    """A deny that is not read is a grant: `.YML` and folders count; README and editors' do not."""
    folder = write(
        tmp_path,
        {
            "deep/er/P.YML": DENY,
            "callers.Yaml": CALLERS,
            "README.md": b"x",
            ".#P.YML": b"x",
            ".git/config.yaml": b"x",
            "p_test.yaml": b"x",
        },
    )
    found = compile_directory(folder, checker)
    assert not said(found)
    assert [d.source_path for d in found.documents] == ["callers.Yaml", "deep/er/P.YML"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, checker: Checker) -> None:
    """A link to somebody else's document or folder is a problem; one inside is followed."""
    outside = write(tmp_path / "outside", {"q.yaml": DENY.replace(b": p", b": q")})
    folder = write(tmp_path / "in", {"p.yaml": DENY, "data/callers.yaml": CALLERS})
    (folder / "q.yaml").symlink_to(outside / "q.yaml")
    (folder / "more").symlink_to(outside)
    (folder / "gone.yaml").symlink_to(outside / "nothing")
    (folder / "circle").symlink_to(folder)
    (folder / "data" / "callers.yaml").rename(folder / "data" / "real")
    (folder / "callers.yaml").symlink_to(folder / "data" / "real")
    found = compile_directory(folder, checker)
    assert [problem.split(":")[0] for problem in said(found)] == [
        "circle",
        "gone.yaml",
        "more",
        "q.yaml",
    ]
    assert all("does not lead to a file in this folder" in problem for problem in said(found))
    assert [d.source_path for d in found.documents] == ["callers.yaml", "p.yaml"]


def test_a_link_out_of_the_folder_twin_without_guard(
    tmp_path: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard, the other folder's document becomes policy."""
    outside = write(tmp_path / "outside", {"q.yaml": DENY.replace(b": p", b": q")})
    folder = write(tmp_path / "in", {"p.yaml": DENY, "callers.yaml": CALLERS})
    (folder / "q.yaml").symlink_to(outside / "q.yaml")
    monkeypatch.setattr(sources_module._Walk, "_is_inside", lambda *_: True)
    found = compile_directory(folder, checker)
    assert not said(found)
    assert {policy.name for policy in found.policies} == {"p", "q"}


def test_a_pipe_named_like_a_document_is_refused(tmp_path: Path, checker: Checker) -> None:
    """Reading it would wait for ever."""
    folder = write(tmp_path, {"p.yaml": DENY, "callers.yaml": CALLERS})
    os.mkfifo(folder / "q.yaml")
    assert said(compile_directory(folder, checker)) == [
        "q.yaml: this is not a plain file (remove it)"
    ]


def test_names_that_a_bundle_could_not_hold_are_refused(tmp_path: Path, checker: Checker) -> None:
    """Blanks, letters that file systems fold, and options."""
    folder = write(tmp_path, {"my policy.yaml": DENY, "é.yaml": DENY, "callers.yaml": CALLERS})
    found = said(compile_directory(folder, checker))
    assert [line.partition(" cannot be")[0] for line in found[1:]] == [
        "my policy.yaml: `my policy.yaml`",
        "é.yaml: `é.yaml`",
    ]
    assert "there is no policy" in found[0]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("../p.yaml", "cannot be a name in a bundle"),
        ("/p.yaml", "cannot be a name in a bundle"),
        ("a//b.yaml", "cannot be a name in a bundle"),
        ("a/./b.yaml", "cannot be a name in a bundle"),
        ("", "cannot be a name in a bundle"),
        ("a" * 200 + ".yaml", "longer than 180 characters"),
        # What `pdp check` of the folder would not have read must not be signed.
        ("p_test.yaml", "holds tests, and is no part of a bundle"),
        ("P_Test.YML", "holds tests, and is no part of a bundle"),
        (".p.yaml", "cannot be a name in a bundle"),
        ("p.txt", "a document's name ends in `.yaml`"),
    ],
)
def test_a_path_that_no_folder_would_give_is_refused(
    path: str, complaint: str, checker: Checker
) -> None:
    """`compile_sources` gets its paths from an archive: they are judged like a folder's."""
    found = compile_sources({path: DENY, "callers.yaml": CALLERS}, checker)
    assert any(complaint in problem for problem in said(found))


def test_a_wrong_folder_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, nothing, a folder of far too much: configuration errors, before anything is read."""
    with pytest.raises(ConfigurationError, match="is not a folder"):
        compile_directory(tmp_path / "nothing")
    monkeypatch.setattr(sources_module, "ENTRIES_MAX", 10)
    write(tmp_path, {f"{i}.txt": b"" for i in range(11)})
    with pytest.raises(ConfigurationError, match="more than 10 files: is it the right folder"):
        compile_directory(tmp_path)
    monkeypatch.setattr(sources_module, "ENTRIES_MAX", 1_000)
    monkeypatch.setattr(sources_module, "DOCUMENTS_MAX", 2)
    write(tmp_path, {f"p{i}.yaml": DENY for i in range(3)})
    with pytest.raises(ConfigurationError, match="more than 2 documents"):
        compile_directory(tmp_path)
    monkeypatch.setattr(sources_module, "DOCUMENTS_MAX", 100)
    monkeypatch.setattr(sources_module, "SOURCES_BYTES_MAX", 2 * len(DENY))
    with pytest.raises(ConfigurationError, match="bytes together"):
        compile_directory(tmp_path)


def test_a_folder_that_is_too_deep_is_a_problem(tmp_path: Path, checker: Checker) -> None:
    """Not a recursion error."""
    folder = write(tmp_path, {"d/" * 17 + "p.yaml": DENY, "callers.yaml": CALLERS})
    assert any("more than 16 levels deep" in line for line in said(compile_directory(folder)))


def test_what_the_pdp_would_refuse_does_not_leave_the_workshop(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled document goes through the PDP's own loader before it is handed out."""
    monkeypatch.setattr(compiled, "COMPILED_BYTES_MAX", 20)
    found = compile_sources({"p.yaml": DENY, "callers.yaml": CALLERS}, checker)
    assert found.documents == ()
    assert all("larger than 20 bytes" in problem for problem in said(found))


# -- the command ----------------------------------------------------------------


def test_check_says_what_was_checked() -> None:
    """No problems: exit 0, and counts, so that an empty run is not taken for a good one."""
    done = real_process("check", "policies/expense-reports")
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == "4 policies, 25 rules, 1 caller policy, 3 schemas, 136 tests: no problems\n"
    )


def test_check_shows_the_place_and_what_to_do(tmp_path: Path, pdp: Command) -> None:
    """Path as typed, line, column, excerpt with the caret below the character, suggestion."""
    write(
        tmp_path,
        {
            "pol/p.yaml": (HEAD + RULE + '    when: \'"漢" == "漢" && over_limt\'\n').encode(),
            "pol/callers.yaml": CALLERS,
        },
    )
    done = pdp("check", "pol", cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "pol/p.yaml:8:26: error: `over_limt` is not defined"
    assert lines[1] == '    8 |     when: \'"漢" == "漢" && over_limt\''
    # Two characters before the caret take two cells each.
    assert lines[2].index("^") == lines[1].index("over_limt") + 2
    assert lines[-1] == "2 documents: 1 problem"


def test_check_of_one_file_does_not_ask_for_the_others(pdp: Command) -> None:
    """An editor checks the file at hand."""
    done = pdp("check", "policies/expense-reports/payment.yaml")
    assert (done.returncode, done.stdout) == (
        0,
        "1 policy, 5 rules, 0 caller policies: no problems\n",
    )
    done = pdp("check", "policies/expense-reports/payment_test.yaml")
    assert (done.returncode, done.stdout) == (0, "21 tests: no problems\n")


def test_check_for_machines(tmp_path: Path, pdp: Command) -> None:
    """`--json`: every problem with path, line, column, message, suggestion."""
    write(
        tmp_path,
        {
            "p.yaml": (HEAD + RULE + "    whem: x\n    when: nope\n").encode(),
            "callers.yaml": CALLERS,
            "p_test.yaml": b"kind: test\n",
        },
    )
    done = pdp("check", "--json", tmp_path)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [(p["line"], p["column"], p["kind"]) for p in report["problems"][:2]] == [
        (8, 5, "document"),
        (9, 11, "expression"),
    ]
    assert report["problems"][0] == {
        "path": str(tmp_path / "p.yaml"),
        "line": 8,
        "column": 5,
        "kind": "document",
        "message": "rule `a` has an unknown key `whem`",
        "suggestion": "did you mean `when`?",
    }
    assert report["problems"][-1]["path"] == str(tmp_path / "p_test.yaml")


def test_check_of_nothing_is_a_usage_error(tmp_path: Path, pdp: Command) -> None:
    """No such folder: exit 2 and a sentence, no traceback."""
    done = pdp("check", tmp_path / "nothing")
    assert done.returncode == 2
    assert "is not a folder: give the one with the policies" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_cannot_be_made_to_write_to_the_terminal(tmp_path: Path, pdp: Command) -> None:
    """A document's control characters do not reach the terminal, in excerpt or message."""
    write(tmp_path, {"p.yaml": b"policy: p\nx: \x1b]0;owned\x07[red]\n", "callers.yaml": CALLERS})
    done = pdp("check", tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[red]" in done.stdout


def test_rules_that_tests_expect_and_nobody_wrote_are_told(tmp_path: Path, pdp: Command) -> None:
    """A misspelt rule name in a test is found by `pdp check`."""
    write(
        tmp_path,
        {
            "p.yaml": DENY,
            "callers.yaml": CALLERS,
            "p_test.yaml": b"""\
kind: tests
now: 2026-09-15T10:00:00Z
caller: spiffe://demo.example.org/a
tests:
  - name: t
    subject: {type: user, id: ana}
    action: read
    resource: {type: r, id: "1"}
    expect: {effect: DENY, rules: [p/b]}
""",
        },
    )
    done = pdp("check", tmp_path)
    assert done.returncode == 1
    assert "test `t` expects `p/b`, which no policy has" in done.stdout
    assert "did you mean `p/a`?" in done.stdout
