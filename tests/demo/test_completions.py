"""Completions: prompts of all kinds, echo, several at once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import completions, tokenizer
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal
from tests.demo.playing import Answered, Playhouse
from tests.demo.test_chat import VALUES


def complete(prompt: object, **more: Any) -> Answered:
    return Playhouse().post("/v1/completions", {"prompt": prompt, **more})


class CompletionTests(SynchronousTestCase):
    """`/v1/completions`."""

    def test_prompts_have_four_forms(self) -> None:
        """A text, token ids, or a list of either."""
        ids = tokenizer.encode("Once")
        forms: list[tuple[object, list[str]]] = [
            ("Once", ["Once"]),
            (ids, ["Once"]),
            (["Once", "upon"], ["Once", "upon"]),
            ([ids, ids], ["Once", "Once"]),
        ]
        for prompt, texts in forms:
            self.assertEqual(completions.prompts({"prompt": prompt}), texts)

    def test_other_prompts_are_refused(self) -> None:
        """Empty lists, mixtures, ids that no token has."""
        others: list[object] = [[], ["x", 1], [True], [[1], "x"], {}, [-1], [tokenizer.VOCABULARY]]
        for prompt in others:
            self.assertRaises(Refusal, completions.prompts, {"prompt": prompt})

    @given(st.dictionaries(st.sampled_from([*completions.FIELDS, "suffix"]), VALUES, max_size=7))
    def test_any_document_is_read_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third outcome."""
        try:
            order = completions.read(document, House(("m",), 500))
        except Refusal as refused:
            self.assertIn(refused.status, (400, 404))
        else:
            self.assertGreaterEqual(order.limit, 1)

    def test_sixteen_tokens_unless_said(self) -> None:
        """The protocol's own default; null is as many as fit."""
        self.assertEqual(complete("x").json()["usage"]["completion_tokens"], 16)
        self.assertGreater(complete("x", max_tokens=None).json()["usage"]["completion_tokens"], 60)

    def test_every_prompt_is_answered(self) -> None:
        """`n` times each, in order, and usage counts all of it."""
        answer = complete(["one", "two"], n=2, max_tokens=200).json()
        quoted = ["“one”" in choice["text"] for choice in answer["choices"]]
        self.assertEqual((quoted, answer["usage"]["prompt_tokens"]), ([True, True, False, False], 2))

    def test_echo_gives_the_prompt_back(self) -> None:
        """Before the text, streamed or not, and it costs no tokens."""
        whole = complete("Once", echo=True, max_tokens=2).json()
        events = complete("Once", echo=True, max_tokens=2, stream=True).data()
        text = "".join(event["choices"][0]["text"] for event in events)
        self.assertEqual((whole["choices"][0]["text"], text), ("OnceHello!", "OnceHello!"))
        self.assertEqual(whole["usage"]["completion_tokens"], 2)

    def test_streams_end_as_chats_do(self) -> None:
        """The finish reason in the last piece or in an event of its own, then [DONE]."""
        for limit, texts, finish in ((2, ["Hello", "!"], "length"), (500, ["help", "`", " to"], "stop")):
            answered = complete("x", max_tokens=limit, stream=True)
            choices = [event["choices"][0] for event in answered.data()]
            self.assertEqual(choices[-1]["finish_reason"], finish)
            self.assertEqual(answered.chunks[-1], b"data: [DONE]\n\n")
            if finish == "length":
                self.assertEqual([choice["text"] for choice in choices], texts)
            else:
                self.assertEqual(choices[-1]["text"], "")

    def test_usage_can_be_everywhere(self) -> None:
        """Rising by one token an event."""
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = complete("x", max_tokens=3, stream=True, stream_options=options).data()
        self.assertEqual([event["usage"]["completion_tokens"] for event in events], [1, 2, 3, 3])

    def test_thoughts_and_calls_are_text(self) -> None:
        """This protocol has no other words for them, and vLLM parses nothing there; every token counted is seen."""
        thought = complete("rehearse: reason", max_tokens=400).json()
        self.assertTrue(thought["choices"][0]["text"].startswith("<think>\n"))
        self.assertIn("So I recite", thought["choices"][0]["text"])
        called = complete("rehearse: tool", max_tokens=100).json()
        text = called["choices"][0]["text"]
        self.assertRegex(text, r'^<tool_call>\n\{"name": "get_weather", .*\}\n</tool_call>$')
        self.assertEqual(called["usage"]["completion_tokens"], tokenizer.count(text))
        events = complete("rehearse: tool", max_tokens=100, stream=True).data()
        self.assertEqual("".join(event["choices"][0]["text"] for event in events), text)
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")

    def test_a_dead_engine_is_told_as_in_a_chat(self) -> None:
        """An error event, then [DONE]."""
        answered = complete("rehearse: engine-death after_tokens=2", stream=True)
        self.assertIn(b'"InternalServerError"', answered.chunks[-2])
        self.assertEqual((answered.chunks[-1], answered.ended), (b"data: [DONE]\n\n", True))
