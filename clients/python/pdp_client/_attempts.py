"""How often a call is tried, and with what pauses.

As the core, this knows no clock: sleeping and chance are tenacity's, driven from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypedDict

import tenacity

from pdp.model import Cause
from pdp_client._core import Outcome, Refusal, Status
from pdp_client._throttle import RetryThrottle, pause_s

ATTEMPTS_MAX: Final = 2  # gRFC A6 caps at 5; one retry is what a lost connection needs
RETRY_WAIT_S_MIN: Final = 0.005
RETRY_WAIT_S_MAX: Final = 0.020

# INVARIANT: UNAVAILABLE only. It is the one status that says "not processed,
# ask again". Never DEADLINE_EXCEEDED (the time is gone), never INTERNAL or
# INVALID_ARGUMENT (asking again changes nothing).
_RETRIED: Final = frozenset({Status.UNAVAILABLE})


class Attempts(TypedDict):
    """What `tenacity.Retrying` and `AsyncRetrying` are made with."""

    retry: tenacity.retry_base
    wait: tenacity.wait.wait_base
    stop: tenacity.stop.stop_base
    retry_error_callback: Callable[[tenacity.RetryCallState], Outcome]


def worth_another(outcome: Outcome, throttle: RetryThrottle) -> bool:
    """Whether an attempt that ended like this may be followed by another. Once for each attempt."""
    told = bool(outcome.pushback)
    held_back = told and pause_s(outcome.pushback) is None
    retried = outcome.status in _RETRIED
    # gRFC A6: a token for each failed attempt of a kind that is retried, and
    # for each that comes with a word not to.
    if outcome.status != Status.OK and (retried or held_back):
        throttle.failed()
    return retried and not held_back and throttle.allows


def _last_outcome(state: tenacity.RetryCallState) -> Outcome:
    if state.outcome is None:
        raise Refusal(Cause.UNUSABLE, "an attempt ended without an outcome")
    outcome: Outcome = state.outcome.result()
    return outcome


class _BudgetWouldBeSpent(tenacity.stop.stop_base):
    """Stop when the pause before the next attempt would end past the deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return _last_outcome(retry_state).at + retry_state.upcoming_sleep >= self.deadline


class _AsToldOrShort(tenacity.wait.wait_base):
    """The pause that the server asks for, or a short one."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        told_s = pause_s(_last_outcome(retry_state).pushback)
        return _SHORT(retry_state) if told_s is None else told_s


_SHORT: Final = tenacity.wait_random(RETRY_WAIT_S_MIN, RETRY_WAIT_S_MAX)
_WAIT: Final = _AsToldOrShort()
_STOP: Final = tenacity.stop_after_attempt(ATTEMPTS_MAX)


def attempts(deadline: float, may_follow: Callable[[Outcome], bool]) -> Attempts:
    """How often, and with what pauses, a call is tried: see the constants above.

    Args:
        deadline: no pause ends after it.
        may_follow: `worth_another`, with the endpoint's throttle.
    """
    return {
        "retry": tenacity.retry_if_result(may_follow),
        "wait": _WAIT,
        "stop": tenacity.stop_any(_STOP, _BudgetWouldBeSpent(deadline)),
        "retry_error_callback": _last_outcome,
    }
