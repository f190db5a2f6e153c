"""The policies that authors see first: clean, tested, and their tests would notice any loss."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pdp import engine
from pdp.actions import PATTERN_END, action_matches
from pdp.authoring import trial
from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_directory
from pdp.authoring.policy_tests import TestRow, read_tests, unknown_names
from pdp.authoring.sources import read_folder
from pdp.authoring.trial import Outcome
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.model import Cause, Effect, Request, Verdict
from pdp.policy import PolicySet, Rule, RuleDocument
from pdp.values import Value
from tests.conftest import ROOT

FOLDER = ROOT / "policies"
BUNDLES = ("document-sharing", "expense-reports", "production-access")
LIMITS = EvaluationLimits()
CAUSES = {"RULE", "INDETERMINATE", "DEFAULT", "CALLER", "IDENTITY", "SCHEMA"}
# What a condition sees and no caller sends: the PDP's clock, the caller's certificate.
KNOWN_TO_THE_PDP = ("now", "caller")
# No request lacks these.
REQUIRED = {"subject.type", "subject.id", "action.name", "resource.type", "resource.id", "now"}
# Denies of what no permit gives today. They are there for the permit that somebody will add.
SECOND_WALLS: Mapping[str, frozenset[str]] = {
    "document-sharing": frozenset({"document-classification/restricted-leaves-no-copies"}),
    "expense-reports": frozenset(
        {"expense-retention/archived-is-immutable", "expense-submission/only-drafts-change"}
    ),
    "production-access": frozenset(),
}
# Attributes that are denied because they are there: nobody learns of it when they are not.
BELIEVED_BY_ABSENCE: Mapping[str, frozenset[str]] = {
    "document-sharing": frozenset(),
    "expense-reports": frozenset(),
    "production-access": frozenset({"context.break_glass"}),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """One folder of policies, compiled, with its tests."""

    name: str
    compilation: Compilation
    policies: PolicySet
    callers: CallerPolicy
    rows: tuple[TestRow, ...]

    @property
    def rules(self) -> Mapping[str, RuleDocument]:
        """Every rule by `policy/rule`."""
        return {
            f"{policy.name}/{rule.id}": rule
            for policy in self.compilation.policies
            for rule in policy.rules
        }

    def ask(
        self, rows: tuple[TestRow, ...], policies: PolicySet | None = None
    ) -> tuple[Outcome, ...]:
        """What rows come to, under these policies or under others."""
        return trial.run(policies or self.policies, self.callers, rows)

    @functools.cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What all rows come to."""
        return self.ask(self.rows)


def load(name: str, checker: Checker) -> Sample:
    """A folder without a problem, in its policies or in its tests."""
    folder = FOLDER / name
    compilation = compile_directory(folder, checker)
    assert compilation.problems == ()
    tests = read_tests(read_folder(folder).tests)
    assert tests.problems == ()
    assert unknown_names(tests.rows, compilation.rule_names, compilation.provider_names) == ()
    assert compilation.callers is not None
    policies = compilation.policy_set(LIMITS)
    return Sample(name, compilation, policies, compilation.callers, tests.rows)


@pytest.fixture(scope="module")
def samples() -> Iterator[Callable[[str], Sample]]:
    """All of them, each compiled once for all tests of this file."""
    with Checker() as checker:
        yield functools.cache(lambda name: load(name, checker))


@pytest.fixture(params=BUNDLES)
def sample(request: pytest.FixtureRequest, samples: Callable[[str], Sample]) -> Sample:
    """One of them."""
    return samples(request.param)


# -- as large as promised, and clean ---------------------------------------------


def test_every_folder_of_policies_is_held_here() -> None:
    """A fourth sample would be tested, too."""
    assert tuple(sorted(path.name for path in FOLDER.iterdir() if path.is_dir())) == BUNDLES


def test_the_samples_are_as_large_as_promised(samples: Callable[[str], Sample]) -> None:
    """At least 45 rules and 170 rows together; at least 15 rules and 50 rows in each."""
    sizes = [(len(found.rules), len(found.rows)) for found in map(samples, BUNDLES)]
    assert all(rules >= 15 and rows >= 50 for rules, rows in sizes)
    assert sum(rules for rules, _ in sizes) >= 45
    assert sum(rows for _, rows in sizes) >= 170


def test_every_row_gets_the_answer_that_it_expects(sample: Sample) -> None:
    """What `pdp test` says, and every cause that a rule or a caller policy can have."""
    assert [item.row.name for item in sample.outcomes if not item.passed] == []
    causes = {row.expect.cause.name for row in sample.rows if row.expect.cause is not None}
    assert causes >= CAUSES


def test_every_rule_and_every_duty_is_in_some_answer(sample: Sample) -> None:
    """No rule without a row that it decides, no obligation that no row receives."""
    decisions = [item.decision for item in sample.outcomes if item.decision is not None]
    assert {name for decision in decisions for name in decision.rules} == set(sample.rules)
    received = {duty.key for decision in decisions for duty in decision.obligations}
    written = {duty.key for rule in sample.rules.values() for duty in rule.obligations}
    assert received == written


def test_every_rule_says_why(sample: Sample) -> None:
    """Denies, too, for which it is not required: who is shut out asks who decided it."""
    assert [name for name, rule in sample.rules.items() if not rule.justification] == []


def test_one_sample_shows_a_pattern_of_actions(samples: Callable[[str], Sample]) -> None:
    """`report:*`, and rows with names of one and of more parts that it is about."""
    found = samples("document-sharing")
    (pattern,) = {
        action
        for rule in found.rules.values()
        for action in rule.actions
        if action.endswith(PATTERN_END)
    }
    asked = {row.request.action.name for row in found.rows if row.expect.effect is Effect.PERMIT}
    parts = {name.count(":") for name in asked if action_matches(pattern, name)}
    assert (pattern, parts) == ("report:*", {1, 2})


def test_every_caller_is_in_some_row(sample: Sample) -> None:
    """Each entry of the caller policy is about the caller of some row."""

    def about(entry: CallerEntry) -> bool:
        return any(entry.matches(row.caller) for row in sample.rows)

    assert all(about(entry) for entry in sample.callers.entries)


# -- its tests would notice (test_mutation.py has more of it) --------------------


def outcomes_without(sample: Sample, name: str) -> tuple[Outcome, ...]:
    """What rows come to without one rule: those about its actions, no other can change."""
    actions = sample.rules[name].actions
    policy_name, _, rule_id = name.partition("/")
    policies = [
        replace(policy, rules=tuple(rule for rule in policy.rules if rule.id != rule_id))
        if policy.name == policy_name
        else policy
        for policy in sample.compilation.policies
    ]
    concerned = tuple(
        row
        for row in sample.rows
        if any(action_matches(action, row.request.action.name) for action in actions)
    )
    return sample.ask(concerned, PolicySet(policies, LIMITS, sample.compilation.schemas))


def test_the_rows_notice_the_loss_of_any_rule(sample: Sample) -> None:
    """Each rule removed in turn: a row fails. Of a deny, by a PERMIT that should not be."""
    harmless = set()
    for name, rule in sample.rules.items():
        found = outcomes_without(sample, name)
        assert not all(item.passed for item in found), name
        if rule.effect is Effect.DENY and not any(map(is_opened, found)):
            harmless.add(name)
    assert harmless == SECOND_WALLS[sample.name]


def is_opened(outcome: Outcome) -> bool:
    """Whether a row got a PERMIT that it should not get."""
    return (
        outcome.decision is not None
        and outcome.decision.effect is Effect.PERMIT
        and outcome.row.expect.effect is Effect.DENY
    )


def compiled_rules(sample: Sample) -> list[Rule]:
    """The rules as the PDP has them, with what they read."""
    return list(sample.policies.rules)


# -- missing attributes ----------------------------------------------------------


def with_one_less(request: Request) -> Iterator[tuple[str, Request]]:
    """The request without one of its attributes, or without one part of one that is a map."""
    holders = {
        "subject.properties": request.subject.properties,
        "action.properties": request.action.properties,
        "resource.properties": request.resource.properties,
        "context": request.context,
    }
    for holder, attributes in holders.items():
        for key, value in attributes.items():
            rest = {other: kept for other, kept in attributes.items() if other != key}
            yield f"{holder}.{key}", with_attributes(request, holder, rest)
            parts = value if isinstance(value, dict) else {}
            for part in parts:
                less = {other: kept for other, kept in parts.items() if other != part}
                changed = with_attributes(request, holder, {**attributes, key: less})
                yield f"{holder}.{key}.{part}", changed


def with_attributes(request: Request, holder: str, attributes: Mapping[str, Value]) -> Request:
    """The request with other attributes in one place."""
    match holder.partition(".")[0]:
        case "subject":
            return replace(request, subject=replace(request.subject, properties=attributes))
        case "action":
            return replace(request, action=replace(request.action, properties=attributes))
        case "resource":
            return replace(request, resource=replace(request.resource, properties=attributes))
        case _:
            return replace(request, context=attributes)


def opened_by_an_absence(sample: Sample) -> frozenset[str]:
    """Attributes without which some denied row is permitted.

    A row that does not fit the schemas asks another question without what does not fit.
    """
    denied = [
        row
        for row in sample.rows
        if row.expect.effect is Effect.DENY and row.expect.cause is not Cause.SCHEMA
    ]
    less = [
        (path, replace(row, request=request))
        for row in denied
        for path, request in with_one_less(row.request)
    ]
    assert len(less) >= 200
    found = sample.ask(tuple(row for _, row in less))
    return frozenset(path for (path, _), item in zip(less, found, strict=True) if is_opened(item))


def test_no_attribute_that_is_left_out_opens_anything(sample: Sample) -> None:
    """Every attribute of every denied row removed in turn: it stays denied."""
    assert opened_by_an_absence(sample) == BELIEVED_BY_ABSENCE[sample.name]


def test_no_attribute_that_is_left_out_opens_anything_twin_without_guard(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a deny in doubt skipped, as other engines do it, leaving something out would open."""
    tally = engine.tally

    def skipping(*arguments: Any) -> Any:
        denies, permits = tally(*arguments)
        return {key: value for key, value in denies.items() if key is not Verdict.DOUBT}, permits

    monkeypatch.setattr(engine, "tally", skipping)
    assert len(opened_by_an_absence(sample) - BELIEVED_BY_ABSENCE[sample.name]) >= 3


def test_every_deny_is_in_doubt_in_some_row(sample: Sample) -> None:
    """What an attribute that is missing, or of another type, does to each deny is written down."""
    in_doubt = {
        name
        for item in sample.outcomes
        if item.decision is not None and item.decision.cause is Cause.INDETERMINATE
        for name in item.decision.rules
    }
    denies = {name for name, rule in sample.rules.items() if rule.effect is Effect.DENY}
    never_missing = {
        rule.name
        for rule in compiled_rules(sample)
        if all(path[0] in REQUIRED for path in rule.reads)
    }
    assert denies - in_doubt == denies & never_missing


# -- the page for its authors ----------------------------------------------------


def page(sample: Sample) -> str:
    """The README beside the policies."""
    return (FOLDER / sample.name / "README.md").read_text()


def paths_named(text: str) -> set[str]:
    """Attribute paths in the first column of the table; `.b` after `x.y.a` is `x.y.b`."""
    table = text.partition("## The attributes")[2].partition("\n## ")[0]
    found: set[str] = set()
    for cell in re.findall(r"(?m)^\| (`[^|]*) \|", table):
        previous = ""
        for word in re.findall(r"`([\w.]+)`", cell):
            previous = previous.rpartition(".")[0] + word if word.startswith(".") else word
            found.add(previous)
    return found


def paths_read(sample: Sample) -> set[str]:
    """Attribute paths that some rule may look at, but for what the PDP knows by itself."""
    paths = {path for rule in compiled_rules(sample) for path in rule.reads}
    return {".".join(path) for path in paths if path[0].partition(".")[0] not in KNOWN_TO_THE_PDP}


def test_the_page_names_every_attribute_that_the_rules_read_and_no_other(sample: Sample) -> None:
    """A row of its table for each; `has(context.change)` is named by `context.change.state`."""
    named, read = paths_named(page(sample)), paths_read(sample)
    parents = {path for path in read if any(other.startswith(f"{path}.") for other in named)}
    assert read - parents - named == set()
    assert named - read == set()


def test_the_page_counts_what_is_there(sample: Sample) -> None:
    """Its first sentence, and the outputs that it shows."""
    policies, rules, rows = (
        len(sample.compilation.policies),
        len(sample.rules),
        len(sample.rows),
    )
    text = " ".join(page(sample).split())
    words = {4: "four", 5: "five"}[policies]
    assert f"{rules} rules in {words} policies, and {rows} tests" in text
    schemas = len(sample.compilation.schemas)
    counts = f"{policies} policies, {rules} rules, 1 caller policy, {schemas} schemas"
    counts += ", 1 shared document" if sample.compilation.shared else ""
    shown = f"{counts}, {rows} tests: no problems"
    assert f"$ pdp check policies/{sample.name} {shown}" in text
    assert f"$ pdp test policies/{sample.name} {rows} tests passed, 0 failed" in text


def test_the_page_links_every_document_and_names_rules_that_exist(sample: Sample) -> None:
    """What reads like the name of a rule is one."""
    text = page(sample)
    documents = {Path(path).name for path in sample.compilation.sources}
    assert set(re.findall(r"\]\((\w+\.yaml)\)", text)) == documents
    ids = {name.partition("/")[2] for name in sample.rules}
    assert set(re.findall(r"`([a-z]+(?:-[a-z0-9]+){2,})`", text)) <= ids
