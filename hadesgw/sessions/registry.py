"""The sessions of all clients: who has which, how many there may be, and what can be asked of them.

HTTP and WebSockets alike call what is here. Every method takes the name of the admitted client first and sees that
client's sessions only; whatever cannot be done raises, or fails with, :class:`SessionRefused`, whose `reason.status`
and `text` are fit to be sent.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from hadesgw.interfaces import IRequestLog, ISessionMeter
from hadesgw.policy.credentials import Client
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.sessions.admission import Admission, Granted, Settings, Wish
from hadesgw.sessions.conductor import Conductor, Errand
from hadesgw.sessions.desk import Desk
from hadesgw.sessions.effects import Effects
from hadesgw.sessions.engine import Decision, IEngine, Launch
from hadesgw.sessions.git import Git, Repository
from hadesgw.sessions.messages import Message
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.session import Identity, Session, require_fit
from hadesgw.sessions.snapshots import Snapshots
from hadesgw.sessions.workspace import Workspace

PICTURE_SECONDS = 10.0
"""The longest that a turn waits for one run of git on the picture before it."""


class ISessionObserver(Interface):
    """Watches a session: a socket, or an event stream."""

    behind = Attribute("Whether it has missed something, and will ask for that by Subscription.replay (bool).")

    def told(message: Message) -> None:  # noqa: N805 - an interface's
        """The session tells this. What a slow observer misses it can have again by :meth:`Subscription.replay`."""

    def ended() -> None:
        """The session is gone, and it was asked for by its id: nothing more will be told.

        Not called for an observer of the default session: it hears of the next one.
        """


class Subscription:
    """One observer's place at a session: at a particular one, or at whichever is the client's default.

    :ivar session_id: of the session that is watched now, or None while there is none.
    :ivar past: the session that was watched before, when it is gone and the observer was behind; else None.
    """

    def __init__(
        self, registry: SessionRegistry, client: str, wanted: str | None, observer: Any, answers: bool
    ) -> None:
        self._registry = registry
        self.client = client
        self.wanted = wanted
        self.observer = observer
        self.answers = answers
        self.session_id: str | None = None
        self.past: Session | None = None
        self.open = True

    def greeting(self) -> list[Message]:
        """How things stand, for an observer that has seen nothing: `session_status` first, then the active files and
        the approvals that wait. Each has the newest seq there is (0 without a session).
        """
        session = self._session()
        return [self._registry.nothing()] if session is None else session.greeting()

    def replay(self, after: int, session_id: str | None) -> Iterator[tuple[str | None, Message]]:
        """What followed the message with the seq `after`, each with the id of the session that tells it.

        Begins with a `gap` if some of that is lost, and with a gap and a `session_status` if `session_id`, when it is
        given, is that of another session than the one that is watched now: everything that is kept of this one follows.
        What an observer has missed of a session that is gone can be had until it has been taken to its end; the session
        that is watched instead follows as a whole.
        """
        past, session = self.past, self._session()
        here = past or session
        if here is None:
            yield from ((None, message) for message in self.greeting())
        elif session_id not in (None, here.session_id):
            yield here.session_id, Message.of(0, "gap", {"after": after, "next": 1})
            yield from ((here.session_id, message) for message in here.story())
        else:
            yield from ((here.session_id, message) for message in here.log.since(after))
        if past is not None:
            self.past = None
            if session is not None:
                yield from ((session.session_id, message) for message in session.story())

    def close(self) -> None:
        """Watch no more. May be called more than once."""
        self.past = None
        if self.open:
            self.open = False
            self._registry.forget(self)

    def _session(self) -> Session | None:
        return None if self.session_id is None else self._registry.living(self.session_id)


class SessionRegistry:
    """All coding sessions of the gateway.

    :param engines: by name.
    :param workspaces: by name.
    :param git: runs git.
    :param tokens: admit the agents' model calls.
    :param standing: the client of a name, if it may come in at this moment.
    :param base_url: of a plain listener of ours on loopback, with `/v1`; None while there is none.
    :param scratch: makes a folder that nobody else may enter, for what sessions keep of their workspaces.
    :param in_thread: runs a function off the reactor.
    :param clock: time and timers.
    :param wall: seconds since the epoch.
    :param entropy: returns that many random bytes.
    :ivar tokens: as given: who guards the model's routes asks them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        engines: Mapping[str, IEngine],
        workspaces: Mapping[str, Workspace],
        git: Git,
        tokens: SessionTokens,
        standing: Callable[[str], Client | None],
        base_url: Callable[[], str | None],
        scratch: Callable[[], Path],
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        clock: IReactorTime,
        wall: Callable[[], float],
        entropy: Callable[[int], bytes],
        meter: ISessionMeter,
        log: IRequestLog,
    ) -> None:
        self._settings = settings
        self._admission = Admission(settings, engines, workspaces, standing, base_url)
        self._git = git
        self.tokens = tokens
        self._scratch = scratch
        self._in_thread = in_thread
        self._clock = clock
        self._wall = wall
        self._entropy = entropy
        self._meter = meter
        self._log = log
        self._conductors: dict[str, Conductor] = {}
        self._defaults: dict[str, str] = {}
        self._watching: dict[str, list[Subscription]] = defaultdict(list)
        self._waiting: dict[str, list[Subscription]] = defaultdict(list)  # followers of a default that is not there
        self._folder: Path | None = None
        self._closing = False

    # -- What can be asked before there is a session -------------------------------------------------------------------

    def status(self, client: str) -> dict[str, Any]:
        """`session_active` (bool), `session_id` (of the default session, or null), `obstacle` (str or null: why none
        can be started), `engine`, `engines`, `workspace` (the default, or null), `workspaces` (names), `sessions`
        (number).
        """
        conductor = self._default(client)
        return {
            "session_active": conductor is not None and conductor.session.active,
            "session_id": None if conductor is None else conductor.session.session_id,
            "obstacle": None if conductor is not None else self._obstacle(client),
            **self._admission.choices(),
            "sessions": len(self._of(client)),
        }

    def _obstacle(self, client: str) -> str | None:
        try:
            self._judge(client, Wish())
        except SessionRefused as refused:
            return refused.text
        return None

    def sessions(self, client: str) -> list[dict[str, Any]]:
        """The client's sessions as :meth:`session` tells them, oldest first."""
        return [self._facts(conductor) for conductor in self._of(client)]

    def session(self, client: str, session_id: str | None) -> dict[str, Any]:
        """A session's facts as JSON values: those of `session_status`, `created`, `idle_seconds`, `turn_id`, `turns`
        (number), `queued`, `active_files`, `approvals` (contents of `approval_request`), `plan`, `token_usage`, `seq`,
        and `default` (bool).
        """
        return self._facts(self._found(client, session_id))

    def _facts(self, conductor: Conductor) -> dict[str, Any]:
        identity = conductor.session.identity
        default = self._defaults.get(identity.client) == identity.session_id
        return {**conductor.session.facts(), "turns": conductor.turns, "default": default}

    # -- A session's life ----------------------------------------------------------------------------------------------

    def start(self, client: str, wish: Wish) -> Deferred[str]:
        """See that there is a session whose agent waits for input. One that there is already is left as it is.

        :returns: fires with its id when it is ready.
        """
        try:
            conductor = self._meant(client, wish)
            if conductor is not None and wish.restart:
                return self._restart(client, conductor, wish)
            if conductor is None or wish.new:
                conductor = self._make(client, wish)
        except SessionRefused as refused:
            return fail(refused)
        return self._started(conductor)

    def _started(self, conductor: Conductor) -> Deferred[str]:
        ready = conductor.when_ready()
        conductor.conduct(conductor.session.start())
        return ready.addCallback(lambda _: conductor.session.session_id)

    def _restart(self, client: str, conductor: Conductor, wish: Wish) -> Deferred[str]:
        identity = conductor.session.identity
        again = Wish(
            workspace=wish.workspace or identity.workspace,
            engine=wish.engine or identity.engine,
            model=wish.model or identity.model,
        )
        default = self._defaults.get(client) == identity.session_id
        over = self._end(conductor, "restarted")
        return over.addCallback(lambda _: self._started(self._make(client, again, default=default)))

    def stop(self, client: str, session_id: str | None) -> Deferred[bool]:
        """End a session.

        :returns: fires with True when nothing of it is left, with False if there was no default session.
        """
        try:
            conductor = self._default(client) if session_id is None else self._found(client, session_id)
        except SessionRefused as refused:
            return fail(refused)
        if conductor is None:
            return succeed(False)
        return self._end(conductor, "stopped").addCallback(lambda _: True)

    def _end(self, conductor: Conductor, reason: str) -> Deferred[None]:
        over = conductor.when_over()
        conductor.conduct(conductor.session.stop(reason))
        return over

    def input(self, client: str, text: str, wish: Wish) -> str:
        """Give a session an input or a slash command; starts the default session if there is none.

        :returns: the session's id, at once: what comes of it is told to its observers.
        """
        conductor = self._meant(client, wish)
        if conductor is None or wish.new:
            require_fit(text, self._settings.bounds.input_bytes)
            conductor = self._make(client, wish)
        conductor.conduct(conductor.session.input(text))
        return conductor.session.session_id

    def steer(self, client: str, session_id: str | None, text: str) -> None:
        """Give the running turn further input."""
        self._conduct(client, session_id, lambda session: session.steer(text))

    def interrupt(self, client: str, session_id: str | None) -> None:
        """End the running turn; inputs that wait behind it are dropped."""
        self._conduct(client, session_id, lambda session: session.interrupt())

    def decide(self, client: str, session_id: str | None, approval_id: str, decision: Decision) -> None:
        """Answer a request for approval."""
        self._conduct(client, session_id, lambda session: session.decide(approval_id, decision))

    def _conduct(self, client: str, session_id: str | None, step: Callable[[Session], Effects]) -> None:
        conductor = self._found(client, session_id)
        conductor.conduct(step(conductor.session))

    def desk(self, client: str, session_id: str | None) -> Desk:
        """The files and the git repository of a session's workspace."""
        return self._found(client, session_id).desk

    # -- Watching ------------------------------------------------------------------------------------------------------

    def observe(self, client: str, session_id: str | None, observer: Any, *, answers: bool) -> Subscription:
        """Have an :class:`ISessionObserver` told of everything from now on.

        :param session_id: None for the default session, whichever that is at any time.
        :param answers: whether it can give approvals: True for a client that has shown that it knows ours.
        """
        conductor = self._default(client) if session_id is None else self._found(client, session_id)
        subscription = Subscription(self, client, session_id, observer, answers)
        if conductor is None:
            self._waiting[client].append(subscription)
        else:
            self._attach(subscription, conductor)
        return subscription

    def _attach(self, subscription: Subscription, conductor: Conductor) -> None:
        session_id = conductor.session.session_id
        subscription.session_id = session_id
        self._watching[session_id].append(subscription)
        self._count_answerers(session_id)

    def forget(self, subscription: Subscription) -> None:
        """A subscription is closed."""
        if subscription.session_id is None:
            self._waiting[subscription.client].remove(subscription)
            if not self._waiting[subscription.client]:
                del self._waiting[subscription.client]
        else:
            self._watching[subscription.session_id].remove(subscription)
            self._count_answerers(subscription.session_id)

    def _count_answerers(self, session_id: str) -> None:
        conductor = self._conductors.get(session_id)
        if conductor is not None:
            count = sum(subscription.answers for subscription in self._watching[session_id])
            conductor.conduct(conductor.session.answerers(count))

    def living(self, session_id: str) -> Session | None:
        """The session of that id, whosever it is."""
        conductor = self._conductors.get(session_id)
        return None if conductor is None else conductor.session

    def nothing(self) -> Message:
        """How things stand where there is no session."""
        return Message.of(
            0,
            "session_status",
            {"active": False, "session_id": None, "timestamp": self._wall(), "state": None, "reason": None},
        )

    def _told(self, session_id: str, message: Message) -> None:
        for subscription in list(self._watching.get(session_id, ())):
            if subscription.open:
                subscription.observer.told(message)

    # -- Making a session ----------------------------------------------------------------------------------------------

    def _judge(self, client: str, wish: Wish) -> Granted:
        """:raises SessionRefused: if there can be no new session."""
        if self._closing:
            raise SessionRefused(Reason.DRAINING, "the gateway is about to stop; come again when it has restarted")
        return self._admission.judge(client, wish, len(self._of(client)), len(self._conductors))

    def _make(self, client: str, wish: Wish, *, default: bool = False) -> Conductor:
        granted = self._judge(client, wish)
        engine, workspace = granted.engine, granted.workspace
        session_id = f"session_{self._entropy(12).hex()}"
        session = Session(
            Identity(session_id, client, workspace.name, engine.name, granted.model),
            self._settings.bounds,
            self._clock.seconds,
            self._wall,
            engine.claims,
        )
        root = workspace.resolved()
        conductor = Conductor(
            session,
            self._errand(engine, self._launch(session_id, root, granted), client),
            self._clock,
            self._log,
            lambda message: self._told(session_id, message),
            lambda: self._gone(conductor),
        )
        conductor.desk = self._desk(conductor, workspace, root)
        self._enter(conductor, default=default or not wish.new)
        return conductor

    def _enter(self, conductor: Conductor, *, default: bool) -> None:
        identity = conductor.session.identity
        self._conductors[identity.session_id] = conductor
        self._meter.sessions(len(self._conductors))
        self._log.event(
            "session_started",
            session=identity.session_id,
            client=identity.client,
            workspace=identity.workspace,
            engine=identity.engine,
            model=identity.model,
        )
        if default:
            self._defaults[identity.client] = identity.session_id
            for subscription in self._waiting.pop(identity.client, []):
                self._attach(subscription, conductor)

    def _launch(self, session_id: str, root: Path, granted: Granted) -> Launch:
        settings = self._settings
        context_tokens, output_tokens = settings.tokens(granted.model)
        return Launch(
            session_id=session_id,
            workspace=root,
            model=granted.model,
            approval=settings.approval,
            sandbox=settings.sandbox,
            base_url=granted.base_url,
            token="",
            session_header=settings.session_header,
            context_tokens=context_tokens,
            output_tokens=output_tokens,
        )

    def _errand(self, engine: IEngine, launch: Launch, client: str) -> Errand:
        session_id = launch.session_id
        return Errand(
            engine,
            launch,
            lend=lambda: self.tokens.issue(client, session_id),
            take_back=lambda: self.tokens.revoke(session_id),
        )

    def _desk(self, conductor: Conductor, workspace: Workspace, root: Path) -> Desk:
        if self._folder is None:
            self._folder = self._scratch()
        shadow = self._folder / conductor.session.session_id
        seconds = self._settings.git_seconds
        return Desk(
            workspace,
            Repository(self._git, root, self._in_thread, seconds),
            Snapshots(self._git, root, shadow, self._in_thread, min(seconds, PICTURE_SECONDS)),
            self._in_thread,
            lambda: conductor.session.in_turn,
            conductor.changed,
        )

    def _gone(self, conductor: Conductor) -> None:
        """Nothing is left of a session."""
        session = conductor.session
        session_id, client = session.session_id, session.identity.client
        del self._conductors[session_id]
        if self._defaults.get(client) == session_id:
            del self._defaults[client]
        self._meter.sessions(len(self._conductors))
        self._log.event(
            "session_ended",
            session=session_id,
            client=client,
            reason=session.ended_for,
            turns=conductor.turns,
            seconds=round(self._wall() - session.created, 3),
        )
        for subscription in self._watching.pop(session_id, []):
            subscription.session_id = None
            subscription.past = session if subscription.open and subscription.observer.behind else None
            self._let_go(subscription)

    def _let_go(self, subscription: Subscription) -> None:
        """A subscription's session is gone: it ends with it, or waits for the next default."""
        if not subscription.open:
            return
        if subscription.wanted is not None:
            subscription.open = False
            subscription.observer.ended()
            return
        successor = self._default(subscription.client)
        if successor is None:
            self._waiting[subscription.client].append(subscription)
        else:
            self._attach(subscription, successor)
            if not subscription.observer.behind:
                for message in successor.session.story():
                    subscription.observer.told(message)

    # -- Finding -------------------------------------------------------------------------------------------------------

    def _of(self, client: str) -> list[Conductor]:
        return [found for found in self._conductors.values() if found.session.identity.client == client]

    def _default(self, client: str) -> Conductor | None:
        """The client's default session, unless it is about to end."""
        conductor = self._conductors.get(self._defaults.get(client, ""))
        return None if conductor is None or conductor.session.over else conductor

    def _found(self, client: str, session_id: str | None) -> Conductor:
        """A session of the client's; another client's is as good as none.

        :raises SessionRefused: if there is none.
        """
        if session_id is None:
            conductor = self._default(client)
            if conductor is None:
                raise SessionRefused(Reason.UNKNOWN_SESSION, "there is no session; start one")
            return conductor
        found = self._conductors.get(session_id)
        if found is None or found.session.identity.client != client:
            raise SessionRefused(Reason.UNKNOWN_SESSION, "there is no such session; it has ended, or never was")
        return found

    def _meant(self, client: str, wish: Wish) -> Conductor | None:
        """The session that a wish is about; None if it is one to be made.

        :raises SessionRefused: if it is there and is not as wished.
        """
        if wish.session_id is not None:
            conductor: Conductor | None = self._found(client, wish.session_id)
        else:
            conductor = self._default(client)
        if conductor is None or wish.restart or wish.new:
            return conductor
        identity = conductor.session.identity
        for name in ("workspace", "engine", "model"):
            wanted, had = getattr(wish, name), getattr(identity, name)
            if wanted not in (None, had):
                raise SessionRefused(
                    Reason.CONFLICT,
                    f"the session there is has the {name} {had}; ask for a new one, or for a restart",
                )
        return conductor

    # -- The end -------------------------------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Start no more sessions and end all; fires when nothing of any is left. May be called more than once."""
        self._closing = True
        ends = [self._end(conductor, "drain") for conductor in list(self._conductors.values())]
        return DeferredList(ends, consumeErrors=True).addCallback(lambda _: self._put_away())

    def _put_away(self) -> Deferred[None] | None:
        folder, self._folder = self._folder, None
        if folder is None:
            return None
        return self._in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))
