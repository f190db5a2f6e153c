"""An OpenTelemetry collector: takes OTLP over HTTP, and can be slow, gone or hostile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """One collector on loopback.

    Attributes:
        requests: what came, as it came.
        status: of each answer.
        held: while this is not set, nobody is answered.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.status = 200
        self.held = threading.Event()
        self.held.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.requests.append(
                    self.rfile.read(int(self.headers.get("Content-Length") or 0))
                )
                collector.held.wait(30)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where spans are to be sent."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"

    def spans(self) -> list[Any]:
        """All spans that came."""
        return [
            span
            for data in tuple(self.requests)
            for resource in ExportTraceServiceRequest.FromString(data).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def stop(self) -> None:
        """It is gone; its port refuses."""
        self.held.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that is ended, too."""
    made = Collector()
    try:
        yield made
    finally:
        made.stop()
