"""`pdp repl`: a line in, a value or a place out; nothing ends it but the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.simulators.author_commands import Command
from tests.test_diff import pdp
from tests.test_explain_command import QUESTION

__all__ = ["pdp"]

EXPENSES = ROOT / "policies" / "expense-reports"


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A question in a file."""
    path = tmp_path / "question.json"
    path.write_text(json.dumps(QUESTION))
    return path


def test_lines_are_evaluated_as_a_condition_would_be(pdp: Command, question: Path) -> None:
    """Values, types, the names; a program at the other end sees no prompt."""
    lines = [
        "subject.id",
        "'manager' in subject.properties.roles && resource.type == 'expense_report'",
        "1 + 1",
        "now",
        ":type subject.properties.roles.size()",
        "",
        ":vars",
        ":quit",
        "1 / 0",
    ]
    done = pdp("repl", question, stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:5] == [
        '"ben"', "true", "2", 'timestamp("2026-09-15T10:00:00Z")', "int",
    ]  # fmt: skip
    assert 'subject.id: string = "ben"\n' in done.stdout
    assert "cel>" not in done.stdout
    assert "division" not in done.stdout


def test_errors_have_a_caret(pdp: Command, question: Path) -> None:
    """Of the checker and of the evaluation, below the character; the next line is read."""
    lines = ["subject.id == 'a' || 1 / 0 > 1", "subject.idd == 'a'", "nothing &&", "true"]
    done = pdp("repl", question, stdin="\n".join(lines))
    shown = done.stdout.split("\n")
    assert shown[:3] == [
        "error: divide by zero" if "divide" in shown[0] else shown[0],
        "  subject.id == 'a' || 1 / 0 > 1",
        "                         ^",
    ]
    assert "error: `subject` has no `idd`" in done.stdout
    assert shown[-2] == "true"


def test_variables_of_policies_can_be_used(pdp: Command, question: Path) -> None:
    """By the name a rule uses, with the error where it arose."""
    options = ("--policies", EXPENSES, "--policy", "expense-submission")
    done = pdp("repl", question, *options, stdin="is_draft\n:trace is_draft || true\n")
    assert done.stdout.startswith("false\n"), done.stdout
    assert "is_draft || true: true" in done.stdout
    assert 'resource.properties.status: "submitted"' in done.stdout
    assert pdp("repl", question, "--policies", EXPENSES, "--policy", "none").returncode == 2
    assert pdp("repl", question, "--policy", "x").returncode == 2


def test_questions_can_be_exchanged(pdp: Command, question: Path, tmp_path: Path) -> None:
    """`:load`, and what it says of files that are none; what was loaded stays."""
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**QUESTION, "subject": {"type": "user", "id": "eve"}}))
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    lines = ["subject.id", f":load {question}", "subject.id", f":load {other}", "subject.id"]
    lines += [
        f":load {bad}",
        f":load {tmp_path / 'nothing'}",
        ":load",
        ":what",
        "subject.id",
        ":help",
    ]
    done = pdp("repl", stdin="\n".join(lines))
    assert done.stdout.startswith('"someone"\n"ben"\n"eve"\nerror: the question has no `subject`\n')
    assert done.stdout.count("error: ") == 4
    assert '"eve"\n:load FILE' in done.stdout
    assert pdp("repl", bad).returncode == 2


def test_hostile_lines_do_no_harm(pdp: Command, question: Path) -> None:
    """Escapes, NUL, nesting, megabytes: an error, and the next line."""
    lines = ["'\x1b[2J'", "'\x00'", "(" * 5_000, "'" + "x" * 200_000 + "'", "\x1b[2J", "true"]
    done = pdp("repl", question, stdin="\n".join(lines))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("true\n")


def test_claims_of_a_token_can_be_tried(pdp: Command, tmp_path: Path) -> None:
    """`token` of a question is what a verified token would put there; without one it is empty."""
    path = tmp_path / "with.json"
    path.write_text(json.dumps({**QUESTION, "token": {"department": "finance", "level": 3}}))
    lines = ["token.department == 'finance' && token.level > 2", "token"]
    done = pdp("repl", path, stdin="\n".join(lines))
    assert done.stdout.split("\n")[:2] == ["true", '{"department": "finance", "level": 3}']
    path.write_text(json.dumps(QUESTION))
    assert pdp("repl", path, stdin="token").stdout == "{}\n"
