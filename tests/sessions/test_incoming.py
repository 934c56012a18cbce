"""What clients send, read strictly; and that no refusal repeats any of it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.refusals import Refused
from hadesgw.sessions import incoming
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.incoming import (
    Answer,
    Envelope,
    EventsQuery,
    FileQuery,
    Input,
    LogQuery,
    Resume,
    Start,
    read_content,
    read_object,
    read_query,
    read_text,
)

KINDS = [value for value in vars(incoming).values() if isinstance(value, type) and issubclass(value, Struct)]
KINDS = [kind for kind in KINDS if kind.__module__ == incoming.__name__]


class ReadingTests(SynchronousTestCase):
    """Objects, contents, texts and queries."""

    def refused(self, reason: str, act: Any, *arguments: Any) -> None:
        """Reading it is refused for that reason."""
        with self.assertRaises(Refused) as raised:
            act(*arguments)
        self.assertEqual(raised.exception.refusal.reason, reason, arguments)

    def test_wish(self) -> None:
        """Every member finds its place; null and absence are the same; what nobody knows is passed over."""
        said = {"session_id": "s", "workspace": "w", "engine": "e", "model": "m", "restart": True, "new": True}
        wish = Wish(session_id="s", workspace="w", engine="e", model="m", restart=True, new=True)
        self.assertEqual(read_object(json.dumps(said).encode(), Start).wish, wish)
        for empty in (b"", b" \n", b"{}", json.dumps(dict.fromkeys(said)).encode(), b'{"timestamp":1.5}'):
            self.assertEqual(read_object(empty, Start).wish, Wish(), empty)
        self.assertEqual(read_object(b'{"text":"\\u00e9 \\ud83d\\ude80"}', Input).text, "é 🚀")

    def test_objects_that_are_none(self) -> None:
        """Of another kind, broken, said twice, not UTF-8, too deep."""
        for data in (b"[]", b"1", b"null", b"{", b"{}x", b'{"a":01}', b'{"text":"\\ud800"}', b"\xef\xbb\xbf{}"):
            self.refused("bad_json", read_object, data, Input)
        self.refused("bad_encoding", read_object, b'{"text":"\xff"}', Input)
        self.refused("duplicate_field", read_object, b'{"text":"a","te\\u0078t":"b"}', Input)
        self.refused("too_deep", read_object, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", Input)

    def test_members_of_another_kind(self) -> None:
        """At their edges and one past them."""
        for name, most in (("session_id", 128), ("workspace", 128), ("engine", 128), ("model", 256)):
            read_object(json.dumps({name: "ü" * most}).encode(), Start)
            wrongs: list[object] = ["", "ü" * (most + 1), 5, [], True]
            for wrong in wrongs:
                self.refused("bad_parameter", read_object, json.dumps({name: wrong}).encode(), Start)
        for decision in Decision:
            answer = read_object(json.dumps({"decision": decision.value}).encode(), Answer)
            self.assertIs(Decision(answer.decision), decision)
        for value in ("ACCEPT", "accept ", "accept\n", "", "acceptaccept"):
            self.refused("bad_parameter", read_object, json.dumps({"decision": value}).encode(), Answer)

    def test_contents(self) -> None:
        """Null and an empty text stand for an empty object, as the guide's clients send them."""
        for content in (b"null", b'""', b"{}"):
            self.assertEqual(read_content(Raw(content), Start).wish, Wish())
        self.assertEqual(read_content(Raw(b'{"after":3}'), Resume).after, 3)
        for content in (b'"x"', b"[]", b"0", b'{"after":"3"}', b"{}", b"null", b'{"after":9007199254740992}'):
            self.refused("bad_parameter", read_content, Raw(content), Resume)
        self.assertEqual(read_text(Raw(b'"x"')), "x")
        for content in (b"null", b"{}", b"1"):
            self.refused("bad_parameter", read_text, Raw(content))
        self.refused("bad_json", read_text, Raw(b'"\\ud800"'))
        self.assertEqual(bytes(read_object(b'{"type":"ping"}', Envelope).content), b"null")

    def test_queries(self) -> None:
        """Numbers and flags as texts; escapes; what is twice, too much, or no UTF-8."""
        events = read_query(b"/x?after=3&answers=true&other=1", EventsQuery)
        self.assertEqual(events, EventsQuery(after=3, answers=True))
        self.assertEqual(read_query(b"/x", EventsQuery), EventsQuery())
        self.assertEqual(read_query(b"/x?", LogQuery).limit, 20)
        self.assertEqual(read_query(b"/x?path=a%2Fb+c%C3%BC", FileQuery).path, "a/b cü")
        for query in (b"path=a&path=b", b"path=%FF", b"&".join(b"a%d=1" % number for number in range(17))):
            self.refused("bad_query", read_query, b"/x?" + query, FileQuery)
        for query, kind in ((b"limit=0", LogQuery), (b"limit=", LogQuery), (b"", FileQuery), (b"path=", FileQuery)):
            self.refused("bad_parameter", read_query, b"/x?" + query, kind)

    @given(st.sampled_from(KINDS), st.binary(max_size=200))
    def test_any_bytes(self, kind: type[Struct], data: bytes) -> None:
        """Are read, or refused, and nothing else happens."""
        try:
            self.assertIsInstance(read_object(data, kind), kind)
        except Refused:
            pass

    @given(st.sampled_from(KINDS), st.dictionaries(st.text(min_size=9, max_size=9), st.text(min_size=9, max_size=9)))
    def test_nothing_is_repeated(self, kind: type[Struct], members: dict[str, str]) -> None:
        """A refusal's words are ours: no name or value of the client's is in them."""
        canary = "kanarienvogel"
        said = {**members, **{name: [canary] for name in kind.__struct_fields__}}
        try:
            read_object(json.dumps(said).encode(), kind)
        except Refused as refused:
            self.assertNotIn(canary, refused.refusal.message)
            for text in {*members, *members.values()} - {*kind.__struct_fields__}:
                self.assertNotIn(text, refused.refusal.message)
