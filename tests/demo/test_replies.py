"""Whole answers: their head, their body, and what is read of a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.demo.playing import Playhouse


class ReplyTests(SynchronousTestCase):
    """What leaves, and when."""

    def test_the_head_leaves_before_the_body(self) -> None:
        """In a write of its own, two turns of the reactor earlier: the first one flushes it."""
        for path, body in (("/version", b""), ("/v1/chat/completions", b'{"messages":[]}')):
            _, transport = Playhouse().exchange("POST" if body else "GET", path, body)
            (_, first, head), (_, second, _), *_ = transport.writes
            self.assertTrue(head.endswith(b"\r\n\r\n"))
            self.assertEqual(second - first, 2)

    def test_an_empty_answer_is_only_a_head(self) -> None:
        """Without a media type, and with a length."""
        answered, transport = Playhouse().exchange("GET", "/health")
        fields = dict(answered.fields)
        self.assertEqual((fields["content-length"], fields.get("content-type"), len(transport.writes)), ("0", None, 1))

    def test_fields_of_any_bytes_are_read(self) -> None:
        """As Latin-1, the last one of a name."""
        self.assertEqual(Playhouse().post("/tokenize", {"prompt": "x"}, {"x-odd": "\xff\xfe"}).status, 200)
        refused = Playhouse().post("/tokenize", {"prompt": "x"}, {"content-type": "\xff"})
        self.assertEqual(refused.status, 400)
