"""A disk that keeps only what was synced, and lies in the ways that disks do.

Implements `pdp.audit.disk.Disk` in memory. Content and names become durable
separately. At a power loss, of what was not synced any part may have reached
the disk: a prefix torn at any byte, a size without its content, and (with
`holes`) any sectors of it; names one by one, in any order. Operations can be
made to fail having done nothing, part, or all of their work: "failed but
persisted" is the case that careless recovery gets wrong. After a failed fsync
the pages are clean, so the next fsync succeeds and the data is gone: as Linux
does it.

One seed is one history: nothing here depends on time, threads or hash order.
"""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECTOR = 64  # small, so that a record spans several


class PowerLoss(BaseException):
    """Everything stops here. Not an Exception: nothing may catch it and go on."""


class _Inode:
    """A file's content: as the cache shows it, and as the platter has it."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.stored = bytearray()
        # Ranges of the cache that have not been written back.
        self.dirty: list[tuple[int, int]] = []

    def store(self, start: int, end: int) -> None:
        if len(self.stored) < end:
            self.stored.extend(bytes(end - len(self.stored)))
        self.stored[start:end] = self.cached[start:end]


class _SimulatedAppendFile:
    def __init__(self, disk: SimulatedDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._epoch = disk.epoch

    def write(self, data: bytes) -> None:
        inode = self._inode

        def act(part: float) -> None:
            start = len(inode.cached)
            inode.cached += data[: int(len(data) * part)]
            inode.dirty.append((start, len(inode.cached)))

        self._disk.operate("write", act, self._epoch)

    def sync(self) -> None:
        self._disk.sync_inode(self._inode, self._epoch)

    def close(self) -> None:
        pass


class _SimulatedReadFile:
    def __init__(self, inode: _Inode) -> None:
        self._inode = inode
        self.size = len(inode.cached)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self._inode.cached[offset : offset + length])


class _SimulatedLock:
    def __init__(self, disk: SimulatedDisk, path: Path) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        self._disk.locks.discard(self._path)


class SimulatedDisk:
    """See above.

    Args:
        seed: of everything that is left to chance.
        holes: whether sectors of one file may reach the disk out of order.
    """

    def __init__(self, seed: int, *, holes: bool = False) -> None:
        self.random = random.Random(seed)
        self.holes = holes
        self.epoch = 0
        self.locks: set[Path] = set()
        self.operations = 0
        self.crashes = 0
        self.faults = 0
        self._names: dict[Path, dict[str, _Inode]] = {}
        self._stored_names: dict[Path, dict[str, _Inode]] = {}
        # Changes of names that have not been written back: what to set (or None) in which folder.
        self._pending: list[list[tuple[Path, str, _Inode | None]]] = []
        self._crash_at: int | None = None
        self._fault_rate = 0.0
        self._fault_kinds: frozenset[str] = frozenset()

    # What a test does to it.

    def arm(
        self,
        crash_in: int | None,
        fault_rate: float = 0.0,
        fault_kinds: frozenset[str] = frozenset(),
    ) -> None:
        """Lose power in the `crash_in`th operation from now; let others fail at this rate."""
        self._crash_at = None if crash_in is None else self.operations + crash_in
        self._fault_rate = fault_rate
        self._fault_kinds = fault_kinds

    def lose_power(self) -> None:
        """Forget what was not synced, by chance not all of it. Old handles are dead."""
        self.crashes += 1
        self.kill()
        for folder in self._stored_names.values():
            for inode in folder.values():
                self._write_back_by_chance(inode)
        for change in self._pending:
            if self.random.random() < 0.5:
                self._apply(self._stored_names, change)
            for _, _, created in change:
                if created is not None:
                    self._write_back_by_chance(created)
        self._pending.clear()
        self._names = {path: dict(names) for path, names in self._stored_names.items()}
        for names in self._names.values():
            for inode in names.values():
                inode.cached = bytearray(inode.stored)

    def kill(self) -> None:
        """The process dies, the machine does not: the cache stays, locks and handles go."""
        self.epoch += 1
        self.locks.clear()
        self.arm(None)

    def content(self, path: Path) -> bytearray:
        """A file as readers see it, to be tampered with."""
        return self._names[path.parent][path.name].cached

    def put(self, path: Path, data: bytes) -> None:
        """A durable file."""
        inode = _Inode()
        inode.cached, inode.stored = bytearray(data), bytearray(data)
        for names in (self._names, self._stored_names):
            names.setdefault(path.parent, {})[path.name] = inode

    # pdp.audit.disk.Disk

    def make_directory(self, path: Path) -> None:
        """A durable folder."""

        def act(part: float) -> None:
            if part:
                self._names.setdefault(path, {})
                self._stored_names.setdefault(path, {})

        if path not in self._names:
            self.operate("make_directory", act, self.epoch)

    def lock(self, path: Path) -> _SimulatedLock | None:
        """Until the process dies."""
        if path in self.locks:
            return None
        self.locks.add(path)
        return _SimulatedLock(self, path)

    def lock_holder(self, path: Path) -> str:
        """Nobody says."""
        return ""

    def names(self, directory: Path) -> list[str]:
        """As the cache has them."""
        if directory not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(directory))
        return sorted(self._names[directory])

    def same_directory(self, left: Path, right: Path) -> bool:
        """There are no links."""
        return left == right

    def create(self, path: Path) -> _SimulatedAppendFile:
        """A name that is not durable yet."""
        names = self._names[path.parent]
        if path.name in names:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        inode = _Inode()

        def act(part: float) -> None:
            if part:
                self._change([(path.parent, path.name, inode)])

        self.operate("create", act, self.epoch)
        return _SimulatedAppendFile(self, inode)

    @contextlib.contextmanager
    def open(self, path: Path) -> Iterator[_SimulatedReadFile]:
        """Fails, if it does, when the file is opened."""
        self.operate("open", lambda _part: None, self.epoch)
        yield _SimulatedReadFile(self._inode(path))

    def settle_file(self, path: Path) -> None:
        """An fsync, and an empty cache."""
        inode = self._inode(path)
        try:
            self.sync_inode(inode, self.epoch)
        finally:
            inode.cached = bytearray(inode.stored)

    def sync_directory(self, path: Path) -> None:
        """An fsync of names."""

        def act(part: float) -> None:
            if not part:
                return
            for change in [c for c in self._pending if any(row[0] == path for row in c)]:
                self._apply(self._stored_names, change)
                self._pending.remove(change)

        self.operate("sync_directory", act, self.epoch)

    def rename(self, source: Path, target: Path) -> None:
        """Both names change together."""
        inode = self._inode(source)

        def act(part: float) -> None:
            if part:
                self._change(
                    [(target.parent, target.name, inode), (source.parent, source.name, None)]
                )

        self.operate("rename", act, self.epoch)

    def remove(self, path: Path) -> None:
        """A name less, not durably yet."""
        self._inode(path)

        def act(part: float) -> None:
            if part:
                self._change([(path.parent, path.name, None)])

        self.operate("remove", act, self.epoch)

    # How it works.

    def sync_inode(self, inode: _Inode, epoch: int) -> None:
        """An fsync of one file."""

        def act(part: float) -> None:
            for start, end in inode.dirty:
                inode.store(start, start + int((end - start) * part))
            # Clean now, written or not: nobody is told twice.
            inode.dirty.clear()

        self.operate("sync", act, epoch)

    def operate(self, kind: str, act: Callable[[float], None], epoch: int) -> None:
        """One operation: done, or failed with any part of it done, or the last one."""
        if epoch != self.epoch:
            raise PowerLoss
        self.operations += 1
        if self._crash_at is not None and self.operations >= self._crash_at:
            # Syncs that are cut off have not cleaned anything: the cache is gone anyway.
            if kind not in {"sync", "sync_directory"} or self.random.random() < 0.5:
                act(self._part())
            self.lose_power()
            raise PowerLoss
        if kind in self._fault_kinds and self.random.random() < self._fault_rate:
            self.faults += 1
            act(self._part())
            code = self.random.choice([errno.EIO, errno.ENOSPC])
            raise OSError(code, "Input/output error" if code == errno.EIO else "No space left")
        act(1.0)

    def _part(self) -> float:
        return self.random.choice([0.0, 1.0, self.random.random()])

    def _inode(self, path: Path) -> _Inode:
        try:
            return self._names[path.parent][path.name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path)) from None

    def _change(self, rows: list[tuple[Path, str, _Inode | None]]) -> None:
        self._apply(self._names, rows)
        self._pending.append(rows)

    @staticmethod
    def _apply(
        names: dict[Path, dict[str, _Inode]], rows: list[tuple[Path, str, _Inode | None]]
    ) -> None:
        for folder, name, inode in rows:
            if inode is None:
                names[folder].pop(name, None)
            else:
                names[folder][name] = inode

    def _write_back_by_chance(self, inode: _Inode) -> None:
        """What the kernel happened to write back before the power went."""
        chance = self.random
        for start, end in inode.dirty:
            if self.holes:
                for sector in range(start - start % SECTOR, end, SECTOR):
                    if chance.random() < 0.5:
                        inode.store(max(start, sector), min(end, sector + SECTOR))
                continue
            torn = chance.choice([start, end, chance.randint(start, end)])
            inode.store(start, torn)
            if chance.random() < 0.2:
                # The size got there, the content did not.
                inode.stored.extend(bytes(max(0, chance.randint(torn, end) - len(inode.stored))))
            if torn < end:
                # Append-only files are written back in order: nothing after a torn write.
                break
        inode.dirty.clear()


class ProcessDisk:
    """The disk as one process has it: when the process is dead, its threads do nothing more.

    A real death ends threads; here one may still wait, and would go on to write
    into the life of the next process.
    """

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._epoch = disk.epoch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)

        def alive(*arguments: Any, **named: Any) -> Any:
            if self._disk.epoch != self._epoch:
                raise PowerLoss
            return method(*arguments, **named)

        return alive
