"""Whether anything of a child process and its descendants is left, and how to end it."""

from __future__ import annotations

import os
import select
import signal
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


class Namespace:
    """A family in a process namespace of its own: it ends, all of it, with its first process."""

    def __init__(self) -> None:
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
        if self._first is not None and not self.gone():
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    def gone(self) -> bool:
        """A descriptor of a process can be read when the process has ended, and the first of a namespace ends last."""
        if self._first is None:
            return True
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
        for pid in self._members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def gone(self) -> bool:
        return not self._members()

    def close(self) -> None:
        """Nothing is held."""

    def _members(self) -> list[int]:
        return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit() and self._marked(entry)]

    def _marked(self, process: Path) -> bool:
        try:
            return self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has gone, or is somebody else's
            return False
