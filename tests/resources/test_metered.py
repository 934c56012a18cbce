"""The metered layer: one count and one line for each request, whatever its end."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IMeter, IRequestLog
from hadesgw.policy import refusals
from hadesgw.resources.metered import Metered
from hadesgw.telemetry.followers import Followers
from tests.telemetry.test_followers import Onlooker
from tests.wire.door import Door, Leaf, hold

_GET = b"GET /v1/models?secret=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@implementer(IMeter, IRequestLog)
class _Notes:
    """A meter and a log in one."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.counted: list[tuple[str | None, bool, float]] = []
        self.lines: list[tuple[str | None, str | None]] = []

    def begun(self) -> None:
        self.in_flight += 1

    def finished(self, request: Request, completed: bool, now: float) -> None:
        self.in_flight -= 1
        self.counted.append((request.record.route, completed, now - request.record.started))

    def request(self, request: Request, completed: bool, now: float) -> None:
        self.lines.append((request.record.route, request.record.reason))

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        raise AssertionError("no event is expected")


class MeteredTests(SynchronousTestCase):
    """Each way a request can end."""

    def setUp(self) -> None:
        self.followers = Followers()

    def _door(self, leaf: Leaf) -> tuple[Door, _Notes]:
        notes = _Notes()
        verifyObject(IMeter, notes)
        verifyObject(IRequestLog, notes)
        clock = Clock()
        door = Door(leaf)
        layer = Metered(leaf, "/v1", door.site.clock, notes, notes, self.followers)
        self.assertIsNot(clock, door.site.clock)
        door.site.resource = layer
        return door, notes

    def test_answered(self) -> None:
        """An answered request is counted once, under its configured path."""
        door, notes = self._door(Leaf(lambda request: b"x"))
        caller = door.call().send(_GET * 2)
        self.assertEqual([answer.body for answer in caller.answers(b"GET", b"GET")], [b"x", b"x"])
        self.assertEqual([(route, completed) for route, completed, _ in notes.counted], [("/v1", True)] * 2)
        self.assertEqual(notes.lines, [("/v1", None)] * 2)
        self.assertEqual(notes.in_flight, 0)

    def test_refused(self) -> None:
        """A refusal's reason is in the line."""
        door, notes = self._door(Leaf(lambda request: request.refuse(refusals.NOT_FOUND)))
        door.call().send(_GET)
        self.assertEqual(notes.lines, [("/v1", "not_found")])

    def test_client_left(self) -> None:
        """A client that leaves before the answer is counted as having left, once."""
        door, notes = self._door(Leaf(hold))
        caller = door.call().send(_GET)
        self.assertEqual((notes.in_flight, notes.counted), (1, []))
        caller.leave()
        self.assertEqual([completed for _, completed, _ in notes.counted], [False])
        self.assertEqual(notes.lines, [("/v1", "client_left")])
        self.assertEqual(notes.in_flight, 0)

    def test_quiet(self) -> None:
        """What another line tells of is counted and leaves no line of its own."""

        def refuse(request: Request) -> int:
            request.record.quiet = True
            return request.refuse(refusals.NOT_FOUND)

        door, notes = self._door(Leaf(refuse))
        door.call().send(_GET)
        self.assertEqual((len(notes.counted), notes.lines), (1, []))

    def test_raised(self) -> None:
        """A resource that raises is counted as an internal error."""

        def fail(request: Request) -> bytes:
            raise ZeroDivisionError

        door, notes = self._door(Leaf(fail))
        caller = door.call().send(_GET)
        self.assertEqual(caller.answer(b"GET").status, 500)
        self.assertEqual(notes.lines, [("/v1", "internal")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_followed(self) -> None:
        """Whoever looks on hears of its beginning before anything is decided, and of its end after it was counted."""
        door, notes = self._door(Leaf(lambda request: b"x"))
        follower = Onlooker()
        self.followers.add(follower)
        door.call().send(_GET)
        self.followers.remove(follower)
        door.call().send(_GET)
        self.assertEqual(follower.heard, ["begun", "ended"])
        self.assertEqual(len(notes.counted), 2)

    def test_duration(self) -> None:
        """The time runs from the head to the last byte."""
        door, notes = self._door(Leaf(hold))
        caller = door.call().send(_GET)
        door.reactor.advance(2.5)
        request = door.asked[0] if door.leaf else None
        assert request is not None
        request.setHeader(b"Content-Length", b"1")
        request.write(b"x")
        door.reactor.advance(1.0)
        request.finish()
        self.assertEqual(caller.answer(b"GET").body, b"x")
        self.assertAlmostEqual(notes.counted[0][2], 3.5)
