"""Limits of the gateway as a process, met by clients on sockets."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.gateway import Gateway
from tests.real.upstream import EVENT, Upstream
from tests.real.visitor import CHAT, RESPONSES, Visitor
from tests.real.waiting import wait_for

TREE: Mapping[str, object] = {
    "/v1": ["metered", "guard", "limiter", "proxy"],
    "/metrics": ["guard", "metrics"],
    "/healthz": ["health"],
}


class LimitTests(SynchronousTestCase):
    """A gateway and an upstream, each a process, for each test."""

    def serve(self, allowance: Mapping[str, object], limits: Mapping[str, object] = {}) -> None:
        """Start both, with these keys of the client and of `[limits]`."""
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        folder = Path(scratch.name)
        (folder / "gateway").mkdir()
        upstream = Upstream(folder / "up.sock")
        self.addCleanup(upstream.stop)
        upstream.start()
        sections = {"tree": TREE, "limits": limits}
        self.gateway = Gateway(folder / "gateway", upstream.path, ["m"], sections, allowance)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def ask(self, act: str, request_id: str, path: str = CHAT, **metadata: object) -> Visitor:
        """Somebody comes and asks for an act of the upstream."""
        visitor = Visitor(self.gateway)
        self.addCleanup(visitor.close)
        visitor.ask(act, request_id, path, **metadata)  # type: ignore[arg-type]
        return visitor

    def told(self, visitor: Visitor) -> tuple[int, str, int]:
        """Status, code and Retry-After of what a visitor is told."""
        visitor.read_to_end()
        answer = visitor.answer()
        return answer.status, json.loads(answer.body)["error"]["code"], int(answer.one(b"retry-after"))

    def depth(self) -> int:
        """How many wait, as Prometheus is told."""
        page = self.gateway.client().get("/metrics").body.decode()
        found = re.search(r'^hades_codex_queue_depth\{upstream="vllm"\} ([0-9.]+)$', page, re.MULTILINE)
        assert found is not None, page
        return int(float(found[1]))

    def wait_for_depth(self, depth: int) -> None:
        """Wait until so many wait; a departure takes no time to be noticed."""
        wait_for(lambda: self.depth() == depth, f"{depth} wait", seconds=20)

    def test_whoever_waits_as_told_is_admitted(self) -> None:
        """One past the burst is refused with whole seconds, after which the next is answered."""
        self.serve({"requests_per_second": 0.25, "burst": 2})
        for number in range(2):
            visitor = self.ask("answer", f"good-{number}")
            visitor.read_to_end()
            self.assertEqual(visitor.answer().one(b"x-ratelimit-remaining-requests"), b"%d" % (1 - number))
        refused_at = time.monotonic()
        status, code, seconds = self.told(self.ask("answer", "bad"))
        self.assertEqual((status, code), (429, "rate_limit_exceeded"))
        self.assertIn(seconds, (1, 2, 3, 4))
        self.assertEqual(self.gateway.request_log("bad")["reason"], "rate_limited")
        wait_for(lambda: time.monotonic() >= refused_at + seconds, "the time it was told is over", seconds + 1)
        visitor = self.ask("answer", "good-again")
        visitor.read_to_end()
        self.assertEqual(visitor.answer().status, 200)

    def test_a_turn_comes_when_one_ends(self) -> None:
        """Over its cap a client waits; without a place it is told so; who leaves is gone, whatever it was sending."""
        self.serve({"max_in_flight": 1}, {"queue": 1})
        first = self.ask("endless", "first")
        first.read_until(EVENT)
        leaving = self.ask("answer", "leaving", RESPONSES, filling="x" * 600_000)
        self.wait_for_depth(1)
        self.assertEqual(self.told(self.ask("answer", "third"))[:2], (429, "concurrency_limit_exceeded"))
        leaving.close()
        self.wait_for_depth(0)
        self.assertEqual(self.gateway.request_log("leaving")["reason"], "client_left")
        waiting = self.ask("answer", "waiting", RESPONSES, filling="x" * 100_000)
        self.wait_for_depth(1)
        first.close()
        waiting.read_to_end()
        self.assertEqual(waiting.answer().status, 200)
        self.wait_for_depth(0)

    def test_the_wait_has_an_end(self) -> None:
        """After `queue_seconds` the client is refused, and nobody waits any more."""
        self.serve({"max_in_flight": 1}, {"queue": 4, "queue_seconds": 0.3})
        self.ask("endless", "first").read_until(EVENT)
        self.assertEqual(self.told(self.ask("answer", "second")), (429, "concurrency_limit_exceeded", 1))
        self.wait_for_depth(0)
