"""A repository to work in, and one that is a trap."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from hadesgw.sessions.desk import Desk
from hadesgw.sessions.git import Git, Repository
from hadesgw.sessions.refusals import SessionRefused
from hadesgw.sessions.snapshots import Snapshots
from hadesgw.sessions.workspace import Workspace

PROGRAM = shutil.which("git")


class RepositoryTestCase(TestCase):
    """A folder for each test, with a repository in it if the test makes one."""

    timeout = 180  # a loaded machine takes its time
    git_seconds = 20.0

    def setUp(self) -> None:
        if PROGRAM is None:
            raise SkipTest("there is no git here")
        self.base = Path(tempfile.mkdtemp(prefix="hadesgw-repository-")).resolve()
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)
        self.root = self.base / "work"
        self.root.mkdir()
        self.busy = False
        self.changes: list[tuple[list[str], list[str]]] = []
        self.git = Git(reactor, PROGRAM, ())
        self.repository = Repository(self.git, self.root, deferToThread, self.git_seconds)
        self.snapshots = Snapshots(self.git, self.root, self.base / "shadow", deferToThread, self.git_seconds)
        self.desk = Desk(
            Workspace("work", self.root),
            self.repository,
            self.snapshots,
            deferToThread,
            lambda: self.busy,
            lambda restored, removed: self.changes.append((list(restored), list(removed))),
        )

    def run_git(self, *arguments: str, folder: Path | None = None) -> str:
        """Git as a person runs it, whose own configuration is nobody's."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.base),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "0",
        }
        command = [str(PROGRAM), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        done = subprocess.run(
            command, cwd=folder or self.root, env=environment, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    def make_repository(self, folder: Path | None = None) -> None:
        """A repository with one commit of two files."""
        here = folder or self.root
        self.run_git("init", "--quiet", "--initial-branch=main", folder=here)
        (here / "a.py").write_text("one\ntwo\nthree\n")
        (here / "b.txt").write_text("b\n")
        self.run_git("add", ".", folder=here)
        self.run_git("commit", "--quiet", "--message=Begin", folder=here)

    async def refused(self, asked: Deferred[Any]) -> SessionRefused:
        """Why something is not done."""
        try:
            done = await asked
        except SessionRefused as refused:
            return refused
        raise self.failureException(f"it was done: {done}")
