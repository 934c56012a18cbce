"""A model server that misbehaves as it is told: a process of its own on a UNIX socket.

Each request says in its body, by `{"metadata": {"act": NAME}}`, which act is to be played for it; see :data:`ACTS`.
What happened is written down with times of the monotonic clock, which all processes share.

`python -m tests.real.upstream PATH` is the process, :class:`Upstream` starts and reads it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any

from tests.real.processes import Process, end, start
from tests.real.waiting import wait_for

PROJECT = Path(__file__).resolve().parents[2]
PACE_SECONDS = 0.005
"""Between two events of a stream that is not in a hurry."""

OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"content-type: application/json\r\n"
STREAM = OK + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
COMPLETION = b'{"object":"chat.completion","choices":[]}'
EVENT = 'data: {"choices":[{"delta":{"content":"é"}}]}\n\n'.encode()
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def measured(body: bytes, length: int | None = None) -> bytes:
    """An answer that states its length, or another one."""
    return JSON + b"content-length: %d\r\n\r\n" % (len(body) if length is None else length) + body


# -- The process -------------------------------------------------------------------------------------------------------


class Hangup(Exception):
    """The visitor has gone."""


class Visit:
    """One connection, from the model server's side."""

    opened = 0
    closed = 0

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.wrote = 0
        self.request_id = ""
        self.body: dict[str, Any] = {}
        self.more = asyncio.Event()

    def note(self, event: str, **facts: object) -> None:
        """Write down that something happened."""
        facts = {"event": event, "id": self.request_id, "at": time.monotonic(), "wrote": self.wrote, **facts}
        print(json.dumps(facts | {"open": Visit.opened - Visit.closed}), flush=True)

    # -- Reading, without taking: what is left unread when we close makes the kernel reset the connection -------------

    async def readable(self) -> None:
        """Wait until there is something to read, or the end."""
        ready = self.loop.create_future()
        self.loop.add_reader(self.sock, self._is_readable, ready)
        try:
            await ready
        finally:
            self.loop.remove_reader(self.sock)

    @staticmethod
    def _is_readable(ready: asyncio.Future[None]) -> None:
        if not ready.done():
            ready.set_result(None)

    async def take_request(self) -> None:
        """Wait for a whole request and take it, but for its last byte."""
        while True:
            await self.readable()
            seen = self.sock.recv(1 << 20, socket.MSG_PEEK)
            if not seen:
                raise Hangup
            head, found, body = seen.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
            if found and len(body) >= int(length[1] if length else 0):
                break
            await asyncio.sleep(PACE_SECONDS)
        named = re.search(rb"(?i)\r\nx-request-id: *([^\r]+)", head)
        self.request_id = named[1].decode() if named else ""
        self.body = json.loads(body) if body else {}
        self.path = head.split(b" ")[1].decode()
        self.sock.recv(len(seen) - 1)

    def take_last_byte(self) -> None:
        """The request has been read whole."""
        self.sock.recv(1)

    async def departure(self) -> None:
        """Wait until the visitor leaves; if it says more instead, note that and wait for ever."""
        await self.readable()
        if self.sock.recv(1, socket.MSG_PEEK):
            self.more.set()
            await self.loop.create_future()

    # -- Writing -------------------------------------------------------------------------------------------------------

    async def say(self, *pieces: bytes) -> None:
        """Send `pieces`, each in a write of its own."""
        for piece in pieces:
            await self.loop.sock_sendall(self.sock, piece)
            self.wrote += len(piece)
            await asyncio.sleep(0)

    async def pause(self, seconds: float = PACE_SECONDS) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    # -- One visit -----------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Play the act of every request."""
        Visit.opened += 1
        self.note("opened")
        try:
            while True:
                await self.take_request()
                self.note("asked", path=self.path)
                if not await self.play():
                    return
        except (Hangup, ConnectionError):
            pass
        finally:
            Visit.closed += 1
            self.note("closed")
            self.sock.close()

    async def play(self) -> bool:
        """The act of the request that was taken; False if the connection is to be closed behind it."""
        name = self.body.get("metadata", {}).get("act", "answer")
        if name not in RUDE:
            self.take_last_byte()
        acting = self.loop.create_task(ACTS[name](self))
        leaving = self.loop.create_task(self.departure())
        await asyncio.wait({acting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not acting.done() or acting.exception() is not None:
            self.note("left")
        for task in (acting, leaving):
            task.cancel()
        outcome, watched = await asyncio.gather(acting, leaving, return_exceptions=True)
        if isinstance(outcome, bool):
            return outcome
        for problem in (outcome, watched):
            if isinstance(problem, Exception) and not isinstance(problem, ConnectionError):
                raise problem
        return False


Act = Callable[[Visit], Coroutine[Any, Any, bool]]
ACTS: dict[str, Act] = {}
"""What can be played, by name. An act answers whether the connection is kept."""
RUDE = ("reset-at-once", "reset-in-chunk")
"""Acts that leave a byte of the request unread, so that their close is a reset."""


def plays(function: Act) -> Act:
    """Let a function be an act under its name."""
    ACTS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def says(name: str, *pieces: bytes, keeps: bool = False) -> None:
    """An act that says this, and then closes or keeps the connection."""

    async def play(visit: Visit) -> bool:
        await visit.say(*pieces)
        return keeps

    ACTS[name] = play


says("answer", measured(COMPLETION), keeps=True)
says("close-after", measured(COMPLETION))
says("eof-at-once")
says("reset-at-once")
says("garbage", b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
says("bad-status", b"HTTP/1.1 2OO OK\r\ncontent-length: 2\r\n\r\nok")
says("bare-lf", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok")
says("huge-head", OK + b"x-huge: ", *[b"a" * 65536] * 16, b"\r\ncontent-length: 2\r\n\r\nok")
says("many-fields", OK + b"x: y\r\n" * 10_000 + b"content-length: 2\r\n\r\nok")
says("framed-twice", JSON + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
says("splitting", JSON + b"x-a: b\rX-Request-ID: forged\r\ncontent-length: 2\r\n\r\nok")
says("nul", JSON + b"x-a: b\0c\r\ncontent-length: 2\r\n\r\nok")
says("upgrade", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x81\x00")
says("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 20 + measured(COMPLETION))
says("foreign-ids", JSON + b"x-request-id: forged\r\nX-Conveyance-Session-ID: forged\r\ncontent-length: 2\r\n\r\nok")
says("doubled-ids", JSON + b"x-request-id: one\r\nX-Request-ID: two\r\ncontent-length: 2\r\n\r\nok")
says(
    "engine-death",  # as vLLM tells of it: the end mark comes all the same
    STREAM,
    chunk(EVENT),
    chunk(b'data: {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError"}}\n\n'),
    chunk(DONE) + b"0\r\n\r\n",
    keeps=True,
)
says("eof-before-body", measured(b"", length=100))
says("shorter", measured(b"only this", length=100))
says("longer", measured(COMPLETION + b"and more that nobody asked for", length=len(COMPLETION)), keeps=True)
says("second-head", measured(COMPLETION) + measured(b'{"object":"forged"}'), keeps=True)
says("eof-in-chunk", STREAM, chunk(EVENT), b"ff\r\ndata: {")
says("eof-at-border", STREAM, chunk(EVENT))
says("reset-in-chunk", STREAM, chunk(EVENT), b"ff\r\ndata: {")
says("bad-chunk", STREAM, chunk(EVENT), b"zz\r\n")


@plays
async def silent(visit: Visit) -> bool:
    """Never answer."""
    await asyncio.Event().wait()
    return False


@plays
async def stuck(visit: Visit) -> bool:
    """Begin a stream and fall silent."""
    await visit.say(STREAM, chunk(EVENT))
    return await silent(visit)


@plays
async def comments(visit: Visit) -> bool:
    """Begin a stream and then only say that we are still here."""
    await visit.say(STREAM, chunk(EVENT))
    while True:
        await visit.say(chunk(b": keep-alive\n\n"))
        await visit.pause(0.1)


@plays
async def endless(visit: Visit) -> bool:
    """Stream and do not stop."""
    await visit.say(STREAM)
    while True:
        await visit.say(chunk(EVENT))
        await visit.pause()


@plays
async def stream(visit: Visit) -> bool:
    """Stream as many events as `metadata.events` says, and end well."""
    await visit.say(STREAM)
    for _ in range(visit.body["metadata"].get("events", 3)):
        await visit.say(chunk(EVENT))
        await visit.pause()
    await visit.say(chunk(DONE), b"0\r\n\r\n")
    return True


@plays
async def drip(visit: Visit) -> bool:
    """A whole stream, byte by byte."""
    for byte in STREAM + chunk(EVENT) + chunk(DONE) + b"0\r\n\r\n":
        await visit.say(bytes([byte]))
        await visit.pause()
    return True


@plays
async def flood(visit: Visit) -> bool:
    """Stream as fast as it is taken; note how much was when nothing is taken any more."""
    event = chunk(b"data: " + b"x" * 8000 + b"\n\n")
    await visit.say(STREAM)
    while True:
        try:
            await asyncio.wait_for(visit.say(event), 1.0)
        except TimeoutError:
            visit.note("stalled")
            return await silent(visit)


@plays
async def close_on_next(visit: Visit) -> bool:
    """Answer, and close when the next request has come, as a server does whose patience ends at that moment."""
    await visit.say(measured(COMPLETION))
    await visit.more.wait()
    return False


async def listen(path: str) -> None:
    """Serve for ever."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1024)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    visits = set()
    print(json.dumps({"event": "listening", "id": ""}), flush=True)
    while True:
        sock, _ = await loop.sock_accept(listener)
        sock.setblocking(False)
        visit = loop.create_task(Visit(sock).serve())
        visits.add(visit)
        visit.add_done_callback(visits.discard)


# -- The test's side ---------------------------------------------------------------------------------------------------


class Upstream:
    """Starts and ends the process, and reads what it wrote down.

    :param path: of its socket; its log stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path.with_suffix(".log")
        self.child: Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in place of whatever is left of one before, and wait until it listens."""
        self.path.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.real.upstream", str(self.path)]
        self.child = start(command, self.log, {**os.environ, "PYTHONPATH": str(PROJECT)}, self.path.parent)
        wait_for(lambda: self.events("listening"), "the upstream listens", seconds=60)

    def stop(self) -> None:
        """End it."""
        if self.child is not None:
            end(self.child, seconds=5)

    def kill(self) -> None:
        """SIGKILL, as a crash would have it; the socket's file stays."""
        assert self.child is not None, "not started"
        process = Process.of(self.child.pid)
        assert process is not None, f"it has ended: {self.log.read_text()}"
        process.kill()
        self.child.wait()

    def __enter__(self) -> Upstream:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def events(self, name: str, request_id: str | None = None) -> list[dict[str, Any]]:
        """What was written down under this name, for all requests or one."""
        found = []
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            if not line.startswith("{") or not line.endswith("}"):
                continue
            event = json.loads(line)
            if event["event"] == name and request_id in (None, event["id"]):
                found.append(event)
        return found

    def open(self) -> int:
        """How many connections are open."""
        return len(self.events("opened")) - len(self.events("closed"))


if __name__ == "__main__":
    asyncio.run(listen(sys.argv[1]))
