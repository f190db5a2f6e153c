"""`pdp explain`: the tree a person reads, the object a machine reads, questions that are none."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp import cli
from pdp.cli.terminal import report
from pdp.impact.question import QuestionError, parse_question
from pdp.v1 import authorization_pb2 as pb
from tests.conftest import ROOT
from tests.simulators.author_commands import Done

EXPENSES = ROOT / "policies" / "expense-reports"
FRONTEND = "spiffe://demo.example.org/expenses/frontend"
QUESTION: dict[str, Any] = {
    "caller": FRONTEND,
    "now": "2026-09-15T10:00:00Z",
    "subject": {
        "type": "user",
        "id": "ben",
        "properties": {"roles": ["manager"], "department": "sales"},
    },
    "action": "read",
    "resource": {"type": "expense_report", "id": "r-1", "properties": {"status": "submitted"}},
}

Command = Callable[..., Done]


@pytest.fixture
def pdp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`pdp` with this command."""
    monkeypatch.setattr(cli, "COMMANDS", ("check", "explain"))
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["pdp", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run


def test_the_tree_says_what_happened(pdp: Command) -> None:
    """Roles, parts with values and errors, what was missing, what would turn it."""
    done = pdp("explain", EXPENSES, "-", stdin=json.dumps(QUESTION).encode())
    assert done.returncode == 0, done.stderr
    for line in (
        "DENY (DEFAULT)",
        "permit expense-approval/approver-reads-submitted: in doubt",
        "role department-approver: in doubt",
        'subject.properties.department: "sales"',
        "resource.properties.department: error: no such key: `department`",
        'when resource.properties.status != "draft": true',
        "when is_draft: not evaluated",
        "permit expense-retention/external-audit-of-2026: not yet begun",
        "└── resource.properties.department\n",
        "expense-approval/approver-reads-submitted, if it were: applies, PERMIT (RULE)",
    ):
        assert line in done.stdout
    assert "\x1b" not in done.stdout


def test_the_object_has_all_of_it(pdp: Command, tmp_path: Path) -> None:
    """`--json`: decision, rules with parts, missing, flips; the question from a file."""
    path = tmp_path / "question.json"
    path.write_text(json.dumps(QUESTION))
    told = json.loads(pdp("explain", EXPENSES, path, "--json").stdout)
    assert (told["effect"], told["cause"], told["truncated"]) == ("DENY", "DEFAULT", False)
    assert told["missing"] == ["resource.properties.department"]
    assert told["rules"][0]["when"]["parts"][0]["samples"][0]["value"] == "true"
    assert {flip["effect"] for flip in told["flips"]} == {"PERMIT"}


def test_options_ask_the_same(pdp: Command) -> None:
    """The same question with options has the same explanation."""
    options = [
        *("--caller", FRONTEND, "--now", "2026-09-15T10:00:00Z", "--subject", "user:ben"),
        *("--action", "read", "--resource", "expense_report:r-1"),
        *("-p", 'subject.roles=["manager"]', "-p", "subject.department=sales"),
        *("-p", "resource.status=submitted"),
    ]
    by_file = pdp("explain", EXPENSES, "-", stdin=json.dumps(QUESTION).encode())
    assert pdp("explain", EXPENSES, *options).stdout == by_file.stdout


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"caller": "spiffe://else.example.org/x"}, "does not know"),
        ({"resource": {"type": "other", "id": "1"}}, "`other` is not among its resources"),
        ({"action": "explode"}, "`explode` is not among its actions"),
    ],
)
def test_a_denial_before_the_rules_says_what_the_caller_policy_lacks(
    pdp: Command, changes: dict[str, Any], note: str
) -> None:
    """No rule was looked at, so none is shown; the entry and what it does not cover are."""
    done = pdp("explain", EXPENSES, "-", stdin=json.dumps({**QUESTION, **changes}).encode())
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, "DENY (CALLER)")
    assert note in done.stdout
    assert "considered" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": {"type": "user"}}, "`subject.id` is missing"),
        ({"subject": ["user"]}, "`subject` is not an object"),
        ({"actoin": "read"}, "unknown key `actoin`"),
        ({"now": "yesterday"}, "`now` is not a timestamp with a zone"),
        ({"context": 1}, "`context` is not an object"),
        ({"caller": ""}, "who asks?"),
        ({"tenant": "else"}, "a PDP would refuse this question as invalid"),
        ({"subject": {"type": "user", "id": "b", "properties": {"n": 2**64}}}, "out of the range"),
    ],
)
def test_what_is_no_question_is_exit_code_2(
    pdp: Command, changes: dict[str, Any], reason: str
) -> None:
    """Said by name, and nothing is decided."""
    done = pdp("explain", EXPENSES, "-", stdin=json.dumps({**QUESTION, **changes}).encode())
    assert done.returncode == 2
    assert reason in done.stderr
    assert not done.stdout


def test_policies_with_problems_are_exit_code_1(pdp: Command, tmp_path: Path) -> None:
    """There is nothing to explain until they are mended."""
    (tmp_path / "p.yaml").write_text("policy: p\nresource: r\nrules: []\n")
    done = pdp("explain", tmp_path, "-", stdin=json.dumps(QUESTION).encode())
    assert (done.returncode, done.stdout) == (1, "")
    assert pdp("explain", tmp_path / "nothing", "-").returncode == 2


def test_hostile_text_does_not_reach_the_terminal(pdp: Command) -> None:
    """Values with escape sequences and bidirectional controls are shown escaped."""
    subject = {
        "type": "user",
        "id": "b",
        "properties": {"roles": ["manager"], "department": "\x1b[2J\u202e"},
    }
    done = pdp(
        "explain", EXPENSES, "-", stdin=json.dumps({**QUESTION, "subject": subject}).encode()
    )
    assert "\\u001b[2J\\u202e" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["subject", "action", "resource", "type", "id", "now", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(json.dumps)
)
def test_any_text_is_a_question_or_says_why_not(text: str) -> None:
    """Whatever is read: a question, or an error of ours with exit code 2."""
    problem: Exception | None = None
    try:
        parse_question(text)
    except QuestionError as error:
        problem = error
    assert problem is None or report(problem) == cli.EXIT_USAGE


WORDS = """\
policy: notes
resource: note
owner: notes@example.org
rules:
  - id: anybody-reads
    effect: permit
    actions: [read]
    justification: they are notes
    obligations: [{id: seen, type: log, properties: {level: 2}}]
    advice: [{id: archive, type: hint}]
    reason: {user: "Notes are open.", admin: See N-1.}
"""


@pytest.mark.parametrize("may", ["", "    may: [explain]\n"])
def test_what_comes_with_the_answer_is_shown(pdp: Command, tmp_path: Path, may: str) -> None:
    """Obligations, advice, and the words for users and administrators; who does not get them."""
    (tmp_path / "notes.yaml").write_text(WORDS)
    (tmp_path / "callers.yaml").write_text(
        f"kind: callers\ncallers:\n  - id: {FRONTEND}\n    resources: [note]\n"
        f"    actions: [read]\n    subjects: {{assert: [user]}}\n{may}"
    )
    asked = json.dumps({**QUESTION, "resource": {"type": "note", "id": "1"}}).encode()
    done = pdp("explain", tmp_path, "-", stdin=asked)
    told = "" if may else ", not told to this caller: no entry has `may: [explain]` for it"
    for line in (
        '  obliges to log:seen {"level": 2}\n',
        "  advises hint:archive {}\n",
        "  for the user: Notes are open. [notes/anybody-reads]\n",
        f"  for the administrator: See N-1. [notes/anybody-reads]{told}\n",
    ):
        assert line in done.stdout
    found = json.loads(pdp("explain", tmp_path, "-", "--json", stdin=asked).stdout)
    assert found["advice"] == [{"type": "hint", "id": "archive", "properties": {}}]
    assert found["reason_user"] == {"notes/anybody-reads": "Notes are open."}
    words = {"notes/anybody-reads": "See N-1."}
    assert (found["reason_admin"], found["reason_admin_not_told"]) == (
        (words, {}) if may else ({}, words)
    )


def test_a_place_in_a_policy_is_found_from_here(
    pdp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stands before the file, as it was given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "p.yaml").write_text(WORDS.replace("effect: permit", "effect: allow"))
    (tmp_path / "mine" / "callers.yaml").write_text(
        f"kind: callers\ncallers:\n  - id: {FRONTEND}\n    resources: [note]\n"
        "    actions: [read]\n    subjects: {assert: [user]}\n"
    )
    done = pdp("explain", "mine", "-", stdin=json.dumps(QUESTION).encode())
    assert done.stderr.startswith("error: mine/p.yaml:6:")


def test_claims_of_a_token_in_a_question_prove_its_subject(pdp: Command, tmp_path: Path) -> None:
    """A caller that must bring a token gets the rules' answer, and roles of the claim count."""
    (tmp_path / "callers.yaml").write_text(
        f"kind: callers\ncallers:\n  - id: {FRONTEND}\n    resources: [note]\n"
        "    actions: [read]\n    subjects: {token: required}\n"
    )
    (tmp_path / "notes.yaml").write_text(
        "policy: notes\nresource: note\nowner: notes@example.org\nstatic_roles: [reader]\n"
        "rules:\n  - id: readers-read\n    effect: permit\n    actions: [read]\n"
        "    roles: [reader]\n    when: token.department == 'sales'\n"
        "    justification: their work\n"
    )
    asked = {**QUESTION, "resource": {"type": "note", "id": "1"}}
    asked["subject"] = {"type": "user", "id": "ben", "properties": {"roles": []}}
    for token, said in (
        ({"department": "sales", "roles": ["reader"]}, "PERMIT (RULE)"),
        ({"department": "sales", "roles": []}, "DENY (DEFAULT)"),
        (None, "DENY (IDENTITY)"),
    ):
        question = asked if token is None else {**asked, "token": token}
        done = pdp("explain", tmp_path, "-", stdin=json.dumps(question).encode())
        assert done.stdout.startswith(said), done.stdout + done.stderr
    done = pdp("explain", tmp_path, "-", stdin=json.dumps({**asked, "token": "eyJ"}).encode())
    assert (done.returncode, "`token` is not an object" in done.stderr) == (2, True)


def test_a_pdp_that_serves_reads_no_claims_of_a_question() -> None:
    """The message of a question has a field for a token, and none for what it would prove."""
    fields = {field.name for field in pb.AuthorizeRequest.DESCRIPTOR.fields}
    assert "subject_token" in fields
    assert not fields & {"token", "claims", "token_claims", "subject_claims"}
