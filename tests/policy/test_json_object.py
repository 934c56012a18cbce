"""A body as one JSON object: what is not taken, at the edge of each limit, whatever the bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.json_object import (
    DEEPEST,
    LARGE,
    MOST_CONTAINERS,
    MOST_MEMBERS,
    ObjectReader,
    characters,
    check_depth,
    decoded,
)
from hadesgw.policy.refusals import Refused


def why(act: Any, *arguments: Any) -> str:
    """The reason for which `act` refuses, or "" if it does not."""
    try:
        act(*arguments)
    except Refused as refused:
        return refused.refusal.reason
    return ""


def read(body: bytes) -> dict[str, bytes] | str:
    """The members of `body` as bytes, or why it is refused."""
    try:
        characters(body)
        return {name: bytes(value) for name, value in ObjectReader().read(body).items()}
    except Refused as refused:
        return refused.refusal.reason


def nested(levels: int) -> bytes:
    """Arrays in arrays, so many levels of them."""
    return b"[" * levels + b"]" * levels


class EncodingTests(SynchronousTestCase):
    """`characters`: UTF-8 everywhere, also in what nobody looks at."""

    def test_text_is_counted_in_characters(self) -> None:
        """Whatever they are, and however many: large texts are counted in pieces that may end within one."""
        for text in ("", "abc", "é", "€uro", "😀" * 3, "aé€😀" * 40_000, "é" * 65_536, "x" + "😀" * 65_536):
            self.assertEqual(characters(text.encode()), len(text))

    def test_nothing_else_is_text(self) -> None:
        """Latin-1, UTF-16, surrogates, overlong forms, what breaks off; at the end of a large text too."""
        for wrong in (b"\xe9", b"\xff\xfe{\0}\0", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            self.assertEqual(why(characters, wrong), "bad_encoding")
            self.assertEqual(why(characters, b"x" * 200_000 + wrong), "bad_encoding")
            self.assertEqual(why(characters, "é".encode() * 40_000 + wrong), "bad_encoding")

    @given(st.binary(max_size=64))
    def test_it_agrees_with_python(self, data: bytes) -> None:
        """For any bytes at all."""
        try:
            expected: int | str = len(data.decode())
        except UnicodeDecodeError:
            expected = "bad_encoding"
        self.assertEqual(why(characters, data) or characters(data), expected)


class ObjectTests(SynchronousTestCase):
    """`ObjectReader`: one object, each name once."""

    def test_members_come_out_as_they_stand(self) -> None:
        """With their own spelling and white space; names are resolved."""
        body = b' {"model" : "m", "\\u0061": [1, 2 ],"n":1.0e0,"x":{"a":"b\\n"} }\r\n'
        expected = {"model": b'"m"', "a": b"[1, 2 ]", "n": b"1.0e0", "x": b'{"a":"b\\n"}'}
        self.assertEqual(read(body), expected)

    def test_what_is_not_an_object(self) -> None:
        """Other values, nothing, several, a byte order mark, another encoding."""
        bom = b"\xef\xbb\xbf{}"
        for body in (b"", b" ", b"[]", b'"x"', b"1", b"null", b"true", b"{}{}", b"{} x", b"{}\0", bom, b"{"):
            self.assertEqual(read(body), "bad_json", body)
        self.assertEqual(read('{"a":1}'.encode("utf-16")), "bad_encoding")
        self.assertEqual(read('{"a":1}'.encode("utf-32-le")), "bad_json")

    def test_what_is_not_json(self) -> None:
        """What lenient readers let pass, also in members nobody looks at."""
        values = (
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"01",
            b"+1",
            b".5",
            b"1.",
            b"0x1",
            b"1e",
            b"-",
            b"tru",
            b"'x'",
            b"undefined",
            b'"\t"',
            b'"\x00"',
            b'"\n"',
            b'"\\q"',
            b'"\\u12"',
            b'"\\ud800"',
            b'"\\udc00\\ud800"',
            b"[1,]",
            b'{"a":1,}',
            b"/* */1",
            b"1 2",
        )
        for value in values:
            self.assertEqual(read(b'{"x":' + value + b"}"), "bad_json", value)
            self.assertEqual(read(b'{"x":[{"y":' + value + b"}]}"), "bad_json", value)
        for body in (b"{x:1}", b"{'x':1}", b'{"x" 1}', b'{"x":1 "y":2}', b"{,}", b'{"x":1,}', b'{"\\ud800":1}'):
            self.assertEqual(read(body), "bad_json", body)

    def test_a_name_stands_once(self) -> None:
        """However it is spelled: readers differ in which of two they take. Further down is nobody's decision here."""
        for body in (b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"":1,"":2}', b'{"a":1,"b":2,"a":null}'):
            self.assertEqual(read(body), "duplicate_field")
        self.assertEqual(read(b'{"a":1,"A":2,"b":{"c":1,"c":2}}'), {"a": b"1", "A": b"2", "b": b'{"c":1,"c":2}'})

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("", "a", "a", "b", "\\u0061", "\\n", "é", "model")),
                st.sampled_from(("0", '""', "null", "[1, 2]", '{"a":1,"a":2}', '"a"', '"\\",\\"a\\":0"')),
                st.sampled_from(("", "", " ", "\n", "     ")),
            ),
            max_size=6,
        )
    )
    def test_no_name_comes_twice_unseen(self, members: list[tuple[str, str, str]]) -> None:
        """However names, values and the space around them are made up, in a small body and in a large one."""
        names = [json.loads(f'"{name}"') for name, _, _ in members]
        twice = len(set(names)) < len(names)
        for more in ([], [("large", '"' + "x" * 10_000 + '"', "")]):
            parts = [f'{space}"{name}"{space}:{space}{value}{space}' for name, value, space in (*members, *more)]
            found = read(("{" + ",".join(parts) + "}").encode())
            if twice:
                self.assertEqual(found, "duplicate_field")
            else:
                assert isinstance(found, dict), found
                self.assertEqual([*found], [*names, *(name for name, _, _ in more)])

    def test_members_are_bounded(self) -> None:
        """So many and no more; a body of millions costs no more than that."""
        members = [b'"%d":%d' % (number, number) for number in range(MOST_MEMBERS + 1)]
        self.assertEqual(len(read(b"{" + b",".join(members[:-1]) + b"}")), MOST_MEMBERS)
        self.assertEqual(read(b"{" + b",".join(members) + b"}"), "too_complex")

    def test_a_large_body_may_not_be_made_of_dust(self) -> None:
        """Containers are counted where there is room for many; braces and brackets in texts count as well."""
        for dust in (b"[]", b"{}"):
            fits = b'{"x":[' + b",".join([dust] * (MOST_CONTAINERS - 2)) + b'],"y":"' + b"x" * LARGE + b'"}'
            self.assertEqual(len(read(fits)), 2)
            self.assertEqual(read(fits.replace(b"],", b"," + dust + b"],", 1)), "too_complex")
        self.assertEqual(read(b'{"x":"' + b"[" * LARGE + b'"}'), "too_complex")
        small = b'{"x":"' + b"[" * (LARGE - 8) + b'"}'
        self.assertEqual((len(small), len(read(small))), (LARGE, 1))

    def test_a_reader_forgets(self) -> None:
        """What one body held, and why it was refused, is nothing to the next."""
        reader = ObjectReader()
        for body in (b'{"a":1}', b'{"a":1}', b'{"a":1,"a":2}', b'{"a":1}', b'{"a":', b'{"a":1}'):
            try:
                self.assertEqual({name: bytes(value) for name, value in reader.read(body).items()}, {"a": b"1"})
            except Refused:
                self.assertIn(body, (b'{"a":1,"a":2}', b'{"a":'))

    def test_depth_without_end(self) -> None:
        """Is refused, and not a crash."""
        for opening in (b"[", b'{"a":'):
            self.assertEqual(read(b'{"x":' + opening * 100_000), "too_deep")

    def test_numbers_without_end(self) -> None:
        """Are passed over without being worked out."""
        self.assertEqual(read(b'{"x":' + b"9" * 100_000 + b"}"), {"x": b"9" * 100_000})

    @given(st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False,
        allow_infinity=False) | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)),
        max_size=8), st.booleans())  # fmt: skip
    def test_every_object_is_read(self, document: dict[str, Any], ascii_only: bool) -> None:
        """Each value is the slice of the body that Python reads the same."""
        body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        found = read(body)
        if isinstance(found, dict):
            self.assertEqual({name: json.loads(value) for name, value in found.items()}, document)
        else:
            self.assertTrue(any("\ud800" <= char <= "\udfff" for char in str(json.loads(json.dumps(document)))))

    @given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\u0123d8e. tfn-', max_size=40).map(str.encode))
    def test_nothing_is_raised_but_refusals(self, body: bytes) -> None:
        """Whatever the bytes; and what is taken, Python takes too."""
        found = read(body)
        if isinstance(found, dict):
            self.assertEqual(json.loads(body).keys(), found.keys())


class DecodingTests(SynchronousTestCase):
    """`decoded`: a member's value, as far as it can be held."""

    def value(self, body: bytes) -> msgspec.Raw:
        """A member of that value."""
        return ObjectReader().read(b'{"x":' + body + b"}")["x"]

    def test_what_fits_is_decoded(self) -> None:
        """What does not is refused as the caller says."""
        numbers = msgspec.json.Decoder(list[int])
        self.assertEqual(decoded(numbers, self.value(b"[1,2]"), refusals.BAD_PARAMETER), [1, 2])
        self.assertEqual(why(decoded, numbers, self.value(b'["1"]'), refusals.BAD_PARAMETER), "bad_parameter")
        self.assertEqual(why(decoded, numbers, self.value(b"{}"), refusals.NO_MODEL), "no_model")

    def test_depth_without_end(self) -> None:
        """Is refused, and not a crash; what the body's reader passes by a hair may be too deep here."""

        def hook(kind: type, value: object) -> object:
            raise RecursionError

        class Own:
            """Nothing."""

        decoder = msgspec.json.Decoder(Own, dec_hook=hook)
        self.assertEqual(why(decoded, decoder, self.value(b"1"), refusals.BAD_JSON), "too_deep")


class DepthTests(SynchronousTestCase):
    """`check_depth`: what compilers and templates walk is bounded, exactly."""

    def test_the_deepest(self) -> None:
        """At the limit and one past it, for every way to nest; many side by side are no deeper than one."""
        for levels, reason in ((DEEPEST, ""), (DEEPEST + 1, "too_deep")):
            arrays = nested(levels)
            objects = b'{"a":' * levels + b"1" + b"}" * levels
            mixed = b'[{"a":' * (levels // 2) + (nested(levels % 2) or b"1") + b"}]" * (levels // 2)
            for value in (arrays, objects, mixed, b"[" + b",".join([arrays[1:-1]] * 9) + b"]"):
                self.assertEqual(why(check_depth, value), reason, value[:30])

    def test_brackets_in_texts_do_not_count(self) -> None:
        """Nor do quotes there end a text, however they are escaped."""
        for text in ("[" * 300, '"[' * 300, '\\"[' * 300, "\\\\[" * 300, '["\\', "\\" * 7 + '"' + "[{" * 300):
            value = json.dumps([text, {text: text}]).encode()
            self.assertEqual(why(check_depth, value), "", text[:20])
            self.assertEqual(why(check_depth, b"[" * 63 + value + b"]" * 63), "too_deep", text[:20])

    def test_size(self) -> None:
        """What would take long to walk is refused, unless it has so few brackets that it cannot be deep."""
        self.assertEqual(why(check_depth, b"[" + b"[]," * 200_000 + b"1]"), "too_complex")
        self.assertEqual(why(check_depth, b"[" + b"[]," * 100_000 + b"1]"), "")
        self.assertEqual(why(check_depth, b'["' + b"x" * LARGE + b'"]'), "")

    @given(st.recursive(st.text(alphabet='[]{}"\\a', max_size=6) | st.none(), lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='[]{}"\\a', max_size=3), inner, max_size=3), max_leaves=120),
        st.integers(0, 70))  # fmt: skip
    def test_it_agrees_with_counting(self, value: Any, levels: int) -> None:
        """For any value, wrapped as often as one likes."""

        def depth(value: Any) -> int:
            if isinstance(value, dict):
                return 1 + max(map(depth, value.values()), default=0)
            return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

        text = b"[" * levels + json.dumps(value).encode() + b"]" * levels
        self.assertEqual(why(check_depth, text), "too_deep" if depth(value) + levels > DEEPEST else "")
