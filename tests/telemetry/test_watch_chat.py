"""The watch over chat completions and completions: in streams of known truth, cut anywhere, it finds that truth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.watch_chat import ChatWatch
from tests.telemetry.streams import (
    LINE_ENDS,
    PLACES,
    WORDS,
    Call,
    Facts,
    Work,
    calls,
    compact,
    divided,
    found,
    sse,
    truth,
    watched,
    works,
)

ERROR = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}


def chunk(delta: dict[str, Any] | None, **members: Any) -> str:
    """One event of a chat, as vLLM writes it; without a delta it has no choices."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": members.pop("finish_reason", None)}
    choices = [] if delta is None else [{**choice, "token_ids": members.pop("token_ids", None)}]
    return compact({"id": "answer-1", "object": "chat.completion.chunk", "choices": choices, **members})


def part(work: Work, number: int, piece: int) -> dict[str, Any]:
    """The delta of one piece of a call."""
    call = work.calls[number]
    if piece < 0:
        begun = {"id": f"call-{number}", "type": "function", "index": number, "function": {"name": call.name}}
        return {"content": None, "tool_calls": [begun]}
    return {"tool_calls": [{"index": number, "function": {"arguments": call.pieces[piece]}}]}


def chat(work: Work) -> list[tuple[str, str]]:
    """The stream of a chat."""
    data = [chunk({"role": "assistant", "content": ""}, prompt_token_ids=None)]
    data += [chunk({"content": text}) for text in work.texts]
    data += [chunk(part(work, number, piece)) for number, piece in work.turns()]
    data += [chunk({}, memory_events=[{"type": kind, "agent_id": "a"}]) for kind in work.memory]
    if work.end == "done":
        data.append(chunk({}, finish_reason=work.finish, stop_reason=None))
        if work.usage is not None:
            prompt, completion = work.usage
            told = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
            data.append(chunk(None, usage=told))
    if work.end.startswith("error"):
        data.append(compact({"error": ERROR}))
    if work.end.endswith("done"):
        data.append("[DONE]")
    return [("", text) for text in data]


def counted(work: Work) -> int:
    """The tokens that can be seen in such a stream."""
    return len(work.texts) + sum(1 + len(call.pieces) for call in work.calls)


class StreamTests(SynchronousTestCase):
    """Chats of every kind."""

    @given(works(), LINE_ENDS, st.booleans(), PLACES)
    @settings(max_examples=200)
    def test_every_split_gives_the_truth(self, work: Work, end: str, comments: bool, places: list[int]) -> None:
        """Calls one after the other or in parallel, whole, cut off and broken; errors, cuts, usage, memory events."""
        events = chat(work)
        facts = watched(ChatWatch, divided(sse(events, end, comments), places), whole=work.end != "cut")
        self.assertEqual(facts, truth(work, events=len(events), counted=counted(work)))

    def test_byte_by_byte(self) -> None:
        """The finest split there is, and every split in two."""
        work = Work(("Grüße",), (Call("search_recall", ('{"q":', '"é"}'), "whole"),), usage=(3, 4))
        stream = sse(chat(work))
        expected = watched(ChatWatch, [stream])
        self.assertEqual(expected, truth(work, events=len(chat(work)), counted=counted(work)))
        self.assertEqual(watched(ChatWatch, [stream[at : at + 1] for at in range(len(stream))]), expected)
        for at in range(len(stream)):
            self.assertEqual(watched(ChatWatch, [stream[:at], stream[at:]]), expected)

    @given(calls(), PLACES)
    def test_the_older_form_of_calls(self, call: Call, places: list[int]) -> None:
        """`function_call`: one an answer, without index or id."""
        data = [chunk({"function_call": {"name": call.name, "arguments": call.pieces[0]}})]
        data += [chunk({"function_call": {"arguments": piece}}) for piece in call.pieces[1:]]
        data += [chunk({}, finish_reason="function_call"), "[DONE]"]
        facts = watched(ChatWatch, divided(sse([("", text) for text in data]), places))
        self.assertEqual((facts.tools, facts.states), ({call.label: 1}, {call.state: 1}))
        self.assertEqual((facts.finish, facts.counted), ("function_call", len(call.pieces)))

    @given(st.lists(calls(), min_size=1, max_size=4))
    def test_calls_without_an_index(self, made: list[Call]) -> None:
        """As some servers stream them: a name begins the next, whatever has none belongs to the last."""
        data = []
        for call in made:
            data.append(chunk({"tool_calls": [{"function": {"name": call.name, "arguments": call.pieces[0]}}]}))
            data += [chunk({"tool_calls": [{"function": {"arguments": piece}}]}) for piece in call.pieces[1:]]
        facts = watched(ChatWatch, [sse([("", text) for text in data])])
        self.assertEqual(sum(facts.tools.values()), len(made))
        self.assertEqual(facts.states, truth(Work(calls=tuple(made)), events=0, counted=0).states)

    def test_calls_that_share_an_index(self) -> None:
        """A known fault of some servers: an id that is new, with a name, is a new call."""
        data = [
            chunk({"tool_calls": [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}}]})
            for name in ("get_weather", "search_recall", "get_weather")
        ]
        facts = watched(ChatWatch, [sse([("", text) for text in data])])
        self.assertEqual(facts.tools, {"get_weather": 2, "search_recall": 1})
        self.assertEqual(facts.states, {"whole": 3})

    def test_memory_events_in_the_text(self) -> None:
        """As a runtime lets the model show them."""
        event = '```json\n{"type": "warning", "agent_id": "a"}\n```'
        facts = watched(ChatWatch, [sse([("", chunk({"content": piece})) for piece in event])])
        self.assertEqual((facts.memory, facts.counted), ({"warning": 1}, len(event)))
        body = compact({"choices": [{"index": 0, "message": {"content": event}}]}).encode()
        self.assertEqual(watched(ChatWatch, [body], events=False).memory, {"warning": 1})

    def test_several_choices(self) -> None:
        """Each has calls and tokens of its own; the first finish is told."""
        data = []
        for index in (0, 1):
            delta = {"tool_calls": [{"index": 0, "function": {"name": "get_weather", "arguments": "{}"}}]}
            data.append(compact({"id": "answer-1", "choices": [{"index": index, "delta": delta}]}))
        data.append(compact({"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "length"}]}))
        data.append(compact({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        facts = watched(ChatWatch, [sse([("", text) for text in data])])
        self.assertEqual((facts.tools, facts.counted, facts.finish), ({"get_weather": 2}, 3, "length"))

    def test_continuous_usage(self) -> None:
        """The last numbers told are the ones that count, wherever the stream ends."""
        data = [
            chunk({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": tokens}) for tokens in (1, 2, 5)
        ]
        facts = watched(ChatWatch, [sse([("", text) for text in data])], whole=False)
        self.assertEqual((facts.usage, facts.counted), ((3, 5), 3))

    def test_tokens_that_are_listed(self) -> None:
        """A merged event brings several; ids and probabilities list them for whoever asks for those."""
        logprobs = {"content": [{"token": "a"}, {"token": "b"}, {"token": "c"}]}
        for data, tokens in (
            (chunk({"content": "abc"}, token_ids=[1, 2, 3]), 3),
            (chunk({"content": ""}, token_ids=[1]), 1),
            (compact({"choices": [{"index": 0, "delta": {"content": "abc"}, "logprobs": logprobs}]}), 3),
            (compact({"choices": [{"index": 0, "text": "ab", "logprobs": {"tokens": ["a", "b"]}}]}), 2),
            (compact({"choices": [{"index": 0, "text": "ab", "logprobs": {}}]}), 1),
            (compact({"choices": [{"index": 0, "text": "ab", "token_ids": None}]}), 1),
            (compact({"choices": [{"index": 0, "text": "", "token_ids": 7}]}), 0),
            (chunk({"reasoning": "hm"}), 1),
            (chunk({"reasoning_content": "hm"}), 1),
            (chunk({"refusal": "no"}), 1),
            (chunk({"role": "assistant", "content": ""}), 0),
        ):
            self.assertEqual(watched(ChatWatch, [sse([("", data)])]).counted, tokens, data)

    def test_odd_members_hide_no_others(self) -> None:
        """What another server gives another type is passed over, and the rest of its event is read."""
        data = (
            '{"id":7,"choices":[{"index":[],"delta":{"content":[1]},"finish_reason":3}],"usage":{"prompt_tokens":-1}}'
        )
        facts = watched(ChatWatch, [sse([("", data)])])
        self.assertEqual(facts, Facts(counted=1, events=1))
        named = chunk({"tool_calls": [{"index": "x", "id": [], "function": {"name": ["n"], "arguments": 5}}]})
        facts = watched(ChatWatch, [sse([("", named), ("", chunk({"tool_calls": [{"index": 1}]}))])])
        self.assertEqual((facts.tools, facts.states), ({"other": 2}, {"broken": 1, "whole": 1}))

    def test_arguments_that_are_no_text(self) -> None:
        """Some servers send the object itself."""
        data = chunk({"tool_calls": [{"index": 0, "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]})
        self.assertEqual(watched(ChatWatch, [sse([("", data)])]).states, {"whole": 1})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            _nested := lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        "choices delta tool_calls function index id name arguments usage type error text".split()
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_json_at_all(self, value: Any) -> None:
        """Nothing raises, in a stream or in one piece."""
        data = compact(value)
        self.assertEqual(watched(ChatWatch, [sse([("", data)])]).events, 1)
        watched(ChatWatch, [data.encode()], events=False)


class AnswerTests(SynchronousTestCase):
    """Answers in one piece."""

    @given(works(), PLACES)
    def test_every_split_gives_the_truth(self, work: Work, places: list[int]) -> None:
        """The same facts, found when it has come to its end."""
        made = [
            {"id": "c", "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in work.calls
        ]
        message = {"role": "assistant", "content": "".join(work.texts), "tool_calls": made, "function_call": None}
        told = None if work.usage is None else {"prompt_tokens": work.usage[0], "completion_tokens": work.usage[1]}
        document = {
            "id": "answer-1",
            "choices": [{"index": 0, "message": message, "finish_reason": work.finish}],
            "usage": told,
            "memory_events": [{"type": kind} for kind in work.memory],
        }
        facts = watched(ChatWatch, divided(compact(document).encode(), places), events=False)
        expected = truth(work, events=0, counted=0)
        expected.finish, expected.failed, expected.done = work.finish, False, True
        expected.usage = work.usage or (None, None)
        self.assertEqual(facts, expected)

    def test_cut_off(self) -> None:
        """Of an answer that broke off nothing is known."""
        self.assertEqual(watched(ChatWatch, [b'{"id":"answer-1"'], events=False, whole=False), Facts())
        self.assertEqual(watched(ChatWatch, [b'{"id":"answer-1"'], events=False), Facts(unreadable=1))

    def test_an_error(self) -> None:
        """It is one also with a good status."""
        facts = watched(ChatWatch, [compact({"error": ERROR}).encode()], events=False)
        self.assertEqual((facts.failed, facts.done), (True, True))

    def test_a_completion(self) -> None:
        """It has a text and no message."""
        body = b'{"id":"cmpl-1","choices":[{"index":0,"text":"x","finish_reason":"length"}]}'
        facts = watched(ChatWatch, [body], events=False)
        self.assertEqual((facts.finish, facts.tools, facts.done), ("length", {}, True))

    def test_embeddings(self) -> None:
        """They cost a prompt."""
        body = b'{"id":"embd-1","data":[{"embedding":[0.1,0.2]}],"usage":{"prompt_tokens":4,"total_tokens":4}}'
        facts = watched(ChatWatch, [body], events=False)
        self.assertEqual((facts.usage, facts.response_id), ((4, None), "embd-1"))


class NoticeTests(SynchronousTestCase):
    """What is told as it becomes known."""

    def test_in_order(self) -> None:
        """Calls by their configured names, memory events by kind, and the end."""
        heard: list[tuple[str, str | None]] = []
        watch = ChatWatch(True, WORDS, lambda fact, word: heard.append((fact, word)))
        made = (Call("search_recall", ("{}",), "whole"), Call("secret_tool", ("{}",), "whole"))
        for event in chat(Work(calls=made, memory=("warning",))):
            watch.feed(sse([event]))
        found(watch, True)
        self.assertEqual(
            heard,
            [
                ("tool_call", "search_recall"),
                ("memory_event", "tool_call"),
                ("tool_call", "other"),
                ("memory_event", "warning"),
                ("finish", "stop"),
            ],
        )
        self.assertEqual((watch.tool_calls, watch.memory_events), (2, 2))


class SameShapeTests(SynchronousTestCase):
    """Events that differ in their text only are not decoded; nobody can tell."""

    TEXTS = (
        *("a", "b c", "", "\\n", '\\"', "\\\\", "\\u0061", "\\ud800", "é", "\t"),
        *('"', '"}', "\\", '","x":"', "\\x", "}", 'a"b', "{"),
        *('{\\"type\\":\\"warning\\"}', '{\\"type\\":', '\\"warning\\"}'),
    )
    FORMS = (
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null,"token_ids":null}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null,"token_ids":[1,2]}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":"stop"}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s","reasoning":"x"}}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"}}],"usage":{"prompt_tokens":1}}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"}},{"index":1,"delta":{"content":"y"}}]}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"}}],"error":{}}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"x":"%s","content":"a"}}]}',
        '{"id":"answer-1","choices":[],"content":"%s"}',
        '{"id":"answer-1","choices":[{"index":0,"delta":{"content":"%s"}}]',
        '{"content":"%s"}',
    )

    @given(
        st.lists(st.tuples(st.sampled_from((FORMS[0], *FORMS)), st.sampled_from(TEXTS)), max_size=12),
        st.sampled_from(("\n\n", "\n\n", "\n\n\n", "\n", "\0\n\n")),
        st.lists(st.integers(0, 1000), max_size=4),
    )
    def test_the_facts_are_the_same(self, parts: list[tuple[str, str]], border: str, cuts: list[int]) -> None:
        """Whatever came before, however odd the text, also where it is no text at all; and however it is cut."""

        class Decoding(ChatWatch):
            def _note_shape(self, chunk: Any, data: bytes) -> None:
                """So there is none."""

        stream = "".join(f"data: {form % text}\n\n" for form, text in parts).encode()
        facts: list[tuple[object, ...]] = []
        for kind in (ChatWatch, Decoding):
            watch = kind(True, WORDS, lambda fact, word: None)
            places = sorted({0, *(cut % (len(stream) + 1) for cut in cuts), len(stream)})
            for begin, end in pairwise(places):
                watch.feed(stream[begin:end])
            watch.end(True)
            facts.append(
                (watch.events, watch.unreadable, watch.counted_tokens, watch.finish, watch.failed, watch.prompt_tokens)
            )
            facts.append(tuple(watch.memory.items()))
        self.assertEqual(facts[:2], facts[2:])

    def test_many_in_one_read(self) -> None:
        """Once the bytes around a text are known, events that differ in nothing else are counted together."""
        watch = ChatWatch(True, WORDS, lambda fact, word: None)
        events = [f"data: {self.FORMS[0] % text}\n\n".encode() for text in ("a", "b", "c")]
        watch.feed(events[0])
        watch.feed(events[1] + events[2])
        self.assertEqual((watch.events, watch.counted_tokens, watch.unreadable), (3, 3, 0))
