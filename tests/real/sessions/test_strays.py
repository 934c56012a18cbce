"""Agents that end before bubblewrap has said which processes they are: what they leave is found by its home."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from hadesgw.sessions.child import Child
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.family import Namespace, kill_strays
from tests.real.processes import PROC
from tests.real.waiting import wait_for

SLEEP = "74318"
"""Seconds; known by them is what is left over."""


class Ears:
    """Waits for an end."""

    def __init__(self) -> None:
        self.end: Deferred[str] = Deferred()

    def line(self, data: bytes) -> None:
        """It says nothing."""

    def overlong(self) -> None:
        """Nor this."""

    def ended(self, reason: str) -> None:
        self.end.callback(reason)


class StrayTests(TestCase):
    """Real processes, with homes of their own."""

    timeout = 60

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hadesgw-")).resolve()
        self.addCleanup(remove_tree, self.home)
        self.addCleanup(kill_strays, self.home)

    def left(self) -> list[int]:
        """Who sleeps with that home."""
        found = []
        for entry in PROC.iterdir():
            try:
                asleep = entry.name.isdigit() and (entry / "cmdline").read_bytes() == f"sleep\0{SLEEP}\0".encode()
                if asleep and f"HOME={self.home}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it has gone
                continue
        return found

    async def test_killed_before_its_family_is_known(self) -> None:
        """An agent whose first process dies so early is at its end soon all the same, and nothing of it is left."""
        ears = Ears()
        child = Child(reactor, Namespace(self.home), ears)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home)}
        child.start(["/bin/sh", "-c", f"sleep {SLEEP} & kill -9 $$"], environment, None)
        ears.end.addTimeout(20, reactor)
        self.assertEqual(await ears.end, "it was ended by signal 9")
        self.assertEqual(self.left(), [])

    def test_left_by_a_gateway_that_is_dead(self) -> None:
        """The next gateway ends what has its home among the folders that it takes away, and nobody else."""
        root = self.home / "state"
        deserted = root / "gateway-dead" / "agent"
        deserted.mkdir(parents=True)
        (root / "gateway-dead" / "lock").touch()
        homes = Homes(root, [], remove_tree)
        theirs = [self.sleep(deserted), self.sleep(self.home / "stateless")]
        self.addCleanup(theirs[1].wait)
        self.addCleanup(theirs[1].kill)
        homes.open()
        self.addCleanup(homes.close)
        wait_for(lambda: theirs[0].poll() is not None, "it is ended", 10)
        self.assertIsNone(theirs[1].poll())

    def sleep(self, home: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", SLEEP], env={"PATH": "/usr/bin:/bin", "HOME": str(home)})
