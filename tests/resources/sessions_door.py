"""Coding sessions at a door, in memory: the registry with a scripted engine, behind HTTP and WebSockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.web.resource import IResource

from hadesgw.http.site import Request
from hadesgw.http.websocket import SocketLimits
from hadesgw.policy.allowance import Rate
from hadesgw.policy.credentials import Warrant
from hadesgw.policy.origins import Origins
from hadesgw.policy.receipts import Receipts
from hadesgw.policy.seats import Seats
from hadesgw.resources.codex_calls import Acts
from hadesgw.resources.codex_http import Codex
from hadesgw.resources.codex_socket import CodexSocket
from hadesgw.resources.layer import Layer
from hadesgw.tree import PathTable
from tests.http.frames import CLOSE, TEXT, UPGRADE, Frame, frame, frames
from tests.sessions.stage import ScriptedAgent, Stage
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door

SEATS = 4
PAGE = "http://localhost:3000"
LIMITS = SocketLimits(
    message=4096,
    frames=Rate(1000, 1000),
    unread=64 * 1024,
    ping_seconds=20,
    pong_seconds=20,
    stall_seconds=30,
    close_seconds=3,
)


class Known(Layer):
    """A guard that believes everybody: the `x-api-key` is the client's name, alice's if there is none."""

    def __init__(self, inner: IResource) -> None:
        Layer.__init__(self, inner)
        self.requests: list[Request] = []

    def render(self, request: Request) -> bytes | int:
        self.requests.append(request)
        request.record.client = request.head.index.get(b"x-api-key", b"alice").decode() or None
        return self.pass_on(request)


class SessionsDoor:
    """A door whose only resources are coding sessions.

    :param folder: one that does not exist yet.
    :param others: arguments of :class:`Stage` that differ from the usual ones.
    """

    def __init__(self, folder: str, **others: Any) -> None:
        self.stage = Stage(Path(folder), **others)
        self.sessions = self.stage.registry
        self.standing = dict(self.stage.clients)
        self.seats = Seats(SEATS)
        self.door = Door(origins=Origins([PAGE]))
        receipts = Receipts()
        acts = Acts(self.sessions, self.warrant, self.seats, receipts, LIMITS.stall_seconds)
        self.http = Known(Codex("/api/codex", acts, self.standing.get, lambda path: 4096))
        clock = self.door.reactor
        self.socket = Known(CodexSocket(self.sessions, self.warrant, LIMITS, self.seats, receipts, clock))
        self.door.site.resource = PathTable({b"/api/codex": self.http, b"/ws/codex": self.socket})

    def warrant(self, request: Request) -> Warrant:
        """The client's name is what it has come in by."""
        return partial(self.standing.get, request.record.client or "")

    @property
    def agent(self) -> ScriptedAgent:
        """The last one launched."""
        return self.stage.agent

    def ask(self, method: str, path: str, body: object = None, client: str = "alice", **fields: str) -> Answer:
        """The answer to a request; `body` is sent as JSON, if it is no bytes already."""
        caller = self.begin(method, path, body, client, **fields)
        answer = caller.answer(method.encode())
        caller.leave()
        return answer

    def begin(self, method: str, path: str, body: object = None, client: str = "alice", **fields: str) -> Caller:
        """Send a request."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Host": "localhost", "x-api-key": client}
        if body is not None:
            lines.update({"Content-Type": "application/json", "Content-Length": str(len(data))})
        lines.update({name.replace("_", "-"): value for name, value in fields.items()})
        head = f"{method} /api/codex{path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value or name == "x-api-key")
        return self.door.call().send(head.encode() + b"\r\n" + data)

    def visit(self, client: str = "alice", query: str = "", fields: Mapping[str, str] = {}) -> Visitor:
        """A client at its WebSocket."""
        return Visitor(self, client, query, fields)

    def left_behind(self) -> list[object]:
        """What is still held when every client has gone: nothing."""
        return [*self.door.left_behind(), *([self.seats] * len(self.seats))]


class Visitor:
    """A client that speaks the guide's messages, and ours, over its WebSocket."""

    def __init__(self, hall: SessionsDoor, client: str, query: str, fields: Mapping[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"x-api-key": client, **fields}.items())
        head = UPGRADE.replace(b"GET /ws", b"GET /ws/codex" + query.encode(), 1)
        self.caller = hall.door.call()
        self.caller.send(head[:-2] + lines.encode() + b"\r\n")

    def say(self, kind: str, content: object = None) -> Visitor:
        """Send a message; without content if that is None."""
        said = {"type": kind} if content is None else {"type": kind, "content": content}
        return self.say_bytes(json.dumps(said).encode())

    def say_bytes(self, payload: bytes) -> Visitor:
        """Send a text message as it is."""
        self.caller.send(frame(TEXT, payload))
        return self

    @property
    def head(self) -> bytes:
        """The answer to the handshake."""
        return self.caller.received.partition(b"\r\n\r\n")[0]

    @property
    def frames(self) -> list[Frame]:
        """What came back after that."""
        assert self.head.startswith(b"HTTP/1.1 101 "), self.head
        return list(frames(self.caller.received.partition(b"\r\n\r\n")[2]))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All it was told."""
        return [json.loads(said.payload) for said in self.frames if said.opcode == TEXT]

    def told(self, kind: str) -> list[Any]:
        """The contents of the messages of one type."""
        return [message.get("content") for message in self.messages if message["type"] == kind]

    @property
    def types(self) -> list[str]:
        """The messages' types, in order."""
        return [message["type"] for message in self.messages]

    @property
    def code(self) -> int | None:
        """With which the socket was closed; None while it is open."""
        ends = [said.code for said in self.frames if said.opcode == CLOSE]
        return ends[0] if ends else None

    def leave(self) -> None:
        """Close it."""
        self.caller.send(frame(CLOSE))
        self.caller.leave()
