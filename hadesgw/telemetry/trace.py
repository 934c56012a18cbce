"""Traces: one span for each metered request, in the words of OpenTelemetry's conventions for generative AI.

A request that brings a W3C `traceparent` belongs to the caller's trace; the model server is sent ours, so that its
spans hang below it. Spans are made in the reactor's thread and leave the process in another. Nothing here is imported
unless `[otel]` names where traces go. No span holds what was said.
"""

from __future__ import annotations

from time import time_ns

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from zope.interface import implementer

from hadesgw import __version__
from hadesgw.http.site import Request
from hadesgw.interfaces import IFollower

EXPORT_SECONDS = 3
"""How long one try to deliver may take; it holds up nobody but the exporter's own thread."""
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""What a route does, in the conventions' words; other routes are named by themselves."""

_CONTEXT = TraceContextTextMapPropagator()
_FIELDS = DefaultGetter()


@implementer(IFollower)
class Tracing:
    """Makes the spans.

    :param processor: takes each span that has ended.
    :param service: the name under which a trace shows us.
    :param sampled: the share of requests that are traced, of those whose caller has not decided.
    """

    def __init__(self, processor: SpanProcessor, service: str, sampled: float) -> None:
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sampled)),
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("hadesgw", __version__)
        self._spans: dict[Request, Span] = {}

    def begun(self, request: Request) -> None:
        """Begin the span, below the caller's if there is one, and leave for the proxy what the model server is sent."""
        index = request.head.index
        brought = {
            name: index[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in index
        }
        span = self._tracer.start_span(
            "request", _CONTEXT.extract(brought, getter=_FIELDS), SpanKind.SERVER, start_time=time_ns()
        )
        sent: dict[str, str] = {}
        _CONTEXT.inject(sent, trace.set_span_in_context(span))
        request.trace_fields = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        if span.is_recording():
            self._spans[request] = span

    def learned(self, request: Request, fact: str, word: str | None) -> None:
        """A moment in the span: the first byte, a tool call, a memory event."""
        span = self._spans.get(request)
        if span is None:
            return
        if fact == "finish":
            span.set_attribute("gen_ai.response.finish_reasons", [word or ""])
        else:
            span.add_event(fact, {} if word is None else {"name": word})

    def ended(self, request: Request, completed: bool, now: float) -> None:
        """End the span with all that is known."""
        span = self._spans.pop(request, None)
        if span is None:
            return
        record, route = request.record, request.record.route or "none"
        operation = OPERATIONS.get(route)
        method = request.method.decode("ascii")
        span.update_name(f"{operation} {record.model or ''}".strip() if operation else f"{method} {route}")
        told: dict[str, str | int | None] = {
            "request_id": request.correlation.request_id.decode("ascii"),
            "conveyance_session_id": request.correlation.session_id.decode("ascii"),
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": request.code,
            "error.type": record.reason,
            "enduser.id": record.client,
            "hadesgw.upstream": record.upstream,
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "vllm" if operation else None,
            "gen_ai.request.model": record.model,
            "gen_ai.response.id": record.response_id,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.completion_tokens,
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        if request.code >= 500 or (record.reason is not None and request.code < 400 and completed):
            span.set_status(Status(StatusCode.ERROR, record.reason))
        span.end(time_ns())


def exporting(endpoint: str) -> SpanProcessor:
    """Sends spans in batches, from a thread of its own; what a collector that is away would take is dropped in time.

    :param endpoint: of an OTLP collector by HTTP, such as `http://localhost:4318/v1/traces`.
    """
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS))
