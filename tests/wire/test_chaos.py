"""Clients and resources that do anything at any time: answers stay answers, in order, and nothing is left behind.

Each life of a connection is drawn from a seed. `HADESGW_CHAOS_LIVES` says how many, `HADESGW_CHAOS_SEED` which.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from tests.wire.answers import Answer, read_answers
from tests.wire.door import Caller, Door, answer_with, get, post, post_chunked, unread

LIVES = int(os.environ.get("HADESGW_CHAOS_LIVES", "1500"))
SEED = int(os.environ.get("HADESGW_CHAOS_SEED", "20261121"))
BROKEN = (b"GET /broken\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0", get(host=b"evil"), post_chunked(end=b"x\r\n"))


class Intended(Exception):
    """What a resource raises on purpose."""


@implementer(IPullProducer, IPushProducer)
class Source:
    """A producer of either kind that ends its request when it has made everything."""

    def __init__(self, request: Request, pieces: list[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        if not self._request.streamingProducer:
            self.make()

    def stopProducing(self) -> None:
        self.paused = True
        self._pieces = []

    def make(self) -> bool:
        """Write one piece; false when there is none."""
        if self.paused or not self._pieces:
            return False
        self._request.write(self._pieces.pop(0))
        if not self._pieces:
            self._request.unregisterProducer()
            self._request.finish()
        return True


class Life:
    """One connection, from its beginning to its end."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.door = Door(self.serve, half_close=dice.random() < 0.3)
        self.caller: Caller = self.door.call(room=dice.choice((None, 0, 100, 5000)))
        self.live: list[Request] = []
        self.sources: list[Source] = []
        self.ended: Counter[Request] = Counter()
        self.methods: list[bytes] = []
        self._numbers = iter(range(10**6))

    # -- The resource --------------------------------------------------------------------------------------------------

    def serve(self, request: Request) -> bytes | int:
        """Answer in any way there is; every answer that gets so far begins with the number in the request's path."""
        self.methods.append(request.method)
        request.at_end(lambda completed: self.ended.update([request]))
        ways: tuple[Callable[[Request], bytes | int], ...] = (
            self.at_once,
            self.later,
            self.with_body,
            self.by_source,
            self.not_at_all,
        )
        return self._dice.choice(ways)(request)

    def at_once(self, request: Request) -> bytes:
        return request.path[1:] + b" " * self._dice.choice((0, 10, 70_000))

    def later(self, request: Request) -> int:
        self.live.append(request)
        return NOT_DONE_YET

    def with_body(self, request: Request) -> int:
        reading = request.read_body(self._dice.choice((5, 100_000)))
        reading.addCallbacks(lambda body: answer_with(request.path[1:], request), unread, errbackArgs=(request,))
        return NOT_DONE_YET

    def by_source(self, request: Request) -> int:
        pieces = [request.path[1:]] + [
            b" " * self._dice.choice((1, 1000, 50_000)) for _ in range(self._dice.randrange(4))
        ]
        source = Source(request, pieces)
        push = self._dice.random() < 0.5 or request.method == b"HEAD"  # nobody pulls what is not sent
        if push:
            self.sources.append(source)
        request.registerProducer(source, push)
        return NOT_DONE_YET

    def not_at_all(self, request: Request) -> int:
        if self._dice.random() < 0.5:
            request.write(request.path[1:])
        raise Intended

    # -- What happens --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let anything happen, some dozens of times."""
        happenings = (self.ask, self.ask, self.go_on, self.go_on, self.make, self.take, self.wait)
        for _ in range(self._dice.randrange(5, 40)):
            if self.caller.closed is not None:
                break
            self._dice.choice(happenings)()
        self.part()

    def ask(self) -> None:
        """The client sends a request, or half of one, or something else."""
        path = b"/%d" % next(self._numbers)
        data = self._dice.choice(
            (
                get(path),
                get(path, b"Connection: close"),
                get(path).replace(b"HTTP/1.1", b"HTTP/1.0"),
                get(path).replace(b"GET", b"HEAD"),
                post(b"abc", target=path),
                post(b"a" * 70_000, target=path),
                post(b"", b"Expect: 100-continue", target=path, length=3),
                get(path) + get(b"/%d" % next(self._numbers)),
                get(path)[: self._dice.randrange(30)],
                b"abc",
                self._dice.choice(BROKEN),
            )
        )
        self.caller.send(data, self._dice.choice((None, None, 1000, 3)) if len(data) < 1000 else None)

    def go_on(self) -> None:
        """A held request is written to, or ended in some way."""
        if not self.held():
            return
        request = self._dice.choice(self.live)
        act = self._dice.randrange(6)
        if act < 3:
            request.write(b" " * self._dice.choice((0, 1, 70_000)) if request.startedWriting else request.path[1:])
        elif act == 3:
            answer_with(b"", request) if request.startedWriting else answer_with(request.path[1:], request)
        elif act == 4:
            request.interrupt(refusals.UPSTREAM_DIED)
        else:
            request.cut(b" last" if request.startedWriting else b"")

    def make(self) -> None:
        """The push producers make what they may."""
        for source in self.sources:
            while source.make():
                pass

    def take(self) -> None:
        """The client reads."""
        self.caller.take(self._dice.choice((1, 1000, 100_000, None)))

    def wait(self) -> None:
        """Time passes."""
        self.door.reactor.pass_time(self._dice.choice((0.1, 3, 11, 31, 61)))

    def part(self) -> None:
        """The client leaves, one way or the other. It is noticed at once, or, while reading is paused, by writing."""
        if self.caller.closed is None:
            self._dice.choice((self.caller.leave, self.caller.reset))()
        for _ in range(1000):
            if self.caller.closed is not None:
                break
            self.caller.take()
            self.make()
            for request in self.held():
                answer_with(b"", request)
        self.door.reactor.pass_time(1000)

    def held(self) -> list[Request]:
        """The requests that wait for us to go on."""
        self.live = [request for request in self.live if not request.finished and not request._disconnected]
        return self.live

    def answers(self) -> list[Answer]:
        """What the client got, the last answer perhaps without its end."""
        return read_answers(bytes(self.caller.socket.sent), self.methods, cut=True)


class ChaosTests(SynchronousTestCase):
    """Many lives."""

    def test_whatever_happens_answers_are_answers(self) -> None:
        """Well formed, in the order of the requests, one for each; every request ends once; nothing is left."""
        statuses: Counter[int] = Counter()
        for number in range(LIVES):
            life = Life(random.Random(SEED + number))
            life.run()
            answers = [answer for answer in life.answers() if answer.status >= 200]
            statuses.update(answer.status for answer in answers)
            served = [answer.body.split()[0] for answer in answers if answer.status == 200 and answer.body.strip()]
            asked = [request.path[1:] for request in life.door.asked]
            self.assertEqual([path for path in asked if path in served], served, f"life {number}")
            self.assertLessEqual(len(answers), len(asked) + 1, f"life {number}")
            self.assertEqual(set(life.ended.values()) | {1}, {1}, f"life {number}")
            self.assertEqual(len(life.ended), len(asked), f"life {number}")
            self.assertEqual(life.door.left_behind(), [], f"life {number}")
            self.assertEqual(life.door.notes.missing, 0)
        self.flushLoggedErrors(Intended)
        self.assertTrue({200, 400, 408, 413, 421, 500, 502} <= set(statuses), statuses)
