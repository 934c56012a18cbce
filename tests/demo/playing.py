"""The rehearsal model in memory: a request in, the answer's bytes out, time told by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from hadesgw.demo.manner import UvicornSite
from hadesgw.demo.order import House
from hadesgw.demo.script import Script, built_in
from hadesgw.demo.theatre import Theatre

MODEL = "rehearsal"
NOW = 1_800_000_000.0
_STEPS = 20_000


class TurningClock(Clock):
    """A clock that keeps a reactor's turns apart: what is asked for during one is done in the next.

    :ivar turn: how many turns there have been.
    """

    turn = 0

    def advance(self, amount: float) -> None:
        self.turn += 1
        self.rightNow += amount
        for call in sorted(self.calls, key=lambda call: call.getTime()):
            if call in self.calls and call.getTime() <= self.rightNow:
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Transport(StringTransport):
    """A connection that remembers each write: when it was, in which turn, and what."""

    def __init__(self, clock: TurningClock) -> None:
        super().__init__()
        self.writes: list[tuple[float, int, bytes]] = []
        self._clock = clock

    def write(self, data: bytes) -> None:
        super().write(data)
        self.writes.append((self._clock.seconds(), self._clock.turn, data))

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))


@dataclass
class Answered:
    """One answer, taken apart.

    :ivar fields: the header fields in their order.
    :ivar chunks: the chunks of a chunked body, else the whole body.
    :ivar ended: whether the body came to its end.
    """

    status: int
    reason: str
    fields: list[tuple[str, str]]
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False
    rest: bytes = b""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body)

    def data(self) -> list[Any]:
        """The JSON of a stream's events, [DONE] and comments left out."""
        texts = [chunk.decode() for chunk in self.chunks]
        lines = [text.rpartition("data: ")[2] for text in texts if not text.startswith(":")]
        return [json.loads(line) for line in lines if line.strip() != "[DONE]"]

    def text(self) -> str:
        """All the content of a streamed chat."""
        deltas = (choice["delta"] for event in self.data() for choice in event.get("choices", ()))
        return "".join(delta.get("content") or "" for delta in deltas)


def taken_apart(raw: bytes) -> Answered:
    """The first answer in `raw`; what follows it is its `rest`."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    _, status, reason = first.split(" ", 2)
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    answered = Answered(int(status), reason, pairs)
    fields = dict(pairs)
    if fields.get("transfer-encoding") != "chunked":
        length = int(fields.get("content-length", len(body)))
        answered.chunks, answered.ended, answered.rest = [body[:length]], len(body) >= length, body[length:]
        return answered
    while body:
        size, _, body = body.partition(b"\r\n")
        width = int(size, 16)
        if width == 0:
            answered.ended, answered.rest = True, body[2:]
            break
        answered.chunks.append(body[:width])
        body = body[width + 2 :]
    return answered


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    """A chat request of one user's message."""
    return {"messages": [{"role": "user", "content": prompt}], **more}


class Playhouse:
    """The rehearsal model and connections to it.

    :param tokens_per_second: the usual pace.
    :param ids: what ids are made of.
    """

    def __init__(
        self,
        *,
        tokens_per_second: float = 100.0,
        context_tokens: int = 2048,
        script: Script | None = None,
        ids: Iterator[int] | None = None,
    ) -> None:
        self.clock = TurningClock()
        self.clock.advance(NOW)
        ids = count(1) if ids is None else ids
        self.theatre = Theatre(
            House((MODEL, "understudy"), context_tokens),
            script or built_in(),
            self.clock,
            tokens_per_second,
            lambda: f"{next(ids):016x}",
        )
        self.site = UvicornSite(self.theatre, self.clock)

    def connect(self) -> tuple[Any, Transport]:
        """A new connection: its channel and its transport."""
        channel, transport = self.site.buildProtocol(None), Transport(self.clock)
        channel.makeConnection(transport)
        return channel, transport

    def run(self, transport: Transport) -> None:
        """Let time pass from one thing to the next, until the connection closes or nothing is to come."""
        for _ in range(_STEPS):
            calls = self.clock.getDelayedCalls()
            if transport.disconnecting or not calls:
                return
            self.clock.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))
        raise AssertionError("this answer has no end")

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        fields: Mapping[str, str] | None = None,
    ) -> tuple[Answered, Transport]:
        """One request on a connection of its own, and the answer to it."""
        channel, transport = self.connect()
        channel.dataReceived(request_bytes(method, path, body, {"connection": "close", **(fields or {})}))
        self.run(transport)
        return taken_apart(transport.value()), transport

    def get(self, path: str) -> Answered:
        return self.exchange("GET", path)[0]

    def post(self, path: str, document: object, fields: Mapping[str, str] | None = None) -> Answered:
        return self.exchange("POST", path, json.dumps(document).encode(), fields)[0]

    def chat(self, prompt: str, **more: Any) -> Answered:
        return self.post("/v1/chat/completions", chat(prompt, **more))


def request_bytes(method: str, path: str, body: bytes = b"", fields: Mapping[str, str] | None = None) -> bytes:
    """A request as it stands on the wire; a POST is JSON unless the fields say otherwise."""
    named = {"host": "localhost"}
    if method == "POST":
        named |= {"content-type": "application/json", "content-length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in {**named, **(fields or {})}.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


def leave(channel: Any) -> None:
    """The client closes its connection."""
    channel.connectionLost(Failure(ConnectionDone()))
