"""The watch over what is listened on: at the start, every thirty seconds, and told once for each change."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.interfaces import IListenerObserver
from hadesgw.policy.exposure import Address, Held, Wanted
from hadesgw.service.processes import listeners
from hadesgw.service.surplus import EVERY_SECONDS, Surplus, SurplusWatch, compare_running

DOOR = Address.of("127.0.0.1", 8082)
OTHER = Address.of("0.0.0.0", 9999)


@implementer(IListenerObserver)
class _Gauge:
    def __init__(self) -> None:
        self.values: list[int] = []

    def unexpected_listeners(self, count: int) -> None:
        self.values.append(count)


class _Log:
    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        assert name == "unexpected_listeners"
        self.told.append((level, facts["listeners"]))


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.gauge, self.log = Clock(), _Gauge(), _Log()
        verifyObject(IListenerObserver, self.gauge)
        self.held: list[Held] | OSError = []
        self.asked: list[int] = []
        self.watch = self.make(maybeDeferred)

    def make(self, in_thread: Any) -> SurplusWatch:
        return SurplusWatch(self.clock, self.look, in_thread, lambda: 7, self.gauge, self.log)  # type: ignore[arg-type]

    def look(self, pid: int) -> list[Held]:
        self.asked.append(pid)
        if isinstance(self.held, OSError):
            raise self.held
        return self.held

    def serve(self) -> None:
        """Start, and listen where it was declared."""
        self.watch.begin({DOOR})
        self.held = [Held(7, DOOR)]
        self.watch.startService()
        self.addCleanup(self.watch.stopService)


class WatchTests(_Case):
    """One process, 7, and its child, 8."""

    def test_a_start_with_nothing_too_much(self) -> None:
        """Nothing listens yet but what was inherited and declared; the gauge is there from the first scrape on."""
        self.held = [Held(7, DOOR)]
        self.watch.begin({DOOR})
        self.assertEqual((self.gauge.values, self.log.told, self.asked), ([0], [], [7]))

    def test_a_start_with_something_too_much(self) -> None:
        """Is refused; the line names the place and the process."""
        self.held = [Held(7, DOOR), Held(8, OTHER)]
        error = self.assertRaises(Surplus, self.watch.begin, {DOOR})
        self.assertIn("where server.listen does not say: tcp:0.0.0.0:9999 (process 8)", str(error))

    def test_a_start_that_cannot_see(self) -> None:
        """Is refused: nobody could say that all is well."""
        self.held = FileNotFoundError(2, "No such file or directory", "/proc/7/net/tcp")
        error = self.assertRaises(Surplus, self.watch.begin, {DOOR})
        self.assertIn("/proc/7/net/tcp: No such file", str(error))

    def test_every_thirty_seconds(self) -> None:
        """Not earlier, again and again, until it is stopped."""
        self.serve()
        self.clock.advance(EVERY_SECONDS - 0.1)
        self.assertEqual(len(self.asked), 1)
        self.clock.pump([0.1, EVERY_SECONDS, EVERY_SECONDS])
        self.assertEqual(len(self.asked), 4)
        self.watch.stopService()
        self.clock.advance(EVERY_SECONDS)
        self.assertEqual((len(self.asked), self.clock.getDelayedCalls()), (4, []))

    def test_a_change_is_told_once(self) -> None:
        """By the log when it comes and when it goes, by the gauge always."""
        self.serve()
        for held, count in (
            ([Held(7, DOOR)], 0),
            ([Held(7, DOOR), Held(8, OTHER)], 1),
            ([Held(8, OTHER), Held(7, DOOR)], 1),
            ([Held(7, DOOR), Held(7, OTHER), Held(8, OTHER)], 2),
            ([Held(7, DOOR)], 0),
            ([Held(7, DOOR)], 0),
        ):
            self.held = held
            self.clock.advance(EVERY_SECONDS)
            self.assertEqual(self.gauge.values[-1], count)
        child, own = "tcp:0.0.0.0:9999 (process 8)", "tcp:0.0.0.0:9999 (process 7)"
        self.assertEqual(self.log.told, [("error", [child]), ("error", [own, child]), ("info", [])])

    def test_what_cannot_be_seen_any_more(self) -> None:
        """Is told once, and the watch goes on."""
        self.serve()
        self.held = PermissionError(13, "Permission denied")
        self.clock.pump([EVERY_SECONDS] * 2)
        self.held = [Held(7, DOOR)]
        self.clock.advance(EVERY_SECONDS)
        self.assertEqual([level for level, _ in self.log.told], ["error", "info"])
        self.assertIn("cannot be seen", str(self.log.told[0][1]))
        self.assertEqual(self.gauge.values, [0, 0])

    def test_one_look_at_a_time(self) -> None:
        """A slow one is waited for; one that ends after the watch has been stopped disturbs nobody."""
        looks: list[Deferred[list[Held]]] = []

        def slowly(look: object) -> Deferred[list[Held]]:
            looks.append(Deferred())
            return looks[-1]

        self.watch = self.make(slowly)
        self.serve()
        self.clock.pump([EVERY_SECONDS] * 3)
        self.assertEqual(len(looks), 1)
        looks[0].callback([])
        self.clock.advance(EVERY_SECONDS)
        self.watch.stopService()
        looks[1].callback([])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ChildTests(_Case):
    """A real child of this very process."""

    def test_a_child_that_listens(self) -> None:
        """Is told at the next look, by metric and log, and when it is gone that too."""
        held = set(listeners(os.getpid()))  # a runner may listen for its own purposes
        self.watch = SurplusWatch(self.clock, listeners, maybeDeferred, os.getpid, self.gauge, self.log)  # type: ignore[arg-type]
        self.watch.begin({socket.address for socket in held})
        self.watch.startService()
        self.addCleanup(self.watch.stopService)
        program = (
            "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", f"{program}; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None and child.stdout is not None
        with child.stdin, child.stdout:
            port = int(child.stdout.readline())
            self.clock.advance(EVERY_SECONDS)
        child.wait()
        self.clock.advance(EVERY_SECONDS)
        self.assertEqual(self.gauge.values, [0, 1, 0])
        self.assertEqual(self.log.told, [("error", [f"tcp:127.0.0.1:{port} (process {child.pid})"]), ("info", [])])


class RunningTests(SynchronousTestCase):
    """`compare_running`, which `hadesgw check --pid` asks."""

    def test_as_configured(self) -> None:
        """Nothing is said."""
        compare_running(7, [Held(7, DOOR)], [Wanted("tcp:8082", DOOR.host, 8082)])

    def test_too_much_and_missing(self) -> None:
        """The surplus goes before, for it is the danger."""
        wanted = [Wanted("tcp:8082:interface=127.0.0.1", DOOR.host, 8082)]
        error = self.assertRaises(Surplus, compare_running, 7, [Held(7, OTHER)], wanted)
        self.assertEqual(str(error), "process 7 listens where server.listen does not say: tcp:0.0.0.0:9999 (process 7)")
        error = self.assertRaises(Surplus, compare_running, 7, [], wanted)
        self.assertEqual(str(error), "process 7 does not listen where server.listen says: tcp:8082:interface=127.0.0.1")
