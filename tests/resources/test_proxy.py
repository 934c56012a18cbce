"""The leaf that hands requests on: which, with what, and when one may go out twice."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.dialects import dialect_of, error_body
from hadesgw.resources.models import Catalogue, Models
from hadesgw.resources.proxy import ROUTES, Proxy
from tests.http.model_server import STREAM, ModelServer, ProxyNotes, make_agent, measured, request_lines
from tests.wire.door import Caller, Door, get, post, post_chunked

CHAT = b"/v1/chat/completions"
CAP = 1000


class Case(SynchronousTestCase):
    """A door that leads to a model server."""

    def setUp(self) -> None:
        self.door = Door()
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)
        self.notes = ProxyNotes()
        models = Catalogue([Models(self.agent, [], self.reactor)])
        self.door.site.resource = Proxy(self.agent, models, lambda route: CAP, 60.0, self.notes)
        self.asked: list[Any] = []
        make_request = self.door.site.make_request

        def remember(*args: Any) -> Any:
            self.asked.append(make_request(*args))
            return self.asked[-1]

        self.door.site.make_request = remember  # type: ignore[method-assign, assignment]

    def call(self, request: bytes) -> Caller:
        """A client asks."""
        return self.door.call().send(request)


class RouteTests(Case):
    """What exists."""

    def test_the_listed_routes_are_handed_on(self) -> None:
        """As they are named, and under their own names in logs and metrics."""
        for route in sorted(ROUTES):
            caller = self.call(post(b"{}", target=route))
            self.assertEqual(request_lines(self.server.heard()), [b"POST " + route + b" HTTP/1.1"])
            self.server.say(measured(b"ok"))
            self.assertEqual(caller.answer().body, b"ok")
            record = self.asked[-1].record
            self.assertEqual((record.route, record.upstream, record.bytes_in), (route.decode(), "model", 2))

    def test_nothing_else_exists(self) -> None:
        """Whatever the model server has there; no spelling of a listed route is another way to it."""
        for target in (
            b"/v1",
            b"/v1/",
            b"/v1/chat",
            b"/v1/chat/completions/",
            b"/v1/chat/completions/batch",
            b"/v1//chat/completions",
            b"/v1/./chat/completions",
            b"/v1/x/../chat/completions",
            b"/v1/chat%2fcompletions",
            b"/v1/chat/completion%73",
            b"/V1/chat/completions",
            b"/v1/chat/completions;x",
            b"/v1/responses/resp_1",
            b"/v1/responses/resp_1/cancel",
            b"/v1/modelsx",
            b"/v1/load_lora_adapter",
            b"/invocations",
            b"/metrics",
            b"/health",
        ):
            answer = self.call(post(b"{}", target=target)).answer()
            self.assertEqual((answer.status, answer.body), (404, error_body(refusals.NOT_FOUND, dialect_of(target))))
        self.assertEqual(self.server.attempts, 0)

    def test_a_query_is_not_handed_on(self) -> None:
        """None of these routes has one, and what is judged must be what is sent."""
        self.call(post(b"{}", target=CHAT + b"?admin=1"))
        self.assertEqual(request_lines(self.server.heard()), [b"POST " + CHAT + b" HTTP/1.1"])

    def test_other_methods_are_not_allowed(self) -> None:
        """With the one that is, before anything of the body is read."""
        for method in (b"GET", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"):
            caller = self.call(method + b" " + CHAT + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            answer = caller.answer(method)
            self.assertEqual((answer.status, answer.one(b"allow")), (405, b"POST"))
        self.assertEqual(self.server.attempts, 0)

    def test_the_list_of_models_is_ours(self) -> None:
        """See `test_models`; it has a name in the log like any other."""
        caller = self.call(get(b"/v1/models"))
        self.server.say(measured(b'{"data":[{"id":"m"}]}'))
        self.assertEqual(json.loads(caller.answer().body)["data"][0]["id"], "m")
        self.assertEqual(self.asked[-1].record.route, "/v1/models")
        answer = self.call(post(b"{}", target=b"/v1/models")).answer()
        self.assertEqual(answer.status, 405)


class HandingOnTests(Case):
    """What the model server is told."""

    def test_an_allow_list_of_fields_and_the_ids(self) -> None:
        """No credential, no cookie, no forwarding claim, nothing hop-by-hop; `Host` and the length are ours."""
        self.call(
            post(
                b"{}",
                b"Authorization: Bearer secret",
                b"X-Api-Key: secret",
                b"Cookie: a=secret",
                b"X-Forwarded-For: secret",
                b"Content_Type: secret",
                b"Connection: x-request-id, keep-alive",
                b"TE: trailers",
                b"Content-Type: application/json",
                b"Accept: text/event-stream",
                b"User-Agent: test",
                b"X-Request-ID: req-1",
                b"X-Conveyance-Session-ID: ses-1",
                target=CHAT,
            )
        )
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nX-Request-ID: req-1\r\n"
            b"X-Conveyance-Session-ID: ses-1\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n"
            b"user-agent: test\r\nContent-Length: 2\r\n\r\n"
        )
        self.assertEqual(self.server.heard(), head + b"{}")

    def test_minted_ids_go_along(self) -> None:
        """The model server's log can be joined with ours for every request."""
        self.call(post(b"{}", b"X-Request-ID: not an id", target=CHAT))
        heard = self.server.heard()
        self.assertIn(b"X-Request-ID: minted-1\r\n", heard)
        self.assertIn(b"X-Conveyance-Session-ID: minted-2\r\n", heard)

    def test_the_body_is_the_clients_to_the_byte(self) -> None:
        """Whatever it is, however it was framed, and in however many pieces it came."""
        body = bytes(range(256)) * 3
        for request in (post(body, target=CHAT), post_chunked(body[:1], body[1:]).replace(b"POST /", b"POST " + CHAT)):
            for step in (None, 7):
                self.door.call().send(request, step)
                head, _, heard = self.server.heard().partition(b"\r\n\r\n")
                self.assertEqual(heard, body)
                self.assertTrue(head.endswith(b"Content-Length: 768"))
                self.assertEqual(self.asked[-1].record.bytes_in, 768)

    def test_nobody_is_asked_before_the_body_is_whole(self) -> None:
        """A client that leaves while it uploads has cost the model server nothing."""
        for how in ("leave", "reset"):
            caller = self.call(post(b"half", target=CHAT, length=8))
            getattr(caller, how)()
            self.assertEqual((self.server.attempts, self.asked[-1].record.reason), (0, None))
        self.assertEqual(self.door.left_behind(), [])

    def test_a_body_may_be_as_large_as_its_cap(self) -> None:
        """One byte more is refused, stated or not; nobody is asked."""
        self.call(post(b"x" * CAP, target=CHAT))
        self.assertEqual(self.server.attempts, 1)
        for request in (
            post(b"x" * (CAP + 1), target=CHAT),
            post(b"", target=CHAT, length=CAP + 1),
            post_chunked(b"x" * CAP, b"x").replace(b"POST /", b"POST " + CHAT),
        ):
            self.assertEqual(self.call(request).answer().status, 413)
        self.assertEqual(self.server.attempts, 1)

    def test_a_body_that_does_not_come_is_refused(self) -> None:
        """In the caller's dialect, within its time."""
        caller = self.call(post(b"half", target=b"/v1/messages", length=8))
        self.reactor.pass_time(30)
        answer = caller.answer()
        expected = error_body(refusals.BODY_TIMEOUT, dialect_of(b"/v1/messages"))
        self.assertEqual((answer.status, answer.body), (408, expected))
        self.assertEqual(self.server.attempts, 0)

    def test_the_body_memory_is_given_back(self) -> None:
        """When the answer has ended, not before: the request may have to go out twice."""
        self.call(post(b"x" * 500, target=CHAT))
        self.assertEqual(self.door.memory.held, 500)
        self.server.say(measured(b"ok"))
        self.assertEqual(self.door.memory.held, 0)

    def test_a_defect_of_ours_is_logged_and_told(self) -> None:
        """Whether the body was at hand or had to be waited for."""

        def defective(*args: Any) -> Any:
            raise ZeroDivisionError

        self.agent.send = defective  # type: ignore[method-assign, assignment]
        for step in (None, 10):
            caller = self.door.call().send(post(b"{}", target=CHAT), step)
            self.assertEqual(caller.answer().status, 500)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ResendingTests(Case):
    """Which requests may go out twice, when a connection that was kept turns out to be closed."""

    def connections(self, body: bytes) -> int:
        """How many connections this request takes, if the one that was kept dies under it."""
        self.setUp()
        self.call(post(b"{}", target=CHAT))
        self.server.say(measured(b"ok"))
        caller = self.call(post(body, target=CHAT))
        self.server.close()
        if len(self.server.lines) == 1:
            self.assertEqual(caller.answer().body, error_body(refusals.UPSTREAM_DIED, dialect_of(CHAT)))
            return 1
        head, _, sent = self.server.heard().partition(b"\r\n\r\n")
        self.assertEqual((request_lines(head + b"\r\n"), sent), ([b"POST " + CHAT + b" HTTP/1.1"], body))
        self.server.say(STREAM, b"0\r\n\r\n")
        self.assertEqual(caller.answer().status, 200)
        return 2

    def test_a_completion_may(self) -> None:
        """It leaves nothing behind, and what it says about storing says so."""
        for body in (b"{}", b'{"store":false}', b'{"store":null,"background":false}', b'{"messages":[{"store":true}]}'):
            self.assertEqual(self.connections(body), 2, body)

    def test_what_is_kept_may_not(self) -> None:
        """Nor what is not understood: when in doubt, once."""
        for body in (
            b'{"store":true}',
            b'{"background":true}',
            b'{"store":false,"store":true}',
            b'{"store":"yes"}',
            b'{"store":1}',
            b"[]",
            b"{",
            b"",
            b'{"x":' + b"[" * 900,
        ):
            self.assertEqual(self.connections(body), 1, body)
