"""Repositories made to have the gateway's git start programs, or read and write elsewhere: it does neither."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from hadesgw.service.niceness import nice_command
from hadesgw.sessions.git import Git, complaint
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.snapshots import Snapshots
from hadesgw.sessions.workspace import Workspace
from tests.real.sessions.repository import RepositoryTestCase

HOOKS = (
    "applypatch-msg pre-applypatch post-applypatch pre-commit pre-merge-commit prepare-commit-msg commit-msg"
    " post-commit pre-rebase post-checkout post-merge pre-push reference-transaction push-to-checkout pre-auto-gc"
    " post-rewrite sendemail-validate fsmonitor-watchman post-index-change"
).split()


class TrapTestCase(RepositoryTestCase):
    """A repository with a program beside it that leaves a mark when it is started."""

    def setUp(self) -> None:
        super().setUp()
        self.mark = self.base / "started"
        self.evil = self.base / "evil"
        self.evil.write_text(f'#!/bin/sh\necho "$0 $*" >> {self.mark}\ncat\n')
        self.evil.chmod(0o755)
        self.outside = self.base / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret\n")
        self.make_repository()

    def configure(self, text: str, folder: Path | None = None) -> None:
        """Add this to the repository's own configuration; EVIL stands for the program."""
        config = (folder or self.root) / ".git" / "config"
        with config.open("a") as file:
            file.write(text.replace("EVIL", str(self.evil)) + "\n")

    async def use_everything(self) -> list[SessionRefused]:
        """Do all that can be done at a desk; what is refused is no harm."""
        refusals: list[SessionRefused] = []

        async def attempt(asked: Any) -> None:
            try:
                await asked
            except SessionRefused as refused:
                refusals.append(refused)

        desk = self.desk
        await attempt(desk.status())
        await attempt(desk.before_turn())
        (self.root / "a.py").write_text("ONE\ntwo\n")
        (self.root / "new.py").write_text("n\n")
        await attempt(desk.after_turn("u1"))
        for asked in (desk.diff, desk.undo, desk.branches):
            await attempt(asked())
        (self.root / "a.py").write_text("ONE\ntwo\n")
        await attempt(desk.branch("other"))
        await attempt(desk.commit("message"))
        await attempt(desk.log(5))
        await attempt(desk.status())
        return refusals

    def see_no_harm(self) -> None:
        """Nothing was started, and outside is as it was."""
        self.assertFalse(self.mark.exists(), self.mark.exists() and self.mark.read_text())
        self.assertEqual(sorted(path.name for path in self.outside.iterdir()), ["secret"])
        self.assertEqual((self.outside / "secret").read_text(), "secret\n")


class ProgramTests(TrapTestCase):
    """Everything in a repository that names a program."""

    async def see(self, *refused: str) -> None:
        """Use everything, without harm and with no refusal but these."""
        refusals = await self.use_everything()
        self.see_no_harm()
        self.assertEqual([one.text for one in refusals], list(refused))

    async def test_the_traps_work(self) -> None:
        """A person's own git starts the program: what the other tests show is that ours does not."""
        self.configure("[core]\n\tfsmonitor = EVIL")
        self.run_git("status")
        self.assertTrue(self.mark.exists())

    async def test_hooks(self) -> None:
        """All there are, in their usual place and in another one."""
        for folder in (self.root / ".git" / "hooks", self.root / "hooks"):
            folder.mkdir(exist_ok=True)
            for name in HOOKS:
                shutil.copy(self.evil, folder / name)
        await self.see()
        self.configure("[core]\n\thooksPath = hooks")
        await self.see("there is a branch other already", "there is nothing to commit")

    async def test_programs_of_the_core(self) -> None:
        """Monitors, pagers, editors, helpers, signers, aliases."""
        self.configure(
            """
            [core]
                fsmonitor = EVIL
                pager = EVIL
                editor = EVIL
                sshCommand = EVIL
                askPass = EVIL
                gitProxy = EVIL
                alternateRefsCommand = EVIL
            [pager]
                log = EVIL
                status = EVIL
                diff = EVIL
            [alias]
                status = !EVIL
                commit = !EVIL
            [credential]
                helper = EVIL
            [gpg]
                program = EVIL
            [gpg "ssh"]
                program = EVIL
                defaultKeyCommand = EVIL
            [commit]
                gpgSign = true
                template = /etc/passwd
                verbose = true
            [log]
                showSignature = true
            [sequence]
                editor = EVIL
            [trailer "x"]
                command = EVIL
            [gc]
                auto = 1
            """
        )
        await self.see()
        self.assertNotIn("root:", self.run_git("log", "-1", "--format=%B"))

    async def test_filters(self) -> None:
        """By any name, also such as would be another key on a command line."""
        names = ("evil", "Evil", "e=v.i.l", "a.b", "x y", 'q"t')
        (self.root / ".gitattributes").write_text("".join(f"*.py filter={name}\n" for name in names[:4]))
        for name in names:
            escaped = name.replace('"', '\\"')
            self.configure(
                f'[filter "{escaped}"]\n\tclean = EVIL\n\tsmudge = EVIL\n\tprocess = EVIL\n\trequired = true'
            )
        (self.root / ".git" / "info").mkdir(exist_ok=True)
        for name in names[:4]:
            (self.root / ".git" / "info" / "attributes").write_text(f"* filter={name}\n")
            (self.root / "a.py").write_text(f"{name}\n")
            await self.use_everything()
            self.see_no_harm()

    async def test_drivers(self) -> None:
        """Of diffs, texts and merges."""
        (self.root / ".gitattributes").write_text("* diff=evil merge=evil\n")
        self.configure(
            """
            [diff]
                external = EVIL
            [diff "evil"]
                command = EVIL
                textconv = EVIL
                cachetextconv = true
            [merge "evil"]
                driver = EVIL
            [merge]
                default = evil
            """
        )
        await self.see()

    async def test_a_repository_within(self) -> None:
        """With a configuration of its own, as a folder, as a submodule, and changed since."""
        inner = self.root / "inner"
        inner.mkdir()
        self.make_repository(inner)
        self.configure("[core]\n\tfsmonitor = EVIL\n\thooksPath = EVIL", inner)
        self.configure('[filter "evil"]\n\tclean = EVIL', inner)
        await self.use_everything()
        self.see_no_harm()
        (self.root / ".gitmodules").write_text(
            '[submodule "inner"]\n\tpath = inner\n\turl = ext::' + str(self.evil) + "\n\tupdate = !" + str(self.evil)
        )
        self.configure(f'[submodule]\n\trecurse = true\n[submodule "inner"]\n\tupdate = !{self.evil}\n\tactive = true')
        self.configure("[diff]\n\tignoreSubmodules = none\n\tsubmodule = log\n[status]\n\tsubmoduleSummary = true")
        (inner / "a.py").write_text("changed\n")
        (inner / ".gitattributes").write_text("* filter=evil\n")
        await self.use_everything()
        self.see_no_harm()

    async def test_objects_from_far_away(self) -> None:
        """A repository that lacks objects and says where they are: nothing is fetched."""
        self.configure(f'[remote "origin"]\n\turl = ext::{self.evil}\n\tpromisor = true\n\tuploadpack = {self.evil}')
        for text in (refused.text for refused in await self.use_everything()):
            self.assertNotIn(str(self.base), text)
        self.see_no_harm()
        self.run_git("config", "--unset", "remote.origin.promisor")
        tree = self.run_git("rev-parse", "HEAD^{tree}").strip()
        (self.root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
        await self.use_everything()
        self.see_no_harm()


class PlaceTests(TrapTestCase):
    """Everything in a repository that leads elsewhere."""

    async def see_refused(self) -> None:
        """Git is not used, said in a line without the machine's paths."""
        refused = await self.refused(self.desk.status())
        self.assertIs(refused.reason, Reason.GIT)
        self.assertNotIn(str(self.base), refused.text)
        self.assertIs((await self.refused(self.desk.commit("x"))).reason, Reason.GIT)
        self.see_no_harm()

    def move_git(self) -> Path:
        """The repository's folder, outside."""
        target = self.base / "elsewhere"
        (self.root / ".git").rename(target)
        return target

    async def test_a_link_or_a_pointer(self) -> None:
        """To a repository outside."""
        target = self.move_git()
        (self.root / ".git").symlink_to(target)
        await self.see_refused()
        (self.root / ".git").unlink()
        (self.root / ".git").write_text(f"gitdir: {target}\n")
        await self.see_refused()
        await self.use_everything()
        self.see_no_harm()
        self.assertEqual(self.run_git("--git-dir", str(target), "log", "--format=%s"), "Begin\n")

    async def test_a_linked_worktree(self) -> None:
        """Its repository is another folder's: it is not used from here."""
        self.run_git("worktree", "add", "--quiet", str(self.base / "tree"), "-b", "side")
        shutil.rmtree(self.root / ".git")
        shutil.copy(self.base / "tree" / ".git", self.root / ".git")
        await self.see_refused()

    async def test_links_inside(self) -> None:
        """Of whatever git would write to or read from."""
        git = self.root / ".git"
        for name in ("index", "HEAD", "config", "objects", "refs", "logs", "refs/heads", "logs/HEAD", "info"):
            path = git / name
            kept = git / "kept"
            existed = path.exists()
            if existed:
                path.rename(kept)
            path.parent.mkdir(exist_ok=True)
            target = self.outside if not existed or kept.is_dir() else self.outside / "secret"
            path.symlink_to(target)
            await self.see_refused()
            path.unlink()
            if existed:
                kept.rename(path)
        await self.desk.status()

    async def test_files_that_point_elsewhere(self) -> None:
        """Shared folders, borrowed objects, a second configuration."""
        git = self.root / ".git"
        (git / "objects" / "info").mkdir(exist_ok=True)
        for name in ("commondir", "objects/info/alternates", "objects/info/http-alternates", "config.worktree"):
            (git / name).write_text(f"{self.outside}\n")
            await self.see_refused()
            (git / name).unlink()

    async def test_included_configuration(self) -> None:
        """Is not looked for, conditional or not, in any spelling."""
        (self.outside / "secret").write_text("secret\n")
        plain = (self.root / ".git" / "config").read_text()
        for text in (
            f"[include]\n\tpath = {self.outside}/secret",
            f"[INCLUDE]\n\tPATH = {self.outside}/secret",
            f'[includeIf "gitdir:{self.root}/"]\n\tpath = {self.outside}/secret',
            "[extensions]\n\tworktreeConfig = true",
            "[extensions]\n\tpartialClone = origin",
            '[remote "o"]\n\tvcs = evil',
        ):
            self.configure(text)
            await self.see_refused()
            (self.root / ".git" / "config").write_text(plain)

    async def test_a_work_tree_elsewhere(self) -> None:
        """The workspace is the work tree, whatever the configuration says."""
        self.configure(f"[core]\n\tworktree = {self.outside}\n\tbare = true")
        await self.use_everything()
        self.see_no_harm()
        self.assertNotIn("secret", self.run_git("--git-dir", ".git", "ls-tree", "-r", "HEAD"))
        self.assertNotIn("secret", str((await self.desk.status()).changes))

    async def test_configurations_that_are_too_much(self) -> None:
        """A large one, one that is no text, a pipe: refused, and nobody waits."""
        config = self.root / ".git" / "config"
        plain = config.read_text()
        for text in ("[a]\n\tb = c\n" * 40_000, "[core\n", "\0"):
            config.write_text(text)
            await self.refused(self.desk.status())
        config.unlink()
        os.mkfifo(config)
        await self.refused(self.desk.status())
        config.unlink()
        config.write_text(plain)
        await self.desk.status()

    async def test_links_in_the_work_tree(self) -> None:
        """Are told of as links; what they lead to is neither read into a commit nor shown."""
        (self.root / "folder").symlink_to(self.outside)
        (self.root / "file").symlink_to(self.outside / "secret")
        self.assertNotIn("secret\n+", (await self.desk.diff()).diff.replace("b/file", ""))
        await self.desk.commit("links")
        self.assertEqual(self.run_git("show", "HEAD:file"), str(self.outside / "secret"))
        self.assertEqual(
            self.run_git("ls-tree", "-r", "--name-only", "HEAD").split(), ["a.py", "b.txt", "file", "folder"]
        )

    async def test_a_folder_that_became_a_link(self) -> None:
        """After the turn that is taken back: nothing is written through it."""
        (self.root / "folder").mkdir()
        (self.root / "folder" / "secret").write_text("old\n")
        await self.desk.before_turn()
        (self.root / "folder" / "secret").write_text("secret\n")
        await self.desk.after_turn("u1")
        shutil.rmtree(self.root / "folder")
        (self.root / "folder").symlink_to(self.outside)
        self.assertIs((await self.refused(self.desk.undo())).reason, Reason.CONFLICT)
        self.see_no_harm()

    async def test_paths_of_clients(self) -> None:
        """Are none of git's arguments, and lead nowhere."""
        workspace = Workspace("work", self.root)
        self.assertRaises(SessionRefused, workspace.read, ".git/config")


class RunTests(RepositoryTestCase):
    """Runs of git that would not end, or not stop talking."""

    def program(self, script: str) -> Git:
        """Another git."""
        path = self.base / "slow-git"
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        path.chmod(0o755)
        return Git(reactor, str(path), ())

    async def run_it(self, git: Git, **given: Any) -> Any:
        """Run it."""
        options: dict[str, Any] = {"limit": 1_000, "seconds": 10.0, **given}
        return await git.run(["status"], folder=self.root, environment={}, config={}, **options)

    async def test_too_long(self) -> None:
        """Is ended, and it is said."""
        done = await self.run_it(self.program("exec sleep 60"), seconds=0.2)
        self.assertEqual((done.status, done.output), (-1, b""))

    async def test_what_it_leaves_behind_holds_nobody_up(self) -> None:
        """A child that keeps its output open after it has ended is not waited for beyond the time of the run."""
        done = await self.run_it(self.program("sleep 3 & exit 0"), seconds=0.2)
        self.assertEqual((done.status, done.output), (-1, b""))

    async def test_too_much(self) -> None:
        """Is ended; what fits is kept, of complaints too."""
        done = await self.run_it(self.program("exec yes"))
        self.assertEqual((done.status, len(done.output), done.truncated), (-1, 1_000, True))
        done = await self.run_it(self.program("head -c 100000 /dev/zero >&2; exit 3"))
        self.assertEqual((done.status, len(done.complaint), done.truncated), (3, 4_096, False))

    async def test_its_surroundings(self) -> None:
        """Of our environment it gets nothing; its arguments and its input are as they should be."""
        os.environ["HADESGW_CANARY"] = "x"
        self.addCleanup(os.environ.pop, "HADESGW_CANARY")
        done = await self.run_it(self.program('echo "$@"; cat; env'), stdin=b"in\n", limit=10_000)
        lines = done.output.decode().splitlines()
        self.assertEqual(lines[:2], [f"--no-pager -C {self.root} status", "in"])
        self.assertNotIn("CANARY", done.output.decode())
        self.assertIn("HOME=/nonexistent", lines)
        self.assertIn("GIT_CONFIG_GLOBAL=/dev/null", lines)

    async def test_a_picture_that_takes_too_long(self) -> None:
        """Is not kept in part: the folder may be large."""
        snapshots = Snapshots(self.program("exec sleep 60"), self.root, self.base / "shadow", deferToThread, 0.2)
        with self.assertRaises(SessionRefused) as caught:
            await snapshots.before_turn()
        self.assertIn("too long", caught.exception.text)
        self.assertFalse((self.base / "shadow").exists())
        await snapshots.after_turn("u1")
        self.assertIsNone(snapshots.last())

    async def test_few_at_one_time(self) -> None:
        """However many are asked for."""
        log = self.base / "log"
        git = self.program(f"echo + >> {log}; sleep 0.1; echo - >> {log}")
        await gatherResults([Deferred.fromCoroutine(self.run_it(git)) for _ in range(6)])
        running = most = 0
        for sign in log.read_text().split():
            running += 1 if sign == "+" else -1
            most = max(most, running)
        self.assertEqual(most, 2)

    async def test_no_program(self) -> None:
        """Is a run that failed, and says so."""
        for nice in ((), nice_command(3)):
            done = await self.run_it(Git(reactor, str(self.base / "nothing"), nice))
            self.assertEqual(done.status, 127)
            self.assertIn("No such file", complaint("status", done))

    async def test_stands_back(self) -> None:
        """It is as nice as it shall be."""
        path = self.base / "nice-git"
        path.write_text("#!/bin/sh\nPATH=/usr/bin:/bin\nexec nice\n")
        path.chmod(0o755)
        done = await self.run_it(Git(reactor, str(path), nice_command(3)))
        self.assertEqual(int(done.output), min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19))
