"""A child process that answers one question at a time, within limits.

For libraries that must not be trusted with this process: native code, and
interpreters without limits. Frames on standard input and output: four bytes of
length, then JSON. The first frame comes unasked and says that it is ready.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pdp.errors import ConfigurationError

_LENGTH = struct.Struct(">I")
_ANSWER_BYTES_MAX = 64 << 20


class ChildFailedError(Exception):
    """The child died or fell silent; the message says which."""


class FramedChild:
    """One child process, started when needed and again after a failure.

    Use as a context manager. Calls from several threads take turns.
    """

    def __init__(
        self, script: Path, arguments: Sequence[str], *, wall_s: float, start_s: float
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            script: what the child runs, isolated from the environment.
            arguments: of the script.
            wall_s: for one answer, in seconds.
            start_s: until it is ready, in seconds.
        """
        self._command = [sys.executable, "-I", str(script), *arguments]
        self._wall_s, self._start_s = wall_s, start_s
        self._child: subprocess.Popen[bytes] | None = None
        self._answered = 0
        self._lock = threading.Lock()

    @property
    def does_not_start(self) -> str:
        """What to say when it does not even start."""
        return "a child process does not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def ask(self, request: bytes) -> dict[str, Any]:
        """One request; a second try if the child may have died of earlier ones.

        Args:
            request: JSON.

        Raises:
            ChildFailedError: it died of this request, or did not answer in time.
            ConfigurationError: it does not start at all.
        """
        with self._lock:
            fresh = self._child is None or self._answered == 0
            try:
                return self._ask_child(request)
            except ChildFailedError as error:
                self._stop()
                if fresh or "crashed" not in str(error):
                    raise
            try:
                return self._ask_child(request)
            except ChildFailedError:
                self._stop()
                raise

    def _ask_child(self, request: bytes) -> dict[str, Any]:
        child = self._start()
        deadline = time.monotonic() + self._wall_s
        _send(child, _LENGTH.pack(len(request)) + request, deadline)
        answer = _receive_message(child, deadline)
        self._answered += 1
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        """The child, running and ready."""
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._stop()
        kept = {"LC_ALL": "C.UTF-8"}
        if path := os.environ.get("LD_LIBRARY_PATH"):
            kept["LD_LIBRARY_PATH"] = path
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own file, our own interpreter
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=kept,
            )
            self._answered = 0
            for stream in (self._child.stdin, self._child.stdout):
                os.set_blocking(_descriptor(stream), False)
            _receive_message(self._child, time.monotonic() + self._start_s)
        except (OSError, ChildFailedError):
            self._stop()
            raise ConfigurationError(self.does_not_start) from None
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # an unsent rest of a request; the child is dead


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        message = "did not finish in time"
        raise ChildFailedError(message)


def _send(child: subprocess.Popen[bytes], data: bytes, deadline: float) -> None:
    descriptor = _descriptor(child.stdin)
    view = memoryview(data)
    while view:
        _wait(descriptor, select.POLLOUT, deadline)
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            message = "crashed"
            raise ChildFailedError(message) from None


def _receive(child: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
    descriptor = _descriptor(child.stdout)
    data = bytearray()
    while len(data) < size:
        _wait(descriptor, select.POLLIN, deadline)
        try:
            chunk = os.read(descriptor, min(size - len(data), 1 << 16))
        except BlockingIOError:
            continue
        if not chunk:
            message = "crashed"
            raise ChildFailedError(message)
        data += chunk
    return bytes(data)


def _receive_message(child: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    (size,) = _LENGTH.unpack(_receive(child, _LENGTH.size, deadline))
    if size > _ANSWER_BYTES_MAX:
        message = "gave an answer that is too large"
        raise ChildFailedError(message)
    try:
        answer = json.loads(_receive(child, size, deadline))
    except ValueError:
        message = "gave a garbled answer"
        raise ChildFailedError(message) from None
    return answer if isinstance(answer, dict) else {}


def _descriptor(stream: Any) -> int:
    if stream is None:
        message = "has no pipe"
        raise ChildFailedError(message)
    return int(stream.fileno())
