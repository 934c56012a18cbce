"""A gateway whose coding sessions are rehearsed: everything is real but the model and the agent."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import PROJECT, Gateway
from tests.real.processes import end, start
from tests.real.waiting import wait_for

MODEL = "rehearsal"


class RehearsedTestCase(SynchronousTestCase):
    """One gateway for each test, with the rehearsal model and agent, and a scratch repository to work in.

    :cvar sections: further tables of the gateway's configuration.
    """

    sections: ClassVar[Mapping[str, Mapping[str, object]]] = {}

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(folder.cleanup)
        base = Path(folder.name)
        self.work = base / "work"
        self.work.mkdir()
        (self.work / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
            self.git(*arguments)
        model = base / "model.sock"
        command: list[str | Path] = [sys.executable, "-m", "hadesgw.demo", "--socket", model, "--model", MODEL]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        child = start([*command, "--tokens-per-second", "0"], base / "model.log", environment, base)
        self.addCleanup(end, child, 10)
        wait_for(model.exists, "the model has its socket", seconds=60)
        self.gateway = Gateway(
            base,
            model,
            [MODEL],
            {
                "timeouts": {"drain": 5},
                **self.sections,
                "sessions": {
                    "engine": "rehearsal",
                    "workspaces": {"work": str(self.work)},
                    **self.sections.get("sessions", {}),
                },
            },
        )
        self.gateway.start()
        self.addCleanup(self.gateway.stop)
        self.client = self.gateway.client()

    def git(self, *arguments: str) -> str:
        """What git says about the work."""
        who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        command = ["git", "-C", str(self.work), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
