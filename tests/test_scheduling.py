"""Threads that help do not interrupt the event loop, and nothing else is changed."""

from __future__ import annotations

import os
import threading

import pytest

from pdp.server.scheduling import helping_threads


def policy_in_thread() -> int:
    """The policy of a thread that is made now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_made_inside_give_way_and_the_loop_does_not() -> None:
    """Inside, threads are made with SCHED_BATCH; outside, this one is what it was."""
    before = os.sched_getscheduler(0)
    with helping_threads():
        assert policy_in_thread() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before == os.SCHED_OTHER
    assert policy_in_thread() == os.SCHED_OTHER


def test_where_it_is_forbidden_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that forbids it, or a system without it, only makes it slower."""

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    with helping_threads():
        assert policy_in_thread() == os.SCHED_OTHER
    monkeypatch.delattr(os, "sched_getscheduler")
    with helping_threads():
        pass


def test_an_error_inside_leaves_the_loop_as_it_was() -> None:
    """A server that does not start leaves no policy behind."""
    with pytest.raises(RuntimeError), helping_threads():
        raise RuntimeError
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
