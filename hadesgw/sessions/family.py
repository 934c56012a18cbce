"""Whether anything of a child process and its descendants is left, and how to end it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

PROC = Path("/proc")
MARK = "HADESGW_AGENT_FAMILY"
"""The environment variable by which an agent's processes are known where no namespace holds them together."""


class Family(Protocol):
    """The processes an agent consists of."""

    def told(self, data: bytes) -> None:
        """bubblewrap has said something about them."""

    def kill(self) -> None:
        """End what is left, as far as this is not done already; may be called again and again."""

    def gone(self) -> bool:
        """Whether none is left."""

    def close(self) -> None:
        """Forget them."""


class _Info(msgspec.Struct, frozen=True, rename="kebab"):
    """What bubblewrap says of the family it has made."""

    child_pid: int


def strays(home: Path) -> list[int]:
    """The processes whose home is this folder, or one in it: whatever they are, they were started for an agent."""
    whole = b"HOME=" + os.fsencode(home)
    return _bearing(lambda entry: entry == whole or entry.startswith(whole + b"/"))


def kill_strays(home: Path) -> None:
    """End them."""
    _kill(strays(home))


def _bearing(is_sign: Callable[[bytes], bool]) -> list[int]:
    """Processes that were started with an environment in which there is such an entry, as far as we may look."""
    found = []
    for process in PROC.iterdir():
        if process.name.isdigit():
            try:
                entries = (process / "environ").read_bytes().split(b"\0")
            except OSError:  # it has gone, or is somebody else's
                continue
            if any(map(is_sign, entries)):
                found.append(int(process.name))
    return found


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Namespace:
    """A family in a process namespace of its own: it ends, all of it, with its first process.

    bubblewrap may be killed after it has made that process, and before it has said which it is or let it go on: nobody
    would end it then. So one of which nothing was said is looked for by its home.

    :param home: its `HOME`, which no other process has.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._said = b""
        self._first: int | None = None

    def told(self, data: bytes) -> None:
        """Take the first process's id from what bubblewrap says, and hold the process by a descriptor."""
        self._said = (self._said + data)[:4096]
        try:
            pid = msgspec.json.decode(self._said, type=_Info).child_pid
        except msgspec.DecodeError:  # not the whole of it yet
            return
        if self._first is None:
            try:
                self._first = os.pidfd_open(pid)
            except OSError:  # it has ended already
                return

    def kill(self) -> None:
        """The kernel ends it with bubblewrap itself; should that have failed, end its first process."""
        if self._first is None:
            kill_strays(self._home)
        elif not self.gone():
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    def gone(self) -> bool:
        """A descriptor of a process can be read when the process has ended, and the first of a namespace ends last."""
        if self._first is None:
            return not strays(self._home)
        poll = select.poll()
        poll.register(self._first, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            os.close(first)


class Marked:
    """A family whose members are known by a mark in their environment; one that has cleaned it is not found.

    :param mark: value of :data:`MARK`.
    """

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()

    def told(self, data: bytes) -> None:
        """Nobody says anything."""

    def kill(self) -> None:
        _kill(self._members())

    def gone(self) -> bool:
        return not self._members()

    def close(self) -> None:
        """Nothing is held."""

    def _members(self) -> list[int]:
        return _bearing(self._mark.__eq__)
