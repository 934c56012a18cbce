"""The list of models: ours, made of what the upstream serves and what the configuration admits."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.dialects import Dialect, error_body
from hadesgw.resources.models import FRESH_SECONDS, LOOK_UP_SECONDS, Catalogue, Models
from tests.http.model_server import OK, STREAM, ModelServer, make_agent, measured
from tests.wire.door import Caller, Door, get

SERVED = json.dumps(
    {
        "object": "list",
        "data": [
            {
                "id": "big",
                "object": "model",
                "created": 7,
                "owned_by": "vllm",
                "root": "/srv/big",
                "max_model_len": 2048,
            },
            {
                "id": "small",
                "object": "model",
                "created": 8,
                "owned_by": "me",
                "parent": None,
                "permission": [{"x": 1}],
            },
        ],
    }
).encode()
BIG = {"id": "big", "object": "model", "created": 7, "owned_by": "vllm", "max_model_len": 2048}
SMALL = {"id": "small", "object": "model", "created": 8, "owned_by": "me"}


class ModelsTests(SynchronousTestCase):
    """`GET /v1/models`."""

    def setUp(self) -> None:
        self.use([])

    def use(self, allowed: list[str]) -> None:
        """Let a fresh list admit these names."""
        self.door = Door()
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)
        self.door.site.resource = Catalogue([Models(self.agent, allowed, self.reactor)])

    def call(self) -> Caller:
        """Somebody wants the list."""
        return self.door.call().send(get(b"/v1/models"))

    def listed(self, caller: Caller) -> Any:
        """What they were told."""
        answer = caller.answer()
        self.assertEqual((answer.status, answer.one(b"content-type")), (200, b"application/json"))
        listing = json.loads(answer.body)
        self.assertEqual(listing["object"], "list")
        return listing["data"]

    def test_what_the_upstream_serves_is_listed(self) -> None:
        """In OpenAI's form, with the length clients look for, and without the server's own paths."""
        for allowed in ([], ["*"], ["*", "big"]):
            self.use(allowed)
            caller = self.call()
            self.assertEqual(self.server.heard(), b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
            self.server.say(measured(SERVED))
            self.assertEqual(self.listed(caller), [BIG, SMALL])

    def test_one_by_its_name(self) -> None:
        """As the list has it; a name may have slashes and what must be escaped, and is decoded once."""
        served = [{"id": name, "created": 3, "owned_by": "me"} for name in ("org/big-2", "100%25 é", "m")]
        self.use(["org/big-2", "100%25 é"])
        paths = {b"org/big-2": 0, b"org%2Fbig-2": 0, b"org%2fbig%2D2": 0, b"100%2525%20%C3%A9": 1}
        for path, expected in paths.items():
            caller = self.door.call().send(get(b"/v1/models/" + path))
            if not self.server.lines[0].heard():  # it was asked already
                self.assertEqual(self.server.attempts, 1)
            else:
                self.server.say(measured(json.dumps({"data": served}).encode()))
            answer = caller.answer()
            self.assertEqual((answer.status, json.loads(answer.body)), (200, {**served[expected], "object": "model"}))
        for path in (b"m", b"", b"big", b"org/big-2/", b"org%252Fbig-2", b"100%25%20%C3%A9", b"%FF"):
            answer = self.door.call().send(get(b"/v1/models/" + path)).answer()
            self.assertEqual((answer.status, answer.body), (404, error_body(refusals.MODEL_NOT_FOUND, Dialect.OPENAI)))

    def test_only_admitted_names_are_listed(self) -> None:
        """And only as far as they are served."""
        self.use(["small", "gone"])
        caller = self.call()
        self.server.say(measured(SERVED))
        self.assertEqual(self.listed(caller), [SMALL])

    def test_a_client_sees_its_own(self) -> None:
        """Of what is admitted; one that is unknown here has no list of its own."""
        for allowed, own, expected in (
            ([], ("big", "gone"), [BIG]),
            (["small"], ("big",), []),
            (["small", "big"], None, [BIG, SMALL]),
        ):
            self.use(allowed)
            names: list[str | None] = []

            def own_models(client: str | None, own: tuple[str, ...] | None = own) -> tuple[str, ...] | None:
                names.append(client)  # noqa: B023 - called before the next
                return own

            self.door.site.resource = Catalogue([Models(self.agent, allowed, self.reactor, own_models)])
            caller = self.call()
            self.server.say(measured(SERVED))
            self.assertEqual(self.listed(caller), expected)
            self.assertEqual(names, [None])

    def test_who_cancels_waits_no_more(self) -> None:
        """The others are told all the same, and the upstream is asked once."""
        models = Models(self.agent, [], self.reactor)
        waits = [models.refreshed() for _ in range(3)]
        waits[1].cancel()
        self.failureResultOf(waits[1], CancelledError)
        self.server.say(measured(SERVED))
        self.assertEqual([self.successResultOf(waits[0]), self.successResultOf(waits[2])], [None, None])
        self.assertEqual((models.admits("big", None), models.admits("other", None)), (True, False))
        self.assertEqual((self.successResultOf(models.refreshed()), self.server.attempts), (None, 1))

    def test_the_list_is_kept_for_a_while(self) -> None:
        """Then it is asked for again."""
        caller = self.call()
        self.server.say(measured(SERVED))
        self.listed(caller)
        self.server.heard()
        self.reactor.pass_time(FRESH_SECONDS - 0.1)
        self.assertEqual((len(self.listed(self.call())), self.server.attempts), (2, 1))
        self.reactor.pass_time(0.1)
        caller = self.call()
        self.server.say(measured(b'{"data":[]}'))
        self.assertEqual((self.listed(caller), self.server.attempts), ([], 2))

    def test_all_who_wait_are_told_by_one_answer(self) -> None:
        """Even those whose neighbour left."""
        callers = [self.call() for _ in range(4)]
        callers[0].leave()
        self.server.say(measured(SERVED))
        self.assertEqual([self.listed(caller) for caller in callers[1:]], [[BIG, SMALL]] * 3)
        self.assertEqual((callers[0].received, self.server.attempts), (b"", 1))

    def failures(self) -> list[tuple[bytes, refusals.Refusal]]:
        """What an upstream may say instead of its list."""
        return [
            (measured(b"not json"), refusals.UPSTREAM_GARBAGE),
            (measured(b'{"data":{}}'), refusals.UPSTREAM_GARBAGE),
            (measured(b'{"data":[{"id":5}]}'), refusals.UPSTREAM_GARBAGE),
            (
                b'HTTP/1.1 401 Unauthorized\r\ncontent-length: 24\r\n\r\n{"error":"Unauthorized"}',
                refusals.UPSTREAM_GARBAGE,
            ),
            (measured(b'{"data":[],"x":"' + b"x" * (1 << 20) + b'"}'), refusals.UPSTREAM_GARBAGE),
            (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", refusals.STREAM_TRUNCATED),
        ]

    def test_without_it_the_configured_names_are_listed(self) -> None:
        """Clients that look before they ask shall not fail over it; next time it is asked for again."""
        for said, _ in self.failures():
            self.use(["big"])
            caller = self.call()
            self.server.say(said)
            self.assertEqual(self.listed(caller), [{"id": "big", "object": "model", "created": 0, "owned_by": "vllm"}])
            caller = self.call()
            self.server.say(measured(SERVED))
            self.assertEqual(self.listed(caller), [BIG])

    def test_without_either_it_is_refused(self) -> None:
        """With the reason, to all who wait."""
        for said, refusal in self.failures():
            self.use([])
            callers = [self.call(), self.call()]
            self.server.say(said)
            for caller in callers:
                self.assertEqual(caller.answer().status, refusal.status)
                self.assertEqual(caller.answer().body, error_body(refusal, Dialect.OPENAI))
        self.use([])
        self.server.failures = [ConnectError(2, "No such file or directory")]
        self.assertEqual(self.call().answer().body, error_body(refusals.UPSTREAM_MISSING, Dialect.OPENAI))

    def test_who_has_been_answered_is_left_alone(self) -> None:
        """A drain that ends answers those who wait; what becomes of the question then is no defect."""
        caller = self.call()
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.server.say(measured(b"not json"))
        self.assertEqual(caller.answer().status, refusals.STREAM_DRAINED.status)

    def test_silence_is_not_waited_out(self) -> None:
        """Neither before the head nor behind it; and no connection is left hanging."""
        for said in ((), (STREAM,), (OK + b"content-length: 5\r\n\r\n", b"hel")):
            self.use(["big"])
            caller = self.call()
            self.server.say(*said)
            self.reactor.pass_time(LOOK_UP_SECONDS)
            self.assertEqual([model["id"] for model in self.listed(caller)], ["big"])
            self.assertEqual(self.server.open, [])

    def test_a_defect_of_ours_is_logged_and_told(self) -> None:
        """Nobody waits for ever because of it."""

        async def defective() -> Any:
            raise ZeroDivisionError

        self.agent._connect_patiently = defective  # type: ignore[method-assign]
        self.assertEqual(self.call().answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_head_is_answered_as_get(self) -> None:
        """Without the list; no other method is allowed."""
        caller = self.door.call().send(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.server.say(measured(SERVED))
        self.assertEqual((caller.answer(b"HEAD").status, caller.answer(b"HEAD").body), (200, b""))
        caller = self.door.call().send(b"DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(caller.answer().status, 405)
