"""What a process is counted to hold."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.census import census


class CensusTests(SynchronousTestCase):
    """Each number follows what it counts."""

    def test_each_number_moves_with_what_it_counts(self) -> None:
        """A descriptor, a timer, a thousand objects; and all are back when those are gone."""
        clock = Clock()
        before = census(clock)
        self.assertEqual(census(clock)["descriptors"], before["descriptors"])
        descriptor = os.open(os.devnull, os.O_RDONLY)
        timer = clock.callLater(1, int)
        kept: list[list[object]] = [[] for _ in range(1_000)]
        held = census(clock)
        self.assertEqual(held["descriptors"], before["descriptors"] + 1)
        self.assertEqual(held["timers"], 1)
        self.assertTrue(900 < held["objects"] - before["objects"] < 1_200)
        self.assertGreater(held["resident_bytes"], 1 << 20)
        os.close(descriptor)
        timer.cancel()
        kept.clear()
        after = census(clock)
        self.assertEqual((after["descriptors"], after["timers"]), (before["descriptors"], 0))
        self.assertLess(abs(after["objects"] - before["objects"]), 100)
