"""Chat completions: what `test_shapes` cannot see."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import chat
from hadesgw.demo.conversation import Call, Message
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal
from tests.demo.playing import MODEL, Playhouse

HOUSE = House(("m",), 500)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"properties": {"at": {"enum": ["sky"]}}}}}]
KEYS = ("role", "content", "type", "text", "function", "name", "tool_calls", "output", "input", "arguments")
SCALARS: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        1,
        7,
        600,
        0.5,
        2.0,
        "",
        "x",
        "3",
        "tool",
        "text",
        "function_call",
        "tool_use",
        "required",
    ]
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), SCALARS, max_size=3)
TURNS = st.dictionaries(st.sampled_from(KEYS), SCALARS | OBJECTS | st.lists(SCALARS | OBJECTS, max_size=2), max_size=3)
VALUES: st.SearchStrategy[Any] = SCALARS | TURNS | st.lists(SCALARS | TURNS, max_size=3)


class OneCallTests(SynchronousTestCase):
    """A client that asks for no parallel calls."""

    def test_each_protocol_has_its_word(self) -> None:
        """For what vLLM then does: the first call is kept."""
        turns = [{"role": "user", "content": "rehearse: tools-parallel"}]
        choice = {"type": "auto", "disable_parallel_tool_use": True}
        for path, order, kind in (
            ("/v1/chat/completions", {"messages": turns, "parallel_tool_calls": False}, '"type":"function"'),
            ("/v1/responses", {"input": turns, "parallel_tool_calls": False}, '"type":"function_call"'),
            (
                "/v1/messages",
                {"model": MODEL, "messages": turns, "max_tokens": 99, "tool_choice": choice},
                '"tool_use"',
            ),
        ):
            for wanted, said in ((1, order), (3, {**order, "parallel_tool_calls": None, "tool_choice": None})):
                body = Playhouse().post(path, said).body.decode()
                self.assertEqual(body.split('"stop_reason"')[0].count(kind), wanted, body)


class FormatTests(SynchronousTestCase):
    """`response_format`."""

    def test_a_format_is_obeyed(self) -> None:
        """The content fits its schema, whole and streamed, as vLLM's guided decoding has it."""
        form = {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"properties": {"at": {"enum": ["sky"]}}}},
        }
        order = {"messages": [{"role": "user", "content": "x"}], "response_format": form}
        answer = Playhouse().post("/v1/chat/completions", order).json()
        self.assertEqual(answer["choices"][0]["message"]["content"], '{"at": "sky"}')
        stream = Playhouse().post("/v1/chat/completions", {**order, "stream": True})
        self.assertEqual(stream.text(), '{"at": "sky"}')
        for lacking in ({"type": "json_schema"}, {"type": "json_schema", "json_schema": None}):
            refused = Playhouse().post("/v1/chat/completions", {**order, "response_format": lacking})
            self.assertEqual((refused.status, refused.json()["error"]["param"]), (400, "response_format"))


class ReadingTests(SynchronousTestCase):
    """From a document to an order."""

    def test_turns_and_calls_are_read(self) -> None:
        """Calls whatever form they have, the older function role as a tool's."""
        turns = [
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, 7]},
            {"role": "function", "content": "done"},
            {"content": [{"type": "text", "text": "and?"}]},
        ]
        self.assertEqual(
            chat.read_messages({"messages": turns}, HOUSE),
            (Message("assistant", "", (Call("f", "{}"),)), Message("tool", "done"), Message("user", "and?")),
        )

    def test_the_older_form_of_tools_is_read_too(self) -> None:
        """As HADES still speaks it: functions, and function_call for the choice."""
        document = {"messages": [{"role": "user", "content": "x"}], "functions": [{"name": "look"}]}
        for wish, choice, named in (
            (None, "auto", ""),
            ("none", "none", ""),
            ({"name": "look"}, "required", "look"),
        ):
            talk = chat.read({**document, "function_call": wish}, HOUSE).conversation
            self.assertEqual((talk.tool_choice, talk.named_tool, talk.tools[0].name), (choice, named, "look"))
        self.assertRaises(Refusal, chat.read, {**document, "function_call": {"name": "leap"}}, HOUSE)

    def test_the_newer_name_of_the_limit_goes_first(self) -> None:
        """max_completion_tokens before max_tokens."""
        document = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "max_completion_tokens": 7}
        self.assertEqual(chat.read(document, HOUSE).limit, 7)

    @given(
        st.dictionaries(
            st.sampled_from([*chat.FIELDS, "tool_choice", "stream_options", "surprise"]), VALUES, max_size=8
        )
    )
    def test_any_document_is_read_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third outcome."""
        try:
            order = chat.read(document, HOUSE)
        except Refusal as refused:
            self.assertIn(refused.status, (400, 404))
        else:
            self.assertGreaterEqual(order.limit, 1)


class WritingTests(SynchronousTestCase):
    """From an answer to its words."""

    def test_the_stream_says_what_the_whole_answer_says(self) -> None:
        """Text, reasoning, calls and the count of tokens are the same."""
        for prompt, more in (("rehearse: reason", {}), ("look", {"tools": TOOLS}), ("rehearse: tools-parallel", {})):
            house = Playhouse()
            whole = house.chat(prompt, **more).json()
            events = house.chat(prompt, stream=True, stream_options={"include_usage": True}, **more).data()
            message = whole["choices"][0]["message"]
            deltas = [choice["delta"] for event in events for choice in event["choices"]]
            self.assertEqual("".join(delta.get("content") or "" for delta in deltas), message["content"] or "")
            self.assertEqual("".join(delta.get("reasoning", "") for delta in deltas), message["reasoning"] or "")
            self.assertEqual(events[-1]["usage"]["completion_tokens"], whole["usage"]["completion_tokens"])
            arguments: dict[int, str] = {}
            for call in (call for delta in deltas for call in delta.get("tool_calls", ())):
                arguments[call["index"]] = arguments.get(call["index"], "") + call["function"].get("arguments", "")
            whole_calls = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
            self.assertEqual(list(arguments.values()), whole_calls)

    def test_usage_is_what_tokenize_says(self) -> None:
        """The prompt's with its template, the answer's by its text."""
        house = Playhouse()
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 你好"}]
        answer = house.post("/v1/chat/completions", {"messages": messages, "tools": TOOLS}).json()
        text = answer["choices"][0]["message"]["content"]
        counts = [
            house.post("/tokenize", {"messages": messages, "tools": TOOLS}).json()["count"],
            house.post("/tokenize", {"prompt": text}).json()["count"],
        ]
        self.assertEqual(counts, [answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]])

    def test_a_context_can_be_filled_to_the_last_token(self) -> None:
        """One token more is refused."""
        house = Playhouse(context_tokens=200)
        prompt = house.post("/tokenize", {"messages": [{"role": "user", "content": "x"}]}).json()["count"]
        filled = house.chat("x", max_tokens=200 - prompt, ignore_eos=True).json()
        self.assertEqual(filled["usage"]["total_tokens"], 200)
        self.assertEqual(filled["choices"][0]["finish_reason"], "length")
        self.assertEqual(house.chat("x", max_tokens=201 - prompt).status, 400)

    def test_choices_are_told_apart(self) -> None:
        """By their index and their number; usage counts them all."""
        answer = Playhouse().chat("x", n=3).json()
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2])
        self.assertTrue(answer["choices"][2]["message"]["content"].startswith("(choice 3) Hello"))
        streamed = Playhouse().chat("x", n=3, stream=True, stream_options={"include_usage": True}).data()
        self.assertEqual(streamed[-1]["usage"], {key: answer["usage"][key] for key in streamed[-1]["usage"]})

    def test_stop_strings_end_the_text(self) -> None:
        """The answer says which one it was."""
        (choice,) = Playhouse().chat("x", stop=["model"], include_stop_str_in_output=True).json()["choices"]
        self.assertEqual((choice["finish_reason"], choice["stop_reason"]), ("stop", "model"))
        self.assertEqual(choice["message"]["content"], "Hello! I am the **rehearsal model")
