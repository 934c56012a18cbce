"""One connection to the model server: what is sent, and what is made of whatever comes back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.client import MAX_FIELDS, Answer, BytesBody, ClientConnection, UpstreamFailure, refusal_of
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal
from tests.http.model_server import HEAD_LIMIT, OK, STREAM, Line, Receiver, chunk, measured
from tests.wire.line import Reactor

FIRST_BYTE = 60.0
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class Case(SynchronousTestCase):
    """A connection, and the other end of it."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.connections: list[ClientConnection] = []
        self.waiting: list[Deferred[Answer]] = []
        self.connect()

    def connect(self) -> None:
        """Take a fresh connection."""
        self.freed: list[ClientConnection] = []
        self.connection = ClientConnection(self.reactor, HEAD_LIMIT, self.freed.append)
        self.line = Line(self.reactor, self.connection)
        self.connections.append(self.connection)

    def tearDown(self) -> None:
        """Whatever state a connection was left in, it goes without a trace."""
        for asked in self.waiting:
            asked.addErrback(lambda failure: failure.trap(CancelledError, UpstreamFailure)).cancel()
        for connection in self.connections:
            connection.abort()
        self.reactor.settle()
        self.assertEqual(self.reactor.getDelayedCalls(), [], "no timer is left behind")

    def ask(self, method: bytes = b"POST", body: IBodyProducer | None = None) -> Deferred[Answer]:
        """Ask for something."""
        asked = self.connection.ask(method, b"/v1/completions", [(b"host", b"localhost")], body, FIRST_BYTE)
        self.waiting.append(asked)
        return asked

    def answered(self, *pieces: bytes, method: bytes = b"POST") -> tuple[Answer, Receiver]:
        """The answer that these bytes make, and the receiver of its body."""
        asked = self.ask(method)
        received = asked.addCallback(lambda answer: (answer, Receiver.of(answer)))
        self.line.say(*pieces)
        return self.successResultOf(received)

    def refused(self, *pieces: bytes, method: bytes = b"POST") -> Refusal:
        """What these bytes are refused as; the connection is closed over it."""
        asked = self.ask(method)
        self.line.say(*pieces)
        refusal = refusal_of(self.failureResultOf(asked, UpstreamFailure))
        self.assertFalse(self.line.open)
        self.assertEqual(self.freed, [])
        self.connect()
        return refusal


class AskingTests(Case):
    """What goes out."""

    def test_a_request_without_a_body_is_a_head(self) -> None:
        """The fields go out as they were given, and no framing is added."""
        self.ask(b"GET")
        self.assertEqual(self.line.heard(), b"GET /v1/completions HTTP/1.1\r\nhost: localhost\r\n\r\n")

    def test_bytes_go_out_with_the_head(self) -> None:
        """In one write, with their length."""
        self.ask(body=BytesBody(b"12345"))
        head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nContent-Length: 5\r\n\r\n"
        self.assertEqual(self.line.heard(), head + b"12345")

    def test_bytes_are_a_body_for_any_agent(self) -> None:
        """They provide the interface that Twisted's own agent wants."""
        body = BytesBody(b"12345")
        verifyObject(IBodyProducer, body)
        self.successResultOf(body.startProducing(self.line.transport))
        self.reactor.settle()
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual((self.line.heard(), body.length), (b"12345", 5))

    def test_asking_twice_needs_no_new_connection(self) -> None:
        """The second request follows the first answer; nothing of the first sticks to the second."""
        self.answered(b"HTTP/1.1 404 Not Found\r\nx: 1\r\ncontent-length: 4\r\n\r\nlost")
        self.assertEqual(self.freed, [self.connection])
        answer, receiver = self.answered(CHUNKED + chunk(b"hi") + b"0\r\n\r\n")
        self.assertEqual((answer.code, answer.fields), (200, [(b"transfer-encoding", b"chunked")]))
        self.assertEqual((receiver.body, receiver.why), (b"hi", "done"))
        self.assertEqual(self.freed, [self.connection] * 2)


@implementer(IBodyProducer)
class Produced:
    """A body that comes when the test says so."""

    def __init__(self, length: Any) -> None:
        self.length = length
        self.done: Deferred[None] = Deferred()
        self.consumer: IConsumer | None = None
        self.stopped = self.paused = self.resumed = 0

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.consumer = consumer
        return self.done

    def stopProducing(self) -> None:
        self.stopped += 1

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1


class ProducedBodyTests(Case):
    """Bodies of other producers than our own."""

    def begin(self) -> tuple[Produced, Deferred[Answer]]:
        """A request whose body is on its way."""
        body = Produced(10)
        verifyObject(IBodyProducer, body)
        asked = self.ask(body=body)
        assert body.consumer is not None
        body.consumer.write(b"12345")
        self.reactor.settle()
        return body, asked

    def test_it_is_sent_as_it_comes(self) -> None:
        """Behind a head that states its length."""
        body, asked = self.begin()
        assert body.consumer is not None
        body.consumer.write(b"67890")
        body.done.callback(None)
        self.reactor.settle()
        self.assertTrue(self.line.heard().endswith(b"Content-Length: 10\r\n\r\n1234567890"))
        self.line.say(measured(b"ok"))
        self.assertEqual(Receiver.of(self.successResultOf(asked)).why, "done")
        self.assertEqual((self.freed, body.stopped), ([self.connection], 0))

    def test_one_that_fails_closes_the_connection(self) -> None:
        """The model server must not take half a body for a whole one, and the caller learns that it failed."""
        body, asked = self.begin()
        body.done.errback(ZeroDivisionError())
        self.reactor.settle()
        self.assertFalse(self.line.open)
        self.assertIs(refusal_of(self.failureResultOf(asked, UpstreamFailure)), refusals.UPSTREAM_DIED)

    def test_it_is_paused_while_the_socket_is_full(self) -> None:
        """What the socket does not take must not pile up here."""
        body, _ = self.begin()
        assert body.consumer is not None
        self.line.socket.room = 1000
        body.consumer.write(b"x" * 100_000)
        self.reactor.settle()
        self.assertEqual((body.paused, body.resumed), (1, 0))
        self.line.socket.room = None
        self.reactor.settle()
        self.assertEqual((body.paused, body.resumed), (1, 1))

    def test_an_early_answer_spoils_the_connection(self) -> None:
        """An answer may come before the body has gone out; what is left of it must not be taken for a request."""
        body, asked = self.begin()
        self.line.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        answer = self.successResultOf(asked)
        self.assertEqual((answer.code, Receiver.of(answer).why), (413, "done"))
        self.assertEqual((self.freed, self.line.open, body.stopped), ([], False, 1))

    def test_it_is_stopped_when_the_connection_is_lost(self) -> None:
        """Nobody would hear the rest."""
        for end in ("close", "reset"):
            body, asked = self.begin()
            getattr(self.line, end)()
            self.failureResultOf(asked, UpstreamFailure)
            self.assertEqual(body.stopped, 1)
            self.connect()

    def test_it_is_stopped_when_nobody_waits_any_more(self) -> None:
        """The request was cancelled while its body went out."""
        body, asked = self.begin()
        asked.cancel()
        self.reactor.settle()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual((self.line.open, body.stopped), (False, 1))


class AnswerTests(Case):
    """Answers as they should be."""

    def test_status_fields_and_body(self) -> None:
        """A plain answer, and Twisted's view of it."""
        answer, receiver = self.answered(measured(b"hello", b"Content-Type: text/plain", b"X-Two: 1", b"x-two: 2"))
        self.assertEqual((answer.code, answer.phrase, answer.length), (200, b"OK", 5))
        self.assertEqual(answer.fields[:2], [(b"content-type", b"text/plain"), (b"x-two", b"1")])
        self.assertEqual(answer.headers.getRawHeaders(b"X-Two"), [b"1", b"2"])
        self.assertEqual((receiver.body, receiver.why), (b"hello", "done"))
        assert receiver.reason is not None
        self.assertTrue(receiver.reason.check(ResponseDone))

    def test_it_is_a_response_as_twisted_knows_it(self) -> None:
        """It provides the interfaces of a response and of its body's transport."""
        answer, _ = self.answered(measured(b"hello"))
        verifyObject(IResponse, answer)
        verifyObject(IPushProducer, answer)
        answer.setPreviousResponse(answer)
        self.assertIsNone(answer.previousResponse)
        self.assertIsInstance(answer.headers, Headers)

    def test_it_comes_with_the_head_and_not_with_the_body(self) -> None:
        """Whoever streams must not wait."""
        asked = self.ask()
        self.line.say(STREAM)
        receiver = Receiver.of(self.successResultOf(asked))
        self.assertEqual((receiver.body, receiver.why), (b"", None))
        self.line.say(chunk(b"data: 1\n\n"))
        self.assertEqual(receiver.body, b"data: 1\n\n")

    def test_a_chunked_body_passes_as_it_arrives(self) -> None:
        """Chunk heads and extensions are taken off, trailers are dropped, and every piece is there at once."""
        answer, receiver = self.answered(CHUNKED + b"3;name=value\r\nabc\r\n5\r\nde")
        self.assertIs(answer.length, UNKNOWN_LENGTH)
        self.assertEqual(receiver.body, b"abcde")
        self.line.say(b"fgh\r\n0\r\nx-trailer: 1\r\nset-cookie: a\r\n\r\n")
        self.assertEqual((receiver.body, receiver.why), (b"abcdefgh", "done"))
        self.assertEqual(answer.fields, [(b"transfer-encoding", b"chunked")])
        self.assertEqual(self.freed, [self.connection])

    def test_one_without_length_ends_with_the_connection(self) -> None:
        """RFC 9112 6.3: an orderly close is its end."""
        answer, receiver = self.answered(OK + b"\r\nhel")
        self.assertIs(answer.length, UNKNOWN_LENGTH)
        self.line.say(b"lo")
        self.assertEqual((receiver.body, receiver.why), (b"hello", None))
        self.line.close()
        self.assertEqual((receiver.why, self.freed), ("done", []))

    def test_a_reset_is_no_end(self) -> None:
        """Whatever has no length is cut by it like anything else."""
        _, receiver = self.answered(OK + b"\r\nhel")
        self.line.reset()
        self.assertEqual((receiver.body, receiver.why), (b"hel", "upstream_truncated"))

    def test_answers_without_a_body(self) -> None:
        """To HEAD, and of 204 and 304, whatever their fields say; the connection serves on."""
        for method, head, length in (
            (b"HEAD", OK + b"content-length: 5\r\n\r\n", 5),
            (b"HEAD", OK + b"transfer-encoding: chunked\r\n\r\n", UNKNOWN_LENGTH),
            (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n", 0),
            (b"POST", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 5),
            (b"POST", b"HTTP/1.1 304 Not Modified\r\n\r\n", UNKNOWN_LENGTH),
        ):
            answer, receiver = self.answered(head, method=method)
            self.assertEqual((answer.length, receiver.body, receiver.why), (length, b"", "done"), head)
            self.assertEqual(self.freed, [self.connection], head)
            self.freed.clear()

    def test_a_close_that_is_announced_is_kept(self) -> None:
        """`Connection: close`, and HTTP/1.0, which closes unless it says otherwise."""
        for head, kept in (
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", False),
            (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
            (b"HTTP/1.0 200 OK\r\n", False),
            (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", True),
        ):
            _, receiver = self.answered(head + b"content-length: 2\r\n\r\nok")
            self.assertEqual((receiver.body, receiver.why), (b"ok", "done"), head)
            self.assertEqual((self.line.open, bool(self.freed)), (kept, kept), head)
            self.connect()

    def test_interim_heads_are_passed_over(self) -> None:
        """RFC 9110 15.2: however many, in one read or in many, their fields with them."""
        burst = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 20
        for pieces in ([burst + measured(b"ok")], [*burst.split(b"\n"), measured(b"ok")]):
            whole = pieces if len(pieces) == 1 else [piece + b"\n" for piece in pieces[:-2]] + pieces[-1:]
            answer, receiver = self.answered(*whole)
            self.assertEqual((answer.code, answer.phrase, answer.fields), (200, b"OK", [(b"content-length", b"2")]))
            self.assertEqual((receiver.body, receiver.why), (b"ok", "done"))

    def test_a_late_receiver_misses_nothing(self) -> None:
        """Until somebody takes the body, what has arrived is kept and no more is read."""
        asked = self.ask()
        self.line.say(OK + b"content-length: 10\r\n\r\n12345")
        answer = self.successResultOf(asked)
        self.assertFalse(self.line.read)
        self.line.say(b"67890")
        receiver = Receiver.of(answer)
        self.assertEqual((receiver.body, self.line.read), (b"12345", True))
        self.reactor.settle()
        self.assertEqual((receiver.body, receiver.why), (b"1234567890", "done"))

    def test_an_end_that_came_before_the_receiver_is_told(self) -> None:
        """Good or bad."""
        for pieces, why in (
            ([measured(b"hello")], "done"),
            ([CHUNKED, chunk(b"hello") + b"zz\r\n"], "upstream_truncated"),
        ):
            asked = self.ask()
            self.line.say(*pieces)
            receiver = Receiver.of(self.successResultOf(asked))
            self.assertEqual((receiver.body, receiver.why), (b"hello", why))
            self.connect()

    def test_the_reader_sets_the_pace(self) -> None:
        """Pausing the answer stops reading the socket, resuming it reads on."""
        answer, receiver = self.answered(CHUNKED)
        answer.pauseProducing()
        answer.pauseProducing()
        self.line.say(chunk(b"hello"))
        self.assertEqual((receiver.body, self.line.read), (b"", False))
        answer.resumeProducing()
        self.reactor.settle()
        self.assertEqual((receiver.body, self.line.read), (b"hello", True))

    def test_a_receiver_that_pauses_at_once_stays_paused(self) -> None:
        """What had arrived before it may be delivered; more is not read behind its back."""

        class Hesitant(Receiver):
            def dataReceived(self, data: bytes) -> None:
                Receiver.dataReceived(self, data)
                assert self.transport is not None
                self.transport.pauseProducing()  # type: ignore[attr-defined]

        asked = self.ask()
        self.line.say(CHUNKED + chunk(b"one"))
        receiver = Hesitant.of(self.successResultOf(asked))
        self.line.say(chunk(b"two"))
        self.assertEqual((receiver.body, self.line.read), (b"one", False))

    def test_a_finished_answer_no_longer_touches_the_connection(self) -> None:
        """It may serve somebody else already."""
        answer, _ = self.answered(measured(b"ok"))
        for act in (answer.pauseProducing, answer.stopProducing, answer.abortConnection, answer.loseConnection):
            act()
        self.assertTrue(self.line.open and self.line.read)
        answer.resumeProducing()

    def test_a_paused_answer_leaves_the_connection_reading(self) -> None:
        """Or the next request's answer would never come."""
        asked = self.ask()
        self.line.say(measured(b"ok"))
        Receiver.of(self.successResultOf(asked))
        self.assertTrue(self.line.read)

    def test_aborting_closes_the_connection(self) -> None:
        """That is how the model server learns that nobody wants the rest; the receiver is told as well."""
        for name in ("stopProducing", "abortConnection", "loseConnection"):
            answer, receiver = self.answered(CHUNKED + chunk(b"hello"))
            getattr(answer, name)()
            self.reactor.settle()
            self.assertEqual((self.line.open, self.freed, receiver.why), (False, [], "upstream_truncated"), name)
            self.connect()

    @given(st.lists(st.integers(0, 400), max_size=8))
    def test_no_split_changes_an_answer(self, cuts: list[int]) -> None:
        """Cut anywhere: in the status line, a field, a chunk's head, its data, the end."""
        data = (
            b"HTTP/1.1 100 Continue\r\n\r\n" + STREAM + chunk("data: é\n\n".encode()) + chunk(b"x" * 30) + b"0\r\n\r\n"
        )
        borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        pieces = [data[start:end] for start, end in pairwise(borders)]
        self.connect()
        answer, receiver = self.answered(*pieces)
        self.reactor.settle()
        self.assertEqual((answer.code, len(answer.fields)), (200, 2))
        self.assertEqual((receiver.body, receiver.why), ("data: é\n\n".encode() + b"x" * 30, "done"))
        self.assertEqual(self.freed, [self.connection])


class GarbageTests(Case):
    """Answers as they should not be."""

    def test_what_is_no_http_is_garbage(self) -> None:
        """Another protocol, a bad status line, bare line feeds, a folded or broken field."""
        for data in (
            b"\x16\x03\x01garbage\r\n\r\n",
            b"<html>\r\n\r\n",
            b"HTTP/1.1 20O OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
            OK + b"x: y\ncontent-length: 0\r\n\r\n",
            OK + b"x: y\rz: 1\r\ncontent-length: 0\r\n\r\n",
            OK + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
            OK + b"x : a\r\ncontent-length: 0\r\n\r\n",
            OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
            OK + b"x: a\x7fb\r\ncontent-length: 0\r\n\r\n",
            OK + b"no colon\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 O\x01K\r\ncontent-length: 0\r\n\r\n",
        ):
            self.assertIs(self.refused(data), refusals.UPSTREAM_GARBAGE, data)

    def test_only_versions_we_speak_are_believed(self) -> None:
        """HTTP/1.1 and HTTP/1.0 have the framing we know."""
        for version in (b"0.9", b"1.2", b"2.0", b"3.0"):
            head = b"HTTP/%b 200 OK\r\ncontent-length: 0\r\n\r\n" % version
            self.assertIs(self.refused(head), refusals.UPSTREAM_GARBAGE, version)

    def test_a_status_outside_the_five_classes_is_garbage(self) -> None:
        """RFC 9110 15: it says nothing about the framing."""
        for status in (b"000", b"099", b"600", b"999"):
            head = b"HTTP/1.1 %b Odd\r\ncontent-length: 0\r\n\r\n" % status
            self.assertIs(self.refused(head), refusals.UPSTREAM_GARBAGE, status)

    def test_an_unasked_upgrade_is_garbage(self) -> None:
        """101 changes the protocol, and nobody asked for that; with and without its fields."""
        for fields in (b"", b"upgrade: websocket\r\nconnection: upgrade\r\n"):
            data = b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\x81\x01x"
            self.assertIs(self.refused(data), refusals.UPSTREAM_GARBAGE, fields)

    def test_an_offered_upgrade_is_none(self) -> None:
        """A final answer may name a protocol it could speak as well."""
        answer, receiver = self.answered(measured(b"ok", b"upgrade: h2c", b"connection: upgrade"))
        self.assertEqual((answer.code, receiver.why), (200, "done"))

    def test_an_answer_framed_two_ways_is_garbage(self) -> None:
        """Two readers could disagree about its end (RFC 9112 6.3)."""
        for fields in (
            b"content-length: 5\r\ntransfer-encoding: chunked",
            b"transfer-encoding: chunked\r\ncontent-length: 5",
            b"content-length: 5\r\ncontent-length: 5",
            b"content-length: 5\r\ncontent-length: 6",
            b"content-length: 5, 5",
            b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            b"transfer-encoding: chunked, chunked",
        ):
            self.assertIs(
                self.refused(OK + fields + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), refusals.UPSTREAM_GARBAGE, fields
            )

    def test_a_coding_we_do_not_know_is_garbage(self) -> None:
        """Only `chunked` is one we can take off; HTTP/1.0 knows none at all (RFC 9112 6.1)."""
        for head in (
            OK + b"transfer-encoding: gzip\r\n\r\n",
            OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
            OK + b"transfer-encoding: identity\r\n\r\n",
            OK + b"transfer-encoding: xchunked\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ):
            self.assertIs(self.refused(head + b"0\r\n\r\n"), refusals.UPSTREAM_GARBAGE, head)

    def test_a_length_that_is_none_is_garbage(self) -> None:
        """Empty, signed, in hexadecimal, or of more digits than any body has bytes."""
        for length in (b"", b"+5", b"-5", b"0x5", b"5 5", b"1e3", b"9" * 19, b"9" * 3000):
            head = OK + b"content-length: %b\r\n\r\n" % length
            self.assertIs(self.refused(head + b"hello"), refusals.UPSTREAM_GARBAGE, length)

    def test_the_longest_length_there_may_be(self) -> None:
        """Eighteen digits are believed; white space around them is none of their own."""
        answer, _ = self.answered(OK + b"content-length:  %b \r\n\r\n" % (b"9" * 18))
        self.assertEqual(answer.length, 10**18 - 1)

    def test_nothing_of_a_bad_head_sticks(self) -> None:
        """A sound body behind it does not mend it, in the same read or later."""
        bad = OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n"
        self.assertIs(self.refused(bad + b"ok"), refusals.UPSTREAM_GARBAGE)
        self.assertIs(self.refused(*[bytes([byte]) for byte in bad]), refusals.UPSTREAM_GARBAGE)


class BoundTests(Case):
    """How much of a head is too much."""

    def head(self, size: int) -> bytes:
        """A sound head of that many bytes."""
        start, end = OK + b"x: ", b"\r\ncontent-length: 2\r\n\r\n"
        return start + b"a" * (size - len(start) - len(end)) + end

    def test_a_head_may_be_as_long_as_the_limit(self) -> None:
        """In one read, or in many, whatever follows it in the same read."""
        head = self.head(HEAD_LIMIT)
        for pieces in ([head + b"ok"], [head, b"ok"], [head[:-1], head[-1:] + b"ok"], [head[:100], head[100:] + b"ok"]):
            self.assertEqual(self.answered(*pieces)[1].body, b"ok")

    def test_and_no_longer(self) -> None:
        """One byte more is too many, whether its end is in the same read or never comes."""
        head = self.head(HEAD_LIMIT + 1)
        for pieces in ([head + b"ok"], [head[:-1], head[-1:]], [head[:100], head[100:]], [head[: HEAD_LIMIT + 1]]):
            self.assertIs(self.refused(*pieces), refusals.UPSTREAM_HEAD_TOO_LARGE, [len(piece) for piece in pieces])

    def test_a_huge_head_is_not_waited_for(self) -> None:
        """It is refused as soon as it is too large; a megabyte that never ends is not gathered."""
        asked = self.ask()
        self.line.say(OK + b"x: " + b"a" * HEAD_LIMIT)
        self.failureResultOf(asked, UpstreamFailure)
        self.assertFalse(self.line.open)

    def test_a_phrase_without_end_is_a_huge_head(self) -> None:
        """Any part of the head may be the long one."""
        self.assertIs(self.refused(b"HTTP/1.1 200 " + b"K" * HEAD_LIMIT), refusals.UPSTREAM_HEAD_TOO_LARGE)

    def test_interim_heads_without_end_are_a_huge_head(self) -> None:
        """All heads before the answer count as one."""
        burst = b"HTTP/1.1 102 Processing\r\n\r\n" * (HEAD_LIMIT // 20)
        self.assertIs(self.refused(burst), refusals.UPSTREAM_HEAD_TOO_LARGE)
        pieces = [burst[at : at + 1000] for at in range(0, HEAD_LIMIT + 1000, 1000)]
        self.assertIs(self.refused(*pieces), refusals.UPSTREAM_HEAD_TOO_LARGE)

    def test_a_body_does_not_count(self) -> None:
        """However long it is, and in however many pieces it comes."""
        _, receiver = self.answered(OK + b"content-length: %d\r\n\r\n" % (3 * HEAD_LIMIT), *[b"a" * HEAD_LIMIT] * 3)
        self.assertEqual((len(receiver.body), receiver.why), (3 * HEAD_LIMIT, "done"))

    def test_there_may_be_so_many_fields(self) -> None:
        """And not one more."""
        fields = [b"content-length: 0", *[b"a:"] * (MAX_FIELDS - 1)]
        answer, _ = self.answered(b"\r\n".join([OK[:-2], *fields, b"", b""]))
        self.assertEqual(len(answer.fields), MAX_FIELDS)
        too_many = b"\r\n".join([OK[:-2], *fields, b"a:", b"", b""])
        self.connect()
        self.assertIs(self.refused(too_many), refusals.UPSTREAM_HEAD_TOO_LARGE)

    def test_trailers_without_end_are_not_gathered(self) -> None:
        """Nor are the extensions of a chunk: what brings no body is bounded as a head is."""
        for endless in (b"0\r\nx: ", b"0\r\n", b"5;"):
            _, receiver = self.answered(CHUNKED + chunk(b"hello") + endless)
            filler = b"a: b\r\n" if endless == b"0\r\n" else b"aaaaaa"
            self.line.say(*[filler * 100] * (HEAD_LIMIT // 600 + 2))
            self.assertEqual((receiver.why, self.line.open), ("upstream_truncated", False), endless)
            self.connect()

    def test_a_long_stream_in_small_pieces_is_not_bounded(self) -> None:
        """Chunk heads that come on their own add up to nothing as long as there is a body between them."""
        _, receiver = self.answered(CHUNKED)
        for _ in range(HEAD_LIMIT // 3 + 10):
            self.line.say(b"1\r\n", b"a", b"\r\n")
        self.line.say(b"0\r\n\r\n")
        self.assertEqual(receiver.why, "done")


class SurplusTests(Case):
    """What comes behind an answer unasked spoils the connection, but not the answer."""

    def test_in_the_same_read(self) -> None:
        """Bytes of no meaning, another head, another whole answer, more than the stated length."""
        for surplus in (
            b"surplus",
            b"HTTP/1.1 500 ",
            b"HTTP/1.1 500 Second\r\nx-second: 1\r\ncontent-length: 3\r\n\r\nbad",
        ):
            for good in (measured(b"ok"), CHUNKED + chunk(b"ok") + b"0\r\n\r\n"):
                answer, receiver = self.answered(good + surplus)
                self.assertEqual((answer.code, answer.phrase), (200, b"OK"), surplus)
                self.assertEqual(len(answer.fields), 1, surplus)
                self.assertEqual((receiver.body, receiver.why), (b"ok", "done"), surplus)
                self.assertEqual((self.freed, self.line.open), ([], False), surplus)
                self.connect()

    def test_behind_an_answer_without_a_body(self) -> None:
        """The body that an answer to HEAD only describes, or that 204 cannot have."""
        for method, head in (
            (b"HEAD", OK + b"content-length: 5\r\n\r\n"),
            (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ):
            _, receiver = self.answered(head + b"hello", method=method)
            self.assertEqual((receiver.body, receiver.why), (b"", "done"))
            self.assertEqual((self.freed, self.line.open), ([], False))
            self.connect()

    def test_in_a_later_read(self) -> None:
        """The connection was free already, and is closed."""
        for surplus in (b"x", measured(b"second")):
            self.answered(measured(b"ok"))
            self.assertEqual(self.freed, [self.connection])
            self.line.say(surplus)
            self.assertEqual((self.connection.alive, self.line.open), (False, False))
            self.connect()

    def test_before_anything_was_asked(self) -> None:
        """A server that speaks first speaks another protocol."""
        self.line.say(measured(b"ok"))
        self.assertEqual((self.connection.alive, self.line.open), (False, False))


class BrokenTests(Case):
    """Answers that do not come to their end."""

    def test_a_connection_that_dies_before_a_byte_is_untouched(self) -> None:
        """That is what tells a request that met a close from one that met the model."""
        for end, said, untouched in (
            ("close", b"", True),
            ("reset", b"", True),
            ("close", b"H", False),
            ("reset", b"HTTP/1.1 100 Continue\r\n\r\n", False),
        ):
            asked = self.ask()
            if said:
                self.line.say(said)
            getattr(self.line, end)()
            failure = self.failureResultOf(asked, UpstreamFailure)
            self.assertIs(refusal_of(failure), refusals.UPSTREAM_DIED)
            assert isinstance(failure.value, UpstreamFailure)
            self.assertEqual(failure.value.untouched, untouched, (end, said))
            self.connect()

    def test_a_body_that_breaks_off_is_truncated(self) -> None:
        """Inside a chunk, between two, before the last one, or short of the stated length; by close or by reset."""
        for begun in (
            CHUNKED + b"5\r\nhel",
            CHUNKED + chunk(b"hel"),
            CHUNKED + chunk(b"hel") + b"0\r\n",
            CHUNKED + chunk(b"hel") + b"0\r\n\r",
            OK + b"content-length: 5\r\n\r\nhel",
        ):
            for end in ("close", "reset"):
                _, receiver = self.answered(begun)
                getattr(self.line, end)()
                self.assertEqual((receiver.body, receiver.why), (b"hel", "upstream_truncated"), begun)
                self.connect()

    def test_garbage_behind_a_good_head_truncates(self) -> None:
        """What came before it is delivered; in one read with the head, or later."""
        sizes = (b"zz\r\n", b"-1\r\n", b"0x5\r\n", b"5\nhello", b"fffffffffffffffff\r\n", b"5\r\nhelloX\r\n")
        for garbage in (*sizes, b"0\r\ncontent-length: 7\r\n\r\n"):
            for pieces in ([CHUNKED + chunk(b"good") + garbage], [CHUNKED, chunk(b"good"), garbage]):
                _, receiver = self.answered(*pieces)
                self.assertEqual(receiver.body[:4], b"good", garbage)
                self.assertEqual((receiver.why, self.line.open, self.freed), ("upstream_truncated", False, []), garbage)
                self.connect()

    def test_a_close_while_it_is_paused_is_told_in_the_end(self) -> None:
        """Nothing that arrived before it is lost."""
        answer, receiver = self.answered(CHUNKED)
        answer.pauseProducing()
        self.line.say(chunk(b"last"))
        self.line.close()
        self.assertEqual((receiver.body, receiver.why), (b"", None))
        answer.resumeProducing()
        self.reactor.settle()
        self.assertEqual((receiver.body, receiver.why), (b"last", "upstream_truncated"))


class DeadlineTests(Case):
    """What time does."""

    def test_a_head_must_come_in_time(self) -> None:
        """Just before the deadline is in time, the deadline itself is too late."""
        asked = self.ask()
        self.reactor.pass_time(FIRST_BYTE - 0.001)
        self.assertNoResult(asked)
        self.reactor.pass_time(0.001)
        self.assertIs(refusal_of(self.failureResultOf(asked, UpstreamFailure)), refusals.UPSTREAM_SILENT)
        self.assertFalse(self.line.open)

    def test_neither_interim_heads_nor_trickling_bytes_move_it(self) -> None:
        """A server could wait for ever like that."""
        asked = self.ask()
        trickle = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 "
        for byte in trickle:
            self.line.say(bytes([byte]))
            self.reactor.pass_time(FIRST_BYTE / len(trickle))
        self.reactor.pass_time(0.001)
        self.assertIs(refusal_of(self.failureResultOf(asked, UpstreamFailure)), refusals.UPSTREAM_SILENT)

    def test_a_body_may_take_its_time(self) -> None:
        """Its pace is judged by whoever receives it."""
        _, receiver = self.answered(CHUNKED)
        self.reactor.pass_time(10 * FIRST_BYTE)
        self.assertTrue(self.line.open)
        self.line.say(chunk(b"late") + b"0\r\n\r\n")
        self.assertEqual((receiver.body, receiver.why), (b"late", "done"))

    def test_a_free_connection_is_closed_when_it_is_too_old(self) -> None:
        """And not while it is in use."""
        self.answered(measured(b"ok"))
        self.connection.expire_in(4.0)
        self.reactor.pass_time(3.9)
        self.assertTrue(self.connection.alive)
        asked = self.ask()
        self.reactor.pass_time(5.0)
        self.assertTrue(self.connection.alive)
        self.line.say(measured(b"ok"))
        Receiver.of(self.successResultOf(asked))
        self.connection.expire_in(4.0)
        self.reactor.pass_time(4.0)
        self.assertEqual((self.connection.alive, self.line.open), (False, False))


class CancelTests(Case):
    """Nobody waits any more."""

    def test_before_a_byte(self) -> None:
        """The connection is closed, and the caller told what it asked for."""
        asked = self.ask()
        asked.cancel()
        self.reactor.settle()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual((self.line.open, self.freed), (False, []))

    def test_inside_the_head(self) -> None:
        """No difference."""
        asked = self.ask()
        self.line.say(OK + b"x: ")
        asked.cancel()
        self.reactor.settle()
        self.failureResultOf(asked, CancelledError)
        self.assertFalse(self.line.open)

    def test_by_whoever_gets_the_head(self) -> None:
        """A body that came in the same read is not pressed on them, and the connection does not serve again."""
        asked = self.ask().addCallback(lambda answer: answer.abortConnection())
        self.line.say(CHUNKED + chunk(b"hello"))
        self.successResultOf(asked)
        self.assertEqual((self.line.open, self.freed), (False, []))


class WritingTests(Case):
    """The socket takes what it can."""

    def test_a_body_larger_than_the_socket_takes_goes_out_bit_by_bit(self) -> None:
        """Nothing is lost, nothing is sent twice."""
        self.line.socket.room = 1000
        self.ask(body=BytesBody(bytes(range(256)) * 40))
        for _ in range(30):
            self.reactor.settle()
            self.line.socket.room = 500
        self.reactor.settle()
        self.assertEqual(bytes(self.line.socket.sent).partition(b"\r\n\r\n")[2], bytes(range(256)) * 40)


class RefusalTests(SynchronousTestCase):
    """Telling failures apart."""

    def test_a_failure_of_ours_carries_its_refusal(self) -> None:
        """Any other is raised again: it is no answer of the model server's."""
        self.assertIs(refusal_of(Failure(UpstreamFailure(refusals.UPSTREAM_DIED))), refusals.UPSTREAM_DIED)
        self.assertRaises(ZeroDivisionError, refusal_of, Failure(ZeroDivisionError()))
