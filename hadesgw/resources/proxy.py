"""The leaf that hands a request to the model server: by an exact list of routes, never by a prefix.

vLLM serves much more on its socket than clients may use (weights, profiling, other users' responses), some of it under
`/v1`. What is not on the list does not exist.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import BytesBody
from hadesgw.http.framing import Fields, upstream_fields
from hadesgw.http.relay import Relay
from hadesgw.http.site import Request
from hadesgw.interfaces import IProxyObserver, IUpstream
from hadesgw.policy import refusals
from hadesgw.resources.models import MODELS_ROUTE, Catalogue
from hadesgw.resources.reading import when_read

ROUTES = frozenset(
    (
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/v1/embeddings",
        b"/v1/messages",
        b"/v1/messages/count_tokens",
        b"/v1/responses",
    )
)
"""Where a POST is passed on."""
_ONE_MODEL = MODELS_ROUTE + b"/"


class _Effect(msgspec.Struct):
    """The fields of a request that ask the upstream to keep something."""

    store: bool | None = None
    background: bool | None = None


class Proxy(Resource):
    """Relays requests to one model server.

    :param upstream: where to.
    :param catalogue: answers for the models there are.
    :param cap: the most bytes a request's body may have, by route.
    :param idle_seconds: see :class:`Relay`.
    """

    isLeaf = True

    def __init__(
        self,
        upstream: IUpstream,
        catalogue: Catalogue,
        cap: Callable[[bytes], int],
        idle_seconds: float,
        observer: IProxyObserver,
    ) -> None:
        Resource.__init__(self)
        self._upstream = upstream
        self._catalogue = catalogue
        self._idle_seconds = idle_seconds
        self._observer = observer
        self._caps = {route: cap(route) for route in ROUTES}

    def render(self, request: Request) -> bytes | int:
        """Pass the request on, or say why not."""
        path = request.path
        if path in self._caps:
            request.record.route = path.decode("ascii")
            if request.method != b"POST":
                return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"POST")])
            return self._forward(request)
        if path == MODELS_ROUTE or path.startswith(_ONE_MODEL):
            request.record.route = MODELS_ROUTE.decode("ascii")
            listing: bytes | int = self._catalogue.render(request)
            return listing
        return request.refuse(refusals.NOT_FOUND)

    def _forward(self, request: Request) -> int:
        request.record.upstream = self._upstream.name
        cap = self._caps[request.path]
        body = request.body if request.body is not None else request.body_at_hand(cap)
        if body is not None:
            self._ask(body, request)
            return NOT_DONE_YET
        return when_read(request, cap, lambda body: self._ask(body, request))

    def _ask(self, body: bytes, request: Request) -> None:
        request.record.bytes_in = len(body)
        self._observer.request_sent(request, body)
        relay = Relay(request, self._idle_seconds, self._observer)
        relay.ask(self._upstream, self._fields(request), BytesBody(body), lambda: not _has_effect(body))

    def _fields(self, request: Request) -> Fields:
        correlation = request.correlation
        correlator = request.channel.site.correlator  # type: ignore[union-attr]
        return [
            (b"host", b"localhost"),
            (correlator.request_name, correlation.request_id),
            (correlator.session_name, correlation.session_id),
            *(upstream_fields(request.head.fields) if request.trace_fields is None else _traced_fields(request)),
        ]


def _traced_fields(request: Request) -> Fields:
    """With our own place in the trace instead of the caller's."""
    passing = [field for field in upstream_fields(request.head.fields) if field[0] not in TRACE_FIELDS]
    return passing + (request.trace_fields or [])


TRACE_FIELDS = frozenset((b"traceparent", b"tracestate"))
"""What W3C Trace Context carries a place in a trace by."""


def _has_effect(body: bytes) -> bool:
    """Whether running the request twice would leave something behind; when in doubt, yes."""
    try:
        effect = msgspec.json.decode(body, type=_Effect)
    except (msgspec.DecodeError, RecursionError):
        return True
    return bool(effect.store or effect.background)
