"""Paths of clients, and where they may lead: into the workspace, and nowhere else."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.workspace import MOST_BYTES, MOST_ENTRIES, Workspace, segments

OUTSIDE = "what lies outside\n"


class WorkspaceTestCase(SynchronousTestCase):
    """A workspace, and a folder beside it that no path may reach."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.root = self.base / "work"
        (self.root / "src").mkdir(parents=True)
        (self.root / "src" / "a.py").write_text("print()\n")
        (self.root / "b.txt").write_text("héllo\n")
        self.outside = self.base / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text(OUTSIDE)
        self.workspace = Workspace("work", self.root)

    def refused(self, step: Any, *arguments: Any) -> SessionRefused:
        """Why a step is refused; the reason names no place of the machine."""
        refused: SessionRefused = self.assertRaises(SessionRefused, step, *arguments)
        self.assertNotIn(str(self.base), refused.text)
        return refused


class PathTests(SynchronousTestCase):
    """Texts that are to be paths."""

    def test_spellings(self) -> None:
        """Empty names and dots mean nothing."""
        for path, names in (("", []), (".", []), ("a", ["a"]), ("./a//b/.", ["a", "b"]), ("a b/ü", ["a b", "ü"])):
            self.assertEqual(segments(path), names)

    def test_what_is_none(self) -> None:
        """Absolute, upwards, with NUL or half a character, too long, too deep, or git's own."""
        for path in (
            "/etc/passwd",
            "..",
            "a/../b",
            "a/../../b",
            "a\0b",
            "\ud800",
            "x" * 4_097,
            "/".join("x" * 65),
            ".git",
            ".git/config",
            "sub/.GIT/hooks",
        ):
            refused: SessionRefused = self.assertRaises(SessionRefused, segments, path)
            self.assertIs(refused.reason, Reason.BAD_PATH)

    @given(st.text(max_size=40))
    def test_no_text_leads_out(self, path: str) -> None:
        """Whatever passes is a list of plain names below the workspace."""
        try:
            names = segments(path)
        except SessionRefused:
            return
        joined = os.path.normpath(os.path.join("/base", *names))  # noqa: PTH118 - names as the kernel takes them
        self.assertTrue(joined == "/base" or joined.startswith("/base/"))
        self.assertEqual(len([name for name in joined.split("/") if name]), 1 + len(names))


class ReadingTests(WorkspaceTestCase):
    """Lists and files."""

    def test_listing(self) -> None:
        """Folders first; names, kinds, sizes; git's folder is not shown."""
        (self.root / ".git").mkdir()
        (self.root / "link").symlink_to(self.outside)
        os.mkfifo(self.root / "pipe")
        listing = self.workspace.listing("")
        self.assertEqual(
            [(entry.path, entry.kind, entry.size) for entry in listing.entries],
            [("src", "folder", None), ("b.txt", "file", 7), ("link", "link", None), ("pipe", "other", None)],
        )
        self.assertFalse(listing.truncated)
        self.assertEqual([entry.path for entry in self.workspace.listing("./src/").entries], ["src/a.py"])

    def test_a_name_that_is_no_text(self) -> None:
        """Is shown as well as it can be, and breaks nothing."""
        (self.root / os.fsdecode(b"bad\xff")).write_text("x")
        names = [entry.name for entry in self.workspace.listing("").entries]
        self.assertIn("bad\ufffd", names)

    def test_a_large_folder(self) -> None:
        """Is shown in part, and says so."""
        (self.root / "many").mkdir()
        for number in range(MOST_ENTRIES + 1):
            (self.root / "many" / str(number)).touch()
        listing = self.workspace.listing("many")
        self.assertEqual((len(listing.entries), listing.truncated), (MOST_ENTRIES, True))

    def test_read(self) -> None:
        """Text as text; its one spelling."""
        content = self.workspace.read("./b.txt")
        self.assertEqual((content.path, content.text, content.size, content.truncated), ("b.txt", "héllo\n", 7, False))

    def test_read_bytes(self) -> None:
        """What is no text is none, and its size is told."""
        for content in (b"\0", b"\xff" * 10, b"\xffabc"):
            (self.root / "x").write_bytes(content)
            found = self.workspace.read("x")
            self.assertEqual((found.text, found.size), (None, len(content)))

    def test_read_a_large_file(self) -> None:
        """Its beginning; a character that the cut goes through is left out."""
        (self.root / "x").write_text("a" * (MOST_BYTES - 1) + "é" + "tail")
        found = self.workspace.read("x")
        self.assertEqual(found.text, "a" * (MOST_BYTES - 1))
        self.assertTrue(found.truncated)

    def test_what_is_not_there(self) -> None:
        """Is said without the machine's own paths."""
        self.assertIs(self.refused(self.workspace.read, "nothing").reason, Reason.NO_SUCH_FILE)
        self.assertIs(self.refused(self.workspace.listing, "nothing").reason, Reason.NO_SUCH_FILE)
        self.assertIs(self.refused(self.workspace.read, "x" * 300).reason, Reason.NO_SUCH_FILE)
        self.assertIs(self.refused(self.workspace.read, "b.txt/x").reason, Reason.BAD_PATH)
        self.assertIs(self.refused(self.workspace.read, "").reason, Reason.BAD_PATH)
        self.assertEqual(
            self.workspace.gone(["b.txt", "nothing", "../outside/secret", "src"]),
            [
                "nothing",
                "../outside/secret",
                "src",
            ],
        )


class TrapTests(WorkspaceTestCase):
    """What an agent, or whoever made the repository, may have laid out."""

    def test_symbolic_links(self) -> None:
        """Are never followed: not to files, not through folders, not inside the workspace either."""
        (self.root / "file").symlink_to(self.outside / "secret")
        (self.root / "folder").symlink_to(self.outside)
        (self.root / "inside").symlink_to("b.txt")
        (self.root / "loop").symlink_to("loop")
        for path in ("file", "folder/secret", "inside", "loop", "loop/x"):
            self.assertIs(self.refused(self.workspace.read, path).reason, Reason.BAD_PATH, path)
            self.assertIs(self.refused(self.workspace.write, path, b"x").reason, Reason.BAD_PATH, path)
            self.assertIs(self.refused(self.workspace.remove, path).reason, Reason.BAD_PATH, path)
        self.assertIs(self.refused(self.workspace.listing, "folder").reason, Reason.BAD_PATH)
        self.assertIs(self.refused(self.workspace.write, "folder/new/x", b"x").reason, Reason.BAD_PATH)
        self.assertEqual((self.outside / "secret").read_text(), OUTSIDE)
        self.assertEqual(sorted(path.name for path in self.outside.iterdir()), ["secret"])

    def test_what_is_no_file(self) -> None:
        """A pipe does not hold us up, a socket and a folder are not read."""
        os.mkfifo(self.root / "pipe")
        with socket.socket(socket.AF_UNIX) as listening:
            here = Path.cwd()
            os.chdir(self.root)  # a socket's path may have 107 bytes
            listening.bind("socket")
            os.chdir(here)
        for path in ("pipe", "socket", "src"):
            self.assertIs(self.refused(self.workspace.read, path).reason, Reason.BAD_PATH, path)

    def test_a_folder_that_is_exchanged_for_a_link(self) -> None:
        """By a program that never rests, while we walk: no read ever shows what lies outside."""
        swap, aside, decoy = (self.root / name for name in ("swap", "aside", "decoy"))
        swap.mkdir()
        (swap / "secret").write_text("inside\n")
        decoy.symlink_to(self.outside)
        over = threading.Event()

        def exchange() -> None:
            while not over.is_set():
                swap.rename(aside)
                decoy.rename(swap)
                swap.rename(decoy)
                aside.rename(swap)

        exchanging = threading.Thread(target=exchange)
        exchanging.start()
        seen: set[str | None] = set()
        try:
            for _ in range(3_000):
                try:
                    seen.add(self.workspace.read("swap/secret").text)
                except SessionRefused:
                    seen.add(None)
        finally:
            over.set()
            exchanging.join()
        self.assertLessEqual(seen, {"inside\n", None})

    def test_the_workspace_itself(self) -> None:
        """Must be a folder that is there, and not the whole machine."""
        self.assertIsNone(self.workspace.obstacle())
        for root in (self.base / "nothing", self.root / "b.txt", Path("/")):
            found = Workspace("w", root).obstacle()
            self.assertIsNotNone(found)
            self.assertNotIn(str(self.base), found or "")
        (self.base / "ring").symlink_to("ring")
        self.assertIsNotNone(Workspace("w", self.base / "ring").obstacle())

    def test_links_on_the_way_to_the_workspace(self) -> None:
        """Are the operator's, and followed."""
        (self.base / "alias").symlink_to("work")
        alias = Workspace("w", self.base / "alias")
        self.assertIsNone(alias.obstacle())
        self.assertEqual(alias.resolved(), self.root.resolve())
        self.assertEqual(alias.read("b.txt").text, "héllo\n")


class WritingTests(WorkspaceTestCase):
    """What the rehearsal engine does."""

    def test_write(self) -> None:
        """A new file with its folders; an old one anew, shorter than before."""
        self.workspace.write("new/deep/x", b"12345")
        self.workspace.write("new/deep/x", b"1")
        self.assertEqual((self.root / "new" / "deep" / "x").read_bytes(), b"1")
        self.assertIs(self.refused(self.workspace.write, "../x", b"").reason, Reason.BAD_PATH)
        self.assertIs(self.refused(self.workspace.write, ".git/hooks/pre-commit", b"").reason, Reason.BAD_PATH)
        self.assertIs(self.refused(self.workspace.write, "src", b"").reason, Reason.BAD_PATH)

    def test_remove(self) -> None:
        """A file, not a folder."""
        self.workspace.remove("b.txt")
        self.assertFalse((self.root / "b.txt").exists())
        self.assertIs(self.refused(self.workspace.remove, "src").reason, Reason.BAD_PATH)
        self.assertIs(self.refused(self.workspace.remove, "b.txt").reason, Reason.NO_SUCH_FILE)
