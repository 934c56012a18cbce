"""The registration with a registry that follows Hermes' interface to the letter, and fails in every way it can."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from hadesgw.policy.service_card import service_card
from hadesgw.service.hermes_client import BEAT_SECONDS, FAREWELL_SECONDS, TOKEN_SECONDS, HermesClient

HEALTHY_SECONDS = 60
TOKEN_LIFE_SECONDS = 3_600


class Registry(Resource):
    """A Hermes: components by id, tokens that end, and a memory that can be lost."""

    isLeaf = True

    def __init__(self, clock: Clock) -> None:
        Resource.__init__(self)
        self.clock = clock
        self.components: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, tuple[str, float]] = {}
        self.asked: list[str] = []
        self.status = 200
        self.garbage: bytes | None = None

    def forget(self) -> None:
        """A restart: its memory was all it had."""
        self.components, self.tokens = {}, {}

    def healthy(self) -> list[str]:
        """Who counts as well now."""
        now = self.clock.seconds()
        return [name for name, each in self.components.items() if now - each["last_heartbeat"] <= HEALTHY_SECONDS]

    def render_POST(self, request: Request) -> bytes:
        """One of the three calls."""
        path = urlsplit(request.uri).path
        self.asked.append(path.decode())
        if self.status != 200:
            request.setResponseCode(self.status)
            return b'{"detail": "no"}'
        if self.garbage is not None:
            return self.garbage
        assert request.content is not None
        content = request.content.read()
        code, answer = getattr(self, path.decode().rpartition("/")[2])(request, json.loads(content or b"{}"))
        request.setResponseCode(code)
        return json.dumps(answer).encode()

    def register(self, request: Request, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A new token for a component."""
        for name, kind in (("name", str), ("version", str), ("type", str), ("endpoint", str), ("capabilities", list)):
            if not isinstance(body[name], kind):
                return 400, {"detail": "Registration failed"}
        token = json.dumps({"component_id": body["component_id"], "n": len(self.tokens), "exp": self.clock.seconds()})
        self.tokens[token] = (body["component_id"], self.clock.seconds() + TOKEN_LIFE_SECONDS)
        self.components[body["component_id"]] = {**body, "last_heartbeat": self.clock.seconds()}
        return 200, {"success": True, "component_id": body["component_id"], "token": token, "message": "ok"}

    def heartbeat(self, request: Request, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """With a good token and a status."""
        if not self.admits(request, body["component_id"]):
            return 401, {"detail": "Invalid token"}
        assert body["status"]["healthy"] is True, body
        self.components[body["component_id"]]["last_heartbeat"] = self.clock.seconds()
        return 200, {"success": True, "timestamp": self.clock.seconds(), "message": "ok"}

    def unregister(self, request: Request, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """By a parameter of the query, not by a body."""
        assert not body, body
        (component,) = parse_qs(urlsplit(request.uri).query.decode())["component_id"]
        if not self.admits(request, component):
            return 401, {"detail": "Invalid token"}
        del self.components[component]
        return 200, {"success": True, "message": "ok"}

    def admits(self, request: Request, component: str) -> bool:
        """Whether the token of the header is that component's, and still counts."""
        (token,) = request.requestHeaders.getRawHeaders("X-Authentication-Token") or [""]
        owner, until = self.tokens.get(token, ("", 0.0))
        return owner == component and self.clock.seconds() < until and component in self.components


class Road:
    """Leads to the registry, or to nobody."""

    def __init__(self, registry: Registry) -> None:
        self.inner = RequestTraversalAgent(registry)
        self.open = True
        self.held: Deferred[None] | None = None
        self.stuck: Deferred[Any] | None = None

    def request(self, *arguments: Any, **options: Any) -> Any:
        """See IAgent."""
        if self.stuck is not None:
            return self.stuck
        if not self.open:
            return fail(ConnectionRefusedError())
        asked = self.inner.request(*arguments, **options)
        self.inner.flush()
        if self.held is not None:
            asked, answer = Deferred(), asked
            self.held.addCallback(lambda _: answer.chainDeferred(asked))
        return asked


class Notes:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See IRequestLog."""
        self.events.append((name, facts))

    def names(self) -> list[str]:
        """The events without their facts."""
        return [name for name, _ in self.events]


class RegistrationTests(SynchronousTestCase):
    """A gateway that serves, with a registry beside it; time is a Clock's."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.registry = Registry(self.clock)
        self.road = Road(self.registry)
        self.notes = Notes()
        agent: Any = self.road
        log: Any = self.notes
        self.client = HermesClient(
            self.clock,
            agent,
            "http://localhost:8001/",
            lambda: service_card("0.1.0", "http://127.0.0.1:8082"),
            log,
            lambda: 1e9,
            lambda: 1.0,
        )

    def live(self, seconds: float) -> None:
        """Let time pass, a second at a step; answers come as the steps do."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.road.inner.flush()

    def stop(self) -> None:
        """Stop, and see that it takes no longer than it may."""
        leaving = self.client.stopService()
        self.road.inner.flush()
        self.clock.advance(FAREWELL_SECONDS)
        self.successResultOf(leaving)

    def test_one_healthy_component_from_start_to_stop(self) -> None:
        """For three hours of serving, and none after it; a component is found by its id and its capabilities."""
        self.client.startService()
        record = self.registry.components["codex"]
        self.assertEqual({"code_generation", "ai_pair_programming"} - set(record["capabilities"]), set())
        self.assertEqual(record["endpoint"], "http://127.0.0.1:8082")
        for _ in range(3 * 3_600):
            self.live(1)
            self.assertEqual(self.registry.healthy(), ["codex"])
        self.assertEqual(self.registry.asked.count("/api/register"), 1 + 3 * 3_600 // int(TOKEN_SECONDS))
        self.stop()
        self.assertEqual(self.registry.components, {})
        self.assertEqual(self.notes.names(), ["hermes_registered", "hermes_left"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_registry_that_lost_its_memory_is_told_anew(self) -> None:
        """At the next beat, which it answers by 401."""
        self.client.startService()
        self.live(100)
        self.registry.forget()
        self.live(BEAT_SECONDS)
        self.assertEqual(self.registry.healthy(), ["codex"])

    def test_a_registry_that_is_not_there_yet_is_waited_for(self) -> None:
        """With longer and longer pauses up to a minute; the log tells once, not at each try."""
        self.road.open = False
        self.client.startService()
        self.live(600)
        self.assertEqual(self.notes.names(), ["hermes_absent"])
        self.road.open = True
        self.live(60)
        self.assertEqual(self.registry.healthy(), ["codex"])
        self.assertEqual(self.notes.names(), ["hermes_absent", "hermes_registered"])

    def test_a_short_outage_is_over_when_it_is_over(self) -> None:
        """A beat that was not heard is repeated soon, not after the next half minute."""
        self.client.startService()
        self.live(29)
        self.road.open = False
        self.live(20)
        self.road.open = True
        self.live(15)
        self.assertEqual(self.registry.healthy(), ["codex"])

    def test_whatever_it_answers_we_go_on_trying(self) -> None:
        """Errors, garbage, an answer without an end, a token that fits no header field: all of it passes."""
        for status, garbage in (
            (500, None),
            (400, None),
            (401, None),
            (302, None),
            (200, b"<html>"),
            (200, b"[]"),
            (200, b'{"success": false}'),
            (200, b'{"success": true}'),
            (200, b'{"success": true, "token": "a\\nb"}'),
            (200, b" " * 100_000),
            (200, b"[" * 60_000),
        ):
            self.setUp()
            self.registry.status, self.registry.garbage = status, garbage
            self.client.startService()
            self.live(200)
            tries = len(self.registry.asked)
            self.assertTrue(3 <= tries <= 12, (status, garbage, tries))
            self.registry.status, self.registry.garbage = 200, None
            self.live(60)
            self.assertEqual(self.registry.healthy(), ["codex"], (status, garbage))
            self.stop()
            self.assertEqual(self.registry.components, {})

    def test_a_registry_that_never_answers_holds_nobody_up(self) -> None:
        """Neither the start, nor the stop, which gives it a few seconds."""
        self.road.stuck = Deferred()
        self.client.startService()
        self.live(5)
        leaving = self.client.stopService()
        self.assertNoResult(leaving)
        self.clock.advance(FAREWELL_SECONDS)
        self.successResultOf(leaving)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_registry_that_hung_is_tried_again(self) -> None:
        """An answer that does not come, or not to its end, is given up after its time; it is no end of our trying."""
        for before in (0, 40):  # it hangs at once, or when it knows us already
            self.setUp()
            self.road.held = None if before else Deferred()
            self.client.startService()
            self.live(before)
            self.road.held = Deferred()
            self.live(45)
            self.road.held = None
            self.registry.forget()
            self.live(100)
            self.assertEqual(self.registry.healthy(), ["codex"])
            self.assertIn("hermes_absent", self.notes.names())
            self.stop()

    def test_nobody_is_registered_after_the_farewell(self) -> None:
        """A registration that is on its way when we stop is waited for, and then taken back."""
        held = self.road.held = Deferred()
        self.client.startService()
        leaving = self.client.stopService()
        self.assertNoResult(leaving)
        self.road.held = None
        held.callback(None)
        self.road.inner.flush()
        self.successResultOf(leaving)
        self.assertEqual(self.registry.asked, ["/api/register", "/api/unregister"])
        self.assertEqual(self.registry.components, {})

    def test_nothing_the_registry_says_is_logged(self) -> None:
        """Its token and its words are its own."""
        self.client.startService()
        self.live(100)
        self.registry.garbage = b'{"success": false, "message": "canary"}'
        self.live(100)
        told = repr(self.notes.events)
        self.assertNotIn("canary", told)
        for token in self.registry.tokens:
            self.assertNotIn(token, told)
