"""What the operator sees: one line of JSON per event, and counters.

Nothing here may slow a decision down or stop it: lines are written by a thread
of their own, and when nobody reads them they are dropped and counted. Lines
hold no attribute and no token; texts from outside are escaped by JSON.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, TextIO

from pdp.values import format_timestamp

LEVELS: Final = ("debug", "info", "warning", "error")
# Lines that wait to be written. An event is rare: this many unread means the
# other end of the pipe is stuck.
_WAITING_MAX: Final = 1_024
_STOP: Final = ""
_DETAIL_CHARACTERS_MAX: Final = 1_000

Label = str
Headers = Iterable[tuple[str | bytes, str | bytes]]


class Tracing(Protocol):
    """Makes spans (`pdp.server.traces`)."""

    def call(self, kind: str, headers: Headers) -> AbstractContextManager[None]:
        """A span around the answer to one call."""
        ...

    def counted(self, name: str, labels: Sequence[str]) -> None:
        """Something was counted, perhaps within a call."""
        ...


class Telemetry:
    """Logs and counters of one process. No method raises or waits, `close` aside.

    Counters are for one thread, the event loop's; `log` is for any.

    Args:
        stream: where lines go, or None: nowhere.
        level: the lowest that is written, of `LEVELS`.
        clock_ns: wall clock for the time stamps.
        process: which of several processes of one PDP this is, if there are several.

    Attributes:
        tracing: makes spans, if anybody wants them.
    """

    def __init__(
        self,
        stream: TextIO | None,
        clock_ns: Callable[[], int],
        level: str = "info",
        process: str = "",
    ) -> None:
        self.counters: Counter[tuple[str, ...]] = Counter()
        self.tracing: Tracing | None = None
        self._stream = stream
        self._clock_ns = clock_ns
        self._rank = LEVELS.index(level)
        self._always = {"process": process} if process else {}
        self._lines: queue.Queue[str] = queue.Queue(_WAITING_MAX)
        self._thread: threading.Thread | None = None
        if stream is not None:
            self._thread = threading.Thread(target=self._write, name="telemetry", daemon=True)
            self._thread.start()

    def count(self, name: str, *labels: Label) -> None:
        """Add one. Labels come from closed sets: a caller's text would fill the memory."""
        self.counters[(name, *labels)] += 1
        if self.tracing is not None:
            self.tracing.counted(name, labels)

    def log(self, level: str, event: str, **fields: object) -> None:
        """Write a line, if the level is high enough.

        Args:
            level: of `LEVELS`.
            event: a word that machines look for, `bundle_updated`.
            fields: the rest; what JSON does not know is written as text.
        """
        if self._thread is None or LEVELS.index(level) < self._rank:
            return
        time = format_timestamp(self._clock_ns())
        line = {"time": time, "level": level, "event": event} | self._always
        try:
            self._lines.put_nowait(json.dumps(line | fields, default=str) + "\n")
        except queue.Full:
            self.counters["log_lines_dropped",] += 1

    def capture_logging(self) -> None:
        """Write what goes through `logging` too, in the same form: libraries' from warnings up."""
        root = logging.getLogger()
        root.handlers = [_Bridge(self)]
        root.setLevel(logging.WARNING)
        logging.getLogger("pdp").setLevel(logging.DEBUG)

    def close(self, wait_s: float = 2.0) -> None:
        """Write what waits, for at most `wait_s` seconds."""
        if self._thread is None:
            return
        try:
            self._lines.put(_STOP, timeout=wait_s)
        except queue.Full:
            return
        self._thread.join(wait_s)
        self._thread = None

    def _write(self) -> None:
        while (line := self._lines.get()) != _STOP:
            if self._stream is None:
                return
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):
                # The other end is gone, or the stream is closed: decisions go on.
                self.counters["log_lines_dropped",] += 1


class _Bridge(logging.Handler):
    """Lines of Python's `logging` as ours."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a message that cannot be formatted is shown unformatted."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        level = record.levelname.lower()
        self._telemetry.log(
            level if level in LEVELS else "error", record.name, detail=text[:_DETAIL_CHARACTERS_MAX]
        )
