"""The child process, started and ended in memory; `tests/real/test_rehearsal.py` has real ones."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.process import LocalModelProcess, NotServing, RehearsalProcess


class Child:
    """What a process transport is to its parent."""

    def __init__(self) -> None:
        self.stdin_closed = False
        self.signals: list[str] = []
        self.gone = False

    def closeStdin(self) -> None:  # noqa: N802
        self.stdin_closed = True

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class Processes(Clock):
    """A reactor that starts nothing and remembers what it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.child = Child()
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}

    def spawnProcess(  # noqa: N802
        self, protocol: Any, program: str, args: list[str], env: dict[str, str]
    ) -> None:
        self.protocol, self.arguments, self.environment = protocol, [program, *args], env
        protocol.makeConnection(self.child)

    def end(self, failure: Exception) -> None:
        """The child ends."""
        self.child.gone = True
        self.protocol.processEnded(Failure(failure))


class ProcessTests(SynchronousTestCase):
    """Start and stop."""

    def setUp(self) -> None:
        self.reactor = Processes()
        self.socket = Path(self.mktemp())

    def process(self, **more: Any) -> RehearsalProcess:
        return RehearsalProcess(self.reactor, self.socket, models=["a", "b"], **more)  # type: ignore[arg-type]

    def test_the_child_gets_what_it_needs_and_no_more(self) -> None:
        """Its options as arguments, its parent's pipe, and nothing of the parent's environment."""
        self.process(script=Path("s.toml"), tokens_per_second=5, context_tokens=99).start()
        options = " ".join(self.reactor.arguments)
        self.assertIn(f"-P -m hadesgw.demo --until-stdin-closes --socket {self.socket}", options)
        self.assertIn("--tokens-per-second 5 --context-tokens 99 --script s.toml --model a b", options)
        self.assertEqual(set(self.reactor.environment), {"PATH", "PYTHONPATH", "LANG"})

    def test_a_model_file_is_another_program_s(self) -> None:
        """The child that serves it is started the same way."""
        LocalModelProcess(
            self.reactor,  # type: ignore[arg-type]
            self.socket,
            gguf=Path("/m/-x y.gguf"),
            name="x-y",
            context_tokens=99,
        ).start()
        module, options = self.reactor.arguments[4], self.reactor.arguments[5:]
        self.assertEqual(module, "hadesgw.demo.local_model")
        self.assertEqual(
            options,
            [
                *("--until-stdin-closes", "--socket", str(self.socket)),
                *("--gguf=/m/-x y.gguf", "--model=x-y", "--context-tokens=99"),
            ],
        )
        self.assertEqual(set(self.reactor.environment), {"PATH", "PYTHONPATH", "LANG"})

    def test_it_has_started_when_it_says_so(self) -> None:
        """However the word comes, and nothing is left to wait for."""
        started = self.process().start()
        self.reactor.protocol.outReceived(b"REA")
        self.assertNoResult(started)
        self.reactor.protocol.outReceived(b"DY\n")
        self.assertIsNone(self.successResultOf(started))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_child_that_ends_at_once_has_failed(self) -> None:
        """The failure is in its own words, or tells how it ended."""
        for words, expected in ((b"no such socket", "no such socket"), (b"", "exit code 3")):
            reactor = self.reactor = Processes()
            started = self.process().start()
            reactor.protocol.errReceived(words)
            reactor.end(ProcessTerminated(3))
            self.assertIn(expected, str(self.failureResultOf(started, NotServing).value))
            self.assertEqual(reactor.getDelayedCalls(), [])

    def test_a_child_that_never_serves_is_killed(self) -> None:
        """And that is what the failure says."""
        started = self.process(ready_seconds=4).start()
        self.reactor.advance(3.9)
        self.assertEqual(self.reactor.child.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.child.signals, ["KILL"])
        self.reactor.end(ProcessTerminated(None, signal.SIGKILL))
        self.assertEqual(str(self.failureResultOf(started, NotServing).value), "it did not serve in time")

    def test_it_is_started_once(self) -> None:
        """Another start is a mistake of the caller's."""
        process = self.process()
        process.start()
        self.assertRaises(RuntimeError, process.start)

    def started(self, **more: Any) -> RehearsalProcess:
        process = self.process(**more)
        process.start()
        self.reactor.protocol.outReceived(b"READY\n")
        return process

    def test_it_stops_when_its_parent_lets_go(self) -> None:
        """The pipe is closed, the child ends by itself, its socket is gone."""
        process = self.started()
        self.socket.touch()
        stopped = process.stop()
        self.assertTrue(self.reactor.child.stdin_closed)
        self.assertNoResult(stopped)
        self.reactor.end(ProcessDone(0))
        self.assertIsNone(self.successResultOf(stopped))
        self.assertFalse(self.socket.exists())
        self.assertEqual((self.reactor.child.signals, self.reactor.getDelayedCalls()), ([], []))

    def test_one_that_does_not_go_is_killed(self) -> None:
        """After its grace, and it is still waited for."""
        stopped = self.started(grace_seconds=2).stop()
        self.reactor.advance(1.9)
        self.assertEqual(self.reactor.child.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.child.signals, ["KILL"])
        self.assertNoResult(stopped)
        self.reactor.end(ProcessTerminated(None, signal.SIGKILL))
        self.assertIsNone(self.successResultOf(stopped))

    def test_stopping_what_does_not_run_is_done_at_once(self) -> None:
        """Before a start, after an end, and with a child that ends while it is killed."""
        self.assertIsNone(self.successResultOf(self.process().stop()))
        process = self.started(grace_seconds=1)
        self.reactor.child.gone = True
        stopped = process.stop()
        self.reactor.advance(2)
        self.reactor.end(ProcessDone(0))
        self.assertIsNone(self.successResultOf(stopped))
        self.assertIsNone(self.successResultOf(process.stop()))

    def test_several_can_wait_for_the_same_end(self) -> None:
        """Each is told."""
        process = self.started()
        waiting = [process.stop(), process.stop()]
        self.reactor.end(ProcessDone(0))
        self.assertEqual([self.successResultOf(one) for one in waiting], [None, None])
