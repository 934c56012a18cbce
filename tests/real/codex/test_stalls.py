"""The gateway's reactor beside a session: nothing that one does holds it for long, however large the repository."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.service.niceness import nice_command
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.app_server import CodexEngine
from hadesgw.sessions.codex_home import remove_tree
from hadesgw.sessions.engine import IEngine, Launch
from hadesgw.sessions.git import Git
from hadesgw.sessions.messages import Message
from hadesgw.sessions.registry import ISessionObserver, SessionRegistry
from hadesgw.sessions.workspace import Workspace
from tests.real.beats import Beats
from tests.real.clients.environment import CLIENTS
from tests.real.clients.stage import CONTEXT, MODEL
from tests.real.codex.mischief import EDIT, HELLO
from tests.real.codex.stage import AT_LARGE, EngineTestCase
from tests.sessions.stage import BOUNDS, SETTINGS, Ledger

FILES = 10_000
CHANGED = 1_000
HELD_SECONDS = 0.05
"""The longest that a chat may have to wait for a session's work."""
ALICE = Client(name="alice", roles=frozenset((Role.USER,)))
FLOOD = "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 20000000"


@implementer(IEngine)
class Borrowed:
    """Codex, whose model calls go to the stage's gateway with its client's own token."""

    name = "codex"
    claims: frozenset[str] = frozenset()

    def __init__(self, engine: CodexEngine, token: str) -> None:
        self._engine = engine
        self._token = token

    def obstacle(self) -> str | None:
        return self._engine.obstacle()

    def launch(self, launch: Launch, observer: Any) -> Deferred[Any]:
        return self._engine.launch(replace(launch, token=self._token), observer)

    def close(self) -> None:
        """Whoever lent it closes it."""


@implementer(ISessionObserver)
class Listener:
    """Waits for turns to end."""

    behind = False

    def __init__(self) -> None:
        self._waiting: list[Deferred[str]] = []

    def told(self, message: Message) -> None:
        if message.type == "turn" and message.content["phase"] == "ended" and self._waiting:
            self._waiting.pop(0).callback(message.content["status"])

    def ended(self) -> None:
        """There is no more to be told."""

    def turn(self) -> Deferred[str]:
        """Fires with the status of the next turn that ends."""
        waiting: Deferred[str] = Deferred()
        self._waiting.append(waiting)
        return waiting


class StallTests(EngineTestCase):
    """A session in this process's reactor, in a repository of ten thousand files."""

    timeout = 600
    script: ClassVar[str] = AT_LARGE % json.dumps({"cmd": FLOOD, "yield_time_ms": 20_000})

    def setUp(self) -> None:
        super().setUp()
        self.fill(FILES, "x = 1")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Many")
        self.registry = SessionRegistry(
            replace(
                SETTINGS,
                engine="codex",
                default_workspace="work",
                model=MODEL,
                approval="never",
                tokens=lambda model: (CONTEXT, 4_096),
                bounds=replace(BOUNDS, replay_messages=4_096, replay_bytes=4 << 20),
                git_seconds=60,
            ),
            engines={"codex": Borrowed(self.engine, self.stage.gateway.token)},
            workspaces={"work": Workspace("work", self.workspace)},
            git=Git(reactor, str(CLIENTS.program("git")), nice_command(10)),
            tokens=SessionTokens({ALICE.name: ALICE}.get, os.urandom),
            standing={ALICE.name: ALICE}.get,
            base_url=lambda: f"{self.stage.gateway.url}/v1",
            scratch=lambda: Path(tempfile.mkdtemp(prefix="hadesgw-scratch-")),
            in_thread=deferToThread,
            clock=reactor,
            wall=time.time,
            entropy=os.urandom,
            meter=Ledger(),
            log=Ledger(),
        )
        self.addCleanup(self.registry.close)

    def remove_home(self, home: Path) -> Deferred[None]:
        return deferToThread(remove_tree, home)

    def fill(self, count: int, text: str) -> None:
        """Make so many files, or make them anew."""
        for number in range(count):
            folder = self.workspace / f"part{number // 100}"
            folder.mkdir(exist_ok=True)
            (folder / f"a_file_with_a_long_name_{number}.py").write_text(f"{text} # {number}\n")

    async def test_stalls(self) -> None:
        """From its start to its end: turns, edits, a flood of output, git's longest answers, a commit."""
        listener = Listener()
        self.registry.observe(ALICE.name, None, listener, answers=True)
        beats = Beats(reactor)
        beats.start()
        self.addCleanup(beats.stop)
        held: dict[str, float] = {}

        async def see(what: str, ask: Callable[[], Any]) -> Any:
            beats.take()
            begun = time.monotonic()
            answer = await ask()
            held[what] = beats.take()
            print(f"{what}: {time.monotonic() - begun:.2f} s, of which the reactor was held {1000 * held[what]:.0f} ms")
            return answer

        def turn(text: str) -> Callable[[], Deferred[str]]:
            def ask() -> Deferred[str]:
                ended = listener.turn()
                self.registry.input(ALICE.name, text, Wish())
                return ended

            return ask

        session = await see("start", lambda: self.registry.start(ALICE.name, Wish()))
        for text in (HELLO, EDIT, "Please run this"):
            self.assertEqual(await see(text, turn(text)), "completed")
        await deferToThread(self.fill, CHANGED, 100 * "changed = 1\n")
        desk = self.registry.desk(ALICE.name, session)
        self.assertGreater(len((await see("status", desk.status)).changes), CHANGED)
        self.assertTrue((await see("diff", desk.diff)).truncated)
        await see("commit", lambda: desk.commit("All of it"))
        await see("stop", lambda: self.registry.stop(ALICE.name, session))
        self.assertEqual({what: seconds for what, seconds in held.items() if seconds > HELD_SECONDS}, {})
