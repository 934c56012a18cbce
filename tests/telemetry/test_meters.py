"""The meters: what is counted, under which labels, and how few series that makes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw import __version__
from hadesgw.http.site import Request
from hadesgw.interfaces import (
    IGuardObserver,
    ILimiterObserver,
    IListenerObserver,
    IMeter,
    IReadinessObserver,
    ISiteObserver,
)
from hadesgw.policy import refusals
from hadesgw.telemetry.conveyance import Conveyance
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import MOST_KINDS, Meters
from hadesgw.telemetry.witness import Witness
from tests.wire.door import Caller, Door, Leaf, get, hold


class MetersTests(SynchronousTestCase):
    """Each meter moves when it should, and only then."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.meters = Meters(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def _serve(self, leaf: Leaf, seconds: float = 0.5) -> Caller:
        def metered(request: Request) -> bytes | int:
            request.record.route = "/v1/chat/completions"
            request.record.client = "alice"
            self.meters.begun()
            request.at_end(lambda done: self.meters.finished(request, done, request.record.started + seconds))
            return leaf.render(request)

        return Door(Leaf(metered)).call().send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")

    def test_interfaces(self) -> None:
        """It is the meter and every observer."""
        observers = (IGuardObserver, ILimiterObserver, ISiteObserver, IReadinessObserver)
        for interface in (IMeter, IListenerObserver, *observers):
            verifyObject(interface, self.meters)
        self.assertEqual(self.value("hades_codex_build_info", version=__version__), 1)

    def test_queues(self) -> None:
        """A queue's depth is a gauge of its upstream's, and each wait is told in milliseconds."""
        for depth in (0, 1, 2):
            self.meters.queue_depth("vllm", depth)
        self.meters.queue_depth("other", 0)
        self.meters.queue_waited("vllm", 0.25)
        self.assertEqual(self.value("hades_codex_queue_depth", upstream="vllm"), 2)
        self.assertEqual(self.value("hades_codex_queue_depth", upstream="other"), 0)
        self.assertEqual(self.value("hades_codex_queue_wait_ms_sum", upstream="vllm"), 250)
        self.assertEqual(self.value("hades_codex_queue_wait_ms_count", upstream="vllm"), 1)

    def test_answered(self) -> None:
        """One request, its latency and its first byte."""
        self._serve(Leaf(lambda request: b"x"))
        labels = {"route": "/v1/chat/completions", "method": "POST", "status": "200", "client": "alice"}
        self.assertEqual(self.value("hades_codex_requests_total", **labels), 1)
        route = {"route": "/v1/chat/completions"}
        self.assertEqual(self.value("hades_codex_request_latency_ms_sum", **route), 500)
        self.assertEqual(self.value("hades_codex_request_latency_ms_bucket", le="250.0", **route), 0)
        self.assertEqual(self.value("hades_codex_request_latency_ms_bucket", le="1000.0", **route), 1)
        self.assertIsNone(self.value("hades_codex_first_byte_ms_count", **route))
        self.assertIsNone(self.value("hades_codex_stream_bytes_total", **route))
        self.assertEqual(self.value("hades_codex_in_flight"), 0)

    def test_streamed(self) -> None:
        """A stream's bytes and duration are counted beside, and the wait for its first event."""

        def stream(request: Request) -> bytes:
            request.record.stream = True
            return b"data: x\n\n"

        self._serve(Leaf(stream))
        route = {"route": "/v1/chat/completions"}
        self.assertEqual(self.value("hades_codex_stream_bytes_total", **route), 9)
        self.assertEqual(self.value("hades_codex_first_byte_ms_count", **route), 1)
        self.assertEqual(self.value("hades_codex_stream_duration_ms_count"), 1)

    def test_slow(self) -> None:
        """45 s is not slow yet; for a stream it is its first event that counts, however long it goes on."""

        def stream(first_byte: float) -> Leaf:
            def render(request: Request) -> bytes:
                request.record.stream = True
                request.record.started -= first_byte  # the first byte is noted as it is written
                return b"x"

            return Leaf(render)

        self._serve(Leaf(lambda request: b"x"), 45.0)
        self._serve(stream(44.0), 300.0)
        self.assertEqual(self.value("hades_codex_slow_responses_total"), 0)
        self._serve(Leaf(lambda request: b"x"), 45.1)
        self._serve(stream(46.0), 300.0)
        self.assertEqual(self.value("hades_codex_slow_responses_total"), 2)

    def test_refused(self) -> None:
        """A refusal counts by reason and by code."""
        self._serve(Leaf(lambda request: request.refuse(refusals.UPSTREAM_SILENT)))
        self.assertEqual(self.value("hades_codex_refusals_total", reason="upstream_silent"), 1)
        self.assertEqual(self.value("hades_codex_errors_total", code="upstream_timeout"), 1)

    def test_alarms_begin_at_zero(self) -> None:
        """What operators are woken for is shown before the first, or that would be no increase."""
        for code in ("upstream_died", "upstream_unavailable", "internal_error", "upstream_error"):
            self.assertEqual(self.value("hades_codex_errors_total", code=code), 0, code)
        for reason in ("unknown", "missing", "expired"):
            self.assertEqual(self.value("hades_codex_auth_failures_total", reason=reason), 0, reason)

    def test_left(self) -> None:
        """A client that left is status 499, and no error of ours."""

        def wait(request: Request) -> int:
            request.at_end(lambda done: None)
            request.record.reason = "client_left"
            return hold(request)

        self._serve(Leaf(wait)).leave()
        labels = {"route": "/v1/chat/completions", "method": "POST", "status": "499", "client": "alice"}
        self.assertEqual(self.value("hades_codex_requests_total", **labels), 1)
        self.assertIsNone(self.value("hades_codex_errors_total", code="499"))

    def test_observers(self) -> None:
        """What observers are told is counted."""
        self.meters.connections(3)
        self.meters.ids_replaced([b"X-Request-ID"])
        self.meters.correlation_missing()
        self.meters.correlation_mismatch(b"x-request-id")
        self.meters.upstream_abandoned()
        self.meters.upstream_probed("vllm", True)
        self.meters.credential_refused("expired")
        self.meters.lines_dropped(4)
        self.meters.unexpected_listeners(2)
        self.assertEqual(self.value("hades_codex_unexpected_listeners"), 2)
        self.assertEqual(self.value("hades_codex_connections"), 3)
        self.assertEqual(self.value("hades_codex_replaced_ids_total", header="x-request-id"), 1)
        self.assertEqual(self.value("hades_codex_missing_correlation_total"), 1)
        self.assertEqual(self.value("hades_codex_correlation_mismatches_total", header="x-request-id"), 1)
        self.assertEqual(self.value("hades_codex_upstream_aborts_total"), 1)
        self.assertEqual(self.value("hades_codex_upstream_up", upstream="vllm"), 1)
        self.assertEqual(self.value("hades_codex_auth_failures_total", reason="expired"), 1)
        self.assertEqual(self.value("hades_codex_log_dropped_total"), 4)

    def test_certificate(self) -> None:
        """Its gauge is asked for at each scrape, and is not there without one: no value would be true."""
        self.assertIsNone(self.value("hades_codex_certificate_expiry_seconds"))
        left = [100.0, 99.0]
        self.meters.certificate_shown(lambda: left.pop(0))
        for expected in (100, 99):
            self.assertEqual(self.value("hades_codex_certificate_expiry_seconds"), expected)

    def _count(self, method: bytes = b"POST", status: int = 200, **facts: object) -> None:
        """One request has ended, with these facts in its record."""
        door = Door(Leaf(lambda request: b""))
        door.call().send(get())
        (request,) = door.asked
        request.method, request.code = method, status
        for name, value in facts.items():
            setattr(request.record, name, value)
        self.meters.begun()
        self.meters.finished(request, True, request.record.started)

    def test_methods_and_statuses_are_few(self) -> None:
        """Those that no route has are one; a status that only a model server could invent is its first digit."""
        for method, status, counted in (
            (b"GET", 200, ("GET", "200")),
            (b"PATCH", 405, ("other", "405")),
            (b"POST", 418, ("POST", "4xx")),
            (b"POST", 599, ("POST", "5xx")),
        ):
            self._count(route="/v1", method=method, status=status)
            labels = {"route": "/v1", "method": counted[0], "status": counted[1], "client": "none"}
            self.assertEqual(self.value("hades_codex_requests_total", **labels), 1, counted)
        self.assertEqual(self.value("hades_codex_errors_total", code="5xx"), 1)

    def test_one_client_of_every_kind(self) -> None:
        """Beyond a number its further kinds are counted together; another client is not touched by that."""
        for number in range(MOST_KINDS + 9):
            self._count(route=f"/{number}", client="alice", status=200 + 200 * (number % 2))
        self._count(route="/last", client="bob")
        series = [sample for family in self.registry.collect() for sample in family.samples]
        counted = [one for one in series if one.name == "hades_codex_requests_total"]
        self.assertEqual(len([one for one in counted if one.labels["client"] == "alice"]), MOST_KINDS + 2)
        self.assertEqual(sum(one.value for one in counted), MOST_KINDS + 10)
        other = {"route": "other", "method": "other", "client": "alice"}
        self.assertEqual(self.value("hades_codex_requests_total", status="2xx", **other), 5)
        last = {"route": "/last", "method": "POST", "status": "200", "client": "bob"}
        self.assertEqual(self.value("hades_codex_requests_total", **last), 1)

    def test_latency_by_the_model_or_by_the_mount(self) -> None:
        """What the model was asked is timed by its route; all else below a path together."""
        self._count(mount="/v1", route="/v1/completions", upstream="vllm")
        self._count(mount="/api/codex", route="/api/codex/start")
        self._count(mount="/api/codex", route="/api/codex/stop")
        for route, count in (("/v1/completions", 1), ("/api/codex", 2), ("/api/codex/start", None)):
            self.assertEqual(self.value("hades_codex_request_latency_ms_count", route=route), count)


class WitnessTests(SynchronousTestCase):
    """What the site sees reaches both meters and log."""

    def test_told(self) -> None:
        """An early refusal is counted and written; a missing id is an error in the log."""
        registry = CollectorRegistry()
        written: list[bytes] = []

        class Written(Sink):
            def write(self, line: bytes) -> None:
                written.append(line)

        sink = Written(-1)
        meters, log = Meters(registry), Log(sink, lambda: 0.0, text=False, level="info")
        witness = Witness(meters, log, Conveyance((), meters, log))
        verifyObject(ISiteObserver, witness)
        witness.connections(1)
        witness.ids_replaced([b"x"])
        witness.refused_early(refusals.BAD_HOST, b"a", b"b")
        witness.correlation_missing()
        self.assertEqual(registry.get_sample_value("hades_codex_refusals_total", {"reason": "bad_host"}), 1)
        early = {"route": "none", "method": "other", "status": "400", "client": "none"}
        self.assertEqual(registry.get_sample_value("hades_codex_requests_total", early), 1, "its line counts, too")
        self.assertEqual(registry.get_sample_value("hades_codex_missing_correlation_total"), 1)
        self.assertEqual(registry.get_sample_value("hades_codex_zero_propagation"), 1)
        self.assertEqual(len(written), 3)
        self.assertIn(b'"level":"error"', written[1])
        self.assertIn(b'"event":"zero_propagation"', written[2])
