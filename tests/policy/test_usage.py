"""Asking what a stream costs, and knowing the event that tells it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.request_body import CHAT, COMPLETIONS, RESPONSES, BodyLimits, BodyReader, Route
from hadesgw.policy.usage import tells_usage, with_usage

LIMITS = BodyLimits(4, False, frozenset())
TALK = [{"role": "user", "content": 'a "stream_options": {} in a text, and } too'}]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def asking(body: bytes, route: Route = CHAT) -> bytes | None:
    """The body that is sent on in place of `body`."""
    return with_usage(BodyReader(route, LIMITS).read(body), body)


def chat(**fields: Any) -> bytes:
    """A chat that asks for a stream."""
    return json.dumps({"model": "m", "messages": TALK, "stream": True, **fields}).encode()


class AskingTests(SynchronousTestCase):
    """Which requests have the question put into them, and how."""

    @given(st.dictionaries(st.sampled_from(["x", "y", "z", "metadata"]), VALUES))
    def test_nothing_else_changes(self, fields: dict[str, Any]) -> None:
        """Whatever else the client asks for; the bytes before the last brace stay what they were."""
        body = chat(**fields)
        sent = asking(body)
        assert sent is not None
        self.assertTrue(sent.startswith(body[:-1]))
        self.assertEqual(json.loads(sent), {**json.loads(body), "stream_options": {"include_usage": True}})

    def test_what_says_nothing_is_replaced(self) -> None:
        """Null, an empty object, and one whose members all say no; where they stand."""
        unsaid: tuple[dict[str, Any] | None, ...] = (
            None,
            {},
            {"include_usage": False},
            {"include_usage": None, "continuous_usage_stats": False},
        )
        for said in unsaid:
            sent = asking(chat(stream_options=said, temperature=0))
            assert sent is not None
            self.assertEqual(json.loads(sent), {**json.loads(chat(temperature=0)), "stream_options": _ASKED}, said)

    def test_a_client_that_asks_or_wishes_something_is_left_alone(self) -> None:
        """What we would add could change the answer it wants; what is wrong the model server will say."""
        wishes: tuple[Any, ...] = ({"include_usage": True}, {"continuous_usage_stats": True}, {"x": 1}, [], "x", 1)
        for options in wishes:
            self.assertIsNone(asking(chat(stream_options=options)), options)

    def test_where_there_is_doubt_nothing_is_asked(self) -> None:
        """A member of that name elsewhere, with that value, or one that is spelled with escapes."""
        self.assertIsNone(asking(chat(stream_options={}, metadata={"stream_options": {}})))
        body = chat(stream_options={}).replace(b"stream_options", b"stream\\u005foptions")
        self.assertIsNone(asking(body))

    @given(st.data())
    def test_only_the_top_level_is_touched(self, data: st.DataObject) -> None:
        """However names are spelled and whatever stands deeper: what is sent differs by our question alone."""
        spellings = st.sampled_from(["stream_options", "stream\\u005foptions", "\\u0073tream_options", "y"])
        options = st.sampled_from(["{}", "null", '{"include_usage":false}', '{"include_usage":true}'])
        deeper = st.builds('{{"{}":{}}}'.format, spellings, options)
        members = [f'"{data.draw(spellings)}":{data.draw(options)}']
        members += [f'"x":{data.draw(deeper)}', f'"z":[{data.draw(deeper)}]']
        rest = '"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]'
        body = "{" + ", ".join([*data.draw(st.permutations(members)), rest]) + "}"
        sent = asking(body.encode())
        if sent is not None:
            self.assertEqual(json.loads(sent), {**json.loads(body), "stream_options": {"include_usage": True}})

    def test_only_streams_of_two_protocols(self) -> None:
        """The others tell it unasked."""
        self.assertIsNone(asking(chat(stream=False)))
        self.assertIsNone(asking(b'{"model":"m","input":"x","stream":true}', RESPONSES))
        sent = asking(b'{"model":"m","prompt":"x","stream":true} \n', COMPLETIONS)
        self.assertEqual(sent, b'{"model":"m","prompt":"x","stream":true,"stream_options":{"include_usage":true}} \n')


_ASKED = {"include_usage": True}


class EventTests(SynchronousTestCase):
    """Which event is ours to cut."""

    def test_usage_without_choices(self) -> None:
        """As vLLM writes it, and with blanks."""
        event = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
        for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
            self.assertTrue(tells_usage(event + end))
        self.assertTrue(tells_usage(b'data:{ "choices" : [ ], "usage": {} }\n\n'))

    def test_nothing_else(self) -> None:
        """Neither usage beside choices, nor an event without usage, nor anything that is not such an event."""
        for event in (
            b'data: {"choices":[{"index":0}],"usage":{}}',
            b'data: {"choices":[]}',
            b'data: {"choices":[],"usage":null}',
            b'data: {"error":{"message":"\\"choices\\":[]"}}',
            b'data: {"choices":[],"usage":{}',
            b'data: {"choices":[],"usage":{}}\ndata: x',
            b'event: x\ndata: {"choices":[],"usage":{}}',
            b': {"choices":[],"usage":{}}',
            b'data: {"x":{"choices":[],"usage":{}}}',
            b'data: {"choices":[],"usage":{"x":"\xff"}}',
            b"data: [DONE]",
            b"",
        ):
            self.assertFalse(tells_usage(event + b"\n\n"), event)
