"""The one process that looks at the store, and remembers what it has seen.

It owns the state folder. What it verified is kept there, before it is
remembered, and workers read it from there. It takes no calls and holds no
certificate. When it ends, workers go on with what they have until that is
stale; when it does not look any longer, the parent starts another.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress

from pdp.bundle import BundleKeeper
from pdp.bundle.settings import BundleSettings
from pdp.config.settings import Settings
from pdp.server.crew.letters import Letter
from pdp.server.crew.link import ParentLink
from pdp.server.crew.order import Order
from pdp.server.metrics.shared import SharedFigures
from pdp.server.poll_log import PollLog, tell_poll
from pdp.telemetry import Telemetry


def run_fetcher(order: Order, output: int) -> None:
    """Look at the store until SIGTERM.

    Args:
        order: what to be.
        output: where the parent hears.

    Raises:
        ConfigurationError, BundleError: the first look ends it, as for a single process.
    """
    settings = order.settings
    telemetry = Telemetry(sys.stderr, time.time_ns, settings.log_level, order.name)
    telemetry.capture_logging()
    keeper = BundleKeeper(settings.bundle, settings.limits.evaluation, time.time_ns)
    try:
        asyncio.run(_fetch(settings, keeper, telemetry, output))
    finally:
        keeper.close()
        telemetry.close()


async def _fetch(
    settings: Settings, keeper: BundleKeeper, telemetry: Telemetry, output: int
) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    link = await ParentLink.open(output)
    tasks = [asyncio.create_task(link.hear(_ignore))]
    if settings.metrics is not None:
        shared = SharedFigures(settings.bundle.state_folder)
        tasks.append(asyncio.create_task(shared.keep("fetcher", telemetry)))
    result = await asyncio.to_thread(keeper.start)
    tell_poll(telemetry, result)
    link.say(say="ready", outcome=result.outcome)
    log = PollLog(telemetry)
    while not told_to_end.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), settings.poll_interval_s)
            break
        try:
            result = await asyncio.to_thread(keeper.poll)
        except Exception as error:  # noqa: BLE001 the next poll may fare better
            telemetry.log("error", "poll_failed", error=type(error).__name__, detail=str(error))
            continue
        log.take(result)
        link.say(say="polled", outcome=result.outcome)
    for task in tasks:
        task.cancel()


def _ignore(_: Letter) -> None:
    """There is nothing to say to a fetcher."""


def silence_max_s(interval_s: float, bundle: BundleSettings) -> float:
    """Seconds after which a fetcher that has said nothing is stuck: its longest look, twice."""
    return 2 * (interval_s + bundle.poll_time_max_s) + 10.0
