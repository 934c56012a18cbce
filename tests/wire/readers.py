"""Three readings of the same bytes: ours, h11's and llhttp's. Where they differ, programs can be told two stories."""

from __future__ import annotations

from typing import NamedTuple

import h11
import httptools

from hadesgw.http.framing import ChunkedBody, Fields, HeadLimits, head_end, read_head
from hadesgw.policy.refusals import Refused

LIMITS = HeadLimits()


class Reading(NamedTuple):
    """What one parser makes of the first request in some bytes.

    :ivar fields: lower-cased names, values without the space around them; the name of a transfer coding is lower-cased
        too, as h11 does, because its case means nothing (RFC 9112 7).
    :ivar used: how many bytes it takes, from the first of the request line.
    """

    method: bytes
    target: bytes
    minor: int
    fields: Fields
    body: bytes
    used: int


class Refusing(NamedTuple):
    """The parser will not have it."""

    why: str


class Waiting(NamedTuple):
    """The parser waits for more."""


Verdict = Reading | Refusing | Waiting


def read_ours(data: bytes) -> Verdict:
    """As :class:`hadesgw.http.channel.Channel` reads."""
    try:
        end = head_end(data, LIMITS)
        if not end:
            return Waiting()
        head = read_head(data[:end], LIMITS)
        if head.length is None:
            decoder = ChunkedBody()
            pieces, used = decoder.feed(data[end:])
            if not decoder.complete:
                return Waiting()
            body = b"".join(pieces)
        else:
            body, used = data[end : end + head.length], head.length
            if len(body) < used:
                return Waiting()
    except Refused as refused:
        return Refusing(refused.refusal.reason)
    return Reading(head.method, head.target, head.minor, alike(head.fields), body, end + used)


def alike(fields: Fields) -> Fields:
    """Fields as :class:`Reading` has them."""
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]


def read_h11(data: bytes) -> Verdict:
    """As h11 reads on the server's side."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMITS.total)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return Waiting()
    except h11.RemoteProtocolError as error:
        return Refusing(str(error))
    assert request is not None
    if event.headers:
        return Refusing("a trailer: h11 reads them, and our side never admits them")
    used = len(data) - len(connection.trailing_data[0])
    fields = list(request.headers)
    minor = int(request.http_version[2:])
    return Reading(request.method, request.target, minor, fields, body, used)


class _Messages:
    """What llhttp finds, message by message."""

    def __init__(self) -> None:
        self.found: list[tuple[bytes, Fields, bytes]] = []
        self._target, self._fields, self._body = b"", Fields(), b""

    def on_message_begin(self) -> None:
        self._target, self._fields, self._body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append((self._target, alike(self._fields), self._body))


def read_llhttp(data: bytes) -> list[tuple[bytes, Fields, bytes]]:
    """Target, fields and body of every request that llhttp finds before it refuses or waits.

    It does not say where a request ends; whether the next one is found where it should be tells as much.
    """
    messages = _Messages()
    try:
        httptools.HttpRequestParser(messages).feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return messages.found
