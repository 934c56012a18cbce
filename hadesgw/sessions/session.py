"""One coding session as a state machine: inputs and the agent's events in, effects out. It knows no reactor.

    idle -> starting -> ready <-> in turn <-> waiting for approval
    any of them -> stopping -> gone;  an agent that dies leaves its session idle, and the next input starts another

The rules: inputs are carried out one after the other in the order in which they came; whatever is told is numbered and
kept for replay before anybody hears it; nothing is told after the end; every way into a state is in this file.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any, NamedTuple

from hadesgw.sessions.commands import Command, Outcome, UnknownCommand, parse
from hadesgw.sessions.effects import (
    Begin,
    Carry,
    Decide,
    Effects,
    End,
    Interrupt,
    Say,
    Steer,
    Tell,
    TurnOver,
)
from hadesgw.sessions.engine import (
    AgentEvent,
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    Diff,
    Failed,
    FilesActive,
    FilesTouched,
    Item,
    Output,
    Plan,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from hadesgw.sessions.messages import Message, bounded, pieces
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.replay import ReplayLog

PROMPT = "Type a message to the agent, or /help"
_PIECE = 16 << 10
"""Characters of an `output` message at most; longer ones are told in parts."""
_DIFF = 512 << 10
_BODY = 64 << 10
"""Bytes of an item's or an approval's body at most, as JSON."""
_TEXT = 4 << 10
"""Characters of a warning or an error at most."""
_STEPS = 200


class State(enum.StrEnum):
    """Where a session is in its life."""

    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    IN_TURN = "in_turn"
    WAITING = "waiting_for_approval"
    STOPPING = "stopping"
    GONE = "gone"


ACTIVE = frozenset((State.STARTING, State.READY, State.IN_TURN, State.WAITING))
"""States in which there is an agent, or one is on its way: what the guide calls an active session."""
_BUSY = frozenset((State.IN_TURN, State.WAITING))
_OVER = frozenset((State.STOPPING, State.GONE))
_NOES = (Decision.DECLINE, Decision.CANCEL)


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change in a session's life.

    :ivar client: name of the client whose it is.
    :ivar workspace: name of the directory it works in.
    :ivar engine: name of the engine.
    :ivar model: name of the model.
    """

    session_id: str
    client: str
    workspace: str
    engine: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a session may hold, and how long.

    :ivar queue: inputs that wait.
    :ivar input_bytes: of one input, in UTF-8.
    :ivar replay_messages: that are kept for replay, and their bytes.
    :ivar active_files: at one time; the oldest make place.
    :ivar idle_seconds: without input and without a turn.
    :ivar age_seconds: of the session as a whole.
    :ivar approval_seconds: that an approval may take when somebody is there who can give it.
    :ivar absence_seconds: that it may take when nobody is, such as while a page loads anew.
    """

    queue: int
    input_bytes: int
    replay_messages: int
    replay_bytes: int
    active_files: int
    idle_seconds: float
    age_seconds: float
    approval_seconds: float
    absence_seconds: float


@dataclass(slots=True)
class Approval:
    """A request for approval that waits.

    :ivar asked: seconds of the session's clock.
    :ivar due: when it is declined if nobody answers.
    """

    asked: float
    due: float
    content: Mapping[str, Any] = field(repr=False)
    decisions: tuple[Decision, ...]


class _Wait(NamedTuple):
    """An input that waits for its turn."""

    text: str
    command: Command | None


class Session:
    """A session. Every method but the readers returns what is to be done; whoever calls it does that, in order.

    :param clock: monotonic seconds.
    :param wall: seconds since the epoch, for the clients' eyes.
    :param claims: slash commands the engine takes itself.
    :ivar state: of :class:`State`.
    :ivar log: what has been told.
    :ivar ended_for: why it is over: `stopped`, `idle`, `age`, `drain`, ...; None while it is not.
    :ivar thread_id: what the agent calls the conversation, or None.
    :ivar turn_id: of the running turn; None when none runs, or while the agent has not named it yet.
    """

    def __init__(
        self,
        identity: Identity,
        bounds: Bounds,
        clock: Callable[[], float],
        wall: Callable[[], float],
        claims: Collection[str],
    ) -> None:
        self.identity = identity
        self.state = State.IDLE
        self.log = ReplayLog(bounds.replay_messages, bounds.replay_bytes)
        self.ended_for: str | None = None
        self.thread_id: str | None = None
        self.turn_id: str | None = None
        self.created = wall()
        self._bounds = bounds
        self._clock = clock
        self._wall = wall
        self._claims = claims
        self._queue: deque[_Wait] = deque()
        self._carrying = False
        self._steered = 0  # bytes that the running turn was given besides its input
        self._answerers = 0
        self._approvals: dict[str, Approval] = {}
        self._active: dict[str, None] = {}  # in order of use, oldest first
        self._focus: str | None = None  # what the agent is to be told of with the next input
        self._usage: dict[str, Any] | None = None
        self._plan: dict[str, Any] | None = None
        self._born = self._touched = clock()
        self._effects: Effects = []

    # -- Reading -------------------------------------------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """Its name, and its agent's Conveyance session."""
        return self.identity.session_id

    @property
    def active(self) -> bool:
        """Whether it has an agent, or one is on its way."""
        return self.state in ACTIVE

    @property
    def over(self) -> bool:
        """Whether it has ended, or is about to."""
        return self.state in _OVER

    @property
    def in_turn(self) -> bool:
        """Whether a turn runs, or waits for an approval."""
        return self.state in _BUSY

    @property
    def active_files(self) -> list[str]:
        """The active files, sorted."""
        return sorted(self._active)

    @property
    def approvals(self) -> list[Mapping[str, Any]]:
        """The requests for approval that wait, as they were told."""
        now, wall = self._clock(), self._wall()
        return [{**waits.content, "expires": wall + waits.due - now} for waits in self._approvals.values()]

    def facts(self) -> dict[str, Any]:
        """All there is to know of it at this moment, as JSON values."""
        return {
            **self._status(),
            "created": self.created,
            "idle_seconds": round(self._clock() - self._touched, 3),
            "turn_id": self.turn_id,
            "queued": len(self._queue),
            "active_files": self.active_files,
            "approvals": self.approvals,
            "plan": self._plan,
            "token_usage": self._usage,
            "seq": self.log.last_seq,
        }

    def greeting(self) -> list[Message]:
        """For somebody who begins to watch: how things stand. None of it is new, so each has the newest seq."""
        seq = self.log.last_seq
        told = [Message.of(seq, "session_status", self._status()), Message.of(seq, "active_files", self.active_files)]
        told += [Message.of(seq, "approval_request", content) for content in self.approvals]
        return told

    def story(self) -> list[Message]:
        """For somebody who watched another session until now: whose messages follow, then all that is kept of them."""
        return [Message.of(0, "session_status", self._status()), *self.log.since(0)]

    def _status(self) -> dict[str, Any]:
        identity = self.identity
        return {
            "active": self.active,
            "session_id": identity.session_id,
            "timestamp": self._wall(),
            "state": self.state.value,
            "workspace": identity.workspace,
            "engine": identity.engine,
            "model": identity.model,
            "thread_id": self.thread_id,
            "reason": self.ended_for,
        }

    def due(self) -> float | None:
        """The moment at which :meth:`tick` has something to do, unless something else happens first."""
        if self.over:
            return None
        moments = [self._born + self._bounds.age_seconds, *(approval.due for approval in self._approvals.values())]
        if not self._working:
            moments.append(self._touched + self._bounds.idle_seconds)
        return min(moments)

    @property
    def _working(self) -> bool:
        return self.state in _BUSY or self.state is State.STARTING or self._carrying

    # -- What clients ask ----------------------------------------------------------------------------------------------

    def start(self) -> Effects:
        """See that there is an agent; nothing changes when there is."""
        self._require_alive()
        if self.state is State.IDLE:
            self._touch()
            self._begin()
        return self._done()

    def input(self, text: str) -> Effects:
        """Take an input: for the agent, or a slash command.

        :raises SessionRefused: if it is empty or too long, the queue is full, or the session is over.
        """
        self._require_alive()
        require_fit(text, self._bounds.input_bytes)
        command = parse(text, self._claims)
        if not self.log.last_seq:
            self._tell("session_status", self._status())  # whoever waited for a session hears which one this is
        if isinstance(command, UnknownCommand):
            self._received(text, steer=False)
            self._tell("error", f"There is no command /{command.word}; /help shows those there are.")
            self._prompt_if_quiet()
        elif command is not None and command.at_once:
            self._received(text, steer=False)
            self._effects.append(Carry(command))
        else:
            if len(self._queue) >= self._bounds.queue:
                raise SessionRefused(Reason.QUEUE_FULL, f"{len(self._queue)} inputs wait already; let some be done")
            self._queue.append(_Wait(text, command))
            self._received(text, steer=False)
            self._advance()
        return self._done()

    def steer(self, text: str) -> Effects:
        """Give the running turn further input.

        :raises SessionRefused: as for :meth:`input`, if no turn runs, or if it was given as much as may wait otherwise.
        """
        self._require_alive()
        require_fit(text, self._bounds.input_bytes)
        self._require_turn()
        steered = self._steered + len(text.encode())
        if steered > self._bounds.queue * self._bounds.input_bytes:
            raise SessionRefused(Reason.QUEUE_FULL, "this turn has been given as much as it takes; let it be done")
        self._steered = steered
        self._received(text, steer=True)
        self._effects.append(Steer(text))
        return self._done()

    def interrupt(self) -> Effects:
        """End the running turn, and forget the inputs that wait behind it.

        :raises SessionRefused: if no turn runs.
        """
        self._require_alive()
        self._require_turn()
        self._touch()
        self._drop_queue()
        self._effects.append(Interrupt())
        return self._done()

    def decide(self, approval_id: str, decision: Decision) -> Effects:
        """Answer a request for approval.

        :raises SessionRefused: if it does not wait any more, or that answer is not on offer.
        """
        self._require_alive()
        approval = self._approvals.get(approval_id)
        if approval is None:
            raise SessionRefused(Reason.UNKNOWN_APPROVAL, "that request for approval is settled already")
        if decision not in approval.decisions:
            offered = ", ".join(one.value for one in approval.decisions)
            raise SessionRefused(Reason.BAD_REQUEST, f"what may be answered is: {offered}")
        self._touch()
        self._settle(approval_id, decision, "user")
        return self._done()

    def stop(self, reason: str) -> Effects:
        """End the session; nothing changes when that is under way.

        :param reason: a word for log and clients.
        """
        if self.over:
            return self._done()
        self.ended_for = reason
        self._drop_queue()
        if self.state is State.IDLE:
            self._to(State.GONE)
        else:
            self._to(State.STOPPING)
            self._effects.append(End())
        return self._done()

    def answerers(self, count: int) -> Effects:
        """So many watch now who know how to give an approval."""
        had, self._answerers = self._answerers, count
        now = self._clock()
        for approval in self._approvals.values():
            if count and not had:
                approval.due = max(now, approval.asked + self._bounds.approval_seconds)
            elif had and not count:
                approval.due = min(approval.due, now + self._bounds.absence_seconds)
        return self._done()

    def tick(self) -> Effects:
        """Time has passed: decline what nobody answers, end what nobody uses."""
        now = self._clock()
        if self.over:
            return self._done()
        for approval_id in [key for key, approval in self._approvals.items() if approval.due <= now]:
            self._decline(approval_id)
        if now >= self._born + self._bounds.age_seconds:
            return self.stop("age")
        if not self._working and now >= self._touched + self._bounds.idle_seconds:
            return self.stop("idle")
        return self._done()

    # -- What came of effects ------------------------------------------------------------------------------------------

    def launched(self, thread_id: str | None) -> Effects:
        """The agent waits for input."""
        if self.state is State.STARTING:
            self.thread_id = thread_id
            self._to(State.READY)
            if self._queue:
                self._advance()
            else:
                self._prompt()
        return self._done()

    def launch_failed(self, reason: str) -> Effects:
        """There is no agent. What waited for it is not tried again by itself."""
        if self.state is State.STARTING:
            self._tell("error", reason[:_TEXT])
            self._drop_queue()
            self._to(State.IDLE)
        elif self.state is State.STOPPING:
            self._to(State.GONE)
        return self._done()

    def agent_ended(self, reason: str | None) -> Effects:
        """The agent is gone: because it was stopped (None), or by itself (one line)."""
        if self.state is State.STARTING:
            return self.launch_failed(reason or "the agent has ended while it was starting")
        if self.state in _OVER:
            self._close_turn("interrupted")
            if self.state is State.STOPPING:
                self._to(State.GONE)
            return self._done()
        if self.state is not State.IDLE:
            self._close_turn("failed")
            self._tell("error", f"The agent has stopped unexpectedly: {reason or 'nobody knows why'}"[:_TEXT])
            self._touch()
            self._to(State.IDLE)
            self._advance()
        return self._done()

    def carried(self, command: Command, outcome: Outcome) -> Effects:
        """A slash command has been carried out, or not."""
        if self.state is State.GONE:
            return self._done()
        self._touch()
        self._show(outcome)
        if command.at_once:
            self._prompt_if_quiet()
            return self._done()
        self._carrying = False
        self._prompt()
        self._advance()
        return self._done()

    def _show(self, outcome: Outcome) -> None:
        self._output(outcome.output)
        if outcome.error is not None:
            self._tell("error", outcome.error[:_TEXT])
        if outcome.focus is not None:
            self._focus = outcome.focus
        removed = self._active if outcome.inactive is None else outcome.inactive
        self._change_files(outcome.active, tuple(removed))

    def files_gone(self, paths: Iterable[str]) -> Effects:
        """These files do not exist any more."""
        if self.state is not State.GONE:
            self._change_files((), tuple(paths))
        return self._done()

    def unsaid(self) -> Effects:
        """The input of the last :class:`Say` has not reached the agent, and will not: no turn runs."""
        if self.state in _BUSY and self.turn_id is None:
            self._to(State.READY)
            self._prompt()
            self._advance()
        return self._done()

    def noted(self, text: str) -> Effects:
        """Something the user should know has come up around the agent."""
        if self.state is not State.GONE:
            self._tell("warning", text[:_TEXT])
        return self._done()

    # -- What the agent tells ------------------------------------------------------------------------------------------

    def happened(self, event: AgentEvent) -> Effects:
        """The agent tells of its work."""
        if self.state is not State.GONE and self.state is not State.IDLE:
            self._happened(event)
        return self._done()

    @singledispatchmethod
    def _happened(self, event: object) -> None:
        raise TypeError(f"{event!r} is nothing an agent tells")

    @_happened.register
    def _(self, event: Output) -> None:
        self._output(event.text)

    @_happened.register
    def _(self, event: Warned) -> None:
        self._tell("warning", event.text[:_TEXT])

    @_happened.register
    def _(self, event: Failed) -> None:
        self._tell("error", event.text[:_TEXT])

    @_happened.register
    def _(self, event: TurnBegan) -> None:
        self.turn_id = event.turn_id
        self._plan = None
        self._tell("turn", {"turn_id": event.turn_id, "phase": "began", "status": None})
        if self.state is State.READY:
            self._enter_turn()

    @_happened.register
    def _(self, event: TurnEnded) -> None:
        if self.state in _BUSY or self.state is State.STOPPING:
            self.turn_id = event.turn_id
            self._close_turn(event.status)
        if self.state in _BUSY:
            self._touch()
            self._to(State.READY)
            self._prompt()
            self._advance()

    @_happened.register
    def _(self, event: Item) -> None:
        content = {"turn_id": self.turn_id, "item_id": event.item_id, "phase": event.phase, "kind": event.kind}
        self._tell("item", {**content, "body": bounded(event.body, _BODY)})

    @_happened.register
    def _(self, event: Diff) -> None:
        text = event.text[:_DIFF]
        self._tell("diff", {"turn_id": self.turn_id, "diff": text, "truncated": len(text) < len(event.text)})

    @_happened.register
    def _(self, event: Plan) -> None:
        steps = [{"step": step["step"][:_TEXT], "status": step["status"]} for step in event.steps[:_STEPS]]
        self._plan = {"turn_id": self.turn_id, "steps": steps}
        self._tell("plan", self._plan)

    @_happened.register
    def _(self, event: Usage) -> None:
        self._usage = {
            "input_tokens": event.input_tokens,
            "cached_input_tokens": event.cached_input_tokens,
            "output_tokens": event.output_tokens,
            "total_tokens": event.total_tokens,
            "context_tokens": event.context_tokens,
        }
        self._tell("token_usage", self._usage)

    @_happened.register
    def _(self, event: ApprovalAsked) -> None:
        if self.state is State.STOPPING:
            return  # its agent is being stopped, which is an answer
        now = self._clock()
        seconds = self._bounds.approval_seconds if self._answerers else self._bounds.absence_seconds
        body, decisions = bounded(event.body, _BODY), event.decisions
        if event.kind == "command" and "truncated" in body:  # whoever accepted it would not know what
            decisions = tuple(one for one in decisions if one in _NOES) or (Decision.DECLINE,)
        content = {
            "approval_id": event.approval_id,
            "turn_id": self.turn_id,
            "kind": event.kind,
            "body": body,
            "decisions": [decision.value for decision in decisions],
        }
        self._approvals[event.approval_id] = Approval(now, now + seconds, content, decisions)
        self._tell("approval_request", {**content, "expires": self._wall() + seconds})
        if self.state is State.IN_TURN:
            self._to(State.WAITING)

    @_happened.register
    def _(self, event: ApprovalSettled) -> None:
        if self._approvals.pop(event.approval_id, None) is not None:
            self._tell_settled(event.approval_id, None, "agent")

    @_happened.register
    def _(self, event: FilesTouched) -> None:
        self._change_files(event.paths, ())

    @_happened.register
    def _(self, event: FilesActive) -> None:
        self._change_files(event.paths, tuple(self._active.keys() - set(event.paths)))

    # -- Steps ---------------------------------------------------------------------------------------------------------

    def _done(self) -> Effects:
        effects, self._effects = self._effects, []
        return effects

    def _tell(self, kind: str, content: Any) -> None:
        self._effects.append(Tell(self.log.append(kind, content)))

    def _to(self, state: State) -> None:
        self.state = state
        self._tell("session_status", self._status())

    def _touch(self) -> None:
        self._touched = self._clock()

    def _begin(self) -> None:
        self._to(State.STARTING)
        self._effects.append(Begin(self.thread_id))

    def _advance(self) -> None:
        """Take up the next input, when nothing else runs."""
        if not self._queue or self._carrying or self.state not in (State.IDLE, State.READY):
            return
        text, command = self._queue[0]
        if command is not None:
            self._queue.popleft()
            self._carrying = True
            self._effects.append(Carry(command))
        elif self.state is State.IDLE:
            self._begin()
        else:
            self._queue.popleft()
            self._enter_turn()
            self._effects.append(Say(self._with_focus(text)))

    def _enter_turn(self) -> None:
        self._steered = 0
        self._to(State.WAITING if self._approvals else State.IN_TURN)

    def _with_focus(self, text: str) -> str:
        focus, self._focus = self._focus, None
        return text if focus is None else f"{text}\n\n(The file to work on is {focus})"

    def _received(self, text: str, *, steer: bool) -> None:
        self._touch()
        content = {"text": text, "timestamp": self._wall(), "queued": len(self._queue), "steer": steer}
        self._tell("input_received", content)

    def _output(self, text: str) -> None:
        for piece in pieces(text, _PIECE):
            self._tell("output", piece)

    def _prompt(self) -> None:
        self._tell("input_request", {"prompt": PROMPT})

    def _prompt_if_quiet(self) -> None:
        if not self._working and not self._queue:
            self._prompt()

    def _drop_queue(self) -> None:
        if self._queue:
            self._tell("warning", f"{len(self._queue)} input(s) that waited are dropped")
            self._queue.clear()

    def _close_turn(self, status: str) -> None:
        """Whatever belonged to the running turn is over with it."""
        for approval_id in list(self._approvals):
            del self._approvals[approval_id]
            self._tell_settled(approval_id, None, "agent")
        if self.turn_id is not None:
            turn_id, self.turn_id = self.turn_id, None
            self._tell("turn", {"turn_id": turn_id, "phase": "ended", "status": status})
            self._effects.append(TurnOver(turn_id, status))

    def _decline(self, approval_id: str) -> None:
        approval = self._approvals[approval_id]
        by, why = ("timeout", "in time") if self._answerers else ("nobody", "because nobody is connected who can")
        decision = next((one for one in _NOES if one in approval.decisions), Decision.DECLINE)
        self._tell("warning", f"A {approval.content['kind']} was declined: nobody approved it {why}")
        self._settle(approval_id, decision, by)

    def _settle(self, approval_id: str, decision: Decision, by: str) -> None:
        del self._approvals[approval_id]
        self._effects.append(Decide(approval_id, decision))
        self._tell_settled(approval_id, decision, by)

    def _tell_settled(self, approval_id: str, decision: Decision | None, by: str) -> None:
        word = None if decision is None else decision.value
        self._tell("approval", {"approval_id": approval_id, "decision": word, "by": by})
        if not self._approvals and self.state is State.WAITING:
            self._to(State.IN_TURN)

    def _change_files(self, active: Iterable[str], inactive: Iterable[str]) -> None:
        before = set(self._active)
        for path in inactive:
            self._active.pop(path, None)
        for path in active:
            self._active.pop(path, None)
            self._active[path] = None
        while len(self._active) > self._bounds.active_files:
            del self._active[next(iter(self._active))]
        if self._active.keys() != before:
            self._tell("active_files", self.active_files)

    # -- Refusals ------------------------------------------------------------------------------------------------------

    def _require_alive(self) -> None:
        if self.over:
            raise SessionRefused(Reason.ENDED, "the session has ended; start another")

    def _require_turn(self) -> None:
        if self.state not in _BUSY:
            raise SessionRefused(Reason.NO_TURN, "no turn runs")


def require_fit(text: str, limit: int) -> None:
    """See that an input can be taken.

    :param limit: bytes in UTF-8.
    :raises SessionRefused: if it is empty, too long, or no Unicode text.
    """
    if not text.strip():
        raise SessionRefused(Reason.NO_INPUT, "No input text provided")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SessionRefused(Reason.BAD_REQUEST, "the input has half a surrogate pair: no Unicode text") from None
    if size > limit:
        raise SessionRefused(Reason.TOO_LARGE, f"the input has {size} bytes; at most {limit} are taken")
