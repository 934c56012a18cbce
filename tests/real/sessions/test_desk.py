"""Files and git of a workspace, carried out by a real git."""

from __future__ import annotations

import shutil

from hadesgw.sessions.refusals import Reason
from tests.real.sessions.repository import RepositoryTestCase


class GitTests(RepositoryTestCase):
    """A repository that is what it seems."""

    async def test_status(self) -> None:
        """Branch, commit, and what is changed: each with its kind."""
        self.make_repository()
        commit = self.run_git("rev-parse", "HEAD").strip()
        clean = await self.desk.status()
        self.assertEqual((clean.branch, clean.commit, clean.changes, clean.truncated), ("main", commit, [], False))
        (self.root / "a.py").write_text("ONE\n")
        (self.root / "b.txt").unlink()
        (self.root / "ü new").write_text("x")
        (self.root / "staged").write_text("x")
        self.run_git("add", "staged")
        changes = {change.path: change.status for change in (await self.desk.status()).changes}
        self.assertEqual(changes, {"a.py": "modified", "b.txt": "deleted", "ü new": "untracked", "staged": "added"})

    async def test_status_of_renames_and_conflicts(self) -> None:
        """The new name; and what git cannot join."""
        self.make_repository()
        self.run_git("mv", "b.txt", "c.txt")
        self.assertEqual([(c.path, c.status) for c in (await self.desk.status()).changes], [("c.txt", "renamed")])
        self.run_git("reset", "--quiet", "--hard")
        self.run_git("switch", "--quiet", "-c", "other")
        (self.root / "a.py").write_text("other\n")
        self.run_git("commit", "--quiet", "-am", "other")
        self.run_git("switch", "--quiet", "main")
        (self.root / "a.py").write_text("mine\n")
        self.run_git("commit", "--quiet", "-am", "mine")
        with self.assertRaises(Exception):  # noqa: B017 - git says no, as it should
            self.run_git("merge", "other")
        self.assertEqual([(c.path, c.status) for c in (await self.desk.status()).changes], [("a.py", "conflicted")])

    async def test_diff(self) -> None:
        """All that is not committed, files that git does not know among it; nothing of it stays behind."""
        self.make_repository()
        (self.root / "a.py").write_text("one\n2\nthree\n")
        (self.root / "new").write_text("n\n")
        (self.root / ".gitignore").write_text("ignored\n")
        (self.root / "ignored").write_text("i\n")
        before = sorted(path.name for path in (self.root / ".git").iterdir())
        index = (self.root / ".git" / "index").read_bytes()
        patch = await self.desk.diff()
        self.assertIn("-two\n+2\n", patch.diff)
        self.assertIn("+n\n", patch.diff)
        self.assertNotIn("+i\n", patch.diff)
        self.assertFalse(patch.truncated)
        self.assertEqual(sorted(path.name for path in (self.root / ".git").iterdir()), before)
        self.assertEqual((self.root / ".git" / "index").read_bytes(), index)

    async def test_a_large_diff(self) -> None:
        """Is cut, and says so."""
        self.make_repository()
        (self.root / "large").write_text("0123456789\n" * 200_000)
        patch = await self.desk.diff()
        self.assertEqual((len(patch.diff), patch.truncated), (1 << 20, True))

    async def test_commit_and_log(self) -> None:
        """Everything that is changed, under the message to the letter; then it is in the log."""
        self.make_repository()
        (self.root / "new").write_text("n\n")
        (self.root / "b.txt").unlink()
        commit = await self.desk.commit("--amend\n\n# no comment\n")
        self.assertEqual(commit.subject, "--amend")
        self.assertEqual(self.run_git("log", "-1", "--format=%B").strip(), "--amend\n\n# no comment")
        self.assertEqual(self.run_git("status", "--porcelain"), "")
        found = await self.desk.log(10)
        self.assertEqual([one.subject for one in found], ["--amend", "Begin"])
        self.assertEqual(found[1].author, "A")
        self.assertEqual((await self.desk.log(1)), found[:1])
        self.assertIs((await self.refused(self.desk.commit("again"))).reason, Reason.GIT)
        self.assertIs((await self.refused(self.desk.commit(" "))).reason, Reason.BAD_REQUEST)

    async def test_the_first_commit(self) -> None:
        """A repository without any has no log, a diff, and then a commit."""
        self.run_git("init", "--quiet", "--initial-branch=main")
        (self.root / "new").write_text("n\n")
        self.assertEqual(await self.desk.log(5), [])
        self.assertIn("+n\n", (await self.desk.diff()).diff)
        status = await self.desk.status()
        self.assertEqual((status.branch, status.commit), ("main", None))
        await self.desk.branch("trunk")
        self.assertEqual((await self.desk.commit("first")).author, "hadesgw")
        self.assertEqual(await self.desk.branches(), ["trunk"])

    async def test_branch(self) -> None:
        """A new one at the last commit, with the work tree as it is."""
        self.make_repository()
        (self.root / "a.py").write_text("ONE\n")
        status = await self.desk.branch("feature/one.two")
        self.assertEqual(status.branch, "feature/one.two")
        self.assertEqual((self.root / "a.py").read_text(), "ONE\n")
        self.assertEqual(await self.desk.branches(), ["feature/one.two", "main"])
        self.assertIs((await self.refused(self.desk.branch("main"))).reason, Reason.GIT)

    async def test_names_that_are_no_branch(self) -> None:
        """Options, revisions, paths and worse."""
        self.make_repository()
        for name in ("", "-d", "--delete", "a..b", "a b", "x.lock", "a/", "/a", "HEAD~1", "a@{1}", "a\nb", "a/.b", "é"):
            self.assertIs((await self.refused(self.desk.branch(name))).reason, Reason.BAD_REQUEST, name)
        self.assertEqual(await self.desk.branches(), ["main"])

    async def test_not_while_a_turn_runs(self) -> None:
        """What changes the tree waits; what only looks does not."""
        self.make_repository()
        self.busy = True
        for asked in (self.desk.commit("x"), self.desk.branch("x"), self.desk.revert("u")):
            self.assertIs((await self.refused(asked)).reason, Reason.CONFLICT)
        await self.desk.status()

    async def test_no_repository(self) -> None:
        """Is said, with what to do; a diff is there all the same, since the session's first turn."""
        (self.root / "a").write_text("1\n")
        self.assertIn("git init", (await self.refused(self.desk.status())).text)
        self.assertEqual((await self.desk.diff()).diff, "")
        await self.desk.before_turn()
        (self.root / "a").write_text("2\n")
        self.assertIn("-1\n+2\n", (await self.desk.diff()).diff)


class TurnTests(RepositoryTestCase):
    """Taking turns back."""

    async def turn(self, turn_id: str, **files: str | None) -> None:
        """A turn in which these files become so; None takes one away."""
        await self.desk.before_turn()
        for name, text in files.items():
            path = self.root / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        await self.desk.after_turn(turn_id)

    async def test_undo(self) -> None:
        """Turn by turn, the last one first: changed, new and removed files are as they were."""
        self.make_repository()
        (self.root / "mine").write_text("not committed\n")
        await self.turn("u1", **{"a.py": "ONE\n", "new/file": "n\n"})
        await self.turn("u2", **{"b.txt": None, "a.py": "TWO\n"})
        done = await self.desk.undo()
        self.assertEqual((done.turn_id, done.restored, done.removed), ("u2", ["a.py", "b.txt"], []))
        self.assertEqual((self.root / "a.py").read_text(), "ONE\n")
        done = await self.desk.undo()
        self.assertEqual((done.turn_id, done.restored, done.removed), ("u1", ["a.py"], ["new/file"]))
        self.assertEqual((self.root / "a.py").read_text(), "one\ntwo\nthree\n")
        self.assertEqual((self.root / "mine").read_text(), "not committed\n")
        self.assertFalse((self.root / "new").exists())
        self.assertEqual(self.run_git("status", "--porcelain"), "?? mine\n")
        self.assertEqual(self.changes, [(["a.py", "b.txt"], []), (["a.py"], ["new/file"])])
        self.assertIs((await self.refused(self.desk.undo())).reason, Reason.UNKNOWN_TURN)
        self.assertIs((await self.refused(self.desk.revert("u1"))).reason, Reason.CONFLICT)
        self.assertIs((await self.refused(self.desk.revert("u9"))).reason, Reason.UNKNOWN_TURN)

    async def test_changes_elsewhere_stay(self) -> None:
        """An earlier turn is taken back around later ones; where they meet, nothing is changed at all."""
        self.make_repository()
        await self.turn("u1", **{"a.py": "ONE\ntwo\nthree\n", "c": "c\n"})
        await self.turn("u2", **{"b.txt": "B\n"})
        await self.desk.revert("u1")
        self.assertEqual((self.root / "a.py").read_text(), "one\ntwo\nthree\n")
        self.assertEqual((self.root / "b.txt").read_text(), "B\n")
        await self.turn("u3", **{"a.py": "1\ntwo\nthree\n", "d": "d\n"})
        (self.root / "a.py").write_text("by hand\n")
        refused = await self.refused(self.desk.revert("u3"))
        self.assertIs(refused.reason, Reason.CONFLICT)
        self.assertEqual((self.root / "d").read_text(), "d\n")
        self.assertEqual((self.root / "a.py").read_text(), "by hand\n")

    async def test_a_turn_that_changed_nothing(self) -> None:
        """Is taken back with nothing to do."""
        self.make_repository()
        await self.turn("u1")
        done = await self.desk.undo()
        self.assertEqual((done.restored, done.removed), ([], []))

    async def test_what_a_turn_changed(self) -> None:
        """As a diff; of a turn without pictures there is none."""
        self.make_repository()
        await self.turn("u1", **{"a.py": "one\n2\nthree\n"})
        (self.root / "a.py").write_text("later\n")
        self.assertIn("-two\n+2\n", (await self.desk.turn_diff("u1")).diff)
        self.assertIs((await self.refused(self.desk.turn_diff("u2"))).reason, Reason.UNKNOWN_TURN)
        await self.desk.after_turn("u3")
        self.assertIs((await self.refused(self.desk.turn_diff("u3"))).reason, Reason.UNKNOWN_TURN)

    async def test_bytes_are_bytes(self) -> None:
        """Binary files, line ends and modes come back as they were, whatever attributes say."""
        self.make_repository()
        content = bytes(range(256)) * 10
        (self.root / "data").write_bytes(content)
        (self.root / "dos.txt").write_bytes(b"a\r\nb\r\n")
        (self.root / "run").write_text("#!/bin/sh\n")
        (self.root / "run").chmod(0o755)
        await self.desk.before_turn()
        (self.root / "data").write_bytes(b"\0")
        (self.root / "dos.txt").write_bytes(b"x\n")
        (self.root / "run").unlink()
        await self.desk.after_turn("u1")
        await self.desk.undo()
        self.assertEqual((self.root / "data").read_bytes(), content)
        self.assertEqual((self.root / "dos.txt").read_bytes(), b"a\r\nb\r\n")
        self.assertTrue((self.root / "run").stat().st_mode & 0o100)

    async def test_without_a_repository(self) -> None:
        """Any folder will do."""
        (self.root / "a").write_text("1\n")
        await self.turn("u1", a="2\n", b="b\n")
        await self.desk.undo()
        self.assertEqual((self.root / "a").read_text(), "1\n")
        self.assertFalse((self.root / "b").exists())

    async def test_a_repository_that_comes_later(self) -> None:
        """Is borrowed from as soon as it is there."""
        (self.root / "a").write_text("1\n")
        await self.turn("u1", a="2\n")
        self.make_repository()
        (self.root / "a.py").write_text("changed\n")
        self.assertIn("+changed\n", (await self.desk.diff()).diff)

    async def test_a_repository_of_another_format(self) -> None:
        """Its index is of no use to us; turns can be taken back all the same."""
        self.run_git("init", "--quiet", "--object-format=sha256")
        (self.root / "a").write_text("1\n")
        self.run_git("add", ".")
        self.run_git("commit", "--quiet", "--message=Begin")
        await self.turn("u1", a="2\n")
        await self.desk.undo()
        self.assertEqual((self.root / "a").read_text(), "1\n")
        self.assertEqual([one.subject for one in await self.desk.log(3)], ["Begin"])

    async def test_close(self) -> None:
        """Takes the pictures away."""
        await self.turn("u1", a="2\n")
        self.assertTrue((self.base / "shadow").exists())
        await self.desk.close()
        self.assertFalse((self.base / "shadow").exists())
        await self.desk.close()

    async def test_the_workspace_goes_away(self) -> None:
        """It is said, and nothing hangs."""
        self.make_repository()
        shutil.rmtree(self.root)
        self.assertIs((await self.refused(self.desk.status())).reason, Reason.GIT)
        self.assertIs((await self.refused(self.desk.before_turn())).reason, Reason.GIT)
