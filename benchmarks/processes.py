"""The processes of a run: started on chosen CPUs, watched through /proc and CPU clocks, ended by their id."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_AUTOGROUP = Path("/proc/self/autogroup")
_libc = ctypes.CDLL(None)


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Ask `condition` every so many seconds until it holds; false when it did not in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


@dataclass(frozen=True)
class Seat:
    """Where a process runs: its CPUs (none: any), and how far before others (as ``nice``, negative is before)."""

    cpus: frozenset[int] = frozenset()
    niceness: int = 0


def _prepare(seat: Seat) -> None:
    """In the child before exec: its seat, and an end of its own when the driver is killed."""
    if seat.cpus:
        os.sched_setaffinity(0, seat.cpus)
    if seat.niceness:
        os.setsid()  # sched(7): niceness counts only inside a session, and its session's against other sessions
        os.nice(seat.niceness)
        if _AUTOGROUP.exists():
            _AUTOGROUP.write_text(str(seat.niceness))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def spawn(
    command: Sequence[str],
    *,
    seat: Seat,
    environment: Mapping[str, str],
    log: Path | None = None,
    piped: bool = False,
) -> subprocess.Popen[str]:
    """Start `command`; output goes to `log`, or to pipes with `piped` (input too), else nowhere."""
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output or subprocess.DEVNULL,
            stderr=subprocess.PIPE if piped else output or subprocess.DEVNULL,
            env=dict(environment),
            text=True,
            preexec_fn=lambda: _prepare(seat),  # noqa: PLW1509 - the driver has one thread
        )
    finally:
        if output:
            output.close()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _cpu_clock(pid: int) -> int:
    """The clock of clock_getcpuclockid(3), which Python has for threads only: a form of the process id."""
    return (~pid << 3) | 2


class Server:
    """A server of the run with its workers. As a context it ends with it: first asked, then killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the process and its children, as a master has them."""
        return (self._process.pid, *_children(self._process.pid))

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def cpu_ns(self) -> int:
        """CPU time used so far by all of it, user and system, in nanoseconds."""
        return sum(cpu_ns(pid) for pid in self.pids)

    def resident_bytes(self) -> int:
        """VmRSS of all of it; pages that a master shares with its worker count in both, as in `ps`."""
        return sum(_resident_bytes(pid) for pid in self.pids)

    def stop(self) -> None:
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(timeout=5)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def cpu_ns(pid: int) -> int:
    """CPU time of a process with all its threads in nanoseconds; 0 when it is gone."""
    try:
        return time.clock_gettime_ns(_cpu_clock(pid))
    except OSError:
        return 0


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
