"""The process behind `pdp serve`: starts in an order, stops in the reverse order.

    1  settings and our own certificate are judged
    2  the port is free
    3  the bundle is fetched and verified     what does not verify stops the start
    4  the spool is opened                    what it finds is made durable
    5  the port is taken and calls are served; polls and health go on until a signal
    6  NOT_SERVING, calls in flight get their time, polls end, the spool is closed last

Nothing blocks the event loop: polls and fsyncs run in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from typing import Protocol

import uvloop

import pdp
from pdp.audit.spool import Spool
from pdp.bundle import BundleKeeper, PollResult
from pdp.config.settings import Address, Settings
from pdp.decision_point import Clock, SnapshotSource, SystemClock
from pdp.identity.server_svid import load_server_svid
from pdp.server.listener import DurableRecorder, Server, check_free
from pdp.telemetry import Telemetry


class BundleSource(SnapshotSource, Protocol):
    """Snapshots that are kept current."""

    def poll(self) -> PollResult:
        """Look for a newer bundle. Blocks, so it is called in a thread, one call at a time."""
        ...


def run(settings: Settings, *, clock: Clock | None = None) -> None:
    """`pdp serve`: serve until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: nothing was started.
        BundleError: the bundle is refused, or what is remembered of it is damaged.
        SpoolError: records cannot become durable.
    """
    clock = clock or SystemClock()
    keeper = BundleKeeper(settings.bundle, settings.limits.evaluation, clock.wall_ns)
    telemetry = Telemetry(sys.stderr, clock.wall_ns, settings.log_level)
    telemetry.capture_logging()
    try:
        uvloop.run(serve(settings, keeper, clock, telemetry, _say_listening))
    finally:
        telemetry.close()


def _say_listening(address: Address) -> None:
    """For whoever started this process and must know the port: one line, then nothing."""
    line = {"event": "listening", "address": str(address), "port": address.port}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _plain(spool: Spool) -> DurableRecorder:
    return spool


async def serve(
    settings: Settings,
    keeper: BundleKeeper,
    clock: Clock,
    telemetry: Telemetry,
    listening: Callable[[Address], None],
    recorder_of: Callable[[Spool], DurableRecorder] = _plain,
) -> None:
    """Serve until SIGTERM or SIGINT; what `pdp serve` and `pdp dev` have in common.

    Args:
        settings: judged.
        keeper: not started yet; started and closed here.
        clock: time.
        telemetry: counters and logs.
        listening: called once, on the event loop, when there are answers.
        recorder_of: what records go through on their way to the spool.

    Raises:
        ConfigurationError, BundleError, SpoolError: as `run`.
    """
    keeper.anchor.check_place(settings.tls.trust_domain, settings.listen.host)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    telemetry.log("info", "starting", version=pdp.__version__, instance=settings.instance)
    # (1) The settings were judged when they were read.
    identity = load_server_svid(settings.tls, clock.wall_ns())
    for warning in identity.warnings:
        telemetry.log("warning", "tls", detail=warning)
    # (2) Told now rather than after half a minute of other work; taken in step 5.
    check_free(settings.listen)
    async with contextlib.AsyncExitStack() as opened:
        # (3) What fails verification ends the process here.
        opened.push_async_callback(asyncio.to_thread, keeper.close)
        _tell(telemetry, await asyncio.to_thread(keeper.start))
        # (4) Also makes durable what an earlier boot left.
        spool = await asyncio.to_thread(_open_spool, settings, clock)
        opened.push_async_callback(asyncio.to_thread, spool.close)
        telemetry.log("info", "spool_opened", pdp_id=spool.pdp_id)
        server = Server(
            identity,
            keeper,
            recorder_of(spool),
            listen=settings.listen,
            limits=settings.limits,
            capture=settings.record.capture,
            clock=clock,
            telemetry=telemetry,
        )
        # A server that was bound must be stopped, or its port stays taken.
        opened.push_async_callback(server.stop, 0)
        address = await server.bind()
        # (5) From here on there are answers.
        await server.start()
        polls = asyncio.create_task(
            poll_forever(keeper, server, settings.poll_interval_s, telemetry), name="polls"
        )
        telemetry.log("info", "listening", address=str(address), port=address.port)
        listening(address)
        await stopping.wait()
        # (6) Callers are told first.
        telemetry.log("info", "stopping", grace_s=settings.limits.stop_grace_s)
        await server.stop(settings.limits.stop_grace_s)
        polls.cancel()
    telemetry.log("info", "stopped")


def _open_spool(settings: Settings, clock: Clock) -> Spool:
    record = settings.record
    return Spool.open(
        record.folder, settings.instance, limits=record.limits, clock_ns=clock.wall_ns
    )


async def poll_forever(
    bundle: BundleSource, server: Server, interval_s: float, telemetry: Telemetry
) -> None:
    """Poll at intervals, each in a thread; health follows at once.

    Nothing ends this but cancellation: a PDP that stopped polling would deny
    everything within the hour, and say why, but need not.
    """
    outcome = ""
    while True:
        await asyncio.sleep(interval_s)
        try:
            result = await asyncio.to_thread(bundle.poll)
            await server.look()
        except Exception as error:  # noqa: BLE001 the next poll may fare better
            telemetry.log("error", "poll_failed", error=type(error).__name__, detail=str(error))
            continue
        if result.outcome != "unchanged" or outcome != "unchanged":
            _tell(telemetry, result)
        telemetry.count("polls", result.outcome)
        outcome = result.outcome


def _tell(telemetry: Telemetry, result: PollResult) -> None:
    level = "info" if result.verified else "error"
    telemetry.log(level, f"bundle_{result.outcome}", detail=result.detail)
