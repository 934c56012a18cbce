"""The demo's model as a child process that ends with its parent, however the parent ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

_READY: Final = b"READY"
_COMPLAINT: Final = 2_000


class NotServing(Exception):
    """The model did not start; the message says why in its own words."""


class _Reactor(IReactorProcess, IReactorTime):
    """What the process needs of a reactor: children and time."""


class _Child(ProcessProtocol):
    """The parent's ends of the child's pipes.

    :ivar ready: fires when the child says that it serves; fails if it ends before.
    :ivar ended: fires when the child is reaped.
    """

    _log: ClassVar = Logger()
    transport: IProcessTransport

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.expected = False
        self._said = b""
        self._complaint = b""

    def outReceived(self, data: bytes) -> None:
        """The child says READY, and nothing else of interest."""
        self._said = (self._said + data)[-_COMPLAINT:]
        if _READY in self._said and not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        """Keep the end of what the child complains of."""
        self._complaint = (self._complaint + data)[-_COMPLAINT:]

    def processEnded(self, reason: Failure) -> None:
        """The child is reaped."""
        complaint = self._complaint.decode(errors="replace").strip() or str(reason.value)
        if not self.ready.called:
            self.ready.errback(NotServing(complaint))
        elif not self.expected or not reason.check(ProcessDone):
            self._log.warn("the demo's model ended: {complaint}", complaint=complaint)
        self.ended.callback(None)


class ModelProcess:
    """A model server of ours in a child process, on a UNIX socket of its own.

    The child reads its standard input only to notice that its parent is gone: it cannot outlive it. It gets
    no environment of the parent's, so no secret either, and ``sys.path`` so that it finds this very package.

    :param reactor: provides IReactorProcess and IReactorTime.
    :param socket_path: where the child listens; its directory must exist and should be private.
    :param module: what the child runs; it takes ``--socket`` and ``--until-stdin-closes``, and prints READY.
    :param options: what else the child is told.
    :param ready_seconds: how long the child may take to serve.
    :param grace_seconds: how long it may take to end before it is killed.
    """

    def __init__(
        self,
        reactor: _Reactor,
        socket_path: Path,
        *,
        module: str,
        options: Sequence[str],
        ready_seconds: float,
        grace_seconds: float,
    ) -> None:
        self._reactor = reactor
        self._socket_path = socket_path
        self._grace_seconds = grace_seconds
        self._ready_seconds = ready_seconds
        self._child: _Child | None = None
        self._arguments = [
            *(sys.executable, "-P", "-m", module, "--until-stdin-closes"),
            *("--socket", str(socket_path)),
            *options,
        ]

    def start(self) -> Deferred[None]:
        """Start the child.

        :return: fires when it serves; fails with NotServing if it ends or takes too long.
        :raises RuntimeError: if it was started before.
        """
        if self._child is not None:
            raise RuntimeError("the model was started before")
        child = self._child = _Child()
        root = Path(__file__).resolve().parents[2]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(root), "LANG": "C.UTF-8"}
        self._reactor.spawnProcess(child, sys.executable, self._arguments, environment)
        late = self._reactor.callLater(self._ready_seconds, self._give_up, child)
        return child.ready.addBoth(self._settled, late)

    def _settled(self, result: Failure | None, late: IDelayedCall) -> Failure | None:
        _cancelled(late)
        return result

    def _give_up(self, child: _Child) -> None:
        child.errReceived(b"it did not serve in time")
        _kill(child)

    def stop(self) -> Deferred[None]:
        """End the child, kill it if it does not go, reap it and remove its socket.

        :return: fires when it is gone; at once if it never ran.
        """
        child = self._child
        if child is None or child.ended.called:
            self._socket_path.unlink(missing_ok=True)
            return succeed(None)
        child.expected = True
        child.transport.closeStdin()
        late = self._reactor.callLater(self._grace_seconds, _kill, child)
        gone: Deferred[None] = Deferred()

        def reaped(_: None) -> None:
            _cancelled(late)
            self._socket_path.unlink(missing_ok=True)
            gone.callback(None)

        child.ended.addCallback(reaped)
        return gone


class RehearsalProcess(ModelProcess):
    """The rehearsal model.

    :param models: the names the model answers to; the first is the default.
    :param script: a file of rules tried before the built-in ones, or None.
    :param tokens_per_second: the usual pace; 0 is as fast as the reader takes it.
    :param context_tokens: prompt and answer together may have so many tokens.
    """

    def __init__(
        self,
        reactor: _Reactor,
        socket_path: Path,
        *,
        models: Sequence[str],
        script: Path | None = None,
        tokens_per_second: float = 50.0,
        context_tokens: int = 8192,
        ready_seconds: float = 15.0,
        grace_seconds: float = 3.0,
    ) -> None:
        options = [
            *("--tokens-per-second", str(tokens_per_second), "--context-tokens", str(context_tokens)),
            *(["--script", str(script)] if script is not None else []),
            *(["--model", *models] if models else []),
        ]
        super().__init__(
            reactor,
            socket_path,
            module="hadesgw.demo",
            options=options,
            ready_seconds=ready_seconds,
            grace_seconds=grace_seconds,
        )


class LocalModelProcess(ModelProcess):
    """A real model, by llama.cpp: :mod:`hadesgw.demo.local_model`.

    :param gguf: the model file.
    :param name: the name the model answers to.
    :param context_tokens: prompt and answer together may have so many tokens.
    :param ready_seconds: a big file on a slow disk takes minutes.
    """

    def __init__(
        self,
        reactor: _Reactor,
        socket_path: Path,
        *,
        gguf: Path,
        name: str,
        context_tokens: int,
        ready_seconds: float = 600.0,
        grace_seconds: float = 3.0,
    ) -> None:
        super().__init__(
            reactor,
            socket_path,
            module="hadesgw.demo.local_model",
            options=[f"--gguf={gguf}", f"--model={name}", f"--context-tokens={context_tokens}"],
            ready_seconds=ready_seconds,
            grace_seconds=grace_seconds,
        )


def _kill(child: _Child) -> None:
    try:
        child.transport.signalProcess("KILL")
    except ProcessExitedAlready:
        return


def _cancelled(call: IDelayedCall) -> None:
    if call.active():
        call.cancel()
