"""The rehearsal model beside vLLM 0.32: key sets, field names, types and the order of events are the same.

`shapes.json` holds what was seen of a real server, distilled: for each case what is asked, the status, the names
of the header fields in their order, and the shape of the body. A shape is the JSON value with every leaf replaced
by its type; a stream is the list of its events' shapes, equal neighbours counted once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.demo.playing import Answered, Playhouse

CASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("shapes.json").read_text("utf-8"))
OURS = {"connection"}


def shape(value: object) -> Any:
    """A JSON value with its leaves replaced by their types."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in map(shape, value):
            shapes += [] if item in shapes else [item]
        return shapes
    kinds = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}
    return kinds[type(value)]


def ordered(value: Any) -> Any:
    """A shape in which the order of keys counts too."""
    if isinstance(value, dict):
        return [(key, ordered(item)) for key, item in value.items()]
    return [ordered(item) for item in value] if isinstance(value, list) else value


def event_shape(chunk: bytes) -> dict[str, Any]:
    """The shape of one event, which must be the whole of its chunk."""
    text = chunk.decode()
    if text.startswith(":"):
        assert text.endswith("\n\n"), text
        return {"comment": text[1:].strip()}
    found = re.fullmatch(r"(?:event: (\S+)\n)?data: (.*)\n\n", text)
    assert found is not None, text
    name, data = found.groups()
    event: dict[str, Any] = {"event": name} if name else {}
    return {**event, "data": data if data == "[DONE]" else shape(json.loads(data))}


def stream_shape(answered: Answered) -> list[dict[str, Any]]:
    """The shapes of a stream's events, equal neighbours counted once."""
    shapes: list[dict[str, Any]] = []
    for chunk in answered.chunks:
        event = event_shape(chunk)
        shapes += [event] if not shapes or shapes[-1] != event else []
    return shapes


class ShapeTests(SynchronousTestCase):
    """Every case of the fixture."""

    def ask(self, case: dict[str, Any]) -> Answered:
        asked = case["ask"]
        document = asked.get("document")
        text = asked.get("text", "") if document is None else json.dumps(document)
        text = text.replace("WORDS", "word " * 3000)
        answered, _ = Playhouse().exchange(asked["method"], asked["path"], text.encode(), asked.get("fields"))
        return answered

    def test_heads_are_the_same(self) -> None:
        """Status, reason and media type are vLLM's, and so are the header fields, by name and in order."""
        for name, case in CASES.items():
            if "status" not in case:
                continue
            answered = self.ask(case)
            fields = [field for field, _ in answered.fields if field not in OURS]
            head = (answered.status, answered.reason, fields, dict(answered.fields).get("content-type", ""))
            self.assertEqual(head, (case["status"], case["reason"], case["fields"], case["type"]), name)

    def test_bodies_have_the_same_keys_in_the_same_order(self) -> None:
        """A body that is not streamed has vLLM's keys in vLLM's order, with values of the same types."""
        for name, case in CASES.items():
            if "body" in case:
                self.assertEqual(ordered(shape(self.ask(case).json())), ordered(case["body"]), name)

    def test_errors_say_the_same(self) -> None:
        """An error has vLLM's type, param and code."""
        for name, case in CASES.items():
            if "error" in case:
                body = self.ask(case).json()
                said = body.get("error", body)
                self.assertEqual({key: said[key] for key in case["error"]}, case["error"], name)

    def test_plain_texts_are_the_same(self) -> None:
        """What vLLM answers without JSON is the same text."""
        for name, case in CASES.items():
            if "text" in case:
                self.assertEqual(self.ask(case).body.decode(), case["text"], name)

    def test_streams_have_the_same_events_in_the_same_order(self) -> None:
        """A stream has vLLM's sequence of events, one in each chunk, every one with vLLM's keys in their order."""
        for name, case in CASES.items():
            if "events" in case:
                answered = self.ask(case)
                self.assertTrue(answered.ended, name)
                self.assertEqual(ordered(stream_shape(answered)), ordered(case["events"]), name)

    def test_a_dead_engine_ends_a_stream_the_same_way(self) -> None:
        """A delta, an error event in JSON with blanks, [DONE], and a proper last chunk."""
        case = CASES["engine dies in a stream"]
        answered = self.ask(case)
        self.assertTrue(answered.ended)
        self.assertEqual(ordered(stream_shape(answered)[-3:]), ordered(case["ending"]))
        self.assertIn(b'data: {"error": {"message": "', answered.chunks[-2])
