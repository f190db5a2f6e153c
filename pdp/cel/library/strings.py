"""Strings: positions, cutting, replacing. Positions are code points, from 0.

Results are charged before they are made. `lower` and `upper` know the letters
of ASCII and no others: what they give does not depend on a Unicode version.
"""

from __future__ import annotations

from collections.abc import Iterator

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.formatting import format_text
from pdp.cel.library.rows import Function, Library, words
from pdp.cel.values import CelError, Datum, no_overload

# Unicode's White_Space. Python's own `strip` takes U+001C to U+001F besides.
_BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_QUOTED = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def _outside() -> CelError:
    return CelError("a position outside the text")


def char_at(text: Datum, at: Datum) -> str:
    """`text.charAt(at)`; empty at the very end."""
    if type(text) is not str or type(at) is not int:
        raise no_overload("charAt", text, at)
    if not 0 <= at <= len(text):
        raise _outside()
    return text[at : at + 1]


def index_of(text: Datum, part: Datum, meter: Meter) -> int:
    """`text.indexOf(part)`; -1 if it is not there."""
    return index_of_from(text, part, 0, meter)


def index_of_from(text: Datum, part: Datum, start: Datum, meter: Meter) -> int:
    """`text.indexOf(part, start)`."""
    if type(text) is not str or type(part) is not str or type(start) is not int:
        raise no_overload("indexOf", text, part, start)
    if not 0 <= start <= len(text):
        raise _outside()
    charge(meter, (len(text) + len(part)) // COPIED_PER_UNIT)
    return text.find(part, start)


def last_index_of(text: Datum, part: Datum, meter: Meter) -> int:
    """`text.lastIndexOf(part)`; -1 if it is not there."""
    return last_index_of_from(text, part, len(text) if type(text) is str else 0, meter)


def last_index_of_from(text: Datum, part: Datum, start: Datum, meter: Meter) -> int:
    """`text.lastIndexOf(part, start)`: begins at `start` or before."""
    if type(text) is not str or type(part) is not str or type(start) is not int:
        raise no_overload("lastIndexOf", text, part, start)
    if not 0 <= start <= len(text):
        raise _outside()
    charge(meter, 2 * (len(text) + len(part)) // COPIED_PER_UNIT)
    # Backwards by reversing: Python's `rfind` takes time quadratic in hostile
    # texts, its `find` does not.
    seen = text[: start + len(part)][::-1]
    found = seen.find(part[::-1])
    return -1 if found < 0 else len(seen) - found - len(part)


def lower_ascii(text: Datum, meter: Meter) -> str:
    """`text.lowerAscii()`."""
    if type(text) is not str:
        raise no_overload("lowerAscii", text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    return text.lower() if text.isascii() else text.translate(_LOWER)


def upper_ascii(text: Datum, meter: Meter) -> str:
    """`text.upperAscii()`."""
    if type(text) is not str:
        raise no_overload("upperAscii", text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    return text.upper() if text.isascii() else text.translate(_UPPER)


def replace_all(text: Datum, old: Datum, new: Datum, meter: Meter) -> str:
    """`text.replace(old, new)`."""
    return replace(text, old, new, -1, meter)


def replace(text: Datum, old: Datum, new: Datum, limit: Datum, meter: Meter) -> str:
    """`text.replace(old, new, limit)`: the first so many; all if it is negative."""
    if type(text) is not str or type(old) is not str:
        raise no_overload("replace", text, old, new, limit)
    if type(new) is not str or type(limit) is not int:
        raise no_overload("replace", text, old, new, limit)
    charge(meter, (len(text) + len(old)) // COPIED_PER_UNIT)
    count = text.count(old)
    if limit >= 0:
        count = min(count, limit)
    # INVARIANT: the size of the result is charged before there is one.
    size = len(text) + count * (len(new) - len(old))
    charge(meter, size // COPIED_PER_UNIT + count)
    return text.replace(old, new, count)


def split_all(text: Datum, separator: Datum, meter: Meter) -> list[Datum]:
    """`text.split(separator)`."""
    return split(text, separator, -1, meter)


def split(text: Datum, separator: Datum, limit: Datum, meter: Meter) -> list[Datum]:
    """`text.split(separator, limit)`: into so many pieces at most; any number if it is negative.

    An empty separator splits into code points.
    """
    if type(text) is not str or type(separator) is not str or type(limit) is not int:
        raise no_overload("split", text, separator, limit)
    charge(meter, (len(text) + len(separator)) // COPIED_PER_UNIT)
    if limit == 0:
        return []
    cuts = limit - 1 if limit > 0 else len(text) + 1
    if separator:
        cuts = min(cuts, text.count(separator))
        charge(meter, len(text) // COPIED_PER_UNIT + cuts)
        return list(text.split(separator, cuts))
    cuts = min(cuts, max(len(text) - 1, 0))
    charge(meter, len(text) // COPIED_PER_UNIT + cuts)
    return [*text[:cuts], text[cuts:]]


def substring_from(text: Datum, start: Datum, meter: Meter) -> str:
    """`text.substring(start)`."""
    return substring(text, start, len(text) if type(text) is str else 0, meter)


def substring(text: Datum, start: Datum, end: Datum, meter: Meter) -> str:
    """`text.substring(start, end)`, the end left out."""
    if type(text) is not str or type(start) is not int or type(end) is not int:
        raise no_overload("substring", text, start, end)
    if not 0 <= start <= end <= len(text):
        raise _outside()
    charge(meter, (end - start) // COPIED_PER_UNIT)
    return text[start:end]


def trim(text: Datum, meter: Meter) -> str:
    """`text.trim()`: without Unicode's white space at both ends."""
    if type(text) is not str:
        raise no_overload("trim", text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    return text.strip(_BLANKS)


def join_bare(items: Datum, meter: Meter) -> str:
    """`list.join()`."""
    return join(items, "", meter)


def join(items: Datum, separator: Datum, meter: Meter) -> str:
    """`list.join(separator)`: of strings only."""
    if type(items) is not list or type(separator) is not str:
        raise no_overload("join", items, separator)
    charge(meter, len(items))
    size = len(separator) * max(len(items) - 1, 0)
    for item in items:
        if type(item) is not str:
            raise no_overload("join", items, separator)
        size += len(item)
    charge(meter, size // COPIED_PER_UNIT)
    return separator.join(items)


def quote(text: Datum, meter: Meter) -> str:
    """`strings.quote(text)`: in double quotes, with escapes for what needs them."""
    if type(text) is not str:
        raise no_overload("strings.quote", text)
    charge(meter, 2 * len(text) // COPIED_PER_UNIT)
    return f'"{text.translate(_QUOTED)}"'


def reverse_text(text: Datum, meter: Meter) -> str:
    """`text.reverse()`: its code points backwards."""
    if type(text) is not str:
        raise no_overload("reverse", text)
    charge(meter, len(text) // COPIED_PER_UNIT)
    return text[::-1]


def _rows() -> Iterator[Function]:
    yield Function("charAt", words("string_char_at_int"), 2, char_at, result=str)
    for name, ids, arity, number in (
        ("indexOf", "string_index_of_string", 2, index_of),
        ("indexOf", "string_index_of_string_int", 3, index_of_from),
        ("lastIndexOf", "string_last_index_of_string", 2, last_index_of),
        ("lastIndexOf", "string_last_index_of_string_int", 3, last_index_of_from),
    ):
        yield Function(name, words(ids), arity, number, metered=True, result=int)
    for name, ids, arity, text in (
        ("lowerAscii", "string_lower_ascii", 1, lower_ascii),
        ("upperAscii", "string_upper_ascii", 1, upper_ascii),
        ("replace", "string_replace_string_string", 3, replace_all),
        ("replace", "string_replace_string_string_int", 4, replace),
        ("substring", "string_substring_int", 2, substring_from),
        ("substring", "string_substring_int_int", 3, substring),
        ("trim", "string_trim", 1, trim),
        ("join", "list_join", 1, join_bare),
        ("join", "list_join_string", 2, join),
        ("strings.quote", "strings_quote", 1, quote),
        ("format", "string_format", 2, format_text),
    ):
        yield Function(name, words(ids), arity, text, metered=True, result=str)
    for ids, arity, pieces in (
        ("string_split_string", 2, split_all),
        ("string_split_string_int", 3, split),
    ):
        yield Function("split", words(ids), arity, pieces, metered=True, result=list)


LIBRARY = Library(name="strings", functions=tuple(_rows()), extension="strings")
