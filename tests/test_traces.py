"""Spans join the caller's trace, cost nothing when off, and hold nothing of anybody."""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pdp import engine, wire
from pdp.decision_point import DecisionPoint
from pdp.errors import ConfigurationError
from pdp.model import Action, Request, Resource, Subject
from pdp.server import traces
from pdp.server.authzen.pages import EVALUATION
from pdp.server.metrics.exposition import exposition
from pdp.server.metrics.figures import Figures, counted
from pdp.server.traces import CountingExporter, Traces
from pdp.v1 import authorization_pb2 as pb
from tests.simulators.authzen import alice, authzen_server, record
from tests.simulators.collector import Collector, collector
from tests.simulators.configurations import Tree, changed, good_tree
from tests.simulators.decision_points import (
    AUTHORIZE,
    MemoryRecorder,
    RunningServer,
    message,
    running_server,
)
from tests.test_config import load
from tests.test_process import House, house, quick_tree

__all__ = ["house"]

BATCH = AUTHORIZE + "Batch"
ALL = pb.BATCH_SEMANTIC_EXECUTE_ALL
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = ("traceparent", f"00-{TRACE}-{PARENT}-01")


def tracing(running: RunningServer, ratio: float = 0.0) -> InMemorySpanExporter:
    """Have the doors of a server make spans, kept here."""
    exporter = InMemorySpanExporter()
    made = Traces(CountingExporter(exporter, running.telemetry), ratio, "pdp-1", "pdp")
    running.telemetry.tracing = made
    return exporter


def finished(running: RunningServer, exporter: InMemorySpanExporter) -> list[Any]:
    """Spans that were made until now."""
    made = running.telemetry.tracing
    assert isinstance(made, Traces)
    made.close()
    return list(exporter.get_finished_spans())


async def call(
    running: RunningServer, data: bytes, *metadata: tuple[str, str], method: str = AUTHORIZE
) -> bytes | str:
    """The answer's bytes, or the status of a call that got none."""
    async with running.channel() as channel:
        try:
            asked = channel.unary_unary(method, bytes, bytes)
            answer: bytes = await asked(data, timeout=5, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return answer


def test_a_span_joins_the_callers_trace_and_says_the_decision(tmp_path: Path) -> None:
    """Trace and parent are the caller's; attributes are effect and cause, and no others."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            exporter = tracing(running)
            await call(running, message(), SAMPLED, ("tracestate", "a=b"), ("baggage", "who=x"))
            (span,) = finished(running, exporter)
            assert trace.format_trace_id(span.context.trace_id) == TRACE
            assert trace.format_span_id(span.parent.span_id) == PARENT
            assert span.name == "pdp.authorize"
            assert dict(span.attributes) == {"pdp.effect": "PERMIT", "pdp.cause": "RULE"}
            assert not span.context.trace_state
            assert not span.events

    asyncio.run(scenario())


def test_a_batch_and_a_refused_call_are_spans_too(tmp_path: Path) -> None:
    """A batch says how many; a malformed question says that it was refused, and not why."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            exporter = tracing(running)
            await call(running, b"\xff\xff", SAMPLED)
            items = [pb.AuthorizeRequest.FromString(message()) for _ in range(3)]
            for number, item in enumerate(items):
                item.request_id = f"q-{number}"
            batch = pb.AuthorizeBatchRequest(request_id="b", semantic=ALL, items=items)
            await call(running, batch.SerializeToString(), SAMPLED, method=BATCH)
            refused, many = finished(running, exporter)
            assert dict(refused.attributes) == {"pdp.refused": "invalid"}
            assert many.name == "pdp.authorize_batch"
            assert many.attributes["pdp.permits"] + many.attributes["pdp.denials"] == 3

    asyncio.run(scenario())


@pytest.mark.parametrize(("ratio", "spans"), [(0.0, 0), (1.0, 2)])
def test_callers_that_sample_nothing_are_traced_by_the_operators_share(
    ratio: float, spans: int, tmp_path: Path
) -> None:
    """No traceparent, or one that is none: no parent, so the share decides."""

    async def scenario() -> None:
        async with running_server(tmp_path) as running:
            exporter = tracing(running, ratio)
            for metadata in ((), (("traceparent", "00-zz-zz-01"),)):
                assert isinstance(await call(running, message(), *metadata), bytes)
            found = finished(running, exporter)
            assert [span.parent for span in found] == [None] * spans

    asyncio.run(scenario())


def test_two_parents_are_none() -> None:
    """Which of them is meant, nobody knows; W3C Trace Context lets neither count."""
    two = traces._parent([SAMPLED, (b"Traceparent", SAMPLED[1].encode())])
    assert not trace.get_current_span(two).get_span_context().is_valid
    one = traces._parent([SAMPLED])
    assert trace.get_current_span(one).get_span_context().is_valid


text = st.one_of(st.text(max_size=60), st.just(SAMPLED[1]))
pairs = st.tuples(
    st.one_of(st.sampled_from(["traceparent", b"Traceparent", "tracestate"]), st.text(max_size=8)),
    st.one_of(text, st.binary(max_size=60)),
)


@given(headers=st.lists(pairs, max_size=5))
def test_hostile_headers_are_no_parent_and_no_exception(
    headers: list[tuple[str | bytes, str | bytes]],
) -> None:
    """Whatever a caller sends: a valid parent without state, or none."""
    context = traces._parent(headers)
    found = trace.get_current_span(context).get_span_context()
    assert not found.trace_state
    if found.is_valid:
        assert trace.format_trace_id(found.trace_id) in str(headers).lower()


def test_without_the_setting_nothing_of_opentelemetry_is_loaded() -> None:
    """Zero cost when off: a server that makes no spans has not even imported the library."""
    program = (
        "import sys, pdp.server.process; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# -- the collector is somebody else's trouble -----------------------------------------------------


def with_traces(endpoint: str) -> Tree:
    """Every call is traced."""
    tree = quick_tree()
    tree["traces"] = {"endpoint": endpoint, "ratio": 1}
    return tree


def arrived(found: Collector, spans: int) -> bool:
    """Whether so many spans came, within ten seconds."""
    ends = time.monotonic() + 10
    while len(found.spans()) < spans and time.monotonic() < ends:
        time.sleep(0.05)
    return len(found.spans()) >= spans


def test_spans_reach_a_collector_and_its_trouble_reaches_nobody(house: House) -> None:
    """Spans come; then it refuses, hangs, and is gone: permits go on, and the end is quick."""
    with collector() as found:
        house.configure(with_traces(found.endpoint))
        running = house.start()
        assert running.until(bool)
        assert arrived(found, 1)
        assert {span.name for span in found.spans()} == {"pdp.authorize"}
        found.status = 500
        assert running.ask()
        running.wait_for("traces_failing")
        found.held.clear()
        assert all(running.ask() for _ in range(5))
    assert all(running.ask() for _ in range(5))
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 20
    lines = [str(each["event"]) for each in running.events]
    assert lines.count("traces_failing") == 1


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://collector.example.org:4318/v1/traces", "not `https`"),
        ("https://user:secret@collector.example.org/v1/traces", "has a user"),
        ("https://collector.example.org/v1/traces?key=secret", "a query"),
        ("collector:4318", "write `https://"),
        ("https://:4318/", "write `https://"),
        ("https://host:port/", "write `https://"),
        ("", "write `https://"),
    ],
)
def test_an_endpoint_that_would_leak_or_cannot_be_is_refused(
    endpoint: str, says: str, tmp_path: Path
) -> None:
    """Plain HTTP beyond this machine, secrets in a URL, and what is no URL."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, changed("traces.endpoint", endpoint))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def test_half_of_the_setting_is_refused(tmp_path: Path) -> None:
    """A ratio without an endpoint would trace nothing, and somebody meant it to."""
    tree = good_tree()
    tree["traces"] = {"ratio": 0.5}
    with pytest.raises(ConfigurationError, match=r"traces\.endpoint"):
        load(tmp_path, tree)


# -- nothing of anybody ---------------------------------------------------------------------------

# In every text of every question; no word of ours has it.
CANARY = "zq9xcanary"


def secret(chance: random.Random) -> str:
    """A text of a caller's, unlike any other; some would pass for a word, some for a line."""
    form = chance.choice(["{}", "{}@example.org", "a\n{}", '{{"event": "{}"}}', "{} \u202e\0"])
    return str(form.format(CANARY + str(chance.randrange(10**6))))


def question(chance: random.Random) -> Request:
    """Of which everything is the caller's."""

    def properties(depth: int = 0) -> dict[str, Any]:
        leaf: Callable[[], Any] = lambda: chance.choice(  # noqa: E731
            [secret(chance), [secret(chance)], secret(chance).encode(), chance.random()]
        )
        found: dict[str, Any] = {secret(chance): leaf() for _ in range(2)}
        return found if depth else found | {secret(chance): properties(1)}

    return Request(
        Subject(chance.choice(["user", secret(chance)]), secret(chance), properties()),
        Action(chance.choice(["read", secret(chance)]), properties()),
        Resource(chance.choice(["document", secret(chance)]), secret(chance), properties()),
        properties(),
        request_id=secret(chance),
        tenant=chance.choice(["", secret(chance)]),
        subject_token=chance.choice(["", secret(chance)]),
    )


class Failing:
    """A recorder and a rule engine that fail with the caller's own words."""

    @staticmethod
    def record(*_: Any) -> Any:
        """A disk that says what it was given."""
        raise RuntimeError(f"cannot write {CANARY}")

    @staticmethod
    def decide(*_: Any, **__: Any) -> Any:
        """A rule that says what it saw."""
        raise ValueError(f"no such attribute: {CANARY}")


async def everything_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Log, metrics and traces of a server that is asked all kinds of questions."""
    chance = random.Random(20_261_126)
    async with authzen_server(folder, envoy=True) as web:
        running = web.running
        log = io.StringIO()
        running.telemetry._stream = log
        exporter = tracing(running, ratio=1.0)
        headers = (("user-agent-x", CANARY), ("tracestate", f"a={CANARY}"), ("baggage", CANARY))
        for number in range(60):
            if number == 40:
                monkeypatch.setattr(engine, "decide", Failing.decide)
                monkeypatch.setattr("pdp.admission.decide", Failing.decide)
            if number == 50:
                monkeypatch.setattr(MemoryRecorder, "append", Failing.record)
            asked = wire.request_to_pb(question(chance))
            data = asked.SerializeToString()
            if number % 7 == 6:
                data = data[: chance.randrange(len(data))]
            await call(running, data, *headers)
            batch = pb.AuthorizeBatchRequest(request_id=secret(chance), semantic=ALL, items=[asked])
            await call(running, batch.SerializeToString(), *headers, method=BATCH)
            await call(running, data, *headers, method="/envoy.service.auth.v3.Authorization/Check")
            body = {"subject": alice(name=secret(chance)), "action": {"name": secret(chance)}}
            body["resource"] = record(1, name=secret(chance))
            await web.post(EVALUATION, body, {"x-request-id": CANARY, "tracestate": CANARY})
            await web.post(f"/{CANARY}", body)
        spans = "".join(span.to_json() for span in finished(running, exporter))
        shown = exposition([Figures("pdp", counted(running.telemetry))]).decode()
        counters = str(running.telemetry.counters)
        running.telemetry.close()
        assert "decision_failed" in log.getvalue()
        assert "pdp_decisions_total" in shown
        assert all(f"pdp.{door}" in spans for door in ("authorize", "check", "authzen"))
        return log.getvalue() + shown + counters + spans


def test_nothing_of_a_question_is_in_log_metrics_or_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, ids, tokens, headers, tenants, keys of maps; of failures, too: nowhere."""
    assert CANARY not in asyncio.run(everything_said(tmp_path, monkeypatch))


def test_nothing_of_a_question_twin_without_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the words of an error logged, as is usual, a caller's words would be among them."""

    def failed(self: DecisionPoint, error: Exception) -> None:
        self._telemetry.log("error", "decision_failed", detail=str(error))

    monkeypatch.setattr(DecisionPoint, "_failed", failed)
    assert CANARY in asyncio.run(everything_said(tmp_path, monkeypatch))
