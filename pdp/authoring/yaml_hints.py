"""Why YAML did not like it, and what to write instead.

CEL in YAML goes wrong in a dozen ways that a YAML parser explains in its own
words only. Each row here is one of them.
"""

from __future__ import annotations

import re

from pdp.errors import Position

BLOCK = "write a condition as a block: `when: |`, and its text on the next line, indented"
QUOTE = "quote it, or check the indentation"

# (words of the parser, what is wrong, what to do). First match wins.
_TABLE = (
    (
        r"mapping values are not allowed",
        "`: ` cannot stand inside an unquoted value",
        BLOCK,
    ),
    (
        r"character '\\t'",
        "a tab cannot stand at the beginning of a line",
        "indent with spaces",
    ),
    (
        r"character '[@`]'",
        "an unquoted value cannot begin with `@` or a backtick",
        'put it in quotes: `"@…"`',
    ),
    (
        r"character '%'",
        "an unquoted value cannot begin with `%`",
        'put it in quotes: `"%…"`',
    ),
    (
        r"expected alphabetic or numeric character",
        "`*` and `&` at the beginning of a value mean an alias or an anchor to YAML",
        'put it in quotes: `"*"`',
    ),
    (
        r"expected ',' or '[\]}]'",
        "the brackets or braces are not closed where YAML expects it",
        f"in `[…]` and `{{…}}`, a comma or bracket ends an unquoted value; {BLOCK}",
    ),
    (
        r"(unknown|undefined) escape|escape sequence|hexdecimal|hexadecimal",
        "a backslash in double quotes begins an escape that YAML does not know",
        f"double it, or use single quotes; {BLOCK}",
    ),
    (
        r"unexpected end of stream",
        "a quote is opened and not closed",
        "close it; inside single quotes, a quote is written twice",
    ),
    (
        r"sequence entries are not allowed|block sequence entries",
        "a list cannot begin here",
        "put `- ` on a line of its own, indented below its key",
    ),
    (
        r"could not find expected ':'",
        "a `key: value` was expected",
        "put a space behind the colon, and check the indentation",
    ),
)
# What the parser says of `when: "a" == b`, `when: "a" || b`, `when: [a] == b`.
_GOES_ON = re.compile("expected <block end>|expected chomping|expected alphabetic")
_CLOSING = {'"': '"', "'": "'", "[": "]", "{": "}"}
_AFTER_QUOTE = re.compile(r"^[\s-]*[^\s:'\"\[{]+:\s+([\"'\[{])")


def explain(problem: str, line: str, position: Position) -> tuple[str, str]:
    """Message and suggestion for a parser's complaint.

    Args:
        problem: the parser's words.
        line: the source line it is about.
        position: where in the line.
    """
    opener = _AFTER_QUOTE.match(line)
    closed = opener and _CLOSING[opener[1]] in line[opener.end(1) : position.column - 1]
    if _GOES_ON.search(problem) and opener and closed:
        kind = "quote" if opener[1] in "\"'" else "bracket or brace"
        return f"the value ends at its closing {kind}, but the line goes on", BLOCK
    if "mapping values are not allowed" in problem and ": " not in line[: position.column - 1]:
        hint = "check the indentation, and that the line above has a space behind its colon"
        return "a key cannot stand here", hint
    for pattern, message, hint in _TABLE:
        if re.search(pattern, problem):
            return message, hint
    if "expected <block end>" in problem:
        return "this does not belong to what is above it", "check the indentation"
    return f"this is not valid YAML: {problem.lower()[:200]}", QUOTE


def tag(line: str) -> tuple[str, str]:
    """Message and suggestion for a tag, which is nearly always a CEL `!`."""
    hint = "a YAML document here is plain data: remove it"
    if re.search(r"(^|\s)!(?!!)", line):
        hint = f"a value that begins with `!` is a tag to YAML; {BLOCK}"
    return "YAML tags are refused", hint
