"""The watch over the Responses API: in streams of known truth, cut anywhere, it finds that truth."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.watch_responses import ResponsesWatch
from tests.telemetry.streams import LINE_ENDS, PLACES, Call, Facts, Work, compact, divided, sse, truth, watched, works


def item(call: Call, number: int, arguments: str) -> dict[str, Any]:
    """A call as an item of the output."""
    return {
        "type": "function_call",
        "id": f"fc-{number}",
        "call_id": f"call-{number}",
        "name": call.name,
        "arguments": arguments,
    }


def response(work: Work, status: str, **members: Any) -> dict[str, Any]:
    """The object that the first events and the last are about."""
    told = None if work.usage is None else {"input_tokens": work.usage[0], "output_tokens": work.usage[1]}
    usage = None if status == "in_progress" else told
    return {"id": "answer-1", "object": "response", "status": status, "output": [], "usage": usage, **members}


def stream(work: Work) -> list[tuple[str, str]]:
    """The stream of an answer."""
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(work, "in_progress")},
        {"type": "response.in_progress", "response": response(work, "in_progress")},
        {"type": "response.output_item.added", "output_index": 9, "item": {"type": "message", "id": "m"}},
    ]
    events += [{"type": "response.output_text.delta", "output_index": 9, "delta": text} for text in work.texts]
    for number, piece in work.turns():
        call = work.calls[number]
        if piece < 0:
            begun = item(call, number, "")
            events.append({"type": "response.output_item.added", "output_index": number, "item": begun})
            continue
        kind = "response.function_call_arguments"
        events.append({"type": f"{kind}.delta", "output_index": number, "delta": call.pieces[piece]})
        if piece == len(call.pieces) - 1:
            events.append({"type": f"{kind}.done", "output_index": number, "arguments": call.arguments})
            whole = item(call, number, call.arguments)
            events.append({"type": "response.output_item.done", "output_index": number, "item": whole})
    events += [{"type": "memory", "memory_event": {"type": kind, "agent_id": "a"}} for kind in work.memory]
    events += ending(work)
    return [(event["type"], compact(event)) for event in events]


def ending(work: Work) -> list[dict[str, Any]]:
    """The last events."""
    if work.end == "done":
        status = "completed" if work.finish == "completed" else "incomplete"
        return [{"type": "response.completed", "response": response(work, status)}]  # vLLM's name for both
    if work.end == "error":
        return [{"type": "error", "code": "server_error", "message": "The engine is dead."}]
    if work.end == "error, done":
        return [{"type": "response.failed", "response": response(work, "failed", error={"code": "server_error"})}]
    return []


def told(work: Work) -> Work:
    """The same work with an end that this protocol has."""
    finish = "incomplete" if work.finish == "length" else "completed"
    return Work(work.texts, work.calls, work.order, finish, work.usage, work.end, work.memory)


def expected(work: Work, events: int) -> Facts:
    """What a watch must find in such a stream; a failure has usage as well, and is an end."""
    facts = truth(work, events=events, counted=len(work.texts) + sum(len(call.pieces) for call in work.calls))
    if work.end == "error, done":
        facts.finish = "failed"
        facts.usage = work.usage or (None, None)
    return facts


class StreamTests(SynchronousTestCase):
    """Streams of every kind."""

    @given(works().map(told), LINE_ENDS, st.booleans(), PLACES)
    @settings(max_examples=100)
    def test_every_split_gives_the_truth(self, work: Work, end: str, comments: bool, places: list[int]) -> None:
        """Calls one after the other or in parallel, whole, cut off and broken; errors, cuts, usage, memory events."""
        events = stream(work)
        facts = watched(ResponsesWatch, divided(sse(events, end, comments), places), whole=work.end != "cut")
        self.assertEqual(facts, expected(work, len(events)))

    def test_a_call_that_is_told_when_it_is_complete(self) -> None:
        """Some servers send no pieces."""
        call = Call("get_weather", ('{"city":"Oslo"}',), "whole")
        done = {"type": "response.output_item.done", "output_index": 0, "item": item(call, 0, call.arguments)}
        facts = watched(ResponsesWatch, [sse([("", compact(done))])])
        self.assertEqual((facts.tools, facts.states), ({"get_weather": 1}, {"whole": 1}))

    def test_arguments_that_are_told_when_they_are_complete(self) -> None:
        """Of a call that was told of before them; such as came in pieces do not count twice."""
        for pieces, arguments, state in (
            ((), '{"a": 1}', "whole"),
            ((), '{"a": ]', "broken"),
            ((), None, "whole"),
            (('{"a"', ": 1}"), '{"a": 1}', "whole"),
            (('{"a": ',), "}{", "partial"),
        ):
            call = item(Call("get_weather", (), "whole"), 0, "")
            events: list[dict[str, Any]] = [{"type": "response.output_item.added", "output_index": 0, "item": call}]
            kind = "response.function_call_arguments.delta"
            events += [{"type": kind, "output_index": 0, "delta": piece} for piece in pieces]
            done = {**call, "arguments": arguments}
            events.append({"type": "response.output_item.done", "output_index": 0, "item": done})
            facts = watched(ResponsesWatch, [sse([("", compact(event)) for event in events])])
            self.assertEqual((facts.tools, facts.states), ({"get_weather": 1}, {state: 1}), arguments)

    def test_calls_of_free_form(self) -> None:
        """A custom tool takes any text; what is no call is none."""
        for kind, tools in (("custom_tool_call", {"other": 1}), ("mcp_call", {"other": 1}), ("web_search_call", {})):
            added = {"type": "response.output_item.added", "output_index": 0, "item": {"type": kind, "name": "patch"}}
            facts = watched(ResponsesWatch, [sse([("", compact(added)), ("", "[DONE]")])])
            self.assertEqual((facts.tools, facts.states), (tools, {"whole": 1} if tools else {}), kind)

    def test_other_deltas(self) -> None:
        """They are tokens, and nothing else."""
        events = [{"type": "response.reasoning_text.delta", "delta": '{"type": "warning", "agent_id": "a"}'}]
        facts = watched(ResponsesWatch, [sse([("", compact(event)) for event in events])])
        self.assertEqual((facts.counted, facts.memory, facts.tools), (1, {}, {}))

    def test_memory_events_in_the_text(self) -> None:
        """Once, although a stream tells its text again when it is complete."""
        text = '{"type": "warning", "agent_id": "a"}'
        message = {"type": "message", "content": [{"type": "output_text", "text": text}, 7]}
        events: list[dict[str, Any]] = [{"type": "response.output_text.delta", "delta": piece} for piece in text]
        events.append({"type": "response.output_item.done", "output_index": 0, "item": message})
        facts = watched(ResponsesWatch, [sse([("", compact(event)) for event in events])])
        self.assertEqual((facts.memory, facts.counted), ({"warning": 1}, len(text)))
        body = compact({"output": [message, {"type": "reasoning", "content": None}]}).encode()
        self.assertEqual(watched(ResponsesWatch, [body], events=False).memory, {"warning": 1})

    def test_an_event_that_is_itself_of_memory(self) -> None:
        """HADES' are known by their agent, Letta's by their time; an error without an agent is the server's."""
        for event, memory, failed in (
            ({"type": "warning", "agent_id": "a"}, {"warning": 1}, False),
            ({"type": "error", "agent_id": "a"}, {"error": 1}, False),
            ({"type": "system_alert", "time": "now"}, {"system_alert": 1}, False),
            ({"type": "warning"}, {}, False),
            ({"type": "error"}, {}, True),
            ({"error": "x"}, {}, True),
            ({"type": 7, "time": 1}, {}, False),
        ):
            facts = watched(ResponsesWatch, [sse([("", compact(event))])])
            self.assertEqual((facts.memory, facts.failed), (memory, failed), event)


class AnswerTests(SynchronousTestCase):
    """Answers in one piece."""

    @given(works().map(told), PLACES)
    def test_every_split_gives_the_truth(self, work: Work, places: list[int]) -> None:
        """The same facts, found when it has come to its end."""
        output = [item(call, number, call.arguments) for number, call in enumerate(work.calls)]
        memory = [{"type": kind} for kind in work.memory]
        document = response(work, work.finish, output=output, memory_events=memory, error=None)
        facts = watched(ResponsesWatch, divided(compact(document).encode(), places), events=False)
        wanted = truth(work, events=0, counted=0)
        wanted.finish, wanted.failed, wanted.done = work.finish, False, True
        wanted.usage = work.usage or (None, None)
        self.assertEqual(facts, wanted)

    def test_one_that_only_says_how_far_it_is(self) -> None:
        """A response made in the background: it is not done, and has no output yet."""
        facts = watched(ResponsesWatch, [b'{"id":"answer-1","status":"queued"}'], events=False)
        self.assertEqual(facts, Facts(response_id="answer-1"))
