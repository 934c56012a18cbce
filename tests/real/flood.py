"""A flood of requests with a wrong credential, in a process of its own: `python -m tests.real.flood PORT RATE SECONDS`.

It keeps to its rate as long as a connection is free: whoever is made to wait leaves the others to go on. What it could
not send in its time it does not make up for by a burst. At the end it prints how many requests it sent, and by what
status they were answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

CONNECTIONS = 500
REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer hgw_%b\r\n\r\n" % (b"f" * 43)
STEP_SECONDS = 0.002


class Flooder(asyncio.Protocol):
    """One connection: a request, its answer, and free again.

    :param free: where it puts itself.
    :param statuses: counts answers.
    """

    def __init__(self, free: list[Flooder], statuses: Counter[int]) -> None:
        self._free = free
        self._statuses = statuses
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._free.append(self)

    def send(self) -> None:
        """Send one request."""
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, body = self._heard.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and length and len(body) >= int(length):
            self._heard = b""
            self._statuses[int(head[9:12])] += 1
            self._free.append(self)


async def flood(port: int, rate: float, seconds: float) -> tuple[int, Counter[int]]:
    """Send `rate` requests a second for so long.

    :returns: how many were sent, and the statuses of those that were answered.
    """
    loop = asyncio.get_running_loop()
    free: list[Flooder] = []
    statuses: Counter[int] = Counter()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Flooder(free, statuses), "127.0.0.1", port)
    print("READY", flush=True)
    begun = last = loop.time()
    sent, due = 0, 0.0
    while (now := loop.time()) - begun < seconds:
        due = min(due + rate * (now - last), 2 * rate * STEP_SECONDS)
        last = now
        while free and due >= 1:
            free.pop().send()
            sent, due = sent + 1, due - 1
        await asyncio.sleep(STEP_SECONDS)
    return sent, statuses


if __name__ == "__main__":
    count, answered = asyncio.run(flood(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
    print(json.dumps({"sent": count, "answered": answered}))
