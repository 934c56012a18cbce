"""What is a slash command, and what is for the agent."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.commands import HELP, Command, UnknownCommand, Verb, parse


class ParseTests(SynchronousTestCase):
    """Inputs as people type them."""

    def test_commands(self) -> None:
        """A slash and a word, whatever its case, and the rest as it is but for blanks around it."""
        for text, verb, argument in (
            ("/help", Verb.HELP, ""),
            ("  /LS  src/  \n", Verb.LS, "src/"),
            ("/focus a b.py", Verb.FOCUS, "a b.py"),
            ("/commit one\n\ntwo", Verb.COMMIT, "one\n\ntwo"),
            ("/undo ", Verb.UNDO, ""),
        ):
            self.assertEqual(parse(text, ()), Command(verb, argument))

    def test_what_is_for_the_agent(self) -> None:
        """Anything else, paths among it."""
        for text in ("fix it", "/etc/hosts is odd", "/", "//x", "/1", "a /help", "/a.b", "/" + "x" * 40):
            self.assertIsNone(parse(text, ()), text)

    def test_unknown_commands(self) -> None:
        """What looks like one is not given to the agent in silence."""
        self.assertEqual(parse("/exit now", ()), UnknownCommand("exit"))

    def test_what_the_engine_takes(self) -> None:
        """A command it claims is the agent's, known here or not."""
        self.assertIsNone(parse("/diff", {"diff"}))
        self.assertIsNone(parse("/map", {"map"}))

    def test_at_once(self) -> None:
        """What says nothing that could be taken for the agent's words waits for no turn."""
        at_once = {verb for verb in Verb if Command(verb, "").at_once}
        self.assertEqual(at_once, {Verb.FOCUS, Verb.ADD, Verb.DROP})

    def test_help_names_them_all(self) -> None:
        """Each has its line."""
        lines = [line.split()[0] for line in HELP.splitlines()]
        self.assertEqual(sorted(lines), sorted(f"/{verb.value}" for verb in Verb))
