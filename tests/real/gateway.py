"""The gateway as its users run it: a `twistd -n hadesgw` child with a configuration and a client of its
own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.real.processes import Process, end, start
from tests.real.waiting import wait_for
from tests.real.wire import Client

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
"""A start takes less than one; a loaded machine may need several times that."""
LOG_SECONDS = 20.0
"""A line is written 50 ms after its answer has ended, unless the machine is busy."""


class GatewayFailed(Exception):
    """The gateway ended while it was starting; the text holds the end of what it said."""


class Gateway:
    """One gateway in front of one model server.

    It writes its configuration, its clients file and its log, `gateway.log`, into `folder` and listens on a
    free port of the loopback interface.  :meth:`start` it, or use it as a context manager.

    :param folder: an existing, empty folder with a path short enough for a socket in it.
    :param upstream: the model server's socket.
    :param models: the names that may be asked for.
    :param sections: further tables of the configuration by name; the keys of a table given here replace ours.
    :param allowance: keys of the client's entry that replace ours, which let it do as it likes.
    """

    def __init__(
        self,
        folder: Path,
        upstream: Path,
        models: Sequence[str],
        sections: Mapping[str, Mapping[str, object]] = {},
        allowance: Mapping[str, object] = {},
    ) -> None:
        self.folder = folder
        self.upstream = upstream
        self.models = list(models)
        self.sections = sections
        self.allowance = allowance
        self.log = folder / "gateway.log"
        self.token = secrets.token_urlsafe(32)
        self.port = 0
        self.prefix: list[str] = []
        """A command that becomes another, which is ours, such as `setpriv` is."""
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves.

        :raises GatewayFailed: when it ends instead.
        """
        self._write("clients.toml", {"client": [self._entry()]})
        self._write("hadesgw.toml", self._configuration())
        twistd = Path(sysconfig.get_path("scripts")) / "twistd"
        command: list[str | Path] = [*self.prefix, twistd, "-n", "--pidfile=", "hadesgw"]
        command += ["--config", self.folder / "hadesgw.toml"]
        python_path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        self.child = start(command, self.log, {**os.environ, "PYTHONPATH": python_path}, self.folder)
        self.port = wait_for(self._bound_port, "the gateway says where it listens", START_SECONDS)
        wait_for(self._alive, "the gateway answers", START_SECONDS)

    def stop(self, seconds: float = 10.0) -> int:
        """SIGTERM, then SIGKILL if it is not gone after `seconds`.

        :returns: the exit status, negative if a signal ended it.
        """
        assert self.child is not None, "not started"
        return end(self.child, seconds)

    def kill(self) -> None:
        """SIGKILL, as a crash would have it."""
        self.process().kill()
        assert self.child is not None
        self.child.wait()

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.child is not None, "not started"
        return self.child.pid

    def client(self, headers: Mapping[str, str] = {}) -> Client:
        """A client with the token of this gateway's only client."""
        return Client(("127.0.0.1", self.port), {"Authorization": f"Bearer {self.token}", **headers})

    def stranger(self) -> Client:
        """A client without any credential."""
        return Client(("127.0.0.1", self.port), {})

    def log_lines(self) -> list[dict[str, Any]]:
        """The JSON objects it logged so far.  What is not JSON is only in :meth:`log_text`."""
        lines = []
        for line in self.log_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                lines.append(entry)
        return lines

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def request_log(self, request_id: str) -> dict[str, Any]:
        """The log line of the request with this id, which is written when its answer has ended."""
        return wait_for(lambda: self._request_line(request_id), f"request {request_id} is in the log", LOG_SECONDS)

    def route_log(self, route: str, count: int) -> list[dict[str, Any]]:
        """The log lines of the requests of a route, once there are `count` of them."""

        def lines() -> list[dict[str, Any]] | None:
            found = [line for line in self.log_lines() if line.get("route") == route]
            return found if len(found) >= count else None

        return wait_for(lines, f"{count} requests of {route} are in the log", LOG_SECONDS)

    def process(self) -> Process:
        found = Process.of(self.pid)
        assert found is not None, f"the gateway has ended:\n{self.log_text()[-2000:]}"
        return found

    def rss(self) -> int:
        """Resident bytes."""
        return self.process().rss()

    def fds(self) -> int:
        """Open descriptors."""
        return self.process().fds()

    def _request_line(self, request_id: str) -> dict[str, Any] | None:
        return next((line for line in self.log_lines() if line.get("request_id") == request_id), None)

    def _entry(self) -> dict[str, object]:
        return {
            "name": "tester",
            "tokens": [{"sha256": hashlib.sha256(self.token.encode()).hexdigest()}],
            "roles": ["user"],
            "requests_per_second": 1000,
            "burst": 1000,
            "max_in_flight": 100,
            **self.allowance,
        }

    def _configuration(self) -> dict[str, Any]:
        ours: dict[str, Any] = {
            "server": {"listen": ["tcp:0:interface=127.0.0.1"], "control": "control.sock"},
            "upstream": [{"name": "vllm", "socket": str(self.upstream), "models": self.models}],
            "clients": {"file": "clients.toml"},
        }
        for name, section in self.sections.items():
            ours[name] = {**ours.get(name, {}), **section}
        return ours

    def _write(self, name: str, document: Mapping[str, object]) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(toml(document))

    def _bound_port(self) -> int | None:
        self._require_life()
        for line in self.log_lines():
            if line.get("event") == "listening":
                return int(str(line["address"]).rpartition(":")[2])
        return None

    def _alive(self) -> bool:
        self._require_life()
        try:
            return self.stranger().get("/healthz").status == 200
        except ConnectionError:
            return False

    def _require_life(self) -> None:
        if self.child is None or self.child.poll() is not None:
            raise GatewayFailed("\n  | ".join(["the gateway has ended; it said:", *self.log_text().splitlines()[-20:]]))


def toml(document: Mapping[str, Any]) -> str:
    """`document` as TOML: every top-level value is a table, or a list of tables."""
    parts = []
    for name, value in document.items():
        tables = value if isinstance(value, list) else [value]
        heading = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
        for table in tables:
            parts += [
                heading,
                *(f"{json.dumps(key)} = {toml_value(item)}" for key, item in table.items()),
                "",
            ]
    return "\n".join(parts)


def toml_value(value: object) -> str:
    """Inline form; JSON's spelling of texts, numbers and truth values is TOML's too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value)
