"""The checks that all protocols share."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import order, tokenizer
from hadesgw.demo.conversation import Call, Conversation, Message, Tool
from hadesgw.demo.order import House, Order
from hadesgw.demo.refusal import Refusal

HOUSE = House(("first", "second"), 100)


class RoomTests(SynchronousTestCase):
    """How many tokens an answer may have."""

    @given(st.integers(0, 101), st.none() | st.integers(-1, 102))
    def test_prompt_and_answer_fit_the_context_exactly(self, prompt: int, asked: int | None) -> None:
        """What is granted fits; what is refused would not have, or is no length at all."""
        try:
            granted = order.room(HOUSE, prompt, asked)
        except Refusal as refused:
            self.assertEqual((refused.status, refused.kind), (400, "BadRequestError"))
            self.assertTrue((asked is not None and asked < 1) or prompt + (asked or 1) > 100)
        else:
            self.assertEqual(granted, 100 - prompt if asked is None else asked)
            self.assertTrue(1 <= granted <= 100 - prompt)

    def test_each_refusal_names_its_field(self) -> None:
        """With the value at fault; a prompt's length is told as "at least"."""
        for prompt, asked, param, words in (
            (10, 0, "max_tokens", "must be at least 1, got 0. (parameter=max_tokens, value=0)"),
            (10, 101, "max_tokens", "max_tokens=101 cannot be greater than max_model_len=100."),
            (101, 5, "input_tokens", "at least 101 input tokens, which exceeds this limit even without"),
            (96, 5, "input_tokens", "you requested 5 output tokens and your prompt contains at least 96 input"),
        ):
            refused = self.assertRaises(Refusal, order.room, HOUSE, prompt, asked)
            self.assertEqual(refused.param, param)
            self.assertIn(words, refused.message)

    def test_a_prompt_is_measured_with_its_template(self) -> None:
        """And no further than needed."""
        turns = (Message("user", "Hi"),)
        self.assertEqual(
            order.measured(HOUSE, turns, ()), len(tokenizer.encode(tokenizer.template(turns, (), ask=True)))
        )
        self.assertEqual(order.measured(HOUSE, (Message("user", "a " * 5000),), ()), 101)


class FieldTests(SynchronousTestCase):
    """Fields that several routes have."""

    def test_the_model_must_be_served(self) -> None:
        """None is the first one."""
        self.assertEqual(
            [order.model_of(doc, HOUSE) for doc in ({}, {"model": None}, {"model": "second"})],
            ["first", "first", "second"],
        )
        self.assertEqual(self.assertRaises(Refusal, order.model_of, {"model": "third"}, HOUSE).status, 404)

    def test_sampling_stays_in_its_ranges(self) -> None:
        """The edges are allowed, what lies beyond is not."""
        edges: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
            "temperature": ((0, "2.5", None), (-0.1,)),
            "top_p": ((1, 0.01), (0, 1.1)),
            "presence_penalty": ((-2, 2), (-2.1, 2.1)),
            "frequency_penalty": ((-2, 2), (-2.1, 2.1)),
            "n": ((1, 64, 2.0), (0, 65)),
        }
        for name, (good, bad) in edges.items():
            for value in good:
                order.check_sampling({name: value})
            for value in bad:
                self.assertEqual(self.assertRaises(Refusal, order.check_sampling, {name: value}).param, name)

    def test_stop_is_one_string_or_several(self) -> None:
        """Anything else is none."""
        table: list[tuple[object, tuple[str, ...]]] = [("x", ("x",)), (["x", 1, "y"], ("x", "y")), (None, ()), (3, ())]
        for stop, strings in table:
            self.assertEqual(order.stop_strings({"stop": stop}), strings)

    def test_stream_options_need_a_stream(self) -> None:
        """And usage everywhere needs usage at all."""
        options = {"include_usage": True, "continuous_usage_stats": True}
        self.assertEqual(order.stream_options({"stream": True, "stream_options": options}), (True, True))
        del options["include_usage"]
        self.assertEqual(order.stream_options({"stream": True, "stream_options": options}), (False, False))
        self.assertEqual(order.stream_options({"stream": True}), (False, False))
        self.assertRaises(Refusal, order.stream_options, {"stream_options": options})


class ContentTests(SynchronousTestCase):
    """What messages and tools are made of."""

    def test_content_is_text_in_any_of_its_forms(self) -> None:
        """A string, null, or parts; refusals and thoughts of old answers are left out."""
        parts = [{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "no"}, {"type": "thinking"}]
        self.assertEqual([order.text_of(content, "x", HOUSE) for content in ("t", None, parts)], ["t", "", "a\nb"])

    def test_other_content_is_refused(self) -> None:
        """Pictures because nobody sees them, the rest because it is no content."""
        table: list[tuple[object, str]] = [
            ([{"type": "image_url"}], "first is not a multimodal model"),
            ([1], "dict_type"),
            (7, "string_type"),
        ]
        for content, words in table:
            self.assertIn(words, self.assertRaises(Refusal, order.text_of, content, "x", HOUSE).message)

    def test_tools_need_a_name_and_nothing_else(self) -> None:
        """What is no description and no schema counts as none."""
        self.assertEqual(order.tool_of({"name": "n", "description": 1, "parameters": 2}, "x"), Tool("n", "", {}))
        self.assertEqual(order.tool_of({"name": "n", "s": {"a": 1}}, "x", schema="s"), Tool("n", "", {"a": 1}))
        for function in (None, {}, {"name": 3}):
            self.assertEqual(self.assertRaises(Refusal, order.tool_of, function, "x").param, "x.name")

    def test_calls_of_the_history_are_kept_as_text(self) -> None:
        """Arguments that came as an object are written out."""
        self.assertEqual(order.call_from("n", {"a": 1}), Call("n", '{"a":1}'))
        self.assertEqual(order.call_from(None, None), Call("", "{}"))

    def test_a_format_has_a_schema_in_each_protocol_s_way(self) -> None:
        """Within it, or within its `json_schema`; any object for `json_object`; none for what asks for no form."""
        schema = {"type": "object"}
        for form in (
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
            {"type": "json_schema", "name": "n", "schema": schema},
        ):
            self.assertEqual(order.schema_of(form), schema)
        for other in (
            None,
            7,
            {},
            {"type": "text"},
            {"type": "json_schema"},
            {"type": "json_schema", "json_schema": 7},
        ):
            self.assertIsNone(order.schema_of(other))

    def test_choices_share_the_conversations_evenly(self) -> None:
        """As completions with several prompts need it."""
        talks = tuple(Conversation((Message("user", text),)) for text in "ab")
        wanted = Order(document={}, model="", conversations=talks, prompt_tokens=1, limit=1, stream=False, choices=4)
        self.assertEqual([wanted.asked(choice).prompt for choice in range(4)], ["a", "a", "b", "b"])
        self.assertEqual(wanted.conversation.prompt, "a")
