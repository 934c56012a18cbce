"""Anthropic's library for Python, on `/v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.real.clients.environment import CLIENTS, PYTHON
from tests.real.clients.libraries import BROKEN_OFF, LARGE, LibraryTestCase, asked
from tests.real.clients.stage import MODEL
from tests.real.clients.visitor import Outcome
from tests.real.waiting import wait_for

PROGRAM = Path(__file__).resolve().parent / "visitors" / "anthropic_python.py"

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ROME = {"name": "get_weather", "input": {"city": "Rome"}}


class AnthropicPythonTests(LibraryTestCase):
    """The library as Python's programs use it; its key goes in `x-api-key`."""

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(PYTHON)

    def command(self) -> list[str | Path]:
        return [self.kit.python, "-I", PROGRAM]

    def settings(self, **more: object) -> dict[str, object]:
        return {**super().settings(), "base_url": self.stage.gateway.url, **more}

    def messages(self, prompt: str, settings: Mapping[str, object] = {}, **more: object) -> Outcome:
        order = {"model": MODEL, "max_tokens": 900, "messages": asked(prompt), **more}
        return self.act_with(settings, "messages", **order)

    def messages_stream(self, prompt: str, **more: object) -> Outcome:
        return self.act("messages_stream", model=MODEL, max_tokens=900, messages=asked(prompt), **more)

    # -- Answers -------------------------------------------------------------------------------------------------------

    def test_messages(self) -> None:
        """An answer comes whole, with its tokens counted, under the id that is in the gateway's log."""
        heard = self.messages("Say hello").good()
        self.assertIn("rehearsal model", heard["text"])
        self.assertEqual(heard["finish"], "end_turn")
        self.assertGreater(heard["tokens"], 10)
        self.assert_logged(heard["request_id"], 200)

    def test_stream(self) -> None:
        """A stream has the same text and the same count of tokens, in many pieces."""
        whole = self.messages("Say hello").good()
        heard = self.messages_stream("Say hello").good()
        for name in ("text", "tokens", "finish"):
            self.assertEqual(heard[name], whole[name])
        self.assertGreater(heard["pieces"], 10)
        self.assert_logged(heard["request_id"], 200)

    def test_characters(self) -> None:
        """Text of many scripts is the same, whole and streamed."""
        whole = self.messages("rehearse: characters").good()["text"]
        self.assertIn("👩‍🚀", whole)
        self.assertEqual(self.messages_stream("rehearse: characters").good()["text"], whole)

    def test_tool(self) -> None:
        """A tool is called, whole and by a stream whose arguments come token by token."""
        prompt = "rehearse: tool-fragments\nWhat is the weather in Rome?"
        for heard in (
            self.messages(prompt, tools=[WEATHER]).good(),
            self.messages_stream(prompt, tools=[WEATHER]).good(),
        ):
            self.assertEqual((heard["calls"], heard["finish"]), ([ROME], "tool_use"))

    def test_count_tokens(self) -> None:
        """The tokens counted beforehand are those that the answer counts."""
        counted = self.act("count_tokens", model=MODEL, messages=asked("Say hello")).good()["tokens"]
        self.assertEqual(counted, self.messages("Say hello").good()["asked_tokens"])

    def test_bearer(self) -> None:
        """A key given as `auth_token`, which goes in `Authorization`, is as good."""
        settings = {"api_key": None, "auth_token": self.stage.gateway.token}
        self.assertIn("rehearsal model", self.messages("Say hello", settings).good()["text"])

    # -- Refusals ------------------------------------------------------------------------------------------------------

    def test_wrong_key(self) -> None:
        """It is an authentication error that says so, names the request, and is not asked for again."""
        failures = self.stage.auth_failures()
        outcome = self.messages("Hello", {"api_key": "wrong", "max_retries": 3})
        self.assertEqual(self.assert_stranger(outcome, failures)["type"], "authentication_error")

    def test_unknown_model(self) -> None:
        """It is a not-found error that says so."""
        self.assert_raised(self.messages("Hello", model="claude-9"), "NotFoundError", 404, "does not exist")

    def test_too_large(self) -> None:
        """Two megabytes are refused in words, though the library is still sending them."""
        words = "The request body is larger than this route allows."
        raised = self.assert_raised(self.messages(LARGE), "ContentTooLargeError", 413, words)
        self.assertEqual(raised["type"], "request_too_large")

    def test_bad_request(self) -> None:
        """What the model server refuses is refused in its own words."""
        self.assert_raised(
            self.messages("Hello", extra_body={"temperature": -3}), "BadRequestError", 400, "temperature"
        )

    def test_absent_model(self) -> None:
        """A model server that has crashed is a 503 that says what is wrong."""
        self.stage.model.kill()
        words = "The model server is not listening on its socket."
        raised = self.assert_raised(self.messages("Hello"), "ServiceUnavailableError", 503, words)
        self.assertEqual(raised["type"], "overloaded_error")

    # -- Streams that break --------------------------------------------------------------------------------------------

    def test_broken_stream(self) -> None:
        """It raises our words after what had come, and never looks complete."""
        outcome = self.messages_stream("rehearse: cut")
        self.assert_raised(outcome, "APIError", 200, BROKEN_OFF)
        self.assertTrue(outcome.heard["text"])
        self.assertIsNone(outcome.heard["finish"])

    def test_model_is_killed_in_mid_stream(self) -> None:
        """So does the stream of a model that is killed."""
        before = self.stage.model.tokens()
        prompt = asked("rehearse: long tokens=3000 tokens_per_second=50")
        order = {"model": MODEL, "max_tokens": 3000, "messages": prompt}
        self.visitor.begin("messages_stream", self.settings(), order)
        wait_for(lambda: self.stage.model.tokens() > before + 10, "the model speaks", seconds=30)
        self.stage.model.kill()
        outcome = self.visitor.outcome()
        self.assert_raised(outcome, "APIError", 200, BROKEN_OFF)
        self.assertIsNone(outcome.heard["finish"])

    # -- Trying again --------------------------------------------------------------------------------------------------

    def test_waiting_as_told(self) -> None:
        """After a 429 the library waits as long as it was told, then gives up with a rate-limit error."""
        outcome = self.messages("rehearse: 429 retry_after=2", {"max_retries": 1})
        self.assertIn("RateLimitError", outcome.bad()["kinds"])
        lines = self.stage.requests(self.session, 2)
        self.assertEqual([line["status"] for line in lines], [429, 429])
        self.assert_waited(lines, 2.0)

    def test_model_comes_back(self) -> None:
        """While the model server restarts, the library asks once a second as told, and its user notices nothing."""
        self.stage.model.stop()
        order = {"model": MODEL, "max_tokens": 900, "messages": asked("Say hello")}
        self.visitor.begin("messages", self.settings(max_retries=20), order)
        self.stage.requests(self.session, 1)
        self.stage.model.start()
        self.assert_logged(self.visitor.outcome().good()["request_id"], 200)
        lines = self.stage.requests(self.session, 2)
        self.assertEqual({line["status"] for line in lines[:-1]}, {503})
        self.assert_waited(lines, 1.0)
