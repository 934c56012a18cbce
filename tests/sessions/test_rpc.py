"""Questions and answers."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.rpc import METHOD_NOT_FOUND, Envelope, Peer, Refused, Silent, Unanswered


def message(**fields: Any) -> Envelope:
    return msgspec.json.decode(msgspec.json.encode(fields), type=Envelope)


class PeerTests(SynchronousTestCase):
    """The asking side."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.written: list[dict[str, Any]] = []
        self.peer = Peer(self.clock, self.written.append, 30.0)

    def test_answers_find_their_questions(self) -> None:
        """In whatever order they come."""
        first, second = self.peer.call("a", {"x": 1}), self.peer.call("b", {})
        self.assertEqual(self.written[0], {"id": 1, "method": "a", "params": {"x": 1}})
        self.peer.answered(message(id=2, result="two"))
        self.peer.answered(message(id=1, result="one"))
        self.assertEqual(bytes(self.successResultOf(first)), b'"one"')
        self.assertEqual(bytes(self.successResultOf(second)), b'"two"')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_refusal_has_its_word(self) -> None:
        """What the other side says is why."""
        asked = self.peer.call("a", {})
        self.peer.answered(message(id=1, error={"code": -32600, "message": "no such thread"}))
        self.assertEqual(str(self.failureResultOf(asked, Refused).value), "no such thread")

    def test_silence_has_an_end(self) -> None:
        """At its time and not before; an answer that comes later is ignored."""
        asked = self.peer.call("turn/start", {})
        self.clock.advance(29.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIn("turn/start", str(self.failureResultOf(asked, Unanswered).value))
        self.peer.answered(message(id=1, result="late"))

    def test_nobody_waits_for_one_who_has_gone(self) -> None:
        """All questions end, and no timer is left."""
        asked = [self.peer.call("a", {}), self.peer.call("b", {})]
        self.peer.lost()
        for one in asked:
            self.failureResultOf(one, Silent)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_question_can_be_withdrawn(self) -> None:
        """Its answer is ignored then."""
        asked = self.peer.call("a", {})
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.peer.answered(message(id=1, result="late"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answers_to_nothing_are_ignored(self) -> None:
        """With any id, or none."""
        for stray in (message(id=7, result=1), message(id="x", result=1), message(result=1), message()):
            self.peer.answered(stray)
        self.assertEqual(self.written, [])

    def test_the_answering_side(self) -> None:
        """A request is carried out or not, under its own id, whatever kind of id that is."""
        self.peer.answer("x", {"decision": "accept"})
        self.peer.refuse(0, "not here")
        self.peer.notify("initialized")
        self.assertEqual(
            self.written,
            [
                {"id": "x", "result": {"decision": "accept"}},
                {"id": 0, "error": {"code": METHOD_NOT_FOUND, "message": "not here"}},
                {"method": "initialized"},
            ],
        )
