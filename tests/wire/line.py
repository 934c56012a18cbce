"""Twisted's own TCP transport without a network: a socket that is a script, and a reactor that is turned by hand.

A stand-in for a transport forgives what the real one does not: it never fills, never half-closes, never loses what was
unread. So the real one is used, and only what the kernel would do is played. Time stands still unless it is moved.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


class Socket:
    """Our end of one connection, as the kernel would show it.

    :ivar sent: what the peer has been given.
    :ivar room: how many bytes the kernel will still take for the peer, or None for any number.
    :ivar half_closed: whether we closed our half.
    :ivar closed: None, or how we closed: "closed", or "reset" when we made the kernel drop the connection.
    :ivar unread_at_close: bytes of the peer's that we had not read when we closed; a kernel then resets the connection,
        and what we sent last may be lost.
    """

    def __init__(self, room: int | None = None) -> None:
        self.sent = bytearray()
        self.room = room
        self.half_closed = False
        self.closed: str | None = None
        self.unread_at_close = 0
        self._arrived: deque[bytes] = deque()
        self._ended = False
        self._reset = False
        self._linger = True

    # -- What the peer does --------------------------------------------------------------------------------------------

    def arrive(self, data: bytes) -> None:
        """The peer sent `data`."""
        self._arrived.append(data)

    def end(self) -> None:
        """The peer closed its half, or left: on the wire it is the same."""
        self._ended = True

    def break_off(self) -> None:
        """The peer reset the connection."""
        self._reset = True

    @property
    def readable(self) -> bool:
        """Whether a poll would say so."""
        return bool(self._arrived) or self._ended or self._reset

    @property
    def writable(self) -> bool:
        """Whether a poll would say so."""
        return self.room is None or self.room > 0 or self._reset

    # -- What a transport calls ----------------------------------------------------------------------------------------

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def fileno(self) -> int:
        return 1000

    def recv(self, size: int) -> bytes:
        if self._reset:
            raise ConnectionResetError(errno.ECONNRESET, "reset by peer")
        if not self._arrived:
            if self._ended:
                return b""
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing there")
        data = self._arrived.popleft()
        if len(data) > size:
            self._arrived.appendleft(data[size:])
        return data[:size]

    def send(self, data: memoryview) -> int:
        if self._reset or self.half_closed:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        if not self.writable:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        count = len(data) if self.room is None else min(len(data), self.room)
        self.sent += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._linger = False

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_WR:
            self.half_closed = True

    def close(self) -> None:
        self.closed = "closed" if self._linger else "reset"
        self.unread_at_close = sum(map(len, self._arrived))

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8082)


@implementer(IReactorFDSet)
class Reactor(Clock):
    """A clock that also serves sockets, when told to."""

    def __init__(self) -> None:
        Clock.__init__(self)
        self._readers: list[IReadDescriptor] = []
        self._writers: list[IWriteDescriptor] = []
        self._reading = False
        self._gathered: list[tuple[Callable[[bytes], None], bytes]] = []

    def gather(self, send: Callable[[bytes], None], data: bytes) -> None:
        """As :meth:`hadesgw.service.turns.Turns.gather`."""
        if self._reading:
            self._gathered.append((send, data))
        else:
            send(data)

    def addReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        if reader not in self._readers:
            self._readers.append(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:  # noqa: N802
        if writer not in self._writers:
            self._writers.append(writer)

    def removeReader(self, reader: IReadDescriptor) -> None:  # noqa: N802
        if reader in self._readers:
            self._readers.remove(reader)

    def removeWriter(self, writer: IWriteDescriptor) -> None:  # noqa: N802
        if writer in self._writers:
            self._writers.remove(writer)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:  # noqa: N802
        everybody: list[IReadDescriptor | IWriteDescriptor] = [*self._readers, *self._writers]
        self._readers, self._writers = [], []
        return everybody

    def getReaders(self) -> list[IReadDescriptor]:
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        return list(self._writers)

    def settle(self) -> None:
        """Serve whoever can be served, until nobody can. Time does not pass."""
        while self._turn():
            pass

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and serve what follows from it."""
        self.advance(seconds)
        self.settle()

    def _turn(self) -> bool:
        self.advance(0)
        busy = False
        self._reading = True
        for transport in self._ready(self._readers, "readable"):
            busy = True
            self._serve(transport, transport.doRead, self._readers, reading=True)
        self._reading = False
        gathered, self._gathered = self._gathered, []
        for send, data in gathered:
            send(data)
        for transport in self._ready(self._writers, "writable"):
            busy = True
            self._serve(transport, transport.doWrite, self._writers, reading=False)
        return busy

    @staticmethod
    def _ready(group: Iterable[object], state: str) -> list[tcp.Connection]:
        transports = [transport for transport in group if isinstance(transport, tcp.Connection)]
        return [transport for transport in transports if getattr(transport.socket, state)]

    def _serve(self, transport: tcp.Connection, act: object, group: Sequence[object], *, reading: bool) -> None:
        """As Twisted's reactors do it, half-closing included."""
        if transport not in group:
            return  # somebody served before took it out
        assert callable(act)
        end = act()
        if end is None:
            return
        self.removeReader(transport)
        if reading and isinstance(end, ConnectionDone):
            transport.readConnectionLost(Failure(end))
        else:
            self.removeWriter(transport)
            transport.connectionLost(Failure(end))


def connect(reactor: Reactor, protocol: Protocol, ours: Socket) -> tcp.Server:
    """Give `protocol` a transport on `ours`, as if it had just been accepted."""
    transport = tcp.Server(ours, protocol, ("127.0.0.1", 40000), None, 1, reactor)  # type: ignore[arg-type]
    transport.repstr = f"<the transport of {protocol!r}>"
    protocol.makeConnection(transport)
    return transport
