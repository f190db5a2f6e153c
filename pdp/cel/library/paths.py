"""Paths and patterns of paths, segment by segment.

    *    exactly one segment
    **   any number of segments, none included

A path has to be in the form in which nobody can read it differently: no empty
segment, no `.` or `..`, no backslash, no `%`-encoding, nothing that starts a
query, a fragment or a path parameter. Any other is an error and not merely "no
match": a deny rule whose pattern is walked around must be in doubt, not absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pdp.cel.cost import COPIED_PER_UNIT, Meter, charge
from pdp.cel.library.signatures import define, make_library
from pdp.cel.values import CelError, Datum, no_overload

_CODE_POINTS_MAX = 4_096
_SEGMENTS_MAX = 256
_PATTERN_SEGMENTS_MAX = 64
_READ_UNITS = 10
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f%\\?#;]")
_ONE, _MANY = "*", "**"


@dataclass(frozen=True, slots=True)
class Path:
    """A path, or a pattern, in segments."""

    absolute: bool
    segments: tuple[str, ...]


def _read(text: str, segments_max: int) -> Path:
    if len(text) > _CODE_POINTS_MAX:
        message = f"a path longer than {_CODE_POINTS_MAX} code points"
        raise CelError(message)
    if _AMBIGUOUS.search(text):
        message = "a path with `%`, `\\`, `?`, `#`, `;` or a control character: decode it first"
        raise CelError(message)
    absolute = text.startswith("/")
    if text == "/":
        return Path(absolute=True, segments=())
    segments = tuple(text.removeprefix("/").split("/"))
    if not all(segments) or "." in segments or ".." in segments:
        message = "a path with an empty segment, `.` or `..`: want `/a/b`"
        raise CelError(message)
    if len(segments) > segments_max:
        message = f"a path with more than {segments_max} segments"
        raise CelError(message)
    return Path(absolute, segments)


def read_pattern(text: str) -> Path:
    """`/docs/*/drafts/**`.

    Raises:
        CelError: not a pattern.
    """
    pattern = _read(text, _PATTERN_SEGMENTS_MAX)
    for segment in pattern.segments:
        if _ONE in segment and segment not in {_ONE, _MANY}:
            message = "`*` and `**` stand for whole segments: want `/a/*/b` or `/a/**`"
            raise CelError(message)
    return pattern


def matches_path(text: Datum, pattern: Datum, meter: Meter) -> bool:
    """`text.matchesPath(pattern)`."""
    if type(text) is not str:
        raise no_overload("matchesPath", text, pattern)
    if type(pattern) is str:
        charge(meter, _READ_UNITS + len(pattern) // COPIED_PER_UNIT)
        pattern = read_pattern(pattern)
    elif type(pattern) is not Path:
        raise no_overload("matchesPath", text, pattern)
    charge(meter, _READ_UNITS + len(text) // COPIED_PER_UNIT)
    path = _read(text, _SEGMENTS_MAX)
    if path.absolute is not pattern.absolute:
        message = "a path and a pattern of which one starts with `/` and the other does not"
        raise CelError(message)
    charge(meter, len(path.segments) * len(pattern.segments) // COPIED_PER_UNIT)
    return _match(path.segments, pattern.segments)


def _match(segments: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Greedy: only the last `**` ever has to give way, so the work is their product at most."""
    at, wanted = 0, 0
    many, taken = -1, 0  # the last `**`, and where what it took ends
    while at < len(segments):
        if wanted < len(pattern) and pattern[wanted] == _MANY:
            many, taken = wanted, at
            wanted += 1
        elif wanted < len(pattern) and pattern[wanted] in {_ONE, segments[at]}:
            at += 1
            wanted += 1
        elif many >= 0:
            taken += 1
            at, wanted = taken, many + 1
        else:
            return False
    return all(rest == _MANY for rest in pattern[wanted:])


LIBRARY = make_library(
    "paths",
    define(
        "matchesPath",
        {"string_matches_path": "string.(string) -> bool"},
        matches_path,
        literal=read_pattern,
    ),
)
