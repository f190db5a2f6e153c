"""A worker, or a PDP of one process, shows its figures and those of the others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from pdp.audit.spool import Spool
from pdp.config.settings import Settings
from pdp.decision_point import Clock, SnapshotSource
from pdp.model import BundleRef
from pdp.server.listener import Server
from pdp.server.metrics.endpoint import MetricsEndpoint
from pdp.server.metrics.exposition import exposition
from pdp.server.metrics.figures import Figures, counted, timed
from pdp.server.metrics.shared import WRITE_S, SharedFigures
from pdp.telemetry import Telemetry
from pdp.values import NANOS

# Of a PDP of one process.
_ALONE: Final = "pdp"


class Shown:
    """Collects what this process has to show, and what the others wrote. For one event loop.

    Args:
        settings: `metrics` is there.
        server: what answers.
        spool: where records become durable.
        snapshots: verified bundles.
        clock: time.
        telemetry: counters.
    """

    def __init__(
        self,
        settings: Settings,
        server: Server,
        spool: Spool,
        snapshots: SnapshotSource,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._server = server
        self._spool = spool
        self._snapshots = snapshots
        self._clock = clock
        self._telemetry = telemetry
        self._process = f"worker-{settings.worker}" if settings.worker else _ALONE
        self._shared = SharedFigures(settings.bundle.state_folder) if settings.worker else None
        self._since: tuple[BundleRef | None, float] = (None, clock.monotonic())

    def figures(self) -> Figures:
        """Of this process, now. From any thread: every value is read once."""
        spool, gate = self._spool, self._server.gate
        done = spool.figures
        counters = counted(self._telemetry) | {
            ("spool_records",): done.records,
            ("spool_fsyncs",): done.batches,
            ("spool_suppressed",): done.suppressed,
            ("spool_refused",): done.refused,
            ("spool_failures",): spool.failures,
        }
        now_ns = self._clock.wall_ns()
        gauges = {
            "serving": float(self._server.state() == "serving"),
            "spool_waiting_records": float(spool.waiting),
            "spool_bytes": float(spool.size_bytes),
            "spool_bytes_max": float(self._settings.record.limits.directory_bytes_max),
            "requests_in_flight": float(gate.in_flight),
            "request_bytes_in_flight": float(gate.bytes_in_flight),
            "certificate_seconds": (self._server.identity.ends_ns - now_ns) / NANOS,
        }
        snapshot = self._snapshots.current()
        if snapshot is not None:
            self._note(snapshot.ref)
            gauges |= {
                "snapshot_revision": float(snapshot.ref.revision),
                "snapshot_age_seconds": self._clock.monotonic() - self._since[1],
                "snapshot_fresh_seconds": (snapshot.fresh_until_ns - now_ns) / NANOS,
            }
        return Figures(self._process, counters, gauges, timed(gate.times, "answer"))

    def _note(self, ref: BundleRef) -> None:
        if ref != self._since[0]:
            self._since = (ref, self._clock.monotonic())

    def render(self) -> bytes:
        """The text of a scrape. Reads files: not for the event loop."""
        others = self._shared.others(self._process) if self._shared else []
        return exposition([self.figures(), *others])

    async def forever(self) -> None:
        """Note and write figures each second, until cancelled."""
        while True:
            figures = self.figures()
            if self._shared is not None:
                await asyncio.to_thread(self._shared.write, figures)
            await asyncio.sleep(WRITE_S)


async def show_metrics(  # noqa: PLR0917 what there is to show
    opened: contextlib.AsyncExitStack,
    settings: Settings,
    server: Server,
    spool: Spool,
    snapshots: SnapshotSource,
    clock: Clock,
    telemetry: Telemetry,
) -> None:
    """Serve metrics until `opened` is closed, if the settings say where.

    Raises:
        ConfigurationError: the port cannot be taken.
    """
    if settings.metrics is None:
        return
    shown = Shown(settings, server, spool, snapshots, clock, telemetry)
    listen, shared = settings.metrics, settings.worker > 0
    endpoint = MetricsEndpoint(
        shown.render, server.identity, listen, clock, telemetry, shared=shared
    )
    await endpoint.start()
    opened.push_async_callback(endpoint.stop)
    server.metrics = endpoint
    noting = asyncio.create_task(shown.forever(), name="metrics")
    opened.callback(noting.cancel)
