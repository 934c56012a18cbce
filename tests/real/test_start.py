"""Starting: under both runners, with good and bad configurations, as an operator meets it."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import processes
from tests.real.gateway import PROJECT
from tests.real.waiting import wait_for
from tests.real.wire import Client

_SCRIPTS = Path(sysconfig.get_path("scripts"))
_TOKEN_DIGEST = "0f" * 32
_CLIENTS = f'[[client]]\nname = "alice"\nroles = ["user"]\ntokens = [{{ sha256 = "{_TOKEN_DIGEST}" }}]\n'
_CONFIG = """
[server]
listen = ["tcp:0:interface=127.0.0.1"]
[[upstream]]
name = "vllm"
socket = "missing.sock"
models = ["m"]
"""


class StartTests(SynchronousTestCase):
    """Each start in a folder of its own."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")  # short: a socket's path has 107 bytes
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self._write("clients.toml", _CLIENTS)
        self._write("hadesgw.toml", _CONFIG)
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "LANG": "C.UTF-8"}

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)

    def _start(self, *arguments: str, runner: str = "twistd") -> subprocess.CompletedProcess[str]:
        """Run to its end: a start that is refused, or a check."""
        own = ["-n", "--pidfile="] if runner == "twistd" else []
        return subprocess.run(
            [_SCRIPTS / runner, *own, "hadesgw", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def _refused(self, *arguments: str) -> str:
        """Both runners refuse, with one line and a status; the line."""
        lines = set()
        for runner in ("twistd", "twist"):
            done = self._start(*arguments, runner=runner)
            self.assertEqual(done.returncode, 1, done.stderr + done.stdout)
            self.assertNotIn("Traceback", done.stderr)
            (line,) = [line for line in done.stderr.splitlines() if line.startswith("hadesgw: ")]
            lines.add(re.sub(r":\d{4,5} ", ":PORT ", line))  # of a port the system chose
        (line,) = lines
        return line

    def test_check(self) -> None:
        """A good configuration is said to be good, and nothing is started."""
        done = self._start("--config", "hadesgw.toml", "--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("hadesgw.toml: good; 1 client(s)", done.stdout)

    def test_bad_configurations(self) -> None:
        """Each mistake: the line names the file, the key and what was expected."""
        cases = {
            _CONFIG + '[timeouts]\nidle = "soon"\n': "timeouts.idle",
            _CONFIG + "[timeouts]\nidel = 3\n": "idel",
            _CONFIG + '[tree]\n"/v1" = ["guard", "proxxy"]\n': 'tree."/v1"',
            _CONFIG + '[tree]\n"/v1" = ["proxy", "guard"]\n': "'proxy' to be the last",
            _CONFIG + '[tree]\n"/elsewhere" = ["proxy"]\n': "can be reached",
            _CONFIG.replace('"tcp:0:interface=127.0.0.1"', '"tcp:1", "tcp:1"'): "server.listen",
            _CONFIG.replace("tcp:0", "ssl:0"): "tls:",
            "[[upstream\n": "line 1",
        }
        for text, expected in cases.items():
            self._write("hadesgw.toml", text)
            done = self._start("--config", "hadesgw.toml")
            self.assertEqual(done.returncode, 1, text)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn("hadesgw.toml", done.stderr)
            self.assertIn(expected, done.stderr)

    def test_missing_configuration(self) -> None:
        """A file that is not there is named."""
        self.assertIn("nowhere.toml", self._refused("--config", "nowhere.toml"))

    def test_model_file(self) -> None:
        """A model file or a script that cannot be had is refused before anything starts; so is one without a demo."""
        self.assertIn("nowhere.gguf: there is no such file", self._refused("--demo", "--gguf", "nowhere.gguf"))
        self.assertIn("hadesgw.toml: this is no GGUF file", self._refused("--demo", "--gguf", "hadesgw.toml"))
        self.assertIn("nowhere.toml: expected a readable file", self._refused("--demo", "--script", "nowhere.toml"))
        for option in ("--gguf", "--script"):
            self.assertIn("are for --demo", self._refused("--config", "hadesgw.toml", option, "file"))

    def test_no_clients(self) -> None:
        """With nobody to let in there is no start, and the line to run is given; so too with the built-in defaults."""
        (self.folder / "clients.toml").unlink()
        for arguments in (("--config", "hadesgw.toml"), ()):
            self.assertIn("hadesgw token new NAME", self._refused(*arguments))

    def test_readable_clients(self) -> None:
        """A clients file that others may read is refused, with the cure."""
        self._write("clients.toml", _CLIENTS, 0o644)
        self.assertIn("chmod 600", self._refused("--config", "hadesgw.toml"))

    def test_port_taken(self) -> None:
        """A port that somebody has is named."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self._write("hadesgw.toml", _CONFIG.replace("tcp:0", f"tcp:{port}"))
            self.assertIn(f"tcp:{port}", self._refused("--config", "hadesgw.toml"))

    def test_a_demo_that_does_not_begin(self) -> None:
        """Leaves no folder either, where its port is taken or it was only to be checked."""
        self.environment["TMPDIR"] = str(self.folder)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._write("demo.toml", _CONFIG.replace("tcp:0", f"tcp:{taken.getsockname()[1]}"))
            self._refused("--demo", "--config", "demo.toml")
            self.assertEqual(self._start("--demo", "--check", "--config", "demo.toml").returncode, 0)
        self.assertEqual(list(self.folder.glob("hadesgw-demo-*")), [])

    def test_off_loopback(self) -> None:
        """A listener that other machines reach, without TLS, is refused on the address that was bound."""
        for interface in ("0.0.0.0", "\\:\\:"):
            self._write("hadesgw.toml", _CONFIG.replace("127.0.0.1", interface.replace("\\", "\\\\")))
            self.assertIn("without TLS", self._refused("--config", "hadesgw.toml"))

    def test_serves(self) -> None:
        """Both runners serve, answer with ids, and leave with status 0 on SIGTERM."""
        for runner in ("twistd", "twist"):
            log = self.folder / f"{runner}.log"
            own: list[str | Path] = ["-n", "--pidfile="] if runner == "twistd" else []
            command = [_SCRIPTS / runner, *own, "hadesgw", "--config", "hadesgw.toml"]
            child = processes.start(command, log, self.environment, self.folder)
            self.addCleanup(processes.end, child, 5)
            port = wait_for(lambda: _port(log), f"{runner} listens", 60)  # noqa: B023
            answer = Client(("127.0.0.1", port), {}).get("/healthz")
            self.assertEqual((answer.status, answer.json()), (200, {"status": "ok"}))
            self.assertTrue(answer.header("x-request-id"))
            self.assertEqual(Client(("127.0.0.1", port), {}).get("/readyz").status, 503)  # no model there
            self.assertEqual(processes.end(child, 10), 0, log.read_text())

    def test_unix_listener(self) -> None:
        """A UNIX listener serves, and is not everybody's."""
        self._write("hadesgw.toml", _CONFIG.replace("tcp:0:interface=127.0.0.1", f"unix:{self.folder}/door.sock"))
        command: list[str | Path] = [_SCRIPTS / "twistd", "-n", "--pidfile=", "hadesgw", "--config", "hadesgw.toml"]
        child = processes.start(command, self.folder / "log", self.environment, self.folder)
        self.addCleanup(processes.end, child, 5)
        door = self.folder / "door.sock"
        wait_for(door.exists, "the door's socket is there", 60)
        self.assertEqual(Client(door, {}).get("/healthz").status, 200)
        self.assertEqual(door.stat().st_mode & 0o777, 0o660)

    def test_clients_in_the_environment(self) -> None:
        """Clients may come in $HADESGW_CLIENTS; the process does not keep it."""
        (self.folder / "clients.toml").unlink()
        self.environment["HADESGW_CLIENTS"] = _CLIENTS
        done = self._start("--config", "hadesgw.toml", "--check")
        self.assertIn("1 client(s)", done.stdout)

    def test_demo(self) -> None:
        """`--demo` prints a page, a key and a curl line that streams tokens; it leaves no process and no folder."""
        log = self.folder / "demo.log"
        self.environment["TMPDIR"] = str(self.folder)
        self._write("demo.toml", _CONFIG)
        command: list[str | Path] = [_SCRIPTS / "twistd", "-n", "--pidfile=", "hadesgw", "--demo"]
        child = processes.start([*command, "--config", "demo.toml"], log, self.environment, self.folder)
        self.addCleanup(processes.end, child, 5)
        line = wait_for(lambda: re.search(r"^curl .*$", log.read_text(), re.M), "the curl line is printed", 60)[0]
        said = r"  page  http://(\S+)/#key=(\S+)\n  URL   http://\1/v1\n  key   \2\n"
        self.assertRegex(log.read_text(), said)
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=180, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        events = done.stdout.split("\n\n")
        self.assertGreater(len(events), 10)
        self.assertEqual(events[-2], "data: [DONE]")
        family = processes.descendants(child.pid)
        self.assertEqual(processes.end(child, 10), 0, log.read_text())
        self.assertEqual([process for process in family if process.alive()], [])
        self.assertEqual(list(self.folder.glob("hadesgw-demo-*")), [])


def _port(log: Path) -> int | None:
    found = re.search(r'"address":"tcp:127\.0\.0\.1:(\d+)"', log.read_text())
    return int(found[1]) if found else None
