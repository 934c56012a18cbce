"""What holds of OpenAI's library in front of the gateway, in whichever language it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.real.clients.libraries import BROKEN_OFF, LARGE, LibraryTestCase, asked
from tests.real.clients.stage import CANARY, MODEL
from tests.real.clients.visitor import Outcome
from tests.real.waiting import wait_for

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CHAT_TOOLS = [{"type": "function", "function": WEATHER}]
RESPONSES_TOOLS = [{"type": "function", **WEATHER}]
ROME = {"name": "get_weather", "arguments": {"city": "Rome"}}


def called(heard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool calls that were heard, their arguments decoded."""
    return [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in heard["calls"]]


class OpenAiTestCase(LibraryTestCase):
    """The library's acts, by name."""

    def chat(self, prompt: str, **more: object) -> Outcome:
        return self.act("chat", model=MODEL, messages=asked(prompt), **more)

    def chat_stream(self, prompt: str, **more: object) -> Outcome:
        return self.act("chat_stream", model=MODEL, messages=asked(prompt), **more)

    def responses(self, prompt: str, **more: object) -> Outcome:
        return self.act("responses", model=MODEL, input=prompt, **more)

    def responses_stream(self, prompt: str, **more: object) -> Outcome:
        return self.act("responses_stream", model=MODEL, input=prompt, **more)


class OpenAiTests(OpenAiTestCase):
    """Everyday use, refusals, broken streams, and trying again."""

    # -- Answers -------------------------------------------------------------------------------------------------------

    def test_models(self) -> None:
        """The list has the model."""
        self.assertEqual(self.act("models").good()["ids"], [MODEL])

    def test_chat(self) -> None:
        """An answer comes whole, with its tokens counted, under the id that is in the gateway's log."""
        heard = self.chat("Say hello").good()
        self.assertIn("rehearsal model", heard["text"])
        self.assertEqual(heard["finish"], "stop")
        self.assertGreater(heard["tokens"], 10)
        self.assert_logged(heard["request_id"], 200)

    def test_chat_stream(self) -> None:
        """A stream has the same text and the same count of tokens, in many pieces."""
        whole = self.chat("Say hello").good()
        heard = self.chat_stream("Say hello", stream_options={"include_usage": True}).good()
        for name in ("text", "tokens", "finish"):
            self.assertEqual(heard[name], whole[name])
        self.assertGreater(heard["pieces"], 10)
        self.assert_logged(heard["request_id"], 200)

    def test_a_stream_comes_as_it_is_made(self) -> None:
        """Not at its end: thirty tokens at thirty a second arrive over most of a second."""
        heard = self.chat_stream("rehearse: long tokens=30 tokens_per_second=30").good()
        self.assertGreater(heard["seconds"], 0.7)

    def test_characters(self) -> None:
        """Text of many scripts is the same, whole and streamed."""
        whole = self.chat("rehearse: characters").good()["text"]
        self.assertIn("👩‍🚀", whole)
        self.assertEqual(self.chat_stream("rehearse: characters").good()["text"], whole)

    def test_tool(self) -> None:
        """A tool is called with arguments that came whole, by a whole answer and by a stream."""
        prompt = "rehearse: tool\nWhat is the weather in Rome?"
        for heard in (
            self.chat(prompt, tools=CHAT_TOOLS).good(),
            self.chat_stream(prompt, tools=CHAT_TOOLS).good(),
        ):
            self.assertEqual((called(heard), heard["finish"]), ([ROME], "tool_calls"))
        self.assertEqual(heard["calls"][0]["pieces"], 1)

    def test_tool_in_fragments(self) -> None:
        """Arguments that come token by token add up."""
        prompt = "rehearse: tool-fragments\nWhat is the weather in Rome?"
        heard = self.chat_stream(prompt, tools=CHAT_TOOLS).good()
        self.assertEqual(called(heard), [ROME])
        self.assertGreater(heard["calls"][0]["pieces"], 2)

    def test_tools_in_parallel(self) -> None:
        """Three calls of one stream are not mixed up."""
        heard = self.chat_stream("rehearse: tools-parallel").good()
        self.assertEqual([call["arguments"]["city"] for call in called(heard)], ["Oslo", "Rome", "Lima"])

    def test_responses(self) -> None:
        """The Responses route works whole and streamed, with the same text and count of tokens."""
        whole = self.responses("Say hello").good()
        heard = self.responses_stream("Say hello").good()
        self.assertIn("rehearsal model", whole["text"])
        for name in ("text", "tokens", "finish"):
            self.assertEqual(heard[name], whole[name])
        self.assertEqual((heard["types"][0], heard["types"][-1]), ("response.created", "response.completed"))
        self.assertGreater(heard["pieces"], 10)
        self.assert_logged(heard["request_id"], 200)

    def test_responses_tool(self) -> None:
        """A function is called through the Responses route, whole and streamed."""
        prompt = "rehearse: tool-fragments\nWhat is the weather in Rome?"
        self.assertEqual(called(self.responses(prompt, tools=RESPONSES_TOOLS).good()), [ROME])
        self.assertEqual(called(self.responses_stream(prompt, tools=RESPONSES_TOOLS).good()), [ROME])

    def test_embeddings(self) -> None:
        """Each text has its vector, of numbers and all of one length; the same text has the same one."""
        heard = self.act("embeddings", model=MODEL, texts=[CANARY, "two", CANARY]).good()
        first, second, third = heard["vectors"]
        self.assertEqual((len(first), first), (len(second), third))
        self.assertNotEqual(first, second)
        self.assertTrue(all(isinstance(number, int | float) for number in first))
        self.assertGreater(heard["tokens"], 0)

    def test_leaving(self) -> None:
        """Who stops reading a stream and closes it ends the model's work."""
        endless = "rehearse: long tokens=3000 tokens_per_second=50"
        self.assertEqual(self.chat_stream(endless, leave_after=3).good()["pieces"], 3)
        wait_for(lambda: self.stage.model.running() == 0, "the model is idle", seconds=20)
        [line] = self.stage.requests(self.session, 1)
        self.assertEqual((line["status"], line["reason"]), (499, "client_left"))

    # -- Refusals ------------------------------------------------------------------------------------------------------

    def test_wrong_key(self) -> None:
        """It is an authentication error that says so, names the request, and is not asked for again."""
        failures = self.stage.auth_failures()
        settings = {"api_key": "wrong", "max_retries": 3}
        outcome = self.act_with(settings, "chat", model=MODEL, messages=asked("Hello"))
        self.assertEqual(self.assert_stranger(outcome, failures)["code"], "invalid_api_key")

    def test_unknown_model(self) -> None:
        """It is a not-found error that says so."""
        outcome = self.act("chat", model="gpt-9", messages=asked("Hello"))
        self.assert_raised(outcome, "NotFoundError", 404, "does not exist")

    def test_unknown_route(self) -> None:
        """What vLLM does not do is not found, in words of ours."""
        self.assert_raised(self.act("files"), "NotFoundError", 404, "There is nothing at this path.")

    def test_too_large(self) -> None:
        """Two megabytes are refused in words, though the library is still sending them."""
        raised = self.assert_raised(
            self.chat(LARGE), "APIError", 413, "The request body is larger than this route allows."
        )
        self.assertEqual(raised["code"], "body_too_large")

    def test_bad_request(self) -> None:
        """What the model server refuses is refused in its own words."""
        self.assert_raised(self.chat("Hello", temperature=-3), "BadRequestError", 400, "temperature")

    def test_budget(self) -> None:
        """The budget's refusal has its one word in the error's body; not every library shows it in the message."""
        raised = self.assert_raised(self.chat("rehearse: budget"), "BadRequestError", 400)
        self.assertEqual(raised["body"], "TOKEN_BUDGET_EXCEEDED")

    def test_failing_model(self) -> None:
        """Its own 500 passes, with its own words."""
        outcome = self.chat("rehearse: 500")
        self.assert_raised(outcome, "InternalServerError", 500, "The rehearsal model plays an internal error.")

    def test_absent_model(self) -> None:
        """A model server that has crashed is a 503 that says what is wrong."""
        self.stage.model.kill()
        words = "The model server is not listening on its socket."
        raised = self.assert_raised(self.chat("Hello"), "InternalServerError", 503, words)
        self.assertEqual(raised["code"], "upstream_unavailable")

    def test_model_dies_before_it_answers(self) -> None:
        """It is a 502 that says so, where the request was the first on its connection: it is not sent again."""
        self.stage.model.stop()
        self.stage.model.start()
        order = {"model": MODEL, "messages": asked("rehearse: slow-start wait_seconds=60")}
        self.visitor.begin("chat", self.settings(), order)
        wait_for(lambda: self.stage.model.running() == 1, "the model is at it", seconds=30)
        self.stage.model.kill()
        words = "The model server closed the connection before it answered."
        self.assert_raised(self.visitor.outcome(), "InternalServerError", 502, words)

    # -- Streams that break ----------------------------------------------------------------------------------------

    def test_broken_stream(self) -> None:
        """It raises our words after what had come, and never looks complete."""
        outcome = self.chat_stream("rehearse: cut")
        self.assert_raised(outcome, "APIError", None, BROKEN_OFF)
        self.assertTrue(outcome.heard["text"])
        self.assertIsNone(outcome.heard["finish"])

    def test_model_is_killed_in_mid_stream(self) -> None:
        """So does the stream of a model that is killed."""
        before = self.stage.model.tokens()
        order = {"model": MODEL, "messages": asked("rehearse: long tokens=3000 tokens_per_second=50")}
        self.visitor.begin("chat_stream", self.settings(), order)
        wait_for(lambda: self.stage.model.tokens() > before + 10, "the model speaks", seconds=30)
        self.stage.model.kill()
        outcome = self.visitor.outcome()
        self.assert_raised(outcome, "APIError", None, BROKEN_OFF)
        self.assertTrue(outcome.heard["text"])
        self.assertIsNone(outcome.heard["finish"])

    def test_engine_dies_in_mid_stream(self) -> None:
        """What the model server says of its dead engine raises, though it ends its stream as if all were well."""
        outcome = self.chat_stream("rehearse: engine-death")
        self.assert_raised(outcome, "APIError", None, "EngineCore encountered an issue.")

    def test_broken_response(self) -> None:
        """A broken stream of the Responses route ends with our words in `response.failed`, and raises."""
        outcome = self.responses_stream("rehearse: cut")
        self.assertEqual(outcome.heard["failure"], BROKEN_OFF)
        self.assertEqual(outcome.heard["types"][-1], "response.failed")
        outcome.bad()

    # -- Trying again --------------------------------------------------------------------------------------------------

    def test_waiting_as_told(self) -> None:
        """After a 429 the library waits as long as it was told, then gives up with a rate-limit error."""
        prompt = "rehearse: 429 retry_after=2"
        outcome = self.act_with({"max_retries": 1}, "chat", model=MODEL, messages=asked(prompt))
        self.assertIn("RateLimitError", outcome.bad()["kinds"])
        lines = self.stage.requests(self.session, 2)
        self.assertEqual([line["status"] for line in lines], [429, 429])
        self.assert_waited(lines, 2.0)

    def test_model_comes_back(self) -> None:
        """While the model server restarts, the library asks once a second as told, and its user notices nothing."""
        self.stage.model.stop()
        order = {"model": MODEL, "messages": asked("Say hello")}
        self.visitor.begin("chat", self.settings(max_retries=20), order)
        self.stage.requests(self.session, 1)
        self.stage.model.start()
        heard = self.visitor.outcome().good()
        self.assert_logged(heard["request_id"], 200)
        lines = self.stage.requests(self.session, 2)
        self.assertEqual({line["status"] for line in lines[:-1]}, {503})
        self.assert_waited(lines, 1.0)

    def test_nothing_is_repeated_in_vain(self) -> None:
        """Refusals that will stay are not asked for again, however often the library might."""
        settings = {"max_retries": 3}
        self.act_with(settings, "chat", model="gpt-9", messages=asked("Hello")).bad()
        self.act_with(settings, "chat", model=MODEL, messages=asked(LARGE)).bad()
        self.act_with(settings, "chat", model=MODEL, messages=asked("rehearse: budget")).bad()
        statuses = [line["status"] for line in self.stage.requests(self.session, 3)]
        self.assertEqual(statuses, [404, 413, 400])


class ImpatientTests(OpenAiTestCase):
    """A gateway that waits two seconds for a model."""

    sections: ClassVar[Mapping[str, Mapping[str, object]]] = {"timeouts": {"first_byte": 2, "idle": 2, "drain": 2}}

    def test_silent_model(self) -> None:
        """No answer in time is a 504 that says so."""
        outcome = self.chat("rehearse: slow-start wait_seconds=60")
        words = "The model server did not begin to answer in time."
        raised = self.assert_raised(outcome, "InternalServerError", 504, words)
        self.assertEqual(raised["code"], "upstream_timeout")

    def test_model_falls_silent(self) -> None:
        """Silence in mid-stream raises our words after what had come, whether comments go on or not."""
        for comments in ("", " comment_seconds=0.5"):
            outcome = self.chat_stream(f"rehearse: stall{comments}")
            self.assertIn("The model server fell silent in the middle of its answer.", outcome.bad()["message"])
            self.assertTrue(outcome.heard["text"])
            self.assertIsNone(outcome.heard["finish"])


class ThriftyTests(OpenAiTestCase):
    """A client that may ask once in two seconds."""

    allowance: ClassVar[Mapping[str, object]] = {"requests_per_second": 0.5, "burst": 1}

    def test_waiting_for_the_next_turn(self) -> None:
        """Who asks too soon is told how long to wait, waits, and is served."""
        settings = {"max_retries": 5}
        for _ in range(2):
            self.act_with(settings, "chat", model=MODEL, messages=asked("Say hello")).good()
        lines = self.stage.requests(self.session, 2, status=200)
        served = [line for line in lines if line["status"] == 200]
        refused = [line for line in lines if line["status"] == 429]
        self.assertTrue(refused)
        self.assertEqual(len(served) + len(refused), len(lines))
        self.assert_waited(served, 2.0)

    def test_giving_up(self) -> None:
        """Who does not wait gets a rate-limit error that says so."""
        outcomes = (self.chat("Say hello") for _ in range(9))  # a slow machine may come in time
        raised = next(outcome for outcome in outcomes if outcome.raised).bad()
        self.assertIn("RateLimitError", raised["kinds"])
        self.assertEqual(raised["status"], 429)
