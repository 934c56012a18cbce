"""The factory of connections, and the request as Twisted's resources know it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.http import NO_BODY_CODES, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hadesgw.config import Timeouts
from hadesgw.http.body import MemoryShare
from hadesgw.http.channel import PHRASES, SERVER, Channel, HalfClosingChannel
from hadesgw.http.framing import AllowedHosts, Fields, HeadLimits, RequestHead
from hadesgw.interfaces import IGatewayRequest, IHeir, ISiteObserver, Record
from hadesgw.policy import refusals
from hadesgw.policy.correlation import Correlation, Correlator
from hadesgw.policy.credentials import ClientCertificate, Warrant
from hadesgw.policy.dialects import dialect_of, error_body
from hadesgw.policy.origins import Origins
from hadesgw.policy.refusals import Refusal

_SHARED = frozenset((b"vary",))
"""Fields that everybody who makes a part of an answer adds to: a standing one replaces none of them."""


@implementer(IGatewayRequest)
class Request(server.Request):
    """A request on a :class:`Channel`.

    What differs from Twisted's: it is born with its head and ids, its body comes only when asked for, errors are said
    in the caller's dialect, the answer's head leaves in one write with its first bytes, and an answer can be cut.
    """

    defaultContentType = None
    _log = Logger()
    channel: Channel | None = None  # type: ignore[assignment]
    queued = False
    _parsePOSTFormSubmission = False  # noqa: N815 - Twisted's name
    _headers: Headers | None = None
    _response_headers: Headers | None = None
    on_interrupt: Callable[[Refusal], None] | None = None
    on_drain: Callable[[], None] | None = None
    on_late: Callable[[], None] | None = None
    on_tokens: Callable[[int], bool] | None = None
    warrant: Warrant | None = None
    body: bytes | None = None
    hides_usage = False
    trace_fields: Fields | None = None
    _bodiless = False  # whether the answer has no body whatever its fields say
    _measured = False  # whether they state its length

    def __init__(self, channel: Channel, head: RequestHead, correlation: Correlation) -> None:
        # What the constructors of three base classes set, without their detours; a test compares with theirs.
        self.channel = channel
        self.transport = channel.transport
        self.client, self.host = channel.peer, channel.host
        self.notifications: list[Deferred[None]] = []
        self.cookies: list[bytes] = []
        self.received_cookies: dict[bytes, bytes] = {}
        self._adapterCache: dict[str, object] = {}

        self.head = head
        self.correlation = correlation
        self.record = Record(channel.site.clock.seconds())
        self.dialect = dialect_of(head.path)
        self.standing: Fields = []
        self.relayed: Fields = []
        self._at_end: list[Callable[[bool], None]] = []
        self.method = head.method
        self.uri = head.target
        self.path = head.path
        self.clientproto = b"HTTP/1.1" if head.minor else b"HTTP/1.0"
        self.args: dict[bytes, list[bytes]] = {}

    @property
    def requestHeaders(self) -> Headers:  # type: ignore[override]
        """The request's fields in Twisted's form, made when somebody first wants it: our own layers read the head."""
        if self._headers is None:
            headers = self._headers = Headers()
            for name, value in self.head.fields:
                headers.addRawHeader(name, value)
        return self._headers

    @property
    def responseHeaders(self) -> Headers:  # type: ignore[override] # noqa: N802 - Twisted's name
        """Fields of the answer in Twisted's form; likewise, for an answer that is relayed has none of them."""
        if self._response_headers is None:
            self._response_headers = Headers()
        return self._response_headers

    # -- Finding and asking the resource -------------------------------------------------------------------------------

    def process(self) -> None:
        """Find the resource and let it answer."""
        assert self.channel is not None
        self.site = self.channel.site
        self.prepath = []
        self.postpath = self.path[1:].split(b"/")  # raw: nothing is decoded, so nothing can be decoded twice
        try:
            self.render(self.site.getResourceFor(self))
        except Exception:  # noqa: BLE001 - whatever a resource raises ends its request, not the connection's parser
            self.processingFailed(Failure())

    def render(self, resource: IResource) -> None:
        """Let `resource` answer: bytes at once, or `NOT_DONE_YET`."""
        try:
            body = resource.render(self)
        except UnsupportedMethod as unsupported:
            allowed = b", ".join(sorted(unsupported.allowedMethods))
            self.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", allowed)])
            return
        if body is NOT_DONE_YET:
            return
        if body or self.method != b"HEAD":  # who answers HEAD with nothing has said what the length would be
            self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:  # noqa: N802 - Twisted's name
        """A resource raised: log it, and tell the client no more than that."""
        self._log.failure("A resource failed on request {id}", reason, id=self.correlation.request_id.decode("ascii"))
        self.interrupt(refusals.INTERNAL)
        return reason

    def finish(self) -> None:
        """The answer has come to its end."""
        if self._disconnected or self.channel is None:
            raise RuntimeError("finish called after the client left")
        if not self.startedWriting:
            self.write(b"")
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
        self.finished = 1
        self._cleanup()

    # -- Ends ----------------------------------------------------------------------------------------------------------

    def at_end(self, ended: Callable[[bool], None]) -> None:
        """See :meth:`IGatewayRequest.at_end`."""
        self._at_end.append(ended)

    def _cleanup(self) -> None:
        try:
            self._ended(True)  # before the channel begins the next request
        finally:
            if self.channel is not None and not (self.producer or self.content or self.notifications):
                self.channel.requestDone(self)
                self.channel = None
            else:  # there is more to do, and Twisted's does it
                server.Request._cleanup(self)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone, and with it the answer."""
        server.Request.connectionLost(self, reason)
        self._ended(False)

    def _ended(self, completed: bool) -> None:
        at_end, self._at_end = self._at_end, []
        for ended in at_end:
            try:
                ended(completed)
            except Exception:  # noqa: BLE001 - the others, and the channel, have something to give back
                number = self.correlation.request_id.decode("ascii")
                self._log.failure("Who watched the end of request {id} failed", id=number)

    # -- IGatewayRequest -----------------------------------------------------------------------------------------------

    def read_body(self, cap: int) -> Deferred[bytes]:
        """See :meth:`IGatewayRequest.read_body`."""
        if self.channel is None:
            return fail(ConnectionLost("the client left before its body was asked for"))
        return self.channel.read_body(cap)

    def gather_body(self, cap: int) -> None:
        """See :meth:`IGatewayRequest.gather_body`."""
        assert self.channel is not None
        self.channel.gather_body(cap)

    def body_at_hand(self, cap: int) -> bytes | None:
        """See :meth:`IGatewayRequest.body_at_hand`."""
        return None if self.channel is None else self.channel.body_at_hand(cap)

    def discard_body(self) -> None:
        """See :meth:`IGatewayRequest.discard_body`."""
        assert self.channel is not None
        self.channel.discard_body()

    def watch(self, seconds: float) -> None:
        """See :meth:`IGatewayRequest.watch`."""
        if self.channel is not None:
            self.channel.watch(seconds)

    def refuse(self, refusal: Refusal, fields: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """See :meth:`IGatewayRequest.refuse`."""
        self.record.reason = refusal.reason
        self.record.code = refusal.code
        self.record.stream = False
        body = error_body(refusal, self.dialect)
        self._response_headers = self.etag = self.lastModified = None  # they were of another answer
        self.setResponseCode(refusal.status, PHRASES.get(refusal.status, b"Refused"))
        if refusal.close and self.channel is not None:
            self.channel.forbid_reuse()
        if refusal.retry_after is not None:
            self.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
        for name, value in fields:
            self.setHeader(name, value)
        self.setHeader(b"Content-Type", b"application/json")
        self.setHeader(b"Content-Length", b"%d" % len(body))
        if not self._disconnected:
            self.write(body)
            self.finish()
        return NOT_DONE_YET

    @property
    def certificate(self) -> ClientCertificate | None:
        """See :attr:`IGatewayRequest.certificate`."""
        return None if self.channel is None else self.channel.certificate

    @property
    def choked(self) -> bool:
        """Whether the client reads more slowly than the answer comes."""
        return self.channel is not None and self.channel.choked

    def cut(self, last: bytes = b"") -> None:
        """See :meth:`IGatewayRequest.cut`."""
        if self.finished or self._disconnected or self.channel is None:
            return
        if last:
            self.write(last)
        self.channel.break_off(visible=bool(self.chunked) or self._measured or bool(last))

    def interrupt(self, refusal: Refusal) -> None:
        """End the request with `refusal` as well as its state allows: as an answer, or by cutting the one begun."""
        if self.finished or self._disconnected:
            return
        if self.on_interrupt is not None:
            self.on_interrupt(refusal)
            return
        if self.producer is not None:
            producer = self.producer
            self.unregisterProducer()
            producer.stopProducing()
        if not self.startedWriting:
            self.refuse(refusal)
        else:
            self.record.reason = refusal.reason
            self.cut()

    # -- Writing -------------------------------------------------------------------------------------------------------

    def switch_protocols(self, fields: Fields, heir: IHeir) -> None:
        """Answer 101 (RFC 9110 15.2.2); the connection is `heir`'s from then on, the request in flight until it ends.

        :param fields: of the answer, but for `Connection`.
        """
        assert self.channel is not None
        self.setResponseCode(101, PHRASES[101])
        for name, value in fields:
            self.setHeader(name, value)
        self.channel.write(self._begin(self.channel))
        self.channel.switch_protocols(heir)

    def write(self, data: bytes) -> None:
        """Send `data` as part of the answer's body, behind the head if that has not been sent."""
        if self.finished:
            raise RuntimeError("write called after finish")
        if self._disconnected or self.channel is None:
            return
        if self.startedWriting:
            if data and not self._bodiless:
                self.sentLength += len(data)
                self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)
            return
        head = self._begin(self.channel)
        if not data or self._bodiless:
            self.channel.write(head)
            return
        self.sentLength += len(data)
        self.channel.write(head + (b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data))

    def _begin(self, channel: Channel) -> bytes:
        """Decide the framing of the answer (RFC 9112 6.3) and make its head."""
        self.startedWriting = 1
        site = channel.site
        self.record.first_byte = site.clock.seconds()
        self._bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES or self.code == 101
        fields = self.relayed
        if self._response_headers is not None:
            made = self._response_headers.getAllRawHeaders()
            fields = [(name.lower(), value) for name, values in made for value in values] + fields
        if self.etag is not None:
            fields.append((b"etag", self.etag))
        if self.lastModified is not None:
            fields.append((b"last-modified", datetimeToString(self.lastModified)))
        present = dict(fields)
        for name, value in self.standing:
            if name in present:
                fields = [field for field in fields if field[0] != name] + (
                    _without(value, name, fields) if name in _SHARED else []
                )
        present.update(self.standing)
        fields = fields + self.standing
        if self.code in NO_BODY_CODES and b"content-length" in present:
            fields = [field for field in fields if field[0] != b"content-length"]  # RFC 9110 8.6
        self._measured = b"content-length" in present
        if not self._bodiless and not self._measured:
            if self.head.minor == 1:
                self.chunked = 1
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                channel.forbid_reuse()  # only the close can tell an HTTP/1.0 client where this ends
        if b"date" not in present:
            fields.append((b"date", site.date()))
        if b"server" not in present:
            fields.append((b"server", SERVER))
        return channel.head_bytes(self.code, self.code_message, fields, self.correlation)


def _without(word: bytes, name: bytes, fields: Fields) -> Fields:
    """The fields of that name, which is a list's, without `word` in any letters."""
    lists = [
        [item.strip() for item in value.split(b",") if item.strip().lower() != word.lower()]
        for field, value in fields
        if field == name
    ]
    return [(name, b", ".join(items)) for items in lists if items]


class Site(server.Site):
    """The door: makes a :class:`Channel` for each connection and knows which are open.

    :param resource: root of the resource tree.
    :param clock: monotonic time and timers.
    :param correlator: finds or makes the ids of a request.
    :param hosts: the names answered for.
    :param origins: the pages that may call, besides our own.
    :param head_limits: bounds on a request head.
    :param body_memory: what all request bodies together may hold.
    :param timeouts: of the configuration.
    :param max_connections: how many may be open at once.
    :param half_close: whether a client that closed its half still gets its answer.
    :param observer: told what no resource sees.
    """

    def __init__(
        self,
        resource: IResource,
        *,
        clock: IReactorTime,
        correlator: Correlator,
        hosts: AllowedHosts,
        origins: Origins,
        head_limits: HeadLimits,
        body_memory: MemoryShare,
        timeouts: Timeouts,
        max_connections: int,
        half_close: bool,
        observer: ISiteObserver,
    ) -> None:
        server.Site.__init__(self, resource, reactor=clock, parsePOSTFormSubmission=False)
        self.clock = clock
        self.correlator = correlator
        self.hosts = hosts
        self.origins = origins
        self.head_limits = head_limits
        self.body_memory = body_memory
        self.timeouts = timeouts
        self.observer = observer
        self.draining = False
        self.channels: set[Channel] = set()
        self._max_connections = max_connections
        self._channel = HalfClosingChannel if half_close else Channel
        self._date = (0, b"")

    # -- Connections ---------------------------------------------------------------------------------------------------

    def buildProtocol(self, addr: IAddress) -> Channel:  # type: ignore[override]
        """A channel for a new connection."""
        return self._channel(self)

    def opened(self, channel: Channel) -> bool:
        """Note an open connection; False if there are too many."""
        self.channels.add(channel)
        self.observer.connections(len(self.channels))
        return len(self.channels) <= self._max_connections

    def closed(self, channel: Channel) -> None:
        """Note that a connection has ended."""
        self.channels.discard(channel)
        self.observer.connections(len(self.channels))

    def make_request(self, channel: Channel, head: RequestHead, correlation: Correlation) -> Request:
        """The request that `head` begins."""
        if correlation.replaced:
            self.observer.ids_replaced(correlation.replaced)
        return Request(channel, head, correlation)

    def getResourceFor(self, request: Request) -> IResource:
        """The resource that owns the request's path."""
        resource: IResource = getChildForRequest(self.resource, request)
        return resource

    def drain(self) -> None:
        """Let every connection end after the request it is serving."""
        self.draining = True
        for channel in list(self.channels):
            channel.drain()

    def interrupt(self, refusal: Refusal) -> None:
        """End every request in flight."""
        for channel in list(self.channels):
            channel.interrupt(refusal)

    def abort(self) -> None:
        """Drop every connection."""
        for channel in list(self.channels):
            channel.abort()

    def date(self) -> bytes:
        """The `Date` field's value (RFC 9110 6.6.1), made once a second."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, datetimeToString(now))
        return self._date[1]

    # -- What twisted.web.http.HTTPFactory does and this factory does not ----------------------------------------------

    def startFactory(self) -> None:
        """No access log of Twisted's: it would need a timer, and know no ids."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def log(self, request: Request) -> None:  # type: ignore[override]
        """The `metered` layer logs."""

    def acceptableProtocols(self) -> list[bytes]:
        """ALPN: HTTP/1.1 only, whatever is installed."""
        return [b"http/1.1"]
