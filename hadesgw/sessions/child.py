"""An agent's process: lines in and out, what it complains of, and an end that leaves nothing behind.

However much it writes, no more than a line is held, and no more is read than the rest of the gateway can live with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from hadesgw.sessions.enclosure import INFO_DESCRIPTOR
from hadesgw.sessions.family import Family
from hadesgw.sessions.jsonl import Lines, line

LINE_LIMIT = 16 << 20
"""Bytes; a line may hold a whole diff."""
BYTES_PER_SECOND = 8 << 20
"""What is read of a child in the long run, a line's own cost included."""
LINE_COST = 1 << 10
"""Bytes that a line counts for besides its own: many small ones are as much work as a large one."""
PAUSE_SECONDS = 0.05
GRACE_SECONDS = 2.0
"""How long a child may take to end when its input has."""
LOOK_SECONDS = 0.005
"""Between two looks at what is left of it, unless looking takes long: then nine times as long as that."""
LAST_LOOKS = 2_000
_COMPLAINT = 2_000
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f]")


class Reactor(IReactorProcess, IReactorTime):
    """What a child needs of a reactor: processes and time."""


class Listener(Protocol):
    """Who hears what a child says."""

    def line(self, data: bytes) -> None:
        """A line, without its end."""

    def overlong(self) -> None:
        """A line was left out: it was longer than :data:`LINE_LIMIT`."""

    def ended(self, reason: str) -> None:
        """The child and all its descendants are gone; one line says how it ended."""


class Child(ProcessProtocol):
    """One process and its descendants.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param family: what is left of it.
    :param listener: is told.
    """

    transport: Any  # Twisted's process can be paused, which its interface does not say

    def __init__(self, reactor: Any, family: Family, listener: Listener) -> None:
        self._reactor = reactor
        self._family = family
        self._listener = listener
        self._lines = Lines(LINE_LIMIT)
        self._allowance = float(2 * BYTES_PER_SECOND)
        self._counted = reactor.seconds()
        self._resume: IDelayedCall | None = None
        self._complaint = ""
        self._stopping: list[Deferred[None]] = []
        self._late: IDelayedCall | None = None
        self._pursuit: IDelayedCall | None = None
        self._looks = 0
        self._ending = ""
        self._done = False

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
        """Start it.

        :param folder: to start it in; None for one that finds its own way, which spares a copy of this process.
        :raises OSError: if it cannot be started, or the system has no room for another process.
        """
        streams = {0: "w", 1: "r", 2: "r", INFO_DESCRIPTOR: "r"}
        self._reactor.spawnProcess(self, command[0], list(command), dict(environment), folder, childFDs=streams)

    def write(self, message: dict[str, Any]) -> None:
        """Send it a message; one that has ended does not hear it."""
        if self._runs:
            self.transport.write(line(message))

    @property
    def complaint(self) -> str:
        """The last line it complained in, or "". It may speak of what the user's files hold: no log is to have it."""
        lines = _CONTROL.sub("", self._complaint).strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""

    def stop(self) -> Deferred[None]:
        """End it: its input ends, then it is killed if it takes long.

        :returns: fires when nothing of it is left.
        """
        if not self._runs:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._stopping.append(gone)
        if len(self._stopping) == 1:
            self._resume_reading()
            self._late = self._reactor.callLater(GRACE_SECONDS, self.kill)
            self.transport.closeStdin()
        return gone

    def kill(self) -> None:
        """End it at once."""
        if self._runs:
            try:
                self.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass
            self._family.kill()

    @property
    def _runs(self) -> bool:
        return self.transport is not None and not self._done

    # -- What the process does -----------------------------------------------------------------------------------------

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - its name in Twisted
        """It wrote something."""
        if childFD == 1:
            self._said(data)
        elif childFD == 2:
            self._spend(len(data))
            self._complaint = (self._complaint + data.decode(errors="replace"))[-_COMPLAINT:]
        else:
            self._family.told(data)

    def _said(self, data: bytes) -> None:
        lines = self._lines.feed(data)
        self._spend(len(data) + LINE_COST * len(lines))
        for found in lines:
            if found is None:
                self._listener.overlong()
            else:
                self._listener.line(found)

    def _spend(self, cost: int) -> None:
        now = self._reactor.seconds()
        self._allowance = min(self._allowance + (now - self._counted) * BYTES_PER_SECOND, 2.0 * BYTES_PER_SECOND) - cost
        self._counted = now
        if self._allowance < 0 and self._resume is None and not self._stopping:
            self.transport.pauseProducing()
            pause = max(PAUSE_SECONDS, -self._allowance / BYTES_PER_SECOND)
            self._resume = self._reactor.callLater(pause, self._resume_reading)

    def _resume_reading(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            _cancel(resume)
            self.transport.resumeProducing()

    def processExited(self, reason: Failure) -> None:
        """It has been reaped. Descendants may hold on to its output: they have to go before all of it is read."""
        self._ending = _how(reason)
        self._pursue()

    def _pursue(self) -> None:
        begun = self._reactor.seconds()
        self._family.kill()
        self._looks += 1
        if self._looks < LAST_LOOKS:
            self._pursuit = self._reactor.callLater(self._pause(begun), self._pursue)

    def _pause(self, begun: float) -> float:
        """How long until the next look, after one that was begun then."""
        taken: float = self._reactor.seconds() - begun
        return max(LOOK_SECONDS, 9 * taken)

    def processEnded(self, reason: Failure) -> None:
        """It is reaped and all it wrote is read; nothing of it may be left when we tell."""
        for call in (self._resume, self._late, self._pursuit):
            _cancel(call)
        self._looks = 0
        self._look()

    def _look(self) -> None:
        begun = self._reactor.seconds()
        self._looks += 1
        if not self._family.gone() and self._looks < LAST_LOOKS:
            self._family.kill()
            self._reactor.callLater(self._pause(begun), self._look)
        else:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._family.close()
        waiting, self._stopping = self._stopping, []
        self._listener.ended(self._ending)
        for gone in waiting:
            gone.callback(None)


def _how(reason: Failure) -> str:
    if reason.check(ProcessDone):
        return "it ended"
    signal = getattr(reason.value, "signal", None)
    if signal is not None:
        return f"it was ended by signal {signal}"
    return f"it ended with exit status {getattr(reason.value, 'exitCode', 'unknown')}"


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
