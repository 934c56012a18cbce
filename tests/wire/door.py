"""A whole door without a network: a real :class:`Site` on scripted sockets, and resources that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.config import Timeouts
from hadesgw.http.body import MemoryShare
from hadesgw.http.channel import Channel
from hadesgw.http.framing import AllowedHosts, HeadLimits
from hadesgw.http.site import Request, Site
from hadesgw.interfaces import ISiteObserver
from hadesgw.policy.correlation import Correlator
from hadesgw.policy.origins import Origins
from hadesgw.policy.refusals import Refusal, Refused
from tests.wire.answers import Answer, read_answers
from tests.wire.line import Reactor, Socket, connect

MEMORY = 1024 * 1024
"""Bytes that all bodies of a door may hold."""


@implementer(ISiteObserver)
class Notes:
    """What the site told its observer."""

    def __init__(self) -> None:
        self.open = 0
        self.refused: list[tuple[str, bytes, bytes]] = []
        self.replaced: list[bytes] = []
        self.missing = 0

    def connections(self, count: int) -> None:
        self.open = count

    def refused_early(self, refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        self.refused.append((refusal.reason, request_id, session_id))

    def ids_replaced(self, names: Iterable[bytes]) -> None:
        self.replaced.extend(names)

    def correlation_missing(self) -> None:
        self.missing += 1


class Leaf(Resource):
    """A resource that answers every path as `act` says, and remembers who asked."""

    isLeaf = True

    def __init__(self, act: Callable[[Request], bytes | int]) -> None:
        Resource.__init__(self)
        self._act = act
        self.asked: list[Request] = []

    def render(self, request: Request) -> bytes | int:
        self.asked.append(request)
        return self._act(request)


def answer_path(request: Request) -> bytes:
    """Answer with what was asked for; the body is not looked at."""
    return b"%b %b" % (request.method, request.uri)


def hold(request: Request) -> int:
    """Do not answer yet."""
    return NOT_DONE_YET


def echo(cap: int = 64 * 1024) -> Callable[[Request], int]:
    """Ask for the body at once, and answer with it, or with the refusal it meets."""

    def act(request: Request) -> int:
        request.read_body(cap).addCallbacks(answer_with, unread, callbackArgs=(request,), errbackArgs=(request,))
        return NOT_DONE_YET

    return act


def answer_with(body: bytes, request: Request) -> None:
    """Answer with `body` and its length."""
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


def unread(failure: Failure, request: Request) -> None:
    """Refuse as the body was refused; a client that left needs no answer."""
    if isinstance(failure.value, Refused):
        request.refuse(failure.value.refusal)


class Door:
    """A site, its clock and its memory.

    :param act: what its resource does with a request; or a resource.
    :param others: arguments of :class:`Site` that differ from the usual ones.
    """

    def __init__(self, act: Callable[[Request], bytes | int] | Resource = answer_path, **others: Any) -> None:
        self.reactor = Reactor()
        self.notes = Notes()
        verifyObject(ISiteObserver, self.notes)
        self.memory = MemoryShare(MEMORY)
        self.minted = 0
        root = act if isinstance(act, Resource) else Leaf(act)
        self.leaf = root if isinstance(root, Leaf) else None
        settings: dict[str, Any] = {
            "clock": self.reactor,
            "correlator": Correlator("X-Request-ID", "X-Conveyance-Session-ID", self.mint),
            "hosts": AllowedHosts(()),
            "origins": Origins(()),
            "head_limits": HeadLimits(),
            "body_memory": self.memory,
            "timeouts": Timeouts(),
            "max_connections": 100,
            "half_close": False,
            "observer": self.notes,
        }
        self.site = Site(root, **{**settings, **others})
        self.callers: list[Caller] = []

    def mint(self) -> bytes:
        """A fresh id that shows that it is one."""
        self.minted += 1
        return b"minted-%d" % self.minted

    @property
    def asked(self) -> list[Request]:
        """The requests that reached the resource."""
        assert self.leaf is not None
        return self.leaf.asked

    def answer_all(self) -> None:
        """Answer every request that was held, and those that come then, with nothing."""
        self.reactor.settle()
        while not self.asked[-1].finished:
            answer_with(b"", self.asked[-1])
            self.reactor.settle()

    def call(self, room: int | None = None) -> Caller:
        """A new connection.

        :param room: how many bytes the client and the kernels in between will take unasked; None for any number.
        """
        caller = Caller(self, room)
        self.callers.append(caller)
        return caller

    def left_behind(self) -> list[object]:
        """What is still held: timers, connections, memory. Nothing, when every client has gone."""
        timers: list[object] = list(self.reactor.getDelayedCalls())
        watched: list[object] = [*self.reactor.getReaders(), *self.reactor.getWriters()]
        return timers + watched + [*self.site.channels] + [self.memory.held] * bool(self.memory.held)


class Caller:
    """A client on one connection."""

    def __init__(self, door: Door, room: int | None) -> None:
        self._door = door
        self.socket = Socket(room)
        channel = door.site.buildProtocol(None)  # type: ignore[arg-type]
        assert isinstance(channel, Channel)
        self.channel = channel
        self.transport = connect(door.reactor, channel, self.socket)
        door.reactor.settle()

    def send(self, data: bytes, step: int | None = None) -> Caller:
        """Send `data`: at once, or so that the door reads it in pieces of `step` bytes."""
        for at in range(0, len(data), step or len(data) or 1):
            self.socket.arrive(data[at : at + (step or len(data))])
            self._door.reactor.settle()
        return self

    def take(self, count: int | None = None) -> None:
        """Read some of what the door wants to send; None for all, and all that follows."""
        self.socket.room = None if count is None else (self.socket.room or 0) + count
        self._door.reactor.settle()

    def half_close(self) -> None:
        """Close our half."""
        self.socket.end()
        self._door.reactor.settle()

    leave = half_close  # on the wire they are the same

    def reset(self) -> None:
        """Drop the connection."""
        self.socket.break_off()
        self._door.reactor.settle()

    @property
    def received(self) -> bytes:
        """What came back so far."""
        self._door.reactor.settle()
        return bytes(self.socket.sent)

    @property
    def closed(self) -> str | None:
        """How the door closed the connection: None, "closed" or "reset"."""
        self._door.reactor.settle()
        return self.socket.closed

    def answers(self, *methods: bytes) -> list[Answer]:
        """What came back so far, taken apart; see :func:`read_answers`."""
        return read_answers(self.received, methods)

    def answer(self, *methods: bytes) -> Answer:
        """The only answer so far."""
        answers: Sequence[Answer] = self.answers(*methods)
        assert len(answers) == 1, answers
        return answers[0]

    @property
    def ended(self) -> bool:
        """Whether the door will send no more: it closed, or half-closed, on its own."""
        return self.closed is not None or self.socket.half_closed

    @property
    def reading(self) -> bool:
        """Whether the door reads what we send."""
        return self.transport in self._door.reactor.getReaders()

    @property
    def buffered(self) -> int:
        """How many bytes the door holds because we do not read them."""
        return len(self.transport.dataBuffer) - self.transport.offset + self.transport._tempDataLen


def get(target: bytes = b"/", *fields: bytes, host: bytes = b"localhost") -> bytes:
    """A GET request."""
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: %b" % host, *fields, b"", b""])


def post(body: bytes = b"", *fields: bytes, target: bytes = b"/", length: int | None = None) -> bytes:
    """A POST request; `length` claims another length than the body's."""
    claimed = len(body) if length is None else length
    head = [b"POST %b HTTP/1.1" % target, b"Host: localhost", b"Content-Length: %d" % claimed, *fields, b"", b""]
    return b"\r\n".join(head) + body


def post_chunked(*chunks: bytes, fields: Iterable[bytes] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    """A POST request with a chunked body."""
    head = [b"POST / HTTP/1.1", b"Host: localhost", b"Transfer-Encoding: chunked", *fields, b"", b""]
    return b"\r\n".join(head) + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end
