"""Values from JSON text, strictly: what two readers could read differently is refused.

JSON has one kind of number; we have three. Numbers without `.` and `e` are
int64, as at every door.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from pdp.values import (
    INT64_MAX,
    INT64_MIN,
    Duration,
    Timestamp,
    Value,
    format_duration,
    format_timestamp,
)


class NotJsonError(ValueError):
    """The text is no JSON at all; `position` counts from 0."""

    def __init__(self, message: str, position: int) -> None:
        self.position = position
        super().__init__(f"is not JSON: {message} at character {position + 1}")


def parse(text: str) -> Value:
    """One JSON value.

    Raises:
        NotJsonError: it is not JSON.
        ValueError: a key twice, a number out of range, half a character, too
            deep. The message is a predicate that fits after "the value".
    """
    try:
        value: Value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_int64,
            parse_float=_double,
            parse_constant=_constant,
        )
        _check_unicode(value)
    except json.JSONDecodeError as error:
        raise NotJsonError(error.msg[:1].lower() + error.msg[1:], error.pos) from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return value


def plain(value: object) -> object:
    """A value as JSON can show it, in protobuf's JSON mapping: base64, RFC 3339, `1.5s`."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return format_timestamp(value.ns)
    if isinstance(value, Duration):
        return format_duration(value.ns)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 8259 leaves open which one counts, and so parsers differ: neither does here.
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"has the key `{name}` twice")
        found[name] = value
    return found


def _int64(text: str) -> int:
    # Length first: Python refuses, and is slow at, thousands of digits.
    if len(text) > len(str(INT64_MIN)) or not INT64_MIN <= int(text) <= INT64_MAX:
        raise ValueError(
            f"`{text[:40]}` is out of the range of int64; a double has a `.` or an `e`"
        )
    return int(text)


def _double(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"`{text[:40]}` is out of the range of a double")
    return number


def _constant(text: str) -> float:
    # Python's parser takes `NaN` and its like; JSON has no such numbers.
    raise json.JSONDecodeError(f"`{text}` is no number of JSON", text, 0)


def _check_unicode(value: object) -> None:
    """Refuse half of a surrogate pair, which JSON can escape and no encoding can carry."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
