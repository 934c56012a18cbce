"""Routes, identities, counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.script import parse
from tests.demo.playing import MODEL, Playhouse, chat, request_bytes

CHAT = "/v1/chat/completions"


class RouteTests(SynchronousTestCase):
    """What is served, exactly."""

    def test_only_exact_paths_are_routes(self) -> None:
        """Nothing below them, beside them or written otherwise; a query changes nothing."""
        house = Playhouse()
        for path in (
            "/",
            "/v1",
            "/v1/models/",
            "/v1//models",
            "/V1/models",
            "/v1/models%2f",
            "/health/x",
            "/%76ersion",
        ):
            self.assertEqual(house.get(path).status, 404, path)
        self.assertEqual(house.get("/v1/models?limit=1").status, 200)

    def test_other_methods_are_told_which_one_to_use(self) -> None:
        """In the allow field, for made-up methods too."""
        for method, path, allow in (
            ("GET", CHAT, "POST"),
            ("DELETE", "/v1/models", "GET"),
            ("PUT", "/ping", "GET, POST"),
            ("OPTIONS", "/health", "GET"),
            ("JUMP", "/health", "GET"),
        ):
            answered, _ = Playhouse().exchange(method, path)
            self.assertEqual((answered.status, dict(answered.fields)["allow"]), (405, allow))

    def test_version_and_fingerprint_are_honest(self) -> None:
        """They say rehearsal."""
        house = Playhouse()
        self.assertIn("rehearsal", house.get("/version").json()["version"])
        self.assertIn("rehearsal", house.chat("x").json()["system_fingerprint"])
        self.assertEqual(house.get("/v1/models").json()["data"][0]["owned_by"], "rehearsal")

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

    def test_a_fault_of_ours_breaks_the_connection(self) -> None:
        """Rather than leave the client waiting; the log has it."""
        house = Playhouse()
        house.theatre.meters.text = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        channel, transport = house.connect()
        channel.dataReceived(request_bytes("GET", "/metrics"))
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


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
    """What /metrics and /load say."""

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

    def test_running_requests_are_seen(self) -> None:
        """By both routes, as long as they run."""
        house = Playhouse()
        self.assertEqual(
            (self.metric(house, "num_requests_running"), house.get("/load").json()), (0, {"server_load": 0})
        )
        house.theatre.meters.began(1)
        self.assertEqual(
            (self.metric(house, "num_requests_running"), house.get("/load").json()), (1, {"server_load": 1})
        )
