"""The program that plays Aider, with a chat in Aider's place."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.aider import COMMANDS, COMMITTING
from hadesgw.sessions.aider_player import (
    ALLOWED,
    OWN,
    Ear,
    Play,
    Speech,
    Unresolved,
    Voice,
    forbidden,
    resolve,
)
from tests.real.waiting import wait_for

NAMES = frozenset(("add", "clear", "code", "commit", "drop", "git", "map", "map-refresh", "run", "undo")) | OWN


class NameTests(SynchronousTestCase):
    """Which command is meant, and which files may be changed."""

    def test_a_name_or_its_beginning(self) -> None:
        """As far as there is only one; a name that begins another is itself."""
        for word, name in (("add", "add"), ("com", "commit"), ("r", "run"), ("map", "map"), ("f", "focus")):
            self.assertEqual(resolve(word, NAMES), name)

    def test_no_name(self) -> None:
        """Several, or none, are refused in words."""
        self.assertIn("/code, /commit", str(self.assertRaises(Unresolved, resolve, "co", NAMES)))
        self.assertIn("no command /x", str(self.assertRaises(Unresolved, resolve, "x", NAMES)))

    def test_the_engine_claims_what_is_carried_out(self) -> None:
        """Whatever is allowed here comes here."""
        self.assertEqual(ALLOWED | OWN, (ALLOWED | OWN) & {*COMMANDS.split(), *COMMITTING.split()})

    def test_forbidden_files(self) -> None:
        """What is outside, by links too, and what is the repository's own in any spelling."""
        root = Path(self.mktemp()).absolute()
        (root / "src").mkdir(parents=True)
        (root / "out").symlink_to("/etc")
        (root / "mine").symlink_to("src")
        for path in ("a.py", "src/a.py", "mine/a.py", "src/../a.py", ".gitignore", str(root / "a.py")):
            self.assertIsNone(forbidden(path, root), path)
        for path in ("../a.py", "/etc/passwd", "out/passwd", ".", "", ".git/config", "src/.GIT/hooks/x", ".git"):
            self.assertIsNotNone(forbidden(path, root), path)

    @given(st.text(alphabet="./ag~", max_size=20))
    def test_nothing_outside_is_allowed(self, path: str) -> None:
        """However it is written."""
        root = Path("/nowhere/root")
        if forbidden(path, root) is None:
            self.assertTrue(Path(os.path.normpath(root / path)).is_relative_to(root))


class Chat:
    """What stands in for Aider's coder: it says what it was told to, piece by piece."""

    max_reflections = 3

    def __init__(self, voice: Voice, *answers: Any) -> None:
        self.io = cast(Any, type("Io", (Speech,), {"voice": voice}))()
        self.answers = list(answers)
        self.heard: list[str] = []
        self.done: list[tuple[str, str]] = []
        self.reflected_message: str | None = None
        self.commands = SimpleNamespace(do_run=self.do_run)
        self.root = "/nowhere"

    def init_before_message(self) -> None:
        """A turn begins."""

    def check_for_file_mentions(self, text: str) -> None:
        """No file is known."""

    def tell_files(self) -> None:
        """None is in the chat."""

    def do_run(self, name: str, argument: str) -> None:
        self.done.append((name, argument))

    def send_message(self, text: str) -> Iterator[str]:
        self.heard.append(text)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            yield from answer(self)
        else:
            yield answer


class HearingTestCase(SynchronousTestCase):
    """Ears that hear what a test says."""

    def hear(self, *orders: dict[str, str]) -> Ear:
        """An ear that hears these, and then nothing more while the test runs."""
        source, sink = os.pipe()
        ear = Ear(cast(BinaryIO, os.fdopen(source, "rb")))
        before = signal.signal(signal.SIGINT, ear.struck)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.addCleanup(ear.join)  # it sends a last signal
        self.addCleanup(os.close, sink)
        os.write(sink, b"".join(json.dumps(order).encode() + b"\n" for order in orders))
        ear.start()
        return ear


class PlayTests(HearingTestCase):
    """Inputs and what comes of them."""

    def play(self, *answers: Any, commits: bool = True) -> None:
        self.stream = io.BytesIO()
        self.voice = Voice(self.stream)
        self.ear = Ear(io.BytesIO())
        self.chat = Chat(self.voice, *answers)
        self.played = Play(self.chat, self.voice, self.ear, {"commits": commits}, NAMES, OSError)

    def said(self) -> list[tuple[str, Any]]:
        """What was said, each with its text or status."""
        told = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [(each["type"], each.get("text", each.get("status"))) for each in told]

    def refusal(self, text: str) -> str:
        """What is said of an input that is refused."""
        self.played.turn(text)
        *_, (kind, told), ended = self.said()
        self.assertEqual((kind, ended), ("error", ("ended", "failed")))
        self.assertEqual((self.chat.heard, self.chat.done), ([], []))
        return str(told)

    def test_a_message(self) -> None:
        """Its answer comes as it is made, and ends with its line."""
        self.play("Hello")
        self.played.turn("hi")
        expected = [("began", None), ("piece", "Hello"), ("output", "\n"), ("ended", "completed")]
        self.assertEqual(self.said(), expected)

    def test_aider_has_more_to_say(self) -> None:
        """It goes on by itself, but not for ever."""

        def again(chat: Chat) -> Iterator[str]:
            chat.reflected_message = "once more"
            yield "x\n"

        self.play(*[again] * 9)
        self.played.turn("hi")
        self.assertEqual(self.chat.heard, ["hi", *["once more"] * 3])

    def test_an_error_that_is_mended(self) -> None:
        """Is no failure; one that is not, is."""

        def bad(chat: Chat) -> Iterator[str]:
            chat.io.tool_error("not conform")
            chat.reflected_message = "again"
            yield "x\n"

        def worse(chat: Chat) -> Iterator[str]:
            chat.io.tool_error("no model")
            yield from ()

        self.play(bad, "good\n", worse)
        self.played.turn("hi")
        self.assertEqual(self.said()[-1], ("ended", "completed"))
        self.played.turn("hi")
        self.assertEqual(self.said()[-1], ("ended", "failed"))

    def test_refused_commands(self) -> None:
        """No shell, nothing that reaches out, no doubtful name; and no model hears of it."""
        self.play()
        self.assertIn("No shell", self.refusal("!ls"))
        for text in ("/run ls", "/ru ls", "/GIT push"):
            self.assertIn("reaches beyond", self.refusal(text))
        self.assertIn("say which", self.refusal("/co"))
        self.assertIn("no command", self.refusal("/nothing"))

    def test_commands(self) -> None:
        """What is allowed is Aider's to do; help is ours."""
        self.play()
        self.played.turn("/ad a.py b.py")
        self.played.turn("/help")
        self.assertEqual(self.chat.done, [("add", "a.py b.py")])
        self.assertIn("/focus", self.said()[-2][1])

    def test_a_path_is_no_command(self) -> None:
        """An input may begin with one."""
        self.play("yes\n")
        self.played.turn("/etc/hosts is odd")
        self.assertEqual(self.chat.heard, ["/etc/hosts is odd"])

    def test_committing(self) -> None:
        """Is refused where Aider does not."""
        self.play(commits=False)
        self.assertIn("commits nothing", self.refusal("/commit x"))

    def test_focus(self) -> None:
        """Takes the place of all other files, if there is such a file."""
        self.play()
        self.assertIn("takes a file", self.refusal("/focus ../x"))
        self.assertIn("none was named", self.refusal("/focus"))
        self.chat.root = str(Path(self.mktemp()).absolute())
        (Path(self.chat.root)).mkdir()
        (Path(self.chat.root) / "a b.py").touch()
        self.played.turn("/focus a b.py")
        self.assertEqual(self.chat.done, [("drop", ""), ("add", '"a b.py"')])

    def test_faults(self) -> None:
        """Whatever Aider does, the turn has its end and the next one its beginning."""
        self.play(SystemExit(1), OSError("switch"), ValueError("odd"), KeyboardInterrupt(), "fine\n")
        for _ in range(5):
            self.played.turn("hi")
        ends = [told for kind, told in self.said() if kind == "ended"]
        self.assertEqual(ends, ["failed", "failed", "failed", "interrupted", "completed"])

    def test_more_inputs(self) -> None:
        """What comes while a turn runs belongs to it."""
        self.play("one\n", "two\n")
        ear = self.hear(*({"type": "say", "text": text} for text in ("hi", "more")))
        self.played = Play(self.chat, self.voice, ear, {"commits": True}, NAMES, OSError)
        first = ear.next() or ""
        wait_for(lambda: ear.waiting, "the second has come, too", 10)
        self.played.turn(first)
        self.assertEqual(self.chat.heard, ["hi", "more"])
        self.assertEqual(len([kind for kind, _ in self.said() if kind == "ended"]), 1)


class EarTests(HearingTestCase):
    """Orders that come while the main thread works."""

    def test_inputs_in_order(self) -> None:
        """One after the other; what has come already is told apart from what may come."""
        ear = self.hear({"type": "say", "text": "a"}, {"type": "say", "text": "b"})
        self.assertEqual([ear.next(), ear.next()], ["a", "b"])
        self.assertIsNone(ear.more())

    def test_an_interruption_reaches_a_system_call(self) -> None:
        """The main thread may wait for the network: it is woken, once."""
        ear = self.hear({"type": "say", "text": "a"}, {"type": "interrupt"})
        self.assertEqual(ear.next(), "a")
        try:
            ear.arm()
            threading.Event().wait(20)
            self.fail("it was not woken")
        except KeyboardInterrupt:
            self.assertTrue(ear.interrupted)
        ear.struck()

    def test_an_interruption_without_a_turn(self) -> None:
        """Is nothing, and ends no later turn."""
        ear = self.hear({"type": "interrupt"}, {"type": "say", "text": "a"})
        self.assertEqual(ear.next(), "a")
        ear.arm()
        ear.disarm()
        self.assertFalse(ear.interrupted)


class SpeechTests(SynchronousTestCase):
    """What Aider says and asks."""

    def setUp(self) -> None:
        self.stream = io.BytesIO()
        self.voice = Voice(self.stream)
        self.io = cast(Any, type("Io", (Speech,), {"voice": self.voice}))()

    def said(self) -> list[Any]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_questions(self) -> None:
        """Yes to what is usual, no to what needs a person; nothing is opened, nobody is waited for."""
        self.assertTrue(self.io.confirm_ask("Add file to the chat?"))
        self.assertFalse(self.io.confirm_ask("Run shell command?", explicit_yes_required=True))
        self.assertFalse(self.io.confirm_ask("Try to proceed anyway?"))
        self.assertFalse(self.io.offer_url("http://localhost/"))
        self.assertEqual(self.io.prompt_ask("Name?", "x"), "x")
        self.assertRaises(EOFError, self.io.get_input)

    def test_each_by_its_kind(self) -> None:
        """Lines of Aider's own stand alone, after a reply that has not ended its line too; empty ones are left out."""
        self.voice.piece("Hm")
        self.io.tool_output("Applied", "it")
        self.io.tool_output()
        self.io.tool_output("secret", log_only=True)
        self.io.assistant_output("whole")
        self.io.print("diff")
        self.io.tool_warning("careful")
        self.io.tool_error("  ")
        self.io.tool_error(OSError("bad"))
        texts = [(each["type"], each["text"]) for each in self.said()]
        expected = [("piece", "Hm"), ("output", "\nApplied it\n"), ("output", "whole\n"), ("output", "diff\n")]
        self.assertEqual(texts, [*expected, ("warning", "careful"), ("error", "bad")])
        self.assertEqual(self.io.errors, 2)

    def test_files_once(self) -> None:
        """Only when they are others than before."""
        for paths in ([], [], ["a"], ["a"], []):
            self.voice.files(paths)
        self.assertEqual([each["paths"] for each in self.said()], [[], ["a"], []])
