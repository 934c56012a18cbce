"""Conversations of the three protocols: where their media are, and what is certain about their length."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.conversation import (
    certain_characters,
    is_plain,
    media,
    pieces,
    read_talk,
    read_talks,
    refuse_parts,
)
from hadesgw.policy.refusals import Refused

INLINE = "data:image/png;base64,AAAA"
ADDRESSES = (
    "http://example.com/a.png",
    "https://169.254.169.254/latest/meta-data",
    "HTTPS://example.com",
    "file:///etc/passwd",
    "ftp://example.com/a",
    "//example.com/a",
    "/etc/passwd",
    " data:image/png;base64,AAAA",
    "DATA:image/png;base64,AAAA",
    "data",
    "",
)


def raw(talk: Any) -> msgspec.Raw:
    """A member's value."""
    return msgspec.Raw(json.dumps(talk).encode())


def read(talk: Any, remote_media: bool = False) -> Any:
    """What was read, or why it was refused."""
    try:
        return read_talk(raw(talk), remote_media)
    except Refused as refused:
        return refused.refusal.reason


def holding(address: str) -> list[list[dict[str, Any]]]:
    """Conversations that point to `address`, in every way we know."""
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "image_url", "image_url": {"detail": "low", "url": address}},
        {"type": "image_url", "image_url": address},
        {"image_url": address},
        {"type": "text", "text": "x", "uuid": "u", "image_url": address},
        {"type": "audio_url", "audio_url": {"url": address}},
        {"type": "video_url", "video_url": {"url": address}},
        {"type": "image_pil", "image_pil": address},
        {"type": "text", "text": "x", "uuid": "u", "image_pil": address},
        {"type": None, "image_pil": address},
        {"type": "input_image", "image_url": address},
        {"type": "input_file", "file_url": address},
        {"type": "file", "file": {"file_url": address}},
        {"type": "image", "source": {"type": "url", "url": address}},
        {"type": "document", "source": {"type": "url", "url": address}},
        {"type": "document", "source": {"type": "content", "content": [{"source": {"url": address}}]}},
        {"type": "input_audio", "input_audio": {"url": address}},
    ]
    around: list[list[dict[str, Any]]] = []
    for part in parts:
        around += [
            [{"role": "user", "content": [{"type": "text", "text": "look"}, part]}],
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [part]}]}],
            [{"type": "function_call_output", "call_id": "c", "output": [part]}],
            [{"type": "computer_call_output", "call_id": "c", "output": part}],
        ]
    return around


class MediaTests(SynchronousTestCase):
    """`read_talk` keeps a model server from being sent anywhere."""

    def test_no_address_passes(self) -> None:
        """But `data:`, whatever the protocol, the scheme, and the place in the conversation."""
        for address in ADDRESSES:
            for talk in holding(address):
                self.assertEqual(read(talk), "remote_media", talk)

    def test_what_is_in_the_request_passes(self) -> None:
        """As a `data:` address, or by itself."""
        for talk in holding(INLINE):
            self.assertIsInstance(read(talk), list, talk)
        for part in (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "https://x"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"file_id": "f", "filename": "http.txt"}},
            {"type": "image_url", "image_url": None},
            {"type": "image_url", "image_url": {"url": None, "detail": 5}},
        ):
            self.assertIsInstance(read([{"role": "user", "content": [part]}]), list, part)

    def test_spelling_hides_nothing(self) -> None:
        """Names and addresses are read as JSON means them."""
        hidden = rb'[{"content":[{"image\u005furl":{"\u0075rl":"\u0068ttp://x"}}]}]'
        self.assertRaises(Refused, read_talk, msgspec.Raw(hidden), False)
        shown = rb'[{"content":[{"image\u005furl":{"\u0075rl":"\u0064ata:,x"}}]}]'
        self.assertEqual(len(list(media(read_talk(msgspec.Raw(shown), False)))), 1)

    def test_addresses_elsewhere_are_texts(self) -> None:
        """In what is said, in what tools were called with and what they cite: nobody fetches those."""
        for piece in (
            {"role": "user", "content": "https://example.com/a.png"},
            {"role": "user", "content": [{"type": "text", "text": "http://example.com"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"url": "https://x"}}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "x",
             "annotations": [{"type": "url_citation", "url": "https://x"}]}]},
            {"role": "user", "content": [{"type": "search_result", "source": "https://x", "title": "t"}]},
            {"type": "web_search_call", "action": {"type": "open_page", "url": "https://x"}},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"url":"https://x"}'}}]},
        ):  # fmt: skip
            self.assertIsInstance(read([piece]), list, piece)

    def test_an_operator_may_allow_it(self) -> None:
        """Then no address is looked at."""
        for address in ADDRESSES:
            for talk in holding(address):
                self.assertIsInstance(read(talk, remote_media=True), list, talk)

    def test_what_a_medium_takes_of_the_request(self) -> None:
        """Is known, wherever it is."""
        talk = [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": INLINE}}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": INLINE}]},
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A" * 10, "format": "wav"}}]},
        ]
        self.assertEqual(sorted(medium.characters for medium in media(read(talk))), [13, len(INLINE), len(INLINE)])
        self.assertEqual(list(media("text")), [])


class PartTests(SynchronousTestCase):
    """`refuse_parts` keeps out what no part of a conversation may be, or have."""

    def refused(self, part: Any, *fields: str) -> str | None:
        """The field of that part that is refused, wherever the part stands; None if it may stand there."""
        around = [
            [{"role": "user", "content": [{"type": "text", "text": "x"}, part]}],
            [{"role": "user", "content": [{"type": "tool_result", "content": [part]}]}],
            [{"type": "function_call_output", "output": [part]}],
            [{"type": "computer_call_output", "output": part}],
        ]
        found: set[str | None] = set()
        for talk in around:
            try:
                refuse_parts(read(talk), frozenset(fields))
                found.add(None)
            except Refused as refused:
                self.assertEqual(refused.refusal.reason, "refused_field")
                found.add(refused.refusal.param)
        self.assertEqual(len(found), 1, found)
        return found.pop()

    def test_tensors(self) -> None:
        """By their type, or by their field, which counts for vLLM where there is a `uuid` or no type."""
        for name in ("audio_embeds", "image_embeds", "prompt_embeds", "video_embeds"):
            for part in (
                {"type": name, name: "AAAA"},
                {"type": name, "data": "AAAA"},
                {name: {"x": "AAAA"}},
                {"type": "text", "text": "x", "uuid": "u", name: "AAAA", "data": "AAAA"},
            ):
                self.assertEqual(self.refused(part, name), name)
                self.assertIsNone(self.refused(part, "another"))
            self.assertIsNone(self.refused({"type": "text", "text": name, name: None}, name))

    def test_names_in_a_cache(self) -> None:
        """What one client has put there under a name, another would be answered about."""
        for part in (
            {"type": "image_url", "image_url": None, "uuid": "logo"},
            {"type": "image_url", "image_url": {"url": INLINE}, "uuid": 1},
        ):
            self.assertEqual(self.refused(part, "uuid"), "uuid")
            self.assertIsNone(self.refused(part))
        self.assertIsNone(self.refused({"type": "text", "text": "x", "uuid": None}, "uuid"))

    def test_messages_are_no_parts(self) -> None:
        """Clients give them names of their own, which mean nothing to a model server."""
        refuse_parts(read([{"role": "user", "content": "x", "uuid": "u"}]), frozenset(("uuid",)))
        refuse_parts("x", frozenset(("uuid",)))
        refuse_parts(None, frozenset(("uuid",)))


class ShapeTests(SynchronousTestCase):
    """Every protocol's shapes are read; what none of them knows is refused."""

    def test_known_shapes(self) -> None:
        """A text, nothing, or pieces, with whatever else is in them."""
        known: list[Any] = [
            None,
            "text",
            [],
            [{}],
            [{"role": "user", "content": None, "name": 5, "anything": [[1], {"a": 2}]}],
            [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]}],
            [{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}],
            [{"type": "function_call_output", "call_id": "c", "output": "done"}],
        ]
        for talk in known:
            self.assertNotEqual(read(talk), "bad_conversation", talk)

    def test_several(self) -> None:
        """One conversation, or a list of them; every one is read as it would be alone, and as strictly."""
        one, other = [{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]
        for value, said in (([one, other], ["", "a", "b"]), (one, ["a"]), ([], [""])):
            talks = read_talks(raw(value), False)
            texts = ["".join(str(piece.content) for piece in talk) for talk in talks if isinstance(talk, list)]
            self.assertEqual(texts, said)
        for address in ADDRESSES:
            for talk in holding(address):
                refused = self.assertRaises(Refused, read_talks, raw([one, talk]), False)
                self.assertIs(refused.refusal, refusals.REMOTE_MEDIA)
                self.assertEqual(len(read_talks(raw([one, talk]), True)), 3)
        self.assertIs(self.assertRaises(Refused, read_talks, raw(["x"]), False).refusal, refusals.BAD_CONVERSATION)

    def test_unknown_shapes(self) -> None:
        """Numbers for texts, objects for lists, texts among pieces."""
        unknown: list[Any] = [
            5,
            {},
            True,
            ["text"],
            [5],
            [[]],
            [None],
            [{"content": 5}],
            [{"content": {"type": "text"}}],
            [{"content": ["text"]}],
            [{"content": [{"text": 5}]}],
            [{"role": 5}],
            [{"type": []}],
            [{"output": 5}],
        ]
        for talk in unknown:
            self.assertEqual(read(talk), "bad_conversation", talk)

    def test_depth(self) -> None:
        """Pieces in pieces without end are refused, and not a crash."""
        for opening in (b'{"content":[', b'{"output":[', b'{"image_url":['):
            value = msgspec.Raw(b"[" + opening * 50_000)
            with self.assertRaises(Refused) as caught:
                read_talk(value, False)
            self.assertEqual(caught.exception.refusal.reason, "too_deep")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(alphabet="data:http", max_size=6),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["role", "type", "text", "content", "output", "image_url", "url", "source", "x"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        ),
        st.booleans(),
    )
    def test_nothing_is_raised_but_refusals(self, talk: Any, remote_media: bool) -> None:
        """Whatever is there; and what was read can be judged."""
        found = read(talk, remote_media)
        if not isinstance(found, str) or found == talk:
            is_plain(found)
            self.assertGreaterEqual(certain_characters(found), 0)
            self.assertGreaterEqual(sum(medium.characters for medium in media(found)), 0)


class LengthTests(SynchronousTestCase):
    """What is certain about length."""

    def test_plain_text(self) -> None:
        """Texts, in a message or in its parts."""
        for talk in (
            None,
            "text",
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
            [{"role": "tool", "content": "done", "tool_call_id": "c"}],
            [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            [{"type": "text", "text": "system"}],
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}]}],
        ):
            self.assertTrue(is_plain(read(talk)), talk)

    def test_what_is_not_plain(self) -> None:
        """What is written anew, drawn, heard, or of a kind that may be anything."""
        for talk in (
            [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            [{"type": "function_call_output", "call_id": "c", "output": "done"}],
            [{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}],
            [{"role": "user", "content": [{"type": "tool_use", "name": "f", "input": {}}]}],
            [{"role": "user", "content": [{"image_embeds": "AAAA"}]}],
            [{"role": "user", "content": [{"type": "text", "uuid": "u", "image_embeds": "AAAA"}]}],
            [{"type": "function_call", "name": "f", "arguments": "{}"}],
            [{"type": "item_reference", "id": "x"}],
            [{}],
            *holding(INLINE),
        ):
            self.assertFalse(is_plain(read(talk)), talk)

    def test_every_piece_is_seen(self) -> None:
        """The inner ones too."""
        talk = [{"content": [{"text": "1"}, {"content": [{"text": "2"}]}], "output": {"text": "3"}}, {"text": "4"}]
        texts = sorted(piece.text for piece in pieces(read(talk)) if piece.text)
        self.assertEqual(texts, ["1", "2", "3", "4"])

    def test_certain_characters(self) -> None:
        """What users, systems and tools say is shown; of the assistant's words nothing is certain."""
        table: list[tuple[Any, int]] = [
            (None, 0),
            ("four", 4),
            ([{"role": "user", "content": "four"}, {"role": "assistant", "content": "none"}], 4),
            ([{"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}]}], 3),
            ([{"type": "text", "text": "system"}], 6),
            ([{"type": "function_call_output", "output": "12345"}], 5),
            ([{"type": "function_call_output", "output": [{"type": "input_text", "text": "123"}]}], 3),
            ([{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "123"}]}], 0),
            ([{"role": "user", "content": [{"type": "image_url", "image_url": INLINE}]}], 0),
        ]
        for talk, count in table:
            self.assertEqual(certain_characters(read(talk)), count, talk)
