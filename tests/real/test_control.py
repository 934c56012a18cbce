"""A running gateway and its operator: the control socket, SIGHUP, and the commands that use them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import PROJECT, Gateway
from tests.real.upstream import Upstream
from tests.real.visitor import Visitor
from tests.real.waiting import wait_for


class ControlTests(SynchronousTestCase):
    """One gateway before a model server; each command is a process, as an operator starts it."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "gateway"
        self.folder.mkdir()
        upstream = Upstream(Path(scratch.name) / "up.sock")
        self.addCleanup(upstream.stop)
        upstream.start()
        self.gateway = Gateway(self.folder, upstream.path, ["m"])
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.config = self.folder / "hadesgw.toml"

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """The command line of `hadesgw`."""
        return [sys.executable, "-m", "hadesgw.cli", *arguments]

    def run_command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=PROJECT, capture_output=True, text=True, check=False, timeout=180
        )

    def answer(self, token: str) -> int:
        """The status that a client with this token gets."""
        return self.gateway.stranger().get("/v1/models", {"Authorization": f"Bearer {token}"}).status

    def new_client(self, name: str) -> str:
        """Add a client to the file; its token."""
        made = self.run_command("token", "new", name, "--append", "--file", self.folder / "clients.toml")
        self.assertEqual(made.returncode, 0, made.stderr)
        return next(line for line in made.stdout.splitlines() if line.startswith("hgw_"))

    def test_status_tells_where_it_listens(self) -> None:
        """To its owner alone: the socket's mode is 600."""
        told = self.run_command("status", "--config", self.config)
        self.assertIn(f"pid: {self.gateway.pid}\n", told.stdout)
        self.assertIn(f"listening: tcp:127.0.0.1:{self.gateway.port}\n", told.stdout)
        mode = (self.folder / "control.sock").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_a_new_client_comes_in_after_a_reload(self) -> None:
        """By the command, and by SIGHUP, never by SIGUSR1; the gateway goes on all the while, and says what it did."""
        bob, carol = self.new_client("bob"), self.new_client("carol")
        self.assertEqual(self.answer(bob), 401)
        told = self.run_command("reload", "--config", self.config)
        self.assertEqual(told.stdout, "clients: 3\nrestart for: nothing\n")
        self.assertEqual((self.answer(bob), self.answer(carol)), (200, 200))
        self.run_command("token", "revoke", "bob", "--file", self.folder / "clients.toml")
        os.kill(self.gateway.pid, signal.SIGUSR1)
        self.assertEqual(self.answer(bob), 200)
        os.kill(self.gateway.pid, signal.SIGHUP)
        wait_for(lambda: self.answer(bob) == 401, "bob is out", seconds=10)
        self.gateway.stop()  # which writes what is left of the log
        events = [line for line in self.gateway.log_lines() if line["event"] == "reloaded"]
        self.assertEqual([event["clients"] for event in events], [3, 2])

    def test_a_broken_file_changes_nothing(self) -> None:
        """The command fails with the reason, SIGHUP leaves it in the log, and the clients of before come in."""
        (self.folder / "clients.toml").write_text("[[client]\n")
        told = self.run_command("reload", "--config", self.config)
        self.assertEqual(told.returncode, 1)
        self.assertIn("clients.toml", told.stderr)
        os.kill(self.gateway.pid, signal.SIGHUP)
        refused = "reload_refused"
        wait_for(lambda: self.gateway.log_text().count(refused) == 2, "both are in the log", seconds=10)
        self.assertEqual(self.answer(self.gateway.token), 200)

    def test_tail_follows_requests_while_they_run(self) -> None:
        """The first byte is told while the stream goes on; the end has the status of the log."""
        with subprocess.Popen(
            self.command("tail", "--config", self.config, "--json"), cwd=PROJECT, stdout=subprocess.PIPE, text=True
        ) as tail:
            self.addCleanup(tail.kill)
            assert tail.stdout is not None
            self.assertEqual(json.loads(tail.stdout.readline())["event"], "following")
            visitor = Visitor(self.gateway)
            visitor.ask("endless", "watched")
            news = [json.loads(tail.stdout.readline()) for _ in range(2)]
            self.assertEqual([each["event"] for each in news], ["begun", "first_byte"])
            self.assertEqual({each["request_id"] for each in news}, {"watched"})
            visitor.close()
            end = json.loads(tail.stdout.readline())
            self.assertEqual((end["event"], end["status"], end["reason"]), ("ended", 499, "client_left"))
            self.assertEqual(end["client"], "tester")
            self.gateway.stop()
            self.assertEqual(tail.wait(10), 0)

    def test_doctor_examines_a_gateway_that_runs(self) -> None:
        """It finds it by any path to its configuration, and its model server; its exit status is what it found."""
        told = self.run_command("doctor", "--config", os.path.relpath(self.config, PROJECT), "--json")
        findings = [json.loads(line) for line in told.stdout.splitlines()]
        gateway = next(finding for finding in findings if finding["subject"] == "gateway")
        self.assertEqual(gateway["verdict"], "good")
        self.assertIn(str(self.gateway.pid), gateway["told"])
        bad = [finding for finding in findings if finding["verdict"] == "bad"]
        self.assertEqual(told.returncode, 1 if bad else 0)

    def test_nobody_there_is_one_line(self) -> None:
        """Each command says where it looked, and what to do."""
        for command in ("status", "reload", "tail"):
            told = self.run_command(command, "--socket", "/nonexistent/c.sock")
            self.assertEqual((told.returncode, told.stdout), (1, ""))
            self.assertEqual(told.stderr.count("\n"), 1)
            self.assertIn("/nonexistent/c.sock", told.stderr)
