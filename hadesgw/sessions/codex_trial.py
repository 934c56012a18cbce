"""Whether the Codex of this machine is the one we speak with, and whether it can confine what it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from hadesgw.sessions.codex_program import version_obstacle

TRIAL_SECONDS = 20.0
_KEPT = 4096

Wrap = Callable[[Sequence[str]], tuple[list[str], dict[str, str]]]
"""Makes of a command the one that runs it as an agent would be run, and that one's environment."""


class _Tried(ProcessProtocol):
    """A short process: what it printed, and how it ended."""

    transport: Any

    def __init__(self) -> None:
        self.over: Deferred[None] = Deferred()
        self.printed = ""
        self.complaint = ""
        self.status: int | None = None

    def outReceived(self, data: bytes) -> None:
        """It printed something."""
        self.printed = (self.printed + data.decode(errors="replace"))[:_KEPT]

    def errReceived(self, data: bytes) -> None:
        """It complained."""
        self.complaint = (self.complaint + data.decode(errors="replace"))[-_KEPT:]

    def processEnded(self, reason: Failure) -> None:
        """It is over."""
        self.status = getattr(reason.value, "exitCode", None)
        self.over.callback(None)

    def kill(self) -> None:
        """It took too long."""
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return


class Trial:
    """Runs Codex for a moment, to see.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param program: the binary.
    :param wrap: how an agent would be run.
    :param enclosed: whether an agent's commands are to be confined.
    :ivar obstacle: what stands in the way, as one line, as soon as that is known; None if nothing does.
    """

    def __init__(self, reactor: Any, program: Path, wrap: Wrap, *, enclosed: bool) -> None:
        self._reactor = reactor
        self._wrap = wrap
        self.obstacle: str | None = None
        self._over = False
        self._waiting: list[Deferred[None]] = []
        version = self._run([str(program), "--version"])
        # Enclosed, this is a sandbox in a sandbox, as every command of an agent will be.
        sandbox = self._run([str(program), "sandbox", "--", "true"]) if enclosed else None
        runs = [version] if sandbox is None else [version, sandbox]
        DeferredList([run.over for run in runs]).addCallback(lambda _: self._judge(version, sandbox))

    def made(self) -> Deferred[None]:
        """Fires when the trial is over."""
        waiting: Deferred[None] = Deferred()
        if self._over:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def _run(self, command: Sequence[str]) -> _Tried:
        tried = _Tried()
        words, environment = self._wrap(command)
        try:
            self._reactor.spawnProcess(tried, words[0], words, environment, childFDs={0: "w", 1: "r", 2: "r", 3: "r"})
        except OSError as error:
            tried.complaint = error.strerror or "it cannot be started"
            tried.over.callback(None)
            return tried
        tried.transport.closeStdin()
        late = self._reactor.callLater(TRIAL_SECONDS, tried.kill)
        tried.over.addCallback(lambda _: late.cancel() if late.active() else None)
        return tried

    def _judge(self, version: _Tried, sandbox: _Tried | None) -> None:
        if sandbox is not None and sandbox.status != 0 and "bwrap:" in version.complaint + sandbox.complaint:
            self.obstacle = _unconfined(sandbox.complaint or version.complaint)
        elif version.status != 0:
            self.obstacle = f"Codex does not run here: {_first(version.complaint)}"
        else:
            self.obstacle = version_obstacle(version.printed)
        if self.obstacle is None and sandbox is not None and sandbox.status != 0:
            self.obstacle = _unconfined(sandbox.complaint)
        self._over = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


def _unconfined(complaint: str) -> str:
    return (
        f"Codex cannot be confined here ({_first(complaint)}), so none is started: let this user make namespaces (see"
        ' docs/sessions.md), or in a container that is a sandbox itself set sessions.codex.confinement = "none"'
    )


def _first(complaint: str) -> str:
    lines = complaint.strip().splitlines()
    return lines[0].strip()[:200] if lines else "it does not say why"
