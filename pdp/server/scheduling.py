"""Threads that help the event loop do not interrupt it.

gRPC's threads and the record's writer wake some six times for each question. On a
core that they share with the event loop each of them would take it away in the
middle of a decision, and the decision goes on with cold caches; measured, that is a
tenth of all CPU time. A thread with Linux's SCHED_BATCH runs when the loop waits, or
its slice ends a few milliseconds later; on a core of its own nothing changes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def helping_threads() -> Iterator[None]:
    """Threads that are made in here, and those that they make, do not interrupt this one.

    Threads inherit the policy of the one that makes them. Where there is no such policy, or
    where it may not be set, nothing is changed: this is about speed only.
    """
    changed = False
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            changed = True
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
