"""Tickets: how a browser's WebSocket says whose it is.

A page cannot give its WebSocket a header field, and a token in a URL ends up in logs and histories. So the page shows
its token to get a ticket, and offers the ticket as one more subprotocol (RFC 6455 1.9) of the handshake. A ticket is
good once, for a short time, for the client and for the origin that asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hadesgw.policy.credentials import Warrant

PROTOCOL = b"hades.v1"
"""The subprotocol the server selects. A ticket is never repeated in an answer."""
TICKET_PREFIX = b"hades.ticket."
LIFETIME_SECONDS = 30
MOST_PER_CLIENT = 16
"""Tickets of one client that are good at one time: the oldest makes place, so a client can only push out its own."""
_ENTROPY_BYTES = 24

_OFFERS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_SEPARATOR = re.compile(rb"[ \t]*,[ \t]*")


def offered_ticket(values: Sequence[bytes]) -> str | None:
    """The ticket a WebSocket handshake offers, or None if it offers none.

    An empty text, which opens nothing, if there is one but the list is not well formed (RFC 6455 4.1), does not offer
    our protocol, or has more than one: a ticket that fails must not be taken for none.

    :param values: the values of all `Sec-WebSocket-Protocol` fields.
    """
    if not any(TICKET_PREFIX in value for value in values):
        return None
    if not all(map(_OFFERS.fullmatch, values)):
        return ""
    offers = [offer for value in values for offer in _SEPARATOR.split(value)]
    tickets = [offer.removeprefix(TICKET_PREFIX) for offer in offers if offer.startswith(TICKET_PREFIX)]
    if not tickets:
        return None
    return tickets[0].decode("ascii") if PROTOCOL in offers and len(tickets) == 1 else ""


def offers_protocol(values: Sequence[bytes]) -> bool | None:
    """Whether a handshake offers our subprotocol; None if its list is not well formed. Arguments as above."""
    if not all(map(_OFFERS.fullmatch, values)):
        return None
    return any(offer == PROTOCOL for value in values for offer in _SEPARATOR.split(value))


class _Ticket(NamedTuple):
    client: str
    origin: bytes | None
    expires: float
    warrant: Warrant


class TicketStore:
    """The tickets that are good now, known by their digests. It holds at most `MOST_PER_CLIENT` for each client.

    :param entropy: returns that many random bytes, such as `os.urandom`.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._tickets: dict[bytes, _Ticket] = {}  # in order of their end, since all live equally long
        self._held: dict[str, dict[bytes, None]] = {}  # the same by client

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, client: str, origin: bytes | None, now: float, warrant: Warrant) -> str:
        """A new ticket.

        :param client: name of the client that asks.
        :param origin: of the page it asks for; None for a program.
        :param now: monotonic seconds, here and in :meth:`redeem`.
        :param warrant: by which it has come.
        :returns: 192 random bits, in characters that a subprotocol may have.
        """
        self._forget(now)
        held = self._held.get(client, {})
        if len(held) >= MOST_PER_CLIENT:
            self._take(next(iter(held)))
        value = base64.urlsafe_b64encode(self._entropy(_ENTROPY_BYTES)).decode("ascii")
        digest = _digest(value)
        self._tickets[digest] = _Ticket(client, origin, now + LIFETIME_SECONDS, warrant)
        self._held.setdefault(client, {})[digest] = None
        return value

    def redeem(self, value: str, origin: bytes | None, now: float) -> Warrant | None:
        """By what the client of this ticket has come for it, or None if it is not good.

        It is spent by that, whatever comes of it: one that turns up with another origin has been stolen. Whether its
        client may come in is judged then, not when it was issued.
        """
        self._forget(now)
        ticket = self._take(_digest(value))
        if ticket is None or ticket.origin != origin:
            return None
        return ticket.warrant

    def _take(self, digest: bytes) -> _Ticket | None:
        ticket = self._tickets.pop(digest, None)
        if ticket is not None:
            held = self._held[ticket.client]
            del held[digest]
            if not held:
                del self._held[ticket.client]
        return ticket

    def _forget(self, now: float) -> None:
        """Drop what has ended."""
        while self._tickets:
            digest, ticket = next(iter(self._tickets.items()))
            if now < ticket.expires:
                return
            self._take(digest)


def _digest(value: str) -> bytes:
    """What a ticket is known by: nobody can grow it guess by guess, whatever a comparison's time tells."""
    return hashlib.sha256(value.encode("utf-8", "replace")).digest()
