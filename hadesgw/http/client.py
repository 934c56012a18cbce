"""The gateway's side of one connection to the model server: one request out, one answer back, again and again.

llhttp splits the answers; what it leaves open is decided here: heads are bounded, an answer framed two ways or by an
unknown coding is not believed, an unasked 101 is refused, one that ends with the connection ends with it, and whatever
follows an answer unasked spoils the connection but not the answer. An answer of stated length whose head is plain needs
no parser: its head is read by `http/plain.py`, and its body is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import httptools
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer

from hadesgw.http.deadline import Deadline
from hadesgw.http.framing import Fields
from hadesgw.http.plain import PlainHead, read_plain_head
from hadesgw.http.transport import eager_writer, in_turn, read_plainly
from hadesgw.interfaces import IAsker
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal

MAX_FIELDS = 256
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOGETHER_BYTES = 64 * 1024
"""The largest body that is sent with its head at once: to copy a larger one costs more than another system call."""
DONE = Failure(ResponseDone())  # one for all: making a Failure costs more than relaying an event


class UpstreamFailure(Exception):
    """The model server did not give an answer, or not to its end.

    :ivar refusal: what to tell the client if nothing has been told yet.
    :ivar untouched: whether not one byte of an answer had arrived.
    """

    def __init__(self, refusal: Refusal, untouched: bool = False) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal
        self.untouched = untouched


def refusal_of(failure: Failure) -> Refusal:
    """What to tell the client about an :class:`UpstreamFailure`; any other failure is raised again."""
    failure.trap(UpstreamFailure)
    assert isinstance(failure.value, UpstreamFailure)
    return failure.value.refusal


@implementer(IBodyProducer)
class BytesBody:
    """A request body that is at hand whole.

    :ivar data: the body; our own connection sends it together with the head.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it all."""
        consumer.write(self.data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def stopProducing(self) -> None:
        """There is nothing to stop."""

    def pauseProducing(self) -> None:
        """There is nothing to pause."""

    def resumeProducing(self) -> None:
        """There is nothing to resume."""


@implementer(IResponse, IPushProducer)
class Answer:
    """One answer of the model server; also the transport its body's receiver is given.

    :ivar fields: (lower-cased name, value) pairs in the order they came.
    :ivar index: the same by name; of a name that came more than once the last value.
    """

    version = (b"HTTP", 1, 1)
    request = None
    previousResponse = None

    def __init__(
        self,
        connection: ClientConnection,
        code: int,
        phrase: bytes,
        fields: Fields,
        index: Mapping[bytes, bytes],
        length: int | None,
        whole: bytes | None = None,
    ) -> None:
        self.code = code
        self.phrase = phrase
        self.fields = fields
        self.index = index
        self.length: Any = UNKNOWN_LENGTH if length is None else length
        self._connection: ClientConnection | None = connection
        self._receiver: IProtocol | None = None
        self._early: list[bytes] = [] if whole is None else [whole]
        self._whole = whole
        self._end: Failure | None = None

    @property
    def headers(self) -> Headers:
        """The fields in Twisted's form."""
        headers = Headers()
        for name, value in self.fields:
            headers.addRawHeader(name, value)
        return headers

    def setPreviousResponse(self, response: IResponse) -> None:
        """The agent follows nothing, so there is none."""

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body to `protocol`, which may pause, resume and abort its transport."""
        self._receiver = protocol
        self.resumeProducing()  # before anything is delivered: the receiver may pause us over it
        protocol.makeConnection(self)  # type: ignore[arg-type]
        early, self._early = b"".join(self._early), []
        self._whole = None
        if early:
            protocol.dataReceived(early)
        if self._end is not None:
            protocol.connectionLost(self._end)

    def receive(self, data: bytes) -> None:
        """Some of the body has arrived."""
        if self._receiver is None:
            self._early.append(data)
            self.pauseProducing()
        else:
            self._receiver.dataReceived(data)

    def take_whole(self) -> bytes | None:
        """The body, if it came whole with the head; the connection is free then. It may still be :meth:`delivered
        <deliverBody>` instead."""
        whole, self._whole = self._whole, None
        if whole is not None and self._connection is not None:
            connection, self._connection = self._connection, None
            connection.taken()
        return whole

    def finish(self, reason: Failure) -> None:
        """The body is at its end, for good or ill."""
        self._connection = None
        self._end = reason
        receiver, self._receiver = self._receiver, None  # they know each other: leave no cycle behind
        if receiver is not None:
            receiver.connectionLost(reason)

    def pauseProducing(self) -> None:
        """Stop reading the socket."""
        if self._connection is not None:
            self._connection.pause()

    def resumeProducing(self) -> None:
        """Read the socket again."""
        if self._connection is not None:
            self._connection.resume()

    def stopProducing(self) -> None:
        """Nobody wants the rest: close the connection, which is how the model server learns it."""
        if self._connection is not None:
            self._connection.abort()

    loseConnection = abortConnection = stopProducing


@implementer(IAsker)
class Promise:
    """Makes a Deferred of what an asker is told.

    :ivar kept: fires with the :class:`Answer`, or fails. Cancelling it cancels `asking`.
    :ivar asking: what sending the request has returned.
    """

    asking: Any = None

    def __init__(self) -> None:
        self.kept: Deferred[Answer] = Deferred(lambda _: self.asking.cancel())

    def answered(self, answer: Answer) -> None:
        """See :meth:`IAsker.answered`."""
        self.kept.callback(answer)

    def unanswered(self, failure: Failure) -> None:
        """See :meth:`IAsker.unanswered`."""
        self.kept.errback(failure)


class ClientConnection(Protocol):
    """One connection to the model server.

    :param clock: for the deadlines.
    :param head_limit: the most bytes an answer's head may have.
    :param idle: called with this connection when it is free for another request.
    """

    def __init__(self, clock: IReactorTime, head_limit: int, idle: Callable[[ClientConnection], None]) -> None:
        self._head_limit = head_limit
        self._idle = idle
        self._deadline = Deadline(clock, self._too_late)
        self._asker: Any = None  # the IAsker that waits for the head
        self._answer: Answer | None = None  # whose body is arriving
        self._parser: httptools.HttpResponseParser | None = None  # of that answer; a plain one has none
        self._left = 0  # bytes of a plain answer's body that are to come
        self._paused = False
        self._sending = False  # whether a body is still on its way out
        self.alive = False

    # -- Protocol ------------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Take the socket from the endpoint's wrapper: one call less for every read."""
        transport: Any = self.transport
        read_plainly(transport)
        if getattr(transport, "protocol", None) is not None:
            transport.protocol = self
        self._write = in_turn(transport, eager_writer(transport))
        self.alive = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The model server closed, or we did."""
        self.alive = False
        self._deadline.end()
        if self._asker is not None:
            self._fail(refusals.UPSTREAM_DIED)
        elif self._answer is not None:
            self._end_with_connection(reason)

    def _end_with_connection(self, reason: Failure) -> None:
        """RFC 9112 8: an answer that states no length ends with an orderly close; any other is cut by it."""
        if self._until_close and reason.check(ConnectionDone):
            self._finish(DONE)
        else:
            self._fail(refusals.STREAM_TRUNCATED)

    # -- Asking --------------------------------------------------------------------------------------------------------

    def ask(
        self, method: bytes, target: bytes, fields: Fields, body: IBodyProducer | None, first_byte: float
    ) -> Deferred[Answer]:
        """Send a request.

        :param fields: without framing fields, which are added here.
        :param body: of known length.
        :param first_byte: seconds in which the answer's head must come.
        :returns: fires with the answer as soon as its head is complete; fails with :class:`UpstreamFailure`. Cancelling
            it closes the connection.
        """
        promise = Promise()
        promise.asking = self
        self.send(method, target, fields, body, first_byte, promise)
        return promise.kept

    def send(
        self, method: bytes, target: bytes, fields: Fields, body: IBodyProducer | None, first_byte: float, asker: Any
    ) -> None:
        """Send a request, as :meth:`ask`.

        :param asker: the :class:`hadesgw.interfaces.IAsker` that is told what came of it.
        """
        self._asker = asker
        self._bodiless = method == b"HEAD"
        self._untouched = True  # no byte of an answer has arrived
        self._deadline.set(first_byte)
        self._send(method, target, fields, body)

    def cancel(self) -> None:
        """Whoever asked wants no answer any more, and is told nothing: close the connection."""
        self._asker = None
        self.abort()

    def _send(self, method: bytes, target: bytes, fields: Fields, body: IBodyProducer | None) -> None:
        lines = [b"%b %b HTTP/1.1" % (method, target), *map(b": ".join, fields)]
        if body is None:
            self._write(b"\r\n".join((*lines, b"\r\n")))
        elif isinstance(body, BytesBody):
            lines.append(b"Content-Length: %d\r\n\r\n" % body.length)
            if body.length <= _TOGETHER_BYTES:
                self._write(b"\r\n".join(lines) + body.data)
            else:
                self._write(b"\r\n".join(lines))
                self._write(body.data)
        else:
            self._send_produced(lines, body)

    def _send_produced(self, lines: list[bytes], body: IBodyProducer) -> None:
        """Send a body of any other producer, at the pace of the socket, which stops it when it is lost."""
        lines.append(b"Content-Length: %d\r\n\r\n" % body.length)
        self.transport.write(b"\r\n".join(lines))  # type: ignore[union-attr] # the way that the body goes
        self._sending = True
        self.transport.registerProducer(body, True)  # type: ignore[union-attr]
        body.startProducing(self.transport).addCallbacks(self._sent, lambda _: self.abort())

    def _sent(self, _: None) -> None:
        self._sending = False
        self.transport.unregisterProducer()  # type: ignore[union-attr]

    # -- Answers -------------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take what arrived. Nothing is called back from inside a parser."""
        if self._parser is not None:
            self._parse(data)
        elif self._asker is not None:
            self._begin(data)
        elif self._left:
            self._count(data)
        else:  # bytes nobody asked for
            self.abort()

    def _begin(self, data: bytes) -> None:
        """The first bytes of an answer."""
        self._untouched = False
        head = None if self._bodiless else read_plain_head(data, self._head_limit)
        if head is None or head.start + head.length < len(data):
            self._begin_parsing()
            self._parse(data)
        else:
            self._begin_plain(head, data)

    # -- Plain answers: the head came whole and said everything, the body is counted -----------------------------------

    def _begin_plain(self, head: PlainHead, data: bytes) -> None:
        status, phrase, fields, by_name, length, start = head
        self._deadline.lift()
        self._surplus = self._until_close = False
        self._keep_alive = True
        left = self._left = start + length - len(data)
        body = data[start:]
        answer = self._answer = Answer(self, status, phrase, fields, by_name, length, None if left else body)
        asker, self._asker = self._asker, None
        asker.answered(answer)
        if self._answer is not answer or not self.alive:
            return  # it was taken whole, or nobody wants it
        if not left:
            self._finish(DONE)
        elif body:
            answer.receive(body)

    def taken(self) -> None:
        """The answer was taken as a whole."""
        self._answer = None
        self._free()

    def _count(self, data: bytes) -> None:
        """Some more of the body of a plain answer."""
        left = self._left - len(data)
        if left < 0:
            self._surplus = True
            data = data[:left]
            left = 0
        self._left = left
        assert self._answer is not None
        self._answer.receive(data)
        if not left and self.alive:
            self._finish(DONE)

    # -- All other answers ---------------------------------------------------------------------------------------------

    def _begin_parsing(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._barren_bytes = 0  # that arrived since the last piece of a body, or brought none so far
        self._status = 0
        self._fields: Fields = []
        self._phrase = b""
        self._chunks: list[bytes] = []
        self._fault: Refusal | None = None
        self._head_ready = self._complete = self._surplus = self._until_close = self._keep_alive = False
        self._interim = False

    def _parse(self, data: bytes) -> None:
        """Parse what arrived, then act on it."""
        if self._head_ready:
            self._feed(data)
            self._bound_barren(len(data))
        else:
            self._feed_head(data)
        self._act()

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._complete:
                self._surplus = True
            else:
                self._fault = self._fault or refusals.UPSTREAM_GARBAGE

    def _feed_head(self, data: bytes) -> None:
        """A head is bounded to the byte, whatever follows it in the same read."""
        room = self._head_limit - self._barren_bytes
        self._barren_bytes += len(data)
        self._feed(data[:room])
        if self._head_ready:
            self._barren_bytes = 0
            if len(data) > room:
                self._feed(data[room:])
        elif len(data) > room:
            self._fault = self._fault or refusals.UPSTREAM_HEAD_TOO_LARGE

    def _bound_barren(self, count: int) -> None:
        """Trailer fields and chunk extensions pass by unseen; without a bound they could do so for ever."""
        self._barren_bytes = 0 if self._chunks else self._barren_bytes + count
        if self._barren_bytes > self._head_limit:
            self._fault = self._fault or refusals.UPSTREAM_GARBAGE

    def _act(self) -> None:
        if self._asker is not None:
            if self._fault is not None and not self._begun_well:
                self._fail(self._fault)
                return
            if not self._head_ready:
                return
            self._deliver_head()
        answer = self._answer
        if self._chunks and answer is not None and self.alive:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks = []
            answer.receive(data)
        if not self.alive:  # whoever took the head or the body wants no more: `connectionLost` will tell them the end
            return
        if self._fault is not None:
            self._fail(refusals.STREAM_TRUNCATED)
        elif self._complete:
            self._finish(DONE)

    @property
    def _begun_well(self) -> bool:
        """Whether the head was sound, although something behind it in the same read was not."""
        return self._head_ready and self._fault is refusals.UPSTREAM_GARBAGE

    def _deliver_head(self) -> None:
        self._deadline.lift()
        self._answer = Answer(self, self._status, self._phrase, self._fields, dict(self._fields), self._length)
        asker, self._asker = self._asker, None
        asker.answered(self._answer)

    def _finish(self, reason: Failure) -> None:
        """The answer has come to its end: the connection may serve again, unless something speaks against it."""
        answer, self._answer = self._answer, None
        assert answer is not None
        self._parser = None
        self.resume()
        self._free()
        answer.finish(reason)

    def _free(self) -> None:
        if self.alive and self._keep_alive and not self._surplus and not self._sending:
            self._idle(self)
        else:
            self.abort()

    def _fail(self, refusal: Refusal) -> None:
        failure = Failure(UpstreamFailure(refusal, self._untouched))
        asker, self._asker = self._asker, None
        answer, self._answer = self._answer, None
        self.abort()
        if asker is not None:
            asker.unanswered(failure)
        if answer is not None:
            answer.finish(failure)

    def _too_late(self) -> None:
        if self._asker is not None:
            self._fail(refusals.UPSTREAM_SILENT)
        else:
            self.abort()

    # -- llhttp's callbacks: they note, and raise nothing --------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self._complete:
            self._surplus = True

    def on_status(self, phrase: bytes) -> None:
        """(Part of) the reason phrase."""
        if not self._complete:
            self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field, which is dropped."""
        if not self._head_ready:
            self._fields.append((name.lower(), value.rstrip(b" \t")))  # llhttp leaves the space behind a value to us
            if len(self._fields) > MAX_FIELDS:
                self._fault = refusals.UPSTREAM_HEAD_TOO_LARGE

    def on_headers_complete(self) -> None:
        """A head is complete: an interim one (RFC 9110 15.2), the one waited for, or one too many."""
        if self._complete:
            return
        assert self._parser is not None
        status, version = self._parser.get_status_code(), self._parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status < 600 or status == 101:
            self._fault = self._fault or refusals.UPSTREAM_GARBAGE
        elif status < 200:
            self._interim = True
        else:
            self._head_ready = True
            self._status = status
            self._judge_framing(status, version)

    def _judge_framing(self, status: int, version: str) -> None:
        """RFC 9112 6.3, stricter: one length or one coding, which is `chunked`, and none at all in HTTP/1.0."""
        assert self._parser is not None
        lengths, codings = [], []
        for name, value in self._fields:
            if name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
        if _CONTROL.search(b"".join([self._phrase, *[value for _, value in self._fields]])):
            self._refuse_head()
        elif codings and (lengths or version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
            self._refuse_head()
        elif len(lengths) > 1 or (lengths and len(lengths[0]) > 18):
            self._refuse_head()
        self._length = int(lengths[0]) if lengths and self._fault is None else None
        bodiless = self._bodiless or status in (204, 304)
        self._complete = self._bodiless  # llhttp would wait for the body that an answer to HEAD only describes
        if status == 204:
            self._length = 0
        self._until_close = not (lengths or codings or bodiless)
        self._keep_alive = not self._until_close and self._parser.should_keep_alive()

    def _refuse_head(self) -> None:
        self._head_ready = False
        self._fault = refusals.UPSTREAM_GARBAGE

    def on_body(self, data: bytes) -> None:
        """Some of the body, whatever it was framed by."""
        if self._complete:
            self._surplus = True
        else:
            self._chunks.append(data)

    def on_message_complete(self) -> None:
        """The answer, or an interim head, is complete."""
        if self._interim:
            self._interim = False
            self._fields = []
            self._phrase = b""
        else:
            self._complete = True

    # -- Flow ----------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self.alive:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self.alive:
                self.transport.resumeProducing()  # type: ignore[union-attr]

    def expire_in(self, seconds: float) -> None:
        """Close the connection if nobody asks it anything for so long."""
        self._deadline.set(seconds)

    def abort(self) -> None:
        """Close at once. Whoever waits for the head or the body is told so."""
        if self.alive:
            self.alive = False
            self._deadline.end()
            self._parser = None
            self._left = 0
            self.transport.abortConnection()  # type: ignore[union-attr]
