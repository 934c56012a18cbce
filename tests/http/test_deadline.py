"""Deadlines that move often and pass rarely."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.deadline import Deadline


class DeadlineTests(SynchronousTestCase):
    """`Deadline` calls once, when its moment has passed."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.passed: list[float] = []
        self.deadline = Deadline(self.clock, lambda: self.passed.append(self.clock.seconds()))

    def test_it_passes_once_at_its_moment(self) -> None:
        """Neither before nor again."""
        self.deadline.set(5)
        self.clock.advance(4.9)
        self.assertEqual(self.passed, [])
        self.clock.advance(0.2)
        self.clock.advance(100)
        self.assertEqual(len(self.passed), 1)

    def test_it_can_be_moved_either_way(self) -> None:
        """The last moment named is the one that counts, and there is never more than one timer."""
        self.deadline.set(5)
        self.clock.advance(3)
        self.deadline.set(5)
        self.clock.advance(4)
        self.assertEqual(self.passed, [])
        self.deadline.set(20)
        self.deadline.set(0.5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.5)
        self.assertEqual(self.passed, [7.5])

    def test_moving_it_makes_no_timers(self) -> None:
        """A thousand events cost one timer."""
        timers: set[int] = set()
        for _ in range(1000):
            self.deadline.set(60)
            timers.update(map(id, self.clock.getDelayedCalls()))
            self.clock.advance(0.01)
        self.assertEqual(len(timers), 1)

    def test_lifted_it_does_not_pass(self) -> None:
        """Until it is set again."""
        self.deadline.set(5)
        self.deadline.lift()
        self.clock.advance(10)
        self.assertEqual(self.passed, [])
        self.deadline.set(5)
        self.clock.advance(5)
        self.assertEqual(self.passed, [15])

    def test_it_can_be_set_when_it_passes(self) -> None:
        """Also by what it calls."""

        def passed() -> None:
            self.passed.append(self.clock.seconds())
            again.set(1)

        again = Deadline(self.clock, passed)
        again.set(1)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.passed, [1, 2, 3])

    def test_ended_it_leaves_nothing(self) -> None:
        """No timer; and ending what never began, or twice, is fine."""
        self.deadline.end()
        self.deadline.set(5)
        self.deadline.end()
        self.deadline.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10)
        self.assertEqual(self.passed, [])

    @given(st.lists(st.tuples(st.sampled_from(["set", "lift", "wait"]), st.integers(0, 20)), max_size=30))
    def test_it_agrees_with_a_timer_made_anew_each_time(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is done in whatever order, it passes when such a timer would."""
        clock = Clock()
        passed: list[float] = []
        expected: list[float] = []
        deadline = Deadline(clock, lambda: passed.append(clock.seconds()))
        at: float | None = None
        for act, seconds in steps:
            if act == "set":
                deadline.set(seconds)
                at = clock.seconds() + seconds
            elif act == "lift":
                deadline.lift()
                at = None
            else:
                clock.pump([1] * seconds)
                if at is not None and at <= clock.seconds() and seconds:
                    expected.append(max(at, clock.seconds() - seconds + 1))
                    at = None
        self.assertEqual(passed, expected)
