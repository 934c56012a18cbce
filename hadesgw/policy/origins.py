"""Whose pages may call: the rule on `Origin` (RFC 6454), which browsers send and pages cannot forge.

A page of another site can make its visitor's browser send requests here, from the visitor's machine and past every
firewall. Such a request carries the page's origin, so that is what tells it from one of our own page, of a page we were
told to trust, or of a program, which sends none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_UNWRITTEN_PORTS = {b"http": b":80", b"https": b":443"}


def own_origin(secure: bool, host: bytes | None) -> bytes | None:
    """The origin of the pages a request's own connection serves, as a browser writes it (RFC 6454 6.2).

    The scheme is the connection's; a forwarding claim of a proxy is not believed, since anybody can make one.

    :param secure: whether the connection is TLS.
    :param host: the well-formed value of `Host`, with its port; None if there was none.
    """
    if not host:
        return None
    scheme = b"https" if secure else b"http"
    return b"%b://%b" % (scheme, host.lower().removesuffix(_UNWRITTEN_PORTS[scheme]))


class Origins:
    """The origins of other sites whose pages may call.

    :param listed: as browsers write them; the configuration has seen to that.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(origin.encode("ascii") for origin in listed)

    def admits(self, presented: Sequence[bytes], own: bytes | None) -> bool:
        """Whether a request may act.

        Origins are compared byte by byte: browsers have one spelling for each, so any other is no browser's.

        :param presented: the values of its `Origin` fields: none at all is a program, or a page that only reads; more
            than one is nobody's.
        :param own: what :func:`own_origin` says of it.
        """
        if not presented:
            return True
        return len(presented) == 1 and (presented[0] == own or presented[0] in self._listed)

    def listed(self, presented: Sequence[bytes]) -> bytes | None:
        """The one listed origin a request presents; None if it presents anything else, or nothing."""
        return presented[0] if len(presented) == 1 and presented[0] in self._listed else None
