"""The border: a witness that sees nothing would prove nothing."""

from __future__ import annotations

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from subprocess import run

from twisted.trial.unittest import SynchronousTestCase

from tests.real.clients.border import Border

PROGRAM = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=10).read().decode())
    except OSError as problem:
        print("turned back")
"""


class Greeting(BaseHTTPRequestHandler):
    """A server on loopback."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class BorderTests(SynchronousTestCase):
    """Who passes, and who is seen."""

    def test_who_leaves_is_turned_back_and_seen(self) -> None:
        """Whoever asks for another machine is; whoever stays on loopback is not even noticed."""
        with HTTPServer(("127.0.0.1", 0), Greeting) as server, Border() as border:
            threading.Thread(target=server.handle_request, daemon=True).start()
            home = f"http://127.0.0.1:{server.server_port}/"
            addresses = [home, "http://elsewhere.invalid/", "https://elsewhere.invalid/"]
            environment = {**os.environ, **border.environment}
            done = run(
                [sys.executable, "-c", PROGRAM, *addresses], env=environment, capture_output=True, text=True, check=True
            )
            self.assertEqual(done.stdout.splitlines(), ["hello", "turned back", "turned back"])
            self.assertEqual(
                border.crossings,
                ["GET http://elsewhere.invalid/ HTTP/1.1", "CONNECT elsewhere.invalid:443 HTTP/1.0"],
            )
