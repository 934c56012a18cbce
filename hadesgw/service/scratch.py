"""Folders for what must not outlive this process: made for us alone, and swept away by the next gateway if we die."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_PREFIX = "hadesgw-sessions-"
_LOCK = ".lock"


class Scratch:
    """Makes such folders in one place.

    :param parent: such as the folder for temporary files; others may write there.
    :param in_thread: runs a function off the reactor.
    """

    def __init__(self, parent: Path, in_thread: Callable[[Callable[[], None]], object]) -> None:
        self._parent = parent
        self._in_thread = in_thread
        self._locks: list[int] = []  # held for as long as we live: they say so

    def make(self) -> Path:
        """A new folder that nobody else may enter. What dead gateways of this user have left is removed meanwhile.

        :raises OSError: if there can be none.
        """
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks.append(lock)
        self._in_thread(self._sweep_all)  # pictures of large workspaces take their time
        return folder

    def _sweep_all(self) -> None:
        for left in self._parent.glob(f"{_PREFIX}*"):
            _sweep(left)

    def close(self) -> None:
        """Say that we do not need them any more."""
        while self._locks:
            os.close(self._locks.pop())


def _sweep(folder: Path) -> None:
    """Remove a folder of ours that nobody holds. One without a lock yet is somebody's who is just making it."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its gateway lives
    finally:
        os.close(lock)
