"""`base64.encode` and `base64.decode`: the standard alphabet of RFC 4648, section 4.

Decoding is strict where cel-cpp is not: no blanks, no line breaks, padding
whole or left out.
"""

from __future__ import annotations

import base64
import re

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.rows import Function, Library, words
from pdp.cel.values import CelError, Datum, no_overload

_SHAPE = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)


def encode(data: Datum, meter: Meter) -> str:
    """`base64.encode(bytes)`."""
    if type(data) is not bytes:
        raise no_overload("base64.encode", data)
    charge(meter, len(data) // COPIED_PER_UNIT)
    return base64.b64encode(data).decode("ascii")


def decode(text: Datum, meter: Meter) -> bytes:
    """`base64.decode(string)`, with its padding or without."""
    if type(text) is not str:
        raise no_overload("base64.decode", text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    bare = text.rstrip("=")
    padding = -len(bare) % 4
    if (
        _SHAPE.fullmatch(text) is None
        or padding == 3  # noqa: PLR2004 - one digit alone is less than a byte
        or (len(text) > len(bare) and len(text) - len(bare) != padding)
    ):
        message = "a text that is not base64"
        raise CelError(message)
    return base64.b64decode(bare + "=" * padding)


LIBRARY = Library(
    name="encoders",
    functions=(
        Function(
            "base64.encode", words("base64_encode_bytes"), 1, encode, metered=True, result=str
        ),
        Function(
            "base64.decode", words("base64_decode_string"), 1, decode, metered=True, result=bytes
        ),
    ),
    extension="encoders",
)
