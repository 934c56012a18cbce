"""The gateway as a process, between a model server that fails and clients that leave, stall or stay too long."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.dialects import dialect_of, error_body, error_event
from hadesgw.policy.refusals import Refusal, catalogue
from tests.real.faults import BODY_FAULTS, HARMLESS, HEAD_FAULTS, SOCKET_FAULTS, Fault
from tests.real.gateway import Gateway
from tests.real.upstream import COMPLETION, DONE, EVENT, Upstream
from tests.real.visitor import CHAT, MESSAGES, RESPONSES, Visitor
from tests.real.waiting import wait_for

TREE: Mapping[str, object] = {
    "/v1": ["metered", "guard", "proxy"],
    "/metrics": ["guard", "metrics"],
    "/healthz": ["health"],
    "/readyz": ["readiness"],
}
SHORT = {"first_byte": 1, "idle": 1}
"""Time limits that a test can wait for."""
PATHS = (CHAT, RESPONSES, MESSAGES)
REFUSALS = catalogue()


class Case(SynchronousTestCase):
    """A gateway and an upstream, each a process, for each test."""

    timeouts: Mapping[str, object] = {}

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        (folder / "gateway").mkdir()
        self.upstream = Upstream(folder / "up.sock")
        self.gateway = Gateway(folder / "gateway", self.upstream.path, ["m"], {"tree": TREE, "timeouts": self.timeouts})
        self.asked = 0
        self.before_start()
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def before_start(self) -> None:
        """What the gateway finds."""
        self.addCleanup(self.upstream.stop)
        self.upstream.start()

    def next_id(self) -> str:
        """An id nobody has used."""
        self.asked += 1
        return f"req-{self.asked}"

    def visitor(self, receive_buffer: int | None = None) -> Visitor:
        """Somebody comes."""
        visitor = Visitor(self.gateway, receive_buffer)
        self.addCleanup(visitor.close)
        return visitor

    def play(self, act: str, path: str = CHAT, **metadata: object) -> tuple[Visitor, str]:
        """Have an act played for a client who listens to the end."""
        visitor, request_id = self.visitor(), self.next_id()
        visitor.ask(act, request_id, path, **metadata)  # type: ignore[arg-type]
        visitor.read_to_end()
        return visitor, request_id

    def assert_serves(self) -> None:
        """A request is answered as if nothing had been."""
        visitor, request_id = self.play("answer")
        self.assertEqual(
            (visitor.answer().status, visitor.answer().body, visitor.answer().whole), (200, COMPLETION, True)
        )
        self.assert_ids(visitor, request_id)

    def assert_ids(self, visitor: Visitor, request_id: str) -> None:
        """Exactly one of each, and it is the one that was sent."""
        answer = visitor.answer()
        self.assertEqual(answer.one(b"x-request-id"), request_id.encode())
        self.assertEqual(answer.one(b"x-conveyance-session-id"), b"session-of-" + request_id.encode())

    def meter(self, name: str, labels: str = "") -> float:
        """The value of one meter."""
        page = self.gateway.client().get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(name + labels)} ([0-9.e+]+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def assert_nothing_left(self, descriptors: int) -> None:
        """No request is in flight, no connection open, and no descriptor held that was not held before."""
        wait_for(lambda: self.upstream.open() == 0, "no connection to the upstream is left", seconds=20)
        wait_for(lambda: self.gateway.fds() <= descriptors, "no descriptor is left", seconds=20)
        self.assertEqual(self.meter("hades_codex_in_flight"), 0)


class ToldCase(Case):
    """What a client is told, compared with what the page promises."""

    timeouts = SHORT

    def assert_told(self, fault: Fault, path: str, visitor: Visitor, request_id: str) -> None:
        """The client was told what the page promises."""
        answer = visitor.answer()
        self.assertEqual(answer.status, fault.status, fault)
        self.assert_ids(visitor, request_id)
        line = self.gateway.request_log(request_id)
        self.assertEqual(
            (line["reason"], line["code"], line["status"]), (fault.reason or None, fault.code or None, fault.status)
        )
        self.assertEqual(line["conveyance_session_id"], f"session-of-{request_id}")
        self.assertNotIn(b"[DONE]", b"" if fault.end == "whole" else answer.body)
        getattr(self, f"assert_{fault.end}")(REFUSALS.get(fault.reason), path, answer, visitor)

    def assert_answer(self, refusal: Refusal, path: str, answer: object, visitor: Visitor) -> None:
        """An error answer in the dialect of the path."""
        told = visitor.answer()
        self.assertEqual((told.body, told.whole), (error_body(refusal, dialect_of(path.encode())), True))
        self.assertEqual(told.all(b"retry-after"), [b"1"] if refusal.status == 503 else [])

    def assert_event(self, refusal: Refusal, path: str, answer: object, visitor: Visitor) -> None:
        """The dialect's error event is the last thing, and the body has no end."""
        told = visitor.answer()
        self.assertTrue(told.body.startswith(EVENT))
        self.assertTrue(told.body.endswith(b"\n\n" + error_event(refusal, dialect_of(path.encode()))), told.body)
        self.assertFalse(told.whole)

    def assert_cut(self, refusal: Refusal, path: str, answer: object, visitor: Visitor) -> None:
        """It is visibly incomplete."""
        self.assertFalse(visitor.answer().whole)

    def assert_whole(self, refusal: None, path: str, answer: object, visitor: Visitor) -> None:
        """There is nothing wrong with it."""
        self.assertTrue(visitor.answer().whole)


class FaultTests(ToldCase):
    """Every failure of the model server has its answer, its end and its line, and the gateway serves on."""

    def test_what_the_model_server_may_do_wrong(self) -> None:
        """Each fault of the page, in each dialect in turn; after it the gateway serves."""
        faults = [(fault, act) for fault in (*HEAD_FAULTS, *BODY_FAULTS, *HARMLESS) for act in fault.acts]
        for at, (fault, act) in enumerate(faults):
            path = PATHS[at % len(PATHS)]
            visitor, request_id = self.play(act, path)
            self.assert_told(fault, path, visitor, request_id)
            self.assert_serves()
        for header in ("x-request-id", "x-conveyance-session-id"):
            # One that was forged; and, as the answers after it bring none, one that is missed.
            self.assertEqual(self.meter("hades_codex_correlation_mismatches_total", f'{{header="{header}"}}'), 2)
        self.assertEqual(self.meter("hades_codex_missing_correlation_total"), 0)
        self.assertNotIn("Traceback", self.gateway.log_text())

    def test_bodies_are_not_touched(self) -> None:
        """More than the stated length is not passed on, a drip arrives byte for byte, interim heads are not seen."""
        for act in ("longer", "second-head", "interim"):
            self.assertEqual(self.play(act)[0].answer().body, COMPLETION)
        self.assertEqual(self.play("drip")[0].answer().body, EVENT + DONE)

    def test_an_upstream_killed_in_mid_stream(self) -> None:
        """All streams are ended as broken, at once, in their dialects; when it is back, so are we."""
        visitors = {}
        for path in PATHS:
            visitors[path] = (self.visitor(), self.next_id())
            visitors[path][0].ask("endless", visitors[path][1], path)
            visitors[path][0].read_until(EVENT)
        self.upstream.kill()
        killed = time.monotonic()
        for visitor, _ in visitors.values():
            visitor.read_to_end()
        self.assertLess(time.monotonic() - killed, 2)
        fault = next(fault for fault in BODY_FAULTS if "reset-in-chunk" in fault.acts)
        for path, (visitor, request_id) in visitors.items():
            self.assert_told(fault, path, visitor, request_id)
        self.assertEqual(self.play("answer")[0].answer().status, 503)
        self.upstream.start()
        self.assert_serves()

    def test_a_connection_that_closes_when_it_is_used_again(self) -> None:
        """The request goes out once more, on a fresh one; but not if it asked to be stored."""
        for store, status in ((False, 200), (True, 502)):
            self.play("close-on-next")
            visitor, request_id = self.play("answer", store=store)
            self.assertEqual(visitor.answer().status, status)
            self.assertEqual(len(self.upstream.events("asked", request_id)), 1 if status == 200 else 0)
            self.assertEqual(self.gateway.request_log(request_id)["reason"], None if status == 200 else "upstream_died")
        self.assert_serves()

    def test_readiness_follows_the_upstream(self) -> None:
        """Red while it is away, green when it is back; the gateway's own health does not hang on it."""
        client = self.gateway.stranger()
        self.assertEqual(client.get("/readyz").status, 200)
        self.upstream.kill()
        answer = wait_for(self.unready, "readiness is red", seconds=20)
        self.assertEqual(answer, b'{"status":"unready","upstream":{"vllm":"upstream_refused"}}')
        self.assertEqual(client.get("/healthz").status, 200)
        self.upstream.start()
        wait_for(lambda: client.get("/readyz").status == 200, "readiness is green", seconds=20)

    def unready(self) -> bytes | None:
        """What readiness says when it is red."""
        answer = self.gateway.stranger().get("/readyz")
        return answer.body if answer.status == 503 else None


class SocketTests(ToldCase):
    """The model server cannot be reached."""

    def before_start(self) -> None:
        """Nothing: each test has its own."""

    def assert_refused(self, reason: str) -> float:
        """In every dialect, for this reason; how long it took until all were."""
        fault = next(fault for fault in SOCKET_FAULTS if fault.reason == reason)
        asked = time.monotonic()
        visitors = {path: (self.visitor(), self.next_id()) for path in PATHS}
        for path, (visitor, request_id) in visitors.items():
            visitor.ask("answer", request_id, path)
        for visitor, _ in visitors.values():
            visitor.read_to_end()
        took = time.monotonic() - asked
        for path, (visitor, request_id) in visitors.items():
            self.assert_told(fault, path, visitor, request_id)
        self.assertEqual(self.meter("hades_codex_refusals_total", f'{{reason="{reason}"}}'), len(PATHS))
        return took

    def listen(self, backlog: int | None) -> socket.socket:
        """A server that is bound, and listens if it has a backlog, and accepts nobody."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(str(self.upstream.path))
        if backlog is not None:
            listener.listen(backlog)
        return listener

    def assert_recovers(self) -> None:
        """As soon as there is a server, requests are served."""
        self.addCleanup(self.upstream.stop)
        self.upstream.start()
        self.assert_serves()

    def test_missing(self) -> None:
        """There is no such file; nobody is kept waiting for that."""
        self.assertLess(self.assert_refused("upstream_missing"), 1)
        self.assert_recovers()

    def test_stale(self) -> None:
        """The file of a server that has gone; it stays where it is."""
        self.listen(5).close()
        self.assertLess(self.assert_refused("upstream_refused"), 1)
        self.assertTrue(self.upstream.path.exists())
        self.assert_recovers()

    def test_bound_and_not_listening(self) -> None:
        """As vLLM is while it loads its model."""
        self.listen(None)
        self.assertLess(self.assert_refused("upstream_refused"), 1)
        self.assert_recovers()

    def test_full(self) -> None:
        """A server that accepts nobody is waited for, but not for ever."""
        listener = self.listen(0)
        for _ in range(2):  # a place in the queue, and one more than the backlog says
            visitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(visitor.close)
            visitor.setblocking(False)
            visitor.connect_ex(str(self.upstream.path))
        self.assertTrue(2 <= self.assert_refused("upstream_busy") < 8)
        listener.close()
        self.assert_recovers()


class DepartureTests(Case):
    """Clients leave."""

    departures = 1000
    attempts = 4
    """A machine that is busy with something else may spoil some."""

    def test_the_upstream_learns_at_once(self) -> None:
        """A thousand departures, in any state and manner: it is let go within 50 ms, and nothing is left."""
        descriptors = self.gateway.fds()
        dice = random.Random(7)
        delays: list[float] = []
        while len(delays) < self.attempts and min(delays, default=1.0) > 0.050:
            left = self.depart(dice)
            self.assert_nothing_left(descriptors)
            self.assert_logged(left)
            delays.append(self.longest_delay(left))
        self.assertLess(delays[-1], 0.050, delays)
        self.assert_serves()

    def depart(self, dice: random.Random) -> dict[str, float]:
        """All of them; when each left, by its id."""
        left: dict[str, float] = {}
        staying: list[Visitor] = []
        for _ in range(self.departures):
            request_id = self.next_id()
            visitor = self.begin(dice, request_id)
            left[request_id] = time.monotonic()
            manner = dice.choice(["close", "reset", "half_close"])
            getattr(visitor, manner)()
            if manner == "half_close":
                staying.append(visitor)
        for visitor in staying:
            visitor.read_to_end()
            visitor.close()
        return left

    def longest_delay(self, left: Mapping[str, float]) -> float:
        """Seconds until the upstream had learned it, but for the worst of a hundred."""
        delays: list[float] = sorted(
            event["at"] - left[event["id"]] for event in self.upstream.events("left") if event["id"] in left
        )
        self.assertGreater(len(delays), self.departures / 3)
        return delays[len(delays) * 99 // 100]

    def assert_logged(self, left: Mapping[str, float]) -> None:
        """Each request that the upstream saw has one line, and what has a line was left."""
        seen = {event["id"] for event in self.upstream.events("asked")} & left.keys()

        def logged() -> list[dict[str, Any]] | None:
            lines = [line for line in self.gateway.log_lines() if line.get("request_id") in left]
            return lines if seen <= {line["request_id"] for line in lines} else None

        lines = wait_for(logged, "each request has its line", seconds=20)
        self.assertEqual({(line["status"], line["reason"]) for line in lines}, {(499, "client_left")})
        self.assertEqual(len(lines), len({line["request_id"] for line in lines}), "each request has one line")

    def begin(self, dice: random.Random, request_id: str) -> Visitor:
        """A request in some state."""
        visitor = Visitor(self.gateway)
        state = dice.choice(["uploading", "waiting", "streaming", "streaming"])
        visitor.ask("endless" if state == "streaming" else "silent", request_id, half=state == "uploading")
        if state == "streaming":
            visitor.read_until(EVENT)
        for _ in range(dice.randrange(3)):
            visitor.read(dice.random() / 200)
        return visitor


class StallTests(Case):
    """Clients stay, and do not read."""

    readers = 50
    bound = 256 * 1024

    def test_a_stalled_reader_stalls_its_stream_only(self) -> None:
        """Fifty of them: what we hold for each is bounded, others are served, and nothing is left of them."""
        descriptors, memory = self.gateway.fds(), self.gateway.rss()
        visitors = [self.visitor(receive_buffer=4096) for _ in range(self.readers)]
        for visitor in visitors:
            visitor.ask("flood", self.next_id())
        wait_for(lambda: len(self.upstream.events("stalled")) == self.readers, "all streams stand still", seconds=30)
        self.assert_serves()
        taken = sum(event["wrote"] for event in self.upstream.events("stalled"))
        in_kernel = self.in_tcp_queues(visitors) + self.in_unix_queues()
        ours = (taken - in_kernel) / self.readers
        self.assertLess(ours, self.bound, f"taken {taken}, of which in the kernel {in_kernel}")
        grown = self.gateway.rss() - memory
        self.assertLess(grown, self.readers * self.bound, "resident bytes")
        print(f"\nstalled readers: {ours / 1024:.0f} KiB of ours each, {grown / 1024 / self.readers:.0f} KiB resident")
        for visitor in visitors:
            visitor.close()
        self.assert_nothing_left(descriptors)

    def in_tcp_queues(self, visitors: list[Visitor]) -> int:
        """Bytes the kernel holds between the gateway and these visitors (proc(5), /proc/net/tcp)."""
        ports, held = {visitor.port for visitor in visitors}, 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            if ports & {int(address.rpartition(":")[2], 16) for address in (local, remote)}:
                held += sum(int(queue, 16) for queue in queues.split(":"))
        return held

    def in_unix_queues(self) -> int:
        """Bytes the kernel holds between the upstream and the gateway; at most, where `ss` is not there to tell."""
        if shutil.which("ss") is None:
            return self.readers * int(Path("/proc/sys/net/core/wmem_default").read_text())
        listing = subprocess.run(["ss", "-xnH"], capture_output=True, text=True, check=True).stdout
        ends = [line.split() for line in listing.splitlines()]
        gateways = {end[-1] for end in ends if str(self.upstream.path) in end}
        return sum(int(end[2]) for end in ends if end[5] in gateways)


class LeavingCase(Case):
    """A gateway that is told to leave."""

    def terminate(self) -> None:
        """SIGTERM."""
        assert self.gateway.child is not None
        self.gateway.child.send_signal(signal.SIGTERM)

    def status(self) -> int:
        """The exit status, once it has ended."""
        assert self.gateway.child is not None
        return self.gateway.child.wait(timeout=30)

    def refuses(self) -> bool:
        """Whether new connections are refused."""
        try:
            Visitor(self.gateway).close()
        except ConnectionRefusedError:
            return True
        return False

    def streams(self, act: str, **metadata: object) -> dict[str, Visitor]:
        """A stream in each dialect, begun."""
        visitors = {}
        for path in PATHS:
            visitor = visitors[path] = self.visitor()
            visitor.ask(act, self.next_id(), path, close=False, **metadata)  # type: ignore[arg-type]
            visitor.read_until(EVENT)
        return visitors


class LifeTests(LeavingCase):
    """How it starts and how it leaves."""

    timeouts: Mapping[str, object] = {"drain": 60}

    def test_it_starts_quickly_and_small(self) -> None:
        """It serves within a second and holds at most 60 MiB, the page included; on a busy machine its own time counts.

        Coding sessions are loaded with a workspace for them, or when somebody comes to them.
        """
        times: list[float] = []
        while len(times) < 3 and min(times, default=9) > 1.0:
            self.gateway.stop()
            self.gateway.log.unlink()
            started = time.monotonic()
            self.gateway.start()
            busy = os.getloadavg()[0] > (os.cpu_count() or 1)
            times.append(self.processor_time() if busy else time.monotonic() - started)
        self.assertLessEqual(min(times), 1.0)
        self.assertLessEqual(self.gateway.rss(), 60 << 20)
        print(f"\nstart to serving {min(times):.2f} s, {self.gateway.rss() / (1 << 20):.1f} MiB resident")

    def processor_time(self) -> float:
        """Seconds that the gateway has computed so far (proc(5), utime and stime)."""
        fields = Path(f"/proc/{self.gateway.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_on_sigterm_streams_finish(self) -> None:
        """New connections are refused, idle ones closed, what runs is served to its end, and the status is 0."""
        idle = self.visitor()
        idle.ask("answer", self.next_id(), close=False)
        idle.read_until(COMPLETION)
        visitors = self.streams("stream", events=100)
        self.terminate()
        wait_for(self.refuses, "new connections are refused", seconds=10)
        idle.read_to_end(seconds=10)
        for visitor in visitors.values():
            visitor.read_to_end()
            self.assertEqual((visitor.answer().body, visitor.answer().whole), (EVENT * 100 + DONE, True))
            self.assertEqual(visitor.ended, "closed")
        self.assertEqual(self.status(), 0)

    def assert_drained(self, visitors: dict[str, Visitor]) -> None:
        """Each stream was ended with its dialect's error event, the upstream let go, and the status is 0."""
        for path, visitor in visitors.items():
            visitor.read_to_end()
            event = error_event(REFUSALS["drained"], dialect_of(path.encode()))
            self.assertTrue(visitor.answer().body.endswith(event), visitor.answer().body[-300:])
            self.assertFalse(visitor.answer().whole)
        self.assertEqual(self.status(), 0)
        wait_for(lambda: self.upstream.open() == 0, "the upstream is let go", seconds=20)
        drained = [line for line in self.gateway.log_lines() if line.get("reason") == "drained"]
        self.assertEqual(len(drained), len(visitors))

    def test_a_second_sigterm_cuts(self) -> None:
        """Whoever sends it does not want to wait."""
        visitors = self.streams("endless")
        self.terminate()
        wait_for(self.refuses, "new connections are refused", seconds=10)
        for visitor in visitors.values():
            before = len(visitor.received)
            visitor.read_until(EVENT)
            visitor.read(1)
            self.assertGreater(len(visitor.received), before, "it streams on")
        told = time.monotonic()
        self.terminate()
        self.assert_drained(visitors)
        self.assertLess(time.monotonic() - told, 20)


class DrainLimitTests(LeavingCase):
    """What does not end by itself."""

    timeouts: Mapping[str, object] = {"drain": 1}

    def test_the_limit_ends_what_does_not_end(self) -> None:
        """Also a request that has no answer yet."""
        visitors = self.streams("endless")
        waiting = self.visitor()
        waiting.ask("silent", self.next_id(), close=False)
        wait_for(lambda: len(self.upstream.events("asked")) == 4, "all are asked", seconds=20)
        told = time.monotonic()
        self.terminate()
        waiting.read_to_end()
        self.assertEqual(waiting.answer().body, error_body(REFUSALS["drained"], dialect_of(CHAT.encode())))
        self.assertEqual(waiting.answer().status, 503)
        visitors_and_waiting = len(visitors) + 1
        for visitor in visitors.values():
            visitor.read_to_end()
        self.assertTrue(1 <= time.monotonic() - told < 15)
        wait_for(
            lambda: [line.get("reason") for line in self.gateway.log_lines()].count("drained") == visitors_and_waiting,
            "every request has its line",
            seconds=20,
        )
        self.assertEqual(self.status(), 0)
