"""Child processes of the tests: started so that they die with us, looked at in /proc, and ended by their own
id only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real.waiting import NeverHappened, wait_for

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process for as long as it lives: its start time tells it from a later one with the same id."""

    pid: int
    parent: int
    started: int
    """Clock ticks after boot (proc(5), field `starttime`)."""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this id now, or `None` if there is none or only its exit status is left."""
        try:
            # The name stands in parentheses and may hold anything, so what follows is counted from the last
            # one.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else cls(pid, parent=int(fields[1]), started=int(fields[19]))

    def alive(self) -> bool:
        now = Process.of(self.pid)
        return now is not None and now.started == self.started

    def title(self) -> str:
        """Its command line as it shows it now; programs may rewrite theirs. One that has ended shows none."""
        try:
            words = (PROC / str(self.pid) / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace").strip()

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int((PROC / str(self.pid) / "statm").read_text().split()[1]) * PAGE_BYTES

    def fds(self) -> int:
        """Number of open descriptors."""
        return len(list((PROC / str(self.pid) / "fd").iterdir()))

    def kill(self) -> None:
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)


def descendants(pid: int) -> list[Process]:
    """The living children of `pid`, their children, and so on."""
    everyone = [
        process for entry in PROC.iterdir() if entry.name.isdigit() and (process := Process.of(int(entry.name)))
    ]
    family: list[Process] = []
    ancestors = {pid}
    while ancestors:
        generation = [process for process in everyone if process.parent in ancestors]
        family += generation
        ancestors = {process.pid for process in generation}
    return family


def start(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start `command` in `folder`; what it prints is appended to `log`.

    Where util-linux is installed the kernel kills the child if this process dies without ending it.
    """
    tether = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*tether, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
        )


def end(child: subprocess.Popen[bytes], seconds: float) -> int:
    """SIGTERM `child` and wait; kill it and what is left of its descendants when `seconds` are over.

    :returns: its exit status, negative if a signal ended it.
    """
    family = descendants(child.pid)
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    try:
        wait_for(lambda: not any(process.alive() for process in family), "its children are gone", seconds=5)
    except NeverHappened:
        for process in family:
            process.kill()
    return child.returncode
