"""Segment files: names, headers, frames, and reading them as hostile input.

Pure: reads through a function it is given. The layout is described for people
in docs/audit.md.

    segment  = header frame*
    header   = "PDPSPOOL" version:u16 zero:u16 boot:u32 number:u32 crc32:u32
    frame    = length:u16 record crc32(length record):u32            (big-endian)

The CRC is what tells a torn write from a damaged record without a successor;
against a person who changes records it does nothing, that is the hash chain's
part.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pdp.audit.log import RECORD_BYTES_MAX, RECORD_MARKER, UINT32_MAX

SEGMENT_VERSION = 1
_MAGIC = b"PDPSPOOL"
_HEADER = struct.Struct(">8sHHII")
_LENGTH = struct.Struct(">H")
_CRC = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CRC.size
FRAME_OVERHEAD = _LENGTH.size + _CRC.size
_FRAME_BYTES_MAX = RECORD_BYTES_MAX + FRAME_OVERHEAD

# Ten digits hold every uint32, so names sort as numbers do.
_NAME = re.compile(r"(?P<boot>[0-9]{10})-(?P<number>[0-9]{10})\.seg", re.ASCII)

_WINDOW_BYTES = 1024 * 1024
# Work that looking for the next record behind damage may cost in one segment. Without a bound, a
# file of nothing but markers would cost a CRC over 64 KiB at each.
_RESUME_TRIES_MAX = 1_000_000
_RESUME_CRC_BYTES_MAX = 1024 * 1024 * 1024

# (offset, length) -> at most that many bytes; fewer only at the end of the file.
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """`boot-number.seg`. Sorted by name is sorted by age."""

    boot: int
    number: int

    def __str__(self) -> str:
        return f"{self.boot:010d}-{self.number:010d}.seg"

    @classmethod
    def parse(cls, text: str) -> SegmentName | None:
        """The parts, or None: another file lies in the folder."""
        found = _NAME.fullmatch(text)
        if not found:
            return None
        boot, number = int(found["boot"]), int(found["number"])
        if not (1 <= boot <= UINT32_MAX and 1 <= number <= UINT32_MAX):
            return None
        return cls(boot, number)


def encode_header(name: SegmentName) -> bytes:
    """The first bytes of a segment: they tie its content to its name."""
    head = _HEADER.pack(_MAGIC, SEGMENT_VERSION, 0, name.boot, name.number)
    return head + _CRC.pack(zlib.crc32(head))


@dataclass(frozen=True, slots=True)
class HeaderFinding:
    """What the header says.

    Attributes:
        problem: what is wrong, or empty.
        torn: the file ends, or turns to zeros, inside its header: it never
            held a record.
    """

    problem: str = ""
    torn: bool = False


def read_header(read: ReadAt, size: int, name: SegmentName) -> HeaderFinding:
    """Hold a header to the name of its file."""
    expected = encode_header(name)
    found = read(0, HEADER_BYTES)
    if found == expected:
        return HeaderFinding()
    written = found.rstrip(b"\x00")
    if expected.startswith(written) and _zero_from(read, len(written), size):
        return HeaderFinding(torn=True)
    if len(found) == HEADER_BYTES and found[: len(_MAGIC)] == _MAGIC:
        _, version, _, boot, number = _HEADER.unpack_from(found)
        if _CRC.unpack_from(found, _HEADER.size)[0] == zlib.crc32(found[: _HEADER.size]):
            if version != SEGMENT_VERSION:
                return HeaderFinding(f"format version {version}, expected {SEGMENT_VERSION}")
            return HeaderFinding(f"it was written as segment `{boot:010d}-{number:010d}.seg`")
    return HeaderFinding("its header is damaged")


def encode_frame(record: bytes) -> bytes:
    """A record as it stands in a segment. `record` has 1 to RECORD_BYTES_MAX bytes."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, record, _CRC.pack(zlib.crc32(record, zlib.crc32(length)))))


@dataclass(slots=True)
class Frame:
    """An intact frame."""

    offset: int
    record: bytes

    @property
    def end(self) -> int:
        """Offset of the byte behind it."""
        return self.offset + len(self.record) + FRAME_OVERHEAD


@dataclass(slots=True)
class Gap:
    """Bytes without an intact frame.

    Attributes:
        offset: of the first of them.
        length: how many.
        at_end: nothing intact follows.
        torn: at the end, and incomplete: the file ends inside the frame, or
            the rest of the frame is zeros (the size of a file may reach the
            disk before its content). A complete frame with a wrong CRC is not
            torn but damaged.
    """

    offset: int
    length: int
    at_end: bool = False
    torn: bool = False


class _Window:
    """A view of a file through a buffer, for reading mostly forward."""

    def __init__(self, read: ReadAt, size: int) -> None:
        self._read = read
        self._base = 0
        self._data = b""
        self.size = size

    def at(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`, cut at the size the file had when it was opened."""
        data, start = self.covering(offset, length)
        return data[start : start + min(length, self.size - offset)]

    def covering(self, offset: int, length: int) -> tuple[bytes, int]:
        """A buffer and where in it `offset` is; it has `length` bytes from there if the file has.

        It never reaches behind `size`.
        """
        start = offset - self._base
        data = self._data
        if start < 0 or start + length > len(data):
            missing = self._base + len(data) < self.size
            if start < 0 or missing:
                self._base, start = offset, 0
                self._data = data = self._read(offset, min(_WINDOW_BYTES, self.size - offset))
        return data, start

    def find(self, needle: bytes, offset: int) -> int:
        """Where `needle` stands next, or -1."""
        while offset < self.size:
            self.at(offset, min(_FRAME_BYTES_MAX, self.size - offset))
            found = self._data.find(needle, offset - self._base)
            if found >= 0:
                return self._base + found
            end = self._base + len(self._data)
            if end >= self.size or not self._data:
                break
            # The needle may lie across the edge.
            offset = max(offset + 1, end - len(needle) + 1)
        return -1


def frames(read: ReadAt, size: int, start: int = HEADER_BYTES) -> Iterator[Frame | Gap]:
    """Everything behind the header, in order, without a byte left out.

    Args:
        read: reads the file.
        size: what of the file is looked at, in bytes.
        start: where to begin: at a frame, or at doubtful bytes.

    Yields:
        Frames, and the gaps between them. Never raises because of content.
    """
    window = _Window(read, size)
    budget = _ResumeBudget()
    offset = min(start, size)
    while offset < size:
        frame = _frame_at(window, offset)
        if frame is not None:
            yield frame
            offset = frame.end
            continue
        resume = _resume(window, offset, budget)
        if resume < 0:
            yield Gap(offset, size - offset, at_end=True, torn=_is_torn(window, offset, budget))
            return
        yield Gap(offset, resume - offset)
        offset = resume


def _frame_at(window: _Window, offset: int) -> Frame | None:
    data, start = window.covering(offset, _FRAME_BYTES_MAX)
    if start + _LENGTH.size > len(data):
        return None
    length = data[start] << 8 | data[start + 1]
    end = start + _LENGTH.size + length
    if length == 0 or end + _CRC.size > len(data):
        return None
    # One pass over length and record gives what `encode_frame` computes in two.
    if zlib.crc32(data[start:end]) != int.from_bytes(data[end : end + _CRC.size]):
        return None
    return Frame(offset, data[start + _LENGTH.size : end])


class _ResumeBudget:
    """How much may still be spent on looking for records behind damage."""

    def __init__(self) -> None:
        self.tries = _RESUME_TRIES_MAX
        self.crc_bytes = _RESUME_CRC_BYTES_MAX

    @property
    def spent(self) -> bool:
        return self.tries <= 0 or self.crc_bytes <= 0


def _resume(window: _Window, offset: int, budget: _ResumeBudget) -> int:
    """Where the next intact frame begins behind `offset`, or -1."""
    head = window.at(offset, _LENGTH.size)
    if len(head) == _LENGTH.size:
        # Most damage spares the length. Looking there first also keeps a damaged record's content,
        # which a caller chose, from being read as records.
        follower: int = offset + _LENGTH.unpack(head)[0] + FRAME_OVERHEAD
        if follower < window.size and _frame_at(window, follower) is not None:
            return follower
    place = offset + 1
    while not budget.spent:
        found = window.find(RECORD_MARKER, place + _LENGTH.size)
        if found < 0:
            return -1
        place = found - _LENGTH.size
        budget.tries -= 1
        length = _LENGTH.unpack(window.at(place, _LENGTH.size))[0]
        if place + length + FRAME_OVERHEAD <= window.size:
            budget.crc_bytes -= length
            if _frame_at(window, place) is not None:
                return place
        place += 1
    return -1


def _is_torn(window: _Window, offset: int, budget: _ResumeBudget) -> bool:
    if budget.spent:
        # Not every place was looked at: something intact may follow.
        return False
    head = window.at(offset, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return True
    end = offset + _LENGTH.unpack(head)[0] + FRAME_OVERHEAD
    if end > window.size:
        return True
    # The frame is as long as it should be. It is torn if it turns to zeros somewhere before its
    # end: within the checksum, what stands before the zeros is the beginning of the right one.
    data = window.at(offset, end - offset)
    written = data[-_CRC.size :].rstrip(b"\x00")
    right = _CRC.pack(zlib.crc32(data[: -_CRC.size]))
    zeros = end - _CRC.size + len(written)
    return right.startswith(written) and _zero_from(window.at, zeros, window.size)


def _zero_from(read: ReadAt, offset: int, size: int) -> bool:
    while offset < size:
        chunk = read(offset, min(_WINDOW_BYTES, size - offset))
        if not chunk:
            return True
        if chunk.count(0) != len(chunk):
            return False
        offset += len(chunk)
    return True
