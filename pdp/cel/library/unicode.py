"""Texts that people write: normal form C, and comparing without case.

`caseFold` is Unicode's canonical caseless matching (definition D145): two texts
match without regard to case if it makes one and the same of them. Mapping ASCII
letters alone is not enough: it leaves `É` and `é` apart, and the two ways to write
`é` too, so a name on a deny list would be walked around by its accents.

Pinned to Unicode 14.0, the oldest that a supported Python has: a later one may
give a meaning to code points that had none, and one bundle must decide alike on
every Python. Such a code point is an error. What Unicode has assigned keeps its
normal form and its folding for ever (Unicode Character Encoding Stability
Policies), so on all others every version agrees.
"""

from __future__ import annotations

import bisect
import unicodedata

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.signatures import define, make_library
from pdp.cel.library.unicode_unassigned import BOUNDS
from pdp.cel.values import CelError, Datum, no_overload

# Sorting combining marks takes time by the square of how many stand together:
# 1,024 take 2 ms, 100,000 would take 20 s.
_CODE_POINTS_MAX = 1_024
_SQUARE_PER_UNIT = 256


def _begin(name: str, text: Datum, meter: Meter) -> bool:
    """Charge; whether the text is ASCII, which is normal as it is."""
    if type(text) is not str:
        raise no_overload(name, text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    if text.isascii():
        return True
    if len(text) > _CODE_POINTS_MAX:
        message = f"a text with other letters than ASCII, longer than {_CODE_POINTS_MAX}"
        raise CelError(message)
    charge(meter, len(text) + len(text) * len(text) // _SQUARE_PER_UNIT)
    # In the order of the text: an explanation, too, is the same in every process.
    for character in dict.fromkeys(text):
        # An odd number of bounds below: inside a range that is not assigned.
        if bisect.bisect_right(BOUNDS, ord(character)) % 2:
            message = f"U+{ord(character):04X}, which Unicode 14.0 does not assign"
            raise CelError(message)
    return False


def normalize_nfc(text: Datum, meter: Meter) -> str:
    """`text.normalizeNFC()`."""
    if _begin("normalizeNFC", text, meter):
        return str(text)
    return unicodedata.normalize("NFC", text)


def case_fold(text: Datum, meter: Meter) -> str:
    """`text.caseFold()`, in normal form C."""
    if _begin("caseFold", text, meter):
        return str(text).lower()
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)


LIBRARY = make_library(
    "unicode",
    define(
        "normalizeNFC",
        {"string_normalize_nfc": "string.() -> string"},
        normalize_nfc,
        folds=True,
    ),
    define("caseFold", {"string_case_fold": "string.() -> string"}, case_fold, folds=True),
)
