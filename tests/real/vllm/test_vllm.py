"""The gateway in front of a real vLLM: what its users get, and what vLLM sees of them.

Run by `make test-real`.  The model is noise, so guided decoding makes it say what a test needs, or it talks
nonsense until a limit ends it; both go through vLLM's own serving code.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.recorder import Exchange, Recorder
from tests.real.vllm.server import MODEL, VllmServer
from tests.real.vllm.shared import CONTEXT, VLLM
from tests.real.waiting import wait_for
from tests.real.wire import Answer, Client, Stream

CANARY = "saffron-heron-51"
"""A word in every prompt; it may appear in no log."""

ASKED = [{"role": "user", "content": f"Tell me about the {CANARY}."}]
LONG = [{"role": "user", "content": "¤" * (CONTEXT // 2)}]
"""Longer than the context: no piece of the vocabulary spells this sign, each of its two bytes is a token."""

SAYING = "Grüße, gateway! 你好 😀."
GUIDED = {"structured_outputs": {"regex": SAYING.replace(".", "\\.")}, "max_tokens": 90}
REPEATABLE = {"model": MODEL, "temperature": 0, "seed": 7}
ENDLESS = {"model": MODEL, "messages": ASKED, "ignore_eos": True, "max_tokens": CONTEXT - 100}

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLING = r'<tool_call>\n\{"name": "get_weather", "arguments": \{"city": "(Oslo|Rome)"\}\}\n</tool_call>'
TOOL_CALL = {
    "messages": ASKED,
    "tools": [WEATHER_TOOL],
    "tool_choice": "auto",
    "max_tokens": 150,
    "structured_outputs": {"regex": CALLING},
}

REQUESTS: dict[str, tuple[str, dict[str, object]]] = {
    "chat": (CHAT, {"messages": ASKED, **GUIDED}),
    "chat with usage": (CHAT, {"messages": ASKED, "max_tokens": 40}),
    "tool call": (CHAT, TOOL_CALL),
    "completion": (COMPLETIONS, {"prompt": CANARY, "max_tokens": 40}),
    "responses": (RESPONSES, {"input": CANARY, "max_output_tokens": 40}),
    "messages": (MESSAGES, {"messages": ASKED, "max_tokens": 40}),
}
"""Requests that vLLM answers the same way each time, by a name for the reports."""

REFUSED: dict[str, tuple[str, dict[str, object]]] = {
    "temperature out of range": (CHAT, {"messages": ASKED, "max_tokens": 5, "temperature": -3}),
    "no message": (CHAT, {"messages": [], "max_tokens": 5}),
    "unknown kind of answer": (
        CHAT,
        {"messages": ASKED, "max_tokens": 5, "response_format": {"type": "sonnet"}},
    ),
    "at least more tokens than at the most": (CHAT, {"messages": ASKED, "max_tokens": 5, "min_tokens": 9}),
    "schema that is none": (COMPLETIONS, {"prompt": CANARY, "structured_outputs": {"json": 5}}),
    "suffix for a model without infilling": (COMPLETIONS, {"prompt": CANARY, "suffix": "x", "max_tokens": 5}),
    "longer than the context": (
        CHAT,
        {"messages": LONG, "max_tokens": 5},
    ),
    "more tokens than the context holds": (CHAT, {"messages": ASKED, "max_tokens": CONTEXT + 1}),
    "longer than the context, in Anthropic's dialect": (
        MESSAGES,
        {"messages": LONG, "max_tokens": 5},
    ),
}
"""Requests that vLLM itself refuses, in words that are its own."""

CLOSED_TO_CLIENTS = [
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/invocations"),
    ("POST", "/scale_elastic_ep"),
    ("POST", "/generative_scoring"),
    ("GET", "/load"),
    ("GET", "/version"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"),
    ("POST", "/v1/chat/completions/batch"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/systemone"),
]

# vLLM makes up these even for a repeated request: the time, and ids that do not come from X-Request-ID.
MADE_UP = re.compile(
    rb'"created(?:_at)?":[0-9]+|"(?:chatcmpl-tool|resp|msg|rs|fc|call)[_-][0-9a-f]+"|"system_fingerprint":"[^"]*"'
)


def alike(body: bytes) -> bytes:
    """`body` with what differs from run to run struck out."""
    return MADE_UP.sub(b'"*"', body)


def data(events: Iterator[bytes]) -> list[Any]:
    """The JSON documents of a stream's events, without the closing `[DONE]` and without comments."""
    lines = [line for event in events for line in event.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines if line != b"data: [DONE]"]


class FrontedTestCase(SynchronousTestCase):
    """Tests with the shared vLLM and a gateway of their own before it."""

    def setUp(self) -> None:
        self.vllm: VllmServer = VLLM.running()
        self.folder = self.make_folder()
        self.gateway = self.make_gateway(self.vllm.socket)
        self.through: Client = self.gateway.client()
        self.straight: Client = self.vllm.client

    def make_folder(self) -> Path:
        holder = tempfile.TemporaryDirectory(prefix="hadesgw-")
        self.addCleanup(holder.cleanup)
        return Path(holder.name)

    def make_gateway(self, upstream: Path) -> Gateway:
        """A running gateway whose own budget never gets in vLLM's way; its log is judged when the test
        ends."""
        budget = {"context_tokens": 10 * CONTEXT, "output_tokens": 5 * CONTEXT}
        gateway = Gateway(self.make_folder(), upstream, [MODEL], {"budget": budget, "timeouts": {"drain": 2}})
        self.addCleanup(self.judge_log, gateway)
        self.addCleanup(gateway.stop)
        gateway.start()
        return gateway

    def judge_log(self, gateway: Gateway) -> None:
        """No secret, nothing of what was said, and no fault of the gateway's own."""
        text = gateway.log_text()
        for forbidden in (gateway.token, CANARY, "Grüße", "Gr\\u00fc", "Traceback", "Unhandled"):
            self.assertNotIn(forbidden, text)

    def say(self, name: str, client: Client, request_id: str, **more: object) -> Answer:
        path, document = REQUESTS[name]
        return client.post(path, {**REPEATABLE, **document, **more}, {"X-Request-ID": request_id})

    def assert_correlated(self, answer: Answer | Stream, request_id: str | None) -> None:
        """Exactly one of each id, the request's as it was sent."""
        found = answer.header("X-Request-ID")
        self.assertTrue(found and answer.header("X-Conveyance-Session-ID"), answer.headers)
        if request_id is not None:
            self.assertEqual(found, request_id)


class VllmAnswerTests(FrontedTestCase):
    """Every route that clients may use."""

    def test_models(self) -> None:
        """The list names the model and nothing of the server's folders."""
        answer = self.through.get("/v1/models")
        self.assertEqual((answer.status, [model["id"] for model in answer.json()["data"]]), (200, [MODEL]))
        self.assertNotIn(str(self.vllm.kit.folder).encode(), answer.body)
        self.assert_correlated(answer, None)

    def test_chat_whole(self) -> None:
        """A chat completion arrives with vLLM's text, usage and reason to stop."""
        answer = self.say("chat", self.through, "whole-1")
        choice = answer.json()["choices"][0]
        self.assertEqual((answer.status, choice["message"]["content"]), (200, SAYING))
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertGreater(answer.json()["usage"]["completion_tokens"], 5)
        self.assert_correlated(answer, "whole-1")

    def test_chat_stream(self) -> None:
        """A streamed chat spells the same text, may not be cached or buffered on its way, and ends with
        [DONE]."""
        with self.stream("chat", "stream-1") as stream:
            self.assertEqual((stream.status, stream.header("content-type")), (200, "text/event-stream; charset=utf-8"))
            self.assertEqual(stream.header("x-accel-buffering"), "no")
            self.assertEqual(stream.header("cache-control"), "no-cache, no-transform")
            self.assert_correlated(stream, "stream-1")
            events = list(stream.events())
        self.assertEqual(events[-1], b"data: [DONE]\n\n")
        pieces = [choice["delta"].get("content") or "" for part in data(iter(events)) for choice in part["choices"]]
        self.assertGreater(len(pieces), 3)
        self.assertEqual("".join(pieces), SAYING)

    def test_tool_call_whole(self) -> None:
        """A tool call that vLLM's parser read arrives whole."""
        choice = self.say("tool call", self.through, "tool-1").json()["choices"][0]
        call = choice["message"]["tool_calls"][0]["function"]
        self.assertEqual((choice["finish_reason"], call["name"]), ("tool_calls", "get_weather"))
        self.assertIn(json.loads(call["arguments"])["city"], ("Oslo", "Rome"))

    def test_tool_call_stream(self) -> None:
        """A streamed tool call arrives in the fragments that vLLM cut, and they add up."""
        with self.stream("tool call", "tool-2") as stream:
            choices = [choice for part in data(stream.events()) for choice in part["choices"]]
        calls = [call for choice in choices for call in choice["delta"].get("tool_calls") or []]
        arguments = "".join(call["function"].get("arguments") or "" for call in calls)
        self.assertEqual(calls[0]["function"]["name"], "get_weather")
        self.assertGreater(len(calls), 2)
        self.assertIn(json.loads(arguments)["city"], ("Oslo", "Rome"))
        self.assertEqual(choices[-1]["finish_reason"], "tool_calls")

    def test_completion(self) -> None:
        """Plain completions work whole and streamed, with the same text."""
        whole = self.say("completion", self.through, "plain-1").json()["choices"][0]["text"]
        with self.stream("completion", "plain-2") as stream:
            parts = data(stream.events())
        self.assertEqual("".join(choice["text"] for part in parts for choice in part["choices"]), whole)
        self.assertNotEqual(whole, "")

    def test_responses(self) -> None:
        """The Responses route works whole and streamed, to its typed last event."""
        whole = self.say("responses", self.through, "resp-1").json()["output"][0]["content"][0]["text"]
        with self.stream("responses", "resp-2") as stream:
            events = data(stream.events())
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("response.created", "response.completed"))
        deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        self.assertEqual("".join(deltas), whole)
        self.assertNotEqual(whole, "")

    def test_messages(self) -> None:
        """Anthropic's route works whole and streamed, to its typed last event."""
        whole = self.say("messages", self.through, "msg-1").json()["content"][0]["text"]
        with self.stream("messages", "msg-2") as stream:
            events = data(stream.events())
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("message_start", "message_stop"))
        deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        self.assertEqual("".join(deltas), whole)
        self.assertNotEqual(whole, "")

    def test_ids(self) -> None:
        """The id sent becomes vLLM's completion id and comes back; without one, a fresh one does both."""
        sent = self.say("chat", self.through, "my-id.7:x")
        self.assertEqual(sent.json()["id"], "chatcmpl-my-id.7:x")
        self.assert_correlated(sent, "my-id.7:x")
        path, document = REQUESTS["chat"]
        minted = self.through.post(path, {**REPEATABLE, **document})
        self.assert_correlated(minted, None)
        self.assertEqual(minted.json()["id"], f"chatcmpl-{minted.header('X-Request-ID')}")

    def test_unusable_id_is_replaced(self) -> None:
        """An id outside the grammar reaches neither vLLM nor the client again."""
        answer = self.say("chat", self.through, "two words")
        self.assertNotIn(b"two words", answer.body)
        self.assertRegex(answer.header("X-Request-ID") or "", r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

    def test_log_line(self) -> None:
        """A finished stream leaves one line that tells how it went."""
        with self.stream("chat", "line-1") as stream:
            size = sum(len(event) for event in stream.events())
        line = self.gateway.request_log("line-1")
        expected = {"client": "tester", "route": CHAT, "status": 200, "stream": True, "bytes_out": size}
        self.assertEqual({key: line.get(key) for key in expected}, expected)

    def test_only_listed_routes_exist(self) -> None:
        """vLLM's other routes, which work straight on its socket, do not exist through the gateway."""
        self.assertEqual(self.straight.post("/tokenize", {"prompt": "hi"}).json()["count"], 1)
        for method, path in CLOSED_TO_CLIENTS:
            document = {"prompt": "hi", "model": MODEL} if method == "POST" else None
            answer = self.through.ask(method, path, document)
            self.assertEqual((path, answer.status), (path, 404))
            self.assert_correlated(answer, None)

    def test_stranger(self) -> None:
        """Without a credential nothing is answered."""
        self.assertEqual(self.say("chat", self.gateway.stranger(), "who-1").status, 401)

    def stream(self, name: str, request_id: str) -> Any:
        path, document = REQUESTS[name]
        return self.through.open("POST", path, {**REPEATABLE, **document, "stream": True}, {"X-Request-ID": request_id})


class VllmBytesTests(FrontedTestCase):
    """Bytes in, bytes out."""

    def test_same_body_as_straight(self) -> None:
        """For every repeatable request the body equals the one that vLLM gives without the gateway."""
        for name in REQUESTS:
            straight = self.say(name, self.straight, "same-1")
            through = self.say(name, self.through, "same-1")
            self.assertEqual(straight.status, 200, straight.body)
            self.assertEqual((name, alike(through.body)), (name, alike(straight.body)))

    def test_same_errors_as_straight(self) -> None:
        """vLLM's own refusals pass byte for byte, be they an answer's body or the only event of a stream."""
        for name, (path, document) in REFUSED.items():
            for stream in (False, True):
                document = {"model": MODEL, **document, "stream": stream}
                straight, through = (client.post(path, document) for client in (self.straight, self.through))
                self.assertIn(b'"error"', straight.body, name)
                self.assertEqual(
                    (name, through.status, through.header("content-type"), through.body),
                    (name, straight.status, straight.header("content-type"), straight.body),
                )

    def test_bytes_on_the_socket(self) -> None:
        """Whole or streamed, vLLM gets the body the client sent, and the client the body that vLLM sent."""
        with Recorder(self.folder / "witness.sock", self.vllm.socket) as recorder:
            client = self.make_gateway(recorder.path).client({"Cookie": "a=b", "X-Forwarded-For": "10.0.0.1"})
            for name, (path, document) in REQUESTS.items():
                for stream in (False, True):
                    sent = json.dumps({**REPEATABLE, **document, "stream": stream}, ensure_ascii=False).encode()
                    answer = client.post(path, sent, {"Content-Type": "application/json", "X-Request-ID": "tee-1"})
                    witnessed = self.latest(recorder, path)
                    self.assertEqual((name, witnessed.request.body), (name, sent))
                    self.assertEqual((name, answer.body), (name, witnessed.answer.body))
                    self.assertTrue(witnessed.answer.whole)
                    self.assert_fields(witnessed, client.headers["Authorization"])

    def test_streams_at_the_same_time(self) -> None:
        """Each of eight clients at the same time gets what vLLM sent for it."""
        ids = [f"together-{number}" for number in range(8)]
        with Recorder(self.folder / "witness.sock", self.vllm.socket) as recorder:
            client = self.make_gateway(recorder.path).client()
            document = {**ENDLESS, **REPEATABLE, "max_tokens": 200, "stream": True}
            with ThreadPoolExecutor(len(ids)) as threads:
                asking = [threads.submit(client.post, CHAT, document, {"X-Request-ID": one}) for one in ids]
            witnessed = recorder.exchanges(CHAT)
        sent = {exchange.request.header(b"x-request-id")[0]: exchange.answer.body for exchange in witnessed}
        for one, asked in zip(ids, asking, strict=True):
            answer = asked.result()
            self.assertEqual(answer.header("X-Request-ID"), one)
            self.assertEqual(answer.body, sent[one.encode()])
            self.assertTrue(answer.body.endswith(b"data: [DONE]\n\n"))

    def latest(self, recorder: Recorder, path: str) -> Exchange:
        found = [exchange for exchange in recorder.exchanges(path) if exchange.answer.whole]
        return found[-1]

    def assert_fields(self, exchange: Exchange, credential: str) -> None:
        """The id goes upstream, the credential and what a client says of other hops do not."""
        request = exchange.request
        self.assertEqual(request.header(b"x-request-id"), [b"tee-1"])
        self.assertEqual(len(request.header(b"x-conveyance-session-id")), 1)
        for name in (b"authorization", b"cookie", b"x-forwarded-for"):
            self.assertEqual(request.header(name), [])
        self.assertNotIn(credential.encode(), [value for _, value in request.headers])


class VllmDepartureTests(FrontedTestCase):
    """A client that leaves stops the engine."""

    attempts = 4
    """A machine that is busy with something else may spoil some."""

    def test_departure_from_a_stream(self) -> None:
        """The engine is idle within a second after the client of a stream has left."""

        def depart() -> None:
            with self.through.open("POST", CHAT, {**ENDLESS, "stream": True}) as stream:
                for _ in range(3):
                    stream.event()
                self.assertEqual(self.vllm.running(), 1)

        self.assert_idle_within_a_second(depart)

    def test_departure_while_waiting(self) -> None:
        """So it is when the client waits for a whole answer and has seen no byte of it yet."""

        def depart() -> None:
            connection = self.through.send("POST", CHAT, ENDLESS)
            wait_for(lambda: self.vllm.running() == 1, "the engine computes", seconds=60)
            connection.close()

        self.assert_idle_within_a_second(depart)

    def test_many_departures(self) -> None:
        """No descriptor is left of forty clients who left at various moments."""
        with self.through.open("POST", CHAT, {**ENDLESS, "stream": True}) as stream:
            stream.event()
        self.wait_until_idle()
        before = self.gateway.fds()
        for count in range(40):
            with self.through.open("POST", CHAT, {**ENDLESS, "stream": True}) as stream:
                for _ in range(count % 5):
                    stream.event()
        self.wait_until_idle()
        wait_for(lambda: self.gateway.fds() <= before, f"descriptors fall back to {before}", seconds=20)

    def assert_idle_within_a_second(self, depart: Callable[[], None]) -> None:
        delays: list[float] = []
        while len(delays) < self.attempts and min(delays, default=9.0) > 1.1:
            depart()
            delays.append(self.wait_until_idle())
        self.assertLess(delays[-1], 1.1, delays)

    def wait_until_idle(self) -> float:
        """How many seconds it takes."""
        left = time.monotonic()
        wait_for(lambda: self.vllm.running() == 0, "the engine is idle", seconds=20)
        return time.monotonic() - left


class VllmLossTests(FrontedTestCase):
    """vLLM dies under the gateway; the gateway stays, says so, and takes up the next one."""

    def test_a_killed_server(self) -> None:
        """A killed server ends a stream with our typed error, and a restart on the left-over path is taken
        up."""
        with self.through.open("POST", CHAT, {**ENDLESS, "stream": True}, {"X-Request-ID": "cut-1"}) as stream:
            for _ in range(3):
                stream.event()
            self.vllm.family()[0].kill()
            rest = self.read_to_any_end(stream)
        self.assertEqual(json.loads(rest[-1].removeprefix(b"data: "))["error"]["code"], "upstream_died")
        self.assertNotIn(b"data: [DONE]\n\n", rest)
        self.assertEqual(self.gateway.request_log("cut-1")["reason"], "upstream_truncated")

        self.vllm.stop()
        self.assertTrue(self.vllm.socket.exists())
        self.assert_refuses("upstream_unavailable")

        self.vllm.restart()
        wait_for(lambda: self.through.get("/readyz").status == 200, "the gateway is ready again", seconds=20)
        self.assertEqual(self.say("chat", self.through, "back-1").json()["choices"][0]["message"]["content"], SAYING)

    def test_an_engine_killed_in_mid_stream(self) -> None:
        """vLLM's own error event passes through; then vLLM ends, readiness turns red and the gateway serves
        on."""
        with self.through.open("POST", CHAT, {**ENDLESS, "stream": True}) as stream:
            for _ in range(3):
                stream.event()
            self.vllm.kill_engine()
            rest = list(stream.events())
        errors = [document["error"]["type"] for document in data(iter(rest)) if "error" in document]
        self.assertEqual(errors, ["InternalServerError"])
        self.vllm.wait_until_ended()
        self.assert_refuses("upstream_unavailable")

    def assert_refuses(self, code: str) -> None:
        """Alive, not ready, and clear about why."""
        wait_for(lambda: self.through.get("/readyz").status == 503, "readiness turns red", seconds=20)
        self.assertEqual(self.through.get("/healthz").status, 200)
        answer = self.say("chat", self.through, "gone-1")
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (503, code))
        self.assertTrue((answer.header("Retry-After") or "").isdigit())
        self.assert_correlated(answer, "gone-1")

    def read_to_any_end(self, stream: Stream) -> list[bytes]:
        """All events, whether the body ends in order or is cut."""
        events: list[bytes] = []
        with contextlib.suppress(IncompleteRead, ConnectionError):
            events.extend(stream.events())
        return events
