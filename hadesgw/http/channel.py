"""The server's side of one connection: bytes in, requests out, answers back, in order.

A connection is a loop over requests, one at a time. What a client pipelines behind the request in flight waits in
`_unread`, unparsed; when much has gathered, reading pauses. While the client reads slowly, the producer of the answer
is paused and no further request is begun; its departure is still noticed, because reading goes on.

:class:`Channel` is what `twisted.web.http.Request` calls its channel; `twisted.web._http2.H2Stream` is another such.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProducer,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from hadesgw.http import framing
from hadesgw.http.body import RequestBody
from hadesgw.http.deadline import Deadline
from hadesgw.http.framing import RequestHead
from hadesgw.http.transport import eager_writer, in_turn, read_plainly, read_up_to
from hadesgw.interfaces import IHeir
from hadesgw.policy import refusals
from hadesgw.policy.correlation import Correlation
from hadesgw.policy.credentials import ClientCertificate
from hadesgw.policy.dialects import Dialect, dialect_of, error_body
from hadesgw.policy.origins import own_origin
from hadesgw.policy.refusals import Refusal, Refused

if TYPE_CHECKING:
    from hadesgw.http.site import Request, Site

SERVER = b"hadesgw"
"""The `Server` field of answers that are ours."""
READ_AHEAD_BYTES = 64 * 1024
"""How much a client may pipeline behind the request in flight before reading is paused."""
PHRASES = {int(status): status.phrase.encode("ascii") for status in HTTPStatus} | {
    413: b"Content Too Large",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
}
"""The reason phrase of every status; in RFC 9110's words, where older Pythons have those of the RFCs before it."""
LINGER_SECONDS = 2.0
"""How long a closed connection still swallows what the client sends, so that a reset cannot eat our last answer."""


@implementer(IPushProducer, IHandshakeListener)
class Channel(Protocol):
    """One connection of one client.

    :param site: whose resources answer.
    """

    transport: ITransport
    factory: Site

    def __init__(self, site: Site) -> None:
        self.site = self.factory = site
        self._unread = b""
        self._seen = 0  # how much of it was searched for a head's end
        self._head_begun = False  # whether the time for a head runs
        self._forgiven = False  # whether an empty line came before it
        self._head: RequestHead | None = None
        self._body: RequestBody | None = None
        self._request: Request | None = None
        self._producer: IProducer | None = None
        self._pull = False
        self.choked = False  # the client does not read as fast as we write
        self._paused = False  # we do not read from the client
        self._advancing = False
        self._broken = False  # what the client sends can no longer be told apart: nothing more is taken
        self._lingering = False
        self._heir: IHeir | None = None  # who takes what the client sends, since it is not HTTP any more
        self._persistent = True
        self._deadline = Deadline(site.clock, self._too_late)

    # -- Protocol ------------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Begin to wait for a request, or turn the client away when there are too many."""
        transport = self.transport
        read_plainly(transport)
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self.write: Callable[[bytes], None] = in_turn(transport, eager_writer(transport))
        self.peer, self.host = transport.getPeer(), transport.getHost()
        transport.registerProducer(self, True)  # type: ignore[attr-defined]
        if not self.site.opened(self):
            self._refuse(refusals.TOO_MANY_CONNECTIONS, self.site.correlator.identify(()))
            return
        # A handshake is made of bytes that trickle in, as a head is, and has no more time.
        self._deadline.set(self.site.timeouts.request_head if self.isSecure() else self.site.timeouts.idle)

    def handshakeCompleted(self) -> None:
        """TLS is agreed on: only now does the client have its time to begin."""
        if not self._lingering:
            self._deadline.set(self.site.timeouts.idle)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._lingering or self._broken:
            return
        if self._heir is not None:
            self._heir.received(data)
            return
        self._unread = self._unread + data if self._unread else data
        if not self._advancing:
            self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client left, or we hung up.

        The request learns it first: whatever the others do then, nothing is written and no clock started.
        """
        self.site.closed(self)
        self._unread = b""
        request, body, producer = self._request, self._body, self._producer
        self._request = self._producer = self._heir = None
        if request is not None:
            request.connectionLost(reason)
        if producer is not None:
            producer.stopProducing()
        if body is not None:
            body.fail(reason)
            body.release()
        self._deadline.end()

    def client_closed(self) -> None:
        """The client closed its half by the means of TLS: it has left, however much of an answer it has not taken."""
        if self._request is not None:
            self.abort()

    # -- Reading -------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Use what has been read, as far as it can be used now."""
        self._advancing = True
        try:
            while self._unread and not self._lingering and not self.choked and self._take_some():
                pass
        except Refused as refused:
            self._fault(refused.refusal)
        finally:
            self._advancing = False
        if not self._lingering:
            self._watch()

    def _take_some(self) -> bool:
        """Take one head or some of a body; False when nothing can be done with what is there."""
        body = self._body
        if body is not None and not body.complete:
            self._take_body(body)
            read_up_to(self.transport, body.awaited)
            return True
        if self._request is not None:
            return False
        return self._take_head()

    def _take_head(self) -> bool:
        if not self._forgiven and self._unread.startswith(b"\r\n"):
            self._forgiven = True  # RFC 9112 2.2: one empty line before a request
            self._seen = 0
            self._unread = self._unread[2:]
            return True
        end = framing.head_end(self._unread, self.site.head_limits, self._seen)
        self._seen = 0 if end else len(self._unread)
        if not end:
            return False
        head = framing.read_head(self._unread[:end], self.site.head_limits)
        correlation = self.site.correlator.identify(head.fields)
        refusal = self._judge(head)
        if refusal is not None:
            self._refuse(refusal, correlation, head)
            return False
        self._unread = self._unread[end:]
        self._begin(head, correlation)
        return True

    def _judge(self, head: RequestHead) -> Refusal | None:
        """What forbids a request, wherever it goes and whoever sends it: a name that is not ours, a page of a stranger.

        Asked here, no path, layer or leaf can forget it: see docs/adr/0007-the-origin-rule.md.
        """
        if not self.site.hosts.admits(head.host):
            return refusals.MISDIRECTED
        if b"origin" in head.index:
            own = own_origin(self.isSecure(), head.index.get(b"host"))
            if not self.site.origins.admits(head.values(b"origin"), own):
                return refusals.FOREIGN_ORIGIN
        return None

    def _begin(self, head: RequestHead, correlation: Correlation) -> None:
        """Let the resources answer a request whose head is here.

        What came with the head is taken first, so that a small body is whole at once. If it is broken they answer all
        the same: who may not come in hears that, however the bytes were cut.
        """
        self._head = head
        self._persistent = head.keep_alive and not self.site.draining
        self._body = RequestBody(head.length, self.site.body_memory, self._body_wanted)
        self._deadline.lift()
        self._request = self.site.make_request(self, head, correlation)
        fault = None
        if self._unread and not self._body.complete:
            try:
                self._take_body(self._body)
            except Refused as refused:
                fault = refused
        self._request.process()
        if fault is not None:
            raise fault

    def _take_body(self, body: RequestBody) -> None:
        used = body.feed(self._unread)
        self._unread = self._unread[used:]

    def _body_wanted(self) -> None:
        """Somebody waits for a body that is not complete yet."""
        assert self._head is not None and self._body is not None
        if self._head.expects_continue and not self._body_begun():
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._deadline.set(self.site.timeouts.request_body)
        read_up_to(self.transport, self._body.awaited)
        self._resume_reading()

    def _body_begun(self) -> bool:
        return self._body is not None and self._body.received > 0

    def _watch(self) -> None:
        """Set the clock and the brakes by what the connection waits for."""
        if not self._unread and (self._body is None or self._body.complete):  # all was used, and nothing need be said
            if self._paused:
                self._resume_reading()
            return
        if self._request is None and self._unread and not self.choked and not self._head_begun:
            self._head_begun = True  # the time for a head is total: bytes that trickle in do not move it
            self._deadline.set(self.site.timeouts.request_head)
        if self._full():
            self._pause_reading()
        else:
            self._resume_reading()

    def _full(self) -> bool:
        """Whether enough is here that cannot be used yet."""
        if self._body is not None and self._body.held_back:
            return True
        return len(self._unread) >= READ_AHEAD_BYTES and (self._request is not None or self.choked)

    def _too_late(self) -> None:
        if self._lingering:
            self.transport.abortConnection()  # type: ignore[attr-defined]
        elif self._request is not None:
            self._request_late(self._request)
        elif self._unread and not self.choked:
            self._fault(refusals.HEAD_TIMEOUT)
        else:
            self._hang_up()

    def _request_late(self, request: Request) -> None:
        """Something that the request in flight waits for has not come in time: its body, or what it watches."""
        if self._body is not None and self._body.fail(Failure(Refused(refusals.BODY_TIMEOUT))):
            return
        if request.on_late is not None:
            request.on_late()
        elif self.choked or self._pull:
            request.interrupt(refusals.CLIENT_STALLED)

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    # -- Refusing and closing ------------------------------------------------------------------------------------------

    def _fault(self, refusal: Refusal) -> None:
        """What arrived cannot be used. Tell whoever waits for it, or answer at once, and take nothing more."""
        self._broken = True
        self._persistent = False
        raw, self._unread = self._unread, b""
        if self._lingering:
            return  # it has been answered already
        if self._request is None:
            self._refuse(refusal, self.site.correlator.salvage(raw[: self.site.head_limits.total]))
        elif self._body is None or not self._body.fail(Failure(Refused(refusal))):
            self._request.interrupt(refusal)

    def _refuse(self, refusal: Refusal, correlation: Correlation, head: RequestHead | None = None) -> None:
        """Answer for a request that never became one.

        :param head: what is known of it, if it could be read.
        """
        site = self.site
        body = error_body(refusal, Dialect.OPENAI if head is None else dialect_of(head.path))
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"date", site.date()),
            (b"server", SERVER),
        ]
        if refusal.retry_after is not None:
            fields.append((b"retry-after", b"%d" % refusal.retry_after))
        if refusal is refusals.ENCODED_BODY:
            fields.append((b"accept-encoding", b"identity"))  # RFC 9110 15.5.16
        if head is not None:
            fields.append((b"vary", b"Origin"))  # it was judged by that, too
        self._persistent = False
        answer = self.head_bytes(refusal.status, PHRASES[refusal.status], fields, correlation)
        self.write(answer if head is not None and head.method == b"HEAD" else answer + body)
        if correlation.replaced:
            site.observer.ids_replaced(correlation.replaced)
        site.observer.refused_early(refusal, correlation.request_id, correlation.session_id)
        self._linger()

    def _linger(self) -> None:
        """Close our half; swallow the client's for a while."""
        self._lingering = True
        self._unread = b""
        self._resume_reading()
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self._deadline.set(self.site.timeouts.idle if self.choked else LINGER_SECONDS)

    def _hang_up(self) -> None:
        """Close once everything is written, or when the client has taken nothing of it for the idle time."""
        self._lingering = True
        self._unread = b""
        self._deadline.set(self.site.timeouts.idle)
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        self.transport.loseConnection()

    def drain(self) -> None:
        """The gateway is stopping: end after the request in flight, at once if there is none."""
        self._persistent = False
        if self._request is not None and self._request.on_drain is not None:
            self._request.on_drain()
        elif self._request is None and not self._lingering:
            self._hang_up()

    def interrupt(self, refusal: Refusal) -> None:
        """The gateway has waited long enough: end the request in flight with `refusal`."""
        if self._request is not None:
            self._request.interrupt(refusal)

    def break_off(self, visible: bool) -> None:
        """End the connection in the middle of an answer.

        :param visible: whether the framing of what was sent shows that the answer is incomplete. If not, the end must
            be a reset, because a plain close would be taken for the answer's end.
        """
        if visible:
            self._hang_up()
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection on the spot, unsent bytes included."""
        self.transport.abortConnection()  # type: ignore[attr-defined]

    # -- What Request asks of its channel ------------------------------------------------------------------------------

    @property
    def persistent(self) -> bool:
        """Whether another request may follow on this connection after the one in flight."""
        return self._persistent and self._body is not None and self._body.complete and not self.site.draining

    def watch(self, seconds: float) -> None:
        """Call the request's `on_late` after so long, unless this is called again before."""
        self._deadline.set(seconds)

    def gather_body(self, cap: int) -> None:
        """Let the body of the request in flight come, before anybody reads it."""
        assert self._body is not None
        self._body.gather(cap)

    def body_at_hand(self, cap: int) -> bytes | None:
        """The body of the request in flight, if it is complete and no larger than `cap`."""
        assert self._body is not None
        return self._body.at_hand(cap)

    def read_body(self, cap: int) -> Deferred[bytes]:
        """The body of the request in flight."""
        assert self._body is not None
        return self._body.read(cap)

    def discard_body(self) -> None:
        """Keep nothing of the body of the request in flight."""
        assert self._body is not None
        self._body.release()

    def forbid_reuse(self) -> None:
        """No further request on this connection."""
        self._persistent = False

    @property
    def body_received(self) -> int:
        """Bytes of the request's body that have arrived."""
        return 0 if self._body is None else self._body.received

    def head_bytes(
        self, status: int, phrase: bytes, fields: list[tuple[bytes, bytes]], correlation: Correlation
    ) -> bytes:
        """The head of an answer. This is the only place an answer's head is made, so none leaves without its ids.

        :param fields: (lower-cased name, value) pairs.
        """
        correlator = self.site.correlator
        ours = correlator.names
        lines = [b"HTTP/1.1 %d %b" % (status, phrase)]
        lines += [b": ".join(field) for field in fields if field[0] not in ours]
        if not correlation.request_id or not correlation.session_id:
            self.site.observer.correlation_missing()
            correlation = correlator.identify(())
        lines.append(b"%b: %b" % (correlator.request_name, correlation.request_id))
        lines.append(b"%b: %b" % (correlator.session_name, correlation.session_id))
        self._persistent = self.persistent  # what is said here binds
        if status == 101:
            lines.append(b"Connection: Upgrade")
        elif not self._persistent:
            lines.append(b"Connection: close")
        elif self._head is not None and self._head.minor == 0:
            lines.append(b"Connection: keep-alive")
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def switch_protocols(self, heir: IHeir) -> None:
        """The 101 has been written: no HTTP follows. The request stays in flight until `heir` finishes it."""
        self._heir = heir
        self._persistent = False

    def hand_over(self) -> None:
        """Give the heir what the client has sent already, and from now on everything as it comes."""
        assert self._heir is not None
        self._resume_reading()
        early, self._unread = self._unread, b""
        if early:
            self._heir.received(early)

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write several pieces as one."""
        self.write(b"".join(pieces))

    def requestDone(self, request: Request) -> None:
        """`request` has been answered."""
        assert self._body is not None
        may_follow = self.persistent
        sends_more = self._unread or self._paused or not self._body.complete or self._heir is not None
        self._body.release()
        self._request = self._body = self._head = self._heir = None
        self._head_begun = self._forgiven = False
        request.on_late = None
        if not may_follow:
            if sends_more:
                self._linger()  # to hang up on what is unread would reset the connection under the answer
            else:
                self._hang_up()
            return
        self._deadline.set(self.site.timeouts.idle)
        self._resume_reading()
        if self._unread and not self._advancing:
            self._advance()

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self.peer

    def getHost(self) -> IAddress:
        """Our address."""
        return self.host

    def isSecure(self) -> bool:
        """Whether the connection is TLS."""
        return ISSLTransport.providedBy(self.transport)

    @property
    def certificate(self) -> ClientCertificate | None:
        """What the client has proved to be by TLS."""
        return getattr(self.transport, "client_certificate", None)

    def loseConnection(self) -> None:
        """Close once everything is written."""
        self._persistent = False
        if not self._lingering:
            self._hang_up()

    # -- Producers: the answer's, paused when the client does not read -------------------------------------------------

    def registerProducer(self, producer: IPushProducer | IPullProducer, streaming: bool) -> None:
        """Let `producer` make the answer.

        :param streaming: True for a push producer; a pull producer is asked again whenever the buffer has drained.
        """
        self._producer = producer
        self._pull = not streaming
        if self._pull:
            self.choked = False  # from here on the transport asks for each piece
            self.write = in_turn(self.transport, self.transport.write)  # for it asks when its buffer has drained
            self._be_paced()
        elif self.choked:
            producer.pauseProducing()  # type: ignore[union-attr]

    def unregisterProducer(self) -> None:
        """The answer has been made."""
        self._producer = None
        if self._pull:
            self._pull = False
            self.write = in_turn(self.transport, eager_writer(self.transport))
            self._be_paced()

    def _be_paced(self) -> None:
        """Let the transport pace us as the answer's producer wants it."""
        if not self._lingering:
            self.transport.unregisterProducer()  # type: ignore[attr-defined]
            self.transport.registerProducer(self, not self._pull)  # type: ignore[attr-defined]

    def pauseProducing(self) -> None:
        """The client does not read: hold the answer back, and do not wait for it for ever."""
        self.choked = True
        self._await_reader()
        if self._producer is not None:
            self._producer.pauseProducing()  # type: ignore[attr-defined]

    def resumeProducing(self) -> None:
        """The client has read what was written."""
        self.choked = False
        if self._pull:
            self._await_reader()
        if self._producer is not None:
            self._producer.resumeProducing()  # type: ignore[attr-defined]
        if not self._advancing:
            self._advance()

    def _await_reader(self) -> None:
        """Give the client its time to read what is written now, unless somebody else watches it."""
        if self._request is not None and self._request.on_late is None:
            self._deadline.set(self.site.timeouts.idle)

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` follows and tells everybody."""


@implementer(IHalfCloseableProtocol)
class HalfClosingChannel(Channel):
    """A connection whose client may close its half and still get the answer in flight (`half_close = "answer"`)."""

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self._persistent = False
        if self._request is None or (self._body is not None and not self._body.complete):
            self.transport.loseConnection()
        elif self._heir is not None:
            self.abort()  # there is no answer to wait for: a WebSocket ends by its close frames

    def writeConnectionLost(self) -> None:
        """Our half is closed: the client swallows what is left."""
