"""Values that fit a schema; `test_toolcalls.py` has the simple types."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.specimen import specimen

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
TREE = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["value", "children", "next"],
        }
    },
    "$ref": "#/$defs/Node",
}


def made(schema: dict[str, Any], prompt: str = "") -> Any:
    return json.loads(specimen(schema, prompt))


class SpecimenTests(SynchronousTestCase):
    """What is made of the schemas that people send."""

    def test_any_type_may_be_the_outermost(self) -> None:
        """An object, where the schema does not say."""
        self.assertEqual(made({"type": "array", "items": {"type": "integer"}}, "7 cats"), [7])
        self.assertEqual(made({"enum": ["yes", "no"]}, "Say no"), "no")
        self.assertEqual(made({}), {})

    def test_references_are_followed(self) -> None:
        """As pydantic writes those of models within models; one that leads nowhere leaves the matter open."""
        schema = {"$defs": {"a/b": PERSON}, "type": "array", "items": {"$ref": "#/$defs/a~1b"}}
        self.assertEqual(made(schema, "Bob, 42"), [{"name": "Bob, 42", "age": 42}])
        self.assertEqual(made({"properties": {"x": {"$ref": "#/$defs/none"}}}, "hi"), {"x": "hi"})
        self.assertEqual(made({"properties": {"x": {"$ref": "http://example.org/"}}}, "hi"), {"x": "hi"})

    def test_alternatives_and_parts(self) -> None:
        """The first alternative is taken; all parts of `allOf` are obeyed."""
        optional = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        both = {"allOf": [PERSON, {"properties": {"city": {"type": "string"}}}]}
        self.assertEqual(made({"properties": {"n": optional}}), {"n": 1})
        self.assertEqual(set(made(both)), {"name", "age", "city"})
        stricter = {"required": ["city"], "properties": {}, **both}
        self.assertEqual(
            set(made({**stricter, "allOf": [{**PERSON, "required": ["age"]}, *both["allOf"][1:]]})), {"age", "city"}
        )

    def test_a_tree_comes_to_an_end_that_fits(self) -> None:
        """With empty lists and nulls deep down, never with a member that is missing."""

        def fits(node: Any) -> bool:
            return set(node) == {"value", "children", "next"} and all(
                map(fits, [*node["children"], *([node["next"]] if node["next"] else [])])
            )

        self.assertTrue(fits(made(TREE)))

    def test_bounds(self) -> None:
        """Of numbers, texts and lists."""
        number = {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7}
        self.assertEqual((made(number, "1"), made(number, "9")), (6, 6))
        self.assertEqual(made({"type": "string", "minLength": 4, "maxLength": 5}, "hi"), "hi..")
        self.assertEqual(made({"type": "string", "maxLength": 3}, "hello"), "hel")
        self.assertEqual(len(made({"type": "array", "items": {"type": "null"}, "minItems": 3})), 3)

    def test_formats(self) -> None:
        """Texts that libraries read further have the form they ask for."""
        self.assertRegex(made({"type": "string", "format": "date-time"}), r"^\d{4}-\d\d-\d\dT")
        self.assertEqual(made({"type": "string", "format": "sonnet"}, "hi"), "hi")

    def test_a_schema_that_multiplies_ends(self) -> None:
        """However many members refer to the whole, what is made stays small."""
        many = {"properties": {f"m{n}": {"$ref": "#"} for n in range(40)}}
        self.assertLess(len(specimen(many, "")), 1 << 20)
        self.assertLess(len(specimen({"type": "string", "minLength": 1 << 40}, "")), 2_000)
        self.assertLess(len(specimen({"type": "array", "items": {}, "minItems": 1 << 40}, "")), 2_000)

    @given(
        st.recursive(
            st.none() | st.integers(-3, 9) | st.sampled_from(["object", "array", "#", "#/anyOf/0"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["type", "properties", "items", "anyOf", "allOf", "$ref", "minItems", "minLength"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_any_schema_gives_json(self, schema: object) -> None:
        """However odd it is."""
        json.loads(specimen(schema if isinstance(schema, dict) else {"items": schema}, "about 3 cats"))
