"""Real programs that tests use: each a kit, installed outside the source tree from a lock file with hashes.

A kit has a folder of its own in `$HADESGW_CACHE` (`~/.cache/hadesgw` when the variable is unset), so that one that
cannot be had takes no other with it, and none comes among our own packages:

- `venv/`        what the lock file pins;
- `complete`     a stamp: the digest of the pins that were installed, written last;
- `install.log`  everything the tools said;
- `lock`         held while one process installs, so that others wait instead of installing too.

What was interrupted or has other pins than today's is installed anew; what was fetched before is in pip's own cache.
`python -m tests.real.<suite>.environment` installs the kits of a suite and prints where they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar
from unittest import SkipTest

from tests.real.waiting import NeverHappened, wait_for

CACHE = Path(os.environ.get("HADESGW_CACHE") or "~/.cache/hadesgw").expanduser().absolute()

LOCK_SECONDS = 3600.0
STEP_SECONDS = 600.0
INSTALL_SECONDS = 2400.0

PIP = ("-m", "pip", "--no-input", "--disable-pip-version-check")
EXACTLY = ("--progress-bar=off", "--only-binary=:all:", "--require-hashes")

Found = TypeVar("Found")


class KitUnavailable(Exception):
    """The kit cannot be had here; the text says at which step, why, and where the log is."""


class Steps:
    """Runs the commands of an installation: what they print goes to the log, its end into the error if one fails."""

    def __init__(self, log: FileIO) -> None:
        self.log = log
        self.log_path = Path(str(log.name))

    def run(self, purpose: str, command: Sequence[str | Path], seconds: float = STEP_SECONDS) -> None:
        """Run `command` for at most `seconds`.

        :raises KitUnavailable: when it fails or is not done in time.
        """
        started = time.monotonic()
        self.note(f"{purpose}: {' '.join(map(str, command))}")
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                env=surroundings,
                timeout=seconds,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
            raise self.failure(purpose, problem) from problem
        self.note(f"{purpose}: done in {time.monotonic() - started:.1f} s")

    def note(self, text: str) -> None:
        self.log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode())

    def failure(self, purpose: str, problem: Exception) -> KitUnavailable:
        tail = self.log_path.read_text(errors="replace").splitlines()[-12:]
        reason = "failed"
        if isinstance(problem, subprocess.TimeoutExpired):
            reason = f"timed out after {problem.timeout:.0f} s"
        self.note(f"{purpose}: {reason}")
        return KitUnavailable("\n  | ".join([f"to {purpose} {reason}; {self.log_path} ends:", *tail]))


@dataclass(frozen=True)
class Kit:
    """Something to install.  One that is more than a virtual environment is a subclass.

    :ivar name: of its folder.
    :ivar pins: every package with its hashes, as pip reads it.
    :ivar options: further options of `pip install`.
    :ivar needed_bytes: free disk space asked for before it is installed.
    :ivar cache: the folder that its folder is in.
    """

    name: str
    pins: Path
    options: tuple[str, ...] = ()
    needed_bytes: int = 2**30
    cache: Path = CACHE

    @property
    def folder(self) -> Path:
        """Its folder, whether it exists or not."""
        return self.cache / self.name

    @property
    def python(self) -> Path:
        """The interpreter of its virtual environment."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """A command of its virtual environment."""
        return self.folder / "venv" / "bin" / name

    @property
    def packages(self) -> Path:
        """Where that interpreter finds what was installed."""
        return next((self.folder / "venv" / "lib").glob("python3.*")) / "site-packages"

    @property
    def stamp(self) -> Path:
        return self.folder / "complete"

    def digest(self) -> str:
        """Tells these pins, and the Python they are installed for, from others."""
        version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        return digest_of(version.encode(), *(path.read_bytes() for path in self.sources()))

    def sources(self) -> tuple[Path, ...]:
        """The files that say what is installed."""
        return (self.pins,)

    def stamped(self) -> bool:
        """Whether today's pins are installed."""
        return self.stamp.exists() and self.stamp.read_text() == self.digest()

    def finished(self) -> bool:
        """Whether it is there, as a whole."""
        return self.stamped()

    def prepare(self) -> None:
        """Install it if it is not finished; that may take minutes.

        :raises KitUnavailable: when it cannot be had here.
        """
        try:
            if self.finished():
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with exclusive(self.folder / "lock"), open(self.folder / "install.log", "ab", buffering=0) as log:
                if not self.finished():
                    self.require_space()
                    self.make(Steps(log))
        except OSError as problem:
            raise KitUnavailable(f"{self.folder} cannot be used: {problem}") from problem

    def make(self, steps: Steps) -> None:
        """Do what is missing; the caller holds the lock."""
        if not self.stamped():
            self.stamp.unlink(missing_ok=True)
            self.install(steps)
            self.stamp.write_text(self.digest())
        self.furnish(steps)

    def install(self, steps: Steps) -> None:
        """Install the pins from nothing."""
        steps.run("make the virtual environment", [self.base_python(), "-m", "venv", "--clear", self.folder / "venv"])
        exactly = (*EXACTLY, *self.options, "--requirement", str(self.pins))
        steps.run("install the pinned packages", [self.python, *PIP, "install", *exactly], INSTALL_SECONDS)

    def furnish(self, steps: Steps) -> None:
        """Make what belongs to it beside the pins, if it is not there."""

    def base_python(self) -> str | Path:
        """The interpreter that makes the virtual environment."""
        return sys.executable

    def require_space(self) -> None:
        """:raises KitUnavailable: where it would not fit."""
        free = shutil.disk_usage(self.folder).free
        if free < self.needed_bytes:
            raise KitUnavailable(f"{self.folder} has {free >> 20} MiB free, {self.needed_bytes >> 20} MiB are needed")


AnyKit = TypeVar("AnyKit", bound=Kit)


def digest_of(*texts: bytes) -> str:
    """Tells these texts from others."""
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when its holder dies."""
    with open(path, "ab") as lock:
        try:
            wait_for(partial(locked, lock.fileno()), f"nobody else holds {path}", LOCK_SECONDS, pause=0.5)
        except NeverHappened as problem:
            raise KitUnavailable(str(problem)) from None
        yield


def locked(descriptor: int) -> bool:
    """Whether the file could be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Supplies:
    """What can be had on this machine.  What cannot is tried, and said, once and not for every test.

    Its methods raise `SkipTest` with the reason for what is not to be had.

    :param environ: `HADESGW_REAL=1` in it says that real programs are wanted, `HADESGW_REQUIRE_REAL=1` that the lack of
        one is a failure.
    :param say: tells a person what cannot be had.
    """

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.environ = environ
        self.say = say
        self.absences: dict[str, str] = {}

    def kit(self, kit: AnyKit) -> AnyKit:
        """The kit, finished: installed now if need be."""

        def prepared() -> AnyKit:
            kit.prepare()
            return kit

        return self._need(f"KIT {kit.name}", prepared)

    def program(self, name: str) -> Path:
        """A program of the Debian package of the same name."""
        return self._need(name, lambda: self._on_the_path(name))

    def absence(self, what: str, reason: str) -> AssertionError | SkipTest:
        """What is to be raised because `what` cannot be had."""
        if what not in self.absences:
            self.absences[what] = f"NO {what}: {reason}"
            self.say(self.absences[what])
        return AssertionError(self.absences[what]) if self._required() else SkipTest(self.absences[what])

    def _need(self, what: str, find: Callable[[], Found]) -> Found:
        if not self._required() and self.environ.get("HADESGW_REAL") != "1":
            raise SkipTest("real programs are tested by `make test-real`, which sets HADESGW_REAL=1")
        try:
            if what not in self.absences:
                return find()
        except KitUnavailable as problem:
            raise self.absence(what, str(problem)) from None
        raise self.absence(what, "")

    def _on_the_path(self, name: str) -> Path:
        found = shutil.which(name)
        if found is None:
            raise KitUnavailable(f"the Debian package {name} is not installed")
        return Path(found)

    def _required(self) -> bool:
        return self.environ.get("HADESGW_REQUIRE_REAL") == "1"


SUPPLIES = Supplies(os.environ, partial(print, file=sys.stderr))


def main(*kits: Kit) -> int:
    """Install them all; prints their folders.

    :returns: the exit status: 1 if one cannot be had.
    """
    lacking = 0
    for kit in kits:
        try:
            kit.prepare()
        except KitUnavailable as problem:
            print(f"NO KIT {kit.name}: {problem}", file=sys.stderr)
            lacking = 1
        else:
            print(kit.folder)
    return lacking
