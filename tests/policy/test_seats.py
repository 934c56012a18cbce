"""Seats: each client has its own, and gets them back."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.seats import Seats


class SeatsTests(SynchronousTestCase):
    """Taking and giving back."""

    def test_at_the_limit(self) -> None:
        """The last is taken, one more is not; another client's are untouched."""
        seats = Seats(2)
        self.assertEqual([seats.take("alice") for _ in range(3)], [True, True, False])
        self.assertTrue(seats.take("bob"))
        seats.give_back("alice")
        self.assertTrue(seats.take("alice"))

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 4))
    def test_nobody_has_too_many_and_nothing_is_kept(self, acts: list[tuple[str, bool]], most: int) -> None:
        """Whatever is taken and given back in whatever order; who has none costs nothing."""
        seats, held = Seats(most), Counter[str]()
        for client, takes in acts:
            if takes:
                self.assertEqual(seats.take(client), held[client] < most)
                held[client] = min(held[client] + 1, most)
            elif held[client]:
                seats.give_back(client)
                held[client] -= 1
            self.assertEqual(len(seats), sum(1 for count in held.values() if count))
