"""The meters and the log of a gateway that runs, against what its clients counted themselves."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import stat
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.upstream import Upstream
from tests.real.waiting import wait_for

REQUESTS = int(os.environ.get("HADESGW_COUNTED_REQUESTS", "600"))
"""How many mixed requests are compared; `make count` takes 10,000."""
CLIENTS = 12
LATE_MS = 250
"""A process may be made to wait between sending the last byte and reading its clock."""
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
ALLOWANCE = {"requests_per_second": 1_000_000, "burst": 1_000_000, "max_in_flight": 100, "roles": ["admin"]}


def scrape(path: Path, accept: str = "*/*") -> tuple[str, str]:
    """(status line, body) of `/metrics` on a UNIX socket, asked for without a credential."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(path))
        request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        answer = b""
        while data := client.recv(65_536):
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head.partition("\r\n")[0], body


class Case(SynchronousTestCase):
    """A gateway with a socket for scrapers, before a model server that does as it is told."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.socket = self.folder / "metrics.sock"
        self.upstream = Upstream(self.folder / "model.sock")
        self.addCleanup(self.upstream.stop)
        self.upstream.start()
        sections = {"metrics": {"listen": f"unix:{self.socket}:mode=600"}}
        (self.folder / "gateway").mkdir()
        self.gateway = Gateway(self.folder / "gateway", self.upstream.path, ["m"], sections, ALLOWANCE)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """(labels, value) of each sample, by name."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in read_text(scrape(self.socket)[1]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def total(self, name: str, **labels: str) -> float:
        """The sum of what is shown under a name and labels."""
        shown = self.samples().get(f"hades_codex_{name}", [])
        return sum(value for has, value in shown if labels.items() <= has.items())


class ScraperTests(Case):
    """A socket of a scraper's own."""

    def test_no_credential_is_asked_for(self) -> None:
        """Text or OpenMetrics; its mode is the configured one, and its visits are no client connections."""
        status, text = scrape(self.socket)
        self.assertEqual((status, stat.S_IMODE(self.socket.stat().st_mode)), ("HTTP/1.1 200 OK", 0o600))
        self.assertIn("hades_codex_build_info", text)
        self.assertEqual(self.total("connections"), 0)
        self.gateway.client().post(CHAT, {"model": "m", "metadata": {"act": "answer"}}, {"X-Request-ID": "example-1"})
        _, text = scrape(self.socket, "application/openmetrics-text")
        families = {family.name: family for family in read_openmetrics(text)}
        latency = families["hades_codex_request_latency_ms"].samples
        exemplars = [sample.exemplar.labels for sample in latency if sample.exemplar]
        self.assertEqual(exemplars, [{"request_id": "example-1"}])

    def test_nothing_else_is_there(self) -> None:
        """Neither for the scraper, nor over TCP without a credential."""
        self.assertEqual(self.gateway.stranger().get("/metrics").status, 401)
        self.assertEqual(self.gateway.client().get("/metrics").status, 200)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(self.socket))
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            self.assertTrue(client.recv(65_536).startswith(b"HTTP/1.1 404 "))


class IdTests(Case):
    """Model servers that tamper with the ids."""

    def test_the_clients_are_right_and_it_is_counted(self) -> None:
        """Overwritten, doubled, and dropped by one that has echoed them before."""
        for act, mismatches in (("answer", 0), ("foreign-ids", 2), ("doubled-ids", 3), ("answer", 1), ("answer", 0)):
            before = self.total("correlation_mismatches_total")
            ids = {"X-Request-ID": f"right-{act}", "X-Conveyance-Session-ID": "session-1"}
            answer = self.gateway.client(ids).post(CHAT, {"model": "m", "metadata": {"act": act}})
            self.assertEqual(answer.header("x-request-id"), f"right-{act}")
            self.assertEqual(answer.header("x-conveyance-session-id"), "session-1")
            self.assertEqual(self.total("correlation_mismatches_total") - before, mismatches, act)
        self.assertEqual(self.total("missing_correlation_total"), 0)


# -- Counting on both sides --------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """One kind of request.

    :ivar leaves: None, or after how many bytes of the answer the client leaves.
    :ivar route: the name it has in metrics.
    """

    name: str
    path: str
    body: bytes
    token: bool = True
    leaves: int | None = None
    route: str = ""


class Seen(NamedTuple):
    """What a client saw of one request."""

    wish: Wish
    request_id: str
    status: int
    size: int
    stream: bool
    milliseconds: float


def _ask(act: str, **members: Any) -> bytes:
    return json.dumps({"model": "m", "metadata": {"act": act}, **members}).encode()


WISHES = (
    Wish("answered", CHAT, _ask("answer")),
    Wish("answered", MESSAGES, _ask("answer")),
    Wish("streamed", CHAT, _ask("stream", stream=True)),
    Wish("streamed", RESPONSES, _ask("stream", stream=True)),
    Wish("streamed and died", CHAT, _ask("engine-death", stream=True)),
    Wish("broken off", CHAT, _ask("eof-at-border", stream=True)),
    Wish("no answer", CHAT, _ask("eof-at-once")),
    Wish("nonsense", CHAT, _ask("garbage")),
    Wish("left unanswered", CHAT, _ask("silent"), leaves=0),
    Wish("left a stream", CHAT, _ask("endless", stream=True), leaves=300),
    Wish("other model", CHAT, b'{"model":"other"}'),
    Wish("no JSON", CHAT, b'{"model":'),
    Wish("nowhere", "/v1/nowhere", b"{}", route="/v1"),
    Wish("too large", CHAT, b'{"model":"m","x":"' + b"x" * 70_000 + b'"}'),
)


class Client:
    """Sends requests one after the other, each on a connection of its own, and notes what it sees."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.seen: list[Seen] = []

    async def ask(self, wish: Wish, request_id: str) -> None:
        """One request."""
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
        head = f"POST {wish.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {self._gateway.token}\r\nX-Request-ID: {request_id}\r\n"
        head += f"Content-Length: {len(wish.body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + wish.body)
        status = size = 0
        stream = False
        if wish.leaves == 0:
            await asyncio.sleep(0.02)
        else:
            answer = await reader.readuntil(b"\r\n\r\n")
            status, stream = int(answer[9:12]), b"text/event-stream" in answer
            read = self._chunks if b"chunked" in answer else self._rest
            size = await read(reader, wish.leaves)
        milliseconds = (time.monotonic() - begun) * 1_000
        writer.close()
        self.seen.append(Seen(wish, request_id, status, size, stream, milliseconds))

    @staticmethod
    async def _rest(reader: asyncio.StreamReader, most: int | None) -> int:
        return len(await reader.read(-1))

    @staticmethod
    async def _chunks(reader: asyncio.StreamReader, most: int | None) -> int:
        """The body's bytes, to its end, or to where it is cut or left."""
        size = 0
        while line := await reader.readline():
            length = int(line, 16)
            await reader.readexactly(length + 2)
            size += length
            if not length or (most is not None and size >= most):
                break
        return size


async def _visit(clients: list[Client], wishes: list[Wish]) -> None:
    waiting = list(enumerate(wishes))

    async def work(client: Client) -> None:
        while waiting:
            number, wish = waiting.pop()
            await client.ask(wish, f"counted-{number}")

    await asyncio.gather(*(work(client) for client in clients))


class CountTests(Case):
    """Requests, latencies and bytes, of all ends that a request can come to."""

    def setUp(self) -> None:
        Case.setUp(self)
        draw = random.Random(5)
        wishes = [draw.choice(WISHES) for _ in range(REQUESTS)]
        clients = [Client(self.gateway) for _ in range(CLIENTS)]
        asyncio.run(_visit(clients, wishes))
        self.seen = [seen for client in clients for seen in client.seen]
        self.assertEqual(len(self.seen), REQUESTS)

    def lines(self) -> dict[str, dict[str, Any]]:
        """The log's line of each request, by its id."""

        def all_told() -> dict[str, dict[str, Any]] | None:
            told = [line for line in self.gateway.log_lines() if line.get("request_id", "").startswith("counted-")]
            return {line["request_id"]: line for line in told} if len(told) == REQUESTS else None

        return wait_for(all_told, "every request has one line", seconds=30)

    def test_both_sides_agree(self) -> None:
        """The log for each request by itself, the meters for all of them together."""
        lines = self.lines()
        for seen in self.seen:
            self._compare(seen, lines[seen.request_id])
        self._compare_counts(lines)
        self._compare_latencies()
        self.assertEqual(self.total("in_flight"), 0)
        self.assertEqual(self.total("log_dropped_total"), 0)
        died = sum(seen.wish.name == "streamed and died" for seen in self.seen)
        self.assertEqual(self.total("errors_total", code="upstream_error"), died)

    def _compare(self, seen: Seen, line: dict[str, Any]) -> None:
        told = (seen, line)
        if seen.wish.leaves is not None:
            self.assertEqual((line["status"], line["reason"]), (499, "client_left"), told)
            self.assertGreaterEqual(line["bytes_out"], seen.size, told)
            return
        self.assertEqual((line["status"], line["bytes_out"]), (seen.status, seen.size), told)
        if seen.wish.name != "broken off":  # which is over for the gateway when the connection is
            self.assertLessEqual(line["duration_ms"], seen.milliseconds + LATE_MS, told)
        self.assertEqual(line["stream"], seen.stream, told)
        if seen.wish.name == "streamed and died":
            self.assertEqual((line["status"], line["reason"]), (200, "upstream_error"), told)
        elif seen.wish.name == "broken off":
            self.assertEqual((line["status"], line["reason"]), (200, "upstream_truncated"), told)
        elif seen.status == 200:
            self.assertIsNone(line["reason"], told)

    def _compare_counts(self, lines: dict[str, dict[str, Any]]) -> None:
        counted: Counter[tuple[str, str]] = Counter()
        streamed: Counter[str] = Counter()
        for seen in self.seen:
            route = seen.wish.route or seen.wish.path
            counted[route, "499" if seen.wish.leaves is not None else str(seen.status)] += 1
            if seen.stream:  # of one that was left only the gateway knows how much was on its way
                left = seen.wish.leaves is not None
                streamed[route] += lines[seen.request_id]["bytes_out"] if left else seen.size
        samples = self.samples()
        requests = {(has["route"], has["status"]): value for has, value in samples["hades_codex_requests_total"]}
        self.assertEqual(requests, dict(counted))
        sent = {has["route"]: value for has, value in samples["hades_codex_stream_bytes_total"]}
        self.assertEqual(sent, dict(streamed))
        latencies = sum(value for _, value in samples["hades_codex_request_latency_ms_count"])
        self.assertEqual(latencies, REQUESTS)

    def _compare_latencies(self) -> None:
        """Nobody sees less than the gateway has measured; in the mean no more than a loaded machine explains."""
        measured = self.total("request_latency_ms_sum")
        noted = sum(seen.milliseconds for seen in self.seen if seen.wish.leaves is None)
        left = sum(seen.milliseconds for seen in self.seen if seen.wish.leaves is not None)
        self.assertLessEqual(measured, noted + left + 20 * REQUESTS)
        self.assertGreaterEqual(measured, 0.2 * noted)
        for bound in ("1000.0", "4000.0", "15000.0"):
            within = self.total("request_latency_ms_bucket", le=bound)
            seen = sum(one.milliseconds <= float(bound) - LATE_MS for one in self.seen if one.wish.leaves is None)
            self.assertGreaterEqual(within, seen, bound)
