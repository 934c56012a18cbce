"""Penalties on the wire: who fails waits, nobody else does, and a flood costs neither memory nor log."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IGuardObserver, IMeter, IRequestLog
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Client, ClientDirectory, ClientStore, Role, Token
from hadesgw.policy.penalties import FREE_FAILURES, LONGEST_DELAY_SECONDS, TELL_SECONDS
from hadesgw.resources.guard import Guard
from hadesgw.resources.metered import Metered
from hadesgw.resources.penalties import MOST_HELD, Penalties
from hadesgw.telemetry.followers import Followers
from tests.wire.door import Caller, Door, Leaf, get, post

TOKEN = b"hgw_" + b"p" * 43  # nosecret: of nobody
WRONG = get(b"/v1/x", b"x-api-key: hgw_" + b"w" * 43)
RIGHT = get(b"/v1/x", b"x-api-key: " + TOKEN)


@implementer(IRequestLog)
class Lines:
    """What the log was told."""

    def __init__(self) -> None:
        self.requests: list[str | None] = []
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def request(self, request: Any, completed: bool, now: float) -> None:
        self.requests.append(request.record.reason)

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        self.events.append((name, level, facts))


@implementer(IGuardObserver, IMeter)
class Counts:
    """What was counted."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.finished_requests = 0

    def credential_refused(self, reason: str) -> None:
        self.refused.append(reason)

    def begun(self) -> None:
        pass

    def finished(self, request: Any, completed: bool, now: float) -> None:
        self.finished_requests += 1


class PenaltiesTests(SynchronousTestCase):
    """A metered and guarded leaf that one client may use."""

    def setUp(self) -> None:
        self.lines, self.counts = Lines(), Counts()
        verifyObject(IRequestLog, self.lines)
        verifyObject(IGuardObserver, self.counts)
        verifyObject(IMeter, self.counts)
        token = Token(hashlib.sha256(TOKEN).digest())
        self.store = ClientStore(
            ClientDirectory([Client(name="alice", roles=frozenset((Role.USER,)), tokens=(token,))]), None
        )
        self.door = Door(max_connections=1000)
        clock = self.door.site.clock
        self.penalties = Penalties(clock, self.lines)
        self.leaf = Leaf(lambda request: b"in")
        guard = Guard(self.leaf, self.store, Role.USER, lambda: 0.0, self.counts, self.penalties, None, lambda: 0.0)
        self.door.site.resource = Metered(guard, "/v1", clock, self.counts, self.lines, Followers())

    def _fail(self, times: int) -> Caller:
        """Fail so often on one connection, each time until the answer is there."""
        caller = self.door.call()
        for _ in range(times):
            caller.send(WRONG)
            self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        return caller

    def test_the_first_are_answered_at_once(self) -> None:
        """A few failures are told without delay."""
        caller = self.door.call().send(WRONG * FREE_FAILURES)
        self.assertEqual([answer.status for answer in caller.answers()], [401] * FREE_FAILURES)
        self.assertEqual(self.penalties.held, 0)

    def test_then_they_wait(self) -> None:
        """The next ones are held, each on its time, and the same answer comes then."""
        caller = self.door.call().send(WRONG * FREE_FAILURES)
        at_once = caller.answers()[-1]
        for delay in (0.125, 0.25, 0.5, 1.0, 2.0, 2.0):
            before = len(caller.answers())
            caller.send(WRONG)
            self.door.reactor.pass_time(delay - 0.01)
            self.assertEqual((len(caller.answers()), self.penalties.held), (before, 1))
            self.door.reactor.pass_time(0.01)
            self.assertEqual((len(caller.answers()), self.penalties.held), (before + 1, 0))
        late = caller.answers()[-1]
        self.assertEqual((late.status, late.body), (at_once.status, at_once.body))
        self.assertEqual(late.one(b"www-authenticate"), at_once.one(b"www-authenticate"))
        self.assertTrue(late.one(b"x-request-id"))
        self.assertEqual(self.counts.refused, ["unknown"] * (FREE_FAILURES + 6))

    def test_a_valid_credential_never_waits(self) -> None:
        """Of the same peer, on the same connection, while others of its failures are held: it is answered at once."""
        caller = self._fail(20)
        self.door.call().send(WRONG)
        self.assertEqual(self.penalties.held, 1)
        self.assertEqual(self.door.call().send(RIGHT).answer().body, b"in")
        caller.send(RIGHT)
        self.assertEqual(caller.answers()[-1].body, b"in")

    def test_a_role_too_low_never_waits(self) -> None:
        """Nor does whoever is known and may not: that is no guess."""
        self._fail(20)
        self.door.site.resource = Guard(
            self.leaf, self.store, Role.ADMIN, lambda: 0.0, self.counts, self.penalties, None, lambda: 0.0
        )
        self.assertEqual(self.door.call().send(RIGHT).answer().status, 403)

    def test_departure(self) -> None:
        """Whoever leaves while being held is let go of at once, and counted."""
        self._fail(20)
        counted = self.counts.finished_requests
        callers = [self.door.call().send(WRONG) for _ in range(3)]
        self.assertEqual(self.penalties.held, 3)
        callers[0].leave()
        callers[1].reset()
        self.assertEqual((self.penalties.held, self.counts.finished_requests), (1, counted + 2))
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        self.assertEqual(self.penalties.held, 0)
        self.assertEqual([caller.answers() for caller in callers[:2]], [[], []])
        self.assertEqual(callers[2].answer().status, 401)

    def test_no_more_than_the_most(self) -> None:
        """When as many are held as may be, the next is answered at once: a flood cannot pile up."""
        self._fail(20)
        held = [self.door.call().send(WRONG) for _ in range(MOST_HELD)]
        self.assertEqual(self.penalties.held, MOST_HELD)
        self.assertEqual(self.door.call().send(WRONG).answer().status, 401)
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        self.assertEqual({caller.answer().status for caller in held}, {401})
        self.assertEqual(self.penalties.held, 0)

    def test_no_memory(self) -> None:
        """The bodies of those who are held are not kept, neither what came nor what comes, and do not reach far."""
        self._fail(20)
        caller = self.door.call().send(post(b"a" * 1000, b"x-api-key: wrong", target=b"/v1/x", length=1_000_000))
        self.assertEqual((self.penalties.held, self.door.memory.held), (1, 0))
        caller.send(b"a" * 100_000)
        self.assertEqual((self.door.memory.held, caller.reading), (0, False))
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        self.assertEqual((caller.answer(b"POST").status, self.door.memory.held), (401, 0))

    def test_a_whole_body(self) -> None:
        """A request that was sent whole is answered late on a connection that goes on."""
        caller = self._fail(20)
        caller.send(post(b"{}", b"x-api-key: wrong", target=b"/v1/x"))
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        caller.send(RIGHT)
        self.assertEqual([answer.status for answer in caller.answers()[-2:]], [401, 200])

    def test_the_end_of_the_gateway(self) -> None:
        """A drain that has waited long enough does not wait for them."""
        self._fail(20)
        caller = self.door.call().send(WRONG)
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.assertEqual((caller.answer().status, self.penalties.held), (503, 0))
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        self.assertEqual(caller.answer().status, 503)

    # -- The log -------------------------------------------------------------------------------------------------------

    def test_log_is_sampled(self) -> None:
        """Hundreds of failures leave lines of the first few, and one now and after ten seconds that says how many."""
        for _ in range(300):
            self.door.call().send(WRONG)
        self.door.reactor.pass_time(LONGEST_DELAY_SECONDS)
        self.assertEqual(self.lines.requests, ["wrong_credential"] * FREE_FAILURES)
        facts = {"peer": "127.0.0.1", "count": 1}
        self.assertEqual(self.lines.events, [("credentials_refused", "warn", facts)])
        self.door.reactor.pass_time(TELL_SECONDS)
        self.assertEqual(self.lines.events[1:], [("credentials_refused", "warn", {**facts, "count": 299})])
        self.door.reactor.pass_time(TELL_SECONDS * 10)
        self.assertEqual((len(self.lines.events), len(self.counts.refused)), (2, 300))

    def test_log_goes_on(self) -> None:
        """While it lasts, a line tells of it every ten seconds, and nothing is left running when it is over."""
        for _ in range(40):
            self.door.call().send(WRONG).reset()
            self.door.reactor.pass_time(1.0)
        self.door.reactor.pass_time(TELL_SECONDS * 2)
        told = [facts["count"] for _, _, facts in self.lines.events]
        self.assertEqual((sum(int(str(count)) for count in told), len(told)), (40, 5))
        self.assertLess(len(self.lines.requests), FREE_FAILURES + 5)
        self.assertEqual(self.door.left_behind(), [])

    def test_a_request_that_is_let_in_has_its_line(self) -> None:
        """Sampling is for failures only."""
        self._fail(20)
        self.door.call().send(RIGHT)
        self.assertEqual(self.lines.requests[-1], None)

    def test_without_an_address(self) -> None:
        """On a UNIX socket everybody is one peer."""

        def refuse(request: Request) -> int:
            return Penalties(Clock(), self.lines).refuse(request, refusals.NO_CREDENTIAL, ())

        self.door.site.resource = Leaf(refuse)
        caller = self.door.call()
        caller.channel.peer = object()  # type: ignore[assignment]
        caller.send(WRONG)
        self.assertEqual((caller.answer().status, self.lines.events[0][2]["peer"]), (401, "unix"))
