"""Session after session, each ended in another bad way: nothing piles up, and nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import PROJECT, Gateway
from tests.real.processes import descendants, end, start
from tests.real.waiting import wait_for
from tests.real.websocket import WebSocket, of_type

MODEL = "rehearsal"
CYCLES = int(os.environ.get("HADESGW_SESSION_CYCLES", "12"))
"""`HADESGW_SESSION_CYCLES=200` for a long look."""


class CycleTests(SynchronousTestCase):
    """One gateway, many lives in it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.work = self.base / "work"
        self.work.mkdir()
        self.outside = self.base / "outside"
        self.outside.mkdir()
        (self.outside / "greet.py").write_text("outside\n")
        model = self.base / "model.sock"
        command: list[str | Path] = [sys.executable, "-m", "hadesgw.demo", "--socket", model, "--model", MODEL]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "TMPDIR": str(self.base)}
        child = start([*command, "--tokens-per-second", "200"], self.base / "model.log", environment, self.base)
        self.addCleanup(end, child, 10)
        wait_for(model.exists, "the model has its socket", seconds=30)
        sections: dict[str, dict[str, object]] = {
            "sessions": {"engine": "rehearsal", "workspaces": {"work": str(self.work)}},
            "limits": {"requests_per_second": 1_000, "burst": 1_000},
            "timeouts": {"drain": 5},
        }
        self.gateway = Gateway(self.base, model, [MODEL], sections)
        self.gateway.start()
        self.addCleanup(self.gateway.stop)
        self.client = self.gateway.client()
        self.random = random.Random(11)

    def call(self, method: str, path: str, document: object = None) -> Any:
        """What a call answers, whatever that is."""
        return self.client.ask(method, f"/api/codex{path}", document).json()

    def visit(self) -> WebSocket:
        """A WebSocket with the client's credential."""
        fields = {"Authorization": f"Bearer {self.gateway.token}"}
        return WebSocket(self.gateway.port, "/ws/codex", fields, ["hades.v1"])

    # -- What is wrong with a life -------------------------------------------------------------------------------------

    def lay_traps(self) -> None:
        """A workspace of links and programs, made anew."""
        shutil.rmtree(self.work)
        (self.work / ".git" / "hooks").mkdir(parents=True)
        mark = self.base / "started"
        evil = self.work / "evil"
        evil.write_text(f"#!/bin/sh\ntouch {mark}\n")
        evil.chmod(0o755)
        shutil.copy(evil, self.work / ".git" / "hooks" / "post-index-change")
        (self.work / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        for name in ("objects", "refs"):
            (self.work / ".git" / name).mkdir()
        (self.work / ".git" / "config").write_text(
            f'[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {evil}\n[filter "x"]\n\tclean = {evil}\n'
        )
        (self.work / ".gitattributes").write_text("* filter=x\n")
        trap = self.random.randrange(4)
        if trap == 0:
            (self.work / "greet.py").symlink_to(self.outside / "greet.py")
        elif trap == 1:
            (self.work / "sub").symlink_to(self.outside)
        elif trap == 2:
            (self.work / ".git" / "index").symlink_to(self.outside / "greet.py")

    def vanish(self) -> None:
        """A socket that types and is gone without a word, its session left behind."""
        with contextlib.suppress(OSError):
            visitor = self.visit()
            visitor.say("input", "Add a function to greet.py")
            visitor.socket.close()

    def work_through(self) -> None:
        """A turn to its end, watched by two, and everything of git after it."""
        visitor, other = self.visit(), self.visit()
        visitor.say("input", "Add a function to greet.py")
        visitor.hear_until(of_type("turn"))
        visitor.hear_until(of_type("input_request"))
        for path in ("git/status", "git/diff", "git/log", "git/branches", "files", "files/content?path=sub/greet.py"):
            self.call("GET", f"/sessions/default/{path}")
        self.call("POST", "/sessions/default/git/commit", {"message": "m"})
        visitor.say("input", "/undo")
        visitor.hear_until(of_type("input_request"))
        for each in (visitor, other):
            each.socket.close()

    def flood(self) -> None:
        """Inputs, commands and nonsense as fast as they can be sent."""
        visitor = self.visit()
        for number in range(60):
            visitor.say(
                *self.random.choice([("input", "/ls"), ("input", f"x {number}"), ("nonsense", 7), ("interrupt", None)])
            )
        visitor.socket.close()

    def stop_midway(self) -> None:
        """An end, or a restart, in the middle of a turn."""
        self.call("POST", "/input", {"text": "Add a function to greet.py"})
        if self.random.random() < 0.5:
            self.call("POST", "/start", {"restart": True})

    def test_cycles(self) -> None:
        """Lives of all kinds in any order: as many descriptors as before, no process, no file, nothing told twice."""
        lives = [self.vanish, self.work_through, self.flood, self.stop_midway]
        self.lay_traps()
        for life in lives:  # whatever is made once is there now
            life()
        self.end_session()
        before = self.gateway.process().fds()
        for number in range(CYCLES):
            self.lay_traps()
            lives[number % len(lives)]()
            if self.random.random() < 0.7:
                self.end_session()
        self.end_session()
        wait_for(
            lambda: self.gateway.process().fds() <= before + 2, "the descriptors are as many as before", seconds=30
        )
        self.assertEqual([child.title() for child in descendants(self.gateway.pid)], [])
        self.assertFalse((self.base / "started").exists())
        self.assertEqual({path.name: path.read_text() for path in self.outside.iterdir()}, {"greet.py": "outside\n"})
        self.assertEqual([line for line in self.gateway.log_lines() if line["event"] == "session_defect"], [])
        self.gateway.stop()  # which writes what is left of the log
        lines = self.gateway.log_lines()
        self.assertEqual(
            *(sum(line["event"] == name for line in lines) for name in ("session_started", "session_ended"))
        )

    def end_session(self) -> None:
        """Stop the client's sessions; and see what the page's user would feel meanwhile."""
        begun = time.monotonic()
        self.call("POST", "/stop", {})
        self.assertLess(time.monotonic() - begun, 20)
        self.assertFalse(self.call("GET", "/status")["session_active"])
