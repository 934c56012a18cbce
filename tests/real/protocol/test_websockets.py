"""`websockets`, a client that is not ours, speaks with coding sessions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.real.kits import SUPPLIES
from tests.real.protocol.environment import CLIENTS
from tests.real.rehearsed import RehearsedTestCase

VISITOR = Path(__file__).with_name("visitor.py")


class WebsocketsTests(RehearsedTestCase):
    """One visit."""

    def setUp(self) -> None:
        self.kit = SUPPLIES.kit(CLIENTS)
        super().setUp()

    def test_visit(self) -> None:
        """It plays a session through as the guide has it, is refused as it should be, and hears why it is closed."""
        ticket = self.client.ask("POST", "/api/ticket", b"").json()["ticket"]
        url = f"ws://127.0.0.1:{self.gateway.port}/ws/codex"
        command = [self.kit.python, "-I", VISITOR, url, self.gateway.token, ticket]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        seen = json.loads(done.stdout)
        dialog = seen.pop("dialog")
        self.assertEqual((dialog["protocol"], dialog["extensions"]), ("hades.v1", []))
        self.assertEqual((dialog["request_id"], dialog["first"]), ("from-websockets", "session_status"))
        self.assertLessEqual({"input_received", "output", "active_files", "input_request"}, set(dialog["types"]))
        self.assertTrue(dialog["rising"])
        self.assertEqual((dialog["pong"], dialog["error"]), ({"type": "pong"}, "invalid_json"))
        self.assertEqual(dialog["closed"], [1000, "done"])
        self.assertTrue((self.work / "visited.py").exists())
        expected = {"binary": 1003, "large": 1009, "ticket": 101, "ticket again": 401, "nobody": 401, "stranger": 403}
        self.assertEqual(seen, expected)
