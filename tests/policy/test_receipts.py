"""Receipts: each client's own, and only so many."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.receipts import MOST_PER_CLIENT, Receipts


class ReceiptsTests(SynchronousTestCase):
    """Remembering and forgetting."""

    def setUp(self) -> None:
        self.receipts = Receipts()

    def test_each_client_has_its_own(self) -> None:
        """What one has sent says nothing about another's of the same id."""
        self.receipts.put("alice", "1", "session_a")
        self.assertEqual(self.receipts.get("alice", "1"), "session_a")
        self.assertIsNone(self.receipts.get("bob", "1"))
        self.assertIsNone(self.receipts.get("alice", "2"))

    def test_without_an_id(self) -> None:
        """Nothing is remembered, so nothing is taken for the same."""
        self.receipts.put("alice", None, "session_a")
        self.assertIsNone(self.receipts.get("alice", None))

    def test_so_many(self) -> None:
        """The oldest makes place for one too many."""
        for number in range(MOST_PER_CLIENT + 1):
            self.receipts.put("alice", str(number), "s")
        self.assertIsNone(self.receipts.get("alice", "0"))
        self.assertEqual(self.receipts.get("alice", "1"), "s")
        self.assertEqual(self.receipts.get("alice", str(MOST_PER_CLIENT)), "s")
