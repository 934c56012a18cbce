"""The machine of a run: what it is, what runs on it beside us, and which CPUs whose."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.interpreter import is_optimised
from benchmarks.processes import Seat, wait_until

_LOCK = "hadesgw-benchmarks.lock"
IDLE_SHARE = 0.05
"""The machine is idle when strangers use no more than this share of its CPUs."""


@dataclass(frozen=True)
class Placement:
    """The seat of the contender, and the one that the load shares with the backend."""

    contender: Seat
    load: Seat

    @classmethod
    def choose(cls, pinned: bool, niceness: int = 0) -> Placement:
        """The contender has the last CPU for itself, load and backend share the first.

        So a contender is never slowed by its own load, "direct" has the CPU that the load of all others has,
        and the figures of a big machine compare with those of a small one.
        """
        cpus = sorted(os.sched_getaffinity(0))
        if not pinned or len(cpus) < 2:
            return cls(Seat(niceness=niceness), Seat(niceness=niceness))
        return cls(Seat(frozenset(cpus[-1:]), niceness), Seat(frozenset(cpus[:1]), niceness))


@dataclass(frozen=True)
class CpuTimes:
    """Sums over all CPUs since boot, in seconds: processes; what the hypervisor took; all, idleness too."""

    busy: float
    stolen: float
    total: float

    @classmethod
    def parse(cls, stat: str, ticks_per_second: int) -> CpuTimes:
        """From the text of /proc/stat; time in interrupts is nobody's and so in `total` only."""
        user, nice, system, idle, iowait, irq, softirq, steal = (
            int(field) / ticks_per_second for field in stat.split("\n", 1)[0].split()[1:9]
        )
        busy = user + nice + system
        return cls(busy, steal, busy + idle + iowait + irq + softirq + steal)

    @classmethod
    def now(cls) -> CpuTimes:
        return cls.parse(Path("/proc/stat").read_text(), os.sysconf("SC_CLK_TCK"))


def foreign_share(before: CpuTimes, after: CpuTimes, ours_seconds: float) -> float:
    """The share of all CPUs that others had in between: other processes and the hypervisor's other guests."""
    total = after.total - before.total
    others = after.busy - before.busy - ours_seconds + after.stolen - before.stolen
    return max(0.0, others / total) if total > 0 else 0.0


@contextmanager
def alone(patience_seconds: float, tell: Callable[[str], None]) -> Iterator[None]:
    """A context that only one benchmark of this user is in at a time: two would measure each other.

    :raises TimeoutError: when the other one does not end in time.
    """
    with (Path(tempfile.gettempdir()) / f"{_LOCK}.{os.getuid()}").open("w") as lock:
        if not _locked(lock):
            tell("another benchmark is running: waiting for its end")
            if not wait_until(lambda: _locked(lock), patience_seconds, every=0.5):
                raise TimeoutError(f"another benchmark still runs after {patience_seconds:.0f} s")
        yield


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _python_build() -> str:
    optimised = is_optimised(sysconfig.get_config_vars())
    return "optimised build" if optimised else "build without profile-guided optimisation"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _commit(folder: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def describe(placement: Placement) -> Mapping[str, object]:
    """What a reader of the figures must know about where they come from."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "kernel": platform.release(),
        "python": f"{platform.python_version()} ({_python_build()})",
        "commit": _commit(Path(__file__).parent),
        "contender_cpus": sorted(placement.contender.cpus),
        "load_cpus": sorted(placement.load.cpus),
        "niceness": placement.load.niceness,
        "load_average": os.getloadavg(),
    }
