"""What must never be let in, as raw bytes: one answer, with both ids, and the connection ends.

Behind each of them stands a second request. It is what a smuggler would want to have served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.wire.door import Caller, Door, answer_path, echo, get, post
from tests.wire.readers import Reading, Refusing, read_h11, read_llhttp, read_ours

IDS = b"X-Request-ID: sent-1\r\nX-Conveyance-Session-ID: sent-2\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def head(*lines: bytes, line: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: localhost\r\n") -> bytes:
    """A head with both ids before the lines in question, so that even what breaks off has told them."""
    return line + b"\r\n" + IDS + host + b"".join(lines) + b"\r\n"


def chunks(body: bytes) -> bytes:
    """A request with this body, said to be chunked."""
    return head(CHUNKED) + body


FRAMING = {
    "length and coding": (400, head(b"Content-Length: 5\r\n", CHUNKED) + b"0\r\n\r\n"),
    "coding and length": (400, head(CHUNKED, b"Content-Length: 5\r\n") + b"0\r\n\r\n"),
    "coding twice": (400, head(CHUNKED, CHUNKED) + b"0\r\n\r\n"),
    "coding twice in one": (400, head(b"Transfer-Encoding: chunked, chunked\r\n") + b"0\r\n\r\n"),
    "coding not final": (400, head(b"Transfer-Encoding: chunked, gzip\r\n") + b"0\r\n\r\n"),
    "coding before": (501, head(b"Transfer-Encoding: gzip, chunked\r\n") + b"0\r\n\r\n"),
    "coding unknown": (400, head(b"Transfer-Encoding: identity\r\n", b"Content-Length: 5\r\n") + b"hello"),
    "coding misspelled": (400, head(b"Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n"),
    "coding folded": (400, head(b"Transfer-Encoding:\r\n chunked\r\n") + b"0\r\n\r\n"),
    "coding in 1.0": (400, head(CHUNKED, line=b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    "lengths, equal": (400, head(b"Content-Length: 5\r\n", b"Content-Length: 5\r\n") + b"hello"),
    "lengths, other": (400, head(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n") + b"hello"),
    "length list": (400, head(b"Content-Length: 5, 5\r\n") + b"hello"),
    "length +": (400, head(b"Content-Length: +5\r\n") + b"hello"),
    "length -": (400, head(b"Content-Length: -5\r\n") + b"hello"),
    "length 0x": (400, head(b"Content-Length: 0x5\r\n") + b"hello"),
    "length _": (400, head(b"Content-Length: 5_0\r\n") + b"hello"),
    "length empty": (400, head(b"Content-Length:\r\n") + b"hello"),
    "length huge": (400, head(b"Content-Length: " + b"9" * 5000 + b"\r\n") + b"hello"),
    "chunk extension with LF": (400, chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    "chunk extension with CR": (400, chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    "chunk extensions > 256": (400, chunks(b"1;" + b"a" * 200 + b"\r\nx\r\n1;" + b"a" * 60 + b"\r\nx\r\n0\r\n\r\n")),
    "chunk size of 17 digits": (400, chunks(b"00000000000000005\r\nhello\r\n0\r\n\r\n")),
    "chunk size 0x": (400, chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    "chunk size +": (400, chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    "chunk size -": (400, chunks(b"-5\r\nhello\r\n0\r\n\r\n")),
    "chunk size _": (400, chunks(b"0_5\r\nhello\r\n0\r\n\r\n")),
    "chunk size and space": (400, chunks(b"5 \r\nhello\r\n0\r\n\r\n")),
    "chunk size, bare LF": (400, chunks(b"5\nhello\r\n0\r\n\r\n")),
    "chunk, bare LF": (400, chunks(b"5\r\nhello\n0\r\n\r\n")),
    "chunk too short": (400, chunks(b"4\r\nhello\r\n0\r\n\r\n")),
    "chunk too long": (400, chunks(b"6\r\nhello\r\n0\r\n\r\n")),
    "last chunk, bare LF": (400, chunks(b"0\r\n\n")),
    "trailer": (400, chunks(b"0\r\nX-Trailer: a\r\n\r\n")),
    "trailer length": (400, chunks(b"0\r\nContent-Length: 43\r\n\r\n")),
}
LINES = {
    "folded": (400, head(b"A: b\r\n c\r\n")),
    "folded at first": (400, head(host=b" Host: localhost\r\n")),
    "bare LF": (400, head(b"A: b\n")),
    "bare LFs": (400, head().replace(b"\r\n", b"\n")),
    "bare CR": (400, head(b"A: b\rc\r\n")),
    "bare CR before LF": (400, head(b"A: b\r\r\n")),
    "NUL in value": (400, head(b"A: \0\r\n")),
    "NUL in name": (400, head(b"A\0: b\r\n")),
    "NUL in target": (400, head(line=b"GET /\0 HTTP/1.1")),
    "BEL": (400, head(b"A: \x07\r\n")),
    "DEL": (400, head(b"A: \x7f\r\n")),
    "space before colon": (400, head(b"Content-Length : 5\r\n") + b"hello"),
    "tab before colon": (400, head(b"Transfer-Encoding\t: chunked\r\n") + b"0\r\n\r\n"),
    "no colon": (400, head(b"A\r\n")),
    "no name": (400, head(b": a\r\n")),
    "two empty lines": (400, b"\r\n\r\n" + head()),
    "absolute form": (400, head(line=b"GET http://localhost/ HTTP/1.1")),
    "authority form": (400, head(line=b"GET localhost:80 HTTP/1.1")),
    "CONNECT": (501, head(line=b"CONNECT localhost:80 HTTP/1.1")),
    "TRACE": (501, head(line=b"TRACE / HTTP/1.1")),
    "asterisk": (400, head(line=b"OPTIONS * HTTP/1.1")),
    "fragment": (400, head(line=b"GET /a#b HTTP/1.1")),
    "relative target": (400, head(line=b"GET a HTTP/1.1")),
    "target with 0x80": (400, head(line=b"GET /\x80 HTTP/1.1")),
    "broken escape": (400, head(line=b"GET /%zz HTTP/1.1")),
    "HTTP/0.9": (400, b"GET /\r\n" + IDS + b"\r\n"),
    "HTTP/1.2": (505, head(line=b"GET / HTTP/1.2")),
    "HTTP/2.0": (505, head(line=b"GET / HTTP/2.0")),
    "preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n"),
    "two spaces": (400, head(line=b"GET  / HTTP/1.1")),
    "target of 8 KiB and 1": (414, head(line=b"GET /" + b"a" * 8192 + b" HTTP/1.1")),
    "target without end": (414, b"GET /" + b"a" * 9000),
    "101 fields": (431, head(*[b"A: b\r\n"] * 98)),
    "32 KiB and 1": (431, head(b"A: " + b"a" * (32 * 1024 - len(head(b"A: \r\n")) + 1) + b"\r\n")),
    "fields without end": (431, head()[:-2] + b"A: " + b"a" * 33000),
    "gzip body": (415, head(b"Content-Encoding: gzip\r\n", b"Content-Length: 5\r\n") + b"hello"),
    "other expectation": (417, head(b"Expect: 200-ok\r\n", b"Content-Length: 5\r\n") + b"hello"),
}
HOSTS = {
    "none": (400, b""),
    "two": (400, b"Host: localhost\r\nHost: localhost\r\n"),
    "user": (400, b"Host: a@localhost\r\n"),
    "path": (400, b"Host: localhost/a\r\n"),
    "fragment": (400, b"Host: localhost#a\r\n"),
    "query": (400, b"Host: localhost?a\r\n"),
    "all of them": (400, b"Host: x/#?@localhost\r\n"),
    "empty": (400, b"Host:\r\n"),
    "space": (400, b"Host: localhost evil\r\n"),
    "port": (400, b"Host: localhost:65536\r\n"),
    "other": (421, b"Host: evil.example\r\n"),
    "below ours": (421, b"Host: localhost.evil\r\n"),
    "above ours": (421, b"Host: evil.localhost\r\n"),
    "like ours": (421, b"Host: evil-localhost\r\n"),
    "trailing dot": (421, b"Host: localhost.\r\n"),
    "decimal": (421, b"Host: 2130706433\r\n"),
    "hexadecimal": (421, b"Host: 0x7f000001\r\n"),
    "octal": (421, b"Host: 0177.0.0.1\r\n"),
    "short": (421, b"Host: 127.1\r\n"),
    "any": (421, b"Host: 0.0.0.0\r\n"),
    "mapped": (421, b"Host: [::ffff:127.0.0.1]\r\n"),
    "long": (421, b"Host: [0:0:0:0:0:0:0:1]\r\n"),
    "any of v6": (421, b"Host: [::]:8082\r\n"),
    "private": (421, b"Host: 192.168.0.1\r\n"),
}
ADMITTED_HOSTS = (
    b"localhost",
    b"LOCALHOST",
    b"LocalHost:8082",
    b"localhost:65535",
    b"127.0.0.1:1",
    b"[::1]:8082",
    b"[::1]",
)
TOLD_LATE = {"HTTP/0.9", "preface of HTTP/2", "TLS", "target without end", "bare LFs"}
"""What cannot tell its ids, or tells them only behind what it is refused for."""


class RefusedTests(SynchronousTestCase):
    """The tables, whole and byte by byte."""

    def assert_refused(self, name: str, status: int, raw: bytes) -> None:
        """`raw` gets one refusal, the same however it is cut, and nothing behind it is served."""
        told = {self.refusal(f"{name} by {step}", raw + SMUGGLED, step) for step in (None, 1, 5, 997)}
        self.assertEqual({status}, {status for status, _ in told}, name)
        self.assertEqual(len({code for _, code in told}), 1, (name, told))

    def refusal(self, name: str, raw: bytes, step: int | None) -> tuple[int, str]:
        """Status and code of the one answer to `raw`."""
        door = Door(echo())
        caller = door.call().send(raw, step)
        answer = caller.answer()
        self.assertTrue(answer.whole, name)
        self.assertEqual(answer.one(b"Connection"), b"close", name)
        ids = (answer.one(b"X-Request-ID"), answer.one(b"X-Conveyance-Session-ID"))
        if name.partition(" by ")[0] not in TOLD_LATE:
            self.assertEqual(ids, (b"sent-1", b"sent-2"), name)
        self.assert_ends(door, caller, name)
        return answer.status, json.loads(answer.body)["error"]["code"]

    def assert_ends(self, door: Door, caller: Caller, name: str) -> None:
        """The connection has been closed on our side, stays so whatever comes, and leaves nothing."""
        self.assertTrue(caller.ended, name)
        before = caller.received
        caller.send(SMUGGLED)
        door.reactor.pass_time(5)
        self.assertEqual(caller.received, before, name)
        self.assertEqual([request for request in door.asked if request.path == b"/smuggled"], [], name)
        self.assertIsNotNone(caller.closed, name)
        self.assertEqual(door.left_behind(), [], name)

    def test_lengths_codings_and_chunks(self) -> None:
        """Whatever could be read as another length by another reader."""
        for name, (status, raw) in FRAMING.items():
            self.assert_refused(name, status, raw)

    def test_lines_fields_and_targets(self) -> None:
        """Whatever is outside the grammar, and whatever is too long."""
        for name, (status, raw) in LINES.items():
            self.assert_refused(name, status, raw)

    def test_hosts(self) -> None:
        """Missing, double, malformed, and not ours."""
        for name, (status, host) in HOSTS.items():
            self.assert_refused(name, status, head(line=b"GET / HTTP/1.1", host=host))

    def test_our_hosts_are_admitted(self) -> None:
        """With any port, in any case of letters."""
        for host in ADMITTED_HOSTS:
            self.assertEqual(Door().call().send(get(host=host)).answer().status, 200, host)


class DesyncTests(SynchronousTestCase):
    """Sound requests used to get a second one past us."""

    def smuggled(self, door: Door) -> list[bytes]:
        """The paths that reached the resource."""
        return [request.path for request in door.asked]

    def test_a_body_nobody_reads_is_not_the_next_request(self) -> None:
        """CL.0 and TE.0: the resource answers, and the connection ends with the body unread, or goes on behind it."""
        for step in (None, 1):
            door = Door(answer_path)
            door.call().send(post(SMUGGLED) + get(b"/next"), step)
            self.assertNotIn(b"/smuggled", self.smuggled(door))
            door = Door(answer_path)
            chunked = head(CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
            door.call().send(chunked + get(b"/next"), step)
            self.assertNotIn(b"/smuggled", self.smuggled(door))

    def test_no_method_is_without_its_body(self) -> None:
        """0.CL: the length counts with GET, HEAD, DELETE and OPTIONS too."""
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH"):
            for step in (None, 1):
                door = Door(echo())
                caller = door.call()
                caller.send(post(SMUGGLED).replace(b"POST", method) + get(b"/next"), step)
                self.assertEqual(self.smuggled(door), [b"/", b"/next"], method)

    def test_an_expectation_hides_nothing(self) -> None:
        """However it is spelled, the body is the body; what we do not understand is refused."""
        for expect in (b"100-continue", b"100-Continue", b"100-continue "):
            door = Door(echo())
            door.call().send(post(SMUGGLED, b"Expect: " + expect) + get(b"/next"))
            self.assertEqual(self.smuggled(door), [b"/", b"/next"])
        for fields in (
            (b"Expect: x 100-continue",),
            (b"Expect: 100-continue\r\n x",),
            (b"Expect:",),
            (b"Expect : 100-continue",),
        ):
            door = Door(echo())
            caller = door.call().send(post(SMUGGLED, *fields) + get(b"/next"))
            self.assertIn(caller.answer().status, (400, 417))
            self.assertEqual(self.smuggled(door), [])

    def test_a_pause_makes_no_new_request(self) -> None:
        """What comes after a time-out, in mid-head or in mid-body, is thrown away."""
        for begun in (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 43\r\n", post(b"", length=len(SMUGGLED))):
            door = Door(echo())
            caller = door.call().send(begun)
            door.reactor.pass_time(31)
            caller.send(SMUGGLED)
            self.assertEqual(caller.answer().status, 408)
            self.assertNotIn(b"/smuggled", self.smuggled(door))

    def test_an_upgrade_that_is_not_taken_up_hides_nothing(self) -> None:
        """The request is answered as any other, and so is the next."""
        door = Door(answer_path)
        fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
        caller = door.call().send(get(b"/", *fields) + get(b"/next"))
        self.assertEqual([answer.status for answer in caller.answers()], [200, 200])


HOSTILE = [bytes([byte]) for byte in (*range(0x21), 0x7F, 0x85, 0xA0, 0xFF)]


class MutationTests(SynchronousTestCase):
    """The two fields that frame a body, with a hostile byte in every place."""

    def mutants(self) -> Iterator[bytes]:
        """Requests with a byte before and behind the name, behind the colon, before and behind CRLF, and in between."""
        for name, value in ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")):
            body = b"5\r\nhello\r\n0\r\n\r\n" if value == b"chunked" else b"hello"
            for byte in HOSTILE:
                for line in (
                    byte + name + b": " + value + b"\r\n",
                    name + byte + b": " + value + b"\r\n",
                    name + b":" + byte + value + b"\r\n",
                    name + b": " + value + byte + b"\r\n",
                    name + b": " + value + b"\r\n" + byte,
                    name + b": " + value[:1] + byte + value[1:] + b"\r\n",
                    name[:3] + byte + name[3:] + b": " + value + b"\r\n",
                ):
                    for others in (b"", b"Content-Length: 5\r\n" if value == b"chunked" else CHUNKED):
                        yield head(line, others) + body

    def test_each_is_refused_or_read_as_everybody_reads_it(self) -> None:
        """None makes us see another request than h11 and llhttp do, or another end of it; hardly any is admitted."""
        admitted = 0
        for raw in self.mutants():
            ours = read_ours(raw + SMUGGLED)
            if isinstance(ours, Refusing):
                continue
            assert isinstance(ours, Reading), raw
            self.assertEqual(ours, read_h11(raw + SMUGGLED), raw)
            self.assertEqual(len(read_llhttp(raw + SMUGGLED)), 2 if raw[ours.used :] == b"" else 1, raw)
            admitted += 1
        self.assertLess(admitted, 30)

    def test_the_door_does_what_the_reader_says(self) -> None:
        """Through a connection, whole and byte by byte, a mutant gets the same verdict."""
        for number, raw in enumerate(self.mutants()):
            if number % 7:
                continue
            verdict = read_ours(raw + SMUGGLED)
            for step in (None, 1):
                door = Door(echo())
                caller = door.call().send(raw + SMUGGLED, step)
                if isinstance(verdict, Refusing):
                    self.assertEqual(json.loads(caller.answer().body)["error"]["code"], verdict.why, raw)
                else:
                    assert isinstance(verdict, Reading), raw
                    self.assertEqual(caller.answers()[0].body, verdict.body, raw)
