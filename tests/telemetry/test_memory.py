"""Memory events in conversations: those that are new, and no others."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.memory import LONGEST_OBJECT, MOST_MESSAGES, MOST_OBJECTS, TextReader, memory_events_in
from tests.telemetry.streams import WORDS

HADES = json.dumps({"type": "warning", "details": {"used": 0.7}, "agent_id": "a", "ts": 1})
LETTA = json.dumps({"type": "system_alert", "message": "[This is an automated system message ...]", "time": "now"})


def told(*messages: Any, **members: Any) -> list[str]:
    """The events of a chat with these messages."""
    return memory_events_in(json.dumps({"model": "m", "messages": messages, **members}).encode(), WORDS)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


class ConversationTests(SynchronousTestCase):
    """What a request brings."""

    def test_both_forms(self) -> None:
        """HADES' and Letta's, in messages of any role but the model's, as text or in parts; in their order."""
        parts = [{"type": "text", "text": LETTA}, {"type": "image_url"}, {"type": "text", "text": "hello"}, 7]
        self.assertEqual(told(said("system", HADES), said("user", parts)), ["warning", "system_alert"])
        self.assertEqual(told(said("tool", f"\n {HADES}")), ["warning"])

    def test_only_what_is_new(self) -> None:
        """What the model has answered already was counted with the turn that brought it."""
        self.assertEqual(told(said("system", HADES), said("assistant", "ok"), said("user", LETTA)), ["system_alert"])
        self.assertEqual(told(said("system", HADES), said("assistant", "ok"), said("user", "go on")), [])

    def test_the_responses_form(self) -> None:
        """Items of the input; tools' results are in `output`."""
        items = [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": HADES}]},
            {"type": "function_call", "name": "x", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": LETTA},
        ]
        body = {"model": "m", "input": items}
        self.assertEqual(memory_events_in(json.dumps(body).encode(), WORDS), ["system_alert"])

    def test_the_messages_form(self) -> None:
        """Tools' results are parts of a message, and have a text or parts of their own."""
        texts = [{"type": "text", "text": LETTA}, {"type": "image"}]
        results = [{"type": "tool_result", "tool_use_id": "t", "content": content} for content in (HADES, texts, None)]
        self.assertEqual(told(said("assistant", "ok"), said("user", results)), ["warning", "system_alert"])

    def test_an_input_that_is_one_text(self) -> None:
        """It is all new."""
        self.assertEqual(memory_events_in(json.dumps({"model": "m", "input": HADES}).encode(), WORDS), ["warning"])

    def test_what_is_none(self) -> None:
        """Other types, other places, no JSON, no text; a text that only quotes one."""
        for content in (
            json.dumps({"type": "heartbeat", "time": "now"}),
            json.dumps({"type": 7}),
            json.dumps({"kind": "x", "inner": {"type": "warning"}}),
            '{"type": "warning"',
            '"type": "warning"',
            f"He said: {HADES}",
            None,
            {"text": HADES},
        ):
            self.assertEqual(told(said("user", content)), [], content)

    def test_bodies_of_other_forms(self) -> None:
        """Whatever they are, nothing is raised."""
        mark = '\\"type\\"'
        for body in (
            f'{{"input":"{mark}"}}',
            f'{{"prompt":"{mark}"}}',
            f'["{mark}"]',
            f'{{"messages":[7,"{mark}"]}}',
            f'{{"messages":{{"x":"{mark}"}}}}',
            mark,
        ):
            self.assertEqual(memory_events_in(body.encode(), WORDS), [], body)

    def test_depth_without_end(self) -> None:
        """It is given up."""
        for depth in (400, 100_000):
            content = '[{"content":' * depth + "1" + "}]" * depth
            body = f'{{"messages":[{{"content":{content},"x":"\\"type\\""}}]}}'
            self.assertEqual(memory_events_in(body.encode(), WORDS), [], depth)

    def test_the_end_of_a_long_conversation(self) -> None:
        """No more than the last messages are looked at."""
        others = [said("user", "x")] * (MOST_MESSAGES - 1)
        self.assertEqual(told(said("user", HADES), *others), ["warning"])
        self.assertEqual(told(said("user", HADES), *others, said("user", "x")), [])


def read(*pieces: str) -> list[str]:
    """The events in a text that comes in these pieces."""
    reader = TextReader(WORDS)
    return [kind for piece in pieces for kind in reader.feed(piece)]


class TextTests(SynchronousTestCase):
    """Events in what a model says."""

    TEXT = f'One {{ of }} them:\n```json\n{HADES}\n``` {{"type": "x"}} and {LETTA}, {{"type"'

    def test_every_split_finds_them(self) -> None:
        """Among braces of any kind, one or several, whole or byte by byte."""
        expected = ["warning", "system_alert"]
        self.assertEqual(read(self.TEXT), expected)
        self.assertEqual(read(*self.TEXT), expected)
        for at in range(len(self.TEXT)):
            self.assertEqual(read(self.TEXT[:at], self.TEXT[at:]), expected, at)

    def test_what_is_none(self) -> None:
        """Other kinds, none without an agent or a time, and what is no JSON."""
        for text in (
            '{"type":"warning"}',
            '{"type":"made_up","agent_id":"a"}',
            '{"type":"warning","agent_id":}',
            '{"kind":1,"type":"warning","agent_id":"a"}',
            '{"type":7,"agent_id":"a"}',
            '{"type":"warning","type":7,"agent_id":"a"}',
        ):
            self.assertEqual(read(text), [], text)

    def test_it_holds_only_what_may_be_one(self) -> None:
        """So that a piece without a brace need not be looked at; and never much."""
        reader = TextReader(WORDS)
        for text, begun in (("x", False), ("x {", True), ('"ty', True), ("no", False), ('{"type":"x', True)):
            reader.feed(text)
            self.assertEqual(reader.begun, begun, text)
        reader.feed("x" * LONGEST_OBJECT)
        self.assertFalse(reader.begun)
        self.assertEqual(reader.feed(HADES), ["warning"])

    def test_it_looks_at_so_many(self) -> None:
        """In one piece, whatever it is made of; nothing in it can make that take long, or fail."""
        self.assertEqual(len(read(HADES * (MOST_OBJECTS + 9))), MOST_OBJECTS)
        for text in ('{"type":"x","a":' * 10_000, "{" * 100_000, '{"type":"' + "[" * 5_000):
            self.assertEqual(read(text, HADES)[-1:], ["warning"], text[:20])
