"""One request joined to one answer: what passes, at whose pace, and how it ends whichever side ends it."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail
from twisted.internet.error import ConnectError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from hadesgw.http.client import BytesBody
from hadesgw.http.relay import Relay
from hadesgw.http.site import Request
from hadesgw.interfaces import IProxyObserver
from hadesgw.policy import refusals
from hadesgw.policy.dialects import dialect_of, error_body, error_event
from tests.http.model_server import OK, STREAM, ModelServer, ProxyNotes, chunk, make_agent, measured
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, post

IDLE = 60.0
CHAT, RESPONSES, MESSAGES = b"/v1/chat/completions", b"/v1/responses", b"/v1/messages"
PATHS = (CHAT, RESPONSES, MESSAGES)
EVENT = b'data: {"choices":[]}\n\n'
CREATED = b'data: {"response":{"id":"resp_1"},"sequence_number":0,"type":"response.created"}\n\n'
IDS = (b"X-Request-ID: req-1", b"X-Conveyance-Session-ID: ses-1")


class Case(SynchronousTestCase):
    """A door whose only resource relays everything to the model server."""

    def setUp(self) -> None:
        self.notes = ProxyNotes()
        verifyObject(IProxyObserver, self.notes)
        self.door = Door(self.relay)
        self.reactor = self.door.reactor
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)

    def relay(self, request: Request) -> int:
        """Ask for what the client asked for."""
        Relay(request, IDLE, self.notes).ask(self.agent, [], BytesBody(b""), lambda: True)
        return NOT_DONE_YET

    def call(self, path: bytes = CHAT, *fields: bytes, room: int | None = None) -> Caller:
        """A client asks."""
        return self.door.call(room).send(post(b"", *IDS, *fields, target=path))

    def answered(self, *pieces: bytes, path: bytes = CHAT) -> Answer:
        """The whole answer that a client gets when the model server says this."""
        caller = self.call(path)
        self.server.say(*pieces)
        return caller.answer()

    def assert_nothing_left(self) -> None:
        """No connection, timer or memory is held once the clients have left and the idle connections grown old."""
        for caller in self.door.callers:
            caller.leave()
        self.agent.close_idle()
        self.reactor.settle()
        self.assertEqual(self.door.left_behind(), [])
        self.assertEqual(self.server.open, [])


class HeadTests(Case):
    """What of an answer's head reaches the client."""

    def test_status_fields_and_body(self) -> None:
        """As they came; the phrase is the standard's, because nobody may rely on any other."""
        answer = self.answered(
            b"HTTP/1.1 404 Nope\r\nServer: uvicorn\r\nDate: today\r\nX-One: 1\r\ncontent-length: 2\r\n\r\n{}"
        )
        self.assertEqual((answer.status, answer.phrase, answer.body), (404, b"Not Found", b"{}"))
        self.assertEqual((answer.one(b"x-one"), answer.one(b"server")), (b"1", b"uvicorn"))
        self.assertEqual((answer.one(b"date"), answer.one(b"content-length")), (b"today", b"2"))
        self.assertEqual(self.answered(b"HTTP/1.1 599 Odd\r\ncontent-length: 0\r\n\r\n").phrase, b"Unassigned")

    def test_hop_by_hop_fields_stay_behind(self) -> None:
        """RFC 9110 7.6.1: those that are always, and those that `Connection` names, in any case."""
        fields = (
            b"Connection: keep-alive, X-Secret , x-two",
            b"connection: x-three",
            b"Keep-Alive: timeout=5",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"Trailer: x",
            b"Upgrade: h2c",
            b"x-secret: 1",
            b"X-TWO: 1",
            b"X-Three: 1",
            b"X-Four: 1",
        )
        names = {name for name, _ in self.answered(measured(b"ok", *fields)).fields}
        self.assertEqual(
            names, {b"x-four", b"content-length", b"date", b"server", b"x-request-id", b"x-conveyance-session-id"}
        )

    def test_cors_is_the_gateways_own_matter(self) -> None:
        """What the model server says of origins is about a server that no browser sees."""
        fields = (b"Access-Control-Allow-Origin: *", b"access-control-expose-headers: x", b"vary: Origin")
        names = [name for name, _ in self.answered(measured(b"ok", *fields)).fields]
        self.assertEqual([name for name in names if name.startswith(b"access-control")], [])

    def test_the_ids_are_ours(self) -> None:
        """Whatever the model server sends, once or often: exactly one of each, the one that was asked with."""
        for fields in (
            (),
            (b"X-Request-Id: req-1", b"x-conveyance-session-id: ses-1"),
            (b"X-Request-Id: other", b"x-request-id: another", b"X-Conveyance-Session-Id: third"),
            (b"connection: x-request-id, x-conveyance-session-id",),
        ):
            answer = self.answered(measured(b"ok", *fields))
            self.assertEqual(answer.one(b"x-request-id"), b"req-1")
            self.assertEqual(answer.one(b"x-conveyance-session-id"), b"ses-1")

    def test_other_ids_are_counted(self) -> None:
        """By name; the same ones are nothing to speak of."""
        self.answered(measured(b"ok", b"X-Request-Id: req-1", b"x-conveyance-session-id: ses-1"))
        self.assertEqual(self.notes.mismatches, [])
        self.answered(measured(b"ok", b"X-Request-Id: req-2", b"x-conveyance-session-id: REQ-1"))
        self.assertEqual(self.notes.mismatches, [b"x-request-id", b"x-conveyance-session-id"])
        self.answered(measured(b"ok"))
        self.assertEqual(self.notes.echoed, [[b"x-request-id", b"x-conveyance-session-id"]] * 2 + [[]])

    def test_an_id_that_comes_twice_is_counted(self) -> None:
        """Also when both are the right one: whoever reads them could join them to another."""
        self.answered(measured(b"ok", b"X-Request-Id: req-1", b"x-request-id: req-1"))
        self.assertEqual(self.notes.mismatches, [b"x-request-id"])

    def test_events_are_not_to_be_held_or_changed_on_their_way(self) -> None:
        """Whatever the model server says about that; other answers are left alone."""
        for said in (b"", b"Cache-Control: max-age=5\r\nX-Accel-Buffering: yes\r\n"):
            head = STREAM[:-2] + said + b"\r\n"
            answer = self.answered(head + chunk(EVENT) + b"0\r\n\r\n")
            self.assertEqual(answer.one(b"cache-control"), b"no-cache, no-transform")
            self.assertEqual(answer.one(b"x-accel-buffering"), b"no")
            self.assertEqual(answer.one(b"content-type"), b"text/event-stream; charset=utf-8")
            self.assertEqual(answer.body, EVENT)
        answer = self.answered(measured(b"ok", b"cache-control: max-age=5"))
        self.assertEqual((answer.one(b"cache-control"), answer.all(b"x-accel-buffering")), (b"max-age=5", []))

    def test_an_event_stream_is_known_by_its_type_alone(self) -> None:
        """In any case, with or without parameters."""
        for kind, stream in (
            (b"text/event-stream", True),
            (b"Text/Event-Stream;charset=utf-8", True),
            (b"application/json", False),
            (b"text/plain; x=text/event-stream", False),
        ):
            self.answered(measured(b"ok", b"Content-Type: " + kind))
            self.assertEqual(self.door.asked[-1].record.stream, stream, kind)

    def test_answers_without_a_body(self) -> None:
        """204 and 304 state no length (RFC 9110 8.6); the answer to HEAD states what GET would get."""
        answer = self.answered(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual((answer.status, answer.all(b"content-length"), answer.body), (204, [], b""))
        answer = self.answered(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((answer.status, answer.all(b"content-length"), answer.body), (304, [], b""))
        caller = self.door.call().send(b"HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.server.say(OK + b"content-length: 5\r\n\r\n")
        answer = caller.answer(b"HEAD")
        self.assertEqual((answer.status, answer.one(b"content-length"), answer.body), (200, b"5", b""))
        self.assertFalse(caller.ended)


class BodyTests(Case):
    """How a body passes."""

    def test_the_head_of_a_stream_does_not_wait_for_its_first_event(self) -> None:
        """Clients show that something is coming."""
        caller = self.call()
        self.server.say(STREAM)
        self.assertTrue(caller.received.endswith(b"\r\n\r\n"))
        self.assertEqual(caller.answer().status, 200)

    def test_the_head_of_another_answer_leaves_with_its_first_bytes(self) -> None:
        """One write instead of two; and if nothing follows, there is still time to say so."""
        caller = self.call()
        self.server.say(OK + b"content-length: 4\r\n\r\n")
        self.assertEqual(caller.received, b"")
        self.server.say(b"ok")
        self.assertTrue(caller.received.endswith(b"\r\n\r\nok"))
        self.server.say(b"ok")
        self.assertEqual((caller.answer().body, caller.answer().whole), (b"okok", True))

    def test_every_read_is_passed_on_at_once(self) -> None:
        """As one chunk, whatever the model server's chunks were."""
        caller = self.call()
        self.server.say(STREAM)
        for sent in (chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n") + chunk(b"data: 3\n\n")):
            before = len(caller.received)
            self.server.say(sent)
            payload = sent.replace(b"9\r\n", b"").replace(b"\n\n\r\n", b"\n\n")
            self.assertEqual(caller.received[before:], chunk(payload))
        self.server.say(b"0\r\n\r\n")
        self.assertTrue(caller.answer().whole)

    def test_an_empty_answer_is_one(self) -> None:
        """Of length 0, or of no chunk."""
        for said in (measured(b""), OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"):
            answer = self.answered(said)
            self.assertEqual((answer.status, answer.body, answer.whole), (200, b"", True))

    def test_one_that_only_the_close_ends_is_chunked_for_the_client(self) -> None:
        """So that a break can be told from an end."""
        caller = self.call()
        self.server.say(OK + b"content-type: application/json\r\n\r\n", b'{"a"', b":1}")
        self.server.close()
        answer = caller.answer()
        self.assertEqual((answer.body, answer.whole, answer.one(b"transfer-encoding")), (b'{"a":1}', True, b"chunked"))
        self.assertFalse(caller.ended)

    def test_http_1_0_gets_no_chunks(self) -> None:
        """A stated length stays; any other body ends with the connection."""
        ask = b"POST / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
        caller = self.door.call().send(ask)
        self.server.say(measured(b"ok"))
        self.assertEqual((caller.answer().one(b"connection"), caller.ended), (b"keep-alive", False))
        caller = self.door.call().send(ask)
        self.server.say(STREAM, chunk(EVENT), b"0\r\n\r\n")
        self.assertEqual((caller.answer().body, caller.answer().one(b"connection")), (EVENT, b"close"))
        self.assertTrue(caller.ended)

    def test_a_stream_of_stated_length_is_chunked(self) -> None:
        """Else an event of ours at a broken end could fill up what is missing, and the stream look whole."""
        caller = self.call()
        self.server.say(OK + b"content-type: text/event-stream\r\ncontent-length: 500\r\n\r\n" + EVENT)
        self.server.close()
        answer = caller.answer()
        self.assertEqual((answer.all(b"content-length"), answer.whole), ([], False))
        self.assertTrue(answer.body.startswith(EVENT + b'data: {"error"'))

    def test_more_than_the_stated_length_is_not_passed_on(self) -> None:
        """The answer is what its head says it is."""
        answer = self.answered(measured(b"ok") + b"surplus")
        self.assertEqual((answer.body, answer.whole), (b"ok", True))
        self.assertEqual(self.server.open, [])

    def test_a_second_head_is_not_passed_on(self) -> None:
        """Nor does it become the answer to the next request, on this connection or another."""
        second = b"HTTP/1.1 500 Bad\r\ncontent-length: 3\r\n\r\nbad"
        caller = self.call()
        self.server.say(measured(b"ok") + second)
        caller.send(post(b"", *IDS, target=CHAT))
        self.server.say(measured(b"two"))
        self.assertEqual([(answer.status, answer.body) for answer in caller.answers()], [(200, b"ok"), (200, b"two")])
        self.assertEqual(len(self.server.lines), 2)

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    def test_bytes_in_are_bytes_out(self, pieces: list[bytes]) -> None:
        """Any bytes, in any pieces."""
        self.setUp()
        answer = self.answered(STREAM, *map(chunk, pieces), b"0\r\n\r\n")
        self.assertEqual((answer.body, answer.whole), (b"".join(pieces), True))


class UsageTests(Case):
    """The event that tells a stream's usage, when the client is not to see it."""

    USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    DONE = b"data: [DONE]\n\n"

    def relay(self, request: Request) -> int:
        request.hides_usage = b"hide" in request.uri
        return super().relay(request)

    def test_it_is_cut_out_for_who_did_not_ask(self) -> None:
        """However it is divided; for others it passes."""
        stream = EVENT + self.USAGE + self.DONE
        for path, expected in ((CHAT + b"?hide", EVENT + self.DONE), (CHAT, stream)):
            for at in (1, len(EVENT), len(EVENT) + 9, len(stream) - 3):
                pieces = [chunk(piece) for piece in (stream[:at], stream[at:])]
                answer = self.answered(STREAM, *pieces, b"0\r\n\r\n", path=path)
                self.assertEqual(answer.body, expected)

    def test_a_stream_that_ends_inside_an_event(self) -> None:
        """All of it comes, and is closed if it broke off."""
        caller = self.call(CHAT + b"?hide")
        self.server.say(STREAM, chunk(EVENT + self.USAGE[:20]), b"0\r\n\r\n")
        self.assertEqual(caller.answer().body, EVENT + self.USAGE[:20])
        caller = self.call(CHAT + b"?hide")
        self.server.say(STREAM, chunk(EVENT + self.USAGE[:20]))
        self.server.reset()
        broken = b"\n\n" + error_event(refusals.STREAM_TRUNCATED, dialect_of(CHAT))
        self.assertTrue(caller.received.endswith(b"%x\r\n%b\r\n" % (len(broken), broken)))

    def test_nothing_is_taken_from_an_answer_in_one_piece(self) -> None:
        """Whatever it looks like."""
        self.assertEqual(self.answered(measured(self.USAGE), path=CHAT + b"?hide").body, self.USAGE)


class ObserverTests(Case):
    """Who sees the body of an answer."""

    def setUp(self) -> None:
        Case.setUp(self)
        self.seen: list[bytes] = []
        self.begun: list[tuple[int, bool]] = []
        self.whole = 0
        self.notes.answer_begun = self._begun  # type: ignore[method-assign, assignment]

    def _begun(self, request: Request, code: int, events: bool) -> ObserverTests:
        self.begun.append((code, events))
        return self

    def passed(self, data: bytes) -> None:
        self.seen.append(data)

    def completed(self) -> None:
        self.whole += 1

    def test_it_sees_every_byte_after_the_client(self) -> None:
        """As they came, also what is cut out of the client's answer; and that the end was in good order."""
        usage = UsageTests.USAGE
        self.answered(STREAM, chunk(EVENT), chunk(usage), b"0\r\n\r\n")
        self.assertEqual((self.seen, self.begun, self.whole), ([EVENT, usage], [(200, True)], 1))
        self.answered(measured(b"{}"))
        self.assertEqual((self.seen[2:], self.begun[1:], self.whole), ([b"{}"], [(200, False)], 2))

    def test_a_broken_answer_is_not_completed(self) -> None:
        """Nor one whose client has left."""
        self.call()
        self.server.say(STREAM, chunk(EVENT))
        self.server.reset()
        caller = self.call()
        self.server.say(STREAM, chunk(EVENT))
        caller.leave()
        self.assertEqual((self.seen, self.whole), ([EVENT, EVENT], 0))


class FailureTests(Case):
    """Ends that are none: always told, in the caller's dialect, and never to be taken for the real one."""

    def refused(self, act: Callable[[], object], path: bytes) -> Answer:
        """What a client is told when `act` happens behind its request."""
        caller = self.call(path)
        act()
        self.assertEqual((self.server.open, caller.ended), ([], False))
        return caller.answer()

    def test_before_the_head_it_is_an_answer(self) -> None:
        """A status, the error of the dialect, both ids, and the connection serves on."""
        for path in PATHS:
            for act, refusal in (
                (self.server.close, refusals.UPSTREAM_DIED),
                (self.server.reset, refusals.UPSTREAM_DIED),
                (lambda: self.server.say(b"garbage\r\n\r\n"), refusals.UPSTREAM_GARBAGE),
                (lambda: self.server.say(OK + b"x: " + b"a" * 5000), refusals.UPSTREAM_HEAD_TOO_LARGE),
                (lambda: self.reactor.pass_time(60), refusals.UPSTREAM_SILENT),
            ):
                answer = self.refused(act, path)
                self.assertEqual((answer.status, answer.body), (refusal.status, error_body(refusal, dialect_of(path))))
                self.assertEqual(answer.one(b"x-request-id"), b"req-1")
                self.assertEqual(answer.one(b"x-conveyance-session-id"), b"ses-1")
                self.assertEqual(answer.one(b"content-type"), b"application/json")
                record = self.door.asked[-1].record
                self.assertEqual((record.reason, record.code), (refusal.reason, refusal.code))
        self.assert_nothing_left()

    def test_before_the_first_byte_of_a_plain_body_it_is_still_an_answer(self) -> None:
        """Its head has not left yet; nothing of it is mixed into ours."""
        head = OK + b"content-type: text/plain\r\nx-odd: 1\r\nretry-after: 7\r\n"
        for framing in (b"content-length: 5\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"):
            for act, refusal in (
                (self.server.close, refusals.STREAM_TRUNCATED),
                (lambda: self.reactor.pass_time(IDLE), refusals.STREAM_IDLE),
            ):
                caller = self.call()
                self.server.say(head + framing)
                act()
                answer = caller.answer()
                self.assertEqual((answer.status, answer.body), (refusal.status, error_body(refusal, dialect_of(CHAT))))
                self.assertEqual((answer.all(b"x-odd"), answer.all(b"retry-after")), ([], []))
                self.assertEqual((answer.one(b"content-type"), caller.ended), (b"application/json", False))
        self.assert_nothing_left()

    def test_in_a_stream_it_is_the_dialects_error_event(self) -> None:
        """At the border of an event; then the connection ends without the last chunk. No `[DONE]`, ever."""
        for path in PATHS:
            for act, refusal in (
                (self.server.close, refusals.STREAM_TRUNCATED),
                (self.server.reset, refusals.STREAM_TRUNCATED),
                (lambda: self.server.say(b"zz\r\n"), refusals.STREAM_TRUNCATED),
                (lambda: self.reactor.pass_time(IDLE), refusals.STREAM_IDLE),
                (lambda: self.door.site.interrupt(refusals.STREAM_DRAINED), refusals.STREAM_DRAINED),
            ):
                for begun in (b"", EVENT):
                    caller = self.call(path)
                    self.server.say(STREAM, *([chunk(begun)] if begun else []))
                    act()
                    self.reactor.settle()
                    answer = caller.answer()
                    self.assertEqual(answer.body, begun + error_event(refusal, dialect_of(path)))
                    self.assertEqual((answer.status, answer.whole, caller.ended), (200, False, True))
                    record = self.door.asked[-1].record
                    self.assertEqual((record.reason, record.code), (refusal.reason, refusal.code))
                    self.assertEqual(self.server.open, [])
        self.assert_nothing_left()

    def test_inside_an_event_that_is_closed_first(self) -> None:
        """Or a reader would take ours for the rest of it. Inside a line, behind one, inside a character."""
        for begun in (b'data: {"cho', b"data: 1\n", b"event: x\ndata: \xc3", EVENT + b"d", b": comm"):
            for path in PATHS:
                caller = self.call(path)
                self.server.say(STREAM, chunk(begun))
                self.server.close()
                expected = begun + b"\n\n" + error_event(refusals.STREAM_TRUNCATED, dialect_of(path))
                self.assertEqual((caller.answer().body, caller.answer().whole), (expected, False))

    def test_the_words_of_each_dialect(self) -> None:
        """What the clients' libraries look for."""
        ends = {}
        for path in PATHS:
            caller = self.call(path)
            self.server.say(STREAM, chunk(EVENT))
            self.server.close()
            ends[path] = caller.answer().body.removeprefix(EVENT)
        self.assertEqual(json.loads(ends[CHAT].removeprefix(b"data: "))["error"]["code"], "upstream_died")
        failed, _, data = ends[RESPONSES].partition(b"\n")
        self.assertEqual(failed, b"event: response.failed")
        self.assertEqual(json.loads(data.removeprefix(b"data: "))["response"]["error"]["code"], "upstream_died")
        error, _, data = ends[MESSAGES].partition(b"\n")
        self.assertEqual((error, json.loads(data.removeprefix(b"data: "))["type"]), (b"event: error", "error"))

    def test_a_response_that_fails_is_the_one_that_had_begun(self) -> None:
        """Libraries raise something of their own when a stream ends with another response than it began with."""
        for pieces in ([CREATED], [CREATED[:30], CREATED[30:]], [CREATED, CREATED[:50]]):
            caller = self.call(RESPONSES)
            self.server.say(STREAM, *map(chunk, pieces))
            self.server.reset()
            failed = json.loads(caller.answer().body.rpartition(b"data: ")[2])
            self.assertEqual((failed["response"]["id"], failed["sequence_number"]), ("resp_1", 1))

    def test_a_plain_body_is_cut_visibly(self) -> None:
        """It can hold no error: short of its length, without its last chunk, by a reset where a close is an end."""
        length = OK + b"content-length: 9\r\n\r\n"
        for version, head, reset in (
            (b"1.1", length, False),
            (b"1.1", OK + b"transfer-encoding: chunked\r\n\r\n4\r\n", False),
            (b"1.0", length, False),
            (b"1.0", OK + b"transfer-encoding: chunked\r\n\r\n4\r\n", True),
        ):
            ask = b"POST /v1/chat/completions HTTP/%b\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % version
            caller = self.door.call().send(ask)
            self.server.say(head + b"half")
            self.server.close()
            self.assertEqual((caller.answer().body, caller.answer().whole), (b"half", False))
            self.assertEqual(caller.socket.closed, "reset" if reset else "closed")
            self.assertEqual(self.door.asked[-1].record.reason, "upstream_truncated")
        self.assert_nothing_left()

    def test_an_event_stream_for_http_1_0_ends_with_the_error(self) -> None:
        """The close would look like an end, but the error event before it does not."""
        ask = b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        caller = self.door.call().send(ask)
        self.server.say(STREAM, chunk(EVENT))
        self.server.close()
        expected = EVENT + error_event(refusals.STREAM_TRUNCATED, dialect_of(CHAT))
        self.assertEqual((caller.answer().body, caller.ended), (expected, True))

    def test_a_defect_of_ours_is_told_and_logged(self) -> None:
        """Whatever it is, the client does not wait for ever and the model server is let go."""
        self.agent.connect = lambda: fail(ZeroDivisionError())  # type: ignore[method-assign]
        caller = self.call()
        self.assertEqual(caller.answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.door.asked[-1].record.reason, "internal")

    def test_a_defect_behind_the_head_is_told_and_logged(self) -> None:
        """The connection to the model server is closed over it."""

        class Failing(ProxyNotes):
            def correlation_mismatch(self, header: bytes) -> None:
                raise ZeroDivisionError

        self.notes = Failing()
        caller = self.call()
        self.server.say(STREAM[:-2] + b"x-request-id: other\r\n\r\n")
        self.reactor.settle()
        self.assertEqual((caller.answer().status, self.server.open), (500, []))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class IdleTests(Case):
    """A stream must move."""

    def test_every_event_moves_the_deadline(self) -> None:
        """It counts from the last, not from the first."""
        caller = self.call()
        self.server.say(STREAM)
        for _ in range(5):
            self.reactor.pass_time(IDLE - 0.1)
            self.server.say(chunk(EVENT))
        self.reactor.pass_time(IDLE - 0.1)
        self.assertFalse(caller.ended)
        self.reactor.pass_time(0.1)
        self.assertEqual((caller.ended, self.door.asked[-1].record.reason), (True, "upstream_idle"))
        self.assertEqual((self.server.open, self.notes.abandoned), ([], 1))

    def test_comments_do_not(self) -> None:
        """A server whose engine has died may send them for ever; they are passed on all the same."""
        caller = self.call()
        self.server.say(STREAM, chunk(EVENT))
        for _ in range(3):
            self.reactor.pass_time(IDLE / 4)
            self.server.say(chunk(b": keep-alive\n\n"))
        self.assertEqual(caller.answer().body, EVENT + b": keep-alive\n\n" * 3)
        self.reactor.pass_time(IDLE / 4)
        self.assertEqual((caller.ended, self.door.asked[-1].record.reason), (True, "upstream_idle"))

    def test_any_byte_of_another_answer_does(self) -> None:
        """There a colon is a colon."""
        caller = self.call()
        self.server.say(OK + b"content-length: 9\r\n\r\n")
        for _ in range(8):
            self.reactor.pass_time(IDLE - 0.1)
            self.server.say(b":")
        self.assertFalse(caller.ended)
        self.reactor.pass_time(IDLE)
        self.assertEqual((caller.ended, caller.answer().whole), (True, False))

    def test_waiting_for_the_head_is_not_idling(self) -> None:
        """It has its own deadline, which may be longer; and the connection's own time does not run meanwhile."""
        caller = self.call()
        self.reactor.pass_time(59.9)
        self.server.say(STREAM)
        self.reactor.pass_time(IDLE - 0.1)
        self.assertFalse(caller.ended)

    def test_a_finished_answer_has_no_deadline_left(self) -> None:
        """The next request on the connection is judged by its own."""
        caller = self.call()
        self.server.say(STREAM, chunk(EVENT), b"0\r\n\r\n")
        self.reactor.pass_time(IDLE / 2)
        caller.send(post(b"", target=CHAT))
        self.server.say(STREAM)
        self.reactor.pass_time(IDLE - 0.1)
        self.assertFalse(caller.ended)


class PaceTests(Case):
    """The client's pace is the model server's."""

    def flood(self) -> Caller:
        """A client that takes little of a large answer."""
        caller = self.call(room=500)
        self.server.say(STREAM)
        for _ in range(100):
            self.server.line.socket.arrive(chunk(b"data: %b\n\n" % (b"x" * 10_000)))
        self.reactor.settle()
        return caller

    def test_a_client_that_does_not_read_stops_the_model_server(self) -> None:
        """What we hold of its answer is bounded."""
        caller = self.flood()
        self.assertFalse(self.server.line.read)
        self.assertLess(caller.buffered, 192 * 1024)
        self.assertGreater(len(self.server.line.socket._arrived), 50)

    def test_and_when_it_reads_everything_comes(self) -> None:
        """Nothing is lost on the way, and the end is where it was."""
        caller = self.flood()
        self.server.line.socket.arrive(b"0\r\n\r\n")
        while not caller.answer().whole:
            self.assertTrue(caller.socket.room == 0, "it goes on as long as the client reads")
            caller.take(50_000)
        self.assertEqual(caller.answer().body, b"data: %b\n\n" % (b"x" * 10_000) * 100)
        self.assertEqual(len(self.server.open), 1)

    def test_one_that_never_reads_is_given_up(self) -> None:
        """The model server is let go at the idle limit, the connection when its own has passed as well."""
        caller = self.flood()
        self.reactor.pass_time(IDLE)
        self.assertEqual((self.door.asked[-1].record.reason, self.server.open), ("client_stalled", []))
        self.assertEqual(self.notes.abandoned, 1)
        self.reactor.pass_time(IDLE)
        self.assertEqual(caller.socket.closed, "reset")
        self.assert_nothing_left()

    def test_one_that_reads_again_is_not(self) -> None:
        """Even just before the limit."""
        caller = self.flood()
        self.reactor.pass_time(IDLE - 0.1)
        caller.take(300_000)
        self.reactor.pass_time(IDLE - 0.1)
        self.assertFalse(caller.ended)
        caller.take()
        self.reactor.pass_time(IDLE)
        self.assertEqual(self.door.asked[-1].record.reason, "upstream_idle")

    def test_the_end_may_come_while_it_does_not_read(self) -> None:
        """Then what is buffered is its business; the model server's connection serves on."""
        caller = self.call(room=500)
        self.server.say(STREAM, chunk(b"x" * 60_000), chunk(b"x" * 60_000) + b"0\r\n\r\n")
        self.assertTrue(self.server.line.read)
        caller.take()
        self.assertEqual((caller.answer().whole, len(self.server.open)), (True, 1))


class DepartureTests(Case):
    """The client leaves: in every state the model server learns it at once, and the request ends once."""

    def states(self) -> list[tuple[str, Callable[[], Caller]]]:
        """How a request may stand."""

        def asked(*said: bytes, room: int | None = None) -> Callable[[], Caller]:
            def begin() -> Caller:
                caller = self.call(room=room)
                self.server.say(*said)
                return caller

            return begin

        return [
            ("no byte of an answer", asked()),
            ("inside its head", asked(b"HTTP/1.1 2")),
            ("a stream's head", asked(STREAM)),
            ("inside a chunk", asked(STREAM, b"9\r\ndat")),
            ("at an event's border", asked(STREAM, chunk(EVENT))),
            ("a plain answer's head", asked(OK + b"content-length: 5\r\n\r\n")),
            ("inside a plain body", asked(OK + b"content-length: 5\r\n\r\n", b"hel")),
            ("stalled", asked(STREAM, *[chunk(b"x" * 50_000)] * 4, room=500)),
        ]

    def test_by_closing_or_by_resetting(self) -> None:
        """An orderly close behind the request is a departure, as it is to nginx and uvicorn."""
        for how in ("leave", "reset"):
            for state, begin in self.states():
                self.setUp()
                caller = begin()
                self.assertEqual(len(self.server.open), 1, state)
                getattr(caller, how)()
                self.assertEqual(self.server.open, [], state)
                record = self.door.asked[-1].record
                self.assertEqual((record.reason, record.code, self.notes.abandoned), ("client_left", None, 1), state)
                self.assert_nothing_left()

    def test_before_there_is_a_connection(self) -> None:
        """A full accept queue is not waited out for nobody."""
        self.server.failures = [ConnectError()] * 1000
        caller = self.call()
        self.reactor.pass_time(0.1)
        attempts = self.server.attempts
        caller.leave()
        self.reactor.pass_time(5)
        self.assertEqual((self.server.attempts, self.server.lines, self.notes.abandoned), (attempts, [], 1))
        self.assert_nothing_left()

    def test_an_end_is_told_once(self) -> None:
        """Client and model server may die in one turn of the reactor, either first."""
        for first, second in (("client", "server"), ("server", "client")):
            self.setUp()
            caller = self.call()
            self.server.say(STREAM, chunk(EVENT))
            ends: list[bool] = []
            self.door.asked[-1].at_end(ends.append)
            for side in (first, second):
                (caller if side == "client" else self.server.line).socket.end()
            self.reactor.settle()
            self.assertEqual(ends, [False])
            self.assert_nothing_left()

    def test_an_answer_that_comes_with_the_departure_is_dropped(self) -> None:
        """Nobody waits for it, and its connection does not serve again."""
        caller = self.call()
        caller.socket.end()
        self.server.line.socket.arrive(measured(b"ok"))
        self.reactor.settle()
        self.assertEqual((caller.received, self.server.open), (b"", []))
        self.assert_nothing_left()

    def test_a_client_behind_an_end_changes_nothing(self) -> None:
        """Leaving after the last byte is leaving in order."""
        caller = self.call()
        self.server.say(STREAM, chunk(EVENT), b"0\r\n\r\n")
        caller.leave()
        self.assertEqual((self.door.asked[-1].record.reason, self.notes.abandoned), (None, 0))
        self.assertEqual(len(self.server.open), 1)

    def test_the_operator_may_end_a_request_before_its_answer(self) -> None:
        """Then it is an answer, and the model server is let go."""
        caller = self.call()
        self.door.site.interrupt(refusals.STREAM_DRAINED)
        self.reactor.settle()
        self.assertEqual((caller.answer().status, self.server.open, self.notes.abandoned), (503, [], 1))
        self.assert_nothing_left()
