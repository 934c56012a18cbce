"""Who can reach a listener, and which listeners nobody asked for: judged by address, not by what it is called."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address


class Address(NamedTuple):
    """Where a TCP socket listens.

    :ivar host: without a zone; an unspecified one (``0.0.0.0``, ``::``) means every interface.
    """

    host: IPAddress
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Address:
        """The address whose host is written so, as `getsockname` writes it.

        :raises ValueError: if that is a name.
        """
        return cls(ip_address(host.partition("%")[0]), port)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it. An IPv4 address in an IPv6 one is the IPv4 address."""
        mapped = self.host.ipv4_mapped if isinstance(self.host, IPv6Address) else None
        return (mapped or self.host).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else self.host
        return f"tcp:{host}:{self.port}"


class Exposed(Exception):
    """A listener that must not be served on; the text says why and what to do."""


def require_safe(address: Address, *, encrypted: bool, anonymous: bool) -> None:
    """See that nobody on another machine reads along, or comes in without saying who it is.

    :param encrypted: whether the listener is TLS.
    :param anonymous: whether clients without a credential are let in.
    :raises Exposed: if they could.
    """
    if address.local:
        return
    if not encrypted:
        raise Exposed(
            f"{address} can be reached from other machines without TLS; listen on 127.0.0.1 or [::1],"
            " or use tls: with the files of [tls]"
        )
    if anonymous:
        raise Exposed(
            f"{address} can be reached from other machines, and clients.anonymous, or a path of [tree] without 'guard',"
            " lets everybody in; ask for a credential, or listen on 127.0.0.1 or [::1]"
        )


# -- The kernel's tables of sockets ----------------------------------------------------------------------------------

_LISTEN = "0A"  # of the states in Linux's include/net/tcp_states.h


def listening_sockets(table: str) -> dict[int, Address]:
    """The sockets of a table such as `/proc/net/tcp` or `tcp6` that listen, by inode.

    :raises ValueError: if it is no such table.
    """
    found = {}
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 10:
            raise ValueError("a line of the kernel's table of sockets is too short")
        if columns[3] == _LISTEN:
            found[int(columns[9])] = _address(columns[1])
    return found


def _address(text: str) -> Address:
    """Read `0100007F:1F92`: the address in words of 32 bits as the machine has them in memory, then the port."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)]
    return Address(ip_address(b"".join(words)), int(port, 16))


# -- What is found against what was wanted ---------------------------------------------------------------------------


class Held(NamedTuple):
    """A listening socket, and a process that holds it."""

    pid: int
    address: Address


class Wanted(NamedTuple):
    """A listener that the configuration names.

    :ivar description: as it stands there.
    :ivar host: where it should be; None if the socket was inherited, and may be anywhere.
    :ivar port: 0 for any.
    """

    description: str
    host: IPAddress | None
    port: int

    def describes(self, address: Address) -> bool:
        """Whether a socket there is this listener."""
        return self.host is None or (self.host == address.host and self.port in (0, address.port))


def surplus(held: Iterable[Held], pid: int, declared: Collection[Address]) -> list[Held]:
    """The sockets that are listened on although nobody asked for it, in order.

    :param pid: the gateway's. What its children hold is surplus wherever it is: no listener is meant for them.
    :param declared: where the gateway itself may listen.
    """
    return _sorted(socket for socket in held if socket.pid != pid or socket.address not in declared)


def _sorted(held: Iterable[Held]) -> list[Held]:
    return sorted(set(held), key=lambda socket: (socket.pid, socket.address.port, str(socket.address)))


class Comparison(NamedTuple):
    """Outcome of :func:`compare`."""

    surplus: list[Held]
    missing: list[Wanted]


def compare(held: Iterable[Held], pid: int, wanted: Sequence[Wanted]) -> Comparison:
    """Set the sockets of a gateway that runs against what a configuration wants.

    Each of `wanted` accounts for one socket of the gateway's own; who wants the least particular one chooses last.

    :param pid: the gateway's.
    """
    unclaimed = _sorted(held)
    missing = []
    for listener in sorted(wanted, key=lambda listener: (listener.host is None, listener.port == 0)):
        own = (socket for socket in unclaimed if socket.pid == pid and listener.describes(socket.address))
        claimed = next(own, None)
        if claimed is None:
            missing.append(listener)
        else:
            unclaimed.remove(claimed)
    return Comparison(unclaimed, missing)
