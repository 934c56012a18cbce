"""Carries out what a session wants done: launches its agent, speaks to it, tells observers, keeps its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatchmethod
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from hadesgw.interfaces import IRequestLog
from hadesgw.sessions import commands
from hadesgw.sessions.commands import Command, Outcome, Verb
from hadesgw.sessions.desk import Desk
from hadesgw.sessions.effects import (
    Begin,
    Carry,
    Decide,
    Effect,
    Effects,
    End,
    Interrupt,
    Say,
    Steer,
    Tell,
    TurnOver,
)
from hadesgw.sessions.engine import AgentEvent, EngineFailure, FilesTouched, IAgentObserver, IEngine, Launch
from hadesgw.sessions.messages import Message
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.session import Session, State

STOP_SECONDS = 30.0
"""The longest that an agent's end is waited for; then the session is given up, and that is a defect of its engine."""


@dataclass(frozen=True, slots=True)
class Errand:
    """How a session gets its agent.

    :ivar launch: what every agent of the session is told, but for its token and what to resume.
    :ivar lend: makes a new token for an agent.
    :ivar take_back: ends the token of the last one.
    """

    engine: IEngine
    launch: Launch
    lend: Callable[[], str]
    take_back: Callable[[], None]


@implementer(IAgentObserver)
class Conductor:
    """One session in the world of processes and clocks.

    :param session: decides; everything it returns goes through :meth:`_conduct`, in order.
    :param told: called with each message.
    :param gone: called once when nothing of the session is left.
    :ivar desk: its workspace.
    """

    def __init__(
        self,
        session: Session,
        errand: Errand,
        clock: IReactorTime,
        log: IRequestLog,
        told: Callable[[Message], None],
        gone: Callable[[], None],
    ) -> None:
        self.session = session
        self.desk: Desk
        self._errand = errand
        self._clock = clock
        self._log = log
        self._told = told
        self._gone = gone
        self._agent: Any = None
        self._launching: Deferred[Any] | None = None
        self._ahead: deque[Effect] = deque()
        self._conducting = False
        self._saying: Say | None = None  # an input that is on its way to the agent
        self._steers: list[str] = []  # what has to wait behind it
        self._alarm: IDelayedCall | None = None
        self._ready: list[Deferred[None]] = []
        self._over: list[Deferred[None]] = []
        self._failure = ""
        self._can_look_back = True
        self._finished = False
        self.turns = 0

    # -- What the registry asks ----------------------------------------------------------------------------------------

    def conduct(self, effects: Effects) -> None:
        """Do these things, after those that are being done."""
        self._ahead.extend(effects)
        if self._conducting:
            return
        self._conducting = True
        try:
            while self._ahead:
                self._do(self._ahead.popleft())
        finally:
            self._conducting = False
        self._settle()

    def when_ready(self) -> Deferred[None]:
        """Fires when the agent takes input; fails with :class:`SessionRefused` when there is none to be had.

        To be asked before the start that it is about.
        """
        waiting: Deferred[None] = Deferred()
        self._ready.append(waiting)
        self._settle()
        return waiting

    def when_over(self) -> Deferred[None]:
        """Fires when nothing of the session is left."""
        waiting: Deferred[None] = Deferred()
        self._over.append(waiting)
        self._settle()
        return waiting

    # -- IAgentObserver ------------------------------------------------------------------------------------------------

    def happened(self, event: AgentEvent) -> None:
        """The agent tells of its work."""
        self.conduct(self.session.happened(event))

    def ended(self, reason: str | None) -> None:
        """The agent is gone."""
        self._agent = self._saying = None
        self._errand.take_back()
        if reason is not None:
            self._failure = reason
            self._event("session_agent_lost", "warn")
        self.conduct(self.session.agent_ended(reason))

    # -- Effects -------------------------------------------------------------------------------------------------------

    @singledispatchmethod
    def _do(self, effect: Any) -> None:
        raise TypeError(f"{effect!r} is nothing a session wants done")

    @_do.register
    def _(self, effect: Tell) -> None:
        self._told(effect.message)

    @_do.register
    def _(self, effect: Begin) -> None:
        launch = replace(self._errand.launch, token=self._errand.lend(), resume=effect.resume)
        started = self._clock.seconds()
        self._launching = maybeDeferred(self._errand.engine.launch, launch, self)
        self._launching.addCallbacks(self._launched, self._launch_failed, callbackArgs=(started,))

    def _launched(self, agent: Any, started: float) -> None:
        self._launching = None
        self._agent = agent
        self._event("session_agent_ready", seconds=round(self._clock.seconds() - started, 3))
        if self.session.over:
            self._stop_agent()
        self.conduct(self.session.launched(agent.thread_id))

    def _launch_failed(self, failure: Failure) -> None:
        self._launching = None
        self._errand.take_back()
        if failure.check(EngineFailure):
            self._failure = failure.getErrorMessage()
        elif failure.check(CancelledError):
            self._failure = "the session has ended while its agent was starting"
        else:
            self._failure = "the agent could not be started, for a reason that is in the gateway's log"
            self._event("session_defect", "error", where="launch", error=type(failure.value).__name__)
        self._event("session_agent_failed", "warn")
        self.conduct(self.session.launch_failed(self._failure))

    @_do.register
    def _(self, effect: Say) -> None:
        """A turn begins with a picture of the workspace; the agent hears of it only then."""
        self._saying = effect
        self._steers = []
        self.turns += 1
        looked: Deferred[Any] = self.desk.before_turn() if self._can_look_back else succeed(None)
        looked.addErrback(self._cannot_look_back)
        looked.addErrback(self._defect, "before turn")
        looked.addCallback(lambda _: self._say(effect))
        looked.addErrback(self._not_said)

    def _say(self, effect: Say) -> None:
        if self._saying is not effect:
            return  # interrupted, or whom it was for is gone
        self._saying = None
        if not self._ask(lambda agent: agent.say(effect.text)):
            self.conduct(self.session.unsaid())
        for text in self._steers:
            self._steer(text)

    def _not_said(self, failure: Failure) -> None:
        """An engine with a defect: the session goes on without the turn."""
        self._defect(failure, "say")
        self.conduct(self.session.noted("The agent could not be told, for a reason that is in the gateway's log"))
        self.conduct(self.session.unsaid())

    def _steer(self, text: str) -> None:
        self._ask(lambda agent: agent.steer(text))

    def _ask(self, action: Callable[[Any], None]) -> bool:
        """Ask something of the agent; whether that went well."""
        if self._agent is None:
            return False
        try:
            action(self._agent)
        except EngineFailure as failure:
            self.conduct(self.session.noted(str(failure)))
            return False
        return True

    @_do.register
    def _(self, effect: Steer) -> None:
        if self._saying is not None:
            self._steers.append(effect.text)
        else:
            self._steer(effect.text)

    @_do.register
    def _(self, effect: Interrupt) -> None:
        if self._saying is not None:
            self._saying = None
            self.conduct(self.session.unsaid())
        else:
            self._ask(lambda agent: agent.interrupt())

    @_do.register
    def _(self, effect: Decide) -> None:
        self._ask(lambda agent: agent.decide(effect.approval_id, effect.decision))

    @_do.register
    def _(self, effect: End) -> None:
        self._saying = None
        if self._launching is not None:
            self._launching.cancel()
        else:
            self._stop_agent()

    def _stop_agent(self) -> None:
        if self._agent is None:
            return
        stopping = self._agent.stop()
        stopping.addTimeout(STOP_SECONDS, self._clock)
        stopping.addErrback(self._defect, "stop")
        stopping.addCallback(lambda _: self.ended(None))

    @_do.register
    def _(self, effect: TurnOver) -> None:
        looked: Deferred[Any] = self.desk.after_turn(effect.turn_id) if self._can_look_back else succeed(None)
        looked.addErrback(self._cannot_look_back)
        looked.addCallback(lambda _: self.desk.gone(self.session.active_files))
        looked.addCallback(lambda gone: self.conduct(self.session.files_gone(gone)))
        looked.addErrback(self._defect, "turn over")

    def _cannot_look_back(self, failure: Failure) -> None:
        """Once is enough: a workspace that is too large for pictures stays so."""
        failure.trap(SessionRefused)
        self._can_look_back = False
        why = f"turns cannot be taken back in this session: {failure.value.text}"  # type: ignore[union-attr]
        self.conduct(self.session.noted(why))

    # -- Slash commands ------------------------------------------------------------------------------------------------

    @_do.register
    def _(self, effect: Carry) -> None:
        done = Deferred.fromCoroutine(carry_out(effect.command, self.desk, self.session))
        done.addErrback(self._refused)
        done.addCallback(lambda outcome: self.conduct(self.session.carried(effect.command, outcome)))
        done.addErrback(self._defect, "command")

    def _refused(self, failure: Failure) -> Outcome:
        if failure.check(SessionRefused):
            return Outcome(error=failure.value.text)  # type: ignore[union-attr]
        self._defect(failure, "command")
        return Outcome(error="that went wrong, for a reason that is in the gateway's log")

    def changed(self, restored: Sequence[str], removed: Sequence[str]) -> None:
        """Files of the workspace were changed by the gateway itself."""
        self.conduct(self.session.happened(FilesTouched(tuple(restored))))
        self.conduct(self.session.files_gone(removed))

    # -- Time and the end ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Whatever waits for the state there is now."""
        session = self.session
        if session.state is State.GONE:
            self._finish()
        elif session.state in (State.READY, State.IN_TURN, State.WAITING):
            self._release_ready(None)
        elif session.state is State.IDLE and self._failure:
            refusal = SessionRefused(Reason.ENGINE_FAILED, self._failure)
            self._failure = ""
            self._release_ready(refusal)
        self._set_alarm()

    def _release_ready(self, refusal: SessionRefused | None) -> None:
        waiting, self._ready = self._ready, []
        for one in waiting:
            if refusal is None:
                one.callback(None)
            else:
                one.errback(Failure(refusal))

    def _set_alarm(self) -> None:
        """Wake at the next moment of the session. One that has moved away is found out when it comes: that is rarer."""
        due = self.session.due()
        if due is None:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        elif self._alarm is None or self._alarm.getTime() > due:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._rang)

    def _rang(self) -> None:
        self._alarm = None
        self.conduct(self.session.tick())

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        self._errand.take_back()
        self._release_ready(SessionRefused(Reason.ENDED, self._failure or "the session has ended"))
        self.desk.close().addErrback(self._defect, "close").addCallback(lambda _: self._leave())

    def _leave(self) -> None:
        self._gone()
        waiting, self._over = self._over, []
        for one in waiting:
            one.callback(None)

    def _defect(self, failure: Failure, where: str) -> None:
        """Something of ours went wrong: it is told without its text, which may have been a client's."""
        self._event("session_defect", "error", where=where, error=type(failure.value).__name__)

    def _event(self, name: str, level: str = "info", **facts: object) -> None:
        self._log.event(name, level, session=self.session.session_id, **facts)


# -- What the slash commands do ----------------------------------------------------------------------------------------


async def carry_out(command: Command, desk: Desk, session: Session) -> Outcome:
    """What came of a slash command.

    :raises SessionRefused: if it is not done.
    """
    verb, argument = command.verb, command.argument
    if verb is Verb.HELP:
        return Outcome(commands.HELP)
    if verb in (Verb.FOCUS, Verb.ADD):
        path = await desk.require_file(argument)
        return Outcome(active=(path,), focus=path if verb is Verb.FOCUS else None)
    if verb is Verb.DROP:
        return _drop(argument, session)
    if verb is Verb.LS:
        listing = await desk.listing(argument)
        lines = [entry.path + ("/" if entry.kind == "folder" else "") for entry in listing.entries]
        return Outcome("".join(f"{line}\n" for line in [*lines, *(["..."] if listing.truncated else [])]))
    if verb is Verb.DIFF:
        patch = await desk.diff()
        return Outcome(patch.diff or "Nothing is changed.\n")
    if verb is Verb.COMMIT:
        commit = await desk.commit(argument or "Changes of a coding session")
        return Outcome(f"Committed {commit.commit[:12]} {commit.subject}\n")
    reverted = await desk.undo()
    return Outcome("".join(f"restored {path}\n" for path in reverted.restored) + _removals(reverted.removed))


def _removals(paths: Sequence[str]) -> str:
    return "".join(f"removed {path}\n" for path in paths)


def _drop(argument: str, session: Session) -> Outcome:
    if not argument:
        return Outcome(inactive=None)
    path = argument.removeprefix("./")
    if path not in session.active_files:
        raise SessionRefused(Reason.NO_SUCH_FILE, f"{path} is not active")
    return Outcome(inactive=(path,))
