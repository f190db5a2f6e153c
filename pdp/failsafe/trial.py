"""Making a fault, and asking through it: one trial after the other, and controls between them.

A control is the honest PDP over the same adapter: a permit has to come back as one, and a denial as
one. Without it a client that denies everything, or cannot connect, would pass.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pdp.failsafe.adapter import Adapter, Answered
from pdp.failsafe.catalogue import Fault
from pdp.failsafe.firing_range import FiringRange
from pdp.failsafe.frames import ResetAfterTls, Speaker
from pdp.failsafe.listeners import (
    Garbage,
    Listener,
    Plan,
    Proxy,
    Silent,
    SilentAfterTls,
    refusing,
)

# Where the question is what is answered, not when.
GENEROUS_S: Final = 4.0
# Where answers are cut unless every byte is asked for: so far apart.
STEP_DEFAULT: Final = 97
# What a client may send after its question was whole: acknowledgements.
_AFTERWARDS: Final = {"client": 1, "server": 80}
# What is dripped, 5 ms a byte, must not be whole within the budget.
_DRIPPED_MIN: Final = 100
_SETTLE_S: Final = 0.02
_KILL_AFTER_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Options:
    """How much is asked.

    Attributes:
        budget_s: of a faulted call.
        rounds: calls of each fault; of a cut, at each place.
        step: bytes between two places where a connection is cut; 1 is every byte.
    """

    budget_s: float = 0.25
    rounds: int = 3
    step: int = STEP_DEFAULT


class Trials:
    """Asks one adapter.

    Args:
        adapter: running.
        place: the firing range, entered.
        options: how much.
    """

    def __init__(self, adapter: Adapter, place: FiringRange, options: Options) -> None:
        self._adapter = adapter
        self._range = place
        self._options = options
        self._connections = 0

    def control(self) -> str:
        """Ask the honest PDP; empty if a permit and a denial come back as such."""
        with self._connection() as connection:
            target = self._range.target()
            for script in ("permit", "deny"):
                answered = self._ask(connection, target, script, GENEROUS_S)
                if answered.outcome != script:
                    return _unexpected(script, answered)
            if self._adapter.can_batch:
                answered = self._ask(connection, target, "permit", GENEROUS_S, batch=True)
                if answered.outcome != "permit":
                    return _unexpected("batch of permits", answered)
        return ""

    def lateness(self) -> float:
        """How much longer than its budget a bare sleep takes in the adapter's process, seconds."""
        return self._adapter.sleep(self._options.budget_s) - self._options.budget_s

    def of(self, fault: Fault) -> Iterator[Answered]:
        """The calls of one fault.

        Raises:
            AdapterError: the adapter does not speak its protocol.
        """
        trial = {
            "answer": self._answers,
            "batch": self._batches,
            "certificate": self._certificates,
            "own": self._own,
            "peer": self._peers,
            "speech": self._speeches,
            "cut": self._cuts,
            "process": self._processes,
        }[fault.place]
        yield from trial(fault)

    def _answers(self, fault: Fault) -> Iterator[Answered]:
        script = fault.script
        if script == "slow":
            # The clocks of both run in milliseconds: one more is after the deadline for certain.
            script = f"slow:{round(self._options.budget_s * 1_000) + 1}"
        for _ in self._rounds():
            with self._connection() as connection:
                # Connected first: the fault is to be met, not a slow handshake.
                self._ask(connection, self._range.target(), "permit", GENEROUS_S)
                yield self._ask(connection, self._range.target(), script)

    def _batches(self, fault: Fault) -> Iterator[Answered]:
        if not self._adapter.can_batch:
            return
        for _ in self._rounds():
            with self._connection() as connection:
                target = self._range.target()
                self._ask(connection, target, "permit", GENEROUS_S, batch=True)
                yield self._ask(connection, target, fault.script, batch=True)

    def _certificates(self, fault: Fault) -> Iterator[Answered]:
        yield from self._each(self._range.target(fault.script))

    def _own(self, fault: Fault) -> Iterator[Answered]:
        yield from self._each(self._range.target(), files=fault.script)

    def _peers(self, fault: Fault) -> Iterator[Answered]:
        folder = self._range.folder
        files = (folder / "pdp.pem", folder / "pdp.key", folder / "trust.pem")
        peers: dict[str, Callable[[], Listener]] = {
            "silent": Silent,
            "garbage": Garbage,
            "tls": lambda: SilentAfterTls(*files),
            "tls_reset": lambda: ResetAfterTls(*files),
        }
        if fault.script == "refused":
            with refusing() as port:
                yield from self._each(f"localhost:{port}")
            return
        with peers[fault.script]() as peer:
            yield from self._each(f"localhost:{peer.port}")

    def _speeches(self, fault: Fault) -> Iterator[Answered]:
        folder = self._range.folder
        with Speaker(
            folder / "pdp.pem", folder / "pdp.key", folder / "trust.pem", fault.script
        ) as peer:
            yield from self._each(f"localhost:{peer.port}")

    def _cuts(self, fault: Fault) -> Iterator[Answered]:
        then, _, towards = fault.script.partition(":")
        last = self._bytes_of_one(towards) - max(
            _AFTERWARDS[towards], _DRIPPED_MIN if then == "drip" else 0
        )
        for after in [*range(0, last, self._options.step), last]:
            for _ in self._rounds():
                with (
                    Proxy(self._range.pdp.ports["good"]) as proxy,
                    self._connection() as connection,
                ):
                    target = f"localhost:{proxy.port}"
                    self._ask(connection, target, "permit", GENEROUS_S)
                    proxy.set(Plan(after, then, towards))
                    yield self._ask(connection, target, "permit")

    def _bytes_of_one(self, towards: str) -> int:
        """How many bytes an honest question, or its answer, takes on a connection that works."""
        found: list[int] = []
        with Proxy(self._range.pdp.ports["good"]) as proxy, self._connection() as connection:
            for _ in range(4):
                before = proxy.passed[towards]
                self._ask(connection, f"localhost:{proxy.port}", "permit", GENEROUS_S)
                time.sleep(_SETTLE_S)
                found.append(proxy.passed[towards] - before)
        # The first connects.
        return min(found[1:])

    def _processes(self, fault: Fault) -> Iterator[Answered]:
        number = signal.Signals[f"SIG{fault.script}"]
        for _ in self._rounds():
            with self._range.another() as pdp, self._connection() as connection:
                target = f"localhost:{pdp.ports['good']}"
                self._ask(connection, target, "permit", GENEROUS_S)
                if number is signal.SIGSTOP:
                    pdp.kill(number)
                    yield self._ask(connection, target, "permit")
                    pdp.kill(signal.SIGCONT)
                    continue
                timer = threading.Timer(_KILL_AFTER_S, pdp.kill, (number,))
                timer.start()
                # Longer than the budget: the answer is never there when the process dies.
                yield self._ask(connection, target, "slow:2000")
                timer.join()

    def _each(self, target: str, files: str = "client") -> Iterator[Answered]:
        for _ in self._rounds():
            with self._connection() as connection:
                yield self._ask(connection, target, "permit", files=files)

    def _rounds(self) -> range:
        return range(self._options.rounds)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[str]:
        self._connections += 1
        name = f"c{self._connections}"
        try:
            yield name
        finally:
            self._adapter.close(name)

    def _ask(
        self,
        connection: str,
        target: str,
        script: str,
        budget_s: float | None = None,
        files: str = "client",
        *,
        batch: bool = False,
    ) -> Answered:
        paths = self._range.files(files)
        return self._adapter.ask(
            budget_s or self._options.budget_s,
            connection=connection,
            target=target,
            fault=script,
            **({"batch": True} if batch else {}),
            trust_bundle=str(paths["trust_bundle"]),
            certificate=str(paths["certificate"]),
            key=str(paths["key"]),
        )


def _unexpected(what: str, answered: Answered) -> str:
    detail = f": {answered.detail}" if answered.detail else ""
    return f"the honest PDP's {what} came back as {answered.outcome}{detail}"
