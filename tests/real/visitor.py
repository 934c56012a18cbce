"""A client at the level of its socket: it says what it is told, reads when it is told, and leaves in any manner."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tests.real.gateway import Gateway
from tests.wire.answers import Answer, read_answers

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


class Visitor:
    """One connection to a gateway.

    :param receive_buffer: of the socket, in bytes; None for the system's.
    :ivar received: what came so far.
    :ivar ended: None, or how the gateway's end came: "closed" or "reset".
    """

    def __init__(self, gateway: Gateway, receive_buffer: int | None = None) -> None:
        self.gateway = gateway
        self.received = b""
        self.ended: str | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", gateway.port))

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Our own."""
        number: int = self.socket.getsockname()[1]
        return number

    def ask(
        self, act: str, request_id: str, path: str = CHAT, close: bool = True, half: bool = False, **metadata: Any
    ) -> None:
        """Ask for an act of the upstream; see :mod:`tests.real.upstream`.

        :param close: whether to say that this is the last request.
        :param half: send only half of the body.
        """
        top = {name: metadata.pop(name) for name in ("store",) if name in metadata}
        body = json.dumps({"model": "m", **top, "metadata": {"act": act, **metadata}}).encode()
        fields: Mapping[str, object] = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.gateway.token}",
            "Content-Type": "application/json",
            "X-Request-ID": request_id,
            "X-Conveyance-Session-ID": f"session-of-{request_id}",
            "Content-Length": len(body),
        } | ({"Connection": "close"} if close else {})
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        self.socket.sendall(head.encode() + (body[: len(body) // 2] if half else body))

    def read(self, seconds: float) -> bool:
        """Read what comes within so long; False when nothing does, or nothing more will."""
        ready, _, _ = select.select([self.socket], [], [], seconds)
        if not ready or self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            self.ended = "reset"
            return False
        self.received += data
        if not data:
            self.ended = "closed"
        return bool(data)

    def read_until(self, wanted: bytes, seconds: float = 20) -> None:
        """Read until this has come."""
        deadline = time.monotonic() + seconds
        while wanted not in self.received:
            assert self.ended is None and time.monotonic() < deadline, (wanted, self.ended, self.received[-500:])
            self.read(deadline - time.monotonic())

    def read_to_end(self, seconds: float = 20) -> None:
        """Read until the gateway ends the connection."""
        deadline = time.monotonic() + seconds
        while self.ended is None:
            assert time.monotonic() < deadline, self.received[-500:]
            self.read(deadline - time.monotonic())

    def answer(self) -> Answer:
        """The only answer that came."""
        answers = read_answers(self.received, [b"POST"])
        assert len(answers) == 1, answers
        return answers[0]

    def close(self) -> None:
        """Leave in order, if we have read everything."""
        self.socket.close()

    def reset(self) -> None:
        """Leave in a hurry."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        """Say that we say no more."""
        self.socket.shutdown(socket.SHUT_WR)
