"""From an adapter and the faults to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pdp.failsafe.adapter import Adapter
from pdp.failsafe.catalogue import Fault
from pdp.failsafe.firing_range import FiringRange
from pdp.failsafe.trial import Options, Trials
from pdp.failsafe.verdict import Row, Verdict

# So often a bare sleep is asked for, and a control.
_SLEEP_EVERY: Final = 10
_CONTROL_EVERY: Final = 12
Progress = Callable[[int, int, str], None]


def judge(
    adapter: Adapter,
    place: FiringRange,
    chosen: Sequence[Fault],
    options: Options,
    progress: Progress | None = None,
    *,
    controlled: bool = True,
) -> Verdict:
    """Drive an adapter through faults.

    Args:
        adapter: running.
        place: the firing range, entered.
        chosen: which faults; those of batches only if the adapter asks in batches.
        options: how much of each.
        progress: told before each: how many are done, of how many, which is next.
        controlled: whether the honest PDP is asked in between, too.

    Raises:
        AdapterError: the adapter does not speak its protocol.
    """
    trials = Trials(adapter, place, options)
    verdict = Verdict(adapter.name)
    chosen = [one for one in chosen if one.place != "batch" or adapter.can_batch]
    for number, fault in enumerate(chosen):
        if progress is not None:
            progress(number, len(chosen), fault.name)
        if controlled and number % _CONTROL_EVERY == 0:
            _control(trials, verdict, f"before {fault.name}")
        row = Row(fault)
        verdict.rows.append(row)
        for answered in trials.of(fault):
            row.add(answered, options.budget_s)
            verdict.late_s.append(answered.took_s - options.budget_s)
            if len(verdict.late_s) % _SLEEP_EVERY == 1:
                verdict.slept_late_s.append(trials.lateness())
    if controlled:
        _control(trials, verdict, "after all")
    if progress is not None:
        progress(len(chosen), len(chosen), "")
    return verdict


def _control(trials: Trials, verdict: Verdict, when: str) -> None:
    if broken := trials.control():
        verdict.broken.append(f"{when}: {broken}")
