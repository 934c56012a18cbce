"""The edit for agents that take whole files out of the answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Conversation, Message, Tool
from hadesgw.demo.listing import listing

REMINDER = """To suggest changes to a file you MUST return the entire content of the updated file.
You MUST use this *file listing* format:

path/to/filename.js
```
// entire file content ...
```
"""
SHOWN = "I have *added these files to the chat*:\n\n{path}\n{fence}\n{text}{fence}\n"


def answer(prompt: str, *shown: str, reminder: str = REMINDER, tools: tuple[Tool, ...] = ()) -> Answer | None:
    files = [turn for text in shown for turn in (Message("user", text), Message("assistant", "Ok."))]
    turns = (Message("system", f"Act as a developer.\n{reminder}"), *files, Message("user", f"{prompt}\n\n{reminder}"))
    return listing(Conversation(turns, tools))


def text(found: Answer | None) -> str:
    assert found is not None
    return found.text


class ListingTests(SynchronousTestCase):
    """What is answered to whom."""

    def test_a_new_file_is_listed_whole(self) -> None:
        """Its path stands alone before the fence, and the file of the reminder's example is not taken for it."""
        told = text(answer("create src/hello.py that prints 'moin'"))
        self.assertRegex(told, r"\n\nsrc/hello\.py\n```\n(?s:.*)print\(\"moin\"\)\n```\n\Z")
        self.assertNotIn("filename.js", told)

    def test_a_file_that_was_shown_keeps_its_lines(self) -> None:
        """A comment comes behind its first line; the newest showing counts."""
        old = SHOWN.format(path="a.py", fence="```", text="x = 0\n")
        new = SHOWN.format(path="a.py", fence="```", text="x = 1\ny = 2\n")
        self.assertRegex(text(answer("update a.py", old, new)), r"a\.py\n```\nx = 1\n# [^\n]+\ny = 2\n```\n\Z")

    def test_what_only_looks_like_a_showing_is_none(self) -> None:
        """Where no fence stands behind the path, an older message counts; without an end there is none."""
        old = SHOWN.format(path="a.py", fence="```", text="x = 0\n")
        self.assertIn("x = 0\n#", text(answer("update a.py", old, "\na.py\n``` and so on")))
        self.assertNotIn("x = 1", text(answer("update a.py", "\na.py\n```\nx = 1\n")))

    def test_a_file_with_fences_is_fenced_by_more(self) -> None:
        """So that the listing ends where the file does."""
        shown = SHOWN.format(path="a.md", fence="````", text="# A\n```\ncode\n```\n")
        self.assertRegex(text(answer("update a.md", shown)), r"a\.md\n````\n# A\n<!-- [^\n]+\n```\ncode\n```\n````\n\Z")

    def test_what_takes_no_comment_is_left_alone(self) -> None:
        """JSON, and what would be too much to repeat."""
        for path, content in (("a.json", "{}\n"), ("a.py", "x = 1\n" * 20_000)):
            shown = SHOWN.format(path=path, fence="```", text=content)
            self.assertNotIn("```", text(answer(f"update {path}", shown)), path)

    def test_a_prompt_without_an_edit_has_no_listing(self) -> None:
        """The reminder alone, which speaks of changes and names a file, is no wish."""
        self.assertNotIn("```", text(answer("hello")))

    def test_others_are_not_answered(self) -> None:
        """Neither those with tools nor those who say nothing of listings."""
        self.assertIsNone(answer("create a.py", tools=(Tool("shell", "", {}),)))
        self.assertIsNone(answer("create a.py", reminder="Be brief."))

    @given(st.text(alphabet="ab`\n.py ", max_size=60), st.text(alphabet="ab`\n.py ", max_size=60))
    def test_whatever_was_shown(self, prompt: str, shown: str) -> None:
        """There is always an answer."""
        self.assertTrue(text(answer(f"update a.py {prompt}", f"\na.py\n{shown}")))
