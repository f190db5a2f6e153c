"""The adapter: a program that asks through the client under test, and says what came of it.

One JSON object a line, both ways. First the kit says `{"protocol": 1}`, and the adapter answers
`{"ready": true, "name": "...", "batch": true | false}`. Then, one at a time:

    {"ask": 7, "connection": "c3", "target": "localhost:4711", "fault": "permit", "budget_ms": 250,
     "trust_bundle": "...", "certificate": "...", "key": "..."}
                            -> {"ask": 7, "outcome": "permit" | "deny" | "error", "detail": "..."}
    the same with "batch": true
                            -> "permit" if any of the batch is permitted
    {"sleep": 8, "ms": 250} -> {"sleep": 8}
    {"close": "c3"}         -> {"close": "c3"}

It asks whether user `alice` may do the action `scripted` on the document whose id is `fault`, and
says `permit` only if the program would go on. A batch is three such questions: documents `permit`,
`permit` and the fault. Questions of one `connection` share a client. At the end of its input it
ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pdp.errors import ConfigurationError

START_S_MAX: Final = 30.0
# Nobody who is asked with a budget is waited for longer than this beyond it.
HANG_S: Final = 5.0
_LINE_BYTES_MAX: Final = 65_536
_SAID_BYTES_MAX: Final = 600

Outcome = Literal["permit", "deny", "error", "hang"]


class AdapterError(ConfigurationError):
    """The adapter does not speak the protocol, or does not start."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one question.

    Attributes:
        outcome: `error`: the client raised, which stops a program and permits nothing; `hang`: no
            answer long after the budget.
        took_s: from the question to the answer.
        detail: the adapter's words.
    """

    outcome: Outcome
    took_s: float
    detail: str = ""


class Adapter:
    """The process. Restarted by the next question after it hung.

    Args:
        command: program and arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._number = 0
        # What it says besides: a client may warn of each fault. Shown if it fails itself.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed in `__exit__`
        self.name = ""
        self.can_batch = False

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end(kill=False)
        self._errors.close()

    def ask(self, budget_s: float, **question: object) -> Answered:
        """One question.

        Raises:
            AdapterError: what came back is no answer to it.
        """
        self._number += 1
        message = {"ask": self._number, "budget_ms": round(budget_s * 1_000), **question}
        started = time.monotonic()
        answer = self._exchange(message, budget_s + HANG_S)
        took_s = time.monotonic() - started
        if answer is None:
            self._end(kill=True)
            return Answered("hang", took_s)
        outcome = answer.get("outcome")
        if answer.get("ask") != self._number or outcome not in {"permit", "deny", "error"}:
            raise AdapterError(f"the adapter said {json.dumps(answer)[:200]} to a question")
        return Answered(outcome, took_s, str(answer.get("detail", ""))[:200])

    def sleep(self, seconds: float) -> float:
        """How long a sleep of so many seconds takes in the adapter, asked for as questions are."""
        self._number += 1
        started = time.monotonic()
        message = {"sleep": self._number, "ms": round(seconds * 1_000)}
        if self._exchange(message, seconds + HANG_S) != {"sleep": self._number}:
            raise AdapterError("the adapter does not sleep as it is told")
        return time.monotonic() - started

    def close(self, connection: str) -> None:
        """Let go of a client."""
        if self._process is not None and self._exchange({"close": connection}, HANG_S) is None:
            self._end(kill=True)

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 the program to be judged
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as error:
            text = f"cannot start `{self._command[0]}`: {error.strerror}"
            raise AdapterError(text) from None
        self._buffer = b""
        ready = self._exchange({"protocol": 1}, START_S_MAX)
        if ready is None or ready.get("ready") is not True:
            self._end(kill=True)
            raise AdapterError(
                f"`{' '.join(self._command)}` did not say that it is ready{self._said()}"
            )
        self.can_batch = ready.get("batch") is True
        self.name = str(ready.get("name", self._command[-1]))

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if kill:
            process.kill()
        try:
            process.wait(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _said(self) -> str:
        """The end of what it said on its standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _SAID_BYTES_MAX))
        text = self._errors.read().decode(errors="replace").strip()
        return f"; it said: {text}" if text else ""

    def _exchange(self, message: Mapping[str, object], wait_s: float) -> dict[str, Any] | None:
        """Say a line and read one; None if none came in time."""
        if self._process is None:
            self._start()
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise AdapterError("the adapter is not there")
        ends = time.monotonic() + wait_s
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            line = self._line(process.stdout.fileno(), ends)
        except OSError:
            line = b""
        if line is None:
            return None
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self._end(kill=True)
            raise AdapterError(
                f"the adapter ended, or said what is no JSON object: {line[:200]!r}{self._said()}"
            )
        return found

    def _line(self, descriptor: int, ends: float) -> bytes | None:
        """One line; None if it did not come in time; empty if the adapter ended."""
        while b"\n" not in self._buffer:
            left = ends - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            data = os.read(descriptor, _LINE_BYTES_MAX)
            if not data or len(self._buffer) > _LINE_BYTES_MAX:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
