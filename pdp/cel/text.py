"""String functions: `contains`, `startsWith`, `endsWith`, `matches`.

`matches` is RE2 and nothing else: linear in the text whatever the pattern. A
pattern searches anywhere in the text (langdef: a partial match).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import re2

from pdp.cel.cost import (
    COMPARED_PER_UNIT,
    COPIED_PER_UNIT,
    PATTERN_UNITS,
    Meter,
    charge,
    matching_units,
)
from pdp.cel.values import CelError, Datum, no_overload

# Of a compiled pattern. RE2's own default is 8 MiB, with which `\\pL{300}\\pN{300}`
# compiles for 230 ms; with 1 MiB nothing we found takes longer than 7 ms.
_PATTERN_BYTES_MAX = 1 << 20
_PATTERN_CODE_POINTS_MAX = 4_096
_NOT_UNICODE = "a string that is not Unicode"


def contains(text: Datum, part: Datum, meter: Meter) -> bool:
    """`text.contains(part)`."""
    if type(text) is str and type(part) is str:
        charge(meter, (len(text) + len(part)) // COPIED_PER_UNIT)
        return part in text
    raise no_overload("contains", text, part)


def starts_with(text: Datum, start: Datum, meter: Meter) -> bool:
    """`text.startsWith(start)`."""
    if type(text) is str and type(start) is str:
        charge(meter, len(start) // COMPARED_PER_UNIT)
        return text.startswith(start)
    raise no_overload("startsWith", text, start)


def ends_with(text: Datum, end: Datum, meter: Meter) -> bool:
    """`text.endsWith(end)`."""
    if type(text) is str and type(end) is str:
        charge(meter, len(end) // COMPARED_PER_UNIT)
        return text.endswith(end)
    raise no_overload("endsWith", text, end)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern: its search, and the size of its program in instructions."""

    search: Callable[[str], Any]
    size: int


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MAX
    return options


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Pattern:
    """The pattern, compiled. A pure function, so the last ones used are kept.

    Raises:
        CelError: not a pattern that RE2 takes.
    """
    if len(pattern) > _PATTERN_CODE_POINTS_MAX:
        message = f"a pattern longer than {_PATTERN_CODE_POINTS_MAX} code points"
        raise CelError(message)
    try:
        made = re2.compile(pattern, options=_options())
    except re2.error as error:
        # RE2 reports bytes; the pattern is the author's or, rarely, data.
        reason = error.args[0] if error.args else "refused"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        message = f"a pattern that RE2 refuses: {text}"
        raise CelError(message) from None
    except UnicodeEncodeError:
        raise CelError(_NOT_UNICODE) from None
    return Pattern(made.search, max(made.programsize, made.reverseprogramsize))


def matches(text: Datum, pattern: Datum, meter: Meter) -> bool:
    """`text.matches(pattern)`, a pattern that is computed: compiling it is work too."""
    if type(text) is str and type(pattern) is str:
        charge(meter, PATTERN_UNITS)
        return matches_known(text, pattern, meter)
    raise no_overload("matches", text, pattern)


def matches_known(text: Datum, pattern: Datum, meter: Meter) -> bool:
    """`text.matches(pattern)`, a pattern that the policy spells out: it is compiled already."""
    if type(text) is str and type(pattern) is str:
        compiled = compile_pattern(pattern)
        charge(meter, matching_units(len(text), compiled.size))
        try:
            return compiled.search(text) is not None
        except UnicodeEncodeError:
            raise CelError(_NOT_UNICODE) from None
    raise no_overload("matches", text, pattern)
