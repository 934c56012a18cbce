"""The log: one line for each thing, valid whatever is put into it, and never in anybody's way."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IRequestLog
from hadesgw.policy import refusals
from hadesgw.telemetry.log import GATHER_SECONDS, MOST_BATCHES, MOST_LINES, Log, RequestLine, Sink
from tests.wire.door import Door, Leaf, Notes, get

_WALL = 1_795_270_000.25


def _read(descriptor: int) -> bytes:
    """What a pipe holds; its other end must be closed or have something in it."""
    return os.read(descriptor, 1 << 20)


class _Lines(SynchronousTestCase):
    """A log that writes into a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600)
        self.addCleanup(os.close, self.descriptor)
        self.sink = Sink(self.descriptor)

    def log(self, text: bool = False, level: str = "info") -> Log:
        return Log(self.sink, lambda: _WALL, text=text, level=level)

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)


class EventTests(_Lines):
    """Lifecycle lines."""

    def test_interfaces(self) -> None:
        """It takes our lines and observes Twisted's."""
        verifyObject(IRequestLog, self.log())
        verifyObject(ILogObserver, self.log())

    def test_json(self) -> None:
        """Time, level, name and facts, as one object."""
        self.log().event("listening", address="tcp:127.0.0.1:8082")
        expected = {
            "ts": "2026-11-21T14:06:40.250Z",
            "level": "info",
            "event": "listening",
            "address": "tcp:127.0.0.1:8082",
        }
        self.assertEqual([json.loads(line) for line in self.lines()], [expected])

    def test_level(self) -> None:
        """What is below the configured level is not written."""
        log = self.log(level="warn")
        log.event("a")
        log.event("b", level="warn")
        log.event("c", level="error")
        self.assertEqual([json.loads(line)["event"] for line in self.lines()], ["b", "c"])

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Whatever a fact holds, it stays one line of JSON, for every notion of a line."""
        self.path.write_bytes(b"")
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.log().event("x", fact=text.encode("utf-8", "replace").decode())
        written = self.path.read_bytes().decode("utf-8")
        self.assertEqual(len(written.splitlines()), 1)
        self.assertEqual(json.loads(written)["fact"], text.encode("utf-8", "replace").decode())

    def test_characters_that_are_more_than_text(self) -> None:
        """None of them leaves as it is: neither those that a terminal obeys, nor those that end a line for somebody."""
        text = "".join(map(chr, range(0xA1))) + "\u2028\u2029é漢"
        self.log().event("x", fact=text)
        (line,) = self.lines()
        self.assertEqual(json.loads(line)["fact"], text)
        raw = line.decode()[:-1]
        self.assertEqual([c for c in raw if not c.isprintable() and c != "\xa0"], [])
        self.assertEqual(len(raw.splitlines()), 1)

    def test_what_is_no_text_and_no_json(self) -> None:
        """Half a character is a question mark, an object is what it says of itself: it is never the line that fails."""
        self.log().event("x", paths=["a\udc80", {"b\udc80": 1}], count=3, thing=Path("c"))
        facts = json.loads(self.lines()[0])
        self.assertEqual((facts["paths"], facts["count"]), (["a?", {"b?": 1}], 3))
        self.assertEqual(facts["thing"], "PosixPath('c')")

    def test_text(self) -> None:
        """At a terminal a line is for a person, and nothing in it can drive the terminal."""
        self.log(text=True).event("x", fact="\x1b[31mred\x07")
        (line,) = self.lines()
        self.assertEqual(line, b"2026-11-21T14:06:40.250Z info  x fact=\\x1b[31mred\\x07\n")
        self.log(text=True).event("x", fact="a\nb\r\n2026-11-21T14:06:40.250Z info  forged")
        self.assertEqual([line[:4] for line in self.lines()[1:]], [b"2026", b"    ", b"    "])

    def test_libraries(self) -> None:
        """A library's warning is written with its source; its everyday words are not."""
        log = self.log()
        library = Logger(namespace="library", observer=LogPublisher(log))
        library.info("hello")
        library.warn("careful, {name}", name="a\nb")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            library.failure("failed")
        first, second = (json.loads(line) for line in self.lines())
        self.assertEqual((first["level"], first["system"], first["message"]), ("warn", "library", "careful, a\nb"))
        self.assertEqual(second["level"], "critical")
        self.assertIn("ZeroDivisionError", second["message"])
        self.assertIn(LogLevel.critical.name, second["level"])


class RequestTests(_Lines):
    """Request lines."""

    def _serve(self, act: Callable[[Request], bytes | int], head: bytes) -> dict[str, object]:
        log = self.log()

        def logged(request: Request) -> bytes | int:
            request.record.route = "/v1"
            request.at_end(lambda completed: log.request(request, completed, request.record.started + 0.25))
            return act(request)

        Door(Leaf(logged)).call().send(head + b"\r\n")
        facts: dict[str, object] = json.loads(self.lines()[-1])
        return facts

    def test_fields(self) -> None:
        """Every field of a request's line, always, and the target is not among them."""
        head = b"GET /v1/models?secret=canary HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: abc\r\nX-Canary: canary\r\n"
        facts = self._serve(lambda request: b"body", head)
        self.assertEqual(tuple(facts), RequestLine.__struct_fields__)
        self.assertEqual((facts["request_id"], facts["status"], facts["bytes_out"]), ("abc", 200, 4))
        self.assertEqual((facts["route"], facts["duration_ms"], facts["reason"]), ("/v1", 250.0, None))
        self.assertNotIn("canary", json.dumps(facts))

    def test_refused(self) -> None:
        """A refusal has its reason and code; a fault of ours or the model's is a warning."""
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        facts = self._serve(lambda request: request.refuse(refusals.UPSTREAM_DIED), head)
        self.assertEqual(
            (facts["level"], facts["status"], facts["reason"], facts["code"]),
            ("warn", 502, "upstream_died", "upstream_died"),
        )

    def test_faults_are_warnings_whatever_the_status(self) -> None:
        """Of the gateway or the model server: in a stream that had begun well, or told by the model server itself."""
        for code, reason, level in (
            (200, None, "info"),
            (200, "upstream_error", "warn"),
            (200, "upstream_truncated", "warn"),
            (200, "upstream_idle", "warn"),
            (200, "client_left", "info"),
            (500, "client_left", "info"),
            (200, "client_stalled", "info"),
            (404, None, "info"),
            (500, None, "warn"),
            (429, "rate_limited", "info"),
        ):

            def ended(request: Request, code: int = code, reason: str | None = reason) -> bytes:
                request.code, request.record.reason = code, reason
                return b""

            facts = self._serve(ended, b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            self.assertEqual(facts["level"], level, (code, reason))

    def test_early(self) -> None:
        """A request refused before it was one has a line too."""
        self.log().refused_early(refusals.BAD_HOST, b"abc", b"def")
        facts = json.loads(self.lines()[0])
        self.assertEqual((facts["event"], facts["request_id"], facts["reason"]), ("request", "abc", "bad_host"))
        self.assertEqual(tuple(facts), RequestLine.__struct_fields__)
        self.assertEqual((facts["status"], facts["method"], facts["duration_ms"]), (400, None, None))
        self.log(level="warn").refused_early(refusals.BAD_HOST, b"abc", b"def")
        self.assertEqual(len(self.lines()), 1)

    def test_hostile_ids(self) -> None:
        """Whatever a client sends for an id, its line is one, and has an id of the right form."""
        log = self.log()

        class Written(Notes):
            def refused_early(self, refusal: refusals.Refusal, request_id: bytes, session_id: bytes) -> None:
                log.refused_early(refusal, request_id, session_id)

        def logged(request: Request) -> bytes:
            request.at_end(lambda completed: log.request(request, completed, request.record.started))
            return b""

        ids = (b"\x1b[31mred", "a\u2028b".encode(), b"x" * 65_536, b"a\tb", b'"},{"', b"\xff", b"", b"x" * 129, b"a\rb")
        for number, value in enumerate(ids):
            fields = b"X-Request-ID: " + value, b"X-Conveyance-Session-ID: " + value
            Door(Leaf(logged), observer=Written()).call().send(get(b"/", *fields))
            lines = self.lines()
            self.assertEqual(len(lines), number + 1, value)
            facts = json.loads(lines[-1])
            for name in ("request_id", "conveyance_session_id"):
                self.assertRegex(facts[name], r"\A[A-Za-z0-9._:-]{1,128}\Z")


class SinkTests(SynchronousTestCase):
    """What happens to lines when the sink is slow, full or gone."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dropped = 0
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.sink = Sink(self.writing)
        self.sink.on_drop(self._drop)

    def _drop(self, count: int) -> None:
        self.dropped += count

    def test_gathers(self) -> None:
        """Lines are written in order, all that were taken, by the time the sink has stopped."""
        self.sink.start(self.clock)
        for number in range(5):
            self.sink.write(b"%d\n" % number)
            self.clock.advance(GATHER_SECONDS / 2)
        self.sink.write(b"last\n")
        self.sink.stop()
        self.assertEqual(_read(self.reading), b"0\n1\n2\n3\n4\nlast\n")
        self.assertEqual((self.dropped, self.clock.getDelayedCalls()), (0, []))

    def test_full(self) -> None:
        """Nobody reads the pipe: the writer is never held up, what does not fit is dropped and counted."""
        self.sink.start(self.clock)
        line = b"x" * 1023 + b"\n"
        batches = MOST_BATCHES + 10
        for _ in range(batches):
            for _ in range(100):
                self.sink.write(line)
            self.clock.advance(GATHER_SECONDS)
        self.assertGreater(self.dropped, 0)
        received = 0
        while received + self.dropped < batches * 100:  # what was kept arrives whole once somebody reads
            received += _read(self.reading).count(b"\n")
        self.sink.stop()
        self.assertEqual(received + self.dropped, batches * 100)

    def test_too_many_at_once(self) -> None:
        """One moment's lines are bounded too."""
        self.sink.start(self.clock)
        for _ in range(MOST_LINES + 7):
            self.sink.write(b"")
        self.assertEqual(self.dropped, 7)
        self.sink.stop()

    def test_a_line_that_was_cut_ends_where_it_was(self) -> None:
        """When a disk was full in the middle of one, the next begins on a line of its own."""
        os.set_blocking(self.writing, False)
        size = fcntl.fcntl(self.writing, fcntl.F_GETPIPE_SZ)
        self.sink.write(b"x" * (size + 10) + b"\n")
        self.assertEqual(len(_read(self.reading)), size)
        self.sink.write(b"whole\n")
        self.sink.write(b"again\n")
        self.assertEqual(_read(self.reading), b"\nwhole\nagain\n")

    def test_gone(self) -> None:
        """A sink that cannot be written loses lines, counts them, and raises nothing."""
        os.close(self.writing)
        self.writing = os.open(os.devnull, os.O_RDONLY)
        broken = Sink(self.writing)
        broken.on_drop(self._drop)
        broken.start(self.clock)
        broken.write(b"x\n")
        broken.stop()
        broken.start(self.clock)
        broken.stop()
        os.close(self.writing)
        self.assertEqual(self.dropped, 1)
