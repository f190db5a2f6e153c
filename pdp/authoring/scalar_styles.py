"""How a scalar is written: the shortest style that keeps every character of it."""

from __future__ import annotations

import re

from pdp.authoring.nodes import Scalar, end_of
from pdp.cel.spans import Text

WIDTH = 100
# Where a condition may be broken: YAML folds the line break to the one blank that was there.
_BREAKS = re.compile(r"(?<=&&|\|\|) (?=\S)")
_WORDS = re.compile(r"(?<=\S) (?=\S)")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_HEADS = re.compile(r"[|>][+-]?\s*(?:#.*)?")


def inline(scalar: Scalar) -> str | None:
    """On one line, or None for what was written as several."""
    if scalar.value is None:
        return "null"
    if "\n" in scalar.text:
        return escaped(scalar.text) if scalar.style in {"single", "double"} else None
    return scalar.text if scalar.style == "plain" else quoted(scalar.text)


def quoted(text: str) -> str:
    """In double quotes; in single quotes where that saves escapes."""
    if not text.isprintable():
        return escaped(text)
    if '"' in text or "\\" in text:
        return "'" + text.replace("'", "''") + "'"
    return f'"{text}"'


def escaped(text: str) -> str:
    """In double quotes, with escapes for all that is not plain."""
    return '"' + "".join(_ESCAPES.get(char) or _escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    if char.isprintable():
        return char
    return f"\\x{ord(char):02x}" if ord(char) <= 0xFF else f"\\U{ord(char):08x}"  # noqa: PLR2004


def block(scalar: Scalar, indent: int, *, condition: bool) -> list[str] | None:
    """The head of a block and its lines, without the indentation; None if it cannot be one.

    Args:
        scalar: what to write.
        indent: of its lines.
        condition: it is CEL: blanks at the ends of lines may go where they mean nothing.
    """
    if scalar.style == "literal":
        return _literal(scalar, condition=condition)
    if scalar.style == "folded":
        return _folded(scalar, condition=condition)
    if scalar.style == "plain" and scalar.end - scalar.start != len(scalar.text):
        lines = _written_lines(scalar)
        if lines is not None:
            return lines
    return _wrapped(scalar.text, WIDTH - indent, _BREAKS if condition else _WORDS)


def _literal(scalar: Scalar, *, condition: bool) -> list[str] | None:
    text = scalar.text
    if condition:
        trimmed = "\n".join(line.rstrip(" ") for line in text.split("\n"))
        text = trimmed if same_condition(trimmed, text) else text
    body = text.rstrip("\n")
    ending = text[len(body) :]
    if not body.strip() or body[:1] in {" ", "\t", "\n"} or "\t" in re.findall(r"\A\s*", body)[0]:
        return None
    head = {"": "|-", "\n": "|"}.get(ending, "|+")
    return [head, *body.split("\n"), *[""] * (len(ending) - 1)]


def _folded(scalar: Scalar, *, condition: bool) -> list[str] | None:
    """Its own lines, moved: folding sees the same."""
    head, _, rest = scalar.source.text[scalar.start : end_of(scalar)].partition("\n")
    if not _HEADS.fullmatch(head.rstrip()) or not rest.strip():
        return None
    lines = rest.split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip(" "))
    if not lines[0].strip() or any(line[:margin].strip() for line in lines):
        return None
    cut = [line[margin:] for line in lines]
    if condition:
        trimmed = [line.rstrip(" ") for line in cut]
        cut = trimmed if same_condition("\n".join(trimmed), "\n".join(cut)) else cut
    ending = scalar.text[len(scalar.text.rstrip("\n")) :]
    if len(ending) > 1:
        return None
    return [">" if ending else ">-", *cut]


def _written_lines(scalar: Scalar) -> list[str] | None:
    """The lines of an unquoted text over several lines, which fold to the same."""
    written = scalar.source.text[scalar.start : scalar.end]
    lines = [line.strip(" \t") for line in written.split("\n")]
    if any(line == "" for line in lines):
        return None
    return [">-", *lines] if " ".join(lines) == scalar.text else None


def _wrapped(text: str, width: int, breaks: re.Pattern[str]) -> list[str] | None:
    """A long line broken at single blanks, which fold back to what was there."""
    if "\n" in text or text != text.strip() or not text.isprintable():
        return None
    lines: list[str] = []
    for part in breaks.split(text):
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return [">-", *lines] if len(lines) > 1 or len(text) <= width else None


def same_condition(one: str, other: str) -> bool:
    """Whether two texts of a condition differ in nothing but blanks between words."""
    return [t.text for t in Text(one).tokens] == [t.text for t in Text(other).tokens]
