"""What a relay knows of Server-Sent Events: borders, comments, and that no split changes either."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.sse import LONGEST_HELD, EventCutter, EventScanner

LINE_ENDS = (b"\n", b"\r\n", b"\r")
PARTS = st.sampled_from(
    [
        b"data: 1",
        b"data:",
        b"event: x",
        b": comment",
        b":",
        b"id",
        b"x: y",
        b"d",
        b"\xc3\xa9",
        *LINE_ENDS,
        b"\n\n",
        b" ",
    ]
)
STREAMS = st.lists(PARTS, max_size=12).map(b"".join)


def scan(*pieces: bytes) -> tuple[bool, bool]:
    """(alive, at a border) of a stream that came in these pieces."""
    scanner = EventScanner()
    alive = [scanner.feed(piece) for piece in pieces]
    return any(alive), scanner.at_border


def signs_of_life(data: bytes) -> list[bool]:
    """For each byte of `data` whether it stands on a line that is no comment (WHATWG HTML 9.2.6), line ends apart."""
    signs: list[bool] = []
    for line in data.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        signs += [not line.startswith(b":")] * len(text) + [False] * (len(line) - len(text))
    return signs


def cut(*pieces: bytes) -> tuple[list[bytes], bytes]:
    """What passes of a stream that comes in these pieces when events with an "x" are unwanted; and what is left."""
    cutter = EventCutter(lambda event: b"x" in event)
    return [cutter.feed(piece) for piece in pieces], cutter.rest()


class CutterTests(SynchronousTestCase):
    """Taking events out."""

    def test_wanted_events_pass_at_once_and_as_they_are(self) -> None:
        """Each when it is whole, whatever ends its lines; comments too."""
        for end in LINE_ENDS:
            first, second = b"data: 1" + end + end, b": c" + end + b"data: 2" + end + end
            self.assertEqual(cut(first, second[:-1], second[-1:])[0][0], first, end)
            self.assertEqual(b"".join(cut(first, second[:-1], second[-1:])[0]), first + second, end)
            self.assertEqual(cut(first + second), ([first + second], b""))

    def test_unwanted_events_do_not(self) -> None:
        """Nothing of them, wherever they were divided."""
        stream = b"data: 1\n\ndata: x\n\ndata: 2\n\n"
        for at in range(len(stream)):
            passed, rest = cut(stream[:at], stream[at:])
            self.assertEqual((b"".join(passed), rest), (b"data: 1\n\ndata: 2\n\n", b""))

    def test_what_does_not_come_to_its_end_is_left(self) -> None:
        """Whoever ends the stream passes it on."""
        self.assertEqual(cut(b"data: 1\n\ndata: x\n"), ([b"data: 1\n\n"], b"data: x\n"))

    def test_an_endless_event_is_wanted(self) -> None:
        """No more is held than an event that tells usage could have; the one behind it is judged again."""
        long = b"data: x" + b"y" * LONGEST_HELD
        passed, rest = cut(long, b"y\r\n\r", b"\ndata: x\n\n", b"data: 2\n\n")
        self.assertEqual(passed[0], long[:-3])
        self.assertEqual((b"".join(passed), rest), (long + b"y\r\n\r\ndata: 2\n\n", b""))

    @given(st.lists(STREAMS, max_size=6))
    def test_no_split_changes_what_passes(self, pieces: list[bytes]) -> None:
        """And without unwanted events every byte does."""
        whole = b"".join(pieces)
        cutter = EventCutter(lambda event: False)
        passed = [cutter.feed(piece) for piece in pieces]
        self.assertEqual(b"".join(passed) + cutter.rest(), whole)
        together, apart = cut(whole), cut(*pieces)
        self.assertEqual((b"".join(together[0]), together[1]), (b"".join(apart[0]), apart[1]))


class BorderTests(SynchronousTestCase):
    """Where another event may begin."""

    def test_a_stream_begins_at_a_border(self) -> None:
        """Before its first byte another event may stand, and an empty read changes nothing."""
        self.assertTrue(EventScanner().at_border)
        self.assertEqual(scan(b""), (False, True))

    def test_a_blank_line_is_a_border_whatever_ends_the_lines(self) -> None:
        """LF, CRLF and CR are all line ends."""
        for end in LINE_ENDS:
            self.assertTrue(scan(b"data: 1" + end + end)[1], end)

    def test_there_is_no_border_inside_an_event(self) -> None:
        """Neither within a line nor behind the first of several."""
        for begun in (
            b"data: 1",
            b"data: 1\n",
            b"data: 1\r\n",
            b"data: 1\r",
            b"data: 1\n\ndata: \xc3",
            b"\n\nevent: x\n",
        ):
            self.assertFalse(scan(begun)[1], begun)

    def test_a_border_may_come_in_pieces(self) -> None:
        """A read may end between the two halves of a line end."""
        self.assertTrue(scan(b"data: 1\r", b"\n", b"\r", b"\n")[1])
        self.assertTrue(scan(b"data: 1\n", b"\n")[1])
        self.assertFalse(scan(b"data: 1\n", b"\n", b"d")[1])

    @given(STREAMS)
    def test_a_border_is_always_behind_a_blank_line(self, data: bytes) -> None:
        """What we say to be a border is one by the book; to overlook one of mixed line ends costs two bytes."""
        if scan(data)[1]:
            lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            self.assertTrue(not lines.strip(b"\n") or lines.endswith(b"\n\n"), data)


class LifeTests(SynchronousTestCase):
    """What counts as a sign of life."""

    def test_data_are_life(self) -> None:
        """And so is any other field, and the first byte of one."""
        for data in (b"data: 1\n\n", b"event: x\n", b"d", b"id: 3\n\n", b"retry: 1\n", b"\n\ndata: 1"):
            self.assertTrue(scan(data)[0], data)

    def test_comments_and_blank_lines_are_none(self) -> None:
        """A server that only says that it is still there may do so for ever."""
        for data in (b": keep-alive\n\n", b":\n", b"\n\n", b"\r\n", b"\r", b": a\r\n: b\r\r: c", b": data: 1\n\n"):
            self.assertFalse(scan(data)[0], data)

    def test_a_comment_in_pieces_is_still_one(self) -> None:
        """Only the first byte of the line tells."""
        self.assertEqual(scan(b": keep", b"-alive", b" data: 1", b"\n", b"\n"), (False, True))

    def test_a_comment_behind_an_event_is_still_one(self) -> None:
        """Whichever line end parts them."""
        for end in LINE_ENDS:
            scanner = EventScanner()
            self.assertTrue(scanner.feed(b"data: 1" + end + b": com"), end)
            self.assertFalse(scanner.feed(b"ment"), end)

    def test_data_behind_a_comment_are_life(self) -> None:
        """In the same read or the next."""
        self.assertTrue(scan(b": comment\ndata: 1\n\n")[0])
        self.assertTrue(scan(b": comment\n", b"data: 1\n\n")[0])


class SplitTests(SynchronousTestCase):
    """The same bytes, however they come."""

    @given(STREAMS, st.lists(st.integers(0, 60), max_size=6))
    def test_no_split_changes_the_answers(self, data: bytes, cuts: list[int]) -> None:
        """Each read is a sign of life if it brings a byte that is one, and the border is where it is."""
        borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        signs = signs_of_life(data)
        scanner = EventScanner()
        for start, end in pairwise(borders):
            self.assertEqual(scanner.feed(data[start:end]), any(signs[start:end]), (data, start, end))
        self.assertEqual(scanner.at_border, scan(data)[1])

    @given(STREAMS)
    def test_byte_by_byte_is_as_good_as_whole(self, data: bytes) -> None:
        """The smallest pieces there are."""
        self.assertEqual(scan(*(data[at : at + 1] for at in range(len(data)))), scan(data))
