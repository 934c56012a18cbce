"""A gateway with the engine `aider`, a scratch repository to work in, and a rehearsed model."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.aider_environment import LOCK
from tests.real.clients.codex import GIT
from tests.real.clients.environment import CODEX
from tests.real.clients.stage import MODEL, RehearsalModel
from tests.real.gateway import Gateway
from tests.real.kits import SUPPLIES, Kit
from tests.real.processes import Process, descendants

AIDER = Kit("aider", LOCK, needed_bytes=2 * 2**30)
"""Some 700 MB, most of them for counting tokens and for maps of repositories."""


class AiderTestCase(SynchronousTestCase):
    """A gateway of its own for each test.

    :cvar script: rules of the rehearsal model.
    :cvar aider: further keys of `[sessions.aider]`.
    """

    script: ClassVar[str] = ""
    aider: ClassVar[Mapping[str, object]] = {}

    def setUp(self) -> None:
        SUPPLIES.program("git")
        kit = SUPPLIES.kit(AIDER)
        self.folder = Path(tempfile.mkdtemp(prefix="hadesgw-")).resolve()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.workspace = self.made("workspace")
        (self.workspace / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        (self.workspace / "notes.md").write_text("# Notes\n")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin")
        self.model = RehearsalModel(self.made("model"), self.script)
        self.addCleanup(self.model.stop)
        self.model.start()
        own = {"environment": str(kit.folder / "venv"), "state": str(self.made("state")), **self.aider}
        sections: Mapping[str, Mapping[str, object]] = {
            "budget": {"context_tokens": 32_768, "output_tokens": 4_096},
            "timeouts": {"drain": 2},
            "sessions": {
                "engine": "aider",
                "workspaces": {"app": str(self.workspace)},
                "default_workspace": "app",
                "aider": own,
                **self.enclosing(),
            },
        }
        self.gateway = Gateway(self.made("gateway"), self.model.socket, [MODEL], sections)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.client = self.gateway.client()

    def enclosing(self) -> Mapping[str, object]:
        """Where there is no bubblewrap on this machine, that of Codex is taken."""
        return {} if shutil.which("bwrap") else {"codex": {"binary": str(SUPPLIES.kit(CODEX).codex)}}

    def made(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def git(self, *arguments: str) -> str:
        """What git prints in the workspace."""
        command = [*GIT, *arguments]
        return subprocess.run(command, cwd=self.workspace, capture_output=True, text=True, check=True).stdout

    def order(self, path: str, **members: Any) -> dict[str, Any]:
        """What an order answers, which is well."""
        answer = self.client.post(f"/api/codex/{path}", members)
        self.assertEqual(answer.status, 200, answer.body)
        told: dict[str, Any] = answer.json()
        return told

    def players(self) -> list[Process]:
        """The processes of all agents."""
        return [process for process in descendants(self.gateway.pid) if "aider_player" in process.title()]
