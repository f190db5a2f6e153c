"""The benchmarks compare like with like: what they time says the same on both sides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loadtests import by_hand, cedar, conditions, loading, rounds
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.authoring.policy_tests import read_tests
from pdp.authoring.sources import read_folder
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.model import Caller, Cause, Effect, Verdict
from pdp.values import NANOS, Timestamp
from tests.conftest import ROOT

SEED = 20_261_126
# Before the rules; and what is missing or malformed, for which Cedar skips a rule.
ASIDE = (Cause.INDETERMINATE, Cause.SCHEMA, Cause.CALLER, Cause.IDENTITY)
MALFORMED = {
    "a delegation without an end delegates nothing",
    "a broken delegation does not shed its duty from another's permit",
    "a line without an amount is not complete",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


def random_attributes(chance: random.Random) -> tuple[dict[str, Any], datetime]:
    """Attributes around the edges of the conditions."""
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(-2, 368))
    given = conditions.attributes(now)
    given["subject.properties"]["department"] = chance.choice(["sales", "legal"])
    given["subject.properties"]["roles"] = chance.sample(["viewer", "auditor", "sre", "hr"], 2)
    given["subject.properties"]["clearance"] = chance.randrange(2, 5)
    given["resource.properties"]["amount"] = chance.choice([9_999, 10_000, 10_001])
    given["action.name"] = chance.choice(["read", "list", "write"])
    given["context"]["ip"] = chance.choice(["10.0.0.1", "11.0.0.1", "10.255.255.255", "9.9.9.9"])
    return given, now


@pytest.mark.parametrize("name", [*conditions.SOURCES, conditions.JOINED])
def test_by_hand_is_the_same_condition(checker: Checker, name: str) -> None:
    """The baseline says what the condition says, on both sides of its edges."""
    text = conditions.texts(native=True)[name]
    checked = checker.check(text, CONDITION_VARIABLES).checked_expr
    compiled = compile_expression(decode(checked, text), {}, EvaluationLimits())
    chance, seen = random.Random(SEED), set()
    for _ in range(400):
        given, now = random_attributes(chance)
        want = conditions.BY_HAND[name](given)
        ours = {**given, "now": Timestamp(int(now.timestamp()) * NANOS)}
        assert compiled.verdict(ours) is (Verdict.TRUE if want else Verdict.FALSE), given
        seen.add(want)
    assert False in seen


def test_the_cedar_policies_are_equivalent() -> None:
    """On the sample's own tests Cedar answers as they expect, malformed data aside."""
    folder = read_folder(ROOT / "policies" / "expense-reports")
    documents = read_tests(folder.tests)
    policies, same = cedar.policy_set(), 0
    for row in documents.rows:
        if row.expect.cause in ASIDE or row.name in MALFORMED:
            continue
        now = EPOCH + timedelta(microseconds=row.now_ns // 1_000)
        allowed = cedar.ask(policies, row.request, now, Caller(row.caller).path)
        assert allowed is (row.expect.effect is Effect.PERMIT), row.name
        same += 1
    assert same > 100


def test_a_promise_without_a_limit_is_not_kept() -> None:
    """A line of the table holds only against a limit."""
    assert not rounds.Target("x", 1.0).holds
    assert rounds.Target("x", 1.0, at_least=1.0).holds
    assert not rounds.Target("x", 1.0, at_most=0.9).holds


def test_loading_measures_a_bundle_that_answers(tmp_path: Path) -> None:
    """What is timed is a whole load: an archive of a hundred policies comes out as rules."""
    loading.write(tmp_path / "bundle.tar", 100)
    found = loading.load(tmp_path / "bundle.tar")
    assert 0 < found["seconds"] < 60
    assert found["megabytes"] > 10


def test_rounds_are_ratios_of_neighbours() -> None:
    """A disturbance of one round moves one ratio, and the median not at all."""
    slow = rounds.Timing((2.0, 2.0, 200.0))
    fast = rounds.Timing((1.0, 1.0, 100.0))
    assert slow.times(fast) == 2.0
    assert by_hand.exists({"subject.properties": {"roles": ["sre"]}})
