"""`make operations`: the tables of docs/operations.md, from the code and from meanings.toml.

Only what stands between `<!-- begin NAME -->` and `<!-- end NAME -->` is written.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import pdp.cli
from docs.operations.found import ROOT, counters, events
from pdp.config.document import Document, variables
from pdp.model import Cause
from pdp.server.metrics.exposition import COUNTERS, GAUGES, TIMES

PAGE: Final = ROOT / "docs" / "operations.md"
SERVE: Final = ROOT / "docs" / "serve.md"
MEANINGS: Final = Path(__file__).parent / "meanings.toml"
MISSING: Final = "**not explained**"
_UNITS: Final = (
    ("_bytes_max", "bytes"),
    ("_units_max", "cost units"),
    ("_s", "seconds"),
    ("_max_s", "seconds"),
    ("_max", "count"),
)
_TYPES: Final = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Path: "path",
}

Row = tuple[str, ...]


def meanings() -> dict[str, dict[str, Any]]:
    """What people wrote, by table and key."""
    return tomllib.loads(MEANINGS.read_text())


def tables() -> dict[str, str]:
    """Every generated part of the page, by name."""
    said = meanings()
    return {
        "settings": _table(
            ("setting", "variable", "type", "default", "bounds", "unit", "what it is"), _settings()
        ),
        "exit codes": _table(("code", "meaning"), _exit_codes(said["exit_codes"])),
        "causes": _table(("cause", "number", "what it means", "what to do"), _causes(said)),
        "events": _table(
            ("event", "level", "fields", "what it means", "what to do"), _events(said, client=False)
        ),
        "client events": _table(
            ("message", "level", "what it means", "what to do"), _events(said, client=True)
        ),
        "metrics": _table(("metric", "kind", "labels", "what it shows"), _metrics()),
        "counters": _table(("counter", "labels", "what it counts"), _counters(said["counters"])),
    }


def render(page: str) -> str:
    """The page with its generated parts as they are now.

    Raises:
        ValueError: the page has no place for one of them, or has a place for none.
    """
    parts = tables()
    places = re.findall(r"<!-- begin ([\w ]+) -->", page)
    if sorted(places) != sorted(parts):
        raise ValueError(f"the page has places for {sorted(places)}, there are {sorted(parts)}")
    for name, table in parts.items():
        before, begin, rest = page.partition(f"<!-- begin {name} -->\n")
        _, end, after = rest.partition(f"<!-- end {name} -->")
        page = before + begin + table + end + after
    return page


def _table(head: Row, rows: Iterator[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _settings() -> Iterator[Row]:
    described = dict(_described())
    names = {setting: variable for variable, setting in variables().items()}
    for setting, about in _fields(Document, ""):
        kind, bounds = _kind(about)
        yield (
            f"`{setting}`",
            f"`{names[setting]}`",
            kind,
            _default(about),
            bounds,
            next((unit for ending, unit in _UNITS if setting.endswith(ending)), ""),
            described.get(setting, MISSING),
        )


def _described() -> Iterator[tuple[str, str]]:
    """What each setting is, in the words of docs/serve.md: they are written once."""
    for line in SERVE.read_text().splitlines():
        if found := re.fullmatch(r"\| `([\w.]+)` \| `PDP_\w+` \| .*? \| (.*) \|", line):
            yield found[1], found[2]


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, about in model.model_fields.items():
        if isinstance(about.annotation, type) and issubclass(about.annotation, BaseModel):
            yield from _fields(about.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, about


def _kind(about: FieldInfo) -> tuple[str, str]:
    """The type in words, and the bounds."""
    bounds: dict[str, float] = {}
    words = _type(about.annotation, bounds)
    _bound(about.metadata, bounds)
    shown = []
    if "gt" in bounds and bounds["gt"] >= bounds.get("ge", bounds["gt"]):
        shown.append(f"above {_number(bounds['gt'])}")
    elif "ge" in bounds:
        shown.append(f"from {_number(bounds['ge'])}")
    if "le" in bounds:
        shown.append(f"to {_number(bounds['le'])}")
    return words, " ".join(shown)


def _type(annotation: Any, bounds: dict[str, float]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        _bound(arguments[1:], bounds)
        return _type(arguments[0], bounds)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is dict:
        return f"table of {_type(arguments[1], bounds)}"
    if origin is tuple:
        return f"list of {_type(arguments[0], bounds)}"
    if origin is dict:
        return f"table of {_type(arguments[1], bounds)}"
    if type(None) in arguments:
        return _type(next(item for item in arguments if item is not type(None)), bounds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _TYPES[annotation]


def _bound(metadata: Any, bounds: dict[str, float]) -> None:
    """Collects the narrowest of all bounds; later ones stand outside of earlier ones."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            _bound(item.metadata, bounds)
        if isinstance(item, annotated_types.Ge):
            bounds["ge"] = max(bounds.get("ge", float("-inf")), _float(item.ge))
        if isinstance(item, annotated_types.Gt):
            bounds["gt"] = max(bounds.get("gt", float("-inf")), _float(item.gt))
        if isinstance(item, annotated_types.Le):
            bounds["le"] = min(bounds.get("le", float("inf")), _float(item.le))


def _float(value: Any) -> float:
    return float(value)


def _number(value: float) -> str:
    return f"{value:g}" if value != int(value) else f"{int(value):,}"


def _default(about: FieldInfo) -> str:
    if about.is_required():
        return "required"
    if about.default is None or about.default in ("", {}):
        return "none"
    if isinstance(about.default, tuple):
        return f"`{json.dumps(list(about.default))}`"
    if isinstance(about.default, bool):
        return f"`{str(about.default).lower()}`"
    if isinstance(about.default, int | float):
        return _number(about.default)
    return f"`{about.default}`"


def _exit_codes(said: dict[str, Any]) -> Iterator[Row]:
    known = {0: "", **{v: k for k, v in vars(pdp.cli).items() if k.startswith("EXIT_")}}
    for code in sorted({*known, *map(int, said)}):
        yield str(code), said.get(str(code), MISSING) if code in known else MISSING


def _causes(said: dict[str, dict[str, Any]]) -> Iterator[Row]:
    for cause in Cause:
        what, todo = said["causes"].get(cause.name, (MISSING, MISSING))
        yield cause.name, str(cause.value), what, todo


def _events(said: dict[str, dict[str, Any]], *, client: bool) -> Iterator[Row]:
    for event in events():
        if (event.name == "pdp_client") != client:
            continue
        what, todo = said["events"].get(event.key, (MISSING, MISSING))
        levels = " or ".join(event.levels)
        if client:
            yield event.message, levels, what, todo
            continue
        name = f"`{event.name}`" + (f": {event.message}" if event.message else "")
        yield name, levels, ", ".join(f"`{field}`" for field in event.fields), what, todo


def _metrics() -> Iterator[Row]:
    """All have the label `process`, the build's aside."""
    for name, (what, labels) in COUNTERS.items():
        yield f"`pdp_{name}_total`", "counter", ", ".join(f"`{each}`" for each in labels), what
    for name, what in GAUGES.items():
        yield f"`pdp_{name}`", "gauge", "", what
    for name, what in TIMES.items():
        yield f"`pdp_{name}_seconds`", "histogram", "`kind`", what
    yield "`pdp_build_info`", "gauge", "`version`", "1, with the version in its label."


def _counters(said: dict[str, Any]) -> Iterator[Row]:
    for counter in counters():
        labels = ", ".join(
            label.strip("<>") if label.startswith("<") else f"`{label}`" for label in counter.labels
        )
        yield f"`{counter.name}`", labels, said.get(counter.key, said.get(counter.name, MISSING))


def main() -> int:
    """Write the page; 1 if something in it is not explained."""
    page = render(PAGE.read_text())
    PAGE.write_text(page)
    missing = [line for line in page.splitlines() if MISSING in line]
    for line in missing:
        print(f"docs/operations/meanings.toml or docs/serve.md lacks a meaning: {line}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
