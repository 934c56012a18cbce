"""What chats feel of sessions: how long they take while nothing else goes on and while agents work, in turn, and how
much others had of the machine meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event

from tests.real.codex.pulse import Pulse, p95
from tests.real.processes import PROC, descendants

CALM_SECONDS = 3.0
SLOWER = 2.0
"""How much longer a chat may take while agents work."""
GRACE_SECONDS = 0.005
MOST_FOREIGN = 0.1
"""The part of the machine's CPU time that others may have had in a round that is judged."""
_TICKS = os.sysconf("SC_CLK_TCK")
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the machine and this process began.

    :ivar all: of everybody.
    :ivar ours: of this process, its descendants, and those of them that have ended.
    """

    moment: float
    all: float
    ours: float

    @classmethod
    def now(cls) -> Usage:
        fields = [int(word) for word in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
        idle = fields[3] + fields[4]
        family = [os.getpid(), *(process.pid for process in descendants(os.getpid()))]
        return cls(time.monotonic(), (sum(fields) - idle) / _TICKS, sum(map(_used, family)))

    def foreign(self, later: Usage) -> float:
        """The part of all CPUs' time until then that others had."""
        theirs = (later.all - self.all) - (later.ours - self.ours)
        return max(0.0, theirs) / ((later.moment - self.moment) * (os.cpu_count() or 1))


def _used(pid: int) -> float:
    """CPU seconds of a process and of its children that it has waited for."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


@dataclass(frozen=True)
class Round:
    """What chats have felt.

    :ivar calm: seconds within which 95 of 100 were answered while nothing else went on.
    :ivar busy: the same while agents worked.
    :ivar foreign: the part of the machine that others had meanwhile.
    """

    calm: float
    busy: float
    foreign: float

    @property
    def slower(self) -> float:
        """How many times as long they took; 1 where the difference is too small to be felt."""
        return 1.0 if self.busy <= self.calm + GRACE_SECONDS else self.busy / self.calm

    def __str__(self) -> str:
        return (
            f"chat p95: {1000 * self.calm:.1f} ms when calm, {1000 * self.busy:.1f} ms beside agents"
            f" ({self.busy / self.calm:.2f} x), others had {100 * self.foreign:.0f} % of the machine"
        )


class Rounds:
    """Calm and work in turn, so that what changes on the machine meanwhile changes both."""

    def __init__(self, pulse: Pulse) -> None:
        self.pulse = pulse
        self.rounds: list[Round] = []

    def play(self, work: Callable[[], object]) -> None:
        """One more.

        :param work: what is done after the calm.
        """
        before = Usage.now()
        Event().wait(CALM_SECONDS)
        begun = time.monotonic()
        work()
        over = time.monotonic()
        foreign = before.foreign(Usage.now())
        calm, busy = self.pulse.between(before.moment, begun), self.pulse.between(begun, over)
        self.rounds.append(Round(p95(calm), p95(busy), foreign))
        print(self.rounds[-1])

    def complaint(self) -> str | None:
        """Why chats suffer too much, or None: by the median of all rounds, or else of those in which others had little
        of the machine. Where that cannot be known it is said, and nothing is judged.
        """
        quiet = [each for each in self.rounds if each.foreign < MOST_FOREIGN]
        if self._slower(self.rounds) <= SLOWER:
            return None
        why = ""
        if 2 * len(quiet) < len(self.rounds):
            others = median(each.foreign for each in self.rounds)
            why = f"others have {100 * others:.0f} % of this machine"
        elif not nice_counts():
            why = "between process sessions this kernel heeds no niceness"
        elif self._slower(quiet) > SLOWER:
            return f"chats were slowed down: {', '.join(map(str, quiet))}"
        if why:
            print(f"NOT JUDGED: chats beside agents, for {why}")
        return None

    def _slower(self, rounds: list[Round]) -> float:
        slower = median(each.slower for each in rounds)
        print(f"chats take {slower:.2f} times as long beside agents, in the median of {len(rounds)} rounds")
        return slower


def nice_counts() -> bool:
    """Whether niceness counts between processes of different process sessions here: sched(7), autogroups."""
    if not _AUTOGROUP.exists() or _AUTOGROUP.read_text().strip() == "0":
        return True
    for line in (PROC / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(",") and path != "/":
            return True
        if not controllers and Path(f"/sys/fs/cgroup{path}/cpu.weight").exists():
            return True
    return False
