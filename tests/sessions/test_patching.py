"""Patches as models write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.patching import PatchRefused, parse_patch

TEXT = "one\ntwo\nthree\ntwo\nfour\n"


def patch(*lines: str) -> str:
    """A patch of these lines."""
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


class PatchTests(SynchronousTestCase):
    """Read, and applied."""

    def apply(self, text: str | None, *lines: str) -> str | None:
        """The text that a patch of one file makes of another."""
        (file,) = parse_patch(patch(*lines))
        return file.apply(text)

    def refusal(self, text: str) -> str:
        """Why a patch cannot be read."""
        return str(self.assertRaises(PatchRefused, parse_patch, text))

    def test_three_verbs(self) -> None:
        """In one patch, in the order in which they are written."""
        files = parse_patch(
            patch("*** Add File: a/new.py", "+x", "+", "*** Update File: b", "@@", "-y", "*** Delete File: c d")
        )
        self.assertEqual(
            [(file.verb, file.path) for file in files], [("add", "a/new.py"), ("update", "b"), ("delete", "c d")]
        )
        self.assertEqual([file.apply("y\n") for file in files], ["x\n\n", "", None])

    def test_an_update(self) -> None:
        """What stays finds the place; lines go and come."""
        found = self.apply(TEXT, "*** Update File: f", "@@ def x", " three", "-two", "+2", "+2b", " four")
        self.assertEqual(found, "one\ntwo\nthree\n2\n2b\nfour\n")

    def test_several_hunks(self) -> None:
        """Each is looked for behind the one before it."""
        found = self.apply(TEXT, "*** Update File: f", "@@", "-two", "+2", "@@", "-two", "+zwei")
        self.assertEqual(found, "one\n2\nthree\nzwei\nfour\n")

    def test_additions_only(self) -> None:
        """With nothing to find they go to the end; without a line of @@ the first hunk has begun already."""
        self.assertEqual(self.apply("a\n", "*** Update File: f", "+b"), "a\nb\n")

    def test_blanks_at_the_ends_of_lines(self) -> None:
        """Do not keep a place from being found; an exact one is taken first."""
        self.assertEqual(self.apply("a  \nb\n", "*** Update File: f", "@@", " a", "-b", "+c"), "a\nc\n")
        self.assertEqual(self.apply("a \na\nz\n", "*** Update File: f", "@@", "-a", "+c"), "a \nc\nz\n")

    def test_an_empty_line_that_stays(self) -> None:
        """May be written without its blank."""
        self.assertEqual(self.apply("a\n\nb\n", "*** Update File: f", "@@", " a", "", "-b", "+c"), "a\n\nc\n")

    def test_what_does_not_fit(self) -> None:
        """A file that is not there, lines that are not there."""
        self.assertRaises(PatchRefused, self.apply, None, "*** Update File: f", "@@", "-a")
        self.assertRaises(PatchRefused, self.apply, None, "*** Delete File: f")
        self.assertRaises(PatchRefused, self.apply, TEXT, "*** Update File: f", "@@", "-five")

    def test_what_is_no_patch(self) -> None:
        """Says so, in a line that the model can use."""
        self.assertIn("begins with", self.refusal(""))
        self.assertIn("begins with", self.refusal("*** Begin Patch\n*** Add File: a"))
        self.assertIn("no file", self.refusal(patch()))
        self.assertIn("before the first file", self.refusal(patch("+x")))
        self.assertIn("not understood", self.refusal(patch("*** Add File: a", "*** Rename: b")))
        self.assertIn("begins with plus", self.refusal(patch("*** Add File: a", "x")))

    @given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8), st.data())
    def test_a_patch_of_the_whole_makes_any_text_of_any_other(self, before: list[str], data: st.DataObject) -> None:
        """All lines of the one go, all of the other come."""
        after = data.draw(st.lists(st.sampled_from(["a", "x"]), max_size=8))
        lines = ["@@", *(f"-{line}" for line in before), *(f"+{line}" for line in after)]
        found = self.apply("".join(f"{line}\n" for line in before), "*** Update File: f", *lines)
        self.assertEqual(found, "".join(f"{line}\n" for line in after))
