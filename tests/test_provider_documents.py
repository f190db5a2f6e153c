"""Providers in documents: read, checked as a whole, compiled, formatted, and spoken of by tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import cli, compiled
from pdp.authoring import trial
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.authoring.formatting import format_document
from pdp.authoring.parallel import run as run_rows
from pdp.authoring.policy_tests import read_tests, unknown_names
from pdp.authoring.problems import Problems
from pdp.authoring.review import Clock, review
from pdp.authoring.second_opinion import consult
from pdp.cel.limits import EvaluationLimits
from pdp.errors import PolicyError
from pdp.impact.comparison import Act, compare
from pdp.impact.edition import Edition, read_edition
from pdp.model import Cause, Effect
from pdp.provided import ProviderDocument
from pdp.schema import Target
from pdp.v1 import bundle_pb2 as pb
from tests.simulators.author_commands import Command
from tests.test_diff import pdp

__all__ = ["pdp"]

POLICY = """
policy: reports
resource: report
owner: tests@example.org
rules:
  - id: who-is-not-suspended-reads
    effect: permit
    actions: [read]
    when: "!subject.properties.suspended"
    justification: tests
  - id: nobody-writes-whom-nobody-knows
    effect: deny
    actions: [write]
    when: "!has(subject.properties.suspended)"
  - id: anyone-writes
    effect: permit
    actions: [write]
    justification: tests
"""
CALLERS = """
kind: callers
callers:
  - {id: spiffe://example.org/app, resources: [report], actions: ["*"], subjects: {assert: [user]}}
"""
SCHEMA = """
kind: schema
subject: user
schema:
  type: object
  properties:
    suspended: {type: boolean}
    team: {type: string}
"""
HR = "kind: provider\nname: hr\nsubject: user\nattributes: [suspended]\nmax_age_s: 30\n"
TESTS = """
kind: tests
now: 2026-11-26T00:00:00Z
caller: spiffe://example.org/app
fetched: {hr: {suspended: false}}
subjects: {ana: {type: user, id: ana}}
resources: {r: {type: report, id: "1"}}
matrices:
  - name: while nobody answers
    fetched: {hr: DOWN}
    table: |
      action  resource  ana
      read    r         DENY/DEFAULT
      write   r         DENY/INDETERMINATE
tests:
  - name: as ever
    subject: ana
    action: read
    resource: r
    expect: {effect: PERMIT, rules: [reports/who-is-not-suspended-reads]}
  - name: suspended
    subject: ana
    action: read
    resource: r
    fetched: {hr: {suspended: true}}
    expect: {effect: DENY, cause: DEFAULT}
  - name: of another kind
    subject: ana
    action: read
    resource: r
    fetched: {hr: {suspended: "no"}}
    expect: {effect: DENY, cause: DEFAULT}
  - name: unsaid
    subject: ana
    action: write
    resource: r
    fetched: {hr: {}}
    expect: {effect: DENY, cause: INDETERMINATE}
  - name: the caller knows better
    subject: {type: user, id: ana, properties: {suspended: false}}
    action: read
    resource: r
    expect: {effect: DENY, cause: IDENTITY}
"""
FILES = {"p.yaml": POLICY, "callers.yaml": CALLERS, "schema.yaml": SCHEMA, "hr.yaml": HR}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def compile_files(checker: Checker, changes: Mapping[str, str] | None = None) -> Compilation:
    """The folder, with some documents other than they are."""
    files = FILES | dict(changes or {})
    return compile_sources({path: text.encode() for path, text in files.items()}, checker)


def test_a_provider_is_read_checked_and_in_the_bundle(checker: Checker) -> None:
    """The document goes into the bundle as it was written, and comes out of it."""
    found = compile_files(checker)
    assert found.problems == ()
    (document,) = found.providers
    assert document == ProviderDocument("hr", Target.SUBJECT, "user", ("suspended",), 30)
    (file,) = (each for each in found.documents if each.source_path == "hr.yaml")
    assert compiled.decode(file.compiled) == document
    assert found.policy_set(EvaluationLimits()).provided is not None
    assert (1, "provider") in found.counts


MISTAKES = {
    "no name": (HR.replace("name: hr\n", ""), "has no `name`"),
    "bad name": (HR.replace("name: hr", "name: HR"), "`HR` must be lower-case letters"),
    "no attributes": (HR.replace("attributes: [suspended]\n", ""), "has no `attributes`"),
    "none": (HR.replace("[suspended]", "[]"), "is empty"),
    "one twice": (HR.replace("[suspended]", "[suspended, suspended]"), "listed twice"),
    "undeclared": (HR.replace("[suspended]", "[suspendet]"), "declares `suspendet`"),
    "of no schema": (HR.replace("user", "robot"), "no schema of subject type `robot`"),
    "pattern": (HR.replace("user", '"*"'), "is no pattern"),
    "about nothing": (HR.replace("subject: user\n", ""), "about exactly one"),
    "about two": (HR + "resource: report\n", "about exactly one"),
    "about an action": (HR.replace("subject: user", "action: read"), "unknown key `action`"),
    "no age": (HR.replace("max_age_s: 30\n", ""), "has no `max_age_s`"),
    "too old": (HR.replace("30", "3601"), "seconds from 0 to 3600"),
    "a text": (HR.replace("30", '"30"'), "seconds from 0 to 3600"),
    "true": (HR.replace("30", "true"), "seconds from 0 to 3600"),
    "a URL": (HR + "url: https://example.org\n", "unknown key `url`"),
    "a statement": (HR + "statement: select 1\n", "unknown key `statement`"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_a_provider_are_told_with_their_place(checker: Checker, name: str) -> None:
    """Each is a problem in its own document; where a provider is, no bundle can say."""
    text, message = MISTAKES[name]
    found = compile_files(checker, {"hr.yaml": text})
    problems = [each for each in found.problems if message in str(each)]
    assert problems, [str(each) for each in found.problems]
    assert all(each.position and each.position.path == "hr.yaml" for each in problems)


def test_an_attribute_has_one_owner(checker: Checker) -> None:
    """Two providers of one attribute, or of one name, are no bundle; the other place is named."""
    found = compile_files(checker, {"z.yaml": HR.replace("name: hr", "name: crm")})
    (problem,) = found.problems
    assert "`suspended` is owned by provider `hr` as well" in str(problem)
    assert "hr.yaml:4:14" in str(problem)
    found = compile_files(checker, {"z.yaml": HR})
    assert "provider `hr` is defined twice" in str(found.problems[0])


def test_what_a_provider_owns_needs_no_guard_in_conditions(checker: Checker) -> None:
    """`suspended` is not required by the schema; owned, it is there or in error."""
    unowned = compile_files(checker, {"hr.yaml": HR.replace("suspended", "team")})
    assert any("may be absent" in str(each) for each in unowned.problems)
    assert compile_files(checker).problems == ()


def test_an_attribute_that_nobody_reads_is_found(checker: Checker) -> None:
    """PC206: it is taken from callers for nothing."""
    text = HR.replace("[suspended]", "[suspended, team]")
    clock = Clock(0, 0)
    findings = review(compile_files(checker, {"hr.yaml": text}), clock)
    (found,) = (each for each in findings if each.kind.id == "PC206")
    assert (found.position.path, found.position.line) == ("hr.yaml", 4)
    assert "`team`" in found.message
    assert not [f for f in review(compile_files(checker), clock) if f.kind.id == "PC206"]


def test_rows_say_what_providers_say(checker: Checker) -> None:
    """Values, failures, and what holds for all rows of a document; in one process and several."""
    compilation = compile_files(checker)
    tests = read_tests({"r_test.yaml": TESTS.encode()})
    assert tests.problems == ()
    for processes in (1, 2):
        result = run_rows(compilation, tests.rows, processes=processes, cover=True)
        assert [(o.row.name, o.differences) for o in result.outcomes if not o.passed] == []
        assert len(result.outcomes) == 7


def test_a_row_that_says_nothing_of_a_provider_is_in_doubt(checker: Checker) -> None:
    """What is forgotten is no value: the permit does not come."""
    compilation = compile_files(checker)
    text = TESTS.replace("fetched: {hr: {suspended: false}}\nsubjects", "subjects")
    rows = [row for row in read_tests({"r_test.yaml": text.encode()}).rows if row.name == "as ever"]
    assert compilation.callers is not None
    (found,) = trial.run(compilation.policy_set(EvaluationLimits()), compilation.callers, rows)
    assert found.decision is not None
    assert (found.decision.effect, found.decision.cause) == (Effect.DENY, Cause.DEFAULT)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{hr: down}", "neither a map of values nor the name of a failure"),
        ("{hr: 5}", "neither a map"),
        ("{hr: FETCHED}", "neither a map"),
        ("[hr]", "must be a map of providers"),
        ("DOWN", "must be a map of providers"),
    ],
)
def test_what_no_provider_says_is_told(said: str, message: str) -> None:
    """A misspelt failure is no values."""
    text = TESTS.replace("fetched: {hr: {suspended: true}}", f"fetched: {said}")
    assert any(message in str(each) for each in read_tests({"r_test.yaml": text.encode()}).problems)


def test_a_row_that_speaks_of_no_provider_is_told() -> None:
    """As with rules that no policy has."""
    rows = read_tests({"r_test.yaml": TESTS.replace("hr:", "hrr:").encode()}).rows
    (first, *_) = unknown_names(rows, frozenset({"reports/who-is-not-suspended-reads"}), {"hr"})
    assert "`hrr`, which is no provider here" in str(first)
    assert "did you mean `hr`" in str(first)


def test_the_second_interpreter_is_asked_where_everything_is_known(checker: Checker) -> None:
    """An unknown attribute would be an absent one to cel-python: such rows are left out."""
    rows = read_tests({"r_test.yaml": TESTS.encode()}).rows
    opinion = consult(compile_files(checker), rows)
    assert opinion.differences == []
    assert opinion.agreed == 2


def test_documents_are_laid_out() -> None:
    """`pdp fmt` orders the keys of a provider and leaves the rest alone."""
    shuffled = "max_age_s: 30\nattributes: [suspended]\nsubject: user\nname: hr\nkind: provider\n"
    assert format_document("hr.yaml", shuffled.encode(), Problems()) == HR
    once = format_document("r_test.yaml", TESTS.encode(), Problems())
    assert once is not None
    assert format_document("r_test.yaml", once.encode(), Problems()) == once


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_of_a_provider_are_anything_but_refused_or_sound(data: bytes) -> None:
    """A bundle is checked, not believed: whatever the bytes, a document or a PolicyError."""
    message = pb.CompiledDocument(format_version=1, source_path="sources/x.yaml")
    message.provider.SetInParent()
    try:
        message.provider.MergeFromString(data)
    except Exception:  # noqa: BLE001 not protobuf: nothing to decode
        return
    try:
        found = compiled.decode(message.SerializeToString())
    except PolicyError:
        return
    assert isinstance(found, ProviderDocument)


def test_explain_and_repl_say_where_a_value_came_from(
    pdp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pdp explain` and `pdp repl` take what providers say, and show whose it is."""
    monkeypatch.setattr(cli, "COMMANDS", ("explain", "repl"))
    folder = tmp_path / "policies"
    folder.mkdir()
    for path, text in FILES.items():
        (folder / path).write_text(text)
    question = {
        "subject": {"type": "user", "id": "ana"},
        "action": "read",
        "resource": {"type": "report", "id": "1"},
        "caller": "spiffe://example.org/app",
        "fetched": {"hr": {"suspended": False}},
    }
    asked = tmp_path / "q.json"
    for said, effect, what in (
        ({"suspended": False}, "PERMIT", "is what provider `hr` says"),
        ("LATE", "DENY", "is not available: provider `hr` did not answer in time"),
    ):
        asked.write_text(json.dumps(question | {"fetched": {"hr": said}}))
        done = pdp("explain", folder, asked)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(effect)
        assert what in " ".join(done.stdout.split())
        done = pdp("explain", folder, asked, "--json")
        assert what in json.loads(done.stdout)["origins"]["subject.properties.suspended"]
        lines = "has(subject.properties.suspended)\n:vars\n"
        assert what in pdp("repl", asked, "--policies", folder, stdin=lines).stdout


def edition(folder: Path, name: str, changes: Mapping[str, str]) -> Edition:
    """The folder, with some documents other than they are; an empty text is none."""
    made = folder / name
    made.mkdir()
    for path, text in (FILES | dict(changes)).items():
        if text:
            (made / path).write_text(text)
    return read_edition(str(made))


def test_what_becomes_of_a_provider_is_named_in_a_diff(tmp_path: Path) -> None:
    """One that goes leaves callers to say what it owned: among the dangerous."""
    before = edition(tmp_path, "before", {})
    guarded = POLICY.replace('subject.properties.suspended"', 'has(subject.properties.suspended)"')
    gone = edition(tmp_path, "gone", {"hr.yaml": "", "p.yaml": guarded})
    found = [each for each in compare(before, gone) if each.kind == "provider"]
    assert [(each.act, each.name, each.rank) for each in found] == [(Act.REMOVED, "hr", 2)]
    older = edition(tmp_path, "older", {"hr.yaml": HR.replace("30", "300")})
    (changed,) = compare(before, older)
    assert (changed.kind, changed.act, changed.rank) == ("provider", Act.CHANGED, 2)
    assert [(each.field, each.old, each.new) for each in changed.changes] == [
        ("max age s", "30", "300")
    ]
    (added,) = (each for each in compare(gone, before) if each.kind == "provider")
    assert added.act is Act.ADDED
