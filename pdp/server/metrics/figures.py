"""What one process of a PDP has to show at a moment.

Plain values, so that another process of the same PDP can show them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdp.server.metrics.times import BOUNDS_S, Times
from pdp.telemetry import Telemetry

# Every metric's largest number of series of one process. What is beyond it is counted as `other`.
SERIES_MAX: Final = 100
FIGURES_BYTES_MAX: Final = 262_144
_OTHER: Final = "other"
# What words of our closed sets look like: PERMIT, in_flight, worker-1, rollback.
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one process.

    Attributes:
        process: which.
        counters: by name and labels; they only grow.
        gauges: by name.
        times: histograms by name and label: counts per bin, and the sum in seconds.
    """

    process: str
    counters: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[tuple[str, str], tuple[list[int], float]] = field(default_factory=dict)


def counted(telemetry: Telemetry) -> dict[tuple[str, ...], int]:
    """The counters of a process, labels judged."""
    found: dict[tuple[str, ...], int] = {}
    series: dict[str, int] = {}
    for (name, *labels), count in tuple(telemetry.counters.items()):
        key = (name, *(label if _WORD.fullmatch(label) else _OTHER for label in labels))
        if key not in found:
            series[name] = series.get(name, 0) + 1
            if series[name] > SERIES_MAX:
                key = (name, *(_OTHER for _ in labels))
        found[key] = found.get(key, 0) + count
    return found


def timed(times: Mapping[str, Times], name: str) -> dict[tuple[str, str], tuple[list[int], float]]:
    """Histograms of one name, by label."""
    return {(name, label): (list(each.counts), each.sum_s) for label, each in times.items()}


def to_json(figures: Figures) -> bytes:
    """For another process."""
    body = {
        "counters": [[*key, count] for key, count in figures.counters.items()],
        "gauges": figures.gauges,
        "times": [[*key, *value] for key, value in figures.times.items()],
    }
    return json.dumps(body).encode()


def from_json(process: str, data: bytes) -> Figures | None:
    """What `to_json` wrote; None: something else.

    Args:
        process: whose; from the name of the file, not from what is in it.
        data: of any kind.
    """
    if len(data) > FIGURES_BYTES_MAX:
        return None
    try:
        body = json.loads(data)
        return Figures(
            process,
            dict(_counter(each) for each in body["counters"]),
            {_checked(_NAME, name): _number(value) for name, value in body["gauges"].items()},
            dict(_times(each) for each in body["times"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        return None


def _counter(each: Any) -> tuple[tuple[str, ...], int]:
    name, *labels, count = each
    if type(count) is not int or count < 0:
        raise ValueError("no count")
    return (_checked(_NAME, name), *(_checked(_WORD, label) for label in labels)), count


def _times(each: Any) -> tuple[tuple[str, str], tuple[list[int], float]]:
    name, label, counts, sum_s = each
    if len(counts) != len(BOUNDS_S) + 1 or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError("no counts")
    return (_checked(_NAME, name), _checked(_WORD, label)), (counts, _number(sum_s))


def _checked(pattern: re.Pattern[str], text: Any) -> str:
    if not isinstance(text, str) or pattern.fullmatch(text) is None:
        raise ValueError("no word")
    return text


def _number(value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)
