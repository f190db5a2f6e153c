"""What a load test does, and what it must keep to: `budgets.toml`, read strictly.

A scenario is who asks how much when; a budget is what the answers must keep to.
Both are judged here, from what was counted, without a clock or a file.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("budgets.toml")
# The least share of the best that a step must bring to count as saturated.
SATURATED: Final = 0.95
# `limits.batch_items_max` of a PDP that is not told otherwise.
BATCH_MAX: Final = 200
# Those that `locustfile.py` knows.
ACTIONS_MAX: Final = 5
_PAIR: Final = 2


class ScenarioError(ValueError):
    """`budgets.toml` cannot be used; the message names scenario and key."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the answers of a scenario must keep to. Times count from when a question was due."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors_max: float  # share of calls
    shed_max: float  # share of calls


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who asks how much when.

    Attributes:
        steps: seconds and users, one after the other.
        rate: questions a second of each user.
        reload_s: seconds between two editions of the bundle; 0: only one.
        finds_saturation: the last steps are meant to be too much.
        tenants: whom users ask about by turns, each its own; none: the only one.
        batch: resources and actions of each call, which asks all pairs; none: one question.
    """

    name: str
    words: str
    steps: tuple[tuple[float, int], ...]
    rate: float
    budget: Budget
    reload_s: float = 0.0
    finds_saturation: bool = False
    tenants: tuple[str, ...] = ()
    batch: tuple[int, int] | None = None

    @property
    def questions(self) -> int:
        """Of each call."""
        return self.batch[0] * self.batch[1] if self.batch else 1

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(seconds for seconds, _ in self.steps)

    def users_at(self, second: float) -> int | None:
        """How many users there are then; None: it is over."""
        ends = 0.0
        for seconds, users in self.steps:
            ends += seconds
            if second < ends:
                return users
        return None

    def lasting(self, seconds: float) -> Scenario:
        """The same in another time, its steps stretched or shortened alike."""
        factor = seconds / self.seconds
        steps = tuple((length * factor, users) for length, users in self.steps)
        return Scenario(**{**_plain(self), "steps": steps})


@dataclass(frozen=True, slots=True)
class Second:
    """What came back in one second of a scenario; times in milliseconds."""

    users: int
    decided: int
    shed: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def calls(self) -> int:
        """All that ended."""
        return self.decided + self.shed + self.errors


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario.

    Attributes:
        p50_ms, p95_ms, p99_ms: of all calls, however they ended.
        causes: why calls went undecided, and how many.
        revisions: editions of the bundle that answered.
        went_back: answers from an older edition than one that was known when they were asked for.
        tenants: calls that were decided, by tenant.
        seconds: one after the other.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    causes: Mapping[str, int]
    revisions: tuple[int, ...]
    went_back: int
    seconds: tuple[Second, ...]
    tenants: Mapping[str, int] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """All that ended."""
        return sum(second.calls for second in self.seconds)

    @property
    def shed(self) -> float:
        """Share of calls that the PDP turned away."""
        return sum(second.shed for second in self.seconds) / max(1, self.calls)

    @property
    def errors(self) -> float:
        """Share of calls that went undecided for another reason."""
        return sum(second.errors for second in self.seconds) / max(1, self.calls)


def percentile(ordered: list[float], share: float) -> float:
    """The least value that this share of all does not exceed; 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else 0.0


def rows(scenario: Scenario, outcome: Outcome) -> list[tuple[str, float, float]]:
    """What was found beside what is allowed, by the budget's names."""
    found = {
        "p50_ms": outcome.p50_ms,
        "p95_ms": outcome.p95_ms,
        "p99_ms": outcome.p99_ms,
        "errors_max": outcome.errors,
        "shed_max": outcome.shed,
    }
    return [(name, value, getattr(scenario.budget, name)) for name, value in found.items()]


def problems(scenario: Scenario, outcome: Outcome) -> list[str]:
    """Why the scenario's budget is not kept; empty if it is."""
    if not outcome.calls:
        return ["no question was asked"]
    found = [
        f"{name.removesuffix('_max')} is {value:.4g}, budget {allowed:g}"
        for name, value, allowed in rows(scenario, outcome)
        if value > allowed
    ]
    if outcome.went_back:
        found.append(f"{outcome.went_back} answers came from an older edition than before")
    if scenario.reload_s and len(outcome.revisions) <= 1:
        found.append("no new edition was taken into use")
    found += [
        f"nothing was decided about the tenant {tenant}"
        for tenant in scenario.tenants
        if not outcome.tenants.get(tenant)
    ]
    return found


def questions_per_s(scenario: Scenario, outcome: Outcome) -> float:
    """Questions that were decided, a second: of a batch, all in it."""
    decided = sum(second.decided for second in outcome.seconds)
    return decided * scenario.questions / max(1, len(outcome.seconds))


def saturation(scenario: Scenario, outcome: Outcome) -> tuple[int, float]:
    """The least number of users that saturates, and decisions a second then.

    Of each step the first second is left out: users are still coming.
    """
    rates: list[tuple[int, float]] = []
    begins = 0.0
    for seconds, users in scenario.steps:
        window = outcome.seconds[math.ceil(begins) + 1 : int(begins + seconds)]
        rates.append((users, sum(second.decided for second in window) / max(1, len(window))))
        begins += seconds
    enough = max(rate for _, rate in rates) * SATURATED
    return next((users, rate) for users, rate in rates if rate >= enough)


def read(path: Path = FILE) -> dict[str, Scenario]:
    """All scenarios of a file, in its order.

    Raises:
        ScenarioError: it cannot be read, or a key is missing, unknown or senseless.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ScenarioError(f"cannot read `{path}`: {error.strerror}") from None
    except ValueError as error:
        raise ScenarioError(f"`{path}`: {error}") from None
    if not document:
        raise ScenarioError(f"`{path}` has no scenarios")
    return {name: _scenario(name, table) for name, table in document.items()}


def _scenario(name: str, table: Any) -> Scenario:
    keys = {field.name for field in fields(Scenario)} - {"name"}
    required = {"words", "steps", "rate", "budget"}
    _check_keys(name, table, required, keys)
    budget = table["budget"]
    limits = {field.name for field in fields(Budget)}
    _check_keys(f"{name}.budget", budget, limits, limits)
    for key, value in budget.items():
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ScenarioError(f"`{name}.budget.{key}` must be a number from 0 on")
    if not isinstance(table["rate"], int | float) or not 0 < table["rate"] < math.inf:
        raise ScenarioError(f"`{name}.rate` must be a number above 0")
    return Scenario(
        **{
            **table,
            "name": name,
            "steps": _steps(name, table["steps"]),
            "tenants": _tenants(name, table),
            "batch": _batch(name, table.get("batch")),
            "budget": Budget(**budget),
        }
    )


def _steps(name: str, steps: Any) -> tuple[tuple[float, int], ...]:
    try:
        read = tuple((float(seconds), int(users)) for seconds, users in steps)
    except (TypeError, ValueError, OverflowError):
        read = ()
    if not read or not all(0 < seconds < math.inf and users > 0 for seconds, users in read):
        raise ScenarioError(f"`{name}.steps` must be a list of [seconds, users], both above 0")
    return read


def _tenants(name: str, table: dict[str, Any]) -> tuple[str, ...]:
    tenants = table.get("tenants", [])
    if not isinstance(tenants, list) or not all(isinstance(each, str) and each for each in tenants):
        raise ScenarioError(f"`{name}.tenants` must be a list of names")
    if len(set(tenants)) != len(tenants) or len(tenants) == 1:
        raise ScenarioError(f"`{name}.tenants` must be several, each once")
    if tenants and table.get("reload_s"):
        raise ScenarioError(f"`{name}.tenants` and `{name}.reload_s` do not go together")
    return tuple(tenants)


def _batch(name: str, batch: Any) -> tuple[int, int] | None:
    if batch is None:
        return None
    numbers = batch if isinstance(batch, list) else []
    if len(numbers) != _PAIR or not all(type(each) is int and each > 0 for each in numbers):
        raise ScenarioError(f"`{name}.batch` must be [resources, actions], both whole and above 0")
    if numbers[0] * numbers[1] > BATCH_MAX or numbers[1] > ACTIONS_MAX:
        text = f"{BATCH_MAX} questions and {ACTIONS_MAX} actions"
        raise ScenarioError(f"`{name}.batch` must not be more than {text}")
    return numbers[0], numbers[1]


def _check_keys(name: str, table: Any, required: set[str], known: set[str]) -> None:
    if not isinstance(table, dict):
        raise ScenarioError(f"`{name}` must be a table")
    if missing := sorted(required - table.keys()):
        raise ScenarioError(f"`{name}.{missing[0]}` is missing")
    if unknown := sorted(table.keys() - known):
        raise ScenarioError(f"`{name}.{unknown[0]}` is unknown; known: {', '.join(sorted(known))}")


def _plain(scenario: Scenario) -> dict[str, Any]:
    return {field.name: getattr(scenario, field.name) for field in fields(Scenario)}
