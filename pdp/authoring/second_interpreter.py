"""cel-python's interpreter, at arm's length: a child process, and what it is known to get wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pdp.authoring.framed_child import ChildFailedError, FramedChild
from pdp.cel.trace import Trace, Tracer
from pdp.values import Duration, Timestamp, Value

_PROCESS = Path(__file__).with_name("second_opinion_process.py")
# Its timestamps are no finer.
MICROSECOND_NS = 1_000
# Escapes that cel-python reads as two characters (references: CEL specification, parse tests).
_WRONG_ESCAPES = re.compile(r"\\[?X`]")


@dataclass(frozen=True, slots=True)
class OpinionLimits:
    """What asking may take."""

    wall_s: float = 10.0  # of one request to the child
    start_s: float = 30.0
    cpu_s: int = 10
    memory_bytes: int = 2 << 30
    total_s: float = 300.0  # of all; what is left then is not asked
    evaluations_max: int = 50_000  # of more, every second, third and so on is asked


class SecondInterpreter(FramedChild):
    """cel-python's interpreter, in a child process."""

    def __init__(self, limits: OpinionLimits | None = None) -> None:
        self.limits = limits or OpinionLimits()
        super().__init__(
            _PROCESS,
            (str(self.limits.memory_bytes), str(self.limits.cpu_s)),
            wall_s=self.limits.wall_s,
            start_s=self.limits.start_s,
        )

    @property
    def does_not_start(self) -> str:
        """What to say when it does not even start."""
        return (
            "the second CEL interpreter does not start: install `portcullis[authoring]`, "
            "which brings cel-python"
        )

    def values(self, source: str, rows: Sequence[Mapping[str, Value]]) -> list[bool | str]:
        """The truth value of an expression on each row, or why there is none.

        Args:
            source: the text; it may use nothing but the rows' names.
            rows: what each name is; `now` as RFC 3339.

        Raises:
            ConfigurationError: it does not start at all.
        """
        try:
            answer = self.ask(json.dumps({"source": source, "rows": rows}).encode())
        except ChildFailedError as error:
            return [f"it {error}"] * len(rows)
        found = answer.get("values")
        if not isinstance(found, list) or len(found) != len(rows):
            return ["it gave a garbled answer"] * len(rows)
        return [item if type(item) is bool else str(item) for item in found]


def known_mistake(text: str, tracer: Tracer, trace: Trace) -> str:
    """The class of cel-python's known mistakes that this evaluation falls into, or empty.

    From what was measured with the specification's tests and by probing: `true`
    equals 1 to it, NaN equals NaN, three escapes are read wrongly, and time has
    microseconds. Where it errs by giving a value for an error, ours is no truth
    value and nothing is compared.
    """
    if _WRONG_ESCAPES.search(text):
        return "it reads some escapes in texts wrongly"
    kinds_of = [_kinds(sample.value for sample in seen.samples) for seen in trace.seen]
    if any("nan" in kinds for kinds in kinds_of):
        return "NaN equals NaN to it"
    if any("fine" in kinds for kinds in kinds_of):
        return "it cuts times to microseconds"
    for site in tracer.sites:
        if site.kind in {"==", "!=", "in", "[]"} and len(site.children) > 1:
            left, right = (kinds_of[child] for child in site.children[:2])
            if ("bool" in left and "number" in right) or ("number" in left and "bool" in right):
                return "true equals 1 to it"
    return ""


def _kinds(values: Iterable[object]) -> frozenset[str]:
    """Which kinds are among some values, in lists and maps too."""
    found: set[str] = set()
    waiting = list(values)
    while waiting:
        match waiting.pop():
            case bool():
                found.add("bool")
            case int():
                found.add("number")
            case float() as number:
                found.add("number")
                if number != number:  # noqa: PLR0124 NaN is the one that differs from itself
                    found.add("nan")
            case Timestamp(ns=ns) | Duration(ns=ns) if ns % MICROSECOND_NS:
                found.add("fine")
            case dict() as entries:
                waiting += [*entries, *entries.values()]
            case list() | tuple() as items:
                waiting += items
            case _:
                continue
    return frozenset(found)
