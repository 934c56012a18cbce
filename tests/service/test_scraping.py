"""The socket for a scraper: it is there while the gateway serves, and whoever cannot have it is told why."""

from __future__ import annotations

import io
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from hadesgw.http.site import Site
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.exposure import Address
from hadesgw.service.listeners import ListenerRefused
from hadesgw.service.scraping import Scraping
from tests.wire.door import Door


@implementer(IRequestLog)
class Lines:
    """What the log was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def request(self, request: object, completed: bool, now: float) -> None:
        """There is none."""

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        self.events.append((name, facts))


class Listener:
    """A listener that can be had, or not."""

    address: Address | None = None

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.served: list[Site] = []
        self.stopped = 0

    def __str__(self) -> str:
        return "unix:/metrics.sock"

    def bind(self) -> None:
        """Nothing to do."""

    def listen(self, site: Site) -> Any:
        if self.refusal:
            raise ListenerRefused(self.refusal)
        self.served.append(site)
        return self

    def stopListening(self) -> None:
        self.stopped += 1


class ScrapingTests(SynchronousTestCase):
    """From start to stop."""

    def setUp(self) -> None:
        self.door = Door()
        self.lines = Lines()

    def test_it_serves_its_own_site(self) -> None:
        """And says where; when it stops, whoever is connected is dropped."""
        listener = Listener()
        service = Scraping(self.door.site, listener, self.lines)
        service.startService()
        self.assertEqual(listener.served, [self.door.site])
        self.assertEqual(self.lines.events, [("metrics_listening", {"address": "unix:/metrics.sock"})])
        caller = self.door.call()
        service.stopService()
        self.assertEqual((listener.stopped, caller.closed), (1, "reset"))

    def test_a_socket_that_cannot_be_had_refuses_the_start(self) -> None:
        """In one line, as any listener."""
        said = io.StringIO()
        self.patch(sys, "__stderr__", said)
        service = Scraping(self.door.site, Listener("cannot listen on unix:/metrics.sock: taken"), self.lines)
        self.assertRaises(SystemExit, service.startService)
        self.assertEqual(said.getvalue(), "hadesgw: cannot listen on unix:/metrics.sock: taken\n")
        service.stopService()
