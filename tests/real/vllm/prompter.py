"""A relay between two UNIX sockets that tells a model what to say: what a test needs, for the model is noise."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Any

RESPONSES = "/v1/responses"
Prompt = Callable[[dict[str, Any]], str]
"""What the model is to say to a request, word for word."""


class Prompter:
    """Listens on `path`; each request goes to the socket `upstream`, those to `/v1/responses` with guided decoding.

    :ivar requests: the bodies of those, as they came.
    """

    def __init__(self, path: Path, upstream: Path, prompt: Prompt) -> None:
        self.requests: list[dict[str, Any]] = []
        self._server = _Server(str(path), _Visit)
        self._server.upstream = upstream
        self._server.guided = lambda body: self._guided(body, prompt)

    def __enter__(self) -> Prompter:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _guided(self, body: bytes, prompt: Prompt) -> bytes:
        request = json.loads(body)
        self.requests.append(request)
        return json.dumps({**request, "structured_outputs": {"choice": [prompt(request)]}}).encode()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    upstream: Path
    guided: Callable[[bytes], bytes]


class _Visit(BaseHTTPRequestHandler):
    """One request, and its answer as it comes; the connection ends with it."""

    server: _Server

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._pass_on(self.server.guided(body) if self.path == RESPONSES else body)

    def _pass_on(self, body: bytes) -> None:
        ours = ("connection", "content-length", "transfer-encoding")
        fields = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in ours]
        head = [f"{self.command} {self.path} HTTP/1.1", *fields, f"Content-Length: {len(body)}", "Connection: close"]
        self.close_connection = True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as host, contextlib.suppress(OSError):
            host.connect(str(self.server.upstream))
            host.sendall("\r\n".join([*head, "", ""]).encode() + body)
            while data := host.recv(65536):
                self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Nothing: the tests read what they need from :attr:`Prompter.requests`."""

    def address_string(self) -> str:
        return "visitor"
