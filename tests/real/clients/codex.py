"""`codex exec` as a person runs it: the configuration of docs/clients.md, a home and a repository of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.clients.page import block
from tests.real.processes import start

SECONDS = 120.0
"""A run takes a few; a loaded machine may need several times that."""

GIT = ("git", "-c", "init.defaultBranch=main", "-c", "user.name=Tester", "-c", "user.email=tester@localhost")


@dataclass(frozen=True)
class Run:
    """What came of one `codex exec`.

    :ivar events: the JSON objects it printed.
    """

    status: int
    events: list[dict[str, Any]]

    @property
    def ends(self) -> str:
        """The type of the last event: `turn.completed` or `turn.failed`."""
        return str(self.events[-1]["type"])

    @property
    def shown(self) -> str:
        """What a failure tells the person."""
        failed = [event["error"]["message"] for event in self.events if event["type"] == "turn.failed"]
        assert failed, self.events
        return str(failed[-1])

    def items(self, kind: str) -> list[dict[str, Any]]:
        """The finished items of a kind, such as `file_change`."""
        done = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return [item for item in done if item["type"] == kind]

    def said(self) -> str:
        """The agent's last message."""
        return str(self.items("agent_message")[-1]["text"])


class Codex:
    """A Codex for one test.

    Its home must not be below the folder for temporary files, where it refuses to keep its programs.

    :param program: the binary.
    :param folder: an existing folder; `codex` and `repository` are made in it.
    :param environment: of the person.
    :param port: the gateway's.
    """

    def __init__(self, program: Path, folder: Path, environment: Mapping[str, str], port: int) -> None:
        self.program = program
        self.folder = folder
        self.home = folder / "codex"
        self.repository = folder / "repository"
        self.environment = {**environment, "CODEX_HOME": str(self.home)}
        self.home.mkdir(mode=0o700)
        (self.home / "config.toml").write_text(block("Codex CLI and IDE extension", "toml", port))
        self.repository.mkdir()
        (self.repository / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Begin")

    def git(self, *arguments: str) -> str:
        """What git prints in the repository."""
        command = [*GIT, *arguments]
        done = subprocess.run(
            command, cwd=self.repository, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def sandbox(self) -> str:
        """Why its sandbox does not work on this machine, or "" if it does."""
        done = subprocess.run(
            [self.program, "sandbox", "--", "true"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"

    def execute(self, prompt: str, **settings: object) -> Run:
        """Run it to its end.

        :param settings: keys of the provider that replace those of the page.
        """
        return self.finish(self.begin(prompt, **settings))

    def begin(self, prompt: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start it and wait for nothing."""
        command: list[str | Path] = [self.program, "exec", "--json", "--strict-config", "--sandbox", "workspace-write"]
        for name, value in settings.items():
            command += ["--config", f"model_providers.hadesgw.{name}={value}"]
        return start([*command, prompt], self.folder / "codex.log", self.environment, self.repository)

    def finish(self, child: subprocess.Popen[bytes]) -> Run:
        """Wait for its end."""
        try:
            child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise AssertionError(f"Codex did not end in {SECONDS:g} s; it said:\n{self._log()[-2000:]}") from None
        events = [json.loads(line) for line in self._log().splitlines() if line.startswith("{")]
        return Run(child.returncode, events)

    def _log(self) -> str:
        return (self.folder / "codex.log").read_text(errors="replace")
