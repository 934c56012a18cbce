"""Aider's own Python environment: whether it is there, and how it is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.aider_environment import (
    LOCK,
    PLAYER,
    VERSION,
    AiderAbsent,
    InstallFailed,
    find_environment,
    install,
)


class EnvironmentTestCase(SynchronousTestCase):
    """A folder that may become one."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute().resolve()
        self.folder = self.base / "engines" / "aider"
        self.ran: list[Sequence[str]] = []
        self.statuses = [0, 0]

    def furnish(self, version: str = VERSION) -> None:
        """What installing leaves behind."""
        real = self.base / "python" / "bin" / "python3.12"
        real.parent.mkdir(parents=True, exist_ok=True)
        real.touch()
        (self.folder / "bin").mkdir(parents=True, exist_ok=True)
        (self.folder / "bin" / "python").unlink(missing_ok=True)
        (self.folder / "bin" / "python").symlink_to(real)
        packages = self.folder / "lib" / "python3.12" / "site-packages"
        (packages / f"aider_chat-{version}.dist-info").mkdir(parents=True, exist_ok=True)

    def run_command(self, command: Sequence[str]) -> int:
        self.ran.append(command)
        if len(self.ran) == 1:
            self.furnish()
        return self.statuses[len(self.ran) - 1]

    def install(self) -> None:
        install(self.folder, "/usr/bin/python3.12", self.run_command)


class FindTests(EnvironmentTestCase):
    """Whether it is there."""

    def test_ready(self) -> None:
        """Its interpreter, and what has to be seen for it to run: that of the Python it was made with, too."""
        self.furnish()
        found = find_environment(self.folder)
        self.assertEqual(found.python, self.folder / "bin" / "python")
        self.assertEqual(found.folders, (self.folder, self.base / "python"))

    def test_absent(self) -> None:
        """Nothing there, another version, or half of it: each time with what to do."""
        told = [str(self.assertRaises(AiderAbsent, find_environment, self.folder))]
        self.furnish("0.1")
        told.append(str(self.assertRaises(AiderAbsent, find_environment, self.folder)))
        self.furnish()
        (self.folder / "unfinished").touch()
        told.append(str(self.assertRaises(AiderAbsent, find_environment, self.folder)))
        self.assertTrue(all(each.endswith("run: hadesgw engine install aider") for each in told), told)
        self.assertEqual(len(set(told)), 3)


class InstallTests(EnvironmentTestCase):
    """How it is made."""

    def test_made(self) -> None:
        """Of exactly the packages that the lock file names, and then it is found."""
        self.install()
        venv, pip = self.ran
        self.assertEqual(venv, ("/usr/bin/python3.12", "-m", "venv", "--clear", str(self.folder)))
        self.assertIn("--require-hashes", pip)
        self.assertEqual(pip[-2:], ("--requirement", str(LOCK)))
        find_environment(self.folder)

    def test_failed(self) -> None:
        """Nothing is left of what could not be finished, and the program that failed is named."""
        self.statuses = [0, 1]
        self.assertIn("-m pip install", str(self.assertRaises(InstallFailed, self.install)))
        self.assertFalse(self.folder.exists())

    def test_no_python(self) -> None:
        """Where none is that Aider runs on, that is said."""
        failed = self.assertRaises(InstallFailed, install, self.folder, None, self.run_command)
        self.assertIn("3.12 or 3.11", str(failed))
        self.assertEqual(self.ran, [])

    def test_somebody_elses_folder(self) -> None:
        """What is no environment is not replaced by one."""
        self.folder.mkdir(parents=True)
        (self.folder / "thesis.tex").touch()
        self.assertIn("is no Python environment", str(self.assertRaises(InstallFailed, self.install)))
        self.assertTrue((self.folder / "thesis.tex").exists())

    def test_shipped(self) -> None:
        """The lock file holds the version we speak with, each package with its hashes; the program is beside it."""
        text = LOCK.read_text()
        self.assertIn(f"aider-chat=={VERSION}", text)
        packages = [line for line in text.splitlines() if "==" in line]
        self.assertGreater(text.count("--hash=sha256:"), len(packages))
        self.assertTrue(PLAYER.is_file())
