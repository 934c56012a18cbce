"""Which Codex is run, and whether it is the right one."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_program import SERIES, ProgramAbsent, find_program, version_obstacle


def program(path: Path) -> Path:
    """A file that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)
    return path


class FindTests(SynchronousTestCase):
    """A configured one."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def test_a_package(self) -> None:
        """Has its bubblewrap beside it, and needs the folder around both."""
        codex = program(self.folder / "package" / "bin" / "codex")
        bubblewrap = program(self.folder / "package" / "codex-resources" / "bwrap")
        found = find_program(str(codex))
        self.assertEqual((found.path, found.folder, found.bubblewrap), (codex, self.folder / "package", bubblewrap))

    def test_a_lone_program(self) -> None:
        """Needs its own folder, and not the whole of what is around that."""
        codex = program(self.folder / "bin" / "codex")
        self.assertEqual(find_program(str(codex)).folder, codex.parent)

    def test_a_link(self) -> None:
        """Is followed: what it leads to has to be seen by agents."""
        codex = program(self.folder / "package" / "bin" / "codex")
        program(self.folder / "package" / "codex-resources" / "bwrap")
        link = self.folder / "codex"
        link.symlink_to(codex)
        self.assertEqual(find_program(str(link)).path, codex)

    def test_the_extras(self) -> None:
        """Where none is configured it is that of the installed package, which is not imported for that."""
        package = self.folder / "codex_cli_bin"
        codex = program(package / "bin" / "codex")
        (package / "__init__.py").write_text("raise ImportError")
        self.addCleanup(setattr, sys, "path", sys.path)
        sys.path = [str(self.folder), *sys.path]
        importlib.invalidate_caches()
        self.assertEqual(find_program("").path, codex)

    def test_absent(self) -> None:
        """Nothing there, or nothing that can be run: the refusal says what to do."""
        (self.folder / "folder").mkdir(parents=True)
        (self.folder / "text").write_text("text")
        for name in ("nothing", "folder", "text"):
            problem = self.assertRaises(ProgramAbsent, find_program, str(self.folder / name))
            self.assertIn("pip install 'hadesgw[codex]'", str(problem))
            self.assertNotIn("\n", str(problem))


class VersionTests(SynchronousTestCase):
    """Its own word."""

    def test_versions(self) -> None:
        """Of one series only, whose protocol we know; what is no Codex says no version."""
        for printed, good in (
            (f"codex-cli {SERIES}0\n", True),
            (f"codex-cli {SERIES}12-alpha.1", True),
            ("codex-cli 0.1630.0", False),
            ("codex-cli 0.170.1", False),
            ("hello", False),
            ("", False),
        ):
            self.assertEqual(version_obstacle(printed) is None, good, printed)
        self.assertIn("0.170.1", version_obstacle("codex-cli 0.170.1") or "")
