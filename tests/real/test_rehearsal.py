"""The rehearsal model as a real process on a real socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor  # noqa: TID251  # the one that trial runs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from hadesgw.demo.process import NotServing, RehearsalProcess
from tests.real.processes import Process
from tests.real.waiting import wait_for

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
CHAT = {"messages": [{"role": "user", "content": "Say hello"}]}


class Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str, document: object = None) -> http.client.HTTPResponse:
        body = None if document is None else json.dumps(document)
        self.request(method, path, body, {"content-type": "application/json"} if body else {})
        return self.getresponse()


class ModelCase(SynchronousTestCase):
    """One model, as a person starts it."""

    pace = "0"

    def setUp(self) -> None:
        folder = TemporaryDirectory(prefix="rehearsal-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "model.sock"
        self.child = self.start()

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hadesgw.demo", "--socket", str(self.path), "--tokens-per-second", self.pace]
        child = subprocess.Popen(
            [*command, *more],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, child)
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), "READY\n")
        return child

    def end(self, child: subprocess.Popen[str]) -> int:
        child.terminate()
        status = child.wait(SECONDS)
        for pipe in (child.stdin, child.stdout, child.stderr):
            assert pipe is not None
            pipe.close()
        return status

    def running(self) -> float:
        text = Connection(self.path).ask("GET", "/metrics").read().decode()
        return float(text.partition("vllm:num_requests_running{")[2].partition("} ")[2].split()[0])


class ServingTests(ModelCase):
    """What the gateway will meet."""

    def test_its_socket_is_its_owner_s(self) -> None:
        """With vLLM's mode; it is gone after SIGTERM, and the exit status is 0."""
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o755)
        self.assertEqual(self.end(self.child), 0)
        self.assertFalse(self.path.exists())

    def test_a_stream_comes_in_chunks_and_the_connection_lives(self) -> None:
        """For the next request, until it has been idle for five seconds."""
        connection = Connection(self.path)
        body = connection.ask("POST", "/v1/chat/completions", {**CHAT, "stream": True}).read()
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
        asked = time.monotonic()
        self.assertEqual(connection.ask("GET", "/health").read(), b"")
        self.assertEqual(connection.sock.recv(1), b"")
        waited = time.monotonic() - asked
        self.assertTrue(4.9 < waited < 10.0, waited)

    def test_the_head_comes_before_the_body(self) -> None:
        """In a packet of its own: a client that reads fast enough sees it, of 500 one; in one packet none would."""
        self.assertTrue(any(self._first_read().endswith(b"\r\n\r\n") for _ in range(500)))

    def _first_read(self) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(str(self.path))
            client.sendall(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return client.recv(65536)

    def test_many_streams_run_side_by_side(self) -> None:
        """Each gets all of its own."""
        asked = {**CHAT, "stream": True, "max_tokens": 20, "ignore_eos": True}
        connections = [Connection(self.path) for _ in range(32)]
        for number, connection in enumerate(connections):
            headers = {"content-type": "application/json", "x-request-id": f"r{number}"}
            connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        for number, connection in enumerate(connections):
            body = connection.getresponse().read()
            self.assertEqual(body.count(f'"chatcmpl-r{number}"'.encode()), 21)
            connection.close()

    def test_a_socket_left_behind_is_replaced_and_a_live_one_is_not(self) -> None:
        """As is a file that is no socket."""
        second = [sys.executable, "-m", "hadesgw.demo", "--socket", str(self.path)]
        refused = subprocess.run(second, cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual((refused.returncode, "Address already in use" in refused.stderr), (1, True))
        self.child.kill()
        self.child.wait(SECONDS)
        self.assertTrue(self.path.exists())
        self.start()
        self.assertEqual(Connection(self.path).ask("GET", "/health").status, 200)


class DepartureTests(ModelCase):
    """Clients that leave and clients that are slow."""

    pace = "20"

    def test_a_client_that_leaves_ends_its_request(self) -> None:
        """By closing or by half-closing, streamed or not."""
        for stream in (True, False):
            for leave in (socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)):
                connection = Connection(self.path)
                asked = json.dumps({**CHAT, "stream": stream, "ignore_eos": True})
                connection.request("POST", "/v1/chat/completions", asked, {"content-type": "application/json"})
                wait_for(lambda: self.running() == 1, "the request runs", SECONDS)
                leave(connection.sock)
                wait_for(lambda: self.running() == 0, "the request is gone", SECONDS)
                connection.close()

    def test_it_ends_when_whoever_started_it_is_gone(self) -> None:
        """At the end of its standard input, if so wanted."""
        self.end(self.child)
        child = self.start("--until-stdin-closes")
        assert child.stdin is not None
        child.stdin.close()
        self.assertEqual(child.wait(SECONDS), 0)


class StalledReaderTests(ModelCase):
    """A client that does not read."""

    def test_a_stalled_reader_stops_the_model(self) -> None:
        """After what the socket and one buffer hold, and it gets the rest when it reads on."""
        self.end(self.child)
        self.start("--context-tokens", "40000")
        connection = Connection(self.path)
        asked = {**CHAT, "stream": True, "ignore_eos": True, "max_tokens": 30_000}
        answer = connection.ask("POST", "/v1/chat/completions", asked)
        seen = [0.0]

        def settled() -> bool:
            seen.append(self.made())
            return 0 < seen[-1] == seen[-2]

        wait_for(settled, "no more tokens are made", SECONDS, pause=0.3)
        self.assertLess(seen[-1], 10_000)
        self.assertTrue(answer.read().endswith(b"data: [DONE]\n\n"))
        self.assertEqual(self.made(), 30_000)

    def made(self) -> float:
        text = Connection(self.path).ask("GET", "/metrics").read().decode()
        return float(text.partition("vllm:generation_tokens_total{")[2].partition("} ")[2].split()[0])


class MistakeTests(SynchronousTestCase):
    """Starting it wrongly."""

    def run_model(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hadesgw.demo", *arguments]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS, check=False)

    def test_a_mistake_is_one_line(self) -> None:
        """With a status that is not 0 and no traceback."""
        with TemporaryDirectory(prefix="rehearsal-") as folder:
            bad = Path(folder) / "bad.toml"
            bad.write_text("[[rule]]\nrehearse = 'hamlet'\n")
            plain = Path(folder) / "plain"
            plain.touch()
            sock = str(Path(folder) / "model.sock")
            for arguments, words in (
                ((), "--socket"),
                (("--socket", sock, "--context-tokens", "0"), "must be at least 1"),
                (("--socket", sock, "--script", str(bad)), f"{bad}: rule 1: rehearse: expected one of"),
                (("--socket", sock, "--script", sock), "No such file or directory"),
                (("--socket", str(plain)), "Address already in use"),
            ):
                done = self.run_model(*arguments)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr.splitlines()[-1])
            self.assertTrue(plain.exists())


class ProcessTests(TestCase):
    """`RehearsalProcess` with a real reactor."""

    def setUp(self) -> None:
        folder = TemporaryDirectory(prefix="rehearsal-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "model.sock"

    async def test_it_serves_and_goes_without_a_trace(self) -> None:
        """No process and no socket remain."""
        process = RehearsalProcess(reactor, self.path, models=["a", "b"])  # type: ignore[arg-type]
        await process.start()
        listed: Any = json.loads(Connection(self.path).ask("GET", "/v1/models").read())
        self.assertEqual([model["id"] for model in listed["data"]], ["a", "b"])
        await process.stop()
        self.assertFalse(self.path.exists())

    async def test_a_child_that_cannot_start_says_why(self) -> None:
        """And there is nothing to stop."""
        process = RehearsalProcess(reactor, self.path / "nowhere", models=["a"])  # type: ignore[arg-type]
        try:
            await process.start()
        except NotServing as error:
            self.assertIn("cannot listen", str(error))
        else:
            self.fail("it started")
        await process.stop()


class OrphanTests(SynchronousTestCase):
    """A parent that dies without a word."""

    def test_the_child_does_not_outlive_it(self) -> None:
        """Not even if the parent is killed."""
        program = (
            "import sys\nfrom pathlib import Path\nfrom twisted.internet import reactor\n"
            "from hadesgw.demo.process import RehearsalProcess\n"
            "process = RehearsalProcess(reactor, Path(sys.argv[1]), models=['a'])\n"
            "process.start().addCallback(lambda _: print(process._child.transport.pid, flush=True))\nreactor.run()\n"
        )
        with TemporaryDirectory(prefix="rehearsal-") as folder:
            parent = subprocess.Popen(
                [sys.executable, "-c", program, f"{folder}/model.sock"],
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
                stdout=subprocess.PIPE,
                text=True,
            )
            assert parent.stdout is not None
            child = Process.of(int(parent.stdout.readline()))
            parent.stdout.close()
            parent.kill()
            parent.wait(SECONDS)
            if child is not None:
                wait_for(lambda: not child.alive(), "the child is gone", SECONDS)
