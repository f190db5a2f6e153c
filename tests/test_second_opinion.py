"""Somebody else's interpreter is asked about every test, and a difference stops the build."""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp import cli
from pdp.authoring import second_opinion
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_directory, compile_sources
from pdp.authoring.policy_tests import TestRow, read_tests
from pdp.authoring.second_interpreter import OpinionLimits, SecondInterpreter
from pdp.authoring.second_opinion import Opinion, consult, written_out
from pdp.authoring.sources import read_folder
from pdp.cel import fast_operators
from tests.conftest import ROOT
from tests.simulators.author_commands import Command

SAMPLES = ("document-sharing", "expense-reports", "production-access")
CALLERS = """\
kind: callers
callers:
  - id: spiffe://demo.example.org/a
    resources: ["*"]
    actions: ["*"]
    subjects: {assert: ["*"]}
"""
HEAD = "kind: tests\nnow: 2026-01-01T00:00:00Z\ncaller: spiffe://demo.example.org/a\ntests:\n"


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


@pytest.fixture(scope="module")
def interpreter() -> Iterator[SecondInterpreter]:
    """Another one."""
    with SecondInterpreter() as running:
        yield running


def policy(when: str, variables: str = "") -> str:
    """A policy of one rule."""
    return (
        f"policy: p\nresource: r\n{variables}rules:\n  - id: a\n    effect: deny\n"
        f"    actions: [read]\n    when: {json.dumps(when)}\n"
    )


def row(name: str, **context: object) -> str:
    """A row with this context; what it expects is not looked at here."""
    return (
        f"  - name: {name}\n    subject: {{type: user, id: ana}}\n    action: read\n"
        f"    resource: {{type: r, id: x}}\n    context: {json.dumps(context)}\n"
        "    expect: {effect: DENY}\n"
    )


def rows(*texts: str) -> tuple[TestRow, ...]:
    """Rows, read."""
    found = read_tests({"p_test.yaml": (HEAD + "".join(texts)).encode()})
    assert found.problems == ()
    return found.rows


def compiled(text: str, checker: Checker) -> Compilation:
    """One policy and a caller policy, without problems."""
    found = compile_sources({"p.yaml": text.encode(), "callers.yaml": CALLERS.encode()}, checker)
    assert found.problems == ()
    return found


@pytest.fixture
def ask(checker: Checker, interpreter: SecondInterpreter) -> Any:
    """The opinion on one condition, on rows of these contexts."""

    def found(when: str, *contexts: dict[str, object], variables: str = "") -> Opinion:
        texts = [row(f"row {number}", **context) for number, context in enumerate(contexts)]
        asked = compiled(policy(when, variables), checker)
        return consult(asked, rows(*texts), interpreter=interpreter)

    return found


@pytest.fixture
def less_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our evaluator takes `<` for `<=`."""
    wrong = {**fast_operators._ORDERS, "_<_": (ast.LtE, ast.GtE)}
    monkeypatch.setattr(fast_operators, "_ORDERS", wrong)


# -- both agree, or the build stops ------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_have_a_second_opinion(
    name: str, checker: Checker, interpreter: SecondInterpreter
) -> None:
    """Hundreds of evaluations of each are the same, none differs, a handful cannot be asked."""
    folder = ROOT / "policies" / name
    compilation = compile_directory(folder, checker)
    tests = read_tests(read_folder(folder).tests)
    found = consult(compilation, tests.rows, interpreter=interpreter)
    assert found.differences == []
    assert found.agreed >= 200
    assert found.cannot.total() + found.known.total() <= 0.05 * found.agreed
    assert found.skipped == 0


def test_values_of_both_kinds_agree(ask: Any) -> None:
    """True and false, of rules, with variables written out, each question once."""
    found = ask(
        "small && context.s != 'x'",
        {"n": 1, "s": "y"},
        {"n": 9, "s": "y"},
        {"n": 1, "s": "x"},
        {"n": 1, "s": "y"},
        variables="variables:\n  small: context.n < limit\n  limit: '5 // cents'\n",
    )
    assert (found.agreed, found.differences) == (3, [])


@pytest.mark.usefixtures("less_is_wrong")
def test_a_wrong_evaluator_is_found_out(checker: Checker, interpreter: SecondInterpreter) -> None:
    """With `<` taken for `<=`, the row at the limit differs: condition, place, row, values."""
    asked = compiled(policy("context.n < 5"), checker)
    found = consult(asked, rows(row("below", n=1), row("at it", n=5)), interpreter=interpreter)
    (difference,) = found.differences
    assert (difference.condition, difference.row) == ("p/a", "at it")
    assert (difference.ours, difference.theirs) == (True, False)
    at = difference.position
    assert (at.path, at.line, at.column) == ("p.yaml", 7, 12)
    assert found.agreed == 1


def test_a_wrong_evaluator_twin_without_guard(
    ask: Any, monkeypatch: pytest.MonkeyPatch, less_is_wrong: None
) -> None:
    """Were every difference one of the known mistakes, nobody would learn of it."""
    assert less_is_wrong is None
    monkeypatch.setattr(second_opinion, "known_mistake", lambda *_: "whatever it is")
    found = ask("context.n < 5", {"n": 5})
    assert found.differences == []
    assert found.known.total() == 1


def test_roles_are_asked_about_too(checker: Checker, interpreter: SecondInterpreter) -> None:
    """A derived role's condition is one like a rule's."""
    text = policy("true").replace("    when:", "    roles: [near]\n    when:")
    text = text.replace("rules:\n", "roles:\n  near:\n    when: context.n == 1\nrules:\n")
    found = consult(compiled(text, checker), rows(row("t", n=1)), interpreter=interpreter)
    assert found.agreed == 2


# -- where it is known to be wrong, and where it has no opinion -----------------------


@pytest.mark.parametrize(
    ("when", "context", "known"),
    [
        ("context.b == 1", {"b": True}, "true equals 1 to it"),
        ("1 in context.bs", {"bs": [True]}, "true equals 1 to it"),
        (r"context.s == '\?'", {"s": "?"}, "it reads some escapes in texts wrongly"),
        ("0.0 / context.z == 0.0 / context.z", {"z": 0.0}, "NaN equals NaN to it"),
        (
            "timestamp(context.t) < timestamp('2026-01-01T00:00:00.000000002Z')",
            {"t": "2026-01-01T00:00:00.000000001Z"},
            "it cuts times to microseconds",
        ),
    ],
)
def test_its_known_mistakes_stop_nothing(
    when: str, context: dict[str, object], known: str, ask: Any
) -> None:
    """The documented classes: the values differ, and it is counted by class."""
    found = ask(when, context)
    assert found.differences == []
    assert found.known == {known: 1}


@pytest.mark.usefixtures("less_is_wrong")
def test_a_known_mistake_nearby_excuses_nothing(ask: Any) -> None:
    """A truth value and a number in one condition, but never compared: a difference is one."""
    found = ask("context.b == true && context.n < 5", {"b": True, "n": 5})
    assert len(found.differences) == 1


@pytest.mark.parametrize(
    ("when", "context"),
    [
        ("ip(context.a).family() == 4", {"a": "10.0.0.1"}),
        ("context.a == 1.0", {"a": 1}),
        ("context.a in [1, 2,]", {"a": 1}),
    ],
)
def test_what_it_cannot_evaluate_is_counted(
    when: str, context: dict[str, object], ask: Any
) -> None:
    """Extensions it lacks, comparisons it refuses, syntax it does not know: no opinion."""
    found = ask(when, context)
    assert (found.agreed, found.differences) == (0, [])
    assert found.cannot.total() == 1


def test_doubt_is_compared_with_nothing(ask: Any) -> None:
    """Where ours is an error, theirs may be anything: no truth value, no difference."""
    found = ask("has(context.a.b)", {}, {"a": {"b": 1}})
    assert (found.agreed, found.no_value, found.differences) == (1, 1, [])


def test_a_variable_that_would_be_captured_is_not_written_out(ask: Any, checker: Checker) -> None:
    """A loop variable of the name that a policy variable means: no text, no opinion."""
    found = ask(
        "context.xs.exists(context, context == 1 && small)",
        {"xs": [1], "n": 1},
        variables="variables:\n  small: context.n < 5\n",
    )
    assert found.cannot.total() == 1
    (document,) = compiled(
        policy("[1].exists(x, x == 1 && .small)", "variables:\n  small: context.n < 5\n"), checker
    ).policies
    when = document.rules[0].when
    assert when is not None
    text = written_out(when, dict(document.variables))
    assert text == "[1].exists(x, x == 1 && (context.n < 5\n))"


# -- the child ---------------------------------------------------------------------------


def test_what_does_not_end_is_given_up(checker: Checker) -> None:
    """Loops in loops take it for ever: its end is no opinion, and the next question is answered."""
    limits = OpinionLimits(wall_s=1.5)
    xs = list(range(300))
    slow = policy("context.xs.all(a, context.xs.all(b, context.xs.all(c, a + b + c >= 0)))")
    started = time.monotonic()
    with SecondInterpreter(limits) as running:
        values = running.values(
            "xs.all(a, xs.all(b, xs.all(c, a + b + c >= 0)))", [{"xs": list(xs)}]
        )
        assert values == ["it did not finish in time"]
        assert running.values("1 == 1", [{}]) == [True]
        found = consult(compiled(slow, checker), rows(row("t", xs=[1, 2])), interpreter=running)
        assert found.agreed == 1
    assert time.monotonic() - started < 60


def test_an_end_from_outside_is_noticed_by_nobody(interpreter: SecondInterpreter) -> None:
    """Killed, it is started again."""
    assert interpreter.values("1 == 1", [{}]) == [True]
    child = interpreter._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert interpreter.values("1 == 2", [{}]) == [False]


def test_deep_nesting_is_no_opinion(interpreter: SecondInterpreter) -> None:
    """Its parser is recursive; whatever becomes of it, the parent goes on."""
    (found,) = interpreter.values("(" * 3_000 + "true" + ")" * 3_000, [{}])
    assert isinstance(found, str)
    assert interpreter.values("true", [{}]) == [True]


def test_of_too_many_questions_every_nth_is_asked(checker: Checker) -> None:
    """Bounded, and what was left out is said."""
    asked = compiled(policy("context.n < 5"), checker)
    texts = [row(f"row {n}", n=n) for n in range(10)]
    with SecondInterpreter(OpinionLimits(evaluations_max=5)) as running:
        found = consult(asked, rows(*texts), interpreter=running)
    assert (found.agreed, found.skipped) == (5, 5)
    with SecondInterpreter(OpinionLimits(total_s=-1.0)) as running:
        late = consult(asked, rows(*texts), interpreter=running)
    assert (late.agreed, late.cannot) == (0, {"not asked: no time left": 10})


# -- the commands ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy with a row at its limit."""
    (tmp_path / "p.yaml").write_text(policy("context.n <= 5"))
    (tmp_path / "callers.yaml").write_text(CALLERS)
    (tmp_path / "p_test.yaml").write_text(HEAD + row("at it", n=5))
    return tmp_path


def test_pdp_test_stops_at_a_difference(
    folder: Path, pdp: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1, though every test passed: the condition, its place, both values, the test."""
    assert pdp("test", folder).returncode == 0
    wrong = {**fast_operators._ORDERS, "_<=_": (ast.GtE, ast.LtE)}
    monkeypatch.setattr(fast_operators, "_ORDERS", wrong)
    (folder / "p_test.yaml").write_text(HEAD + row("above it", n=6))
    done = pdp("test", ".", cwd=folder)
    assert done.returncode == 1
    assert "1 test passed, 0 failed" in done.stdout
    assert done.stdout.startswith(
        "p.yaml:7:12: error: two evaluators differ: `p/a` is true to this one and false to "
        "cel-python, in the test `above it`\n"
    )
    report = json.loads(pdp("test", "--json", ".", cwd=folder).stdout)
    assert report["ok"] is False
    assert report["second_opinion"]["differences"] == [
        {
            "condition": "p/a",
            "path": "p.yaml",
            "line": 7,
            "column": 12,
            "test": "above it",
            "value": True,
            "second_value": False,
        }
    ]


def test_what_has_no_opinion_is_reported(folder: Path, pdp: Command) -> None:
    """Counted on standard error and in `--json`; no failure."""
    (folder / "p.yaml").write_text(policy("context.n == 5.0"))
    done = pdp("test", folder)
    assert done.returncode == 0
    assert "cel-python agrees on 0 evaluations, and has none on 1" in done.stderr
    report = json.loads(pdp("test", "--json", folder).stdout)["second_opinion"]
    assert report["agreed"] == 0
    assert sum(report["cannot_evaluate"].values()) == 1


@pytest.fixture
def bundle(pdp: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`pdp bundle build`, beside the other commands."""
    monkeypatch.setattr(cli, "COMMANDS", ("bundle",))

    def build(folder: Path) -> Any:
        return pdp(
            "bundle", "build", folder, "--revision", "1", "-o", folder / "bundle.tar", cwd=folder
        )

    return build


def test_pdp_bundle_build_asks_before_it_writes(folder: Path, bundle: Command) -> None:
    """With tests it says how much was asked; without, that nothing was."""
    done = bundle(folder)
    assert done.returncode == 0, done.stderr
    assert "second opinion: cel-python agrees on 1 evaluation, and has none on 0" in done.stdout
    assert (folder / "bundle.tar").exists()
    (folder / "p_test.yaml").unlink()
    done = bundle(folder)
    assert done.returncode == 0
    assert "has no tests: no second opinion on its conditions" in done.stderr


def test_pdp_bundle_build_writes_nothing_when_two_evaluators_differ(
    folder: Path, bundle: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 1, the difference with its place; the same for tests that cannot be read."""
    limit = sys.getrecursionlimit()
    wrong = {**fast_operators._ORDERS, "_<=_": (ast.GtE, ast.LtE)}
    monkeypatch.setattr(fast_operators, "_ORDERS", wrong)
    (folder / "p_test.yaml").write_text(HEAD + row("above it", n=6))
    done = bundle(folder)
    assert done.returncode == 1
    assert "p.yaml:7:12: two evaluators differ: `p/a` is true" in done.stderr
    assert not (folder / "bundle.tar").exists()
    (folder / "p_test.yaml").write_text("kind: tests\n")
    done = bundle(folder)
    assert done.returncode == 1
    assert not (folder / "bundle.tar").exists()
    # cel-python raises it, in its own process only.
    assert sys.getrecursionlimit() == limit
