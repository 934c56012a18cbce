"""sslyze finds the gateway's TLS to be what Mozilla recommends, and so strict that it would say if it were not."""

from __future__ import annotations

import json
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from tests.authority import Authority, Key, curve
from tests.real.gateway import Gateway
from tests.real.kits import SUPPLIES
from tests.real.sslyze.environment import SSLYZE
from tests.real.waiting import wait_for


class MozillaTests(SynchronousTestCase):
    """One gateway for each kind of key."""

    def setUp(self) -> None:
        self.python = SUPPLIES.kit(SSLYZE).python
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def start(self, key: Key) -> str:
        """A gateway with a certificate for this key, and clients' certificates asked for; where it is."""
        authority = Authority(datetime.now(UTC))
        certificate, private_key = authority.issue("localhost", key=key).write(self.folder, "server")
        authorities = self.folder / "authority.pem"
        authorities.write_bytes(authority.pem)
        files = {"certificate": certificate, "private_key": private_key, "client_ca": authorities}
        (self.folder / "gateway").mkdir()
        gateway = Gateway(
            self.folder / "gateway",
            self.folder / "missing.sock",
            ["m"],
            {
                "server": {"listen": ["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1"]},
                "tls": {name: str(path) for name, path in files.items()},
            },
        )
        self.addCleanup(gateway.stop)
        gateway.start()

        def port() -> str:
            places = [str(line.get("address")) for line in gateway.log_lines() if line.get("event") == "listening"]
            return next((place.rpartition(":")[2] for place in places if place.startswith("tls:")), "")

        return f"localhost:{wait_for(port, 'the gateway says where it listens with TLS', 60)}"

    def scan(self, place: str, level: str) -> tuple[bool, dict[str, Any]]:
        """Whether it is what Mozilla calls that, and all that was found."""
        scans = ("--reneg", "--compression", "--early_data", "--resum")  # besides those that Mozilla's rules need
        options = (f"--mozilla_config={level}", "--json_out=found.json", "--certinfo_ca_file=authority.pem")
        done = subprocess.run(
            [self.python, "-m", "sslyze", *options, *scans, place],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        verdict = f"{place}: OK - Compliant." in done.stdout
        self.assertTrue(verdict or f"{place}: FAILED - Not compliant." in done.stdout, done.stdout + done.stderr)
        if level == "intermediate":
            self.assertTrue(verdict, done.stdout)
        (result,) = json.loads((self.folder / "found.json").read_text())["server_scan_results"]
        return verdict, result["scan_result"]

    def test_ecdsa(self) -> None:
        """Intermediate with a key on P-256; not modern, for clients of TLS 1.2 are served: so it is not too mild."""
        place = self.start(curve())
        _, found = self.scan(place, "intermediate")
        self.assertFalse(found["session_renegotiation"]["result"]["is_vulnerable_to_client_renegotiation_dos"])
        self.assertFalse(found["tls_compression"]["result"]["supports_compression"])
        self.assertFalse(found["tls_1_3_early_data"]["result"]["supports_early_data"])
        resumption = found["session_resumption"]["result"]
        for kind in ("session_id_resumption_result", "tls_ticket_resumption_result"):
            self.assertEqual(resumption[kind], "NOT_SUPPORTED")
        self.assertFalse(self.scan(place, "modern")[0])

    def test_rsa(self) -> None:
        """Intermediate with an RSA key of 2048 bits."""
        self.scan(self.start(rsa.generate_private_key(65537, 2048)), "intermediate")
