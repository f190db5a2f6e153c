"""String functions: `contains`, `startsWith`, `endsWith`, `matches`.

`matches` is RE2 and nothing else: linear in the text whatever the pattern. A
pattern searches anywhere in the text (langdef: a partial match).
"""

from __future__ import annotations

import functools
from typing import Any

import re2

from pdp.cel.cost import COMPARED_PER_UNIT, COPIED_PER_UNIT, Meter, charge, matching_units
from pdp.cel.values import CelError, Datum, no_overload

# Of a compiled pattern. RE2's own default is 8 MiB; past it, it searches
# without its automaton: slower, still linear, and charged for.
_PATTERN_BYTES_MAX = 8 << 20
# Longer patterns are refused: compiling one is work before the match.
_PATTERN_CODE_POINTS_MAX = 4_096


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


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MAX
    return options


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """The pattern, compiled. A pure function, so the last ones used are kept.

    Raises:
        CelError: not a pattern that RE2 takes.
    """
    if len(pattern) > _PATTERN_CODE_POINTS_MAX:
        message = f"a pattern longer than {_PATTERN_CODE_POINTS_MAX} code points"
        raise CelError(message)
    try:
        return re2.compile(pattern, options=_options())
    except re2.error as error:
        # RE2 reports bytes; the pattern is the author's or, rarely, data.
        reason = error.args[0] if error.args else "refused"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        message = f"a pattern that RE2 refuses: {text}"
        raise CelError(message) from None


def matches(text: Datum, pattern: Datum, meter: Meter) -> bool:
    """`text.matches(pattern)`."""
    if type(text) is str and type(pattern) is str:
        charge(meter, matching_units(len(text), len(pattern)))
        return compile_pattern(pattern).search(text) is not None
    raise no_overload("matches", text, pattern)
