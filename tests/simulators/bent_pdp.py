"""`pdp serve` on a clock that steps and a disk whose fsync is slow, and with guards taken out.

    python -m tests.simulators.bent_pdp CONFIG CONTROLS [FLAG...]

No setting of `pdp serve` moves the clock or slows the disk, so this is an
entry point of its own: the same process, given another clock and another disk.
How far they are off is read from the file CONTROLS each time, so that a test
changes it while calls are made. Flags are for twins:

    --never-stale   freshness is not judged
    --not-waiting   a record counts as durable when it is handed over
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from unittest.mock import patch

import uvloop

from pdp.audit.disk import AppendFile, RealDisk
from pdp.audit.spool import Spool
from pdp.bundle import BundleKeeper
from pdp.config import load_settings
from pdp.config.settings import Address, Settings
from pdp.decision_point import Clock
from pdp.model import RecordRef
from pdp.server import process
from pdp.server.listener import DurableRecorder
from pdp.snapshot import Snapshot
from pdp.telemetry import Telemetry
from pdp.v1 import audit_pb2
from pdp.values import NANOS


class Controls:
    """What is bent at this moment. The file is replaced by renaming, so it is always whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def shift_ns(self) -> int:
        """How far the clock is ahead."""
        return round(self._read()["shift_s"] * NANOS)

    def sync_s(self) -> float:
        """How much longer an fsync takes."""
        return self._read()["sync_s"]

    def write(self, shift_s: float = 0.0, sync_s: float = 0.0) -> None:
        """For the test: from now on it is so."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps({"shift_s": shift_s, "sync_s": sync_s}))
        beside.replace(self._path)

    def _read(self) -> dict[str, float]:
        found: dict[str, float] = json.loads(self._path.read_text())
        return found


class SteppedClock:
    """The machine's clocks; the wall clock is off by what the controls say."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def wall_ns(self) -> int:
        """The wall clock."""
        return time.time_ns() + self._controls.shift_ns()

    def monotonic(self) -> float:
        """The clock of deadlines, which no step moves."""
        return time.monotonic()


class _SlowFile:
    def __init__(self, file: AppendFile, controls: Controls) -> None:
        self._file = file
        self._controls = controls
        self.write = file.write
        self.close = file.close

    def sync(self) -> None:
        time.sleep(self._controls.sync_s())
        self._file.sync()


class SlowDisk(RealDisk):
    """The real disk, slow to make content durable."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def create(self, path: Path) -> AppendFile:
        """A new file."""
        return _SlowFile(super().create(path), self._controls)


class NotWaiting:
    """The real recorder, believed before it has done anything: what a twin runs with."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    @property
    def healthy(self) -> bool:
        """Always."""
        return True

    def append(self, entry: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """Hand over, and say that it is done."""
        self._spool.append(entry, time_ns)
        done: asyncio.Future[RecordRef] = asyncio.get_running_loop().create_future()
        done.set_result(RecordRef(self._spool.pdp_id, 1, bytes(32)))
        return done


def _never_stale(snapshot: Snapshot, clock_ns: int, tenant: str = "") -> bool:
    return False


def main() -> None:
    """Serve until a signal."""
    config, controls_path, *flags = sys.argv[1:]
    controls = Controls(Path(controls_path))
    settings, clock = load_settings(Path(config)), SteppedClock(controls)

    def open_spool(settings: Settings, clock: Clock, _: Telemetry) -> Spool:
        record = settings.record
        return Spool.open(
            record.folder,
            settings.instance,
            limits=record.limits,
            clock_ns=clock.wall_ns,
            disk=SlowDisk(controls),
        )

    def recorder(spool: Spool) -> DurableRecorder:
        return NotWaiting(spool) if "--not-waiting" in flags else spool

    def listening(address: Address) -> None:
        sys.stdout.write(json.dumps({"event": "listening", "port": address.port}) + "\n")
        sys.stdout.flush()

    if "--never-stale" in flags:
        patch.object(Snapshot, "is_stale", _never_stale).start()
    keeper = BundleKeeper(settings.bundle, settings.limits.evaluation, clock.wall_ns)
    telemetry = Telemetry(sys.stderr, clock.wall_ns, settings.log_level)
    with patch.object(process, "_open_spool", open_spool):
        uvloop.run(
            process.serve(settings, keeper, clock, telemetry, listening, recorder_of=recorder)
        )
    telemetry.close()


if __name__ == "__main__":
    main()
