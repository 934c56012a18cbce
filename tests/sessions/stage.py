"""What sessions are tested with: an engine that plays what the test says, and the registry around it, in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.interfaces import IRequestLog, ISessionMeter
from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.sessions.admission import Settings
from hadesgw.sessions.engine import AgentEvent, Decision, IAgent, IAgentObserver, IEngine, Launch
from hadesgw.sessions.git import Finished
from hadesgw.sessions.messages import Message
from hadesgw.sessions.registry import ISessionObserver, SessionRegistry
from hadesgw.sessions.session import Bounds
from hadesgw.sessions.workspace import Workspace

BOUNDS = Bounds(
    queue=4,
    input_bytes=1_000,
    replay_messages=200,
    replay_bytes=1 << 20,
    active_files=8,
    idle_seconds=600,
    age_seconds=7_200,
    approval_seconds=120,
    absence_seconds=10,
)
SETTINGS = Settings(
    engine="scripted",
    default_workspace="",
    model="m",
    approval="on-request",
    sandbox="workspace-write",
    session_header="X-Conveyance-Session-ID",
    tokens=lambda model: (8_192, 2_048),
    bounds=BOUNDS,
    per_client=2,
    most=3,
    git_seconds=5,
)


@implementer(IAgent)
class ScriptedAgent:
    """An agent that does nothing by itself: the test plays it.

    :ivar asked: what was asked of it, in order.
    """

    def __init__(self, launch: Launch, observer: Any) -> None:
        verifyObject(IAgentObserver, observer)
        self.launch = launch
        self.observer = observer
        self.asked: list[tuple[Any, ...]] = []
        self.thread_id: str | None = f"thread-of-{launch.session_id}"
        self.stopping: Deferred[None] | None = None
        self.refusing: Exception | None = None
        self.launched = False

    def tell(self, *events: AgentEvent) -> None:
        """Play these."""
        for event in events:
            self.observer.happened(event)

    def die(self, reason: str = "killed") -> None:
        """Be gone."""
        self.observer.ended(reason)

    def say(self, text: str) -> None:
        """See IAgent."""
        if self.refusing is not None:
            raise self.refusing
        self.asked.append(("say", text))

    def steer(self, text: str) -> None:
        """See IAgent."""
        self.asked.append(("steer", text))

    def interrupt(self) -> None:
        """See IAgent."""
        self.asked.append(("interrupt",))

    def decide(self, approval_id: str, decision: Decision) -> None:
        """See IAgent."""
        self.asked.append(("decide", approval_id, decision))

    def stop(self) -> Deferred[None]:
        """See IAgent."""
        self.asked.append(("stop",))
        self.stopping = Deferred()
        return self.stopping


@implementer(IEngine)
class ScriptedEngine:
    """Launches agents when the test says so.

    :ivar agents: all there have been.
    :ivar launches: those that are under way.
    """

    def __init__(self, name: str = "scripted", *, at_once: bool = True) -> None:
        self.name = name
        self.claims: frozenset[str] = frozenset()
        self.reason: str | None = None
        self.at_once = at_once
        self.agents: list[ScriptedAgent] = []
        self.launches: list[Deferred[Any]] = []
        self.cancelled = 0

    def obstacle(self) -> str | None:
        """See IEngine."""
        return self.reason

    def close(self) -> None:
        """See IEngine."""

    def launch(self, launch: Launch, observer: Any) -> Deferred[Any]:
        """See IEngine."""
        agent = ScriptedAgent(launch, observer)
        verifyObject(IAgent, agent)
        self.agents.append(agent)
        if self.at_once:
            return succeed(agent)
        launching: Deferred[Any] = Deferred(self._cancel)
        self.launches.append(launching)
        return launching

    def _cancel(self, launching: Deferred[Any]) -> None:
        self.cancelled += 1
        launching.errback(CancelledError())


@implementer(ISessionObserver)
class Watcher:
    """An observer that keeps all it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.over = 0

    behind = False

    def told(self, message: Message) -> None:
        """See ISessionObserver."""
        self.messages.append(message)

    def ended(self) -> None:
        """See ISessionObserver."""
        self.over += 1

    def of(self, kind: str) -> list[Any]:
        """The contents of the messages of one type."""
        return [message.content for message in self.messages if message.type == kind]

    @property
    def types(self) -> list[str]:
        """The messages' types, in order."""
        return [message.type for message in self.messages]


class NoGit:
    """A git that is never there: whoever asks is told so, at once."""

    def run(self, arguments: Any, **_: Any) -> Deferred[Finished]:
        """As the real one."""
        return succeed(Finished(1, b"", False, "fatal: no git here"))


@implementer(ISessionMeter, IRequestLog)
class Ledger:
    """Keeps what is counted and logged."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def sessions(self, count: int) -> None:
        """See ISessionMeter."""
        self.counts.append(count)

    def request(self, request: Any, completed: bool, now: float) -> None:
        """See IRequestLog."""
        raise AssertionError("nobody here has requests")

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See IRequestLog."""
        self.events.append((name, level, facts))

    def named(self, name: str) -> list[dict[str, object]]:
        """The facts of all events of a name."""
        return [facts for found, _, facts in self.events if found == name]


@dataclass
class Stage:
    """A registry, and all it is made of."""

    folder: Path
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    settings: Settings = SETTINGS
    clients: Mapping[str, Client] = field(
        default_factory=lambda: {
            name: Client(name=name, roles=frozenset((Role.USER,)), models=models)
            for name, models in (("alice", None), ("bob", ("small", "m")), ("carol", ("small",)))
        }
    )
    url: str | None = "http://127.0.0.1:1/v1"
    git: Any = field(default_factory=NoGit)
    in_thread: Callable[..., Deferred[Any]] = maybeDeferred

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.ledger = Ledger()
        self.work = self.folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.tokens = SessionTokens(self.clients.get, random.Random(1).randbytes)
        self.workspaces = {"work": Workspace("work", self.work)}
        self.registry = SessionRegistry(
            self.settings,
            engines={self.engine.name: self.engine},
            workspaces=self.workspaces,
            git=self.git,
            tokens=self.tokens,
            standing=self.clients.get,
            base_url=lambda: self.url,
            scratch=self._scratch,
            in_thread=self.in_thread,
            clock=self.clock,
            wall=lambda: 1_000.0 + self.clock.seconds(),
            entropy=random.Random(2).randbytes,
            meter=self.ledger,
            log=self.ledger,
        )

    def _scratch(self) -> Path:
        scratch = self.folder / "scratch"
        scratch.mkdir(mode=0o700)
        return scratch

    @property
    def agent(self) -> ScriptedAgent:
        """The last one launched."""
        return self.engine.agents[-1]

    def watch(self, client: str = "alice", session_id: str | None = None, *, answers: bool = False) -> Watcher:
        """An observer."""
        watcher = Watcher()
        verifyObject(ISessionObserver, watcher)
        self.registry.observe(client, session_id, watcher, answers=answers)
        return watcher


def with_bounds(**changes: Any) -> Settings:
    """The settings, with other bounds."""
    return replace(SETTINGS, bounds=replace(BOUNDS, **changes))
