"""The layer that judges what is asked: what it lets through, as which bytes, and what it finds out first."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IValidationObserver
from hadesgw.policy import refusals
from hadesgw.policy.budget import Budget
from hadesgw.policy.request_body import ROUTES, BodyLimits
from hadesgw.resources.layer import Layer
from hadesgw.resources.models import Catalogue, Models
from hadesgw.resources.proxy import Proxy
from hadesgw.resources.validation import ABSENT_SECONDS, TokenCounter, Validation
from tests.http.model_server import ModelServer, ProxyNotes, make_agent, measured, request_lines
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, Leaf, get, post

CHAT = b"/v1/chat/completions"
MESSAGES = b"/v1/messages"
JSON = b"Content-Type: application/json"
CAP = 100_000
COUNT_SECONDS = 60.0
BUDGET = Budget(context_tokens=1000, output_tokens=100)
TALK = [{"role": "user", "content": "hi"}]
OVER = b'{"error": "TOKEN_BUDGET_EXCEEDED"}'


@implementer(IValidationObserver)
class Notes:
    """What the layer told its observer."""

    def __init__(self) -> None:
        self.estimates = 0

    def budget_estimated(self) -> None:
        self.estimates += 1


def pass_on(request: Request) -> bytes:
    """Answer with the body as it would be sent on."""
    return b"none" if request.body is None else request.body


class Case(SynchronousTestCase):
    """A door with the layer behind it, a leaf behind that, and a model server for its questions.

    The budget is so small that every prompt must be counted, unless a test has another.
    """

    def setUp(self) -> None:
        self.build()

    def build(
        self,
        *,
        models: tuple[str, ...] = ("m",),
        own: tuple[str, ...] | None = None,
        budget: Budget = BUDGET,
        leaf: Leaf | None = None,
        ask_usage: bool = False,
    ) -> None:
        """Begin anew."""
        self.door = Door()
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)
        self.notes = Notes()
        verifyObject(IValidationObserver, self.notes)
        self.leaf = leaf or Leaf(pass_on)
        self.models = Models(self.agent, models, self.reactor, lambda client: own)
        self.door.site.resource = Validation(
            self.leaf,
            self.models,
            TokenCounter(self.agent, self.reactor, COUNT_SECONDS),
            BodyLimits(4, False, frozenset(("cache_salt",))),
            budget,
            lambda path: CAP,
            ask_usage,
            self.notes,
        )
        self.asked: list[Request] = []
        make_request = self.door.site.make_request

        def remember(*args: Any) -> Any:
            self.asked.append(make_request(*args))
            return self.asked[-1]

        self.door.site.make_request = remember  # type: ignore[method-assign, assignment]

    def call(self, document: Any, target: bytes = CHAT, *fields: bytes) -> Caller:
        """A client asks this."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.door.call().send(post(body, *(fields or (JSON,)), target=target))

    def chat(self, **fields: Any) -> Caller:
        """A client asks for a chat."""
        return self.call({"model": "m", "messages": TALK, **fields})

    def count(self, tokens: int) -> None:
        """The model server has counted."""
        self.server.say(measured(b'{"count":%d,"max_model_len":9,"tokens":[1],"token_strs":null}' % tokens))

    def assert_refused(self, caller: Caller, refusal: refusals.Refusal) -> Answer:
        """By this, and nothing went on."""
        answer = caller.answer()
        self.assertEqual((answer.status, self.asked[-1].record.reason), (refusal.status, refusal.reason), answer.body)
        self.assertEqual(self.leaf.asked, [])
        return answer

    def assert_passed(self, caller: Caller) -> dict[str, Any]:
        """The body that went on."""
        answer = caller.answer()
        self.assertEqual(answer.status, 200, answer.body)
        document = json.loads(answer.body)
        assert isinstance(document, dict)
        return document


class FormTests(Case):
    """What a request must be before it is read."""

    def setUp(self) -> None:
        self.build(budget=Budget(1_000_000, 1000))

    def test_other_paths_and_methods_pass(self) -> None:
        """Untouched: what is there is the leaf's to say."""
        for request in (
            get(b"/v1/models"),
            get(CHAT),
            post(b"x", target=b"/v1/unknown"),
            post(b"x", target=CHAT + b"/"),
            post(b"x", target=b"/v1/tokenize"),
        ):
            self.assertEqual(self.door.call().send(request).answer().body, b"none")

    def test_every_route_is_read(self) -> None:
        """And goes on as it came, under its own name in logs and metrics."""
        for path in ROUTES:
            body = b'{"model" : "m", "max_tokens":5, "max_output_tokens":5}'
            self.assertEqual(self.call(body, path).answer().body, body)
            record = self.asked[-1].record
            self.assertEqual((record.route, record.model, record.bytes_in), (path.decode(), "m", 0))

    def test_the_type_is_json(self) -> None:
        """Said once; else the body is not even waited for."""
        for fields in ([b"X: y"], [b"Content-Type: text/plain"], [JSON, JSON]):
            caller = self.door.call().send(post(b"", *fields, target=CHAT, length=50_000))
            answer = self.assert_refused(caller, refusals.UNSUPPORTED_TYPE)
            self.assertEqual(answer.one(b"accept"), b"application/json")
        self.assertEqual(self.call({"model": "m"}, CHAT, JSON + b"; charset=utf-8").answer().status, 200)

    def test_the_cap(self) -> None:
        """At it and one past it, whether the length is announced or not."""
        body = b'{"model":"m","max_tokens":1,"x":"' + b"x" * (CAP - 35) + b'"}'
        self.assertEqual(len(body), CAP)
        self.assertEqual(self.call(body).answer().body, body)
        self.leaf.asked.clear()
        self.assert_refused(self.call(body + b" "), refusals.BODY_TOO_LARGE)

    def test_a_body_that_comes_late(self) -> None:
        """Is judged when it is whole."""
        request = post(b'{"model":"m","stream":true}', JSON, target=CHAT)
        caller = self.door.call().send(request, step=7)
        self.assertEqual(self.assert_passed(caller), {"model": "m", "stream": True, "max_tokens": 1000})
        self.assertTrue(self.asked[-1].record.stream)
        caller = self.door.call().send(post(b'{"model":"x"}', JSON, target=CHAT), step=7)
        self.assertEqual(caller.answer().status, 404)
        caller = self.door.call().send(post(b"{", JSON, target=CHAT), step=9)
        self.assertEqual(caller.answer().status, 400)

    def test_a_body_that_never_comes(self) -> None:
        """Is nobody's: the client left."""
        caller = self.door.call().send(post(b'{"model":', JSON, target=CHAT, length=100))
        caller.leave()
        self.assertEqual((caller.received, self.leaf.asked), (b"", []))
        self.assertEqual(self.door.left_behind(), [])

    def test_what_is_not_well_formed(self) -> None:
        """Is told in the caller's dialect."""
        answer = self.assert_refused(self.call(b'{"model":"m"', MESSAGES), refusals.BAD_JSON)
        self.assertEqual(json.loads(answer.body)["type"], "error")
        self.assert_refused(self.call(b'{"model":"m","x":"\xff"}'), refusals.BAD_ENCODING)
        self.assert_refused(self.call({"model": "m", "n": 5}), refusals.BAD_PARAMETER)
        self.assert_refused(self.call({"model": "m", "cache_salt": "x"}), refusals.REFUSED_FIELD)

    def test_a_defect_of_ours(self) -> None:
        """Is logged and told, also when the body came late."""

        def fail(request: Request) -> bytes:
            raise ZeroDivisionError

        self.build(budget=Budget(1_000_000, 1000), leaf=Leaf(fail))
        for step in (None, 9):
            caller = self.door.call().send(post(b'{"model":"m"}', JSON, target=CHAT), step=step)
            self.assertEqual(caller.answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_a_defect_in_judging(self) -> None:
        """Is no other."""

        def fail(client: str | None) -> None:
            raise ZeroDivisionError

        self.models._own = fail
        for step in (None, 9):
            caller = self.door.call().send(post(b'{"model":"m"}', JSON, target=CHAT), step=step)
            self.assertEqual(caller.answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_the_proxy_sends_what_was_judged(self) -> None:
        """The very bytes, with the limit it got."""
        self.build(budget=Budget(1_000_000, 1000))
        Layer.__init__(
            self.door.site.resource, Proxy(self.agent, Catalogue([self.models]), lambda path: CAP, 60.0, ProxyNotes())
        )
        caller = self.call(b'{"model":"m" ,"x":"\xc3\xa9\\u00e9" }')
        head, _, body = self.server.heard().partition(b"\r\n\r\n")
        self.assertEqual(body, b'{"model":"m" ,"x":"\xc3\xa9\\u00e9" ,"max_tokens":1000}')
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.server.say(measured(b"ok"))
        self.assertEqual(caller.answer().body, b"ok")
        self.assertEqual(self.asked[-1].record.bytes_in, len(body))


class ModelTests(Case):
    """Which model a request may name."""

    budget = Budget(100_000, 1000)

    def test_the_configured_ones(self) -> None:
        """And no other."""
        self.build(models=("m", "n"), budget=self.budget)
        for name in ("m", "n"):
            self.assert_passed(self.chat(model=name))
            self.assertEqual(self.asked[-1].record.model, name)
        self.leaf.asked.clear()
        answer = self.assert_refused(self.chat(model="M"), refusals.MODEL_NOT_FOUND)
        error = json.loads(answer.body)["error"]
        self.assertEqual((error["code"], error["param"]), ("model_not_found", "model"))
        self.assertIsNone(self.asked[-1].record.model)
        self.assert_refused(self.call({"messages": TALK}), refusals.NO_MODEL)

    def test_any(self) -> None:
        """But what is not known to be one is no name for logs and metrics."""
        self.build(models=("*",), budget=self.budget)
        self.assert_passed(self.chat(model="whatever"))
        self.assertIsNone(self.asked[-1].record.model)

    def test_a_clients_own(self) -> None:
        """Of those, only the ones it may use."""
        for models in (("m", "n"), ("*",)):
            self.build(models=models, own=("n",), budget=self.budget)
            self.assert_passed(self.chat(model="n"))
            self.leaf.asked.clear()
            self.assert_refused(self.chat(model="m"), refusals.MODEL_NOT_FOUND)

    def test_what_the_upstream_serves(self) -> None:
        """Is asked for where none are configured, and remembered for a while."""
        self.build(models=(), budget=self.budget)
        good, bad = self.chat(model="served"), self.chat(model="other")
        self.assertEqual(request_lines(self.server.heard()), [b"GET /v1/models HTTP/1.1"])
        self.server.say(measured(b'{"data":[{"id":"served"}]}'))
        self.assertEqual(self.assert_passed(good)["model"], "served")
        self.assertEqual(bad.answer().status, 404)
        self.assertEqual([request.record.model for request in self.asked], ["served", None])
        self.assert_passed(self.chat(model="served"))
        self.assertEqual(self.server.heard(), b"")

    def test_a_client_with_its_own_when_the_upstream_is_asked(self) -> None:
        """What it may not use is refused at once, what it may is looked for."""
        self.build(models=(), own=("mine",), budget=self.budget)
        self.assert_refused(self.chat(model="served"), refusals.MODEL_NOT_FOUND)
        caller = self.chat(model="mine")
        self.server.say(measured(b'{"data":[{"id":"served"}]}'))
        self.assert_refused(caller, refusals.MODEL_NOT_FOUND)

    def test_an_upstream_that_does_not_say(self) -> None:
        """Could not be asked for an answer either."""
        self.build(models=(), budget=self.budget)
        self.server.failures = [ConnectError(2, "No such file or directory")]
        self.assert_refused(self.chat(), refusals.UPSTREAM_MISSING)
        self.assertEqual(self.asked[-1].record.upstream, "model")

    def test_a_client_that_leaves_meanwhile(self) -> None:
        """Is forgotten; the others are not."""
        self.build(models=(), budget=self.budget)
        gone, stays = self.chat(), self.chat()
        gone.leave()
        self.server.say(measured(b'{"data":[{"id":"m"}]}'))
        self.assert_passed(stays)
        self.assertEqual((gone.received, len(self.leaf.asked)), (b"", 1))


class BudgetTests(Case):
    """How many tokens a request may ask for."""

    def test_counted_at_the_edge(self) -> None:
        """One less, exactly, one more; the client learns by how much."""
        for tokens, fits in ((989, True), (990, True), (991, False)):
            self.build()
            caller = self.chat(max_tokens=10)
            self.assertEqual(request_lines(self.server.heard()), [b"POST /tokenize HTTP/1.1"])
            self.count(tokens)
            if fits:
                self.assertEqual(self.assert_passed(caller)["max_tokens"], 10)
                self.assertEqual(self.asked[-1].record.prompt_tokens, tokens)
            else:
                answer = self.assert_refused(caller, refusals.TOKEN_BUDGET)
                self.assertEqual((answer.status, answer.body), (400, OVER))
                self.assertEqual(
                    answer.one(b"x-hades-token-budget"),
                    b"prompt=991; counted=exact; output=10; context_tokens=1000; output_tokens=100",
                )
            self.assertEqual(self.notes.estimates, 0)

    def test_the_refusal_is_the_same_everywhere(self) -> None:
        """Whatever the dialect."""
        for path, field in (
            (CHAT, "max_tokens"),
            (b"/v1/completions", "max_tokens"),
            (b"/v1/responses", "max_output_tokens"),
            (MESSAGES, "max_tokens"),
        ):
            answer = self.assert_refused(self.call({"model": "m", field: 101}, path), refusals.TOKEN_BUDGET)
            self.assertEqual((answer.status, answer.body), (400, OVER))
            self.assertEqual(answer.one(b"x-hades-token-budget"), b"output=101; context_tokens=1000; output_tokens=100")
            self.assertEqual(self.server.attempts, 0)

    def test_the_question(self) -> None:
        """Carries the request's ids, and nothing of the client's head."""
        self.call({"model": "m", "messages": TALK}, CHAT, JSON, b"Authorization: Bearer x", b"X-Request-ID: r-1")
        head, _, body = self.server.heard().partition(b"\r\n\r\n")
        self.assertEqual(json.loads(body), {"model": "m", "messages": TALK})
        self.assertIn(b"X-Request-ID: r-1\r\n", head)
        self.assertIn(b"content-type: application/json", head.lower())
        self.assertNotIn(b"Bearer", head)

    def test_no_limit_is_ours(self) -> None:
        """It is judged with it, and sent with it."""
        caller = self.chat()
        self.count(900)
        self.assertEqual(self.assert_passed(caller)["max_tokens"], 100)
        self.leaf.asked.clear()
        caller = self.chat(max_tokens=None)
        self.count(901)
        self.assert_refused(caller, refusals.TOKEN_BUDGET)

    def test_several_prompts(self) -> None:
        """The longest decides; all are counted, one after the other."""
        caller = self.call({"model": "m", "prompt": ["a", "b"]}, b"/v1/completions")
        self.count(900)
        self.assertEqual(self.leaf.asked, [])
        self.count(5)
        self.assertEqual(self.assert_passed(caller)["prompt"], ["a", "b"])
        self.assertIsNone(self.asked[-1].record.prompt_tokens)

    def test_messages_are_counted_by_their_own_route(self) -> None:
        """With the body as it came."""
        body = b'{"model":"m","messages":[ ],"max_tokens":100}'
        caller = self.call(body, MESSAGES)
        heard = self.server.heard()
        self.assertEqual(request_lines(heard), [b"POST /v1/messages/count_tokens HTTP/1.1"])
        self.assertTrue(heard.endswith(body))
        self.server.say(measured(b'{"input_tokens":900}'))
        self.assertEqual(caller.answer().body, body)

    def test_what_makes_nothing_costs_nothing(self) -> None:
        """Neither embeddings nor counting have a budget."""
        for path in (b"/v1/embeddings", b"/v1/messages/count_tokens"):
            body = b'{"model":"m","messages":[],"input":"x"}'
            self.assertEqual(self.call(body, path).answer().body, body)
        self.assertEqual(self.server.attempts, 0)

    def test_short_and_long_are_clear(self) -> None:
        """Nobody is asked."""
        self.build(budget=Budget(10_000, 100))
        self.assert_passed(self.chat())
        self.assertIsNone(self.asked[-1].record.prompt_tokens)
        self.build(budget=Budget(200, 100))
        self.assert_refused(self.chat(messages=[{"role": "user", "content": "x" * 20_000}]), refusals.TOKEN_BUDGET)
        self.assertEqual(self.server.attempts, 0)


class EstimateTests(Case):
    """Where nobody counts."""

    def uncounted(self, *said: bytes) -> None:
        """A short prompt passes and a long one does not, by rule of thumb."""
        for content, fits in (("x", True), ("x" * 3000, False)):
            caller = self.chat(messages=[{"role": "user", "content": content}])
            if said:
                self.server.say(*said)
            if fits:
                self.assert_passed(caller)
                self.assertIsNone(self.asked[-1].record.prompt_tokens)
            else:
                self.leaf.asked.clear()
                answer = self.assert_refused(caller, refusals.TOKEN_BUDGET)
                self.assertIn(b"counted=estimate", answer.one(b"x-hades-token-budget"))
        self.assertEqual(self.notes.estimates, 2)

    def test_an_upstream_that_refuses_to_count(self) -> None:
        """Is asked again next time: another request may be to its liking."""
        for status in (b"400 Bad Request", b"500 Internal Server Error", b"503 Service Unavailable"):
            self.build()
            self.uncounted(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\n{}")

    def test_an_upstream_that_cannot_count(self) -> None:
        """Is left alone for a minute."""
        for said in (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 2\r\n\r\n{}",
            measured(b'{"tokens":[]}'),
        ):
            self.build()
            first = self.chat()
            self.server.say(said)
            self.assert_passed(first)
            self.server.heard()
            self.reactor.pass_time(ABSENT_SECONDS - 0.1)
            self.assert_passed(self.chat())
            self.assertEqual((self.notes.estimates, self.server.heard()), (2, b""))
            self.reactor.pass_time(0.1)
            caller = self.chat()
            self.count(5)
            self.assert_passed(caller)
            self.assertEqual(self.notes.estimates, 2)

    def test_what_cannot_be_asked(self) -> None:
        """Is estimated without a question."""
        self.assert_passed(self.call({"model": "m", "previous_response_id": "r", "input": "x"}, b"/v1/responses"))
        self.assertEqual((self.notes.estimates, self.server.attempts), (1, 0))

    def test_an_upstream_that_is_gone(self) -> None:
        """Is told as such: it could not be asked for an answer either."""
        self.server.failures = [ConnectError(2, "No such file or directory")]
        self.assert_refused(self.chat(), refusals.UPSTREAM_MISSING)
        caller = self.chat()
        self.server.reset()
        self.assert_refused(caller, refusals.UPSTREAM_DIED)
        self.assertEqual(self.notes.estimates, 0)

    def test_an_upstream_that_is_silent(self) -> None:
        """Is not waited for longer than for an answer's head, be it before its head or behind."""
        for said in ((), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"{")):
            self.build()
            caller = self.chat()
            self.server.say(*said)
            self.reactor.pass_time(COUNT_SECONDS)
            self.assert_refused(caller, refusals.UPSTREAM_SILENT)
            self.assertEqual(self.server.open, [])

    def test_an_answer_without_end(self) -> None:
        """Is not kept."""
        caller = self.chat()
        self.server.say(measured(b'{"count":5,"tokens":[' + b"1," * 100_000 + b"1]}"))
        self.assert_refused(caller, refusals.UPSTREAM_GARBAGE)
        self.assertEqual(self.server.open, [])


class UsageTests(Case):
    """What a stream cost, asked for a client that did not ask."""

    def test_only_where_it_is_configured(self) -> None:
        """Else a body is sent on as it came."""
        for ask in (False, True):
            self.build(ask_usage=ask, budget=Budget(8192, 100))
            asked = json.loads(self.chat(stream=True, max_tokens=1).answer().body)
            self.assertEqual(asked.get("stream_options"), {"include_usage": True} if ask else None)
            self.assertEqual(self.asked[-1].hides_usage, ask)

    def test_beside_the_limit_that_is_ours(self) -> None:
        """Both changes to a body go together."""
        self.build(ask_usage=True, budget=Budget(8192, 100))
        asked = json.loads(self.chat(stream=True).answer().body)
        self.assertEqual((asked["max_tokens"], asked["stream_options"]), (100, {"include_usage": True}))

    def test_who_asks_is_told(self) -> None:
        """Then nothing is hidden; nor where there is no stream."""
        self.build(ask_usage=True, budget=Budget(8192, 100))
        for fields in ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": False}, {}):
            self.chat(max_tokens=1, **fields)
            self.assertFalse(self.asked[-1].hides_usage, fields)


class DepartureTests(Case):
    """Nobody counts for a client that is gone."""

    def test_a_client_that_leaves(self) -> None:
        """Before the answer's head or behind it: the question's connection is closed, nothing goes on."""
        for said in ((), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"{")):
            self.build()
            caller = self.chat()
            self.server.say(*said)
            self.assertEqual(len(self.server.open), 1)
            caller.leave()
            self.assertEqual((self.server.open, self.leaf.asked, caller.received), ([], [], b""))
            self.assertEqual(self.door.left_behind(), [])

    def test_a_gateway_that_stops(self) -> None:
        """Tells the client, and asks no further."""
        caller = self.chat()
        self.door.site.interrupt(refusals.DRAINING)
        self.assertEqual(caller.answer().status, 503)
        self.assertEqual((self.server.open, self.leaf.asked), ([], []))

    def test_a_defect_of_ours(self) -> None:
        """Is logged, and nobody waits for ever because of it."""

        async def defective() -> Any:
            raise ZeroDivisionError

        self.agent._connect_patiently = defective  # type: ignore[method-assign]
        self.assertEqual(self.chat().answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TokenTests(Case):
    """Whoever wants to know is told how many tokens a request asks for, before it goes on."""

    def told(
        self, budget: Budget, admits: bool, tokens: int | None = None, target: bytes = CHAT, **fields: Any
    ) -> tuple[list[int], Caller]:
        """What was told, and the caller."""
        told: list[int] = []

        def on_tokens(count: int) -> bool:
            told.append(count)
            if not admits:
                self.asked[-1].refuse(refusals.DRAINING)
            return admits

        self.build(budget=budget)
        make_request = self.door.site.make_request

        def listen(*args: Any) -> Any:
            request = make_request(*args)
            request.on_tokens = on_tokens
            return request

        self.door.site.make_request = listen  # type: ignore[method-assign, assignment]
        caller = self.call({"model": "m", "messages": TALK, **fields}, target)
        if tokens is not None:
            self.count(tokens)
        return told, caller

    def test_what_was_counted(self) -> None:
        """The prompt once, the output for each answer."""
        told, caller = self.told(BUDGET, True, 500, max_tokens=10, n=3)
        self.assertEqual(told, [530])
        self.assert_passed(caller)
        told, caller = self.told(BUDGET, True, None, b"/v1/completions", max_tokens=10, n=2, prompt=[[1, 2], [3, 4]])
        self.assertEqual(told, [2 * 2 + 2 * 2 * 10])

    def test_what_was_not(self) -> None:
        """By rule of thumb."""
        told, caller = self.told(Budget(100_000, 100), True)
        size = len(json.dumps({"model": "m", "messages": TALK}))
        self.assertEqual(told, [-(-size // 3) + 100])
        self.assert_passed(caller)

    def test_who_may_not_take_them(self) -> None:
        """Has been refused by whoever says so."""
        for budget, tokens in ((BUDGET, 500), (Budget(100_000, 100), None)):
            _, caller = self.told(budget, False, tokens)
            self.assertEqual(caller.answer().status, 503)
            self.assertEqual(self.leaf.asked, [])

    def test_what_does_not_fit_is_not_told(self) -> None:
        """It takes none."""
        told, caller = self.told(BUDGET, True, 5000)
        self.assertEqual(told, [])
        self.assert_refused(caller, refusals.TOKEN_BUDGET)


class OrderTests(Case):
    """One judgement after the other."""

    def test_a_pipelined_request_waits_for_the_count(self) -> None:
        """And is judged when its turn comes."""
        body = json.dumps({"model": "m", "messages": TALK}).encode()
        caller = self.door.call().send(post(body, JSON, target=CHAT) * 2)
        self.count(5)
        self.count(5000)
        first, second = caller.answers()
        self.assertEqual((first.status, second.status, second.body), (200, 400, OVER))

    def test_a_leaf_that_answers_later(self) -> None:
        """Is let alone after the count."""
        self.build(leaf=Leaf(lambda request: NOT_DONE_YET))
        caller = self.chat()
        self.count(5)
        (request,) = self.leaf.asked
        self.assertEqual(caller.received, b"")
        request.setHeader(b"Content-Length", b"2")
        request.write(b"ok")
        request.finish()
        self.assertEqual(caller.answer().body, b"ok")
