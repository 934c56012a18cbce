"""What failing costs: how long the answer to a refused credential is held back, and how often the log tells of it.

A token cannot be guessed; what a flood of wrong ones can do is keep us busy and fill the log. So a peer whose
credentials keep failing hears of it more and more slowly. Nobody else ever waits: behind a tunnel everybody is one
peer, and whoever has a valid credential shall not pay for a neighbour who has not.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

FREE_FAILURES = 5
"""Failures in a row that are answered at once: a typing error, a page that asks before its user has signed in."""
FIRST_DELAY_SECONDS = 0.125
LONGEST_DELAY_SECONDS = 2.0
"""Less than the patience of whoever watches us with a wrong token."""
FORGET_SECONDS = 60.0
"""A peer that fails no more for so long begins anew."""
TELL_SECONDS = 10.0
"""The log tells of one peer's failures at most so often."""
MOST_PEERS = 4096
OTHERS = "others"
"""Stands for all peers beyond the most that are kept apart: they are slowed together, and drive nobody out."""
_MOST_COUNTED = FREE_FAILURES + 16  # the delay is the longest long before


@lru_cache(256)  # whoever floods us does not come from everywhere
def peer_name(host: str | None) -> str:
    """What counts as one peer: an IPv4 address, an IPv6 network of 64 bits, or everybody on a UNIX socket.

    :param host: the peer's address; None where it has none.
    """
    if host is None:
        return "unix"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return OTHERS
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False)) if address != IPv6Address("::1") else "::1"


class Penalty(NamedTuple):
    """What a failure costs.

    :ivar delay: seconds until its answer; 0.0: none.
    :ivar told: how many failures of this peer the log is to tell of now, this one included; 0: not yet.
    """

    delay: float
    told: int


class _Peer:
    __slots__ = ("failures", "last", "told_at", "untold")

    def __init__(self) -> None:
        self.failures = 0
        self.untold = 0
        self.last = self.told_at = float("-inf")

    def tell(self, now: float) -> int:
        told, self.untold = self.untold, 0
        self.told_at = now
        return told


class Failures:
    """The failed credentials of late, by peer. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}  # the one that failed last stands last

    def __len__(self) -> int:
        return len(self._peers)

    def failed(self, peer: str, now: float) -> Penalty:
        """A credential of `peer` has failed."""
        self._forget(now)
        if peer not in self._peers and len(self._peers) >= MOST_PEERS:
            peer = OTHERS
        record = self._peers.pop(peer) if peer in self._peers else _Peer()
        self._peers[peer] = record
        record.last = now
        record.failures = min(record.failures + 1, _MOST_COUNTED)
        record.untold += 1
        told = record.tell(now) if now - record.told_at >= TELL_SECONDS else 0
        return Penalty(_delay(record.failures), told)

    def overdue(self, now: float) -> list[tuple[str, int]]:
        """Peers with failures the log has not told of and may tell of now, and how many; they count as told by that."""
        due = [(name, peer) for name, peer in self._peers.items() if peer.untold and now - peer.told_at >= TELL_SECONDS]
        return [(name, peer.tell(now)) for name, peer in due]

    @property
    def all_told(self) -> bool:
        """Whether the log has told of every failure."""
        return not any(peer.untold for peer in self._peers.values())

    def _forget(self, now: float) -> None:
        while self._peers:
            name, peer = next(iter(self._peers.items()))
            if now - peer.last < FORGET_SECONDS:
                return
            del self._peers[name]


def _delay(failures: int) -> float:
    beyond = failures - FREE_FAILURES
    if beyond <= 0:
        return 0.0
    return min(FIRST_DELAY_SECONDS * 2.0 ** (beyond - 1), LONGEST_DELAY_SECONDS)
