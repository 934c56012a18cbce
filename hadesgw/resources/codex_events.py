"""A session as an event stream (WHATWG HTML 9.2): what a WebSocket is told, for clients that only listen.

Every event's data is one message, as sockets get it; its id is the session and the message's seq, which a browser sends
back as `Last-Event-ID` when it comes again. A client that falls behind is told the rest from the session's log.
"""

from __future__ import annotations

import re

from twisted.internet.interfaces import IPushProducer
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Warrant
from hadesgw.policy.dialects import error_event
from hadesgw.policy.refusals import Refusal
from hadesgw.sessions.messages import Message
from hadesgw.sessions.registry import ISessionObserver, SessionRegistry, Subscription

HEARTBEAT_SECONDS = 15.0
"""Of silence, after which a comment is sent: less than any proxy on the way waits."""
RETRY_MILLISECONDS = 2_000
_FIELDS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_EVENT_ID = re.compile(rb"(?:([A-Za-z0-9._-]{1,128}):)?([0-9]{1,18})")


def last_event(request: Request) -> tuple[str | None, int] | None:
    """The session and the seq of the last event a client has seen, as it says; None if it says none that is ours."""
    found = _EVENT_ID.fullmatch(request.head.index.get(b"last-event-id", b""))
    if found is None:
        return None
    return (None if found[1] is None else found[1].decode("ascii")), int(found[2])


@implementer(ISessionObserver, IPushProducer)
class EventStream:
    """One event stream.

    :param request: to be answered by it.
    :param warrant: by what its client has come in.
    :param stall_seconds: how long a client may take nothing of what was written.
    :ivar behind: whether there is more than the client could take.
    """

    _subscription: Subscription

    def __init__(self, request: Request, warrant: Warrant, stall_seconds: float) -> None:
        self._request = request
        self._warrant = warrant
        self._stall_seconds = stall_seconds
        self._told = 0
        self._told_of: str | None = None
        self._over = False
        self.behind = False

    def watch(self, sessions: SessionRegistry, client: str, session_id: str | None, *, answers: bool) -> None:
        """Choose what is to be told of; arguments as of :meth:`SessionRegistry.observe`.

        :raises SessionRefused: if the client has no such session.
        """
        self._subscription = sessions.observe(client, session_id, self, answers=answers)

    def open(self, seen: tuple[str | None, int] | None) -> int:
        """Answer, and begin.

        :param seen: session and seq of the last message the client knows; None to begin with how things stand.
        :returns: `NOT_DONE_YET`.
        """
        request = self._request
        request.record.stream = True
        request.relayed = _FIELDS
        request.at_end(self._left)
        request.on_interrupt = self._interrupted
        request.on_drain = self._finish
        request.on_late = self._late
        request.write(b"retry: %d\n\n" % RETRY_MILLISECONDS)
        request.registerProducer(self, True)
        request.watch(HEARTBEAT_SECONDS)
        if seen is None:
            for message in self._subscription.greeting():
                self._pass_on(self._subscription.session_id, message)
        else:
            self._told_of, self._told = seen
            self._catch_up()
        return NOT_DONE_YET

    # -- ISessionObserver ----------------------------------------------------------------------------------------------

    def told(self, message: Message) -> None:
        """The session tells everybody."""
        if message.seq <= self._told and self._told_of == self._subscription.session_id:
            return  # it was in the log already when the client was told from there
        if self._warrant() is None:
            self._interrupted(refusals.ADMISSION_ENDED)
        elif self.behind or self._request.choked:
            self.behind = True
        else:
            self._pass_on(self._subscription.session_id, message)

    def ended(self) -> None:
        """The session is gone, and has said so. A browser comes again, and hears that there is no such session."""
        self._over = True
        if not self.behind:
            self._finish()

    def _pass_on(self, session_id: str | None, message: Message) -> None:
        self._told, self._told_of = message.seq, session_id
        name = b"" if self._told_of is None else self._told_of.encode("ascii") + b":"
        self._request.write(b"id: %b%d\ndata: %b\n\n" % (name, message.seq, message.encoded))
        if not self._request.choked:
            self._request.watch(HEARTBEAT_SECONDS)

    def _catch_up(self) -> None:
        for session_id, message in self._subscription.replay(self._told, self._told_of):
            if self._request.choked:
                self.behind = True
                return
            self._pass_on(session_id, message)
        self.behind = False
        if self._over:
            self._finish()

    # -- The client's pace, and the clock ------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The client does not take what is written."""
        self._request.watch(self._stall_seconds)

    def resumeProducing(self) -> None:
        """It has taken everything."""
        self._request.watch(HEARTBEAT_SECONDS)
        if self.behind and self._warrant() is None:
            self._interrupted(refusals.ADMISSION_ENDED)
        elif self.behind:
            self._catch_up()

    def stopProducing(self) -> None:
        """The transport is gone; the request's end follows and tells everybody."""

    def _late(self) -> None:
        """Nothing was written for a while, or nothing taken for too long."""
        if self._request.choked:
            self._interrupted(refusals.CLIENT_STALLED)
        else:
            self._request.write(b": alive\n\n")
            self._request.watch(HEARTBEAT_SECONDS)

    # -- Ends ----------------------------------------------------------------------------------------------------------

    def _interrupted(self, refusal: Refusal) -> None:
        """End it with a word for that, and so that it does not look whole."""
        request = self._let_go()
        request.record.reason, request.record.code = refusal.reason, refusal.code
        request.cut(error_event(refusal, request.dialect))

    def _finish(self) -> None:
        """There is no more to tell: the session is gone, or the gateway goes away and another will tell the rest."""
        self._let_go().finish()

    def _let_go(self) -> Request:
        request = self._request
        request.on_interrupt = request.on_drain = request.on_late = None
        request.unregisterProducer()
        self._subscription.close()
        return request

    def _left(self, completed: bool) -> None:
        self._subscription.close()
