"""Folders that do not outlive their gateway by long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.scratch import Scratch


class ScratchTests(SynchronousTestCase):
    """Made, held, left behind, swept."""

    def setUp(self) -> None:
        self.parent = Path(self.mktemp())
        self.parent.mkdir()
        self.threads: list[Callable[[], None]] = []

    def sweep(self) -> None:
        """Let the threads do what they are to do."""
        while self.threads:
            self.threads.pop()()

    def scratch(self) -> Scratch:
        """A gateway's."""
        scratch = Scratch(self.parent, self.threads.append)
        self.addCleanup(scratch.close)
        return scratch

    def test_is_ours_alone(self) -> None:
        """Nobody else may enter, and each is another."""
        scratch = self.scratch()
        first, second = scratch.make(), scratch.make()
        self.assertNotEqual(first, second)
        self.assertEqual(first.stat().st_mode & 0o777, 0o700)
        self.assertTrue(first.exists())

    def test_what_a_dead_gateway_left_is_swept(self) -> None:
        """When the next one makes its own; a living one's is left alone."""
        dead, living = self.scratch(), self.scratch()
        left, used = dead.make(), living.make()
        (left / "session_1").mkdir()
        dead.close()
        self.threads.clear()
        self.scratch().make()
        self.assertTrue(left.exists(), "to sweep takes its time, which the reactor has not")
        self.sweep()
        self.assertFalse(left.exists())
        self.assertTrue(used.exists())

    def test_what_is_not_ours_to_sweep(self) -> None:
        """Links, files, folders of others and of who is just making one stay, and so does what links lead to."""
        elsewhere = self.parent / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / ".lock").touch()
        (self.parent / "hadesgw-sessions-link").symlink_to(elsewhere.absolute())
        (self.parent / "hadesgw-sessions-file").touch()
        young = self.parent / "hadesgw-sessions-young"
        young.mkdir()
        trap = self.parent / "hadesgw-sessions-trap"
        trap.mkdir()
        (trap / ".lock").symlink_to((elsewhere / ".lock").absolute())
        before = set(self.parent.iterdir())
        self.scratch().make()
        self.sweep()
        self.assertLessEqual(before, set(self.parent.iterdir()))
        self.assertTrue((elsewhere / ".lock").exists())
