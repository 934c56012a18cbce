"""The leaf that gives a client a WebSocket to its coding sessions: the integration guide's messages, and ours.

A socket is about one session, or about whichever is its client's default one. It keeps nothing of its own but how far
its client has been told: a client that falls behind is told the rest from the session's log when it has caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from zope.interface import implementer

from hadesgw.http.handshake import UPGRADE_FIELDS, VERSION_FIELDS, Handshake, read_handshake
from hadesgw.http.site import Request
from hadesgw.http.websocket import SocketLimits, WebSocket
from hadesgw.interfaces import ISocketUser
from hadesgw.policy import closures, refusals
from hadesgw.policy.credentials import Warrant
from hadesgw.policy.receipts import Receipts
from hadesgw.policy.refusals import Refused
from hadesgw.policy.seats import Seats
from hadesgw.resources.codex_refusals import refusal_of
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.incoming import (
    Approval,
    Envelope,
    Resume,
    Select,
    SocketQuery,
    Start,
    Stop,
    read_content,
    read_object,
    read_query,
    read_text,
)
from hadesgw.sessions.messages import Message
from hadesgw.sessions.refusals import SessionRefused
from hadesgw.sessions.registry import ISessionObserver, SessionRegistry, Subscription

NOTHING_TO_STOP = "No active session to stop"
_UPGRADE = {
    refusals.UPGRADE_REQUIRED.reason: UPGRADE_FIELDS,
    refusals.WEBSOCKET_VERSION.reason: VERSION_FIELDS,
}


class CodexSocket(Resource):
    """`GET` with an upgrade: a WebSocket. It stands behind a guard.

    :param sessions: of all clients.
    :param warrant: by what the client of a request has come in.
    :param limits: of one socket.
    :param seats: how many sockets and event streams a client may have; the same for both.
    :param receipts: which inputs have been received; the same for those by HTTP.
    :param clock: monotonic time and timers.
    """

    isLeaf = True

    def __init__(
        self,
        sessions: SessionRegistry,
        warrant: Callable[[Request], Warrant],
        limits: SocketLimits,
        seats: Seats,
        receipts: Receipts,
        clock: IReactorTime,
    ) -> None:
        Resource.__init__(self)
        self._sessions = sessions
        self._warrant = warrant
        self._limits = limits
        self._seats = seats
        self._receipts = receipts
        self._clock = clock

    def render(self, request: Request) -> bytes | int:
        """Open the socket, or say why not."""
        client = request.record.client
        if request.postpath or client is None:
            return request.refuse(refusals.NOT_FOUND)
        if request.method != b"GET":
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"GET")])
        try:
            handshake = read_handshake(request.head)
            query = read_query(request.uri, SocketQuery)
        except Refused as refused:
            return request.refuse(refused.refusal, _UPGRADE.get(refused.refusal.reason, ()))
        if request.channel is not None and request.channel.site.draining:
            return request.refuse(refusals.DRAINING)
        if not self._seats.take(client):
            return request.refuse(refusals.TOO_MANY_SOCKETS)
        request.at_end(lambda completed: self._seats.give_back(client))
        return self._open(request, client, handshake, query)

    def _open(self, request: Request, client: str, handshake: Handshake, query: SocketQuery) -> int:
        warrant = self._warrant(request)
        visit = Visit(self._sessions, client, warrant, self._receipts, knows_ours=bool(handshake.protocol))
        try:
            visit.watch(query.session_id)
        except SessionRefused as refused:
            return request.refuse(refusal_of(refused))
        visit.after = query.after
        return WebSocket(request, self._limits, self._clock, visit).open(handshake.fields)


@implementer(ISocketUser, ISessionObserver)
class Visit:
    """One client at its WebSocket.

    :param warrant: by what it has come in.
    :param receipts: which inputs have been received.
    :param knows_ours: whether it has shown that it knows more than the guide's messages, and so can give approvals.
    :ivar after: the seq to begin after, or None to begin with how things stand.
    :ivar behind: whether there is more than the client could take.
    """

    _log = Logger()
    _socket: WebSocket
    _subscription: Subscription

    def __init__(
        self,
        sessions: SessionRegistry,
        client: str,
        warrant: Warrant,
        receipts: Receipts,
        *,
        knows_ours: bool,
    ) -> None:
        self._sessions = sessions
        self._receipts = receipts
        self._client = client
        self._warrant = warrant
        self._knows_ours = knows_ours
        self._selected: str | None = None  # the session it is about; None for the default one
        self._told = 0  # seq of the last message that it was told
        self._told_of: str | None = None  # and which session's that was
        self.behind = False
        self.after: int | None = None

    # -- ISocketUser ---------------------------------------------------------------------------------------------------

    def opened(self, socket: WebSocket) -> None:
        """Tell how things stand, `session_status` first, and what has been missed."""
        self._socket = socket
        self._greet()
        if self.after is not None:
            self._go_back(self.after, self._subscription.session_id)

    def received(self, text: str) -> None:
        """Do what the client asks; what cannot be done is told, and the socket lives on."""
        if self._warrant() is None:
            self._socket.close(closures.NO_LONGER_ADMITTED)
            return
        envelope = None
        try:
            envelope = read_object(text.encode("utf-8"), Envelope)
            act = ACTS.get(envelope.type)
            if act is None:
                words = f"There is no such message; there are: {', '.join(ACTS)}."
                self._tell("error", words, "unknown_type", envelope)
            else:
                act(self, envelope)
        except Refused as refused:
            words = refused.refusal.message.replace("request body", "message")  # they are HTTP's as well
            self._tell("error", f"The message was not understood. {words}", refused.refusal.code, envelope)
        except SessionRefused as refused:
            self._tell("error", refused.text, refused.reason.word, envelope)

    def resumed(self) -> None:
        """The client has caught up with what it was sent: tell it the rest."""
        if self.behind and self._warrant() is None:
            self._socket.close(closures.NO_LONGER_ADMITTED)
        elif self.behind:
            self._catch_up()

    def closed(self) -> None:
        """Watch no more. The session goes on."""
        self._subscription.close()

    # -- ISessionObserver ----------------------------------------------------------------------------------------------

    def told(self, message: Message) -> None:
        """The session tells everybody."""
        if message.seq <= self._told and self._told_of == self._subscription.session_id:
            return  # it was in the log already when the client was told from there
        if self._warrant() is None:
            self._socket.close(closures.NO_LONGER_ADMITTED)
        elif self.behind or self._socket.choked:
            self.behind = True
        else:
            self._pass_on(self._subscription.session_id, message)

    def ended(self) -> None:
        """The session that was selected is gone; it has said so itself. The client may select another."""

    # -- Telling -------------------------------------------------------------------------------------------------------

    def watch(self, session_id: str | None) -> None:
        """Be about this session from now on.

        :raises SessionRefused: if the client has none of that id.
        """
        subscription = self._sessions.observe(self._client, session_id, self, answers=self._knows_ours)
        if hasattr(self, "_subscription"):
            self._subscription.close()
        self._subscription = subscription
        self._selected = session_id

    def _greet(self) -> None:
        self.behind = False
        for message in self._subscription.greeting():
            self._pass_on(self._subscription.session_id, message)

    def _go_back(self, seq: int, session_id: str | None) -> None:
        self._told, self._told_of = seq, session_id
        self._catch_up()

    def _catch_up(self) -> None:
        """Tell what has been missed, as far as the client takes it now."""
        for session_id, message in self._subscription.replay(self._told, self._told_of):
            if self._socket.choked:
                self.behind = True
                return
            self._pass_on(session_id, message)
        self.behind = False

    def _pass_on(self, session_id: str | None, message: Message) -> None:
        self._told, self._told_of = message.seq, session_id
        self._socket.send(message.encoded)

    def _tell(self, kind: str, text: str, code: str, answered: Envelope | None) -> None:
        """Something for this client alone, with the id of what it answers.

        Its seq is that of the last message told, for nothing has been added to the session.
        """
        message = {"type": kind, "content": text, "code": code, "seq": self._told}
        if answered is not None and answered.id is not None:
            message["id"] = answered.id
        self._socket.send(msgspec.json.encode(message))

    # -- What the guide's clients ask ----------------------------------------------------------------------------------

    def ping(self, envelope: Envelope) -> None:
        """`ping`."""
        self._socket.send(b'{"type":"pong"}')

    def start(self, envelope: Envelope) -> None:
        """`start_session`."""
        wish = read_content(envelope.content, Start).wish
        before = self._told, self._told_of
        there = None if wish.session_id is None else self._sessions.living(wish.session_id)
        newest = 0 if there is None else there.log.last_seq
        starting = self._sessions.start(self._client, wish)
        starting.addCallback(self._started, wish, before, newest)
        starting.addErrback(self._refused, envelope).addErrback(self._failed)

    def _started(self, session_id: str, wish: Wish, before: tuple[int, str | None], newest: int) -> None:
        """It is ready. What it has told since the client asked for it is told to a socket that was about another."""
        if not self._socket.is_open:
            return
        selected = session_id if wish.new or wish.session_id is not None else None
        if selected != self._selected:
            self.watch(selected)
            self.behind = False
            if session_id == wish.session_id:
                self._greet()
            self._go_back(newest if session_id == wish.session_id else 0, session_id)
        elif before == (self._told, self._told_of):  # it was there, and had nothing to tell
            self._greet()

    def stop(self, envelope: Envelope) -> None:
        """`stop_session`."""
        session_id = read_content(envelope.content, Stop).session_id or self._selected
        stopping = self._sessions.stop(self._client, session_id)
        stopping.addCallback(self._stopped, envelope)
        stopping.addErrback(self._refused, envelope).addErrback(self._failed)

    def _stopped(self, there_was_one: bool, envelope: Envelope) -> None:
        if not there_was_one:
            self._tell("warning", NOTHING_TO_STOP, "no_session", envelope)

    def input(self, envelope: Envelope) -> None:
        """`input`."""
        text = read_text(envelope.content)
        if self._receipts.get(self._client, envelope.idempotency_key) is not None:
            self._tell("warning", "This input has been received already", "duplicate", envelope)
            return
        session_id = self._sessions.input(self._client, text, Wish(session_id=self._selected))
        self._receipts.put(self._client, envelope.idempotency_key, session_id)

    def _refused(self, failure: Failure, envelope: Envelope) -> None:
        failure.trap(SessionRefused)
        refused = failure.value
        assert isinstance(refused, SessionRefused)
        self._tell("error", refused.text, refused.reason.word, envelope)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("A session could not be started or stopped", failure)
        self._socket.close(closures.INTERNAL)

    # -- What ours ask -------------------------------------------------------------------------------------------------

    def resume(self, envelope: Envelope) -> None:
        """`resume`."""
        resume = read_content(envelope.content, Resume)
        self._knows_now()
        self._go_back(resume.after, resume.session_id)

    def select(self, envelope: Envelope) -> None:
        """`select`."""
        session_id = read_content(envelope.content, Select).session_id
        self._knows_ours = True
        self.watch(session_id)
        self._greet()

    def steer(self, envelope: Envelope) -> None:
        """`steer`."""
        text = read_text(envelope.content)
        self._knows_now()
        self._sessions.steer(self._client, self._selected, text)

    def interrupt(self, envelope: Envelope) -> None:
        """`interrupt`."""
        self._knows_now()
        self._sessions.interrupt(self._client, self._selected)

    def approve(self, envelope: Envelope) -> None:
        """`approval`."""
        approval = read_content(envelope.content, Approval)
        self._knows_now()
        decision = Decision(approval.decision)
        self._sessions.decide(self._client, self._selected, approval.approval_id, decision)

    def _knows_now(self) -> None:
        """It has sent one of ours: somebody is there who can give an approval."""
        if not self._knows_ours:
            self._knows_ours = True
            self.watch(self._selected)


ACTS: Mapping[str, Callable[[Visit, Envelope], None]] = {
    "start_session": Visit.start,
    "stop_session": Visit.stop,
    "input": Visit.input,
    "ping": Visit.ping,
    "resume": Visit.resume,
    "select": Visit.select,
    "steer": Visit.steer,
    "interrupt": Visit.interrupt,
    "approval": Visit.approve,
}
"""What a client may send, by its type: the integration guide's four, then ours."""
