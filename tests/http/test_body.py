"""A request's body on its way in: its bounds, its memory, and who is told what."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.body import UNASKED_BYTES, MemoryShare, RequestBody
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refused


class MemoryShareTests(SynchronousTestCase):
    """`MemoryShare` is a sum with a limit."""

    def test_it_is_held_up_to_the_limit(self) -> None:
        """To the byte; a refused wish holds nothing, and what is given back can be held again."""
        share = MemoryShare(10)
        self.assertTrue(share.take(4))
        self.assertTrue(share.take(6))
        self.assertFalse(share.take(1))
        self.assertTrue(share.take(0))
        share.give_back(6)
        self.assertFalse(share.take(7))
        self.assertTrue(share.take(6))
        self.assertEqual(share.held, 10)


class RequestBodyTests(SynchronousTestCase):
    """`RequestBody` with a stated length or in chunks."""

    def setUp(self) -> None:
        self.share = MemoryShare(1024 * 1024)
        self.wanted = 0

    def make(self, length: int | None) -> RequestBody:
        """A body that counts in `self.wanted` how often it was wanted."""

        def want() -> None:
            self.wanted += 1

        return RequestBody(length, self.share, want)

    def refusal(self, body: RequestBody, data: bytes) -> refusals.Refusal:
        """The refusal that feeding `data` meets."""
        try:
            body.feed(data)
        except Refused as refused:
            return refused.refusal
        raise AssertionError("it was taken")

    def test_a_body_comes_whole_to_who_waits(self) -> None:
        """In one piece or many; what follows it is left."""
        for data, length, rest in ((b"abcdefXY", 6, 2), (b"2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\nXY", None, 2)):
            for step in (1, 3, 100):
                body = self.make(length)
                waiting = body.read(6)
                left = data
                while not body.complete:
                    self.assertNoResult(waiting)
                    left = left[body.feed(left[:step]) :] if len(left) > step else left[body.feed(left) :]
                self.assertEqual(self.successResultOf(waiting), b"abcdef")
                self.assertEqual(len(left), rest)

    def test_a_body_that_is_there_comes_at_once(self) -> None:
        """Nobody has to be asked for it; nor for one of no bytes."""
        body = self.make(3)
        self.assertEqual(body.feed(b"abc"), 3)
        self.assertEqual(self.successResultOf(body.read(3)), b"abc")
        self.assertEqual(self.successResultOf(self.make(0).read(0)), b"")
        self.assertEqual(self.wanted, 0)

    def test_it_is_at_hand_only_when_it_is_whole_and_small_enough(self) -> None:
        """Then without a Deferred."""
        body = self.make(3)
        body.feed(b"ab")
        self.assertIsNone(body.at_hand(3))
        body.feed(b"c")
        self.assertIsNone(body.at_hand(2))
        self.assertEqual(body.at_hand(3), b"abc")

    def test_who_waits_makes_it_wanted_once(self) -> None:
        """That is the moment for `100 Continue` and for the clock; from then on it is known how much is waited for."""
        body = self.make(3)
        self.assertEqual((self.wanted, body.awaited), (0, 0))
        waiting = body.read(3)
        self.assertEqual(body.awaited, 3)
        body.feed(b"ab")
        self.assertEqual((self.wanted, body.awaited), (1, 1))
        body.feed(b"c")
        self.successResultOf(waiting)
        self.assertEqual((self.wanted, body.awaited), (1, 0))

    def test_a_stated_length_over_the_cap_is_refused_before_anything_comes(self) -> None:
        """One at the cap is not, one of a byte more is; nobody is asked to send it."""
        self.assertNoResult(self.make(10).read(10))
        failure = self.failureResultOf(self.make(11).read(10), Refused)
        self.assertIs(failure.value.refusal, refusals.BODY_TOO_LARGE)
        self.assertEqual(self.wanted, 1)

    def test_chunks_over_the_cap_are_refused_as_they_cross_it(self) -> None:
        """Not when the rest has come, nor for what a size announces; exactly the cap is let in."""
        body = self.make(None)
        waiting = body.read(10)
        body.feed(b"ffff\r\n0123456789")
        self.assertIs(self.refusal(body, b"a"), refusals.BODY_TOO_LARGE)
        self.assertNoResult(waiting)
        body = self.make(None)
        waiting = body.read(10)
        body.feed(b"a\r\n0123456789\r\n0\r\n\r\n")
        self.assertEqual(self.successResultOf(waiting), b"0123456789")

    def test_what_had_come_before_it_was_wanted_counts(self) -> None:
        """Chunks that nobody asked for may be over the cap already."""
        body = self.make(None)
        body.feed(b"b\r\n0123456789a")
        failure = self.failureResultOf(body.read(10), Refused)
        self.assertIs(failure.value.refusal, refusals.BODY_TOO_LARGE)

    def test_what_nobody_asks_for_is_held_back(self) -> None:
        """From 64 KiB on, until somebody asks; not when it is complete."""
        body = self.make(None)
        body.feed(b"%x\r\n" % UNASKED_BYTES + b"a" * (UNASKED_BYTES - 1))
        self.assertFalse(body.held_back)
        body.feed(b"a")
        self.assertTrue(body.held_back)
        body.read(10**6)
        self.assertFalse(body.held_back)
        whole = self.make(UNASKED_BYTES)
        whole.feed(b"a" * UNASKED_BYTES)
        self.assertFalse(whole.held_back)

    def test_all_bodies_share_the_memory(self) -> None:
        """A byte more than there is, in a second body, is refused; when the first is released there is room again."""
        share = MemoryShare(10)
        first, second = (RequestBody(6, share, lambda: None) for _ in range(2))
        first.feed(b"abcdef")
        second.feed(b"abcd")
        self.assertIs(self.refusal(second, b"e"), refusals.BODY_MEMORY)
        first.release()
        first.release()
        self.assertEqual(share.held, 4)
        second.feed(b"ef")
        second.release()
        self.assertEqual(share.held, 0)

    def test_what_nobody_will_read_is_not_held(self) -> None:
        """Once released it takes no memory, goes on to its end, and is still held back when much of it comes."""
        share = MemoryShare(10)
        body = RequestBody(UNASKED_BYTES + 1, share, lambda: None)
        body.feed(b"abcdef")
        body.release()
        self.assertEqual(share.held, 0)
        body.feed(b"a" * (UNASKED_BYTES - 6))
        self.assertTrue(body.held_back)
        body.feed(b"a")
        self.assertEqual((body.complete, body.received, share.held), (True, UNASKED_BYTES + 1, 0))
        body.release()
        self.assertEqual(share.held, 0)

    def test_a_body_takes_little_more_memory_than_it_counts(self) -> None:
        """However small the chunks or pieces in which it comes, or a client could make us hold many times the limit."""
        whole = 64 * 1024
        data = b"2\r\nab\r\n" * (whole // 2)
        for length, pieces in (
            (None, [data[at : at + 65536] for at in range(0, len(data), 65536)]),
            (whole + 1, [b"ab"] * (whole // 2)),
        ):
            body = self.make(length)
            body.read(whole + 1)
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            for piece in pieces:
                body.feed(piece)
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            self.assertEqual(body.received, whole)
            self.assertLess(held, 2 * whole)

    def test_who_waits_learns_that_it_will_not_come(self) -> None:
        """With the reason; when nobody waits, nobody is told."""
        gone = Failure(ConnectionDone())
        body = self.make(3)
        self.assertFalse(body.fail(gone))
        waiting = body.read(3)
        self.assertTrue(body.fail(gone))
        self.failureResultOf(waiting, ConnectionDone)
        self.assertFalse(body.fail(gone))

    def test_a_broken_chunk_is_refused(self) -> None:
        """The decoder's refusal comes through."""
        self.assertIs(self.refusal(self.make(None), b"x\r\n"), refusals.BAD_CHUNK)
        self.assertIs(self.refusal(self.make(None), b"0\r\nA: b\r\n\r\n"), refusals.BAD_TRAILER)

    @given(st.binary(max_size=200), st.lists(st.integers(1, 50)), st.booleans(), st.integers(0, 250))
    def test_the_cap_decides_whatever_the_pieces(
        self, content: bytes, steps: list[int], chunked: bool, cap: int
    ) -> None:
        """The whole content, or the refusal, is the same for every way to cut and to frame it."""
        if chunked:
            data = b"".join(b"%x\r\n%b\r\n" % (1, content[at : at + 1]) for at in range(len(content))) + b"0\r\n\r\n"
        else:
            data = content
        body = self.make(None if chunked else len(content))
        results: list[object] = []
        body.read(cap).addBoth(results.append)
        try:
            for step in [*steps, len(data)]:
                if not results and not body.complete:
                    body.feed(data[:step])
                    data = data[step:]
        except Refused as refused:
            results.append(refused)
        if len(content) <= cap:
            self.assertEqual(results, [content])
        else:
            self.assertEqual(len(results), 1)
            self.assertNotIsInstance(results[0], bytes)
        body.release()
        self.assertEqual(self.share.held, 0)
