"""The one place where the audit log touches the file system.

Narrow on purpose: `tests/simulators/disk.py` implements the same few
operations on a disk that forgets what was not fsynced, and every durability
claim is proved there, on the code that runs in production.

Whatever fails here fails with OSError. Nobody retries an fsync: after a failed
one the kernel may call pages clean that never reached the disk, and the next
fsync would succeed without them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pdp.errors import ConfigurationError

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_OTHERS = 0o077
# What a lock file may say about its holder.
_HOLDER_BYTES_MAX = 32


class AppendFile(Protocol):
    """A file that is only ever appended to, by one thread.

    `write` either takes all bytes or raises; after it raised, any part of them
    may be in the file. When `sync` returns, everything written is on the disk;
    after it raised, nothing is known about what was written since the last one
    that returned, and the file must not be used again. Content only: the
    file's name is durable after `Disk.sync_directory`.
    """

    def write(self, data: bytes) -> None:
        """Append all of it."""

    def sync(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Let go of the file. Durable is only what was synced."""


class ReadFile(Protocol):
    """A regular file, opened for reading. It may grow meanwhile.

    Attributes:
        size: its bytes when it was opened.
    """

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes; fewer only at the end of the file."""


class Lock(Protocol):
    """A lock that the operating system releases when the process dies."""

    def release(self) -> None:
        """Let another process have it."""


class Disk(Protocol):
    """What the audit log needs of a file system."""

    def make_directory(self, path: Path) -> None:
        """Make it, durably, readable by its owner alone; if it exists, insist on that.

        Raises:
            ConfigurationError: others may read or change what is in it.
        """

    def lock(self, path: Path) -> Lock | None:
        """The exclusive lock on this file, made if need be; None if another holds it."""

    def lock_holder(self, path: Path) -> str:
        """What the holder wrote about itself, or empty. For messages only."""

    def names(self, directory: Path) -> list[str]:
        """Names of what is in it, in no order."""

    def same_directory(self, left: Path, right: Path) -> bool:
        """Whether two paths lead to one directory."""

    def create(self, path: Path) -> AppendFile:
        """A new file, mode 0600. It is an error if the name is taken."""

    def open(self, path: Path) -> contextlib.AbstractContextManager[ReadFile]:
        """An existing regular file. A link or a pipe under that name is an error."""

    def settle_file(self, path: Path) -> None:
        """Sync a file that a dead process wrote, and read it from the disk from here on.

        After an fsync that failed, in whatever process, the cache may show
        content that is not on the disk; so the cache is dropped, also when
        this raises.
        """

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target`, at once or not at all; durable after `sync_directory`."""

    def remove(self, path: Path) -> None:
        """Remove a file; durable after `sync_directory`."""


class _RealAppendFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        _sync(self._descriptor)

    def close(self) -> None:
        # What was to be durable was synced, so an error of close changes nothing.
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


class _RealReadFile:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        parts = []
        while length > 0:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


class _RealLock:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


class RealDisk:
    """The operating system's. POSIX; the locks are `flock`, so the directory must be local."""

    def make_directory(self, path: Path) -> None:
        """Mkdir, then fsync of the parent."""
        try:
            path.mkdir(mode=_DIRECTORY_MODE)
        except FileExistsError:
            _insist_private(path)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"`{path.parent}` does not exist: make it, or name another spool directory"
            ) from error
        else:
            self.sync_directory(path.parent)

    def lock(self, path: Path) -> Lock | None:
        """Flock, and our process id for the other's error message."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, _FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        # A full disk may refuse the note; the lock is held all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return _RealLock(descriptor)

    def lock_holder(self, path: Path) -> str:
        """The process id that the holder left, if it reads like one."""
        try:
            with self.open(path) as file:
                text = file.read_at(0, _HOLDER_BYTES_MAX).decode("ascii", "replace").strip()
        except OSError:
            return ""
        return text if text.isdigit() else ""

    def names(self, directory: Path) -> list[str]:
        """Their names, as the system lists them."""
        return [entry.name for entry in directory.iterdir()]

    def same_directory(self, left: Path, right: Path) -> bool:
        """By device and inode, so that links do not deceive."""
        return left.samefile(right)

    def create(self, path: Path) -> AppendFile:
        """Open with O_CREAT, O_EXCL and O_APPEND."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return _RealAppendFile(os.open(path, flags, _FILE_MODE))

    @contextlib.contextmanager
    def open(self, path: Path) -> Iterator[ReadFile]:
        """Open, refusing what is no regular file."""
        descriptor = _open_regular(path)
        try:
            yield _RealReadFile(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def settle_file(self, path: Path) -> None:
        """Fsync, then tell the kernel that the cached pages are not needed.

        Linux drops clean pages then unless someone has them mapped or locked;
        it does not promise to.
        """
        descriptor = _open_regular(path)
        try:
            _sync(descriptor)
        finally:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Fsync of the directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, on one file system."""
        source.rename(target)

    def remove(self, path: Path) -> None:
        """Unlink."""
        path.unlink()


def _insist_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not path.is_dir():
        raise ConfigurationError(f"`{path}` is not a directory: name another one")
    if mode & _OTHERS:
        raise ConfigurationError(
            f"others may look into `{path}` (mode {mode:04o}), and records name people: "
            "`chmod 700` it, or name a directory inside it that pdp then makes itself"
        )


def _open_regular(path: Path) -> int:
    # O_NONBLOCK: a pipe under the name of a segment must not hold the reader.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _sync(descriptor: int) -> None:
    # macOS: fsync hands the data to the drive, and only F_FULLFSYNC makes the drive write it.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(descriptor, full)
    else:
        # Not fdatasync: it saved nothing measurable here (172 against 186 us), and fsync needs no
        # argument about which metadata a later read depends on.
        os.fsync(descriptor)
