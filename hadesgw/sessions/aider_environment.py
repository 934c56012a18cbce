"""The Python environment that Aider lives in: its own, since what it needs would not go well with what we need."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

VERSION = "0.86.2"
"""Aider promises nothing about the parts of it that we use: it is this one."""
LOCK = Path(__file__).with_name("aider.lock")
PLAYER = Path(__file__).with_name("aider_player.py")
INSTALL = "hadesgw engine install aider"
SERIES = ("3.12", "3.11")
"""The Pythons that Aider runs on; it does not run on later ones."""
_UNFINISHED = "unfinished"


class AiderAbsent(Exception):
    """There is no Aider to run; the text is one line that says what to do."""


class InstallFailed(Exception):
    """It could not be installed; the text is one line."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Aider, installed.

    :ivar python: the interpreter of its environment.
    :ivar folders: what has to be seen of the machine for it to run.
    """

    python: Path
    folders: tuple[Path, ...]


def find_environment(folder: Path) -> Environment:
    """The Aider in an environment.

    :raises AiderAbsent: if there is none, or another one.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        raise AiderAbsent(f"Aider is not installed in {folder}; run: {INSTALL}")
    if (folder / _UNFINISHED).exists():
        raise AiderAbsent(f"Aider's installation in {folder} is not finished; run: {INSTALL}")
    if not any(folder.glob(f"lib/python3.*/site-packages/aider_chat-{VERSION}.dist-info")):
        raise AiderAbsent(f"there is no Aider {VERSION} in {folder}; run: {INSTALL}")
    real = python.resolve()
    return Environment(folder.resolve() / "bin" / "python", (folder.resolve(), real.parent.parent))


def install(folder: Path, base: str | None, run: Callable[[Sequence[str]], int]) -> None:
    """Make the environment, with the packages the lock file names and no others. What was there is replaced.

    :param base: a Python of :data:`SERIES`; None if there is none.
    :param run: runs a program to its end, and returns its exit status.
    :raises InstallFailed: if it cannot be made; nothing of it is left then.
    :raises OSError: if the folder cannot be made.
    """
    if base is None:
        raise InstallFailed(f"Aider needs Python {' or '.join(SERIES)}, and there is none here")
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise InstallFailed(f"{folder} is no Python environment: name another folder, or empty this one")
    folder.mkdir(parents=True, exist_ok=True)
    python = str(folder / "bin" / "python")
    options = ("--no-input", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:")
    commands = (
        (base, "-m", "venv", "--clear", str(folder)),
        (python, "-m", "pip", "install", *options, "--requirement", str(LOCK)),
    )
    for command in commands:
        status = run(command)
        if status:
            shutil.rmtree(folder, ignore_errors=True)
            raise InstallFailed(f"{' '.join(command[:4])} ended with exit status {status}; what it said is above")
        (folder / _UNFINISHED).touch()
    (folder / _UNFINISHED).unlink()
