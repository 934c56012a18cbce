"""Opening what `server.listen` names, in two steps: bound first and judged where it is, and only then listened on.

No connection can be made to a socket that is bound and does not listen. So whatever is refused here, nobody has been
served, and nobody waits in a queue of the kernel's. (Inherited sockets listen already; of those none is accepted.)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet import unix
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from hadesgw.http.site import Site
from hadesgw.policy.exposure import Address, Wanted, require_safe
from hadesgw.policy.listening import Listener, parse_listener
from hadesgw.service.tls import TlsServer

BACKLOG = 4096
"""Connections that may wait to be accepted; Twisted's 50 makes a burst wait for TCP's retransmissions."""
UNIX_MODE = "660"
"""Twisted's own is 666: everybody on the machine."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what no interface means: to be judged, not to be taken


class ListenerRefused(Exception):
    """A listener that cannot be had; the text says which, and why."""


class StreamListener(Protocol):
    """One entry of `server.listen`.

    :ivar address: where it is once it is bound; None before, and for a UNIX socket.
    """

    address: Address | None

    def bind(self) -> None:
        """Take the place and see that it may be listened on.

        :raises ListenerRefused: if it cannot be had.
        :raises hadesgw.policy.exposure.Exposed: if others could reach it who must not.
        """

    def listen(self, site: Site) -> IListeningPort:
        """Serve `site` there; call :meth:`bind` first.

        :raises ListenerRefused: if it cannot be had.
        """

    def __str__(self) -> str:
        """The place, as an operator writes it."""


def make_listener(description: str, reactor: Any, tls: TlsServer | None, *, anonymous: bool) -> StreamListener:
    """The listener of an entry that the configuration has passed.

    :param reactor: of type IReactorSocket, IReactorUNIX and IReactorTime.
    :param tls: for the listeners that are encrypted.
    :param anonymous: whether clients without a credential are let in.
    """
    listener = parse_listener(description)
    if listener.kind == "unix":
        return UnixListener(listener, reactor)
    return SocketListener(description, listener, reactor, tls if listener.encrypted else None, anonymous=anonymous)


def judge_unopened(description: str, *, anonymous: bool) -> None:
    """Judge an entry by what it says, as far as it says an address: the start itself judges the address that is bound.

    :raises hadesgw.policy.exposure.Exposed: as :meth:`StreamListener.bind`.
    """
    listener = parse_listener(description)
    if listener.port is not None:
        try:
            address = Address.of(_spelled_out(listener.interface or _EVERYWHERE), listener.port)
        except ValueError:  # a host name: its turn comes when it is looked up
            return
        require_safe(address, encrypted=listener.encrypted, anonymous=anonymous)


def _spelled_out(host: str) -> str:
    """An IPv4 address in short, such as `0` or `127.1`, as `getaddrinfo` will take it; anything else as it is."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def wanted_places(description: str) -> list[Wanted]:
    """Where an entry lets a gateway that runs listen; no place for a UNIX socket.

    :raises ListenerRefused: if a host name cannot be looked up.
    """
    listener = parse_listener(description)
    if listener.kind == "unix":
        return []
    if listener.port is None:
        return [Wanted(description, None, 0)]
    try:
        return [Wanted(description, Address.of(_place(listener)[0], 0).host, listener.port)]
    except OSError as error:
        raise _refused(description, error) from None


class SocketListener:
    """A socket of our own making, or an inherited one.

    :param tls: None for HTTP in the clear.
    """

    def __init__(
        self, description: str, listener: Listener, reactor: Any, tls: TlsServer | None, *, anonymous: bool
    ) -> None:
        self.address: Address | None = None
        self._description = description
        self._listener = listener
        self._reactor = reactor
        self._tls = tls
        self._anonymous = anonymous
        self._socket: socket.socket | None = None

    def __str__(self) -> str:
        if self.address is None:
            return self._description
        kind, _, place = str(self.address).partition(":")
        return f"{kind if self._tls is None else 'tls'}:{place}"

    def bind(self) -> None:
        """See :meth:`StreamListener.bind`."""
        opener = _OPENERS[self._listener.kind]
        try:
            opened = self._socket = opener(self._listener, self._reactor)
        except OSError as error:
            raise _refused(self._description, error) from None
        if opened.family != socket.AF_UNIX:
            self.address = Address.of(*opened.getsockname()[:2])
            require_safe(self.address, encrypted=self._tls is not None, anonymous=self._anonymous)

    def listen(self, site: Site) -> IListeningPort:
        """See :meth:`StreamListener.listen`."""
        assert self._socket is not None, "not bound"
        with self._socket as opened:  # the reactor takes a duplicate
            try:
                if not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    opened.listen(int(self._listener.options.get("backlog", BACKLOG)))
            except OSError as error:
                raise _refused(self._description, error) from None
            opened.setblocking(False)
            factory = site if self._tls is None else self._tls.under(site, self._reactor)
            if opened.family == socket.AF_UNIX:
                return _adopted_unix(opened, factory, self._reactor)
            port: IListeningPort = self._reactor.adoptStreamPort(opened.fileno(), opened.family, factory)
            return port


def _adopted_unix(opened: socket.socket, factory: IProtocolFactory, reactor: Any) -> IListeningPort:
    """Listen on a UNIX socket that somebody else has made, and whose name is theirs.

    The reactor's `adoptStreamPort` would open the name to everybody, and remove it in the end: it does so with all that
    are no abstract ones, so it is told that this is one.
    """
    port = unix.Port._fromListeningDescriptor(reactor, opened.fileno(), factory)
    port._bindPath = b"\0inherited"
    port.startListening()
    adopted: IListeningPort = port
    return adopted


def _refused(description: str, error: object) -> ListenerRefused:
    return ListenerRefused(f"cannot listen on {description}: {getattr(error, 'strerror', None) or error}")


# -- Sockets, bound ---------------------------------------------------------------------------------------------------


def _own(listener: Listener, reactor: object) -> socket.socket:
    """A new socket at the place that is named."""
    place = _place(listener)
    opened = socket.socket(socket.AF_INET6 if len(place) == 4 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
    except OSError:
        opened.close()
        raise
    return opened


def _place(listener: Listener) -> tuple[Any, ...]:
    """The socket address that a listener names; a host name is looked up, and means IPv4."""
    family = socket.AF_INET6 if ":" in listener.interface else socket.AF_INET
    host = listener.interface or _EVERYWHERE
    return socket.getaddrinfo(host, listener.port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)[0][4]


def _of_descriptor(listener: Listener, reactor: object) -> socket.socket:
    return _inherited(int(listener.options["fileno"]), listener)


def _of_systemd(listener: Listener, reactor: object) -> socket.socket:
    """The socket that systemd opened. Twisted has read, and taken, what the environment says about those."""
    names = {name: listener.options[name] for name in ("index", "name") if name in listener.options}
    arguments = [f"{name}={quoteStringArgument(value)}" for name, value in names.items()]
    try:
        endpoint: Any = serverFromString(reactor, ":".join(["systemd:domain=INET", *arguments]))
    except (LookupError, ValueError):
        raise OSError("systemd has given us no such socket") from None
    return _inherited(endpoint.fileno, listener)


def _inherited(descriptor: int, listener: Listener) -> socket.socket:
    """The socket of an inherited descriptor, whatever kind the configuration believes it to be. No child gets it."""
    opened = socket.socket(fileno=os.dup(descriptor))
    os.close(descriptor)
    if opened.type != socket.SOCK_STREAM or not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise OSError(f"descriptor {descriptor} is no socket that listens")
    family = opened.family.name.removeprefix("AF_")
    if family not in ("INET", "INET6", "UNIX") or listener.options.get("domain", family) != family:
        raise OSError(f"descriptor {descriptor} is a socket of the domain {family}")
    return opened


_OPENERS: Mapping[str, Callable[[Listener, object], socket.socket]] = {
    "tcp": _own,
    "tls": _own,
    "fd": _of_descriptor,
    "systemd": _of_systemd,
}


# -- UNIX sockets -----------------------------------------------------------------------------------------------------


class UnixListener:
    """A UNIX socket: its mode is its guard, so that there is no address to judge."""

    def __init__(self, listener: Listener, reactor: Any) -> None:
        self.address: Address | None = None
        self._listener = listener
        self._reactor = reactor

    def __str__(self) -> str:
        return f"unix:{self._listener.path}"

    def bind(self) -> None:
        """Nothing: Twisted takes the place of a socket that nobody listens on any more when it listens itself."""

    def listen(self, site: Site) -> IListeningPort:
        """See :meth:`StreamListener.listen`."""
        options = self._listener.options
        try:
            port: IListeningPort = self._reactor.listenUNIX(
                self._listener.path,
                site,
                backlog=int(options.get("backlog", BACKLOG)),
                mode=int(options.get("mode", UNIX_MODE), 8),
                wantPID=options.get("lockfile", "1") != "0",
            )
        except CannotListenError as error:
            raise _refused(str(self), error.socketError) from None
        except OSError as error:  # there is no place for its lock
            raise _refused(str(self), error) from None
        return port
