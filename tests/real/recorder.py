"""A relay between two UNIX sockets that keeps what went by: the witness of what the gateway really sent and
got."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httptools


@dataclass
class Message:
    """An HTTP request or answer as it went by."""

    target: bytes = b""
    """Of a request."""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Names in lower case."""
    body: bytes = b""
    """Without the transfer coding."""
    whole: bool = False
    """Whether its end went by."""

    def header(self, name: bytes) -> list[bytes]:
        """All values of a field."""
        return [value for found, value in self.headers if found == name]


@dataclass
class Exchange:
    """A request and its answer."""

    request: Message
    answer: Message


class Recorder:
    """Listens on `path` and connects each visitor to the socket `upstream`, byte for byte, in threads.

    An end of stream on either side is passed on by closing the other.
    """

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self.upstream = upstream
        self.visits: list[Visit] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Recorder:
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A blocked accept() is not woken by close(), but by shutdown().
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for visit in self.visits:
            visit.end()

    def exchanges(self, target: str) -> list[Exchange]:
        """What was asked of `target` so far, and answered, in order within each connection."""
        found = [exchange for visit in self.visits for exchange in visit.exchanges()]
        return [exchange for exchange in found if exchange.request.target == target.encode()]

    def _accept(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            host.connect(str(self.upstream))
            visit = Visit(visitor, host)
            self.visits.append(visit)
            visit.begin()


class Visit:
    """One connection through the recorder."""

    def __init__(self, visitor: socket.socket, host: socket.socket) -> None:
        self.visitor = visitor
        self.host = host
        self.asked = bytearray()
        self.answered = bytearray()

    def begin(self) -> None:
        for source, sink, record in (
            (self.visitor, self.host, self.asked),
            (self.host, self.visitor, self.answered),
        ):
            threading.Thread(target=self._pump, args=(source, sink, record), daemon=True).start()

    def end(self) -> None:
        for end in (self.visitor, self.host):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def exchanges(self) -> list[Exchange]:
        requests, answers = Reading(), Reading()
        httptools.HttpRequestParser(requests).feed_data(bytes(self.asked))
        if self.answered:
            httptools.HttpResponseParser(answers).feed_data(bytes(self.answered))
        return [Exchange(*pair) for pair in zip(requests.messages, answers.messages, strict=False)]

    def _pump(self, source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                record += data
                sink.sendall(data)
        self.end()


class Reading:
    """Callbacks of httptools that gather messages; one instance reads one direction of one connection."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_message_begin(self) -> None:
        self.messages.append(Message())

    def on_url(self, piece: bytes) -> None:
        self.messages[-1].target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1].headers.append((name.lower(), value))

    def on_body(self, piece: bytes) -> None:
        self.messages[-1].body += piece

    def on_message_complete(self) -> None:
        self.messages[-1].whole = True
