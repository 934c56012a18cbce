"""A model server without a network: an endpoint whose connections are scripted sockets, and what else a test of the
upstream side needs.

Nothing here decides anything: bytes go through the real agent and its connections on Twisted's real transport.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from hadesgw.http.agent import Agent
from hadesgw.http.client import Answer, UpstreamFailure
from hadesgw.interfaces import IProxyObserver
from tests.wire.line import Reactor, Socket, connect

HEAD_LIMIT = 4096
"""The most bytes an answer's head may have, in these tests."""
OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def measured(body: bytes, *fields: bytes) -> bytes:
    """An answer that states its length."""
    return b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"content-length: %d" % len(body), b"", body])


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Line:
    """One connection, from the model server's side.

    :ivar transport: the gateway's.
    """

    def __init__(self, reactor: Reactor, protocol: Protocol, room: int | None = None) -> None:
        self._reactor = reactor
        self._heard = 0
        self.socket = Socket(room)
        self.transport = connect(reactor, protocol, self.socket)

    def say(self, *pieces: bytes) -> None:
        """Send `pieces`; each is read on its own."""
        for piece in pieces:
            self.socket.arrive(piece)
            self._reactor.settle()

    def close(self) -> None:
        """End the connection in order."""
        self.socket.end()
        self._reactor.settle()

    def reset(self) -> None:
        """Break the connection."""
        self.socket.break_off()
        self._reactor.settle()

    def heard(self) -> bytes:
        """What the gateway has sent since this was asked last."""
        data = bytes(self.socket.sent[self._heard :])
        self._heard = len(self.socket.sent)
        return data

    @property
    def open(self) -> bool:
        """Whether the gateway has not closed it."""
        return self.socket.closed is None

    @property
    def read(self) -> bool:
        """Whether the gateway reads what is sent here."""
        return self.transport in self._reactor.getReaders()


@implementer(IStreamClientEndpoint)
class ModelServer:
    """An endpoint that leads to the test.

    :ivar lines: the connections made, in order.
    :ivar failures: what the next attempts to connect fail with; when none is left they succeed.
    :ivar room: how many bytes a new connection takes unasked, or None for any number.
    :ivar attempts: how often anybody tried to connect.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.lines: list[Line] = []
        self.failures: list[Exception] = []
        self.room: int | None = None
        self.attempts = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - the interface's name
        """Connect at once, or fail as told."""
        self.attempts += 1
        if self.failures:
            return fail(self.failures.pop(0))
        protocol: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        self.lines.append(Line(self._reactor, protocol, self.room))
        return succeed(protocol)

    @property
    def line(self) -> Line:
        """The connection made last."""
        return self.lines[-1]

    @property
    def open(self) -> list[Line]:
        """The connections that the gateway has not closed."""
        return [line for line in self.lines if line.open]

    def heard(self) -> bytes:
        """What the connection made last has been sent since this was asked last."""
        return self.line.heard()

    def say(self, *pieces: bytes) -> None:
        """Answer on the connection made last."""
        self.line.say(*pieces)

    def close(self) -> None:
        """End the connection made last, in order."""
        self.line.close()

    def reset(self) -> None:
        """Break the connection made last."""
        self.line.reset()


def make_agent(reactor: Reactor, server: IStreamClientEndpoint, *, jitter: Callable[[], float] = lambda: 0.5) -> Agent:
    """An agent with vLLM's usual limits.

    :param jitter: its source of randomness.
    """
    return Agent(
        "model",
        reactor,
        server,
        random=jitter,
        connect_seconds=5.0,
        first_byte_seconds=60.0,
        head_limit=HEAD_LIMIT,
    )


class Receiver(Protocol):
    """Takes a body and keeps it.

    :ivar reason: why it ended; None while it has not.
    """

    def __init__(self) -> None:
        self.body = b""
        self.reason: Failure | None = None

    @classmethod
    def of(cls, answer: Answer) -> Receiver:
        """One that was given the body of `answer`."""
        receiver = cls()
        answer.deliverBody(receiver)
        return receiver

    def dataReceived(self, data: bytes) -> None:
        self.body += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None, "a body ends once"
        self.reason = reason

    @property
    def why(self) -> str | None:
        """The reason in a word: "done", the slug of a refusal, or None while the body has not ended."""
        if self.reason is None:
            return None
        error = self.reason.value
        return error.refusal.reason if isinstance(error, UpstreamFailure) else "done"


@implementer(IProxyObserver)
class ProxyNotes:
    """What a proxy told its observer."""

    def __init__(self) -> None:
        self.mismatches: list[bytes] = []
        self.echoed: list[list[bytes]] = []
        self.abandoned = 0

    def correlation_mismatch(self, header: bytes) -> None:
        self.mismatches.append(header)

    def ids_echoed(self, headers: tuple[bytes, ...]) -> None:
        self.echoed.append(list(headers))

    def upstream_abandoned(self) -> None:
        self.abandoned += 1

    def request_sent(self, request: Any, body: bytes) -> None:
        """Not noted."""

    def answer_begun(self, request: Any, code: int, events: bool) -> None:
        """Nobody wants to see the body."""


def request_lines(data: bytes) -> list[bytes]:
    """The request lines in what a model server heard."""
    return re.findall(rb"^[A-Z]+ [^ ]+ HTTP/1\.1(?=\r\n)", data, re.MULTILINE)
