"""A scratch repository, an engine, and agents that are all stopped when a test is over."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.trial.unittest import TestCase

from hadesgw.sessions.app_server import CodexEngine, Confinement
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.codex_program import find_program
from hadesgw.sessions.engine import ApprovalAsked, Decision, Launch, TurnEnded
from tests.real.clients.codex import GIT
from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.clients.stage import CONTEXT, MODEL, StagedTestCase
from tests.real.codex.pair import Notes
from tests.real.processes import Process, descendants
from tests.real.waiting import wait_for

AT_LARGE = r"""
[[rule]]
prompt = 'run this'
answer = { calls = [{ name = "exec_command", arguments = '%s' }] }
[[rule]]
prompt = 'run this'
after_tool = true
answer = { text = "It ran." }
"""


class EngineTestCase(StagedTestCase, TestCase):
    """An engine of its own for each test, before the class's gateway."""

    timeout = 120
    enclosed: ClassVar[bool] = True

    def setUp(self) -> None:
        super().setUp()
        self.state = Path(tempfile.mkdtemp(prefix="codex-state-", dir=cache_folder(CODEX).parent))
        self.addCleanup(remove_tree, self.state)
        self.workspace = Path(tempfile.mkdtemp(prefix="hadesgw-workspace-")).resolve()
        self.addCleanup(shutil.rmtree, self.workspace)
        (self.workspace / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin")
        self.agents: list[Any] = []
        self.engine = self.make_engine(self.kit.codex)
        self.addCleanup(self.engine.close)
        self.addCleanup(lambda: gatherResults([agent.stop() for agent in self.agents]))

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(CODEX)
        CLIENTS.program("git")

    def make_engine(self, program: Path, readable: Sequence[Path] = ()) -> CodexEngine:
        return CodexEngine(
            reactor,
            lambda: find_program(str(program)),
            Homes(self.state, [], self.remove_home),
            Confinement(enclosed=self.enclosed, hidden=[self.stage.gateway.folder], readable=readable, nice=()),
            os.environ,
            os.urandom,
        )

    def remove_home(self, home: Path) -> Deferred[None]:
        """Take an agent's folder away."""
        return maybeDeferred(remove_tree, home)

    def git(self, *arguments: str) -> str:
        """What git prints in the workspace."""
        command = [*GIT, *arguments]
        return subprocess.run(command, cwd=self.workspace, capture_output=True, text=True, check=True).stdout

    def order(self, **changes: Any) -> Launch:
        """What an agent is launched with."""
        ours = Launch(
            session_id=self.session,
            workspace=self.workspace,
            model=MODEL,
            approval="never",
            sandbox="workspace-write",
            base_url=f"{self.stage.gateway.url}/v1",
            token=self.stage.gateway.token,
            session_header="X-Conveyance-Session-ID",
            context_tokens=CONTEXT,
            output_tokens=4_096,
        )
        return replace(ours, **changes)

    async def launch(self, **changes: Any) -> tuple[Any, Notes]:
        """An agent that waits for input, and what it tells."""
        notes = Notes(reactor)
        agent = await self.engine.launch(self.order(**changes), notes)
        self.agents.append(agent)
        return agent, notes

    def launch_soon(self) -> Deferred[Any]:
        """A launch that is not waited for."""
        return self.engine.launch(self.order(), Notes(reactor))

    async def turn(self, text: str, answers: Decision | None = None, **changes: Any) -> Notes:
        """What a new agent tells of one turn, when each of its requests for approval is answered the same way."""
        agent, notes = await self.launch(**changes)
        if answers is not None:
            notes.on(ApprovalAsked, lambda asked: agent.decide(asked.approval_id, answers))
        await say(agent, notes, text)
        return notes

    def family(self) -> list[Process]:
        """The processes of all agents: descendants of ours that are not the stage's."""
        others = {self.stage.gateway.pid}
        if self.stage.model.child is not None:
            others.add(self.stage.model.child.pid)
        for pid in list(others):
            others |= {process.pid for process in descendants(pid)}
        return [process for process in descendants(os.getpid()) if process.pid not in others]

    def await_gone(self, processes: Sequence[Process]) -> None:
        """:raises AssertionError: when one of them lives on."""
        wait_for(lambda: not any(process.alive() for process in processes), "all of them are gone", 5)

    def judge_log(self) -> None:
        super().judge_log()
        self.assertEqual([process.title() for process in self.family()], [])


def say(agent: Any, notes: Notes, text: str) -> Deferred[TurnEnded]:
    """Give an agent an input; fires when the turn has ended."""
    ended = notes.turn_ended()
    agent.say(text)
    return ended


def descriptors() -> list[str]:
    """Our open files."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())
