"""One run's stage: the backend, the contenders in front of it, the load client. All ends with the stage."""

from __future__ import annotations

import http.client
import json
import os
import resource
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.contenders import Contender, Place
from benchmarks.machine import Placement
from benchmarks.processes import Server, spawn, wait_until
from benchmarks.toolchain import Tools

_START_SECONDS = 30
_LIFETIME_SECONDS = 7200
_QUESTION = json.dumps({"model": "bench", "max_tokens": 1, "messages": [{"role": "user", "content": "?"}]})
_ROUTE = "/v1/chat/completions"


class Failed(Exception):
    """A contender or a round did not do what a figure can be taken from; the text says what happened."""


@dataclass(frozen=True)
class Door:
    """A way to the backend: a contender that serves, or the socket itself."""

    name: str
    target: str
    """For the client: ``tcp:ADDRESS:PORT`` or ``unix:PATH``."""
    token: str = ""
    contender: Contender | None = None
    server: Server | None = None
    started_ms: float = 0.0
    """From the start of its process to its first good answer."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """`process`, over with its pipes when the context is over."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, token: str) -> str:
    """Ask once; empty when the answer is good, else what is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", _ROUTE, _QUESTION, headers)
        answer = connection.getresponse()
        body = answer.read(300)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return "" if answer.status == 200 else f"status {answer.status}: {body.decode(errors='replace')}"


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:] if log.exists() else ""


class Stage:
    """The backend and the load client in a private folder; doors are opened in front of it."""

    def __init__(self, tools: Tools, placement: Placement) -> None:
        self._tools = tools
        self._placement = placement
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hgw-bench-")))
        self._socket = self._folder / "model.sock"
        command = [str(self._tools.backend), str(self._socket), "--lifetime", str(_LIFETIME_SECONDS)]
        process = spawn(command, seat=self._placement.load, environment=os.environ, piped=True)
        self._backend = self._stack.enter_context(Server(process))
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise Failed("the backend did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    # -- doors --

    def direct(self) -> Door:
        """The socket itself."""
        return Door("direct", f"unix:{self._socket}")

    @contextmanager
    def door(self, contender: Contender) -> Iterator[Door]:
        """`contender`, started and serving; stopped at the end.

        :raises Failed: when it does not give a good answer in time; with the end of its log.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"{contender.name}-", dir=self._folder))
        place = Place(folder, self._socket, _free_port(), secrets.token_urlsafe(32))
        log = folder / "output.log"
        command = contender.command(place)
        begun = time.monotonic()
        process = spawn(command, seat=self._placement.contender, environment=contender.environment(place), log=log)
        wrong = ""

        def decided() -> bool:
            nonlocal wrong
            wrong = _answers(place.port, place.token)
            return not wrong or not server.running

        with Server(process) as server:
            wait_until(decided, _START_SECONDS, every=0.002)
            if wrong:
                raise Failed(f"{contender.name} does not serve: {wrong}\n{_last_words(log)}")
            started_ms = (time.monotonic() - begun) * 1000
            yield Door(contender.name, f"tcp:127.0.0.1:{place.port}", place.token, contender, server, started_ms)

    def used_cpu_ns(self, doors: list[Door]) -> int:
        """CPU time of all processes of this run so far: those that have ended, the driver, the servers."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        servers = [self._backend, *(door.server for door in doors if door.server)]
        seconds = ended.ru_utime + ended.ru_stime + time.process_time()
        return int(seconds * 1e9) + sum(server.cpu_ns() for server in servers)

    # -- load --

    def _client(
        self, mode: str, door: Door, options: Mapping[str, object], seconds: float, apart: bool = False
    ) -> subprocess.Popen[str]:
        command = [str(self._tools.client), mode, door.target, "--deadline", str(int(seconds))]
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        if door.server:
            command += ["--cpu-of", ",".join(map(str, door.server.pids))]
        environment = dict(os.environ)
        if door.token:
            environment["HADESGW_BENCH_TOKEN"] = door.token
        seat = self._placement.contender if apart else self._placement.load
        return spawn(command, seat=seat, environment=environment, piped=True)

    def _result(self, process: subprocess.Popen[str], output: str, complaint: str) -> Mapping[str, Any]:
        if process.returncode:
            raise Failed(f"the client ended with {process.returncode}: {complaint.strip()}")
        result: Mapping[str, Any] = json.loads(output)
        if result["errors"]:
            raise Failed(f"{result['errors']} errors, first: {result['first_error']}")
        return result

    def load(
        self, mode: str, door: Door, options: Mapping[str, object], seconds: float = 60, apart: bool = False
    ) -> Mapping[str, Any]:
        """Run the client in `mode` and give back what it tells.

        :param options: of the client, without their dashes; True for those without a value.
        :param seconds: the most it may take.
        :param apart: run on the contender's CPU, away from the backend.
        :raises Failed: when there was any error, for then the figures are of something else.
        """
        with _ended(self._client(mode, door, options, seconds, apart)) as process:
            output, complaint = process.communicate(timeout=seconds + 10)
        return self._result(process, output, complaint)

    @contextmanager
    def hold(self, mode: str, door: Door, options: Mapping[str, object], seconds: float = 60) -> Iterator[int]:
        """Run the client in `mode` until the end of the context, which begins when all connections stand.

        Gives the number of connections.

        :raises Failed: as `load` does; also at the end, when connections were lost in the meantime.
        """
        with _ended(self._client(mode, door, options, seconds)) as process:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Failed("the client ended before all connections stood")
            count = int(json.loads(line)["holding"])
            yield count
            output, complaint = process.communicate(timeout=seconds + 10)
        if self._result(process, output, complaint)["still_open"] < count:
            raise Failed("connections were closed while they were held")

    # -- the backend's memory of who left --

    def _ask_backend(self, method: str) -> Mapping[str, Any]:
        connection = _UnixConnection(self._socket)
        connection.request(method, "/_aborts")
        answer: Mapping[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def forget_aborts(self) -> None:
        self._ask_backend("DELETE")

    def aborts(self, patience: float) -> tuple[set[int], Mapping[int, int]]:
        """Numbers of the departures that arrived, and when each was noticed (CLOCK_MONOTONIC nanoseconds).

        Waits up to `patience` seconds, until nothing new arrives and all that did is aborted.
        """
        told = self._ask_backend("GET")

        def settled() -> bool:
            nonlocal told
            last, told = told, self._ask_backend("GET")
            return last["arrived"] == told["arrived"] and len(told["aborted"]) >= len(told["arrived"])

        wait_until(settled, patience, every=0.2)
        return set(told["arrived"]), dict(told["aborted"])
