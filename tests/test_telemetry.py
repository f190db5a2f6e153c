"""The log never holds the PDP up: lines that nobody reads are dropped and counted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pdp import telemetry
from pdp.telemetry import Telemetry

LINES = 20_000


@contextmanager
def unread() -> Iterator[Telemetry]:
    """A log into a pipe that nobody reads; at the end its reader goes away."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", closefd=False) as stream:
        log = Telemetry(stream, lambda: 0)
        try:
            yield log
        finally:
            os.close(reader)
            log.close()
            # What the stream still holds has nowhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    os.close(writer)


def filled(log: Telemetry) -> int:
    """How many of many lines were dropped."""
    began = time.monotonic()
    for _ in range(LINES):
        log.log("info", "an_event", detail="x" * 200)
    assert time.monotonic() - began < 30
    return log.counters["log_lines_dropped",]


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    """The pipe is full, its reader hangs: logging goes on, in bounded memory."""
    with unread() as log:
        dropped = filled(log)
        assert 0 < dropped < LINES
        assert log._lines.qsize() <= telemetry._WAITING_MAX
    # The reader is gone: the lines that waited are counted too.
    assert log.counters["log_lines_dropped",] > dropped


def test_lines_that_nobody_reads_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound they would all wait, in memory."""
    monkeypatch.setattr(telemetry, "_WAITING_MAX", 0)
    with unread() as log:
        assert filled(log) == 0
        assert log._lines.qsize() > LINES / 2
