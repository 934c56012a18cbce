"""The Responses protocol: items in and out, and the grammar of its events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import responses
from hadesgw.demo.conversation import Call, Message
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal
from tests.demo.playing import Answered, Playhouse
from tests.demo.test_chat import VALUES

HOUSE = House(("m",), 500)
LOOK = {"type": "function", "name": "look", "parameters": {"properties": {"at": {"enum": ["sky"]}}}}


def respond(text: str, /, **more: Any) -> Answered:
    return Playhouse().post("/v1/responses", {"input": text, **more})


def kinds(answered: Answered) -> list[str]:
    """The names of a stream's events, repeated deltas once."""
    names: list[str] = []
    for event in answered.data():
        names += [event["type"]] if not names or names[-1] != event["type"] else []
    return [name.removeprefix("response.") for name in names]


class ReadingTests(SynchronousTestCase):
    """From items to turns."""

    def test_items_are_turns(self) -> None:
        """Messages, calls and their results of both kinds; reasoning says nothing to the next answer."""
        items = [
            {"role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "reasoning", "content": []},
            {"type": "function_call", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "output": "c"},
            {"type": "custom_tool_call", "name": "g", "input": "d"},
            {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "e"}]},
        ]
        self.assertEqual(
            responses.read_input({"instructions": "s", "input": items}, HOUSE),
            (
                Message("system", "s"),
                Message("user", "a"),
                Message("assistant", "b"),
                Message("assistant", "", (Call("f", "{}"),)),
                Message("tool", "c"),
                Message("assistant", "", (Call("g", "d"),)),
                Message("tool", "e"),
            ),
        )

    def test_only_functions_are_tools(self) -> None:
        """What else a client offers is passed over."""
        tools = responses.read_tools({"tools": [{"type": "web_search"}, LOOK, "x"]})
        self.assertEqual([tool.name for tool in tools], ["look"])

    def test_what_is_no_input_is_refused(self) -> None:
        """And an older response cannot be found, as none is stored."""
        for document, param in (
            ({"input": 3}, "body.input"),
            ({"input": [3]}, "body.input.0"),
            ({}, "body.input"),
            ({"input": "x", "previous_response_id": "resp_1"}, "response_id"),
            ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ):
            self.assertEqual(self.assertRaises(Refusal, responses.read, document, HOUSE).param, param)

    @given(
        st.dictionaries(st.sampled_from([*responses.FIELDS, "tool_choice"]), VALUES, max_size=8),
    )
    def test_any_document_is_read_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third outcome."""
        try:
            order = responses.read(document, HOUSE)
        except Refusal as refused:
            self.assertIn(refused.status, (400, 404))
        else:
            self.assertGreaterEqual(order.limit, 1)


class WritingTests(SynchronousTestCase):
    """From an answer to items and events."""

    def test_reasoning_text_and_calls_are_items(self) -> None:
        """Each opened, filled, finished, in turn."""
        message = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done"]
        closing = ["content_part.done", "output_item.done"]
        thought = [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            *closing,
        ]
        call = [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ]
        begun, done = ["created", "in_progress"], ["completed"]
        self.assertEqual(kinds(respond("rehearse: reason", stream=True)), [*begun, *thought, *message, *closing, *done])
        self.assertEqual(
            kinds(respond("rehearse: tools-parallel", stream=True)),
            [*begun, *message, *closing, *call * 3, *done],
        )
        self.assertEqual(kinds(respond("rehearse: silence", stream=True)), [*begun, *done])

    def test_events_are_numbered_and_named(self) -> None:
        """From 0, without a gap; the name before the data is the type in it."""
        answered = respond("rehearse: tool", tools=[LOOK], stream=True)
        events = answered.data()
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        for chunk, event in zip(answered.chunks, events, strict=True):
            self.assertTrue(chunk.startswith(f"event: {event['type']}\n".encode()))

    def test_deltas_add_up_to_their_items(self) -> None:
        """And the items to the response, which is the same without a stream but for its ids."""
        answered = respond("rehearse: memory", stream=True)
        events, written = answered.data(), dict[str, str]()
        for event in events:
            if event["type"].endswith(".delta"):
                written[event["item_id"]] = written.get(event["item_id"], "") + event["delta"]
        output = events[-1]["response"]["output"]
        for item in output:
            text = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
            self.assertEqual(written[item["id"]], text)
        self.assertEqual(output, [event["item"] for event in events if event["type"] == "response.output_item.done"])
        whole = respond("rehearse: memory").json()
        strip = ("id", "call_id")
        self.assertEqual(
            [{key: value for key, value in item.items() if key not in strip} for item in whole["output"]],
            [{key: value for key, value in item.items() if key not in strip} for item in output],
        )
        self.assertEqual(whole["usage"], events[-1]["response"]["usage"])

    def test_calls_have_ids_of_their_own(self) -> None:
        """An item's and a call's, each different from all others."""
        output = respond("rehearse: tools-parallel").json()["output"][1:]
        ids = [item["id"] for item in output] + [item["call_id"] for item in output]
        self.assertEqual(len(set(ids)), 6)
        self.assertTrue(all(name.startswith(("fc_", "call_")) for name in ids))

    def test_a_length_stop_is_incomplete(self) -> None:
        """In its status and its details, not in the event's name."""
        last = respond("x", max_output_tokens=3, stream=True).data()[-1]
        self.assertEqual((last["type"], last["response"]["status"]), ("response.completed", "incomplete"))
        self.assertEqual(last["response"]["incomplete_details"], {"reason": "max_output_tokens"})

    def test_the_request_is_repeated_in_the_response(self) -> None:
        """What was asked for, or what holds if nothing was."""
        asked = {"temperature": "0.5", "top_p": 0.5, "instructions": "s", "metadata": {"a": "b"}, "tools": [LOOK]}
        answer = respond("x", **asked).json()
        self.assertEqual((answer["temperature"], answer["top_p"], answer["tool_choice"]), (0.5, 0.5, "auto"))
        self.assertEqual((answer["instructions"], answer["metadata"], answer["tools"]), ("s", {"a": "b"}, [LOOK]))
        self.assertEqual(respond("x").json()["temperature"], 1.0)

    def test_tool_choice_is_obeyed(self) -> None:
        """By word and by name."""
        for choice, wanted in (("none", "message"), ("required", "function_call"), ({"name": "look"}, "function_call")):
            output = respond("look", tools=[LOOK], tool_choice=choice).json()["output"]
            self.assertEqual(output[0]["type"], wanted)

    def test_a_format_is_obeyed(self) -> None:
        """The text fits the schema of `text.format`, whole and streamed."""
        form = {"type": "json_schema", "name": "n", "schema": {"properties": {"at": {"enum": ["sky"]}}}}
        answer = respond("x", text={"format": form}).json()
        self.assertEqual(answer["output"][0]["content"][0]["text"], '{"at": "sky"}')
        events = respond("x", text={"format": form}, stream=True).data()
        self.assertEqual("".join(event["delta"] for event in events if "delta" in event), '{"at": "sky"}')
        self.assertIn("rehearsal", str(respond("x", text={"format": {"type": "text"}}).json()["output"]))

    def test_a_dead_engine_is_a_failed_response(self) -> None:
        """Told in the protocol's own event, with the items that were done."""
        events = respond("rehearse: engine-death after_tokens=2", stream=True).data()
        self.assertEqual(events[-1]["type"], "response.failed")
        self.assertEqual(events[-1]["response"]["status"], "failed")
        self.assertEqual(events[-1]["response"]["error"]["code"], "server_error")
