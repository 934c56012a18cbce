"""One request joined to one answer of the model server, from the moment it is asked to the end of either side.

The relay owns the request's end: whoever dies first, the other side learns it once. States follow each other without
return: *asked* (nothing told to the client yet), *flowing* (the head has been told), *ended*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from hadesgw.http.channel import PHRASES
from hadesgw.http.client import DONE, Answer, BytesBody, UpstreamFailure
from hadesgw.http.framing import Fields, answer_fields
from hadesgw.http.site import Request
from hadesgw.http.sse import EventCutter, EventScanner
from hadesgw.interfaces import IAnswerObserver, IAsker, IProxyObserver, IUpstream
from hadesgw.policy import refusals
from hadesgw.policy.dialects import Dialect, error_event
from hadesgw.policy.refusals import Refusal
from hadesgw.policy.response_trail import ResponseTrail
from hadesgw.policy.usage import tells_usage

_EVENT_STREAM_FIELDS = [(b"cache-control", b"no-cache, no-transform"), (b"x-accel-buffering", b"no")]
_EVENT_STREAM_NAMES = frozenset(name for name, _ in _EVENT_STREAM_FIELDS)
"""What keeps every proxy in front of us from holding events back, or changing them."""
_EVENT_STREAM = b"text/event-stream"


@implementer(IAsker)
class Relay(Protocol):
    """Carries an answer to its client; the receiver of the answer's body.

    :param request: the client's.
    :param idle_seconds: how long an answer that has begun may bring nothing but comments, or its client take nothing.
    :param observer: told of aborted upstream work and of contradicting ids.
    """

    def __init__(self, request: Request, idle_seconds: float, observer: IProxyObserver) -> None:
        self._request = request
        self._idle_seconds = idle_seconds
        self._observer = observer
        self._asking: Any = None  # what can be cancelled until the answer's head is here
        self._answer: Answer | None = None
        self._events: EventScanner | None = None
        self._cutter: EventCutter | None = None
        self._trail: ResponseTrail | None = None
        self._seen_by: IAnswerObserver | None = None
        self._ended = False

    def ask(self, upstream: IUpstream, fields: Fields, body: BytesBody, may_resend: Callable[[], bool]) -> None:
        """Ask `upstream` what the request asks, and relay what comes of it; see :meth:`IUpstream.send`."""
        request = self._request
        asking = upstream.send(request.method, request.path, fields, body, may_resend, self)
        if self._ended:
            return
        if self._answer is None:
            self._asking = asking
        request.on_interrupt = self._interrupted
        request.at_end(self._departed)

    # -- The upstream's side -------------------------------------------------------------------------------------------

    def unanswered(self, failure: Failure) -> None:
        """See :meth:`IAsker.unanswered`."""
        self._end()
        error = failure.value
        if isinstance(error, UpstreamFailure):
            self._request.refuse(error.refusal)
        else:  # a defect of ours: it is logged, and nobody waits for ever because of it
            self._request.processingFailed(failure)

    def answered(self, answer: Answer) -> None:
        """See :meth:`IAsker.answered`."""
        self._asking = None
        self._answer = answer
        try:
            self._begin(answer)
        except Exception:  # noqa: BLE001 - a defect of ours ends this request, not the connection that brought the answer
            self._request.processingFailed(Failure())

    def _begin(self, answer: Answer) -> None:
        """Tell the client of the answer, or get ready to."""
        request = self._request
        ours = request.channel.site.correlator.names  # type: ignore[union-attr]
        self._observer.ids_echoed(() if ours.isdisjoint(answer.index) else self._note_ids(answer))
        request.code, request.code_message = answer.code, PHRASES.get(answer.code, b"Unassigned")
        fields = answer_fields(answer.fields, ours)
        events = answer.index.get(b"content-type", b"")[:17].lower() == _EVENT_STREAM
        if events:
            fields = self._begin_events(fields)
        elif answer.length is not UNKNOWN_LENGTH:
            fields.append((b"content-length", b"%d" % answer.length))
        request.relayed = fields
        request.record.stream = events
        self._seen_by = self._observer.answer_begun(request, answer.code, events)
        if events:
            request.write(b"")  # whoever waits for events may see at once that they will come
        else:
            whole = answer.take_whole()
            if whole is not None:
                self._finish_whole(whole)
                return
        answer.deliverBody(self)
        if not self._ended:
            request.on_late = self._idle
            request.watch(self._idle_seconds)

    def _finish_whole(self, body: bytes) -> None:
        """All of the answer is here: nobody has to be paused, watched or waited for."""
        self._request.write(body)
        if self._seen_by is not None:
            self._seen_by.passed(body)
            self._seen_by.completed()
        self._end()
        self._request.finish()

    def _begin_events(self, fields: Fields) -> Fields:
        """The answer is a stream of events: never of stated length, or one of ours could fill up what is missing."""
        self._events = EventScanner()
        if self._request.hides_usage:
            self._cutter = EventCutter(tells_usage)
        if self._request.dialect is Dialect.RESPONSES:
            self._trail = ResponseTrail()
        return [field for field in fields if field[0] not in _EVENT_STREAM_NAMES] + _EVENT_STREAM_FIELDS

    def _note_ids(self, answer: Answer) -> tuple[bytes, ...]:
        """An upstream may echo the ids; if it echoes others, an operator must know, and the client never sees them.

        :returns: the names of those it has echoed, rightly or not.
        """
        correlation = self._request.correlation
        correlator = self._request.channel.site.correlator  # type: ignore[union-attr]
        echoed: list[bytes] = []
        for name, value in answer.fields:
            if name in correlator.names:
                sent = correlation.request_id if name == correlator.request_key else correlation.session_id
                if value != sent or name in echoed:
                    self._observer.correlation_mismatch(name)
                echoed.append(name)
        return tuple(echoed)

    def connectionMade(self) -> None:
        """The body follows: let the client's pace be the upstream's."""
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Some of the body: on with it, as it is."""
        if self._ended:
            return
        passing = data if self._cutter is None else self._cutter.feed(data)
        if self._events is None or self._events.feed(passing):
            self._request.watch(self._idle_seconds)
        if self._trail is not None:
            self._trail.feed(passing)
        self._request.write(passing)
        if self._seen_by is not None:
            self._seen_by.passed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is at its end."""
        if self._ended:
            return
        if self._cutter is not None and self._events is not None and (rest := self._cutter.rest()):
            self._events.feed(rest)
            self._request.write(rest)
        self._end()
        if reason is DONE or reason.check(ResponseDone):
            if self._seen_by is not None:
                self._seen_by.completed()
            self._request.finish()
        else:
            self._break(refusals.STREAM_TRUNCATED)

    # -- The client's side ---------------------------------------------------------------------------------------------

    def _departed(self, completed: bool) -> None:
        """The client left: so must its request."""
        if completed or self._ended:
            return
        if self._request.record.reason is None:
            self._request.record.reason = "client_left"
        self._abandon()

    # -- The clock and the operator ------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Nothing has moved for too long: the upstream is silent, or the client takes nothing."""
        self._interrupted(refusals.CLIENT_STALLED if self._request.choked else refusals.STREAM_IDLE)

    def _interrupted(self, refusal: Refusal) -> None:
        """End it now, with `refusal`."""
        if self._ended:
            return
        self._abandon()
        self._break(refusal)

    # -- Ends ----------------------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """Let the upstream know that nobody waits any more."""
        asking, answer = self._asking, self._answer
        self._end()
        self._observer.upstream_abandoned()
        if answer is not None:
            answer.abortConnection()
        elif asking is not None:
            asking.cancel()

    def _end(self) -> None:
        self._ended = True
        self._asking = None
        request = self._request
        request.on_interrupt = request.on_late = None
        if self._answer is not None and request.producer is not None and request.channel is not None:
            request.unregisterProducer()
        self._answer = None

    def _break(self, refusal: Refusal) -> None:
        """Tell the client that there is no more, in the form its state allows."""
        request = self._request
        if not request.startedWriting:
            request.relayed = []
            request.refuse(refusal)
            return
        request.record.reason = refusal.reason
        request.record.code = refusal.code
        last = b""
        if self._events is not None:
            last = error_event(refusal, request.dialect, self._trail)
            if not self._events.at_border:
                last = b"\n\n" + last  # close the event that broke off, or a reader would take ours for part of it
        request.cut(last)
