"""Spools that are left over when the number of workers changes, at every start."""

from __future__ import annotations

import time

from pdp.audit.disk import RealDisk
from pdp.audit.orphans import close_orphans
from pdp.config.settings import Settings
from pdp.telemetry import Telemetry


def recover_orphans(settings: Settings, telemetry: Telemetry) -> None:
    """Make durable and close what no process of this PDP goes on with. Blocks.

    Raises:
        ConfigurationError: another process has such a spool, or others may look into the folder.
        SpoolError: one cannot be read or written.
    """
    folder, disk = settings.record.folder, RealDisk()
    disk.make_directory(folder)
    alone = settings.workers == 1
    left = close_orphans(
        folder,
        settings.instance,
        {0} if alone else range(1, settings.workers + 1),
        limits=settings.record.limits,
        disk=disk,
        clocks=(time.time_ns, time.monotonic_ns),
    )
    for orphan in left:
        telemetry.log(
            "error" if orphan.problems else "info",
            "spool_recovered",
            folder=str(orphan.folder),
            pdp_id=orphan.pdp_id,
            problems=orphan.problems,
        )
