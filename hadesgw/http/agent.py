"""Requests to one model server on its UNIX socket: connecting, keeping connections, asking once more when that is safe.

- A full accept queue makes connect() on a UNIX socket fail at once (EAGAIN), where TCP would wait: so we wait.
- vLLM closes a connection that was idle for 5 s, with a plain FIN: ours are dropped before that.
- A request is sent again only if a *reused* connection died before any byte of an answer: then it met that close, not
  the model. The caller can forbid it for requests with an effect.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hadesgw.http.client import Answer, BytesBody, ClientConnection, Promise, UpstreamFailure
from hadesgw.http.framing import Fields
from hadesgw.interfaces import IAsker, IUpstream
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal

KEEP_IDLE_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which vLLM closes it."""
BUSY_SECONDS = 2.0
"""How long a full accept queue is waited out."""
_PAUSE_SECONDS = (0.005, 0.1)  # between two tries: the first, and the most it grows to

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]*")
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE"))  # RFC 9110 9.2.2, less PUT


class _Connections(Factory):
    """Makes the connections of one agent."""

    noisy = False

    def __init__(self, build: Callable[[], ClientConnection]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> ClientConnection:
        return self._build()


@implementer(IAgent, IUpstream)
class Agent:
    """Asks one model server.

    :param name: its name in the configuration.
    :param clock: timers and monotonic time.
    :param endpoint: connects to its socket.
    :param random: returns a number in [0, 1), for jitter.
    :param connect_seconds: the most a connection may take, a full queue included.
    :param first_byte_seconds: the most the head of an answer may take once the request is sent.
    :param head_limit: the most bytes that head may have.
    """

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        random: Callable[[], float],
        connect_seconds: float,
        first_byte_seconds: float,
        head_limit: int,
    ) -> None:
        self.name = name
        self._clock = clock
        self._endpoint = endpoint
        self._random = random
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds
        self._head_limit = head_limit
        self._idle: list[ClientConnection] = []
        self._factory = _Connections(lambda: ClientConnection(clock, head_limit, self._release))

    # -- Asking --------------------------------------------------------------------------------------------------------

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Ask; see `twisted.web.iweb.IAgent.request`.

        :param uri: an absolute URI; only its path and query matter, the endpoint is fixed.
        :returns: fails with `ValueError` for a method or URI that cannot stand in a request line.
        """
        _, _, rest = uri.partition(b"://")
        _, slash, target = rest.partition(b"/")
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
            return fail(ValueError("the method or the URI is not well formed"))
        headers = headers or Headers()
        fields = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        if not headers.hasHeader(b"Host"):
            fields.insert(0, (b"Host", b"localhost"))
        may_resend = method in _IDEMPOTENT and (bodyProducer is None or isinstance(bodyProducer, BytesBody))
        asked: Deferred[Any] = self.ask(method, slash + target or b"/", fields, bodyProducer, lambda: may_resend)
        return asked

    def ask(
        self,
        method: bytes,
        target: bytes,
        fields: Fields,
        body: IBodyProducer | None,
        may_resend: Callable[[], bool],
    ) -> Deferred[Answer]:
        """Ask with the fields as they stand.

        :param may_resend: whether sending the request twice is harmless; asked only when the question arises.
        :returns: fires with the answer when its head is there; fails with :class:`UpstreamFailure`. Cancel it, or abort
            the answer, to close the connection.
        """
        if body is not None and body.length is UNKNOWN_LENGTH:
            return fail(ValueError("a request body of unknown length cannot be sent: if it were cut nobody could tell"))
        promise = Promise()
        promise.asking = self.send(method, target, fields, body, may_resend, promise)
        return promise.kept

    def send(
        self,
        method: bytes,
        target: bytes,
        fields: Fields,
        body: IBodyProducer | None,
        may_resend: Callable[[], bool],
        asker: Any,
    ) -> _Asking:
        """See :meth:`IUpstream.send`; `body` is of known length."""
        asking = _Asking(self, (method, target, fields, body, self._first_byte_seconds), may_resend, asker)
        reused = self._take_idle()
        if reused is None:
            asking.connect()
        else:
            asking.send_on(reused)
        return asking

    # -- Connections ---------------------------------------------------------------------------------------------------

    def _take_idle(self) -> ClientConnection | None:
        while self._idle:
            connection = self._idle.pop()  # the one used last, so that surplus ones grow old and go
            if connection.alive:
                return connection
        return None

    def _release(self, connection: ClientConnection) -> None:
        if self._idle and not self._idle[0].alive:  # the first one has been idle longest, so it is the first to go
            self._idle = [other for other in self._idle if other.alive]
        self._idle.append(connection)
        connection.expire_in(KEEP_IDLE_SECONDS)

    def close_idle(self) -> None:
        """Close the connections nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def connect(self) -> Deferred[ClientConnection]:
        """Make a connection; fails with :class:`UpstreamFailure`."""
        return Deferred.fromCoroutine(self._connect_patiently())

    async def _connect_patiently(self) -> ClientConnection:
        give_up = self._clock.seconds() + min(BUSY_SECONDS, self._connect_seconds)
        pause, longest = _PAUSE_SECONDS
        while True:
            try:
                connecting = self._endpoint.connect(self._factory)
                connection = await connecting.addTimeout(self._connect_seconds, self._clock)
                assert isinstance(connection, ClientConnection)
                return connection
            except CancelledError:
                raise
            except Exception as error:
                refusal = _name(error)
                if refusal is not refusals.UPSTREAM_BUSY or self._clock.seconds() >= give_up:
                    raise UpstreamFailure(refusal, untouched=True) from error
            await deferLater(self._clock, pause * (0.5 + self._random()))
            pause = min(pause * 2, longest)


_Sent = tuple[bytes, bytes, Fields, IBodyProducer | None, float]


@implementer(IAsker)
class _Asking:
    """One request on its way: on a connection that has served before, on a fresh one, or on both, one after the other.

    :param request: the arguments of :meth:`ClientConnection.send`.
    """

    __slots__ = ("_agent", "_asker", "_carrier", "_may_resend", "_request", "_reused")

    def __init__(self, agent: Agent, request: _Sent, may_resend: Callable[[], bool], asker: Any) -> None:
        self._agent = agent
        self._request = request
        self._may_resend = may_resend
        self._asker = asker
        self._reused = False
        self._carrier: ClientConnection | Deferred[ClientConnection] | None = None  # what cancelling ends

    def send_on(self, reused: ClientConnection) -> None:
        """Send it on a connection that has served before."""
        self._reused = True
        self._carrier = reused
        reused.send(*self._request, self)

    def connect(self) -> None:
        """Send it on a fresh connection."""
        self._reused = False
        connecting = self._agent.connect()
        self._carrier = connecting  # before it can be a connection already
        connecting.addCallback(self._connected).addErrback(self._unconnected)

    def _connected(self, fresh: ClientConnection) -> None:
        self._carrier = fresh
        fresh.send(*self._request, self)

    def _unconnected(self, failure: Failure) -> None:
        if self._asker is not None:
            self.unanswered(failure)

    def answered(self, answer: Answer) -> None:
        """See :meth:`IAsker.answered`."""
        self._carrier = None
        self._asker.answered(answer)

    def unanswered(self, failure: Failure) -> None:
        """See :meth:`IAsker.unanswered`."""
        if self._reused and _met_the_close(failure.value) and self._may_resend():
            self.connect()
            return
        self._carrier = None
        self._asker.unanswered(failure)

    def cancel(self) -> None:
        """See :meth:`IUpstream.send`."""
        carrier, self._carrier = self._carrier, None
        self._asker = None
        if carrier is not None:
            carrier.cancel()


def _met_the_close(error: BaseException | None) -> bool:
    """Whether the connection closed before a byte of the answer, as idle ones are closed."""
    return isinstance(error, UpstreamFailure) and error.refusal is refusals.UPSTREAM_DIED and error.untouched


def _name(error: Exception) -> Refusal:
    """Why a connection could not be made.

    A missing, closed or barred socket is told by its error number. Of a full queue Twisted only says that the
    connection failed, because everywhere else EAGAIN means «wait».
    """
    if isinstance(error, ConnectionRefusedError):
        return refusals.UPSTREAM_REFUSED
    number = getattr(error, "osError", None)
    if number == errno.ENOENT:
        return refusals.UPSTREAM_MISSING
    if number in (errno.EACCES, errno.EPERM):
        return refusals.UPSTREAM_DENIED
    if isinstance(error, ConnectError) and number in (None, errno.EAGAIN):
        return refusals.UPSTREAM_BUSY
    return refusals.UPSTREAM_UNREACHABLE
