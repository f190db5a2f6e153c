"""`make bench`: microseconds per decision, without network and without disk.

The questions of the demo against the sample policies, from the boundary of
input to the decision: what one core can do at most. Records and gRPC come on
top; `make load` has them in.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

from docs.demo.questions import QUESTIONS, Question
from docs.demo.scene import CALLER, POLICIES, TRUST_DOMAIN
from pdp import admission
from pdp.authoring.compilation import compile_directory
from pdp.boundary import InputLimits, admit
from pdp.cel.limits import EvaluationLimits
from pdp.model import Action, Caller, Request

ROUNDS = 2_000
WARM_UP = 200
CALLER_ID = Caller(f"spiffe://{TRUST_DOMAIN}/{CALLER}")


def _microseconds(step: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile."""
    taken = []
    for number in range(WARM_UP + ROUNDS):
        started = time.perf_counter_ns()
        step()
        if number >= WARM_UP:
            taken.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def _request(question: Question) -> Request:
    return Request(question.subject, Action(question.action), question.resource, question.context)


def main() -> None:
    """Print a table."""
    compilation = compile_directory(POLICIES)
    compilation.raise_if_failed()
    if compilation.callers is None:
        raise SystemExit("bench: the sample policies have no caller policy")
    policies = {"default": compilation.policy_set(EvaluationLimits())}
    callers, denials, limits = compilation.callers, admission.Denials(), InputLimits()
    print(f"Python {platform.python_version()}, {platform.machine()}, {ROUNDS} rounds each")
    print(f"{'median':>8} {'p99':>8}  µs per decision, boundary included")
    for question in QUESTIONS[:-1]:  # the last is about an emergency list
        request = _request(question)

        def step(request: Request = request) -> object:
            admitted = admit(request, CALLER_ID, limits)
            return admission.decide(policies, callers, denials, admitted, CALLER_ID, time.time_ns())

        median, p99 = _microseconds(step)
        print(f"{median:8.1f} {p99:8.1f}  {question.words}")


if __name__ == "__main__":
    main()
