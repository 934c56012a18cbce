"""The reactor's turns, without what nobody here reads, and with what is sent in one of them leaving together.

Twisted calls every descriptor that is ready within a logging context: a copied dictionary, and five calls around the
one that counts, so that lines of its old log can say whose turn it was. Our log takes no contexts. At one read from the
client and one from the model server for each request, they cost a tenth of what the gateway spends on it.

A send to a process that sleeps wakes it up, which costs more than the send. Several sends to it wake it once if they
follow each other closely, as they do when each waits for the others of its turn: for a millisecond at the most, and not
at all when there is only one. On a busy gateway that halves what the kernel spends on a request.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

GATHER_SECONDS = 0.001
"""How long a send waits for others; then it goes before the next descriptor is called."""
_PARTS = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable", "doIteration")
"""What is known here of the inside of an epoll reactor. Where one of them is missing, Twisted's own turns go on."""


class Turns:
    """The turns of one epoll reactor.

    :param reactor: whose turns; :meth:`take_over` makes them ours.
    :param seconds: monotonic time.
    """

    _log = Logger()

    def __init__(self, reactor: EPollReactor, seconds: Callable[[], float]) -> None:
        self._reactor: Any = reactor
        self._seconds = seconds
        self._running = False
        self._gathered: list[tuple[Callable[[bytes], None], bytes]] = []
        self._due = 0.0

    def take_over(self) -> None:
        """From now on the reactor's turns are these; writers find :meth:`gather` by its name on the reactor."""
        self._reactor.doIteration = self.turn
        self._reactor.gather = self.gather

    def gather(self, send: Callable[[bytes], None], data: bytes) -> None:
        """Call `send` with `data` before the turn ends, in the order of these calls; at once if there is no turn."""
        if not self._running:
            send(data)
            return
        if not self._gathered:
            self._due = self._seconds() + GATHER_SECONDS
        self._gathered.append((send, data))

    def turn(self, timeout: float | None) -> None:
        """Wait for what is ready, for `timeout` seconds at most, and call it."""
        reactor = self._reactor
        find = reactor._selectables.get
        ready = reactor._poller.poll(-1 if timeout is None else timeout, len(reactor._selectables))
        self._running = True
        try:
            for descriptor, event in ready:
                selectable = find(descriptor)
                if selectable is None:  # closed by one that was called before it
                    continue
                end: object
                try:
                    if event == EPOLLIN:
                        end = selectable.doRead()
                    else:  # Twisted has rules for what else there may be
                        end = reactor._doReadOrWrite(selectable, descriptor, event)
                except BaseException as error:  # noqa: BLE001 - as Twisted does: it ends this descriptor, and no other
                    self._log.failure("A descriptor failed")
                    end = error
                if end:
                    reactor._disconnectSelectable(selectable, end, True)
                if self._gathered and self._seconds() >= self._due:
                    self._send_gathered()
        finally:
            self._running = False
            self._send_gathered()

    def _send_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        for send, data in gathered:
            try:
                send(data)
            except Exception:  # noqa: BLE001 - one that fails must not cost the others their bytes
                self._log.failure("A send failed")


def turns_of(reactor: IReactorCore, seconds: Callable[[], float]) -> Turns | None:
    """The turns of an epoll reactor; None for any other."""
    known = type(reactor) is EPollReactor and all(hasattr(reactor, part) for part in _PARTS)
    return Turns(reactor, seconds) if known else None  # type: ignore[arg-type]
