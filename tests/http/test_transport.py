"""The short cuts through Twisted's transports change what it costs, and nothing else."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.testing import AccumulatingProtocol, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from hadesgw.http.transport import eager_writer, in_turn, read_plainly, read_up_to
from tests.real.processes import Process
from tests.wire.line import Reactor, Socket, connect


@implementer(IPushProducer)
class Pace:
    """A producer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class EagerWriterTests(SynchronousTestCase):
    """`eager_writer` sends at once what can be sent at once."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.socket = Socket()
        self.transport = connect(self.reactor, Protocol(), self.socket)
        self.write = eager_writer(self.transport)

    def test_it_does_not_wait_for_the_reactor(self) -> None:
        """What the socket takes is on its way when `write` returns, and nobody waits for it to be writable."""
        self.write(b"abc")
        self.assertEqual(self.socket.sent, b"abc")
        self.assertEqual(self.reactor.getWriters(), [])

    def test_what_the_socket_does_not_take_waits_its_turn(self) -> None:
        """It goes when there is room, before whatever is written later."""
        self.socket.room = 2
        self.write(b"abc")
        self.write(b"def")
        self.assertEqual(self.socket.sent, b"ab")
        self.socket.room = None
        self.write(b"ghi")
        self.assertEqual(self.socket.sent, b"ab")
        self.reactor.settle()
        self.assertEqual(self.socket.sent, b"abcdefghi")

    def test_a_full_socket_takes_nothing_and_loses_nothing(self) -> None:
        """A send that would block is no error."""
        self.socket.room = 0
        self.write(b"abc")
        self.socket.room = None
        self.reactor.settle()
        self.assertEqual(self.socket.sent, b"abc")

    def test_a_full_buffer_pauses_the_producer(self) -> None:
        """As it would without us, and resumes it when it has drained."""
        pace = Pace()
        self.transport.registerProducer(pace, True)
        self.socket.room = 10
        self.write(b"a" * 70000)
        self.assertEqual(pace.told, ["pause"])
        self.socket.room = None
        self.reactor.settle()
        self.assertEqual(pace.told, ["pause", "resume"])
        self.assertEqual(len(self.socket.sent), 70000)

    def test_a_dead_socket_is_left_for_the_reactor_to_find(self) -> None:
        """The write neither raises nor closes; the protocol learns it in its turn."""
        self.socket.break_off()
        self.write(b"abc")
        self.assertEqual(self.transport.connected, 1)
        self.reactor.settle()
        self.assertEqual(self.transport.connected, 0)
        self.write(b"abc")
        self.assertEqual(self.socket.sent, b"")

    def test_after_closing_the_order_is_kept(self) -> None:
        """What is written before the connection is closed goes out, whatever is in the buffer."""
        self.socket.room = 1
        self.write(b"abc")
        self.transport.loseConnection()
        self.write(b"def")
        self.socket.room = None
        self.reactor.settle()
        self.assertEqual(self.socket.sent, b"abcdef")
        self.assertEqual(self.socket.closed, "closed")

    def test_any_other_transport_is_used_as_it_is(self) -> None:
        """A test's, or one that has begun TLS."""
        plain = StringTransport()
        self.assertEqual(eager_writer(plain), plain.write)
        self.transport.TLS = True
        self.assertEqual(eager_writer(self.transport), self.transport.write)

    def test_whatever_room_there_is_the_bytes_arrive_in_order(self) -> None:
        """A random mix of writes, room and turns of the reactor loses and swaps nothing."""
        dice = random.Random(7)
        written = b""
        self.socket.room = 0
        for number in range(2000):
            data = b"%d," % number * dice.randrange(20)
            self.write(data)
            written += data
            if dice.random() < 0.3:
                self.socket.room = dice.randrange(400)
            if dice.random() < 0.3:
                self.reactor.settle()
        self.socket.room = None
        self.reactor.settle()
        self.assertEqual(self.socket.sent, written)


class Gathering(Reactor):
    """A reactor in the middle of a turn."""

    def __init__(self) -> None:
        Reactor.__init__(self)
        self.gathered: list[tuple[Callable[[bytes], None], bytes]] = []

    def gather(self, send: Callable[[bytes], None], data: bytes) -> None:
        self.gathered.append((send, data))

    def end_turn(self) -> None:
        """What was gathered is sent."""
        gathered, self.gathered = self.gathered, []
        for send, data in gathered:
            send(data)


class InTurnTests(SynchronousTestCase):
    """`in_turn` lets what is sent in one turn of the reactor leave together."""

    def setUp(self) -> None:
        self.reactor = Gathering()
        self.socket = Socket()
        self.transport = connect(self.reactor, Protocol(), self.socket)
        self.write = in_turn(self.transport, eager_writer(self.transport))

    def test_what_is_written_leaves_with_the_turn(self) -> None:
        """In order, and without waiting for the socket to be writable."""
        self.write(b"abc")
        self.write(b"def")
        self.assertEqual(self.socket.sent, b"")
        self.reactor.end_turn()
        self.assertEqual(self.socket.sent, b"abcdef")
        self.assertEqual(self.reactor.getWriters(), [])

    def test_nothing_overtakes_what_waits_in_the_transport(self) -> None:
        """Nor do ways of writing overtake each other when they change within a turn."""
        self.socket.room = 1
        self.write(b"ab")
        self.reactor.end_turn()
        self.write(b"cd")
        self.assertEqual(self.reactor.gathered, [], "it waits behind what is there")
        self.socket.room = None
        self.reactor.settle()
        self.write(b"ef")
        in_turn(self.transport, self.transport.write)(b"gh")
        self.write(b"ij")
        self.reactor.end_turn()
        self.reactor.settle()
        self.assertEqual(self.socket.sent, b"abcdefghij")

    def test_a_close_waits_for_what_was_gathered(self) -> None:
        """As it does for what is buffered. An abort waits for nothing, but what was written before it was sent."""
        self.write(b"abc")
        self.transport.loseConnection()
        self.reactor.end_turn()
        self.reactor.settle()
        self.assertEqual((self.socket.sent, self.socket.closed), (b"abc", "closed"))
        self.setUp()
        self.write(b"abc")
        self.transport.abortConnection()
        self.reactor.end_turn()
        self.reactor.settle()
        self.assertEqual((self.socket.sent, self.socket.closed), (b"abc", "reset"))

    def test_other_transports_are_written_as_they_are(self) -> None:
        """Where nobody gathers, or what is written to is no plain socket."""
        other = StringTransport()
        self.assertEqual(in_turn(other, other.write), other.write)
        plain = connect(Reactor(), Protocol(), Socket())
        plain.reactor = None  # type: ignore[assignment]
        self.assertEqual(in_turn(plain, plain.write), plain.write)


class ReadPlainlyTests(SynchronousTestCase):
    """`read_plainly` spares a UNIX transport `recvmsg`."""

    def test_a_unix_transport_reads_the_same_bytes(self) -> None:
        """From a real pair of sockets, to the end of the connection."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        protocol = AccumulatingProtocol()
        transport = unix.Server(ours, protocol, "", None, 1, Reactor())
        read_plainly(transport)
        theirs.send(b"abc")
        self.assertIsNone(transport.doRead())
        theirs.shutdown(socket.SHUT_WR)
        self.assertIsNotNone(transport.doRead())
        self.assertEqual(protocol.data, b"abc")
        self.assertEqual(getattr(transport.doRead, "__func__", None), tcp.Connection.doRead)

    def test_others_are_left_alone(self) -> None:
        """TCP reads plainly anyway."""
        transport = connect(Reactor(), Protocol(), Socket())
        read_plainly(transport)
        read_plainly(StringTransport())
        self.assertNotIn("doRead", vars(transport))


class ReadUpToTests(SynchronousTestCase):
    """`read_up_to` lets a transport take what is known to come."""

    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(self.theirs.close)
        self.addCleanup(self.ours.close)
        self.ours.setblocking(False)
        self.protocol = AccumulatingProtocol()
        self.transport = unix.Server(self.ours, self.protocol, "", None, 1, Reactor())
        self.protocol.makeConnection(self.transport)

    def read(self) -> int:
        """How many bytes come at once."""
        before = len(self.protocol.data)
        self.assertIsNone(self.transport.doRead())
        return len(self.protocol.data) - before

    def test_it_has_bounds(self) -> None:
        """Never less than usual, never more than is there; and as usual when no more is waited for."""
        self.theirs.sendall(b"a" * 200_000)
        for count, taken in ((0, 65536), (70_000, 70_000), (1 << 30, 200_000 - 65536 - 70_000)):
            read_up_to(self.transport, count)
            self.assertEqual(self.read(), taken)
        self.assertEqual(self.read(), 0)
        self.theirs.sendall(b"a" * 80_000)
        read_up_to(self.transport, 65536)
        self.assertEqual(self.read(), 65536)

    def test_a_piece_takes_the_memory_of_its_bytes(self) -> None:
        """Whatever else might have come: a body that drips in is as large as its bytes, and not as so many pages."""
        pieces: list[bytes] = []
        self.protocol.dataReceived = pieces.append  # type: ignore[assignment,method-assign]
        read_up_to(self.transport, 1 << 30)
        before = Process.of(os.getpid()).rss()  # type: ignore[union-attr]
        for _ in range(5000):
            self.theirs.send(b"a")
            self.read()
        self.assertEqual(b"".join(pieces), b"a" * 5000)
        self.assertLess(Process.of(os.getpid()).rss() - before, 5000 * 4096 / 4)  # type: ignore[union-attr]

    def test_the_end_of_a_connection(self) -> None:
        """Is found as usual: an orderly one, and a loss."""
        read_up_to(self.transport, 1 << 20)
        self.theirs.close()
        self.assertIsInstance(self.transport.doRead(), ConnectionDone)
        transport = connect(Reactor(), Protocol(), lost := Socket())
        read_up_to(transport, 1 << 20)
        lost.break_off()
        self.assertIsInstance(transport.doRead(), ConnectionLost)

    def test_when_a_producer_has_written_enough_is_another_matter(self) -> None:
        """It stays 64 KiB."""
        transport, pace = connect(Reactor(), Protocol(), full := Socket(room=0)), Pace()
        transport.registerProducer(pace, True)
        read_up_to(transport, 1 << 20)
        transport.write(b"a" * 65537)
        self.assertEqual((pace.told, full.sent), (["pause"], b""))

    def test_others_are_left_alone(self) -> None:
        """TLS decides by itself how much it takes."""
        transport = StringTransport()
        read_up_to(transport, 1 << 20)
        self.assertNotIn("doRead", vars(transport))
