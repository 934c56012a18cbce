"""What registers with Hermes is made as the configuration wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import parse
from hadesgw.service.registration import make_registration


class RegistrationTests(SynchronousTestCase):
    """The card it shows."""

    def card(self, hermes: str) -> Any:
        """What is told of a gateway at some address of its own."""
        config = parse(f'[hermes]\nurl = "http://127.0.0.1:9/x"\n{hermes}', "hadesgw.toml", Path("/etc"))
        log: Any = None
        own = "http://127.0.0.1:8082"
        client = make_registration(config, MemoryReactorClock(), lambda: own, log, lambda: 0.0, lambda: 0.5)
        return client._card()

    def test_where_it_is_reached(self) -> None:
        """Where the configuration says, without a slash at the end; else where it listens."""
        self.assertIn("http://127.0.0.1:8082", str(self.card("")))
        said = str(self.card('endpoint = "https://gateway.example/"'))
        self.assertIn("https://gateway.example", said)
        self.assertNotIn("example/'", said)
