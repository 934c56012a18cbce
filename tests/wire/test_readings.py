"""Whatever we admit, h11 and llhttp read in the same way: method, target, fields, body, and where the next begins.

A request that two programs read differently is how one is smuggled past the other. The requests here are made: sound
ones of every kind, with odd but allowed spellings, then broken at random. `HADESGW_FUZZ_REQUESTS` says how many, and
`HADESGW_FUZZ_SEED` which.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.framing import AllowedHosts
from tests.wire.door import Caller, Door, echo
from tests.wire.readers import Reading, Refusing, Verdict, Waiting, alike, read_h11, read_llhttp, read_ours

REQUESTS = int(os.environ.get("HADESGW_FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("HADESGW_FUZZ_SEED", "20261121"))
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What is pipelined behind every request: whoever does not find it read the one before differently."""

HOSTILE = (
    *(bytes([byte]) for byte in range(0x21)),
    *(
        b"\x7f",
        b"\x85",
        b"\xa0",
        b"\xff",
        b":",
        b",",
        b";",
        b'"',
        b"\\",
        b"+",
        b"-",
        b"0x",
        b"_",
        b"#",
        b"@",
        b"/",
        b"*",
    ),
    *(b"\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b"\r\r\n", b"\n\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\n"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: localhost\r\n", b"HTTP/1.1", b"GET "),
)
"""What is put in the wrong place."""

METHODS = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"get", b"TRACE", b"G=T")
TARGETS = (b"/", b"/v1/chat/completions", b"/a?b=c&d=%20", b"/%41/..;x", b"//h/p", b"*", b"http://h/", b"/#x", b"/\x80")
HOSTS = (b"localhost", b"localhost:80", b"[::1]:8082", b"127.0.0.1", b"a@b", b"", b"a b", b"x/y")
CODINGS = (b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b"chunked;a=b", b"")
LENGTHS = (
    b"+3",
    b"-3",
    b"0x3",
    b"3,3",
    b"3, 3",
    b"3 3",
    b"03",
    b"1e1",
    b"",
    b"99999999999999999999",
    b"\xb2",
    b"4" * 5000,
)
SPACES = (b" ", b"", b"\t", b"  ", b" \t ")
NAMES = (b"Accept", b"X_Odd", b"x-!#$%&'*+.^_`|~0", b"Content-Length-", b"Content_Length", b"Te", b"Trailer", b"Cookie")
VALUES = (b"a", b"", b"a b", b"a\tb", b"\x80\xff", b'"q,q"', b"chunked", b"3")
CONNECTIONS = (b"close", b"keep-alive", b"keep-alive, close", b"Transfer-Encoding", b"te, close")
EXTENSIONS = (b"", b"", b";a", b";a=b", b';a="b c"', b" ;a", b";", b"; a", b";a=", b";a\t", b" ", b";a;b=c", b";\xff")
TRAILERS = (b"", b"", b"", b"X: y\r\n", b"Content-Length: 3\r\n")


class Author(random.Random):
    """Writes requests, the same ones for the same seed."""

    def odd(self, share: float) -> bool:
        """True now and then."""
        return self.random() < share

    def write(self) -> bytes:
        """One request, perhaps broken."""
        minor = b"0" if self.odd(0.1) else b"1"
        method = self.choice(METHODS if self.odd(0.15) else METHODS[:7])
        target = self.choice(TARGETS if self.odd(0.15) else TARGETS[:4])
        lines = [b"%b %b HTTP/1.%b" % (method, target, minor)]
        if not self.odd(0.05):
            lines.append(self.field(b"Host", self.choice(HOSTS if self.odd(0.1) else HOSTS[:4])))
        lines += [self.field(self.choice(NAMES), self.choice(VALUES)) for _ in range(self.randrange(3))]
        if self.odd(0.1):
            lines.append(self.field(b"Connection", self.choice(CONNECTIONS)))
        framing, body = self.body()
        lines += framing
        head = lines[:1] + self.sample(lines[1:], len(lines) - 1)
        request = b"\r\n".join([*head, b"", b""]) + body
        return self.broken(request) if self.odd(0.5) else request

    def field(self, name: bytes, value: bytes) -> bytes:
        """A field line with allowed space around its value, and letters of any size in its name."""
        if self.odd(0.1):
            name = name.swapcase()
        before, after = (self.choice(SPACES) if self.odd(0.2) else space for space in (b" ", b""))
        return name + b":" + before + value + after

    def body(self) -> tuple[list[bytes], bytes]:
        """The fields that frame a body, and the body."""
        kind = self.random()
        content = bytes(self.choices(b"abc\r\n05;:", k=self.randrange(20)))
        if kind < 0.2:
            return [], b""
        if kind < 0.5:
            length = self.choice(LENGTHS) if self.odd(0.15) else b"%d" % len(content)
            return [self.field(b"Content-Length", length)], content
        coding = self.choice(CODINGS if self.odd(0.15) else CODINGS[:2])
        framing = [self.field(b"Transfer-Encoding", coding)]
        if self.odd(0.05):
            framing.append(self.field(b"Content-Length", b"%d" % len(content)))
        return framing, self.chunks(content)

    def chunks(self, content: bytes) -> bytes:
        """A chunked body, with sizes and extensions in many spellings."""
        written = b""
        while content:
            piece, content = content[: self.randint(1, 8)], content[8:]
            size = b"%0*X" % (self.randint(1, 3), len(piece)) if self.odd(0.3) else b"%x" % len(piece)
            extension = self.choice(EXTENSIONS) if self.odd(0.2) else b""
            written += b"%b%b\r\n%b\r\n" % (size, extension, piece)
        return written + b"0\r\n" + (self.choice(TRAILERS) if self.odd(0.1) else b"") + b"\r\n"

    def broken(self, request: bytes) -> bytes:
        """The same with a fault or two, most of them in the head."""
        head = request.find(b"\r\n\r\n") + 4
        for _ in range(self.choice((1, 1, 1, 2, 3))):
            at = self.randrange(head if self.odd(0.7) else len(request))
            cut = self.choice((0, 0, 1, 1, 2, 4))
            put = b"" if cut and self.odd(0.3) else self.choice(HOSTILE)
            request = request[:at] + put + request[at + cut :]
        return request


class Everyone(AllowedHosts):
    """For this file every host is ours."""

    def admits(self, host: bytes) -> bool:
        return True


def disagreement(data: bytes, ours: Verdict) -> str | None:
    """What the others make of a request that we admit, if it is something else; or that we wait where they do not."""
    if isinstance(ours, Refusing):
        return None
    theirs = read_h11(data)
    if isinstance(ours, Waiting):
        return f"we wait, h11 says {theirs}" if isinstance(theirs, Reading) else None
    if ours != theirs:
        return f"we say {ours}, h11 says {theirs}"
    return _differs_from_llhttp(data, ours)


def _differs_from_llhttp(data: bytes, ours: Reading) -> str | None:
    theirs = read_llhttp(data)
    if not theirs or theirs[0] != (ours.target, ours.fields, ours.body):
        return f"we say {ours}, llhttp says {theirs[:1]}"
    if b"close" in b",".join(value for name, value in ours.fields if name == b"connection").lower():
        return None  # llhttp reads nothing behind a request that closes; neither do we
    following: Verdict = read_ours(data[ours.used :])
    found = theirs[1][0] if len(theirs) > 1 else None
    if isinstance(following, Reading) and ours.minor == 1 and found != following.target:
        return f"we go on with {following}, llhttp with {theirs[1:]}"
    return None


class ReadingTests(SynchronousTestCase):
    """Our reading beside two others."""

    def test_what_we_admit_others_read_in_the_same_way(self) -> None:
        """Of thousands of requests, none that we admit is read differently by h11 or llhttp, nor refused by them."""
        author = Author(SEED)
        tally: Counter[str] = Counter()
        for number in range(REQUESTS):
            data = author.write() + NEXT
            verdict = read_ours(data)
            found = disagreement(data, verdict)
            self.assertIsNone(found, f"number {number}: {data!r}")
            tally[verdict.why if isinstance(verdict, Refusing) else type(verdict).__name__] += 1
        self.assertGreater(tally["Reading"], REQUESTS / 4, tally)  # else this would show little
        self.assertGreater(len(tally), 9, tally)

    def test_the_door_serves_what_the_reader_reads(self) -> None:
        """However the bytes are cut, the resource sees that request, or the client that refusal."""
        author = Author(SEED + 1)
        for number in range(REQUESTS // 20):
            data = author.write()
            verdict = read_ours(data)
            door = Door(echo(cap=10**6), hosts=Everyone(()))
            caller = door.call()
            while data:
                cut = author.choice((1, 2, 5, 30, len(data)))
                caller.send(data[:cut])
                data = data[cut:]
            self.assert_served(door, caller, verdict, f"number {number}")

    def assert_served(self, door: Door, caller: Caller, verdict: Verdict, name: str) -> None:
        """The door did with a request what the verdict on it says."""
        if isinstance(verdict, Waiting):
            self.assertEqual(caller.received, b"", name)
        elif isinstance(verdict, Refusing):
            method = door.asked[0].method if door.asked else b"GET"  # a body may break after a sound head
            self.assertIn(caller.answer(method).status, (400, 414, 415, 417, 431, 501, 505), name)
            if method != b"HEAD":
                self.assertEqual(json.loads(caller.answer().body)["error"]["code"], verdict.why, name)
        else:
            request = door.asked[0]
            seen = (request.method, request.uri, request.head.minor, alike(request.head.fields))
            self.assertEqual(seen, verdict[:4], name)
            self.assertEqual(caller.answers(verdict.method)[0].one(b"Content-Length"), b"%d" % len(verdict.body), name)
