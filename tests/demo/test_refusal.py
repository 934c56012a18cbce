"""Refusals: bodies that cannot be read, fields that are wrong, and how it is said."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import refusal
from hadesgw.demo.refusal import Refusal

JSON = "application/json"


class BodyTests(SynchronousTestCase):
    """From bytes to a JSON object."""

    def refused(self, body: bytes, content_type: str = JSON) -> Refusal:
        refused: Refusal = self.assertRaises(Refusal, refusal.decode, body, content_type)
        return refused

    def test_an_object_is_read(self) -> None:
        """In raw UTF-8 or with escapes, whatever the parameters of the media type."""
        document = {"a": "Grüße 😀"}
        for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
            self.assertEqual(refusal.decode(text.encode(), "Application/JSON; charset=utf-8"), document)

    def test_another_media_type_is_refused_before_the_body_is_read(self) -> None:
        """With 400, not 415, as vLLM does."""
        for content_type in ("", "text/plain", "application/jsonp", "multipart/form-data; boundary=x"):
            refused = self.refused(b"{", content_type)
            self.assertEqual((refused.status, refused.kind, refused.param), (400, "Bad Request", None))

    def test_bad_json_names_the_place(self) -> None:
        """The offset is in the param, the reason in the message."""
        refused = self.refused(b'{"model": "x", ')
        self.assertEqual(refused.param, "body.15")
        self.assertIn("'ctx': {'error': 'Expecting property name enclosed in double quotes'}", refused.message)

    def test_what_is_no_text_is_refused(self) -> None:
        """Broken UTF-8, a lone surrogate, an endless number, a bottomless nesting."""
        for body in (b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":' + b"9" * 5000 + b"}", b"[" * 200_000):
            refused = self.refused(body)
            self.assertEqual(refused.body(), '{"detail":"There was an error parsing the body"}')

    @given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: json.dumps({"k": text}).encode()))
    def test_any_body_is_read_or_refused(self, body: bytes) -> None:
        """There is no third outcome, and a refusal is JSON that UTF-8 can carry."""
        try:
            document = refusal.decode(body, JSON)
        except Refusal as refused:
            json.loads(refused.body().encode())
        else:
            json.dumps(document, ensure_ascii=False).encode()


class FieldTests(SynchronousTestCase):
    """Fields against their types."""

    def kind(self, field: refusal.Check, value: object) -> str | None:
        found = field(value, "body.x")
        return None if found is None else found["type"]

    def test_types_are_held_as_vllm_holds_them(self) -> None:
        """Numbers may be strings that read as numbers; an integer may be a float without a fraction."""
        table: list[tuple[refusal.Check, object, str | None]] = [
            (refusal.a_number, 0.5, None),
            (refusal.a_number, "0.5", None),
            (refusal.a_number, "hot", "float_parsing"),
            (refusal.a_number, [], "float_type"),
            (refusal.an_integer, 3, None),
            (refusal.an_integer, 3.0, None),
            (refusal.an_integer, "3", None),
            (refusal.an_integer, 3.5, "int_from_float"),
            (refusal.an_integer, "x", "int_parsing"),
            (refusal.an_integer, {}, "int_type"),
            (refusal.a_boolean, True, None),
            (refusal.a_boolean, "maybe", "bool_type"),
            (refusal.a_string, "x", None),
            (refusal.a_string, 1, "string_type"),
            (refusal.a_list, [], None),
            (refusal.a_list, {}, "list_type"),
            (refusal.a_mapping, {}, None),
            (refusal.a_mapping, [], "dict_type"),
            (refusal.mappings, [{}], None),
            (refusal.mappings, [{}, 1], "dict_type"),
            (refusal.mappings, "x", "list_type"),
            (refusal.anything, object, None),
        ]
        for field, value, kind in table:
            self.assertEqual(self.kind(field, value), kind, (field.__name__, value))

    def test_every_wrong_field_is_listed(self) -> None:
        """In the order of the schema; the param is the first one's place."""
        fields = {"a": refusal.an_integer, "b": refusal.a_string, "c": refusal.a_list}
        document: dict[str, object] = {"a": "x", "b": None, "c": {}}
        refused = self.assertRaises(Refusal, refusal.check, document, fields, ("b",))
        self.assertTrue(refused.message.startswith("3 validation errors:\n  {'type': 'int_parsing', 'loc': 'body.a'"))
        self.assertIn("'loc': 'body.b', 'msg': 'Field required', 'input': '<dict of 3 items>'", refused.message)
        self.assertEqual((refused.kind, refused.param), ("Bad Request", "body.a"))

    def test_null_and_absent_optional_fields_pass(self) -> None:
        """And so do unknown ones."""
        refusal.check({"a": None, "z": 1}, {"a": refusal.an_integer, "b": refusal.a_string}, ())

    def test_a_long_input_is_not_repeated(self) -> None:
        """An error shows the beginning of a wrong value only."""
        refused = refusal.wrong("string_type", "body.x", "no", "y" * 500)
        self.assertLess(len(refused.message), 200)


class FormTests(SynchronousTestCase):
    """How a refusal is said."""

    def test_openai_form(self) -> None:
        """An object with message, type, param and the status as code."""
        said = json.loads(refusal.unknown_model("x", ("a", "b")).body())
        message = "The model `x` does not exist. Valid aliases: a, b."
        self.assertEqual(said, {"error": {"message": message, "type": "NotFoundError", "param": "model", "code": 404}})

    def test_anthropic_form(self) -> None:
        """The Messages routes have their own object, but for what the schema forbids."""
        said = json.loads(Refusal(404, "gone").anthropic_body())
        self.assertEqual(said, {"type": "error", "error": {"type": "NotFoundError", "message": "gone"}})
        self.assertIn('"code":400', refusal.wrong("missing", "body.x", "Field required", None).anthropic_body())

    def test_a_literal_body_is_said_as_it_is(self) -> None:
        """In every protocol."""
        refused = Refusal(400, "", literal='{"error": "TOKEN_BUDGET_EXCEEDED"}')
        self.assertEqual({refused.body(), refused.anthropic_body()}, {'{"error": "TOKEN_BUDGET_EXCEEDED"}'})
