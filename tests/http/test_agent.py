"""Requests to one model server: connecting, keeping connections, and when a request may go out twice."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.agent import BUSY_SECONDS, KEEP_IDLE_SECONDS, Agent
from hadesgw.http.client import Answer, BytesBody, UpstreamFailure, refusal_of
from hadesgw.interfaces import IUpstream
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal
from tests.http.model_server import HEAD_LIMIT, OK, STREAM, ModelServer, Receiver, make_agent, measured, request_lines
from tests.http.test_client import Produced
from tests.wire.line import Reactor

FULL = "what Twisted says of a full accept queue: no number, as there is nothing wrong elsewhere"


class Case(SynchronousTestCase):
    """An agent and its model server."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)
        self.questions = 0

    def ask(self, may_resend: bool = True, body: Any = None, method: bytes = b"POST") -> Deferred[Answer]:
        """Ask for a completion."""

        def harmless() -> bool:
            self.questions += 1
            return may_resend

        return self.agent.ask(method, b"/v1/completions", [(b"host", b"localhost")], body or BytesBody(b"{}"), harmless)

    def complete(self) -> None:
        """One request, answered."""
        asked = self.ask()
        self.server.say(measured(b"ok"))
        self.assertEqual(Receiver.of(self.successResultOf(asked)).why, "done")

    def refusal(self, asked: Deferred[Answer]) -> Refusal:
        """What `asked` failed with."""
        return refusal_of(self.failureResultOf(asked, UpstreamFailure))


class AskingTests(Case):
    """What is asked."""

    def test_it_is_an_upstream(self) -> None:
        """The proxy knows it by that interface."""
        verifyObject(IUpstream, self.agent)
        self.assertEqual(self.agent.name, "model")

    def test_a_request_goes_out_and_its_answer_comes_back(self) -> None:
        """On a connection of its own, if none is free."""
        asked = self.ask()
        self.reactor.settle()
        head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nContent-Length: 2\r\n\r\n{}"
        self.assertEqual(self.server.heard(), head)
        self.server.say(STREAM)
        self.assertEqual(self.successResultOf(asked).code, 200)

    def test_a_head_may_be_as_long_as_the_limit(self) -> None:
        """The limit reaches the connections."""
        for size, refused in ((HEAD_LIMIT, False), (HEAD_LIMIT + 1, True)):
            asked = self.ask()
            start, end = OK + b"x: ", b"\r\ncontent-length: 0\r\n\r\n"
            self.server.say(start + b"a" * (size - len(start) - len(end)) + end)
            if refused:
                self.assertIs(self.refusal(asked), refusals.UPSTREAM_HEAD_TOO_LARGE)
            else:
                self.successResultOf(asked)

    def test_a_body_of_unknown_length_is_not_begun(self) -> None:
        """If it were cut nobody could tell; nobody even connects."""

        class Endless(BytesBody):
            length = UNKNOWN_LENGTH  # type: ignore[assignment]

            def __init__(self) -> None:
                self.data = b""

        self.failureResultOf(self.ask(body=Endless()), ValueError)
        self.assertEqual(self.server.attempts, 0)

    def test_silence_has_an_end(self) -> None:
        """The first byte's deadline is the agent's."""
        asked = self.ask()
        self.reactor.pass_time(59.9)
        self.assertNoResult(asked)
        self.reactor.pass_time(0.1)
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_SILENT)
        self.assertEqual(self.server.open, [])


class AgentInterfaceTests(Case):
    """As Twisted's own users of agents see it."""

    def request(
        self, method: bytes = b"GET", uri: bytes = b"http://model/v1/models?a=b", **others: Any
    ) -> Deferred[Any]:
        """Ask as Twisted does."""
        asked: Deferred[Any] = self.agent.request(method, uri, **others)
        self.reactor.settle()
        return asked

    def test_it_is_an_agent(self) -> None:
        """So treq can use it."""
        verifyObject(IAgent, self.agent)

    def test_only_path_and_query_matter(self) -> None:
        """The socket is fixed, so a URI can lead nowhere else; an empty path is the root."""
        for uri, target in (
            (b"http://model/v1/models?a=b", b"/v1/models?a=b"),
            (b"http://elsewhere:99/x", b"/x"),
            (b"http://model", b"/"),
            (b"http://model/", b"/"),
        ):
            self.request(uri=uri)
            self.assertEqual(request_lines(self.server.heard()), [b"GET " + target + b" HTTP/1.1"])

    def test_there_is_one_host(self) -> None:
        """The caller's if it names one, else ours."""
        self.request(headers=Headers({b"X-One": [b"1", b"2"]}))
        heard = self.server.heard()
        self.assertEqual((heard.count(b"Host: localhost\r\n"), heard.count(b"X-One: ")), (1, 2))
        self.request(headers=Headers({b"Host": [b"model"]}))
        heard = self.server.heard()
        self.assertEqual((heard.count(b"Host: model\r\n"), heard.lower().count(b"host:")), (1, 1))

    def test_nothing_can_be_smuggled_into_a_request(self) -> None:
        """A method or target that is none is refused before anybody connects; a field cannot hold a line break."""
        for method, uri in (
            (b"GET / HTTP/1.1\r\nX:", b"http://model/"),
            (b"", b"http://model/"),
            (b"GET", b"http://model/ HTTP/1.1\r\nX: y"),
            (b"GET", b"http://model/a b"),
            (b"GET", b"http://model/\n"),
            (b"GET", b"http://model/\xe9"),
        ):
            self.failureResultOf(self.request(method, uri), ValueError)
        self.assertEqual(self.server.attempts, 0)
        self.request(headers=Headers({b"X": [b"a\r\nContent-Length: 5"]}))
        self.assertNotIn(b"\nContent-Length", self.server.heard())

    def lost_on_a_used_connection(self, *, method: bytes, **others: Any) -> int:
        """How many connections a request takes whose reused one dies at once."""
        self.setUp()
        self.complete()
        self.server.heard()
        asked = self.request(method, **others)
        self.server.close()
        asked.addErrback(lambda failure: failure.trap(UpstreamFailure))
        return len(self.server.lines)

    def test_only_what_is_harmless_goes_out_twice(self) -> None:
        """Idempotent methods (RFC 9110 9.2.2); a body that was begun cannot be begun again."""
        for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
            self.assertEqual(self.lost_on_a_used_connection(method=method), 2, method)
        for method in (b"POST", b"PATCH"):
            self.assertEqual(self.lost_on_a_used_connection(method=method), 1, method)
        self.assertEqual(self.lost_on_a_used_connection(method=b"DELETE", bodyProducer=Produced(5)), 1)
        self.assertEqual(self.lost_on_a_used_connection(method=b"DELETE", bodyProducer=BytesBody(b"{}")), 2)


class KeepingTests(Case):
    """Connections that wait for another request."""

    def test_a_connection_serves_again(self) -> None:
        """One request after the other."""
        for _ in range(3):
            self.complete()
        self.assertEqual(len(self.server.lines), 1)

    def test_a_stream_leaves_a_connection_that_serves_again(self) -> None:
        """vLLM keeps it open behind a stream as behind anything else."""
        asked = self.ask()
        self.server.say(STREAM, b"0\r\n\r\n")
        Receiver.of(self.successResultOf(asked))
        self.reactor.settle()
        self.complete()
        self.assertEqual(len(self.server.lines), 1)

    def test_requests_at_one_time_have_connections_of_their_own(self) -> None:
        """None waits for another; afterwards the one used last serves next, so that the others may grow old."""
        first, second = self.ask(), self.ask()
        self.assertEqual(len(self.server.lines), 2)
        for line, asked in zip(self.server.lines, (first, second), strict=True):
            line.say(measured(b"ok"))
            Receiver.of(self.successResultOf(asked))
        for line in self.server.lines:
            line.heard()
        self.ask()
        self.reactor.settle()
        self.assertEqual([bool(line.heard()) for line in self.server.lines], [False, True])

    def test_one_that_nobody_needs_is_closed_before_the_server_does_it(self) -> None:
        """vLLM closes after 5 s; a request that met that close would have to go out twice."""
        self.assertLess(KEEP_IDLE_SECONDS, 5.0)
        self.complete()
        self.reactor.pass_time(KEEP_IDLE_SECONDS - 0.1)
        self.complete()
        self.assertEqual(len(self.server.lines), 1)
        self.reactor.pass_time(KEEP_IDLE_SECONDS)
        self.assertEqual(self.server.open, [])
        self.complete()
        self.assertEqual(len(self.server.lines), 2)

    def test_one_that_the_server_closed_is_not_used(self) -> None:
        """Nor one on which it said something unasked."""
        for spoil in (self.server.close, lambda: self.server.say(b"HTTP/1.1 408 Timeout\r\n\r\n")):
            self.complete()
            before = len(self.server.lines)
            spoil()
            self.complete()
            self.assertEqual(len(self.server.lines), before + 1)

    def test_one_with_an_unfinished_answer_is_not_used(self) -> None:
        """Its answer would be taken for the next one's."""
        asked = self.ask()
        self.server.say(STREAM + b"5\r\nhel")
        Receiver.of(self.successResultOf(asked))
        self.complete()
        self.assertEqual(len(self.server.lines), 2)

    def test_the_idle_ones_are_closed_on_the_way_out(self) -> None:
        """Those in use are not touched, and nothing is left behind."""
        first, second = self.ask(), self.ask()
        self.server.lines[0].say(measured(b"ok"))
        Receiver.of(self.successResultOf(first))
        self.agent.close_idle()
        self.reactor.settle()
        self.assertEqual([line.open for line in self.server.lines], [False, True])
        second.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
        self.reactor.settle()
        self.assertEqual((self.server.open, self.reactor.getDelayedCalls()), ([], []))


class ResendingTests(Case):
    """A request that meets the close of a connection kept too long goes out once more."""

    def lose(self, may_resend: bool = True, said: bytes = b"", how: str = "close") -> Deferred[Answer]:
        """A request on a used connection that dies when it has said so much."""
        self.complete()
        self.server.heard()
        asked = self.ask(may_resend)
        self.reactor.settle()
        self.assertEqual(len(request_lines(self.server.heard())), 1)
        if said:
            self.server.say(said)
        getattr(self.server, how)()
        return asked

    def test_once_on_a_fresh_connection(self) -> None:
        """Closed or reset: it was the connection's end, not the request's. POST included."""
        for how in ("close", "reset"):
            self.setUp()
            asked = self.lose(how=how)
            self.assertEqual((len(self.server.lines), self.questions), (2, 1))
            self.assertEqual(len(request_lines(self.server.heard())), 1)
            self.server.say(measured(b"ok"))
            self.assertEqual(Receiver.of(self.successResultOf(asked)).body, b"ok")

    def test_not_twice(self) -> None:
        """What dies on a fresh connection died of itself."""
        asked = self.lose()
        self.server.close()
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_DIED)
        self.assertEqual((len(self.server.lines), self.questions), (2, 1))

    def test_never_from_a_fresh_connection(self) -> None:
        """The question is not even asked."""
        asked = self.ask()
        self.server.close()
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_DIED)
        self.assertEqual((len(self.server.lines), self.questions), (1, 0))

    def test_not_when_it_would_do_harm(self) -> None:
        """The caller knows."""
        asked = self.lose(may_resend=False)
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_DIED)
        self.assertEqual((len(self.server.lines), self.questions), (1, 1))

    def test_not_after_a_byte(self) -> None:
        """The model server had it: half a status line, or an interim head, shows that."""
        for said in (b"H", OK, b"HTTP/1.1 100 Continue\r\n\r\n"):
            self.setUp()
            asked = self.lose(said=said)
            self.assertIs(self.refusal(asked), refusals.UPSTREAM_DIED)
            self.assertEqual((len(self.server.lines), self.questions), (1, 0), said)

    def test_not_for_any_other_reason(self) -> None:
        """Garbage and silence are the model server's answers to this request."""
        self.complete()
        asked = self.ask()
        self.server.say(b"garbage\r\n\r\n")
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_GARBAGE)
        self.complete()
        asked = self.ask()
        self.reactor.pass_time(60)
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_SILENT)
        self.assertEqual(self.questions, 0)

    def test_a_server_that_has_gone_is_named(self) -> None:
        """The second attempt says more than the first."""
        self.complete()
        self.server.failures = [ConnectError(2, "No such file or directory")]
        asked = self.ask()
        self.server.close()
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_MISSING)

    def test_giving_up_reaches_the_second_connection(self) -> None:
        """Cancelling closes whichever is in use."""
        asked = self.lose()
        asked.cancel()
        self.reactor.settle()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.server.open, [])


class PatienceTests(Case):
    """A full accept queue."""

    def test_it_is_waited_out(self) -> None:
        """Nothing has been sent, so trying again is safe for any request."""
        self.server.failures = [ConnectError(string=FULL)] * 5
        asked = self.ask(may_resend=False)
        self.reactor.pass_time(0)
        self.assertEqual((self.server.attempts, self.server.lines), (1, []))
        self.wait_until(lambda: bool(self.server.lines))
        self.server.say(measured(b"ok"))
        self.successResultOf(asked)
        self.assertEqual(self.server.attempts, 6)
        self.assertLess(self.reactor.seconds(), 0.2)

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Let time pass in small steps."""
        while not done() and self.reactor.seconds() < 10:
            self.reactor.pass_time(0.001)

    def test_but_not_for_ever(self) -> None:
        """After two seconds the client is told; attempts become rarer, so that a burst does not become a storm."""
        self.server.failures = [ConnectError(string=FULL)] * 1000
        asked = self.ask()
        outcomes: list[object] = []
        asked.addErrback(lambda failure: outcomes.append(refusal_of(failure)))
        self.wait_until(lambda: bool(outcomes))
        self.assertEqual(outcomes, [refusals.UPSTREAM_BUSY])
        self.assertTrue(BUSY_SECONDS <= self.reactor.seconds() <= BUSY_SECONDS + 0.2, self.reactor.seconds())
        self.assertTrue(20 <= self.server.attempts <= 30, self.server.attempts)

    def test_pauses_are_jittered(self) -> None:
        """Requests that were turned away together do not come back together: half to one and a half of the pause."""
        for jitter, pause in ((0.0, 0.0025), (0.999999, 0.0075)):
            self.setUp()
            self.agent = make_agent(self.reactor, self.server, jitter=lambda jitter=jitter: jitter)  # type: ignore[misc]
            self.server.failures = [ConnectError(string=FULL)]
            asked = self.ask()
            self.reactor.pass_time(pause - 0.0001)
            self.assertEqual(self.server.attempts, 1)
            self.reactor.pass_time(0.0002)
            self.assertEqual(self.server.attempts, 2)
            asked.addErrback(lambda failure: None).cancel()

    def test_whoever_leaves_need_not_wait(self) -> None:
        """Cancelling during a pause ends the attempts."""
        self.server.failures = [ConnectError(string=FULL)] * 1000
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.reactor.pass_time(5)
        self.assertEqual((self.server.attempts, self.reactor.getDelayedCalls()), (1, []))

    def test_other_failures_are_not_waited_out(self) -> None:
        """A server that is not there will not be there in a moment."""
        self.server.failures = [ConnectionRefusedError(111, "Connection refused")]
        self.assertIs(self.refusal(self.ask()), refusals.UPSTREAM_REFUSED)
        self.assertEqual(self.server.attempts, 1)

    def test_a_connection_that_does_not_come_about_has_a_deadline(self) -> None:
        """Whatever the endpoint waits for."""

        @implementer(IStreamClientEndpoint)
        class Stuck:
            cancelled = False

            def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
                def cancelled(_: object) -> None:
                    self.cancelled = True

                return Deferred(cancelled)

        stuck = Stuck()
        self.agent = make_agent(self.reactor, stuck)
        asked = self.ask()
        self.reactor.pass_time(4.9)
        self.assertNoResult(asked)
        self.reactor.pass_time(0.1)
        self.assertIs(self.refusal(asked), refusals.UPSTREAM_UNREACHABLE)
        self.assertTrue(stuck.cancelled)
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)


class CancelTests(Case):
    """Nobody waits any more: in every state the connection is closed and does not serve again."""

    def test_before_and_inside_the_head(self) -> None:
        """On a fresh connection and on a used one."""
        for used in (False, True):
            for said in (b"", b"HTTP/1.1 2"):
                self.setUp()
                if used:
                    self.complete()
                asked = self.ask()
                if said:
                    self.server.say(said)
                asked.cancel()
                self.reactor.settle()
                self.failureResultOf(asked, CancelledError)
                self.assertEqual((self.server.open, self.questions), ([], 0))
                self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_inside_the_body(self) -> None:
        """Then the answer is what is aborted."""
        asked = self.ask()
        self.server.say(STREAM)
        answer = self.successResultOf(asked)
        receiver = Receiver.of(answer)
        answer.abortConnection()
        self.reactor.settle()
        self.assertEqual((self.server.open, receiver.why), ([], "upstream_truncated"))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RealSocketTests(SynchronousTestCase):
    """Why a connection could not be made, told from what Twisted really says about real sockets."""

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.dispose)
        scratch = tempfile.TemporaryDirectory(prefix="hadesgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.folder.chmod(0o755)
        self.path = self.folder / "api.sock"

    def dispose(self) -> None:
        """Give the reactor's descriptors back."""
        for reader in [*self.reactor._internalReaders, *self.reactor.removeAll()]:
            self.reactor.removeReader(reader)
            reader.connectionLost(Failure(CancelledError()))
        self.reactor._poller.close()

    def listen(self, backlog: int) -> socket.socket:
        """A server that never accepts."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(listener.close)
        listener.bind(str(self.path))
        listener.listen(backlog)
        return listener

    def turn_until(self, done: Callable[[], bool], seconds: float = 10) -> None:
        """Let the reactor work."""
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.reactor.iterate(0.01)
        self.assertTrue(done())

    def ask(self) -> Deferred[Answer]:
        """Ask whoever is at the path."""
        agent = Agent(
            "model",
            self.reactor,
            UNIXClientEndpoint(self.reactor, str(self.path)),
            random=lambda: 0.5,
            connect_seconds=0.3,
            first_byte_seconds=5.0,
            head_limit=HEAD_LIMIT,
        )
        return agent.ask(b"GET", b"/health", [], None, lambda: True)

    def outcome(self, asked: Deferred[Any]) -> Any:
        """What comes of `asked`."""
        outcomes: list[Any] = []
        asked.addBoth(outcomes.append)
        self.turn_until(lambda: bool(outcomes))
        return outcomes[0]

    def refusal(self) -> Refusal:
        """What asking is refused as."""
        return refusal_of(self.outcome(self.ask()))

    def test_a_missing_socket(self) -> None:
        """ENOENT, whether the file or its folder is missing."""
        self.assertIs(self.refusal(), refusals.UPSTREAM_MISSING)
        self.path = self.folder / "none" / "api.sock"
        self.assertIs(self.refusal(), refusals.UPSTREAM_MISSING)

    def test_a_stale_socket(self) -> None:
        """ECONNREFUSED: the file of a server that has gone; it is not ours to remove."""
        self.listen(1).close()
        self.assertIs(self.refusal(), refusals.UPSTREAM_REFUSED)
        self.assertTrue(self.path.exists())

    def test_a_socket_that_is_bound_and_not_listening(self) -> None:
        """ECONNREFUSED: vLLM binds early and listens when the model is loaded."""
        early = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(early.close)
        early.bind(str(self.path))
        self.assertIs(self.refusal(), refusals.UPSTREAM_REFUSED)

    def test_a_socket_we_may_not_open(self) -> None:
        """EACCES. Root may open anything, so root stops being root for a moment."""
        self.listen(1)
        self.path.chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)
        self.assertIs(self.refusal(), refusals.UPSTREAM_DENIED)

    def test_what_is_no_stream_socket(self) -> None:
        """A file refuses like a server that has gone; a datagram socket cannot be reached by us."""
        self.path.touch()
        self.assertIs(self.refusal(), refusals.UPSTREAM_REFUSED)
        self.path.unlink()
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.bind(str(self.path))
        self.assertIs(self.refusal(), refusals.UPSTREAM_UNREACHABLE)

    def fill(self) -> list[socket.socket]:
        """Take every place in the accept queue."""
        waiting: list[socket.socket] = []
        while True:
            visitor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(visitor.close)
            visitor.setblocking(False)
            try:
                visitor.connect(str(self.path))
            except BlockingIOError:
                return waiting
            waiting.append(visitor)

    def test_a_full_accept_queue(self) -> None:
        """EAGAIN, which Twisted takes for a connection that was closed: waited out, then named for what it is."""
        self.listen(0)
        self.assertGreater(len(self.fill()), 0)
        self.assertIs(self.refusal(), refusals.UPSTREAM_BUSY)

    def accept(self, listener: socket.socket) -> socket.socket:
        """The next visitor, who may still be on the way."""
        visitors: list[socket.socket] = []
        listener.setblocking(False)

        def come() -> bool:
            with contextlib.suppress(BlockingIOError):
                visitors.append(listener.accept()[0])
            return bool(visitors)

        self.turn_until(come)
        self.addCleanup(visitors[0].close)
        return visitors[0]

    def test_a_queue_that_drains_in_time(self) -> None:
        """The request goes out as soon as there is a place."""
        listener = self.listen(0)
        waiting = len(self.fill())
        asked = self.ask()
        self.reactor.iterate(0.01)
        for _ in range(waiting):
            self.accept(listener)
        self.accept(listener).sendall(measured(b"ok"))
        self.assertEqual(self.outcome(asked).code, 200)

    def test_bytes_pass_both_ways(self) -> None:
        """On a real UNIX transport, where the connection takes the place of the endpoint's wrapper."""
        listener = self.listen(5)
        received = self.ask().addCallback(Receiver.of)
        visitor = self.accept(listener)
        heard = b""

        def asked_for() -> bool:
            nonlocal heard
            with contextlib.suppress(BlockingIOError):
                heard += visitor.recv(1000, socket.MSG_DONTWAIT)
            return heard.endswith(b"\r\n\r\n")

        self.turn_until(asked_for)
        self.assertEqual(heard, b"GET /health HTTP/1.1\r\n\r\n")
        visitor.sendall(measured(b"x" * 100_000))
        receiver = self.outcome(received)
        self.turn_until(lambda: receiver.why is not None)
        self.assertEqual((receiver.body, receiver.why), (b"x" * 100_000, "done"))
