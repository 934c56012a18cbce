"""Which TCP sockets a process and its children listen on, read from /proc.

Everything is read below `/proc/PID`, so that it works in a service that sees nothing else of /proc (`ProcSubset=pid`).
A child that has left for good, as daemons do, is nobody's child any more and is not seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hadesgw.policy.exposure import Address, Held, listening_sockets

PROC = Path("/proc")
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def listeners(pid: int) -> list[Held]:
    """The TCP sockets that a process or a descendant of it listens on.

    :raises OSError: if there is no such process, or it is not ours to look at.
    """
    return [held for member in _family(pid) for held in _held(member, must=member == pid)]


def _held(pid: int, *, must: bool) -> Iterator[Held]:
    """The listening sockets of one process; none of a child's that has just gone or runs as somebody else."""
    try:
        table = _table(pid)  # its own: it may live in another network namespace than we do
        inodes = _inodes(pid) if table else set()
    except OSError:
        if must:
            raise
        return
    for inode in inodes & table.keys():
        yield Held(pid, table[inode])


def _table(pid: int) -> Mapping[int, Address]:
    network = PROC / str(pid) / "net"
    found = listening_sockets((network / "tcp").read_text())
    try:
        found |= listening_sockets((network / "tcp6").read_text())
    except FileNotFoundError:  # a kernel without IPv6
        pass
    return found


def _inodes(pid: int) -> set[int]:
    """The sockets that are open in a process."""
    found = set()
    with os.scandir(PROC / str(pid) / "fd") as descriptors:
        for descriptor in descriptors:
            try:
                match = _SOCKET.fullmatch(os.readlink(descriptor.path))  # noqa: PTH115 - a Path each would cost more
            except FileNotFoundError:  # closed meanwhile
                continue
            if match:
                found.add(int(match[1]))
    return found


def _family(pid: int) -> list[int]:
    """A process and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:  # grows while we walk it
        family += children.get(member, [])
    return family


def _parent(process: Path) -> int | None:
    try:
        # A process's name stands in parentheses and may hold anything: what follows is counted from the last one.
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):  # it has gone meanwhile
        return None
