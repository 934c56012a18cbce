"""One connection of one client: bytes in, requests out, answers back, in order."""

from __future__ import annotations

import contextlib
import json
import socket

from twisted.internet import unix
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hadesgw.config import Timeouts
from hadesgw.http.body import MemoryShare
from hadesgw.http.channel import LINGER_SECONDS, PHRASES, READ_AHEAD_BYTES
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from tests.wire.door import Caller, Door, answer_path, answer_with, echo, get, hold, post, post_chunked

TIMES = Timeouts()
KERNEL = 4096
"""What the kernels between us and a client that does not read will take."""


class DoorTests(SynchronousTestCase):
    """What the tests of this file share: when they end, nobody is left and nothing may be held."""

    door: Door

    def tearDown(self) -> None:
        for caller in self.door.callers:
            if caller.closed is None:
                caller.leave()
        self.assertEqual(self.door.left_behind(), [])

    def assert_refused(self, caller: Caller, status: int, code: str, count: int = 1) -> None:
        """The last of `count` answers refuses, says that it closes, and nothing follows it."""
        answers = caller.answers()
        self.assertEqual(len(answers), count, answers)
        answer = answers[-1]
        self.assertEqual(answer.status, status)
        self.assertEqual(answer.one(b"Connection"), b"close")
        self.assertEqual(json.loads(answer.body)["error"]["code"], code)
        self.assertTrue(answer.one(b"X-Request-ID") and answer.one(b"X-Conveyance-Session-ID"))
        self.assertTrue(caller.ended)


class KeepAliveTests(DoorTests):
    """One request after the other."""

    def test_a_connection_serves_one_request_after_the_other(self) -> None:
        """Whether they come whole or byte by byte, with and without bodies of both framings."""
        for step in (None, 1, 7):
            self.door = Door(echo())
            caller = self.door.call()
            for request in (get(), post(b"abc"), post_chunked(b"d", b"ef"), get()):
                caller.send(request, step)
            self.assertEqual([answer.body for answer in caller.answers()], [b"", b"abc", b"def", b""])
            self.assertFalse(caller.ended)
            self.tearDown()

    def test_a_client_that_wants_to_close_is_told_so_and_closed(self) -> None:
        """After the whole answer."""
        self.door = Door()
        caller = self.door.call().send(get(b"/a", b"Connection: close"))
        self.assertEqual(caller.answer().one(b"Connection"), b"close")
        self.assertEqual(caller.answer().body, b"GET /a")
        self.assertEqual(caller.closed, "closed")

    def test_what_is_kept_is_not_talked_about(self) -> None:
        """HTTP/1.1 keeps by itself; HTTP/1.0 must hear it."""
        self.door = Door()
        newer, older = self.door.call().send(get()), self.door.call()
        older.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertEqual(newer.answer().all(b"Connection"), [])
        self.assertEqual(older.answer().all(b"Connection"), [b"keep-alive"])
        older.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(older.answers()[1].all(b"Connection"), [b"close"])
        self.assertEqual(older.closed, "closed")

    def test_an_idle_connection_is_closed(self) -> None:
        """After the idle time, counted from the last answer; without an answer, because nothing was asked."""
        self.door = Door()
        caller, fresh = self.door.call(), self.door.call()
        self.door.reactor.pass_time(TIMES.idle - 1)
        caller.send(get())
        self.door.reactor.pass_time(2)
        self.assertEqual((fresh.closed, fresh.received), ("closed", b""))
        self.door.reactor.pass_time(TIMES.idle - 3)
        self.assertIsNone(caller.closed)
        self.door.reactor.pass_time(2)
        self.assertEqual(caller.closed, "closed")
        self.assertEqual(len(caller.answers()), 1)

    def test_one_empty_line_before_a_request_is_forgiven(self) -> None:
        """RFC 9112 2.2; a second is not, however they are cut."""
        for step in (None, 1):
            self.door = Door()
            caller = self.door.call().send(b"\r\n" + get(b"/a") + b"\r\n" + get(b"/b"), step)
            self.assertEqual([answer.body for answer in caller.answers()], [b"GET /a", b"GET /b"])
            caller.send(b"\r\n\r\n" + get(), step)
            self.assert_refused(caller, 400, "bad_request_line", 3)
            self.tearDown()


class PipeliningTests(DoorTests):
    """Requests that do not wait for the answers before them."""

    def test_answers_keep_the_order_and_one_request_is_served_at_a_time(self) -> None:
        """A slow first answer holds the others back; they have not even begun."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/1") + post(b"two", target=b"/2") + get(b"/3"))
        for number in range(3):
            self.assertEqual(len(self.door.asked), number + 1)
            self.assertEqual(len(caller.answers()), number)
            answer_with(self.door.asked[-1].uri, self.door.asked[-1])
        self.assertEqual([answer.body for answer in caller.answers()], [b"/1", b"/2", b"/3"])

    def test_a_pipelined_request_is_read_while_the_one_before_streams(self) -> None:
        """What comes behind the request in flight never gets between its answer."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/1"))
        first = self.door.asked[0]
        first.write(b"a")
        caller.send(get(b"/2"), 3)
        first.write(b"b")
        first.finish()
        answer_with(b"second", self.door.asked[1])
        self.assertEqual([answer.body for answer in caller.answers()], [b"ab", b"second"])

    def test_a_broken_request_is_refused_in_its_turn(self) -> None:
        """After the answers to the sound ones before it; what follows it is not looked at."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/1") + b"GET /2 HTTP/1.1\r\n\r\n" + get(b"/3"))
        self.assertEqual(caller.received, b"")
        answer_with(b"first", self.door.asked[0])
        self.assert_refused(caller, 400, "bad_host", 2)
        self.assertEqual(len(self.door.asked), 1)

    def test_behind_a_request_that_closes_nothing_is_served(self) -> None:
        """And what was pipelined there does not reset the connection under the answer."""
        self.door = Door()
        caller = self.door.call().send(get(b"/1", b"Connection: close") + get(b"/2"))
        self.assertEqual([answer.body for answer in caller.answers()], [b"GET /1"])
        self.assertTrue(caller.socket.half_closed)
        caller.send(get(b"/3") * 100)
        caller.leave()
        self.assertEqual((caller.closed, caller.socket.unread_at_close), ("closed", 0))

    def test_reading_pauses_when_much_waits(self) -> None:
        """At 64 KiB, and goes on when there is room."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/first"))
        caller.send(get(b"/") * (READ_AHEAD_BYTES // len(get(b"/"))))
        self.assertTrue(caller.reading)
        caller.send(get(b"/"))
        self.assertFalse(caller.reading)
        waiting = get(b"/last") * 1000
        caller.send(waiting)
        self.door.answer_all()
        self.assertEqual(self.door.asked[-1].uri, b"/last")
        self.assertTrue(caller.reading)

    def test_a_client_that_leaves_is_noticed_while_requests_wait(self) -> None:
        """The one in flight learns it, the waiting ones never begin."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/1") + get(b"/2"))
        gone = self.door.asked[0].notifyFinish()
        caller.leave()
        self.failureResultOf(gone, ConnectionDone)
        self.assertEqual(len(self.door.asked), 1)

    def test_a_request_has_ended_before_the_next_begins(self) -> None:
        """Whoever counts requests in flight never counts two of one connection."""
        order: list[str] = []

        def act(request: Request) -> int:
            name = request.uri.decode()
            order.append(f"{name} begins")
            request.at_end(lambda completed: order.append(f"{name} ends"))
            return NOT_DONE_YET

        self.door = Door(act)
        self.door.call().send(get(b"/1") + get(b"/2"))
        for number in range(2):
            answer_with(b"", self.door.asked[number])
        self.assertEqual(order, ["/1 begins", "/1 ends", "/2 begins", "/2 ends"])


class HeadTests(DoorTests):
    """The time and the bounds of a head."""

    def test_the_time_for_a_head_is_total(self) -> None:
        """A byte every nine seconds does not extend it; 408 says what happened."""
        self.door = Door()
        caller = self.door.call()
        self.door.reactor.pass_time(30)  # it has not begun
        caller.send(b"GET / HTT")
        self.door.reactor.pass_time(9)
        caller.send(b"P")
        self.assertEqual(caller.received, b"")
        self.door.reactor.pass_time(TIMES.request_head - 9)
        self.assert_refused(caller, 408, "head_timeout")

    def test_each_head_has_its_own_time(self) -> None:
        """Of a later request on the connection too, from its first byte; while one is in flight it does not run."""
        self.door = Door(hold)
        caller = self.door.call().send(get(b"/1") + b"GET ")
        self.door.reactor.pass_time(TIMES.request_head + 5)
        answer_with(b"", self.door.asked[0])
        self.door.reactor.pass_time(TIMES.request_head - 1)
        self.assertEqual(len(caller.answers()), 1)
        caller.send(b"/")
        self.door.reactor.pass_time(1)
        self.assert_refused(caller, 408, "head_timeout", 2)

    def test_the_bounds_of_a_head_hold_however_it_comes(self) -> None:
        """Target, fields and bytes: the last allowed is let in, one more is refused by its own status."""
        limits = Door().site.head_limits
        filling = b"a" * (limits.total - len(get(b"/", b"A: ")))
        table = {
            get(b"/" + b"a" * (limits.target - 1)): None,
            get(b"/" + b"a" * limits.target): (414, "target_too_long"),
            get(b"/", *[b"A: b"] * (limits.fields - 1)): None,
            get(b"/", *[b"A: b"] * limits.fields): (431, "head_too_large"),
            get(b"/", b"A: " + filling): None,
            get(b"/", b"A: " + filling + b"a"): (431, "head_too_large"),
        }
        for request, refused in table.items():
            for step in (None, 1000, 13):
                self.door = Door()
                caller = self.door.call().send(request, step)
                if refused is None:
                    self.assertEqual(caller.answer().status, 200)
                else:
                    self.assert_refused(caller, *refused)
                self.tearDown()

    def test_a_host_that_is_not_ours_is_misdirected(self) -> None:
        """Before the resource, in the caller's dialect, with the ids that were sent; HEAD hears no body."""
        self.door = Door()
        caller = self.door.call().send(get(b"/", b"X-Request-ID: r", host=b"localhost.evil"))
        self.assert_refused(caller, 421, "misdirected")
        self.assertEqual(caller.answer().one(b"X-Request-ID"), b"r")
        caller = self.door.call().send(get(b"/v1/messages", host=b"evil"))
        self.assertEqual(json.loads(caller.answer().body)["type"], "error")
        caller = self.door.call().send(get(host=b"evil").replace(b"GET", b"HEAD"))
        self.assertEqual(caller.answer(b"HEAD").status, 421)
        self.assertEqual(self.door.asked, [])

    def test_an_encoded_body_is_answered_with_what_would_do(self) -> None:
        """RFC 9110 15.5.16: no coding at all."""
        self.door = Door()
        caller = self.door.call().send(post(b"x", b"Content-Encoding: gzip"))
        self.assert_refused(caller, 415, "encoded_body")
        self.assertEqual(caller.answer().one(b"accept-encoding"), b"identity")

    def test_phrases_are_those_of_today(self) -> None:
        """RFC 9110's, whichever Python says them."""
        self.door = Door()
        caller = self.door.call().send(b"GET /%b HTTP/1.1\r\n\r\n" % (b"x" * 9_000))
        self.assertEqual((caller.answer().status, caller.answer().phrase), (414, b"URI Too Long"))
        self.assertEqual(PHRASES[413], b"Content Too Large")

    def test_a_refusal_before_the_resource_is_told_to_the_observer(self) -> None:
        """With its ids, and with the header whose value was not usable."""
        self.door = Door()
        self.door.call().send(b"GET / HTTP/1.1\r\nX-Request-ID: a b\r\nX-Conveyance-Session-ID: s\r\n\r\n")
        self.assertEqual(self.door.notes.refused, [("bad_host", b"minted-1", b"s")])
        self.assertEqual(self.door.notes.replaced, [b"X-Request-ID"])

    def test_a_refusal_before_the_resource_is_a_whole_answer(self) -> None:
        """With the words of its status, a date and a type."""
        self.door = Door()
        for request, phrase in (
            (b"GET / HTTP/2.0\r\n\r\n", b"HTTP Version Not Supported"),
            (get(host=b"evil"), b"Misdirected Request"),
        ):
            answer = self.door.call().send(request).answer()
            self.assertEqual(answer.phrase, phrase)
            self.assertEqual(answer.one(b"Content-Type"), b"application/json")
            self.assertTrue(answer.one(b"Date").endswith(b" GMT"))
            self.assertTrue(answer.whole)


class BodyTests(DoorTests):
    """A body that is asked for, or not."""

    def test_the_caps_hold_to_the_byte(self) -> None:
        """Stated or chunked: the last allowed byte is let in, one more is 413; what was sent is not needed for it."""
        self.door = Door(echo(cap=10))
        for request in (post(b"a" * 10), post_chunked(b"a" * 4, b"a" * 6)):
            self.assertEqual(self.door.call().send(request).answer().body, b"a" * 10)
        for request in (post(b"", length=11), post_chunked(b"a" * 11, end=b""), post_chunked(b"a" * 10, b"a", end=b"")):
            for step in (None, 1):
                self.assert_refused(self.door.call().send(request, step), 413, "body_too_large")

    def test_a_chunk_is_refused_as_it_crosses_the_cap(self) -> None:
        """Not for what its size announces, and not after it has all come."""
        self.door = Door(echo(cap=10))
        caller = self.door.call().send(post_chunked(end=b"ffff\r\n" + b"a" * 10))
        self.assertEqual(caller.received, b"")
        caller.send(b"a")
        self.assert_refused(caller, 413, "body_too_large")

    def test_a_refusal_is_not_lost_to_what_still_comes(self) -> None:
        """Our half is closed, the client's is read and thrown away for a while, and only then is the connection cut."""
        self.door = Door(echo(cap=10))
        caller = self.door.call().send(post(b"a" * 20, length=10**9))
        self.assertTrue(caller.socket.half_closed)
        self.assertIsNone(caller.closed)
        for _ in range(50):
            caller.send(b"a" * 60000)
        self.assertEqual(self.door.memory.held, 0)
        self.assert_refused(caller, 413, "body_too_large")
        self.door.reactor.pass_time(LINGER_SECONDS)
        self.assertIsNotNone(caller.closed)
        prompt = self.door.call().send(post(b"a" * 20, length=10**9))
        prompt.leave()
        self.assertEqual((prompt.closed, prompt.socket.unread_at_close), ("closed", 0))

    def test_the_time_for_a_body_is_total(self) -> None:
        """It begins when the body is asked for; a byte now and then does not extend it."""
        self.door = Door(echo())
        caller = self.door.call().send(post(b"a", length=100))
        for _ in range(3):
            self.door.reactor.pass_time(TIMES.request_body / 3 - 1)
            caller.send(b"a")
        self.assertEqual(caller.received, b"")
        self.door.reactor.pass_time(3)
        self.assert_refused(caller, 408, "body_timeout")

    def test_nobody_counts_the_time_of_a_body_that_nobody_wants(self) -> None:
        """Nor is the time of one that came in time held against its answer."""
        self.door = Door(hold)
        caller = self.door.call().send(post(b"a", length=2))
        self.door.reactor.pass_time(1000)
        request = self.door.asked[0]
        reading = request.read_body(10)
        caller.send(b"b")
        self.assertEqual(self.successResultOf(reading), b"ab")
        self.door.reactor.pass_time(1000)
        answer_with(b"", request)
        self.assertEqual(caller.answer().status, 200)

    def test_what_nobody_wants_is_not_read(self) -> None:
        """Past 64 KiB; when it is wanted, reading goes on."""
        self.door = Door(hold)
        caller = self.door.call().send(post(b"", length=200_000))
        caller.send(b"a" * 65535)
        self.assertTrue(caller.reading)
        caller.send(b"a")
        self.assertFalse(caller.reading)
        reading = self.door.asked[0].read_body(200_000)
        self.assertTrue(caller.reading)
        caller.send(b"a" * (200_000 - 65536))
        self.assertEqual(len(self.successResultOf(reading)), 200_000)
        answer_with(b"", self.door.asked[0])
        self.assertTrue(caller.reading)

    def test_as_much_is_read_at_once_as_is_waited_for(self) -> None:
        """Of a body of stated length, and not a byte more; of all else 64 KiB, however much there is."""
        self.door = Door(echo(400_000))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        channel = self.door.site.buildProtocol(None)  # type: ignore[arg-type]
        transport = unix.Server(ours, channel, "", None, 1, self.door.reactor)
        channel.makeConnection(transport)
        rest = get(b"/next") + post_chunked(b"a" * 90_000)
        for data, left in (
            (post(b"", length=300_000), 0),
            (b"a" * 180_000, 0),
            (b"a" * 120_000 + rest, len(rest)),
            (b"", len(rest) - 65536),
        ):
            theirs.sendall(data)
            transport.doRead()
            with contextlib.suppress(BlockingIOError):
                self.assertEqual(len(ours.recv(1 << 20, socket.MSG_PEEK)), left)
                continue
            self.assertEqual(left, 0)
        theirs.close()
        transport.doRead()
        transport.connectionLost(Failure(ConnectionDone()))

    def test_what_nobody_wanted_closes_the_connection(self) -> None:
        """Where the next request begins would be known only after reading it; the client hears `close`."""
        for request in (post(b"", length=5), post_chunked(b"abc", end=b"")):
            self.door = Door()
            caller = self.door.call().send(request)
            self.assertEqual(caller.answer().body, b"POST /")
            self.assertEqual(caller.answer().one(b"Connection"), b"close")
            caller.send(b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(len(self.door.asked), 1)
            self.tearDown()

    def test_all_bodies_together_are_bounded(self) -> None:
        """503 with Retry-After for the one that is too much; when another ends there is room again."""
        self.door = Door(hold, body_memory=MemoryShare(100))
        first, second, third = (self.door.call() for _ in range(3))
        first.send(post(b"a" * 60))
        second.send(post(b"a" * 41))
        self.assert_refused(second, 503, "overloaded")
        self.assertEqual(second.answer().one(b"Retry-After"), b"1")
        answer_with(b"", self.door.asked[0])
        third.send(post(b"a" * 60))
        answer_with(b"", self.door.asked[-1])
        self.assertEqual(third.answer().status, 200)
        self.assertEqual(self.door.site.body_memory.held, 0)

    def test_a_broken_body_is_refused_with_the_ids_that_were_sent(self) -> None:
        """Whether it comes with its head or later, asked for or not, and in the caller's dialect."""
        head = [b"POST /v1/messages HTTP/1.1", b"Host: localhost", b"Transfer-Encoding: chunked"]
        raw = b"\r\n".join([*head, b"X-Request-ID: r", b"X-Conveyance-Session-ID: s", b"", b""])
        bodies = (b"x\r\nX-Request-ID: t\r\n", b"0\r\nX-Request-ID: t\r\n\r\n", b"1\r\nab", b"1\nb")
        for act in (echo(), hold):
            for body in bodies:
                for step in (None, 1):
                    self.door = Door(act)
                    caller = self.door.call().send(raw + body + get(b"/next"), step)
                    answer = caller.answer()
                    self.assertEqual((answer.status, answer.one(b"Connection")), (400, b"close"))
                    self.assertEqual(
                        (answer.one(b"X-Request-ID"), answer.one(b"X-Conveyance-Session-ID")), (b"r", b"s")
                    )
                    self.assertEqual(json.loads(answer.body)["type"], "error")
                    self.assertEqual(len(self.door.asked), 1)
                    self.tearDown()

    def test_who_must_not_come_in_hears_that_first(self) -> None:
        """A resource that answers without the body answers so, broken body or not, and it is the only answer."""
        for step in (None, 1):
            self.door = Door()
            caller = self.door.call().send(post_chunked(end=b"x\r\n\r\n\r\n"), step)
            self.assertEqual((caller.answer().status, caller.answer().body), (200, b"POST /"))
            self.assertTrue(caller.ended)
            self.tearDown()

    def test_after_a_broken_body_nothing_of_it_is_taken(self) -> None:
        """While its refusal is on the way, whatever it takes."""
        failures: list[Failure] = []

        def act(request: Request) -> int:
            request.read_body(1000).addErrback(failures.append)
            return NOT_DONE_YET

        self.door = Door(act)
        caller = self.door.call().send(post_chunked(end=b"x\r\n"))
        caller.send(b"5\r\nhello\r\n0\r\n\r\n" + get(b"/smuggled"))
        self.assertEqual(len(failures), 1)
        self.assertEqual(self.door.memory.held, 0)
        self.door.asked[0].refuse(refusals.BAD_CHUNK)
        self.assert_refused(caller, 400, "bad_chunk")
        self.assertEqual(len(self.door.asked), 1)

    def test_a_client_that_leaves_while_it_uploads_is_noticed(self) -> None:
        """Whoever waits for the body learns it, nothing is written, and nothing is left of it."""
        told: list[str] = []

        def act(request: Request) -> int:
            request.at_end(lambda completed: told.append(f"ended {completed}"))
            request.read_body(1000).addErrback(lambda failure: told.append(type(failure.value).__name__))
            return NOT_DONE_YET

        for leave in (Caller.leave, Caller.reset):
            self.door = Door(act)
            caller = self.door.call().send(post(b"abc", length=10))
            leave(caller)
            self.assertEqual(told[-2:][0], "ended False")
            self.assertIn(told[-1], ("ConnectionDone", "ConnectionLost"))
            self.assertEqual(caller.received, b"")
            self.assertEqual(self.door.left_behind(), [])

    def test_refusing_who_has_left_does_no_harm(self) -> None:
        """Neither an answer nor a timer comes of it."""
        self.door = Door(echo())

        def act(request: Request) -> int:
            request.read_body(1000).addErrback(lambda failure: request.refuse(refusals.INTERNAL))
            return NOT_DONE_YET

        self.door = Door(act)
        caller = self.door.call().send(post(b"abc", length=10))
        caller.leave()
        self.assertEqual(caller.received, b"")
        self.assertEqual(self.door.left_behind(), [])


class ExpectTests(DoorTests):
    """`Expect: 100-continue`."""

    EXPECT = b"Expect: 100-continue"

    def test_it_is_answered_when_the_body_is_asked_for(self) -> None:
        """Not before, and once."""
        self.door = Door(hold)
        caller = self.door.call().send(post(b"", self.EXPECT, length=3))
        self.assertEqual(caller.received, b"")
        reading = self.door.asked[0].read_body(10)
        self.assertEqual(caller.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.send(b"abc", 1)
        answer_with(self.successResultOf(reading), self.door.asked[0])
        self.assertEqual([answer.status for answer in caller.answers()], [100, 200])
        self.assertFalse(caller.ended)

    def test_it_is_not_answered_when_the_body_comes_anyway(self) -> None:
        """RFC 9110 10.1.1 lets us leave it out then."""
        self.door = Door(echo())
        caller = self.door.call().send(post(b"a", self.EXPECT, length=2))
        caller.send(b"b")
        self.assertEqual([answer.status for answer in caller.answers()], [200])

    def test_a_refusal_comes_before_the_body(self) -> None:
        """By cap or by resource: no 100, and the connection ends, because a body may or may not follow."""
        for act, status in ((echo(cap=10), 413), (answer_path, 200)):
            self.door = Door(act)
            caller = self.door.call().send(post(b"", self.EXPECT, length=11))
            self.assertEqual([answer.status for answer in caller.answers()], [status])
            self.assertEqual(caller.answer().one(b"Connection"), b"close")
            self.assertTrue(caller.ended)
            self.tearDown()

    def test_other_expectations_are_refused(self) -> None:
        """With 417."""
        self.door = Door(echo())
        caller = self.door.call().send(post(b"", b"Expect: tea", length=3))
        self.assert_refused(caller, 417, "bad_expectation")


@implementer(IPushProducer)
class Push:
    """A producer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IPullProducer)
class Pull:
    """A producer that writes `pieces` when asked, then finishes."""

    def __init__(self, request: Request, pieces: list[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        self.stopped = False

    def resumeProducing(self) -> None:
        self._request.write(self._pieces.pop(0))
        if not self._pieces:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        self.stopped = True


class SlowClientTests(DoorTests):
    """A client that reads more slowly than the answer comes."""

    def stream(self, producer: Push) -> Caller:
        """A client in the middle of an answer whose producer is `producer`, after 100 KB it did not read."""
        self.door = Door(hold)
        caller = self.door.call(room=KERNEL).send(get(b"/slow"))
        request = self.door.asked[0]
        request.registerProducer(producer, True)
        request.write(b"a" * 100_000)
        return caller

    def test_the_answer_is_paused_and_resumed(self) -> None:
        """The producer stops when our buffer is full and goes on when the client has read it."""
        producer = Push()
        caller = self.stream(producer)
        self.assertEqual(producer.told, ["pause"])
        self.assertLess(caller.buffered, 100_000)
        caller.take(KERNEL)
        self.assertEqual(producer.told, ["pause"])
        caller.take()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.door.asked[0].unregisterProducer()
        self.door.asked[0].finish()
        self.assertEqual(len(caller.answer().body), 100_000)

    def test_a_producer_that_comes_too_late_is_paused_at_once(self) -> None:
        """If the client has not read what was written before."""
        self.door = Door(hold)
        caller = self.door.call(room=KERNEL).send(get())
        self.door.asked[0].write(b"a" * 100_000)
        producer = Push()
        self.door.asked[0].registerProducer(producer, True)
        self.assertEqual(producer.told, ["pause"])
        caller.leave()

    def test_its_departure_is_noticed_and_the_producer_stopped(self) -> None:
        """Paused or not: reading goes on, and a producer's consumer that died says so (IConsumer)."""
        producer = Push()
        caller = self.stream(producer)
        gone = self.door.asked[0].notifyFinish()
        self.assertTrue(caller.reading)
        caller.reset()
        self.failureResultOf(gone, ConnectionLost)
        self.assertEqual(producer.told, ["pause", "stop"])

    def test_the_next_request_is_not_begun(self) -> None:
        """Until the answer before has been read; then it is."""
        caller = self.stream(Push())
        caller.send(get(b"/next"))
        self.door.asked[0].unregisterProducer()
        self.door.asked[0].finish()
        self.assertEqual(len(self.door.asked), 1)
        caller.take()
        self.assertEqual(self.door.asked[-1].uri, b"/next")
        answer_with(b"", self.door.asked[-1])

    def test_it_cannot_fill_our_memory(self) -> None:
        """What it sends while it does not read is bounded: reading pauses, also when no request is in flight."""
        caller = self.stream(Push())
        self.door.asked[0].unregisterProducer()
        self.door.asked[0].finish()
        for _ in range(20):
            caller.send(get(b"/more") * 500)
        self.assertFalse(caller.reading)
        self.assertLessEqual(len(caller.channel._unread), 2 * READ_AHEAD_BYTES)
        self.door.answer_all()
        caller.take()
        self.door.answer_all()
        self.assertEqual(len(caller.answers()), 1 + 20 * 500)

    def test_a_body_goes_on_when_it_reads_again(self) -> None:
        """A request that is answered while it is uploaded does not stop for good."""
        self.door = Door(hold)
        caller = self.door.call(room=KERNEL).send(post(b"", length=300_000))
        request, producer = self.door.asked[0], Push()
        request.registerProducer(producer, True)
        reading = request.read_body(300_000)
        request.write(b"a" * 100_000)
        for _ in range(5):
            caller.send(b"b" * 60_000)
        self.assertFalse(caller.reading)
        caller.take()
        self.assertEqual(len(self.successResultOf(reading)), 300_000)
        request.unregisterProducer()
        request.finish()
        self.assertTrue(caller.answer().whole)

    def test_it_does_not_hold_the_connection_for_ever(self) -> None:
        """A client that takes nothing of a finished answer is cut off after twice the idle time, without a 408."""
        for waiting in (b"", get(b"/next")):
            caller = self.stream(Push())
            caller.send(waiting)
            self.door.asked[0].unregisterProducer()
            self.door.asked[0].finish()
            buffered = caller.buffered
            self.door.reactor.pass_time(TIMES.idle)
            self.assertEqual(caller.buffered, buffered)
            self.door.reactor.pass_time(TIMES.idle)
            self.assertEqual(caller.closed, "reset")
            self.assertEqual(self.door.left_behind(), [])

    def test_it_does_not_hold_an_answer_for_ever(self) -> None:
        """Of whatever kind: what nobody takes in the idle time is cut, and what made it is stopped."""
        pulls: list[Pull] = []

        def pull(request: Request) -> int:
            pulls.append(Pull(request, [b"a" * 100_000] * 3))
            request.registerProducer(pulls[-1], False)
            return NOT_DONE_YET

        push = Push()
        stalled = Door(pull)
        pushed, pulled = self.stream(push), stalled.call(room=KERNEL).send(get())
        for door, caller in ((self.door, pushed), (stalled, pulled)):
            door.reactor.pass_time(TIMES.idle - 1)
            self.assertFalse(caller.channel._lingering)
            door.reactor.pass_time(1)
            door.reactor.pass_time(TIMES.idle)
            self.assertEqual(caller.closed, "reset")
            self.assertFalse(caller.answer().whole)
            self.assertEqual(door.left_behind(), [])
        self.assertEqual(push.told, ["pause", "stop"])
        self.assertTrue(pulls[0].stopped)
        self.assertEqual(self.door.asked[0].record.reason, "client_stalled")

    def test_a_slow_reader_is_no_stalled_one(self) -> None:
        """As long as it takes what we hold of it within the idle time, the answer goes on, however long that is."""
        for streaming in (True, False):
            self.door = Door(hold)
            caller = self.door.call(room=0).send(get())
            request = self.door.asked[0]
            source: Push | Pull = Push() if streaming else Pull(request, [b"a" * 70_000] * 5)
            request.registerProducer(source, streaming)
            for _ in range(5):
                if streaming:
                    request.write(b"a" * 70_000)
                caller.take(72_000)
                self.door.reactor.pass_time(TIMES.idle - 1)
            if streaming:
                request.unregisterProducer()
                request.finish()
            caller.take()
            self.assertEqual(len(caller.answer().body), 350_000)

    def test_a_pull_producer_is_asked_as_the_client_reads(self) -> None:
        """Piece by piece; afterwards the connection serves on, paced as before."""

        def act(request: Request) -> int:
            request.setHeader(b"Content-Length", b"300000")
            request.registerProducer(Pull(request, [b"a" * 100_000] * 3), False)
            return NOT_DONE_YET

        self.door = Door(act)
        caller = self.door.call(room=KERNEL).send(get())
        self.assertLess(caller.buffered, 110_000)
        caller.take()
        self.assertEqual(caller.answer().body, b"a" * 300_000)
        caller.send(get())
        self.assertEqual(len(caller.answers()), 2)
        self.assertFalse(caller.ended)

    def test_a_pull_producer_behind_a_full_buffer_does_not_choke_the_connection(self) -> None:
        """What was written before it is sent first, and the next request is served in its time."""

        def act(request: Request) -> int:
            request.write(b"b" * 100_000)
            request.registerProducer(Pull(request, [b"a"] * 3), False)
            return NOT_DONE_YET

        self.door = Door(act)
        caller = self.door.call(room=KERNEL).send(get() + get())
        caller.take()
        self.assertEqual([len(answer.body) for answer in caller.answers()], [100_003] * 2)

    def test_a_pull_producer_is_stopped_when_the_client_leaves(self) -> None:
        """And is not asked again."""
        producers: list[Pull] = []

        def act(request: Request) -> int:
            producers.append(Pull(request, [b"a" * 100_000] * 3))
            request.registerProducer(producers[0], False)
            return NOT_DONE_YET

        self.door = Door(act)
        self.door.call(room=KERNEL).send(get()).reset()
        self.assertTrue(producers[0].stopped)


class HalfCloseTests(DoorTests):
    """A client that closes its half after its request."""

    def test_it_counts_as_leaving(self) -> None:
        """By default, as most servers see it: it cannot be told from a client that is gone."""
        self.door = Door(hold)
        caller = self.door.call().send(get())
        gone = self.door.asked[0].notifyFinish()
        caller.half_close()
        self.failureResultOf(gone, ConnectionDone)
        self.assertEqual(caller.closed, "closed")

    def test_it_can_be_answered(self) -> None:
        """If so configured: the answer in flight comes whole, and then the connection ends."""
        self.door = Door(hold, half_close=True)
        caller = self.door.call().send(get())
        caller.half_close()
        self.assertIsNone(caller.closed)
        self.door.asked[0].write(b"abc")
        self.door.asked[0].finish()
        self.assertEqual(caller.answer().body, b"abc")
        self.assertEqual(caller.closed, "closed")

    def test_without_a_whole_request_there_is_nothing_to_answer(self) -> None:
        """On an idle connection, in a head, in a body: it leaves."""
        for sent in (b"", b"GET / HT", post(b"a", length=5)):
            self.door = Door(hold, half_close=True)
            caller = self.door.call().send(sent)
            caller.half_close()
            self.assertIsNotNone(caller.closed)
            self.assertEqual(self.door.left_behind(), [])

    def test_a_real_departure_is_still_noticed(self) -> None:
        """When we write, at the latest."""
        self.door = Door(hold, half_close=True)
        caller = self.door.call().send(get())
        gone = self.door.asked[0].notifyFinish()
        caller.half_close()
        caller.reset()
        self.door.asked[0].write(b"abc")
        self.door.reactor.settle()
        self.failureResultOf(gone, ConnectionLost)

    def test_a_refusal_still_lingers(self) -> None:
        """And ends when the client closes."""
        self.door = Door(hold, half_close=True)
        caller = self.door.call().send(b"GET\r\n\r\n")
        self.assertTrue(caller.socket.half_closed)
        caller.half_close()
        self.assertIsNotNone(caller.closed)


class CutTests(DoorTests):
    """Answers that will not come to their end."""

    def begin(self, request: bytes, length: int | None = None) -> Caller:
        """A client that has got `abc` of its answer."""
        self.door = Door(hold)
        caller = self.door.call().send(request)
        if length is not None:
            self.door.asked[0].setHeader(b"Content-Length", b"%d" % length)
        self.door.asked[0].write(b"abc")
        return caller

    def test_a_chunked_answer_ends_without_its_last_chunk(self) -> None:
        """Closed in order, so that what was sent arrives; with a last word if there is one."""
        for last in (b"", b"data: {}\n\n"):
            caller = self.begin(get())
            self.door.asked[0].cut(last)
            self.door.reactor.settle()
            self.assertEqual((caller.answer().body, caller.answer().whole), (b"abc" + last, False))
            self.assertEqual(caller.closed, "closed")

    def test_an_answer_of_stated_length_ends_short(self) -> None:
        """Closed in order, because the length shows it."""
        caller = self.begin(get(), length=10)
        self.door.asked[0].cut()
        self.assertEqual((caller.answer().body, caller.answer().whole), (b"abc", False))
        self.assertEqual(caller.closed, "closed")

    def test_an_answer_that_only_the_close_ends_is_reset(self) -> None:
        """For HTTP/1.0 a plain close would be its regular end; behind a last word it may be plain."""
        caller = self.begin(b"GET / HTTP/1.0\r\n\r\n")
        self.door.asked[0].cut()
        self.door.reactor.settle()
        self.assertEqual(caller.closed, "reset")
        caller = self.begin(b"GET / HTTP/1.0\r\n\r\n")
        self.door.asked[0].cut(b"error")
        self.assertEqual((caller.answer().body, caller.closed), (b"abcerror", "closed"))

    def test_a_cut_answer_has_ended_for_everybody(self) -> None:
        """Who waits for the end learns it, and no request follows on the connection."""
        caller = self.begin(get() + get(b"/next"))
        gone = self.door.asked[0].notifyFinish()
        self.door.asked[0].cut()
        self.door.reactor.settle()
        self.failureResultOf(gone, ConnectionDone)
        self.assertEqual(len(self.door.asked), 1)
        self.door.asked[0].cut(b"again")
        self.assertEqual(caller.answer().body, b"abc")

    def test_what_is_finished_cannot_be_cut(self) -> None:
        """Nothing happens."""
        caller = self.begin(get())
        self.door.asked[0].finish()
        self.door.asked[0].cut(b"more")
        self.assertTrue(caller.answer().whole)
        self.assertFalse(caller.ended)

    def test_a_client_that_does_not_read_cannot_hold_a_cut_answer(self) -> None:
        """What it does not take in the idle time is dropped."""
        self.door = Door(hold)
        caller = self.door.call(room=10).send(get())
        self.door.asked[0].write(b"a" * 100_000)
        self.door.asked[0].cut()
        self.door.reactor.pass_time(TIMES.idle - 1)
        self.assertIsNone(caller.closed)
        self.door.reactor.pass_time(1)
        self.assertEqual(caller.closed, "reset")


class CrowdTests(DoorTests):
    """More connections than there may be, and the end of them all."""

    def test_one_connection_too_many_is_refused_at_once(self) -> None:
        """With 503, before it says anything; when one leaves there is room again."""
        self.door = Door(max_connections=2)
        callers = [self.door.call() for _ in range(3)]
        self.assert_refused(callers[2], 503, "overloaded")
        self.assertEqual(callers[2].answer().one(b"Retry-After"), b"1")
        callers[2].send(get())
        self.assertEqual(len(callers[2].answers()), 1)
        self.assertEqual(callers[1].send(get()).answer().status, 200)
        self.assertEqual(self.door.notes.open, 3)
        callers[0].leave()
        callers[2].leave()
        self.assertEqual(self.door.notes.open, 1)
        self.assertEqual(self.door.call().send(get()).answer().status, 200)

    def test_draining_ends_what_is_idle_and_finishes_what_is_not(self) -> None:
        """The answer in flight says that the connection closes; a pipelined request is not begun."""
        self.door = Door(hold)
        idle, busy, late = self.door.call(), self.door.call(), self.door.call()
        busy.send(get(b"/1") + get(b"/2"))
        late.send(get(b"/3"))
        self.door.asked[1].write(b"begun ")
        self.door.site.drain()
        self.door.reactor.settle()
        self.assertEqual((idle.closed, idle.received), ("closed", b""))
        answer_with(b"one", self.door.asked[0])
        answer = busy.answer()
        self.assertEqual((answer.body, answer.one(b"Connection")), (b"one", b"close"))
        self.door.asked[1].finish()
        self.door.reactor.settle()
        self.assertTrue(late.answer().whole)
        self.assertTrue(busy.ended and late.ended)
        self.assertEqual(len(self.door.asked), 2)

    def test_interrupting_ends_every_request(self) -> None:
        """As a refusal where nothing was told yet, else by cutting the answer."""
        self.door = Door(hold)
        waiting, flowing, idle = self.door.call().send(get()), self.door.call().send(get()), self.door.call()
        self.door.asked[1].write(b"abc")
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.door.reactor.settle()
        self.assertEqual(waiting.answer().status, 503)
        self.assertEqual((flowing.answer().body, flowing.answer().whole), (b"abc", False))
        self.assertFalse(idle.ended)

    def test_aborting_drops_every_connection(self) -> None:
        """On the spot."""
        self.door = Door(hold)
        callers = [self.door.call().send(get()), self.door.call()]
        self.door.site.abort()
        self.door.reactor.settle()
        self.assertEqual([caller.closed for caller in callers], ["reset", "reset"])
        self.assertEqual(self.door.site.channels, set())

    def test_a_thousand_departures_leave_nothing(self) -> None:
        """At every stage of a request, by close and by reset."""
        stages = (b"", b"GET", get(), get() + get(), post(b"a", length=5), post_chunked(b"a", end=b""), b"GET\r\n\r\n")
        self.door = Door(echo())
        for number in range(1000):
            caller = self.door.call(room=10 if number % 3 else None).send(stages[number % len(stages)])
            caller.reset() if number % 2 else caller.leave()
            if number % 100 == 0:
                self.door.reactor.pass_time(LINGER_SECONDS)
        self.assertEqual(self.door.left_behind(), [])
        self.assertEqual(self.door.notes.open, 0)
