"""What tests reach: rules, conditions, branches; told by the evaluator itself, shown in colours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pdp.authoring import coverage, coverage_page, parallel
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_directory, compile_sources
from pdp.authoring.coverage import Coverage, everything
from pdp.authoring.coverage_page import render
from pdp.authoring.coverage_report import gaps, located
from pdp.authoring.policy_tests import TestRow, read_tests
from pdp.authoring.sources import read_folder
from pdp.cel.limits import EvaluationLimits
from tests.conftest import ROOT
from tests.simulators.author_commands import Command

SAMPLES = ("document-sharing", "expense-reports", "production-access")
POLICY = """\
policy: p
resource: r
static_roles: [member]
variables:
  mine: resource.properties.owner == subject.id || subject.id == "root"
roles:
  insider:
    from: [member]
    when: context.network == "office"
rules:
  - id: reads
    effect: permit
    actions: [read]
    roles: [insider]
    when: |
      mine &&
        (context.night ? context.badge == "b" : true)
    justification: x
  - id: nobody-else
    effect: deny
    actions: [read]
    when: subject.id == "eve"
"""
CALLERS = """\
kind: callers
callers:
  - id: spiffe://demo.example.org/a
    resources: [r]
    actions: [read]
    subjects: {assert: [user]}
"""
HEAD = """\
kind: tests
now: 2026-09-15T10:00:00Z
caller: spiffe://demo.example.org/a
subjects:
  ana: {type: user, id: ana, properties: {roles: [member]}}
  bo: {type: user, id: bo, properties: {roles: [member]}}
  guest: {type: user, id: guest, properties: {roles: []}}
  root: {like: ana, id: root}
  eve: {like: ana, id: eve}
resources:
  anas: {type: r, id: "1", properties: {owner: ana}}
contexts:
  day: {network: office, night: false}
  night: {network: office, night: true, badge: b}
  forgot: {network: office, night: true, badge: c}
  home: {network: home, night: false}
  unclear: {network: office}
matrices:
"""


def table(*lines: str) -> str:
    """A document of tests: each line is context, subjects asked, answers."""
    made = HEAD + "  - name: m\n    table: |\n      action resource context ana bo guest root eve\n"
    return made + "".join(f"      read anas {line}\n" for line in lines)


FULL = table(
    "day     PERMIT DENY DENY PERMIT DENY",
    "night   PERMIT -    -    -      -",
    "forgot  DENY   -    -    -      -",
    "home    DENY   -    -    -      -",
    "unclear DENY   -    -    -      -",
)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child process for all tests of this file."""
    with Checker() as running:
        yield running


@pytest.fixture(scope="module")
def policies(checker: Checker) -> Compilation:
    """The small policy above."""
    return compile_sources({"p.yaml": POLICY.encode(), "c.yaml": CALLERS.encode()}, checker)


def rows_of(text: str) -> tuple[TestRow, ...]:
    """The tests of a document."""
    found = read_tests({"p_test.yaml": text.encode()})
    assert found.problems == ()
    return found.rows


def covered(policies: Compilation, text: str, processes: int = 1) -> Coverage:
    """What these tests reach; all of them pass."""
    result = parallel.run(policies, rows_of(text), cover=True, processes=processes)
    assert all(outcome.passed for outcome in result.outcomes), result.outcomes
    kinds = {policy.resource_type for policy in policies.policies}
    return Coverage(everything(policies.policy_set(EvaluationLimits()), kinds), result.counts)


def missing(policies: Compilation, text: str) -> list[str]:
    """What is missing, each with its line."""
    found = covered(policies, text)
    return [f"{g.where.begin.line} {g.message}" for g in gaps(found, located(found, policies))]


# -- what is counted -----------------------------------------------------------------


def test_tests_that_reach_everything_miss_nothing(policies: Compilation) -> None:
    """2 rules, 3 conditions of two outcomes, 10 branches: all reached."""
    found = covered(policies, FULL)
    shares = [found.rules, found.conditions, found.branches]
    assert [(share.covered, share.total, share.percent) for share in shares] == [
        (2, 2, 100),
        (6, 6, 100),
        (10, 10, 100),
    ]
    assert missing(policies, FULL) == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["day - DENY - - -"],
            [
                '5 `subject.id == "root"` was never true',
                "5 `resource.properties.owner == subject.id` was never true",
                "9 the condition of role `insider` was never false",
                "11 rule `reads` never decided",
                "16 the condition of rule `reads` was never true",
                "16 `mine` was never true",
                '17 `context.badge == "b"` was never evaluated',
                "17 `true` was never evaluated",
                '17 `context.night ? context.badge == "b" : true` was never true and never false',
                "19 rule `nobody-else` never decided",
                "22 the condition of rule `nobody-else` was never true",
            ],
        ),
        # Who has no role is no reason to look at a condition.
        (
            ["day PERMIT - DENY - DENY"],
            [
                '5 `subject.id == "root"` was never true',
                "9 the condition of role `insider` was never false",
                '17 `context.badge == "b"` was never evaluated',
                '17 `context.night ? context.badge == "b" : true` was never false',
            ],
        ),
        # An error is neither.
        (
            [
                "day PERMIT DENY DENY PERMIT DENY",
                "night PERMIT - - - -",
                "forgot DENY - - - -",
                "unclear DENY - - - -",
            ],
            ["9 the condition of role `insider` was never false"],
        ),
    ],
)
def test_what_is_missing_is_named_where_it_is(
    lines: list[str], told: list[str], policies: Compilation
) -> None:
    """Whole conditions, sides of `&&` and `||`, of `?:`, inside variables and roles."""
    assert sorted(missing(policies, table(*lines))) == sorted(told)


def test_what_is_missing_in_a_shared_definition_is_named_there(checker: Checker) -> None:
    """The place is in the shared document, for each policy that uses it."""
    imported = POLICY.replace("static_roles: [member]", "imports: [words]")
    imported = re.sub(r"(?s)variables:.*?rules:", "rules:", imported)
    shared = "kind: shared\nname: words\n" + POLICY[POLICY.index("static") : POLICY.index("rules:")]
    sources = {"p.yaml": imported, "words.yaml": shared, "c.yaml": CALLERS}
    encoded = {path: text.encode() for path, text in sources.items()}
    compilation = compile_sources(encoded, checker)
    assert compilation.problems == ()
    found = covered(compilation, table("day PERMIT DENY DENY - DENY"))
    assert [
        (gap.where.begin.path, gap.message)
        for gap in gaps(found, located(found, compilation))
        if gap.where.begin.path != "p.yaml"
    ] == [
        ("words.yaml", '`subject.id == "root"` was never true'),
        ("words.yaml", "the condition of role `insider` was never false"),
    ]


def test_a_rule_is_covered_when_it_decided_not_when_it_is_in_doubt(checker: Checker) -> None:
    """A deny in doubt is in the answer with the cause INDETERMINATE: that is no test of it."""
    policy = POLICY.replace('subject.id == "eve"', "context.missing")
    compilation = compile_sources({"p.yaml": policy.encode(), "c.yaml": CALLERS.encode()}, checker)
    told = missing(compilation, table("day DENY/INDETERMINATE - - - -"))
    assert "19 rule `nobody-else` never decided" in told


def test_a_side_in_a_loop_counts_each_turn(checker: Checker) -> None:
    """One request with two elements can show both outcomes."""
    policy = POLICY.replace(
        'subject.id == "eve"', "resource.properties.l.exists(x, x > 1 && x < 9)"
    )
    compilation = compile_sources({"p.yaml": policy.encode(), "c.yaml": CALLERS.encode()}, checker)
    text = table("day DENY - - - -").replace("{owner: ana}", "{owner: ana, l: [1, 10, 5]}")
    assert not any("`x " in line for line in missing(compilation, text))


def test_without_the_evaluators_word_nothing_is_covered_twin(
    policies: Compilation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coverage is what the tracer saw and nothing else: blind it, and all is missing."""
    monkeypatch.setattr(coverage._Probe, "look", lambda *_: None)
    assert covered(policies, FULL).branches.covered == 0


def test_several_processes_come_to_the_same(policies: Compilation) -> None:
    """Outcomes in the order of the rows, and the same counts."""
    rows = rows_of(FULL)
    one = parallel.run(policies, rows, cover=True)
    two = parallel.run(policies, rows, cover=True, processes=2)
    assert one.outcomes == two.outcomes
    assert {key: n for key, n in one.counts.items() if n} == {
        key: n for key, n in two.counts.items() if n
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_every_rule_and_condition_of_the_samples_is_reached(name: str, checker: Checker) -> None:
    """100 % of rules and conditions, and of branches all but one.

    What is left, in two of them: the type of a subject of which the caller
    policy lets nobody ask with another type.
    """
    folder = ROOT / "policies" / name
    compilation = compile_directory(folder, checker)
    tests = read_tests(read_folder(folder).tests)
    result = parallel.run(compilation, tests.rows, cover=True)
    kinds = {policy.resource_type for policy in compilation.policies}
    spots = everything(compilation.policy_set(EvaluationLimits()), kinds)
    found = Coverage(spots, result.counts)
    assert (found.rules.percent, found.conditions.percent) == (100, 100)
    assert found.branches.total - found.branches.covered <= 1
    left = [gap.message for gap in gaps(found, located(found, compilation))]
    assert left in ([], ['`subject.type == "service"` was never false'])


# -- the command -----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small policy and tests that do not reach everything."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "c.yaml").write_text(CALLERS)
    (tmp_path / "p_test.yaml").write_text(table("day PERMIT DENY DENY PERMIT DENY"))
    return tmp_path


def test_the_command_says_what_is_missing_and_how_much_there_is(folder: Path, pdp: Command) -> None:
    """Places first, then the shares; without a threshold it is no failure."""
    done = pdp("test", "--cover", ".", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "5 tests passed, 0 failed",
        "p.yaml:9:11: not covered: the condition of role `insider` was never false",
        'p.yaml:17:10: not covered: `context.night ? context.badge == "b" : true` was never false',
        'p.yaml:17:26: not covered: `context.badge == "b"` was never evaluated',
        "rules that decided          2 of 2      100 %",
        "outcomes of conditions      5 of 6       83 %",
        "branches                    8 of 10      80 %",
    ]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--cover-min-rules", "100"], 0),
        (["--cover-min-conditions", "83"], 0),
        (["--cover-min-conditions", "84"], 1),
        (["--cover-min-branches", "80", "--cover-min-rules", "100"], 0),
        (["--cover-min-branches", "81"], 1),
        (["--cover-min-branches", "101"], 2),
    ],
)
def test_thresholds_fail_below_and_not_at(
    options: list[str], code: int, folder: Path, pdp: Command
) -> None:
    """Per cent, rounded down, so that 100 is all; each kind by itself."""
    done = pdp("test", *options, folder)
    assert done.returncode == code
    assert ("wanted" in done.stdout) is (code == 1)


def test_coverage_for_machines(folder: Path, pdp: Command) -> None:
    """`--json` has the shares and what is missing; `ok` is what the exit code says."""
    done = pdp("test", "--json", "--cover-min-branches", "90", ".", cwd=folder)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["coverage"]["ok"]) == (1, False, False)
    assert report["coverage"]["branches"] == {"covered": 8, "total": 10, "percent": 80}
    assert report["coverage"]["missing"][0] == {
        "path": "p.yaml",
        "line": 9,
        "column": 11,
        "policy": "p",
        "kind": "condition",
        "owner": "role",
        "name": "insider",
        "never": ["false"],
        "message": "the condition of role `insider` was never false",
    }
    assert "coverage" not in json.loads(pdp("test", "--json", folder).stdout)


# -- the page ----------------------------------------------------------------------------


class _Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "span":
            self.open.append(dict(attrs)["class"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open:
            self.words.append((self.open[-1], data))


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "code", "table", "tr"),
    *("th", "td", "p", "span", "ul", "li", "pre", "i"),
}
HOSTILE = """\
policy: p
resource: r
owner: "</title><script>alert(1)</script>"
# </pre><img src=x onerror=alert(2)>
rules:
  - id: a
    effect: deny
    actions: [read]
    when: |
      subject.id == "\\" onmouseover=alert(3) </span><script>" ||
      subject.id == '<a href="https://evil.example">'
"""


def page_of(policy: str, text: str, checker: Checker) -> str:
    """The page for these tests of this policy."""
    sources = {"p.yaml": policy.encode(), "c.yaml": CALLERS.encode()}
    compilation = compile_sources(sources, checker)
    assert compilation.problems == ()
    found = covered(compilation, text)
    return render("<folder>", found, located(found, compilation), compilation.sources)


def test_the_page_colours_what_was_reached(policies: Compilation, checker: Checker) -> None:
    """Full, in part, never; every character of the policy is there, once."""
    page = _Page(page_of(POLICY, table("day PERMIT DENY DENY PERMIT DENY"), checker))
    words = [(name, text.strip()) for name, text in page.words]
    assert ("full", "reads") in words
    assert ("part", 'context.network == "office"') in words
    assert ("none", 'context.badge == "b"') in words
    assert ("full", "true") in words
    lines = [re.sub(r"^\d+", "", line) for line in page.text.splitlines()]
    assert [line for line in POLICY.splitlines() if line not in lines] == []


def test_a_hostile_policy_cannot_put_anything_into_the_page(checker: Checker) -> None:
    """No tag, no attribute, no address but ours; and a policy that loads and runs nothing."""
    page = page_of(
        HOSTILE, table("day DENY/DEFAULT - - - -").replace("DENY/DEFAULT", "DENY"), checker
    )
    found = _Page(page)
    assert set(found.tags) <= TAGS
    assert found.attributes == {"lang", "charset", "http-equiv", "content", "class", "title"}
    assert "default-src 'none'" in page
    assert "<script>" in found.text


def test_a_hostile_policy_twin_without_escaping(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the escaping, its script is in the page."""
    monkeypatch.setattr(coverage_page, "escape", lambda text: text)
    assert "script" in _Page(page_of(HOSTILE, table("day DENY - - - -"), checker)).tags


def test_the_command_writes_the_page(folder: Path, pdp: Command) -> None:
    """`--cover-html FILE` covers without being told to."""
    done = pdp("test", "--cover-html", "out.html", ".", cwd=folder)
    assert done.returncode == 0
    page = (folder / "out.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "8 of 10" in page
