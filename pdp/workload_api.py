"""The SPIFFE Workload API of the agent on this machine: a stream that is kept open.

    stream = Stream("unix:/run/spire/agent.sock", x509_contexts)
    stream.start()
    stream.newer_than(0, 10.0)     # the first message, or None: there is none yet
    stream.close()

The library speaks the protocol and parses; that it stays connected is seen to
here. Its own retries tell nobody that the agent is gone, and what it cannot
parse ends it for good (references security.md section 3.3), so each connection
is one try, and after it comes another. The last message stays, however long the
agent is away: what it is still worth, whoever uses it knows by its own dates.

Sizes: gRPC takes no message above 4 MiB.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from spiffe import JwtBundleSet, WorkloadApiClient
from spiffe.workloadapi.workload_api_client import StreamCancelHandler
from spiffe.workloadapi.x509_context import X509Context

# From one try to the next; it doubles, and what an agent brings sets it back.
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0
# How long an agent may be silent that has taken the connection.
FIRST_S: Final = 10.0
# An agent that hangs holds its connection open; asked again, it is found out.
RENEW_S: Final = 300.0
_CLOSE_S: Final = 5.0
_SHOWN_CHARACTERS: Final = 200

T = TypeVar("T")
Take = Callable[[T], None]
Fail = Callable[[Exception], None]
Opener = Callable[[WorkloadApiClient, Take[T], Fail], StreamCancelHandler]


def x509_contexts(
    client: WorkloadApiClient, take: Take[X509Context], fail: Fail
) -> StreamCancelHandler:
    """Our X.509-SVIDs and the trust bundles, whole with each message."""
    return client.stream_x509_contexts(take, fail, retry_connect=False)


def jwt_bundles(
    client: WorkloadApiClient, take: Take[JwtBundleSet], fail: Fail
) -> StreamCancelHandler:
    """The keys of JWT-SVIDs by trust domain, whole with each message."""
    return client.stream_jwt_bundles(take, fail, retry_connect=False)


@dataclass(frozen=True, slots=True)
class Update(Generic[T]):
    """A message.

    Attributes:
        number: counts messages from 1.
        message: parsed by the library, judged by nobody.
    """

    number: int
    message: T


class Stream(Generic[T]):
    """What the agent said last. `start` and `close` once, the rest from any thread.

    Args:
        socket: `unix:` and a path.
        opener: which of the agent's streams.
        renew_s: until a connection that works is made anew.
        first_s: until an agent that says nothing is given up.
    """

    def __init__(
        self,
        socket: str,
        opener: Opener[T],
        *,
        renew_s: float = RENEW_S,
        first_s: float = FIRST_S,
    ) -> None:
        self._socket = socket
        self._opener = opener
        self._renew_s, self._first_s = renew_s, first_s
        self._changed = threading.Condition()
        self._connection: _Connection[T] | None = None
        self._latest: Update[T] | None = None
        self._problem = "the agent was not asked yet"
        self._ending = False
        # Does not keep a process from ending: it holds nothing that would be lost.
        self._thread = threading.Thread(target=self._run, name="workload-api", daemon=True)

    @property
    def latest(self) -> Update[T] | None:
        """The last message; None: none ever came."""
        return self._latest

    @property
    def problem(self) -> str:
        """Why the agent is not there, in one line; empty: it is."""
        return self._problem

    def start(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()

    def newer_than(self, number: int, timeout_s: float) -> Update[T] | None:
        """A message after this one; None: none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer(number) or self._ending, timeout_s)
            return self._latest if self._is_newer(number) else None

    def close(self) -> None:
        """End. Blocks until the connection is gone, for a few seconds at most."""
        with self._changed:
            self._ending = True
            if self._connection is not None:
                self._connection.ended.set()
                self._connection.began.set()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    def _is_newer(self, number: int) -> bool:
        return self._latest is not None and self._latest.number > number

    def _run(self) -> None:
        pause_s = PAUSE_S_MIN
        while not self._ending:
            brought = self._connect_once()
            pause_s = PAUSE_S_MIN if brought else min(2 * pause_s, PAUSE_S_MAX)
            with self._changed:
                self._changed.wait_for(lambda: self._ending, pause_s)

    def _connect_once(self) -> bool:
        """One connection, from beginning to end. Whether it brought anything."""
        connection = _Connection(self)
        with self._changed:
            if self._ending:
                return False
            self._connection = connection
        try:
            client = WorkloadApiClient(self._socket)
            try:
                handler = self._opener(client, connection.take, connection.fail)
                if connection.began.wait(self._first_s):
                    connection.ended.wait(self._renew_s)
                else:
                    self._say("the agent says nothing")
                handler.cancel()
            finally:
                client.close()
        except Exception as error:  # noqa: BLE001 the next try may fare better
            connection.fail(error)
        # INVARIANT: what comes over it from here on is too late: another connection may have
        # brought something newer.
        with self._changed:
            self._connection = None
        return connection.brought

    def _taken(self, connection: _Connection[T], message: T) -> None:
        with self._changed:
            if connection is not self._connection:
                return
            number = 1 if self._latest is None else self._latest.number + 1
            self._latest = Update(number, message)
            self._problem = ""
            self._changed.notify_all()

    def _say(self, problem: str) -> None:
        self._problem = problem


class _Connection(Generic[T]):
    """One try. Its methods are called on the library's threads."""

    def __init__(self, stream: Stream[T]) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.brought = False
        self._stream = stream

    def take(self, message: T) -> None:
        """A message came."""
        self.brought = True
        self._stream._taken(self, message)  # noqa: SLF001 one class in two parts
        self.began.set()

    def fail(self, error: Exception) -> None:
        """It is over. The words may quote what the agent sent: no control characters."""
        words = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        self._stream._say(ascii(words)[1:-1] or type(error).__name__)  # noqa: SLF001
        self.ended.set()
        self.began.set()
