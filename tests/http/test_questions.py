"""The gateway's own questions: answered whole, in time and within a bound, or not at all."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.client import UpstreamFailure, refusal_of
from hadesgw.http.questions import Reply, look_up, submit
from hadesgw.policy import refusals
from tests.http.model_server import OK, STREAM, ModelServer, chunk, make_agent, measured
from tests.wire.line import Reactor

SECONDS, MOST_BYTES = 5.0, 100


class LookUpTests(SynchronousTestCase):
    """One question."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.server = ModelServer(self.reactor)
        self.agent = make_agent(self.reactor, self.server)

    def tearDown(self) -> None:
        self.agent.close_idle()
        self.reactor.settle()
        self.assertEqual((self.reactor.getDelayedCalls(), self.server.open), ([], []))

    def look_up(self) -> Deferred[Reply]:
        """Ask."""
        return look_up(self.agent, b"/version", self.reactor, seconds=SECONDS, most_bytes=MOST_BYTES)

    def assert_refused(self, asked: Deferred[Reply], refusal: refusals.Refusal) -> None:
        """It failed for this reason, and the connection is closed."""
        self.assertIs(refusal_of(self.failureResultOf(asked, UpstreamFailure)), refusal)
        self.assertEqual(self.server.open, [])

    def test_the_answer_comes_whole(self) -> None:
        """However many reads it took, whatever its status; the connection serves on."""
        for status in (b"200 OK", b"503 Service Unavailable"):
            asked = self.look_up()
            self.reactor.settle()
            self.assertEqual(self.server.heard(), b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n")
            self.server.say(b"HTTP/1.1 " + status + b"\r\ntransfer-encoding: chunked\r\n\r\n")
            self.assertNoResult(asked)
            self.server.say(chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")
            self.assertEqual(self.successResultOf(asked), Reply(int(status[:3]), b"onetwo"))
        self.assertEqual(len(self.server.lines), 1)

    def test_it_may_be_as_long_as_the_bound(self) -> None:
        """And not a byte longer, whatever its head says."""
        asked = self.look_up()
        self.server.say(measured(b"x" * MOST_BYTES))
        self.assertEqual(self.successResultOf(asked).body, b"x" * MOST_BYTES)
        for longer in (measured(b"x" * (MOST_BYTES + 1)), STREAM + chunk(b"x" * MOST_BYTES) + chunk(b"x")):
            asked = self.look_up()
            self.server.say(longer)
            self.assert_refused(asked, refusals.UPSTREAM_GARBAGE)

    def test_one_that_breaks_off_is_none(self) -> None:
        """Half a list is no list."""
        asked = self.look_up()
        self.server.say(STREAM, chunk(b"half"))
        self.server.close()
        self.assert_refused(asked, refusals.STREAM_TRUNCATED)

    def test_no_answer_is_named(self) -> None:
        """As to anybody else."""
        asked = self.look_up()
        self.server.close()
        self.assert_refused(asked, refusals.UPSTREAM_DIED)

    def test_the_time_is_for_the_whole_of_it(self) -> None:
        """A head, or a byte now and then, buys no more; the connection is not left hanging."""
        for said in ((), (b"HTTP/1.1 2",), (OK + b"content-length: 5\r\n\r\n",), (STREAM, b"5\r\nhel")):
            asked = self.look_up()
            self.server.say(*said)
            self.reactor.pass_time(SECONDS - 0.1)
            self.assertNoResult(asked)
            self.reactor.pass_time(0.1)
            self.assert_refused(asked, refusals.UPSTREAM_SILENT)

    def test_whoever_asked_may_give_up(self) -> None:
        """In the head and in the body."""
        for said in ((), (STREAM, b"5\r\nhel")):
            asked = self.look_up()
            self.server.say(*said)
            asked.cancel()
            self.reactor.settle()
            self.failureResultOf(asked, CancelledError)
            self.assertEqual(self.server.open, [])

    def test_a_question_may_have_a_body(self) -> None:
        """It goes out with its length; all else is as without one."""

        def ask() -> Deferred[Reply]:
            fields = [(b"host", b"localhost"), (b"x", b"y")]
            return submit(self.agent, b"/count", fields, b"{}", self.reactor, seconds=SECONDS, most_bytes=MOST_BYTES)

        asked = ask()
        self.reactor.settle()
        expected = b"POST /count HTTP/1.1\r\nhost: localhost\r\nx: y\r\nContent-Length: 2\r\n\r\n{}"
        self.assertEqual(self.server.heard(), expected)
        self.server.say(measured(b"7"))
        self.assertEqual(self.successResultOf(asked), Reply(200, b"7"))
        asked = ask()
        self.reactor.pass_time(SECONDS)
        self.assert_refused(asked, refusals.UPSTREAM_SILENT)
