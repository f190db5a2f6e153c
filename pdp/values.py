"""The values a policy sees, and nothing else.

Plain Python objects stand for CEL values: None, bool, int (int64), `Uint`
(uint64), float, str, bytes, `Timestamp`, `Duration`, list and dict. Law ring:
no clock, no I/O, no protobuf.

Three traps of Python are closed here or named: `True == 1`, `Uint` is an int
to Python, and datetimes lose nanoseconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
UINT64_MAX = 2**64 - 1
NANOS = 1_000_000_000

# Range of google.protobuf.Timestamp, 0001-01-01T00:00:00Z to
# 9999-12-31T23:59:59.999999999Z; CEL takes it over (langdef, "Timestamp").
TIMESTAMP_SECONDS_MIN = -62_135_596_800
TIMESTAMP_SECONDS_MAX = 253_402_300_799
# Duration in CEL is what fits int64 nanoseconds in cel-go and cel-cpp; the
# wire type is wider (google.protobuf.Duration, +-315,576,000,000 s) and the
# specification's tests hold implementations to that range.
DURATION_SECONDS_MAX = 315_576_000_000


class Uint(int):
    """A uint64. A class of its own because CEL never mixes it with int.

    Python's `==`, hash and order are those of int, which is CEL's
    heterogeneous numeric equality.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An instant, in nanoseconds since 1970-01-01T00:00:00Z."""

    ns: int

    def __repr__(self) -> str:
        return f'timestamp("{format_timestamp(self.ns)}")'


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time, in nanoseconds."""

    ns: int

    def __repr__(self) -> str:
        return f'duration("{format_duration(self.ns)}")'


Value: TypeAlias = (
    None
    | bool
    | int
    | Uint
    | float
    | str
    | bytes
    | Timestamp
    | Duration
    | list["Value"]
    | dict[str, "Value"]
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _fraction(nanos: int) -> str:
    """`.nnnnnnnnn` without trailing zeros; empty for a whole second."""
    return f".{nanos:09d}".rstrip("0") if nanos else ""


def format_timestamp(ns: int) -> str:
    """RFC 3339 in UTC with as many fraction digits as needed."""
    seconds, nanos = divmod(ns, NANOS)
    moment = _EPOCH + timedelta(seconds=seconds)
    # strftime("%Y") does not pad years below 1000 on every platform.
    return (
        f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment.hour:02d}"
        f":{moment.minute:02d}:{moment.second:02d}{_fraction(nanos)}Z"
    )


def format_duration(ns: int) -> str:
    """Seconds with an `s`, as protobuf's JSON mapping writes them."""
    seconds, nanos = divmod(abs(ns), NANOS)
    return f"{'-' if ns < 0 else ''}{seconds}{_fraction(nanos)}s"


def canonical(value: Value) -> bytes:
    """Injective encoding: two values get the same bytes only if they are the same.

    Every item carries a type tag and a length, so nesting cannot be confused
    (CVE-2026-46668 was an ambiguous key encoding). `1`, `1u`, `1.0` and
    `true` all differ. Map entries are sorted by encoded key.

    Raises:
        TypeError: the object is not a `Value`.
    """
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def _encode(value: Value, out: list[bytes]) -> None:
    # INVARIANT: bool before int and Uint before int: both are ints to isinstance.
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        out += (b"s%d:" % len(data), data)
    elif value is None:
        out.append(b"N")
    elif isinstance(value, bool):
        out.append(b"T" if value else b"F")
    elif isinstance(value, Uint):
        out.append(b"u%d;" % value)
    elif isinstance(value, int):
        out.append(b"i%d;" % value)
    elif isinstance(value, float):
        out.append(b"d" + struct.pack(">d", value))
    elif isinstance(value, dict):
        _encode_map(value, out)
    elif isinstance(value, list):
        out.append(b"l%d:" % len(value))
        for item in value:
            _encode(item, out)
    elif isinstance(value, bytes):
        out += (b"b%d:" % len(value), value)
    elif isinstance(value, Timestamp):
        out.append(b"t%d;" % value.ns)
    elif isinstance(value, Duration):
        out.append(b"p%d;" % value.ns)
    else:
        message = f"not a value: {type(value).__name__}"
        raise TypeError(message)


def _encode_map(value: dict[str, Value], out: list[bytes]) -> None:
    entries = sorted((canonical(key), item) for key, item in value.items())
    out.append(b"m%d:" % len(entries))
    for key, item in entries:
        out.append(key)
        _encode(item, out)
