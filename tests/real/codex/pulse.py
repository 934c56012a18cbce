"""A client that asks for a small chat completion again and again, in a process of its own, and times each answer.

`HADESGW_TOKEN=... python -m tests.real.codex.pulse PORT` prints a line for each: when it was asked, by the
monotonic clock, and how long it took, in seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.real.gateway import PROJECT, Gateway
from tests.real.processes import end, start

PAUSE_SECONDS = 0.02
CHAT_MODEL = "chat"
"""The name of a model that chats have for themselves."""
NICE = ("nice", "-n", "10")
"""What the agents' model server is started with: it is no part of what is measured."""
_BODY = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "rehearse: long tokens=4"}]})


class TwoModels(Gateway):
    """A gateway with a model server for its chats besides that of the agents."""

    def __init__(self, *given: Any, chats: Path) -> None:
        super().__init__(*given)
        self.chats = chats

    def _configuration(self) -> dict[str, Any]:
        ours = super()._configuration()
        ours["upstream"].append({"name": "chats", "socket": str(self.chats), "models": [CHAT_MODEL]})
        return ours


class Pulse:
    """The process, from :meth:`start` to :meth:`stop`.

    :param log: where it prints.
    """

    def __init__(self, gateway: TwoModels, log: Path) -> None:
        self.gateway = gateway
        self.log = log

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.real.codex.pulse", str(self.gateway.port)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HADESGW_TOKEN": self.gateway.token}
        self._child = start(command, self.log, environment, self.log.parent)

    def stop(self) -> None:
        end(self._child, 5)

    def between(self, begun: float, ended: float) -> Sequence[float]:
        """Seconds that the answers took which were asked for in that time.

        :raises AssertionError: if it has ended.
        """
        assert self._child.poll() is None, self.log.read_text()[-2000:]
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        times = [tuple(map(float, line.split())) for line in lines]
        return [seconds for asked, seconds in times if begun <= asked < ended]


def p95(seconds: Sequence[float]) -> float:
    """The time within which 95 of 100 came."""
    return quantiles(seconds, n=20)[-1]


def main(port: int, token: str) -> None:
    """Ask for ever."""
    fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    pause = threading.Event()  # that nobody sets: a pace, not a wait
    while True:
        asked = time.monotonic()
        connection.request("POST", "/v1/chat/completions", _BODY, fields)
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told
        print(f"{asked:.6f} {time.monotonic() - asked:.6f}", flush=True)
        pause.wait(PAUSE_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]), os.environ["HADESGW_TOKEN"])
