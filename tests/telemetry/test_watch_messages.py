"""The watch over the Messages API: in streams of known truth, cut anywhere, it finds that truth."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.watch_messages import MessagesWatch
from tests.telemetry.streams import LINE_ENDS, PLACES, Work, compact, divided, sse, truth, watched, works


def usage(work: Work, final: bool) -> dict[str, int] | None:
    """What is told of it first, and last."""
    if work.usage is None:
        return None
    return {"input_tokens": work.usage[0], "output_tokens": work.usage[1] if final else 0}


def stream(work: Work) -> list[tuple[str, str]]:
    """The stream of an answer."""
    message: dict[str, Any] = {"id": "answer-1", "type": "message", "content": [], "usage": usage(work, False)}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    events.append({"type": "content_block_start", "index": 9, "content_block": {"type": "text", "text": ""}})
    texts = [{"type": "text_delta", "text": text} for text in work.texts]
    events += [{"type": "content_block_delta", "index": 9, "delta": text} for text in texts]
    events.append({"type": "content_block_stop", "index": 9})
    for number, piece in work.turns():
        call = work.calls[number]
        if piece < 0:
            block = {"type": "tool_use", "id": f"t-{number}", "name": call.name, "input": {}}
            events.append({"type": "content_block_start", "index": number, "content_block": block})
        else:
            delta = {"type": "input_json_delta", "partial_json": call.pieces[piece]}
            events.append({"type": "content_block_delta", "index": number, "delta": delta})
    events += [{"type": kind, "agent_id": "a"} for kind in work.memory]
    if work.end == "done":
        delta = {"stop_reason": work.finish, "stop_sequence": None}  # type: ignore[dict-item]
        events.append({"type": "message_delta", "delta": delta, "usage": usage(work, True)})
    if work.end.startswith("error"):
        events.append({"type": "error", "error": {"type": "api_error", "message": "The engine is dead."}})
    if work.end.endswith("done"):
        events.append({"type": "message_stop"})
    return [(event["type"], compact(event)) for event in events]


class StreamTests(SynchronousTestCase):
    """Streams of every kind."""

    @given(works(), LINE_ENDS, st.booleans(), PLACES)
    @settings(max_examples=100)
    def test_every_split_gives_the_truth(self, work: Work, end: str, comments: bool, places: list[int]) -> None:
        """Calls one after the other or in parallel, whole, cut off and broken; errors, cuts, usage, memory events."""
        events = stream(work)
        facts = watched(MessagesWatch, divided(sse(events, end, comments), places), whole=work.end != "cut")
        counted = len(work.texts) + sum(len(call.pieces) for call in work.calls)
        expected = truth(work, events=len(events), counted=counted)
        if work.usage is not None and work.end != "done":
            expected.usage = (work.usage[0], 0)  # the first event has told so much
        self.assertEqual(facts, expected)

    def test_a_call_whose_input_comes_at_once(self) -> None:
        """Some servers send no pieces."""
        block = {"type": "tool_use", "id": "t", "name": "get_weather", "input": {"city": "Oslo"}}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        facts = watched(MessagesWatch, [sse([("content_block_start", compact(start))])])
        self.assertEqual((facts.tools, facts.states), ({"get_weather": 1}, {"whole": 1}))

    def test_memory_events_in_the_text(self) -> None:
        """As a runtime lets the model show them."""
        text = '{"type": "warning", "agent_id": "a"}'
        deltas = [{"type": "text_delta", "text": piece} for piece in text]
        events = [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
        facts = watched(MessagesWatch, [sse([("", compact(event)) for event in events])])
        self.assertEqual((facts.memory, facts.counted), ({"warning": 1}, len(text)))
        body = compact({"content": [{"type": "text", "text": text}, {"type": "thinking", "thinking": text}]}).encode()
        self.assertEqual(watched(MessagesWatch, [body], events=False).memory, {"warning": 1})

    def test_odd_events(self) -> None:
        """One without the member that its type promises says nothing; nor does a ping."""
        events = ({"type": "message_delta"}, {"type": "content_block_delta"}, {"type": "content_block_start"})
        stream = sse([("", compact(event)) for event in (*events, {"type": "ping"}, {"type": "message_start"})])
        facts = watched(MessagesWatch, [stream])
        self.assertEqual((facts.events, facts.unreadable, facts.finish, facts.tools), (5, 0, None, {}))


class AnswerTests(SynchronousTestCase):
    """Answers in one piece."""

    @given(works(), PLACES)
    def test_every_split_gives_the_truth(self, work: Work, places: list[int]) -> None:
        """The same facts, found when it has come to its end; an input that is no object cannot be sent."""
        made = [call for call in work.calls if call.state == "whole"]
        content: list[Any] = [{"type": "text", "text": "".join(work.texts)}]
        content += [{"type": "tool_use", "name": call.name, "input": json.loads(call.arguments)} for call in made]
        document = {
            "id": "answer-1",
            "type": "message",
            "content": content,
            "stop_reason": work.finish,
            "usage": usage(work, True),
            "memory_events": [{"type": kind} for kind in work.memory],
        }
        facts = watched(MessagesWatch, divided(compact(document).encode(), places), events=False)
        whole = Work(work.texts, tuple(made), (), work.finish, work.usage, "done", work.memory)
        self.assertEqual(facts, truth(whole, events=0, counted=0))

    def test_an_error(self) -> None:
        """It is one also with a good status."""
        body = b'{"type":"error","error":{"type":"api_error","message":"x"}}'
        self.assertTrue(watched(MessagesWatch, [body], events=False).failed)
