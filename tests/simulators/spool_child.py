"""A process that only records: `python -m tests.simulators.spool_child FOLDER BOOT [early]`.

Sixty-four workers append permits for as long as the process lives. What is
durable is acknowledged on standard output, one decision id a line. With
`early`, it acknowledges as soon as a record is handed over: the twin.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from pdp.audit.budget import SpoolLimits
from pdp.audit.spool import Spool
from tests.simulators.crashes import decision

IN_FLIGHT = 64


async def _record(spool: Spool, boot: str, *, early: bool) -> None:
    async def worker(number: int) -> None:
        count = 0
        while True:
            count += 1
            entry = decision(0, filler=200)
            entry.decision_id = f"{boot}-{number}-{count}"
            line = f"{entry.decision_id}\n".encode()
            future = spool.append(entry, time.time_ns())
            if early:
                os.write(1, line)
            await future
            if not early:
                # One write of a short line to a pipe: whole or not at all.
                os.write(1, line)

    await asyncio.gather(*(worker(number) for number in range(IN_FLIGHT)))


def main() -> None:
    """Until killed."""
    folder, boot, *flags = sys.argv[1:]
    limits = SpoolLimits(segment_bytes_max=50_000)
    spool = Spool.open(Path(folder), "pdp", limits=limits)
    asyncio.run(_record(spool, boot, early="early" in flags))


if __name__ == "__main__":
    main()
