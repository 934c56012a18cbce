"""A gateway under mixed load for a long time: `python -m tests.real.soak --minutes 30`.

Clients come, ask for everything a model server can do right and wrong, and leave in every manner; wrong credentials and
broken requests are among them. What the gateway holds is counted before and after, and its memory all the while. The
program says what it saw in JSON, and ends with status 1 if something has not come back.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hadesgw.service.control import ask
from tests.real.gateway import Gateway
from tests.real.upstream import ACTS, Upstream
from tests.real.visitor import CHAT, MESSAGES, RESPONSES, Visitor
from tests.real.waiting import NeverHappened, wait_for

ENDLESS = frozenset(("silent", "stuck", "endless", "comments", "flood"))
"""Acts that end by the visitor's leaving only, or by a timeout that would make a soak wait."""
CLIENTS = 8
PAUSE_SECONDS = 0.1
"""Between two requests of one client, on average."""
WARM_UP_SECONDS = 30.0
SAMPLE_SECONDS = 5.0
KEPT_SECONDS = 15.0
"""Longer than idle connections to a model server are kept."""
MOST_GROWTH = 2 << 20
"""Bytes that resident memory may grow over the second half."""
MOST_OBJECTS = 300
"""Objects that may come to stay after the warm-up: label sets of meters that had not been seen before."""


class Load:
    """Clients that come and go until they are told to stop.

    :param seed: the same seed, the same requests.
    """

    def __init__(self, gateway: Gateway, seed: int) -> None:
        self.gateway = gateway
        self.outcomes: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(random.Random(seed + n),)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what runs finish."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _live(self, chance: random.Random) -> None:
        while not self._stopping.wait(chance.expovariate(1 / PAUSE_SECONDS)):
            try:
                outcome = self._visit(chance)
            except OSError as error:
                outcome = type(error).__name__
            self.outcomes[outcome] += 1

    def _visit(self, chance: random.Random) -> str:
        with Visitor(self.gateway) as visitor:
            if chance.random() < 0.05:
                visitor.socket.sendall(chance.choice(BROKEN))
                visitor.read_to_end()
                return "broken request"
            act = chance.choice(sorted(ACTS))
            half = chance.random() < 0.03
            visitor.ask(act, f"soak-{chance.getrandbits(64):x}", chance.choice((CHAT, MESSAGES, RESPONSES)), half=half)
            if half or act in ENDLESS or chance.random() < 0.3:
                visitor.read(chance.random() / 5)
                chance.choice((visitor.close, visitor.reset, visitor.half_close))()
                return "departure"
            try:
                visitor.read_to_end()
            except AssertionError:
                return f"no end of {act}"
            return visitor.received[9:12].decode("latin-1") or "nothing"


BROKEN = (
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /metrics HTTP/1.0\r\nHost: elsewhere.example\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n",
)


def quiet(gateway: Gateway) -> Mapping[str, int]:
    """What the gateway holds, once everybody has gone and what it keeps for a while has run out."""
    path = str(gateway.folder / "control.sock")
    try:
        wait_for(lambda: ask(path, "status")["connections"] == 0, "all connections are gone", seconds=90, pause=0.5)
    except NeverHappened:
        print("connections are left over", file=sys.stderr)
    threading.Event().wait(KEPT_SECONDS)
    return ask(path, "census")


def soak(gateway: Gateway, minutes: float, seed: int) -> dict[str, Any]:
    """Warm up, count, load for so long, and count again."""
    load = Load(gateway, seed)
    threading.Event().wait(WARM_UP_SECONDS)
    load.stop()
    before = quiet(gateway)
    load = Load(gateway, seed + CLIENTS)
    samples = []
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        threading.Event().wait(SAMPLE_SECONDS)
        samples.append(gateway.rss())
    load.stop()
    after = quiet(gateway)
    half = samples[len(samples) // 2 :]
    tenth = max(1, len(half) // 10)
    growth = statistics.median(half[-tenth:]) - statistics.median(half[:tenth])
    return {
        "minutes": minutes,
        "seed": seed,
        "requests": dict(load.outcomes),
        "before": before,
        "after": after,
        "growth_bytes": growth,
        "resident_each_minute": samples[:: max(1, round(60 / SAMPLE_SECONDS))],
        "faults": faults(before, after, growth),
    }


def faults(before: Mapping[str, int], after: Mapping[str, int], growth: float) -> list[str]:
    """What has not come back."""
    found = [name for name in ("descriptors", "timers") if after[name] > before[name]]
    if after["objects"] - before["objects"] > MOST_OBJECTS:
        found.append("objects")
    return [*found, *(["resident memory"] if growth > MOST_GROWTH else [])]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="A gateway under mixed load for a long time.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hgw-") as scratch:
        folder = Path(scratch)
        (folder / "gateway").mkdir()
        # An upstream that is silent is given up soon, so that visitors who wait for it come back.
        sections = {"timeouts": {"first_byte": 2, "idle": 2}, "limits": {"queue_seconds": 5}}
        upstream = Upstream(folder / "up.sock")
        upstream.start()
        try:
            with Gateway(folder / "gateway", upstream.path, ["m"], sections) as gateway:
                told = soak(gateway, options.minutes, options.seed)
        finally:
            upstream.stop()
    print(json.dumps(told, indent=2))
    return 1 if told["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
