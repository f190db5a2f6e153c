"""Figures as Prometheus reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import pdp
from pdp.server.metrics.figures import Figures
from pdp.server.metrics.times import BOUNDS_S

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# What counters count, and the names of their labels.
COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "decisions": ("Answers.", ("effect", "cause")),
    "overloaded": ("Questions denied before any work, by what was full.", ("reason",)),
    "refused": ("Calls ended with an error status.", ("reason",)),
    "failures": ("Exceptions that became DENY(INTERNAL).", ("place",)),
    "records": ("Records that were not written.", ("why",)),
    "polls": ("Looks at the repository.", ("outcome",)),
    "tls": ("Looks at certificate files that found something.", ("outcome",)),
    "keys": ("Looks at key sets of token issuers.", ("outcome",)),
    "tokens": ("Subject tokens.", ("outcome",)),
    "searches": ("Searches; RULE and DEFAULT are pages.", ("kind", "cause")),
    "directory": ("Questions to the directory of searches without an answer.", ("fault",)),
    "providers": ("Questions to providers of attributes.", ("outcome",)),
    "log_lines_dropped": ("Lines of the log that nobody read in time.", ()),
    "spool_records": ("Records made durable.", ()),
    "spool_fsyncs": ("Batches of records that were made durable together.", ()),
    "spool_suppressed": ("Denials counted in place of being recorded.", ()),
    "spool_refused": ("Permits denied because the spool was full.", ()),
    "spool_failures": ("Writes and fsyncs that failed.", ()),
    "traces": ("Batches of spans that could not be sent.", ("outcome",)),
    "process_ends": ("Processes of this PDP that ended by themselves.", ("child",)),
    "changeovers": ("Revisions that all workers changed over to.", ()),
}
GAUGES: Final = {
    "serving": "1 while a permit is possible.",
    "snapshot_revision": "Revision of the policies that decide.",
    "snapshot_age_seconds": "Since this revision began to decide in this process.",
    "snapshot_fresh_seconds": "Until the policies are stale; below 0: they are.",
    "spool_waiting_records": "Records that wait for the disk.",
    "spool_bytes": "Size of the spool.",
    "spool_bytes_max": "Its budget.",
    "requests_in_flight": "Questions being decided.",
    "request_bytes_in_flight": "Their bytes.",
    "certificate_seconds": "Until the PDP's own certificate expires.",
    "changeover_skew_seconds": "From the first worker to the last, at the last changeover.",
    "changeover_pending": "1 while workers decide by different revisions, or wait to change over.",
}
TIMES: Final = {
    "answer": "From taking a question on to its answer, its record included.",
}


class _Shown(Collector):
    def __init__(self, all_figures: Sequence[Figures]) -> None:
        self._all = all_figures

    def collect(self) -> Iterator[Metric]:
        yield from self._counters()
        for name, what in GAUGES.items():
            family = GaugeMetricFamily(f"pdp_{name}", what, labels=["process"])
            for figures in self._all:
                if name in figures.gauges:
                    family.add_metric([figures.process], figures.gauges[name])
            if family.samples:
                yield family
        for name, what in TIMES.items():
            yield self._times(name, what)
        version = GaugeMetricFamily("pdp_build_info", "Version.", labels=["version"])
        version.add_metric([pdp.__version__], 1)
        yield version

    def _counters(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for figures in self._all:
            for (name, *labels), count in sorted(figures.counters.items()):
                names = _label_names(name, len(labels))
                family = families.get(name)
                if family is None:
                    what = COUNTERS.get(name, ("Counted.", ()))[0]
                    family = CounterMetricFamily(f"pdp_{name}", what, labels=["process", *names])
                    families[name] = family
                # One name always has one number of labels; what has not is left out.
                if len(family._labelnames) == len(labels) + 1:  # noqa: SLF001
                    family.add_metric([figures.process, *labels], count)
        yield from families.values()

    def _times(self, name: str, what: str) -> Metric:
        family = HistogramMetricFamily(f"pdp_{name}_seconds", what, labels=["process", "kind"])
        for figures in self._all:
            for (its, kind), (counts, sum_s) in sorted(figures.times.items()):
                if its == name:
                    family.add_metric([figures.process, kind], list(_bins(counts)), sum_s)
        return family


def _label_names(name: str, count: int) -> tuple[str, ...]:
    """As documented; of a counter that is not, `label_1` and so on."""
    names = COUNTERS.get(name, ("", ()))[1]
    return names if len(names) == count else tuple(f"label_{n}" for n in range(1, count + 1))


def _bins(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
        total += count
        yield bound, total


def exposition(all_figures: Sequence[Figures]) -> bytes:
    """The text of a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(all_figures))
    return generate_latest(registry)
