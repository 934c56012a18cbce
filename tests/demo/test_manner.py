"""uvicorn's manner: what is seen of the server before any JSON."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.manner import UvicornSite
from tests.demo.playing import Playhouse, chat, request_bytes, taken_apart

HEALTH = request_bytes("GET", "/health")


class ConnectionTests(SynchronousTestCase):
    """The life of a connection."""

    def setUp(self) -> None:
        self.house = Playhouse()
        self.channel, self.transport = self.house.connect()

    def answers(self) -> int:
        self.house.clock.pump([0.0] * 4)
        return len(re.findall(rb"HTTP/1\.1 \d", self.transport.value()))

    def test_an_idle_connection_is_closed_after_five_seconds(self) -> None:
        """Counted from the end of an answer, without a word, and no sooner."""
        self.channel.dataReceived(HEALTH)
        self.assertEqual(self.answers(), 1)
        self.house.clock.advance(4.99)
        self.assertFalse(self.transport.disconnecting)
        self.house.clock.advance(0.02)
        self.assertTrue(self.transport.disconnecting)
        self.assertTrue(self.transport.value().endswith(b"\r\n\r\n"))

    def test_a_request_begun_in_time_keeps_the_connection(self) -> None:
        """However slowly it comes."""
        self.channel.dataReceived(HEALTH)
        self.answers()
        self.house.clock.advance(4.9)
        self.channel.dataReceived(HEALTH[:5])
        self.house.clock.advance(60)
        self.channel.dataReceived(HEALTH[5:])
        self.assertEqual(self.answers(), 2)

    def test_a_connection_that_never_asked_stays(self) -> None:
        """uvicorn waits for a first request without end."""
        self.house.clock.advance(3600)
        self.assertFalse(self.transport.disconnecting)

    def test_a_connection_in_use_is_not_idle(self) -> None:
        """A stream may last longer than five seconds, and the connection can be used again after it."""
        body = b'{"stream":true,"messages":[{"role":"user","content":"rehearse: long tokens=20 tokens_per_second=2"}]}'
        self.channel.dataReceived(request_bytes("POST", "/v1/chat/completions", body))
        for _ in range(110):
            self.house.clock.advance(0.1)
        self.assertTrue(taken_apart(self.transport.value()).ended)
        self.channel.dataReceived(HEALTH)
        self.assertEqual(self.answers(), 2)

    def test_requests_in_a_row_are_answered_in_order(self) -> None:
        """Though they come together."""
        self.channel.dataReceived(HEALTH + request_bytes("GET", "/version") + request_bytes("GET", "/nowhere"))
        self.house.clock.pump([0.0] * 12)
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+)", self.transport.value()), [b"200", b"200", b"404"])

    def test_a_wish_to_close_is_answered_and_fulfilled(self) -> None:
        """In lower case, behind the other fields."""
        answered, transport = self.house.exchange("GET", "/version")
        self.assertEqual(answered.fields[-1], ("connection", "close"))
        self.assertTrue(transport.disconnecting)


class AnswerTests(SynchronousTestCase):
    """The look of an answer."""

    def test_old_http_is_answered_as_http_1_1(self) -> None:
        """Chunked too, and the connection closes."""
        house = Playhouse(tokens_per_second=0)
        channel, transport = house.connect()
        asked = request_bytes("POST", "/v1/chat/completions", b'{"stream":true,"messages":[{"content":"x"}]}')
        channel.dataReceived(asked.replace(b"HTTP/1.1", b"HTTP/1.0"))
        house.run(transport)
        answered = taken_apart(transport.value())
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 200 OK\r\ndate: "))
        self.assertIn(("transfer-encoding", "chunked"), answered.fields)
        self.assertTrue(answered.ended and transport.disconnecting)

    def test_a_body_is_asked_for(self) -> None:
        """Expect is answered by 100."""
        house = Playhouse()
        channel, transport = house.connect()
        channel.dataReceived(
            request_bytes("POST", "/tokenize", b"", {"expect": "100-continue", "content-length": "14"})
        )
        self.assertEqual(transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_chunked_requests_are_read(self) -> None:
        """As vLLM reads them."""
        house = Playhouse()
        channel, transport = house.connect()
        fields = "host: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close"
        head = f"POST /tokenize HTTP/1.1\r\n{fields}\r\n\r\n".encode()
        channel.dataReceived(head + b'7\r\n{"promp\r\n9\r\nt": "hi"}\r\n0\r\n\r\n')
        house.run(transport)
        self.assertEqual(taken_apart(transport.value()).json()["count"], 1)

    def test_garbage_is_told_so_in_plain_text(self) -> None:
        """And the connection closes."""
        for garbage in (b"\x16\x03\x01\r\n", b"GET / HTTP/1.1\r\nno field\r\n\r\n"):
            channel, transport = Playhouse().connect()
            channel.dataReceived(garbage)
            answered = taken_apart(transport.value())
            self.assertEqual((answered.status, answered.body), (400, b"Invalid HTTP request received."))
            self.assertIn(("content-type", "text/plain; charset=utf-8"), answered.fields)
            self.assertTrue(transport.disconnecting)

    def test_large_heads_are_read(self) -> None:
        """Up to 64 KiB of them."""
        self.assertEqual(Playhouse().exchange("GET", "/version", fields={"x": "y" * 40_000})[0].status, 200)


class SiteTests(SynchronousTestCase):
    """What is kept of a request."""

    def test_nothing_is_written_down(self) -> None:
        """No access log is opened, and no body is put on a disk, however large."""
        house = Playhouse()
        assert isinstance(house.site, UvicornSite)
        house.site.doStart()
        content = house.site.getContentFile(10_000_000)
        self.assertRaises(OSError, content.fileno)
        self.assertEqual(house.chat("x").status, 200)
        house.site.doStop()
        self.assertIsNone(house.site._logFile)

    def test_forms_are_not_parsed(self) -> None:
        """A form is only a body of the wrong type."""
        form = {"content-type": "application/x-www-form-urlencoded"}
        self.assertEqual(Playhouse().exchange("POST", "/tokenize", b"prompt=x", form)[0].status, 400)
        self.assertEqual(Playhouse().post("/v1/chat/completions", chat("x")).status, 200)
