"""A child that floods, stalls, chatters or will not go."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.child import BYTES_PER_SECOND, GRACE_SECONDS, LINE_LIMIT, Child
from tests.sessions.scripted import ScriptedProcess, ScriptedReactor


class Survivors:
    """A family of which some live on for a while."""

    def __init__(self) -> None:
        self.left = 0
        self.said = b""
        self.kills = 0
        self.closed = False

    def told(self, data: bytes) -> None:
        self.said += data

    def kill(self) -> None:
        self.kills += 1

    def gone(self) -> bool:
        self.left -= 1
        return self.left < 0

    def close(self) -> None:
        self.closed = True


class Ears:
    """All that a child says."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.overlong_lines = 0
        self.ends: list[str] = []

    def line(self, data: bytes) -> None:
        self.lines.append(data)

    def overlong(self) -> None:
        self.overlong_lines += 1

    def ended(self, reason: str) -> None:
        self.ends.append(reason)


class ChildTestCase(SynchronousTestCase):
    """A child of a script."""

    def setUp(self) -> None:
        self.reactor = ScriptedReactor()
        self.family = Survivors()
        self.ears = Ears()
        self.child = Child(self.reactor, self.family, self.ears)
        self.child.start(["codex", "app-server"], {"PATH": "/bin"}, "/srv/app")

    @property
    def process(self) -> ScriptedProcess:
        [process] = self.reactor.processes
        return process


class OutputTests(ChildTestCase):
    """What it writes."""

    def test_lines_are_heard(self) -> None:
        """Whole, and each once."""
        self.process.print(b'{"a":1}\n{"b"')
        self.process.print(b":2}\n")
        self.assertEqual(self.ears.lines, [b'{"a":1}', b'{"b":2}'])

    def test_messages_are_lines(self) -> None:
        """What we write to it, too; after its end nothing is written."""
        self.child.write({"id": 1})
        self.process.end(0)
        self.child.write({"id": 2})
        self.assertEqual(self.process.written, [{"id": 1}])

    def test_an_endless_line(self) -> None:
        """Is held no further than the limit, and is said to have been left out."""
        for _ in range(2 * LINE_LIMIT // (1 << 20)):
            self.process.print(b"x" * (1 << 20))
            self.reactor.advance(1)
        self.assertLessEqual(len(self.child._lines._begun), LINE_LIMIT)
        self.process.print(b"\n{}\n")
        self.assertEqual((self.ears.overlong_lines, self.ears.lines), (1, [b"{}"]))

    def test_a_flood_is_read_at_a_bounded_pace(self) -> None:
        """Whatever it writes, in the long run no more is read than so many bytes a second."""
        read, seconds = 0, 10
        for _ in range(seconds * 100):
            while not self.process.paused and read < 1 << 30:
                self.process.print(b"x" * 65_535 + b"\n")
                read += 65_536
            self.reactor.advance(0.01)
        self.assertLess(read, (seconds + 4) * BYTES_PER_SECOND)
        self.assertGreater(read, (seconds - 4) * BYTES_PER_SECOND)

    def test_many_small_lines_are_a_flood_too(self) -> None:
        """They are as much work as large ones."""
        read = 0
        for _ in range(500):
            while not self.process.paused:
                self.process.print(b"{}\n" * 100)
                read += 100
            self.reactor.advance(0.01)
        self.assertLess(read, 9 * BYTES_PER_SECOND // 1_024)

    def test_a_flood_of_complaints_is_one_too(self) -> None:
        """What is read of them counts as its output does."""
        read = 0
        for _ in range(500):
            while not self.process.paused and read < 1 << 27:
                self.process.complain("x" * 65_536)
                read += 65_536
            self.reactor.advance(0.01)
        self.assertLess(read, 9 * BYTES_PER_SECOND)

    def test_complaints_are_bounded(self) -> None:
        """The last line is kept, without colours, however much there was before."""
        self.process.complain("x" * 100_000)
        self.process.complain("\n\x1b[31mERROR\x1b[0m no such file\n")
        self.assertEqual(self.child.complaint, "ERROR no such file")

    def test_its_family_is_told_of(self) -> None:
        """What bubblewrap says of it goes where it belongs, and is no line."""
        self.process.protocol.childDataReceived(3, b'{"child-pid": 7}')
        self.assertEqual((self.family.said, self.ears.lines), (b'{"child-pid": 7}', []))


class EndTests(ChildTestCase):
    """How it ends."""

    def test_by_itself(self) -> None:
        """The reason is in a line, and is told once."""
        self.process.end(3)
        self.assertEqual(self.ears.ends, ["it ended with exit status 3"])

    def test_by_a_signal(self) -> None:
        """Which one is said."""
        self.process.end(signal=11)
        self.assertEqual(self.ears.ends, ["it was ended by signal 11"])

    def test_stopped(self) -> None:
        """An obedient one ends when its input does; whoever stops it twice waits for the same end."""
        first, second = self.child.stop(), self.child.stop()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.child.stop())
        self.assertEqual((self.ears.ends, self.family.closed), (["it ended"], True))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stubborn(self) -> None:
        """One that goes on is killed when it has had its time."""
        self.process.obedient = False
        stopped = self.child.stop()
        self.reactor.advance(GRACE_SECONDS - 0.1)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(self.ears.ends, ["it was ended by signal 9"])

    def test_survivors_are_pursued(self) -> None:
        """It is not at its end while a descendant lives."""
        self.family.left = 5
        stopped = self.child.stop()
        self.assertNoResult(stopped)
        self.assertEqual(self.ears.ends, [])
        self.reactor.pump([0.005] * 6)
        self.successResultOf(stopped)
        self.assertGreaterEqual(self.family.kills, 5)

    def test_looks_that_take_long(self) -> None:
        """Are so seldom that the gateway has nine tenths of its time for others."""
        self.family.left = 40
        gone, looks = self.family.gone, []

        def slow() -> bool:
            looks.append(self.reactor.seconds())
            self.reactor.rightNow += 0.02  # a machine with many processes
            return gone()

        self.family.gone = slow  # type: ignore[method-assign]
        stopped = self.child.stop()
        self.reactor.pump([0.01] * 1_000)
        self.successResultOf(stopped)
        pauses = [later - earlier for earlier, later in pairwise(looks)]
        self.assertGreaterEqual(min(pauses), 0.19)

    def test_output_that_stays_open(self) -> None:
        """A descendant that keeps its output open is ended before that has been read to its end."""
        self.process.ended = True
        self.process.protocol.processExited(Failure(ProcessDone(0)))
        self.assertEqual((self.family.kills, self.ears.ends), (1, []))
        self.reactor.advance(0.01)
        self.assertEqual(self.family.kills, 2)
        self.process.protocol.processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.ears.ends, ["it ended"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped_while_it_floods(self) -> None:
        """Its output is read again so that it can end."""
        while not self.process.paused:
            self.process.print(b"{}\n" * 1_000)
        self.process.obedient = False
        stopped = self.child.stop()
        self.assertFalse(self.process.paused)
        self.process.print(b"{}\n" * 100_000)
        self.assertFalse(self.process.paused)
        self.process.end(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_never_started(self) -> None:
        """There is nothing to stop or to kill."""
        child = Child(Clock(), self.family, self.ears)
        child.kill()
        self.successResultOf(child.stop())
