"""Which pieces of all that a session tells are the reply to one question."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.client.codex import CodexError, _Question


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
