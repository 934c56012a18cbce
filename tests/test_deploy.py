"""Tests of what `deploy` gives to operators."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hadesgw.config import load
from hadesgw.policy.credentials import ClientsError, mint_token, read_clients
from hadesgw.service.listeners import BACKLOG
from tools.pure import PROJECT

UNITS = PROJECT / "deploy" / "systemd"
SERVICE = UNITS / "hadesgw.service"
SOCKET = UNITS / "hadesgw.socket"
EXPOSURE = 15
"""The most that `systemd-analyze security` may say, in tenths; 100 is a service without any protection."""


def settings(*units: Path) -> dict[str, list[str]]:
    """The settings of unit files, each with its values in order."""
    found = defaultdict(list)
    for line in "\n".join(unit.read_text() for unit in units).splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return dict(found)


def defaults() -> dict[str, dict[str, float]]:
    """The default configuration."""
    document: dict[str, dict[str, float]] = tomllib.loads((PROJECT / "etc" / "hadesgw.toml").read_text())
    return document


class ServiceTests(SynchronousTestCase):
    """The systemd service and its drop-ins."""

    def analyze(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `systemd-analyze`, which needs no running systemd for what is asked here."""
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("systemd-analyze is not installed (Debian package systemd)")
        return subprocess.run(
            [program, "--no-pager", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_the_service_is_sealed(self) -> None:
        """systemd's own measure of exposure is at most 1.5 of 10."""
        done = self.analyze("security", "--offline=true", f"--threshold={EXPOSURE}", SERVICE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("exposure level for hadesgw.service", done.stdout)

    def test_systemd_understands_every_line(self) -> None:
        """No unknown setting or value, in the service or a drop-in; what it starts is not installed here."""
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(UNITS, folder)
        service = folder / SERVICE.name
        (command,) = settings(SERVICE)["ExecStart"]
        service.write_text(service.read_text().replace(command, "/bin/true").replace("man:twistd(1)", "man:true(1)"))
        done = self.analyze("verify", "--man=no", service, folder / SOCKET.name)
        complaints = [line for line in done.stderr.splitlines() if str(folder) in line]
        self.assertEqual(complaints, [], done.stderr)

    def test_systemd_keeps_the_port(self) -> None:
        """The one of the default configuration, and as many may wait there as at a port of our own."""
        found = settings(SOCKET)
        (own,) = load(None).server.listen
        self.assertEqual(own, f"tcp:{found['ListenStream'][0].rpartition(':')[2]}:interface=127.0.0.1")
        self.assertEqual(found["Backlog"], [str(BACKLOG)])
        self.assertIn(f"systemd:name={found['FileDescriptorName'][0]}", SOCKET.read_text())

    def test_it_runs_the_documented_command(self) -> None:
        """In the foreground, without a pid file, with the configuration in /etc."""
        (command,) = settings(SERVICE)["ExecStart"]
        program, *arguments = command.split()
        self.assertEqual(Path(program).name, "twistd")
        self.assertEqual(arguments, ["--nodaemon", "--pidfile=", "hadesgw", "--config", "/etc/hadesgw/hadesgw.toml"])

    def test_streams_have_the_time_to_drain(self) -> None:
        """systemd kills later than the gateway gives up waiting by itself."""
        (limit,) = settings(SERVICE)["TimeoutStopSec"]
        self.assertGreater(int(limit), defaults()["timeouts"]["drain"])

    def test_there_are_descriptors_for_every_connection(self) -> None:
        """A client connection may need a second one, to the model server."""
        (limit,) = settings(SERVICE)["LimitNOFILE"]
        self.assertGreater(int(limit), 2 * defaults()["limits"]["connections"])

    def test_what_the_gateway_looks_for_is_there(self) -> None:
        """The folder of its control socket, and the clients under the name it asks for."""
        found = settings(SERVICE, *sorted(UNITS.glob("hadesgw.service.d/*.conf")))
        self.assertEqual(found["RuntimeDirectory"], ["hadesgw"])
        self.assertEqual(found["LoadCredential"], ["clients:/etc/hadesgw/clients.toml"])


class VaultTests(SynchronousTestCase):
    """The template from which a Vault agent writes the clients file."""

    def rendered(self, secrets: dict[str, str]) -> str:
        """What the agent makes of the template, with these secrets: Go's template language as far as ours uses it."""
        text = (PROJECT / "deploy" / "vault" / "clients.toml.ctmpl").read_text()
        text = re.sub(r"\s*\{\{- ", "{{ ", re.sub(r" -\}\}\s*", " }}", text))
        text = re.sub(r"\{\{ /\*.*?\*/ \}\}", "", text, flags=re.DOTALL)
        found = re.fullmatch(
            r'\{\{ with secret "secret/data/hadesgw/clients" \}\}'
            r"\{\{ range \$name, \$token := \.Data\.data \}\}(.*)\{\{ end \}\}\{\{ end \}\}",
            text,
            re.DOTALL,
        )
        assert found is not None, text
        written = ""
        for name, token in sorted(secrets.items()):
            digest = hashlib.sha256(token.encode()).hexdigest()
            entry = found[1].replace("{{ $name }}", name).replace("{{ $token | sha256Hex }}", digest)
            self.assertNotIn("{{", entry, "the template says something this test cannot render")
            written += entry
        return written

    def test_what_the_agent_writes_admits_the_clients(self) -> None:
        """Each secret's token lets in the client of its name, and is not in the file itself."""
        tokens = {name: mint_token(os.urandom) for name in ("alice", "robot-2")}
        file = Path(self.mktemp())
        file.touch(mode=0o600)
        file.write_text(self.rendered(tokens))
        directory = read_clients(str(file), None)
        for name, token in tokens.items():
            self.assertNotIn(token, file.read_text())
            client = directory.named(name)
            assert client is not None
            self.assertEqual([each.sha256 for each in client.tokens], [hashlib.sha256(token.encode()).digest()])

    def test_the_agents_own_mode_is_refused_and_ours_is_set(self) -> None:
        """0644, which an agent uses by itself, would let everybody read the file: the sample says another."""
        file = Path(self.mktemp())
        file.touch(mode=0o644)
        file.write_text(self.rendered({"alice": mint_token(os.urandom)}))
        self.assertRaises(ClientsError, read_clients, str(file), None)
        self.assertIn('perms       = "0600"', (PROJECT / "deploy" / "vault" / "agent.hcl").read_text())
