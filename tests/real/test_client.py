"""`python -m hadesgw.client` as a shell uses it, with a real gateway, a real repository, and a rehearsed agent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from tests.real.gateway import PROJECT
from tests.real.rehearsed import RehearsedTestCase


class CommandTests(RehearsedTestCase):
    """Each call is a process of its own."""

    def ask(self, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = [sys.executable, "-m", "hadesgw.client", "--url", self.gateway.url, *arguments]
        environment = {**os.environ, "HADESGW_TOKEN": token or self.gateway.token}
        return subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=180
        )

    def test_a_file_is_edited_and_the_reply_comes_out(self) -> None:
        """And the next call goes on in the same session."""
        done = self.ask("Add a function to greet.py", "--approve")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())
        self.assertIn("greet.py", self.git("status", "--short"))
        listed = self.ask("/ls")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn("calc.py", listed.stdout)
        self.assertIn("greet.py", listed.stdout)

    def test_calls_at_the_same_time_wait_for_each_other(self) -> None:
        """Each has its own reply, though they share a session."""
        replies: list[str] = []
        threads = [threading.Thread(target=lambda: replies.append(self.ask("/ls").stdout)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(replies), 3)
        self.assertEqual({reply.count("calc.py") for reply in replies}, {1}, replies)

    def test_what_goes_wrong_is_one_line(self) -> None:
        """A wrong token, an unknown session, nobody there: status 1, and the gateway's word for it."""
        for arguments, token, code in (
            (("/ls",), "wrong", "invalid_api_key"),
            (("/ls", "--session", "session_nobody"), None, "unknown_session"),
            (("/ls", "--workspace", "elsewhere"), None, "unknown_workspace"),
        ):
            done = self.ask(*arguments, token=token)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(f"({code})", done.stderr)

    def test_nobody_there_is_told_at_once(self) -> None:
        """A shell shall not wait for a gateway that may never come."""
        self.gateway.stop()
        done = self.ask("/ls")
        self.assertEqual(done.returncode, 1)
        self.assertIn("(unreachable)", done.stderr)
