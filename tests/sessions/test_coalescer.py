"""Pieces that are joined, and their order among everything else."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.coalescer import Coalescer
from hadesgw.sessions.engine import AgentEvent, Item, Output, Warned


def delta(item_id: str, text: str) -> Item:
    return Item("delta", item_id, "command", {"text": text})


class CoalescerTests(SynchronousTestCase):
    """Thirty milliseconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[AgentEvent] = []
        self.coalescer = Coalescer(self.clock, 0.03, self.told.append)

    def test_the_first_piece_waits_for_nothing(self) -> None:
        """What comes after a pause is told at once."""
        self.coalescer.add(Output("a"))
        self.assertEqual(self.told, [Output("a")])

    def test_pieces_of_a_moment_are_joined(self) -> None:
        """What follows is told together, when the moment is over."""
        for text in "abcd":
            self.coalescer.add(Output(text))
        self.assertEqual(self.told, [Output("a")])
        self.clock.advance(0.031)
        self.assertEqual(self.told, [Output("a"), Output("bcd")])

    def test_a_hundred_a_second_become_some_thirty(self) -> None:
        """However they are spread, no two are told within the moment, and none waits longer than it."""
        moments = []
        coalescer = Coalescer(self.clock, 0.03, lambda _: moments.append(self.clock.seconds()))
        for _ in range(100):
            coalescer.add(Output("x"))
            self.clock.advance(0.01)
        self.clock.advance(0.1)
        self.assertLess(len(moments), 40)
        self.assertTrue(all(later - earlier > 0.029 for earlier, later in pairwise(moments)))

    def test_other_events_come_after_what_was_held_back(self) -> None:
        """Order is kept, and an event that is no piece waits for nothing."""
        for text in "abc":
            self.coalescer.add(Output(text))
        self.coalescer.add(Warned("!"))
        self.assertEqual(self.told, [Output("a"), Output("bc"), Warned("!")])

    def test_pieces_of_different_texts_are_not_mixed(self) -> None:
        """Nor is one command's output taken for another's."""
        for event in (Output("a"), Output("b"), delta("1", "c"), delta("1", "d"), delta("2", "e")):
            self.coalescer.add(event)
        self.coalescer.flush()
        self.assertEqual(self.told, [Output("a"), Output("b"), delta("1", "cd"), delta("2", "e")])

    def test_much_text_is_not_held_back(self) -> None:
        """A flood is told in pieces of a bounded size."""
        self.coalescer.add(Output("a"))
        for _ in range(8):
            self.coalescer.add(Output("x" * (16 << 10)))
        self.assertTrue(all(len(event.text) <= 48 << 10 for event in self.told if isinstance(event, Output)))
        self.assertGreater(len(self.told), 3)

    def test_nothing_is_left_after_a_flush(self) -> None:
        """Neither text nor a timer."""
        for text in "abc":
            self.coalescer.add(Output(text))
        self.coalescer.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.told, [Output("a"), Output("bc")])

    @given(st.lists(st.tuples(st.sampled_from("ab!"), st.text(max_size=3), st.floats(0, 0.05)), max_size=30))
    def test_all_is_told_in_order(self, steps: list[tuple[str, str, float]]) -> None:
        """Joined, what is told is what was added, whatever the times."""
        clock, told = Clock(), list[AgentEvent]()
        coalescer = Coalescer(clock, 0.03, told.append)
        added = []
        for key, text, seconds in steps:
            event: AgentEvent = Warned(text) if key == "!" else delta(key, text)
            added.append((key, text))
            coalescer.add(event)
            clock.advance(seconds)
        coalescer.flush()
        self.assertEqual(joined([_seen(event) for event in told]), joined(added))


def _seen(event: AgentEvent) -> tuple[str, str]:
    if isinstance(event, Warned):
        return "!", event.text
    assert isinstance(event, Item)
    return event.item_id, event.body["text"]


def joined(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbours of one text as one; what has no text is nothing, unless it is a warning."""
    found: list[tuple[str, str]] = []
    for key, text in pieces:
        if found and key == found[-1][0] != "!":
            found[-1] = (key, found[-1][1] + text)
        else:
            found.append((key, text))
    return found
