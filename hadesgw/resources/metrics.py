"""`/metrics`: the meters, in one of Prometheus' text forms."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.policy.negotiation import prefers_openmetrics
from hadesgw.resources.health import Probe

_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


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
        openmetrics = prefers_openmetrics(request.requestHeaders.getRawHeaders(b"accept", []))
        request.setHeader(b"Content-Type", _OPENMETRICS if openmetrics else _TEXT)
        page: bytes = (generate_openmetrics if openmetrics else generate_latest)(self._registry)
        return page
