"""The walls around an agent, read from the command line that makes them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.enclosure import Enclosure, private_folders


class EnclosureTests(SynchronousTestCase):
    """What is shown, what is covered, and in which order."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.workspace = self.made("code/app")
        self.home = self.made("state/gateway/home")
        self.package = self.made("package")
        self.homes = self.made("homes")
        self.scratch = self.made("scratch")

    def made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True)
        return path.resolve()

    def file(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path.resolve()

    def words(self, *hidden: Path, writable: bool = True) -> list[str]:
        enclosure = Enclosure(
            bubblewrap=Path("/opt/bwrap"),
            private=[self.homes],
            scratch=self.scratch,
            workspace=self.workspace,
            writable=writable,
            own=[self.home],
            needed=[self.package],
            hidden=hidden,
        )
        return enclosure.command(["codex", "app-server"])

    def places(self, words: list[str], option: str) -> list[str]:
        """Where an option mounts something, in order."""
        width = 1 if option in ("--tmpfs", "--remount-ro") else 2
        return [words[at + width] for at, word in enumerate(words) if word == option]

    def test_the_command(self) -> None:
        """Begins with bubblewrap and ends with the program, which runs in the workspace."""
        words = self.words()
        self.assertEqual(words[0], "/opt/bwrap")
        self.assertEqual(words[-5:], ["--chdir", str(self.workspace), "--", "codex", "app-server"])

    def test_a_family_of_its_own(self) -> None:
        """Processes are in a namespace that ends with its first, and that with us; no right is left to them."""
        words = self.words()
        for option in ("--unshare-user", "--unshare-pid", "--die-with-parent", "--new-session"):
            self.assertIn(option, words)
        self.assertIn("--cap-drop ALL", " ".join(words))

    def test_nothing_is_writable_but_its_own(self) -> None:
        """The workspace, the agent's folder and a scratch folder of bounded size; with read-only not the workspace."""
        words = self.words()
        self.assertEqual(self.places(words, "--bind"), [str(self.home), str(self.workspace)])
        self.assertEqual(self.places(words, "--ro-bind")[:2], ["/", str(self.package)])
        self.assertEqual(words[words.index(str(self.scratch)) - 3], "--size")
        self.assertEqual(self.places(self.words(writable=False), "--bind"), [str(self.home)])

    def test_homes_and_sockets_are_covered(self) -> None:
        """Before anything is shown in them, and so that nothing can be put there."""
        words = self.words()
        covered = self.places(words, "--tmpfs")
        self.assertIn(str(self.homes), covered)
        shown = words.index("--bind")
        for place in covered:
            self.assertLess(words.index(place), shown)
        self.assertEqual(set(covered) - {str(self.scratch)}, set(self.places(words, "--remount-ro")))

    def test_homes_of_this_machine(self) -> None:
        """The home of its user is among them, and the sockets of services; never the whole of it."""
        private = private_folders()
        for place in ("/run", os.path.realpath(Path("~").expanduser())):
            self.assertTrue(any(Path(place).is_relative_to(folder) for folder in private), place)
        self.assertNotIn(Path("/"), private)

    def test_what_is_covered_already(self) -> None:
        """A secret in a home, or in the folder for temporary files, needs no cover of its own."""
        secrets = [self.file("homes/me/clients.toml"), self.file("scratch/demo/model.sock")]
        self.assertEqual(self.words(*secrets), self.words())

    def test_a_workspace_in_a_home(self) -> None:
        """Is shown over the cover, and nothing else of that home."""
        self.workspace = self.made("homes/me/code")
        secret = self.file("homes/me/.ssh/id")
        words = self.words(secret)
        self.assertEqual(self.places(words, "--bind")[-1], str(self.workspace))
        self.assertNotIn(str(secret.parent), words)

    def test_a_hidden_file_hides_its_folder(self) -> None:
        """A new file in its place is hidden too."""
        secret = self.file("etc/hadesgw/clients.toml")
        self.assertIn(str(secret.parent), self.places(self.words(secret), "--tmpfs"))

    def test_a_folder_that_is_needed_is_not_hidden(self) -> None:
        """Of a secret beside the workspace, or within it, the file alone is hidden, over what is shown."""
        for name in ("code/clients.toml", "code/app/clients.toml"):
            secret = self.file(name)
            words = self.words(secret)
            self.assertNotIn(str(secret.parent), self.places(words, "--tmpfs"))
            at = words.index(str(secret))
            self.assertEqual(words[at - 2 : at], ["--ro-bind", "/dev/null"])
            self.assertGreater(at, words.index("--bind"))

    def test_other_workspaces_are_hidden(self) -> None:
        """But not the own one, nor one it lies in."""
        other, around = self.made("elsewhere/other"), self.workspace.parent
        covered = self.places(self.words(other, around, self.workspace), "--tmpfs")
        self.assertIn(str(other), covered)
        self.assertNotIn(str(around), covered)
        self.assertNotIn(str(self.workspace), covered)

    def test_what_is_not_there_needs_no_cover(self) -> None:
        """A socket that comes later is hidden by its folder, if that is there."""
        words = self.words(self.folder / "nothing" / "api.sock", self.made("sockets/vllm") / "api.sock")
        self.assertFalse(any("nothing" in word for word in words))
        self.assertIn(str(self.folder / "sockets" / "vllm"), self.places(words, "--tmpfs"))

    def test_the_repositorys_own_orders(self) -> None:
        """Its .git cannot be changed, its .codex is empty; what is a link is not followed out of the workspace."""
        (self.workspace / ".git").mkdir()
        (self.workspace / ".codex").mkdir()
        words = self.words()
        self.assertIn(str(self.workspace / ".git"), self.places(words, "--ro-bind"))
        self.assertIn(str(self.workspace / ".codex"), self.places(words, "--tmpfs"))
        for name in (".git", ".codex"):
            (self.workspace / name).rmdir()
            (self.workspace / name).symlink_to("/etc")
        words = self.words()
        self.assertNotIn("/etc", words)
        self.assertFalse(any(".git" in word or ".codex" in word for word in words))

    def test_a_link_to_a_secret_is_seen_through(self) -> None:
        """What it leads to is hidden."""
        secret = self.file("vault/deep/key.pem")
        link = self.folder / "key.pem"
        link.symlink_to(secret)
        self.assertIn(str(secret.parent), self.places(self.words(link), "--tmpfs"))
