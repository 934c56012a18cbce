"""What a service registry is told of us."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.service_card import service_card


class CardTests(SynchronousTestCase):
    """The body of a registration, as Hermes wants it."""

    def test_it_has_what_a_registration_needs(self) -> None:
        """An id to be found by, an endpoint that is text, capabilities by the guide's names."""
        card = service_card("0.1.0", "https://gateway.example:8443")
        self.assertEqual((card["component_id"], card["name"], card["version"]), ("codex", "codex", "0.1.0"))
        self.assertEqual(card["endpoint"], "https://gateway.example:8443")
        self.assertEqual({"code_generation", "ai_pair_programming"} - set(card["capabilities"]), set())

    def test_its_addresses_are_those_of_the_endpoint(self) -> None:
        """With the WebSocket's scheme where one is spoken, encrypted or not."""
        for endpoint, socket in (("http://h", "ws://h/ws/codex"), ("https://h", "wss://h/ws/codex")):
            metadata = service_card("0.1.0", endpoint)["metadata"]
            self.assertEqual(metadata["websocket"], socket)
            self.assertEqual(metadata["http"], f"{endpoint}/api/codex")
