"""What is read out of a conversation."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.conversation import Call, Conversation, Message, Tool


def said(*turns: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in turns))


class ConversationTests(SynchronousTestCase):
    """The question, what followed it, and the frame around it."""

    def test_the_prompt_is_what_the_person_said_last(self) -> None:
        """Later turns of others do not change it."""
        self.assertEqual(said(("user", "one"), ("assistant", "x"), ("user", "two"), ("tool", "y")).prompt, "two")
        self.assertEqual(said(("system", "s")).prompt, "")

    def test_surroundings_are_not_the_prompt(self) -> None:
        """What Codex puts into a user's message about its environment is passed over."""
        talk = said(("user", "fix it"), ("user", "<environment_context>cwd</environment_context>"))
        self.assertEqual(talk.prompt, "fix it")

    def test_results_are_those_since_the_prompt(self) -> None:
        """The results of an earlier question are not this one's."""
        talk = said(("user", "a"), ("tool", "old"), ("user", "b"), ("assistant", ""), ("tool", "new"))
        self.assertEqual(talk.results, ("new",))
        self.assertEqual([message.text for message in talk.since], ["", "new"])

    def test_a_conversation_without_a_person_is_all_since(self) -> None:
        """Everything counts as following a question nobody asked."""
        self.assertEqual(said(("tool", "lonely")).results, ("lonely",))

    def test_system_is_what_systems_and_developers_say(self) -> None:
        """In their order, one line each."""
        self.assertEqual(said(("developer", "d"), ("user", "u"), ("system", "s")).system, "d\ns")

    def test_the_middle_of_a_long_text_is_left_out(self) -> None:
        """Patterns are searched in a bounded text, its two ends."""
        self.assertEqual(said(("user", "x" * 4000)).prompt, "x" * 4000)
        prompt = said(("user", "a" + "x" * 9000 + "b")).prompt
        self.assertEqual((len(prompt), prompt[0], prompt[-1]), (4001, "a", "b"))

    def test_tools_are_found_by_name(self) -> None:
        """An unknown name is no tool."""
        tool = Tool("look", "", {})
        talk = Conversation((Message("assistant", "", (Call("look", "{}"),)),), (tool,))
        self.assertEqual((talk.tool("look"), talk.tool("leap")), (tool, None))
