"""Whether the gateway lives, and whether it can serve."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.agent import Agent
from hadesgw.interfaces import IReadinessObserver
from hadesgw.resources.health import FRESH_SECONDS, PROBE_SECONDS, Health, Probe, Readiness
from hadesgw.telemetry.conveyance import Conveyance
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from tests.http.model_server import OK, STREAM, ModelServer, make_agent, measured
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, get


@implementer(IReadinessObserver)
class Notes:
    """What a probe told its observer."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bool]] = []

    def upstream_probed(self, name: str, healthy: bool) -> None:
        self.found.append((name, healthy))


class HealthTests(SynchronousTestCase):
    """`/healthz`."""

    def test_it_answers(self) -> None:
        """That is all it says."""
        answer = Door(Health()).call().send(get(b"/healthz")).answer()
        self.assertEqual((answer.status, answer.body), (200, b'{"status":"ok"}'))
        self.assertEqual(answer.one(b"content-type"), b"application/json")

    def test_head_is_answered_as_get(self) -> None:
        """Some balancers ask so; anything else is not allowed."""
        door = Door(Health())
        self.assertEqual(door.call().send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").answer(b"HEAD").status, 200)
        self.assertEqual(door.call().send(b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n").answer().status, 405)


class ReadinessTests(SynchronousTestCase):
    """`/readyz`."""

    def setUp(self) -> None:
        self.notes = Notes()
        verifyObject(IReadinessObserver, self.notes)
        self.conveyance = Conveyance(
            (), Meters(CollectorRegistry()), Log(Sink(-1), float, text=False, level="critical")
        )
        self.door = Door(Health())
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        self.use(make_agent(self.reactor, self.server))

    def use(self, *agents: Agent) -> None:
        """Let `/readyz` ask these."""
        resource: IResource = Readiness([Probe(agent, self.reactor, self.notes) for agent in agents], self.conveyance)
        self.door.site.resource = resource

    def call(self) -> Caller:
        """Somebody wants to know."""
        return self.door.call().send(get(b"/readyz"))

    def told(self, caller: Caller) -> tuple[int, Any]:
        """What they were told."""
        answer: Answer = caller.answer()
        self.assertEqual(answer.one(b"content-type"), b"application/json")
        self.assertEqual(bool(answer.all(b"retry-after")), answer.status == 503)
        return answer.status, json.loads(answer.body)

    def test_ready(self) -> None:
        """The upstream answers 200; it was asked for its health, and nothing of the caller was sent along."""
        caller = self.call()
        self.assertEqual(self.server.heard(), b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.server.say(measured(b""))
        self.assertEqual(self.told(caller), (200, {"status": "ready", "upstream": {"model": "ok"}}))
        self.assertEqual(self.notes.found, [("model", True)])

    def test_a_finding_stands_for_a_second(self) -> None:
        """However often it is asked for, the upstream is asked once; then again, on the same connection."""
        for _ in range(3):
            caller = self.call()
            if self.server.heard():
                self.server.say(measured(b"fine"))
            self.assertEqual(self.told(caller)[0], 200)
        self.assertEqual(len(self.notes.found), 1)
        self.reactor.pass_time(FRESH_SECONDS)
        caller = self.call()
        self.server.say(measured(b"fine"))
        self.assertEqual((self.told(caller)[0], len(self.notes.found), len(self.server.lines)), (200, 2, 1))

    def test_all_who_wait_are_told_by_one_probe(self) -> None:
        """Even those whose neighbour left."""
        callers = [self.call() for _ in range(4)]
        callers[0].leave()
        self.server.say(measured(b""))
        self.assertEqual([self.told(caller)[0] for caller in callers[1:]], [200] * 3)
        self.assertEqual((callers[0].received, self.server.attempts), (b"", 1))

    def test_every_failure_has_its_word(self) -> None:
        """The same as in logs and metrics."""
        for said, word in (
            (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "status_503"),
            (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "status_404"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "status_204"),
            (b"garbage\r\n\r\n", "upstream_garbage"),
            (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "upstream_truncated"),
            (measured(b"x" * 100_000), "upstream_garbage"),
        ):
            caller = self.call()
            self.server.say(said)
            self.assertEqual(self.told(caller), (503, {"status": "unready", "upstream": {"model": word}}))
            self.assertEqual(self.notes.found[-1], ("model", False))
            self.reactor.pass_time(FRESH_SECONDS)
        self.server.failures = [ConnectError(2, "No such file or directory")]
        self.assertEqual(self.told(self.call())[1]["upstream"], {"model": "upstream_missing"})

    def test_silence_is_not_waited_out(self) -> None:
        """Neither before the answer's head nor behind it; and no connection is left hanging."""
        for said in ((), (STREAM,), (OK + b"content-length: 5\r\n\r\n", b"hel")):
            caller = self.call()
            self.server.say(*said)
            self.reactor.pass_time(PROBE_SECONDS)
            self.assertEqual(self.told(caller)[1]["upstream"], {"model": "upstream_silent"})
            self.assertEqual(self.server.open, [])
            self.reactor.pass_time(FRESH_SECONDS)

    def test_one_of_several_is_enough_to_be_unready(self) -> None:
        """And each is named."""
        other = ModelServer(self.reactor)
        good, bad = make_agent(self.reactor, self.server), make_agent(self.reactor, other)
        bad.name = "other"
        self.use(good, bad)
        caller = self.call()
        self.server.say(measured(b""))
        other.say(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
        expected = {"status": "unready", "upstream": {"model": "ok", "other": "status_500"}}
        self.assertEqual(self.told(caller), (503, expected))

    def test_a_gateway_on_its_way_out_is_not_ready(self) -> None:
        """Whatever its upstreams say: the balancer must look elsewhere."""
        caller = self.call()
        self.door.site.draining = True
        self.server.say(measured(b""))
        self.assertEqual(self.told(caller), (503, {"status": "draining", "upstream": {"model": "ok"}}))

    def test_it_says_when_nothing_can_be_traced(self) -> None:
        """That makes nobody unready: a restart would not mend it."""
        self.conveyance.headers_missing()
        caller = self.call()
        self.server.say(measured(b""))
        told = {"status": "ready", "upstream": {"model": "ok"}, "zero_propagation": ["missing_correlation"]}
        self.assertEqual(self.told(caller), (200, told))

    def test_a_defect_of_ours_is_logged_and_told(self) -> None:
        """Nobody waits for ever because of it."""
        self.server.failures = [ZeroDivisionError()]
        agent = make_agent(self.reactor, self.server)
        agent._connect_patiently = self.defective  # type: ignore[method-assign]
        self.use(agent)
        self.assertEqual(self.told(self.call())[1]["upstream"], {"model": "internal"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def defective(self) -> Any:
        """What no connection ever does."""
        raise ZeroDivisionError
