"""A running gateway that sends its spans to a collector: a real exporter, OTLP by HTTP, and a client's trace."""

from __future__ import annotations

import gzip
import http.server
import tempfile
import threading
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.upstream import Upstream
from tests.real.visitor import Visitor

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(http.server.ThreadingHTTPServer):
    """Keeps the spans it is sent."""

    spans: list[Span]


class Delivery(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class TraceTests(SynchronousTestCase):
    """A gateway before a model server."""

    def serve(self, endpoint: str) -> Gateway:
        """Start both."""
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        (folder / "gateway").mkdir()
        self.upstream = Upstream(folder / "up.sock")
        self.addCleanup(self.upstream.stop)
        self.upstream.start()
        gateway = Gateway(folder / "gateway", self.upstream.path, ["m"], {"otel": {"endpoint": endpoint}})
        self.addCleanup(gateway.stop)
        gateway.start()
        return gateway

    def test_a_clients_trace_goes_on_through_us(self) -> None:
        """The collector has a span with both ids in the client's trace, sent off at the latest when we stop."""
        collector = Collector(("127.0.0.1", 0), Delivery)
        collector.spans = []
        self.addCleanup(collector.server_close)
        self.addCleanup(collector.shutdown)
        threading.Thread(target=collector.serve_forever, args=(0.05,), daemon=True).start()
        gateway = self.serve(f"http://127.0.0.1:{collector.server_port}/v1/traces")
        body = {"model": "m", "metadata": {"act": "answer"}}
        fields = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "traced"}
        self.assertEqual(gateway.client().post("/v1/chat/completions", body, fields).status, 200)
        self.assertEqual(gateway.stop(), 0)
        (span,) = [span for span in collector.spans if span.name == "chat m"]
        self.assertEqual(span.trace_id.hex(), TRACE)
        attributes = {each.key: each.value.string_value for each in span.attributes}
        self.assertEqual(attributes["request_id"], "traced")
        self.assertTrue(attributes["conveyance_session_id"])

    def test_a_collector_that_is_away_holds_nothing_up(self) -> None:
        """Requests are answered as ever, and a stop takes a few seconds at the most."""
        gateway = self.serve("http://127.0.0.1:9/v1/traces")
        visitor = Visitor(gateway)
        self.addCleanup(visitor.close)
        visitor.ask("answer", "untraced")
        visitor.read_to_end()
        self.assertEqual(visitor.answer().status, 200)
        begun = time.monotonic()
        self.assertEqual(gateway.stop(seconds=60), 0)
        self.assertLess(time.monotonic() - begun, 20)
