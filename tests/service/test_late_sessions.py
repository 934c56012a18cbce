"""Coding sessions that are made when somebody comes to them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.late_sessions import LateSessions
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.refusals import SessionRefused
from hadesgw.sessions.registry import SessionRegistry
from tests.sessions.stage import Stage


class LateSessionsTests(SynchronousTestCase):
    """One registry, or none."""

    def setUp(self) -> None:
        self.made: list[SessionRegistry] = []
        self.sessions = LateSessions(self._make)

    def _make(self) -> SessionRegistry:
        self.made.append(Stage(Path(self.mktemp())).registry)
        return self.made[-1]

    def test_made_once(self) -> None:
        """And the end is theirs, too."""
        self.assertIs(self.sessions(), self.sessions())
        self.successResultOf(self.sessions.close())
        self.assertEqual(len(self.made), 1)
        self.failureResultOf(self.made[0].start("alice", Wish()), SessionRefused)

    def test_never_made(self) -> None:
        """The end makes none; whoever comes behind it finds them closed."""
        self.successResultOf(self.sessions.close())
        self.assertEqual(self.made, [])
        self.failureResultOf(self.sessions().start("alice", Wish()), SessionRefused)
