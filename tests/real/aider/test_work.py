"""The whole way: a client, a session, a real Aider, its model behind the same gateway."""

from __future__ import annotations

import os
import signal

from tests.real.aider.stage import AiderTestCase
from tests.real.clients.stage import CANARY
from tests.real.codex.watcher import Watcher
from tests.real.processes import descendants
from tests.real.waiting import wait_for

LONG = "please take your time"
HOOK = ".git/hooks/post-commit"


class WorkTests(AiderTestCase):
    """What it does when it is asked."""

    script = """
[[rule]]
prompt = 'take your time'
system = 'software developer'
rehearse = "long"
answer = { tokens_per_second = 20 }
"""

    def test_edit_and_commit(self) -> None:
        """It edits and commits; each call of its model is its session's, and nothing of it is left when it stops."""
        session = self.order("start")["session_id"]
        with Watcher(self.gateway) as watcher:
            self.assertEqual(watcher.turn(f"add a docstring to calc.py for the {CANARY}")["status"], "completed")
            self.assertEqual(watcher.of("active_files")[-1], ["calc.py"])
            self.assertIn("rehearsal model", watcher.of("diff")[-1]["diff"])
            self.assertIn("Applied edit to calc.py", "".join(watcher.of("output")))
            self.assertGreater(watcher.of("token_usage")[-1]["input_tokens"], 100)
            self.assertEqual(watcher.turn("create greet.py that prints 'moin'")["status"], "completed")
            self.assertEqual(watcher.of("active_files")[-1], ["calc.py", "greet.py"])
        self.assertEqual(len(self.git("log", "--oneline").splitlines()), 3)
        self.assertIn("(aider)", self.git("log", "-1", "--format=%an"))
        self.assertEqual(self.git("status", "--short"), "")
        self.assertIn("moin", (self.workspace / "greet.py").read_text())
        calls = self.gateway.route_log("/v1/chat/completions", 4)
        told = {(line["status"], line["conveyance_session_id"]) for line in calls}
        self.assertEqual((told, len(calls)), ({(200, session)}, 4))  # an edit and a message each
        processes = descendants(self.gateway.pid)
        self.assertNotEqual(self.players(), [])
        self.order("stop")
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assertEqual(list((self.folder / "state").rglob(".gitconfig")), [])
        self.assertNotIn(CANARY, self.gateway.log_text())
        self.assertNotIn("Traceback", self.gateway.log_text())

    def test_commands(self) -> None:
        """/add, /drop and /focus move the active files, by their beginnings too; what reaches further is refused."""
        self.order("start")
        with Watcher(self.gateway) as watcher:
            for text, files in (
                ("/add calc.py", ["calc.py"]),
                ("/ad notes.md", ["calc.py", "notes.md"]),
                ("/drop calc.py", ["notes.md"]),
                ("/focus calc.py", ["calc.py"]),
                ("/drop", []),
            ):
                self.assertEqual(watcher.turn(text)["status"], "completed", text)
                self.assertEqual(watcher.of("active_files")[-1], files, text)
            for text in ("/run touch ran", "!touch ran", "/ru touch ran", "/git init ran", "/web http://127.0.0.1:1/"):
                before = len(watcher.of("error"))
                self.assertEqual(watcher.turn(text)["status"], "failed", text)
                self.assertIn("here", watcher.of("error")[before], text)
            self.assertEqual(watcher.turn("/focus ../../../etc/passwd")["status"], "failed")
            (self.workspace / "notes.md").write_text("# Changed\n")
            self.assertEqual(watcher.turn("/commit Change the notes")["status"], "completed")
        self.assertFalse((self.workspace / "ran").exists())
        self.assertEqual(self.git("log", "-1", "--format=%s"), "Change the notes\n")

    def test_interruption_and_death(self) -> None:
        """A turn ends when it is interrupted, and Aider goes on; when it is killed, the next input has another."""
        session = self.order("start")["session_id"]
        with Watcher(self.gateway) as watcher:
            watcher.send("input", LONG)
            watcher.until(lambda: watcher.of("output"), "it says something")
            self.order(f"sessions/{session}/interrupt")
            ended = watcher.until(lambda: [t for t in watcher.of("turn") if t["phase"] == "ended"], "it ends")
            self.assertEqual(ended[0]["status"], "interrupted")
            wait_for(lambda: self.model.running() == 0, "the model rests", 30)
            self.assertEqual(watcher.turn("add a docstring to calc.py")["status"], "completed")
            watcher.send("input", LONG)
            watcher.until(lambda: any("turn-3" in str(turn) for turn in watcher.of("turn")), "another turn runs")
            processes = descendants(self.gateway.pid)
            os.kill(self.players()[-1].pid, signal.SIGKILL)
            wait_for(lambda: not any(process.alive() for process in processes), "all of it is gone", 30)
            wait_for(lambda: self.model.running() == 0, "the model rests", 30)
            self.assertEqual(watcher.turn("/ls")["status"], "completed")


class HostileTests(AiderTestCase):
    """A model that wants more than it may have."""

    script = f"""
[[rule]]
prompt = 'reach out'
answer = {{ text = '''I reach out.

{HOOK}
```
#!/bin/sh
touch ran
```

../outside.txt
```
mine
```

inside.txt
```
fine
```
''' }}
"""

    def test_paths(self) -> None:
        """It writes neither into the repository's own folder nor outside the workspace; what is left is done."""
        self.order("start")
        with Watcher(self.gateway) as watcher:
            watcher.turn("please reach out")
            told = " ".join(watcher.of("error"))
        self.assertIn(f"{HOOK} belongs to the repository", told)
        self.assertIn("../outside.txt is not in the workspace", told)
        self.assertEqual((self.workspace / "inside.txt").read_text(), "fine\n")
        self.assertFalse((self.workspace / HOOK).exists())
        self.assertFalse((self.folder / "outside.txt").exists())


class UncommittedTests(AiderTestCase):
    """Where commits are the user's."""

    aider = {"commits": False}  # noqa: RUF012 - as the class it is of

    def test_no_commit(self) -> None:
        """It edits and makes files, and commits nothing; /commit is the session's own then."""
        self.order("start")
        with Watcher(self.gateway) as watcher:
            self.assertEqual(watcher.turn("create greet.py that prints 'moin'")["status"], "completed")
            self.assertEqual(self.git("log", "--format=%s"), "Begin\n")
            self.assertEqual(self.git("status", "--short"), "?? greet.py\n")
            watcher.send("input", "/commit Greet")
            wait_for(lambda: self.git("log", "-1", "--format=%s") == "Greet\n", "it is committed", 60)
