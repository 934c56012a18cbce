"""How many series hostile callers and a hostile model server can make: few, whatever they send."""

from __future__ import annotations

import hashlib
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import default_text, parse
from hadesgw.policy.credentials import Client, ClientDirectory, ClientStore, Role, Token
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.telemetry.witness import Witness
from hadesgw.tree import Parts, build_tree
from tests.http.model_server import STREAM, ModelServer, chunk, make_agent, measured
from tests.sessions.stage import Stage
from tests.wire.door import Door

REQUESTS = int(os.environ.get("HADESGW_COUNTED_REQUESTS", "3000"))
"""How many are sent; `make count` sends 100,000."""
MOST_SERIES = 500
NOW = datetime(2026, 11, 21, tzinfo=UTC)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
PATHS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings") * 3,
    *(
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1",
        "/v1/../x",
        "/v1/%2e",
        "/api/ticket",
        "/api/hermes/services/codex",
    ),
    *("/api/codex/status", "/api/codex/start", "/api/codex/input", "/api/codex/stop", "/api/codex/sessions"),
    *("/api/codex/openapi.json", "/ws/codex", "/metrics", "/healthz", "/readyz", "/", "/ui/config.json", "/nowhere"),
)
HEADERS = (
    "Origin: https://evil.example\r\n",
    "Origin: http://localhost:3000\r\n",
    "Content-Encoding: gzip\r\n",
    "Expect: 200-ok\r\n",
    "X-Request-ID: \x01\r\n",
    "X-Request-ID: a b\r\nX-Conveyance-Session-ID: c d\r\n",
    "Authorization: Basic x\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "Content-Type: text/plain\r\n",
    "x: " + "y" * 40_000 + "\r\n",
)
SAID = [
    b"HTTP/1.1 %d X\r\nx-request-id: forged\r\ncontent-length: 2\r\n\r\n{}" % status for status in range(200, 600, 7)
]


def token(name: str) -> str:
    """The token of the client of that name."""
    return f"hgw_{name:x<43}"


def client(name: str, role: Role) -> Client:
    """A client that may do as it likes."""
    digest = hashlib.sha256(token(name).encode()).digest()
    tokens = (Token(digest, None),)
    return Client(name=name, roles=frozenset((role,)), tokens=tokens, requests_per_second=1e6, burst=1_000_000)


class Callers:
    """A door with the default tree, and whoever comes.

    :param draw: where chance comes from.
    """

    def __init__(self, draw: random.Random, folder: Path) -> None:
        self.draw = draw
        self.registry = CollectorRegistry()
        self.meters = Meters(self.registry)
        self.log = Log(Sink(-1), NOW.timestamp, text=False, level="critical")
        clients = [client("alice", Role.USER), client("bob", Role.ADMIN)]
        self.config = parse(default_text(), "test.toml", Path("/nowhere"))
        self.door = Door()
        self.server = ModelServer(self.door.reactor)
        sessions = Stage(folder).registry
        self.parts = Parts(
            config=self.config,
            clock=self.door.reactor,
            wall=NOW.timestamp,
            clients=ClientStore(ClientDirectory(clients), None),
            upstreams=[make_agent(self.door.reactor, self.server)],
            meters=self.meters,
            registry=self.registry,
            log=self.log,
            followers=Followers(),
            sessions=lambda: sessions,
            agents=sessions.tokens,
            entropy=draw.randbytes,
        )
        self.door.site.resource = build_tree(self.parts)
        self.door.site.observer = Witness(self.meters, self.log, self.parts.conveyance)

    def visit(self) -> None:
        """One request of any kind, and one end of any kind."""
        draw, door = self.draw, self.door
        caller = door.call()
        caller.send(self.request())
        if self.server.open and draw.random() < 0.9:
            self.answer()
        door.reactor.advance(draw.choice((0, 0, 0, 0.1, 70)))
        (caller.reset if draw.random() < 0.2 else caller.leave)()
        door.callers.clear()
        self.server.lines = self.server.open[-4:]

    def request(self) -> bytes:
        """Any request."""
        draw = self.draw
        method = draw.choice(METHODS) if draw.random() < 0.3 else "POST"
        path = draw.choice(PATHS) if draw.random() < 0.9 else f"/v1/{draw.randbytes(4).hex()}"
        who = draw.choice(("alice", "bob", "bob", "alice", "mallory", ""))
        credential = f"Authorization: Bearer {token(who)}\r\n" if who else ""
        fields = draw.choice(HEADERS) if draw.random() < 0.3 else ""
        host = draw.choice(("localhost", "localhost", "localhost", "evil.example", "local host"))
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{credential}{fields}"
        body = self.body()
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def body(self) -> bytes:
        """Any body."""
        draw = self.draw
        model = "qwen3-coder-30b-a3b-instruct" if draw.random() < 0.9 else draw.randbytes(4).hex()
        call = {"type": "system_alert", "time": draw.randbytes(4).hex()}
        said = [{"role": "user", "content": json.dumps(call)}]
        wish = {"model": model, "messages": said, "input": "x", "prompt": "x", "stream": draw.random() < 0.5}
        if draw.random() < 0.5:
            return json.dumps({**wish, "max_tokens": 9, "max_output_tokens": 9}).encode()
        wish[draw.choice(("max_tokens", "n", "stop", "tools", "cache_salt", "x"))] = draw.choice((1, -1, "x", None, []))
        return draw.choice((json.dumps(wish).encode(), b"{", b"[]", b"\xff", b"", b"x" * 70_000))

    def answer(self) -> None:
        """Any answer."""
        draw = self.draw
        name = draw.choice(("store_core", "search_recall", draw.randbytes(4).hex()))
        call = {"index": 0, "function": {"name": name, "arguments": draw.choice(("{}", "{", "]"))}}
        finish = draw.choice((None, "stop", draw.randbytes(4).hex()))
        choice = {"delta": {"tool_calls": [call]}, "finish_reason": finish}
        event = {"choices": [choice], "memory_events": [{"type": draw.choice(("flush", draw.randbytes(4).hex()))}]}
        stream = [STREAM, chunk(b"data: %b\n\n" % json.dumps(event).encode())]
        done = [chunk(b'data: {"error":"x"}\n\n'), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
        line = self.server.line
        if line.open:
            line.say(*draw.choice(([draw.choice(SAID)], stream, stream + done, [measured(b"{}")], [b"nonsense"])))
            draw.choice((lambda: None, lambda: None, line.close, line.reset))()


class SeriesTests(SynchronousTestCase):
    """What a scraper gets to see after all that."""

    def test_they_are_few(self) -> None:
        """Whatever was sent: paths, methods, names of models and tools, states and words of the model server."""
        callers = Callers(random.Random(11), Path(self.mktemp()))
        for _ in range(REQUESTS):
            callers.visit()
        shown = generate_latest(callers.registry).decode().splitlines()
        series = [
            line for line in shown if not line.startswith("#") and "_created{" not in line
        ]  # those tap.py turns off
        self.assertLessEqual(len(series), MOST_SERIES)
        self.assertGreater(len(series), 250)  # it was tried
