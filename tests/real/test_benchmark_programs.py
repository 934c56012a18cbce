"""The load client and the backend of the benchmark: a figure is worth what its instruments are worth.

First they measure nothing but each other, then the client meets peers that answer wrongly and must say so.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks.contenders import RawTwisted
from benchmarks.figures import Departure, abort_times
from benchmarks.machine import Placement
from benchmarks.stage import Door, Failed, Stage
from benchmarks.toolchain import compiled

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
BRIEF = {"seconds": 0.3, "warm-up": 0.05}
ATTEMPTS = 4
"""A machine that is busy with something else may spoil some."""


END = b"data: [DONE]\n\n"


def _event(number: int) -> bytes:
    return b'data: {"choices":[{"delta":{"content":"n=%09d t=%019d "}}]}\n\n' % (number, 1)


def _chunked(*pieces: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class _Peer(threading.Thread):
    """Takes one connection at `listener`, reads one request, sends `pieces` one by one, and closes."""

    def __init__(self, listener: socket.socket, pieces: list[bytes]) -> None:
        super().__init__()
        self._listener = listener
        self._pieces = pieces
        self.head = self.body = b""

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream:
            while not self.head.endswith(b"\r\n\r\n"):
                self.head += stream.readline()
            length = next(line for line in self.head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            self.body = stream.read(int(length.split()[1]))
            for piece in self._pieces:
                connection.sendall(piece)


class ProgramTests(SynchronousTestCase):
    """Short runs on a socket of our own."""

    def setUp(self) -> None:
        if not (shutil.which("gcc") or shutil.which("cc")):
            raise SkipTest("no C compiler")
        self.stage = Stage(compiled(), Placement.choose(pinned=False))
        self.stage.__enter__()
        self.addCleanup(self.stage.__exit__, None, None, None)

    def load(self, mode: str, door: Door | None = None, **options: object) -> Mapping[str, Any]:
        known = {name.replace("_", "-"): value for name, value in options.items()}
        return self.stage.load(mode, door or self.stage.direct(), BRIEF | known, seconds=20)

    @contextmanager
    def peer(self, *pieces: bytes) -> Iterator[tuple[Door, _Peer]]:
        """A server that answers one request with `pieces`, and the door to it."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            path = Path(folder, "peer.sock")
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(20)
            peer = _Peer(listener, list(pieces))
            peer.start()
            yield Door("peer", f"unix:{path}"), peer
            peer.join(20)

    def complaint(self, *pieces: bytes) -> str:
        """What the client says of an answer that is wrong."""
        with self.peer(*pieces) as (door, _):
            return str(self.assertRaises(Failed, self.load, "requests", door))

    def test_requests(self) -> None:
        """A closed loop gives as many samples as answers, and an order of its percentiles."""
        for body in (1024, 560 * 1024):
            result = self.load("requests", connections=4, body_bytes=body)
            latency = result["latency_ns"]
            self.assertGreater(latency["count"], 0)
            self.assertEqual(latency["count"], result["answers"])
            self.assertTrue(0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"], latency)

    def test_request_is_what_it_says(self) -> None:
        """A request has the asked size to the byte, and is the JSON of a chat with what the backend shall do."""
        for size in (512, 1024, 5000, 560 * 1024):
            with self.peer(_chunked(_event(0), END)) as (door, peer):
                self.load("streams", door, body_bytes=size, events=1, rate=50)
            self.assertEqual(len(peer.body), size)
            question = json.loads(peer.body)
            self.assertEqual((question["model"], question["stream"], question["max_tokens"]), ("bench", True, 1))
            self.assertTrue(all(turn["role"] == "user" for turn in question["messages"]))

    def test_paced_streams(self) -> None:
        """Paced streams end whole, their events are counted, none arrives before it was sent, and the pace is kept."""
        paces: list[float] = []
        while len(paces) < ATTEMPTS and not any(600 < pace < 1000 for pace in paces):
            result = self.load("streams", connections=8, rate=100, events=60)
            self.assertEqual((result["streams_ended"], result["lost"], result["out_of_order"]), (8, 0, 0))
            self.assertEqual(result["delay_ns"]["count"], result["events"])
            self.assertTrue(0 < result["events"] < 8 * 60)
            self.assertGreater(result["delay_ns"]["p50"], 0)
            paces.append(result["events"] / (result["window_ns"] / 1e9))
        self.assertTrue(600 < paces[-1] < 1000, paces)

    def test_streams_in_step(self) -> None:
        """Streams in step lose nothing either."""
        result = self.load("streams", connections=8, rate=100, events=60, in_step=True)
        self.assertEqual((result["streams_ended"], result["lost"]), (8, 0))

    def test_unpaced_streams(self) -> None:
        """Unpaced streams run until they are left, with every event in its place."""
        result = self.load("streams", connections=8, rate=0, events=10_000_000)
        self.assertEqual((result["streams_ended"], result["lost"], result["out_of_order"]), (0, 0, 0))
        self.assertGreater(result["bytes"], 1_000_000)

    def test_departures(self) -> None:
        """Straight on the socket the backend notices every departure, in every manner, at once."""
        self.stage.forget_aborts()
        result = self.load("departures", connections=8, count=60, rate=50, events=10_000, leave_within=40)
        self.assertEqual({one["manner"] for one in result["departures"]}, {"close", "reset", "half-close"})
        arrived, aborted = self.stage.aborts(patience=5)
        left = [Departure(one["id"], one["left_ns"], one["early"]) for one in result["departures"]]
        values = abort_times(left, arrived, aborted)
        self.assertEqual((values["departures"], values["unnoticed"]), (60, 0))

    def test_the_yardstick(self) -> None:
        """It hands everything on, in both directions, and every departure."""
        with self.stage.door(RawTwisted()) as door:
            self.assertGreater(self.load("requests", door, connections=4, body_bytes=560 * 1024)["answers"], 0)
            result = self.load("streams", door, connections=8, rate=0, events=10_000_000)
            self.assertEqual((result["lost"], result["out_of_order"]), (0, 0))
            self.stage.forget_aborts()
            result = self.load("departures", door, connections=8, count=30, rate=50, events=10_000, leave_within=40)
            arrived, aborted = self.stage.aborts(patience=5)
            left = [Departure(one["id"], one["left_ns"], one["early"]) for one in result["departures"]]
            self.assertEqual(abort_times(left, arrived, aborted)["unnoticed"], 0)

    def test_held_connections(self) -> None:
        """Idle connections and stalled readers stand while they are held, and all at once."""
        for mode, options in (("idle", {}), ("stall", {"warm-up": 0.1, "events": 10_000_000, "rate": 0})):
            with self.stage.hold(mode, self.stage.direct(), {"connections": 20, **options}, seconds=20) as held:
                self.assertEqual(held, 20)

    def test_forms_of_an_answer(self) -> None:
        """Chunks cut anywhere, extensions, trailers and an answer that the close ends are all understood."""
        event = _event(0)
        chunks = b"%X;a=b\r\n%s\r\ne\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(event), event, END)
        for answer in (
            _chunked(event, END),
            HEAD + b"transfer-encoding:chunked\r\n\r\n" + chunks,
            HEAD + b"Content-Length: %d\r\n\r\n" % len(event + END) + event + END,
            HEAD + b"\r\n" + event + END,
        ):
            for pieces in ([answer], [answer[at : at + 1] for at in range(len(answer))]):
                with self.peer(*pieces) as (door, _):
                    result = self.load("streams", door, events=1, rate=50)
                self.assertEqual((result["streams_ended"], result["lost"]), (1, 0))

    def test_lost_event(self) -> None:
        """An event that is missing, and one that comes twice, are counted."""
        with self.peer(_chunked(*map(_event, (0, 2, 2, 3)), END)) as (door, _):
            result = self.load("streams", door, events=4, rate=50)
        self.assertEqual((result["lost"], result["out_of_order"]), (1, 1))

    def test_wrong_answers(self) -> None:
        """An answer that is refused, cut or wrongly framed makes the run fail with the reason."""
        for answer, reason in (
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", "status 503: busy"),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "status 503"),
            (HEAD + b"Content-Length: 10\r\n\r\nshort", "closed by the peer"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX", "broken chunk"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "closed by the peer"),
            (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", "broken head"),
            (HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "broken head"),
            (HEAD + b"Content-Length: 2\r\n\r\n{}more", "bytes after the answer's end"),
            (b"ICY 200 OK\r\n\r\n", "broken head"),
        ):
            self.assertIn(reason, self.complaint(answer))
