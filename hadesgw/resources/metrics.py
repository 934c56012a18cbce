"""`/metrics`: the meters, in Prometheus' text form."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import Resource

from hadesgw.http.site import Request


class Metrics(Resource):
    """Shows one registry, as text or as OpenMetrics, whichever the scraper prefers."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        Resource.__init__(self)
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        """The meters."""
        accept = request.requestHeaders.getRawHeaders(b"accept", [b""])[0]
        encode, content_type = choose_encoder(accept.decode("latin-1"))
        request.setHeader(b"Content-Type", content_type.encode("ascii"))
        page: bytes = encode(self._registry)
        return page
