"""How long a session's agent takes to be ready and to be heard, and what sessions cost in which nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import ClassVar

from tests.real.codex.mischief import Ear
from tests.real.codex.test_session import SessionTestCase
from tests.real.processes import PROC, descendants
from tests.real.waiting import wait_for
from tests.real.websocket import of_type

READY_SECONDS = 2.0
HEARD_SECONDS = 0.1
STARTS = 5
TURNS = 8
IDLE_SESSIONS = 20
IDLE_SECONDS = 5.0
SLOW = "rehearse: long tokens=5 tokens_per_second=10"
FIRST_WORDS = b"response.output_text.delta"
MOST_MEMORY = 1 << 20
"""Bytes of the gateway's own for each idle session."""
MOST_DESCRIPTORS = 8
"""Of the gateway's own for each: four pipes and one process, and some to spare."""
MOST_BUSY = 0.02
"""The part of one CPU that the gateway may take for all of them, more than it takes without any."""
TICKS = os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """A relay before the model server that looks when the first words of an answer go by.

    :ivar spoke: when the last answer has begun to say something, by the monotonic clock.
    """

    def __init__(self, path: Path, model: Path) -> None:
        self.path = path
        self.spoke = 0.0
        self._model = model
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, theirs = self._listener.accept()[0], socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                theirs.connect(str(self._model))
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        speaking = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if FIRST_WORDS in data and not speaking:
                    self.spoke = time.monotonic()
                speaking = FIRST_WORDS in data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class SpeedTests(SessionTestCase):
    """One session at a time."""

    def upstream(self) -> Path:
        self.watch = Stopwatch(self.folder / "model" / "watched.sock", self.model.socket)
        self.addCleanup(self.watch.close)
        return self.watch.path

    def test_ready(self) -> None:
        """`start` answers within two seconds that the agent waits for input."""
        seconds = []
        for _ in range(STARTS):
            begun = time.monotonic()
            self.order("start")
            seconds.append(time.monotonic() - begun)
            self.order("stop")
        print(f"start to ready: {', '.join(f'{each:.2f}' for each in seconds)} s")
        self.assertLess(median(seconds), READY_SECONDS)

    def test_heard(self) -> None:
        """A client hears the first words of a reply within 100 ms of the model's saying them."""
        self.order("start")
        seconds = []
        with Ear(self.gateway, []) as ear:
            for _ in range(TURNS):
                ear.say("input", SLOW)
                ear.hear_until(of_type("output"))
                seconds.append(time.monotonic() - self.watch.spoke)
                ear.turn()
        print(f"first output after the model's: {', '.join(f'{1000 * each:.0f}' for each in seconds)} ms")
        self.assertLess(median(seconds), HEARD_SECONDS)


class IdleTests(SessionTestCase):
    """Many sessions in which nothing happens."""

    further: ClassVar[Mapping[str, object]] = {"max_sessions": IDLE_SESSIONS, "max_per_client": IDLE_SESSIONS}

    def test_idle(self) -> None:
        """They cost their agents' processes, and next to nothing of the gateway."""
        self.order("start")
        self.order("stop")  # whatever is made once is there now
        wait_for(lambda: not descendants(self.gateway.pid), "nobody is left", 10)
        memory, descriptors, busy = self.costs()
        for _ in range(IDLE_SESSIONS):
            self.order("start", new=True)
        more, open_now, busier = self.costs()
        children = descendants(self.gateway.pid)
        each, further = (more - memory) / IDLE_SESSIONS / 1024, (open_now - descriptors) / IDLE_SESSIONS
        theirs = sum(own_memory(child.pid) for child in children)
        print(
            f"{IDLE_SESSIONS} idle sessions: {len(children)} processes with {theirs >> 20} MiB of their own;"
            f" the gateway has {each:.0f} KiB and {further:.1f} descriptors more for each, and is busy"
            f" {100 * busier:.1f} % of a CPU, {100 * busy:.1f} % without them"
        )
        self.assertLess(more - memory, IDLE_SESSIONS * MOST_MEMORY)
        self.assertLessEqual(open_now - descriptors, IDLE_SESSIONS * MOST_DESCRIPTORS)
        self.assertLess(busier - busy, MOST_BUSY)
        for session in self.client.get("/api/codex/sessions").json()["sessions"]:
            self.order("stop", session_id=session["session_id"])
        self.assertEqual(descendants(self.gateway.pid), [])
        wait_for(lambda: self.gateway.fds() <= descriptors, "the descriptors are as many as before", 30)

    def costs(self) -> tuple[int, int, float]:
        """Bytes, descriptors, and the part of one CPU that the gateway takes."""
        begun = cpu_seconds(self.gateway.pid)
        threading.Event().wait(IDLE_SECONDS)
        busy = (cpu_seconds(self.gateway.pid) - begun) / IDLE_SECONDS
        return own_memory(self.gateway.pid), self.gateway.fds(), busy


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def own_memory(pid: int) -> int:
    """Bytes that a process shares with none."""
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
