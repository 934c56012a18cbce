"""A running gateway that announces itself to a registry on another socket, and takes its leave of it."""

from __future__ import annotations

import http.server
import json
import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.waiting import wait_for

TOKEN = '{"component_id": "codex", "exp": 1.5}'
"""As the registry makes them: JSON, with quotes and a space."""


class Registry(http.server.ThreadingHTTPServer):
    """Knows one component at most."""

    component: dict[str, Any] | None = None


class Visit(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/register":
            self.server.component = json.loads(body)
            return self.say(200, {"success": True, "component_id": "codex", "token": TOKEN, "message": ""})
        if self.headers.get("X-Authentication-Token") != TOKEN:
            return self.say(401, {})
        if self.path == "/api/unregister?component_id=codex":
            self.server.component = None
        return self.say(200, {"success": True})

    def say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class HermesTests(SynchronousTestCase):
    """One gateway, one registry; there is no model server, and nobody needs one for this."""

    def test_registered_while_it_serves_and_not_after(self) -> None:
        """The registry learns where we listen, and forgets us when we stop; a page is told the same by ourselves."""
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        registry = Registry(("127.0.0.1", 0), Visit)
        self.addCleanup(registry.server_close)
        self.addCleanup(registry.shutdown)
        threading.Thread(target=registry.serve_forever, args=(0.05,), daemon=True).start()
        folder = Path(scratch.name)
        sections = {"hermes": {"url": f"http://127.0.0.1:{registry.server_port}"}}
        gateway = Gateway(folder, folder / "model.sock", ["m"], sections)
        gateway.start()
        self.addCleanup(gateway.stop)
        record = wait_for(lambda: registry.component, "we are registered", seconds=10)
        self.assertEqual((record["component_id"], record["endpoint"]), ("codex", gateway.url))
        own = gateway.stranger().get("/api/hermes/services/codex").json()
        self.assertEqual(own["capabilities"], record["capabilities"])
        self.assertEqual(gateway.stop(), 0)
        self.assertIsNone(registry.component)
        events = [line["event"] for line in gateway.log_lines()]
        self.assertIn("hermes_registered", events)
        self.assertIn("hermes_left", events)
        self.assertNotIn("exp", gateway.log_text())
