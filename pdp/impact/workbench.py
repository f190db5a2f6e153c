"""Expressions tried by hand against one request: checked and evaluated as a condition is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdp import checked_expr
from pdp.authoring.checker import CONDITION_VARIABLES, Checker
from pdp.boundary import Admitted
from pdp.cel.limits import EvaluationLimits
from pdp.cel.partial import known
from pdp.cel.syntax import Expression
from pdp.cel.trace import Seen, Site, Tracer
from pdp.errors import ConfigurationError, InvalidRequestError
from pdp.explaining import GENEROUS, explain_condition
from pdp.explanation import ExplainedCondition
from pdp.impact.question import Question
from pdp.model import Action, Caller, Request, Resource, Subject
from pdp.provided import Provided
from pdp.values import Timestamp, Value

# What is asked about until a question is loaded.
NOTHING = Question(
    Request(Subject("user", "someone"), Action("read"), Resource("thing", "1")),
    Caller("spiffe://example.org/app"),
    None,
)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an expression came to.

    Attributes:
        value: unless there was a problem.
        problem: the error.
        column: where it arose, from 1; 0 where that is in a variable's text.
        units: what it cost.
    """

    value: Any
    problem: str
    column: int
    units: int


class Workbench:
    """A request, and what can be said about it.

    Args:
        checker: running.
        variables: of policies, by name; usable in expressions.
        now_ns: `now` of questions that name no time.
        provided: the attributes that providers own; None: callers send all there is.
    """

    def __init__(
        self,
        checker: Checker,
        variables: Mapping[str, Expression],
        now_ns: int,
        provided: Provided | None = None,
    ) -> None:
        self._checker = checker
        self._variables = dict(variables)
        self._now_ns = now_ns
        self._provided = provided
        self.origins: tuple[tuple[str, str], ...] = ()
        self._types = dict(CONDITION_VARIABLES)
        self._types |= {name: str(each.root.type) for name, each in variables.items()}
        self._attributes: Mapping[str, Value] = {}
        self.load(NOTHING)

    def load(self, question: Question) -> None:
        """Take another question.

        Raises:
            ConfigurationError: a PDP would refuse it.
        """
        asked = question.otherwise(NOTHING.caller.spiffe_id, self._now_ns)
        try:
            admitted = asked.admitted(self._provided)
        except InvalidRequestError as error:
            message = f"a PDP would refuse this question as invalid: {error}"
            raise ConfigurationError(message) from None
        self._attributes = {**admitted.attributes, "now": Timestamp(asked.now_ns or 0)}
        self.origins = origins_told(admitted)

    def names(self) -> Iterator[tuple[str, str, tuple[Value] | None]]:
        """Name, type, and value of each name; a policy's variables have no value before use."""
        for name, type_ in self._types.items():
            seen = known(self._attributes)
            there = name in seen and name not in self._variables
            yield name, type_, (seen[name],) if there else None

    def type_of(self, source: str) -> str:
        """The type that the checker deduces.

        Raises:
            ExpressionError: it does not check.
        """
        return self._checker.check(source, self._types).type

    def evaluate(self, source: str) -> Evaluated:
        """Check and evaluate.

        Raises:
            ExpressionError: it does not check, or is not supported.
        """
        tracer = self._tracer(source)
        trace = tracer.trace(self._attributes)
        column = _origin(tracer.sites, trace.seen) if trace.problem else 0
        return Evaluated(trace.value, trace.problem, column, trace.units)

    def explain(self, source: str) -> ExplainedCondition:
        """Every part. Raises as `evaluate`."""
        return explain_condition(self._tracer(source), source, self._attributes, GENEROUS)

    def _tracer(self, source: str) -> Tracer:
        checked = self._checker.check(source, self._types).checked_expr
        expression = checked_expr.decode(checked, source)
        return Tracer(expression, self._variables, EvaluationLimits())


def origins_told(admitted: Admitted) -> tuple[tuple[str, str], ...]:
    """Where the attributes came from that the caller did not send: path, and what to say of it."""
    completion = admitted.completion
    if completion is None:
        return ()
    told = {
        path: f"is what provider `{completion.owners[path]}` says" for path in completion.values
    }
    return tuple(sorted((told | dict(completion.unusable)).items()))


def _origin(sites: tuple[Site, ...], seen: tuple[Seen, ...]) -> int:
    """Column of the innermost part that was an error, in the expression's own text."""
    for site, each in reversed(list(zip(sites, seen, strict=True))):
        if (each.errors or each.spent) and not site.variable:
            line = site.offset
            return line + 1
    return 0
