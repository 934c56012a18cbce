"""The request as resources know it, the answer as clients see it, and the site that joins them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from os import urandom
from pathlib import Path

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import Data, File
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IGatewayRequest
from hadesgw.policy import refusals
from hadesgw.policy.correlation import Correlation, Correlator, uuid4_source
from hadesgw.policy.dialects import Dialect
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, Leaf, answer_path, answer_with, echo, get, hold, post

SECRET = "s3cret-in-the-traceback"


def ids(answer: Answer) -> tuple[bytes, bytes]:
    """The two ids of an answer, each of which must be there once."""
    return answer.one(b"X-Request-ID"), answer.one(b"X-Conveyance-Session-ID")


class CorrelationTests(SynchronousTestCase):
    """No answer leaves without its two ids."""

    SENT = (b"X-Request-ID: req.1", b"x-conveyance-SESSION-id: ses:2")

    def test_they_are_on_every_kind_of_answer(self) -> None:
        """As they were sent: answers and refusals of resources, failures, and refusals before there is a resource."""

        def fail(request: Request) -> int:
            raise ValueError(SECRET)

        def refuse(request: Request) -> int:
            return request.refuse(refusals.WRONG_CREDENTIAL)

        requests = (
            get(b"/", *self.SENT),
            get(b"/", *self.SENT, b"Connection: close"),
            post(b"", *self.SENT, length=10**9),
            get(b"/#", *self.SENT),
            get(b"/", *self.SENT, b"A : b"),
            get(b"/", *self.SENT, host=b"evil"),
            get(b"/", *self.SENT, b"X: " + b"a" * 40000),
            get(b"/", *self.SENT, *[b"A: b"] * 100),
            get(b"/", *self.SENT).replace(b"HTTP/1.1", b"HTTP/2.0"),
            get(b"/", *self.SENT).replace(b"HTTP/1.1", b"HTTP/1.0"),
            get(b"/", *self.SENT).replace(b"GET", b"BREW"),
        )
        for act in (answer_path, echo(cap=10), refuse, fail):
            for request in requests:
                for step in (None, 11):
                    answers = Door(act).call().send(request, step).answers()
                    self.assertEqual([ids(answer) for answer in answers], [(b"req.1", b"ses:2")], request)
        self.assertGreater(len(self.flushLoggedErrors(ValueError)), 0)
        bare = get(b"/", *self.SENT).replace(b"\r\n", b"\n")
        self.assertEqual(ids(Door().call().send(bare).answer()), (b"req.1", b"ses:2"))

    def test_they_are_on_answers_to_what_never_became_a_request(self) -> None:
        """A time-out in mid-head, and a connection too many, which says nothing at all."""
        door = Door(max_connections=1)
        late, extra = door.call().send(b"GET / HTTP/1.1\r\nX-Request-ID: req.1\r\nX-Conve"), door.call()
        door.reactor.pass_time(10)
        self.assertEqual(ids(late.answer()), (b"req.1", b"minted-3"))
        self.assertEqual(ids(extra.answer()), (b"minted-1", b"minted-2"))

    def test_unusable_ids_are_replaced_and_counted(self) -> None:
        """By length, by character, by number; each header on its own."""
        table = {
            (b"X-Request-ID: " + b"a" * 128,): [],
            (b"X-Request-ID: " + b"a" * 129,): [b"X-Request-ID"],
            (b"X-Request-ID: a b",): [b"X-Request-ID"],
            (b"X-Request-ID:",): [b"X-Request-ID"],
            (b"X-Request-ID: a", b"X-Request-ID: a"): [b"X-Request-ID"],
            (b"X-Conveyance-Session-ID: a,b",): [b"X-Conveyance-Session-ID"],
        }
        for fields, replaced in table.items():
            door = Door()
            answer = door.call().send(get(b"/", *fields)).answer()
            self.assertEqual(door.notes.replaced, replaced, fields)
            self.assertEqual(answer.one(b"X-Request-ID") == b"a" * 128, not replaced)
            self.assertEqual([value for value in ids(answer) if value in (b"a", b"a b", b"", b"a,b")], [])

    def test_nobody_else_can_set_them(self) -> None:
        """A resource or an upstream that tries in any spelling changes nothing: exactly one of each leaves."""

        def act(request: Request) -> bytes:
            request.setHeader(b"x-request-id", b"other")
            request.responseHeaders.addRawHeader(b"X-CONVEYANCE-SESSION-ID", b"other")
            request.relayed = [(b"x-request-id", b"other")]
            return b""

        self.assertEqual(ids(Door(act).call().send(get(b"/", *self.SENT)).answer()), (b"req.1", b"ses:2"))

    def test_their_names_are_configured(self) -> None:
        """In the configured spelling, and the usual names are other people's then."""
        door = Door(correlator=Correlator("Trace-Id", "X-Talk", lambda: b"new"))
        answer = door.call().send(get(b"/", b"trace-id: t", b"X-Request-ID: r")).answer()
        self.assertEqual((answer.one(b"Trace-Id"), answer.one(b"X-Talk")), (b"t", b"new"))
        self.assertEqual(answer.all(b"X-Request-ID"), [])
        self.assertIn(b"\r\nTrace-Id: t\r\nX-Talk: new\r\n", door.callers[0].received)

    def test_an_answer_about_to_leave_without_them_is_counted_and_mended(self) -> None:
        """It would be a defect of ours; the client has ids all the same."""

        def act(request: Request) -> bytes:
            request.correlation = Correlation(b"", b"")
            return b""

        door = Door(act)
        self.assertEqual(ids(door.call().send(get()).answer()), (b"minted-3", b"minted-4"))
        self.assertEqual(door.notes.missing, 1)

    def test_ids_that_are_made_are_uuids(self) -> None:
        """Of version 4, and new for each request."""
        door = Door(correlator=Correlator("X-Request-ID", "X-Conveyance-Session-ID", uuid4_source(urandom)))
        caller = door.call().send(get() * 3)
        made = [value.decode() for answer in caller.answers() for value in ids(answer)]
        self.assertEqual(len(set(made)), 6)
        self.assertEqual([str(uuid.UUID(value)) for value in made], made)
        self.assertEqual({uuid.UUID(value).version for value in made}, {4})


class FramingTests(SynchronousTestCase):
    """How the end of an answer is told."""

    def ask(self, request: bytes, *pieces: bytes, length: int | None = None, code: int = 200) -> tuple[Caller, Answer]:
        """The answer to `request` of a resource that writes `pieces`, and its client."""

        def act(asked: Request) -> int:
            asked.setResponseCode(code)
            if length is not None:
                asked.setHeader(b"Content-Length", b"%d" % length)
            for piece in pieces:
                asked.write(piece)
            asked.finish()
            return NOT_DONE_YET

        caller = Door(act).call().send(request)
        return caller, caller.answer(request.partition(b" ")[0])

    def test_http_1_1_gets_chunks_unless_the_length_is_known(self) -> None:
        """The connection is kept in both cases. An empty piece is no last chunk."""
        caller, answer = self.ask(get(), b"ab", b"", b"c" * 300)
        self.assertEqual((answer.all(b"Transfer-Encoding"), answer.body), ([b"chunked"], b"ab" + b"c" * 300))
        self.assertTrue(caller.received.endswith(b"\r\n\r\n2\r\nab\r\n12c\r\n" + b"c" * 300 + b"\r\n0\r\n\r\n"))
        self.assertFalse(caller.ended)
        caller, answer = self.ask(get(), b"ab", b"c", length=3)
        self.assertEqual((answer.all(b"Transfer-Encoding"), answer.body), ([], b"abc"))
        self.assertFalse(caller.ended)

    def test_http_1_0_never_gets_chunks(self) -> None:
        """Without a length the close is the end, whatever the client wanted; with one it may keep the connection."""
        for fields in (b"", b"Connection: keep-alive\r\n"):
            caller, answer = self.ask(b"GET / HTTP/1.0\r\n" + fields + b"\r\n", b"ab", b"c")
            self.assertEqual((answer.all(b"Transfer-Encoding"), answer.body), ([], b"abc"))
            self.assertEqual((answer.one(b"Connection"), caller.closed), (b"close", "closed"))
        caller, answer = self.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"abc", length=3)
        self.assertEqual((answer.one(b"Connection"), caller.closed), (b"keep-alive", None))

    def test_an_answer_to_head_has_no_body(self) -> None:
        """Its fields say what the body would be, and the next answer follows at once."""
        caller, answer = self.ask(get().replace(b"GET", b"HEAD"), b"abc", b"d", length=4)
        self.assertEqual((answer.all(b"Content-Length"), answer.body), ([b"4"], b""))
        self.assertTrue(caller.received.endswith(b"\r\n\r\n"))
        caller.send(get())
        self.assertEqual(len(caller.answers(b"HEAD", b"GET")), 2)
        caller, answer = self.ask(get().replace(b"GET", b"HEAD"), b"abc")
        self.assertEqual((answer.all(b"Transfer-Encoding"), answer.body), ([], b""))

    def test_an_answer_without_content_has_none(self) -> None:
        """No body, no chunks; a 204 has no length either (RFC 9110 8.6), and a 304 none that is not the content's."""
        for code in (204, 304):
            for pieces in ((), (b"abc",)):
                caller, answer = self.ask(get(), *pieces, code=code)
                self.assertEqual((answer.status, answer.all(b"Transfer-Encoding")), (code, []))
                self.assertTrue(caller.received.endswith(b"\r\n\r\n"))
                self.assertFalse(caller.ended)
        _, answer = self.ask(get(), code=204, length=0)
        self.assertEqual(answer.all(b"Content-Length"), [])

        def act(request: Request) -> bytes:
            request.setResponseCode(int(request.uri[1:]))
            return b""

        for code in (204, 304):
            answer = Door(act).call().send(get(b"/%d" % code)).answer()
            self.assertEqual((answer.status, answer.all(b"Content-Length")), (code, []))

    def test_an_answer_of_nothing_is_an_answer(self) -> None:
        """Finished before anything was written."""
        for request in (get(), b"GET / HTTP/1.0\r\n\r\n"):
            _, answer = self.ask(request)
            self.assertEqual((answer.status, answer.body), (200, b""))

    def test_the_head_leaves_with_the_first_bytes(self) -> None:
        """In one write: a head of its own would cost a packet, and a wait in some clients."""
        door = Door(hold)
        caller = door.call(room=0).send(get())
        door.asked[0].write(b"abc")
        self.assertEqual(len(caller.transport._tempDataBuffer), 1)
        caller.leave()

    def test_date_and_server_are_said_once(self) -> None:
        """The resource's own, if it has them."""

        def act(request: Request) -> bytes:
            if request.uri == b"/own":
                request.setHeader(b"date", b"Mon, 01 Jan 2024 00:00:00 GMT")
                request.setHeader(b"server", b"other")
            return b""

        caller = Door(act).call().send(get() + get(b"/own"))
        ours, own = caller.answers()
        self.assertEqual((ours.one(b"Server"), own.one(b"Server")), (b"hadesgw", b"other"))
        self.assertEqual(own.one(b"Date"), b"Mon, 01 Jan 2024 00:00:00 GMT")
        self.assertEqual(parsedate_to_datetime(ours.one(b"Date").decode()).utcoffset(), timedelta(0))

    def test_standing_fields_are_in_the_answer_whoever_makes_it(self) -> None:
        """In place of the same from anybody else, but for `Vary`, to which everybody adds."""

        def act(request: Request) -> int:
            request.standing = [(b"x-limit", b"ours"), (b"vary", b"Origin")]
            request.setHeader(b"X-Limit", b"a leaf's")
            request.relayed = [(b"x-limit", b"an upstream's"), (b"vary", b"Accept")]
            return request.refuse(refusals.NOT_FOUND)

        answer = Door(act).call().send(get()).answer()
        self.assertEqual((answer.all(b"x-limit"), answer.all(b"vary")), ([b"ours"], [b"Accept", b"Origin"]))

    def test_what_an_answer_varies_by_is_said_once(self) -> None:
        """Whatever the model server has said of it, in which letters and beside what."""
        for said, expected in (
            ([b"Origin"], [b"Origin"]),
            ([b"origin", b"Accept"], [b"Accept", b"Origin"]),
            ([b"Accept , ORIGIN,x"], [b"Accept, x", b"Origin"]),
            ([b"*"], [b"*", b"Origin"]),
            ([b"X-Origin"], [b"X-Origin", b"Origin"]),
        ):

            def act(request: Request, said: list[bytes] = said) -> bytes:
                request.standing = [(b"vary", b"Origin")]
                request.relayed = [(b"vary", value) for value in said]
                return b""

            self.assertEqual(Door(act).call().send(get()).answer().all(b"vary"), expected, said)


class ResourceTests(SynchronousTestCase):
    """Ordinary resources of Twisted's, behind the site."""

    def test_a_tree_is_walked_by_raw_segments(self) -> None:
        """Nothing is decoded, so no spelling of a path reaches what its plain spelling does not."""
        root, child = Resource(), Resource()
        root.putChild(b"a", child)
        child.putChild(b"b", Data(b"here", "text/plain"))
        door = Door(root)
        table = {b"/a/b": 200, b"/a/b?c/d": 200}
        for target in (
            b"/a%2fb",
            b"/%61/b",
            b"/a//b",
            b"//a/b",
            b"/a/./b",
            b"/x/../a/b",
            b"/a/b/../b",
            b"/a;x/b",
            b"/A/b",
            b"/a/b%00",
        ):
            table[target] = 404
        for target, status in table.items():
            self.assertEqual(door.call().send(get(target)).answer().status, status, target)

    def test_a_file_is_sent_whole(self) -> None:
        """By Twisted's own pull producer, however slowly it is read; HEAD, ranges and conditions work too."""
        path = Path(self.mktemp())
        content = bytes(range(256)) * 2000
        path.write_bytes(content)
        root = Resource()
        root.putChild(b"f", File(str(path)))
        door = Door(root)
        fast, slow = door.call(), door.call(room=1000)
        fast.send(get(b"/f") + get(b"/f").replace(b"GET", b"HEAD") + get(b"/f", b"Range: bytes=5-9"))
        whole, head, part = fast.answers(b"GET", b"HEAD", b"GET")
        self.assertEqual((whole.body, head.one(b"Content-Length")), (content, b"%d" % len(content)))
        self.assertEqual((part.status, part.body), (206, content[5:10]))
        fast.send(get(b"/f", b"If-Modified-Since: " + whole.one(b"Last-Modified")))
        self.assertEqual(fast.answers(b"GET", b"HEAD")[-1].status, 304)
        slow.send(get(b"/f"))
        for _ in range(1000):
            slow.take(1000)
        self.assertEqual(slow.answer().body, content)
        self.assertLess(slow.buffered, 200_000)

    def test_conditions_of_twisteds_are_told(self) -> None:
        """The tag and the date by which a client may ask again; it is told when nothing has changed."""

        def act(request: Request) -> bytes:
            return b"" if request.setETag(b'"tag"') or request.setLastModified(86400) else b"content"

        caller = Door(act).call().send(get() + get(b"/", b'If-None-Match: "tag"'))
        first, second = caller.answers()
        self.assertEqual((first.body, first.one(b"ETag")), (b"content", b'"tag"'))
        self.assertEqual(first.one(b"Last-Modified"), b"Fri, 02 Jan 1970 00:00:00 GMT")
        self.assertEqual((second.status, second.one(b"ETag")), (304, b'"tag"'))

    def test_a_request_looks_like_twisteds(self) -> None:
        """Headers, addresses, versions and security, for resources that were not written for us."""
        door = Door(hold)
        door.call().send(post(b"", b"X-A: 1", b"X-A: 2", b"Cookie: c", target=b"/p?q=1"))
        request = door.asked[0]
        self.assertTrue(verifyObject(IGatewayRequest, request))
        self.assertEqual(request.requestHeaders.getRawHeaders(b"x-a"), [b"1", b"2"])
        self.assertEqual((request.getHeader("x-a"), request.getHeader(b"Host")), ("2", b"localhost"))
        self.assertEqual((request.method, request.uri, request.path), (b"POST", b"/p?q=1", b"/p"))
        self.assertEqual((request.clientproto, request.isSecure()), (b"HTTP/1.1", False))
        self.assertEqual((request.getClientAddress().host, request.getHost().port), ("127.0.0.1", 8082))
        self.assertIs(request.site, door.site)

    def test_a_method_that_a_resource_lacks_is_refused(self) -> None:
        """With those it has; the connection is kept."""
        root = Resource()
        root.putChild(b"a", Data(b"here", "text/plain"))
        caller = Door(root).call().send(get(b"/a").replace(b"GET", b"DELETE"))
        answer = caller.answer()
        self.assertEqual((answer.status, answer.one(b"Allow")), (405, b"GET, HEAD"))
        self.assertEqual(json.loads(answer.body)["error"]["code"], "method_not_allowed")
        self.assertFalse(caller.ended)

    def test_a_path_that_is_not_there_is_refused_by_twisteds_own_words(self) -> None:
        """Unless the tree has better ones; what was asked for does not come back as a page."""
        answer = Door(Resource()).call().send(get(b"/%3Cscript%3E")).answer()
        self.assertEqual(answer.status, 404)
        self.assertNotIn(b"script", answer.body)


class FailureTests(SynchronousTestCase):
    """Resources that fail."""

    def served(self, act: Callable[[Request], object], request: bytes = get()) -> Caller:
        """A client of a resource that fails."""
        return Door(act).call().send(request)  # type: ignore[arg-type]

    def test_before_the_answer_it_is_a_500_in_the_callers_dialect(self) -> None:
        """Without a word of what happened: that is in the log, under the id of the request."""

        def act(request: Request) -> int:
            request.setHeader(b"Content-Encoding", b"gzip")
            request.setETag(b'"tag"')
            request.setLastModified(1)
            raise ValueError(SECRET)

        for target, dialect in ((b"/v1/chat/completions", "openai"), (b"/v1/messages", "anthropic")):
            caller = self.served(act, get(target))
            answer = caller.answer()
            said = json.loads(answer.body)
            self.assertEqual((answer.status, answer.one(b"Content-Type")), (500, b"application/json"))
            for name in (b"Content-Encoding", b"ETag", b"Last-Modified"):
                self.assertEqual(answer.all(name), [])
            self.assertEqual(said.get("type"), "error" if dialect == "anthropic" else None)
            self.assertEqual(said["error"]["message"], refusals.INTERNAL.message)
            self.assertNotIn(SECRET.encode(), caller.received)
            self.assertNotIn(b"Traceback", caller.received)
            self.assertFalse(caller.ended)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_in_the_answer_it_cuts_it(self) -> None:
        """What has begun cannot become an error, but must not look complete."""

        def act(request: Request) -> int:
            request.write(b"abc")
            raise ValueError(SECRET)

        caller = self.served(act)
        self.assertEqual((caller.answer().body, caller.answer().whole), (b"abc", False))
        self.assertEqual(caller.closed, "closed")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_after_the_answer_it_is_only_logged(self) -> None:
        """The client has its answer."""

        def act(request: Request) -> int:
            answer_with(b"abc", request)
            raise ValueError(SECRET)

        caller = self.served(act)
        self.assertTrue(caller.answer().whole)
        self.assertFalse(caller.ended)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_an_answer_that_is_no_bytes_is_a_failure(self) -> None:
        """Of the resource, not of the client."""
        self.assertEqual(self.served(lambda request: None).answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_finding_the_resource_may_fail_too(self) -> None:
        """With the same answer."""

        class Maze(Resource):
            def getChild(self, path: bytes, request: object) -> Resource:
                raise ValueError(SECRET)

        self.assertEqual(Door(Maze()).call().send(get(b"/a")).answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_who_watches_the_end_cannot_hold_the_connection(self) -> None:
        """A failing observer of one request does not keep the next from being served."""

        def stumble(completed: bool) -> None:
            raise ValueError(SECRET)

        def act(request: Request) -> bytes:
            request.at_end(stumble)
            return b""

        caller = self.served(act, get() + get())
        self.assertEqual(len(caller.answers()), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_who_watches_the_end_cannot_keep_what_is_others(self) -> None:
        """Nor, when the client leaves, the other watchers from giving back what they hold, and the body its memory."""

        def stumble(completed: bool) -> None:
            raise ValueError(SECRET)

        told: list[bool] = []
        door = Door(hold)
        caller = door.call().send(post(b"half", length=8))
        door.asked[0].at_end(stumble)
        door.asked[0].at_end(told.append)
        caller.leave()
        self.assertEqual((told, door.site.body_memory.held), ([False], 0))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ConstructionTests(SynchronousTestCase):
    """Our request is made without the constructors of its bases."""

    def test_it_has_what_twisted_gives_a_request(self) -> None:
        """Whatever Twisted's constructors set is there, and is of the same kind: an upgrade that sets more is seen."""
        made: list[Request] = []

        def compare(request: Request) -> bytes:
            assert request.channel is not None
            theirs = server.Request(request.channel, queued=False, parsePOSTFormSubmission=False)
            for name, value in vars(theirs).items():
                self.assertEqual(type(getattr(request, name)), type(value), name)
            self.assertIs(request.client, theirs.client)
            self.assertIs(request.host, theirs.host)
            made.append(request)
            return b""

        Door(Leaf(compare)).call().send(get(b"/"))
        self.assertEqual(len(made), 1)


class RequestTests(SynchronousTestCase):
    """What the gateway's own resources ask of a request."""

    def test_a_refusal_is_said_in_the_dialect_of_the_path(self) -> None:
        """With its seconds to wait and further fields, and noted in the record; the connection is kept."""
        door = Door(lambda request: request.refuse(refusals.DRAINING, [(b"X-Why", b"because")]))
        caller = door.call().send(get(b"/v1/messages/count_tokens"))
        answer, request = caller.answer(), door.asked[0]
        self.assertIs(request.dialect, Dialect.ANTHROPIC)
        self.assertEqual((answer.status, answer.one(b"Retry-After"), answer.one(b"X-Why")), (503, b"1", b"because"))
        self.assertEqual(json.loads(answer.body)["type"], "error")
        self.assertEqual((request.record.reason, request.record.code), ("draining", "upstream_unavailable"))
        self.assertFalse(caller.ended)

    def test_a_refusal_that_closes_closes(self) -> None:
        """Whatever the client wanted."""
        caller = Door(lambda request: request.refuse(refusals.BODY_TOO_LARGE)).call().send(get())
        self.assertEqual((caller.answer().one(b"Connection"), caller.closed), (b"close", "closed"))

    def test_the_end_is_told_once_and_truly(self) -> None:
        """True when the answer was written, False when the client left first; Twisted's Deferred agrees."""
        for leaves in (False, True):
            told: list[bool] = []
            door = Door(hold)
            caller = door.call().send(get())
            request = door.asked[0]
            request.at_end(told.append)
            finished = request.notifyFinish()
            if leaves:
                caller.leave()
                self.failureResultOf(finished, ConnectionDone)
            else:
                answer_with(b"", request)
                caller.leave()
                self.assertIsNone(self.successResultOf(finished))
            self.assertEqual(told, [not leaves])

    def test_after_the_client_left_nothing_can_be_done_wrong(self) -> None:
        """Writing, refusing, cutting, watching do nothing; no body comes; finishing is an error, as in Twisted."""
        door = Door(hold)
        caller = door.call().send(post(b"", length=5))
        caller.leave()
        request = door.asked[0]
        request.write(b"abc")
        request.refuse(refusals.INTERNAL)
        request.cut(b"abc")
        request.interrupt(refusals.INTERNAL)
        request.watch(5)
        self.assertFalse(request.choked)
        self.assertIsNone(request.body_at_hand(10))
        self.failureResultOf(request.read_body(10), ConnectionLost)
        self.assertRaises(RuntimeError, request.finish)
        self.assertEqual(caller.received, b"")
        self.assertEqual(door.left_behind(), [])

    def test_after_the_end_nothing_more_can_be_written(self) -> None:
        """It would stand in the next answer."""
        door = Door(hold)
        caller = door.call().send(get())
        request = door.asked[0]
        answer_with(b"abc", request)
        self.assertRaises(RuntimeError, request.write, b"d")
        self.assertRaises(RuntimeError, request.finish)
        request.interrupt(refusals.INTERNAL)
        self.assertFalse(request.choked)
        self.assertTrue(caller.answer().whole)

    def test_an_interruption_is_for_who_carries_the_answer(self) -> None:
        """If somebody does, he is told and ends it himself."""
        told: list[refusals.Refusal] = []
        door = Door(hold)
        caller = door.call().send(get())
        door.asked[0].on_interrupt = told.append
        door.asked[0].interrupt(refusals.STREAM_DRAINED)
        self.assertEqual((told, caller.received), ([refusals.STREAM_DRAINED], b""))

    def test_a_request_can_watch_the_clock(self) -> None:
        """The moment moves with each call; after the answer it does not come."""
        for finishes in (False, True):
            told: list[float] = []
            door = Door(hold)
            caller = door.call().send(get())
            request = door.asked[0]

            def late(told: list[float] = told, door: Door = door) -> None:
                told.append(door.reactor.seconds())

            request.on_late = late
            request.watch(5)
            door.reactor.pass_time(4)
            request.watch(5)
            door.reactor.pass_time(4)
            if finishes:
                answer_with(b"", request)
            door.reactor.pass_time(1)
            self.assertEqual(told, [] if finishes else [9])
            caller.leave()

    def test_the_first_byte_is_timed(self) -> None:
        """By the site's clock, from the head on."""
        door = Door(hold)
        door.reactor.pass_time(5)
        door.call().send(get())
        door.reactor.pass_time(2)
        request = door.asked[0]
        self.assertEqual((request.record.started, request.record.first_byte), (5, None))
        request.write(b"a")
        door.reactor.pass_time(2)
        request.write(b"b")
        self.assertEqual(request.record.first_byte, 7)


class SiteTests(SynchronousTestCase):
    """The factory."""

    def test_http_1_1_is_all_it_offers(self) -> None:
        """By ALPN, whatever else is installed."""
        self.assertEqual(Door().site.acceptableProtocols(), [b"http/1.1"])

    def test_it_starts_and_stops_without_a_log_or_a_timer(self) -> None:
        """Of Twisted's."""
        door = Door()
        door.site.doStart()
        door.call().send(get()).leave()
        door.site.doStop()
        self.assertEqual(door.left_behind(), [])

    def test_open_connections_are_counted(self) -> None:
        """As they come and go."""
        door = Door()
        callers = [door.call() for _ in range(3)]
        self.assertEqual((door.notes.open, len(door.site.channels)), (3, 3))
        for caller in callers:
            caller.leave()
        self.assertEqual((door.notes.open, len(door.site.channels)), (0, 0))

    def test_a_secure_connection_is_known_as_such(self) -> None:
        """By its transport; one that cannot close a single half is closed when a refusal is written."""
        door = Door(Leaf(hold))
        channel, transport = door.site.buildProtocol(None), StringTransport()  # type: ignore[arg-type]
        alsoProvides(transport, ISSLTransport)
        channel.makeConnection(transport)
        channel.dataReceived(get())
        self.assertTrue(door.asked[0].isSecure())
        answer_with(b"", door.asked[0])
        channel.dataReceived(b"GET\r\n\r\n")
        self.assertTrue(transport.disconnecting)
        channel.connectionLost()
        self.assertEqual(door.left_behind(), [])
