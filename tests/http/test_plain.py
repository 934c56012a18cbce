"""Heads read without a parser: what is read is read as llhttp and the rules around it read it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.client import Answer, BytesBody, ClientConnection
from hadesgw.http.plain import PlainHead, read_plain_head
from tests.http.model_server import HEAD_LIMIT, Line
from tests.wire.line import Reactor

USUAL = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 10:28:12 GMT\r\nserver: uvicorn\r\ncontent-length: 3\r\n"
    b"Content-Type: application/json\r\n\r\n"
)
FIELDS = [
    (b"date", b"Sat, 21 Nov 2026 10:28:12 GMT"),
    (b"server", b"uvicorn"),
    (b"content-length", b"3"),
    (b"content-type", b"application/json"),
]
PIECES = (
    *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2.0 ", b"200", b"204", b"304", b"101", b"599", b"700", b" OK", b" ", b"OK"),
    *(b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": ", b":", b"  ", b"\t", b"\x00", b"\x7f", b"\xe4", b"x", b"X-Y"),
    *(b"content-length: 3\r\n", b"content-length: 3\r\n", b"Content-Length: 03\r\n", b"content-length: 3, 3\r\n"),
    *(b"content-length: +3\r\n", b"content-length:\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n"),
    *(b"server: a\r\n", b"server: b c\r\n", b"server: a \r\n", b"se_rver: a\r\n", b"s!: a\r\n", b" folded\r\n", b"123"),
)


def parsed(data: bytes) -> Answer | None:
    """The answer that llhttp and its rules make of `data`; the head comes in two pieces, so it is not read here."""
    reactor = Reactor()
    connection = ClientConnection(reactor, HEAD_LIMIT, lambda _: None)
    line = Line(reactor, connection)
    answers: list[Answer] = []
    asked = connection.ask(b"POST", b"/", [], BytesBody(b""), 60.0)
    asked.addCallbacks(answers.append, lambda _: None)
    line.say(data[:1], data[1:])
    connection.abort()
    reactor.settle()
    return answers[0] if answers else None


class PlainHeadTests(SynchronousTestCase):
    """What is plain."""

    def assert_not_plain(self, *heads: bytes) -> None:
        """None of these is read."""
        for head in heads:
            self.assertIsNone(read_plain_head(head, HEAD_LIMIT), head)

    def test_the_usual_head(self) -> None:
        """Names are lower-cased, the order is kept; where the body begins is told, whatever of it is there."""
        for rest in (b"", b"{}\n", b"{}\nsurplus"):
            head = read_plain_head(USUAL + rest, HEAD_LIMIT)
            self.assertEqual(head, PlainHead(200, b"OK", FIELDS, dict(FIELDS), 3, len(USUAL)))

    def test_what_is_not_whole_is_not_read(self) -> None:
        """Neither is what is longer than it may be, to the byte."""
        self.assert_not_plain(*(USUAL[:cut] for cut in range(len(USUAL))))
        self.assertIsNone(read_plain_head(USUAL, len(USUAL) - 1))
        self.assertIsNotNone(read_plain_head(USUAL, len(USUAL)))

    def test_whatever_decides_about_framing_is_left_to_the_rules(self) -> None:
        """Another version, an interim or bodiless status, no length, two, an odd one, a coding, a close."""
        self.assert_not_plain(
            USUAL.replace(b"HTTP/1.1", b"HTTP/1.0"),
            *(USUAL.replace(b"200", status) for status in (b"100", b"101", b"204", b"304", b"600", b"20", b"2000")),
            USUAL.replace(b"content-length: 3\r\n", b""),
            USUAL.replace(b"server: uvicorn", b"content-length: 3"),
            *(USUAL.replace(b": 3", b": " + length) for length in (b"-3", b"3,3", b"0x3", b"", b"1" * 19)),
            *(USUAL.replace(b"server", name) for name in (b"Transfer-Encoding", b"connection", b"UPGRADE")),
        )

    def test_whatever_is_oddly_written_is_left_to_llhttp(self) -> None:
        """Names, values and line ends that are not the usual ones; names that come twice; lines beyond measure."""
        odd = (b"server:uvicorn", b"server: ", b"server: a ", b"server:  a", b"s erver: a", b" server: a", b"server")
        values = (b"\x00", b"\t", b"\x7f", b"\xc3\xa4", b"a\rb", b"a\nb")
        self.assert_not_plain(
            *(USUAL.replace(b"server: uvicorn", line) for line in odd),
            *(USUAL.replace(b"uvicorn", value) for value in values),
            USUAL.replace(b"server", b"date"),
            USUAL.replace(b"uvicorn", b"a" * 300),
            USUAL.replace(b" OK", b" " + b"a" * 300),
            USUAL.replace(b"server: uvicorn", b"\r\n".join(b"x%d: a" % number for number in range(65))),
        )

    @given(st.lists(st.sampled_from(PIECES), max_size=6), st.integers(0, 6))
    def test_what_is_plain_is_what_the_rules_find(self, pieces: list[bytes], at: int) -> None:
        """Whatever a head looks like: one that is read here has the same status, fields and length there."""
        body = b"{}\n"
        lines = USUAL.splitlines(keepends=True)
        data = b"".join([*lines[:at], *pieces, *lines[at:], body])
        head = read_plain_head(data, HEAD_LIMIT)
        if head is None:
            return
        answer = parsed(data)
        assert answer is not None, data
        self.assertEqual((answer.code, answer.phrase, answer.fields), (head.status, head.phrase, head.fields))
        self.assertEqual(answer.length, head.length)
