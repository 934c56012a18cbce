"""The engine `aider`: a real Aider for each session, in its own environment, played by our program in there.

What the two say to each other is told in `aider_player.py`. Aider asks nobody: it edits the workspace's files, commits
them if it is configured so, and runs no commands; the enclosure around it is the same as around Codex.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from hadesgw.sessions.aider_environment import PLAYER, AiderAbsent, Environment
from hadesgw.sessions.app_server import COALESCE_SECONDS, MALFORMED_LINES, Confinement, leash
from hadesgw.sessions.child import Child
from hadesgw.sessions.coalescer import Coalescer
from hadesgw.sessions.codex_home import Homes, HomeUnusable
from hadesgw.sessions.enclosure import FIXED, SCRATCH, Enclosure, private_folders
from hadesgw.sessions.engine import (
    AgentEvent,
    Decision,
    Diff,
    EngineFailure,
    Failed,
    FilesActive,
    IAgent,
    IEngine,
    Item,
    Launch,
    Output,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from hadesgw.sessions.family import MARK, Family, Marked, Namespace

LAUNCH_SECONDS = 120.0
"""It imports for several seconds; a loaded machine, or one that starts it for the first time, takes far longer."""
INTERRUPT_SECONDS = 20.0
"""How long it may take to end a turn that is interrupted."""
LEAST_PROMPT_TOKENS = 2_048
"""Aider's instructions take a quarter of that."""
UNCONFINED = (
    "This agent is not confined: it has the rights of the gateway's own user on the whole machine"
    " (sessions.aider.confinement is none)"
)
OWN_GIT = (".git/hooks", ".git/config")
"""What of a repository that is committed to shall still not be changed: it says what git runs elsewhere."""
COMMANDS = (
    "add clear diff drop focus help ls map map-refresh reset tokens"
    # those that are refused: to say so is the player's part
    " architect ask chat-mode code context copy copy-context edit editor editor-model exit git lint load model models"
    " multiline-mode paste quit read-only reasoning-effort report run save settings test think-tokens voice weak-model"
    " web"
)
"""Slash commands that are Aider's to judge."""
COMMITTING = "commit undo"
"""These too, where it commits; else they are the session's."""
_SPOKEN = 4 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How Aider works.

    :ivar edit_format: what the model answers with: `whole` files, or `diff` for blocks to search and replace.
    :ivar commits: whether each edit is committed.
    :ivar map_tokens: of the map of the repository in each prompt; 0 for none.
    """

    edit_format: str
    commits: bool
    map_tokens: int


class _Said(msgspec.Struct, frozen=True):
    """What the player says; which members count, its type tells."""

    type: str
    text: str = ""
    paths: tuple[str, ...] = ()
    diff: str = ""
    status: Literal["", "completed", "interrupted", "failed"] = ""
    input_tokens: int = 0
    output_tokens: int = 0


@implementer(IEngine)
class AiderEngine:
    """Starts Aider.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param find: finds its environment, or raises AiderAbsent.
    :param bubblewrap: the program that makes enclosures; None where there is none.
    :param homes: where agents have their folders.
    :param environment: of this process; agents get its path and language.
    :param entropy: gives so many random bytes.
    """

    name = "aider"

    def __init__(
        self,
        reactor: Any,
        find: Callable[[], Environment],
        bubblewrap: Path | None,
        homes: Homes,
        confinement: Confinement,
        manner: Manner,
        environment: Mapping[str, str],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.claims = _prefixes(COMMANDS + " " + COMMITTING if manner.commits else COMMANDS)
        self._reactor = reactor
        self._find = find
        self._bubblewrap = bubblewrap
        self._homes = homes
        self._confinement = confinement
        self._manner = manner
        self._entropy = entropy
        self._environment = {
            "PATH": environment.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "LANG": environment.get("LANG", "C.UTF-8"),
            **_QUIET,
            **_GIT,
        }

    def obstacle(self) -> str | None:
        """See :class:`IEngine`. It is looked for anew: one that was installed since is found."""
        try:
            self._find()
        except AiderAbsent as absent:
            return str(absent)
        if self._confinement.enclosed and self._bubblewrap is None:
            return "Aider cannot be confined: bwrap is not installed; run: apt-get install bubblewrap"
        return None

    def close(self) -> None:
        """No agent runs any more: leave nothing of them behind."""
        self._homes.close()

    def launch(self, launch: Launch, observer: Any) -> Deferred[Any]:
        """See :class:`IEngine`."""
        return Deferred.fromCoroutine(self._launch(launch, observer))

    async def _launch(self, launch: Launch, observer: Any) -> AiderAgent:
        obstacle = self.obstacle() or _unfit(launch)
        if obstacle is not None:
            raise EngineFailure(obstacle)
        try:
            self._homes.open()
            agent = self._agent(launch, observer)
        except HomeUnusable as unusable:
            raise EngineFailure(str(unusable)) from None
        except OSError as error:
            raise EngineFailure(f"Aider cannot be started: {error.strerror}") from None
        await agent.begin()
        return agent

    def _agent(self, launch: Launch, observer: Any) -> AiderAgent:
        """An agent whose process has been started.

        :raises OSError: if it cannot be.
        """
        found = self._find()
        home = self._homes.home(launch.session_id)
        mark = self._entropy(8).hex()
        confined = self._confinement.enclosed
        scratch = SCRATCH if confined else home / "tmp"
        program = [str(found.python), "-I", "-B", "-X", "utf8", str(PLAYER)]
        family: Family
        if confined:
            command = self._enclosure(found, launch, home).command(program)
            family = Namespace(home)
        else:
            scratch.mkdir(exist_ok=True)
            command = [*leash(), *program]
            family = Marked(mark)
        surroundings = {
            **self._environment,
            **({} if confined else {MARK: mark}),
            "HOME": str(home),
            "TMPDIR": str(scratch),
            "OPENAI_API_BASE": launch.base_url,
            "OPENAI_API_KEY": launch.token,
        }
        agent = AiderAgent(self._reactor, launch, self._manner, observer, family, lambda: self._homes.forget(home))
        agent.start([*self._confinement.nice, *command], surroundings, enclosed=confined)
        if not confined:
            observer.happened(Warned(UNCONFINED))
        return agent

    def _enclosure(self, found: Environment, launch: Launch, home: Path) -> Enclosure:
        assert self._bubblewrap is not None
        return Enclosure(
            bubblewrap=self._bubblewrap,
            private=private_folders(),
            scratch=SCRATCH,
            workspace=launch.workspace,
            writable=launch.sandbox == "workspace-write",
            own=[home],
            needed=[*found.folders, PLAYER, *(folder.resolve() for folder in self._confinement.readable)],
            hidden=[self._homes.root, *self._confinement.hidden],
            fixed=OWN_GIT if self._manner.commits else FIXED,
        )


_QUIET = {
    "NO_COLOR": "1",
    "TERM": "xterm",
    "NO_PROXY": "*",  # the gateway is on loopback
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else a list of prices is fetched from afar
    "LITELLM_MODE": "PRODUCTION",  # else a file .env of the workspace is obeyed
}
_GIT_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
}
"""Above what a repository says: git runs no program of its choosing."""
_GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_COUNT": str(len(_GIT_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{at}": key for at, key in enumerate(_GIT_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{at}": value for at, value in enumerate(_GIT_SETTINGS.values())},
}
IDENTITY = "[user]\n\tname = hadesgw\n\temail = hadesgw@localhost\n"
"""Whose commits they are, where the repository does not say."""


def _prefixes(words: str) -> frozenset[str]:
    """Everything that Aider may take for one of these commands."""
    return frozenset(word[:length] for word in words.split() for length in range(1, len(word) + 1))


def _unfit(launch: Launch) -> str | None:
    """Why Aider cannot work under these rules, or None."""
    if launch.approval == "untrusted":
        return "Aider asks for no approval: set sessions.approval to on-request or never"
    prompt = launch.context_tokens - launch.output_tokens
    if prompt < LEAST_PROMPT_TOKENS:
        return (
            f"context_tokens ({launch.context_tokens}) less output_tokens ({launch.output_tokens}) leaves {prompt}"
            f" tokens for prompts, and Aider needs {LEAST_PROMPT_TOKENS}: raise [budget] or the upstream's own"
        )
    return None


@implementer(IAgent)
class AiderAgent:
    """One Aider.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param observer: provides IAgentObserver.
    :param left: told when its folder is not needed any more.
    """

    thread_id: str | None = None  # a conversation ends with its process

    def __init__(
        self,
        reactor: Any,
        launch: Launch,
        manner: Manner,
        observer: Any,
        family: Family,
        left: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._launch = launch
        self._manner = manner
        self._observer = observer
        self._left = left
        self._child = Child(reactor, family, self)
        self._coalescer = Coalescer(reactor, COALESCE_SECONDS, observer.happened)
        self._waiting: Deferred[None] = Deferred()
        self._late: IDelayedCall | None = None
        self._turn: str | None = None
        self._turns = self._edits = self._malformed = 0
        self._given_up: str | None = None
        self._ready = False
        self._stopped = False

    # -- The beginning -------------------------------------------------------------------------------------------------

    def start(self, command: Sequence[str], environment: Mapping[str, str], *, enclosed: bool) -> None:
        """Start the process.

        :raises OSError: if there is no room for one.
        """
        home = Path(environment["HOME"])
        (home / ".gitconfig").unlink(missing_ok=True)
        (home / ".gitconfig").write_text(IDENTITY, encoding="utf-8")
        self._child.start(command, environment, None if enclosed else str(self._launch.workspace))

    async def begin(self) -> None:
        """Tell it what it needs to know, and wait until it waits for input.

        :raises EngineFailure: if it does not; nothing of it is left then.
        """
        launch, manner = self._launch, self._manner
        self._limit(LAUNCH_SECONDS, f"it was not ready within {LAUNCH_SECONDS:g} s")
        order = {
            "type": "open",
            "model": launch.model,
            "headers": {launch.session_header: launch.session_id},
            "context_tokens": launch.context_tokens,
            "output_tokens": launch.output_tokens,
            "edit_format": manner.edit_format,
            "commits": manner.commits and launch.sandbox == "workspace-write",
            "map_tokens": manner.map_tokens,
            "writable": launch.sandbox == "workspace-write",
        }
        self._child.write(order)
        try:
            await self._waiting
        finally:  # the launch may have been cancelled, too
            self._unlimit()
            if not self._ready:
                await self.stop()

    # -- What is asked of it -------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """See :class:`IAgent`."""
        self._child.write({"type": "say", "text": text})

    def steer(self, text: str) -> None:
        """See :class:`IAgent`. Aider takes it up when it has done what it does."""
        self.say(text)

    def interrupt(self) -> None:
        """See :class:`IAgent`."""
        if self._late is None:
            self._limit(INTERRUPT_SECONDS, f"it did not end its turn within {INTERRUPT_SECONDS:g} s")
        self._child.write({"type": "interrupt"})

    def decide(self, approval_id: str, decision: Decision) -> None:
        """Aider asks for nothing."""

    def stop(self) -> Deferred[None]:
        """See :class:`IAgent`."""
        self._stopped = True
        self._unlimit()
        return self._child.stop()

    def _limit(self, seconds: float, reason: str) -> None:
        self._late = self._reactor.callLater(seconds, self._give_up, reason)

    def _unlimit(self) -> None:
        late, self._late = self._late, None
        if late is not None and late.active():
            late.cancel()

    def _give_up(self, reason: str) -> None:
        self._given_up = self._given_up or reason
        self._child.kill()

    # -- What it tells -------------------------------------------------------------------------------------------------

    def line(self, data: bytes) -> None:
        """It said something."""
        if self._stopped:
            return
        try:
            said = msgspec.json.decode(data, type=_Said)
        except (msgspec.DecodeError, RecursionError):
            self._misunderstood()
            return
        if said.type == "ready" and not self._waiting.called:
            self._ready = True
            self._waiting.callback(None)
        for event in self._retold(said):
            self._coalescer.add(event)

    def overlong(self) -> None:
        """It said something that we did not read."""
        self._coalescer.add(Warned("Aider said something too long to be read; it is left out"))

    def _misunderstood(self) -> None:
        self._malformed += 1
        if self._malformed > MALFORMED_LINES and self._given_up is None:
            self._give_up("what it says is not its protocol")

    def _retold(self, said: _Said) -> Sequence[AgentEvent]:
        """What it said, as a session understands it."""
        text = said.text.replace(self._launch.token, "[token]")
        match said.type:
            case "piece" | "output":
                return [Output(text)]
            case "warning":
                return [Warned(text[:_SPOKEN])]
            case "error":
                return [Failed(text[:_SPOKEN])]
            case "files":
                return [FilesActive(said.paths)]
            case "usage":
                return [self._usage(said)]
            case "edited":
                return self._edited(said)
            case "began":
                self._turns += 1
                self._turn = f"turn-{self._turns}"
                return [TurnBegan(self._turn)]
            case "ended":
                self._unlimit()
                turn, self._turn = self._turn or "", None
                return [TurnEnded(turn, said.status or "failed")]
        return []

    def _edited(self, said: _Said) -> list[AgentEvent]:
        self._edits += 1
        changes = [{"path": path, "kind": "update", "diff": ""} for path in said.paths]
        body = {"changes": changes, "status": "completed"}
        item = Item("completed", f"edit-{self._edits}", "file_change", body)
        return [item, Diff(said.diff)] if said.diff else [item]

    def _usage(self, said: _Said) -> Usage:
        total = said.input_tokens + said.output_tokens
        return Usage(said.input_tokens, 0, said.output_tokens, total, self._launch.context_tokens)

    # -- The end -------------------------------------------------------------------------------------------------------

    def ended(self, reason: str) -> None:
        """It and all its processes are gone."""
        self._unlimit()
        complaint = self._child.complaint.replace(self._launch.token, "[token]")
        told = f"{self._given_up or reason}{f' ({complaint})' if complaint else ''}"
        self._left()  # first: who hears of the end may launch another for this folder
        self._coalescer.flush()
        if not self._waiting.called:
            self._waiting.errback(EngineFailure(f"Aider did not start: {told}"))
        if self._ready:
            self._observer.ended(None if self._stopped else told)
