"""Turns what the official checker says into what an author can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from pdp.cel.functions import FUNCTIONS, LIBRARIES
from pdp.errors import ExpressionError, Position

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_LITERAL = re.compile(r"invalid (?:hex )?(u?int) literal")
_DIGITS = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)[uU]?")
_HAS = re.compile(r"\bhas\s*\(\s*([\w.]+)\s*\)")
_OPERATORS = MappingProxyType(
    {
        "_?_:_": "? :",
        "@in": "in",
        "_[_]": "[]",
        "!_": "!",
        "-_": "-",
    }
)
_NUMBERS = frozenset({"int", "uint", "double"})
# fmt: off
_MACROS = (
    "all", "exists", "existsOne", "exists_one", "filter", "has", "map", "optFlatMap", "optMap",
    "sortBy", "transformList", "transformMap", "transformMapEntry",
)
# fmt: on
_FUNCTIONS = tuple(
    sorted({function.name for function in FUNCTIONS if function.name.isidentifier()})
)
_FORMS = MappingProxyType(
    {
        name: tuple(
            f"{each.parameters[0]}.{name}({', '.join(each.parameters[1:])})"
            if each.member
            else f"{name}({', '.join(each.parameters)})"
            for library in LIBRARIES
            for each in library.declarations
            if each.function == name
        )
        for name in _FUNCTIONS
    }
)
# What people write who come from another language.
_ELSEWHERE = MappingProxyType(
    {
        "and": "write `&&`",
        "or": "write `||`",
        "not": "write `!`",
        "=": "write `==`",
        "=>": "write `>=`, or a condition for `? :`",
        "True": "write `true`",
        "False": "write `false`",
        "None": "write `null`",
        "nil": "write `null`",
        "len": "write `size(...)`",
        "length": "write `size(...)`",
        "any": "write `list.exists(x, ...)`",
        "existsOne": "write `exists_one`",
        "startswith": "write `startsWith`",
        "starts_with": "write `startsWith`",
        "endswith": "write `endsWith`",
        "includes": "write `contains`, or `x in list`",
        # Of other policy languages.
        "inIPAddrRange": 'write `cidr("10.0.0.0/8").containsIP(...)`',
        "isInRange": 'write `cidr("10.0.0.0/8").containsIP(...)`',
        "hasIntersection": "write `sets.intersects(a, b)`",
        "isSubset": "write `sets.contains(all, some)`",
        "ancestorOf": "write `isAncestorOf`",
        "descendentOf": "write `isDescendantOf`",
        "siblingOf": "write `isSiblingOf`",
        "timeSince": "write `now - t`",
        "toLowerCase": "write `x.caseFold()`, on both sides of a comparison",
        "toUpperCase": "write `x.upperAscii()`",
        "upper": "write `x.upperAscii()`",
        "lower": "write `x.caseFold()`, on both sides of a comparison",
    }
)


def explain(words: str, source: str, variables: Mapping[str, str]) -> ExpressionError:
    """The first of the checker's errors, as ours.

    Args:
        words: `INVALID_ARGUMENT: ERROR: <input>:1:5: undeclared reference to ...`.
        source: the expression.
        variables: the names it may use.
    """
    found = _ERROR.search(words)
    if found is None:
        plain = words.partition("\n")[0].partition(" [")[0].partition(": ")[2] or words[:200]
        if "recursion" in plain:
            return _too_deep()
        return ExpressionError(f"the checker says: {plain.lower()}", Position("", 1, 1))
    line, column, said = int(found[1]), int(found[2]), found[3].split(" [INVALID_ARGUMENT]")[0]
    if "recursion" in said:
        return _too_deep()
    if not source.strip():
        return ExpressionError("the expression is empty", Position("", 1, 1), "write a condition")
    position = Position("", max(line, 1), max(column, 1))
    if literal := _LITERAL.fullmatch(said.strip()):
        return _too_large(literal[1], source, position)
    for pattern, make in _SHAPES:
        if match := re.match(pattern, said, re.DOTALL):
            message, hint = make(match, variables)
            return ExpressionError(message, position, hint or _misused_has(source, variables))
    return ExpressionError(f"{said[:1].lower()}{said[1:300]}", position)


def _too_large(kind: str, source: str, position: Position) -> ExpressionError:
    """A literal of digits alone is refused for one reason: it does not fit."""
    lines = source.splitlines()
    line = lines[position.line - 1] if position.line <= len(lines) else ""
    digits = _DIGITS.match(line, position.column - 1)
    number = f"`{digits[0][:80]}`" if digits else "the number"
    if kind == "uint":
        return ExpressionError(
            f"{number} does not fit into a uint, which ends at 18446744073709551615",
            position,
            "write a double, `1.8e19`, where about right is enough, or compare it as a text",
        )
    return ExpressionError(
        f"{number} does not fit into an int, which goes from -9223372036854775808 to "
        "9223372036854775807",
        position,
        "write a uint, with `u` at its end, up to 18446744073709551615u; or a double, `9.3e18`, "
        "where about right is enough; or compare it as a text",
    )


def _misused_has(source: str, variables: Mapping[str, str]) -> str:
    """A hint at `has(subject.id)`, which the checker takes for `subject.id` itself."""
    for found in _HAS.finditer(source):
        if found[1] in variables:
            return f"`has({found[1]})` is no test: `{found[1]}` is always there"
    return ""


def _too_deep() -> ExpressionError:
    return ExpressionError(
        "nested too deeply for the checker, which stops at 32 levels",
        Position("", 1, 1),
        "name parts of it as variables; chains of `&&` and `||` may be long",
    )


def operator(name: str) -> str:
    """`_==_` as `==`."""
    return _OPERATORS.get(name) or name.replace("_", "") or name


def _undeclared(match: re.Match[str], variables: Mapping[str, str]) -> tuple[str, str]:
    name = match[1]
    if name in _FUNCTIONS:
        # The checker has it, but not as a method, or as one, or of so many arguments.
        forms = " or ".join(f"`{form}`" for form in _FORMS[name])
        forms = forms.replace("google.protobuf.Timestamp", "timestamp")
        return f"`{name}` is not called like this", f"write {forms}" if forms else ""
    if hint := _ELSEWHERE.get(name):
        return f"`{name}` is not defined", hint
    return f"`{name}` is not defined", _nearest(name, [*variables, *_FUNCTIONS, *_MACROS])


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean `{close[0]}`?" if close else ""


def _overload(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    name, kinds = operator(match[1]), match[2]
    listed = _split(kinds)
    joined = " and ".join(f"`{kind}`" for kind in listed) or "nothing"
    hint = ""
    if len(listed) == 2 and set(listed) < _NUMBERS and len(set(listed)) == 2:  # noqa: PLR2004
        hint = f"convert one side, `{listed[0]}(...)`, or write `1.0`, `1u`"
    elif match[1] == "_?_:_" and len(listed) == 3 and listed[0] == "bool":  # noqa: PLR2004
        return (
            f"the two results of `? :` are of different types, `{listed[1]}` and `{listed[2]}`",
            ("wrap one in `dyn(...)` if that is meant"),
        )
    elif "google.protobuf.Timestamp" in listed and "string" in listed:
        hint = 'write `timestamp("2026-01-31T00:00:00Z")`'
    elif "google.protobuf.Duration" in listed and "string" in listed:
        hint = 'write `duration("24h")`'
    return f"`{name}` cannot take {joined}", hint


def _split(kinds: str) -> list[str]:
    """Split at commas outside parentheses."""
    out, depth = [""], 0
    for character in kinds:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            out.append("")
        else:
            out[-1] += character
    return [kind.strip() for kind in out if kind.strip()]


def _selection(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    return f"a value of type `{match[1]}` has no fields", ""


def _token(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    text = match[1].strip()
    if text[:1] in {"'", '"'}:
        hint = "close it, and write escapes as `\\n`, `\\u00e9`, or use r'...'"
        return "a string is not closed or has a bad escape", hint
    return f"`{text}` was not expected here", _ELSEWHERE.get(text, "")


def _unexpected(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    text = match[1]
    if text == "<EOF>":
        return "the expression stops too early", "something is missing at the end"
    return f"`{text}` was not expected here", _ELSEWHERE.get(text, "")


def _missing(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    return f"`{match[1]}` is missing", ""


def _reserved(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    return f"`{match[1]}` is a reserved word", "use another name, or `map['name']` for a field"


def _unsupported(match: re.Match[str], _variables: Mapping[str, str]) -> tuple[str, str]:
    return f"the syntax `{match[1]}` is not supported", "test with `has(...)` first"


_Shape = Callable[[re.Match[str], Mapping[str, str]], tuple[str, str]]
_SHAPES: tuple[tuple[str, _Shape], ...] = (
    (r"undeclared reference to '(.*)' \(in container", _undeclared),
    (r"found no matching overload for '(.*)' applied to '\((.*)\)'", _overload),
    (r"expression of type '(.*)' cannot be the operand of a select", _selection),
    (r"Syntax error: token recognition error at: '(.*)'$", _token),
    (r"Syntax error: token recognition error at: '(.*)", _token),
    (r"Syntax error: (?:mismatched|extraneous) input '(.*?)' expecting", _unexpected),
    (r"Syntax error: no viable alternative at input '(.*)'", _unexpected),
    (r"Syntax error: missing '(.*?)' at", _missing),
    (r"reserved identifier: (.*)", _reserved),
    (r"unsupported syntax '(.*)'", _unsupported),
)
