"""hey, a load generator of Debian's, as a client in a hurry."""

from __future__ import annotations

import json
import subprocess

from tests.real.clients.environment import CLIENTS
from tests.real.clients.stage import MODEL, StagedTestCase

REQUESTS = 200
AT_ONCE = 8
SECONDS = 120.0


class HeyTests(StagedTestCase):
    """Many small requests, eight at a time, over connections that are kept."""

    def require_clients(self) -> None:
        self.hey = CLIENTS.program("hey")

    def test_every_request_is_answered(self) -> None:
        """All of 200 are, with 200, and each has a line of its own in the log."""
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 16}
        gateway = self.stage.gateway
        done = subprocess.run(
            [
                *(self.hey, "-n", str(REQUESTS), "-c", str(AT_ONCE), "-m", "POST", "-T", "application/json"),
                *("-H", f"Authorization: Bearer {gateway.token}", "-H", f"X-Conveyance-Session-ID: {self.session}"),
                *("-d", json.dumps(asked), f"{gateway.url}/v1/chat/completions"),
            ],
            env=self.stage.environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        self.assertRegex(done.stdout, rf"\[200\]\s+{REQUESTS} responses")
        self.assertNotIn("Error distribution", done.stdout)
        lines = self.stage.requests(self.session, REQUESTS)
        self.assertEqual(len({line["request_id"] for line in lines}), REQUESTS)
        self.assertEqual({line["status"] for line in lines}, {200})
