"""The question a model server is asked, and what is made of its answer."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.counting import count_in, questions
from hadesgw.policy.refusals import Refused
from hadesgw.policy.request_body import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    BodyLimits,
    BodyReader,
    Route,
)

LIMITS = BodyLimits(16, True, frozenset())
TALK = [{"role": "user", "content": "hi"}]
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False}


def asked(route: Route, **fields: Any) -> list[Any]:
    """The targets and documents that are sent for a body with these fields."""
    body = json.dumps({"model": "m", **fields}).encode()
    found = questions(BodyReader(route, LIMITS).read(body), body)
    return [(question.target, json.loads(question.body)) for question in found]


def chat(**fields: Any) -> dict[str, Any]:
    """The document sent for a chat."""
    ((target, document),) = asked(CHAT, **fields)
    assert target == b"/tokenize"
    return dict(document)


def response(given: Any, **fields: Any) -> Any:
    """The document sent for a response, without what is always the same; None if there is no question."""
    found = asked(RESPONSES, input=given, **fields)
    if not found:
        return None
    ((target, document),) = found
    assert target == b"/tokenize" and document.pop("model") == "m" and document.pop("add_special_tokens") is True
    return document


def messages(given: Any, **fields: Any) -> Any:
    """The chat that is made of a response's input."""
    document = response(given, **fields)
    return None if document is None else document["messages"]


class ChatTests(SynchronousTestCase):
    """A chat is shown as it came."""

    def test_what_reaches_the_template(self) -> None:
        """All that does, byte for byte; nothing else."""
        shown = {
            "messages": TALK,
            "tools": [{"type": "function", "function": FUNCTION}],
            "add_generation_prompt": False,
            "continue_final_message": True,
            "add_special_tokens": True,
            "chat_template": "x",
            "mm_processor_kwargs": {"x": 1},
            "media_io_kwargs": {"image": {}},
        }
        self.assertEqual(chat(**shown, max_tokens=5, stream=True, user="u"), {"model": "m", **shown})
        body = b'{"model":"m","messages":[{"role":"user", "content":"\\u00e9\\n" }],"stream":true}'
        (question,) = questions(BodyReader(CHAT, LIMITS).read(body), body)
        self.assertEqual(question.body, b'{"model":"m","messages":[{"role":"user", "content":"\\u00e9\\n" }]}')

    def test_arguments_of_the_template(self) -> None:
        """Fields that `/tokenize` does not know go where vLLM puts them; the client's own go before our guess."""
        table: list[tuple[dict[str, Any], Any]] = [
            ({}, None),
            ({"chat_template_kwargs": None, "reasoning_effort": None, "documents": None}, None),
            ({"chat_template_kwargs": {"a": [1]}}, {"a": [1]}),
            ({"documents": [{"text": "x"}]}, {"documents": [{"text": "x"}]}),
            ({"reasoning_effort": "low"}, {"reasoning_effort": "low", "enable_thinking": True}),
            ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
            (
                {
                    "reasoning_effort": "none",
                    "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "x"},
                },
                {"reasoning_effort": "none", "enable_thinking": True},
            ),
        ]
        for fields, arguments in table:
            document = chat(messages=TALK, **fields)
            self.assertEqual(document.pop("chat_template_kwargs", None), arguments)
            self.assertEqual(document, {"model": "m", "messages": TALK})

    def test_arguments_that_are_none(self) -> None:
        """There is no question then: the model server would refuse it."""
        self.assertEqual(asked(CHAT, messages=TALK, chat_template_kwargs=[1]), [])


class OtherRouteTests(SynchronousTestCase):
    """Where a request is counted as it is."""

    def test_completions(self) -> None:
        """One question a prompt."""
        expected = [(b"/tokenize", {"model": "m", "prompt": prompt}) for prompt in ("a", "b")]
        self.assertEqual(asked(COMPLETIONS, prompt=["a", "b"], max_tokens=5), expected)
        special = {"model": "m", "prompt": "é", "add_special_tokens": False}
        self.assertEqual(asked(COMPLETIONS, prompt="é", add_special_tokens=False), [(b"/tokenize", special)])
        self.assertEqual(asked(COMPLETIONS), [])

    def test_messages(self) -> None:
        """The whole body, to the route that is there for it."""
        body = b'{"model" : "m", "messages":[], "max_tokens":5}'
        (question,) = questions(BodyReader(MESSAGES, LIMITS).read(body), body)
        self.assertEqual((question.target, question.body), (b"/v1/messages/count_tokens", body))

    def test_elsewhere(self) -> None:
        """Nothing is counted."""
        self.assertEqual(asked(EMBEDDINGS, input="x"), [])


class ResponseTests(SynchronousTestCase):
    """A chat is made of a response, the way vLLM makes it."""

    def test_texts(self) -> None:
        """Instructions come first, as the system's words."""
        self.assertEqual(messages("hi"), TALK)
        self.assertEqual(messages("hi", instructions="be"), [{"role": "system", "content": "be"}, *TALK])
        self.assertEqual(messages("hi", instructions=""), TALK)
        developer = {"role": "developer", "content": [{"type": "input_text", "text": "be"}]}
        expected = {"role": "developer", "content": [{"type": "text", "text": "be"}]}
        self.assertEqual(messages([developer, {"type": "message", **TALK[0]}]), [expected, *TALK])

    def test_pictures(self) -> None:
        """In the chat's words."""
        parts = [{"type": "input_image", "image_url": "data:,x", "detail": "auto"}, {"type": "input_text", "text": "?"}]
        expected = [{"type": "image_url", "image_url": {"url": "data:,x"}}, {"type": "text", "text": "?"}]
        self.assertEqual(messages([{"role": "user", "content": parts}]), [{"role": "user", "content": expected}])

    def test_a_turn_in_several_items(self) -> None:
        """Thoughts, words and calls that follow each other are one message of the assistant's."""
        items = [
            {"type": "message", "role": "user", "content": "go"},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call", "call_id": "c2", "namespace": "ns", "name": "g", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c3", "name": "h", "input": "é"},
            {"type": "function_call_output", "call_id": "c1", "output": "done"},
            {"type": "custom_tool_call_output", "call_id": "c3", "output": [{"type": "input_text", "text": "x"}]},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]

        def call(number: int, name: str, arguments: str) -> dict[str, Any]:
            return {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}

        calls = [call(1, "f", '{"a":1}'), call(2, "ns__g", "{}"), call(3, "h", '{"input":"é"}')]
        expected = [
            {"role": "user", "content": "go"},
            {"role": "assistant", "reasoning": "hm", "content": "ok", "tool_calls": calls},
            {"role": "tool", "content": "done", "tool_call_id": "c1"},
            {"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "c3"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
        self.assertEqual(messages(items), expected)

    def test_a_call_alone(self) -> None:
        """Is a message of its own; a summary stands for thoughts that are not told."""
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        function = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        self.assertEqual(messages([call]), [{"role": "assistant", "tool_calls": [function]}])
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]}
        self.assertEqual(messages([thought]), [{"role": "assistant", "reasoning": "s"}])
        self.assertEqual(messages([{"type": "reasoning"}, thought]), [
            {"role": "assistant", "reasoning": ""}, {"role": "assistant", "reasoning": "s"}])  # fmt: skip

    def test_the_prompt_may_go_on_with_the_last_message(self) -> None:
        """If that is unfinished."""
        for status, goes_on in (("completed", False), ("in_progress", True), ("incomplete", True), (None, False)):
            item = {"type": "message", "role": "assistant", "content": "a", "status": status}
            document = response([*TALK, item])
            self.assertEqual(document["continue_final_message"], goes_on)
            self.assertEqual(document["add_generation_prompt"], not goes_on)
        done = {"type": "function_call_output", "call_id": "c", "output": "x", "status": "incomplete"}
        self.assertFalse(response([done])["continue_final_message"])
        self.assertEqual(messages([]), [])

    def test_tools(self) -> None:
        """Functions, also those in namespaces, in the chat's form; kinds the model is not shown are left out."""
        flat = {"type": "function", **FUNCTION}
        nested = {"type": "function", "function": FUNCTION}
        self.assertEqual(response("hi", tools=[flat, {"type": "web_search"}])["tools"], [nested])
        space = {"type": "namespace", "name": "ns", "tools": [flat, {"type": "custom_other"}]}
        inner = {"type": "function", "function": {**FUNCTION, "name": "ns__f"}}
        self.assertEqual(response("hi", tools=[space])["tools"], [inner])
        for none in (None, [], [{"type": "mcp", "server_url": "https://x"}]):
            self.assertIsNone(response("hi", tools=none)["tools"])

    def test_effort(self) -> None:
        """Turns thinking on, as in a chat."""
        for reasoning, arguments in (
            (None, None),
            ({"summary": "auto"}, None),
            ({"effort": None}, None),
            ({"effort": "high"}, {"reasoning_effort": "high", "enable_thinking": True}),
        ):
            self.assertEqual(response("hi", reasoning=reasoning).get("chat_template_kwargs"), arguments)

    def test_what_cannot_be_counted(self) -> None:
        """What is kept elsewhere, hidden, or unheard of."""
        for fields in (
            {"previous_response_id": "resp_1"},
            {"previous_input_messages": TALK},
            {"prompt": {"id": "x"}},
            {"tools": [{"type": "custom", "name": "x"}]},
            {"tools": ["x"]},
            {"reasoning": 5},
            {"chat_template_kwargs": 5},
        ):
            self.assertIsNone(response("hi", **fields), fields)
        for items in (
            None,
            [{"type": "item_reference", "id": "x"}],
            [{"type": "reasoning", "encrypted_content": "x"}],
            [{"type": "message", "content": "nobody says this"}],
            [{"role": "assistant", "content": None}],
            [{"role": "assistant", "content": []}],
            [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}],
            [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}],
        ):
            self.assertIsNone(response(items), items)
        self.assertEqual(asked(RESPONSES), [])

    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["type", "role", "content", "output", "name", "arguments", "call_id", "status", "summary"]
                ),
                st.none()
                | st.sampled_from(
                    ["message", "reasoning", "function_call", "function_call_output", "assistant", "user"]
                )
                | st.lists(st.dictionaries(st.sampled_from(["type", "text"]), st.none() | st.just("input_text"))),
                max_size=5,
            ),
            max_size=4,
        )
    )
    def test_nothing_is_raised(self, items: list[dict[str, Any]]) -> None:
        """Whatever the items say: there is a question or there is none."""
        try:
            found = asked(RESPONSES, input=items, tools=items)
        except Refused:
            return  # before there was anything to ask
        self.assertLessEqual(len(found), 1)


class AnswerTests(SynchronousTestCase):
    """`count_in` reads the number."""

    def test_answers(self) -> None:
        """Of either route."""
        self.assertEqual(count_in(b'{"count":30,"max_model_len":2048,"tokens":[1,2],"token_strs":null}'), 30)
        self.assertEqual(count_in(b'{"input_tokens":7,"context_management":null}'), 7)
        self.assertEqual(count_in(b'{"count":0}'), 0)

    def test_what_is_no_answer(self) -> None:
        """Other servers answer otherwise."""
        for answer in (
            b"",
            b"{}",
            b'{"tokens":[]}',
            b'{"count":-1}',
            b'{"count":"7"}',
            b'{"count":1.5}',
            b"[]",
            b"x",
            b"[" * 9999,
        ):
            self.assertIsNone(count_in(answer), answer[:20])
