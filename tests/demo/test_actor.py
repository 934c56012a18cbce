"""The generating routes: refusals, identities, counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.script import parse
from tests.demo.playing import MODEL, Playhouse, chat

CHAT = "/v1/chat/completions"


class PlayTests(SynchronousTestCase):
    """What the script makes of a request."""

    def test_refusals_of_the_script_are_sent(self) -> None:
        """With their status, their wait and the body that a contract fixes, streamed or not."""
        for stream in (False, True):
            house = Playhouse()
            budget = house.chat("rehearse: budget", stream=stream)
            self.assertEqual((budget.status, budget.body), (400, b'{"error": "TOKEN_BUDGET_EXCEEDED"}'))
            limited = house.chat("rehearse: 429 retry_after=7", stream=stream)
            self.assertEqual((limited.status, dict(limited.fields)["retry-after"]), (429, "7"))
            self.assertEqual(limited.json()["error"]["type"], "RateLimitError")
            self.assertNotIn("retry-after", dict(house.chat("rehearse: 500", stream=stream).fields))

    def test_refusals_are_said_in_the_protocol_of_the_route(self) -> None:
        """Anthropic's on the Messages routes."""
        document = {**chat("rehearse: 503"), "model": MODEL, "max_tokens": 5}
        refused = Playhouse().post("/v1/messages", document)
        self.assertEqual((refused.status, refused.json()["type"]), (503, "error"))
        counted = Playhouse().post("/v1/messages/count_tokens", {"model": "x", "messages": [{}]})
        self.assertEqual((counted.status, counted.json()["type"]), (404, "error"))

    def test_a_script_is_played(self) -> None:
        """In place of the built-in rules."""
        house = Playhouse(script=parse('[[rule]]\nanswer = {text = "Moin."}'))
        self.assertEqual(house.chat("x").json()["choices"][0]["message"]["content"], "Moin.")


class IdentityTests(SynchronousTestCase):
    """Ids and dates."""

    def test_the_client_s_id_becomes_the_answer_s(self) -> None:
        """On the routes where vLLM does so, with their prefixes; a response has its own."""
        documents = {
            CHAT: (chat("x"), "chatcmpl-my-id"),
            "/v1/completions": ({"prompt": "x"}, "cmpl-my-id"),
            "/v1/messages": ({**chat("x"), "model": MODEL, "max_tokens": 5}, "chatcmpl-my-id"),
            "/v1/responses": ({"input": "x"}, "resp_0000000000000001"),
        }
        for path, (document, identity) in documents.items():
            self.assertEqual(Playhouse().post(path, document, {"X-Request-Id": "my-id"}).json()["id"], identity)

    def test_an_id_is_made_if_none_is_given(self) -> None:
        """A new one each time, and every event of a stream has it."""
        house = Playhouse()
        self.assertNotEqual(house.chat("x").json()["id"], house.chat("x").json()["id"])
        self.assertEqual(len({event["id"] for event in house.chat("x", stream=True).data()}), 1)

    def test_an_odd_id_is_only_text(self) -> None:
        """Bytes of any value come back as they are read."""
        answered = Playhouse().post(CHAT, chat("x"), {"X-Request-Id": 'a"\xff\\'})
        self.assertEqual(answered.json()["id"], 'chatcmpl-a"\xff\\')

    def test_dates_are_the_clock_s(self) -> None:
        """In whole seconds."""
        self.assertEqual(Playhouse().chat("x").json()["created"], 1_800_000_000)


class CountTests(SynchronousTestCase):
    """What /metrics says."""

    def metric(self, house: Playhouse, name: str) -> float:
        lines = house.get("/metrics").body.decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"vllm:{name}")).split()[-1])

    def test_finished_requests_are_counted(self) -> None:
        """Their tokens are those of their usage, streamed or not."""
        house, tokens, prompts = Playhouse(), 0, 0
        for stream in (False, True):
            options = {"stream_options": {"include_usage": True}} if stream else {}
            answered = house.chat("x", n=2, stream=stream, **options)
            usage = answered.data()[-1]["usage"] if stream else answered.json()["usage"]
            tokens, prompts = tokens + usage["completion_tokens"], prompts + usage["prompt_tokens"]
        self.assertEqual(self.metric(house, "generation_tokens_total"), tokens)
        self.assertEqual(self.metric(house, "prompt_tokens_total"), prompts)
        self.assertEqual(
            self.metric(house, 'request_success_total{engine="0",model_name="rehearsal",finished_reason="stop"'), 4
        )

    def test_broken_requests_are_counted_as_errors(self) -> None:
        """Cut or dead, streamed or not."""
        house = Playhouse()
        for prompt in ("rehearse: cut", "rehearse: engine-death"):
            for stream in (False, True):
                house.chat(prompt, stream=stream) if stream or "cut" not in prompt else house.exchange("GET", "/health")
        errors = 'request_success_total{engine="0",model_name="rehearsal",finished_reason="error"'
        self.assertEqual(self.metric(house, errors), 3)
