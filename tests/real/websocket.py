"""A plain blocking WebSocket client: wsproto over a socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

PATIENCE_SECONDS = 150.0
"""For a message; pings keep a socket alive for ever."""


class Rejected(Exception):
    """The handshake was answered with something else than 101.

    :ivar status: of that answer.
    :ivar body: of that answer.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body!r}")
        self.status = status
        self.body = body


class WebSocket:
    """One WebSocket; also a context manager, which closes it.

    :param headers: further fields of the handshake.
    :param protocols: subprotocols that are offered.
    :param seconds: how long one wait for bytes may last.
    :raises Rejected: if there is to be none.
    :ivar answer_headers: of the 101, names in lower case.
    :ivar closed: code and words of the server's close frame, once it has come.
    """

    def __init__(
        self,
        port: int,
        path: str,
        headers: Mapping[str, str] = {},
        protocols: Sequence[str] = (),
        seconds: float = 30.0,
    ) -> None:
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self._text = ""
        self.answer_headers: dict[str, str] = {}
        self.protocol: str | None = None
        self.closed: tuple[int, str] | None = None
        self.socket = socket.create_connection(("127.0.0.1", port), seconds)
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._send(Request(f"127.0.0.1:{port}", path, subprotocols=list(protocols), extra_headers=fields))
        try:
            self._shake_hands()
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self) -> None:
        status, body = 0, b""
        while True:
            event = self._next()
            if isinstance(event, AcceptConnection):
                self.protocol = event.subprotocol
                self.answer_headers = {name.decode().lower(): value.decode() for name, value in event.extra_headers}
                return
            if isinstance(event, RejectConnection):
                status = event.status_code
                if not event.has_body:
                    raise Rejected(status, b"")
            elif isinstance(event, RejectData):
                body += bytes(event.data)
                if event.body_finished:
                    raise Rejected(status, body)

    def say(self, kind: str, content: object = None) -> None:
        """Send a message."""
        self._send(TextMessage(data=json.dumps({"type": kind, "content": content})))

    def hear(self) -> dict[str, Any] | None:
        """The next message; None when the socket has been closed.

        :raises AssertionError: if nothing but pings has come for longer than anything should take.
        """
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while self.closed is None:
            assert time.monotonic() < patience_ends, "nothing is said any more"
            event = self._next()
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    text, self._text = self._text, ""
                    message: dict[str, Any] = json.loads(text)
                    return message
            elif isinstance(event, Ping):
                if self._connection.state is ConnectionState.OPEN:  # the server's close may have come with it
                    self._send(event.response())
            elif isinstance(event, CloseConnection):
                self.closed = event.code, event.reason or ""
                with suppress(OSError):  # a gateway that stops does not wait for ever
                    self._send(event.response())
        return None

    def hear_until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """All messages up to the first that is wanted.

        :raises AssertionError: if the socket is closed before.
        """
        heard: list[dict[str, Any]] = []
        while True:
            message = self.hear()
            assert message is not None, f"closed with {self.closed} after {heard[-3:]}"
            heard.append(message)
            if wanted(message):
                return heard

    def close(self) -> None:
        """Close it well."""
        if self.closed is None:
            self._send(CloseConnection(code=1000))
            while not isinstance(event := self._next(), CloseConnection):
                pass
            self.closed = event.code, event.reason or ""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def _send(self, event: Event) -> None:
        self.socket.sendall(self._connection.send(event))

    def _next(self) -> Event:
        while not self._events:
            data = self.socket.recv(65536)
            self._connection.receive_data(data or None)
            self._events.extend(self._connection.events())
        return self._events.pop(0)


def of_type(kind: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a message is of this type."""
    return lambda message: message["type"] == kind
