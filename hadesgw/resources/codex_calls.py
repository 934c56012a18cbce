"""What can be asked of coding sessions by HTTP: one table, of which requests are routed and the OpenAPI document made.

The first four calls are the integration guide's. Everything about one session is below `sessions/{session_id}`, where
`default` stands for the client's default session, whichever that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from hadesgw import __version__
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Client, Role, Warrant
from hadesgw.policy.receipts import Receipts
from hadesgw.policy.refusals import Refused
from hadesgw.policy.seats import Seats
from hadesgw.resources.codex_answers import (
    Approvals,
    Availability,
    Branches,
    Committed,
    Done,
    Log,
    SessionFacts,
    Sessions,
    TakenBack,
)
from hadesgw.resources.codex_events import EventStream, last_event
from hadesgw.sessions.desk import Desk
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.incoming import (
    Answer,
    Asker,
    BranchOrder,
    CommitOrder,
    DiffQuery,
    EventsQuery,
    FileQuery,
    FolderQuery,
    Input,
    LogQuery,
    Nothing,
    RevertOrder,
    Start,
    Steer,
    Stop,
)
from hadesgw.sessions.registry import SessionRegistry
from hadesgw.sessions.views import Commit, FileContent, GitStatus, Listing, Patch, Reverted

_KEY = re.compile(rb"[!-~]{1,128}")
DEFAULT = "default"
"""What stands for the default session's id in a path."""
STREAMED = object()
"""What an act returns that answers the request itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that was understood.

    :ivar client: whose sessions are meant.
    :ivar names: the segments of its path that stand for something.
    :ivar query: of its call's type, as `body` is.
    """

    request: Request
    client: str
    names: Mapping[str, str]
    query: Any
    body: Any

    @property
    def session_id(self) -> str | None:
        """The session its path is about; None for the default one."""
        named = self.names.get("session_id", DEFAULT)
        return None if named == DEFAULT else named


class Acts:
    """What is done for each call: every method takes what was asked, and returns the answer, or a Deferred of it.

    :param sessions: of all clients.
    :param warrant: by what the client of a request has come in.
    :param seats: how many sockets and event streams a client may have.
    :param receipts: which inputs have been received.
    :param stall_seconds: how long the client of an event stream may take nothing.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        warrant: Callable[[Request], Warrant],
        seats: Seats,
        receipts: Receipts,
        stall_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._receipts = receipts
        self._warrant = warrant
        self._seats = seats
        self._stall_seconds = stall_seconds

    # -- The integration guide's ---------------------------------------------------------------------------------------

    def status(self, asked: Asked) -> Availability:
        """Say that we are there, and how the client's session stands."""
        return Availability(
            status="active",
            name="Codex",
            description="AI pair programming tool",
            input_destination="right_footer",
            version=__version__,
            **self._sessions.status(asked.client),
        )

    def start(self, asked: Asked) -> Deferred[Done]:
        """Answer when the agent waits for input."""
        starting = self._sessions.start(asked.client, asked.body.wish)
        return starting.addCallback(lambda session_id: _done("Session started", session_id))

    def stop(self, asked: Asked) -> Deferred[Done]:
        """Answer when nothing of the session is left."""

        def stopped(there_was_one: bool) -> Done:
            if there_was_one:
                return Done(status="success", message="Session stopped")
            return Done(status="warning", message="No active session to stop")

        return self._sessions.stop(asked.client, asked.body.session_id).addCallback(stopped)

    def input(self, asked: Asked) -> Done:
        """Answer at once: what comes of it is told by WebSocket or event stream.

        One with an `Idempotency-Key` that has been received is answered as it was then, and not taken a second time.
        """
        key = idempotency_key(asked.request)
        session_id = self._receipts.get(asked.client, key)
        if session_id is None:
            session_id = self._sessions.input(asked.client, asked.body.text, asked.body.wish)
            self._receipts.put(asked.client, key, session_id)
        return _done("Input received", session_id)

    # -- Sessions ------------------------------------------------------------------------------------------------------

    def sessions(self, asked: Asked) -> Sessions:
        """All the client has."""
        return Sessions(self._sessions.sessions(asked.client))  # type: ignore[arg-type]  # a test holds them to it

    def session(self, asked: Asked) -> Any:
        """One of them."""
        return self._sessions.session(asked.client, asked.session_id)

    def events(self, asked: Asked) -> object:
        """All it tells, from now on or from where the client has left off."""
        request, query = asked.request, asked.query
        if request.channel is not None and request.channel.site.draining:
            raise Refused(refusals.DRAINING)
        listener = request.record.client
        assert listener is not None  # who may be an administrator that looks at another's session
        if not self._seats.take(listener):
            raise Refused(refusals.TOO_MANY_SOCKETS)
        request.at_end(lambda completed: self._seats.give_back(listener))
        warrant = self._warrant(request)
        if asked.client != listener:
            warrant = _administrators(warrant)
        stream = EventStream(request, warrant, self._stall_seconds)
        stream.watch(self._sessions, asked.client, asked.session_id, answers=query.answers)
        stream.open(last_event(request) or (None if query.after is None else (None, query.after)))
        return STREAMED

    def steer(self, asked: Asked) -> Done:
        """Give the running turn further input."""
        self._sessions.steer(asked.client, asked.session_id, asked.body.text)
        return Done(status="success", message="Input received")

    def interrupt(self, asked: Asked) -> Done:
        """End the running turn."""
        self._sessions.interrupt(asked.client, asked.session_id)
        return Done(status="success", message="The turn is being interrupted")

    def approvals(self, asked: Asked) -> Approvals:
        """What waits for an answer."""
        return Approvals(self._sessions.session(asked.client, asked.session_id)["approvals"])

    def approve(self, asked: Asked) -> Done:
        """Answer one."""
        decision = Decision(asked.body.decision)
        self._sessions.decide(asked.client, asked.session_id, asked.names["approval_id"], decision)
        return Done(status="success", message="Decision taken")

    # -- The workspace -------------------------------------------------------------------------------------------------

    def folder(self, asked: Asked) -> Deferred[Listing]:
        """What is in a folder."""
        return self._desk(asked).listing(asked.query.path)

    def file(self, asked: Asked) -> Deferred[FileContent]:
        """What is in a file."""
        return self._desk(asked).read(asked.query.path)

    def diff(self, asked: Asked) -> Deferred[Patch]:
        """What is changed: by a turn, or since the last commit."""
        desk, turn_id = self._desk(asked), asked.query.turn_id
        return desk.diff() if turn_id is None else desk.turn_diff(turn_id)

    def git_diff(self, asked: Asked) -> Deferred[Patch]:
        """The same: files are looked at there, the repository here."""
        return self.diff(asked)

    def git_status(self, asked: Asked) -> Deferred[GitStatus]:
        """Branch, commit, changes."""
        return self._desk(asked).status()

    def git_log(self, asked: Asked) -> Deferred[Log]:
        """The last commits."""
        return self._desk(asked).log(asked.query.limit).addCallback(Log)

    def git_branches(self, asked: Asked) -> Deferred[Branches]:
        """The branches."""
        return self._desk(asked).branches().addCallback(Branches)

    def git_commit(self, asked: Asked) -> Deferred[Committed]:
        """Commit everything that is changed."""

        def committed(commit: Commit) -> Committed:
            return Committed(status="success", message="Changes committed", commit=commit)

        return self._desk(asked).commit(asked.body.message).addCallback(committed)

    def git_branch(self, asked: Asked) -> Deferred[GitStatus]:
        """Begin a branch."""
        return self._desk(asked).branch(asked.body.name)

    def git_revert(self, asked: Asked) -> Deferred[TakenBack]:
        """Take a turn back."""

        def taken_back(reverted: Reverted) -> TakenBack:
            return TakenBack(status="success", message="Turn taken back", reverted=reverted)

        desk, turn_id = self._desk(asked), asked.body.turn_id
        return (desk.undo() if turn_id is None else desk.revert(turn_id)).addCallback(taken_back)

    def _desk(self, asked: Asked) -> Desk:
        return self._sessions.desk(asked.client, asked.session_id)


def idempotency_key(request: Request) -> str | None:
    """The id that a client has given what it asks, or None.

    :raises Refused: if that is no id.
    """
    values = request.head.values(b"idempotency-key")
    if not values:
        return None
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        raise Refused(refusals.bad_parameter("Idempotency-Key", "1 to 128 visible ASCII characters"))
    return values[0].decode("ascii")


def _administrators(warrant: Warrant) -> Warrant:
    """The same, as long as it is an administrator's."""

    def admitted() -> Client | None:
        client = warrant()
        return client if client is not None and client.may(Role.ADMIN) else None

    return admitted


def _done(message: str, session_id: str) -> Done:
    return Done(status="success", message=message, session_id=session_id)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that can be asked.

    :ivar path: below where the leaf is mounted; a segment in braces stands for something.
    :ivar act: what is done.
    :ivar answer: the type of what is answered with 200; None for an event stream.
    :ivar summary: one line.
    :ivar faults: statuses of the refusals of its own.
    :ivar keyed: whether it heeds an `Idempotency-Key`.
    """

    method: bytes
    path: str
    act: Callable[[Acts, Asked], object]
    answer: type | None
    summary: str
    query: type[Struct] = Asker
    body: type[Struct] | None = None
    faults: tuple[int, ...] = ()
    keyed: bool = False
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.path.split("/")))

    def names(self, segments: list[str]) -> dict[str, str] | None:
        """What the segments of a path stand for, if it is this call's; else None."""
        if len(segments) != len(self.segments):
            return None
        names = {}
        for expected, segment in zip(self.segments, segments, strict=True):
            if expected.startswith("{") and segment:
                names[expected[1:-1]] = segment
            elif expected != segment:
                return None
        return names


_ONE = "sessions/{session_id}"
_SOME = (404, 409)
CALLS = (
    Call(b"GET", "status", Acts.status, Availability, "Whether coding sessions are to be had."),
    Call(b"POST", "start", Acts.start, Done, "Start a session, or see that it runs.", body=Start, faults=_SOME),
    Call(b"POST", "stop", Acts.stop, Done, "End a session.", body=Stop, faults=(404,)),
    Call(b"POST", "input", Acts.input, Done, "Give a session an input.", body=Input, faults=_SOME, keyed=True),
    Call(b"GET", "sessions", Acts.sessions, Sessions, "The client's sessions."),
    Call(b"GET", _ONE, Acts.session, SessionFacts, "One session.", faults=(404,)),
    Call(b"GET", f"{_ONE}/events", Acts.events, None, "What it tells.", EventsQuery, faults=(404,)),
    Call(b"POST", f"{_ONE}/steer", Acts.steer, Done, "Give the running turn more.", body=Steer, faults=_SOME),
    Call(b"POST", f"{_ONE}/interrupt", Acts.interrupt, Done, "End the running turn.", body=Nothing, faults=_SOME),
    Call(b"GET", f"{_ONE}/approvals", Acts.approvals, Approvals, "What waits for an answer.", faults=(404,)),
    Call(b"POST", f"{_ONE}/approvals/{{approval_id}}", Acts.approve, Done, "Answer one.", body=Answer, faults=_SOME),
    Call(b"GET", f"{_ONE}/files", Acts.folder, Listing, "What is in a folder.", FolderQuery, faults=(404,)),
    Call(b"GET", f"{_ONE}/files/content", Acts.file, FileContent, "What is in a file.", FileQuery, faults=_SOME),
    Call(b"GET", f"{_ONE}/files/diff", Acts.diff, Patch, "What is changed.", DiffQuery, faults=_SOME),
    Call(b"GET", f"{_ONE}/git/status", Acts.git_status, GitStatus, "Branch, commit, changes.", faults=_SOME),
    Call(b"GET", f"{_ONE}/git/diff", Acts.git_diff, Patch, "What is changed.", DiffQuery, faults=_SOME),
    Call(b"GET", f"{_ONE}/git/log", Acts.git_log, Log, "The last commits.", LogQuery, faults=_SOME),
    Call(b"GET", f"{_ONE}/git/branches", Acts.git_branches, Branches, "The local branches.", faults=_SOME),
    Call(b"POST", f"{_ONE}/git/commit", Acts.git_commit, Committed, "Commit it all.", body=CommitOrder, faults=_SOME),
    Call(b"POST", f"{_ONE}/git/branch", Acts.git_branch, GitStatus, "Begin a branch.", body=BranchOrder, faults=_SOME),
    Call(b"POST", f"{_ONE}/git/revert", Acts.git_revert, TakenBack, "Undo a turn.", body=RevertOrder, faults=_SOME),
)
"""All of them."""
