"""A body on its way from the client to whoever wants it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.site import Request
from hadesgw.resources.reading import when_read
from tests.wire.door import Caller, Door, answer_with

CAP = 64


class WhenReadTests(SynchronousTestCase):
    """A resource that wants a body of at most 64 bytes and says how many it got."""

    def setUp(self) -> None:
        self.taken: list[bytes] = []
        self.door = Door(lambda request: when_read(request, CAP, lambda body: self.take(body, request)))

    def take(self, body: bytes, request: Request) -> None:
        """Answer with its length, or with the reciprocal of nothing."""
        self.taken.append(body)
        answer_with(b"%d" % (len(body) // len(body) * len(body)), request)

    def call(self, length: int, body: bytes) -> Caller:
        """Send a request that promises `length` bytes, and these."""
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
        return self.door.call().send(head + body)

    def test_a_body_that_comes(self) -> None:
        """It is taken once, whole, whenever its end comes."""
        caller = self.call(CAP, b"a" * 10)
        self.assertEqual(self.taken, [])
        caller.send(b"a" * (CAP - 10))
        self.assertEqual((self.taken, caller.answer().body), ([b"a" * CAP], b"64"))

    def test_a_body_that_may_not_be_taken(self) -> None:
        """It is refused in so many words, and nobody sees a part of it."""
        answer = self.call(CAP + 1, b"a" * (CAP + 1)).answer()
        self.assertEqual((answer.status, self.taken), (413, []))

    def test_a_client_that_leaves(self) -> None:
        """Nothing is taken, nothing is logged and nothing stays."""
        self.call(CAP, b"a").leave()
        self.assertEqual((self.taken, self.door.left_behind()), ([], []))

    def test_a_defect_of_whoever_takes_it(self) -> None:
        """It is logged, and the client is told that it was ours."""
        caller = self.call(0, b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((caller.answer().status, self.taken), (500, [b""]))
