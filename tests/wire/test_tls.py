"""A door behind TLS: Twisted's transports on scripted sockets, and Python's own TLS as the client.

What holds without TLS holds with it; the ends of connections most of all, for TLS has ends of its own.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from hadesgw.config import Timeouts
from hadesgw.http.handshake import read_handshake
from hadesgw.http.site import Request
from hadesgw.http.tls import TlsTransport
from hadesgw.http.websocket import WebSocket
from hadesgw.policy import refusals
from hadesgw.policy.certificates import read_identity
from hadesgw.policy.credentials import ClientCertificate
from hadesgw.service.tls import Credentials, TlsServer
from tests.authority import Authority, Issued
from tests.http.frames import CLOSE, PING, TEXT, UPGRADE, Frame, frame, frames
from tests.http.test_websocket import LIMITS, User
from tests.service.test_tls import NOW, client_context, credentials
from tests.wire.answers import Answer, read_answers
from tests.wire.door import Door, Leaf, answer_path, echo, get, hold, post
from tests.wire.line import Socket, connect

CLIENT = IPv4Address("TCP", "127.0.0.1", 40000)


class TlsCaller:
    """A client on one TLS connection.

    :ivar received: what came back so far, in the clear.
    :ivar told_goodbye: whether the door has said that this was all.
    :ivar broken: the client's library's word on an end that is no proper one, or None.
    """

    def __init__(self, door: Door, server: TlsServer, context: ssl.SSLContext, room: int | None) -> None:
        self._door = door
        self._arriving, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._seen = 0
        self.client = context.wrap_bio(self._arriving, self._leaving, server_hostname="localhost")
        self.socket = Socket(room)
        transport = server.under(door.site, door.reactor).buildProtocol(CLIENT)
        assert isinstance(transport, TlsTransport)
        self.channel = transport.wrappedProtocol
        self.transport = connect(door.reactor, transport, self.socket)
        self.received = b""
        self.told_goodbye = False
        self.broken: ssl.SSLError | None = None
        self.begun = False

    def hello(self) -> bytes:
        """What the client would begin with; it is not sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client.do_handshake()
        return self._leaving.read()

    def shake(self) -> TlsCaller:
        """Come to an agreement."""
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
                self.begun = True
            self._carry()
        assert self.begun, "no agreement"
        return self

    def send(self, data: bytes, step: int | None = None) -> TlsCaller:
        """Send `data`, so that the door reads the records in pieces of `step` bytes."""
        if not self.begun:
            self.shake()
        self.client.write(data)
        self._carry(step)
        return self

    def take(self, count: int | None = None) -> None:
        """Read some of what the door wants to send; None for all, and all that follows."""
        self.socket.room = None if count is None else (self.socket.room or 0) + count
        self._carry()

    def say_goodbye(self) -> None:
        """Say that there will be no more, by the means of TLS."""
        with contextlib.suppress(ssl.SSLError):  # it would read on until the door agrees
            self.client.unwrap()
        self._carry()

    def leave(self) -> None:
        """Close the connection."""
        self.socket.end()
        self._carry()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and read what comes of it."""
        self._door.reactor.pass_time(seconds)
        self._carry()

    def _carry(self, step: int | None = None) -> None:
        """Bring each side what the other has for it, until neither has anything."""
        while True:
            data = self._leaving.read()
            for at in range(0, len(data), step or len(data) or 1):
                self.socket.arrive(data[at : at + (step or len(data))])
                self._door.reactor.settle()
            self._door.reactor.settle()
            news = bytes(self.socket.sent[self._seen :])
            self._seen += len(news)
            if news:
                self._arriving.write(news)
            elif self.socket.closed is not None:
                self._arriving.write_eof()
            if self.begun:
                self._read()
            if not news and not self._leaving.pending:
                return

    def _read(self) -> None:
        try:
            while data := self.client.read(65536):
                self.received += data
            self.told_goodbye = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.told_goodbye = True
        except ssl.SSLError as error:
            self.broken = error

    def answers(self, *methods: bytes) -> list[Answer]:
        return read_answers(self.received, methods)

    def answer(self, *methods: bytes) -> Answer:
        (answer,) = self.answers(*methods)
        return answer

    @property
    def closed(self) -> str | None:
        self._carry()
        return self.socket.closed


@implementer(IPushProducer)
class Source:
    """Makes an answer of as many pieces as it may, until it is paused or stopped."""

    def __init__(self, request: Request, pieces: int) -> None:
        self.request = request
        self.left = pieces
        self.paused = False
        self.ends: list[bool] = []
        request.at_end(self.ends.append)
        request.registerProducer(self, True)

    def run(self) -> None:
        """Write until somebody says stop."""
        while self.left and not self.paused:
            self.left -= 1
            self.request.write(b"%08d" % self.left + b"x" * 8184)
        if not self.left and not self.request.finished and not self.ends:
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        self.paused = True


PIECES = 200
"""Of 8 KiB each: more than any buffer between here and there may hold."""
STREAMED = b"".join(b"%08d" % left + b"x" * 8184 for left in reversed(range(PIECES)))


class _Case(SynchronousTestCase):
    authority = Authority(NOW)
    issued = authority.issue("localhost")
    clients = Authority(NOW, name="of clients")

    def setUp(self) -> None:
        self.server = TlsServer(credentials(self.issued, self.clients))

    def open(self, act: Callable[[Request], bytes | int] | Leaf = answer_path, **others: Any) -> Door:
        self.door = Door(act, **others)
        self.addCleanup(lambda: self.assertEqual(self.door.left_behind(), []))
        return self.door

    def call(self, room: int | None = None, own: Issued | None = None, *, old: bool = False) -> TlsCaller:
        context = client_context(self.authority)
        if own is not None:
            folder = Path(self.mktemp())
            folder.mkdir()
            context.load_cert_chain(*own.write(folder, "client"))
        if old:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return TlsCaller(self.door, self.server, context, room)

    def stream(self, room: int) -> tuple[TlsCaller, Source]:
        """A client of a streamed answer that has taken as much of it as there is room for."""
        sources: list[Source] = []

        def begin(request: Request) -> int:
            sources.append(Source(request, PIECES))
            sources[0].run()
            return hold(request)

        self.open(begin)
        caller = self.call()
        caller.shake()
        caller.socket.room = room
        caller.send(get())
        return caller, sources[0]


class TalkTests(_Case):
    """Requests and answers."""

    def test_as_without_tls(self) -> None:
        """One request after another on one connection, by both versions, and the request knows that it is secure."""

        def secure(request: Request) -> bytes:
            return b"%d" % request.isSecure()

        for old in (False, True):
            self.open(secure)
            caller = self.call(old=old).send(get()).send(get(b"/2"))
            self.assertEqual([answer.body for answer in caller.answers()], [b"1", b"1"])
            caller.leave()
            self.assertIsNotNone(caller.closed)

    def test_nothing_is_said_in_the_clear(self) -> None:
        """No short cut to the socket goes past TLS, neither for an answer in one piece nor for a stream."""
        caller, source = self.stream(1 << 30)
        self.assertEqual(source.left, 0)
        self.assertEqual(caller.answer().body, STREAMED)
        for word in (b"HTTP/1.1", b"xxxxxxxx", b"00000000"):
            self.assertNotIn(word, caller.socket.sent)
        caller.leave()

    def test_an_event_leaves_when_it_is_written(self) -> None:
        """Not at the reactor's next turn; what does not go at once goes later, and in order."""
        self.open(hold)
        caller = self.call().send(get())
        (request,) = self.door.asked
        sizes = [len(caller.socket.sent)]
        for _ in range(3):
            request.write(b"data: x\n\n")
            sizes.append(len(caller.socket.sent))
        self.assertEqual(sizes, sorted(set(sizes)))
        caller.socket.room = 10
        for number in range(5):
            request.write(b"data: %d\n\n" % number)
        caller.take()
        request.write(b"data: last\n\n")
        request.finish()
        caller.take()
        numbered = b"".join(b"data: %d\n\n" % number for number in range(5))
        self.assertEqual(caller.answer().body, b"data: x\n\n" * 3 + numbered + b"data: last\n\n")
        caller.leave()

    def test_records_in_pieces(self) -> None:
        """However the network cuts them, the handshake's too."""
        self.open(echo())
        body = bytes(range(256)) * 40
        caller = self.call().send(post(body), step=97)
        self.assertEqual(caller.answer(b"POST").body, body)
        caller.leave()

    def test_a_long_handshake(self) -> None:
        """What we have to show may be longer than anything we say later."""
        chain = [
            self.issued.certificate,
            *(self.authority.issue(f"{number}.example").certificate for number in range(90)),
        ]
        identity = read_identity(tuple(chain), self.issued.key_pem)
        self.server = TlsServer(Credentials(identity, ()))
        self.open()
        caller = self.call().send(get())
        self.assertGreater(len(caller.socket.sent), 1 << 15)
        self.assertEqual(caller.answer().status, 200)
        caller.leave()

    def test_http_in_the_clear_is_not_answered(self) -> None:
        """No request, no answer, only the end."""
        door = self.open()
        caller = self.call()
        caller.socket.arrive(get())
        self.assertIsNotNone(caller.closed)
        self.assertEqual((door.asked, bytes(caller.socket.sent)), ([], b""))

    def test_who_the_client_is(self) -> None:
        """What it has proved, or nothing; it stays so for the whole connection."""
        seen: list[ClientCertificate | None] = []

        def look(request: Request) -> bytes:
            seen.append(request.certificate)
            return b""

        self.open(look)
        robot = self.clients.issue("robot.example", ends=NOW + timedelta(days=2))
        expected = ClientCertificate(frozenset({"DNS:robot.example"}), robot.certificate.not_valid_after_utc)
        for old in (False, True):
            caller = self.call(own=robot, old=old).send(get()).send(get())
            self.assertEqual(seen, [expected] * 2)
            caller.leave()
            caller = self.call(old=old).send(get())
            self.assertEqual(seen.pop(), None)
            caller.leave()
            seen.clear()


class WebSocketTests(_Case):
    """A WebSocket within TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.user = User(lambda socket, text: socket.send(text.encode()))
        self.open(self._upgrade)

    def _upgrade(self, request: Request) -> int:
        return WebSocket(request, LIMITS, self.door.reactor, self.user).open(read_handshake(request.head).fields)

    def said(self, caller: TlsCaller) -> list[Frame]:
        """What came back after the 101."""
        head, _, rest = caller.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return list(frames(rest))

    def test_talk_and_close(self) -> None:
        """Messages go both ways, however the records are cut; both ends of it, TLS's too, are as they should be."""
        for step in (None, 1, 7):
            self.setUp()
            caller = self.call().send(UPGRADE + frame(TEXT, b"early"), step).send(frame(TEXT, b"late"), step)
            self.assertEqual(self.said(caller), [Frame(TEXT, b"early"), Frame(TEXT, b"late")])
            caller.send(frame(CLOSE), step)
            self.assertEqual(self.said(caller)[-1], Frame(CLOSE, b""))
            self.assertEqual((caller.told_goodbye, self.user.ends), (True, 1))
            caller.leave()

    def test_told_why(self) -> None:
        """A client that breaks the rules, and one that the gateway leaves, hear it before the connection ends."""
        for act, code in (
            (lambda caller: caller.send(frame(3)), 1002),
            (lambda caller: caller.send(frame(PING) * 1000), 1008),
            (lambda caller: self.door.site.drain(), 1001),
        ):
            self.setUp()
            caller = self.call().send(UPGRADE)
            act(caller)
            caller.pass_time(10)
            self.assertEqual(self.said(caller)[-1].code, code)
            caller.pass_time(60)
            self.assertEqual((caller.told_goodbye, self.door.left_behind()), (True, []))

    def test_departures(self) -> None:
        """A goodbye of TLS without one of the WebSocket, and a connection that is simply gone."""
        for leave in (TlsCaller.say_goodbye, TlsCaller.leave):
            self.setUp()
            caller = self.call().send(UPGRADE)
            leave(caller)
            self.assertEqual((self.user.ends, self.door.left_behind()), (1, []))

    def test_slow_reader(self) -> None:
        """It is bounded as without TLS, and gone after its time."""
        caller = self.call().send(UPGRADE)
        caller.take(0)
        for _ in range(100):
            self.user.socket.send(b"x" * 10_000)
            if self.user.socket.choked:
                break
        self.assertTrue(self.user.socket.choked)
        caller.pass_time(30)
        caller.pass_time(3)
        self.assertEqual((self.user.ends, caller.socket.closed, self.door.left_behind()), (1, "reset", []))


class RefusalTests(_Case):
    """Last answers, which must arrive before the end does."""

    def test_an_early_refusal_of_a_body(self) -> None:
        """413 while the client goes on sending: it has the answer and the goodbye, and is swallowed for a while."""
        self.open(echo(cap=1000))
        caller = self.call().send(post(b"x" * 500, length=100_000))
        self.assertEqual(caller.answer(b"POST").status, 413)
        self.assertTrue(caller.told_goodbye)
        self.assertIsNone(caller.closed)
        for _ in range(50):
            caller.send(b"x" * 1000)
        self.assertEqual((caller.closed, caller.socket.unread_at_close), (None, 0))
        caller.say_goodbye()
        self.assertEqual((caller.closed, caller.socket.unread_at_close), ("closed", 0))
        self.assertIsNone(caller.broken)

    def test_a_client_that_never_stops(self) -> None:
        """Is not swallowed for ever."""
        self.open(echo(cap=1000))
        caller = self.call().send(post(b"x" * 500, length=100_000))
        caller.pass_time(1.9)
        self.assertIsNone(caller.closed)
        caller.pass_time(0.2)
        self.assertEqual(caller.closed, "reset")

    def test_what_is_no_request(self) -> None:
        """Its 400 arrives whole."""
        self.open()
        caller = self.call().send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.assertEqual(caller.answer().status, 400)
        self.assertTrue(caller.told_goodbye)
        caller.leave()
        self.assertIsNone(caller.broken)

    def test_one_connection_too_many(self) -> None:
        """Is refused as soon as the client can understand it, and is not asked for anything."""
        door = self.open(max_connections=1)
        first = self.call().send(get())
        second = self.call().shake()
        second.take()
        self.assertEqual((second.answer().status, second.told_goodbye), (503, True))
        self.assertEqual(len(door.asked), 1)
        for caller in (first, second):
            caller.leave()


class EndTests(_Case):
    """Who ends a connection, how, and how long it takes."""

    def test_the_client_is_not_waited_for(self) -> None:
        """The last answer, the goodbye, and the end: a client that does not look cannot hold a connection."""
        self.open()
        caller = self.call().send(get(b"/", b"Connection: close"))
        self.assertEqual(caller.answer().one(b"connection"), b"close")
        self.assertEqual((caller.told_goodbye, caller.closed, caller.broken), (True, "closed", None))

    def test_an_idle_connection_ends(self) -> None:
        """At the end of its time, or at once when the gateway stops."""
        for stop in (lambda: self.door.reactor.pass_time(60), lambda: self.door.site.drain()):  # noqa: PLW0108 - later doors
            self.open()
            caller = self.call().send(get())
            stop()
            self.assertEqual((caller.closed, caller.told_goodbye, caller.broken), ("closed", True, None))

    def test_a_goodbye_is_answered(self) -> None:
        """A client that leaves in good order hears ours."""
        self.open()
        caller = self.call().send(get())
        caller.say_goodbye()
        self.assertEqual((caller.closed, caller.told_goodbye), ("closed", True))

    def test_a_handshake_has_the_time_of_a_head(self) -> None:
        """However its bytes trickle in; afterwards the client has the time of an idle connection."""
        timeouts = Timeouts(request_head=10, idle=60)
        self.open(timeouts=timeouts)
        silent, slow, good = self.call(), self.call(), self.call().shake()
        for byte in slow.hello()[:9]:
            slow.socket.arrive(bytes([byte]))
            self.door.reactor.pass_time(1)
        self.assertEqual([caller.socket.closed for caller in (silent, slow)], [None, None])
        self.door.reactor.pass_time(1.1)
        self.assertEqual([caller.socket.closed for caller in (silent, slow)], ["reset", "reset"])
        self.assertIsNone(good.closed)
        good.pass_time(50)
        self.assertEqual(good.closed, "closed")

    def test_departures_in_flight(self) -> None:
        """By goodbye, by closing, by both, by a reset: the request learns it in the same turn."""

        def part(caller: TlsCaller) -> None:
            caller.say_goodbye()
            caller.leave()

        for depart in (TlsCaller.say_goodbye, TlsCaller.leave, part, lambda caller: caller.socket.break_off()):
            ends: list[bool] = []

            def wait(request: Request) -> int:
                request.at_end(ends.append)  # noqa: B023
                return hold(request)

            self.open(wait)
            caller = self.call().send(get())
            depart(caller)
            self.door.reactor.settle()
            self.assertEqual(ends, [False])
            self.assertEqual(len(self.door.site.channels), 0)

    def test_an_answer_that_is_cut(self) -> None:
        """Never looks whole: its framing shows the cut, or it ends without a goodbye, as no whole one does."""

        def cut(request: Request) -> int:
            request.write(b"some of it")
            request.cut()
            return hold(request)

        self.open(cut)
        caller = self.call().send(get())
        self.assertEqual((caller.answer().whole, caller.told_goodbye), (False, True))
        self.open(cut)
        caller = self.call().send(get().replace(b"HTTP/1.1", b"HTTP/1.0"))  # whose body only the end ends
        self.assertEqual((caller.closed, caller.told_goodbye), ("reset", False))
        self.assertIsNotNone(caller.broken)


class StalledTests(_Case):
    """Clients that do not read."""

    def test_the_source_is_held_back(self) -> None:
        """The door holds no more than a buffer of it, and nothing is lost when the client reads on."""
        caller, source = self.stream(room=100_000)
        self.assertTrue(source.paused)
        made = (PIECES - source.left) * 8192
        self.assertLess(made, 100_000 + 2 * 65536 + 8192)
        while source.left:
            before = source.left
            caller.take(30_000)
            self.assertLessEqual(before - source.left, 20)
        caller.take()
        answer = caller.answer()
        self.assertEqual((answer.body, answer.whole), (STREAMED, True))
        caller.leave()

    def test_a_goodbye_from_one_that_does_not_read(self) -> None:
        """Is a departure like any other: the source is stopped at once, not when a buffer drains that never will."""
        caller, source = self.stream(room=100_000)
        self.assertTrue(source.paused)
        caller.say_goodbye()
        self.door.reactor.settle()
        self.assertEqual(source.ends, [False])
        self.assertEqual((len(self.door.site.channels), caller.socket.closed), (0, "reset"))

    def test_one_that_takes_nothing_for_the_idle_time(self) -> None:
        """Is let go, with what it was to get."""
        caller, source = self.stream(room=100_000)
        source.request.interrupt(refusals.CLIENT_STALLED)
        self.door.reactor.pass_time(59)
        self.assertIsNone(caller.socket.closed)
        self.door.reactor.pass_time(2)
        self.assertEqual((source.ends, caller.socket.closed), ([False], "reset"))

    def test_a_refusal_for_one_that_reads_late(self) -> None:
        """Waits for it, goodbye included, and closes when both are through."""
        self.open(echo(cap=10))
        caller = self.call().shake()
        caller.socket.room = 50
        caller.send(post(b"x" * 20, length=100))
        self.assertEqual((caller.received, caller.told_goodbye), (b"", False))
        caller.take()
        self.assertEqual((caller.answer(b"POST").status, caller.told_goodbye), (413, True))
        caller.leave()
