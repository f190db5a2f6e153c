"""The parent of a PDP of several processes.

    1  ports are taken, and held until the end
    2  the fetcher: what does not verify stops the start
    3  spools that no worker goes on with are made durable and closed
    4  workers; when all answer, the PDP does
    5  a process that ends is started again; one that says nothing is ended
    6  SIGTERM and SIGINT go to the workers, which end as a single process would
    7  the fetcher ends, the ports are given back

The parent answers nobody, decides nothing, and has neither certificate nor key.
A worker that ends again and again ends the PDP: whoever started it should hear
of it. A fetcher that does is started again for ever: workers answer until what
they have is stale, and an end would only come sooner.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pdp
from pdp.config.settings import Address, Settings
from pdp.errors import CrewError, PdpError
from pdp.server.crew.changeover import Changeover, Told
from pdp.server.crew.fetcher import silence_max_s
from pdp.server.crew.letters import Letter
from pdp.server.crew.member import Member
from pdp.server.crew.order import Order, worker_order
from pdp.server.crew.port import HeldPort
from pdp.server.metrics.figures import Figures, counted
from pdp.server.metrics.shared import WRITE_S, SharedFigures
from pdp.server.orphans import recover_orphans
from pdp.server.signals import Signals
from pdp.telemetry import Telemetry

_LOOK_S: Final = 0.1
# A worker says where it is five times a second. One that says nothing answers nobody either.
_WORKER_SILENT_S: Final = 20.0
# Beyond what a worker gives to draining and to calls in flight.
_END_S: Final = 30.0
_FETCHER_END_S: Final = 15.0


def run_crew(settings: Settings) -> None:
    """`pdp serve` with several workers: until SIGTERM or SIGINT.

    Raises:
        ConfigurationError, BundleError, SpoolError: nothing is served.
        CrewError: a process does not start, or does not stay alive.
    """
    telemetry = Telemetry(sys.stderr, time.time_ns, settings.log_level, "parent")
    telemetry.capture_logging()
    try:
        asyncio.run(Crew(settings, telemetry, _say_listening).run())
    finally:
        telemetry.close()


def _say_listening(address: Address) -> None:
    """For whoever started this process and must know the port: one line, then nothing."""
    line = {"event": "listening", "address": str(address), "port": address.port}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Crew:
    """All processes of one PDP. Make it on an event loop's thread, `run` once.

    Args:
        settings: judged; of two workers at least.
        telemetry: logs.
        listening: called once, when all workers answer.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, listening: Callable[[Address], None]
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._listening = listening
        self._changeover = Changeover()
        self._members: list[Member] = []
        self._lives: dict[Member, asyncio.Task[None]] = {}
        self._failed: list[PdpError] = []
        self._ending = asyncio.Event()
        self._skew_s = 0.0
        self._figures: SharedFigures | None = None

    async def run(self) -> None:
        """Start, watch, end.

        Raises:
            ConfigurationError, BundleError, SpoolError: nothing is served.
            CrewError: a process does not start, or does not stay alive.
        """
        settings, telemetry = self._settings, self._telemetry
        signals = Signals()
        telemetry.log("info", "starting", version=pdp.__version__, instance=settings.instance)
        # (1) Held until the end.
        ports = self._take_ports()
        try:
            settings = self._settings
            # (2) The store is judged as a single process would.
            await self._until_begun([self._add(_fetcher_order(settings))], signals)
            if not self._over(signals):
                # (3) Before anybody writes records.
                await asyncio.to_thread(recover_orphans, settings, telemetry)
                # (4) All at once: each recovers its own spool.
                seats = range(1, settings.workers + 1)
                workers = [self._add(worker_order(settings, seat)) for seat in seats]
                await self._until_begun(workers, signals)
            if not self._over(signals):
                address = settings.listen
                telemetry.log("info", "listening", address=str(address), port=address.port)
                self._listening(address)
            await self._watch(signals)
            await self._end(signals)
        finally:
            await self._kill()
            for port in ports:
                port.close()
        if self._failed:
            raise self._failed[0]
        telemetry.log("info", "stopped")

    def _take_ports(self) -> list[HeldPort]:
        settings = self._settings
        held = [HeldPort.take(settings.listen)]
        settings = dataclasses.replace(settings, listen=held[0].address)
        if settings.authzen is not None:
            held.append(HeldPort.take(settings.authzen.listen, "authzen.listen"))
            authzen = dataclasses.replace(settings.authzen, listen=held[1].address)
            settings = dataclasses.replace(settings, authzen=authzen)
        if settings.metrics is not None:
            held.append(HeldPort.take(settings.metrics, "metrics.listen"))
            self._figures = SharedFigures(settings.bundle.state_folder)
            self._figures.clear()
            settings = dataclasses.replace(settings, metrics=held[-1].address)
        self._settings = settings
        return held

    def _add(self, order: Order) -> Member:
        member = Member(order, self._heard, self._started)
        self._members.append(member)
        self._lives[member] = asyncio.create_task(self._keep(member), name=order.name)
        return member

    def _over(self, signals: Signals) -> bool:
        return bool(self._failed) or signals.first.is_set()

    async def _until_begun(self, members: list[Member], signals: Signals) -> None:
        """Wait until all of them do what they are for, or there is no point in waiting."""
        begun = asyncio.gather(*(member.begun.wait() for member in members))
        await self._first_of(begun, signals.first.wait(), self._ending.wait())

    @staticmethod
    async def _first_of(*waits: Any) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    # Step (5): while it serves.

    async def _keep(self, member: Member) -> None:
        """Start it, and again when it ends, until this PDP ends."""
        while not self._ending.is_set():
            started_s = time.monotonic()
            try:
                code = await member.live()
            except OSError as error:
                code = error.errno or 1
            self._changeover.gone(member.order.settings.worker)
            if self._ending.is_set():
                return
            if not member.begun.is_set():
                self._fail(member.error)
                return
            self._telemetry.count("process_ends", member.order.name)
            pause_s = member.restarts.ended(time.monotonic() - started_s)
            self._telemetry.log(
                "error",
                "process_ended",
                child=member.order.name,
                code=code,
                detail=str(member.error),
                again_in_s=pause_s,
            )
            self._look()
            if member.order.role == "worker" and member.restarts.hopeless:
                self._fail(
                    CrewError(
                        f"the process `{member.order.name}` ends again and again: {member.error}"
                    )
                )
                return
            await self._first_of(self._ending.wait(), asyncio.sleep(pause_s))

    def _fail(self, error: PdpError) -> None:
        self._failed.append(error)
        self._ending.set()

    def _started(self, member: Member, pid: int) -> None:
        self._telemetry.log("info", "process_started", child=member.order.name, pid=pid)

    def _heard(self, member: Member, letter: Letter) -> None:
        worker = member.order.settings.worker
        if letter.get("say") != "state" or worker == 0:
            return
        since_s = letter.get("since_s")
        self._changeover.told(
            worker,
            Told(
                _revision(letter.get("decides")),
                _revision(letter.get("prepared")),
                since_s if isinstance(since_s, float) else time.monotonic(),
            ),
        )
        self._look()

    def _look(self) -> None:
        """Change over, where workers are not of one mind."""
        steps = self._changeover.look(time.monotonic())
        for member in self._members:
            worker = member.order.settings.worker
            if worker in steps.switch:
                member.say(do="switch", revision=steps.switch[worker])
            if worker in steps.end:
                self._telemetry.log("error", "worker_behind", child=member.order.name)
                member.signal(signal.SIGKILL)
                self._changeover.gone(worker)
        if steps.done:
            self._skew_s = steps.done.skew_s
            self._telemetry.count("changeovers")
            self._telemetry.log(
                "info",
                "changed_over",
                revision=steps.done.revision,
                skew_s=round(steps.done.skew_s, 4),
            )

    def _shown(self) -> Figures:
        gauges = {
            "changeover_skew_seconds": self._skew_s,
            "changeover_pending": float(self._changeover.pending),
        }
        return Figures("parent", counted(self._telemetry), gauges)

    async def _watch(self, signals: Signals) -> None:
        written_s = 0.0
        while not self._over(signals):
            await self._first_of(signals.first.wait(), self._ending.wait(), asyncio.sleep(_LOOK_S))
            self._look()
            now_s = time.monotonic()
            if self._figures is not None and now_s - written_s >= WRITE_S:
                written_s = now_s
                await asyncio.to_thread(self._figures.write, self._shown())
            for member in self._members:
                if member.silent_s(now_s) > self._silence_max_s(member):
                    self._telemetry.log("error", "process_silent", child=member.order.name)
                    member.signal(signal.SIGKILL)

    def _silence_max_s(self, member: Member) -> float:
        settings = self._settings
        if member.order.role == "fetcher":
            return silence_max_s(settings.poll_interval_s, settings.bundle)
        return _WORKER_SILENT_S

    # Steps (6) and (7): the end.

    async def _end(self, signals: Signals) -> None:
        limits = self._settings.limits
        number = signal.SIGINT if signals.first.is_set() and not signals.kindly else signal.SIGTERM
        self._ending.set()
        self._telemetry.log("info", "stopping", drain_s=limits.drain_s, grace_s=limits.stop_grace_s)
        workers = [member for member in self._members if member.order.role == "worker"]
        for member in workers:
            member.signal(number)
        ended = self._wait_for(workers)
        within_s = limits.drain_s + limits.stop_grace_s + _END_S
        await self._first_of(ended, signals.second.wait(), asyncio.sleep(within_s))
        if signals.second.is_set():
            for member in workers:
                member.signal(signal.SIGTERM)
            await self._first_of(self._wait_for(workers), asyncio.sleep(_END_S))
        fetchers = [member for member in self._members if member.order.role == "fetcher"]
        for member in fetchers:
            member.signal(signal.SIGTERM)
        await self._first_of(self._wait_for(fetchers), asyncio.sleep(_FETCHER_END_S))

    def _wait_for(self, members: list[Member]) -> Coroutine[Any, Any, object]:
        async def wait() -> None:
            tasks = [self._lives[member] for member in members]
            if tasks:
                await asyncio.wait(tasks)

        return wait()

    async def _kill(self) -> None:
        """Whoever is left."""
        self._ending.set()
        for member in self._members:
            member.signal(signal.SIGKILL)
        if self._lives:
            await asyncio.wait(self._lives.values(), timeout=_END_S)


def _revision(said: object) -> int | None:
    return said if type(said) is int and said > 0 else None


def _fetcher_order(settings: Settings) -> Order:
    return Order("fetcher", settings, os.getpid())
