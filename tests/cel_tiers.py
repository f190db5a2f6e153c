"""Runs one condition through each tier separately, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdp.cel.codegen import BailError
from pdp.cel.compile import BudgetSpentError, CelError
from pdp.cel.exact import ExactProgram
from pdp.cel.fast import compile_fast
from pdp.cel.limits import EvaluationLimits
from pdp.cel.resolve import resolve
from pdp.cel.syntax import Expression


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tier said. `kind`: value, error, spent, or left (to the exact tier)."""

    kind: str
    value: Any = None
    units: int = 0


class Tiers:
    """Both tiers of one condition; the fast one with and without folding."""

    def __init__(
        self,
        expression: Expression,
        variables: Mapping[str, Expression] | None = None,
        limits: EvaluationLimits | None = None,
    ) -> None:
        self.limits = limits or EvaluationLimits()
        self.program = resolve(expression, variables or {}, self.limits)
        self._exact = ExactProgram(self.program)
        self._fast = {fold: compile_fast(self.program, fold=fold) for fold in (True, False)}

    def exact(self, attributes: Mapping[str, Any]) -> Outcome:
        """By the exact tier. Any exception but CEL's own is a defect and passes."""
        meter = [self.limits.cost_units_max]
        try:
            value = self._exact.evaluate(attributes, meter)
        except CelError:
            return Outcome("error")
        except BudgetSpentError:
            return Outcome("spent")
        return Outcome("value", value, self.limits.cost_units_max - meter[0])

    def fast(self, attributes: Mapping[str, Any], *, fold: bool = True) -> Outcome:
        """By the fast tier."""
        meter = [self.limits.cost_units_max - self.program.weight]
        if meter[0] < 0:
            return Outcome("left")
        try:
            value = self._fast[fold](attributes, meter)
        except (CelError, BudgetSpentError, BailError, LookupError, TypeError):
            return Outcome("left")
        return Outcome("value", value, self.limits.cost_units_max - meter[0])
