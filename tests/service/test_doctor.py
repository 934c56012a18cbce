"""The examination as a whole: what is looked at, in which order, and with which verdicts."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.certificates import self_sign
from hadesgw.policy.credentials import Role, entry, mint_token
from hadesgw.service.doctor import Finding, Patient, examine
from hadesgw.service.engines import Obstacle
from tests.service.absence import without

NOW = datetime(2026, 6, 1, tzinfo=UTC)
UPSTREAM = '[[upstream]]\nname = "v"\nsocket = "/nonexistent/api.sock"\nmodels = ["m"]\n'


class ExaminationTests(SynchronousTestCase):
    """A configuration and a clients file in a folder of their own; there is never a model server."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.write_client(None)

    def write_client(self, expires: datetime | None) -> None:
        """One client, alice."""
        file = self.folder / "clients.toml"
        file.touch(mode=0o600)
        file.write_text(entry("alice", mint_token(os.urandom), [Role.USER], expires))

    def examine(
        self,
        keys: str = '[server]\nlisten = ["tcp:0:interface=127.0.0.1"]',
        engines: Mapping[str, Obstacle] = {},
    ) -> list[Finding]:
        """All findings with these lines of the configuration."""
        file = self.folder / "hadesgw.toml"
        file.write_text(UPSTREAM + keys)
        environ = {"XDG_RUNTIME_DIR": str(self.folder)}
        return list(examine(Patient(path=str(file), environ=environ, now=NOW, engines=engines)))

    def of(self, subject: str, findings: list[Finding]) -> list[tuple[str, str]]:
        """Verdict and words of the findings on one subject."""
        return [(finding.verdict, finding.told) for finding in findings if finding.subject == subject]

    def test_everything_is_looked_at(self) -> None:
        """Each subject has its turn, whatever the one before had; only the model server is missing here."""
        findings = self.examine()
        subjects = list(dict.fromkeys(finding.subject for finding in findings))
        wanted = ["configuration", "clients", "tls", "listener", "gateway", "upstream v", "limits", "clock"]
        self.assertEqual(subjects, wanted)
        self.assertEqual([finding.subject for finding in findings if finding.verdict == "bad"], ["upstream v"])
        for finding in findings:
            self.assertTrue(finding.verdict == "good" or finding.remedy, finding)

    def test_a_configuration_that_is_wrong_ends_the_examination(self) -> None:
        """Nothing else can be said then."""
        for keys in ("[limits]\nbrst = 1", '[tree]\n"/v1" = ["nonesuch"]'):
            (finding,) = self.examine(keys)
            self.assertEqual((finding.subject, finding.verdict), ("configuration", "bad"))

    def test_clients(self) -> None:
        """None, a file for everybody, one whose time is up, and one whose time is nearly up."""
        file = self.folder / "clients.toml"
        for expires, told in (
            (NOW, "alice has no valid token any more"),
            (NOW + timedelta(days=3), "alice has no valid token after 2026-06-04"),
        ):
            self.write_client(expires)
            findings = self.examine()
            self.assertEqual(self.of("clients", findings)[-1], ("warning", told))
            remedies = [finding.remedy for finding in findings if finding.subject == "clients"]
            self.assertEqual(remedies[-1], f"run: hadesgw token new alice --rotate --file {file.absolute()}")
        self.write_client(NOW + timedelta(days=15))
        self.assertEqual([verdict for verdict, _ in self.of("clients", self.examine())], ["good"])
        file.chmod(0o644)
        self.assertEqual([verdict for verdict, _ in self.of("clients", self.examine())], ["bad"])
        file.unlink()
        self.assertEqual(self.of("clients", self.examine()), [("bad", "there is none, so nobody could come in")])
        anonymous = self.examine('[clients]\nanonymous = "user"')
        self.assertEqual([verdict for verdict, _ in self.of("clients", anonymous)], ["warning"])

    def test_a_certificate(self) -> None:
        """Good for long, good for days, and not the key's."""
        keys = '[tls]\ncertificate = "tls.pem"\nprivate_key = "tls.key"'
        for days, verdict in ((90, "good"), (10, "warning")):
            made = self_sign(["localhost"], NOW, days, lambda: 1)
            (self.folder / "tls.pem").write_bytes(made.certificate)
            key = self.folder / "tls.key"
            key.touch(mode=0o600)
            key.write_bytes(made.key)
            self.assertEqual([found for found, _ in self.of("tls", self.examine(keys))], [verdict])
        (self.folder / "tls.key").write_bytes(self_sign(["localhost"], NOW, 90, lambda: 2).key)
        self.assertEqual([found for found, _ in self.of("tls", self.examine(keys))], ["bad"])

    def test_a_listener_that_is_taken_or_exposed(self) -> None:
        """Who has the port, and what the rule is."""
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            findings = self.examine(f'[server]\nlisten = ["tcp:{port}:interface=127.0.0.1"]')
        self.assertIn("Address already in use", self.of("listener", findings)[0][1])
        exposed = self.examine('[server]\nlisten = ["tcp:8082:interface=192.0.2.1"]')
        self.assertEqual([verdict for verdict, _ in self.of("listener", exposed)], ["bad"])

    def test_a_socket_of_ours_that_cannot_be_had(self) -> None:
        """No folder, a file in its place, another one's socket; a dead one's gives way, a free place is good."""
        folder = self.folder.absolute()
        short = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(short.cleanup)
        path = Path(short.name) / "a.sock"
        entry = f'[server]\nlisten = ["unix:{path}"]'
        self.assertEqual([verdict for verdict, _ in self.of("listener", self.examine(entry))], ["good"])
        (missing,) = (one for one in self.examine(entry.replace("a.sock", "b/a.sock")) if one.subject == "listener")
        self.assertIn("No such file", missing.told)
        self.assertEqual((missing.verdict, missing.remedy[:13]), ("bad", "run: mkdir -p"))
        with closing(socket.socket(socket.AF_UNIX)) as other:
            other.bind(str(path))
            other.listen()
            (taken,) = (one for one in self.examine(entry) if one.subject == "listener")
            self.assertIn("Address already in use", taken.told)
            Path(f"{path}.lock").symlink_to("1")
            self.assertEqual([verdict for verdict, _ in self.of("listener", self.examine(entry))], ["bad"])
        self.assertEqual([verdict for verdict, _ in self.of("listener", self.examine(entry))], ["good"])
        path.unlink()
        path.touch()
        self.assertEqual([verdict for verdict, _ in self.of("listener", self.examine(entry))], ["bad"])
        Path(f"{path}.lock").unlink()
        self.assertEqual([verdict for verdict, _ in self.of("listener", self.examine(entry))], ["bad"])
        rest = f'[server]\nlisten = ["tcp:0:interface=127.0.0.1"]\ncontrol = "{folder}/no/c"\n'
        rest += f'[metrics]\nlisten = "unix:{folder}/no/m"'
        if len(f"{folder}/no/m") < 108:
            self.assertEqual([each for each, _ in self.of("listener", self.examine(rest))], ["good", "bad", "bad"])

    def test_traces(self) -> None:
        """They take an extra; whether a collector is there is found out by sending."""
        keys = '[otel]\nendpoint = "http://localhost:4318/v1/traces"'
        without(self, "hadesgw.telemetry.trace")
        (finding,) = (one for one in self.examine(keys) if one.subject == "traces")
        self.assertEqual((finding.verdict, finding.remedy), ("bad", "run: pip install 'hadesgw[otel]'"))
        self.assertEqual(self.of("traces", self.examine()), [])

    def test_limits_that_contradict_each_other(self) -> None:
        """More connections than descriptors, and bodies too small for the context."""
        findings = self.examine("[limits]\nconnections = 1000000\n[limits.body]\ndefault = '4KiB'\n'/v1/x' = '5KiB'")
        told = " ".join(told for _, told in self.of("limits", findings))
        self.assertIn("descriptors", told)

    def test_engines_count_where_a_path_leads_to_them(self) -> None:
        """The one that is configured, and what stands in its way; a gateway without sessions needs none."""
        engines = {"codex": lambda config, environ: "no binary", "aider": lambda config, environ: None}
        self.assertEqual(self.of("engine codex", self.examine(engines=engines)), [("warning", "no binary")])
        without = self.examine('[tree]\n"/healthz" = ["health"]', engines)
        self.assertEqual(self.of("engine codex", without), [])
