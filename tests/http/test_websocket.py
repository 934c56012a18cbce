"""WebSockets, by raw bytes on a scripted connection and a clock that is turned by hand."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.handshake import read_handshake
from hadesgw.http.site import Request
from hadesgw.http.websocket import SocketLimits, WebSocket
from hadesgw.interfaces import IHeir, ISocketUser
from hadesgw.policy import refusals
from hadesgw.policy.allowance import Rate
from tests.http.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, UPGRADE, Frame, frame, frames
from tests.wire.door import Caller, Door

LIMITS = SocketLimits(
    message=1024,
    frames=Rate(10, 20),
    unread=4096,
    ping_seconds=20,
    pong_seconds=10,
    stall_seconds=30,
    close_seconds=3,
)


@implementer(ISocketUser)
class User:
    """Notes what happens to its socket, and does `act` with each message."""

    def __init__(self, act: Callable[[WebSocket, str], None] = lambda socket, text: None) -> None:
        self.act = act
        self.messages: list[str] = []
        self.ends = 0
        self.resumptions = 0
        self.socket: Any = None

    def opened(self, socket: Any) -> None:
        self.socket = socket

    def received(self, text: str) -> None:
        assert not self.ends
        self.messages.append(text)
        self.act(self.socket, text)

    def resumed(self) -> None:
        self.resumptions += 1

    def closed(self) -> None:
        self.ends += 1


class SocketCase(SynchronousTestCase):
    """A door whose only resource is a WebSocket."""

    def setUp(self) -> None:
        self.user = User()
        self.requests: list[Request] = []
        self.ended: list[bool] = []
        self.limits = LIMITS
        self.door = Door(self._open)

    def _open(self, request: Request) -> int:
        self.requests.append(request)
        request.at_end(self.ended.append)
        handshake = read_handshake(request.head)
        return WebSocket(request, self.limits, self.door.reactor, self.user).open(handshake.fields)

    def connect(self, early: bytes = b"", room: int | None = None) -> Caller:
        """A client whose handshake is through; `early` comes in one piece with it."""
        return self.door.call(room).send(UPGRADE + early)

    def said(self, caller: Caller) -> list[Frame]:
        """What came back after the 101."""
        head, _, rest = caller.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), head
        return list(frames(rest))

    def assert_closed(self, caller: Caller, code: int, reason: str | None, completed: bool = True) -> None:
        """The last the client heard was a close frame; we closed, the user knows, and nothing is left."""
        last = self.said(caller)[-1]
        self.assertEqual(last.code, code, last)
        self.assertEqual(self.requests[-1].record.reason, reason)
        self.assertEqual((self.ended, self.user.ends), ([completed], 1))
        self.assertTrue(caller.ended)
        self.door.reactor.pass_time(3)
        self.assertEqual(self.door.left_behind(), [])


class HandoverTests(SocketCase):
    """From HTTP to frames."""

    def test_answer(self) -> None:
        """The 101 has what the RFC asks for, both ids, and nothing that frames a body or closes."""
        caller = self.connect()
        head = caller.received.decode()
        lines = head.split("\r\n")
        for line in (
            "upgrade: websocket",
            "Connection: Upgrade",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "X-Request-ID: mine",
            "X-Conveyance-Session-ID: minted-1",
        ):
            self.assertEqual(lines.count(line), 1, head)
        for word in ("close", "chunked", "content-length", "extensions", "sec-websocket-protocol"):
            self.assertNotIn(word, head.lower())
        self.assertEqual(self.said(caller), [])

    def test_frames_that_come_with_the_request(self) -> None:
        """They are not lost, however the bytes are cut."""
        early = frame(TEXT, b"one") + frame(TEXT, b"two")
        for step in (None, 1, 7):
            self.user.messages.clear()
            self.door.call().send(UPGRADE + early, step)
            self.assertEqual(self.user.messages, ["one", "two"], step)

    def test_no_second_request(self) -> None:
        """What follows is never taken for HTTP."""
        caller = self.connect(UPGRADE)
        self.assertEqual(len(self.requests), 1)
        self.assert_closed(caller, 1002, "bad_frame")

    def test_idle_deadline_of_http_is_not_its(self) -> None:
        """Nor is a socket kept by traffic alone ended: it lives as long as it answers pings."""
        caller = self.connect()
        for _ in range(20):
            self.door.reactor.pass_time(LIMITS.ping_seconds)
            caller.send(frame(PONG))
        self.assertEqual({said.opcode for said in self.said(caller)}, {PING})
        self.assertIsNone(caller.closed)

    def test_it_is_a_connection_and_a_request(self) -> None:
        """It is counted as both while it lives, and leaves with its bytes counted."""
        caller = self.connect(frame(TEXT, "grün".encode()))
        self.assertEqual((self.door.notes.open, self.ended), (1, []))
        self.user.socket.send(b"four")
        caller.send(frame(CLOSE))
        record = self.requests[0].record
        self.assertEqual((record.bytes_in, record.reason, record.stream), (5, None, True))
        self.assertEqual(self.requests[0].sentLength, 6 + 2)  # the message, and the answer to the close frame
        self.assertEqual((self.ended, self.door.notes.open), ([True], 1))
        caller.leave()
        self.assertEqual((self.door.notes.open, self.door.left_behind()), (0, []))

    def test_interfaces(self) -> None:
        """It provides what the channel asks of an heir, and its user what it asks of one."""
        self.connect()
        verifyObject(IHeir, self.user.socket)
        verifyObject(ISocketUser, self.user)

    def test_tls_or_half_closing_make_no_difference(self) -> None:
        """Where a client's FIN means no departure, it does for a socket: there is no answer to wait for."""
        self.door = Door(self._open, half_close=True)
        caller = self.connect()
        caller.half_close()
        self.assertEqual((self.ended, self.user.ends, caller.closed), ([False], 1, "reset"))
        self.assertEqual(self.door.left_behind(), [])


class MessageTests(SocketCase):
    """What a client says."""

    def test_fragments(self) -> None:
        """A message comes together from its fragments, with control frames in between, cut anywhere."""
        text = "grün 東京 🚀".encode()
        data = frame(TEXT, text[:3], fin=False) + frame(PING, b"?") + frame(CONTINUATION, text[3:11], fin=False)
        data += frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, text[11:])
        for step in (None, 1, 2, 5):
            self.user.messages.clear()
            caller = self.connect().send(data, step)
            self.assertEqual(self.user.messages, [text.decode()])
            self.assertEqual(self.said(caller), [Frame(PONG, b"?")])
            self.assertEqual(self.door.memory.held, 0)

    @given(st.text(max_size=120), st.lists(st.integers(0, 400), max_size=6), st.integers(1, 64))
    def test_any_text_by_any_cut(self, text: str, cuts: list[int], step: int) -> None:
        """Whatever the fragments and however they arrive, the user gets the text."""
        self.setUp()
        data, at = text.encode(), 0
        opcode = TEXT
        wire = b""
        for cut in sorted(cuts):
            wire += frame(opcode, data[at:cut], fin=False)
            opcode, at = CONTINUATION, max(at, min(cut, len(data)))
        self.connect().send(wire + frame(opcode, data[at:]), step)
        self.assertEqual(self.user.messages, [text])

    def test_empty(self) -> None:
        """An empty message is one."""
        self.connect(frame(TEXT))
        self.assertEqual(self.user.messages, [""])

    def test_at_the_limit(self) -> None:
        """As large as allowed, in bytes, whole or in fragments."""
        whole = "ü".encode() * 512
        self.connect(frame(TEXT, whole) + frame(TEXT, whole[:1000], fin=False) + frame(CONTINUATION, whole[1000:]))
        self.assertEqual(self.user.messages, [whole.decode()] * 2)

    def test_beyond_the_limit(self) -> None:
        """One byte more ends the socket: in one frame, in fragments, or of a frame that has no end."""
        for data in (
            frame(TEXT, b"x" * 1025),
            frame(TEXT, b"x" * 1024, fin=False) + frame(CONTINUATION, b"x"),
            frame(TEXT, b"x" * 2000, length=1 << 40),
        ):
            self.setUp()
            caller = self.connect().send(data, 100)
            self.assertEqual(self.user.messages, [])
            self.assert_closed(caller, 1009, "message_too_large")

    def test_binary(self) -> None:
        """Is not taken."""
        self.assert_closed(self.connect(frame(BINARY, b"x")), 1003, "not_text")

    def test_not_utf8(self) -> None:
        """Is refused at the first byte that cannot be, and at an end in the middle of a character."""
        for data in (
            frame(TEXT, b"\xff", fin=False),
            frame(TEXT, "ü".encode()[:1]),
            frame(TEXT, b"\xed\xa0\x80"),
            frame(TEXT, b"\xc0\xaf"),
        ):
            self.setUp()
            self.assert_closed(self.connect(data), 1007, "not_utf8")

    def test_memory_for_unfinished_messages(self) -> None:
        """It is counted with that of requests' bodies, and given back whichever way the socket ends."""
        caller = self.connect(frame(TEXT, b"x" * 600, fin=False))
        self.assertEqual(self.door.memory.held, 600)
        caller.reset()
        self.assertEqual(self.door.memory.held, 0)
        self.setUp()
        self.door.memory.take(1024 * 1024 - 599)
        caller = self.connect(frame(TEXT, b"x" * 600, fin=False))
        self.door.memory.give_back(1024 * 1024 - 599)
        self.assert_closed(caller, 1013, "no_memory")

    def test_a_defect_of_the_user(self) -> None:
        """Ends the socket with the word for that, is logged, and nothing of it is told to the client."""

        def fail(socket: WebSocket, text: str) -> None:
            raise ValueError("a secret of ours")

        self.user.act = fail
        caller = self.connect(frame(TEXT, b"x")).send(frame(CLOSE))
        self.assertNotIn(b"secret", caller.received)
        self.assert_closed(caller, 1011, "internal")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class FramingTests(SocketCase):
    """What breaks the protocol: RFC 6455 5."""

    def test_broken_frames(self) -> None:
        """Not masked, reserved bits and opcodes, long or fragmented control frames, stray continuations, bad codes."""
        for data in (
            frame(TEXT, b"x", masked=False),
            frame(TEXT | 0x40, b"x"),
            frame(TEXT | 0x10, b"x"),
            frame(3, b"x"),
            frame(11),
            frame(PING, b"x" * 126),
            frame(PING, fin=False),
            frame(CONTINUATION, b"x"),
            frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
            frame(CLOSE, b"x"),
            b"\x81\xfe\x00\x05" + MASK + b"hello",  # a length in two bytes that fits in one
            b"\x81\xff" + struct.pack("!Q", 1 << 63) + MASK,
            frame(CLOSE, struct.pack("!H", 1005)),
            frame(CLOSE, struct.pack("!H", 999)),
            frame(CLOSE, struct.pack("!H", 2999)),
        ):
            self.setUp()
            caller = self.connect(data)
            self.assertEqual(self.user.messages, [])
            self.assert_closed(caller, 1002, "bad_frame")

    def test_what_follows_is_not_read(self) -> None:
        """After such a frame the client is listened to no more."""
        caller = self.connect(frame(3) + frame(TEXT, b"x")).send(frame(TEXT, b"y") * 1000)
        self.assertEqual((self.user.messages, len(self.said(caller))), ([], 1))

    def test_pings(self) -> None:
        """Each is answered with what it said."""
        caller = self.connect(frame(PING) + frame(PING, b"x" * 125))
        self.assertEqual(self.said(caller), [Frame(PONG, b""), Frame(PONG, b"x" * 125)])

    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_any_bytes(self, data: bytes, step: int) -> None:
        """Whatever comes, the socket goes on or ends by a close frame, and nothing is left behind at the end."""
        self.setUp()
        caller = self.connect().send(data, step)
        self.said(caller)
        caller.reset()
        self.assertEqual((self.user.ends, self.ended), (1, [self.ended[0]]))
        self.assertEqual((self.door.left_behind(), self.flushLoggedErrors()), ([], []))


class CloseTests(SocketCase):
    """How it ends."""

    def test_by_the_client(self) -> None:
        """Its close frame is answered with its code, and we hang up first (RFC 6455 7.1.1)."""
        for payload, answer in ((b"", b""), (struct.pack("!H", 1000) + b"bye", None), (struct.pack("!H", 4321), None)):
            self.setUp()
            caller = self.connect().send(frame(CLOSE, payload))
            self.assertEqual(self.said(caller), [Frame(CLOSE, payload if answer is None else answer)])
            self.assertEqual((self.ended, self.user.ends, caller.ended), ([True], 1, True))
            self.assertIsNone(self.requests[0].record.reason)
            self.door.reactor.pass_time(3)
            self.assertEqual(self.door.left_behind(), [])

    def test_client_gone(self) -> None:
        """Without a word, by FIN or reset: the request ends as one whose client left."""
        for leave in (Caller.leave, Caller.reset):
            self.setUp()
            leave(self.connect())
            self.assertEqual((self.ended, self.user.ends, self.door.left_behind()), ([False], 1, []))

    def test_drain(self) -> None:
        """A gateway that stops sends its clients away, and is through when they have answered."""
        caller = self.connect()
        self.door.site.drain()
        self.assertEqual((self.user.ends, self.ended), (1, []))
        caller.send(frame(TEXT, b"too late") + frame(CLOSE, struct.pack("!H", 1001)))
        self.assertEqual(self.user.messages, [])
        self.assert_closed(caller, 1001, None)

    def test_close_frame_not_answered(self) -> None:
        """After the time for that we hang up, so that the code still arrives."""
        caller = self.connect()
        self.door.site.drain()
        self.door.reactor.pass_time(2.9)
        self.assertFalse(caller.ended)
        self.door.reactor.pass_time(0.2)
        self.assertTrue(caller.socket.half_closed)
        self.assert_closed(caller, 1001, None)

    def test_cut_at_the_end_of_a_drain(self) -> None:
        """Whoever is still there is told the same, once."""
        caller = self.connect()
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.assertEqual([said.code for said in self.said(caller)], [1001])
        caller.reset()

    def test_nothing_is_sent_after_the_close_frame(self) -> None:
        """However often its user tries."""
        caller = self.connect()
        self.door.site.drain()
        self.user.socket.send(b"x")
        self.assertEqual([said.opcode for said in self.said(caller)], [CLOSE])
        self.assertFalse(self.user.socket.is_open)
        caller.send(frame(PING) + frame(3))  # neither is answered; the broken one ends the wait
        self.assertEqual([said.opcode for said in self.said(caller)], [CLOSE])
        self.assertTrue(caller.ended)
        caller.leave()


class PatienceTests(SocketCase):
    """Limits on what a client sends, and on how long it is waited for."""

    def test_flood(self) -> None:
        """Messages, pings and fragments have one rate: at it nothing happens, one frame beyond it ends the socket."""
        for flood in (frame(TEXT, b"x"), frame(PING), frame(PONG), frame(CONTINUATION, fin=False)):
            self.setUp()
            first = frame(TEXT, b"x", fin=False) if flood[0] == 0 else flood
            caller = self.connect(first + flood * 19)
            self.assertIsNone(caller.closed, flood)
            self.door.reactor.pass_time(0.1)
            caller.send(flood)
            self.assertTrue(self.user.socket.is_open)
            caller.send(flood * 1000)
            self.assert_closed(caller, 1008, "too_many_frames")

    def test_flood_after_our_close_frame(self) -> None:
        """It does not keep us busy until the client has answered."""
        caller = self.connect()
        self.door.site.drain()
        caller.send(frame(PING) * 1000)
        self.assertTrue(caller.ended)
        self.assertEqual(self.ended, [True])
        caller.leave()

    def test_silence(self) -> None:
        """A silent client is asked for a sign of life, and given up without one: half-open connections end."""
        caller = self.connect()
        self.door.reactor.pass_time(20)
        self.assertEqual(self.said(caller), [Frame(PING, b"")])
        self.door.reactor.pass_time(9.9)
        self.assertTrue(self.user.socket.is_open)
        self.door.reactor.pass_time(0.2)
        self.assertEqual(self.said(caller)[-1].code, 1011)
        self.assertEqual(self.user.ends, 1)
        self.door.reactor.pass_time(3)
        self.assert_closed(caller, 1011, "no_sign_of_life")

    def test_any_sign_of_life(self) -> None:
        """A pong, another ping, a message or half a frame will do."""
        for sign in (frame(PONG), frame(PING), frame(TEXT, b"x"), b"\x81"):
            self.setUp()
            caller = self.connect()
            self.door.reactor.pass_time(20)
            self.door.reactor.pass_time(9)
            caller.send(sign)
            self.door.reactor.pass_time(19)
            self.assertTrue(self.user.socket.is_open, sign)
            caller.reset()


class SlowReaderTests(SocketCase):
    """A client that does not take what it is sent."""

    def setUp(self) -> None:
        SocketCase.setUp(self)
        self.caller = self.connect(room=400)
        self.socket = self.user.socket
        self.socket.send(b"x" * 100_000)

    def test_its_sender_is_told(self) -> None:
        """It is choked when the transport's buffer is full, and resumed when everything is taken."""
        self.assertTrue(self.socket.choked)
        self.caller.take(50_000)
        self.assertTrue(self.socket.choked)
        self.caller.take()
        self.assertEqual((self.socket.choked, self.user.resumptions), (False, 1))
        self.assertEqual([len(said.payload) for said in self.said(self.caller)], [100_000])

    def test_stalled(self) -> None:
        """It has its time to take it; then it is told, as far as it listens, and dropped."""
        self.door.reactor.pass_time(29.9)
        self.assertTrue(self.socket.is_open)
        self.door.reactor.pass_time(0.2)
        self.assertEqual((self.socket.is_open, self.user.ends), (False, 1))
        self.door.reactor.pass_time(3)
        self.assertEqual((self.caller.closed, self.door.left_behind()), ("reset", []))
        self.assertEqual(self.requests[0].record.reason, "too_slow")

    def test_told_when_it_reads_at_last(self) -> None:
        """Within the time of the close frame."""
        self.door.reactor.pass_time(30)
        self.caller.take()
        self.caller.send(frame(CLOSE))
        self.assert_closed(self.caller, 1013, "too_slow")

    def test_signs_of_life_do_not_help(self) -> None:
        """A client that only talks is not read ahead for."""
        for _ in range(10):
            self.door.reactor.pass_time(3)
            self.caller.send(frame(PONG))
        self.assertFalse(self.socket.is_open)
        self.caller.reset()

    def test_never_buffered_without_bound(self) -> None:
        """Whoever sends all the same is bounded, and the socket ends."""
        for _ in range(1000):
            self.socket.send(b"y" * 1000)
        self.assertFalse(self.socket.is_open)
        self.assertLess(self.caller.buffered, 100_000 + 4096 + 2000)
        self.assertEqual(self.requests[0].record.reason, "too_slow")
        self.caller.reset()
        self.assertEqual(self.door.left_behind(), [])

    def test_pings_are_answered_by_one_pong(self) -> None:
        """The last one's, once the client reads."""
        self.caller.send(frame(PING, b"1") + frame(PING, b"2") + frame(PING, b"3"))
        self.caller.take()
        self.assertEqual(self.said(self.caller)[1:], [Frame(PONG, b"3")])

    def test_departure_is_noticed(self) -> None:
        """At once, though nothing can be written."""
        self.caller.leave()
        self.assertEqual((self.user.ends, self.ended, self.door.left_behind()), (1, [False], []))

    def test_a_user_that_fails_when_resumed(self) -> None:
        """Ends its socket."""

        def fail() -> None:
            raise ValueError

        self.user.resumed = fail  # type: ignore[method-assign]
        self.caller.take()
        self.assertEqual(self.said(self.caller)[-1].code, 1011)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.caller.reset()


class EchoTests(SocketCase):
    """There and back."""

    def test_lengths(self) -> None:
        """Each of the three forms a length has (RFC 6455 5.2), at its borders."""
        self.limits = msgspec.structs.replace(LIMITS, message=1 << 20)
        self.user.act = lambda socket, text: socket.send(text.encode())
        sizes = (0, 1, 125, 126, 127, 65535, 65536, 70_000)
        caller = self.connect()
        for size in sizes:
            caller.send(frame(TEXT, b"x" * size))
        self.assertEqual([len(said.payload) for said in self.said(caller)], list(sizes))
        self.assertEqual({said.opcode for said in self.said(caller)}, {TEXT})
