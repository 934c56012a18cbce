"""``python -m benchmarks.raw_twisted PORT SOCKET``: the least a Twisted process can do between a port and a socket.

Every byte is handed on and none is looked at, a connection for each client's, at the pace of the slower side. It is no
door: it knows no request from another. Measured beside one, it helps to tell a slow machine from a slow door.
"""

from __future__ import annotations

import sys
from typing import cast

from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.main import installReactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class _End(Protocol):
    """One end of a pipe; what it reads the other writes."""

    other: _End | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None and self.other.transport is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()

    def join(self, other: _End) -> None:
        """Pass on to `other`, no faster than it takes it."""
        self.other = other
        other.transport.registerProducer(cast(IPushProducer, self.transport), True)  # type: ignore[union-attr]


class _Entrance(_End):
    """The client's end; it reads nothing before there is another."""

    def __init__(self, reactor: EPollReactor, path: str) -> None:
        self._way = UNIXClientEndpoint(reactor, path)

    def connectionMade(self) -> None:
        transport = cast(ITCPTransport, self.transport)
        transport.setTcpNoDelay(True)
        transport.pauseProducing()  # type: ignore[attr-defined]
        connectProtocol(self._way, _End()).addCallbacks(self._joined, lambda _: transport.loseConnection())

    def _joined(self, far: _End) -> None:
        self.join(far)
        far.join(self)
        self.transport.resumeProducing()  # type: ignore[union-attr]


class _Entrances(Factory):
    noisy = False

    def __init__(self, reactor: EPollReactor, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def buildProtocol(self, addr: object) -> _Entrance:
        return _Entrance(self._reactor, self._path)


def main(port: int, path: str) -> None:
    """Serve until a signal ends it."""
    reactor = EPollReactor()
    installReactor(reactor)
    TCP4ServerEndpoint(reactor, port, backlog=4096, interface="127.0.0.1").listen(_Entrances(reactor, path))
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
