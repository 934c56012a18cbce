"""A plain blocking HTTP/1.1 client for TCP and AF_UNIX addresses: what arrives is shown as it arrived."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int] | Path


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    """In order of arrival, names in lower case."""
    body: bytes
    """Without the transfer coding."""

    def header(self, name: str) -> str | None:
        """The value of a field, `None` if absent.

        :raises AssertionError: when it came more than once.
        """
        return single(self.headers, name)

    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """An answer that is still arriving."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]
        self.response = response

    def header(self, name: str) -> str | None:
        """As :meth:`Answer.header`."""
        return single(self.headers, name)

    def event(self) -> bytes:
        """The next server-sent event with its closing blank line; empty at the end of the body.

        :raises http.client.IncompleteRead: when the connection ended before the body did.
        """
        lines: list[bytes] = []
        while line := self.response.readline():
            lines.append(line)
            if line == b"\n":
                break
        return b"".join(lines)

    def events(self) -> Iterator[bytes]:
        """All further events, each as :meth:`event` gives it."""
        while event := self.event():
            yield event


class Client:
    """Sends each request on a connection of its own.

    :param address: host and port, or the path of a socket.
    :param headers: fields sent with every request.
    :param seconds: how long one wait for bytes may last.
    """

    def __init__(self, address: Address, headers: Mapping[str, str], seconds: float = 60.0) -> None:
        self.address = address
        self.headers = dict(headers)
        self.seconds = seconds

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, document: object, headers: Mapping[str, str] = {}) -> Answer:
        """:param document: sent as JSON, or as it is if it is bytes already."""
        return self.ask("POST", path, document, headers)

    def ask(self, method: str, path: str, document: object, headers: Mapping[str, str] = {}) -> Answer:
        with self.open(method, path, document, headers) as stream:
            return Answer(stream.status, stream.headers, stream.response.read())

    @contextmanager
    def open(self, method: str, path: str, document: object, headers: Mapping[str, str] = {}) -> Iterator[Stream]:
        """Send a request and give its answer as soon as the head is there; the connection ends with the
        context."""
        with closing(self.send(method, path, document, headers)) as connection:
            response = connection.getresponse()
            with closing(response):
                yield Stream(response)

    def send(self, method: str, path: str, document: object, headers: Mapping[str, str] = {}) -> Connection:
        """Send a request and wait for nothing; the caller closes the connection."""
        connection = Connection(self.address, self.seconds)
        body = document if isinstance(document, bytes | None) else json.dumps(document, ensure_ascii=False).encode()
        content = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, body, {**content, **self.headers, **headers})
        return connection


class Connection(http.client.HTTPConnection):
    """An HTTP connection to an :data:`Address`."""

    def __init__(self, address: Address, seconds: float) -> None:
        host, port = ("localhost", 80) if isinstance(address, Path) else address
        super().__init__(host, port, timeout=seconds)
        self.address = address

    def connect(self) -> None:
        if isinstance(self.address, Path):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self.address))
        else:
            super().connect()


def single(headers: list[tuple[str, str]], name: str) -> str | None:
    values = [value for field, value in headers if field == name.lower()]
    assert len(values) < 2, f"{name} came {len(values)} times: {values}"
    return values[0] if values else None
