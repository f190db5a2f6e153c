"""One of several processes that answer: a whole PDP, but for the store and the port's lock.

It verifies what the fetcher kept, from its own trusted root on; what it has
verified decides when the parent says so, or by itself if the parent says nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import uvloop

from pdp.bundle import BundleFollower, PollResult
from pdp.config.settings import Address
from pdp.decision_point import SystemClock
from pdp.server.crew.changeover import WORD_S
from pdp.server.crew.letters import Letter
from pdp.server.crew.link import ParentLink
from pdp.server.crew.order import Order
from pdp.server.listener import Server
from pdp.server.poll_log import tell_poll
from pdp.server.process import serve, traced
from pdp.telemetry import Telemetry

# Between two looks at what the fetcher kept; a look without news is two `stat` calls.
LOOK_S: Final = 0.2


def run_worker(order: Order, output: int) -> None:
    """Answer until SIGTERM or SIGINT.

    Args:
        order: what to be.
        output: where the parent hears.

    Raises:
        ConfigurationError, BundleError, SpoolError: it cannot answer.
    """
    settings, clock = order.settings, SystemClock()
    telemetry = Telemetry(sys.stderr, clock.wall_ns, settings.log_level, order.name)
    telemetry.capture_logging()
    follower = BundleFollower(
        settings.bundle, settings.limits.evaluation, clock.wall_ns, settings.worker
    )

    async def answer() -> None:
        link = await ParentLink.open(output)
        follow = Follow(follower, link, telemetry)
        hearing = asyncio.create_task(link.hear(follow.heard))
        await serve(settings, follower, clock, telemetry, follow.listening, polls=follow.forever)
        hearing.cancel()

    end_traces = traced(settings, telemetry)
    try:
        uvloop.run(answer())
    finally:
        end_traces()
        telemetry.close()


class Follow:
    """Keeps a worker's bundle current, and the parent told. On the event loop.

    Args:
        follower: the bundle.
        link: to the parent.
        telemetry: logs.
    """

    def __init__(self, follower: BundleFollower, link: ParentLink, telemetry: Telemetry) -> None:
        self._follower = follower
        self._link = link
        self._telemetry = telemetry
        self._server: Server | None = None
        self._since_s = self._prepared_s = time.monotonic()
        self._decides: int | None = None
        self._prepared: int | None = None

    def listening(self, address: Address) -> None:
        """There are answers."""
        self._note()
        self._link.say(say="listening", address=str(address))

    def heard(self, letter: Letter) -> None:
        """The parent said something."""
        prepared = self._follower.prepared
        if letter.get("do") == "switch" and prepared and letter.get("revision") == prepared:
            self._switch()

    async def forever(self, server: Server) -> None:
        """Look at intervals, each time in a thread."""
        self._server = server
        told = PollResult("unchanged", "")
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                told = await self._look(server, told)
            except Exception as error:  # noqa: BLE001 the next look may fare better
                self._telemetry.log(
                    "error", "poll_failed", error=type(error).__name__, detail=str(error)
                )

    async def _look(self, server: Server, told: PollResult) -> PollResult:
        result = await asyncio.to_thread(self._follower.poll)
        self._follower.adopt()
        if self._follower.prepared is not None and self._follower.current() is None:
            # Without a bundle nothing is permitted: there is nothing to wait for.
            self._follower.switch()
        self._note()
        if self._prepared and time.monotonic() - self._prepared_s > WORD_S:
            self._telemetry.log("warning", "switched_alone", revision=self._prepared)
            self._switch()
        await server.look()
        if result.outcome == "updated" or (not result.verified and result != told):
            tell_poll(self._telemetry, result)
        return result

    def _switch(self) -> None:
        self._follower.switch()
        self._note()

    def _note(self) -> None:
        """Tell the parent where this worker is. Also without news: that it lives."""
        now_s = time.monotonic()
        snapshot = self._follower.current()
        decides = None if snapshot is None else snapshot.ref.revision
        if decides != self._decides:
            self._decides, self._since_s = decides, now_s
        prepared = self._follower.prepared
        if prepared != self._prepared:
            self._prepared, self._prepared_s = prepared, now_s
        self._link.say(
            say="state",
            decides=decides,
            prepared=prepared,
            since_s=self._since_s,
        )
