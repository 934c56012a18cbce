"""Tests of what `deploy` gives to operators."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tools.pure import PROJECT

UNITS = PROJECT / "deploy" / "systemd"
SERVICE = UNITS / "hadesgw.service"
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
        done = self.analyze("verify", "--man=no", service)
        complaints = [line for line in done.stderr.splitlines() if str(folder) in line]
        self.assertEqual(complaints, [], done.stderr)

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
