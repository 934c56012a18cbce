"""What pages that look for coding help are told."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.resources.hermes import Discovery
from tests.wire.answers import Answer
from tests.wire.door import Door


class DiscoveryTests(SynchronousTestCase):
    """The record of the service, and nothing else."""

    def ask(self, request: bytes) -> Answer:
        """The answer to a request line's method and target."""

        class Below(Discovery):
            def render(self, request: object) -> bytes | int:
                request.postpath = request.path.split(b"/")[3:]  # type: ignore[attr-defined]
                return Discovery.render(self, request)  # type: ignore[arg-type]

        caller = Door(Below("0.1.0")).call().send(request + b" HTTP/1.1\r\nHost: localhost:8082\r\n\r\n")
        return caller.answer()

    def test_it_can_what_the_guide_looks_for(self) -> None:
        """Two capabilities by their names, and the address at which the asker has found us."""
        answer = self.ask(b"GET /api/hermes/services/codex")
        self.assertEqual(answer.status, 200)
        record = json.loads(answer.body)
        self.assertEqual({"code_generation", "ai_pair_programming"} - set(record["capabilities"]), set())
        self.assertEqual(record["endpoint"], "http://localhost:8082")
        self.assertEqual(record["metadata"]["websocket"], "ws://localhost:8082/ws/codex")
        self.assertTrue(record["healthy"])

    def test_who_names_no_host_cannot_be_told_an_address(self) -> None:
        """HTTP/1.0 lets a client leave it out: that is refused, and no defect of ours."""
        caller = Door(Discovery("0.1.0")).call().send(b"GET /services/codex HTTP/1.0\r\n\r\n")
        self.assertEqual(caller.answer().status, 400)

    def test_no_other_service_is_known(self) -> None:
        """404, as for a component that is absent; and nothing can be changed here."""
        for target in (b"/api/hermes", b"/api/hermes/services", b"/api/hermes/services/terma"):
            self.assertEqual(self.ask(b"GET " + target).status, 404)
        self.assertEqual(self.ask(b"POST /api/hermes/services/codex").status, 405)
