"""Watching that this process and its children listen where the configuration says, and nowhere else.

A listener nobody asked for is a second door without a lock: a debugger's, a metrics exporter's that a library brought
along, a server that a coding agent has started. The start is refused over one; later it is told by metric and log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from hadesgw.interfaces import IListenerObserver, IRequestLog
from hadesgw.policy.exposure import Address, Held, Wanted, compare, surplus

EVERY_SECONDS = 30.0


class Surplus(Exception):
    """It is not listened where it should be, or nobody can tell; the text says what was found."""


def compare_running(pid: int, held: list[Held], wanted: list[Wanted]) -> None:
    """Judge what a gateway that runs listens on.

    :param pid: the gateway's.
    :param held: the sockets of it and its children.
    :raises Surplus: for what is too much, or else for what is missing.
    """
    too_many, missing = compare(held, pid, wanted)
    if too_many:
        raise Surplus(f"process {pid} listens where server.listen does not say: {', '.join(map(_told, too_many))}")
    if missing:
        descriptions = ", ".join(listener.description for listener in missing)
        raise Surplus(f"process {pid} does not listen where server.listen says: {descriptions}")


def _told(held: Held) -> str:
    return f"{held.address} (process {held.pid})"


class SurplusWatch(Service):
    """Looks at the start, and from then on every thirty seconds.

    :param look: answers which sockets a process and its children listen on; OSError if that cannot be seen.
    :param in_thread: calls what it is given in a thread, for a look takes long where many connections are open.
    :param pid: answers this process's id; it is asked only at the start, because a daemon changes its own.
    """

    def __init__(
        self,
        clock: IReactorTime,
        look: Callable[[int], list[Held]],
        in_thread: Callable[[Callable[[], list[Held]]], Deferred[list[Held]]],
        pid: Callable[[], int],
        observer: IListenerObserver,
        log: IRequestLog,
    ) -> None:
        self._look = look
        self._in_thread = in_thread
        self._get_pid = pid
        self._observer = observer
        self._log = log
        self._declared: Collection[Address] = ()
        self._pid = 0
        self._told: list[str] = []
        self._loop = LoopingCall(self._look_again)
        self._loop.clock = clock

    def begin(self, declared: Collection[Address]) -> None:
        """Look for the first time, before anything of our own listens.

        :param declared: where we are going to listen, or have inherited sockets that do.
        :raises Surplus: if something else is listened on already, or it cannot be seen.
        """
        self._declared = declared
        self._pid = self._get_pid()
        try:
            found = self._surplus(self._look(self._pid))
        except OSError as error:
            raise Surplus(f"cannot see what this process listens on: {error.filename}: {error.strerror}") from None
        if found:
            raise Surplus(f"this process listens where server.listen does not say: {', '.join(found)}")
        self._observer.unexpected_listeners(0)

    def startService(self) -> None:
        """Look again and again."""
        Service.startService(self)
        self._loop.start(EVERY_SECONDS, now=False)

    def stopService(self) -> None:
        """Look no more."""
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()

    def _look_again(self) -> Deferred[None]:
        return self._in_thread(lambda: self._look(self._pid)).addCallbacks(self._seen, self._unseen)

    def _seen(self, held: list[Held]) -> None:
        found = self._surplus(held)
        self._observer.unexpected_listeners(len(found))
        self._tell(found)

    def _unseen(self, failure: Failure) -> None:
        """The gauge keeps its value: that we cannot see is no reason to say that all is well."""
        failure.trap(OSError)
        self._tell([f"cannot be seen: {failure.getErrorMessage()}"])

    def _tell(self, found: list[str]) -> None:
        """Once for each change."""
        if found != self._told:
            self._told = found
            self._log.event("unexpected_listeners", "error" if found else "info", listeners=found)

    def _surplus(self, held: list[Held]) -> list[str]:
        return [_told(socket) for socket in surplus(held, self._pid, self._declared)]
