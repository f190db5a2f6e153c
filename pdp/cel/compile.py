"""Compiles a checked expression into something that gives verdicts.

The face of `pdp.cel`: everything else in it is machinery.
"""

from __future__ import annotations

from collections.abc import Mapping

from pdp.cel.codegen import bail
from pdp.cel.cost import BudgetSpentError, Meter
from pdp.cel.exact import ExactProgram
from pdp.cel.fast import Condition, compile_fast
from pdp.cel.limits import EvaluationLimits
from pdp.cel.resolve import resolve
from pdp.cel.syntax import Expression
from pdp.cel.trace import Tracer
from pdp.cel.values import CelError
from pdp.model import Verdict
from pdp.values import Value

__all__ = ["BudgetSpentError", "CelError", "CompiledExpression", "compile_expression"]

_TRUE, _FALSE, _DOUBT, _SPENT = Verdict.TRUE, Verdict.FALSE, Verdict.DOUBT, Verdict.SPENT


class CompiledExpression:
    """A condition, ready to be evaluated. Immutable to its users; safe to share between threads.

    Everything that can be refused is refused when it is made. The Python of
    either tier is written at its first use: it follows from the plan alone, so
    threads that come at once write the same, and the last one stays. A bundle
    of ten thousand conditions loads without writing any.

    Attributes:
        source: the text it was written as.
        reads: attribute paths it may look at, `("subject.properties",
            "department")`; a prefix where what follows is dynamic.
        weight: units charged at the start of each evaluation.
    """

    __slots__ = (
        "_exact",
        "_fast",
        "_fast_units",
        "_parts",
        "_program",
        "_units_max",
        "reads",
        "source",
        "weight",
    )

    def __init__(
        self,
        expression: Expression,
        variables: Mapping[str, Expression],
        limits: EvaluationLimits,
    ) -> None:
        program = resolve(expression, variables, limits)
        self.source = expression.source
        self.reads = program.reads
        self.weight = program.weight
        self._parts = (expression, variables, limits)
        self._units_max = limits.cost_units_max
        self._program = program
        self._exact: ExactProgram | None = None
        self._fast_units = limits.cost_units_max - program.weight
        # Over budget before it starts: the exact tier says so.
        self._fast: Condition = self._first if self._fast_units >= 0 else _leave

    def prepare(self) -> None:
        """Write the fast tier now, where its first use must not wait for it."""
        if self._fast == self._first:
            self._fast = compile_fast(self._program)

    def _first(self, attributes: Mapping[str, Value], meter: Meter) -> Value:
        """The fast tier, until it is written."""
        # INVARIANT: assigned only when whole. What fails here is the exact tier's to answer, and
        # is tried again: the stack may be deep, or memory short, for this one call only.
        made = self._fast = compile_fast(self._program)
        value: Value = made(attributes, meter)
        return value

    def _evaluate(self, attributes: Mapping[str, Value], meter: Meter) -> Value:
        """The exact tier, written at its first use."""
        exact = self._exact
        if exact is None:
            exact = self._exact = ExactProgram(self._program)
        value: Value = exact.evaluate(attributes, meter)
        return value

    def verdict(self, attributes: Mapping[str, Value]) -> Verdict:
        """TRUE or FALSE for exactly a bool; DOUBT for anything else; SPENT over budget.

        Never raises: whatever goes wrong is DOUBT. Cancellation and interrupts
        pass.
        """
        try:
            value = self._fast(attributes, [self._fast_units])
        except Exception:  # noqa: BLE001 - errors, absorbed or not, are the exact tier's
            try:
                return self._exact_verdict(attributes)
            except Exception:  # noqa: BLE001 - at the end of the stack, not even the call fits
                return _DOUBT
        # INVARIANT: exactly a bool. `1` is not true, and nothing else is false.
        if value is True:
            return _TRUE
        return _FALSE if value is False else _DOUBT

    def _exact_verdict(self, attributes: Mapping[str, Value]) -> Verdict:
        """The verdict by the exact tier alone, from the beginning, with a fresh budget."""
        try:
            value = self._evaluate(attributes, [self._units_max])
        except BudgetSpentError:
            return _SPENT
        except Exception:  # noqa: BLE001 - a surprise must not become an answer
            return _DOUBT
        if value is True:
            return _TRUE
        return _FALSE if value is False else _DOUBT

    def value(self, attributes: Mapping[str, Value]) -> Value:
        """The value, by the exact tier.

        Raises:
            CelError: the value is an error.
            BudgetSpentError: the cost budget ran out.
        """
        return self.measure(attributes)[0]

    def measure(self, attributes: Mapping[str, Value]) -> tuple[Value, int]:
        """The value and the units it cost, by the exact tier. Raises as `value`."""
        meter: Meter = [self._units_max]
        value = self._evaluate(attributes, meter)
        return value, self._units_max - meter[0]

    def tracer(self) -> Tracer:
        """The same condition, compiled to be watched. Made anew by each call; not cheap."""
        return Tracer(*self._parts)


def _leave(_attributes: Mapping[str, Value], _meter: Meter) -> Value:
    """A fast tier that leaves everything to the exact one."""
    return bail()


def compile_expression(
    expression: Expression, variables: Mapping[str, Expression], limits: EvaluationLimits
) -> CompiledExpression:
    """Compile a condition.

    Args:
        expression: the condition.
        variables: the policy's variables by name; those it uses are inlined,
            each evaluated in the global scope.
        limits: its budget, and how large it may be.

    Raises:
        ExpressionError: with a position inside the text at fault: something is
            not supported, too large, too deep, or a variable uses itself.
    """
    return CompiledExpression(expression, variables, limits)
