"""A client of `/ws/codex` that hears everything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from tests.real.gateway import Gateway
from tests.real.waiting import wait_for

SECONDS = 60.0
Found = TypeVar("Found")


class Watcher:
    """One socket, from the context's beginning to its end.

    :param query: of the address, such as `?after=7`.
    :ivar messages: all that came so far, in order.
    """

    def __init__(self, gateway: Gateway, query: str = "") -> None:
        self.gateway = gateway
        self.query = query
        self.messages: list[dict[str, Any]] = []
        self.accepted = threading.Event()

    def __enter__(self) -> Watcher:
        self.sock = socket.create_connection(("127.0.0.1", self.gateway.port), SECONDS)
        self.connection = WSConnection(ConnectionType.CLIENT)
        token = f"Bearer {self.gateway.token}".encode()
        request = Request(
            host=f"127.0.0.1:{self.gateway.port}",
            target=f"/ws/codex{self.query}",
            subprotocols=["hades.v1"],
            extra_headers=[(b"Authorization", token)],
        )
        self.sock.sendall(self.connection.send(request))
        threading.Thread(target=self._read, daemon=True).start()
        assert self.accepted.wait(SECONDS), "no handshake"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, kind: str, content: object = None) -> None:
        self.sock.sendall(self.connection.send(TextMessage(json.dumps({"type": kind, "content": content}))))

    def of(self, kind: str) -> list[Any]:
        """The contents of the messages of a type."""
        return [message["content"] for message in list(self.messages) if message["type"] == kind]

    def until(self, look: Callable[[], Found | None], what: str) -> Found:
        try:
            return wait_for(look, what, SECONDS)
        except AssertionError as problem:
            last = "\n".join(json.dumps(message)[:300] for message in self.messages[-20:])
            raise AssertionError(f"{problem}; the last it heard:\n{last}") from None

    def nth(self, kind: str, number: int) -> Any:
        """The content of a message of a type, counted from 0, when it has come."""
        return self.until(lambda: self.of(kind)[number:], f"{kind} number {number}")[0]

    def turn(self, text: str) -> dict[str, Any]:
        """Give an input and wait for the end of its turn."""
        before = len(self._ended())
        self.send("input", text)
        return self.until(lambda: self._ended()[before:], "the turn has ended")[0]

    def _ended(self) -> list[dict[str, Any]]:
        return [turn for turn in self.of("turn") if turn["phase"] == "ended"]

    def _read(self) -> None:
        text = ""
        while data := self._received():
            self.connection.receive_data(data)
            for event in self.connection.events():
                if isinstance(event, AcceptConnection):
                    self.accepted.set()
                elif isinstance(event, Ping):
                    self.sock.sendall(self.connection.send(event.response()))
                elif isinstance(event, CloseConnection):
                    return
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        self.messages.append(json.loads(text))
                        text = ""

    def _received(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except OSError:
            return b""
