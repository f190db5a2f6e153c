"""Spans that join the caller's trace, for whoever runs a collector.

Off unless the operator names a collector; then nothing of OpenTelemetry is even
imported. On, each question at a door is a span, a child of the caller's by its
W3C `traceparent`. Spans go out in the background, in batches, from a queue of
bounded length; what cannot be sent is dropped and counted.

INVARIANT: a span says which door, effect and cause, and how long: words of
closed sets and times. Nothing of the question, of who asked or of an error's
text is in it; of the caller's context only the ids and the sampled flag are
read, never `tracestate` or baggage.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import pdp
from pdp.config.settings import Settings, TraceSettings
from pdp.telemetry import Headers, Telemetry

_QUEUE_SPANS: Final = 2_048
_BATCH_SPANS: Final = 256
_DELAY_MS: Final = 1_000
_TIMEOUT_S: Final = 3.0
# The last spans at the end. Whoever stops a PDP does not wait for a collector.
_FLUSH_S: Final = 2.0
_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}", re.ASCII)

_propagator: Final = TraceContextTextMapPropagator()
# What was counted within the call that this task answers.
_counted: ContextVar[Counter[tuple[str, ...]] | None] = ContextVar("counted", default=None)


class Traces:
    """Makes spans. For one event loop; sending is a thread's.

    Args:
        exporter: where spans go.
        ratio: of calls without a sampled parent, the share that is traced.
        instance: the PDP's name.
        process: which of its processes.
    """

    def __init__(self, exporter: SpanExporter, ratio: float, instance: str, process: str) -> None:
        # Not `Resource.create`: it would add what the environment says.
        resource = Resource(
            {
                "service.name": "pdp",
                "service.version": pdp.__version__,
                "service.instance.id": f"{instance}/{process}",
            }
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE_SPANS,
                max_export_batch_size=_BATCH_SPANS,
                schedule_delay_millis=_DELAY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("pdp")

    @contextmanager
    def call(self, kind: str, headers: Headers) -> Iterator[None]:
        """A span around the answer to one call.

        Args:
            kind: of the door, a word.
            headers: of the call; only `traceparent` is looked at.
        """
        span = self._tracer.start_span(f"pdp.{kind}", _parent(headers), SpanKind.SERVER)
        counted: Counter[tuple[str, ...]] = Counter()
        token = _counted.set(counted)
        try:
            yield
        except BaseException as error:
            label = getattr(error, "label", "")
            word = isinstance(label, str) and _WORD.fullmatch(label)
            span.set_attribute("pdp.refused", label if word else "error")
            raise
        finally:
            _counted.reset(token)
            if counted.total() == 1:
                ((effect, cause),) = counted
                span.set_attribute("pdp.effect", effect)
                span.set_attribute("pdp.cause", cause)
            elif counted:
                permits = sum(n for (effect, _), n in counted.items() if effect == "PERMIT")
                span.set_attribute("pdp.permits", permits)
                span.set_attribute("pdp.denials", counted.total() - permits)
            span.end()

    def counted(self, name: str, labels: Sequence[str]) -> None:
        """Something was counted, perhaps within a call."""
        if name == "decisions":
            within = _counted.get()
            if within is not None:
                within[tuple(labels)] += 1

    def close(self) -> None:
        """Send what waits, for at most `_FLUSH_S` seconds. Blocks."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces-end")
        ending.start()
        ending.join(_FLUSH_S)


class CountingExporter(SpanExporter):
    """Another exporter whose failures are counted, and told once.

    Args:
        inner: sends.
        telemetry: counters and logs.
    """

    def __init__(self, inner: SpanExporter, telemetry: Telemetry) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send; whatever goes wrong is a failure and no exception."""
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 a collector's trouble is nobody else's
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self._telemetry.count("traces", "failed")
        if failed != self._failing:
            self._failing = failed
            level = "warning" if failed else "info"
            self._telemetry.log(level, "traces_failing" if failed else "traces_resumed")
        return result

    def shutdown(self) -> None:
        """As the other."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the other."""
        return self._inner.force_flush(timeout_millis)


def start_traces(
    settings: Settings, traces: TraceSettings, telemetry: Telemetry
) -> Callable[[], None]:
    """Have doors make spans from now on.

    Args:
        settings: whose spans.
        traces: where to send them.
        telemetry: what doors count with.

    Returns:
        To be called at the end.
    """
    # It says with each batch what `CountingExporter` says once, and with addresses.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)
    exporter = OTLPSpanExporter(
        endpoint=traces.endpoint,
        certificate_file=None if traces.ca_bundle is None else str(traces.ca_bundle),
        timeout=_TIMEOUT_S,
    )
    process = f"worker-{settings.worker}" if settings.worker else "pdp"
    made = Traces(CountingExporter(exporter, telemetry), traces.ratio, settings.instance, process)
    telemetry.tracing = made
    return made.close


def _parent(headers: Headers) -> Context:
    """The caller's span, if exactly one `traceparent` names it; else none."""
    found = [_text(value) for name, value in headers if _text(name).lower() == "traceparent"]
    # Read into an empty context: nothing that happens to be current is a parent.
    return _propagator.extract({"traceparent": found[0]} if len(found) == 1 else {}, Context())


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
