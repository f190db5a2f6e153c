"""No permit that was answered for is missing after any crash: the proofs.

On a simulated disk, which keeps only what was synced and fails in every way it
can; on the real one, by `kill -9` of a process that records, and of the whole
PDP with clients that wait for it; and on a real disk that is full. Each proof
has twins that take one precaution away and show that it would notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdp.audit import appender, archiving, journal
from pdp.audit.archiving import archive
from pdp.audit.budget import SpoolLimits
from pdp.audit.disk import RealDisk
from pdp.audit.journal import Journal
from pdp.audit.log import Opened
from pdp.audit.problems import Place
from pdp.audit.spool import Spool
from pdp.audit.survey import survey
from pdp.errors import SpoolError
from pdp.model import RecordRef
from pdp_client import AsyncClient, Resource, Subject
from tests.conftest import ROOT, Ledger
from tests.simulators.crashes import (
    FAULT_KINDS,
    SPOOL,
    History,
    decision,
    run_history,
    waiting,
)
from tests.simulators.disk import PowerLoss, ProcessDisk, SimulatedDisk
from tests.test_process import House, Process, house

__all__ = ["house"]

ARCHIVE = Path("/archive")
SEED = 20_261_123


# The simulated disk.


def campaign(first_seed: int, crashes: int, *, holes: bool = False) -> dict[str, int]:
    """Histories until this many power losses; all of them must keep the law."""
    figures = {"histories": 0, "crashes": 0, "acknowledged": 0, "faults": 0}
    seed = first_seed
    while figures["crashes"] < crashes:
        history = run_history(seed, holes=holes)
        assert history.broken == [], f"seed {seed}, holes={holes}"
        figures["histories"] += 1
        figures["crashes"] += history.disk.crashes
        figures["acknowledged"] += len(history.acknowledged)
        figures["faults"] += history.disk.faults
        seed += 1
    return figures


def test_no_crash_point_loses_an_acknowledged_record(ledger: Ledger) -> None:
    """A thousand power losses at any operation: nothing acknowledged is lost, the log verifies."""
    figures = campaign(SEED, 1_000)
    assert figures["acknowledged"] > 1_000
    assert figures["faults"] > 100
    ledger(seed=SEED, **figures)


def test_no_crash_point_loses_a_record_when_sectors_land_out_of_order(ledger: Ledger) -> None:
    """The same with un-synced sectors in any order: they may be named as damage, and no others."""
    ledger(seed=SEED, **campaign(SEED, 200, holes=True))


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_no_crash_point_loses_an_acknowledged_record_at_length(ledger: Ledger) -> None:
    """The same, fifty times as long."""
    ledger(seed=SEED, **campaign(SEED + 1_000_000, 50_000))
    ledger(seed=SEED, holes=True, **campaign(SEED + 2_000_000, 20_000, holes=True))


def is_broken(how: str, histories: int, disk: Callable[[int], SimulatedDisk] | None = None) -> bool:
    """Whether the law is broken in this way in one of so many histories."""
    return any(
        how in text
        for seed in range(SEED, SEED + histories)
        for text in run_history(seed, disk=disk(seed) if disk else None).broken
    )


class NoFileSync(SimulatedDisk):
    """A spool that never calls fsync on a file could as well run on this one."""

    def sync_inode(self, inode: object, epoch: int) -> None:
        """Forgotten."""


class NoDirectorySync(SimulatedDisk):
    """The same, for folders."""

    def sync_directory(self, path: Path) -> None:
        """Forgotten."""


class RetriedSync(SimulatedDisk):
    """A spool that tries a failed fsync again could as well run on this one."""

    def operate(self, kind: str, act: Callable[[float], None], epoch: int) -> None:
        """Once more after a failure."""
        try:
            super().operate(kind, act, epoch)
        except OSError:
            if kind != "sync":
                raise
            super().operate(kind, act, epoch)


@pytest.mark.parametrize("disk", [NoFileSync, NoDirectorySync, RetriedSync])
def test_crash_points_twin_without_guard(disk: type[SimulatedDisk]) -> None:
    """Without fsync of files, or of folders, or with a failed one retried, records are lost."""
    assert is_broken("acknowledged records are missing", 150, disk)


def test_crash_points_twin_without_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A boot that goes on from what only the cache has is left hanging in the air."""
    monkeypatch.setattr(journal, "_settle", lambda *_: None)
    assert is_broken("removed", 1_000)


def test_crash_points_twin_without_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write that is not stated looks like forgery."""

    class Silent(list[object]):
        def append(self, _item: object) -> None:
            pass

    init = appender.Appender.__init__

    def forgetful(self: appender.Appender, *args: object, **keys: object) -> None:
        init(self, *args, **keys)  # type: ignore[arg-type]
        self._failed = Silent()  # type: ignore[assignment]

    monkeypatch.setattr(appender.Appender, "__init__", forgetful)
    assert is_broken("verification", 150)


def test_crash_points_twin_without_removals_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that was removed, and replaced before that was durable, comes back beside it."""

    def carry_on(self: appender.Appender) -> None:
        self._removal_pending = False

    monkeypatch.setattr(appender.Appender, "_settle_removals", carry_on)

    class Reluctant(SimulatedDisk):
        """Removals reach the disk last."""

        def lose_power(self) -> None:
            self._pending = [c for c in self._pending if all(inode for *_, inode in c)]
            super().lose_power()

    assert is_broken("another record has its number", 1_000, Reluctant)


def archive_history(seed: int) -> list[str]:
    """One spool that is filled, archived, killed in between; how the law was broken."""
    chance = random.Random(f"archive {seed}")
    history = History(SimulatedDisk(seed))
    disk = history.disk
    limits = SpoolLimits(directory_bytes_max=65_536, segment_bytes_max=400)
    fault_rate = chance.choice([0.0, 0.1])
    for _ in range(3):
        try:
            writer = history.open(limits)
            for number in range(chance.randint(1, 10)):
                results = writer.commit([waiting(number), waiting(number + 100)])
                history.acknowledged += [ref for ref in results if isinstance(ref, RecordRef)]
            # The PDP may be running; the archive has no need to know.
            disk.arm(chance.randint(1, 60), fault_rate, FAULT_KINDS)
            archive(SPOOL, ARCHIVE, disk)
            results = writer.commit([waiting(7)])
            history.acknowledged += [ref for ref in results if isinstance(ref, RecordRef)]
        except PowerLoss:
            continue
        except (OSError, SpoolError):
            disk.kill()
        if chance.random() < 0.5:
            disk.lose_power()
        else:
            disk.kill()
    disk.arm(None)
    history.open(limits).close()
    broken = judge_archive(history)
    try:
        archive(SPOOL, ARCHIVE, disk)
    except SpoolError as error:
        broken.append(f"archiving again: {error}")
    disk.lose_power()
    return broken + judge_archive(history)


def judge_archive(history: History) -> list[str]:
    """The log as a whole, and what is left in the spool by itself."""
    broken = []
    seen: set[RecordRef] = set()
    folders = [SPOOL, ARCHIVE]
    whole = survey(folders, history.disk, visit=lambda _, record: seen.add(record.ref))
    missing = set(history.acknowledged) - seen
    if missing:
        broken.append(f"{len(missing)} acknowledged records are missing")
    broken += [f"archive and spool: {problem}" for problem in whole.problems.found]
    alone = survey([SPOOL], history.disk)
    broken += [f"spool alone: {problem}" for problem in alone.problems.found]
    if not alone.records:
        broken.append("nothing was left in the spool")
    return broken


def test_no_crash_point_of_archiving_loses_a_record(ledger: Ledger) -> None:
    """Killed or without power at any operation: every record is in one of the two, unbroken."""
    # These two once found the index without the record that the spool went on from: a segment that
    # is not removed yet when the next run comes, and an index that could not be read.
    for seed in [20_263_055, 20_264_842, *range(SEED, SEED + 150)]:
        assert archive_history(seed) == [], seed
    ledger(seed=SEED, histories=152)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_no_crash_point_of_archiving_loses_a_record_at_length(ledger: Ledger) -> None:
    """The same, fifty times as long."""
    for seed in range(SEED, SEED + 7_500):
        assert archive_history(seed) == [], seed
    ledger(seed=SEED, histories=7_500)


def test_archive_crash_points_twin_without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is not synced before the original is removed is lost with the power."""

    def careless(
        partial: Path, disk: SimulatedDisk, fill: Callable[[object], None], target: Path
    ) -> None:
        file = disk.create(target) if target.name not in disk.names(target.parent) else None
        if file is not None:
            fill(file.write)

    monkeypatch.setattr(archiving, "_replace", careless)
    assert any(
        "acknowledged records are missing" in text
        for seed in range(SEED, SEED + 40)
        for text in archive_history(seed)
    )


# The spool with its thread, on the simulated disk.


@pytest.fixture
def quiet_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer thread that loses power dies without a word, as it would."""

    def hook(args: threading.ExceptHookArgs) -> None:
        assert args.exc_type is PowerLoss, args

    monkeypatch.setattr(threading, "excepthook", hook)


async def live_until_power_is_lost(
    spool: Spool, disk: SimulatedDisk, chance: random.Random
) -> list[RecordRef]:
    """Many tasks record until nothing is answered any more; what was acknowledged."""
    acknowledged: list[RecordRef] = []

    async def worker(number: int) -> None:
        for count in range(20):
            try:
                acknowledged.append(await spool.append(decision(number * 100 + count), 1))
            except SpoolError:
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                await asyncio.sleep(0)

    epoch = disk.epoch
    tasks = [asyncio.create_task(worker(number)) for number in range(8)]
    pending = set(tasks)
    while pending and disk.epoch == epoch:
        _, pending = await asyncio.wait(pending, timeout=0.01)
    # What was on its way from the writer to the loop when the power went may still arrive.
    await asyncio.sleep(0)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return acknowledged


@pytest.mark.usefixtures("quiet_threads")
def test_no_crash_point_under_the_writer_thread_loses_a_record(ledger: Ledger) -> None:
    """The same law with queue, thread, futures and group commit in between."""
    limits = SpoolLimits(directory_bytes_max=65_536 * 8, segment_bytes_max=2_000)
    total = 0
    for seed in range(SEED, SEED + 60):
        chance = random.Random(seed)
        history = History(SimulatedDisk(seed))
        for _ in range(2):
            history.disk.arm(
                chance.randint(6, 60), chance.choice([0.0, 0.1]), FAULT_KINDS - {"open"}
            )
            try:
                disk = ProcessDisk(history.disk)
                spool = Spool.open(SPOOL, "pdp", limits=limits, disk=disk)
            except (PowerLoss, SpoolError):
                history.disk.kill()
                continue
            history.acknowledged += asyncio.run(
                live_until_power_is_lost(spool, history.disk, chance)
            )
            history.disk.lose_power()
            # Its thread may wait, and would die of what it meets in the middle of another test.
            spool._queue.put(None)
            spool._thread.join(10)
        history.disk.arm(None)
        history.open(limits).close()
        found, seen = history.look()
        assert set(history.acknowledged) <= set(seen), seed
        assert found.problems.found == [], seed
        total += len(history.acknowledged)
    assert total > 500
    ledger(seed=SEED, histories=60, acknowledged=total)


# The real disk, and kill -9.


def ids_in(folder: Path) -> set[str]:
    """Decision ids in the log, which must verify."""
    found: set[str] = set()

    def visit(_: Place, record: Opened) -> None:
        if record.body == "decision":
            found.add(record.message.decision.decision_id)

    result = survey([folder], RealDisk(), visit=visit)
    assert result.problems.found == []
    return found


def killed_child(folder: Path, boot: int, lines: int, *flags: str) -> list[str]:
    """Run the recording process, kill -9 it after that many lines; all it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulators.spool_child", str(folder), str(boot), *flags],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().strip() for line in told if line.endswith(b"\n")]


def kill_children(folder: Path, kills: int, lines: int, *flags: str) -> tuple[set[str], set[str]]:
    """What was acknowledged, and what of it is not in the recovered spool."""
    chance = random.Random(SEED)
    acknowledged: set[str] = set()
    for boot in range(kills):
        acknowledged.update(killed_child(folder, boot, lines + chance.randint(0, 64), *flags))
    Spool.open(folder, "pdp").close()
    return acknowledged, acknowledged - ids_in(folder)


def test_kill_9_of_a_recording_process_loses_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """Three deaths with 64 records in flight: what was acknowledged is there."""
    acknowledged, missing = kill_children(tmp_path / "spool", 3, 150)
    assert missing == set()
    assert len(acknowledged) >= 450
    ledger(seed=SEED, kills=3, acknowledged=len(acknowledged))


def test_kill_9_twin_without_waiting(tmp_path: Path) -> None:
    """Acknowledged before it is durable, a record can be gone."""
    _, missing = kill_children(tmp_path / "spool", 3, 150, "early")
    assert missing


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_kill_9_of_a_recording_process_loses_nothing_at_length(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Twenty deaths, ten thousand records, 64 in flight."""
    acknowledged, missing = kill_children(tmp_path / "spool", 20, 500)
    assert missing == set()
    assert len(acknowledged) >= 10_000
    ledger(seed=SEED, kills=20, acknowledged=len(acknowledged))


async def ask_until_killed(
    folder: Path, server: Process, calls: int, in_flight: int
) -> list[RecordRef]:
    """Permits that clients received from a PDP that is killed after that many answers."""
    permits: list[RecordRef] = []
    answers = 0
    killed = False
    async with AsyncClient(
        f"localhost:{server.port}",
        trust_bundle=folder / "trust.pem",
        certificate=folder / "pep.pem",
        key=folder / "pep.key",
    ) as client:

        async def worker() -> None:
            nonlocal answers, killed
            while not killed:
                answer = await client.authorize(
                    Subject("user", "alice"), "read", Resource("document", "1"), timeout=5.0
                )
                answers += 1
                if answer:
                    assert answer.record is not None
                    permits.append(answer.record)
                if answers >= calls and not killed:
                    killed = True
                    server.process.send_signal(signal.SIGKILL)

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    server.process.wait()
    return permits


def kill_servers(house: House, kills: int, calls: int) -> tuple[int, list[str]]:
    """Permits that were received, and what is wrong with the spool that is left."""
    chance = random.Random(SEED)
    permits: list[RecordRef] = []
    house.pep.write(house.folder, "pep")
    for _ in range(kills):
        server = house.start()
        each = calls // kills + chance.randint(1, 64)
        permits += asyncio.run(ask_until_killed(house.folder, server, each, 64))
    folder = house.folder / "spool"
    Spool.open(folder, "pdp-1").close()
    seen: set[RecordRef] = set()
    found = survey([folder], RealDisk(), heads=permits, visit=lambda _, r: seen.add(r.ref))
    wrong = [str(problem) for problem in found.problems.found]
    wrong += [f"missing: {ref}" for ref in permits if ref not in seen]
    return len(permits), wrong


def test_kill_9_loses_no_permit_that_a_client_received(house: House, ledger: Ledger) -> None:
    """Real clients, a real PDP, 64 calls in flight, two deaths, some 500 calls."""
    permits, wrong = kill_servers(house, 2, 500)
    assert wrong == []
    assert permits >= 450
    ledger(seed=SEED, kills=2, permits=permits)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_kill_9_loses_no_permit_that_a_client_received_at_length(
    house: House, ledger: Ledger
) -> None:
    """Real clients, a real PDP, 64 calls in flight, twenty deaths, ten thousand calls."""
    permits, wrong = kill_servers(house, 20, 10_000)
    assert wrong == []
    assert permits >= 9_500
    ledger(seed=SEED, kills=20, permits=permits)


# The real disk, full.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    place = tmp_path / "small"
    place.mkdir(mode=0o700)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("mounting a small file system needs root: the limit of a process is tested")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def fill(spool: Spool, count: int) -> tuple[list[RecordRef], list[SpoolError]]:
    """Append one after the other."""
    kept: list[RecordRef] = []
    refused: list[SpoolError] = []
    for number in range(count):
        try:
            kept.append(await spool.append(decision(number, filler=8_000), time.time_ns()))
        except SpoolError as error:
            refused.append(error)
    return kept, refused


def test_a_full_disk_refuses_permits_loses_nothing_and_recovers(small_disk: Path) -> None:
    """A mebibyte fills up: errors to act on, then room, then records again, and one log."""
    folder = small_disk / "spool"
    limits = SpoolLimits(segment_bytes_max=100_000, reopen_first_s=0.01, reopen_longest_s=0.05)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    spool = Spool.open(folder, "pdp", limits=limits)

    async def story() -> list[RecordRef]:
        kept, refused = await fill(spool, 200)
        assert kept
        assert refused
        assert not spool.healthy
        assert any("No space left on device" in str(error) for error in refused)
        ballast.unlink()
        for _ in range(200):
            if spool.healthy:
                break
            await asyncio.sleep(0.02)
        again, refused = await fill(spool, 5)
        assert len(again) == 5
        assert refused == []
        return kept + again

    kept = asyncio.run(story())
    spool.close()
    Spool.open(folder, "pdp", limits=limits).close()
    seen: set[RecordRef] = set()
    found = survey([folder], RealDisk(), heads=kept, visit=lambda _, r: seen.add(r.ref))
    assert found.problems.found == []
    assert set(kept) <= seen
    # Failed attempts to open a segment leave nothing behind.
    assert len(found.segments) < 20


def fill_up(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as ballast:
        for size in (4_096, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(size))


def test_a_full_disk_at_start_is_an_error_to_act_on(small_disk: Path) -> None:
    """Nothing starts, nothing is left but an empty folder, and the words say what to do."""
    folder = small_disk / "spool"
    folder.mkdir(mode=0o700)
    (folder / "lock").touch(0o600)
    fill_up(small_disk / "ballast")
    with pytest.raises(SpoolError, match=r"No space left on device: free some space"):
        Spool.open(folder, "pdp")
    assert [path.name for path in folder.glob("*.seg")] == []
    (small_disk / "ballast").unlink()
    Spool.open(folder, "pdp").close()


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from pdp.audit.budget import SpoolLimits
from pdp.audit.spool import Spool
from tests.test_durability import fill
limits = SpoolLimits(segment_bytes_max=100_000, reopen_first_s=0.01, reopen_longest_s=0.05)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
spool = Spool.open(Path(sys.argv[1]), "pdp", limits=limits)
kept, refused = asyncio.run(fill(spool, 40))
spool.close()
print(len(kept), len(refused))
"""


def test_a_file_that_may_not_grow_poisons_its_segment_and_nothing_else(tmp_path: Path) -> None:
    """A write that is cut short (RLIMIT_FSIZE) fails its batch; the next segment goes on."""
    folder = tmp_path / "spool"

    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, refused = map(int, done.stdout.split())
    assert kept > 30
    assert refused > 2
    assert kept + refused == 40
    found = survey([folder], RealDisk())
    assert found.problems.found == []
    assert found.notes
    assert all("never answered for" in note for note in found.notes)


def test_the_journal_of_a_crash_needs_no_thread(tmp_path: Path) -> None:
    """The code that the simulation runs is the code that runs on the real disk."""
    clocks = (time.time_ns, time.monotonic_ns)
    opened = Journal.open(
        tmp_path / "spool", "pdp", 0, limits=SpoolLimits(), disk=RealDisk(), clocks=clocks
    )
    (ref,) = opened.commit([waiting(1)])
    opened.close()
    assert isinstance(ref, RecordRef)
    assert ids_in(tmp_path / "spool") == {"decision-1"}
