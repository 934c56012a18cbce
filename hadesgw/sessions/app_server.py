"""The engine `codex`: a real Codex for each session, by its app-server's protocol over its standard streams.

We ask it for a handful of methods and answer two kinds of its requests, those for approval; it is never asked to do
what a client says by name. Where it works, under which rules, and where its model calls go, is settled before it
starts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from hadesgw import __version__
from hadesgw.sessions.child import Child
from hadesgw.sessions.coalescer import Coalescer
from hadesgw.sessions.codex_events import WORDS, Narrator
from hadesgw.sessions.codex_home import (
    LEAST_PROMPT_TOKENS,
    PROVIDER,
    TOKEN_VARIABLE,
    Homes,
    HomeUnusable,
    Window,
    furnish,
)
from hadesgw.sessions.codex_program import Program, ProgramAbsent
from hadesgw.sessions.codex_trial import Trial
from hadesgw.sessions.enclosure import SCRATCH, Enclosure, private_folders
from hadesgw.sessions.engine import (
    AgentEvent,
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    EngineFailure,
    Failed,
    IAgent,
    IEngine,
    Launch,
    TurnBegan,
    TurnEnded,
    Warned,
)
from hadesgw.sessions.family import MARK, Family, Marked, Namespace
from hadesgw.sessions.jsonl import Name
from hadesgw.sessions.rpc import Envelope, Id, Peer, Refused, Silent, Unanswered

LAUNCH_SECONDS = 20.0
"""A start takes less than one; a loaded machine may need several times that."""
ANSWER_SECONDS = 30.0
COALESCE_SECONDS = 0.03
PENDING_APPROVALS = 32
MALFORMED_LINES = 16
"""So many lines that are no messages are passed over; with more of them, the child is not what it should be."""
UNCONFINED = (
    "This agent is not confined: what it runs has the rights of the gateway's own user on the whole machine"
    " (sessions.codex.confinement is none)"
)
SANDBOXES = {"read-only": "readOnly", "workspace-write": "workspaceWrite"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How agents are kept.

    :ivar enclosed: whether they are; if not, what they run has this user's rights.
    :ivar hidden: files and folders that no agent shall see.
    :ivar readable: folders that agents may read although they are somebody's own, such as those of compilers.
    :ivar nice: what their command lines begin with, so that they stand back for the gateway; may be nothing.
    """

    enclosed: bool
    hidden: Sequence[Path]
    readable: Sequence[Path]
    nice: Sequence[str]


class _Granted(msgspec.Struct, frozen=True):
    """A part of an answer, with the type it names."""

    type: str = ""


class _Thread(msgspec.Struct, frozen=True):
    """A conversation."""

    id: Name


class _Started(msgspec.Struct, frozen=True, rename="camel"):
    """What a conversation was started with."""

    thread: _Thread
    sandbox: _Granted = _Granted()
    approval_policy: Any = None


class _Resolved(msgspec.Struct, frozen=True, rename="camel"):
    """`serverRequest/resolved`."""

    request_id: Id


@implementer(IEngine)
class CodexEngine:
    """Starts Codex.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param find: finds its programs, or raises ProgramAbsent.
    :param homes: where agents have their folders.
    :param environment: of this process; agents get its path and language.
    :param entropy: gives so many random bytes.
    """

    name = "codex"
    claims: frozenset[str] = frozenset()

    def __init__(
        self,
        reactor: Any,
        find: Callable[[], Program],
        homes: Homes,
        confinement: Confinement,
        environment: Mapping[str, str],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._reactor = reactor
        self._homes = homes
        self._confinement = confinement
        self._entropy = entropy
        self._environment = {
            "PATH": environment.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "LANG": environment.get("LANG", "C.UTF-8"),
            "NO_COLOR": "1",
        }
        self._obstacle: str | None = None
        self._trial: Trial | None = None
        try:
            self._program = find()
        except ProgramAbsent as absent:
            self._obstacle = str(absent)
            return
        if confinement.enclosed and self._program.bubblewrap is None:
            self._obstacle = "Codex cannot be confined: bwrap is not installed; run: apt-get install bubblewrap"

    def obstacle(self) -> str | None:
        """As far as it is known; :meth:`probe` finds out the rest."""
        return self._obstacle or (self._trial.obstacle if self._trial is not None else None)

    def probe(self) -> Deferred[None]:
        """Find out whether Codex runs here and can be confined: once, however often this is called.

        :returns: fires when :meth:`obstacle` knows all.
        """
        if self._obstacle is not None:
            return succeed(None)
        if self._trial is None:
            try:
                self._homes.open()
                tried = self._tried()
            except HomeUnusable as unusable:
                self._obstacle = str(unusable)
                return succeed(None)
            except OSError as error:
                self._obstacle = f"sessions.codex.state: {self._homes.root} cannot be used: {error.strerror}"
                return succeed(None)
            self._trial = Trial(self._reactor, self._program.path, tried, enclosed=self._confinement.enclosed)
        return self._trial.made()

    def close(self) -> None:
        """No agent runs any more: leave nothing of them behind."""
        self._homes.close()

    def _tried(self) -> Callable[[Sequence[str]], tuple[list[str], dict[str, str]]]:
        """How a command is run for a trial: as an agent would be, in an empty workspace."""
        home = self._homes.home("trial")
        if not self._confinement.enclosed:
            return lambda command: (list(command), {**self._environment, "CODEX_HOME": str(home), "HOME": str(home)})
        workspace = home / "workspace"
        workspace.mkdir(exist_ok=True)
        enclosure = self._enclosure(workspace, True, home)
        surroundings = {**self._environment, "CODEX_HOME": str(home), "HOME": str(home), "TMPDIR": str(SCRATCH)}
        return lambda command: (enclosure.command(command), surroundings)

    def launch(self, launch: Launch, observer: Any) -> Deferred[Any]:
        """See :class:`IEngine`."""
        return Deferred.fromCoroutine(self._launch(launch, observer))

    async def _launch(self, launch: Launch, observer: Any) -> CodexAgent:
        await self.probe()
        obstacle = self.obstacle()
        if obstacle is not None:
            raise EngineFailure(obstacle)
        prompt = Window.of(launch).prompt
        if prompt < LEAST_PROMPT_TOKENS:
            raise EngineFailure(
                f"context_tokens ({launch.context_tokens}) less output_tokens ({launch.output_tokens}) leaves {prompt}"
                f" tokens for prompts, and Codex needs {LEAST_PROMPT_TOKENS}: raise [budget] or the upstream's own"
            )
        try:
            agent = self._agent(launch, observer)
        except OSError as error:
            raise EngineFailure(f"Codex cannot be started: {error.strerror}") from None
        await agent.begin()
        return agent

    def _agent(self, launch: Launch, observer: Any) -> CodexAgent:
        """An agent whose process has been started.

        :raises OSError: if it cannot be.
        """
        home = self._homes.home(launch.session_id)
        mark = self._entropy(8).hex()
        confined = self._confinement.enclosed
        scratch = SCRATCH if confined else home / "tmp"
        marks = {} if confined else {MARK: mark}
        furnish(home, launch, scratch, {"TMPDIR": str(scratch), **marks}, confined)
        program = [str(self._program.path), "app-server", "--strict-config"]
        family: Family
        if confined:
            writable = launch.sandbox == "workspace-write" or launch.approval != "never"
            command = self._enclosure(launch.workspace, writable, home).command(program)
            family = Namespace(home)
        else:
            scratch.mkdir(exist_ok=True)
            command = [*leash(), *program]
            family = Marked(mark)
        surroundings = {
            **self._environment,
            **marks,
            "CODEX_HOME": str(home),
            "HOME": str(home),
            "TMPDIR": str(scratch),
            TOKEN_VARIABLE: launch.token,
        }
        agent = CodexAgent(self._reactor, launch, observer, family, mark[:8], lambda kept: self._left(home, kept))
        agent.start([*self._confinement.nice, *command], surroundings, enclosed=confined)
        return agent

    def _enclosure(self, workspace: Path, writable: bool, home: Path) -> Enclosure:
        assert self._program.bubblewrap is not None
        return Enclosure(
            bubblewrap=self._program.bubblewrap,
            private=private_folders(),
            scratch=SCRATCH,
            workspace=workspace,
            writable=writable,
            own=[home],
            needed=[self._program.folder, *(folder.resolve() for folder in self._confinement.readable)],
            hidden=[self._homes.root, *self._confinement.hidden],
        )

    def _left(self, home: Path, kept: bool) -> None:
        if kept:
            self._homes.leave(home)
        else:
            self._homes.forget(home)


def leash() -> list[str]:
    """What ends a process with its parent, where no enclosure does: a command that becomes the one behind it."""
    found = [(shutil.which("setsid"), []), (shutil.which("setpriv"), ["--pdeathsig", "KILL"])]
    return [word for program, options in found if program is not None for word in (program, *options)]


@implementer(IAgent)
class CodexAgent:
    """One Codex.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param observer: provides IAgentObserver.
    :param mark: sets this agent's requests for approval apart from those of others of its session.
    :param left: told at the end whether the conversation may be continued by another agent.
    """

    def __init__(
        self,
        reactor: Any,
        launch: Launch,
        observer: Any,
        family: Family,
        mark: str,
        left: Callable[[bool], None],
    ) -> None:
        self.thread_id: str | None = None
        self._reactor = reactor
        self._launch = launch
        self._observer = observer
        self._mark = mark
        self._left = left
        self._child = Child(reactor, family, self)
        self._peer = Peer(reactor, self._child.write, ANSWER_SECONDS)
        self._narrator = Narrator(launch.workspace)
        self._coalescer = Coalescer(reactor, COALESCE_SECONDS, observer.happened)
        self._approvals: dict[str, Id] = {}
        self._turn: str | None = None
        self._interrupting = False
        self._malformed = 0
        self._given_up: str | None = None
        self._ready = False
        self._stopped = False
        self._enclosed = True

    # -- The beginning -------------------------------------------------------------------------------------------------

    def start(self, command: Sequence[str], environment: Mapping[str, str], *, enclosed: bool) -> None:
        """Start the process.

        :raises OSError: if there is no room for one.
        """
        self._child.start(command, environment, None if enclosed else str(self._launch.workspace))
        self._enclosed = enclosed
        if not enclosed:
            self._tell(Warned(UNCONFINED))

    async def begin(self) -> None:
        """Greet it and start the conversation.

        :raises EngineFailure: if it does not want to; nothing of it is left then.
        """
        late = self._reactor.callLater(LAUNCH_SECONDS, self._give_up, f"it was not ready within {LAUNCH_SECONDS:g} s")
        try:
            await self._greet()
            self.thread_id = await self._open()
            self._ready = True
        except (Refused, Unanswered, Silent, msgspec.DecodeError) as problem:
            reason = self._given_up or str(problem)
            raise EngineFailure(f"Codex did not start: {reason}{self._complaint()}") from None
        finally:  # the launch may have been cancelled, too
            if late.active():
                late.cancel()
            if not self._ready:
                await self.stop()

    async def _greet(self) -> None:
        client = {"name": "hadesgw", "title": "hadesgw", "version": __version__}
        capabilities = {
            "experimentalApi": True,
            "requestAttestation": False,
            "optOutNotificationMethods": ["account/rateLimits/updated"],
        }
        await self._peer.call("initialize", {"clientInfo": client, "capabilities": capabilities})
        self._peer.notify("initialized")

    async def _open(self) -> str:
        """Continue the conversation, or begin one; its name."""
        rules = {
            "cwd": str(self._launch.workspace),
            "model": self._launch.model,
            "modelProvider": PROVIDER,
            "approvalPolicy": self._launch.approval,
            "sandbox": self._launch.sandbox if self._enclosed else "danger-full-access",
        }
        resume = self._launch.resume
        if resume is not None:
            try:
                answer = await self._peer.call("thread/resume", {"threadId": resume, "excludeTurns": True, **rules})
                return self._judged(answer)
            except Refused as refused:
                self._tell(Warned(f"The conversation cannot be continued, another one begins: {refused}"))
        return self._judged(await self._peer.call("thread/start", rules))

    def _judged(self, answer: msgspec.Raw) -> str:
        """The conversation's name, if it has the rules that were asked for.

        :raises Refused: if it has not.
        """
        started = msgspec.json.decode(answer, type=_Started)
        wanted = SANDBOXES[self._launch.sandbox] if self._enclosed else "dangerFullAccess"
        if started.sandbox.type != wanted or started.approval_policy != self._launch.approval:
            raise Refused("it would work under other rules than those configured")
        return started.thread.id

    # -- What is asked of it -------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """See :class:`IAgent`."""
        self._interrupting = False
        asked = self._peer.call("turn/start", {"threadId": self.thread_id, "input": _said(text)})
        asked.addErrback(self._unsaid)

    def steer(self, text: str) -> None:
        """See :class:`IAgent`. A turn that has just ended is followed by another for this input."""
        if self._turn is None:
            self.say(text)
            return
        params = {"threadId": self.thread_id, "expectedTurnId": self._turn, "input": _said(text)}
        asked = self._peer.call("turn/steer", params)
        asked.addErrback(self._too_late, text).addErrback(self._hung)

    def _too_late(self, failure: Failure, text: str) -> None:
        failure.trap(Refused)
        self.say(text)

    def interrupt(self) -> None:
        """See :class:`IAgent`. A turn that has not begun yet is interrupted when it does."""
        if self._turn is None:
            self._interrupting = True
            return
        asked = self._peer.call("turn/interrupt", {"threadId": self.thread_id, "turnId": self._turn})
        asked.addErrback(self._refused).addErrback(self._hung)

    def decide(self, approval_id: str, decision: Decision) -> None:
        """See :class:`IAgent`."""
        request = self._approvals.pop(approval_id, None)
        if request is not None:
            self._peer.answer(request, {"decision": WORDS[decision]})

    def stop(self) -> Deferred[None]:
        """See :class:`IAgent`."""
        self._stopped = True
        return self._child.stop()

    def _unsaid(self, failure: Failure) -> None:
        """No turn has begun."""
        if failure.check(Refused):
            self._tell(Failed(f"Codex does not take this input: {failure.getErrorMessage()}"))
            self._tell(TurnEnded("", "failed"))
        else:
            self._hung(failure)

    def _refused(self, failure: Failure) -> None:
        """It is too late for that; nothing is wrong."""
        failure.trap(Refused)

    def _hung(self, failure: Failure) -> None:
        if failure.check(Unanswered):
            self._give_up(failure.getErrorMessage())

    def _give_up(self, reason: str) -> None:
        self._given_up = self._given_up or reason
        self._child.kill()

    # -- What it tells -------------------------------------------------------------------------------------------------

    def line(self, data: bytes) -> None:
        """It said something."""
        if self._stopped and self._ready:
            return
        try:
            self._heard(msgspec.json.decode(data, type=Envelope))
        except (msgspec.DecodeError, RecursionError):
            self._misunderstood()

    def overlong(self) -> None:
        """It said something that we did not read."""
        self._tell(Warned("Codex said something too long to be read; it is left out"))

    def _misunderstood(self) -> None:
        self._malformed += 1
        if self._malformed == 1:
            self._tell(Warned("Codex said something that is no message of its protocol; it is left out"))
        elif self._malformed > MALFORMED_LINES and self._given_up is None:
            self._give_up("what it says is not its protocol")

    def _heard(self, message: Envelope) -> None:
        if message.method is None:
            self._peer.answered(message)
        elif message.id is not None:
            self._asked(message.id, message.method, message.params)
        elif message.method == "serverRequest/resolved":
            self._resolved(msgspec.json.decode(message.params, type=_Resolved).request_id)
        else:
            for event in self._narrator.retell(message.method, message.params):
                self._note(event)
                self._tell(event)

    def _note(self, event: AgentEvent) -> None:
        if isinstance(event, TurnBegan):
            self._turn = event.turn_id
            if self._interrupting:
                self._interrupting = False
                self.interrupt()
        elif isinstance(event, TurnEnded):
            self._turn = None
            for request in list(self._approvals.values()):
                self._resolved(request)

    def _asked(self, request: Id, method: str, params: msgspec.Raw) -> None:
        """It wants something of us. What is not answered would hold its turn up for ever."""
        try:
            asked = self._narrator.asked(method, params)
        except msgspec.DecodeError:
            self._peer.refuse(request, "this request is malformed")
            raise
        if asked is None:
            self._peer.refuse(request, "this client does not know that request")
        elif len(self._approvals) >= PENDING_APPROVALS:
            self._peer.answer(request, {"decision": WORDS[Decision.DECLINE]})
        else:
            kind, body, decisions = asked
            approval_id = f"{self._mark}-{request}"
            self._approvals[approval_id] = request
            self._tell(ApprovalAsked(approval_id, kind, body, decisions))

    def _resolved(self, request: Id) -> None:
        for approval_id in [key for key, value in self._approvals.items() if value == request]:
            del self._approvals[approval_id]
            self._tell(ApprovalSettled(approval_id))

    def _tell(self, event: AgentEvent) -> None:
        self._coalescer.add(event)

    # -- The end -------------------------------------------------------------------------------------------------------

    def ended(self, reason: str) -> None:
        """It and all its processes are gone."""
        complaint = self._complaint()
        self._left(self._ready and not self._stopped)  # first: who hears of the end may launch another for this folder
        self._peer.lost()
        self._coalescer.flush()
        if self._ready:
            self._observer.ended(None if self._stopped else f"{self._given_up or reason}{complaint}")

    def _complaint(self) -> str:
        complaint = self._child.complaint.replace(self._launch.token, "[token]")
        return f" ({complaint})" if complaint else ""


def _said(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]
