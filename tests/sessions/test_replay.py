"""What is kept for whoever comes back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.messages import Message
from hadesgw.sessions.replay import ReplayLog

KINDS = ("output", "diff", "item", "session_status")


def seqs(messages: list[Message]) -> list[int]:
    """Their seqs, in order."""
    return [message.seq for message in messages]


class ReplayTests(SynchronousTestCase):
    """Numbering, keeping, forgetting, telling of what is forgotten."""

    def test_seqs_rise_by_one(self) -> None:
        """From 1, whatever is told."""
        log = ReplayLog(10, 1_000)
        self.assertEqual([log.append("output", "x").seq for _ in range(3)], [1, 2, 3])
        self.assertEqual(seqs(log.since(0)), [1, 2, 3])
        self.assertEqual(seqs(log.since(2)), [3])
        self.assertEqual(log.since(3), [])

    def test_a_gap_is_told(self) -> None:
        """Who has missed what is not kept any more hears so first, and where it goes on."""
        log = ReplayLog(2, 1_000)
        for text in "abcd":
            log.append("output", text)
        gap, *rest = log.since(1)
        self.assertEqual((gap.type, gap.content, gap.seq), ("gap", {"after": 1, "next": 3}, 2))
        self.assertEqual(seqs(rest), [3, 4])
        self.assertEqual(seqs(log.since(2)), [3, 4])

    def test_a_seq_that_never_was_is_a_gap(self) -> None:
        """One from an earlier life of the gateway, or a number below zero: everything is told."""
        log = ReplayLog(5, 1_000)
        log.append("output", "a")
        for after in (2, 99, -1):
            gap, *rest = log.since(after)
            self.assertEqual((gap.type, gap.content["next"]), ("gap", 1))
            self.assertEqual(seqs(rest), [1])
        empty = ReplayLog(5, 1_000)
        self.assertEqual([message.content for message in empty.since(3)], [{"after": 3, "next": 1}])

    def test_bytes_are_bounded(self) -> None:
        """The oldest go; the newest stays even if it is larger than everything."""
        log = ReplayLog(100, 100)
        for _ in range(10):
            log.append("output", "x" * 20)
        self.assertLessEqual(log.size, 100)
        log.append("output", "y" * 500)
        self.assertEqual(len(log), 1)
        self.assertEqual(log.since(10)[0].content, "y" * 500)

    def test_a_newer_picture_replaces_the_older(self) -> None:
        """Of all diffs only the last is kept, and to have missed the others is no gap."""
        log = ReplayLog(3, 10_000)
        log.append("output", "a")
        for count in range(50):
            log.append("diff", count)
        log.append("output", "b")
        found = log.since(0)
        self.assertEqual([message.content for message in found], ["a", 49, "b"])

    @given(
        st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 60)), max_size=60),
        st.integers(1, 8),
        st.integers(80, 400),
        st.integers(-2, 70),
    )
    def test_holds_what_it_promises(self, told: list[tuple[str, int]], most: int, size: int, after: int) -> None:
        """Bounds hold; what is told again is in order, once, after `after`; only superseded pictures are left out
        without a gap.
        """
        log = ReplayLog(most, size)
        all_told = [log.append(kind, "x" * length) for kind, length in told]
        self.assertLessEqual(len(log), most)
        self.assertTrue(log.size <= size or len(log) == 1)
        self.assertEqual(log.size, sum(len(message.encoded) for message in log.since(0) if message.type != "gap"))
        found = log.since(after)
        gap = bool(found) and found[0].type == "gap"
        rest = found[1:] if gap else found
        self.assertEqual(seqs(rest), sorted(set(seqs(rest))))
        self.assertTrue(all(message in all_told for message in rest))
        if not gap:
            missed = {message.seq: message.type for message in all_told if message.seq > after}
            for seq in missed.keys() - set(seqs(rest)):
                self.assertTrue(any(kind == missed[seq] and later > seq for later, kind in missed.items()))
        self.assertTrue(all(json.loads(message.encoded)["seq"] == message.seq for message in found))
