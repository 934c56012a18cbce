"""schemathesis asks of coding sessions what their OpenAPI document says, and what it does not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.real.kits import SUPPLIES
from tests.real.protocol.environment import CLIENTS
from tests.real.rehearsed import RehearsedTestCase

SETTINGS = Path(__file__).with_name("schemathesis.toml")


class SchemathesisTests(RehearsedTestCase):
    """One visit, with a session that is there."""

    sections = {  # noqa: RUF012 - as the base class has it
        "sessions": {"max_sessions": 1000, "max_per_client": 1000},
        "websocket": {"per_client": 1000},
    }

    def setUp(self) -> None:
        self.kit = SUPPLIES.kit(CLIENTS)
        super().setUp()

    def test_document_and_answers_agree(self) -> None:
        """Every call but the endless stream, by good and bad requests: each answer is one of those documented."""
        self.assertEqual(self.client.post("/api/codex/start", {}).status, 200)
        command: list[str | Path] = [self.kit.program("schemathesis"), "--config-file", SETTINGS, "run"]
        command += [f"{self.gateway.url}/api/codex/openapi.json", "-H", f"Authorization: Bearer {self.gateway.token}"]
        command += ["--exclude-path-regex", "events|stop", "--max-examples", "8", "--seed", "7", "--no-color"]
        command += ["--request-timeout", "30", "--phases", "coverage,fuzzing", "--generation-deterministic"]
        folder = self.gateway.folder  # where it leaves what it remembers
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:])
        generated = re.search(r"(\d+) generated", done.stdout)
        assert generated is not None, done.stdout
        self.assertGreater(int(generated[1]), 300)
        self.assertNotIn("Traceback", self.gateway.log_text())
