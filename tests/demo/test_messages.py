"""Anthropic's protocol: blocks in and out."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import messages
from hadesgw.demo.conversation import Call, Message
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal
from tests.demo.playing import MODEL, Answered, Playhouse
from tests.demo.test_chat import VALUES

HOUSE = House(("m",), 500)
LOOK = {"name": "look", "input_schema": {"properties": {"at": {"enum": ["sky"]}}}}


def send(text: str, **more: Any) -> Answered:
    document = {"model": MODEL, "max_tokens": 900, "messages": [{"role": "user", "content": text}], **more}
    return Playhouse().post("/v1/messages", document)


def kinds(answered: Answered) -> list[str]:
    """What the events are, repeated deltas of a kind once."""
    names: list[str] = []
    for event in answered.data():
        name = event.get("delta", {}).get("type") or event.get("content_block", {}).get("type") or event["type"]
        names += [name] if not names or names[-1] != name else []
    return names


class ReadingTests(SynchronousTestCase):
    """From blocks to turns."""

    def test_blocks_are_turns(self) -> None:
        """A tool's result stands for itself, a tool's use is a call, the system prompt comes first."""
        document = {
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm"},
                        {"type": "text", "text": "b"},
                        {"type": "tool_use", "name": "f", "input": {"x": 1}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "c"}]}]},
                {"role": "user", "content": [{"type": "tool_result"}, {"type": "text", "text": "d"}]},
            ],
        }
        self.assertEqual(
            messages.read_messages(document, HOUSE),
            (
                Message("system", "s"),
                Message("user", "a"),
                Message("assistant", "b", (Call("f", '{"x":1}'),)),
                Message("tool", "c"),
                Message("tool", ""),
                Message("user", "d"),
            ),
        )

    def test_limit_and_model_are_required(self) -> None:
        """Unlike in the other protocols."""
        turns = [{"role": "user", "content": "x"}]
        for document, param in (
            ({"model": "m", "messages": turns}, "body.max_tokens"),
            ({"max_tokens": 5, "messages": turns}, "body.model"),
            ({"model": "m", "max_tokens": 5, "messages": []}, None),
        ):
            self.assertEqual(self.assertRaises(Refusal, messages.read, document, HOUSE).param, param)

    @given(
        st.dictionaries(st.sampled_from([*messages.FIELDS, "tool_choice"]), VALUES, max_size=8).map(
            lambda document: {"model": "m", "max_tokens": 5, **document}
        )
    )
    def test_any_document_is_read_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third outcome, for the answer as for the count."""
        for read in (messages.read, messages.counted):
            try:
                read(document, HOUSE)
            except Refusal as refused:
                self.assertIn(refused.status, (400, 404))

    def test_the_count_is_the_usage(self) -> None:
        """Of the same system prompt, tools and messages."""
        document = {"model": MODEL, "system": "s", "tools": [LOOK], "messages": [{"role": "user", "content": "x"}]}
        counted = Playhouse().post("/v1/messages/count_tokens", document).json()
        answer = Playhouse().post("/v1/messages", {**document, "max_tokens": 5}).json()
        self.assertEqual(counted["input_tokens"], answer["usage"]["input_tokens"])


class WritingTests(SynchronousTestCase):
    """From an answer to blocks and events."""

    def test_thoughts_texts_and_calls_are_blocks(self) -> None:
        """Each opened, filled, finished, in turn; a thought is signed at its end."""
        text = ["text", "text_delta", "content_block_stop"]
        thought = ["thinking", "thinking_delta", "signature_delta", "content_block_stop"]
        use = ["tool_use", "input_json_delta", "content_block_stop"]
        end = ["message_delta", "message_stop"]
        self.assertEqual(kinds(send("rehearse: reason", stream=True)), ["message_start", *thought, *text, *end])
        self.assertEqual(kinds(send("rehearse: tools-parallel", stream=True)), ["message_start", *text, *use * 3, *end])
        self.assertEqual(kinds(send("rehearse: silence", stream=True)), ["message_start", *end])

    def test_blocks_are_counted(self) -> None:
        """Every event of a block has its index."""
        events = send("rehearse: tools-parallel", stream=True).data()
        starts = [event["index"] for event in events if event["type"] == "content_block_start"]
        stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
        self.assertEqual((starts, stops), ([0, 1, 2, 3], [0, 1, 2, 3]))

    def test_the_stream_says_what_the_whole_answer_says(self) -> None:
        """The same texts, and arguments that are the same JSON."""
        whole = send("look", tools=[LOOK]).json()
        events = send("look", tools=[LOOK], stream=True).data()
        written = "".join(event["delta"].get("partial_json", "") for event in events if "delta" in event)
        self.assertEqual(json.loads(written), whole["content"][0]["input"])
        self.assertEqual(events[-2]["delta"]["stop_reason"], whole["stop_reason"])
        self.assertEqual(events[-2]["usage"], whole["usage"])

    def test_stop_reasons_are_anthropic_s(self) -> None:
        """One for each way to end."""
        for text, more, reason in (
            ("x", {}, "end_turn"),
            ("x", {"max_tokens": 2}, "max_tokens"),
            ("look", {"tools": [LOOK]}, "tool_use"),
            ("x", {"stop_sequences": ["model"]}, "stop_sequence"),
        ):
            self.assertEqual(send(text, **more).json()["stop_reason"], reason)

    def test_the_stop_sequence_is_told(self) -> None:
        """Whole and streamed; an answer in one piece has no such member otherwise."""
        stop = {"stop_sequences": ["model"]}
        self.assertEqual(send("x", **stop).json()["stop_sequence"], "model")
        self.assertEqual(send("x", stream=True, **stop).data()[-2]["delta"]["stop_sequence"], "model")
        self.assertNotIn("stop_sequence", send("x").json())

    def test_a_format_is_obeyed(self) -> None:
        """The text fits the schema of `output_config`."""
        form = {"type": "json_schema", "schema": {"type": "object", "properties": {"at": {"enum": ["sky"]}}}}
        answer = send("x", output_config={"format": form}).json()
        self.assertEqual(json.loads(answer["content"][0]["text"]), {"at": "sky"})
        self.assertIn("rehearsal", send("x", output_config={"effort": "low"}).json()["content"][0]["text"])

    def test_tool_choice_is_obeyed(self) -> None:
        """any and tool force a call, none forbids it."""
        for prompt, choice, kind in (
            ("x", {"type": "any"}, "tool_use"),
            ("x", {"type": "tool", "name": "look"}, "tool_use"),
            ("look", {"type": "none"}, "text"),
            ("x", {"type": "auto"}, "text"),
        ):
            content = send(prompt, tools=[LOOK], tool_choice=choice).json()["content"]
            self.assertEqual(content[0]["type"], kind)

    def test_thoughts_are_signed_without_a_stream_too(self) -> None:
        """The block has its text and a signature."""
        thought = send("rehearse: reason").json()["content"][0]
        self.assertEqual((thought["type"], bool(thought["signature"])), ("thinking", True))

    def test_broken_arguments_cannot_be_an_answer(self) -> None:
        """A stream carries them, a whole answer is 500 in Anthropic's form."""
        answered = send("rehearse: tool-broken")
        self.assertEqual((answered.status, answered.json()["type"]), (500, "error"))
        self.assertIn("tool_use", kinds(send("rehearse: tool-broken", stream=True)))

    def test_a_dead_engine_is_an_error_event(self) -> None:
        """And nothing after it."""
        events = send("rehearse: engine-death after_tokens=2", stream=True).data()
        self.assertEqual((events[-1]["type"], events[-1]["error"]["type"]), ("error", "internal_error"))
