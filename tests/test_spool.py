"""The spool as its callers see it: batches, bounds, failures, the size budget, starting again."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pdp.audit.archiving import archive
from pdp.audit.budget import Budget, DenialCounts, SpoolLimits, Use
from pdp.audit.disk import AppendFile, Lock, RealDisk
from pdp.audit.findings import Survey
from pdp.audit.journal import Journal
from pdp.audit.log import ENTRY_BYTES_MAX, NO_HASH, Opened
from pdp.audit.problems import Place
from pdp.audit.segment import HEADER_BYTES, SegmentName
from pdp.audit.spool import Spool
from pdp.audit.survey import survey
from pdp.errors import ConfigurationError, SpoolError, SpoolSuppressedError
from pdp.model import RecordRef
from pdp.v1 import audit_pb2
from pdp.v1.authorization_pb2 import CAUSE_CALLER, CAUSE_DEFAULT
from pdp.values import NANOS
from tests.conftest import ROOT
from tests.simulators.crashes import SPOOL, History, decision, waiting
from tests.simulators.disk import SimulatedDisk

EVENT = audit_pb2.SpoolEvent


class GatedDisk(RealDisk):
    """A disk whose fsync waits until it is let through; it remembers who used it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.threads: set[int] = set()
        self.syncs: Counter[str] = Counter()
        self.fail_syncs = 0

    def create(self, path: Path) -> AppendFile:
        """A file with the gate in it."""
        return GatedFile(self, super().create(path), path.name)


class GatedFile:
    """See GatedDisk."""

    def __init__(self, disk: GatedDisk, file: AppendFile, name: str) -> None:
        self._disk = disk
        self._file = file
        self._name = name

    def write(self, data: bytes) -> None:
        """At once."""
        self._disk.threads.add(threading.get_ident())
        self._file.write(data)

    def sync(self) -> None:
        """When the gate is open."""
        disk = self._disk
        disk.syncs[self._name] += 1
        disk.entered.set()
        disk.gate.wait(10)
        if disk.fail_syncs:
            disk.fail_syncs -= 1
            raise OSError(errno.EIO, "Input/output error")
        self._file.sync()

    def close(self) -> None:
        """Let go."""
        self._file.close()


@pytest.fixture
def disk() -> Iterator[GatedDisk]:
    """A gated disk; left open, so that no writer hangs."""
    gated = GatedDisk()
    yield gated
    gated.gate.set()


def read(folder: Path, *heads: RecordRef) -> tuple[Survey, list[Opened]]:
    """What an auditor sees."""
    found: list[Opened] = []

    def visit(_: Place, record: Opened) -> None:
        found.append(record)

    return survey([folder], RealDisk(), heads=heads, visit=visit), found


def events(records: list[Opened]) -> list[int]:
    """Kinds of the spool's own statements."""
    return [record.event.kind for record in records if record.event]


async def append_all(spool: Spool, count: int) -> list[RecordRef | BaseException]:
    """At the same time."""
    futures = [spool.append(decision(number), number) for number in range(count)]
    return await asyncio.gather(*futures, return_exceptions=True)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it, five seconds at most."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")


# Batches.


def test_a_record_is_durable_in_order_and_chained(tmp_path: Path) -> None:
    """What `append` promises: name, number and hash of a record that an auditor finds."""
    spool = Spool.open(tmp_path / "spool", "pdp-1", 3)
    refs = asyncio.run(append_all(spool, 100))
    assert spool.pdp_id == "pdp-1/3/1"
    assert spool.head == refs[-1]
    assert spool.healthy
    assert spool.waiting == 0
    spool.close()
    found, records = read(tmp_path / "spool", *[ref for ref in refs if isinstance(ref, RecordRef)])
    assert found.problems.found == []
    assert [record.ref for record in records[1:]] == refs
    assert [record.message.decision.decision_id for record in records[1:]] == [
        f"decision-{number}" for number in range(100)
    ]
    assert [record.time_ns for record in records[1:]] == list(range(100))
    assert events(records) == [EVENT.KIND_BOOT]


def test_records_of_one_turn_share_one_fsync(tmp_path: Path) -> None:
    """On a disk that is quick, what is decided in a row is made durable together all the same."""
    spool = Spool.open(tmp_path / "spool", "pdp")

    async def in_a_row() -> list[RecordRef]:
        return await asyncio.gather(*(spool.append(decision(number), 0) for number in range(300)))

    refs = asyncio.run(in_a_row())
    assert [ref.seq for ref in refs] == list(range(refs[0].seq, refs[0].seq + 300))
    assert spool.figures.records == 300
    # The writer wakes with the first, and may be quicker than the rest is handed over.
    assert spool.figures.batches <= 3
    spool.close()


def test_closing_writes_what_is_gathered(tmp_path: Path) -> None:
    """Records of the turn in which the spool is closed are written and answered for, too."""
    spool = Spool.open(tmp_path / "spool", "pdp")

    async def close_in_the_same_turn() -> list[RecordRef]:
        futures = [spool.append(decision(number), 0) for number in range(100)]
        assert len(spool._gathered) == 100
        spool.close()
        return await asyncio.gather(*futures)

    refs = asyncio.run(close_in_the_same_turn())
    _, records = read(tmp_path / "spool")
    assert [record.ref for record in records[1:]] == refs


def test_records_that_wait_share_one_fsync(tmp_path: Path, disk: GatedDisk) -> None:
    """While one fsync runs, two hundred records collect; one more fsync takes them all."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)

    async def story() -> None:
        disk.gate.clear()
        disk.entered.clear()
        first = spool.append(decision(0), 0)
        await asyncio.to_thread(disk.entered.wait, 10)
        rest = [spool.append(decision(number), 0) for number in range(1, 201)]
        assert spool.waiting == 201
        await asyncio.sleep(0)
        disk.gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(story())
    assert spool.figures.batches == 2
    assert spool.figures.records == 201
    spool.close()


def test_a_batch_is_bounded(
    tmp_path: Path, disk: GatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By records and by bytes, so that the first of many does not wait for all of them."""
    monkeypatch.setattr("pdp.audit.spool._BATCH_RECORDS_MAX", 50)
    monkeypatch.setattr("pdp.audit.spool._BATCH_BYTES_MAX", 10_000)
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)

    async def story(filler: int) -> int:
        disk.gate.clear()
        disk.entered.clear()
        before = spool.figures.batches
        first = spool.append(decision(0), 0)
        await asyncio.to_thread(disk.entered.wait, 10)
        rest = [spool.append(decision(number, filler=filler), 0) for number in range(1, 101)]
        await asyncio.sleep(0)
        disk.gate.set()
        await asyncio.gather(first, *rest)
        return spool.figures.batches - before

    assert asyncio.run(story(0)) == 3
    assert asyncio.run(story(5_000)) == 51
    spool.close()


def test_a_slow_disk_does_not_hold_the_event_loop(tmp_path: Path, disk: GatedDisk) -> None:
    """While an fsync hangs the loop runs; a caller that gives up loses nothing but its answer."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)

    async def story() -> None:
        disk.gate.clear()
        future = spool.append(decision(1), 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.05)
        assert future.cancelled()
        disk.gate.set()
        assert (await spool.append(decision(2), 0)).seq == 3

    asyncio.run(story())
    spool.close()
    _, records = read(tmp_path / "spool")
    assert [record.message.decision.decision_id for record in records[1:]] == [
        "decision-1",
        "decision-2",
    ]


def test_only_the_writer_touches_the_disk(tmp_path: Path, disk: GatedDisk) -> None:
    """Neither `append` nor the resolution of futures writes on the event loop's thread."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)
    disk.threads.clear()
    asyncio.run(append_all(spool, 50))
    spool.close()
    assert len(disk.threads) == 1
    assert threading.get_ident() not in disk.threads


def test_one_spool_serves_one_loop_after_the_other(tmp_path: Path, disk: GatedDisk) -> None:
    """Futures belong to the loop that asked; one that is closed meanwhile harms nobody."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)
    disk.gate.clear()

    async def abandon() -> None:
        spool.append(decision(1), 0)

    asyncio.run(abandon())
    disk.gate.set()
    (ref,) = asyncio.run(append_all(spool, 1))
    assert isinstance(ref, RecordRef)
    assert ref.seq == 3
    spool.close()


# Bounds.


@pytest.mark.parametrize(
    "limits", [SpoolLimits(queue_records_max=10), SpoolLimits(queue_bytes_max=10 * 65)]
)
def test_a_full_queue_fails_at_once(tmp_path: Path, disk: GatedDisk, limits: SpoolLimits) -> None:
    """The eleventh record does not wait: its future has failed when `append` returns."""
    assert len(decision(1).SerializeToString()) == 65
    spool = Spool.open(tmp_path / "spool", "pdp", limits=limits, disk=disk)

    async def story() -> None:
        disk.gate.clear()
        taken = [spool.append(decision(1), 0) for _ in range(10)]
        refused = spool.append(decision(1), 0)
        assert refused.done()
        with pytest.raises(SpoolError, match="more records wait"):
            await refused
        disk.gate.set()
        await asyncio.gather(*taken)
        await spool.append(decision(1), 0)

    asyncio.run(story())
    spool.close()


def test_a_full_queue_twin_without_guard(
    tmp_path: Path, disk: GatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the bound everything queues up behind a disk that hangs."""
    limits = SpoolLimits(queue_records_max=10)
    spool = Spool.open(tmp_path / "spool", "pdp", limits=limits, disk=disk)
    monkeypatch.setattr(spool, "_limits", SpoolLimits(queue_records_max=10**9))

    async def story() -> None:
        disk.gate.clear()
        futures = [spool.append(decision(1), 0) for _ in range(100)]
        assert not any(future.done() for future in futures)
        disk.gate.set()
        await asyncio.gather(*futures)

    asyncio.run(story())
    spool.close()


def test_a_record_that_no_log_would_take_is_refused(tmp_path: Path) -> None:
    """One byte too many is an error at once; the largest that is allowed is written."""
    spool = Spool.open(tmp_path / "spool", "p" * 128, 2**32 - 1)

    async def story() -> None:
        fits = audit_pb2.DecisionRecord(request=bytes(ENTRY_BYTES_MAX - 4))
        await spool.append(fits, 0)
        with pytest.raises(SpoolError, match=f"{ENTRY_BYTES_MAX} are allowed"):
            await spool.append(audit_pb2.DecisionRecord(request=bytes(ENTRY_BYTES_MAX - 3)), 0)

    asyncio.run(story())
    spool.close()
    assert read(tmp_path / "spool")[0].problems.found == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_bytes_max": 0},
        {"queue_records_max": 0},
        {"queue_bytes_max": -1},
        {"callers_max": 0},
        {"count_interval_s": 0.0},
        {"reopen_first_s": float("nan")},
        {"directory_bytes_max": 16 * 1024 * 1024},
    ],
)
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """A limit of nothing, or a budget that archiving could not free, is a configuration error."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        SpoolLimits(**wrong)  # type: ignore[arg-type]


# Failures.


def test_a_failed_fsync_fails_its_batch_and_is_never_retried(
    tmp_path: Path, disk: GatedDisk
) -> None:
    """The segment is not touched again; the next record is in a new one that says why."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp", disk=disk)

    async def story() -> tuple[RecordRef, RecordRef]:
        before = await spool.append(decision(1), 0)
        disk.fail_syncs = 1
        with pytest.raises(SpoolError, match="Input/output error"):
            await spool.append(decision(2), 0)
        after = await spool.append(decision(3), 0)
        return before, after

    before, after = asyncio.run(story())
    poisoned = str(SegmentName(1, 1))
    size = (folder / poisoned).stat().st_size
    assert disk.syncs[poisoned] == 3
    assert spool.failures == 1
    spool.close()
    assert (folder / poisoned).stat().st_size == size
    found, records = read(folder, before, after)
    assert found.problems.found == []
    ids = [record.message.decision.decision_id for record in records if record.body == "decision"]
    assert ids == ["decision-1", "decision-3"]
    statement = next(
        record.event for record in records if events([record]) == [EVENT.KIND_POISONED]
    )
    assert statement is not None
    assert statement.segment == poisoned
    assert statement.offset + statement.bytes == size
    assert (before.seq, after.seq) == (2, 4)


def test_a_disk_that_stays_broken_denies_and_is_tried_less_and_less(
    tmp_path: Path, disk: GatedDisk
) -> None:
    """No segment can be opened: errors at once, unhealthy, back-off, then recovery."""
    folder = tmp_path / "spool"
    limits = SpoolLimits(reopen_first_s=0.01, reopen_longest_s=0.04)
    spool = Spool.open(folder, "pdp", limits=limits, disk=disk)

    async def story() -> None:
        await spool.append(decision(1), 0)
        disk.fail_syncs = 10**6
        for number in range(20):
            with pytest.raises(SpoolError):
                await spool.append(decision(number), 0)
        assert not spool.healthy
        attempts = sum(disk.syncs.values())
        await asyncio.sleep(0.5)
        tried = sum(disk.syncs.values()) - attempts
        assert 3 <= tried <= 40
        disk.fail_syncs = 0
        await until(lambda: spool.healthy)
        assert (await spool.append(decision(99), 0)).seq == 4

    asyncio.run(story())
    spool.close()
    found, _ = read(folder)
    assert found.problems.found == []
    # What could not be opened was removed again.
    assert len(found.segments) == 2


def test_a_bug_in_the_writer_fails_everything_and_hangs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever waits fails, whatever comes fails, health says so: it falls shut."""
    spool = Spool.open(tmp_path / "spool", "pdp")

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Journal, "commit", broken)

    async def story() -> None:
        with pytest.raises(SpoolError):
            await asyncio.wait_for(spool.append(decision(1), 0), 5)
        await until(lambda: not spool.healthy)
        with pytest.raises(SpoolError):
            await asyncio.wait_for(spool.append(decision(2), 0), 5)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(story())
    assert "no permit leaves any more" in caplog.text
    spool.close()


# Ending and starting.


def test_close_writes_what_waits_and_refuses_what_comes(tmp_path: Path, disk: GatedDisk) -> None:
    """Records handed over before `close` are durable when it returns; later ones are errors."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)

    async def story() -> list[RecordRef | BaseException]:
        disk.gate.clear()
        futures = [spool.append(decision(number), 0) for number in range(20)]
        closing = asyncio.create_task(asyncio.to_thread(spool.close))
        await asyncio.sleep(0.01)
        disk.gate.set()
        await closing
        assert not spool.healthy
        with pytest.raises(SpoolError, match="closed"):
            await spool.append(decision(99), 0)
        return await asyncio.gather(*futures, return_exceptions=True)

    refs = asyncio.run(story())
    assert all(isinstance(ref, RecordRef) for ref in refs)
    spool.close()
    assert [record.ref for record in read(tmp_path / "spool")[1][1:]] == refs


def test_close_gives_up_on_a_disk_that_hangs(tmp_path: Path, disk: GatedDisk) -> None:
    """The process can end; the error says what was not written."""
    spool = Spool.open(tmp_path / "spool", "pdp", disk=disk)

    async def story() -> None:
        disk.gate.clear()
        spool.append(decision(1), 0)
        with pytest.raises(SpoolError, match="did not take the last records"):
            await asyncio.to_thread(spool.close, 0.05)
        disk.gate.set()

    asyncio.run(story())
    spool.close()


def test_each_start_is_a_boot_that_goes_on_from_the_last(tmp_path: Path) -> None:
    """Boots count up, seq begins at 1 with a boot record, hashes link across."""
    folder = tmp_path / "spool"
    for boot in (1, 2, 3):
        spool = Spool.open(folder, "pdp")
        assert spool.pdp_id == f"pdp/0/{boot}"
        asyncio.run(append_all(spool, 2))
        spool.close()
    found, records = read(folder)
    assert found.problems.found == []
    assert [record.ref.seq for record in records] == [1, 2, 3] * 3
    assert records[0].prev_hash == NO_HASH
    assert all(b.prev_hash == a.ref.hash for a, b in itertools.pairwise(records))
    boots = [record.event for record in records if record.ref.seq == 1]
    assert all(event and event.kind == EVENT.KIND_BOOT for event in boots)


def test_a_boot_that_was_archived_keeps_its_number(tmp_path: Path) -> None:
    """Even if somebody took away what archiving had left; and that this is missing, is missed."""
    folder, shelf = tmp_path / "spool", tmp_path / "archive"
    for _ in range(3):
        Spool.open(folder, "pdp").close()
    archive(folder, shelf, RealDisk())
    (folder / str(SegmentName(3, 1))).unlink()
    spool = Spool.open(folder, "pdp")
    assert spool.pdp_id == "pdp/0/3"
    spool.close()
    assert survey([folder, shelf], RealDisk()).problems.found


def test_an_index_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """What was archived must not be called removed because of a read error."""
    folder, shelf = tmp_path / "spool", tmp_path / "archive"
    for _ in range(2):
        Spool.open(folder, "pdp").close()
    archive(folder, shelf, RealDisk())
    index = folder / "archived"
    index.rename(folder / "elsewhere")
    index.mkdir()
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool.open(folder, "pdp")
    index.rmdir()
    (folder / "elsewhere").rename(index)
    Spool.open(folder, "pdp").close()
    assert survey([folder], RealDisk()).problems.found == []


def test_two_processes_never_share_a_spool(tmp_path: Path) -> None:
    """The second is told who has it; it has it when the first has let go."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp")
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        Spool.open(folder, "pdp")
    program = "import sys\nfrom pathlib import Path\nfrom pdp.audit.spool import Spool\n"
    program += "Spool.open(Path(sys.argv[1]), 'pdp')"
    other = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert other.returncode
    assert "give each PDP a spool directory of its own" in other.stderr
    spool.close()
    Spool.open(folder, "pdp").close()


class NoLock:
    """Anybody may come in."""

    def release(self) -> None:
        """Nothing was held."""


def test_two_processes_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock two writers make a log that does not hold."""

    def lock(_: RealDisk, __: Path) -> Lock:
        return NoLock()

    monkeypatch.setattr(RealDisk, "lock", lock)
    folder = tmp_path / "spool"
    first = Spool.open(folder, "pdp")
    second = Spool.open(folder, "pdp")
    asyncio.run(append_all(first, 2))
    asyncio.run(append_all(second, 2))
    first.close()
    second.close()
    assert read(folder)[0].problems.count


def test_nobody_else_may_look_into_a_spool(tmp_path: Path) -> None:
    """Folder 0700 and files 0600 whatever the umask; a folder open to others is refused."""
    folder = tmp_path / "spool"
    before = os.umask(0)
    try:
        Spool.open(folder, "pdp").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    folder.chmod(0o750)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        Spool.open(folder, "pdp")


def test_nobody_else_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check a spool that everybody reads is written."""
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o755)
    monkeypatch.setattr("pdp.audit.disk._OTHERS", 0)
    Spool.open(folder, "pdp").close()
    assert list(folder.glob("*.seg"))


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        (lambda folder: None, "does not exist: make it"),
        (lambda folder: folder.parent.write_text("x"), "cannot be opened: Not a directory"),
        (
            lambda folder: (folder.parent.mkdir(), folder.write_text("x")),
            "is not a directory: name another",
        ),
    ],
)
def test_a_folder_that_cannot_be_a_spool_is_a_clear_error(
    tmp_path: Path, prepare: Callable[[Path], object], match: str
) -> None:
    """A parent that is missing, a parent that is a file, a file in its place."""
    folder = tmp_path / "parent" / "spool"
    prepare(folder)
    with pytest.raises((ConfigurationError, SpoolError), match=match):
        Spool.open(folder, "pdp")


def test_a_torn_last_record_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    """Cut inside the last record: the next boot names place and bytes, and touches none of them."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp")
    refs = asyncio.run(append_all(spool, 3))
    spool.close()
    segment = folder / str(SegmentName(1, 1))
    cut = segment.read_bytes()[:-20]
    segment.write_bytes(cut)
    Spool.open(folder, "pdp").close()
    assert segment.read_bytes() == cut
    found, records = read(folder)
    assert found.problems.found == []
    assert [record.ref for record in records[1:3]] == refs[:2]
    assert events(records) == [EVENT.KIND_BOOT, EVENT.KIND_BOOT, EVENT.KIND_TORN_TAIL]
    torn = records[-1].event
    assert torn is not None
    assert torn.segment == segment.name
    assert torn.offset + torn.bytes == len(cut)
    assert isinstance(refs[1], RecordRef)
    assert torn.last_head.endswith(refs[1].hash.hex())
    # Once stated it is explained: the next boot has nothing to say about it.
    Spool.open(folder, "pdp").close()
    assert events(read(folder)[1])[3:] == [EVENT.KIND_BOOT]


def test_damage_is_kept_named_and_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed byte: an alarm in the log, a statement in the next boot, the bytes as they are."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp")
    asyncio.run(append_all(spool, 3))
    spool.close()
    segment = folder / str(SegmentName(1, 1))
    data = bytearray(segment.read_bytes())
    data[HEADER_BYTES + 200] ^= 1
    segment.write_bytes(data)
    with caplog.at_level(logging.ERROR):
        spool = Spool.open(folder, "pdp")
    assert "the spool is damaged" in caplog.text
    (ref,) = asyncio.run(append_all(spool, 1))
    assert isinstance(ref, RecordRef)
    spool.close()
    assert segment.read_bytes() == data
    found, records = read(folder, ref)
    assert EVENT.KIND_DAMAGE in events(records)
    # It stays a finding: a statement does not explain damage away.
    assert [str(problem.kind) for problem in found.problems.found] == ["changed"]
    assert found.anchor == ref


def test_a_link_or_pipe_in_place_of_a_segment_is_a_finding(tmp_path: Path) -> None:
    """Neither is followed or waited for."""
    folder = tmp_path / "spool"
    Spool.open(folder, "pdp").close()
    (folder / str(SegmentName(1, 2))).symlink_to("/dev/zero")
    os.mkfifo(folder / str(SegmentName(1, 3)))
    found, _ = read(folder)
    assert [str(problem.kind) for problem in found.problems.found] == ["segment", "segment"]
    with pytest.raises(SpoolError, match="cannot read the end of the spool"):
        Spool.open(folder, "pdp")


# The size budget.

TIGHT = SpoolLimits(directory_bytes_max=65_536, segment_bytes_max=4_096, callers_max=3)


def denial(
    number: int, caller: str = "web", cause: int = CAUSE_DEFAULT
) -> audit_pb2.DecisionRecord:
    """A small denial."""
    entry = decision(number, permit=False)
    entry.caller.spiffe_id = f"spiffe://demo.example.org/{caller}"
    entry.cause = cause  # type: ignore[assignment]
    return entry


async def flood(spool: Spool, entry: audit_pb2.DecisionRecord, count: int) -> Counter[str]:
    """What became of them."""
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        try:
            await spool.append(entry, time.time_ns())
            outcomes["recorded"] += 1
        except SpoolSuppressedError:
            outcomes["counted"] += 1
        except SpoolError:
            outcomes["refused"] += 1
    return outcomes


def counted(records: list[Opened]) -> Counter[tuple[str, int]]:
    """Sum of all counts in a log."""
    total: Counter[tuple[str, int]] = Counter()
    for record in records:
        for row in record.message.suppressed_denials.counts:
            total[row.spiffe_id, row.cause] += row.count
    return total


def test_denials_use_half_and_are_then_counted(tmp_path: Path) -> None:
    """A flood of denials leaves half of the spool to permits, and a count for each caller."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp", limits=TIGHT)

    async def story() -> tuple[Counter[str], Counter[str], Counter[str]]:
        first = await flood(spool, denial(1), 400)
        second = await flood(spool, denial(2, "batch", CAUSE_CALLER), 30)
        assert spool.healthy
        permits = await flood(spool, decision(3), 100)
        return first, second, permits

    first, second, permits = asyncio.run(story())
    assert first["refused"] == second["refused"] == second["recorded"] == 0
    assert first["counted"]
    assert permits == {"recorded": 100}
    assert spool.figures.suppressed == first["counted"] + 30
    spool.close()
    found, records = read(folder)
    assert found.problems.found == []
    recorded = [r for r in records if r.message.decision.cause == CAUSE_DEFAULT]
    assert len(recorded) == first["recorded"]
    assert TIGHT.directory_bytes_max // 2 * 0.85 < sum(s.denial_bytes for s in found.segments)
    assert sum(s.denial_bytes for s in found.segments) <= TIGHT.directory_bytes_max // 2
    assert counted(records) == {
        ("spiffe://demo.example.org/web", CAUSE_DEFAULT): first["counted"],
        ("spiffe://demo.example.org/batch", CAUSE_CALLER): 30,
    }


def test_denials_half_twin_without_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the share, denials fill the spool and permits are refused."""
    admits = Budget.admits

    def equal(self: Budget, use: Use, size: int) -> bool:
        return admits(self, Use.PERMIT if use is Use.DENIAL else use, size)

    monkeypatch.setattr(Budget, "admits", equal)
    spool = Spool.open(tmp_path / "spool", "pdp", limits=TIGHT)

    async def story() -> Counter[str]:
        await flood(spool, denial(1), 800)
        return await flood(spool, decision(3), 10)

    assert asyncio.run(story()) == {"refused": 10}
    spool.close()


def test_a_full_spool_refuses_permits_until_it_is_archived(tmp_path: Path) -> None:
    """Errors that say what to do, unhealthy; after `archive` it notices by itself, and goes on."""
    folder, shelf = tmp_path / "spool", tmp_path / "archive"
    spool = Spool.open(folder, "pdp", limits=TIGHT)

    async def story() -> None:
        outcomes = await flood(spool, decision(1), 800)
        assert outcomes["recorded"]
        assert outcomes["refused"]
        assert not spool.healthy
        with pytest.raises(SpoolError, match="`pdp audit archive` makes room"):
            await spool.append(decision(1), 0)
        # A denial is not refused for that: it is counted.
        assert await flood(spool, denial(2), 1) == {"counted": 1}
        archive(folder, shelf, RealDisk())
        await until(lambda: spool.healthy)
        assert await flood(spool, decision(1), 50) == {"recorded": 50}
        assert await flood(spool, denial(2), 5) == {"recorded": 5}

    asyncio.run(story())
    head = spool.head
    spool.close()
    size = sum(path.stat().st_size for path in folder.glob("*.seg"))
    assert size < TIGHT.directory_bytes_max
    assert head is not None
    assert survey([folder, shelf], RealDisk(), heads=[head]).problems.found == []


def test_the_budget_remembers_what_is_there_at_the_next_start(tmp_path: Path) -> None:
    """A restart gives denials no second half."""
    folder = tmp_path / "spool"
    spool = Spool.open(folder, "pdp", limits=TIGHT)
    asyncio.run(flood(spool, denial(1), 400))
    spool.close()
    spool = Spool.open(folder, "pdp", limits=TIGHT)
    # What small records take is estimated while running, and known at a start.
    outcomes = asyncio.run(flood(spool, denial(1), 200))
    assert outcomes["recorded"] < 40
    assert outcomes["counted"] > 160
    spool.close()
    assert counted(read(folder)[1])["spiffe://demo.example.org/web", CAUSE_DEFAULT] > 160


def test_counts_are_written_at_intervals_within_a_reserve() -> None:
    """Once a minute, from a reserve that nothing else may use; kept in memory beyond it."""
    history = History(SimulatedDisk(0))
    journal = history.open(TIGHT)
    entry = denial(1)
    floods = 0
    for _ in range(3_000):
        journal.commit([waiting(1)._replace(entry=entry, body=entry.SerializeToString())] * 5)
        floods += 5
        journal.commit([waiting(2)])
        journal.tick()
        history.now_ns += 6 * NANOS
    assert journal.figures.refused
    found, _ = history.look()
    reserve = TIGHT.directory_bytes_max // 16
    used = sum(segment.count_bytes for segment in found.segments)
    assert reserve * 0.8 < used <= reserve
    assert found.size <= TIGHT.directory_bytes_max
    journal.close()
    records: list[Opened] = []
    survey([SPOOL], history.disk, visit=lambda _, record: records.append(record))
    recorded = sum(1 for r in records if r.message.decision.effect == entry.effect)
    assert sum(counted(records).values()) + recorded == floods


def test_counts_of_a_failed_write_are_kept() -> None:
    """Denials are counted once: in the next record, if the first could not be written."""
    history = History(SimulatedDisk(0))
    journal = history.open(TIGHT)
    entry = denial(1)
    item = waiting(1)._replace(entry=entry, body=entry.SerializeToString())
    for _ in range(400):
        journal.commit([item])
    suppressed = journal.figures.suppressed
    assert suppressed
    history.now_ns += 61 * NANOS
    history.disk.arm(None, 1.0, frozenset({"sync"}))
    journal.tick()
    history.disk.arm(None)
    history.now_ns += 61 * NANOS
    journal.tick()
    journal.tick()
    records: list[Opened] = []
    found = survey([SPOOL], history.disk, visit=lambda _, record: records.append(record))
    assert found.problems.found == []
    assert sum(counted(records).values()) == suppressed


def test_counting_takes_bounded_memory() -> None:
    """Callers beyond the limit share one row without a name; long names are cut."""
    counts = DenialCounts(callers_max=3)
    for number in range(1_000):
        counts.add(denial(1, f"caller-{number}"), number)
    counts.add(denial(1, "x" * 100_000), 0)
    rows = counts.message(ENTRY_BYTES_MAX).counts
    assert len(rows) == 4
    assert {row.spiffe_id: row.count for row in rows}[""] == 998
    assert counts.total() == 1_001
    # What does not fit into one record is left for the next.
    part = counts.message(120)
    assert 0 < len(part.counts) < 4
    counts.forget(part)
    counts.forget(counts.message(ENTRY_BYTES_MAX))
    assert not counts
