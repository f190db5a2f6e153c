"""What keeps a serving PDP current: the bundle, and our own identity.

Two tasks that go on until they are cancelled. Whatever goes wrong in a round is
told, and the next round may fare better; decisions never wait for either.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from pdp.bundle import PollResult
from pdp.decision_point import Clock, SnapshotSource
from pdp.identity.rotation import SETTLE_S, Look
from pdp.identity.server_svid import ServerSvid
from pdp.identity.source import IdentitySource
from pdp.server.listener import Server
from pdp.server.poll_log import PollLog
from pdp.telemetry import Telemetry
from pdp.values import NANOS

# The share of a certificate's life that is left when its end is told. Issuers renew at half.
_ENDING: Final = 0.25


class BundleSource(SnapshotSource, Protocol):
    """Snapshots that are kept current."""

    def poll(self) -> PollResult:
        """Look for a newer bundle. Blocks, so it is called in a thread, one call at a time."""
        ...


async def poll_forever(
    bundle: BundleSource, server: Server, interval_s: float, telemetry: Telemetry
) -> None:
    """Poll at intervals, each in a thread; health follows at once.

    Nothing ends this but cancellation: a PDP that stopped polling would deny
    everything within the hour, and say why, but need not.
    """
    log = PollLog(telemetry)
    while True:
        await asyncio.sleep(interval_s)
        try:
            result = await asyncio.to_thread(bundle.poll)
            await server.look()
        except Exception as error:  # noqa: BLE001 the next poll may fare better
            telemetry.log("error", "poll_failed", error=type(error).__name__, detail=str(error))
            continue
        log.take(result)


class IdentityWatch:
    """Takes a new identity into use, and tells what is wrong with them once.

    Args:
        source: of ours.
        server: what shows and believes them.
        clock: time.
        telemetry: counters and logs.
    """

    def __init__(
        self, source: IdentitySource, server: Server, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._source = source
        self._server = server
        self._clock = clock
        self._telemetry = telemetry
        self._told: tuple[str, ...] = ()
        self._ending = ""

    async def forever(self, interval_s: float) -> None:
        """Look at intervals, each time in a thread."""
        wait_s = interval_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = interval_s
            try:
                if (await self.once()).settling:
                    wait_s = min(SETTLE_S, interval_s)
            except Exception as error:  # noqa: BLE001 the next look may fare better
                self._telemetry.log(
                    "error", "tls_failed", error=type(error).__name__, detail=str(error)
                )

    async def once(self) -> Look:
        """Look, take what is new, tell what is wrong."""
        look = await asyncio.to_thread(self._source.look)
        identity = self._source.identity
        if look.changed:
            self._server.use(identity)
            self._telemetry.count("tls", "updated")
            self._telemetry.log(
                "info",
                "tls_updated",
                changed=" and ".join(look.changed),
                spiffe_id=identity.spiffe_id,
                trust=identity.trust.generation.hex()[:16],
            )
            for warning in identity.warnings if "certificate" in look.changed else ():
                self._telemetry.log("warning", "tls", detail=warning)
        if look.problems:
            self._telemetry.count("tls", "refused")
        if look.problems != self._told:
            self._told = look.problems
            for problem in look.problems:
                self._telemetry.log("error", "tls_refused", detail=problem)
        self._tell_ending(identity)
        return look

    def _tell_ending(self, identity: ServerSvid) -> None:
        """Say once that our certificate ends soon, and once that it has."""
        left_ns = identity.ends_ns - self._clock.wall_ns()
        if left_ns > _ENDING * (identity.ends_ns - identity.starts_ns):
            self._ending = ""
            return
        state = "tls_expired" if left_ns < 0 else "tls_expiring"
        if state != self._ending:
            self._ending = state
            level = "error" if left_ns < 0 else "warning"
            self._telemetry.log(level, state, seconds_left=left_ns // NANOS)
