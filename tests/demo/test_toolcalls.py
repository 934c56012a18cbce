"""Choosing a tool and filling its arguments."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.conversation import Conversation, Message, Tool
from hadesgw.demo.toolcalls import arguments_for, call_of, fitting_tool

WEATHER = Tool("get_weather", "", {"type": "object", "properties": {"city": {"type": "string"}}})
FILES = Tool("readFile", "", {})


def asking(prompt: str, *tools: Tool, choice: str = "auto", named: str = "") -> Conversation:
    return Conversation((Message("user", prompt),), tools, choice, named)


def arguments(properties: dict[str, Any], prompt: str, **schema: Any) -> Any:
    parameters = {"type": "object", "properties": properties, **schema}
    return json.loads(arguments_for(Tool("x", "", parameters), prompt))


class ChoiceTests(SynchronousTestCase):
    """Which tool a prompt asks for."""

    def test_words_of_the_name_choose(self) -> None:
        """Whatever the way names are written, and in other forms of the words too."""
        self.assertEqual(fitting_tool(asking("What is the weather?", FILES, WEATHER)), WEATHER)
        self.assertEqual(fitting_tool(asking("Open both files", WEATHER, FILES)), FILES)

    def test_a_prompt_about_something_else_chooses_none(self) -> None:
        """Words that many tools have in their names do not count."""
        self.assertIsNone(fitting_tool(asking("Get and read this for me", WEATHER, FILES)))
        self.assertIsNone(fitting_tool(asking("weather")))

    def test_the_client_has_the_last_word(self) -> None:
        """A named tool is taken, none is none, required takes the first if no name fits."""
        self.assertEqual(fitting_tool(asking("weather", WEATHER, FILES, named="readFile")), FILES)
        self.assertIsNone(fitting_tool(asking("weather", WEATHER, choice="none")))
        self.assertEqual(fitting_tool(asking("Hi", FILES, WEATHER, choice="required")), FILES)
        self.assertEqual(fitting_tool(asking("weather", FILES, WEATHER, choice="required")), WEATHER)


class ArgumentTests(SynchronousTestCase):
    """What is put into a schema."""

    def test_strings_are_taken_from_the_prompt(self) -> None:
        """By what the argument's name says it is."""
        prompt = "What does src/main.py say about New York?"
        names = {name: {"type": "string"} for name in ("path", "city", "query", "session_id")}
        self.assertEqual(
            arguments(names, prompt),
            {"path": "src/main.py", "city": "New York", "query": prompt, "session_id": "rehearsal-1"},
        )
        self.assertEqual(arguments({"dir": {}, "place": {}}, "hi"), {"dir": ".", "place": "Oslo"})

    def test_what_the_schema_fixes_is_obeyed(self) -> None:
        """Enumerations, constants, defaults, bounds and types."""
        properties = {
            "unit": {"enum": ["kelvin", "celsius"]},
            "mode": {"enum": ["a", "b"]},
            "fixed": {"const": 7},
            "usual": {"type": "string", "default": "x"},
            "low": {"type": "integer", "minimum": 10},
            "high": {"type": "number", "maximum": 2},
            "flag": {"type": "boolean"},
            "nothing": {"type": "null"},
            "several": {"type": ["integer", "null"]},
            "list": {"type": "array", "items": {"type": "integer"}},
            "bare": {"type": "array"},
            "inner": {"type": "object", "properties": {"n": {"type": "integer"}}},
        }
        self.assertEqual(
            arguments(properties, "5 degrees Celsius"),
            {
                "unit": "celsius",
                "mode": "a",
                "fixed": 7,
                "usual": "x",
                "low": 10,
                "high": 2,
                "flag": True,
                "nothing": None,
                "several": 5,
                "list": [5],
                "bare": [],
                "inner": {"n": 5},
            },
        )

    def test_only_required_properties_are_given(self) -> None:
        """All of them if none is required, none if there are no properties."""
        properties = {"a": {"type": "boolean"}, "b": {"type": "boolean"}}
        self.assertEqual(arguments(properties, "", required=["b"]), {"b": True})
        self.assertEqual(arguments(properties, "", required=[]), {"a": True, "b": True})
        self.assertEqual(call_of(Tool("x", "", {}), "hi").arguments, "{}")

    def test_a_schema_without_bottom_ends(self) -> None:
        """Nesting is followed for a few levels only."""
        schema: dict[str, Any] = {"type": "object"}
        schema["properties"] = {"again": schema}
        self.assertLess(len(arguments_for(Tool("x", "", schema), "")), 200)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["object", "array", "integer"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["type", "properties", "items", "enum", "required", "minimum", "x"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_schema_gives_json(self, schema: object) -> None:
        """However odd a schema is, the arguments are a JSON object."""
        parameters = schema if isinstance(schema, dict) else {"properties": {"x": schema}}
        self.assertIsInstance(json.loads(arguments_for(Tool("x", "", parameters), "about 3 cats")), dict)
