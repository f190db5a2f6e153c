"""Mutants of policies: what is shown is what was tried, and what is not noticed is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pdp.authoring import mutation
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import (
    Compilation,
    compile_directory,
    compile_sources,
)
from pdp.authoring.document_mutants import Mutant
from pdp.authoring.equivalence import behaviour
from pdp.authoring.mutation import Fate, Mutation, all_mutants
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.policy_tests import TestRow, read_tests
from pdp.authoring.sources import read_folder
from pdp.authoring.yaml_edits import applied
from pdp.cel.limits import EvaluationLimits
from pdp.policy import PolicyDocument
from tests.conftest import ROOT, Ledger
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
# Every kind of mistake can be made here, in each style of YAML.
ALL_KINDS = """\
# A comment.
policy: many
resource: thing
static_roles: [boss, clerk]
variables:
  small: context.amount < 10   # and a comment
  named: 'subject.id == "it''s me" || subject.id == "you"'
roles:
  near:
    from: [boss, clerk]
    when: "context.place in [\\"here\\", \\"there\\"]"
rules:
  - id: first
    effect: permit
    actions: [read, write]
    roles: [near, boss]
    when: |
      small && (named || !(context.x >= 2u)) &&
      resource.properties.parts.exists(p, p.size <= 1.5 && p.n == -3) &&
      now < timestamp("2026-01-01T00:00:00Z") + duration("1h")
    justification: one
    starts: 2025-01-01T00:00:00Z
    expires: 2027-01-01T00:00:00Z
    obligations:
      - {type: a, id: b, properties: {text: c}}
      - type: d
        id: e
  - effect: deny
    id: second
    justification: two
    actions:
      - write
      - erase
    when: >-
      context.flag == true ? context.a > 1 :
      has(context.b)
  - {id: third, effect: permit, actions: [list], when: "small", justification: three}
"""
KINDS = {
    "actions",
    "comparison",
    "condition",
    "conditional",
    "conjunct",
    "constant",
    "disjunct",
    "effect",
    "element",
    "negate",
    "obligation",
    "roles",
    "rule",
    "time",
}
FLOOR = 90.0
DOUBT_PERMITS_NOTHING = "without `has`, a permit is in doubt: it permits as little, and has no duty"
CALLERS_KNOW = "the caller policy lets this workload ask for this type of subject only"
# Mistakes of the samples that no row notices, and why that is so. A row notices everything else,
# but for a permit's or a deny's way into an action that another rule decides the same.
UNNOTICED = {
    "document-sharing": {
        ("document-access, role link-holder", "without `has(context.link)`"): DOUBT_PERMITS_NOTHING,
        (
            "document-administration/admin-rehomes-orphans",
            "without `has(resource.properties.owner_left)`",
        ): DOUBT_PERMITS_NOTHING,
        ("document-classification, variable ranks", "`4` for `3`"): "the highest is the highest",
        ("document-classification, variable ranks", "`-1` for `0`"): "the lowest is the lowest",
        (
            "document-lifecycle, role retention-job",
            'without `subject.type == "service"`',
        ): CALLERS_KNOW,
    },
    "expense-reports": {
        ("expense-retention, role archiver", 'without `subject.type == "service"`'): CALLERS_KNOW,
        (
            "expense-submission, role assistant",
            "without `has(resource.properties.assistants)`",
        ): DOUBT_PERMITS_NOTHING,
        (
            "expense-submission/author-edits-draft",
            "without its condition",
        ): "`only-drafts-change` denies the rest",
        (
            "expense-submission/author-submits-with-receipts",
            "without `is_draft`",
        ): "`only-drafts-change` denies the rest",
        ("expense-approval, variable limit", "`-1` for `0`"): "no report claims nothing",
    },
    "production-access": {
        ("access-change, role pipeline", 'without `subject.type == "robot"`'): CALLERS_KNOW,
        (
            "access-emergency, variable glass_is_broken",
            "without `has(context.break_glass)`",
        ): DOUBT_PERMITS_NOTHING,
        (
            "access-emergency, variable incident_is_open",
            "without `has(context.incident)`",
        ): DOUBT_PERMITS_NOTHING,
    },
}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def compiled(policy: str, checker: Checker) -> Compilation:
    """One policy with a caller policy, without problems."""
    sources = {"p.yaml": policy.encode(), "callers.yaml": CALLERS.encode()}
    found = compile_sources(sources, checker)
    assert found.problems == ()
    return found


def small(rules: str) -> str:
    """A policy of these rules."""
    return f"policy: p\nresource: r\nrules:\n{rules}"


def row(name: str, effect: str, **context: object) -> str:
    """A row of `read` with this context."""
    return (
        f"  - name: {name}\n    subject: {{type: user, id: ana}}\n    action: read\n"
        f"    resource: {{type: r, id: x}}\n    context: {json.dumps(context)}\n"
        f"    expect: {{effect: {effect}}}\n"
    )


def rows(*texts: str) -> tuple[TestRow, ...]:
    """Rows, read."""
    head = "kind: tests\nnow: 2026-01-01T00:00:00Z\ncaller: spiffe://demo.example.org/a\ntests:\n"
    found = read_tests({"p_test.yaml": (head + "".join(texts)).encode()})
    assert found.problems == ()
    return found.rows


def tried(policy: str, checker: Checker, *texts: str) -> Mutation:
    """What the mutants of a policy come to under these rows."""
    compilation = compiled(policy, checker)
    assert compilation.callers is not None
    return mutation.run(compilation, compilation.callers, rows(*texts))


def survivors(found: Mutation) -> set[str]:
    """What is different in each survivor."""
    return {mutant.what for mutant in found.survivors}


# -- what is shown is what was tried ---------------------------------------------


def meaning(document: PolicyDocument, names: frozenset[str]) -> object:
    """What some rules do; how the parser groups `a && b && c` is no difference."""
    kept = tuple(rule for rule in document.rules if f"{document.name}/{rule.id}" in names)
    return behaviour(replace(document, rules=kept), frozenset(), EvaluationLimits())


def assert_shown_is_tried(mutant: Mutant, original: Compilation, checker: Checker) -> bool:
    """Compile all with the mutant's text, and compare; whether it compiles at all."""
    text = applied(mutant.source.text, mutant.edits)
    path = mutant.source.path
    schemas = {path for path, root in original.roots.items() if is_schema(root)}
    # What can never be by a schema would be refused; here that is no matter.
    sources = {path: text for path, text in original.sources.items() if path not in schemas}
    found = compile_sources({**sources, path: text.encode()}, checker)
    if found.problems:
        # As a whole it may be a number now to whoever uses it.
        return False
    if not mutant.documents:
        assert mutant.rules.isdisjoint(found.rule_names)
        return True
    compiled = {document.name: document for document in found.policies}
    for document in mutant.documents:
        assert meaning(compiled[document.name], mutant.rules) == meaning(document, mutant.rules), (
            mutant.part,
            mutant.what,
            mutant.diff(path),
        )
    tried = {document.name for document in mutant.documents}
    for document in original.policies:
        if document.name not in tried:
            names = frozenset(f"{document.name}/{rule.id}" for rule in document.rules)
            assert meaning(compiled[document.name], names) == meaning(document, names)
    return True


def is_schema(root: Map) -> bool:
    """Whether a document is a schema."""
    kind = root.get("kind")
    return isinstance(kind, Scalar) and kind.text == "schema"


def test_the_diff_of_a_mutant_is_the_policy_that_was_tried(checker: Checker) -> None:
    """Of every kind, in every style of YAML: the changed text compiles to the changed tree."""
    original = compiled(ALL_KINDS, checker)
    found = list(all_mutants(original))
    assert {mutant.kind for mutant in found} == KINDS
    assert len(found) >= 80
    compiling = [mutant for mutant in found if assert_shown_is_tried(mutant, original, checker)]
    assert len(compiling) == len(found)


@pytest.mark.prove
@pytest.mark.parametrize("name", SAMPLES)
def test_the_diff_of_every_mutant_of_the_samples_is_the_policy_that_was_tried(
    name: str, checker: Checker, ledger: Ledger
) -> None:
    """All of them, without exception."""
    original = compile_directory(ROOT / "policies" / name, checker)
    found = list(all_mutants(original))
    compiling = [mutant for mutant in found if assert_shown_is_tried(mutant, original, checker)]
    ledger(seed="none: all of them", cases=len(found), compiling=len(compiling))
    assert len(compiling) == len(found) >= 300


def test_mutants_differ_from_the_policy_and_from_each_other(checker: Checker) -> None:
    """No mutant is the original, none is tried twice."""
    found = list(all_mutants(compiled(ALL_KINDS, checker)))
    texts = [applied(mutant.source.text, mutant.edits) for mutant in found]
    assert ALL_KINDS not in texts
    assert len(set(texts)) == len(texts)


def test_mutants_are_the_same_each_time(checker: Checker) -> None:
    """Same policies, same mutants, in the same order, with the same fate."""
    policy = small(
        "  - {id: a, effect: deny, actions: [read], when: context.n > 1 && context.n < 5}\n"
    )
    one, two = (tried(policy, checker, row("t", "DENY", n=2)) for _ in range(2))
    assert [(t.mutant.part, t.mutant.what, t.fate) for t in one.tried] == [
        (t.mutant.part, t.mutant.what, t.fate) for t in two.tried
    ]


# -- what several policies share -----------------------------------------------------

SHARED = """\
kind: shared
name: common
static_roles: [clerk]
variables:
  small: context.n < 5
  number: context.n
roles:
  near:
    from: [clerk]
    when: small && context.near == true
"""


def sharing(name: str, resource: str, when: str, roles: str = "") -> bytes:
    """A policy that imports the shared definitions and uses them."""
    text = (
        f"policy: {name}\nresource: {resource}\nimports: [common]\nrules:\n"
        f"  - {{id: a, effect: permit, actions: [read], {roles}when: {when}, justification: j}}\n"
    )
    return text.encode()


def shared_by_two(checker: Checker) -> Compilation:
    """Two policies, on two resource types, with the same definitions."""
    sources = {
        "callers.yaml": CALLERS.encode(),
        "a.yaml": sharing("a", "r", "small"),
        "b.yaml": sharing("b", "other", "number == 3 || small", "roles: [near], "),
        "common.yaml": SHARED.encode(),
    }
    found = compile_sources(sources, checker)
    assert found.problems == ()
    return found


def test_a_mistake_in_shared_definitions_is_one_mutant_of_all_policies(checker: Checker) -> None:
    """One change of the shared text changes each policy that uses it, and no other."""
    original = shared_by_two(checker)
    found = [mutant for mutant in all_mutants(original) if mutant.source.path == "common.yaml"]
    seen = {
        (mutant.part, mutant.what): {document.name for document in mutant.documents}
        for mutant in found
    }
    assert len(seen) == len(found)
    assert seen["common, variable small", "`<` is `<=`"] == {"a", "b"}
    assert seen["common, role near", "held by anyone"] == {"b"}
    assert all(assert_shown_is_tried(mutant, original, checker) for mutant in found)


def test_a_mistake_in_shared_definitions_is_noticed_by_a_row_of_any_policy(
    checker: Checker,
) -> None:
    """A row of the first policy kills what changes both; without the row, it survives."""
    compilation = shared_by_two(checker)
    assert compilation.callers is not None
    fates = []
    for texts in ((), (row("at the limit", "DENY", n=5),)):
        found = mutation.run(
            compilation, compilation.callers, rows(row("t", "PERMIT", n=1), *texts)
        )
        (fate,) = {
            tried.fate
            for tried in found.tried
            if (tried.mutant.part, tried.mutant.what) == ("common, variable small", "`<` is `<=`")
        }
        fates.append(fate)
    assert fates == [Fate.SURVIVED, Fate.KILLED]


# -- what is noticed ---------------------------------------------------------------

EDGE = small(
    "  - id: a\n    effect: permit\n    actions: [read]\n    when: context.n < 5\n"
    "    justification: j\n"
)


def test_a_row_at_the_limit_notices_a_shifted_comparison(checker: Checker) -> None:
    """`<` for `<=` survives rows far from the limit, and dies by the row at it."""
    far = (row("low", "PERMIT", n=0), row("high", "DENY", n=9))
    assert "`<` is `<=`" in survivors(tried(EDGE, checker, *far))
    found = tried(EDGE, checker, *far, row("at the limit", "DENY", n=5))
    assert "`<` is `<=`" not in survivors(found)
    (killed,) = [t for t in found.tried if t.mutant.what == "`<` is `<=`"]
    assert (killed.fate, killed.noticed_by) == (Fate.KILLED, "at the limit")


def test_the_score_counts_what_can_be_noticed(checker: Checker) -> None:
    """Killed of killed and survived, in per cent; a row that fails as it is notices nothing."""
    found = tried(EDGE, checker, row("low", "PERMIT", n=0), row("high", "DENY", n=9))
    killed, survived = found.count(Fate.KILLED), found.count(Fate.SURVIVED)
    assert killed >= 3
    assert survived == len(found.survivors) >= 2
    assert found.score == pytest.approx(100 * killed / (killed + survived))
    assert tried(EDGE, checker, row("wrong", "DENY", n=0)).count(Fate.KILLED) == 0


def test_mutants_that_answer_the_same_are_not_counted(checker: Checker) -> None:
    """A variable that no rule uses; a permit below an unconditional deny; `a || b || a`."""
    policy = (
        "policy: p\nresource: r\nvariables:\n  unused: context.n == 1\nrules:\n"
        "  - {id: never, effect: permit, actions: [read], justification: j, when: context.n > 1}\n"
        "  - {id: wall, effect: deny, actions: [read]}\n"
        "  - id: twice\n    effect: deny\n    actions: [other]\n"
        "    when: context.a || context.b || context.a\n"
    )
    found = tried(policy, checker, row("t", "DENY", n=2))
    same = {(t.mutant.part, t.mutant.what) for t in found.tried if t.fate is Fate.EQUIVALENT}
    assert ("p, variable unused", "`==` is `!=`") in same
    assert ("p/never", "`>` is `>=`") in same
    assert ("p/never", "the rule is gone") in same
    assert ("p/twice", "without `context.a`") in same
    assert not {("p/twice", "without `context.b`"), ("p/wall", "the rule is gone")} & same
    assert not {("p/never", "`deny` instead"), ("p/never", "any action")} & same


def test_of_too_many_mutants_every_nth_is_tried(checker: Checker) -> None:
    """The number is bounded, and what was left out is said."""
    compilation = compiled(ALL_KINDS, checker)
    assert compilation.callers is not None
    found = mutation.run(compilation, compilation.callers, (), mutants_max=10)
    assert len(found.tried) <= 10
    assert len(found.tried) + found.skipped == len(list(all_mutants(compilation)))


# -- the samples -------------------------------------------------------------------


def of_sample(name: str, checker: Checker, mutants_max: int) -> Mutation:
    """What the mutants of a sample come to under its own rows."""
    folder = ROOT / "policies" / name
    compilation = compile_directory(folder, checker)
    assert compilation.callers is not None
    tests = read_tests(read_folder(folder).tests)
    return mutation.run(compilation, compilation.callers, tests.rows, mutants_max=mutants_max)


def unexplained(found: Mutation, name: str) -> set[tuple[str, str]]:
    """Survivors, but for those that it is said of why nobody can notice them."""
    known = {(part, what) for part, what in UNNOTICED[name]}
    return {
        (mutant.part, mutant.what) for mutant in found.survivors if mutant.kind != "actions"
    } - known


@pytest.mark.parametrize("name", SAMPLES)
def test_the_rows_of_the_samples_notice_small_mistakes(name: str, checker: Checker) -> None:
    """Some of them, here: a score of 90 or more, and no survivor without a reason."""
    found = of_sample(name, checker, mutants_max=40)
    assert len(found.tried) >= 20
    assert unexplained(found, name) == set()


@pytest.mark.prove
@pytest.mark.parametrize("name", SAMPLES)
def test_the_rows_of_the_samples_notice_nearly_every_small_mistake(
    name: str, checker: Checker, ledger: Ledger
) -> None:
    """All of them: a score of 90 or more; what is left cannot be noticed, and it is said why."""
    found = of_sample(name, checker, mutants_max=10_000)
    ledger(
        seed="none: all of them",
        cases=len(found.tried),
        survived=found.count(Fate.SURVIVED),
        score=f"{found.score:.1f}",
    )
    assert found.skipped == 0
    assert found.score >= FLOOR
    assert unexplained(found, name) == set()
    explained = {(m.part, m.what) for m in found.survivors} & set(UNNOTICED[name])
    assert explained == set(UNNOTICED[name])


def test_the_rows_notice_small_mistakes_twin_without_guard(checker: Checker) -> None:
    """With one row in eight, mistakes go by: it is the rows that notice them."""
    folder = ROOT / "policies" / "expense-reports"
    compilation = compile_directory(folder, checker)
    assert compilation.callers is not None
    few = read_tests(read_folder(folder).tests).rows[::8]
    found = mutation.run(compilation, compilation.callers, few, mutants_max=40)
    assert found.score < FLOOR
    assert unexplained(found, "expense-reports") != set()


# -- the command --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy with a limit that no row is at."""
    (tmp_path / "p.yaml").write_text(EDGE)
    (tmp_path / "callers.yaml").write_text(CALLERS)
    (tmp_path / "p_test.yaml").write_text(
        "kind: tests\nnow: 2026-01-01T00:00:00Z\ncaller: spiffe://demo.example.org/a\ntests:\n"
        + row("low", "PERMIT", n=4)
        + row("high", "DENY", n=9)
    )
    return tmp_path


def test_survivors_are_shown_as_diffs_of_the_source(folder: Path, pdp: Command) -> None:
    """Path, line and column, what is different, and a unified diff; the score comes last."""
    done = pdp("test", "--mutate", ".", cwd=folder)
    assert done.returncode == 0
    text = done.stdout
    assert "p.yaml:7:21: survived: p/a: `<` is `<=`\n" in text
    shown = text.partition("`<` is `<=`\n")[2].splitlines()[:8]
    assert [line.removeprefix("      ") for line in shown] == [
        "--- p.yaml",
        "+++ p.yaml (mutant)",
        "@@ -5,4 +5,4 @@",
        "     effect: permit",
        "     actions: [read]",
        "-    when: context.n < 5",
        "+    when: context.n <= 5",
        "     justification: j",
    ]
    assert re.fullmatch(r"\d+ mutants, \d+ survived: score [\d.]+ %", text.splitlines()[-1])


def test_a_score_below_the_floor_is_refused(folder: Path, pdp: Command) -> None:
    """`--mutation-min`: exit 1 below, 0 at and above; the floor alone asks for mutants."""
    report = json.loads(pdp("test", "--json", "--mutate", folder).stdout)
    score = report["mutation"]["score"]
    assert 50 < score < 95
    assert pdp("test", "--mutation-min", int(score), folder).returncode == 0
    done = pdp("test", "--mutation-min", 95, folder)
    assert done.returncode == 1
    assert "asked for: 95 %" in done.stdout


def test_mutants_for_machines(folder: Path, pdp: Command) -> None:
    """`--json`: the score, and each survivor with its place and diff."""
    report = json.loads(pdp("test", "--json", "--mutate", ".", cwd=folder).stdout)["mutation"]
    assert report["not_tried"] == 0
    assert report["killed"] >= 3
    (found,) = [item for item in report["survived"] if item["change"] == "`<` is `<=`"]
    assert (found["path"], found["line"], found["column"]) == ("p.yaml", 7, 21)
    assert (found["part"], found["kind"]) == ("p/a", "comparison")
    assert found["diff"].startswith("--- p.yaml\n+++ p.yaml (mutant)\n@@ ")


def test_no_mutant_is_tried_when_a_test_fails(folder: Path, pdp: Command) -> None:
    """What fails as it is would notice everything: exit 1, no score."""
    path = folder / "p_test.yaml"
    path.write_text(path.read_text() + row("wrong", "PERMIT", n=9))
    done = pdp("test", "--mutate", folder)
    assert done.returncode == 1
    assert "score" not in done.stdout


@pytest.mark.parametrize("arguments", [["-k", "low", "."], ["p_test.yaml"]])
def test_mutants_are_tried_with_all_tests_or_not_at_all(
    arguments: list[str], folder: Path, pdp: Command
) -> None:
    """A score under some of the tests would be mistaken for that of the folder: exit 2."""
    done = pdp("test", "--mutate", *arguments, cwd=folder)
    assert done.returncode == 2
    assert "--mutate" in done.stderr


def test_progress_is_told_after_each(checker: Checker) -> None:
    """How many are done, of how many: what the bar on a terminal shows."""
    compilation = compiled(EDGE, checker)
    assert compilation.callers is not None
    told: list[tuple[int, int]] = []
    note: Callable[[int, int], None] = lambda done, every: told.append((done, every))  # noqa: E731
    found = mutation.run(compilation, compilation.callers, (), progress=note)
    count = len(found.tried)
    assert told == [(number + 1, count) for number in range(count)]
