"""The bundle archive: a deterministic tar, written and read strictly.

Same members in, same bytes out. The reader accepts exactly the bytes the
writer makes: after parsing, it writes the members again and compares. So
there is one spelling of every archive, and whatever tar can express beyond
names and contents (links, devices, owners, times, extensions, padding,
trailing bytes) cannot get in. A bundle is signed, and read as if it were not:
a stolen key must not reach the parser's depths.

The format is POSIX ustar (IEEE Std 1003.1, pax, "ustar Interchange Format"),
so that `tar -tf bundle.tar` works. Each header is:

    name 100 · mode 8 · uid 8 · gid 8 · size 12 · mtime 12 · checksum 8 · type 1
    linkname 100 · magic 6 · version 2 · uname 32 · gname 32 · major 8 · minor 8
    prefix 155 · padding 12
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pdp.errors import BundleRefusedError

_BLOCK_BYTES = 512
_NAME_FIELD_BYTES = 100
_PREFIX_FIELD_BYTES = 155
_END = bytes(2 * _BLOCK_BYTES)

# Segments start with a letter, a digit or `_`: no `.`, no `..`, no hidden file, no option (`-x`).
# ASCII only, so that no file system folds or normalises two names into one.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may be at most. Units are in the names.

    Precedents: OPA's default bundle limit is 1 GiB, which is a denial of
    service by default; Kubernetes' etcd objects stop at 1.5 MiB. A policy of
    one rule takes about 3 KiB with its source and its checked AST, two files:
    64 MiB and 24,000 files hold ten thousand, with room for longer ones.
    """

    archive_bytes_max: int = 64 * 1024 * 1024  # the whole file
    members_max: int = 24_000  # files in it
    member_bytes_max: int = 8 * 1024 * 1024  # one file
    name_bytes_max: int = 200  # one path


def write_archive(members: Mapping[str, bytes], limits: ArchiveLimits | None = None) -> bytes:
    """Write an archive: sorted by name, no times, no owners.

    Args:
        members: contents by path.
        limits: what the reader will accept; the default is the PDP's.

    Raises:
        BundleRefusedError: a name or a size that the reader would not accept.
    """
    limits = limits or ArchiveLimits()
    if not members:
        raise BundleRefusedError("the archive is empty")
    if len(members) > limits.members_max:
        raise BundleRefusedError(f"the archive has more than {limits.members_max} files")
    parts: list[bytes] = []
    for name in sorted(members):
        data = members[name]
        _check_name(name, limits)
        if len(data) > limits.member_bytes_max:
            raise BundleRefusedError(
                f"`{name}` is {len(data)} bytes, more than {limits.member_bytes_max}"
            )
        parts += (_header(name, len(data)), data, bytes(-len(data) % _BLOCK_BYTES))
    parts.append(_END)
    archive = b"".join(parts)
    if len(archive) > limits.archive_bytes_max:
        raise BundleRefusedError(
            f"the archive is {len(archive)} bytes, more than {limits.archive_bytes_max}"
        )
    return archive


def read_archive(archive: bytes, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    """Read an archive that `write_archive` made; nothing else passes.

    Returns:
        Contents by path, in the order of the paths.

    Raises:
        BundleRefusedError: too large, damaged, or not the writer's bytes. If
            this function raises anything else, that is a bug.
    """
    limits = limits or ArchiveLimits()
    if len(archive) > limits.archive_bytes_max:
        raise BundleRefusedError(
            f"the archive is {len(archive)} bytes, more than {limits.archive_bytes_max}"
        )
    members: dict[str, bytes] = {}
    offset = 0
    while archive[offset : offset + _BLOCK_BYTES] != _END[:_BLOCK_BYTES]:
        if len(members) >= limits.members_max:
            raise BundleRefusedError(f"the archive has more than {limits.members_max} files")
        name, size = _parse_header(archive[offset : offset + _BLOCK_BYTES], offset)
        _check_name(name, limits)
        # Sorted and unique in one comparison: a second spelling has no place to hide.
        if members and name <= next(reversed(members)):
            raise BundleRefusedError(f"`{name}` is twice in the archive, or out of order")
        offset += _BLOCK_BYTES
        data = archive[offset : offset + size]
        if len(data) != size or size > limits.member_bytes_max:
            raise BundleRefusedError(f"`{name}` is cut short, or over {limits.member_bytes_max}")
        members[name] = data
        offset += size + -size % _BLOCK_BYTES
    # INVARIANT: one spelling. What the loop above did not look at is compared here.
    if write_archive(members, limits) != archive:
        raise BundleRefusedError("the archive is not in the form that `pdp bundle build` writes")
    return members


def _check_name(name: str, limits: ArchiveLimits) -> None:
    if len(name) > limits.name_bytes_max:
        raise BundleRefusedError(
            f"the path `{name[: limits.name_bytes_max]}` is over {limits.name_bytes_max} bytes"
        )
    if _NAME.fullmatch(name) is None:
        raise BundleRefusedError(
            f"the path {name!a} is not allowed: use letters, digits, `.`, `_`, `-` and `/`, "
            "and begin each part with a letter, a digit or `_`"
        )


def _header(name: str, size: int) -> bytes:
    prefix, short = _split(name)
    fields = (
        short.encode().ljust(_NAME_FIELD_BYTES, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0",  # uid
        b"0000000\0",  # gid
        b"%011o\0" % size,
        b"%011o\0" % 0,  # mtime
        b" " * 8,  # the checksum counts itself as blanks
        b"0",  # a regular file: the only type there is
        bytes(100),  # linkname
        b"ustar\x0000",
        bytes(64),  # uname, gname
        b"0000000\0" * 2,  # device numbers
        prefix.encode().ljust(_PREFIX_FIELD_BYTES, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    checksum = b"%06o\0 " % sum(block)
    return block[:148] + checksum + block[156:]


def _split(name: str) -> tuple[str, str]:
    """(prefix, name) as ustar wants long paths: cut at the last slash that makes both fit."""
    if len(name) <= _NAME_FIELD_BYTES:
        return "", name
    cut = name.rfind("/", 0, _PREFIX_FIELD_BYTES + 1)
    prefix, short = name[: max(cut, 0)], name[cut + 1 :]
    if not prefix or len(short) > _NAME_FIELD_BYTES:
        raise BundleRefusedError(f"the path `{name}` has a part that is too long for an archive")
    return prefix, short


def _parse_header(block: bytes, offset: int) -> tuple[str, int]:
    """Name and size, nothing else: the rest is compared against the writer's own bytes."""
    if len(block) != _BLOCK_BYTES or block[257:263] != b"ustar\0":
        raise BundleRefusedError(f"the archive is damaged at byte {offset}")
    if block[156:157] != b"0":
        raise BundleRefusedError(f"the archive has something other than a file at byte {offset}")
    size = block[124:135]
    if re.fullmatch(rb"[0-7]{11}", size) is None:
        raise BundleRefusedError(f"the archive is damaged at byte {offset}: a size is no number")
    prefix = block[345:500].rstrip(b"\0")
    short = block[:_NAME_FIELD_BYTES].rstrip(b"\0")
    name = prefix + b"/" + short if prefix else short
    # Latin-1 maps any byte to a character, so that the check of names sees all of them.
    return name.decode("latin-1"), int(size, 8)
