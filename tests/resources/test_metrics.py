"""`/metrics`: the registry, in the form the scraper prefers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.resources.health import FRESH_SECONDS, Probe
from hadesgw.resources.metrics import Metrics
from hadesgw.telemetry.meters import Meters
from tests.http.model_server import ModelServer, make_agent
from tests.wire.answers import Answer
from tests.wire.door import Door, get


class MetricsTests(SynchronousTestCase):
    """Both forms can be read back."""

    def _scrape(self, accept: bytes, method: bytes = b"GET") -> Answer:
        registry = CollectorRegistry()
        Counter("sheep", "Counted.", registry=registry).inc(3)
        caller = Door(Metrics(registry, ())).call()
        caller.send(b"%b /metrics HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (method, accept))
        return caller.answer(method)

    def test_text(self) -> None:
        """Without a preference it is Prometheus' text."""
        answer = self._scrape(b"")
        self.assertTrue(answer.one(b"content-type").startswith(b"text/plain"))
        samples = [sample for family in read_text(answer.body.decode()) for sample in family.samples]
        self.assertIn(("sheep_total", 3.0), [(sample.name, sample.value) for sample in samples])

    def test_openmetrics(self) -> None:
        """A scraper that asks for OpenMetrics gets it, with its end mark."""
        answer = self._scrape(b"Accept: application/openmetrics-text; version=1.0.0\r\n")
        self.assertTrue(answer.one(b"content-type").startswith(b"application/openmetrics-text"))
        self.assertTrue(answer.body.endswith(b"# EOF\n"))
        self.assertEqual([family.name for family in read_openmetrics(answer.body.decode())], ["sheep"])

    def test_whatever_is_accepted(self) -> None:
        """Versions that are none, or not ours, and fields that mean nothing: a page in a form that is as it says."""
        pages = (
            b"application/openmetrics-text; version=1.0.0; charset=utf-8",
            b"text/plain; version=0.0.4; charset=utf-8",
        )
        for version in (b'"1.0.0"', b"x", b"99.0", b""):
            for more in (b"", b",text/plain;version=x", b",\xff;=;q=", b"\r\nAccept: application/openmetrics-text;q=x"):
                answer = self._scrape(b"Accept: application/openmetrics-text;version=%b%b\r\n" % (version, more))
                self.assertEqual(answer.status, 200, more)
                self.assertEqual(answer.one(b"content-type"), pages[not answer.body.endswith(b"# EOF\n")], more)

    def test_each_scrape_asks_for_health(self) -> None:
        """The page does not wait for it: the next one shows what was found."""
        registry = CollectorRegistry()
        meters = Meters(registry)
        door = Door()
        server = ModelServer(door.reactor)
        probe = Probe(make_agent(door.reactor, server), door.reactor, meters)
        door.site.resource = Metrics(registry, [probe])
        for told, shown in ((b"200 OK", None), (b"500 Oh", b"1.0"), (b"200 OK", b"0.0")):
            page = door.call().send(get(b"/metrics")).answer().body
            self.assertEqual(b"hades_codex_upstream_up{" in page, shown is not None)
            if shown is not None:
                self.assertIn(b'hades_codex_upstream_up{upstream="model"} ' + shown, page)
            server.say(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % told)
            door.reactor.advance(FRESH_SECONDS)

    def test_methods(self) -> None:
        """HEAD answers without a body; POST is not allowed."""
        self.assertEqual((self._scrape(b"", b"HEAD").status, self._scrape(b"", b"HEAD").body), (200, b""))
        refused = self._scrape(b"Content-Length: 0\r\n", b"POST")
        self.assertEqual((refused.status, refused.one(b"allow")), (405, b"GET, HEAD"))
