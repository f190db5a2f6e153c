"""What `pdp check` finds in policies that compile: each kind, where, and never a wrong word."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from pdp.authoring import folding, review
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import compile_document, compile_sources
from pdp.authoring.findings import ACCEPTABLE, KINDS, Finding, Severity
from pdp.authoring.folding import Folding, Outcome
from pdp.authoring.review import Clock
from pdp.authoring.times import parse_span, parse_timestamp
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.model import Verdict
from tests.cel_generator import Generator
from tests.conftest import ROOT
from tests.simulators.author_commands import Command
from tests.test_cel_tiers import conditions
from tests.test_check import unmarked

CASES = YAML(typ="safe", pure=True).load((ROOT / "tests" / "cases" / "findings.yaml").read_text())
SARIF = json.loads((ROOT / "tests" / "cases" / "sarif.schema.json").read_text())
LIMITS = EvaluationLimits()
NOW = "2026-09-15T10:00:00Z"
CLOCK = Clock(parse_timestamp(NOW), parse_span("30d"))
CALLERS = """\
kind: callers
callers:
  - id: spiffe://demo.example.org/a
    resources: [r]
    actions: [read, write, "read:all"]
    subjects: {assert: [user]}
"""
RULE = """\
policy: q
resource: r
static_roles: [member]
rules:
  - id: a
    effect: permit
    actions: [read]
    roles: [member]
    justification: x
"""
SEED = 20_260_915


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


def document(case: Mapping[str, str]) -> str:
    """The text of a case, marks included."""
    if "rule" in case:
        return RULE + "".join(f"    {line}\n" for line in case["rule"].splitlines())
    given = case["policy"]
    return "policy: q\n" + ("" if "resource:" in given else "resource: r\n") + given


def found_in(text: str, checker: Checker) -> tuple[Finding, ...]:
    """The findings in one policy, with a caller policy beside it."""
    sources = {"q.yaml": text.encode(), "callers.yaml": CALLERS.encode()}
    compilation = compile_sources(sources, checker)
    assert compilation.problems == ()
    return review.review(compilation, CLOCK)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_finding_is_named_where_it_is(case: Mapping[str, Any], checker: Checker) -> None:
    """The table in tests/cases/findings.yaml: exactly these, exactly at the marks."""
    text, places = unmarked(document(case))
    found = found_in(text, checker)
    told = [f"{f.kind.id} {f.severity.value} {f.message}" for f in found]
    assert [(f.position.line, f.position.column) for f in found] == places, told
    for said, expected in zip(told, case["findings"], strict=True):
        assert expected in said
    assert [f.accepted for f in found if f.accepted] == case.get("accepted", [])


def test_every_kind_of_finding_is_in_the_table() -> None:
    """A kind that no case shows could be one that nothing finds."""
    shown = {said.split()[0] for case in CASES for said in case["findings"]}
    # What is shared, schemas and providers need two documents: they have tests of their own.
    assert shown == {kind for kind in KINDS if not kind.startswith("PC0")} - {
        "PC204",
        "PC205",
        "PC206",
    }


def test_a_policy_with_problems_has_no_findings(checker: Checker) -> None:
    """Findings in what does not compile would be guesses."""
    compilation = compile_document("q.yaml", (RULE + "    when: subjct\n").encode(), checker)
    assert compilation.problems
    assert review.review(compilation, CLOCK) == ()


def test_shared_definitions_that_nobody_uses_are_found_and_the_others_are_not(
    checker: Checker,
) -> None:
    """Used by a rule, by another shared definition, by nobody; and a document by itself."""
    policy = RULE.replace("static_roles: [member]", "imports: [words]") + "    when: outer\n"
    shared = (
        "kind: shared\nname: words\nstatic_roles: [member, idle]\nvariables:\n"
        "  inner: context.a == 1\n  outer: inner && context.b == 1\n  lonely: inner\n"
        "roles:\n  nobodys: {when: inner}\n"
    )
    sources = {
        "q.yaml": policy.encode(),
        "words.yaml": shared.encode(),
        "other.yaml": b"kind: shared\nname: other\nstatic_roles: [x]\n",
        "c.yaml": CALLERS.encode(),
    }
    compilation = compile_sources(sources, checker)
    assert compilation.problems == ()
    found = review.review(compilation, CLOCK)
    assert [(f.kind.id, f.subject) for f in found] == [
        ("PC204", "other.yaml"),
        ("PC204", "words.yaml: idle"),
        ("PC204", "words.yaml: lonely"),
        ("PC204", "words.yaml: nobodys"),
    ]


SCHEMA = "schema: {type: object, properties: {a: {type: string}}, additionalProperties: true}\n"


def of_schemas(checker: Checker, policy: str, callers: str, *abouts: str) -> list[tuple[str, str]]:
    """Message and hint of each finding about these schemas."""
    sources = {"q.yaml": policy.encode(), "z.yaml": callers.encode()}
    for index, about in enumerate(abouts):
        sources[f"s{index}.yaml"] = f"kind: schema\n{about}\n{SCHEMA}".encode()
    compilation = compile_sources(sources, checker)
    assert compilation.problems == ()
    found = review.review(compilation, CLOCK)
    return [(f.message, f.suggestion) for f in found if f.kind.id == "PC205"]


def test_a_schema_with_a_misspelt_name_is_found(checker: Checker) -> None:
    """It would refuse nothing: of each part of a request, beside one that is about something."""
    good = ("resource: r", "subject: user", "action: read", "context: r", 'context: "*"')
    assert of_schemas(checker, RULE, CALLERS, *good) == []
    bad = ("resource: rr", "subject: usr", "action: raed", "context: other")
    assert of_schemas(checker, RULE, CALLERS, *bad) == [
        (
            "the schema is about nothing: no policy governs resources of type `rr`",
            "did you mean `r`?",
        ),
        (
            "the schema is about nothing: no caller may ask for subjects of type `usr`",
            "did you mean `user`?",
        ),
        (
            "the schema is about nothing: no rule is about the action `raed`",
            "did you mean `read`?",
        ),
        (
            "the schema is about nothing: no policy governs resources of type `other`",
            "correct the name, or remove the schema",
        ),
    ]


def test_a_schema_that_could_be_about_something_is_not_found(checker: Checker) -> None:
    """Rules for every type, patterns of actions, subjects with a token: nothing is certain."""
    policy = RULE.replace("resource: r", 'resource: "*"').replace("[read]", '["re:*"]')
    abouts = ("resource: any", "context: any", "action: re:ad")
    assert of_schemas(checker, policy, CALLERS, *abouts, "subject: user") == []
    token = re.sub(r"subjects: .*", "subjects: {token: required}", CALLERS)
    assert of_schemas(checker, policy, token, "subject: any") == []


def test_a_document_by_itself_is_used_by_whoever_is_not_looked_at(checker: Checker) -> None:
    """An editor checks one file: who imports it, and what a schema is about, is elsewhere."""
    for text in (
        "kind: shared\nname: words\nstatic_roles: [a]\n",
        f"kind: schema\nresource: r\n{SCHEMA}",
    ):
        compilation = compile_document("d.yaml", text.encode(), checker)
        assert compilation.problems == ()
        assert review.review(compilation, CLOCK) == ()


def test_a_deny_of_every_type_shadows_permits_of_each(checker: Checker) -> None:
    """`resource: "*"`: its denies apply whatever the type; a permit of every type stays."""
    rule = "{id: a, effect: permit, actions: [read], roles: [s], justification: x}"
    sources = {
        "1.yaml": f"policy: one\nresource: r\nstatic_roles: [s]\nrules: [{rule}]\n".encode(),
        "2.yaml": b'policy: two\nresource: "*"\nrules: [{id: no, effect: deny, actions: [read]}]\n',
        "3.yaml": b"policy: w\nresource: r\nrules: [{id: no, effect: deny, actions: [write]}]\n",
        "4.yaml": f'policy: x\nresource: "*"\nstatic_roles: [s]\nrules: [{rule}]\n'
        .replace("read", "write").encode(),
        "c.yaml": CALLERS.encode(),
    }  # fmt: skip
    found = review.review(compile_sources(sources, checker), CLOCK)
    assert [(f.kind.id, f.subject) for f in found] == [("PC104", "one/a")]


def test_a_static_role_is_the_same_in_every_policy_and_a_derived_one_is_not(
    checker: Checker,
) -> None:
    """A deny in another policy shadows by static roles only."""
    one = (
        "policy: one\nresource: r\nstatic_roles: [s]\nroles: {d: {when: context.a == 1}}\nrules:\n"
        "  - {id: by-s, effect: permit, actions: [read], roles: [s], justification: x}\n"
        "  - {id: by-d, effect: permit, actions: [read], roles: [d], justification: x}\n"
    )
    two = (
        "policy: two\nresource: r\nstatic_roles: [s]\nroles: {d: {when: context.b == 1}}\nrules:\n"
        "  - {id: no, effect: deny, actions: [read], roles: [s, d]}\n"
    )
    sources = {"1.yaml": one.encode(), "2.yaml": two.encode(), "c.yaml": CALLERS.encode()}
    found = review.review(compile_sources(sources, checker), CLOCK)
    assert [(f.kind.id, f.subject) for f in found] == [("PC104", "one/by-s")]


# -- what conditions can come to ----------------------------------------------------


def surprises(checker: Checker, seed: int, count: int) -> list[tuple[str, Outcome]]:
    """Evaluations that came to what folding says cannot be."""
    generator, wrong = Generator(seed), []
    told = {Verdict.TRUE: Outcome.TRUE, Verdict.FALSE: Outcome.FALSE}
    for expression, variables in conditions(checker, generator, count):
        outcomes = Folding(variables, LIMITS).condition(expression)
        compiled = compile_expression(expression, variables, LIMITS)
        for _ in range(10):
            verdict = compiled.verdict(generator.attributes())
            outcome = told.get(verdict, Outcome.DOUBT)
            if outcome not in outcomes:
                wrong.append((expression.source, outcome))
    return wrong


def test_what_folding_rules_out_never_comes(checker: Checker) -> None:
    """100 random conditions, 1,000 evaluations: none comes to what was said to be impossible."""
    assert surprises(checker, SEED, 100) == []


def test_what_folding_rules_out_twin_without_guard(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were attributes taken for one value, the same evaluations would show it."""
    monkeypatch.setattr(folding, "ANYTHING", folding.NEVER)
    assert surprises(checker, SEED, 20)


def test_parts_are_found_though_they_are_deep(checker: Checker) -> None:
    """Ten levels of `&&`, one constant at the bottom: one finding, in time."""
    part = "(2 > 1)"
    for level in range(10):
        part = f"(context.a{level} == 1 && {part})"
    found = found_in(f"{RULE}    when: |\n      {part}\n", checker)
    assert [f.kind.id for f in found] == ["PC103"]


# -- the command -----------------------------------------------------------------------


def write(folder: Path, rule: str = "") -> Path:
    """A folder with one rule."""
    (folder / "q.yaml").write_text(RULE + rule)
    (folder / "callers.yaml").write_text(CALLERS)
    return folder


def test_warnings_are_shown_and_fail_only_when_strict(tmp_path: Path, pdp: Command) -> None:
    """Place, id, excerpt, caret, what to do; exit 0, with `--strict` 1."""
    write(tmp_path, "    expires: 2026-09-01T00:00:00Z\n")
    arguments = ("check", ".", "--now", NOW)
    done = pdp(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "q.yaml:10:14: warning[PC106]: rule `a` expired at 2026-09-01T00:00:00Z",
        "   10 |     expires: 2026-09-01T00:00:00Z",
        "      |              ^",
        "      = remove it, or renew it with a new justification",
        "1 policy, 1 rule, 1 caller policy, 0 tests: no problems, 1 warning",
    ]
    assert pdp(*arguments, "--strict", cwd=tmp_path).returncode == 1


def test_notes_never_fail_and_what_is_accepted_is_not_shown(tmp_path: Path, pdp: Command) -> None:
    """`--strict` is about warnings that nobody has accepted."""
    write(tmp_path, "    when: context.a && 2 > 1\n")
    done = pdp("check", "--strict", tmp_path, "--now", NOW)
    assert (done.returncode, "note[PC103]" in done.stdout) == (0, True)
    write(tmp_path, "    expires: 2026-09-01T00:00:00Z\n    accept: {PC106: kept as a reminder}\n")
    done = pdp("check", "--strict", tmp_path, "--now", NOW)
    assert (done.returncode, done.stdout) == (
        0,
        "1 policy, 1 rule, 1 caller policy, 0 tests: no problems\n",
    )


def test_an_accepted_finding_twin_without_guard(
    tmp_path: Path, pdp: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `accept` the same folder fails: it is the reason that lets it pass."""
    write(tmp_path, "    expires: 2026-09-01T00:00:00Z\n    accept: {PC106: kept as a reminder}\n")
    monkeypatch.setattr(review, "accepted_in", lambda _rule: {})
    assert pdp("check", "--strict", tmp_path, "--now", NOW).returncode == 1


@pytest.mark.parametrize("within", ["1h", "13d", "2w"])
def test_what_expires_soon_is_for_the_caller_to_say(
    within: str, tmp_path: Path, pdp: Command
) -> None:
    """`--expiring-within`: hours, days, weeks; the rule here expires in 13 days and a second."""
    write(tmp_path, "    expires: 2026-09-28T10:00:01Z\n")
    done = pdp("check", tmp_path, "--now", NOW, "--expiring-within", within)
    assert ("PC107" in done.stdout) is (within == "2w")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--now", "today"], "`--now today` is not a timestamp with a zone"),
        (["--expiring-within", "soon"], "`--expiring-within soon` is not a span of time"),
        (["--json", "--sarif", "-"], "choose one"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], said: str, tmp_path: Path, pdp: Command
) -> None:
    """Exit 2, and what to write."""
    done = pdp("check", write(tmp_path), *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_findings_for_machines(tmp_path: Path, pdp: Command) -> None:
    """`--json`: the accepted ones, too, with their reasons; `ok` is what the exit code says."""
    write(
        tmp_path,
        "    expires: 2026-09-01T00:00:00Z\n    when: 2 > 1\n    accept: {PC106: a reminder}\n",
    )
    report = json.loads(pdp("check", "--json", tmp_path, "--now", NOW).stdout)
    assert (report["ok"], report["problems"]) == (True, [])
    assert [(f["id"], f["severity"], f["accepted"]) for f in report["findings"]] == [
        ("PC106", "warning", "a reminder"),
        ("PC102", "warning", ""),
    ]
    strict = pdp("check", "--json", "--strict", tmp_path, "--now", NOW)
    assert (strict.returncode, json.loads(strict.stdout)["ok"]) == (1, False)


# -- SARIF --------------------------------------------------------------------------------


def results(log: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of a log that follows the schema."""
    jsonschema_rs.validator_for(SARIF).validate(log)
    (run,) = log["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    found: list[dict[str, Any]] = run["results"]
    return found


def test_sarif_holds_problems_findings_and_what_is_accepted(tmp_path: Path, pdp: Command) -> None:
    """By the schema; levels, places and suppressions are those of the findings."""
    write(tmp_path, "    expires: 2026-09-01T00:00:00Z\n    accept: {PC106: a reminder}\n")
    done = pdp("check", ".", "--sarif", "-", "--now", NOW, cwd=tmp_path)
    (one,) = results(json.loads(done.stdout))
    assert (one["ruleId"], one["level"]) == ("PC106", "warning")
    assert one["suppressions"] == [{"kind": "inSource", "justification": "a reminder"}]
    (tmp_path / "q.yaml").write_text(RULE.replace("permit", "permitt"))
    done = pdp("check", ".", "--sarif", "out.sarif", cwd=tmp_path)
    assert (done.returncode, "did you mean" in done.stdout or "unknown" in done.stdout) == (1, True)
    (one,) = results(json.loads((tmp_path / "out.sarif").read_text()))
    assert (one["ruleId"], one["level"]) == ("PC001", "error")
    assert one["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "q.yaml"},
        "region": {"startLine": 6, "startColumn": 13},
    }


def test_sarif_of_all_kinds_of_findings_follows_the_schema(tmp_path: Path, pdp: Command) -> None:
    """All cases of the table, in one folder with a blank in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "callers.yaml").write_text(CALLERS.replace("[r]", '["*"]'))
    for index, case in enumerate(CASES):
        text = unmarked(document(case))[0].replace("policy: q", f"policy: q{index}")
        text = re.sub("resource: [a-z]+", f"resource: r{index}", text)
        (folder / f"q{index}.yaml").write_text(text)
    done = pdp("check", "a folder", "--sarif", "-", "--now", NOW, cwd=tmp_path)
    found = results(json.loads(done.stdout))
    kinds = {kind for kind in KINDS if not kind.startswith("PC0")} - {"PC204", "PC205", "PC206"}
    assert {one["ruleId"] for one in found} == kinds
    uris = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in found}
    assert all(uri.startswith("a%20folder/q") for uri in uris)


def test_words_of_a_document_make_no_link_in_a_review(tmp_path: Path, pdp: Command) -> None:
    """A message with brackets would be a link to whoever shows SARIF: they are escaped."""
    write(tmp_path)
    (tmp_path / "q.yaml").write_text(RULE.replace("roles:", '"[free](https://evil.example)":'))
    done = pdp("check", tmp_path, "--sarif", "-")
    (one, *_) = results(json.loads(done.stdout))
    assert r"\[free\](https" in one["message"]["text"]


def test_fingerprints_stay_when_lines_move(tmp_path: Path, pdp: Command) -> None:
    """A comment above: the same finding, as a reader of two reports must see."""
    write(tmp_path, "    expires: 2026-09-01T00:00:00Z\n")
    prints = []
    for text in (RULE, "# moved\n\n" + RULE):
        (tmp_path / "q.yaml").write_text(text + "    expires: 2026-09-01T00:00:00Z\n")
        done = pdp("check", ".", "--sarif", "-", "--now", NOW, cwd=tmp_path)
        prints += [one["partialFingerprints"] for one in results(json.loads(done.stdout))]
    assert len(prints) == 2
    assert prints[0] == prints[1]


def test_ids_say_what_severity_may_be_accepted() -> None:
    """Errors and PC901 cannot be accepted; everything else can."""
    errors = {kind.id for kind in KINDS.values() if kind.severity is Severity.ERROR}
    assert set(KINDS) - ACCEPTABLE == errors | {"PC901"}


def test_garbage_is_reviewed_without_a_crash(checker: Checker) -> None:
    """Generated conditions in a policy of their own: reviewed, every finding has a place."""
    generator, chance = Generator(SEED + 1), random.Random(SEED)
    for expression, _ in conditions(checker, generator, 25):
        if any(name in expression.source for name in ("any", " v", " w", "(v", "(w")):
            continue
        effect = chance.choice(["deny", "permit"])
        text = RULE.replace("effect: permit", f"effect: {effect}")
        text += "    when: |\n" + f"      {expression.source}\n"
        compilation = compile_document("q.yaml", text.encode(), checker)
        for finding in review.review(compilation, CLOCK):
            assert finding.position.line
