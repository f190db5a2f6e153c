"""Reads the outside CEL specification cases (format: vectors/README.md)."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.cel.library.rows import Declaration
from pdp.cel.syntax import Type
from pdp.cel.values import NONE, BoolKey, Optional, make_map
from pdp.values import Duration, Timestamp, Uint

_PRIMITIVES = {
    "BOOL": "bool",
    "INT64": "int",
    "UINT64": "uint",
    "DOUBLE": "double",
    "STRING": "string",
    "BYTES": "bytes",
}
_WELL_KNOWN = {
    "TIMESTAMP": "google.protobuf.Timestamp",
    "DURATION": "google.protobuf.Duration",
    "ANY": "google.protobuf.Any",
}


# What a case may say. Anything else, unknowns for one, changes what it means.
_KEYS = frozenset(
    {
        *("name", "description", "section", "expr", "disableCheck", "checkOnly", "container"),
        *("typeEnv", "bindings", "value", "typedResult", "evalError"),
    }
)


# Why a case is left out. Everything else a case can come to is passed, refused or wrong.
UNTYPED = "written for evaluation without a type check, and of no type"
UNREADABLE = "of messages, enums or unknowns"
NO_BLOCK = "`cel.block`, what an optimiser writes; the official parser has no such macro"
OTHER = "not supported"
REASONS = frozenset({UNTYPED, UNREADABLE, NO_BLOCK, OTHER})
_COLUMNS = 7


class UnreadableError(Exception):
    """The case uses a type or value outside what is read here."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `expected` is absent for an expected error or a check only."""

    name: str
    source: str
    variables: Mapping[str, str]
    declarations: tuple[Declaration, ...]
    container: str
    attributes: Mapping[str, Any]
    is_error: bool
    is_unchecked: bool
    is_check_only: bool
    deduced: str
    expected: Any


def rows(counts: Mapping[str, Counter[str]]) -> dict[str, tuple[int, int, int, int]]:
    """By file: cases, passed, refused where an error was due, not supported."""
    return {
        name: (
            count.total(),
            count["pass"],
            count["refused"],
            sum(number for outcome, number in count.items() if outcome in REASONS),
        )
        for name, count in counts.items()
    }


def table(counts: Mapping[str, Counter[str]]) -> str:
    """The published table, in Markdown."""
    lines = [
        "| file | cases | passed | refused, an error was due | not supported | why | wrong |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    total: Counter[str] = Counter()
    for name, count in sorted(counts.items()):
        lines.append(_line(name, count))
        total.update(count)
    return "\n".join([*lines, _line("**all**", total)])


def _line(name: str, count: Counter[str]) -> str:
    cases, passed, refused, left = rows({name: count})[name]
    why = "; ".join(f"{count[reason]} {reason}" for reason in sorted(REASONS) if count[reason])
    return f"| {name} | {cases} | {passed} | {refused} | {left} | {why} | {count['wrong']} |"


def published(text: str) -> dict[str, tuple[int, int, int, int]]:
    """The rows of a published table, as `rows` has them."""
    out: dict[str, tuple[int, int, int, int]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == _COLUMNS and cells[1].isdigit():
            cases, passed, refused, left = map(int, cells[1:5])
            out[cells[0]] = (cases, passed, refused, left)
    return out


def load(file: Path) -> list[tuple[str, Case | None]]:
    """All cases of a file; None for those outside what is read here."""
    out: list[tuple[str, Case | None]] = []
    for raw in json.loads(file.read_text("utf-8")):
        name = f"{raw.get('section', '')}/{raw.get('name', '')}"
        try:
            out.append((name, _case(name, raw)))
        except (UnreadableError, KeyError, TypeError, ValueError, AttributeError):
            out.append((name, None))
    return out


def _case(name: str, raw: dict[str, Any]) -> Case:
    if not raw.keys() <= _KEYS:
        raise UnreadableError
    bindings = raw.get("bindings", {})
    # An unchecked case may bind names that nobody declared.
    variables = dict.fromkeys(bindings, "dyn") if "disableCheck" in raw else {}
    declarations: list[Declaration] = []
    for declared in raw.get("typeEnv", ()):
        if "function" in declared:
            declarations += _functions(declared["name"], declared["function"])
        else:
            variables[declared["name"]] = signature(declared["ident"]["type"])
    typed = raw.get("typedResult", {})
    expected = raw.get("value", typed.get("result", {"boolValue": True}))
    is_error, is_check_only = "evalError" in raw, "checkOnly" in raw
    return Case(
        name=name,
        source=raw["expr"],
        variables=variables,
        declarations=tuple(declarations),
        container=raw.get("container", ""),
        attributes={key: value(bound["value"]) for key, bound in bindings.items()},
        is_error=is_error,
        is_unchecked="disableCheck" in raw,
        is_check_only=is_check_only,
        deduced=signature(typed["deducedType"]) if "deducedType" in typed else "",
        expected=None if is_error or is_check_only else value(expected),
    )


def _functions(name: str, raw: dict[str, Any]) -> list[Declaration]:
    return [
        Declaration(
            function=name,
            overload=overload["overloadId"],
            parameters=tuple(signature(each) for each in overload.get("params", ())),
            result=signature(overload["resultType"]),
            member=overload.get("isInstanceFunction", False),
        )
        for overload in raw["overloads"]
    ]


def signature(raw: dict[str, Any]) -> str:
    """A type as the checker's declarations write it."""
    ((kind, inner),) = raw.items()
    match kind:
        case "primitive":
            return _PRIMITIVES[inner]
        case "wellKnown":
            return _WELL_KNOWN[inner]
        case "dyn":
            return "dyn"
        case "null":
            return "null_type"
        case "listType":
            return f"list({signature(inner['elemType'])})"
        case "mapType":
            return f"map({signature(inner['keyType'])}, {signature(inner['valueType'])})"
        case "type":
            return f"type({signature(inner)})"
        case "typeParam" if len(inner) == 1:
            return str(inner)
        case "abstractType":
            kinds = ", ".join(signature(each) for each in inner.get("parameterTypes", ()))
            return f"{inner['name']}({kinds})" if kinds else str(inner["name"])
        case _:
            raise UnreadableError


def value(raw: dict[str, Any]) -> Any:
    """A value as the evaluator holds it."""
    if not raw:
        raise UnreadableError
    ((kind, inner),) = raw.items()
    match kind:
        case "nullValue":
            return None
        case "boolValue" | "stringValue":
            return inner
        case "int64Value":
            return int(inner)
        case "uint64Value":
            return Uint(inner)
        case "doubleValue":
            return float(inner)
        case "bytesValue":
            return base64.b64decode(inner)
        case "typeValue":
            return Type(inner)
        case "listValue":
            return [value(item) for item in inner.get("values", ())]
        case "mapValue":
            entries = inner.get("entries", ())
            return make_map([(value(entry["key"]), value(entry["value"])) for entry in entries])
        case _:
            raise UnreadableError


def tagged(item: Any) -> Any:
    """A form in which Python's `==` tells apart whatever CEL's types tell apart."""
    kind = type(item)
    if kind is list:
        return ("list", *map(tagged, item))
    if kind is dict:
        return ("map", frozenset((tagged(key), tagged(inner)) for key, inner in item.items()))
    if kind is Optional:
        return ("optional",) if item is NONE else ("optional", tagged(item.value))
    if kind is BoolKey:
        return ("bool", item.value)
    if kind is float:
        return ("double", repr(item))
    if kind in {Timestamp, Duration}:
        return (kind.__name__, item.ns)
    return (kind.__name__, item)
