"""An agent's call of its model, over a scripted connection."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.sessions.model_call import CallFailed, FunctionCall, GatewayModel, Reply

CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"cmd": "ls"}'}
EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {}},
    {"type": "response.output_text.delta", "delta": "Hé"},
    {"type": "response.output_text.delta", "delta": "llo"},
    {"type": "response.output_item.done", "item": {"type": "message", "content": []}},
    {"type": "response.output_item.done", "item": CALL},
    {"type": "response.completed", "response": {"usage": {"total_tokens": 5}}},
]


def stream(*events: dict[str, Any]) -> bytes:
    """A stream of these events, with the comments and names that servers put in."""
    lines = [f"event: {event['type']}\r\ndata: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events]
    return ": ping\n\n".join(lines).encode()


class Response:
    """An answer whose body the test sends."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.phrase = b""
        self.length = UNKNOWN_LENGTH
        self.protocol: Any = None
        self.lost = False

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        self.lost = True

    abortConnection = loseConnection

    def send(self, data: bytes) -> None:
        """Some of the body."""
        self.protocol.dataReceived(data)

    def end(self, reason: BaseException | None = None) -> None:
        """The body's end."""
        self.protocol.connectionLost(Failure(reason or ResponseDone()))


@implementer(IAgent)
class Agent:
    """An agent of Twisted's that answers with what the test has."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.body = b""

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        verifyObject(IBodyProducer, bodyProducer)
        self.asked = (method, uri, dict(headers.getAllRawHeaders() if headers else ()))
        self.length = bodyProducer.length
        bodyProducer.startProducing(self)
        return succeed(self.response)

    def write(self, data: bytes) -> None:
        """What the body is written to."""
        self.body += data


class CallTests(SynchronousTestCase):
    """A question and what comes of it."""

    def ask(self, code: int = 200) -> Deferred[Reply]:
        """Ask."""
        self.response = Response(code)
        self.agent = Agent(self.response)
        verifyObject(IAgent, self.agent)
        fields = {"Authorization": "Bearer t", "X-Conveyance-Session-ID": "s"}
        model = GatewayModel(self.agent, "http://127.0.0.1:1/v1", "m", fields, "Be small.", 64)
        self.heard: list[str] = []
        return model.ask([{"type": "message"}], [{"type": "function"}], self.heard.append)

    def failure(self, asked: Deferred[Reply]) -> str:
        """Why there is no answer."""
        return str(self.failureResultOf(asked, CallFailed).value)

    def test_the_question(self) -> None:
        """Goes to the gateway's own route with the session's token and header, and never over its limit."""
        self.ask()
        method, uri, fields = self.agent.asked
        self.assertEqual((method, uri), (b"POST", b"http://127.0.0.1:1/v1/responses"))
        self.assertEqual(fields[b"Authorization"], [b"Bearer t"])
        self.assertEqual(fields[b"X-Conveyance-Session-Id"], [b"s"])
        self.assertEqual(self.agent.length, len(self.agent.body))
        question = json.loads(self.agent.body)
        self.assertEqual((question["model"], question["stream"], question["max_output_tokens"]), ("m", True, 64))
        self.assertEqual((question["input"], question["tools"]), ([{"type": "message"}], [{"type": "function"}]))

    @given(st.lists(st.integers(0, len(stream(*EVENTS))), max_size=6))
    def test_the_answer_in_any_pieces(self, cuts: list[int]) -> None:
        """Text as it comes, calls, items to send back, usage; the same however it is cut."""
        asked = self.ask()
        data = stream(*EVENTS)
        edges = [0, *sorted(cuts), len(data)]
        for begin, end in itertools.pairwise(edges):
            self.response.send(data[begin:end])
        reply = self.successResultOf(asked)
        self.assertEqual((reply.text, "".join(self.heard)), ("Héllo", "Héllo"))
        self.assertEqual(list(reply.calls), [FunctionCall("c1", "look", {"cmd": "ls"})])
        self.assertEqual(reply.items[1], CALL)
        self.assertEqual(reply.usage, {"total_tokens": 5})
        self.response.end()

    def test_refusals(self) -> None:
        """Say what their body says, in whichever dialect, and their status where it says nothing."""
        for body, words in (
            (b'{"error": {"message": "no such model"}}', "no such model"),
            (b'{"error": "TOKEN_BUDGET_EXCEEDED"}', "TOKEN_BUDGET_EXCEEDED"),
            (b"<html>", "status 404"),
            (b"[]", "status 404"),
            (b"[" * 5_000, "status 404"),
        ):
            asked = self.ask(404)
            self.response.send(body)
            self.response.end()
            self.assertIn(words, self.failure(asked))

    def test_a_failure_within(self) -> None:
        """Is told, and the rest is not read."""
        for event, words in (
            ({"type": "response.failed", "response": {"error": {"message": "overloaded"}}}, "overloaded"),
            ({"type": "response.incomplete", "response": {}}, "response.incomplete"),
            ({"type": "error", "message": "bad"}, "bad"),
        ):
            asked = self.ask()
            self.response.send(stream(event, *EVENTS))
            self.assertIn(words, self.failure(asked))
            self.assertTrue(self.response.lost)

    def test_an_answer_without_end(self) -> None:
        """Is none: cut off, or at its end too early."""
        for reason, words in ((None, "no end"), (ConnectionLost(), "broke off")):
            asked = self.ask()
            self.response.send(stream(*EVENTS[:3]))
            self.response.end(reason)
            self.assertIn(words, self.failure(asked))

    def test_an_answer_that_cannot_be_read(self) -> None:
        """No JSON, no object, no arguments, no end of a line: one failure, and nothing after it."""
        bad = {**CALL, "arguments": "[1]"}
        for data in (
            b"data: {\n\n",
            b"data: 7\n\n",
            b"data: " + b"[" * 5_000 + b"\n\n",
            stream({"type": "response.output_item.done", "item": bad}, EVENTS[-1]),
            b"x" * (5 << 20),
        ):
            asked = self.ask()
            self.response.send(data)
            self.response.send(stream(*EVENTS))
            self.assertIn("cannot be read", self.failure(asked))

    def test_giving_up(self) -> None:
        """Closes the connection; what still comes is passed over."""
        asked = self.ask()
        self.response.send(stream(*EVENTS[:2]))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(self.response.lost)
        self.response.send(stream(*EVENTS))
        self.response.end()
