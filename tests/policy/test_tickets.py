"""Tickets: good once, for a short time, for one client and one origin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.tickets import LIFETIME_SECONDS, MOST_PER_CLIENT, TicketStore, offered_ticket, offers_protocol

PAGE = b"http://localhost:3000"


def client(name: str) -> Client:
    """A client of that name."""
    return Client(name=name, roles=frozenset((Role.USER,)))


class Entropy:
    """Bytes that never repeat, and can be told apart from chance."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, count: int) -> bytes:
        self.asked.append(count)
        return len(self.asked).to_bytes(count, "big")


class TicketStoreTests(SynchronousTestCase):
    """What a ticket opens."""

    def setUp(self) -> None:
        self.clients = {name: client(name) for name in ("alice", "bob")}
        self.entropy = Entropy()
        self.store = TicketStore(self.entropy)

    def issue(self, name: str, origin: bytes | None, now: float) -> str:
        """A ticket for a client whose name is enough."""
        return self.store.issue(name, origin, now, partial(self.clients.get, name))

    def redeem(self, value: str, origin: bytes | None, now: float) -> Client | None:
        """Whom it lets in now."""
        warrant = self.store.redeem(value, origin, now)
        return None if warrant is None else warrant()

    def test_once(self) -> None:
        """It names its client the first time, and nobody the second."""
        ticket = self.issue("alice", PAGE, 0.0)
        self.assertEqual(self.redeem(ticket, PAGE, 1.0), self.clients["alice"])
        self.assertIsNone(self.redeem(ticket, PAGE, 1.0))
        self.assertEqual(len(self.store), 0)

    def test_for_thirty_seconds(self) -> None:
        """It is good until just before the end, and not at it."""
        for after, good in ((0.0, True), (LIFETIME_SECONDS - 0.001, True), (LIFETIME_SECONDS, False)):
            ticket = self.issue("alice", PAGE, 100.0)
            self.assertEqual(self.redeem(ticket, PAGE, 100.0 + after) is not None, good, after)

    def test_for_one_origin(self) -> None:
        """From another page it is worth nothing, and it is spent by the try."""
        for asked, shown in ((PAGE, b"http://evil.example"), (PAGE, None), (None, PAGE)):
            ticket = self.issue("alice", asked, 0.0)
            self.assertIsNone(self.redeem(ticket, shown, 0.0))
            self.assertIsNone(self.redeem(ticket, asked, 0.0))

    def test_for_programs(self) -> None:
        """One that was asked for without an origin is good without one."""
        self.assertEqual(self.redeem(self.issue("bob", None, 0.0), None, 0.0), self.clients["bob"])

    def test_for_whoever_may_come_in_then(self) -> None:
        """A client that is gone or suspended meanwhile is not let in by an old ticket."""
        ticket = self.issue("alice", PAGE, 0.0)
        del self.clients["alice"]
        self.assertIsNone(self.redeem(ticket, PAGE, 0.0))

    def test_cannot_be_guessed(self) -> None:
        """It has 192 random bits, in characters that a subprotocol may have."""
        ticket = self.issue("alice", PAGE, 0.0)
        self.assertEqual(self.entropy.asked, [24])
        self.assertTrue(re.fullmatch("[A-Za-z0-9_-]{32}", ticket))
        for guess in ("", ticket[:-1], ticket + "A", ticket.swapcase(), "\udcff"):
            self.assertIsNone(self.redeem(guess, PAGE, 0.0))
        self.assertIsNotNone(self.redeem(ticket, PAGE, 0.0))

    def test_is_not_kept(self) -> None:
        """The store knows tickets by digest only."""
        self.assertNotIn(self.issue("alice", PAGE, 0.0), repr(vars(self.store)))

    def test_a_client_pushes_out_its_own(self) -> None:
        """One more than the most and the oldest of that client is gone; another client's stays."""
        other = self.issue("bob", PAGE, 0.0)
        tickets = [self.issue("alice", PAGE, 0.0) for _ in range(MOST_PER_CLIENT)]
        self.assertEqual(len(self.store), MOST_PER_CLIENT + 1)
        tickets.append(self.issue("alice", PAGE, 0.0))
        self.assertEqual(len(self.store), MOST_PER_CLIENT + 1)
        good = [self.redeem(ticket, PAGE, 0.0) is not None for ticket in (*tickets, other)]
        self.assertEqual(good, [False] + [True] * (MOST_PER_CLIENT + 1))

    def test_what_has_ended_is_forgotten(self) -> None:
        """The next one to be issued or shown clears away all that ended before."""
        for name in ("alice", "bob", "alice"):
            self.issue(name, PAGE, 0.0)
        late = self.issue("bob", PAGE, 10.0)
        self.assertIsNone(self.redeem("x", PAGE, 30.0))
        self.assertEqual(len(self.store), 1)
        self.assertIsNotNone(self.redeem(late, PAGE, 39.9))

    @given(st.lists(st.tuples(st.sampled_from(("alice", "bob")), st.floats(0, 20), st.booleans()), max_size=60))
    def test_stays_bounded(self, steps: list[tuple[str, float, bool]]) -> None:
        """Whoever asks whenever, and redeems or does not: no client has more than the most, and none is good twice."""
        store = TicketStore(self.entropy)
        now = 0.0
        for name, pause, redeems in steps:
            now += pause
            ticket = store.issue(name, PAGE, now, partial(self.clients.get, name))
            if redeems:
                warrant = store.redeem(ticket, PAGE, now)
                self.assertEqual(warrant and warrant(), self.clients[name])
                self.assertIsNone(store.redeem(ticket, PAGE, now))
            self.assertLessEqual(len(store), 2 * MOST_PER_CLIENT)


class OfferedTicketTests(SynchronousTestCase):
    """Finding the ticket in a handshake."""

    def test_offered(self) -> None:
        """Beside our protocol, in one field or several, in any order."""
        cases: Sequence[Sequence[bytes]] = (
            [b"hades.v1, hades.ticket.abc"],
            [b"hades.ticket.abc,hades.v1"],
            [b"hades.v1", b"hades.ticket.abc"],
            [b"graphql , hades.v1 ,\thades.ticket.abc"],
        )
        for values in cases:
            self.assertEqual(offered_ticket(values), "abc", values)

    def test_none(self) -> None:
        """A handshake that shows no ticket offers none, however its list looks."""
        for values in ([], [b""], [b"hades.v1"], [b"graphql"], [b"hades v1"], [b"xhades.ticket.abc"]):
            self.assertIsNone(offered_ticket(values), values)

    def test_not_good(self) -> None:
        """One without our protocol, two of them, or one in a list that is none: an empty one, which opens nothing."""
        cases: Sequence[Sequence[bytes]] = (
            [b"hades.ticket.abc"],
            [b"hades.ticket."],
            [b"hades.v2, hades.ticket.abc"],
            [b"hades.v1, hades.ticket.abc, hades.ticket.def"],
            [b"hades.v1, hades.ticket.abc", b"hades.ticket.abc"],
            [b"hades.v1, hades.ticket.a(b"],
            [b"hades.v1 hades.ticket.abc"],
            [b"hades.v1,, hades.ticket.abc"],
            [b"hades.v1, hades.ticket.abc", b""],
            [b"hades.v1, hades.ticket.ab\xff"],
        )
        for values in cases:
            self.assertEqual(offered_ticket(values), "", values)

    def test_protocol(self) -> None:
        """Ours is offered, or is not, or nobody can tell because the list is none."""
        table: Sequence[tuple[Sequence[bytes], bool | None]] = (
            ([b"hades.v1"], True),
            ([b"chat,hades.v1", b"hades.ticket.abc"], True),
            ([b"chat"], False),
            ([b"HADES.V1"], False),
            ([], False),
            ([b""], None),
            ([b"hades.v1,"], None),
            ([b"hades.v1", b"chat chat"], None),
        )
        for values, offered in table:
            self.assertIs(offers_protocol(values), offered, values)
