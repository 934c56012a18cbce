"""Memory events in conversations: those that are new, and no others."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.memory import MOST_MESSAGES, memory_events_in
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

    def test_the_end_of_a_long_conversation(self) -> None:
        """No more than the last messages are looked at."""
        others = [said("user", "x")] * (MOST_MESSAGES - 1)
        self.assertEqual(told(said("user", HADES), *others), ["warning"])
        self.assertEqual(told(said("user", HADES), *others, said("user", "x")), [])
