"""Lines out of a stream, however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.jsonl import Lines, line


class LinesTests(SynchronousTestCase):
    """What comes in pieces comes out in lines."""

    def test_lines_come_whole(self) -> None:
        """A line is told when it has ended, and not before."""
        lines = Lines(10)
        self.assertEqual(lines.feed(b"on"), [])
        self.assertEqual(lines.feed(b"e\ntwo\nthr"), [b"one", b"two"])
        self.assertEqual(lines.feed(b"ee\n"), [b"three"])

    def test_empty_lines_are_none(self) -> None:
        """Neither is white space."""
        self.assertEqual(Lines(10).feed(b"\n \r\n\none\n"), [b"one"])

    def test_at_the_limit_and_past_it(self) -> None:
        """A line may have as many bytes as the limit says; one with more is left out, and said to be."""
        self.assertEqual(Lines(4).feed(b"1234\n"), [b"1234"])
        self.assertEqual(Lines(4).feed(b"12345\nok\n"), [None, b"ok"])

    def test_a_line_without_an_end_is_not_held(self) -> None:
        """However long it becomes, nothing of it stays in memory, and the next line is understood again."""
        lines = Lines(100)
        for _ in range(1_000):
            self.assertEqual(lines.feed(b"x" * 50), [])
        self.assertEqual(lines._begun, b"")
        self.assertEqual(lines.feed(b"\nnext\n"), [None, b"next"])

    @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.integers(1, 20))
    def test_cuts_do_not_matter(self, data: bytes, cuts: list[int], limit: int) -> None:
        """Whatever the pieces, the lines are the same."""
        pieces = []
        start = 0
        for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
            pieces.append(data[start:cut])
            start = cut
        lines = Lines(limit)
        found = [each for piece in pieces for each in lines.feed(piece)]
        self.assertEqual(found, Lines(limit).feed(data))


class LineTests(SynchronousTestCase):
    """The way out."""

    def test_a_message_is_one_line(self) -> None:
        """Newlines in it are written as JSON writes them."""
        self.assertEqual(line({"text": "a\nb"}), b'{"text":"a\\nb"}\n')
