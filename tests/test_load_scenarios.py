"""Load scenarios are held to their budgets by arithmetic that can be checked without load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests import report, scenarios
from loadtests.scenarios import Budget, Outcome, Scenario, ScenarioError, Second
from loadtests.tally import Tally, from_json, of_batch, to_json
from pdp_client import Cause, Decision, Effect, Undecided

BUDGET = Budget(p50_ms=10, p95_ms=20, p99_ms=30, errors_max=0.0, shed_max=0.1)
STEADY = Scenario("steady", "as ever", ((2.0, 5), (2.0, 10)), 10.0, BUDGET)
CALM = Outcome(5, 10, 20, {}, (1,), 0, (Second(5, 90, 10, 0, 5, 10, 20),))


def tallied(*calls: tuple[int, float, Cause]) -> Outcome:
    """What a tally makes of calls: second, milliseconds, cause."""
    tally = Tally()
    for second, took_ms, cause in calls:
        tally.ended(second, 3, took_ms, cause, 1, 0)
    return tally.outcome()


def test_what_keeps_to_the_budget_has_no_problems() -> None:
    """A share or a time just at its limit is within the budget."""
    assert scenarios.problems(STEADY, CALM) == []
    assert scenarios.problems(STEADY, replace(CALM, p99_ms=30)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"p50_ms": 10.1}, "p50_ms is 10.1, budget 10"),
        ({"p95_ms": 20.1}, "p95_ms is 20.1, budget 20"),
        ({"p99_ms": 30.1}, "p99_ms is 30.1, budget 30"),
        ({"seconds": (Second(5, 99, 0, 1, 5, 10, 20),)}, "errors is 0.01, budget 0"),
        ({"seconds": (Second(5, 89, 11, 0, 5, 10, 20),)}, "shed is 0.11, budget 0.1"),
        ({"went_back": 1}, "1 answers came from an older edition than before"),
        ({"seconds": ()}, "no question was asked"),
    ],
)
def test_each_limit_of_a_budget_refuses(change: dict[str, object], said: str) -> None:
    """Whatever is beyond its limit is a problem of its own, and is named."""
    outcome = Outcome(**{name: getattr(CALM, name) for name in Outcome.__slots__} | change)
    assert scenarios.problems(STEADY, outcome) == [said]


def test_reload_that_nobody_noticed_is_a_problem() -> None:
    """A scenario of reloads in which only one edition answered has shown nothing."""
    reload = replace(STEADY, reload_s=1.0)
    assert scenarios.problems(reload, CALM) == ["no new edition was taken into use"]
    assert scenarios.problems(reload, replace(CALM, revisions=(1, 2))) == []


def test_denial_of_a_policy_is_a_decision_and_a_denial_by_load_is_not() -> None:
    """RULE and DEFAULT are decided, OVERLOADED was turned away, everything else is an error."""
    outcome = tallied(
        (0, 1.0, Cause.RULE),
        (0, 1.0, Cause.DEFAULT),
        (1, 1.0, Cause.OVERLOADED),
        (2, 1.0, Cause.UNREACHABLE),
        (2, 1.0, Cause.AUDIT),
    )
    assert [(one.decided, one.shed, one.errors) for one in outcome.seconds] == [
        (2, 0, 0),
        (0, 1, 0),
        (0, 0, 2),
    ]
    assert (outcome.shed, outcome.errors) == (0.2, 0.4)
    assert outcome.causes == {"OVERLOADED": 1, "UNREACHABLE": 1, "AUDIT": 1}


def test_slow_answer_of_any_kind_counts_in_the_percentiles() -> None:
    """A call that was turned away late is late: percentiles are of all calls."""
    calls = [(0, float(number), Cause.RULE) for number in range(1, 100)]
    outcome = tallied(*calls, (1, 1_000.0, Cause.UNREACHABLE))
    assert (outcome.p50_ms, outcome.p95_ms, outcome.p99_ms) == (50.0, 95.0, 99.0)
    assert outcome.seconds[1].p50_ms == 1_000.0


def test_answer_of_an_edition_older_than_one_seen_before_it_was_asked_is_counted() -> None:
    """Two calls that overlapped may be answered by two editions; one after the other may not."""
    tally = Tally()
    tally.ended(0, 1, 1.0, Cause.RULE, 2, 0)
    tally.ended(0, 1, 1.0, Cause.RULE, 1, 0)
    assert tally.outcome().went_back == 0
    tally.ended(0, 1, 1.0, Cause.RULE, 1, tally.newest[""])
    assert tally.outcome().went_back == 1


def test_revisions_of_tenants_are_not_compared_with_each_other() -> None:
    """Each tenant has revisions of its own; what one of them has seen says nothing of another."""
    tally = Tally()
    tally.ended(0, 1, 1.0, Cause.RULE, 7, 0, tenant="acme")
    tally.ended(0, 1, 1.0, Cause.RULE, 1, tally.newest["globex"], tenant="globex")
    tally.ended(0, 1, 1.0, Cause.OVERLOADED, 0, 0, tenant="globex")
    assert tally.outcome().went_back == 0
    assert tally.outcome().tenants == {"acme": 1, "globex": 1}
    tally.ended(0, 1, 1.0, Cause.RULE, 6, tally.newest["acme"], tenant="acme")
    assert tally.outcome().went_back == 1


def test_tenant_about_whom_nothing_was_decided_is_a_problem() -> None:
    """Whoever spreads users over tenants wants to know of each that it was served."""
    several = replace(STEADY, tenants=("acme", "globex"))
    served = replace(CALM, tenants={"acme": 9, "globex": 1})
    assert scenarios.problems(several, served) == []
    told = scenarios.problems(several, replace(CALM, tenants={"acme": 9}))
    assert told == ["nothing was decided about the tenant globex"]


def test_batch_is_undecided_if_one_of_its_questions_is() -> None:
    """One item that a PDP turned away, or that was never decided, is what the call came to."""
    decided = Decision(Effect.DENY, Cause.DEFAULT)
    shed = Decision(Effect.DENY, Cause.OVERLOADED)
    assert of_batch([decided, decided]) is decided
    assert of_batch([decided, shed, decided]) is shed
    assert of_batch([decided, Undecided()]).cause is Cause.UNUSABLE
    with pytest.raises(ValueError, match="a batch of nothing"):
        of_batch([])


def test_report_says_questions_per_second_of_batches() -> None:
    """A call of 200 questions counts as 200 in the page, the line and the JSON."""
    run = report.Run(replace(STEADY, batch=(50, 4)), CALM, 1.0)
    assert "18000 questions/s in batches of 200" in report.verdict(run)
    assert report.told(run)["questions_per_s"] == 18_000
    assert "18000 questions/s" in report.page([run])
    assert "10 calls of 200 questions a second each" in report.page([run])
    assert report.told(report.Run(STEADY, CALM, 1.0))["questions_per_s"] == 90


def test_outcome_survives_its_way_through_a_file() -> None:
    """What Locust's process wrote is what the report is made of."""
    outcome = tallied((0, 1.0, Cause.RULE), (3, 2.5, Cause.OVERLOADED))
    assert from_json(to_json(outcome)) == outcome


def test_users_follow_the_steps_and_then_it_is_over() -> None:
    """Each step has its time; stretched, each has its share of it."""
    assert [STEADY.users_at(at) for at in (0, 1.9, 2, 3.9, 4)] == [5, 5, 10, 10, None]
    assert STEADY.lasting(8).steps == ((4.0, 5), (4.0, 10))


def test_saturation_is_the_fewest_users_that_bring_the_most() -> None:
    """More users that bring no more decisions are beyond it."""
    rates = [50, 100, 100, 200, 205, 205, 190, 205, 205]
    ramp = Scenario("ramp", "", ((3, 10), (3, 20), (3, 40)), 10.0, BUDGET, finds_saturation=True)
    seconds = tuple(Second(1, rate, 0, 0, 1, 1, 1) for rate in rates)
    assert scenarios.saturation(ramp, replace(CALM, seconds=seconds)) == (20, 205.0)


GOOD = """
[s]
words = "w"
steps = [[1, 1]]
rate = 1
budget = { p50_ms = 1, p95_ms = 1, p99_ms = 1, errors_max = 0, shed_max = 0 }
"""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("rate = 1", ""), "`s.rate` is missing"),
        (lambda text: text.replace("rate = 1", "rate = 0"), "`s.rate` must be"),
        (lambda text: text.replace("rate = 1", "rate = nan"), "`s.rate` must be"),
        (lambda text: text.replace("words", "word"), "`s.words` is missing"),
        (lambda text: text.replace("p99_ms = 1", "p99_ms = -1"), "`s.budget.p99_ms` must be"),
        (lambda text: text.replace("p99_ms = 1", "p99_ms = nan"), "`s.budget.p99_ms` must be"),
        (lambda text: text.replace("p99_ms = 1,", ""), "`s.budget.p99_ms` is missing"),
        (lambda text: text + "p98_ms = 1", "`s.p98_ms` is unknown"),
        (lambda text: text.replace("[[1, 1]]", "[]"), "`s.steps` must be"),
        (lambda text: text.replace("[[1, 1]]", "[[0, 1]]"), "`s.steps` must be"),
        (lambda _: "s = 1", "`s` must be a table"),
        (lambda _: "", "has no scenarios"),
        (lambda _: "[", "end of document"),
        (lambda text: text.replace("[[1, 1]]", "1"), "`s.steps` must be"),
        (lambda text: text + "batch = [50]", "`s.batch` must be"),
        (lambda text: text + "batch = [50, 0]", "`s.batch` must be"),
        (lambda text: text + "batch = [true, 4]", "`s.batch` must be"),
        (lambda text: text + "batch = 200", "`s.batch` must be"),
        (lambda text: text + "batch = [51, 4]", "`s.batch` must not be more than 200 questions"),
        (lambda text: text + "batch = [1, 6]", "and 5 actions"),
        (lambda text: text + "tenants = 'ab'", "`s.tenants` must be a list"),
        (lambda text: text + "tenants = [1, 2]", "`s.tenants` must be a list"),
        (lambda text: text + "tenants = ['a']", "`s.tenants` must be several"),
        (lambda text: text + "tenants = ['a', 'a']", "`s.tenants` must be several"),
        (lambda text: text + "tenants = ['a', 'b']\nreload_s = 1", "do not go together"),
    ],
)
def test_file_of_budgets_with_a_mistake_is_refused(
    tmp_path: Path, spoil: Callable[[str], str], said: str
) -> None:
    """A budget that was misspelt would be a budget that nobody keeps: the key is named."""
    path = tmp_path / "budgets.toml"
    path.write_text(GOOD)
    assert scenarios.read(path)["s"].budget.p99_ms == 1
    path.write_text(spoil(GOOD))
    with pytest.raises(ScenarioError, match=said):
        scenarios.read(path)


def test_committed_scenarios_take_no_more_than_the_promised_two_minutes() -> None:
    """`make load` stretches them to two minutes; none may be shortened to nothing by that."""
    known = scenarios.read()
    assert {"steady", "burst", "ramp", "reload", "tenants", "batch"} <= known.keys()
    assert sum(scenario.seconds for scenario in known.values()) <= 180


def test_report_says_what_was_over_and_lets_no_text_become_markup() -> None:
    """The page stands alone, without scripts; names of scenarios come from a file."""
    slow = report.Run(STEADY, replace(CALM, p99_ms=99.0), 1.0)
    sly = report.Run(replace(STEADY, name="<script>x</script>"), CALM, 1.0)
    page = report.page([slow, sly])
    assert "1 of 2 scenarios within their budget" in page
    assert page.count("<tr class=over>") == 1
    assert "<script" not in page
    assert page.count("<polyline") == 2 * (len(report.LATENCIES) + len(report.RATES))
    assert "http" not in page.replace("http-equiv", "")
