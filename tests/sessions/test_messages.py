"""The form of what a session tells."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.messages import Message, bounded, pieces


class MessageTests(SynchronousTestCase):
    """One message."""

    def test_is_the_guides_object_with_a_number(self) -> None:
        """`type` and `content` as the guide has them, `seq` beside them, all in one line."""
        message = Message.of(7, "output", "two\nlines")
        self.assertEqual(json.loads(message.encoded), {"type": "output", "content": "two\nlines", "seq": 7})
        self.assertNotIn(b"\n", message.encoded)

    def test_tells_no_log_what_was_said(self) -> None:
        """Its repr has neither content nor encoding."""
        self.assertNotIn("secret", repr(Message.of(1, "output", "secret")))


class BoundTests(SynchronousTestCase):
    """What is too long."""

    @given(st.text(max_size=100), st.integers(1, 20))
    def test_pieces_join_to_the_whole(self, text: str, size: int) -> None:
        """No piece is longer than asked, none is empty, and nothing is lost between them."""
        parts = pieces(text, size)
        self.assertEqual("".join(parts), text)
        self.assertTrue(all(0 < len(part) <= size for part in parts))

    def test_what_fits_is_left_alone(self) -> None:
        """To the byte."""
        body = {"a": "x" * 10}
        self.assertEqual(bounded(body, len(b'{"a":"xxxxxxxxxx"}')), body)

    def test_texts_are_cut_wherever_they_are(self) -> None:
        """In lists and objects too; numbers stay."""
        long = "x" * 5_000
        body = {"exit": 3, "text": long, "changes": [{"path": "a", "diff": long}]}
        cut = bounded(body, 2_000)
        self.assertEqual(
            cut, {"exit": 3, "text": "x" * 512, "changes": [{"path": "a", "diff": "x" * 512}], "truncated": True}
        )

    def test_what_cannot_be_cut_is_left_out(self) -> None:
        """Ten thousand short texts say nothing, and that they would have."""
        self.assertEqual(bounded({"many": ["x"] * 10_000}, 1_000), {"truncated": True})
