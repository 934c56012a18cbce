"""Penalties: what a failing credential costs its peer, and nobody else."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.penalties import (
    FIRST_DELAY_SECONDS,
    FORGET_SECONDS,
    FREE_FAILURES,
    LONGEST_DELAY_SECONDS,
    MOST_PEERS,
    OTHERS,
    TELL_SECONDS,
    Failures,
    peer_name,
)


class PeerNameTests(SynchronousTestCase):
    """Who counts as one."""

    def test_names(self) -> None:
        """An IPv4 address however it is written, an IPv6 network, and all of a UNIX socket."""
        table = {
            "127.0.0.1": "127.0.0.1",
            "::ffff:127.0.0.1": "127.0.0.1",
            "::1": "::1",
            "2001:db8::1": "2001:db8::/64",
            "2001:db8::ffff:1": "2001:db8::/64",
            "2001:db8:0:1::1": "2001:db8:0:1::/64",
            "fe80::1%eth0": "fe80::/64",
            None: "unix",
            "no address": OTHERS,
        }
        self.assertEqual({host: peer_name(host) for host in table}, table)


class DelayTests(SynchronousTestCase):
    """How long an answer is held back."""

    def setUp(self) -> None:
        self.failures = Failures()

    def _delays(self, count: int, now: float = 0.0) -> list[float]:
        return [self.failures.failed("a", now).delay for _ in range(count)]

    def test_grows(self) -> None:
        """The first few cost nothing; then each costs twice the one before, up to the longest."""
        self.assertEqual(self._delays(FREE_FAILURES), [0.0] * FREE_FAILURES)
        self.assertEqual(self._delays(6), [0.125, 0.25, 0.5, 1.0, 2.0, 2.0])
        self.assertEqual(self._delays(5_000)[-1], LONGEST_DELAY_SECONDS)

    def test_is_forgotten(self) -> None:
        """A peer that has not failed for a minute begins anew, and not a moment sooner."""
        self._delays(FREE_FAILURES + 1)
        self.assertEqual(self._delays(1, FORGET_SECONDS - 0.001), [2 * FIRST_DELAY_SECONDS])
        self.assertEqual(self._delays(1, 2 * FORGET_SECONDS), [0.0])

    def test_is_the_peers_own(self) -> None:
        """One that fails does not slow another."""
        self._delays(100)
        self.assertEqual(self.failures.failed("b", 0.0).delay, 0.0)

    def test_bounded(self) -> None:
        """Beyond the most peers all newcomers are one, and those who were there keep what they have earned."""
        self._delays(100)
        for number in range(MOST_PEERS - 1):
            self.failures.failed(f"peer {number}", 0.0)
        self.assertEqual(len(self.failures), MOST_PEERS)
        delays = [self.failures.failed(f"newcomer {number}", 0.0).delay for number in range(FREE_FAILURES + 1)]
        self.assertEqual(delays, [0.0] * FREE_FAILURES + [FIRST_DELAY_SECONDS])
        self.assertEqual(len(self.failures), MOST_PEERS + 1)
        self.assertEqual(self._delays(1), [LONGEST_DELAY_SECONDS])
        self.assertEqual(self.failures.failed("late", FORGET_SECONDS).delay, 0.0)
        self.assertEqual(len(self.failures), 1)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=80))
    def test_never_out_of_bounds(self, steps: list[tuple[str, float]]) -> None:
        """Whoever fails whenever: no delay is longer than the longest, nor shorter than the one before it."""
        failures = Failures()
        now = 0.0
        for peer, pause in steps:
            now += pause
            first, second = failures.failed(peer, now).delay, failures.failed(peer, now).delay
            self.assertTrue(0.0 <= first <= second <= LONGEST_DELAY_SECONDS)
            self.assertLessEqual(len(failures), 3)


class TellingTests(SynchronousTestCase):
    """What the log is told."""

    def setUp(self) -> None:
        self.failures = Failures()

    def test_first_then_sampled(self) -> None:
        """The first is told at once; those of the next seconds by one that comes after, with their number."""
        self.assertEqual(self.failures.failed("a", 0.0).told, 1)
        for second in range(1, 10):
            self.assertEqual(self.failures.failed("a", float(second)).told, 0)
        self.assertEqual(self.failures.failed("a", TELL_SECONDS).told, 10)
        self.assertTrue(self.failures.all_told)

    def test_overdue(self) -> None:
        """What nobody came to tell is told when it may be, once."""
        for now in (0.0, 1.0, 2.0):
            self.failures.failed("a", now)
        self.failures.failed("b", 5.0)
        self.assertFalse(self.failures.all_told)
        self.assertEqual(self.failures.overdue(TELL_SECONDS - 0.001), [])
        self.assertEqual(self.failures.overdue(TELL_SECONDS), [("a", 2)])
        self.assertEqual(self.failures.overdue(TELL_SECONDS * 3), [])
        self.assertTrue(self.failures.all_told)

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=100))
    def test_every_failure_is_told_once(self, steps: list[tuple[str, float]]) -> None:
        """However they come, the numbers told add up, and no peer is told of more often than it may be."""
        failures = Failures()
        now = 0.0
        told: list[tuple[str, float, int]] = []
        for peer, pause in steps:
            now += pause
            told += [(name, now, count) for name, count in failures.overdue(now)]
            count = failures.failed(peer, now).told
            told += [(peer, now, count)] * bool(count)
        end = now + 2 * TELL_SECONDS
        told += [(name, end, count) for name, count in failures.overdue(end)]
        self.assertEqual(sum(count for _, _, count in told), len(steps))
        for peer in "ab":
            times = [at for name, at, _ in told if name == peer]
            self.assertTrue(all(later - at >= TELL_SECONDS for at, later in pairwise(times)))
