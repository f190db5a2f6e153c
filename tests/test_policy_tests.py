"""`pdp test`: rows are asked as requests are, compared, and shown. The samples have a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pdp import admission
from pdp.authoring import junit, trial
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_directory, compile_sources
from pdp.authoring.policy_tests import read_tests
from pdp.authoring.trial import Outcome
from pdp.callers import CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.cli.test import HELP
from tests.conftest import ROOT
from tests.simulators.author_commands import Command, real_process

SAMPLE = ROOT / "policies" / "expense-reports"
LIMITS = EvaluationLimits()
POLICY = """\
policy: p
resource: r
rules:
  - id: permit
    effect: permit
    actions: [read]
    when: resource.properties.n > 1
    justification: x
    obligations: [{id: a, type: t, properties: {n: 1}}]
    advice: [{id: b, type: t}]
    reason: {user: you may, admin: see R-7}
  - id: deny
    effect: deny
    actions: [read]
    when: subject.id == "bob"
    obligations: [{id: alarm, type: t}]
"""
CALLERS = """\
kind: callers
callers:
  - {id: spiffe://demo.example.org/a, resources: [r], actions: [read], subjects: {assert: [user]}}
  - id: spiffe://demo.example.org/two
    tenants: [one, two]
    resources: [r]
    actions: [read]
    subjects: {assert: [user]}
"""
HEAD = "kind: tests\nnow: 2026-09-15T10:00:00Z\ncaller: spiffe://demo.example.org/a\ntests:\n"


def row(name: str = "t", subject: str = "ana", number: str = "2", **expect: str) -> str:
    """One row of a test."""
    expected = ", ".join(f"{key}: {value}" for key, value in expect.items())
    return (
        f"  - name: {name}\n"
        f"    subject: {{type: user, id: {subject}}}\n"
        f"    action: read\n"
        f'    resource: {{type: r, id: "1", properties: {{n: {number}}}}}\n'
        f"    expect: {{{expected}}}\n"
    )


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def callers_of(compilation: Compilation) -> CallerPolicy:
    """The caller policy, which is there."""
    assert compilation.callers is not None
    return compilation.callers


def outcomes(text: str, checker: Checker) -> tuple[Outcome, ...]:
    """What the rows of a document come to under the small policy above."""
    compilation = compile_sources(
        {"p.yaml": POLICY.encode(), "callers.yaml": CALLERS.encode()}, checker
    )
    tests = read_tests({"p_test.yaml": text.encode()})
    assert not tests.problems
    return trial.run(compilation.policy_set(LIMITS), callers_of(compilation), tests.rows)


# -- comparing ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "differs"),
    [
        ({"effect": "PERMIT"}, []),
        ({"effect": "PERMIT", "cause": "RULE", "rules": "[p/permit]"}, []),
        ({"effect": "DENY"}, ["effect"]),
        ({"effect": "DENY", "cause": "DEFAULT", "rules": "[]"}, ["effect", "cause", "rules"]),
        ({"effect": "PERMIT", "rules": "[p/permit, p/deny]"}, ["rules"]),
        ({"effect": "PERMIT", "obligations": "[{id: a, type: t, properties: {n: 1}}]"}, []),
        ({"effect": "PERMIT", "obligations": "[]"}, ["obligations"]),
        ({"effect": "PERMIT", "obligations": "[{id: a, type: t}]"}, ["obligations"]),
        (
            {"effect": "PERMIT", "obligations": "[{id: a, type: t, properties: {n: 1.0}}]"},
            ["obligations"],
        ),
        (
            {"effect": "PERMIT", "obligations": "[{id: a, type: t, properties: {n: true}}]"},
            ["obligations"],
        ),
        (
            {"effect": "PERMIT", "obligations": '[{id: a, type: t, properties: {n: "1"}}]'},
            ["obligations"],
        ),
        ({"effect": "PERMIT", "advice": "[{id: b, type: t}]"}, []),
        ({"effect": "PERMIT", "advice": "[]"}, ["advice"]),
        ({"effect": "PERMIT", "reasons": "{user: [you may]}"}, []),
        ({"effect": "PERMIT", "reasons": "{user: [you may], admin: []}"}, []),
        ({"effect": "PERMIT", "reasons": "{admin: [see R-7]}"}, ["reasons.admin"]),
        ({"effect": "PERMIT", "reasons": "{user: []}"}, ["reasons.user"]),
    ],
)
def test_every_given_key_is_compared_and_no_other(
    expect: Mapping[str, str], differs: list[str], checker: Checker
) -> None:
    """What is left out is not compared; 1, 1.0, true and "1" differ."""
    (found,) = outcomes(HEAD + row(**expect), checker)
    assert [item.key for item in found.differences] == differs
    assert found.passed is not bool(differs)


def test_a_row_that_fails_says_what_came(checker: Checker) -> None:
    """Both sides of each difference, in the author's notation."""
    (found,) = outcomes(
        HEAD + row(effect="DENY", obligations='[{id: a, type: t, properties: {n: "1"}}]'), checker
    )
    assert [(d.key, d.expected, d.actual) for d in found.differences] == [
        ("effect", "DENY", "PERMIT"),
        ("obligations", 't/a {n: "1"}', "t/a {n: 1}"),
    ]


def test_a_wrong_answer_fails_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison, a row that expects the opposite passes."""
    text = HEAD + row(effect="DENY")
    assert not outcomes(text, checker)[0].passed
    monkeypatch.setattr(trial, "_differences", lambda *_: ())
    assert outcomes(text, checker)[0].passed


@pytest.mark.parametrize(
    ("number", "effect", "cause"),
    [
        ("2", "PERMIT", "RULE"),
        ("2.5", "PERMIT", "RULE"),
        ("1", "DENY", "DEFAULT"),
        # No conversion: a text, a truth value and null are not numbers.
        ('"2"', "DENY", "DEFAULT"),
        ("true", "DENY", "DEFAULT"),
        ("null", "DENY", "DEFAULT"),
        ("2026-09-15T10:00:00Z", "DENY", "DEFAULT"),
    ],
)
def test_values_reach_the_condition_as_they_are_written(
    number: str, effect: str, cause: str, checker: Checker
) -> None:
    """Integers are int64, floats doubles, everything else what YAML 1.2 says."""
    (found,) = outcomes(HEAD + row(number=number, effect=effect, cause=cause), checker)
    assert found.passed


def test_a_request_that_the_pdp_refuses_is_no_passed_test(checker: Checker) -> None:
    """An empty id, a tenant that cannot be told: refused, whatever is expected."""
    found = outcomes(HEAD + row(subject='""', effect="DENY"), checker)
    assert [(item.passed, item.refused) for item in found] == [
        (False, "`subject.id` is required"),
    ]
    other = HEAD.replace("org/a", "org/two")
    found = outcomes(other + row(effect="DENY"), checker)
    assert [item.passed for item in found] == [False]
    assert "`tenant` is required" in found[0].refused


def test_a_row_names_its_tenant(checker: Checker) -> None:
    """At the head, in the row, or in a table; the caller policy judges it as in a PDP."""
    other = HEAD.replace("org/a", "org/two")
    for text in (
        other + row(effect="PERMIT") + "    tenant: one\n",
        other.replace("tests:", "tenant: two\ntests:") + row(effect="PERMIT"),
        other.replace("tests:", "tenant: else\ntests:")
        + row(effect="PERMIT")
        + "    tenant: two\n",
    ):
        (found,) = outcomes(text, checker)
        assert found.passed, found
    (found,) = outcomes(other + row(effect="DENY") + "    tenant: else\n", checker)
    assert "`tenant` is not one that this caller may name" in found.refused


SCHEMA = b"""\
kind: schema
resource: r
schema: {type: object, required: [n], properties: {n: {type: integer}}}
"""


@pytest.mark.parametrize(
    ("violation", "differs"),
    [
        ("resource.properties.n", []),
        ("resource.properties.n must be an integer", []),
        ("resource.properties.m", ["violation"]),
        ("resource.properties", ["violation"]),
        ("resource.properties.n must be a string", ["violation"]),
    ],
)
def test_a_row_says_what_does_not_fit(violation: str, differs: list[str], checker: Checker) -> None:
    """The path, or the path and the words; both are shown where they differ."""
    compilation = compile_sources(
        {"p.yaml": POLICY.encode(), "c.yaml": CALLERS.encode(), "s.yaml": SCHEMA}, checker
    )
    text = HEAD + row(number='"x"', effect="DENY", cause="SCHEMA", violation=violation)
    tests = read_tests({"t_test.yaml": text.encode()})
    assert tests.problems == ()
    (found,) = trial.run(compilation.policy_set(LIMITS), callers_of(compilation), tests.rows)
    assert [each.key for each in found.differences] == differs
    for each in found.differences:
        assert (each.expected, each.actual) == (
            violation,
            "resource.properties.n must be an integer",
        )


def test_a_violation_needs_its_cause() -> None:
    """No other answer has one: a row that waits for it in vain is a mistake."""
    text = HEAD + row(effect="DENY", violation="resource.properties.n")
    (problem,) = read_tests({"t_test.yaml": text.encode()}).problems
    assert "only those causes come with a violation" in str(problem)


def test_a_row_overrides_the_head_of_the_document(checker: Checker) -> None:
    """`caller` and `now` are keys of a row too."""
    text = HEAD + row(effect="DENY", cause="CALLER")
    text += "    caller: spiffe://demo.example.org/b\n    now: 2000-01-01T00:00:00Z\n"
    (found,) = outcomes(text, checker)
    assert found.passed
    assert found.row.now_ns == 946_684_800 * 10**9


def test_rows_go_through_the_law_of_the_pdp(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no second way to decide: `pdp.admission.decide` answers every row."""
    asked = []
    real = admission.decide

    def spy(*arguments: object) -> object:
        asked.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(admission, "decide", spy)
    outcomes(HEAD + row(effect="PERMIT") + row("u", effect="DENY"), checker)
    assert len(asked) == 2


PROVED = """\
policy: p
resource: r
static_roles: [manager]
rules:
  - id: own-department
    effect: permit
    actions: [read]
    when: token.department == "finance" && !has(token.act)
    justification: x
  - id: managers-write
    effect: permit
    actions: [write]
    roles: [manager]
    justification: x
"""
PROVED_CALLERS = """\
kind: callers
callers:
  - id: spiffe://demo.example.org/a
    resources: [r]
    actions: ["*"]
    subjects: {token: required}
"""
PROVED_ROWS = """
  - {name: without, SUBJECT, action: read, RESOURCE, expect: {effect: DENY, cause: IDENTITY}}
  - {name: none, SUBJECT, token: {}, action: read, RESOURCE, expect: {effect: DENY, cause: DEFAULT}}
  - name: proved
    subject: {type: user, id: ana}
    token: {department: finance}
    action: read
    resource: {type: r, id: "1"}
    expect: {effect: PERMIT, rules: [p/own-department]}
  - name: delegated
    subject: {type: user, id: ana}
    token: {department: finance, act: {sub: robot}}
    action: read
    resource: {type: r, id: "1"}
    expect: {effect: DENY, cause: DEFAULT}
  - name: role of the token
    subject: {type: user, id: ana}
    token: {roles: [manager]}
    action: write
    resource: {type: r, id: "1"}
    expect: {effect: PERMIT, rules: [p/managers-write]}
""".replace("SUBJECT", "subject: {type: user, id: ana}").replace(
    "RESOURCE", 'resource: {type: r, id: "1"}'
)


def test_a_row_brings_claims_as_if_they_were_verified(checker: Checker) -> None:
    """Then `token: required` is satisfied, claims are `token`, and `roles` lists static roles."""
    compilation = compile_sources(
        {"p.yaml": PROVED.encode(), "callers.yaml": PROVED_CALLERS.encode()}, checker
    )
    tests = read_tests({"p_test.yaml": (HEAD + PROVED_ROWS).encode()})
    assert not tests.problems
    found = trial.run(compilation.policy_set(LIMITS), callers_of(compilation), tests.rows)
    assert [(each.row.name, each.passed) for each in found] == [
        (name, True) for name in ("without", "none", "proved", "delegated", "role of the token")
    ]


def test_a_denial_is_an_answer_though_it_is_false(checker: Checker) -> None:
    """`bool(decision)` is false for a denial; whoever counts answers must not go by it."""
    (found,) = outcomes(HEAD + row(subject="bob", effect="DENY"), checker)
    assert found.decision is not None
    assert not found.decision
    assert found.passed


# -- the command ----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small policy with a test that passes."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "callers.yaml").write_text(CALLERS)
    (tmp_path / "p_test.yaml").write_text(
        HEAD + row("reads", effect="PERMIT") + row("bob", subject="bob", effect="DENY")
    )
    return tmp_path


def test_the_command_passes_the_expense_reports() -> None:
    """Exit 0, and how many ran."""
    done = real_process("test", "policies/expense-reports")
    assert (done.returncode, done.stdout) == (0, "136 tests passed, 0 failed\n")


def test_the_example_in_the_help_is_a_test_of_the_expense_reports(checker: Checker) -> None:
    """What `pdp test --help` shows can be pasted into a file, and passes."""
    example = textwrap.dedent(HELP.partition("  kind: tests")[2].partition("\n\n")[0])
    tests = read_tests({"help_test.yaml": f"kind: tests{example}\n".encode()})
    assert not tests.problems
    assert len(tests.rows) == 1
    sample = compile_directory(SAMPLE, checker)
    found = trial.run(sample.policy_set(LIMITS), callers_of(sample), tests.rows)
    assert [item.passed for item in found] == [True]


def test_a_failing_row_is_shown_with_its_place(folder: Path, pdp: Command) -> None:
    """Path as typed, line and column of the row, expected and actual, exit 1."""
    (folder / "p_test.yaml").write_text(
        HEAD + row("fine", effect="PERMIT") + row("wrong", subject="bob", effect="PERMIT")
    )
    done = pdp("test", ".", cwd=folder)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "p_test.yaml:10:11: failed: wrong",
        "      effect: expected PERMIT, got DENY",
        "      RULE by p/deny",
        "1 test passed, 1 failed",
    ]


def test_rules_in_no_answer_are_named(folder: Path, pdp: Command) -> None:
    """A rule that no answer names could be gone tomorrow; it is said, and is no failure."""
    (folder / "p_test.yaml").write_text(HEAD + row("fine", effect="PERMIT"))
    done = pdp("test", folder)
    assert (done.returncode, done.stdout) == (
        0,
        "in no answer: p/deny\n1 test passed, 0 failed\n",
    )


def test_outcomes_for_machines(folder: Path, pdp: Command) -> None:
    """`--json`: every row with what it came to; a denial has its cause and rules."""
    done = pdp("test", "--json", folder)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["rules_in_no_answer"] == []
    assert [(t["name"], t["effect"], t["cause"], t["rules"]) for t in report["tests"]] == [
        ("reads", "PERMIT", "RULE", ["p/permit"]),
        ("bob", "DENY", "RULE", ["p/deny"]),
    ]


def test_only_some_tests_or_one_file(folder: Path, pdp: Command) -> None:
    """`-k TEXT`, or the path of one file of tests."""
    (folder / "q_test.yaml").write_text(HEAD + row("reads too", effect="PERMIT"))
    assert pdp("test", folder, "-k", "READS").stdout == "2 tests passed, 0 failed\n"
    assert pdp("test", folder / "q_test.yaml").stdout == "1 test passed, 0 failed\n"


@pytest.mark.parametrize("arguments", [["."], [".", "-k", "nothing like it"], ["p.yaml"]])
def test_no_test_is_an_error(arguments: list[str], folder: Path, pdp: Command) -> None:
    """A run of nothing must not look like a run that passed: exit 2."""
    if arguments == ["."]:
        (folder / "p_test.yaml").unlink()
    done = pdp("test", *arguments, cwd=folder)
    assert done.returncode == 2
    assert "no test" in done.stderr
    assert done.stdout == ""


def test_policies_with_problems_are_not_tested(folder: Path, pdp: Command) -> None:
    """One policy that does not compile: no test is run, the problems are shown, exit 1."""
    (folder / "q.yaml").write_text(POLICY.replace(": p", ": q").replace("subject.id", "subjct"))
    done = pdp("test", folder)
    assert done.returncode == 1
    assert "`subjct` is not defined" in done.stdout
    assert "no test was run" in done.stdout
    done = pdp("test", "--json", folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False


# -- several processes, build servers, saves -------------------------------------


def test_several_processes_print_the_same_in_the_same_order(folder: Path, pdp: Command) -> None:
    """`-j 2`: failures in the order of the rows, as with one process."""
    rows = "".join(
        row(f"t{n}", subject="bob" if n % 3 else "ana", effect="PERMIT") for n in range(20)
    )
    (folder / "p_test.yaml").write_text(HEAD + rows)
    one, two = pdp("test", folder), pdp("test", "-j", "2", folder)
    assert (one.returncode, one.stdout) == (two.returncode, two.stdout)
    assert one.stdout.count("failed: t") == 13


def test_junit_has_a_suite_a_file_and_a_failure_for_each_that_failed(
    folder: Path, pdp: Command
) -> None:
    """`--junit FILE`: counts, places, what differed; written also when tests fail."""
    (folder / "p_test.yaml").write_text(
        HEAD + row("fine", effect="PERMIT") + row("wrong", subject="bob", effect="PERMIT")
    )
    (folder / "q_test.yaml").write_text(HEAD + row("refused", subject='""', effect="DENY"))
    done = pdp("test", "--junit", "out.xml", ".", cwd=folder)
    assert done.returncode == 1
    root = ET.fromstring((folder / "out.xml").read_bytes())  # noqa: S314 our own
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "3", "2")
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in root] == [
        ("p_test.yaml", "2", "1"),
        ("q_test.yaml", "1", "1"),
    ]
    fine, wrong, refused = root.iter("testcase")
    assert (fine.get("name"), len(fine)) == ("fine", 0)
    assert (wrong.get("file"), wrong.get("line")) == ("p_test.yaml", "10")
    assert wrong[0].get("message") == "effect: expected PERMIT, got DENY"
    assert "RULE by p/deny" in (wrong[0].text or "")
    assert "`subject.id` is required" in (refused[0].get("message") or "")


def test_junit_takes_whatever_a_test_may_be_called(folder: Path, pdp: Command) -> None:
    """Markup is text; what XML cannot hold at all is replaced, so that the report can be read."""
    name = '"</testcase><evil a=\\"1\\">&amp; ]]>"'
    (folder / "p_test.yaml").write_text(HEAD + row(name, effect="DENY"))
    pdp("test", "--junit", "out.xml", ".", cwd=folder)
    root = ET.fromstring((folder / "out.xml").read_bytes())  # noqa: S314 our own
    assert [case.get("name") for case in root.iter("testcase")] == [
        '</testcase><evil a="1">&amp; ]]>'
    ]
    assert junit._clean("a\0b\x1b\ud800\ufffe\n") == "a\ufffdb\ufffd\ufffd\ufffd\n"


def test_watching_tests_again_after_a_save(folder: Path) -> None:
    """`--watch`: a failing save, one that is no YAML, one that is well; Ctrl-C ends with 0."""
    program = "import pdp.cli; pdp.cli.COMMANDS = ('check', 'test'); pdp.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program, "test", "--watch", "."],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
    ) as child:
        guard = threading.Timer(120, child.kill)
        guard.start()
        try:
            assert child.stdout is not None
            said = iter(child.stdout)

            def next_run() -> list[str]:
                lines: list[str] = []
                for line in said:
                    if line.startswith("waiting for a save"):
                        return lines
                    lines.append(line.rstrip())
                return lines

            assert next_run()[-1] == "2 tests passed, 0 failed"
            (folder / "p_test.yaml").write_text(HEAD + row("wrong", effect="DENY"))
            assert next_run()[-1] == "0 tests passed, 1 failed"
            (folder / "p_test.yaml").write_text("kind: [")
            assert next_run()[-1].endswith("no test was run")
            (folder / "p_test.yaml").unlink()
            assert "no tests in `.`" in next_run()[-1]
            (folder / "p_test.yaml").write_text(HEAD + row("fine", effect="PERMIT"))
            assert next_run()[-1] == "1 test passed, 0 failed"
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 0
        finally:
            guard.cancel()
            child.kill()


@pytest.mark.parametrize("options", [["--watch", "--json"], ["-j", "0"], ["-j", "65"]])
def test_options_that_make_no_sense_together_are_refused(
    options: list[str], folder: Path, pdp: Command
) -> None:
    """Exit 2 before anything is run."""
    done = pdp("test", *options, folder)
    assert (done.returncode, done.stdout) == (2, "")
