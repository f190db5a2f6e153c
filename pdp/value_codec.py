"""Values <-> `pdp.v1.Value`: the one place where the two meet.

`pdp.wire` translates whole messages with it; bundles and audit records carry
values too, and the office may not import a door. Light on purpose: the client
uses it. Never google.protobuf.Struct, which turns 5 into 5.0.

Nothing here judges size: that is `pdp.boundary`. What is checked is what has
no value at all (no kind, nanos out of range) or no encoding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pdp.errors import InvalidRequestError, member
from pdp.model import BundleRef, Obligation
from pdp.v1 import authorization_pb2 as pb
from pdp.values import (
    DURATION_SECONDS_MAX,
    INT64_MAX,
    INT64_MIN,
    NANOS,
    TIMESTAMP_SECONDS_MAX,
    TIMESTAMP_SECONDS_MIN,
    UINT64_MAX,
    Duration,
    Timestamp,
    Uint,
    Value,
)

# Levels of lists and maps, the map field of the message being the first: more
# than this no protobuf parser would read back (100 levels of messages).
LEVELS_MAX: Final = 33

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def value_to_pb(value: object, path: str = "value") -> pb.Value:
    """Encode one value.

    Besides `Value`, tuples are taken as lists, `datetime` with a zone as a
    timestamp, `timedelta` as a duration. Nothing else is guessed at: a string
    enumeration or a numpy number is refused.

    Raises:
        InvalidRequestError: with the path of what cannot be encoded.
    """
    out = pb.Value()
    try:
        _encode(value, out, 0)
    except InvalidRequestError as error:
        raise error.below(path) from None
    return out


def value_from_pb(message: pb.Value, path: str = "value") -> Value:
    """Decode one value.

    Raises:
        InvalidRequestError: no kind is set, nanos are out of range, or it is
            nested deeper than any message can be that came over the wire.
    """
    try:
        return _decode(message, message.WhichOneof("kind"), 0, LEVELS_MAX, False)  # noqa: FBT003
    except InvalidRequestError as error:
        raise error.below(path) from None


def map_within(entries: Mapping[str, pb.Value], levels_max: int) -> dict[str, Value]:
    """Decode the map field of a message, finite and within depth.

    Raises:
        InvalidRequestError: as `map_from_pb`, without a path.
    """
    return _decode_entries(entries, 0, levels_max, True)  # noqa: FBT003


def value_within(message: pb.Value, levels_max: int) -> Value:
    """Decode a value of properties, finite and within depth.

    Raises:
        InvalidRequestError: as `map_from_pb`, without a path.
    """
    return _decode(message, message.WhichOneof("kind"), 1, levels_max, True)  # noqa: FBT003


def map_to_pb(
    properties: Mapping[str, object], entries: MutableMapping[str, pb.Value], path: str
) -> None:
    """Encode properties into the map field of a message.

    Raises:
        InvalidRequestError: with the path of what cannot be encoded.
    """
    try:
        _encode_entries(properties, entries, 0)
    except InvalidRequestError as error:
        raise error.below(path) from None


def map_from_pb(
    entries: Mapping[str, pb.Value],
    path: str,
    levels_max: int = LEVELS_MAX,
    *,
    finite: bool = False,
) -> dict[str, Value]:
    """Decode the map field of a message.

    Args:
        entries: the field.
        path: of it, for errors.
        levels_max: of lists and maps, the field included.
        finite: take no infinity and no not-a-number.

    Raises:
        InvalidRequestError: as `value_from_pb`.
    """
    try:
        return _decode_entries(entries, 0, levels_max, finite)
    except InvalidRequestError as error:
        raise error.below(path) from None


def obligation_to_pb(obligation: Obligation, out: pb.Obligation) -> None:
    """Encode an obligation into `out`: an answer's, or a record's.

    Raises:
        InvalidRequestError: with the path of what cannot be encoded.
    """
    made = _MADE.get(key := obligation.key)
    if made is None:
        made = pb.Obligation()
        made.id = obligation.id
        made.type = obligation.type
        map_to_pb(obligation.properties, made.properties, "obligation.properties")
        if len(_MADE) >= _MADE_MAX:
            _MADE.clear()
        _MADE[key] = made
    out.CopyFrom(made)


# A bundle has a few, and they are in each answer and each record. INVARIANT: nobody changes them.
_MADE: Final[dict[tuple[str, str, bytes], pb.Obligation]] = {}
_MADE_MAX: Final = 256


@functools.lru_cache(maxsize=8)
def bundle_to_pb(bundle: BundleRef) -> pb.BundleRef:
    """Made once for each bundle. INVARIANT: nobody changes it; answers and records copy it."""
    return pb.BundleRef(revision=bundle.revision, digest=bundle.digest)


def _wrong(reason: str) -> InvalidRequestError:
    """An error without a path: containers put theirs before it on the way out."""
    return InvalidRequestError("", reason)


def _check_depth(depth: int, levels_max: int = LEVELS_MAX) -> None:
    # Also what ends a list that contains itself.
    if depth >= levels_max:
        raise _wrong(f"is nested deeper than {levels_max} levels")


def text_bytes(value: object) -> str:
    """A `str` that has a UTF-8 encoding.

    Raises:
        InvalidRequestError: without a path.
    """
    if type(value) is not str:
        raise _wrong("must be a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _wrong("is not valid Unicode") from None
    return value


def _encode_entries(
    properties: Mapping[str, object], entries: MutableMapping[str, pb.Value], depth: int
) -> None:
    if type(properties) is not dict and not isinstance(properties, Mapping):
        raise _wrong("must be a map")
    _check_depth(depth)
    for key, item in properties.items():
        if type(key) is not str or not key.isascii():
            try:
                text_bytes(key)
            except InvalidRequestError as error:
                raise error.below(" key") from None
        try:
            _encode(item, entries[key], depth + 1)
        except InvalidRequestError as error:
            raise error.below(member(key)) from None


def _encode(value: Any, out: pb.Value, depth: int) -> None:
    kind = type(value)
    if kind is str:
        out.string_value = value if value.isascii() else text_bytes(value)
    elif kind is bool:
        out.bool_value = value
    elif kind is int:
        if not INT64_MIN <= value <= INT64_MAX:
            raise _wrong("is out of the range of int64")
        out.int64_value = value
    elif kind is float:
        if not math.isfinite(value):
            raise _wrong("is not a finite number")
        out.double_value = value
    elif kind is list or kind is tuple:
        _check_depth(depth)
        out.list_value.SetInParent()
        values = out.list_value.values
        for index, item in enumerate(value):
            try:
                _encode(item, values.add(), depth + 1)
            except InvalidRequestError as error:
                raise error.below(f"[{index}]") from None
    elif kind is dict:
        out.map_value.SetInParent()
        _encode_entries(value, out.map_value.entries, depth)
    else:
        _encode_rare(value, out, depth)


def _encode_rare(value: Any, out: pb.Value, depth: int) -> None:
    kind = type(value)
    if value is None:
        out.null_value.SetInParent()
    elif kind is bytes:
        out.bytes_value = value
    elif kind is Uint:
        if not 0 <= value <= UINT64_MAX:
            raise _wrong("is out of the range of uint64")
        out.uint64_value = int(value)
    elif kind is Timestamp:
        _encode_timestamp(value.ns, out)
    elif kind is Duration:
        _encode_duration(value.ns, out)
    elif kind is datetime:
        # A naive datetime means another instant on every machine.
        if value.utcoffset() is None:
            raise _wrong("is a date and time without a zone: add `tzinfo`")
        _encode_timestamp((value - _EPOCH) // _MICROSECOND * 1_000, out)
    elif kind is timedelta:
        _encode_duration(value // _MICROSECOND * 1_000, out)
    elif isinstance(value, Mapping):
        out.map_value.SetInParent()
        _encode_entries(value, out.map_value.entries, depth)
    else:
        raise _wrong(f"is of a kind that is not supported: `{kind.__name__}`")


def _encode_timestamp(ns: int, out: pb.Value) -> None:
    seconds, nanos = divmod(ns, NANOS)
    if not TIMESTAMP_SECONDS_MIN <= seconds <= TIMESTAMP_SECONDS_MAX:
        raise _wrong("is outside the years 1 to 9999")
    moment = out.timestamp_value
    moment.SetInParent()
    moment.seconds = seconds
    moment.nanos = nanos


def _encode_duration(ns: int, out: pb.Value) -> None:
    if abs(ns) > DURATION_SECONDS_MAX * NANOS:
        raise _wrong("is longer than 10,000 years")
    # google.protobuf.Duration: seconds and nanos have the same sign.
    seconds, nanos = divmod(abs(ns), NANOS)
    sign = -1 if ns < 0 else 1
    out.duration_value.SetInParent()
    out.duration_value.seconds = sign * seconds
    out.duration_value.nanos = sign * nanos


# The two loops below look at a value once for its kind and once for itself, and call nothing for
# the kinds there are most of: what they cost is most of what reading a request costs. Not empty,
# a string needs no look for its kind; of a oneof, only what is set is not the default.


def _decode_entries(
    entries: Mapping[str, pb.Value],
    depth: int,
    levels_max: int,
    finite: bool = False,  # noqa: FBT001, FBT002
) -> dict[str, Value]:
    _check_depth(depth, levels_max)
    out: dict[str, Value] = {}
    # A message map's `items()` is written in Python; looking each key up is quicker.
    for key in entries:
        item = entries[key]
        if text := item.string_value:
            out[key] = text
            continue
        kind = item.WhichOneof("kind")
        if kind == "int64_value":
            out[key] = item.int64_value
        elif kind == "bool_value":
            out[key] = item.bool_value
        else:
            try:
                out[key] = _decode(item, kind, depth + 1, levels_max, finite)
            except InvalidRequestError as error:
                raise error.below(member(key)) from None
    return out


def _decode_items(
    items: Iterable[pb.Value],
    depth: int,
    levels_max: int,
    finite: bool,  # noqa: FBT001
) -> list[Value]:
    _check_depth(depth, levels_max)
    out: list[Value] = []
    for item in items:
        if text := item.string_value:
            out.append(text)
            continue
        kind = item.WhichOneof("kind")
        if kind == "int64_value":
            out.append(item.int64_value)
            continue
        try:
            out.append(_decode(item, kind, depth + 1, levels_max, finite))
        except InvalidRequestError as error:
            raise error.below(f"[{len(out)}]") from None
    return out


def _decode(
    message: pb.Value,
    kind: str | None,
    depth: int,
    levels_max: int,
    finite: bool,  # noqa: FBT001
) -> Value:
    if kind == "map_value":
        return _decode_entries(message.map_value.entries, depth, levels_max, finite)
    if kind == "list_value":
        return _decode_items(message.list_value.values, depth, levels_max, finite)
    if kind == "double_value":
        if finite and not math.isfinite(message.double_value):
            raise _wrong("is not a finite number")
        return message.double_value
    if kind == "string_value":
        return message.string_value
    if kind == "int64_value":
        return message.int64_value
    if kind == "bool_value":
        return message.bool_value
    return _decode_rare(message, kind)


def _decode_rare(message: pb.Value, kind: str | None) -> Value:
    if kind == "null_value":
        return None
    if kind == "bytes_value":
        return message.bytes_value
    if kind == "uint64_value":
        return Uint(message.uint64_value)
    if kind == "timestamp_value":
        return _decode_timestamp(message)
    if kind == "duration_value":
        return _decode_duration(message)
    # Also a kind of a newer protocol: what it means is unknown here.
    raise _wrong("has no value of a known kind")


def _decode_timestamp(message: pb.Value) -> Timestamp:
    seconds, nanos = message.timestamp_value.seconds, message.timestamp_value.nanos
    if not 0 <= nanos < NANOS:
        raise _wrong("has nanoseconds outside 0 to 999,999,999")
    if not TIMESTAMP_SECONDS_MIN <= seconds <= TIMESTAMP_SECONDS_MAX:
        raise _wrong("is outside the years 1 to 9999")
    return Timestamp(seconds * NANOS + nanos)


def _decode_duration(message: pb.Value) -> Duration:
    seconds, nanos = message.duration_value.seconds, message.duration_value.nanos
    if not -NANOS < nanos < NANOS:
        raise _wrong("has nanoseconds outside -999,999,999 to 999,999,999")
    if (seconds < 0 < nanos) or (nanos < 0 < seconds):
        raise _wrong("has seconds and nanoseconds of different signs")
    ns = seconds * NANOS + nanos
    if abs(ns) > DURATION_SECONDS_MAX * NANOS:
        raise _wrong("is longer than 10,000 years")
    return Duration(ns)
