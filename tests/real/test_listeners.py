"""Where a gateway may listen: who can reach it, with what certificate, on inherited sockets, and nowhere else."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.authority import Authority
from tests.real import processes
from tests.real.gateway import PROJECT, toml
from tests.real.waiting import wait_for
from tests.real.wire import Client

TWISTD: list[str | Path] = [Path(sysconfig.get_path("scripts")) / "twistd", "-n", "--pidfile=", "hadesgw"]
HADESGW = [sys.executable, "-m", "hadesgw.cli"]
CLIENTS = f'[[client]]\nname = "alice"\nroles = ["user"]\ntokens = [{{ sha256 = "{"0f" * 32}" }}]\n'


class Knocker(threading.Thread):
    """Tries to connect to a port of the loopback interface, again and again, until it is told to stop.

    :ivar admitted: how often it could.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.tried = 0
        self.admitted = 0
        self._enough = threading.Event()

    def run(self) -> None:
        while not self._enough.wait(0.001):
            with socket.socket() as client:
                self.tried += 1
                self.admitted += client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._enough.set()
        self.join()


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Case(SynchronousTestCase):
    """A folder with what a start needs."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.write("clients.toml", CLIENTS)
        self.authority = Authority(datetime.now(UTC))
        self.issue("localhost")
        (self.folder / "authority.pem").write_bytes(self.authority.pem)
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "LANG": "C.UTF-8"}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)

    def issue(self, *names: str, ends: datetime | None = None) -> None:
        """Let the gateway's certificate be this one, in `server.pem` and `server.key`."""
        self.authority.issue(*names, ends=ends).write(self.folder, "server")

    def configure(self, *listen: str, anonymous: str = "") -> None:
        """Write the configuration."""
        document = {
            "server": {"listen": listen},
            "tls": {"certificate": "server.pem", "private_key": "server.key"},
            "upstream": [{"name": "vllm", "socket": "missing.sock", "models": ["m"]}],
            "tree": {"/healthz": ["health"], "/metrics": ["guard", "metrics"]},
            "clients": {"anonymous": anonymous},
        }
        self.write("hadesgw.toml", toml(document))

    def run_to_end(
        self, command: Sequence[str | Path], descriptors: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--config", "hadesgw.toml"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            pass_fds=descriptors,
        )

    def refused(self, expected: str, command: Sequence[str | Path] = TWISTD, descriptors: Sequence[int] = ()) -> None:
        """That it ends with status 1 and one line of ours."""
        done = self.run_to_end(command, descriptors)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("hadesgw: ")]
        self.assertIn(expected, line)
        self.assertNotIn("Traceback", done.stderr)
        self.assertNotIn('"listening"', done.stdout)

    def start(self, prefix: Sequence[str | Path] = (), name: str = "log") -> subprocess.Popen[bytes]:
        """Start one that goes on; `self.folder / name` is its log."""
        command = [*prefix, *TWISTD, "--config", "hadesgw.toml"]
        child = processes.start(command, self.folder / name, self.environment, self.folder)
        self.addCleanup(processes.end, child, 5)
        return child

    def listens(self) -> str:
        """Wait until it serves; what it said."""
        log = self.folder / "log"
        wait_for(lambda: log.exists() and '"listening"' in log.read_text(), "it listens", 60)
        return log.read_text()

    def healthy_by_tls(self, host: str, port: int) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "authority.pem"))
        plain = socket.create_connection((host, port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
        return answer.startswith(b"HTTP/1.1 200 ")


class ReachTests(Case):
    """Listeners that other machines could reach."""

    def test_without_tls_nobody_ever_gets_through(self) -> None:
        """However the place is written, it is refused on what was bound, and no connection was possible meanwhile."""
        interfaces = ["", r":interface=\:\:"]  # tests/service/test_listeners.py has more spellings
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # it sends nothing
            try:
                probe.connect(("192.0.2.77", 9))
                interfaces.append(f":interface={probe.getsockname()[0]}")
            except OSError:
                pass  # a machine without a network
        for interface in interfaces:
            port = free_port()
            self.configure(f"tcp:{port}{interface}")
            knocker = Knocker(port)
            knocker.start()
            self.refused("can be reached from other machines without TLS")
            knocker.stop()
            self.assertGreater(knocker.tried, 10)
            self.assertEqual(knocker.admitted, 0, interface)

    def test_one_bad_listener_stops_all(self) -> None:
        """The good one before it does not listen either."""
        port = free_port()
        self.configure(f"tcp:{port}:interface=127.0.0.1", "tcp:0")
        knocker = Knocker(port)
        knocker.start()
        self.refused("without TLS")
        knocker.stop()
        self.assertEqual(knocker.admitted, 0)

    def test_an_inherited_socket_is_judged_and_nobody_accepted(self) -> None:
        """Who is in its queue already stays there."""
        for family, host, near in ((socket.AF_INET, "0.0.0.0", "127.0.0.1"), (socket.AF_INET6, "::", "::1")):
            with socket.create_server((host, 0), family=family) as opened:
                self.configure(f"fd:{opened.fileno()}")
                with socket.create_connection((near, opened.getsockname()[1])):
                    self.refused("can be reached from other machines without TLS", descriptors=[opened.fileno()])
                    opened.setblocking(False)
                    opened.accept()[0].close()  # raises if somebody else has

    def test_with_tls_it_serves(self) -> None:
        """On all interfaces of both families; whoever comes without TLS is not understood."""
        port, port_6 = free_port(), free_port()
        self.configure(f"tls:{port}", rf"tls:{port_6}:interface=\:\:")
        self.start()
        said = self.listens()
        self.assertIn(f"tls:0.0.0.0:{port}", said)
        self.assertTrue(self.healthy_by_tls("127.0.0.1", port))
        self.assertTrue(self.healthy_by_tls("::1", port_6))
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP/1.1", plain.recv(65536))

    def test_with_tls_but_for_everybody(self) -> None:
        """An anonymous client is for loopback only."""
        self.configure("tls:0", anonymous="user")
        self.refused("clients.anonymous")

    def test_check_says_it_before(self) -> None:
        """Both checks, without binding anything."""
        self.configure("tcp:0")
        self.refused("without TLS", [*HADESGW, "check"])
        self.refused("without TLS", [*TWISTD, "--check"])


class CertificateTests(Case):
    """Certificates that must not be served with."""

    def test_a_pair_that_does_not_fit(self) -> None:
        """Expired, of different keys, or with a key that others can read: each start and each check refuses it."""
        self.configure("tls:0:interface=127.0.0.1")

        def expire() -> None:
            self.issue("localhost", ends=datetime.now(UTC) - timedelta(seconds=1))

        def mismatch() -> None:
            self.issue("localhost")
            (self.folder / "server.key").write_bytes(self.authority.issue("localhost").key_pem)

        def publish() -> None:
            self.issue("localhost")
            (self.folder / "server.key").chmod(0o644)

        for spoil, expected in (
            (expire, "tls.certificate: expected a certificate that counts, got one that expired"),
            (mismatch, "tls.private_key: expected the key of the first certificate"),
            (publish, "run: chmod 600 "),
        ):
            spoil()
            self.refused(f"hadesgw.toml: {expected}" if "tls." in expected else expected)
            self.refused(expected, [*HADESGW, "check"])


class SurplusTests(Case):
    """Listeners that nobody asked for."""

    def test_an_inherited_socket_that_is_not_named(self) -> None:
        """Refuses the start: whoever started us has forgotten it open, and it would be open under our name."""
        with socket.create_server(("127.0.0.1", 0)) as opened:
            port = opened.getsockname()[1]
            self.configure("tcp:0:interface=127.0.0.1")
            self.refused(f"where server.listen does not say: tcp:127.0.0.1:{port}", descriptors=[opened.fileno()])

    def test_a_gateway_that_runs_is_compared(self) -> None:
        """By its id: as configured it is good; too much, too little, and a child that listens are told."""
        port = free_port()
        self.configure(f"tls:{port}:interface=127.0.0.1")
        gateway = self.start()
        self.listens()
        check = [*HADESGW, "check", "--pid", str(gateway.pid)]
        done = self.run_to_end(check)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"listens on tcp:127.0.0.1:{port} and nowhere else", done.stdout)
        self.configure(f"tls:{port}:interface=127.0.0.1", "tcp:1:interface=127.0.0.1")
        self.refused("does not listen where server.listen says: tcp:1:", check)
        self.configure("tcp:1:interface=127.0.0.1")
        self.refused(f"where server.listen does not say: tcp:127.0.0.1:{port} (process {gateway.pid})", check)

    def test_a_child_that_listens(self) -> None:
        """Is found at its parent's id, also by somebody who looks on; a process that is gone is an error."""
        self.configure("unix:/nonexistent/a.sock")
        program = (
            "import os, socket, sys\n"
            "if os.fork() == 0:\n"
            "    opened = socket.create_server(('127.0.0.1', 0))\n"
            "    print(os.getpid(), opened.getsockname()[1], flush=True)\n"
            "sys.stdin.read()"
        )
        parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert parent.stdin is not None and parent.stdout is not None
        check = [*HADESGW, "check", "--pid", str(parent.pid)]
        with parent.stdin, parent.stdout:
            pid, port = map(int, parent.stdout.readline().split())
            self.refused(f"tcp:127.0.0.1:{port} (process {pid})", check)
        parent.wait()
        self.refused(f"cannot see what process {parent.pid} listens on", check)

    def test_sockets_of_systemd(self) -> None:
        """Are served on, with TLS if that is said; one that is not named refuses the start."""
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            raise SkipTest("systemd-socket-activate is not installed (Debian package systemd)")
        ports = [free_port(), free_port()]
        places = [f"--listen=127.0.0.1:{port}" for port in ports]
        prefix = [activate, *places, "--fdname=plain:secret", "--setenv=PATH", "--setenv=PYTHONPATH"]
        self.configure("systemd:index=0", "systemd:name=secret:tls=yes")
        child = self.start(prefix)
        answer = wait_for(lambda: self.knock(ports[0]), "systemd listens, and the gateway answers", 60)
        self.assertEqual(answer, 200)
        self.assertTrue(self.healthy_by_tls("127.0.0.1", ports[1]))
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(60), 0)
        self.configure("systemd:index=0")
        child = self.start(prefix, "second.log")
        wait_for(lambda: self.knock(ports[0], wait=False) or child.poll() is not None, "it has ended", 60)
        self.assertEqual(child.wait(60), 1)
        self.assertIn(f"does not say: tcp:127.0.0.1:{ports[1]}", (self.folder / "second.log").read_text())

    def test_a_port_that_systemd_keeps(self) -> None:
        """Refuses nobody: who comes when the gateway is stopped or killed waits for the next one, and is answered."""
        self.configure("systemd:name=front")
        with socket.create_server(("127.0.0.1", 0)) as kept:
            number, port = kept.fileno(), kept.getsockname()[1]
            script = f'exec 3<&{number}; LISTEN_FDS=1 LISTEN_FDNAMES=front LISTEN_PID=$$ exec "$@"'
            command = ["bash", "-c", script, "bash", *map(str, TWISTD), "--config", "hadesgw.toml"]
            for at, number_of_signal in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
                with socket.create_connection(("127.0.0.1", port), timeout=60) as waiting:
                    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    with (self.folder / f"{at}.log").open("wb") as log:
                        child = subprocess.Popen(
                            command,
                            cwd=self.folder,
                            env=self.environment,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            pass_fds=[number],
                        )
                    self.addCleanup(processes.end, child, 5)
                    self.assertTrue(waiting.recv(65536).startswith(b"HTTP/1.1 200 "))
                child.send_signal(number_of_signal)
                self.assertEqual(child.wait(60), 0 if number_of_signal is signal.SIGTERM else -signal.SIGKILL)

    def knock(self, port: int, *, wait: bool = True) -> int | None:
        """The status of an answer, or None if nobody is there; without `wait`, only begin to ask."""
        try:
            if wait:
                return Client(("127.0.0.1", port), {}).get("/healthz").status
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionError:
            pass
        return None
