"""Where the gateway may be reached, judged on the address that was bound and not on what the configuration said."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from twisted.internet import address as twisted_address
from twisted.internet.interfaces import IAddress


class ListenerRefused(Exception):
    """A listener that must not be served on; the text says why and what to do."""


def require_loopback(address: IAddress) -> None:
    """See that a listener without TLS cannot be reached from another machine.

    :raises ListenerRefused: if it can.
    """
    if not isinstance(address, (twisted_address.IPv4Address, twisted_address.IPv6Address)):
        return
    host = ip_address(address.host.partition("%")[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    if not host.is_loopback:
        raise ListenerRefused(
            f"{name_address(address)} can be reached from other machines without TLS;"
            " listen on 127.0.0.1 or [::1], or put a TLS front before it"
        )


def name_address(address: IAddress) -> str:
    """`address` as an operator writes it."""
    if isinstance(address, twisted_address.IPv4Address):
        return f"tcp:{address.host}:{address.port}"
    if isinstance(address, twisted_address.IPv6Address):
        return f"tcp:[{address.host}]:{address.port}"
    if isinstance(address, twisted_address.UNIXAddress):
        return f"unix:{(address.name or b'').decode('utf-8', 'replace')}"
    return str(address)
