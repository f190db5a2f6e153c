"""`make demo` keeps its promises, and says so when one is broken."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from docs.demo import __main__ as demo
from docs.demo.questions import CAN_MEET, QUESTIONS
from docs.demo.scene import ROOT
from pdp_client import Cause, Effect


def test_questions_are_a_dozen_and_meet_different_causes() -> None:
    """The table is worth looking at: permits, denials, and why, in at least five ways."""
    assert len(QUESTIONS) >= 12
    assert {question.effect for question in QUESTIONS} == {Effect.PERMIT, Effect.DENY}
    assert len({question.cause for question in QUESTIONS}) >= 5
    assert len({question.rule for question in QUESTIONS}) >= 8
    assert CAN_MEET


def test_demo_keeps_every_promise() -> None:
    """As a newcomer runs it: exit code 0, five parts, no promise broken, no colour in a pipe."""
    result = subprocess.run(
        [sys.executable, "-m", "docs.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert [line for line in result.stdout.splitlines() if "BROKEN" in line] == []
    assert (
        sum(line.startswith(f"{n}. ") for n in range(1, 6) for line in result.stdout.splitlines())
        == 5
    )
    assert result.stdout.count("   kept   ") == 7
    assert "\x1b" not in result.stdout


def test_demo_twin_with_a_wrong_expectation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an answer were not the promised one, the demo would show it and fail."""
    for part in ("_kill", "_tamper", "_replay"):  # not what this is about
        monkeypatch.setattr(demo, part, lambda *_: None)
    wrong = dataclasses.replace(QUESTIONS[0], effect=Effect.DENY, cause=Cause.DEFAULT)
    assert demo.run(tmp_path, (wrong, *QUESTIONS[1:])) == 1
    assert "BROKEN" in capsys.readouterr().out
