"""The reactor's turn, without what nobody here reads.

Twisted calls every descriptor that is ready within a logging context: a copied dictionary, and five calls around the
one that counts, so that lines of its old log can say whose turn it was. Our log takes no contexts. At one read from the
client and one from the model server for each request, they cost a tenth of what the gateway spends on it.
"""

from __future__ import annotations

from select import EPOLLIN
from types import MethodType
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

_PARTS = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable", "doIteration")
"""What this knows of the inside of an epoll reactor. Where one of them is missing, Twisted's own turns go on."""
_log = Logger()


def poll_plainly(reactor: IReactorCore) -> bool:
    """Let an epoll reactor call descriptors directly; false if it is another reactor, which stays as it is."""
    if type(reactor) is not EPollReactor or not all(hasattr(reactor, part) for part in _PARTS):
        return False
    reactor.doIteration = MethodType(_turn, reactor)  # type: ignore[method-assign]
    return True


def _turn(reactor: Any, timeout: float | None) -> None:
    """Wait for what is ready, for `timeout` seconds at most; call each descriptor, and drop those that have ended."""
    find = reactor._selectables.get
    for descriptor, event in reactor._poller.poll(-1 if timeout is None else timeout, len(reactor._selectables)):
        selectable = find(descriptor)
        if selectable is None:  # closed by one that was called before it in this turn
            continue
        if event != EPOLLIN:
            _call_with_care(reactor, selectable, descriptor, event)
            continue
        try:  # nearly always there is something to read and nothing else
            end = selectable.doRead()
        except BaseException as error:  # noqa: BLE001 - as Twisted does: it ends this descriptor, and no other
            _log.failure("A descriptor failed to be read")
            end = error
        if end:
            reactor._disconnectSelectable(selectable, end, True)


def _call_with_care(reactor: Any, selectable: Any, descriptor: int, event: int) -> None:
    """Something else than bytes to read: Twisted's own rules for it."""
    try:
        reactor._doReadOrWrite(selectable, descriptor, event)
    except Exception:  # noqa: BLE001 - likewise
        _log.failure("A descriptor failed to be dropped")
