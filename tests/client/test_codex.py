"""Which pieces of all that a session tells are the reply to one question."""

from __future__ import annotations

from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from hadesgw.client.codex import CodexClient, CodexError, _Question


def message(kind: str, content: Any = None) -> dict[str, Any]:
    """One message of a session."""
    return {"type": kind, "content": content}


def status(state: str) -> dict[str, Any]:
    """The session is so now."""
    return message("session_status", {"active": True, "state": state})


def received(text: str, queued: int = 1) -> dict[str, Any]:
    """The session has an input."""
    return message("input_received", {"text": text, "queued": queued, "steer": False})


OUTPUT, PROMPT = message("output", "x"), message("input_request", {"prompt": ""})


def turn(outcome: str) -> dict[str, Any]:
    """A turn has ended."""
    return message("turn", {"turn_id": "1", "phase": "ended", "status": outcome})


class QuestionTests(SynchronousTestCase):
    """A session's messages in, the reply's pieces out."""

    def reply(self, *messages: dict[str, Any], text: str = "ours") -> str:
        """What is taken for the reply, until it is over."""
        question = _Question(text)
        pieces: list[str] = []
        for each in messages:
            self.assertFalse(question.over, "nothing more is looked at")
            pieces += question.follow(each)
        self.assertTrue(question.over)
        return "".join(pieces)

    def test_the_reply_is_what_comes_between_input_and_prompt(self) -> None:
        """What came before, and what is no output, is not in it."""
        self.assertEqual(self.reply(OUTPUT, PROMPT, status("ready"), received("ours"), OUTPUT, OUTPUT, PROMPT), "xx")

    def test_turns_of_others_pass_by(self) -> None:
        """One that runs, and those that wait before ours; their failures are none of ours."""
        others = [OUTPUT, message("error", "theirs"), turn("failed"), PROMPT, OUTPUT, PROMPT]
        self.assertEqual(self.reply(status("in_turn"), received("ours", 2), *others, OUTPUT, PROMPT), "x")
        self.assertEqual(self.reply(received("theirs"), OUTPUT, PROMPT, received("ours"), OUTPUT, PROMPT), "x")

    def test_a_command_beside_a_turn_is_over_at_once(self) -> None:
        """It is never prompted for; one that waits is."""
        self.assertEqual(self.reply(status("in_turn"), received("/focus a.py"), text="/focus a.py"), "")
        self.assertEqual(self.reply(status("in_turn"), received("/ls"), PROMPT, OUTPUT, PROMPT, text="/ls"), "x")

    def test_what_goes_wrong_has_a_word(self) -> None:
        """An error of the agent, a turn that was ended, a session that is gone, messages that are lost."""
        for code, messages in (
            ("failed", [message("error", "The engine died"), turn("failed"), PROMPT]),
            ("interrupted", [turn("interrupted"), PROMPT]),
            ("ended", [status("gone")]),
            ("failed", [message("error", "The agent has stopped"), status("idle")]),
            ("gap", [message("gap", {"after": 1, "next": 9})]),
        ):
            error = self.assertRaises(CodexError, self.reply, received("ours"), OUTPUT, *messages)
            self.assertEqual(error.code, code)


class Door(Resource):
    """Gives the answers of a list, one for each request."""

    isLeaf = True

    def __init__(self, answers: list[tuple[int, bytes]]) -> None:
        Resource.__init__(self)
        self.answers = answers

    def render(self, request: Request) -> bytes:
        """The next one."""
        code, body = self.answers.pop(0)
        request.setResponseCode(code)
        return body


class ListeningTests(SynchronousTestCase):
    """A client that listens, and doors that do not always answer as they should."""

    def hear(self, *answers: tuple[int, bytes]) -> tuple[list[str], Deferred[None]]:
        """What is heard until the answers are used up."""
        clock, door = Clock(), Door(list(answers))
        agent = RequestTraversalAgent(door)
        heard: list[str] = []
        client = CodexClient("http://localhost:8082", "t", clock=clock, agent=agent, random=lambda: 1.0)

        async def listen() -> None:
            async for each in client.listen():
                heard.append(each["type"])  # noqa: PERF401 - what has come survives what goes wrong

        listening = Deferred.fromCoroutine(listen())
        while door.answers and not listening.called:
            agent.flush()
            clock.advance(1)
        agent.flush()
        return heard, listening

    def test_a_gateway_that_is_away_for_a_while_is_waited_for(self) -> None:
        """Also where somebody in front of it says so, in a page for people."""
        events = [b'id: s:%d\ndata: {"type":"output","seq":%d}\n\n' % (seq, seq) for seq in (1, 2)]
        away = [(502, b"<html>Bad Gateway</html>"), (503, b'{"error":{"code":"draining"}}'), (429, b"")]
        heard, listening = self.hear((200, events[0]), *away, (200, events[1]))
        self.assertEqual(heard, ["output", "output"])
        self.assertNoResult(listening)
        listening.cancel()
        self.failureResultOf(listening)

    def test_a_refusal_is_the_end(self) -> None:
        """Whoever may not come in is not let in for asking again; and a page for people is one line."""
        for answer, code in (
            ((401, b'{"error":{"code":"invalid_api_key"}}'), "invalid_api_key"),
            ((404, b"<p>"), "404"),
        ):
            heard, listening = self.hear((200, b""), answer)
            self.assertEqual((heard, self.failureResultOf(listening, CodexError).value.code), ([], code))
