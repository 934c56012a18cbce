"""One WebSocket (RFC 6455): what becomes of a connection whose request asked for it, after the 101.

The handshake is a request like any other and passes the same layers; it stays in flight as long as the socket lives, so
it is counted, timed and logged as one. wsproto knows the frames; what a client may do with them is bounded here:

- A message has a size, and what is held of unfinished ones counts with the bodies of requests.
- Frames have a rate, control frames and fragments as much as messages: each costs us the same work.
- A client that takes nothing is written to no further than its buffer: whoever sends looks at `choked`, waits for
  `resumed`, and so needs no buffer of its own. Its answers to pings and mistakes are few, and have a bound too.
- A client that is silent is asked for a sign of life, and gone without one, however open the kernel thinks it is.

While a client does not read we go on reading, so that its departure is noticed at once.
"""

from __future__ import annotations

import enum
from io import StringIO

import msgspec
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from zope.interface import implementer

from hadesgw.http.framing import Fields
from hadesgw.http.site import Request
from hadesgw.interfaces import IHeir, ISocketUser
from hadesgw.policy import closures
from hadesgw.policy.allowance import Bucket, Rate
from hadesgw.policy.closures import Closure, closure_of
from hadesgw.policy.refusals import Refusal

_NOT_UTF8 = 1007


class SocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one WebSocket.

    :ivar message: bytes of UTF-8 that a client's message may have.
    :ivar frames: how many a client may send in a time.
    :ivar unread: bytes written that a client has not taken, beyond which it is given up.
    :ivar ping_seconds: of silence, after which a sign of life is asked for.
    :ivar pong_seconds: how long that may take.
    :ivar stall_seconds: how long a client may take nothing of what was written.
    :ivar close_seconds: how long it may take to answer our close frame.
    """

    message: int
    frames: Rate
    unread: int
    ping_seconds: float
    pong_seconds: float
    stall_seconds: float
    close_seconds: float


class _State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()  # our close frame is sent, the client's is awaited
    ENDED = enum.auto()


@implementer(IHeir, IPushProducer)
class WebSocket:
    """One WebSocket.

    :param request: the one that asked for it; it has been admitted and its handshake is good.
    :param user: provides :class:`ISocketUser`.
    :ivar choked: whether the client reads more slowly than it is written to: send nothing until `resumed`.
    """

    _log = Logger()

    def __init__(self, request: Request, limits: SocketLimits, clock: IReactorTime, user: ISocketUser) -> None:
        assert request.channel is not None
        self._request = request
        self._channel = request.channel
        self._share = request.channel.site.body_memory
        self._limits = limits
        self._clock = clock
        self._user = user
        self._connection = Connection(ConnectionType.SERVER)
        self._frames = Bucket(limits.frames)
        self._state = _State.OPEN
        self._text = StringIO()  # what has come of a message that is not whole
        self._held = 0  # its bytes
        self._unread = 0  # bytes written since the client fell behind
        self._pinged = False  # whether a sign of life is awaited
        self._owed: bytes | None = None  # what the last ping said, while its answer would only be buffered
        self.choked = False

    def open(self, fields: Fields) -> int:
        """Answer the handshake and begin.

        :param fields: of the 101.
        :returns: `NOT_DONE_YET`, for a resource to return.
        """
        request = self._request
        request.record.stream = True
        request.on_interrupt = self._interrupted
        request.on_drain = self._drained
        request.on_late = self._late
        request.at_end(self._lost)
        request.switch_protocols(fields, self)
        request.registerProducer(self, True)
        self._await_life()
        self._user.opened(self)
        self._channel.hand_over()
        return NOT_DONE_YET

    # -- Sending -------------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and are received."""
        return self._state is _State.OPEN

    def send(self, text: bytes) -> None:
        """Send a text message; nothing, when the socket is not open any more.

        :param text: UTF-8.
        """
        if self.is_open:
            self._write(self._connection.send(TextMessage(data=text.decode("utf-8"))))
            if self._unread > self._limits.unread:
                self.close(closures.TOO_SLOW)

    def close(self, closure: Closure) -> None:
        """Say why, wait a moment for the client's word, and hang up."""
        if self.is_open:
            self._say_goodbye(closure)
            self._request.watch(self._limits.close_seconds)
            self._gone()

    def _say_goodbye(self, closure: Closure) -> None:
        self._state = _State.CLOSING
        if closure.fault:
            self._request.record.reason = closure.reason
            self._request.record.code = str(closure.code)
        self._write(self._connection.send(CloseConnection(code=closure.code, reason=closure.message)))

    def _write(self, frame: bytes) -> None:
        self._request.sentLength += len(frame)
        if self.choked:
            self._unread += len(frame)
        self._channel.write(frame)

    # -- Receiving -----------------------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """See :meth:`IHeir.received`."""
        self._pinged = False
        if self.is_open and not self.choked:
            self._await_life()
        try:
            self._take(data)
        except Exception:  # noqa: BLE001 - a defect of ours ends this socket, with its word for that
            self._log.failure("A WebSocket's user failed on it")
            self.close(closures.INTERNAL)

    def _take(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, CloseConnection):
                self._take_close(event)
            elif getattr(event, "frame_finished", True) and not self._frames.take(self._clock.seconds()).admitted:
                self._fail(closures.TOO_MANY_FRAMES)
            elif self.is_open:
                self._take_frame(event)
            if self._request.finished:
                return

    def _take_frame(self, event: Event) -> None:
        """A frame, or a part of one."""
        if isinstance(event, TextMessage):
            self._take_text(event)
        elif isinstance(event, BytesMessage):
            self._fail(closures.NOT_TEXT)
        elif isinstance(event, Ping):
            self._answer_ping(bytes(event.payload))
        else:
            assert isinstance(event, Pong)  # a sign of life, as everything is that arrives

    def _take_text(self, event: TextMessage) -> None:
        text = event.data
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
        if self._held + size > self._limits.message:
            self._fail(closures.MESSAGE_TOO_LARGE)
        elif not event.message_finished:
            self._keep_text(text, size)
        else:
            whole = self._text.getvalue() + text if self._held else text
            self._request.record.bytes_in += self._held + size
            self._drop_text()
            self._user.received(whole)

    def _keep_text(self, text: str, size: int) -> None:
        if not self._share.take(size):
            self._fail(closures.NO_MEMORY)
            return
        self._text.write(text)
        self._held += size

    def _drop_text(self) -> None:
        if self._held:
            self._share.give_back(self._held)
            self._text = StringIO()
            self._held = 0

    def _answer_ping(self, payload: bytes) -> None:
        """Answer, or keep only the last one's answer while the client reads none (RFC 6455 5.5.3)."""
        if self.choked:
            self._owed = payload
        else:
            self._write(self._connection.send(Pong(payload=payload)))

    def _take_close(self, event: CloseConnection) -> None:
        """The client's close frame; or wsproto's, for a fault of framing."""
        faulty = self._connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)
        if faulty:
            self._fail(closures.NOT_UTF8 if event.code == _NOT_UTF8 else closures.BAD_FRAME)
            return
        if self.is_open:
            self._write(self._connection.send(event.response()))
        self._finish()

    def _fail(self, closure: Closure) -> None:
        """Say why, and hang up at once: nothing more is read of what a client sends that keeps no rules (7.1.7)."""
        if self.is_open:
            self._say_goodbye(closure)
        self._finish()

    # -- The clock -----------------------------------------------------------------------------------------------------

    def _await_life(self) -> None:
        self._request.watch(self._limits.ping_seconds)

    def _late(self) -> None:
        """What was waited for has not come in time."""
        if self._state is _State.CLOSING:
            self._give_up()
        elif self.choked:
            self.close(closures.TOO_SLOW)
        elif self._pinged:
            self.close(closures.NO_SIGN_OF_LIFE)
        else:
            self._pinged = True
            self._write(self._connection.send(Ping()))
            if not self.choked:
                self._request.watch(self._limits.pong_seconds)

    # -- IPushProducer: the client's pace ------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not take what is written."""
        self.choked = True
        if self.is_open:
            self._request.watch(self._limits.stall_seconds)

    def resumeProducing(self) -> None:
        """It has taken everything."""
        self.choked = False
        self._unread = 0
        if not self.is_open:
            return
        self._await_life()
        if self._owed is not None:
            owed, self._owed = self._owed, None
            self._write(self._connection.send(Pong(payload=owed)))
        try:
            self._user.resumed()
        except Exception:  # noqa: BLE001 - as in `received`
            self._log.failure("A WebSocket's user failed on it")
            self.close(closures.INTERNAL)

    def stopProducing(self) -> None:
        """The transport is gone; the request's end follows and tells everybody."""

    # -- Ends ----------------------------------------------------------------------------------------------------------

    def _drained(self) -> None:
        """The gateway is stopping, and has sessions enough to wait for without their sockets."""
        self.close(closures.GOING_AWAY)

    def _interrupted(self, refusal: Refusal) -> None:
        self.close(closure_of(refusal))

    def _give_up(self) -> None:
        """Our close frame was not answered: hang up, or drop the connection of a client that has not even taken it."""
        if self.choked:
            self._channel.abort()
        else:
            self._finish()

    def _finish(self) -> None:
        """Both have said all they will: end the request, and with it the connection."""
        self._state = _State.ENDED
        request = self._request
        request.on_interrupt = request.on_drain = request.on_late = None
        request.unregisterProducer()
        request.finish()

    def _lost(self, completed: bool) -> None:
        """The request has ended: by us, or because the connection is gone."""
        self._state = _State.ENDED
        self._drop_text()
        self._gone()

    def _gone(self) -> None:
        """Tell the user, once, that this is no socket any more."""
        user, self._user = self._user, _NOBODY
        user.closed()


@implementer(ISocketUser)
class _Nobody:
    """The user of a socket that has none any more."""

    def opened(self, socket: WebSocket) -> None: ...

    def received(self, text: str) -> None: ...

    def resumed(self) -> None: ...

    def closed(self) -> None: ...


_NOBODY = _Nobody()
