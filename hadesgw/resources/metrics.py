"""`/metrics`: the meters, in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.resources.health import Probe


class Metrics(Resource):
    """Shows one registry, as text or as OpenMetrics, whichever the scraper prefers.

    :param probes: of the model servers. Each scrape has them asked for their health, for the next scrape to show: who
        watches the meters need not ask for readiness as well.
    """

    isLeaf = True

    def __init__(self, registry: CollectorRegistry, probes: Sequence[Probe]) -> None:
        Resource.__init__(self)
        self._registry = registry
        self._probes = probes

    def render_GET(self, request: Request) -> bytes:
        """The meters."""
        for probe in self._probes:
            probe.finding()
        accept = request.requestHeaders.getRawHeaders(b"accept", [b""])[0]
        encode, content_type = choose_encoder(accept.decode("latin-1"))
        request.setHeader(b"Content-Type", content_type.encode("ascii"))
        page: bytes = encode(self._registry)
        return page
