"""Evaluates one expression with our libraries, in both tiers, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pdp.authoring.checker import Checker
from pdp.cel.compile import compile_expression
from pdp.cel.limits import EvaluationLimits
from pdp.checked_expr import decode
from pdp.errors import ExpressionError
from tests.cel_tiers import Tiers
from tests.celspec import tagged

ERROR = object()
PLENTY = 10**12


def meter() -> list[int]:
    """A budget nothing here spends."""
    return [PLENTY]


def evaluate(checker: Checker, source: str, **names: Any) -> Any:
    """The value, or ERROR; both tiers agree or the fast one leaves it."""
    checked = checker.check(source, dict.fromkeys(names, "dyn"))
    tiers = Tiers(decode(checked.checked_expr, source))
    want = tiers.exact(names)
    for fold in (True, False):
        got = tiers.fast(names, fold=fold)
        if got.kind == "value":
            assert (tagged(got.value), got.units) == (tagged(want.value), want.units)
            assert want.kind == "value"
    assert want.kind in {"value", "error"}
    return want.value if want.kind == "value" else ERROR


def units(checker: Checker, source: str, **names: Any) -> int:
    """What an evaluation costs."""
    checked = checker.check(source, dict.fromkeys(names, "dyn"))
    return Tiers(decode(checked.checked_expr, source)).exact(names).units


def refusal(checker: Checker, source: str) -> ExpressionError:
    """The refusal of an expression when it is built; its position is in the text."""
    with pytest.raises(ExpressionError) as caught:
        compile_expression(
            decode(checker.check(source, {"d": "dyn", "s": "string"}).checked_expr, source),
            {},
            EvaluationLimits(),
        )
    assert caught.value.position is not None
    return caught.value


def assert_value(checker: Checker, source: str, names: Mapping[str, Any], want: Any) -> None:
    """Both tiers, one value of one type, one charge."""
    got = evaluate(checker, source, **names)
    assert (type(got), got) == (type(want), want)


def assert_refused(checker: Checker, source: str, column: int, words: str) -> ExpressionError:
    """Not built: these words, at this column. Gives the refusal, for what else it says."""
    error = refusal(checker, source)
    assert error.position is not None
    assert error.position.column == column
    assert words in error.message
    return error
