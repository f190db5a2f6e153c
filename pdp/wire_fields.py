"""Fields of protobuf messages as bytes, for what is written hundreds of times in one message.

A message is the sequence of its fields, so one that is like the last but for a name is the same
bytes but for those. Here is what is needed to put it together; what the bytes of a field mean, and
that they are what protobuf would have written, is for whoever uses this to say and to test.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from pdp.model import Decision


def varint(number: int) -> bytes:
    """A protobuf base-128 varint. `number` is not negative."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_WIRE_TYPE_LENGTH: Final = 2
# Most lengths there are: looked up faster than written.
_LENGTHS: Final = tuple(map(varint, range(2_048)))
_LENGTHS_MAX: Final = len(_LENGTHS)


def tag(number: int) -> bytes:
    """What stands before a field of text, bytes or a message, by its number."""
    return varint(number << 3 | _WIRE_TYPE_LENGTH)


def length(size: int) -> bytes:
    """The length of a field."""
    return _LENGTHS[size] if size < _LENGTHS_MAX else varint(size)


def text(tagged: bytes, value: str) -> bytes:
    """A text, with the `tag` of its field; nothing if it is empty, as protobuf does.

    Raises:
        UnicodeEncodeError: half a character; no door lets one in.
    """
    if not value:
        return b""
    encoded = value.encode()
    return tagged + length(len(encoded)) + encoded


def said(decision: Decision) -> Hashable:
    """By what two decisions say the same, their own names and explanations aside.

    INVARIANT: whoever keeps something by it keeps the decision beside it: parts of it are
    identities, and an identity that is not held may become another's.
    """
    obligations, advice = decision.obligations, decision.advice
    return (
        id(decision.effect),
        id(decision.cause),
        decision.rules,
        id(decision.bundle),
        id(decision.record),
        decision.schema_violation,
        tuple(map(id, obligations)) if obligations else (),
        tuple(map(id, advice)) if advice else (),
        decision.reason_user,
        decision.reason_admin,
        decision.lease,
    )
