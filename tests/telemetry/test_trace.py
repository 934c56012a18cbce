"""What a request leaves in a trace, and what the model server is told of it."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IFollower
from hadesgw.telemetry.trace import Tracing
from tests.wire.door import Door, Leaf
from tools.pure import PROJECT

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class SpanTests(SynchronousTestCase):
    """One request on a memory transport, followed from its beginning to its end."""

    def trace(
        self,
        *fields: str,
        sampled: float = 1.0,
        reason: str | None = None,
        facts: tuple[tuple[str, str | None], ...] = (),
    ) -> tuple[list[ReadableSpan], dict[str, str]]:
        """The spans of a request with these fields, and the fields for the model server."""
        exporter = InMemorySpanExporter()
        self.tracing = Tracing(SimpleSpanProcessor(exporter), "hadesgw", sampled)
        sent: dict[str, str] = {}

        def render(request: Request) -> bytes:
            self.tracing.begun(request)
            sent.update({name.decode(): value.decode() for name, value in request.trace_fields or ()})
            record = request.record
            record.route, record.client, record.model = "/v1/chat/completions", "alice", "qwen"
            record.response_id, record.prompt_tokens, record.completion_tokens = "chatcmpl-1", 12, 34
            record.reason, record.upstream = reason, "vllm"
            for fact, word in facts:
                self.tracing.learned(request, fact, word)
            request.at_end(lambda completed: self.tracing.ended(request, completed, record.started + 1))
            return b"said"

        head = ["POST /v1/chat/completions?q=canary HTTP/1.1", "Host: localhost", "X-Request-ID: r-1"]
        head += ["X-Conveyance-Session-ID: s-1", "Content-Length: 0", *fields, "", ""]
        Door(Leaf(render)).call().send("\r\n".join(head).encode())
        return list(exporter.get_finished_spans()), sent

    def test_a_request_is_one_span_in_the_conventions_words(self) -> None:
        """Operation and model are its name; ids, tokens and outcome its attributes; nothing that was said is in it."""
        self.assertTrue(verifyObject(IFollower, Tracing(SimpleSpanProcessor(InMemorySpanExporter()), "x", 1.0)))
        facts = (("first_byte", None), ("tool_call", "get_weather"), ("finish", "stop"))
        (span,), _ = self.trace(facts=facts)
        self.assertEqual(span.name, "chat qwen")
        self.assertEqual(
            dict(span.attributes or {}),
            {
                "request_id": "r-1",
                "conveyance_session_id": "s-1",
                "http.request.method": "POST",
                "http.route": "/v1/chat/completions",
                "http.response.status_code": 200,
                "enduser.id": "alice",
                "hadesgw.upstream": "vllm",
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "vllm",
                "gen_ai.request.model": "qwen",
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 34,
            },
        )
        self.assertEqual([event.name for event in span.events], ["first_byte", "tool_call"])
        self.assertNotIn("canary", span.to_json())
        self.assertEqual(self.tracing._spans, {})

    def test_it_hangs_below_the_callers_and_the_models_below_it(self) -> None:
        """The trace is the caller's; what goes on to the model server names our span as the parent."""
        (span,), sent = self.trace(f"traceparent: {PARENT}", "tracestate: a=b")
        assert span.parent is not None
        assert span.context is not None
        self.assertEqual(f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}", PARENT[3:52])
        self.assertEqual(sent["traceparent"], f"00-{PARENT[3:35]}-{span.context.span_id:016x}-01")
        self.assertEqual(sent["tracestate"], "a=b")

    def test_a_broken_parent_is_none(self) -> None:
        """A new trace begins, as the specification wants it."""
        for broken in ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "nonsense", "é" * 600):
            (span,), sent = self.trace(f"traceparent: {broken}")
            self.assertIsNone(span.parent)
            self.assertRegex(sent["traceparent"], r"\A00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]\Z")

    def test_what_is_not_sampled_leaves_no_span(self) -> None:
        """By our share, or by the caller's decision, which goes on to the model server; its yes overrules our no."""
        self.assertEqual(self.trace(sampled=0.0)[0], [])
        spans, sent = self.trace(f"traceparent: {PARENT[:-1]}0")
        self.assertEqual(spans, [])
        self.assertTrue(sent["traceparent"].endswith("-00"))
        self.assertEqual(len(self.trace(f"traceparent: {PARENT}", sampled=0.0)[0]), 1)

    def test_a_broken_answer_is_an_error(self) -> None:
        """Though its status was 200; a whole one is not."""
        (span,), _ = self.trace(reason="upstream_truncated")
        self.assertEqual(span.status.status_code, StatusCode.ERROR)
        self.assertEqual((span.attributes or {})["error.type"], "upstream_truncated")
        (span,), _ = self.trace()
        self.assertEqual(span.status.status_code, StatusCode.UNSET)

    def test_nothing_is_loaded_where_nobody_traces(self) -> None:
        """A gateway without `[otel]` does not import the library."""
        code = "import hadesgw.tap, sys; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False, timeout=60)
        self.assertEqual(done.returncode, 0)
