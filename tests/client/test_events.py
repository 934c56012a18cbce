"""Reading an event stream, however it is cut."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.client.events import MOST_BYTES, EventReader, Overlong

TEXTS = ("a", "é\n\n", "data: x", "")
MESSAGES = [{"type": "output", "content": text, "seq": seq} for seq, text in enumerate(TEXTS)]
STREAM = b"retry: 2000\n\n: alive\n\n" + b"".join(
    b"id: s:%d\ndata: %b\n\n" % (seq, json.dumps(message).encode()) for seq, message in enumerate(MESSAGES)
)


class EventReaderTests(SynchronousTestCase):
    """What comes out of which bytes."""

    @given(st.lists(st.integers(0, len(STREAM)), max_size=8))
    def test_any_cuts_give_the_same_messages(self, cuts: list[int]) -> None:
        """Also in the middle of a character, and of a border; comments and times of retry are no messages."""
        places = [0, *sorted(cuts), len(STREAM)]
        reader = EventReader()
        heard = [m for i, j in pairwise(places) for m in reader.feed(STREAM[i:j])]
        self.assertEqual(heard, MESSAGES)
        self.assertEqual(reader.last_id, "s:3")

    def test_half_an_event_is_none(self) -> None:
        """It is told again after the connection was lost, so its id does not count yet."""
        reader = EventReader()
        self.assertEqual(list(reader.feed(b"id: s:9\ndata: {}\n")), [])
        self.assertIsNone(reader.last_id)

    def test_an_event_without_an_end_is_given_up(self) -> None:
        """Nothing is gathered without bound."""
        reader = EventReader()
        with self.assertRaises(Overlong):
            for _ in range(MOST_BYTES // 65536 + 2):
                list(reader.feed(b"x" * 65536))
