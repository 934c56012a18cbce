"""Secrets planted in whatever can be sent in either direction, and looked for wherever the gateway writes."""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.processes import PROC, descendants
from tests.real.wire import Answer

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
PATHS = (*ROUTES, "/v1/models", "/v1/embeddings", "/v1/unknown", "/metrics", "/api/ticket", "/healthz", "/readyz", "/")

TREE: Mapping[str, object] = {
    "/v1": ["metered", "cors", "guard", "limiter", "validation", "proxy"],
    "/api/ticket": ["metered", "cors", "guard", "ticket"],
    "/admin": ["metered", "guard", "admin"],
    "/metrics": ["guard", "metrics"],
    "/healthz": ["health"],
    "/readyz": ["readiness"],
}


class Canaries:
    """Words that occur nowhere but where they were planted."""

    def __init__(self) -> None:
        self._mark = f"canary{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self.planted: dict[str, str] = {}

    def plant(self, where: str) -> str:
        """A new word for that place."""
        word = f"{self._mark}n{next(self._numbers)}x{secrets.token_hex(8)}"
        self.planted[word] = where
        return word

    def found(self, text: str) -> set[str]:
        """The places whose words are in `text`, as they are or in base64."""
        return {
            where
            for word, where in self.planted.items()
            if word in text or base64.b64encode(word.encode()).decode().rstrip("=")[:-2] in text
        }


class TalkativeModel(socketserver.StreamRequestHandler):
    """A model server that says canaries in head, body and reason phrase; how it ends depends on the turn."""

    canaries: Canaries
    turn = itertools.count()

    def handle(self) -> None:
        while head := self._head():
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            self.rfile.read(int(length[1]) if length else 0)
            self._answer(next(TalkativeModel.turn) % 5, b"POST" in head)

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines)

    def _answer(self, way: int, generates: bool) -> None:
        plant = self.canaries.plant
        said = plant("completion")
        event = json.dumps(
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "content": said,
                            "tool_calls": [
                                {
                                    "index": 0,
                                    "function": {"name": plant("tool's name"), "arguments": plant("tool's arguments")},
                                }
                            ],
                        },
                    }
                ]
            }
        ).encode()
        phrase = plant("reason phrase").encode()
        field = b"x-upstream: " + plant("field of the model server").encode()
        if not generates or way == 0:
            body = json.dumps({"choices": [{"message": {"content": said}}], "data": []}).encode()
            self._say(b"200 " + phrase, field, b"content-type: application/json", body)
        elif way == 1:
            self._say(b"200 OK", field, b"content-type: text/event-stream", b"data: %b\n\ndata: [DONE]\n\n" % event)
        elif way == 2:
            self._say(b"500 " + phrase, field, b"content-type: text/plain", said.encode())
        elif way == 3:  # breaks off
            self._say(b"200 OK", field, b"content-type: text/event-stream", b"data: %b\n\n" % event, more=50)
            self.connection.shutdown(socket.SHUT_RDWR)
        else:  # is no HTTP
            self.wfile.write(said.encode() + b"\r\n\r\n")
            self.connection.shutdown(socket.SHUT_RDWR)

    def _say(self, status: bytes, field: bytes, kind: bytes, body: bytes, more: int = 0) -> None:
        length = b"content-length: %d" % (len(body) + more)
        self.wfile.write(b"\r\n".join([b"HTTP/1.1 " + status, field, kind, length, b"", body]))


class Model(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that hangs up is no event."""


class CanaryTests(SynchronousTestCase):
    """One gateway as a process, a client that plants, and a model server that plants."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.canaries = Canaries()
        handler = type("Handler", (TalkativeModel,), {"canaries": self.canaries})
        model = Model(str(self.folder / "model.sock"), handler)
        self.addCleanup(model.server_close)
        self.addCleanup(model.shutdown)
        threading.Thread(target=model.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self) -> Gateway:
        """A gateway that writes all it ever writes, and lets its client do anything."""
        folder = self.folder / "gateway"
        folder.mkdir()
        sections = {"tree": TREE, "log": {"level": "debug"}}
        gateway = Gateway(folder, self.folder / "model.sock", ["m"], sections, {"roles": ["admin"]})
        gateway.start()
        self.addCleanup(gateway.stop)
        self.canaries.planted[gateway.token] = "good token"
        return gateway

    # -- What is sent --------------------------------------------------------------------------------------------------

    def credentials(self, gateway: Gateway) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
        """A good credential in each of its forms, and bad ones, each with the paths to try: bad ones have to wait."""
        plant = self.canaries.plant

        def basic(name: str, token: str) -> str:
            return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()

        yield {"Authorization": f"Bearer {gateway.token}"}, PATHS
        yield {"x-api-key": gateway.token}, PATHS
        yield {"Authorization": basic("tester", gateway.token)}, PATHS
        yield {"Authorization": f"Bearer {plant('wrong token')}"}, ("/v1/models", "/metrics")
        yield {"x-api-key": plant("wrong key")}, ("/v1/messages",)
        yield {"Authorization": basic(plant("wrong name"), plant("wrong password"))}, ("/v1/models",)
        yield {"Authorization": plant("scheme") + " x"}, ("/api/ticket",)

    def bodies(self) -> Iterator[bytes]:
        """A good body, and bad ones of every kind, with a secret in each place where a text can stand."""
        plant = self.canaries.plant
        good = {
            "model": "m",
            "max_tokens": 5,
            "messages": [
                {"role": "system", "content": plant("system prompt")},
                {"role": "user", "content": plant("prompt")},
            ],
            "prompt": plant("prompt"),
            "input": plant("input"),
            "tools": [{"type": "function", "function": {"name": plant("name of a tool"), "parameters": {}}}],
            "user": plant("user"),
            "metadata": {plant("key"): plant("value")},
        }
        yield json.dumps(good).encode()
        yield json.dumps({**good, "stream": True}).encode()
        yield json.dumps({**good, "model": plant("model")}).encode()
        yield json.dumps({**good, "max_tokens": plant("max_tokens")}).encode()
        yield json.dumps({**good, "max_tokens": 10**9}).encode()
        yield json.dumps({**good, "n": plant("n"), "stream": plant("stream")}).encode()
        media = [{"type": "image_url", "image_url": {"url": f"http://{plant('host')}/"}}]
        yield json.dumps({**good, "messages": [{"role": "user", "content": media}]}).encode()
        yield json.dumps(good).encode()[:-1]
        yield plant("no JSON").encode()
        yield b'{"model": "m", "prompt": "' + plant("no UTF-8").encode() + b'\xff"}'
        yield json.dumps({**good, "prompt": plant("large") + "x" * 70_000}).encode()
        yield json.dumps({**good, "prompt": plant("long") + " word" * 12_000}).encode()

    def send_all(self, gateway: Gateway) -> list[Answer]:
        """Every credential with every path, every body with every route, and what breaks the rules of HTTP."""
        plant = self.canaries.plant
        answers = []
        for credential, paths in self.credentials(gateway):
            client = gateway.stranger()
            for path in paths:
                target = f"{path}?{plant('query')}={plant('value in a query')}"
                fields = {**credential, plant("name of a field"): plant("field"), "Cookie": plant("cookie")}
                answers.append(client.get(target, fields))
        client = gateway.client({"User-Agent": plant("user agent")})
        for route in ROUTES:
            for body in self.bodies():
                try:
                    answers.append(client.post(route, body, {"X-Secret": plant("field")}))
                except (ConnectionError, HTTPException):
                    continue  # the model server broke off, and so did we
        odd = (
            {"Host": plant("host")},
            {"Origin": f"https://{plant('origin')}"},
            {"Content-Encoding": plant("coding")},
            {"Expect": plant("expectation")},
            {"Transfer-Encoding": plant("transfer coding")},
            {"X-Request-ID": f"{plant('unusable id')} with spaces"},
            {"X-Conveyance-Session-ID": f"{plant('unusable session')}/"},
        )
        answers += [client.get("/v1/models", fields) for fields in odd]
        answers.append(client.ask("BREW", f"/{plant('path')}", None))
        answers.append(client.post(f"/admin/clients/{plant('client')}/suspend", {}))
        return answers

    # -- Where it is looked for ----------------------------------------------------------------------------------------

    def processes(self, gateway: Gateway) -> str:
        """Command lines of the gateway and its children, and the children's environments."""
        family = descendants(gateway.pid)
        files = [PROC / str(gateway.pid) / "cmdline"]
        files += [PROC / str(child.pid) / name for child in family for name in ("cmdline", "environ")]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def test_nothing_that_was_said_is_written_anywhere(self) -> None:
        """Not in the log, the meters, our error bodies, a command line or a child's environment."""
        gateway = self.serve()
        answers = self.send_all(gateway)
        self.assertGreater(len(answers), 80)
        self.assertEqual({401, 200, 400, 404} - {answer.status for answer in answers}, set())
        passed_on = b"".join(answer.body for answer in answers if answer.status == 200).decode(errors="replace")
        self.assertIn("completion", self.canaries.found(passed_on), "a canary that is there is found")
        metrics = gateway.client().get("/metrics").body.decode()
        self.assertIn("hades_codex_requests_total", metrics)
        self.assertEqual(self.canaries.found(metrics), set())
        for answer in answers:
            if answer.status >= 400 and answer.status != 500:  # 500 is the model server's own answer, passed on
                text = answer.body.decode(errors="replace")
                self.assertEqual(self.canaries.found(text), set(), text[:300])
        self.assertEqual(self.canaries.found(self.processes(gateway)), set())
        gateway.stop()  # which writes what is left of the log
        self.assertGreater(sum("route" in line for line in gateway.log_lines()), 70)
        self.assertEqual(self.canaries.found(gateway.log_text()), set())


