"""The installer of real programs, tried on what costs nothing."""

from __future__ import annotations

import fcntl
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.real.kits import Kit, KitUnavailable, Steps, Supplies, exclusive


class CheapKit(Kit):
    """One that takes a moment: a file with the text of its pins, and another beside it."""

    def install(self, steps: Steps) -> None:
        steps.note("installing")
        (self.folder / "installed").write_text(self.pins.read_text())

    def furnish(self, steps: Steps) -> None:
        steps.note("furnishing")


class BrokenKit(Kit):
    """One that cannot be installed."""

    def install(self, steps: Steps) -> None:
        steps.run("boil the sea", [sys.executable, "-c", "raise SystemExit('too much water')"])


class KitTests(SynchronousTestCase):
    """What is recognised, what is made, and what is refused."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.cache = Path(scratch.name)
        self.pins = self.cache / "pins.txt"
        self.pins.write_text("one==1")
        self.kit = CheapKit("cheap", self.pins, needed_bytes=1, cache=self.cache)

    def log(self) -> str:
        return (self.kit.folder / "install.log").read_text()

    def test_made(self) -> None:
        """It is made once; then it is taken as it is."""
        self.assertFalse(self.kit.finished())
        self.kit.prepare()
        self.kit.prepare()
        self.assertTrue(self.kit.finished())
        self.assertEqual((self.kit.folder / "installed").read_text(), "one==1")
        self.assertEqual(self.log().count("installing"), 1)

    def test_finished(self) -> None:
        """A finished one is taken without a lock or a log."""
        self.kit.prepare()
        for name in ("lock", "install.log"):
            (self.kit.folder / name).unlink()
        self.kit.prepare()
        self.assertEqual(sorted(path.name for path in self.kit.folder.iterdir()), ["complete", "installed"])

    def test_other_pins(self) -> None:
        """With other pins it is made anew."""
        self.kit.prepare()
        self.pins.write_text("one==2")
        self.assertFalse(self.kit.finished())
        self.kit.prepare()
        self.assertEqual((self.kit.folder / "installed").read_text(), "one==2")

    def test_only_furniture_is_missing(self) -> None:
        """Where the pins are installed, only what belongs to them is made."""
        self.kit.prepare()

        class Unfurnished(CheapKit):
            def finished(self) -> bool:
                return False

        Unfurnished("cheap", self.pins, needed_bytes=1, cache=self.cache).prepare()
        self.assertEqual((self.log().count("installing"), self.log().count("furnishing")), (1, 2))

    def test_failure(self) -> None:
        """What cannot be installed has no stamp, and says what failed, where the log is, and what was said last."""
        broken = BrokenKit("broken", self.pins, needed_bytes=1, cache=self.cache)
        with self.assertRaises(KitUnavailable) as caught:
            broken.prepare()
        for told in ("boil the sea", str(broken.folder / "install.log"), "too much water"):
            self.assertIn(told, str(caught.exception))
        self.assertFalse(broken.finished())

    def test_step_without_end(self) -> None:
        """A step that takes too long is ended and named."""
        with open(self.cache / "install.log", "ab", buffering=0) as log:
            steps = Steps(log)
            with self.assertRaises(KitUnavailable) as caught:
                steps.run("count", [sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.2)
        self.assertIn("count timed out", str(caught.exception))

    def test_folder_that_cannot_be(self) -> None:
        """A cache that cannot be written to is an answer, not a traceback."""
        self.assertRaises(KitUnavailable, replace(self.kit, cache=self.pins / "below").prepare)

    def test_space(self) -> None:
        """Nothing is begun where it would not fit."""
        with self.assertRaises(KitUnavailable) as caught:
            replace(self.kit, needed_bytes=1 << 60).prepare()
        self.assertRegex(str(caught.exception), r"has \d+ MiB free, \d+ MiB are needed")

    def test_lock(self) -> None:
        """While one installs, nobody else does."""
        lock = self.cache / "lock"
        with exclusive(lock), open(lock) as other:
            self.assertRaises(BlockingIOError, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(lock) as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


class SuppliesTests(SynchronousTestCase):
    """What becomes of the tests of a program that cannot be had."""

    def setUp(self) -> None:
        self.told: list[str] = []

    def lack(self, kind: type[BaseException], **environ: str) -> str:
        """What is said by the exception for a program that no machine has."""
        with self.assertRaises(kind) as caught:
            Supplies(environ, self.told.append).program("no-such-program")
        return str(caught.exception)

    def test_unasked(self) -> None:
        """Where nobody asked for real programs, the reason is the command that does."""
        self.assertIn("make test-real", self.lack(SkipTest))

    def test_asked(self) -> None:
        """Where they were asked for, the test is skipped with what is missing and the package that has it."""
        said = self.lack(SkipTest, HADESGW_REAL="1")
        self.assertEqual(said, "NO no-such-program: the Debian package no-such-program is not installed")

    def test_required(self) -> None:
        """Where they are required, it fails."""
        self.lack(AssertionError, HADESGW_REQUIRE_REAL="1")

    def test_once(self) -> None:
        """What could not be had is said once, and the reason stays."""
        supplies = Supplies({"HADESGW_REAL": "1"}, self.told.append)
        first = supplies.absence("Codex", "no space left")
        self.assertEqual(str(supplies.absence("Codex", "another reason")), str(first))
        self.assertEqual(self.told, ["NO Codex: no space left"])
