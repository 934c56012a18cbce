"""The sessions of all clients: who has which, how many there may be, and what can be asked of them.

HTTP and WebSockets alike call what is here. Every method takes the name of the admitted client first and sees that
client's sessions only; whatever cannot be done raises, or fails with, :class:`SessionRefused`, whose `reason.status`
and `text` are fit to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from hadesgw.sessions.desk import Desk
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.messages import Message


class ISessionObserver(Interface):
    """Watches a session: a socket, or an event stream."""

    def told(message: Message) -> None:  # noqa: N805 - an interface's
        """The session tells this. What a slow observer misses it can have again by :meth:`Subscription.replay`."""

    def ended() -> None:
        """The session is gone, and it was asked for by its id: nothing more will be told.

        Not called for an observer of the default session: it hears of the next one.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client wants of the session that it starts.

    :ivar session_id: of a session that exists; None for the client's default session.
    :ivar workspace: None for the configured default, or the only one there is.
    :ivar engine: None for the configured one.
    :ivar model: None for the first that the client may use.
    :ivar restart: end the session that is there, and start afresh.
    :ivar new: start a further session beside the default one.
    """

    session_id: str | None = None
    workspace: str | None = None
    engine: str | None = None
    model: str | None = None
    restart: bool = False
    new: bool = False


class Subscription:
    """One observer's place at a session: at a particular one, or at whichever is the client's default.

    :ivar session_id: of the session that is watched now, or None while there is none.
    """

    session_id: str | None

    def greeting(self) -> list[Message]:
        """How things stand, for an observer that has seen nothing: `session_status` first, then the active files and
        the approvals that wait. Each has the newest seq there is (0 without a session).
        """
        raise NotImplementedError

    def replay(self, after: int, session_id: str | None) -> list[Message]:
        """What followed the message with the seq `after`.

        Begins with a `gap` if some of that is lost, and with `gap` and greeting if `session_id`, when it is given, is
        that of another session than the one that is watched now.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Watch no more. May be called more than once."""
        raise NotImplementedError


class SessionRegistry:
    """All coding sessions of the gateway.

    :param engines: by name.
    :param standing: the client of a name, if it may come in at this moment.
    """

    # -- What can be asked before there is a session -------------------------------------------------------------------

    def status(self, client: str) -> dict[str, Any]:
        """`session_active` (bool), `session_id` (of the default session, or null), `obstacle` (str or null: why none
        can be started), `engine`, `engines`, `workspaces` (names), `workspace` (the default), `sessions` (number).
        """
        raise NotImplementedError

    def sessions(self, client: str) -> list[dict[str, Any]]:
        """The client's sessions as :meth:`session` tells them, oldest first."""
        raise NotImplementedError

    # -- A session's life ----------------------------------------------------------------------------------------------

    def start(self, client: str, wish: Wish) -> Deferred[str]:
        """See that there is a session whose agent waits for input.

        :returns: fires with its id when it is ready.
        """
        raise NotImplementedError

    def stop(self, client: str, session_id: str | None) -> Deferred[bool]:
        """End a session.

        :returns: fires with True when nothing of it is left, with False if there was no default session.
        """
        raise NotImplementedError

    def input(self, client: str, text: str, wish: Wish) -> str:
        """Give a session an input or a slash command; starts the default session if there is none.

        :returns: the session's id, at once: what comes of it is told to its observers.
        """
        raise NotImplementedError

    def steer(self, client: str, session_id: str | None, text: str) -> None:
        """Give the running turn further input."""
        raise NotImplementedError

    def interrupt(self, client: str, session_id: str | None) -> None:
        """End the running turn."""
        raise NotImplementedError

    def decide(self, client: str, session_id: str | None, approval_id: str, decision: Decision) -> None:
        """Answer a request for approval."""
        raise NotImplementedError

    # -- Watching ------------------------------------------------------------------------------------------------------

    def session(self, client: str, session_id: str | None) -> dict[str, Any]:
        """A session's facts as JSON values: those of `session_status`, `created`, `idle_seconds`, `turn_id`,
        `queued`, `active_files`, `approvals` (contents of `approval_request`), `plan`, `token_usage`, `seq`.
        """
        raise NotImplementedError

    def observe(self, client: str, session_id: str | None, observer: Any, *, answers: bool) -> Subscription:
        """Have an :class:`ISessionObserver` told of everything from now on.

        :param session_id: None for the default session, whichever that is at any time.
        :param answers: whether it can give approvals: True for a client that has shown that it knows ours.
        """
        raise NotImplementedError

    # -- The workspace -------------------------------------------------------------------------------------------------

    def desk(self, client: str, session_id: str | None) -> Desk:
        """The files and the git repository of a session's workspace."""
        raise NotImplementedError

    # -- The end -------------------------------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Start no more sessions and end all; fires when nothing of any is left."""
        raise NotImplementedError
