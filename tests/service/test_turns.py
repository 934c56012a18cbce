"""The reactor's turn: on a real reactor of epoll's kind, with descriptors of our own."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.turns import GATHER_SECONDS, turns_of


class Kept(Protocol):
    """Keeps what happens to it.

    :ivar act: called with what is received.
    """

    def __init__(self) -> None:
        self.received = b""
        self.reason: Failure | None = None
        self.act: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.act is not None:
            self.act(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class TurnTests(SynchronousTestCase):
    """What happens to descriptors that are ready."""

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.now = 0.0
        turns = turns_of(self.reactor, lambda: self.now)
        assert turns is not None
        turns.take_over()
        self.turns = turns
        self.addCleanup(self.clean)
        self.others: list[socket.socket] = []
        self.transports: list[Server] = []

    def clean(self) -> None:
        """Nothing stays open."""
        self.reactor.removeAll()
        for other in self.others:
            other.close()
        for transport in self.transports:
            if transport.connected:
                transport.connectionLost(connectionDone)
        for internal in list(self.reactor._internalReaders):
            internal.connectionLost(connectionDone)
        self.reactor._poller.close()

    def connect(self) -> tuple[Kept, socket.socket]:
        """A connection whose other end is the test's."""
        listening = socket.create_server(("127.0.0.1", 0))
        other = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
        listening.close()
        ours.setblocking(False)
        protocol = Kept()
        transport = Server(ours, protocol, ("127.0.0.1", 1), None, 1, self.reactor)  # type: ignore[arg-type]
        protocol.makeConnection(transport)
        self.others.append(other)
        self.transports.append(transport)
        return protocol, other

    def turn(self) -> None:
        """One turn that waits for nothing."""
        self.reactor.doIteration(0)

    def test_what_is_ready_is_read(self) -> None:
        """Each connection in the turn in which it has something; a turn with nothing to do does nothing."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        self.turn()
        to_one.sendall(b"a")
        self.turn()
        to_two.sendall(b"b")
        to_one.sendall(b"c")
        self.turn()
        self.assertEqual((one.received, two.received), (b"ac", b"b"))

    def test_what_waits_is_written(self) -> None:
        """As soon as the other end takes it."""
        one, to_one = self.connect()
        assert one.transport is not None
        one.transport.write(b"x" * 100_000)
        got = b""
        for _ in range(100):
            self.turn()
            got += to_one.recv(65_536, socket.MSG_DONTWAIT) if len(got) < 100_000 else b""
        self.assertEqual(len(got), 100_000)

    def test_ends_are_told(self) -> None:
        """An orderly end, and a reset; each to its own protocol."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        to_one.close()
        to_two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        to_two.close()
        self.turn()
        assert one.reason is not None and two.reason is not None
        self.assertTrue(one.reason.check(ConnectionDone))
        self.assertTrue(two.reason.check(ConnectionLost))

    def test_a_failing_protocol_harms_no_other(self) -> None:
        """It is logged and dropped; the others of the turn are read."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        one.act = two.act = fail
        to_one.sendall(b"a")
        to_two.sendall(b"b")
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual((one.received, two.received), (b"a", b"b"))
        for protocol in (one, two):
            assert protocol.reason is not None
            self.assertIsInstance(protocol.reason.value, ConnectionLost | ZeroDivisionError)

    def test_who_was_closed_in_the_turn_is_not_called(self) -> None:
        """Whichever of the two is called first closes the other."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()

        def close(other: Kept) -> Any:
            return lambda data: other.transport.abortConnection()  # type: ignore[union-attr]

        one.act, two.act = close(two), close(one)
        to_one.sendall(b"a")
        to_two.sendall(b"b")
        self.turn()
        self.turn()
        self.assertIn((one.received, two.received), ((b"a", b""), (b"", b"b")))

    def test_what_is_sent_in_a_turn_leaves_together(self) -> None:
        """When everybody has been called; one by one in the order of sending, even where one fails."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        sent: list[bytes] = []

        def broken(data: bytes) -> None:
            raise ZeroDivisionError

        def act(data: bytes) -> None:
            for send in (sent.append, broken):
                self.turns.gather(send, data)
            self.assertEqual(sent, [])

        one.act = two.act = act
        to_one.sendall(b"a")
        to_two.sendall(b"b")
        self.turn()
        self.assertEqual(sorted(sent), [b"a", b"b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_no_send_waits_for_long(self) -> None:
        """When its time is over it goes before anybody else is called."""
        (one, to_one), (two, to_two) = self.connect(), self.connect()
        sent: list[bytes] = []
        seen: list[int] = []

        def act(data: bytes) -> None:
            seen.append(len(sent))
            self.turns.gather(sent.append, data)
            self.now += GATHER_SECONDS

        one.act = two.act = act
        to_one.sendall(b"a")
        to_two.sendall(b"b")
        self.turn()
        self.assertEqual((seen, len(sent)), ([0, 1], 2))

    def test_between_turns_it_is_sent_at_once(self) -> None:
        """By timers and threads, whose turn no descriptor's follows."""
        sent: list[bytes] = []
        self.turns.gather(sent.append, b"a")
        self.assertEqual(sent, [b"a"])

    def test_timers_and_threads_go_on(self) -> None:
        """They are none of a turn's business: the reactor as a whole runs, and stops."""
        done: list[str] = []
        self.reactor._registerAsIOThread = False
        self.reactor.callLater(0.0, done.append, "timer")
        self.reactor.callFromThread(done.append, "thread")
        self.reactor.callLater(0.01, self.reactor.stop)
        self.reactor.run(installSignalHandlers=False)
        self.assertEqual(sorted(done), ["thread", "timer"])

    def test_other_reactors_stay_as_they_are(self) -> None:
        """Also one of epoll's kind that is made otherwise than this knows."""

        class Another(EPollReactor):
            """A reactor that somebody has derived."""

        another = Another()
        for internal in list(another._internalReaders):
            internal.connectionLost(connectionDone)
        another._poller.close()
        for reactor in (another, MemoryReactorClock()):
            self.assertIsNone(turns_of(reactor, lambda: 0.0))
